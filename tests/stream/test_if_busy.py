"""Asks that wait for an answer: ``if_busy``, the queue of a conversation, and what it waits for."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from chat import events, lifecycle
from chat.endings import End
from chat.log import read_log
from chat.models import Conversation, Message, PersonRequest, Process, QueuedAsk, Run
from chat.runs import stopping
from chat.runs.supervisor import supervisor
from chat.runs.sweep import sweep
from chat.stream import admission
from tests.agent.test_agents_that_wait import HEAD, WAITING
from tests.support import oracle
from tests.support.client import Answer, Client, Exchange
from tests.support.gemini import Gemini, Hold, Status, Text, questions_of

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]


class Chat:
    """A conversation of alice, whose first answer is held at the model."""

    def __init__(self, client: Client, conversation: str, run: str, stream: Exchange) -> None:
        self.client, self.conversation, self.run, self.stream = client, conversation, run, stream

    async def ask(self, query: str, if_busy: str = "queue", **fields: Any) -> Answer:
        body = {"query": query, "conversation": self.conversation, "if_busy": if_busy, **fields}
        return await self.client.post("/chat/stream", body)

    async def queue(self, query: str, **fields: Any) -> str:
        answer = await self.ask(query, **fields)
        assert answer.status == 202, answer.text
        return str(answer.json()["queued"])

    async def read(self) -> dict[str, Any]:
        answer = await self.client.get(f"/api/v1/conversations/{self.conversation}?limit=100")
        found: dict[str, Any] = answer.json()
        return found

    async def queued(self) -> list[tuple[str, str]]:
        return [(each["text"], each["why"]) for each in (await self.read())["queued"]]

    async def texts(self) -> list[str]:
        return [message["text"] for message in (await self.read())["messages"]["items"]]

    async def stop(self) -> None:
        assert (await self.client.post(f"/chat/runs/{self.run}/stop")).status == 200

    async def settle(self) -> list[str]:
        """Read the held answer and those of the queue to their ends, and return the texts."""
        await self.stream.all_events()
        await nothing_runs()
        return await self.texts()


async def nothing_runs() -> None:
    """Wait until no run is active; the test's time limit ends it."""
    while await Run.objects.active().aexists():
        await asyncio.sleep(0.02)


Busy = Callable[[], Any]


@pytest.fixture
def busy(as_alice: Client, gemini: Gemini) -> Busy:
    gemini.on("one", [Text("first"), Hold(), Text(" answer")], [Text("again")])

    @asynccontextmanager
    async def chat() -> AsyncIterator[Chat]:
        async with as_alice.open("POST", "/chat/stream", json_body={"query": "one"}) as stream:
            seen = await stream.until("text")
            started = seen[0].json()
            yield Chat(as_alice, started["conversation"], started["run"], stream)
            gemini.release()
            await nothing_runs()
        await oracle.acheck()

    return chat


# --- asking ---------------------------------------------------------------------------------------


async def test_a_queued_question_is_asked_when_the_answer_before_it_has_ended(
    busy: Busy, gemini: Gemini
) -> None:
    async with busy() as chat:
        answer = await chat.ask("two")
        assert answer.status == 202
        queued = answer.json()
        assert queued == {"queued": queued["queued"], "position": 1}
        assert answer.headers["cache-control"] == "private, no-store"
        gemini.release()
        assert await chat.settle() == ["one", "first answer", "two", "You said: two"]
        assert await chat.queued() == []
    run = (await chat.client.get(f"/api/v1/runs/{queued['queued']}")).json()
    assert (run["status"], run["conversation"]) == ("completed", chat.conversation)
    said = [text for _role, text in questions_of(gemini.requests[-1])]
    assert said == ["one", "first answer", "two"]


async def test_a_queue_keeps_its_order(busy: Busy, gemini: Gemini) -> None:
    async with busy() as chat:
        for n in range(5):
            assert (await chat.ask(f"q{n}")).json()["position"] == n + 1
        gemini.release()
        texts = await chat.settle()
    assert texts[2::2] == ["q0", "q1", "q2", "q3", "q4"]


async def test_a_sixth_queued_question_is_refused(busy: Busy) -> None:
    async with busy() as chat:
        for n in range(5):
            await chat.queue(f"q{n}")
        for if_busy in ("queue", "interrupt"):
            refused = await chat.ask("too many", if_busy)
            assert (refused.status, refused.json()["error"]["code"]) == (409, "queue_full")
        assert len(await chat.queued()) == 5
        assert (await chat.read())["active_run"] == chat.run  # not even stopped


