"""Transitions of a run under races: one claim wins and one end is stored, on any database."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chat import events, lifecycle
from chat.actions import Ask, IfBusy, mark_deleted, send_message, send_or_queue
from chat.endings import End
from chat.events import Event, Fold
from chat.lifecycle import Claim, Outcome
from chat.models import Conversation, Message, Process, QueuedAsk, Run, RunEvent, SessionEvent
from chat.runs import pending
from chat.runs.journal import RunBatch, write
from tests.support import oracle
from tests.support.campaigns import trials

pytestmark = pytest.mark.django_db(transaction=True)

DELETIONS = trials(100, sample=50)
MOST = 8  # concurrent calls
RACES = trials(1000, sample=200)


@pytest.fixture
def process(transactional_db: None) -> Process:
    return Process.objects.create(host="h", pid=1, boot_id="b", version="v")


def queued(owner: Any, text: str = "q") -> Run:
    return send_message(owner, Ask(query=text), agents=["chat_assistant"])


LOST = Outcome(End(events.EXPIRED, "lost"))


def claimed(owner: Any, process: Process) -> Claim:
    found = lifecycle.claim(queued(owner).pk, process.pk)
    assert found
    return found[0]


def said(*texts: str) -> list[Event]:
    return [events.text(text) for text in texts]


def _disconnect() -> None:
    connection.close()  # this thread's own


Simultaneously = Callable[..., list[Any]]


@pytest.fixture
def simultaneously(transactional_db: None) -> Iterator[Simultaneously]:
    """Return a function that calls its arguments at the same time, each on its own thread and connection."""
    with ThreadPoolExecutor(MOST) as threads:

        def race(*work: Callable[[], Any]) -> list[Any]:
            ready = threading.Barrier(len(work))

            def start(one: Callable[[], Any]) -> Any:
                ready.wait()
                return one()

            racing = [threads.submit(start, one) for one in work]
            return [one.result() for one in racing]

        yield race
        race(*[_disconnect] * MOST)


@pytest.mark.timeout(600)
def test_many_stops_race_the_finish(
    alice: Any, process: Process, settings: Any, simultaneously: Simultaneously
) -> None:
    settings.LIMITS = False
    won: Counter[str] = Counter()
    for _ in range(RACES):
        claim = claimed(alice, process)
        finish = Outcome(End(events.COMPLETED, finish="stop"))
        stop = Outcome(End(events.STOPPED))
        results = simultaneously(
            partial(lifecycle.end, claim, finish, Fold(said("a", "b")), said("a", "b")),
            partial(lifecycle.end, claim, stop, Fold(said("a")), said("a")),
        )
        assert sum(rows is not None for rows in results) == 1
        won["finish" if results[0] is not None else "stop"] += 1
    assert Run.objects.active().count() == 0
    assert RunEvent.objects.filter(type__in=events.TERMINAL).count() == RACES
    assert Message.objects.filter(role="assistant").count() == RACES
    assert set(won) == {"finish", "stop"}, "a race that one side always wins is none"
    oracle.check()


def test_a_deletion_racing_the_finish_does_not_deadlock(
    alice: Any, process: Process, settings: Any, simultaneously: Simultaneously
) -> None:
    """Both lock the conversation and the run. In different orders, PostgreSQL would end one of them."""
    settings.LIMITS = False
    for _ in range(DELETIONS):
        claim = claimed(alice, process)
        conversation = Conversation.objects.get(runs=claim.run)
        ended, _running = simultaneously(
            partial(
                lifecycle.end,
                claim,
                Outcome(End(events.COMPLETED, finish="stop")),
                Fold(said("a")),
                said("a"),
            ),
            partial(mark_deleted, conversation),
        )
        assert ended is not None
    assert Run.objects.active().count() == 0


def test_a_stop_that_asks_the_next_question_does_not_deadlock_with_an_assignment(
    alice: Any, process: Process, settings: Any, simultaneously: Simultaneously
) -> None:
    """Both lock the run and the process: the question after a stopped run is assigned at once."""
    settings.LIMITS = False
    settings.DEAD_AFTER_SECONDS = 600  # the process of this test has no heartbeat
    for _ in range(20):
        run = queued(alice)
        ask = Ask(query="next", conversation=run.conversation_id, if_busy=IfBusy.INTERRUPT)
        Run.objects.filter(pk=run.pk).update(status=Run.Status.RUNNING)  # so that the stop is not immediate
        assert isinstance(send_or_queue(alice, ask, agents=["chat_assistant"]), QueuedAsk)
        Run.objects.filter(pk=run.pk).update(status=Run.Status.QUEUED)
        stopped, assigned = simultaneously(
            partial(lifecycle.stop_queued, run.pk), partial(pending.assign, run.pk)
        )
        assert stopped is not None
        assert assigned
    assert Run.objects.filter(status=Run.Status.QUEUED, process=process).count() == 20


def test_one_of_eight_concurrent_claims_wins(
    alice: Any, process: Process, simultaneously: Simultaneously
) -> None:
    for _ in range(20):
        run = queued(alice)
        results = simultaneously(*[lambda run=run: lifecycle.claim(run.pk, process.pk) for _ in range(8)])
        assert sum(found is not None for found in results) == 1
        Run.objects.filter(pk=run.pk).delete()


def test_one_of_eight_concurrent_takeovers_wins(
    alice: Any, process: Process, simultaneously: Simultaneously
) -> None:
    for _ in range(20):
        claim = claimed(alice, process)
        results = simultaneously(
            *[lambda claim=claim: lifecycle.take_over(claim.run, claim.epoch, process.pk) for _ in range(8)]
        )
        assert sum(found is not None for found in results) == 1
        Run.objects.filter(pk=claim.run).delete()


def test_a_process_whose_run_was_taken_over_cannot_write_to_it(alice: Any, process: Process) -> None:
    old = claimed(alice, process)
    taken = lifecycle.take_over(old.run, old.epoch, process.pk)
    assert taken
    page = RunBatch(old, [events.Row(2, "text", '{"text": "zombie"}')], [(0, "{}")], None)  # type: ignore[arg-type]
    assert write([page]) == set()
    assert lifecycle.end(old, Outcome(End(events.STOPPED)), Fold(said("zombie")), said("zombie")) is None
    assert lifecycle.hand_over(old, LOST, Fold(said("zombie"))) is None
    assert lifecycle.restart(old, LOST, Fold(said("zombie"))) is None
    assert RunEvent.objects.count() == 1
    assert SessionEvent.objects.count() == 0


def test_a_restart_replaces_the_written_text_and_happens_once(alice: Any, process: Process) -> None:
    old = claimed(alice, process)
    write([RunBatch(old, [events.Row(2, "text", '{"text": "half"}')], [(0, "{}")], None)])  # type: ignore[arg-type]
    taken = lifecycle.take_over(old.run, old.epoch, process.pk)
    assert taken
    claim = taken[0]
    rows = lifecycle.restart(claim, LOST, Fold(said("half")))
    assert rows
    kept = Message.objects.get(text="half")
    data = f'{{"text": "", "attempt": 2, "kept": "{kept.pk}"}}'
    assert [(row.seq, row.type, row.data) for row in rows] == [(3, "replace", data)]
    assert SessionEvent.objects.get().run == kept.run != Run.objects.get(pk=claim.run)
    assert lifecycle.restart(claim, LOST, Fold(said("half"))) is None
    fold = Fold([*said("half"), events.replace(""), *said("whole")])
    lifecycle.end(claim, Outcome(End(events.COMPLETED, finish="stop")), fold, said("whole"))
    assert Run.objects.get(pk=claim.run).reply.text == "whole"  # type: ignore[union-attr]
    oracle.check()


def test_a_handed_over_run_is_queued_again_without_counting_an_attempt(alice: Any, process: Process) -> None:
    claim = claimed(alice, process)
    assert lifecycle.hand_over(claim, LOST, Fold()) == []
    again = lifecycle.claim(claim.run, process.pk)
    assert again
    assert again[1].attempt == 1
    assert again[0].epoch > claim.epoch


def test_the_reply_moves_the_head_only_where_its_prompt_is_the_head(alice: Any, process: Process) -> None:
    claim = claimed(alice, process)
    run = Run.objects.select_related("conversation").get(pk=claim.run)
    other = Message.objects.create(conversation=run.conversation, role="user", text="elsewhere")
    run.conversation.head = other
    run.conversation.save(update_fields=["head"])
    lifecycle.end(claim, Outcome(End(events.COMPLETED, finish="stop")), Fold(said("x")), said("x"))
    run.conversation.refresh_from_db()
    assert run.conversation.head_id == other.pk


def test_the_end_is_all_or_nothing(alice: Any, process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claimed(alice, process)

    def fails(*args: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(lifecycle, "_store_session", fails)
    with pytest.raises(RuntimeError):
        lifecycle.end(claim, Outcome(End(events.COMPLETED, finish="stop")), Fold(said("x")), said("x"))
    run = Run.objects.get()
    assert (run.status, run.reply, run.ended_at) == ("running", None, None)
    assert RunEvent.objects.count() == 1
    assert Message.objects.count() == 1


def test_the_end_of_a_run_takes_eight_statements(alice: Any, process: Process) -> None:
    """The number, and each of them, is in docs/architecture.md."""
    claim = claimed(alice, process)
    write([RunBatch(claim, [events.Row(2, "text", '{"text": "a"}')], [(0, "{}")], None)])  # type: ignore[arg-type]
    outcome = Outcome(End(events.COMPLETED, finish="stop"), session_events=["{}"])
    with CaptureQueriesContext(connection) as captured:
        rows = lifecycle.end(claim, outcome, Fold(said("a", "b")), said("b"))
    statements = [each["sql"] for each in captured if not each["sql"].startswith(("BEGIN", "COMMIT"))]
    assert len(statements) == 8, statements
    assert rows is not None
    assert [(row.seq, row.type) for row in rows] == [(3, "text"), (4, events.COMPLETED)]
    run = Run.objects.get()
    assert (run.deltas, run.last_seq) == (2, 4)
    assert list(run.session_events.order_by("position").values_list("position", flat=True)) == [0, 1]
    oracle.check()
