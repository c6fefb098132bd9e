"""Answers after the agent was loaded again: refused if its tool is gone or another; request stays open."""

import pytest

from tests.support.gemini import Call, Text
from tests.waiting.bank import Bank, approve, reject, requests_of, say

BEFORE = """
    def pay(amount: int, to: str = "bob") -> dict:
        act("paid")
        return {"paid": amount}

    root_agent = one("bank", FunctionTool(pay, require_confirmation=True))
"""
PAY = Call("pay", {"amount": 5, "to": "carol"})

CHANGES = {
    "the tool is gone": (BEFORE, "FunctionTool(pay, require_confirmation=True)", "wait_for_print"),
    "the tool has another name": (BEFORE, "root_agent =", "pay.__name__ = 'send'; root_agent ="),
    "it no longer asks first": (BEFORE, ", require_confirmation=True", ""),
    "an argument is gone": (BEFORE, ', to: str = "bob"', ""),
    "an argument has another name": (BEFORE, "to: str", "recipient: str"),
    "it needs another argument": (BEFORE, "(amount: int,", "(amount: int, bank: str,"),
    "the agent has another name": (BEFORE, 'one("bank"', 'one("teller"'),
    "the agent is broken": (BEFORE, "root_agent", "no_agent"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_an_answer_to_a_changed_tool_is_refused(change: str, bank: Bank) -> None:
    talk, said = await bank.ask(BEFORE, [PAY], [Text("It is done.")])
    (request,) = requests_of(said)
    code, old, new = CHANGES[change]
    await bank.write(code.replace(old, new))
    assert await bank.refusal(talk, approve(request)) == (409, "changed")
    assert await bank.refusal(talk, reject(request)) == (409, "changed")
    assert await bank.open_now(talk) == [request["id"]]
    await bank.write(BEFORE)
    answered = await talk.ask(answers=[approve(request)])
    assert (answered.end, answered.text) == ("run.completed", "It is done."), answered.data
    assert bank.acts == ["paid"]


async def test_a_tool_that_was_only_written_again_is_the_same(bank: Bank) -> None:
    talk, said = await bank.ask(BEFORE, [PAY], [Text("It is done.")])
    (request,) = requests_of(said)
    await bank.write(BEFORE.replace('act("paid")', 'act("paid"); act("twice")'))
    answered = await talk.ask(answers=[approve(request)])
    assert answered.end == "run.completed", answered.data
    assert bank.acts == ["paid", "twice"]


async def test_the_result_of_a_tool_that_is_gone_is_refused(bank: Bank) -> None:
    code = 'root_agent = one("bank", LongRunningFunctionTool(wait_for_print))'
    talk, said = await bank.ask(code, [Call("wait_for_print")], [Text("It is done.")])
    (request,) = requests_of(said)
    await bank.write('root_agent = one("bank")')
    assert await bank.refusal(talk, say(request, "printed")) == (409, "changed")
    assert await bank.open_now(talk) == [request["id"]]


async def test_the_page_says_that_the_tool_has_changed(bank: Bank) -> None:
    talk, said = await bank.ask(BEFORE, [PAY])
    (request,) = requests_of(said)
    await bank.write('root_agent = one("bank")')
    form = {request["id"]: "approve"}
    page = await bank.alice.post(f"/chat/{talk.conversation}/answer/", form=form)
    assert page.status == 409
    assert "has changed since it asked" in page.text


async def test_a_rejected_tool_is_not_entered_if_it_no_longer_needs_a_confirmation(bank: Bank) -> None:
    code = """
    asked = []

    def the_first_time(amount: int) -> bool:
        asked.append(amount)
        return len(asked) == 1

    def pay(amount: int) -> dict:
        act("paid")
        return {"paid": amount}

    root_agent = one("bank", FunctionTool(pay, require_confirmation=the_first_time))
    """
    talk, said = await bank.ask(code, [Call("pay", {"amount": 5})], [Text("I did not pay.")])
    answered = await talk.ask(answers=[reject(requests_of(said)[0])])
    assert (answered.end, answered.text) == ("run.completed", "I did not pay."), answered.data
    assert bank.acts == []
    assert bank.results() == [("pay", {"error": "This tool call is rejected."})]
