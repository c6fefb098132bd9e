"""Registry of personal data: each model's way to its member, its export and its erasure.

An app that adds a model declares it in its ``AppConfig.ready``. A model without a declaration fails a test.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from allauth.account.models import EmailAddress, EmailConfirmation
from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db.models import Model, Q, QuerySet

from accounts.models import User
from chat import waiting
from chat.calls.models import LiveCall
from chat.files.models import Artifact, Blob, File, UploadPart
from chat.files.reading import HIDDEN_RUN, NOT_HIDDEN
from chat.models import (
    AccountDeletion,
    AppState,
    Conversation,
    DataDownload,
    Ledger,
    Message,
    PersonRequest,
    Process,
    Purge,
    QueuedAsk,
    Reload,
    RequestLook,
    Run,
    RunEvent,
    Sample,
    SessionEvent,
    Suggestion,
    UserState,
)

CONVERSATIONS_AT_ONCE = 50  # whose rows one query reads
SESSIONS_AT_ONCE = 200  # that are decoded between two pauses: in 10 ms

Rows = QuerySet[Any]


@dataclass(frozen=True, slots=True)
class Erasure:
    """Treatment of a member's rows when the account is erased: without values and reason they are deleted."""

    values: Mapping[str, Any] = field(default_factory=dict)  # written into the rows, which stay
    reason: str = ""  # why the rows stay as they are


DELETE = Erasure()


def set_null(name: str) -> Erasure:
    """Return the erasure that keeps the rows, without the reference to the member."""
    return Erasure({name: None})


def anonymise(**values: Any) -> Erasure:
    """Return the erasure that keeps the rows, with these values in their fields."""
    return Erasure(values)


def keep(reason: str) -> Erasure:
    return Erasure(reason=reason)


@dataclass(frozen=True, slots=True)
class Export:
    """A file of *My data*: the fields of a member's rows, as ``QuerySet.values`` names them."""

    file: str  # its name, without a suffix
    fields: str  # names between spaces
    where: Q = field(default_factory=Q)  # the exported rows
    # Returns an exported row without what is another member's.
    clean: Callable[[User, dict[str, Any]], dict[str, Any]] = lambda _user, row: row


@dataclass(frozen=True, slots=True)
class PersonalData:
    """Declaration of how rows of one model belong to a member. A model may have several."""

    model: type[Model]
    # Lookup of the member's id, or a function that yields the member's rows in parts. None: no row is a
    # member's.
    path: str | Callable[[User], Iterator[Rows]] | None
    export: Export | None
    erase: Erasure
    reason: str  # why there is no path, or no export

    def rows(self, user: User) -> Iterator[Rows]:
        """Yield the member's rows in parts, each of which an index finds."""
        if self.path is None:
            return
        if callable(self.path):
            yield from self.path(user)
            return
        to_conversation, is_below, _owner = self.path.rpartition("conversation__owner")
        rows = self.model._default_manager.order_by("pk")
        if not is_below:
            yield rows.filter(**{self.path: user.pk})
            return
        for ids in ids_in_pages(Conversation.objects.filter(owner=user), CONVERSATIONS_AT_ONCE):
            yield rows.filter(**{f"{to_conversation}conversation__in": ids})


declarations: list[PersonalData] = []

# Called with the user in the transaction that deletes the account, for what no declaration can say.
on_erasure: list[Callable[[User], None]] = []


def declare(
    model: type[Model],
    path: str | Callable[[User], Iterator[Rows]] | None = None,
    *,
    export: Export | None = None,
    erase: Erasure = DELETE,
    reason: str = "",
) -> None:
    """Declare rows of a model. Without a path or without an export, ``reason`` says why."""
    if not reason and (path is None or export is None):
        raise ValueError(f"{model.__name__}: say why it has no path, or no export.")
    declarations.append(PersonalData(model, path, export, erase, reason))


def ids_in_pages(rows: Rows, size: int) -> Iterator[list[Any]]:
    """Yield the keys of the rows in their order; each page is one query."""
    last: Any = None
    while True:
        page = rows if last is None else rows.filter(pk__gt=last)
        ids = list(page.order_by("pk").values_list("pk", flat=True)[:size])
        if not ids:
            return
        yield ids
        last = ids[-1]


def values_in_pages(rows: Rows, fields: str, size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the fields of the rows in the order of their keys; each page is one query."""
    for ids in ids_in_pages(rows, size):
        yield list(rows.filter(pk__in=ids).order_by("pk").values(*fields.split()))


def _sessions_of(user: User) -> Iterator[Rows]:
    """Yield the user's sessions. The user's id is inside of each, so all are decoded."""
    for keys in ids_in_pages(Session.objects.all(), SESSIONS_AT_ONCE):
        found = Session.objects.in_bulk(keys).values()
        own = [each.pk for each in found if each.get_decoded().get(SESSION_KEY) == str(user.pk)]
        yield Session.objects.filter(pk__in=own)


def _log_entries_about(user: User) -> Iterator[Rows]:
    """Yield the admin's entries about the account and its addresses: they quote names and addresses."""
    about: tuple[tuple[type[Model], list[int]], ...] = (
        (User, [user.pk]),
        (EmailAddress, list(EmailAddress.objects.filter(user=user).values_list("pk", flat=True))),
    )
    for model, ids in about:
        yield LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(model), object_id__in=[str(pk) for pk in ids]
        )


