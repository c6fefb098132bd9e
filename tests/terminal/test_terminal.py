"""``manage.py chat`` at a terminal and through pipes, with a server and without."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from chat.terminal.stderr import FRAMES
from tests.support.commands import ROOT
from tests.support.gemini import Call, Gemini, Hold, Pause, Status, Step, Text, Thought
from tests.support.live import LiveServer, Member, check_with_oracle
from tests.support.terminal import CTRL_C, CTRL_D, Terminal, chat_piped
from tests.support.waiting import until
from tests.terminal.conftest import Open

# tests/faults/test_terminal.py runs on each database
pytestmark = [pytest.mark.any_database, pytest.mark.timeout(400)]


def stored(server: LiveServer, query: str) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(server.data_dir / "parley.sqlite3")
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def signed_in(server: LiveServer, name: str) -> Member:
    """Return a browser signed in as an existing member."""
    member = Member(server.url)
    member.http.get("/accounts/login/")
    form = {"login": name, "password": "correct horse battery", **csrf(member)}
    done = member.http.post("/accounts/login/", data=form, headers={"Referer": server.url})
    assert done.status_code == 302, done.text[:500]
    return member


def csrf(member: Member) -> dict[str, str]:
    return {"csrfmiddlewaretoken": member.http.cookies["csrftoken"]}


# --- piped ----------------------------------------------------------------------------------------


def test_a_piped_question_prints_only_the_reply(parley_here: LiveServer, gemini: Gemini) -> None:
    gemini.on("hi", [Thought("Hm."), Text("Hello"), Text(", **alice**.")])
    done = chat_piped(parley_here, "hi\n")
    assert (done.stdout, done.stderr, done.returncode) == ("Hello, **alice**.\n", "", 0)
    check_with_oracle(parley_here, [])


def test_each_piped_line_is_a_question_in_one_conversation(parley_here: LiveServer) -> None:
    done = chat_piped(parley_here, "one\r\n\n  two \nexit\nthree\n")
    assert (done.stdout, done.returncode) == ("You said: one\n\nYou said:   two \n", 0)
    assert stored(parley_here, "SELECT text FROM chat_message WHERE role = 'user' ORDER BY created_at") == [
        ("one",),
        ("  two ",),
    ]
    assert stored(parley_here, "SELECT count(*) FROM chat_conversation") == [(1,)]


def test_a_failed_answer_is_reported_and_sets_the_exit_code(parley_here: LiveServer, gemini: Gemini) -> None:
    gemini.on("bad", [Status(400, "INVALID_ARGUMENT")])
    done = chat_piped(parley_here, "bad\ngood\n")
    assert done.stderr == "The model failed to answer. Ask again if you like.\n"
    assert done.stdout.endswith("You said: good\n")
    assert done.returncode == 1


def test_a_suspended_member_asks_nothing(parley_here: LiveServer) -> None:
    until = "from accounts.models import User; User.objects.update(suspended_until='2099-01-01T00:00:00Z')"
    assert parley_here.manage("shell", "-c", until).returncode == 0
    done = chat_piped(parley_here, "one\n")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("Your account is suspended until 1 Jan 2099")
    assert stored(parley_here, "SELECT count(*) FROM chat_message") == [(0,)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"caf\xe9\n", "That is not UTF-8."),
        (b"a\x00b\n", "Text must not hold a NUL character."),
        ("\u2063\n".encode(), "The message is empty."),
        (b"x" * (128 * 1024 + 1), "The message is longer than 128 KiB."),
    ],
)
def test_an_invalid_question_is_refused_with_a_sentence(
    parley_here: LiveServer, line: bytes, sentence: str
) -> None:
    done = chat_piped(parley_here, line)
    assert (done.stdout, done.stderr, done.returncode) == ("", f"{sentence}\n", 1)
    assert stored(parley_here, "SELECT count(*) FROM chat_message") == [(0,)]


def test_a_closed_output_pipe_causes_no_traceback(parley_here: LiveServer, gemini: Gemini) -> None:
    gemini.on("long", [step for n in range(20) for step in (Text(f"line {n}\n"), Pause(0.05))])
    command = f"echo long | {sys.executable} manage.py chat --user alice | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env=parley_here.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("line 0\n", "")
    check_with_oracle(parley_here, [])
    assert stored(parley_here, "SELECT status FROM chat_run") == [("completed",)]


# --- failed starts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "words", "sentence"),
    [
        ("nobody\x1b[2J", [], "There is no user nobody␛[2J."),
        ("carol", [], "The account of carol is not active."),
        ("alice", ["--agent", "x"], "There is no agent of this name. There are: chat_assistant."),
        ("alice", ["--conversation", "x"], "There is no such conversation of this user."),
        ("alice", ["--conversation", str(uuid.UUID(int=1))], "There is no such conversation of this user."),
        ("alice", ["--out", "/nowhere/file"], "/nowhere/file cannot be written: No such file or directory."),
    ],
)
def test_a_failed_start_is_reported_in_a_sentence(
    parley_here: LiveServer, user: str, words: list[str], sentence: str
) -> None:
    done = chat_piped(parley_here, "hi\n", *words, user=user)
    assert (done.stdout, done.stderr, done.returncode) == ("", f"CommandError: {sentence}\n", 1)


def test_a_foreign_conversation_is_not_found(parley_here: LiveServer) -> None:
    assert chat_piped(parley_here, "mine\n").returncode == 0
    [(conversation,)] = stored(parley_here, "SELECT id FROM chat_conversation")
    bobs = chat_piped(parley_here, "yours\n", "--conversation", str(uuid.UUID(conversation)), user="bob")
    assert bobs.stderr == "CommandError: There is no such conversation of this user.\n"
    own = chat_piped(parley_here, "on\n", "--conversation", str(uuid.UUID(conversation)))
    assert own.stdout == "You said: on\n"
    assert stored(parley_here, "SELECT count(*) FROM chat_conversation") == [(1,)]


def test_an_unprepared_database_is_reported_in_a_sentence(tmp_path: Path) -> None:
    done = chat_piped(LiveServer(tmp_path), "hi\n")
    assert done.stderr.startswith("CommandError: The database cannot be used: no such table")
    assert "`manage.py prepare`" in done.stderr and done.stderr.count("\n") == 1


def test_an_unreachable_postgres_is_reported_in_a_sentence(tmp_path: Path) -> None:
    done = chat_piped(LiveServer(tmp_path, DATABASE_URL="postgres://x@127.0.0.1:1/x"), "hi\n")
    assert done.stderr.startswith("CommandError: The database cannot be used: connection failed")
    assert done.stderr.count("\n") == 1


def test_a_locked_database_file_is_reported_in_a_sentence(parley_here: LiveServer) -> None:
    database = sqlite3.connect(parley_here.data_dir / "parley.sqlite3")
    database.execute("BEGIN EXCLUSIVE")
    try:
        done = chat_piped(parley_here, "hi\n")  # after a wait of 20 s, like a server's
    finally:
        database.close()
    assert done.stderr.startswith("CommandError: Another program holds ")
    assert done.stderr.count("\n") == 1


# --- at a terminal --------------------------------------------------------------------------------


def test_text_is_streamed_with_a_spinner_before_and_between(open_terminal: Open, gemini: Gemini) -> None:
    answer: list[Step] = [Pause(1), Text("Hel"), Hold(), Text("lo")]
    gemini.on("hi", answer)
    terminal = open_terminal()
    terminal.expect("You: ")
    terminal.type("hi\n")
    terminal.expect("chat_assistant: Hel")
    assert any(frame in terminal.text for frame in FRAMES), terminal.raw
    shown = len(terminal.raw)
    terminal.expect("⠹", times=terminal.text.count("⠹") + 1)
    assert b"\b" in terminal.raw[shown:]
    gemini.release()
    terminal.expect("You: ", times=2)
    terminal.type("exit\n")
    assert terminal.exit_code() == 0


def test_the_spinner_is_only_on_stderr(open_terminal: Open, gemini: Gemini, tmp_path: Path) -> None:
    gemini.on("hi", [Pause(1), Text("Hel"), Pause(1), Text("lo")])
    with (tmp_path / "reply").open("wb") as reply:
        terminal = open_terminal(stdout=reply.fileno())
        terminal.expect("You: ")
        terminal.type("hi\n")
        terminal.expect("You: ", times=2)
        terminal.type(CTRL_D)
        assert terminal.exit_code() == 0
    assert (tmp_path / "reply").read_bytes() == b"Hello\n"
    assert any(frame in terminal.text for frame in FRAMES)


def test_thoughts_and_tools_are_shown_dimmed(open_terminal: Open, gemini: Gemini) -> None:
    first: list[Step] = [Thought("I add."), Call("calculate", {"expression": "6*7"})]
    gemini.on("sum", first, [Text("It is 42.")])
    terminal = open_terminal()
    terminal.expect("You: ")
    terminal.type("sum\n")
    terminal.expect("It is 42.")
    terminal.expect("You: ", times=2)
    assert b"\x1b[2mI add." in terminal.raw
    assert b'\x1b[2m\xe2\x86\x92 calculate {"expression": "6*7"}\x1b[0m' in terminal.raw
    assert "← calculate" in terminal.text
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0


SCRIBE = """
from google.adk.agents import Agent
from google.genai import types


