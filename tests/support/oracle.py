"""Check of the invariants I1 to I5 of docs/architecture.md on the database that a test leaves."""

import json
from collections import Counter
from collections.abc import Iterable

from asgiref.sync import sync_to_async

from chat import events
from chat.endings import STATUS_OF
from chat.events import Fold, Row
from chat.models import Conversation, Message, Run, RunEvent
from chat.moderation.models import HiddenMessage
from tests.support.sse_client import SseEvent, text_of


def check(transcripts: Iterable[list[SseEvent]] = (), *, all_ended: bool = True) -> None:
    """Raise AssertionError if an invariant does not hold.

    ``transcripts`` are the events that clients received, each from a run's first event on.
    """
    runs = list(Run.objects.select_related("reply", "prompt"))
    for run in runs:
        log = [
            Row(*v)
            for v in RunEvent.objects.filter(run=run).order_by("seq").values_list("seq", "type", "data")
        ]
        _order(run, log)
        if run.is_active:
            assert not all_ended, f"I2: {run} has not ended"
        else:
            _one_end(run, log)
    _sound_trees()
    _one_active(runs)
    _nothing_doubled(runs)
    for transcript in transcripts:
        _shown_is_stored(transcript)


acheck = sync_to_async(check)


def _order(run: Run, log: list[Row]) -> None:
    hidden = run.reply and HiddenMessage.objects.filter(message=run.reply).exists()
    whole = [1, run.last_seq - 1, run.last_seq] if hidden else list(range(1, len(log) + 1))
    assert [row.seq for row in log] == whole, f"I5: a gap in {run}"
    assert log and log[0].type == events.STARTED, f"I1: {run} has no beginning"
    called = set()
    for row in log:
        if row.type == events.TOOL_CALLED:
            called.add(json.loads(row.data)["id"])
        if row.type == events.TOOL_RETURNED:
            assert json.loads(row.data)["id"] in called, f"I5: {run} returned before it called"


def _one_end(run: Run, log: list[Row]) -> None:
    terminal = [row for row in log if row.type in events.TERMINAL]
    assert len(terminal) == 1 and log[-1] is terminal[0], f"I2: {run} has {len(terminal)} ends"
    assert STATUS_OF[terminal[0].type] == run.status, f"I2: {run} ends with {terminal[0].type}"
    assert run.last_seq == log[-1].seq and run.ended_at
    fold = Fold(row.event() for row in log)
    stored = run.reply.text if run.reply else ""
    assert stored == fold.text, f"I4: the reply of {run} differs from its events"
    replies = Message.objects.filter(run=run).count()
    assert replies == (1 if run.reply_id else 0), f"I2: {run} wrote {replies} replies"


def _sound_trees() -> None:
    """Check that messages follow ones of their conversation, and that each active branch ends in a leaf.

    A branch may also end at a prompt whose newest run has no reply: earlier replies to it are other versions.
    """
    messages = {m.pk: m for m in Message.objects.only("conversation_id", "parent_id", "role", "created_at")}
    for message in messages.values():
        if message.parent_id is None:
            assert message.role == Message.Role.USER, f"{message} begins a conversation"
            continue
        parent = messages[message.parent_id]
        assert parent.conversation_id == message.conversation_id, f"{message} follows a foreign message"
        assert parent.created_at <= message.created_at, f"{message} is older than the message it follows"
        assert Message.Role.USER in (parent.role, message.role), f"{message} answers an answer"
    parents = {message.parent_id for message in messages.values()}
    for pk, head in Conversation.objects.filter(deleted_at=None).values_list("pk", "head"):
        if head:
            assert messages[head].conversation_id == pk, f"the head of {pk} is a foreign message"
            newest = Run.objects.filter(prompt=head).order_by("-created_at").first()
            assert head not in parents or (newest and newest.reply_id is None), (
                f"the head of {pk} has a message below it"
            )


def _one_active(runs: list[Run]) -> None:
    active = Counter(run.conversation_id for run in runs if run.is_active)
    assert all(count == 1 for count in active.values()), "I5: two active runs in a conversation"


def _nothing_doubled(runs: list[Run]) -> None:
    keys = Counter((run.owner_id, run.client_id) for run in runs if run.client_id)
    assert all(count == 1 for count in keys.values()), "I1: a key made two runs"


def _shown_is_stored(transcript: list[SseEvent]) -> None:
    if not transcript:
        return
    run = Run.objects.get(pk=transcript[0].run)
    stored = {row.seq: row for row in RunEvent.objects.filter(run=run)}
    for shown in transcript:
        if shown.is_done:
            assert run.ended_at, f"I3: {run} sent [DONE] without an end"
            assert shown.seq == run.last_seq + 1
            continue
        row = stored.get(shown.seq)
        assert row is not None, f"I3: {run}:{shown.seq} was shown and is not stored"
        assert row.data == shown.data and row.type == (shown.name or events.TEXT), (
            f"I4: {run}:{shown.seq} differs"
        )
    if transcript[-1].is_done and transcript[0].seq == 1:
        assert text_of(transcript) == (run.reply.text if run.reply else "")
