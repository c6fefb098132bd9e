"""The walk: each address of the site, as the owner of the site without a grant, in search of a member's text.

Every text, JSON and file column of a member's rows holds a canary of its own. The columns are found by
introspection, the addresses in the URL table, and the names of parameters in the source.
"""

import ast
import itertools
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core import mail
from django.db import connection, models
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from chat import access
from chat.calls.models import LiveCall
from chat.files import blobs
from chat.files.models import Artifact, File
from chat.memories.models import Memory
from chat.models import (
    AppState,
    Conversation,
    Message,
    PersonRequest,
    QueuedAsk,
    Run,
    SessionEvent,
    UserState,
)
from chat.moderated import ModerationReason
from chat.moderation.models import (
    AccessGrant,
    Appeal,
    AuditText,
    Decision,
    HiddenMessage,
    HiddenRun,
    HiddenTitle,
    Policy,
    Report,
    ReviewItem,
    ReviewNote,
)
from tests.support.client import Answer, Client

ROOT = Path(access.__file__).parent.parent
TEXTS = (models.CharField, models.TextField, models.JSONField, models.FileField)

# Columns that may be seen without a grant, and why. All others hold a canary.
FACTS = {
    "accounts.User.username": "a fact: the owner",
    "accounts.User.folded_name": "a fact: the owner",
    "accounts.User.email": "a fact: the owner",
    "accounts.User.password": "a canary would end the member's sign-in; held by tests of the account pages",
    "chat.Conversation.agent": "a fact: the agent",
    "chat.Message.agent": "a fact: the agent",
    "chat.Message.hidden_reason": "a code, of a list",
    "chat.UserState.agent": "a fact: the agent",
    "chat.AppState.agent": "a fact: the agent",
    "memories.Memory.agent": "a fact: the agent",
    "memories.Memory.digest": "a digest",
    "chat.Run.code": "a fact: the status",
    "moderation.ReviewItem.agent": "a fact: the agent",
    "chat.Run.finish": "a fact: the status",
    "chat.Run.model": "a fact: the model",
    "chat.Run.invocation_id": "a fact: an id",
    "chat.RunEvent.type": "a code",
    "chat.PersonRequest.approvers": "the name of a group",
    "chat.Suggestion.text": "the owner's own",
    "accounts.User.suspended_reason": "a code",
    "chat.Conversation.locked_reason": "a code",
    "chat.Run.stop_code": "a code",
    "calls.LiveCall.end_code": "a code",
    "moderation.OneTimeLink.digest": "a digest",
    "files.Blob.sha256": "a digest",
    "files.File.mime": "a fact: the type",
    "files.Artifact.agent": "a fact: the agent",
    "chat.QueuedAsk.files": "ids",
    "moderation.AuditText.salt": "staff's own",
    "account.EmailAddress.email": "a fact: the owner",
    "admin.LogEntry.object_id": "a fact: an id",
    "admin.LogEntry.change_message": "Django's, of forms of the admin, which have no member's text",
}
# In no column: what a file says.
BYTES = "files.Blob.bytes"
# Models that hold nothing of a member.
NOBODYS = {
    "chat.Process", "chat.Sample", "auth.Permission", "auth.Group", "contenttypes.ContentType",
    "sessions.Session", "account.EmailConfirmation", "moderation.AuditEvent", "moderation.AuditHead",
}  # fmt: skip


def canary(label: str) -> str:
    """Return a word that the full-text index takes as one, and that no page has by itself."""
    return "walk" + re.sub(r"[^a-z]", "", label.lower()) + "canary"


def columns() -> Iterator[tuple[type[models.Model], Any]]:
    """Yield every text, JSON and file column that a canary belongs into."""
    for model in apps.get_models():
        if model._meta.label in NOBODYS:
            continue
        for column in model._meta.concrete_fields:
            label = f"{model._meta.label}.{column.name}"
            if isinstance(column, TEXTS) and not column.choices and label not in FACTS:
                yield model, column