async def save(name: str, tool_context) -> dict:
    \"\"\"Saves a text.\"\"\"
    return {"version": await tool_context.save_artifact(name, types.Part(text="x"))}


root_agent = Agent(name="scribe", model="gemini-2.5-flash", tools=[save])
"""


def test_a_saved_file_is_named_at_the_terminal(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini, tmp_path: Path
) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "scribe.py").write_text(SCRIBE)
    parley_here.env["AGENTS_DIR"] = str(tmp_path / "agents")
    gemini.on("Save", [Call("save", {"name": "a\x1b[2J.txt"})], [Text("Saved.")])
    terminal = open_terminal("--agent", "scribe")
    terminal.expect("You: ")
    terminal.type("Save\n")
    terminal.expect("You: ", times=2)
    assert ".txt, text/plain, 0 KB" in terminal.text
    assert b"\x1b[2J" not in terminal.raw
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0


def test_a_file_is_added_to_the_next_question(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini, tmp_path: Path
) -> None:
    (tmp_path / "my notes.txt").write_text("hello")
    (tmp_path / "data.bin").write_bytes(b"\0" * 3000)
    gemini.on_agent("chat_assistant", [Text("Read it.")])  # the question has the words of its files, too
    terminal = open_terminal()
    terminal.expect("You: ")
    terminal.type(f"/file {tmp_path}/nothing.txt\n")
    terminal.expect("There is no file")
    terminal.type(f"/file '{tmp_path}/my notes.txt'\n")
    terminal.expect("Added to the next question: my notes.txt, text/plain, 0 KB.")
    terminal.type(f"/file {tmp_path}/data.bin\n")
    terminal.expect("data.bin, application/octet-stream, 3 KB. The agent gets only its name.")
    terminal.type("Read\n")
    terminal.expect("Read it.")
    terminal.expect("You: ", times=5)
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0
    shown = parley_here.manage(
        "shell",
        "-c",
        "from chat.models import Message; m = Message.objects.get(role='user'); "
        "print([item.get('name', item.get('text')) for item in m.parts['items']])",
    )
    assert shown.stdout.strip().endswith("['Read', 'my notes.txt', 'data.bin']")


CHATTY = """
import subprocess, sys, threading, time
from google.adk.agents import Agent
from google.adk.models import BaseLlm, LlmResponse
from google.genai import types


