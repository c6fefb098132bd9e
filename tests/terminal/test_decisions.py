"""Requests that wait for a person, decided in a terminal, with a server and without."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.support.gemini import Call, Gemini, Text
from tests.support.live import LiveServer, check_with_oracle
from tests.support.terminal import CTRL_D, chat_piped
from tests.terminal.conftest import Open
from tests.terminal.test_terminal import signed_in, stored

pytestmark = [pytest.mark.any_database, pytest.mark.timeout(400)]

BANK = '''
import pathlib
from google.adk.agents import Agent
from google.adk.tools import FunctionTool, LongRunningFunctionTool, ToolContext
from google.adk.tools import get_user_choice, request_input


def transfer_money(amount: int, to: str = "") -> dict:
    """Transfers money."""
    with (pathlib.Path(__file__).parent / "sent").open("a") as out:
        out.write("sent\\n")
    return {"sent": amount}


def book(days: int, tool_context: ToolContext) -> dict:
    """Books, after a person has agreed."""
    if not tool_context.tool_confirmation:
        tool_context.request_confirmation(hint="For so long?", payload={"days": days, "view": "sea"})
        return {"status": "asked"}
    return {"booked": tool_context.tool_confirmation.payload}


def print_book() -> dict:
    """Prints, which takes days."""
    return {"ticket": 7}


root_agent = Agent(
    name="bank", model="gemini-2.5-flash",
    tools=[
        FunctionTool(transfer_money, require_confirmation=True), book, get_user_choice, request_input,
        LongRunningFunctionTool(print_book),
    ],
)
'''
DECISION = "approve or reject: "


@pytest.fixture
def bank(parley_here: LiveServer, tmp_path: Path) -> Path:
    """Give Parley the bank's agent, and return its folder."""
    folder = tmp_path / "agents" / "bank"
    folder.mkdir(parents=True)
    (folder / "agent.py").write_text(BANK)
    parley_here.env["AGENTS_DIR"] = str(folder.parent)
    return folder


def sent(bank: Path) -> int:
    return (bank / "sent").read_text().count("sent") if (bank / "sent").exists() else 0


def conversation_of(server: LiveServer) -> str:
    [(found,)] = stored(server, "SELECT id FROM chat_conversation")
    return str(uuid.UUID(found))


def results(gemini: Gemini) -> str:
    """Return the tools' results in the newest request to the model."""
    parts = [part for content in gemini.requests[-1]["contents"] for part in content["parts"]]
    return json.dumps([part["functionResponse"]["response"] for part in parts if "functionResponse" in part])


def pay(open_terminal: Open, gemini: Gemini, *words: str, args: dict[str, Any] | None = None) -> Any:
    """Return a terminal that asks whether money may be sent."""
    gemini.on("Pay.", [Text("I look."), Call("transfer_money", args or {"amount": 5})], [Text("It is done.")])
    terminal = open_terminal("--agent", "bank", *words)
    terminal.expect("You: ")
    terminal.type("Pay.\n")
    terminal.expect(DECISION)
    return terminal


def test_an_approval_goes_on_with_the_work(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini, bank: Path, tmp_path: Path
) -> None:
    terminal = pay(open_terminal, gemini, "--out", str(tmp_path / "out"))
    assert 'May the agent use transfer_money?\n    {\n      "amount": 5\n    }\nOpen until ' in terminal.text
    terminal.type("approve\n")
    terminal.expect("bank: It is done.")
    terminal.expect("You: ", times=2)
    terminal.type(CTRL_D)
    assert (terminal.exit_code(), sent(bank)) == (0, 1)
    out = (tmp_path / "out").read_text()
    assert "bank: I look.\n[Waiting for an answer: transfer_money.]\n" in out
    assert "] alice: Approved: transfer_money\n" in out and out.endswith("] bank: It is done.\n\n")
    check_with_oracle(parley_here, [])