def fill(member: Any, conversation: uuid.UUID, run: uuid.UUID) -> dict[str, str]:
    """Put a canary into each column of the member's rows; return them by column."""
    now = timezone.now()
    PersonRequest.objects.create(
        run_id=run,
        kind=PersonRequest.Kind.CONFIRM,
        call="call",
        asking_call="asking",
        tool="tool",
        expires_at=now + timedelta(days=1),
    )
    other = Conversation.objects.create(owner=member, agent="chat_assistant", title="")
    QueuedAsk.objects.create(conversation=other, owner=member, text="x", position=1)
    LiveCall.objects.create(conversation=other, owner=member)
    UserState.objects.create(user=member, agent="chat_assistant", key="k", value="1")
    AppState.objects.create(agent="chat_assistant", key="k", value="1")
    Memory.objects.create(owner=member, agent="chat_assistant", text="x", content={})
    SessionEvent.objects.get_or_create(run_id=run, position=99, defaults={"payload": "{}"})
    AuditText.objects.create(seq=10**6, salt="s", text="x", about=member)
    _store_files(member, run)
    _moderate(member, run)
    apps.get_model("admin", "LogEntry").objects.create(
        user=member,
        content_type=apps.get_model("contenttypes", "ContentType").objects.get_for_model(Conversation),
        object_id=str(conversation),
        object_repr="x",
        action_flag=2,
        change_message="",
    )
    found = {BYTES: canary(BYTES)}
    for model, column in columns():
        label = f"{model._meta.label}.{column.name}"
        rows = model._default_manager.all()
        if model is not apps.get_model("accounts", "User"):
            assert rows.exists(), f"{model._meta.label} has no row: the walk would not see it"
        else:
            rows = rows.filter(pk=member.pk)
        found[label] = canary(label)
        rows.update(**{column.attname: _value(label, column, found[label])})
    # Messages rate and say something, so that each place that can show text does.
    replies = Message.objects.filter(role="assistant")
    replies.update(
        feedback=-1,
        feedback_at=now,
        parts={"v": 1, "items": [{"type": "text", "text": found["chat.Message.parts"]}]},
    )
    Run.objects.filter(pk=run).update(status=Run.Status.FAILED, code="agent")
    return found


def _store_files(member: Any, run: uuid.UUID) -> None:
    """Store a file of the question and one that the run has saved; their bytes hold a canary."""
    found = Run.objects.get(pk=run)
    of_both = {"owner": member, "conversation": found.conversation, "size": 0, "mime": "text/plain"}
    for name, fields in (("a.txt", {"message": found.prompt}), ("b.txt", {"run": found})):
        with blobs.writer() as writer:
            writer.write(canary(BYTES).encode())
            file = File(name=name, **of_both, **fields)
            blobs.store(writer.finish(), file)
    Artifact.objects.create(
        owner=member, agent="chat_assistant", conversation=found.conversation, name="b.txt", version=0,
        file=file, run=found, attempt=1,
    )  # fmt: skip


def _moderate(member: Any, run: uuid.UUID) -> None:
    """Report the reply, ask a second question that is hidden, and appeal against that: each has texts."""
    found = Run.objects.get(pk=run)
    shared = {"conversation": found.conversation, "member": member}
    Policy.objects.update_or_create(pk=1, defaults={"watches_live": True})  # its page is walked through
    item = ReviewItem.objects.create(message=found.reply, agent="chat_assistant", priority=50, **shared)
    Report.objects.create(
        item=item, source="report", reason=ModerationReason.HARMFUL, note="x", member=member
    )
    ReviewNote.objects.create(item=item, text="x")
    hidden = Message.objects.create(
        conversation=found.conversation, parent=found.reply, role="user", hidden_at=timezone.now()
    )
    Conversation.objects.filter(pk=found.conversation_id).update(head=hidden)
    decision = Decision.objects.create(kind="hide", message=hidden, reason="harmful", item=item, **shared)
    Appeal.objects.create(decision=decision, item=item, text="x")
    HiddenMessage.objects.create(message=hidden, conversation=found.conversation)
    HiddenRun.objects.create(run=found, conversation=found.conversation)
    HiddenTitle.objects.create(conversation=found.conversation)


