"""Roots of every kind: each goes on where it waited, and its model sees the answer."""

from tests.support import oracle
from tests.support.gemini import Call, Text
from tests.waiting.bank import Bank, approve, reject, requests_of, say

PAY = Call("transfer_money", {"amount": 5})


async def test_two_parallel_agents_wait_at_the_same_time(bank: Bank) -> None:
    code = """
    from google.adk.agents import ParallelAgent
    root_agent = ParallelAgent(name="bank", sub_agents=[one("a", confirmed), one("b", confirmed)])
    """
    bank.gemini.on_agent("a", [Call("transfer_money", {"amount": 1})], [Text("A is sent.")])
    bank.gemini.on_agent("b", [Call("transfer_money", {"amount": 2})], [Text("B is not sent.")])
    talk, said = await bank.ask(code)
    by_amount = {request["args"]["amount"]: request for request in requests_of(said)}
    answered = await talk.ask(answers=[approve(by_amount[1]), reject(by_amount[2])])
    assert (answered.end, answered.data["finish"]) == ("run.completed", "stop"), answered.data
    assert "A is sent." in answered.text and "B is not sent." in answered.text
    results = {event.json()["id"]: event.json() for event in answered.named("tool.returned")}
    assert results[by_amount[1]["call"]]["result"] == {"sent": 1}
    assert "rejected" in results[by_amount[2]["call"]]["error"]
    await oracle.acheck([said.events, answered.events])


async def test_a_sub_agent_waits_after_a_transfer(bank: Bank) -> None:
    bank.gemini.on_agent("bank", [Call("transfer_to_agent", {"agent_name": "payer"})])
    bank.gemini.on_agent("payer", [PAY], [Text("It is sent.")])
    talk, said = await bank.ask('root_agent = one("bank", sub_agents=[one("payer", confirmed)])')
    answered = await talk.ask(answers=[approve(requests_of(said)[0])])
    assert (answered.end, answered.text) == ("run.completed", "It is sent."), answered.data
    assert ("transfer_money", {"sent": 5}) in bank.results()


async def test_an_agent_in_a_workflow_waits(bank: Bank) -> None:
    code = """
    def end(node_input: str) -> str:
        return f"After that: {node_input}"

    root_agent = Workflow(name="bank", edges=[(START, one("payer", confirmed), end)])
    """
    talk, said = await bank.ask(code, [PAY], [Text("It is sent.")])
    answered = await talk.ask(answers=[approve(requests_of(said)[0])])
    assert answered.end == "run.completed", answered.data
    assert answered.text.endswith("After that: It is sent.")
    assert ("transfer_money", {"sent": 5}) in bank.results()


NODE = """
    from google.adk.workflow import FunctionNode

    def pay(amount: int = 5) -> str:
        act("paid")
        return f"Paid {amount}."

    def end(node_input) -> str:
        return f"After that: {node_input}"

    node = FunctionNode(func=pay, require_confirmation=True, rerun_on_resume=True)
    root_agent = Workflow(name="bank", edges=[(START, node, end)])
"""


async def test_a_node_is_confirmed_as_a_tool_is(bank: Bank) -> None:
    talk, said = await bank.ask(NODE)
    (request,) = requests_of(said)
    assert (request["kind"], request["tool"], request["hint"]) == ("confirm", "pay", "")
    assert bank.acts == []
    answered = await talk.ask(answers=[approve(request)])
    assert answered.end == "run.completed", answered.data
    assert (answered.text, bank.acts) == ("After that: Paid 5.", ["paid"])


async def test_a_rejected_node_does_not_run(bank: Bank) -> None:
    talk, said = await bank.ask(NODE)
    answered = await talk.ask(answers=[reject(requests_of(said)[0])])
    assert answered.end == "run.completed", answered.data
    assert "rejected" in answered.text and bank.acts == []


async def test_a_node_that_runs_again_gets_the_answer(bank: Bank) -> None:
    code = """
    from google.adk.agents.context import Context
    from google.adk.workflow import node

    @node(rerun_on_resume=True)
    async def plan(ctx: Context, node_input: str):
        act("planned")
        if city := ctx.resume_inputs.get("city"):
            yield f"Greetings to {city}."
        else:
            yield RequestInput(interrupt_id="city", message="Which city?")

    root_agent = Workflow(name="bank", edges=[(START, plan)])
    """
    talk, said = await bank.ask(code)
    answered = await talk.ask(answers=[say(requests_of(said)[0], "Lagos")])
    assert (answered.end, answered.text) == ("run.completed", "Greetings to Lagos."), answered.data
    assert bank.acts == ["planned", "planned"]