def say(when):
    print(f"NOISE printed {when}", flush=True)
    sys.stdout.write(f"NOISE written {when}\\n")
    sys.stderr.write(f"NOISE to stderr {when}\\n")
    subprocess.run(f"echo NOISE of a process {when}; echo NOISE to its stderr {when} >&2", shell=True)


def go_on():
    while True:
        time.sleep(0.002)
        print("NOISE of a thread", flush=True)


class Model(BaseLlm):
    async def generate_content_async(self, request, stream=False):
        say("in a run")
        yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text="Done.")]))


say("at import")
threading.Thread(target=go_on, daemon=True).start()
root_agent = Agent(name="someone", model=Model(model="own"))
"""
NOISE = [
    f"NOISE {what} {when}"
    for what in ("printed", "written", "to stderr", "of a process", "to its stderr")
    for when in ("at import", "in a run")
]


@pytest.fixture
def chatty(parley_here: LiveServer, tmp_path: Path) -> LiveServer:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "chatty.py").write_text(CHATTY)
    parley_here.env["AGENTS_DIR"] = str(tmp_path / "agents")
    return parley_here


def test_an_agents_output_does_not_reach_the_terminal(chatty: LiveServer, open_terminal: Open) -> None:
    terminal = open_terminal("--agent", "chatty")
    terminal.expect("You: ")
    terminal.type("Hi\n")
    terminal.expect("chatty: Done.")
    terminal.expect("You: ", times=2)
    time.sleep(0.2)  # the thread prints beside the prompt, and until the process has ended
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0
    assert "NOISE" not in terminal.text


def test_an_agents_output_is_shown_at_the_terminal_on_request(
    chatty: LiveServer, open_terminal: Open
) -> None:
    terminal = open_terminal("--agent", "chatty", "-v", "2")
    terminal.expect("You: ")
    terminal.type("Hi\n")
    terminal.expect("chatty: ")
    terminal.expect("Done.")  # a thread's line may come in between
    terminal.expect("NOISE to its stderr in a run")
    terminal.expect("You: ", times=2)
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0


def test_an_agents_output_goes_to_a_piped_stderr(chatty: LiveServer) -> None:
    done = chat_piped(chatty, "Hi\n", "--agent", "chatty")
    assert (done.stdout, done.returncode) == ("Done.\n", 0)
    assert [line for line in NOISE if line not in done.stderr] == []


def test_ctrl_c_stops_the_answer_and_keeps_its_text(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    terminal = open_terminal()
    terminal.expect("You: ")
    terminal.type("slow\n")
    terminal.expect(": shown")
    terminal.type(CTRL_C)
    terminal.expect("You stopped this answer.")
    terminal.expect("You: ", times=2)
    assert stored(
        parley_here, "SELECT r.status, m.text FROM chat_run r JOIN chat_message m ON r.reply_id = m.id"
    ) == [("stopped", "shown")]
    terminal.type("and now?\n")
    terminal.expect("You said: and now?")
    terminal.expect("You: ", times=3)
    assert terminal.leave() == 0
    check_with_oracle(parley_here, [])


def test_ctrl_c_ends_a_piped_conversation(open_terminal: Open, gemini: Gemini) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    stdin, asking = os.pipe()
    terminal = open_terminal(stdin=stdin)
    os.close(stdin)
    os.write(asking, b"slow\nnever asked\n")
    os.close(asking)
    terminal.expect(": shown")
    terminal.type(CTRL_C)
    assert terminal.exit_code() == 130
    assert "never asked" not in terminal.text


def test_a_second_ctrl_c_leaves_if_no_process_stops_the_run(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini
) -> None:
    parley_here.start()
    assert parley_here.process
    gemini.on("slow", [Text("shown"), Hold(), Text(" then")])
    terminal = open_terminal()
    terminal.expect("A running Parley answers.")
    terminal.expect("You: ")
    terminal.type("slow\n")
    terminal.expect(": shown")
    parley_here.process.send_signal(signal.SIGSTOP)
    terminal.type(CTRL_C)
    time.sleep(1)
    assert terminal.process.poll() is None
    terminal.type(CTRL_C)
    assert terminal.exit_code() == 130


def test_a_closed_terminal_hands_its_run_over(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("half"), Hold(), Text(" never")], [Text("whole")])
    terminal = open_terminal()
    terminal.expect("You: ")
    terminal.type("slow\n")
    terminal.expect(": half")
    terminal.process.send_signal(signal.SIGHUP)
    assert terminal.exit_code() == 129
    kept, handed_over = ("expired", 1), ("queued", 1)  # what was shown is kept as a run of its own
    assert sorted(stored(parley_here, "SELECT status, attempt FROM chat_run")) == [kept, handed_over]
    assert chat_piped(parley_here, "next\n").returncode == 0  # another command executes the run
    assert ("completed",) in stored(parley_here, "SELECT status FROM chat_run")
    check_with_oracle(parley_here, [])


def test_the_demonstration_asks_its_four_questions(
    open_terminal: Open, parley_here: LiveServer, tmp_path: Path
) -> None:
    terminal = open_terminal("--demo")
    assert terminal.exit_code() == 0
    for question in (
        "Hello! What can you help me with?",
        "Explain quantum computing in simple terms",
        "What are the practical applications?",
        "How does it compare to classical computing?",
    ):
        assert f"] alice: {question}\n" in terminal.text
        assert f"] chat_assistant: You said: {question}\n" in terminal.text
    assert stored(parley_here, "SELECT count(*), count(DISTINCT conversation_id) FROM chat_run") == [(4, 1)]


# --- several outputs ------------------------------------------------------------------------------


def test_several_outputs_receive_the_conversation_simultaneously(
    open_terminal: Open, gemini: Gemini, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    two.write_text("kept\n")
    gemini.on("hi", [Text("Hel"), Hold(), Text("lo")])
    terminal = open_terminal("--out", str(one), "--out", str(two))
    terminal.expect("You: ")
    terminal.type("hi\n")
    terminal.expect(": Hel")
    until(lambda: one.read_text().endswith("] chat_assistant: Hel"))  # the terminal shows it first
    assert one.read_text().splitlines()[-2].endswith("] alice: hi")
    gemini.release()
    terminal.expect("You: ", times=2)
    terminal.type("quit\n")
    assert terminal.exit_code() == 0
    assert one.read_text().endswith("] chat_assistant: Hello\n\n")
    assert two.read_text() == "kept\n" + one.read_text()


def test_a_failing_output_file_is_reported_and_the_answer_continues(parley_here: LiveServer) -> None:
    done = chat_piped(parley_here, "hi\n", "--out", "/dev/full")
    assert done.stdout == "You said: hi\n"
    assert done.stderr == "/dev/full cannot be written: No space left on device.\n"
    assert done.returncode == 1


# --- lines ----------------------------------------------------------------------------------------

COLUMNS = 100  # of tests/support/terminal.py


def screen_lines(terminal: Terminal) -> list[str]:
    """Return the lines on the screen, with backspaces applied."""
    lines = []
    for line in re.sub(r"\x1b\[[?\d]*[a-z]", "", terminal.raw.decode()).replace("\r", "").split("\n"):
        shown: list[str] = []
        at = 0
        for character in line:
            if character == "\b":
                at = max(0, at - 1)
            else:
                shown[at : at + 1] = [character]
                at += 1
        lines.append("".join(shown).rstrip())
    return lines


def answered(open_terminal: Open, gemini: Gemini, answer: str, size: int) -> list[str]:
    """Return the screen's lines after an answer that came in pieces of ``size`` characters."""
    gemini.on("hi", [Text(answer[at : at + size]) for at in range(0, len(answer), size)])
    terminal = open_terminal()
    terminal.expect("You: ")
    terminal.type("hi\n")
    terminal.expect("You: ", times=2)
    terminal.type("exit\n")
    assert terminal.exit_code() == 0
    return screen_lines(terminal)