def _value(label: str, column: Any, word: str) -> Any:
    if label == "chat.Run.failure":
        return dict.fromkeys(("kind", "place", "message", "traceback"), word)
    if label == "chat.Message.feedback_detail":
        return {"reasons": ["wrong"], "text": word}
    if label in {"chat.RunEvent.data", "chat.SessionEvent.payload", "chat.Run.state_after"}:
        return f'{{"text": "{word}"}}'
    if label.endswith("State.value"):
        return f'"{word}"'
    if isinstance(column, models.JSONField):
        return {word: word}
    return word[: column.max_length] if column.max_length else word


# --- the addresses ------------------------------------------------------------------------------------


def patterns(found: Any = None, before: str = "") -> Iterator[str]:
    """Yield each route of the URL table, the admin's included, with its parameters in angle brackets."""
    for pattern in get_resolver().url_patterns if found is None else found:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


def filled(route: str, values: dict[str, list[str]]) -> list[str]:
    """Return the paths of a route: with each value that its parameters may have."""
    route = (
        re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", route).replace("^", "").replace("$", "").replace("\\Z", "")
    )
    names = re.findall(r"<(?:\w+:)?(\w+)>", route)
    candidates = [values.get(name) or values["*"] for name in names]
    paths = []
    for chosen in itertools.product(*candidates):
        path = route
        for value in chosen:
            before, _open, rest = path.partition("<")
            path = before + value + rest.partition(">")[2]
        paths.append("/" + path)
    return paths


def parameter_names() -> set[str]:
    """Return the names of queries and forms that the source reads, and those of Django's admin."""
    names = {"q", "o", "p", "all", "e", "_changelist_filters", "_popup", "_to_field", "action", "index"}
    for path in [*(ROOT / "chat").rglob("*.py"), *(ROOT / "accounts").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(
                isinstance(base, ast.Name) and base.id == "Fields" for base in node.bases
            ):
                names |= {
                    each.target.id
                    for each in node.body
                    if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
                }
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".GET.get", ".POST.get")):
                names |= {str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)}
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "parameter_name":
                names.add(ast.literal_eval(node.value))
    return names


def gates() -> list[str]:
    """Return the modules that call ``may_look``: each is a gate before a place that can show text."""
    return sorted(
        {
            ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for path in (ROOT / "chat").rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"may_look", "access.may_look"}
        }
    )


# --- the walk -------------------------------------------------------------------------------------------


@dataclass
class Walk:
    """One walk; ``leaks`` are the canaries that it met, each with the request."""

    client: Client
    canaries: dict[str, str]
    leaks: set[tuple[str, str]] = field(default_factory=set)
    requests: int = 0

    async def visit(self, method: str, path: str, form: dict[str, str] | None = None) -> Answer:
        """Send a request, and look for canaries in all that comes back."""
        self.requests += 1
        answer = await self.client.request(method, path, form=form)
        if "/login/" in answer.headers.get("location", ""):  # an earlier address has signed out
            await self.client.sign_in()
            answer = await self.client.request(method, path, form=form)
        self.look(f"{method} {path} {form or ''}", answer.text, *answer.headers.values())
        if method == "POST":  # a form may have opened one
            await sync_to_async(AccessGrant.objects.all().delete)()
        return answer

    def look(self, where: str, *texts: str) -> None:
        for label, word in self.canaries.items():
            # A form shows again what was sent.
            if word not in where and any(word in text for text in texts):
                self.leaks.add((where, label))

    async def all_of(self, paths: Iterable[str], queries: list[dict[str, str]]) -> None:
        for path in paths:
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
                await self.visit(method, path, {} if method == "POST" else None)
            for query in queries:
                (name, value), *_ = query.items()
                await self.visit("GET", f"{path}?{name}={value}")
                await self.visit("POST", path, query)

    def look_at_letters(self) -> None:
        for letter in mail.outbox:
            self.look("a letter", str(letter.subject), str(letter.body))


def tables_hold(word: str) -> bool:
    """Return whether some table holds the word: the canary was stored."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            if any(word in str(value) for row in cursor.fetchall() for value in row):
                return True
    return False
