"""Cases of the matrix: agents that wait for a person, what their models answer, and how a person decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.gemini import Call, Step, Text

HEAD = '''
import pathlib
from google.adk.agents import Agent, LoopAgent, ParallelAgent, SequentialAgent
from google.adk.apps import App, ResumabilityConfig
from google.adk.events import RequestInput
from google.adk.tools import FunctionTool, LongRunningFunctionTool, ToolContext
from google.adk.tools import get_user_choice, request_input
from google.adk.workflow import START, Workflow

NAME = pathlib.Path(__file__).parent.name


def act(cell):
    with (pathlib.Path(__file__).parent / "acted").open("a") as out:
        out.write(cell + "\\n")


def transfer(cell: str) -> dict:
    """Transfers money."""
    act(cell)
    return {"done": "transfer"}


def book(cell: str, tool_context: ToolContext) -> dict:
    """Books, after a person has agreed."""
    if not tool_context.tool_confirmation:
        tool_context.request_confirmation(hint="Sure?", payload={"days": 1})
        return {"status": "asked"}
    if not tool_context.tool_confirmation.confirmed:
        return {"error": "refused"}
    act(cell)
    return {"booked": tool_context.tool_confirmation.payload["days"]}


def print_book(cell: str) -> None:
    """Prints, which takes days."""
    act(cell)


def order(cell: str) -> dict:
    """Orders, which takes days."""
    act(cell)
    return {"ticket": 17}


def ask_city(node_input):
    yield RequestInput(message="Which city?")


def greet(node_input: str) -> str:
    act(node_input)
    return f"Greetings to {node_input}."


def one(part, *tools, **more):
    return Agent(name=f"{NAME}_{part}", model="gemini-2.5-flash", tools=list(tools), **more)


def close(node_input):
    return "It is closed."


confirmed = FunctionTool(transfer, require_confirmation=True)
'''
DONE = "It is done."


@dataclass(frozen=True, slots=True)
class Case:
    """Agent that waits: its code, what its models answer, and how a person decides.

    ``scripts`` are the models' answers by the agent's suffix. ``said`` is in the reply of the answering run,
    ``told`` in what a model got after the decision. ``acts`` counts the tool's actions before the answer and
    after it.
    """

    code: str
    scripts: dict[str, Sequence[Sequence[Step]]]
    decision: str = "approve"
    payload: Any = None
    typed: Sequence[tuple[str, str]] = (("approve or reject: ", "approve"),)
    said: Sequence[str] = (DONE,)
    told: str = "transfer"
    acts: tuple[int, int] = (0, 1)
    requests: int = 1
    is_job: bool = False


def pays(*after: str) -> list[Sequence[Step]]:
    return [[Call("transfer", {"cell": "CELL"})], *[[Text(each)] for each in after or [DONE]]]


CONFIRMED = "root_agent = one('root', confirmed)"
CASES = {
    "confirmation": Case(CONFIRMED, {"root": pays()}),
    "rejected": Case(
        CONFIRMED,
        {"root": pays()},
        decision="reject",
        typed=[("approve or reject: ", "reject")],
        told="rejected",
        acts=(0, 0),
    ),
    "dynamic": Case(
        "root_agent = one('root', book)",
        {"root": [[Call("book", {"cell": "CELL"})], [Text(DONE)]]},
        payload={"days": 3},
        typed=[
            ("approve, change or reject: ", "change"),
            ("days (a number, now 1): ", "3"),
            ("approve, change or reject: ", "approve"),
        ],
        told='"booked": 3',
    ),
    "resumable_app": Case(
        "app = App(name=NAME, root_agent=one('root', confirmed),\n"
        "          resumability_config=ResumabilityConfig(is_resumable=True))",
        {"root": pays()},
    ),
    "long_running": Case(
        "root_agent = one('root', LongRunningFunctionTool(print_book))",
        {"root": [[Call("print_book", {"cell": "CELL"})], [Text(DONE)]]},
        decision="answer",
        payload="printed",
        typed=[("Answer: ", "printed")],
        told="printed",
        acts=(1, 1),
    ),
    "job": Case(
        "root_agent = one('root', LongRunningFunctionTool(order))",
        {"root": [[Call("order", {"cell": "CELL"})], [Text("It is ordered.")], [Text(DONE)]]},
        decision="answer",
        payload="delivered",
        typed=[("Answer: ", "delivered")],
        told="delivered",
        acts=(1, 1),
        is_job=True,
    ),
    "choice": Case(
        "root_agent = one('root', get_user_choice)",
        {"root": [[Call("get_user_choice", {"options": ["tea", "coffee"]})], [Text(DONE)]]},
        decision="answer",
        payload="coffee",
        typed=[("Answer: ", "2")],
        told="coffee",
        acts=(0, 0),
    ),
    "request_input": Case(
        "root_agent = one('root', request_input)",
        {"root": [[Call("adk_request_input", {"message": "Which city?"})], [Text(DONE)]]},
        decision="answer",
        payload="Lagos",
        typed=[("Answer: ", "Lagos")],
        told="Lagos",
        acts=(0, 0),
    ),
    "workflow_input": Case(
        "clerk = one('clerk')\n"
        "root_agent = Workflow(name=NAME, edges=[(START, clerk), (clerk, ask_city), (ask_city, greet)])",
        {"clerk": [[Text("Let me see.")]]},
        decision="answer",
        payload="CELL",
        typed=[("Answer: ", "CELL")],
        said=["Greetings to CELL."],
        told="",
    ),
    "after_a_transfer": Case(
        "root_agent = one('root', sub_agents=[one('clerk', confirmed, description='Pays.')])",
        {
            "root": [[Call("transfer_to_agent", {"agent_name": "after_a_transfer_clerk"})], [Text("No.")]],
            "clerk": pays(),
        },
    ),
    "parallel": Case(
        "root_agent = ParallelAgent(name=NAME, sub_agents=[one('clerk', confirmed), one('writer')])",
        {"clerk": pays(), "writer": [[Text("I write.")]]},
    ),
    "sequential": Case(
        "root_agent = SequentialAgent(name=NAME, sub_agents=[one('clerk', confirmed), one('writer')])",
        {"clerk": pays("Sent."), "writer": [[Text("I write.")]]},
        said=["Sent.", "I write."],
    ),
    "loop": Case(
        "root_agent = LoopAgent(name=NAME, max_iterations=1,\n"
        "                       sub_agents=[one('clerk', confirmed), one('writer')])",
        {"clerk": pays("Sent."), "writer": [[Text("I write.")]]},
        said=["Sent.", "I write."],
    ),
    "workflow": Case(
        "clerk = one('clerk', confirmed)\n"
        "root_agent = Workflow(name=NAME, edges=[(START, clerk), (clerk, close)])",
        {"clerk": pays("Sent.")},
        said=["Sent.", "It is closed."],
    ),
    "two_calls": Case(
        CONFIRMED,
        {"root": [[Call("transfer", {"cell": "CELL"}), Call("transfer", {"cell": "CELL"})], [Text(DONE)]]},
        typed=[("approve or reject: ", "approve")] * 2,
        acts=(0, 2),
        requests=2,
    ),
}