@pytest.mark.parametrize("size", [1, 7])
def test_a_line_ends_between_words(open_terminal: Open, gemini: Gemini, size: int) -> None:
    words = [f"quantum{n}" for n in range(80)]
    lines = answered(open_terminal, gemini, " ".join(words) + ".", size)
    assert max(map(len, lines)) < COLUMNS
    assert re.findall(r"quantum\d+", "\n".join(lines)) == words


def test_a_chinese_character_counts_as_two_columns(open_terminal: Open, gemini: Gemini) -> None:
    lines = answered(open_terminal, gemini, "这是一个很长的句子，没有空格。" * 12, 5)
    shown = [line for line in lines if "句子" in line]
    assert len(shown) > 3
    assert all(
        2 * sum(c > "\u2fff" for c in line) + sum(c < "\u2fff" for c in line) < COLUMNS for line in shown
    )
    assert not any(line.startswith(("，", "。")) for line in shown)


def test_lines_of_code_are_left_as_they_are(open_terminal: Open, gemini: Gemini) -> None:
    code = "echo " + "word " * 40 + "end"
    lines = answered(open_terminal, gemini, f"Run:\n\n```sh\n{code}\n```\n\nThen stop.", 9)
    assert code in lines


# --- hostile text ---------------------------------------------------------------------------------

