"""Transcript of a conversation for moderators: its messages as the owner sees them, and their runs."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from chat.access import access_message
from chat.answer_fields import args_of, visible
from chat.files.models import File
from chat.models import BRANCH_MAX, Conversation, Message, PersonRequest, Run
from chat.pages import transcript
from chat.pages.outcomes import RequestOutcome, outcome_of, requests_of
from chat.pages.transcript import LiveReply, PageMessage
from chat.search.terms import Phrase, marks_in
from chat.waiting import open_requests

TRANSCRIPT_LENGTH = 100
HITS_SOUGHT = 1_000  # messages in which a hit of a search is looked for, the newest first


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """Request to a person, and what happened to it; without an outcome it is open."""

    request: PersonRequest
    tool: str
    args: str
    outcome: RequestOutcome | None


@dataclass(slots=True)
class TranscriptEntry:
    """Message with its versions and runs."""

    shown: PageMessage
    siblings: list[uuid.UUID]  # all versions of the message, itself included
    runs: list[Run]  # the run of a reply, or the runs of a question that have no reply
    requests: list[AskedRequest]  # that the reply ended with
    files: list[File]  # of the question, or of its runs; hidden ones, too

    @property
    def message(self) -> Message:
        return self.shown.message

    @property
    def feedback_reasons(self) -> list[str]:
        """Labels of the reasons that the owner gave for bad feedback."""
        reasons = (self.message.feedback_detail or {}).get("reasons", [])
        return [str(Message.Reason(reason).label) for reason in reasons]

    @property
    def version(self) -> int:
        """Its number among its siblings, from 1."""
        return self.siblings.index(self.message.pk) + 1

    @property
    def previous(self) -> uuid.UUID | None:
        return self.siblings[self.version - 2] if self.version > 1 else None

    @property
    def following(self) -> uuid.UUID | None:
        return self.siblings[self.version] if self.version < len(self.siblings) else None


@dataclass(frozen=True, slots=True)
class Transcript:
    """Page of a branch."""

    entries: list[TranscriptEntry]
    older: uuid.UUID | None  # the first message, if there are older ones
    is_active_branch: bool
    is_older: bool
    live: LiveReply | None


def newest_hit(conversation: Conversation, phrases: Sequence[Phrase]) -> str:
    """Return the id of the newest message with one of the phrases; empty if there is none."""
    messages = Message.objects.filter(conversation=conversation).order_by("-created_at", "-id")
    texts = messages.values_list("pk", "text")[:HITS_SOUGHT].iterator()
    return next((str(key) for key, text in texts if next(marks_in(text, phrases), None)), "")


def transcript_of(
    conversation: Conversation, *, message: str = "", before: str = "", hit: str = ""
) -> Transcript:
    """Return the last messages of the active branch, or of the newest branch through ``message``.

    With ``before``, the messages before it; with ``hit``, the branch up to it, unless the last messages of
    the active branch show it. Raises the 404 refusal for a message of another conversation.
    """
    end = _end(conversation, message, before)
    branch = _branch(end, TRANSCRIPT_LENGTH)
    if hit and hit not in {str(each.pk) for each in branch}:
        end = access_message(conversation, hit).pk
        branch = _branch(end, TRANSCRIPT_LENGTH)
    unanswered = _runs_without_reply(branch)
    active = next((run for run in unanswered if run.is_active), None)
    return Transcript(
        entries=_entries(conversation, branch, unanswered),
        older=branch[0].pk if branch and branch[0].parent_id else None,
        is_active_branch=not before and end == conversation.head_id,
        is_older=bool(before),
        live=transcript.live_reply(active) if active else None,
    )


def entries_around(conversation: Conversation, message: Message, beside: int) -> list[TranscriptEntry]:
    """Return a message with at most ``beside`` messages on either side.

    They are of the active branch if the message is in it, otherwise of the newest branch through it.
    """
    above = Message.objects.ids_above(conversation.head_id, BRANCH_MAX)
    if message.pk not in above:
        above = Message.objects.ids_above(Message.objects.leaf_below(message.pk), BRANCH_MAX)
    place = above.index(message.pk) if message.pk in above else 0
    last = max(place - beside, 0)
    branch = _branch(above[last], limit=place - last + 1 + beside)
    return _entries(conversation, branch, _runs_without_reply(branch))


def _end(conversation: Conversation, message: str, before: str) -> uuid.UUID | None:
    if before:
        return access_message(conversation, before).parent_id
    if message:
        return Message.objects.leaf_below(access_message(conversation, message).pk)
    return conversation.head_id


def _branch(end: uuid.UUID | None, limit: int) -> list[Message]:
    runs_too = Message.objects.select_related("run").defer("run__state_after")
    return runs_too.branch(end, limit=limit)


def _runs_without_reply(branch: Sequence[Message]) -> list[Run]:
    """Return the runs of the branch's questions that have no reply, active ones included."""
    prompts = [message.pk for message in branch if message.role == Message.Role.USER]
    unanswered = Run.objects.filter(prompt__in=prompts, reply=None).order_by("created_at", "id")
    return list(unanswered.select_related("conversation").defer("state_after"))


def _entries(
    conversation: Conversation, branch: Sequence[Message], unanswered: Sequence[Run]
) -> list[TranscriptEntry]:
    siblings = Message.objects.siblings_of(branch)
    asked: dict[uuid.UUID, list[PersonRequest]] = {}
    for request in requests_of(branch, []):
        asked.setdefault(request.run_id, []).append(request)
    open_now = {request.pk for request in open_requests(conversation)} if asked else set()
    files_by = _files_by(branch, unanswered)
    entries = []
    for shown in transcript.page_messages(branch, may_ask=False):
        message = shown.message
        runs = [message.run] if message.run else [run for run in unanswered if run.prompt_id == message.pk]
        is_end = message.pk == conversation.head_id
        requests = [
            AskedRequest(
                request,
                visible(request.tool),
                args_of(request),
                outcome_of(request, open_now, is_end=is_end),
            )
            for request in (asked.get(message.run_id, []) if message.run_id else [])
        ]
        files = [file for key in (message.pk, *(run.pk for run in runs)) for file in files_by[key]]
        entries.append(TranscriptEntry(shown, siblings[message.parent_id], runs, requests, files))
    return entries


def _files_by(branch: Sequence[Message], unanswered: Sequence[Run]) -> dict[uuid.UUID, list[File]]:
    """Return the complete files of the branch's questions and runs, by the id of either."""
    runs = [message.run_id for message in branch if message.run_id] + [run.pk for run in unanswered]
    of_any = Q(message__in=[message.pk for message in branch]) | Q(run__in=runs)
    found: dict[uuid.UUID, list[File]] = defaultdict(list)
    for file in File.objects.filter(of_any, blob__isnull=False).order_by("created_at", "pk"):
        found[file.message_id or file.run_id or file.pk].append(file)
    return found
