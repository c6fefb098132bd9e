"""Agents that end their turn with a call that waits for a person, and the plain question that follows."""

from collections.abc import Awaitable, Callable

import pytest

from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text, questions_of
from tests.support.talk import Said, Talk

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

HEAD = """
    from google.adk.agents import Agent, SequentialAgent
    from google.adk.apps import App, ResumabilityConfig
    from google.adk.events import RequestInput
    from google.adk.tools import FunctionTool, LongRunningFunctionTool, ToolContext
    from google.adk.tools import get_user_choice, request_input
    from google.adk.workflow import START, Workflow

    def transfer_money(amount: int) -> dict:
        \"\"\"Transfers money.\"\"\"
        return {"sent": amount}

    def ask_first(amount: int, tool_context: ToolContext) -> dict:
        \"\"\"Transfers money, after a person has agreed.\"\"\"
        if not tool_context.tool_confirmation:
            tool_context.request_confirmation(hint="Sure?", payload={"days": 1})
            return {"status": "asked"}
        return {"sent": amount}

    def wait_for_print() -> None:
        \"\"\"Prints, which takes days.\"\"\"

    clerk = Agent(name="clerk", model="gemini-2.5-flash")

    def ask_city(node_input):
        yield RequestInput(message="Which city?")

    def one(name, *tools, **more):
        return Agent(name=name, model="gemini-2.5-flash", tools=list(tools), **more)

    def resumable(root):
        return App(name="bank", root_agent=root, resumability_config=ResumabilityConfig(is_resumable=True))

    confirmed = FunctionTool(transfer_money, require_confirmation=True)
"""

# The agent's code, and the call that its model makes.
WAITING: dict[str, tuple[str, Call | Text]] = {
    "confirmation": ("root_agent = one('bank', confirmed)", Call("transfer_money", {"amount": 5})),
    "confirmation_in_a_resumable_app": (
        "app = resumable(one('bank', FunctionTool(ask_first)))",
        Call("ask_first", {"amount": 5}),
    ),
    "long_running_tool": (
        "root_agent = one('bank', LongRunningFunctionTool(wait_for_print))",
        Call("wait_for_print"),
    ),
    "request_for_input": (
        "root_agent = one('bank', request_input)",
        Call("adk_request_input", {"message": "?"}),
    ),
    "choice": ("root_agent = one('bank', get_user_choice)", Call("get_user_choice", {"options": ["a", "b"]})),
    "input_of_a_workflow": (
        "root_agent = Workflow(name='bank', edges=[(START, clerk), (clerk, ask_city)])",
        Text("Let me see."),
    ),
    "confirmation_of_a_sub_agent": (
        "root_agent = SequentialAgent(name='bank', sub_agents=[one('clerk', confirmed)])",
        Call("transfer_money", {"amount": 5}),
    ),
}


@pytest.fixture(params=sorted(WAITING))
async def waiting(
    request: pytest.FixtureRequest, write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> tuple[Talk, Said]:
    """Return a conversation whose agent has just made a call that waits, and that turn."""
    code, call = WAITING[request.param]
    await write_agents({"bank/agent.py": HEAD + f"\n    {code}\n"})
    gemini.on("Pay 5.", [call], [Text("I go on without you.")])
    talk = Talk(as_alice)
    return talk, await talk.ask("Pay 5.", agent="bank")


async def test_a_run_with_a_waiting_call_is_completed(waiting: tuple[Talk, Said]) -> None:
    talk, said = waiting
    assert (said.end, said.data["finish"]) == ("run.completed", "approval")
    assert said.message is not None
    assert [item["type"] for item in (await talk.reply())["parts"]["items"]].count("tool") >= 1
    await oracle.acheck([said.events])


async def test_a_plain_question_closes_the_waiting_call(waiting: tuple[Talk, Said], gemini: Gemini) -> None:
    talk, _said = waiting
    later = await talk.ask("Never mind. How are you?")
    assert later.end == "run.completed", later.data
    request = gemini.requests[-1]
    assert questions_of(request)[-1] == ("user", "Never mind. How are you?")
    results = [
        part["functionResponse"]["response"]
        for content in request["contents"]
        for part in content["parts"]
        if "functionResponse" in part
    ]
    # A workflow's own request is in no agent's context. A model's call is, with a result.
    assert len(results) == str(request["contents"]).count("'functionCall'")
    assert "interrupted" not in str(results)


async def test_the_model_sees_an_unanswered_call_as_not_answered(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    code, call = WAITING["long_running_tool"]
    await write_agents({"bank/agent.py": HEAD + f"\n    {code}\n"})
    gemini.on("Print.", [Text("I print."), call])
    talk = Talk(as_alice)
    said = await talk.ask("Print.", agent="bank")
    assert (said.text, said.data["finish"]) == ("I print.", "approval")
    await talk.ask("And now?")
    call_turn, result_turn, question = gemini.requests[-1]["contents"][-3:]
    assert call_turn["parts"][-1]["functionCall"]["name"] == "wait_for_print"
    assert result_turn["parts"][0]["functionResponse"]["response"] == {"error": "not answered"}
    assert question["parts"][0]["text"] == "And now?"


async def test_two_waiting_calls_are_both_closed(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    code = "root_agent = one('bank', LongRunningFunctionTool(wait_for_print), confirmed)"
    await write_agents({"bank/agent.py": HEAD + f"\n    {code}\n"})
    gemini.on("Both.", [Call("wait_for_print"), Call("transfer_money", {"amount": 1})])
    talk = Talk(as_alice)
    said = await talk.ask("Both.", agent="bank")
    assert said.data["finish"] == "approval"
    assert (await talk.ask("And now?")).end == "run.completed"
    assert (await talk.ask("Still there?")).end == "run.completed"


async def test_a_waiting_call_is_stored_without_a_result(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    """An answer may come next week: the call is closed in the model's context, not in the stored session."""
    from chat.models import SessionEvent

    code, call = WAITING["long_running_tool"]
    await write_agents({"bank/agent.py": HEAD + f"\n    {code}\n"})
    gemini.on("Print.", [call])
    talk = Talk(as_alice)
    await talk.ask("Print.", agent="bank")
    await talk.ask("And now?")
    payloads = "".join([p async for p in SessionEvent.objects.values_list("payload", flat=True)])
    assert "functionCall" in payloads
    assert "not answered" not in payloads and "interrupted" not in payloads


async def test_the_page_asks_until_the_next_question(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    code, call = WAITING["confirmation"]
    await write_agents({"bank/agent.py": HEAD + f"\n    {code}\n"})
    gemini.on("Pay 5.", [call])
    talk = Talk(as_alice)
    await talk.ask("Pay 5.", agent="bank")
    note = "May the agent use"
    assert note in (await as_alice.get(f"/chat/{talk.conversation}/")).text
    await talk.ask("Never mind.")
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert note not in page and "Not answered: another message came instead." in page