HOSTILE = "a\x1b]0;title\x07b\x1b[2Jc\x9b31md\u202ee\x7ff\rg\x90h\u2067i\u202aj"
SHOWN = "a␛]0;title␇b␛[2Jc\ufffd31md\ufffde␡f␍g\ufffdh\ufffdi\ufffdj"


def test_escape_sequences_are_stored_but_not_printed(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini, tmp_path: Path
) -> None:
    answer: list[Step] = [Thought(HOSTILE), Call(HOSTILE, {}), Call("calculate", {"expression": HOSTILE})]
    gemini.on("hi", answer, [Text(HOSTILE[:3]), Text(HOSTILE[3:])])
    terminal = open_terminal("--out", str(tmp_path / "out"))
    terminal.expect("You: ")
    terminal.type("hi\n")
    terminal.expect("You: ", times=2)
    terminal.type("exit\n")
    assert terminal.exit_code() == 0
    assert stored(parley_here, "SELECT text FROM chat_message WHERE role = 'assistant'") == [(HOSTILE,)]
    assert f"chat_assistant: {SHOWN}" in terminal.text
    for command in [b"\x1b]0", b"\x1b[2J", b"\x07", b"\x7f", *map(str.encode, "\x9b\x90\u202e\u2067\u202a")]:
        assert command not in terminal.raw
    assert SHOWN in (tmp_path / "out").read_text()
    assert chat_piped(parley_here, "hi\n").stdout == f"{SHOWN}\n"


