"""Answers to requests that wait for a person: each one is a run of its own, which goes on with the work."""

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chat.models import PersonRequest
from tests.agent.test_agents_that_wait import HEAD, WAITING
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Text
from tests.support.talk import Said, Talk

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]
Waiting = tuple[Talk, list[dict[str, Any]]]

# By case of WAITING: the decision, its payload, and what the model or the next node gets.
ANSWERS: dict[str, tuple[str, Any, str]] = {
    "confirmation": ("approve", None, '"sent": 5'),
    "confirmation_in_a_resumable_app": ("approve", {"days": 3}, '"sent": 5'),
    "long_running_tool": ("answer", {"status": "printed"}, "printed"),
    "request_for_input": ("answer", "Lagos", "Lagos"),
    "choice": ("answer", "a", '"a"'),
    "confirmation_of_a_sub_agent": ("approve", None, '"sent": 5'),
}


@pytest.fixture
async def start(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> Callable[[str], Awaitable[Waiting]]:
    async def start(case: str) -> Waiting:
        code, call = WAITING[case]
        await write_agents({"bank/agent.py": HEAD + f"\n    {code}\n"})
        gemini.on("Pay 5.", [Text("I look. "), call], [Text("It is done.")])
        talk = Talk(as_alice)
        said = await talk.ask("Pay 5.", agent="bank")
        assert said.data["finish"] == "approval"
        return talk, [event.json() for event in said.named("waiting")]

    return start


async def answer(talk: Talk, requests: list[dict[str, Any]], decision: str, payload: Any = None) -> Said:
    answers = [{"id": each["id"], "decision": decision, "payload": payload} for each in requests]
    return await talk.ask(answers=answers)


@pytest.mark.parametrize("case", ANSWERS)
async def test_an_answer_goes_on_with_the_work(
    case: str, start: Callable[[str], Awaitable[Waiting]], gemini: Gemini
) -> None:
    decision, payload, expected = ANSWERS[case]
    talk, requests = await start(case)
    said = await answer(talk, requests, decision, payload)
    assert (said.end, said.data["finish"]) == ("run.completed", "stop"), said.data
    assert said.text.endswith("It is done.")
    results = [
        part["functionResponse"]["response"]
        for content in gemini.requests[-1]["contents"]
        for part in content["parts"]
        if "functionResponse" in part
    ]
    assert expected in str(results).replace("'", '"'), results
    await oracle.acheck([said.events])


# By name: an agent whose first model call asks for a transfer, and what its answering run says.
ROOTS = {
    "sequential": ("SequentialAgent(name='bank', sub_agents=[one('clerk', confirmed), one('writer')])", 2),
    "loop": (
        "LoopAgent(name='bank', max_iterations=1, sub_agents=[one('clerk', confirmed), one('writer')])",
        2,
    ),
    "parallel": ("ParallelAgent(name='bank', sub_agents=[one('clerk', confirmed), one('writer')])", 1),
    "sub_agent": ("one('bank', sub_agents=[one('clerk', confirmed)])", 1),
    "workflow": (
        "Workflow(name='bank', edges=[(START, one('clerk', confirmed)), (one('clerk2'), one('writer'))])",
        1,
    ),
}


@pytest.mark.parametrize("root", ["sequential", "loop", "parallel"])
async def test_an_approval_goes_on_with_the_later_agents(
    root: str, write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    code, _n = ROOTS[root]
    head = HEAD.replace("SequentialAgent", "LoopAgent, ParallelAgent, SequentialAgent")
    await write_agents({"bank/agent.py": head + f"\n    root_agent = {code}\n"})
    gemini.on_agent("clerk", [Call("transfer_money", {"amount": 5})], [Text("Sent. ")])
    gemini.on_agent("writer", [Text("I write.")])
    talk = Talk(as_alice)
    asked = await talk.ask("Pay 5.", agent="bank")
    assert asked.data["finish"] == "approval", asked.data
    said = await answer(talk, [event.json() for event in asked.named("waiting")], "approve")
    assert (said.end, said.data["finish"]) == ("run.completed", "stop"), said.data
    assert "Sent." in said.text
    assert "I write." in asked.text + said.text
    if root != "parallel":
        assert "I write." in said.text
        assert "I write." not in asked.text
    await oracle.acheck([asked.events, said.events])


async def test_a_workflow_goes_on_with_what_the_person_said(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    code = """
    def greet(node_input: str) -> str:
        return f"Greetings to {node_input}."

    root_agent = Workflow(name='bank', edges=[(START, clerk), (clerk, ask_city), (ask_city, greet)])
"""
    await write_agents({"bank/agent.py": HEAD + code})
    gemini.on("Hello", [Text("Let me see.")])
    talk = Talk(as_alice)
    asked = await talk.ask("Hello", agent="bank")
    (request,) = (event.json() for event in asked.named("waiting"))
    assert (request["kind"], request["hint"]) == ("input", "Which city?")
    said = await answer(talk, [request], "answer", "Lagos")
    assert (said.end, said.text) == ("run.completed", "Greetings to Lagos."), said.data


async def test_two_requests_are_decided_together(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"bank/agent.py": HEAD + "\n    root_agent = one('bank', confirmed)\n"})
    calls = [Call("transfer_money", {"amount": 1}), Call("transfer_money", {"amount": 2})]
    gemini.on("Both.", calls, [Text("Done.")])
    talk = Talk(as_alice)
    asked = await talk.ask("Both.", agent="bank")
    first, second = (event.json() for event in asked.named("waiting"))
    refused = await as_alice.post(
        "/chat/stream",
        {"conversation": talk.conversation, "answers": [{"id": first["id"], "decision": "approve"}]},
    )
    assert (refused.status, refused.json()["error"]["code"]) == (422, "incomplete")
    said = await talk.ask(
        answers=[{"id": first["id"], "decision": "approve"}, {"id": second["id"], "decision": "reject"}]
    )
    results = {e.json()["id"]: e.json() for e in said.named("tool.returned")}
    assert results[first["call"]]["result"] == {"sent": 1}
    assert "error" in results[second["call"]]
    assert said.text == "Done."


async def test_a_decision_counts_once(start: Callable[[str], Awaitable[Waiting]], as_alice: Client) -> None:
    talk, requests = await start("confirmation")
    said = await answer(talk, requests, "reject")
    late = await as_alice.post(
        "/chat/stream",
        {"conversation": talk.conversation, "answers": [{"id": requests[0]["id"], "decision": "approve"}]},
    )
    assert late.status == 409
    assert late.json()["error"] | {"detail": ""} == {"code": "answered", "detail": "", "run": said.run}


async def test_a_rejected_call_is_shown_with_its_error(start: Callable[[str], Awaitable[Waiting]]) -> None:
    talk, requests = await start("confirmation")
    said = await answer(talk, requests, "reject")
    (called,) = (event.json() for event in said.named("tool.called"))
    (returned,) = (event.json() for event in said.named("tool.returned"))
    assert called["id"] == returned["id"] == requests[0]["call"]
    assert "error" in returned
    await oracle.acheck([said.events])


async def test_a_second_decision_is_refused_as_answered_while_the_first_one_runs(
    start: Callable[[str], Awaitable[Waiting]], as_alice: Client, gemini: Gemini
) -> None:
    talk, requests = await start("confirmation")
    gemini.on("Pay 5.", [Hold(), Text("It is done.")])
    body = {
        "conversation": talk.conversation,
        "answers": [{"id": requests[0]["id"], "decision": "reject"}],
    }
    async with as_alice.open("POST", "/chat/stream", json_body=body) as first:
        (started,) = await first.until("run.started")
        late = await as_alice.post("/chat/stream", body)
        gemini.release()
    assert late.status == 409
    assert (late.json()["error"]["code"], late.json()["error"]["run"]) == ("answered", started.run)


async def test_a_plain_question_lapses_the_requests(
    start: Callable[[str], Awaitable[Waiting]], as_alice: Client, gemini: Gemini
) -> None:
    talk, requests = await start("confirmation")
    gemini.on("Never mind.", [Text("Fine.")])
    await talk.ask("Never mind.")
    late = await as_alice.post(
        "/chat/stream",
        {"conversation": talk.conversation, "answers": [{"id": requests[0]["id"], "decision": "approve"}]},
    )
    assert (late.status, late.json()["error"]["code"]) == (409, "lapsed")


async def test_an_answer_is_not_regenerated(
    start: Callable[[str], Awaitable[Waiting]], as_alice: Client
) -> None:
    talk, requests = await start("confirmation")
    said = await answer(talk, requests, "approve")
    again = await as_alice.post("/chat/stream", {"prompt": said.prompt})
    assert (again.status, again.json()["error"]["code"]) == (409, "answered")


async def test_only_its_owner_answers(start: Callable[[str], Awaitable[Waiting]], as_bob: Client) -> None:
    talk, requests = await start("confirmation")
    body = {"conversation": talk.conversation, "answers": [{"id": requests[0]["id"], "decision": "approve"}]}
    assert (await as_bob.post("/chat/stream", body)).status == 404
    own = await Talk(as_bob).ask("Hello")
    body["conversation"] = own.events[0].json()["conversation"]
    assert (await as_bob.post("/chat/stream", body)).status == 404


async def test_open_requests_are_read_back(
    start: Callable[[str], Awaitable[Waiting]], as_alice: Client
) -> None:
    talk, requests = await start("confirmation")
    address = f"/api/v1/conversations/{talk.conversation}"
    assert (await as_alice.get(address)).json()["waiting"] == requests
    assert (await as_alice.get("/api/v1/conversations")).json()["items"][0]["is_waiting"] is True
    await answer(talk, requests, "approve")
    assert (await as_alice.get(address)).json()["waiting"] == []
    assert (await as_alice.get("/api/v1/conversations")).json()["items"][0]["is_waiting"] is False


@pytest.mark.parametrize(
    "fields",
    [
        {"answers": []},
        {"answers": [{"id": str(uuid.uuid4()), "decision": "perhaps"}]},
        {"answers": [{"id": str(uuid.uuid4()), "decision": "approve"}], "query": "Hi"},
        {"answers": "yes"},
    ],
)
async def test_a_malformed_answer_is_refused(fields: dict[str, Any], as_alice: Client) -> None:
    talk = Talk(as_alice)
    await talk.ask("Hello")
    refused = await as_alice.post("/chat/stream", {"conversation": talk.conversation, **fields})
    assert refused.status == 400


async def test_the_page_has_a_card_with_a_form(
    start: Callable[[str], Awaitable[Waiting]], as_alice: Client
) -> None:
    talk, requests = await start("confirmation")
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert "May the agent use <code>transfer_money</code>?" in page
    assert requests[0]["id"] in page
    assert "asks you first" in page
    await answer(talk, requests, "approve")
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert "May the agent use" not in page
    assert "Approved: transfer_money" in page


@pytest.mark.parametrize(
    ("payload", "said", "stored"),
    [
        ({"city": "Żary"}, '{"city": "Żary"}', {"city": "Żary"}),
        ([1, None, True], "[1, null, true]", [1, None, True]),
    ],
)
async def test_an_answer_of_any_kind_is_stored_and_said(
    payload: Any, said: str, stored: Any, start: Callable[[str], Awaitable[Waiting]]
) -> None:
    talk, requests = await start("request_for_input")
    await answer(talk, requests, "answer", payload)
    assert (await talk.messages())[-2]["text"] == said
    assert (await PersonRequest.objects.aget()).answer == stored


@pytest.mark.parametrize("payload", [None, "", json.loads("[" * 900 + "]" * 900)])
async def test_a_missing_or_endless_answer_is_refused(
    payload: Any, start: Callable[[str], Awaitable[Waiting]], as_alice: Client
) -> None:
    talk, requests = await start("request_for_input")
    body = {"id": requests[0]["id"], "decision": "answer", "payload": payload}
    refused = await as_alice.post("/chat/stream", {"conversation": talk.conversation, "answers": [body]})
    assert refused.status in (400, 422), refused.body