def test_a_rejected_tool_does_not_run(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini, bank: Path
) -> None:
    terminal = pay(open_terminal, gemini)
    terminal.type("reject\n")
    terminal.expect("It is done.")
    terminal.expect("You: ", times=2)
    assert sent(bank) == 0
    assert stored(parley_here, "SELECT decision FROM chat_personrequest") == [("reject",)]


def test_only_the_whole_word_approves(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini, bank: Path
) -> None:
    terminal = pay(open_terminal, gemini)
    terminal.type("a\n")
    terminal.expect(DECISION, times=2)
    terminal.type("yes\n")
    terminal.expect(DECISION, times=3)
    terminal.type("\n")
    terminal.expect("It waits. A new question means that it is not answered.")
    terminal.expect("You: ", times=2)
    assert sent(bank) == 0
    assert stored(parley_here, "SELECT decision FROM chat_personrequest") == [("",)]
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0
    again = open_terminal("--conversation", conversation_of(parley_here))
    again.expect(DECISION)
    again.type(CTRL_D)
    again.expect("You: ")
    assert sent(bank) == 0


def test_what_is_typed_before_the_request_is_shown_decides_nothing(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini, bank: Path
) -> None:
    gemini.on("Pay.", [Text("I look."), Call("transfer_money", {"amount": 5})], [Text("It is done.")])
    terminal = open_terminal("--agent", "bank")
    terminal.expect("You: ")
    terminal.type("Pay.\napprove\n")
    terminal.expect(DECISION)
    terminal.type("reject\n")
    terminal.expect("It is done.")
    assert sent(bank) == 0


def test_hidden_characters_of_a_request_are_shown(open_terminal: Open, gemini: Gemini, bank: Path) -> None:
    long = " ".join(f"word{n}" for n in range(60))
    args = {"amount": 5, "to": f"a\x1b[2Jb\u202ec\u200bd {long}"}
    terminal = pay(open_terminal, gemini, args=args)
    shown = terminal.text[terminal.text.index("May the agent use") :]
    assert f"a\\u001b[2Jb\\u202ec\\u200bd {long}" in shown
    assert b"\x1b[2J" not in terminal.raw


def test_proposed_values_can_be_changed(open_terminal: Open, gemini: Gemini, bank: Path) -> None:
    gemini.on("Book.", [Call("book", {"days": 30})], [Text("Booked.")])
    terminal = open_terminal("--agent", "bank")
    terminal.expect("You: ")
    terminal.type("Book.\n")
    terminal.expect("It says:\n    For so long?\n")
    terminal.expect("approve, change or reject: ")
    terminal.type("change\n")
    terminal.expect("days (a number, now 30): ")
    terminal.type("many\n")
    terminal.expect("“days” is no number.")
    terminal.expect("days (a number, now 30): ", times=2)
    terminal.type("3\n")
    terminal.expect('view (now "sea"): ')
    terminal.type("\n")
    terminal.expect("approve, change or reject: ", times=2)
    terminal.type("approve\n")
    terminal.expect("bank: Booked.")
    terminal.expect("You: ", times=2)
    assert '{"booked": {"days": 3, "view": "sea"}}' in results(gemini)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "vip": {"type": "boolean"}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("call", "typed", "answer"),
    [
        (Call("get_user_choice", {"options": ["tea", "coffee"]}), [("Answer: ", "2")], "coffee"),
        (Call("adk_request_input", {"message": "Your size?"}), [("Answer: ", "M")], "M"),
        (Call("adk_request_input", {"message": "?"}), [("Answer: ", "/decline")], "The user declined."),
        (
            Call("adk_request_input", {"message": "Who?", "response_schema": SCHEMA}),
            [("name: ", "Zoe"), ("age (a whole number, may be empty): ", ""), ("vip (yes or no, ", "yes")],
            '{"name": "Zoe", "vip": true}',
        ),
        (
            Call("adk_request_input", {"message": "Who?", "response_schema": SCHEMA}),
            [("name: ", "/json"), ("JSON: ", "{"), ("That is no JSON.\nJSON: ", '{"name": "Al"}')],
            '{"name": "Al"}',
        ),
    ],
)
def test_a_question_is_answered(
    call: Call, typed: list[tuple[str, str]], answer: str, open_terminal: Open, gemini: Gemini, bank: Path
) -> None:
    gemini.on("Ask me.", [call], [Text("Thank you.")])
    terminal = open_terminal("--agent", "bank")
    terminal.expect("You: ")
    terminal.type("Ask me.\n")
    for label, line in typed:
        terminal.expect(label)
        terminal.type(f"{line}\n")
    terminal.expect("bank: Thank you.")
    terminal.expect("You: ", times=2)
    assert answer in results(gemini)