def test_a_title_is_shown_without_its_escape_sequences(open_terminal: Open, parley_here: LiveServer) -> None:
    assert chat_piped(parley_here, f"{HOSTILE} is a question\n").returncode == 0
    [(conversation,)] = stored(parley_here, "SELECT id FROM chat_conversation")
    terminal = open_terminal("--conversation", str(uuid.UUID(conversation)))
    terminal.expect("The conversation goes on: a␛]0;title␇b␛[2J")
    terminal.expect("You: ")
    terminal.type(CTRL_D)
    terminal.exit_code()
    assert b"\x1b]0" not in terminal.raw


# --- beside a server ------------------------------------------------------------------------------


def test_a_running_server_executes_immediately_and_its_pages_show_it(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini
) -> None:
    # No sweep runs during this test, so only an assignment can start the run.
    parley_here.env |= {"QUEUED_MAX_SECONDS": "60", "HEARTBEAT_SECONDS": "60", "DEAD_AFTER_SECONDS": "200"}
    parley_here.start()
    assert parley_here.process
    alice = signed_in(parley_here, "alice")
    gemini.on("hi", [Text("Hel"), Hold(), Text("lo")])
    terminal = open_terminal()
    terminal.expect("You: ")
    terminal.type("hi\n")
    terminal.expect(": Hel", within=40)
    [(pid,)] = stored(parley_here, "SELECT p.pid FROM chat_run r JOIN chat_process p ON r.process_id = p.id")
    assert pid == parley_here.process.pid
    [item] = alice.http.get("/api/v1/conversations").json()["items"]
    assert (item["title"], item["active_run"] is not None) == ("hi", True)
    with alice.follow(item["active_run"]) as stream:
        seen = stream.until("text")
    gemini.release()
    terminal.expect("You: ", times=2)
    terminal.type("exit\n")
    assert terminal.exit_code() == 0
    check_with_oracle(parley_here, [seen])