def _as_shown(user: User, row: dict[str, Any]) -> dict[str, Any]:
    """Return a message without the names of approvers; a hidden one without its text, too."""
    if row["hidden_at"]:
        return {**row, "text": "", "parts": {"v": 1, "items": []}, "feedback": None, "feedback_detail": None}
    text, parts = waiting.without_deciders(
        row["text"], row["parts"], lambda request: request.decided_by_id != user.pk
    )
    return {**row, "text": text, "parts": parts}


# --- accounts -------------------------------------------------------------------------------------

declare(
    LogEntry,
    _log_entries_about,  # first: it looks for the addresses, which are erased below
    erase=anonymise(object_repr="", change_message=""),
    reason="It is about what staff did.",
)
# The other fields name members.
declare(LogEntry, "user", export=Export("your_changes_in_the_admin", "action_time action_flag"))
declare(
    User,
    "pk",
    export=Export(
        "account",
        "username email first_name last_name date_joined last_login is_staff is_active suspended_until "
        "suspended_reason warned_at",
    ),
)
declare(User.groups.through, "user", export=Export("groups", "group__name"))
declare(User.user_permissions.through, "user", export=Export("permissions", "permission__codename"))
declare(EmailConfirmation, "email_address__user", reason="It is the key of a link in a letter.")
declare(EmailAddress, "user", export=Export("email_addresses", "email verified primary"))
declare(Session, _sessions_of, reason="It is a secret of a browser that is signed in.")
declare(AccountDeletion, "user", export=Export("deletion_of_the_account", "requested_at due_at"))
declare(DataDownload, "user", export=Export("last_download", "begun_at"))
declare(Group, reason="It belongs to the site; memberships have a table of their own.")
declare(Permission, reason="It belongs to the code; those of a member have a table of their own.")
declare(Group.permissions.through, reason="It belongs to the site.")
declare(ContentType, reason="It is the name of a model.")

# --- conversations --------------------------------------------------------------------------------

declare(
    Conversation,
    "owner",
    export=Export(
        "conversations",
        "id title agent head pinned_at archived_at locked_at locked_reason locked_words deleted_at "
        "created_at updated_at",
    ),
)
declare(
    Message,
    "conversation__owner",
    export=Export(
        "messages",
        "id conversation parent role agent text parts run feedback feedback_at feedback_detail hidden_at "
        "hidden_reason hidden_words created_at",
        clean=_as_shown,
    ),
)
declare(
    Run,
    "conversation__owner",
    # without the agent's exception, which may show its code, and its working memory after the run
    export=Export(
        "runs",
        "id conversation prompt reply mode status attempt model code finish stop_requested_at usage_input "
        "usage_output usage_thought usage_cached usage_total usage_calls ttft_ms duration_ms created_at "
        "ended_at",
    ),
)
declare(
    PersonRequest,
    "run__conversation__owner",
    export=Export(
        "requests",
        "id run kind tool args hint schema payload approvers asked_at expires_at decision answer decided_at "
        "answered_by started_at",
        where=Q(run__reply__hidden_at=None),  # its arguments are of the reply
    ),
)
declare(
    PersonRequest,
    "decided_by",
    export=Export("your_decisions", "id decision decided_at"),  # the rest is the asker's
    erase=set_null("decided_by"),
)
declare(
    RequestLook,
    "request__run__conversation__owner",
    export=Export("looks_at_your_requests", "request looked_at"),
)
declare(RequestLook, "person", export=Export("your_looks_at_requests", "request looked_at"))
declare(
    QueuedAsk,
    "conversation__owner",
    export=Export("queued_questions", "id conversation position text created_at"),
)
declare(
    Artifact,
    "owner",
    export=Export(
        "artifacts", "id agent conversation name version metadata file run created_at", where=~HIDDEN_RUN
    ),
)
declare(UploadPart, "file__owner", reason="It is a part of a file that is not complete.")
declare(
    File,
    "owner",
    export=Export(
        "files",
        "id conversation message run name mime size width height created_at",
        where=NOT_HIDDEN,
    ),
)
declare(Blob, reason="It is the content of files, whoever they belong to.")
declare(RunEvent, "run__conversation__owner", reason="It is a message, piece by piece.")
declare(SessionEvent, "run__conversation__owner", reason="It is a message, as the agent reads it.")
declare(UserState, "user", export=Export("memory_of_agents", "agent key value"))
declare(Ledger, "owner", reason="It is a number of changes.")
declare(
    Reload,
    "requested_by",
    export=Export("your_reloads_of_agents", "requested_at"),
    erase=set_null("requested_by"),
)
declare(AppState, reason="It is an agent's memory for all members.")
declare(Process, reason="It is a server.")
declare(Purge, reason="It is a count of all members' conversations.")
declare(Sample, reason="It is a count of all members' runs.")
declare(Suggestion, reason="It is the site owner's text for all members.")
declare(
    LiveCall,
    "owner",
    export=Export("calls", "id conversation opened_at ended_at end_code seconds_in seconds_out turns"),
)