def test_two_requests_are_sent_together(open_terminal: Open, gemini: Gemini, bank: Path) -> None:
    calls = [Call("transfer_money", {"amount": 1}), Call("transfer_money", {"amount": 2})]
    gemini.on("Both.", calls, [Text("It is done.")])
    terminal = open_terminal("--agent", "bank")
    terminal.expect("You: ")
    terminal.type("Both.\n")
    terminal.expect(DECISION)
    terminal.type("approve\n")
    terminal.expect(DECISION, times=2)
    assert sent(bank) == 0
    terminal.type("reject\n")
    terminal.expect("It is done.")
    terminal.expect("You: ", times=2)
    assert sent(bank) == 1


def test_a_job_is_answered_after_other_questions(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini, bank: Path
) -> None:
    gemini.on("Print.", [Call("print_book")], [Text("Ticket 7."), Text("")], [Text("It is printed.")])
    terminal = open_terminal("--agent", "bank")
    terminal.expect("You: ")
    terminal.type("Print.\n")
    terminal.expect("Answer: ")
    terminal.type("\n")
    terminal.expect("To answer later: ")
    terminal.expect("You: ", times=2)
    terminal.type("And now?\n")
    terminal.expect("You said: And now?")
    terminal.expect("You: ", times=3)
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0
    again = open_terminal("--conversation", conversation_of(parley_here))
    again.expect("The agent waits for the result of print_book.")
    again.expect("Answer: ")
    again.type("printed\n")
    again.expect("You: ")
    assert stored(parley_here, "SELECT decision, answer FROM chat_personrequest") == [("answer", '"printed"')]
    check_with_oracle(parley_here, [])


def test_a_piped_conversation_ends_when_the_agent_waits(
    parley_here: LiveServer, gemini: Gemini, bank: Path
) -> None:
    gemini.on("Pay.", [Text("I look."), Call("transfer_money", {"amount": 5})], [Text("It is done.")])
    done = chat_piped(parley_here, "Pay.\napprove\n", "--agent", "bank")
    command = f"chat --user alice --conversation {conversation_of(parley_here)}"
    assert (done.stdout, done.returncode) == ("I look.\n", 3)
    assert done.stderr == f"Waiting for an answer: transfer_money.\nTo go on: {command}\n"
    assert stored(parley_here, "SELECT decision FROM chat_personrequest") == [("",)]


def test_a_request_that_was_decided_on_the_page_is_refused_with_a_sentence(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini, bank: Path
) -> None:
    parley_here.start()
    alice = signed_in(parley_here, "alice")
    terminal = pay(open_terminal, gemini)
    conversation = conversation_of(parley_here)
    [request] = alice.http.get(f"/api/v1/conversations/{conversation}").json()["waiting"]
    with alice.ask(
        conversation=conversation, answers=[{"id": request["id"], "decision": "reject"}]
    ) as stream:
        assert stream.all_events()[-1].is_done
    terminal.type("approve\n")
    terminal.expect("This was decided already.")
    terminal.expect("You: ", times=2)
    assert sent(bank) == 0
    terminal.type("And now?\n")
    terminal.expect("You said: And now?")