def test_an_answer_stopped_on_the_page_ends_at_the_terminal(
    open_terminal: Open, parley_here: LiveServer, gemini: Gemini
) -> None:
    parley_here.start()
    alice = signed_in(parley_here, "alice")
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    terminal = open_terminal()
    terminal.expect("You: ")
    terminal.type("slow\n")
    terminal.expect(": shown")
    [item] = alice.http.get("/api/v1/conversations").json()["items"]
    assert alice.stop(item["active_run"]).json()["status"] == "stopped"
    terminal.expect("You stopped this answer.")


def test_a_conversation_with_an_active_run_is_busy(parley_here: LiveServer, gemini: Gemini) -> None:
    parley_here.start()
    alice = signed_in(parley_here, "alice")
    gemini.on("slow", [Text("shown"), Hold(), Text(" then")])
    with alice.ask("slow") as stream:
        seen = stream.until("text")
        conversation = seen[0].json()["conversation"]
        done = chat_piped(parley_here, "hi\n", "--conversation", conversation)
    assert done.stderr == "This conversation is already answering. Try again in a moment.\n"
    assert (done.stdout, done.returncode) == ("", 1)


def test_a_server_cannot_start_while_a_terminal_executes_runs(
    open_terminal: Open, parley_here: LiveServer
) -> None:
    terminal = open_terminal()
    terminal.expect("This command answers.")
    refused = parley_here.manage("serve")
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        f"CommandError: A chat in a terminal (process {terminal.process.pid}) is using "
    )
    assert refused.stderr.count("\n") == 1
    terminal.expect("You: ")
    terminal.type("exit\n")
    assert terminal.exit_code() == 0
    parley_here.start()


def test_a_second_terminals_runs_are_executed_by_the_first_until_it_ends(
    open_terminal: Open, parley_here: LiveServer
) -> None:
    first = open_terminal()
    first.expect("This command answers.")
    second = open_terminal()
    second.expect("A running Parley answers.")
    second.expect("You: ")
    second.type("one\n")
    second.expect("You said: one")
    first.expect("You: ")
    first.type(CTRL_D)
    assert first.exit_code() == 0
    second.expect("You: ", times=2)
    second.type("two\n")
    second.expect("You said: two")
    second.expect("You: ", times=3)
    assert stored(parley_here, "SELECT DISTINCT status, attempt FROM chat_run") == [("completed", 1)]


def test_the_terminal_waits_for_a_database_locked_for_a_while(
    parley_here: LiveServer, gemini: Gemini
) -> None:
    gemini.on("slow", [step for n in range(30) for step in (Text(f"word{n} "), Pause(0.05))])

    def hold() -> None:
        database = sqlite3.connect(parley_here.data_dir / "parley.sqlite3", timeout=20)
        database.execute("BEGIN EXCLUSIVE")
        time.sleep(2)
        database.close()

    holder = threading.Timer(3.5, hold)
    holder.start()
    done = chat_piped(parley_here, "slow\n")
    holder.join()
    assert done.stdout.rstrip("\n") == "".join(f"word{n} " for n in range(30))
    assert done.returncode == 0