@pytest.mark.parametrize("if_busy", ["queue", "interrupt"])
async def test_a_question_to_an_idle_conversation_is_asked_immediately(
    as_alice: Client, if_busy: str
) -> None:
    first = await as_alice.post("/chat/stream", {"query": "one", "if_busy": if_busy})
    assert first.events[-1].is_done
    conversation = first.events[0].json()["conversation"]
    second = await as_alice.post(
        "/chat/stream", {"query": "two", "conversation": conversation, "if_busy": if_busy}
    )
    assert second.status == 200
    assert second.events[-1].is_done
    assert await QueuedAsk.objects.acount() == 0


@pytest.mark.parametrize("fields", [{}, {"if_busy": "refuse"}])
async def test_a_question_is_refused_if_busy_by_default(busy: Busy, fields: dict[str, str]) -> None:
    async with busy() as chat:
        body = {"query": "two", "conversation": chat.conversation, **fields}
        refused = await chat.client.post("/chat/stream", body)
        assert (refused.status, refused.json()["error"]["run"]) == (409, chat.run)


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": str(uuid.uuid4()), "if_busy": "queue"},
        {"query": "x", "parent": None, "if_busy": "queue"},
        {"query": "x", "parent": str(uuid.uuid4()), "if_busy": "interrupt"},
        {
            "answers": [{"id": str(uuid.uuid4()), "decision": "approve"}],
            "conversation": str(uuid.uuid4()),
            "if_busy": "queue",
        },
        {"query": "x", "if_busy": "later"},
        {"query": "x", "if_busy": None},
    ],
)
async def test_a_queue_takes_only_plain_questions(as_alice: Client, body: dict[str, Any]) -> None:
    refused = await as_alice.post("/chat/stream", body)
    assert (refused.status, refused.json()["error"]["code"]) == (400, "malformed"), refused.text


async def test_a_queued_question_is_checked_before_it_waits(busy: Busy) -> None:
    async with busy() as chat:
        for text, code in (("  ", "blank"), ("x" * 140_000, "too_long")):
            refused = await chat.ask(text)
            assert (refused.status, refused.json()["error"]["code"]) == (422, code)
        await Conversation.objects.aupdate(locked_at=timezone.now())
        assert (await chat.ask("two")).status == 423
        await Conversation.objects.aupdate(locked_at=None)


# --- one key --------------------------------------------------------------------------------------


async def test_a_key_is_queued_once_and_asked_once(busy: Busy, gemini: Gemini) -> None:
    key = str(uuid.uuid4())
    async with busy() as chat:
        answers = await asyncio.gather(*(chat.ask("two", client_id=key) for _ in range(10)))
        assert {answer.status for answer in answers} == {202}
        assert len({answer.body for answer in answers}) == 1
        other = await chat.ask("three", client_id=key)
        assert (other.status, other.json()["error"]["code"]) == (422, "key_reused")
        gemini.release()
        await chat.settle()
        asked = await chat.ask("two", client_id=key)
    assert asked.status == 200
    assert asked.events[0].json()["run"] == answers[0].json()["queued"]
    assert gemini.calls_for("two") == 1


async def test_a_key_that_waits_cannot_be_used_for_another_question(busy: Busy, as_alice: Client) -> None:
    key = str(uuid.uuid4())
    async with busy() as chat:
        await chat.queue("two", client_id=key)
        refused = await as_alice.post("/chat/stream", {"query": "two", "client_id": key})
        assert (refused.status, refused.json()["error"]["code"]) == (422, "key_reused")


# --- withdrawing ----------------------------------------------------------------------------------


async def test_a_withdrawn_question_is_not_asked(busy: Busy, gemini: Gemini) -> None:
    async with busy() as chat:
        first, second, _third = [await chat.queue(f"q{n}") for n in range(3)]
        assert (await chat.client.request("DELETE", f"/api/v1/queued/{second}")).status == 204
        assert [text for text, _why in await chat.queued()] == ["q0", "q2"]
        assert (await chat.ask("q3")).json()["position"] == 3
        assert (await chat.client.request("DELETE", f"/api/v1/queued/{second}")).status == 404
        gemini.release()
        assert (await chat.settle())[2::2] == ["q0", "q2", "q3"]
        asked = await chat.client.request("DELETE", f"/api/v1/queued/{first}")
        assert (asked.status, asked.json()["error"]["code"]) == (409, "asked")
        assert asked.json()["error"]["run"] == first


