"""Approved tools: the limits of every tool hold for them, and what ran before the wait does not run again."""

import asyncio
from typing import Any

import pytest

from tests.support.gemini import Call, Text
from tests.support.waiting import auntil
from tests.waiting.bank import Bank, approve, reject, requests_of

PAY = Call("pay", {"amount": 5})
AGENT = 'root_agent = one("bank", FunctionTool(pay, require_confirmation=True))'


def tool(body: str, head: str = "async def pay(amount: int, tool_context: ToolContext)") -> str:
    return f"""
    {head}:
        act("entered")
        {body}

    {AGENT}
    """


# By what the tool does: its last line, and what the model gets.
BODIES: dict[str, tuple[str, Any]] = {
    "hangs": ("await asyncio.Event().wait()", {"error": "pay did not answer within 0.3 s."}),
    "raises": ("raise ValueError('no money')", {"error": "ValueError: no money"}),
    "exits": ("raise SystemExit(2)", {"error": "SystemExit: 2"}),
    "is cancelled": ("raise asyncio.CancelledError", {"error": "CancelledError"}),
    "returns no JSON": (
        "return {'rate': float('inf'), 'lone': '\\ud800', 'key': {1: 2}}",
        {"rate": "inf", "lone": "\ufffd", "key": {"1": 2}},
    ),
}


@pytest.mark.parametrize("what", BODIES)
async def test_an_approved_tool_has_the_limits_of_every_tool(what: str, bank: Bank, settings: Any) -> None:
    settings.TOOL_SECONDS = 0.3
    body, expected = BODIES[what]
    talk, said = await bank.ask(tool(body), [PAY], [Text("I go on.")])
    assert bank.acts == []
    answered = await talk.ask(answers=[approve(requests_of(said)[0])])
    assert (answered.end, answered.text) == ("run.completed", "I go on."), answered.data
    assert bank.results() == [("pay", expected)]
    assert bank.acts == ["entered"]
    (shown,) = answered.named("tool.returned")
    assert shown.json()["id"] == requests_of(said)[0]["call"]


async def test_a_large_call_and_its_result_are_shown_in_part_and_used_whole(bank: Bank) -> None:
    code = tool("return {'note': note}", "def pay(note: str)")
    note = "x" * 40_000
    talk, said = await bank.ask(code, [Call("pay", {"note": note})], [Text("I go on.")])
    (request,) = requests_of(said)
    assert request["args"] == {"note": note}
    answered = await talk.ask(answers=[approve(request)])
    (called,), (returned,) = answered.named("tool.called"), answered.named("tool.returned")
    assert called.json()["args_size"] > 40_000 > len(called.data)
    assert returned.json()["size"] > 40_000 > len(returned.data)
    assert bank.results() == [("pay", {"note": note})]


async def test_an_approved_tool_keeps_state_and_files(bank: Bank) -> None:
    code = """
    from google.genai import types

    async def pay(amount: int, tool_context: ToolContext) -> dict:
        tool_context.state["paid"] = amount
        await tool_context.save_artifact("receipt.txt", types.Part(text="5"))
        return {}

    pay_tool = FunctionTool(pay, require_confirmation=True)
    root_agent = one("bank", pay_tool, instruction="Paid: {paid?}.")
    """
    talk, said = await bank.ask(code, [PAY], [Text("I go on.")])
    answered = await talk.ask(answers=[approve(requests_of(said)[0])])
    assert [event.json()["name"] for event in answered.named("file")] == ["receipt.txt"]
    await talk.ask("And now?")
    assert "Paid: 5." in str(bank.gemini.requests[-1]["systemInstruction"])


async def test_tools_that_ran_before_the_wait_do_not_run_again(bank: Bank) -> None:
    code = """
    def look(at: str) -> dict:
        act("looked")
        return {"seen": at}

    def pay(amount: int) -> dict:
        act("paid")
        return {"paid": amount}

    root_agent = one("bank", look, FunctionTool(pay, require_confirmation=True))
    """
    talk, said = await bank.ask(code, [Call("look", {"at": "a"}), PAY], [Text("I go on.")])
    assert bank.acts == ["looked"]
    answered = await talk.ask(answers=[approve(requests_of(said)[0])])
    assert (answered.end, answered.text) == ("run.completed", "I go on."), answered.data
    assert bank.acts == ["looked", "paid"]
    assert sorted(bank.results(), key=str) == [("look", {"seen": "a"}), ("pay", {"paid": 5})]


async def test_a_tool_that_asks_again_is_asked_about_with_its_next_call(bank: Bank) -> None:
    code = """
    def pay(amount: int, tool_context: ToolContext) -> dict:
        asked = tool_context.state.get("asked", 0)
        if asked < 2:
            tool_context.state["asked"] = asked + 1
            tool_context.request_confirmation(hint=f"Sure, {asked + 1}?")
            return {"status": "asked"}
        act("paid")
        return {"paid": amount}

    root_agent = one("bank", FunctionTool(pay))
    """
    # ADK asks once for each call: the approved one ends with what the tool returns.
    talk, said = await bank.ask(code, [PAY], [Text("I am asked again.")])
    (first,) = requests_of(said)
    again = await talk.ask(answers=[approve(first)])
    assert (again.end, again.text, again.named("waiting")) == ("run.completed", "I am asked again.", [])
    assert bank.results() == [("pay", {"status": "asked"})]
    assert bank.acts == []


async def test_an_agent_may_ask_for_the_next_confirmation(bank: Bank) -> None:
    code = tool("act(str(amount)); return {'paid': amount}")
    turns = [PAY], [Call("pay", {"amount": 6})], [Text("Both are done.")]
    talk, said = await bank.ask(code, *turns)
    next_one = await talk.ask(answers=[approve(requests_of(said)[0])])
    assert next_one.data["finish"] == "approval"
    (second,) = requests_of(next_one)
    assert (second["args"], bank.acts) == ({"amount": 6}, ["entered", "5"])
    last = await talk.ask(answers=[reject(second)])
    assert last.text == "Both are done."
    assert bank.acts == ["entered", "5"]


async def test_a_stop_ends_an_approved_tool_and_leaves_its_request_in_doubt(bank: Bank) -> None:
    talk, said = await bank.ask(tool("await asyncio.Event().wait()"), [PAY])
    answering = asyncio.create_task(talk.ask(answers=[approve(requests_of(said)[0])]))
    await auntil(lambda: bank.acts)
    conversation = f"/api/v1/conversations/{talk.conversation}"
    run = (await bank.alice.get(conversation)).json()["active_run"]
    await bank.alice.post(f"/chat/runs/{run}/stop", {})
    assert (await answering).end == "run.stopped"
    items = [item for message in await talk.messages() for item in message["parts"]["items"]]
    assert [item["state"] for item in items if item["type"] == "approval"] == ["in_doubt"]
