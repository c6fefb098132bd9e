"""Decisions of moderators at a terminal."""

import uuid

import pytest

from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer
from tests.support.terminal import CTRL_D, Terminal, chat_piped
from tests.support.waiting import until
from tests.terminal.conftest import Open
from tests.terminal.test_terminal import stored

pytestmark = pytest.mark.timeout(400)


def decide(server: LiveServer, code: str) -> None:
    """Store a decision, in another process, with the helpers of tests/support/moderated.py."""
    names = "from tests.support.moderated import *; from accounts.models import User"
    done = server.manage("shell", "-v0", "-c", f"{names}\n{code}")
    assert done.returncode == 0, done.stderr


def conversation_of(server: LiveServer) -> str:
    return str(uuid.UUID(stored(server, "SELECT id FROM chat_conversation")[0][0]))


def close(terminal: Terminal, *, prompts: int = 2) -> None:
    """Press Ctrl-D at the last of so many prompts."""
    terminal.expect("You: ", times=prompts)
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0


LOCK = "lock(Conversation.objects.get().pk, words='Rule 1.\\x1b[2J')"


def test_an_ask_in_a_locked_conversation_is_refused_with_the_reason(parley_here: LiveServer) -> None:
    chat_piped(parley_here, "one\n")
    decide(parley_here, LOCK)
    done = chat_piped(parley_here, "two\n", "--conversation", conversation_of(parley_here))
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == (
        "A moderator has locked this conversation. Reason: It is against the law. “Rule 1.␛[2J”\n"
    )


def test_a_terminal_says_at_its_beginning_that_the_conversation_is_locked(
    parley_here: LiveServer, open_terminal: Open
) -> None:
    chat_piped(parley_here, "one\n")
    decide(parley_here, LOCK)
    terminal = open_terminal("--conversation", conversation_of(parley_here))
    terminal.expect("A moderator has locked this conversation. Reason: It is against the law.")
    close(terminal, prompts=1)


def test_a_suspended_member_reads_why(parley_here: LiveServer, open_terminal: Open) -> None:
    decide(parley_here, "suspend(User.objects.get(username='alice'))")
    terminal = open_terminal()
    terminal.expect("Your account is suspended until")
    terminal.expect("Reason: It is harmful or dangerous.")
    terminal.expect("You: ")
    terminal.type("one\n")
    terminal.expect("Your account is suspended until", times=2)
    close(terminal)


def test_a_stop_by_a_moderator_says_so(parley_here: LiveServer, open_terminal: Open, gemini: Gemini) -> None:
    gemini.on("slow", [Text("Once "), Hold(), Text("never")])
    terminal = open_terminal()
    terminal.expect("You: ")
    terminal.type("slow\n")
    terminal.expect("Once")
    decide(parley_here, "stop(Run.objects.get().pk)")
    terminal.expect("A moderator stopped this answer.")
    assert "You stopped" not in terminal.text
    close(terminal)


def test_an_answer_that_is_hidden_while_it_is_written_is_marked(
    parley_here: LiveServer, open_terminal: Open, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("Once "), Hold(), Text("never")])
    parley_here.start()  # the server executes it, or the terminal: both read the log
    path = parley_here.data_dir / "out.txt"
    terminal = open_terminal("--out", str(path))
    terminal.expect("You: ")
    terminal.type("slow\n")
    terminal.expect("Once")
    decide(parley_here, "hide_running(Run.objects.get().pk)")
    terminal.expect("[hidden by a moderator]")
    terminal.expect("A moderator stopped this answer.")
    until(lambda: "[A moderator stopped this answer.]" in path.read_text())
    assert "[hidden by a moderator]\n" in path.read_text()
    assert "started again" not in terminal.text
    close(terminal)