async def test_a_deleted_conversation_asks_nothing_more(busy: Busy, gemini: Gemini) -> None:
    async with busy() as chat:
        queued = await chat.queue("two")
        path = f"/api/v1/conversations/{chat.conversation}"
        assert (await chat.client.request("DELETE", path)).status == 204
        await chat.stream.all_events()
        for method, route in (("DELETE", ""), ("POST", "/send")):
            assert (await chat.client.request(method, f"/api/v1/queued/{queued}{route}")).status == 404
    assert await QueuedAsk.objects.acount() == 0
    assert gemini.calls_for("two") == 0


async def test_the_queue_of_a_deactivated_account_is_withdrawn(
    busy: Busy, gemini: Gemini, alice: Any
) -> None:
    async with busy() as chat:
        await chat.queue("two")
        alice.is_active = False
        await alice.asave()
        gemini.release()
        await nothing_runs()
    assert await QueuedAsk.objects.acount() == 0
    assert gemini.calls_for("two") == 0


async def test_a_waiting_queue_of_a_deactivated_account_is_withdrawn(busy: Busy, alice: Any) -> None:
    async with busy() as chat:
        await chat.queue("two")
        await chat.stop()
        alice.is_active = False
        await alice.asave()
        await sweep(supervisor)
        assert await QueuedAsk.objects.acount() == 0


# --- waiting --------------------------------------------------------------------------------------


async def test_a_queue_waits_after_a_stop_until_it_is_sent(busy: Busy, gemini: Gemini) -> None:
    async with busy() as chat:
        await chat.queue("two")
        queued = await chat.queue("three")
        assert await chat.queued() == [("two", "answering"), ("three", "answering")]
        await chat.stop()
        await sweep(supervisor)
        assert await chat.queued() == [("two", "stopped"), ("three", "stopped")]
        sent = await chat.client.post(f"/api/v1/queued/{queued}/send")
        assert (sent.status, sent.json()) == (200, {"run": queued})
        again = await chat.client.post(f"/api/v1/queued/{queued}/send")
        assert (again.status, again.json()) == (200, {"run": queued})
        assert (await chat.settle())[2::2] == ["three", "two"]


async def test_a_queue_waits_after_a_failure(busy: Busy, gemini: Gemini) -> None:
    gemini.on("two", [Status(400, "INVALID_ARGUMENT")])
    async with busy() as chat:
        await chat.queue("two")
        await chat.queue("three")
        gemini.release()
        await chat.settle()
        assert await chat.queued() == [("three", "failed")]


async def test_another_question_goes_ahead_of_a_waiting_queue_which_then_goes_on(busy: Busy) -> None:
    async with busy() as chat:
        await chat.queue("two")
        await chat.stop()
        late = await chat.ask("three")  # it may wait, so it does not overtake
        assert (late.status, late.json()["position"]) == (202, 2)
        plain = await chat.ask("now", "refuse")
        assert plain.status == 200
        assert (await chat.settle())[2::2] == ["now", "two", "three"]


async def test_a_queue_is_asked_at_the_end_of_the_active_branch(busy: Busy, gemini: Gemini) -> None:
    async with busy() as chat:
        await chat.stop()
        stopped = (await chat.read())["head"]
        gemini.on("two", [Text("x"), Hold(), Text("y")])
        body = {"query": "two", "conversation": chat.conversation}
        async with chat.client.open("POST", "/chat/stream", json_body=body) as stream:
            await stream.until("text")
            await chat.queue("three")
            # Not by PATCH: it chooses the newest version below a message, which is the new one.
            await Conversation.objects.filter(pk=chat.conversation).aupdate(head=stopped)
            gemini.release()
            await stream.all_events()
        await chat.settle()
        assert await chat.texts() == ["one", "first", "three", "You said: three"]


async def test_a_queue_over_the_limit_goes_on_later(
    busy: Busy, as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.LIMITS, settings.RUNS_PER_MEMBER = True, 1
    async with busy() as chat:
        await chat.queue("two")
        other = await Conversation.objects.acreate(owner=as_alice.user, agent="chat_assistant", title="t")
        message = await other.messages.acreate(role="user", text="q")
        elsewhere = await Process.objects.acreate(host="elsewhere", pid=1, boot_id="", version="")
        blocker = await Run.objects.acreate(
            conversation=other,
            owner=as_alice.user,
            prompt=message,
            process=elsewhere,
            status="running",
        )
        gemini.release()
        await chat.stream.all_events()
        assert await chat.queued() == [("two", "limit")]
        refused = await as_alice.post(f"/api/v1/queued/{(await chat.read())['queued'][0]['id']}/send")
        assert (refused.status, refused.json()["error"]["code"]) == (429, "too_many")
        await elsewhere.adelete()
        await blocker.adelete()
        await sweep(supervisor)
        assert (await chat.settle())[2::2] == ["two"]


async def test_a_locked_queue_goes_on_when_it_is_unlocked(
    busy: Busy, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(_supervisor: Any) -> None:
        """Stand in for the sweep of the heartbeat, which may come at any moment."""

    monkeypatch.setattr("chat.runs.supervisor.sweep", none)
    async with busy() as chat:
        queued = await chat.queue("two")
        await Conversation.objects.aupdate(locked_at=timezone.now())
        gemini.release()
        await chat.stream.all_events()
        assert await chat.queued() == [("two", "locked")]
        assert (await chat.client.post(f"/api/v1/queued/{queued}/send")).status == 423
        await Conversation.objects.aupdate(locked_at=None)
        assert await chat.queued() == [("two", "soon")]
        await sweep(supervisor)
        assert (await chat.settle())[2::2] == ["two"]


# --- requests -------------------------------------------------------------------------------------


@pytest.fixture
async def bank(write_agents: WriteAsync, as_alice: Client, gemini: Gemini) -> Chat:
    """Return a conversation in which a transfer waits for alice, and a question waits for that."""
    code, call = WAITING["confirmation"]
    await write_agents({"bank/agent.py": HEAD + f"\n    {code}\n"})
    gemini.on("Pay 5.", [Text("I look. "), call], [Text("It is done.")])
    body = {"query": "Pay 5.", "agent": "bank"}
    async with as_alice.open("POST", "/chat/stream", json_body=body) as stream:
        events = await stream.all_events()
        started = events[0].json()
        return Chat(as_alice, started["conversation"], started["run"], stream)


@pytest.mark.parametrize("if_busy", ["queue", "interrupt"])
async def test_a_queued_question_lapses_no_request(bank: Chat, if_busy: str) -> None:
    queued = await bank.ask("And now?", if_busy)
    assert queued.status == 202
    await sweep(supervisor)
    assert await bank.queued() == [("And now?", "request")]
    sent = await bank.client.post(f"/api/v1/queued/{queued.json()['queued']}/send")
    assert (sent.status, sent.json()["error"]["code"]) == (409, "undecided")
    (request,) = (await bank.read())["waiting"]
    answers = [{"id": request["id"], "decision": "approve"}]
    body = {"conversation": bank.conversation, "answers": answers}
    assert (await bank.client.post("/chat/stream", body)).status == 200
    texts = await bank.settle()
    assert texts[2:] == ["Approved: transfer_money", "It is done.", "And now?", "You said: And now?"]


async def test_a_queue_goes_on_when_a_request_has_expired(bank: Chat) -> None:
    await bank.queue("And now?")
    await PersonRequest.objects.aupdate(expires_at=timezone.now() - timedelta(seconds=1))
    await sweep(supervisor)
    assert (await bank.settle())[2] == "And now?"


async def test_a_queue_does_not_go_on_because_its_member_looks_at_another_version(bank: Chat) -> None:
    asking = (await bank.read())["head"]
    await bank.queue("And now?")
    prompt = await Message.objects.aget(children=asking)
    other = await Message.objects.acreate(
        conversation_id=bank.conversation, role="user", parent=prompt.parent, text="Another question."
    )
    path = f"/api/v1/conversations/{bank.conversation}"
    assert (await bank.client.request("PATCH", path, json_body={"head": str(other.pk)})).status == 200
    assert (await bank.read())["waiting"] == []
    await sweep(supervisor)
    assert await bank.queued() == [("And now?", "request")]
    assert (await bank.read())["active_run"] is None


# --- interrupting ---------------------------------------------------------------------------------


async def test_an_interrupting_question_stops_the_answer_and_is_asked_first(busy: Busy) -> None:
    async with busy() as chat:
        await chat.queue("later")
        answer = await chat.ask("now", "interrupt")
        assert answer.status == 200
        assert answer.events[-1].is_done
        assert (await chat.client.get(f"/api/v1/runs/{chat.run}")).json()["status"] == "stopped"
        assert await chat.settle() == ["one", "first", "now", "You said: now", "later", "You said: later"]


async def test_an_interrupting_question_can_be_answered_with_one_json(busy: Busy) -> None:
    async with busy() as chat:
        answer = await chat.ask("now", "interrupt", stream=False)
        assert (answer.status, answer.json()["message"]["text"]) == (200, "You said: now")


async def test_an_interrupting_question_is_asked_if_the_answer_ended_by_itself(
    busy: Busy, gemini: Gemini
) -> None:
    async with busy() as chat:
        await QueuedAsk.objects.acreate(
            conversation_id=chat.conversation,
            owner=chat.client.user,
            text="now",
            position=1,
            interrupts=True,
        )
        gemini.release()
        assert (await chat.settle())[2::2] == ["now"]


async def test_an_interrupting_question_that_is_asked_at_once_is_streamed_at_once(
    busy: Busy, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer may have ended before the request looks for it."""
    store_ask = admission.store_ask
    monkeypatch.setattr(stopping, "STOP_SECONDS", 3600)
    gemini.on("now", [Text("begun"), Hold(), Text(" and done")])

    def store_and_end_the_answer(member: Any, ask: Any) -> Any:
        stored = store_ask(member, ask)
        run = Run.objects.get(pk=chat.run)
        stopped = lifecycle.Outcome(End(events.STOPPED))
        fold = events.Fold(row.event() for row in read_log(run.pk))
        assert lifecycle.end(lifecycle.Claim(run.pk, run.epoch), stopped, fold)
        return stored

    async with busy() as chat:
        monkeypatch.setattr(admission, "store_ask", store_and_end_the_answer)
        body = {"query": "now", "conversation": chat.conversation, "if_busy": "interrupt"}
        async with chat.client.open("POST", "/chat/stream", json_body=body) as stream:
            async with asyncio.timeout(10):
                await stream.until("text")
            gemini.release()
            await stream.all_events()


async def test_an_answer_that_does_not_stop_in_time_leaves_the_question_queued(
    busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "STOP_SECONDS", 0)
    monkeypatch.setattr(supervisor, "stop_run", lambda run: None)
    key = str(uuid.uuid4())
    async with busy() as chat:
        answer = await chat.ask("now", "interrupt", client_id=key)
        assert (answer.status, answer.json()["position"]) == (202, 1)
        assert (await chat.ask("now", "interrupt", client_id=key)).json() == answer.json()
        assert (await Run.objects.aget(pk=chat.run)).stop_requested_at
        monkeypatch.undo()
        supervisor.stop_run(uuid.UUID(chat.run))
        assert (await chat.settle())[2::2] == ["now"]


# --- others ---------------------------------------------------------------------------------------


async def test_every_tab_hears_of_the_queue(busy: Busy, gemini: Gemini) -> None:
    async with busy() as chat, chat.client.socket() as socket:
        await socket.opened()
        change = {"type": "queued", "conversation": chat.conversation}
        queued = await chat.queue("two")
        assert await socket.frame() == change
        await chat.client.request("DELETE", f"/api/v1/queued/{queued}")
        assert await socket.frame() == change
        queued = await chat.queue("three")
        assert await socket.frame() == change
        gemini.release()
        frames = await socket.frames(4)
        assert {"type": "run_ended", "conversation": chat.conversation, "run": chat.run} in frames
        assert {"type": "run", "conversation": chat.conversation, "run": queued} in frames
        assert change in frames


async def test_an_export_has_the_queue(busy: Busy) -> None:
    async with busy() as chat:
        await chat.queue("Wait for *me*")
        path = f"/api/v1/conversations/{chat.conversation}/export"
        listed = (await chat.read())["queued"]
        assert (await chat.client.get(f"{path}?format=json")).json()["queued"] == listed
        assert "Wait for *me*" in (await chat.client.get(f"{path}?format=markdown")).text


async def test_a_form_of_a_page_may_queue(busy: Busy, gemini: Gemini) -> None:
    async with busy() as chat:
        form = {"query": "two", "if_busy": "queue"}
        answer = await chat.client.post(f"/chat/{chat.conversation}/", form=form)
        assert (answer.status, answer.headers["location"]) == (303, f"/chat/{chat.conversation}/")
        assert await chat.queued() == [("two", "answering")]


async def test_a_drained_process_leaves_the_next_question_to_another(busy: Busy, gemini: Gemini) -> None:
    async with busy() as chat:
        queued = await chat.queue("two")
        supervisor.draining = True
        gemini.release()
        await chat.stream.all_events()
        run = await sync_to_async(Run.objects.get)(pk=queued)
        assert run.status == "queued"
        supervisor.draining = False
        await sweep(supervisor)
        supervisor.launch(run.pk)
        assert (await chat.settle())[2::2] == ["two"]
