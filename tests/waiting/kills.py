"""Kills of an answering run: ``python -m tests.waiting.kills [--folder var/kills] [--rounds 1]``.

In each trial alice approves a transfer, and the server that executes the answering run is killed, or stopped
with ``DRAIN_SECONDS=0``, while the run is held at one point, or after a random delay. On PostgreSQL the other
server goes on, on SQLite the same one after its restart. The tool's own counter must be 1 at most. A run that
was killed before its mark must complete; after the mark it must end as ``lost``, and never run again. The
folder has the results, so that an interrupted campaign goes on.
"""

import argparse
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.gemini import Call, Pause, Text
from tests.support.live import LiveServer, Member, check_with_oracle, read_to_done
from tests.support.sse_client import SseEvent, terminal_of, text_of
from tests.support.waiting import until
from tests.waiting.campaign import ENGINES, Bank, Log, bank_of, say, waiting_in

# In the order in which an answering run comes to them. Before MARK it may begin again.
BEFORE = ["committed", "loading", "prepared", "agent", "before_mark", "in_mark"]
AFTER = ["marked", "entering", "inside", "sent", "returned", "model", "before_end", "in_end"]
ENDED = ["ended"]
# Held on a thread of the database: a server that stops goes on past them before it looks at the signal.
ON_THREAD = {*BEFORE, *AFTER, *ENDED} - {"agent", "entering", "inside", "sent", "returned", "model"}
SIGNALS = ("kill", "stop")
RANDOM = 10  # trials of each signal and round with a random delay
LONGEST_DELAY = 1.5  # seconds

AGENT = '''
import asyncio, pathlib, time
from django.db import transaction
from google.adk.agents import Agent
from google.adk.tools import FunctionTool
from chat import lifecycle
from chat.runs import execution
from chat.stream import admission

HERE = pathlib.Path(__file__).parent

def held(point):
    return (HERE / f"hold_{point}").exists()

def reach(point):
    if held(point):
        (HERE / f"reached_{point}").touch()

async def at(point):
    reach(point)
    while held(point):
        await asyncio.sleep(0.01)

def at_on_thread(point):
    reach(point)
    while held(point):
        time.sleep(0.01)

def hold(module, name, before=None, after=None):
    """Hold a function of Parley before it or after it."""
    function = getattr(module, name)
    def held_function(*args, **kwargs):
        before and at_on_thread(before)
        result = function(*args, **kwargs)
        after and at_on_thread(after)
        return result
    setattr(module, name, held_function)

def in_transaction(function, point):
    def held_inside(*args, **kwargs):
        with transaction.atomic():
            result = function(*args, **kwargs)
            at_on_thread(point)
            return result
    return held_inside

if not hasattr(lifecycle, "held_by_a_test"):
    lifecycle.held_by_a_test = True
    lifecycle.start_approved = in_transaction(lifecycle.start_approved, "in_mark")
    lifecycle.end = in_transaction(lifecycle.end, "in_end")
    hold(lifecycle, "claim", "queued")  # of an ask from a queue: tests/faults/test_kill_queues.py
    hold(execution, "load_session", "loading")
    hold(admission, "prepare_run", "committed", "prepared")
    hold(lifecycle, "start_approved", "before_mark", "marked")
    hold(lifecycle, "end", "before_end", "ended")

async def before_agent(callback_context):
    await at("agent")

async def before_tool(tool, args, tool_context):
    if tool_context.tool_confirmation:
        await at("entering")

async def after_tool(tool, args, tool_context, tool_response):
    if tool_context.tool_confirmation:
        await at("returned")

async def before_model(callback_context, llm_request):
    if any(part.function_response for content in llm_request.contents for part in content.parts):
        await at("model")

async def transfer_money(amount: int) -> dict:
    """Transfers money."""
    await at("inside")
    with (HERE / "counter").open("a") as out:
        out.write(f"{amount}\\n")
    await at("sent")
    await asyncio.sleep(0.1)
    return {"sent": amount}

root_agent = Agent(
    name="bank", model="gemini-2.5-flash", before_agent_callback=before_agent,
    before_tool_callback=before_tool, after_tool_callback=after_tool, before_model_callback=before_model,
    tools=[FunctionTool(transfer_money, require_confirmation=True)],
)
'''


@dataclass(frozen=True)
class Trial:
    """A signal at a point of the run, or ``delay`` seconds after the answer was sent."""

    number: int
    signal: str
    point: str = ""
    delay: float = 0

    @property
    def name(self) -> str:
        return f"{self.signal} {self.point or 'random'} {self.number}"


def trials_of(rounds: int) -> list[Trial]:
    """Return the trials, always the same ones."""
    found = []
    for n in range(rounds):
        for signal in SIGNALS:
            found += [Trial(n, signal, point) for point in BEFORE + AFTER + ENDED]
            for each in range(n * RANDOM, (n + 1) * RANDOM):
                delay = random.Random(f"{signal} {each}").uniform(0, LONGEST_DELAY)
                found.append(Trial(each, signal, delay=delay))
    return found


class Kills:
    """The campaign on one installation."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.alice = bank.servers[0].member("alice")
        self.amounts: list[int] = []
        self.seen: list[list[SseEvent]] = []

    def run(self, trial: Trial) -> dict[str, Any]:
        """Run one trial, and return its result. Raises AssertionError if a promise is broken."""
        amount = len(self.amounts) + 1
        self.amounts.append(amount)
        killed = self.bank.servers[amount % len(self.bank.servers)]
        survivor = next((each for each in self.bank.servers if each is not killed), killed)
        alice = self.alice.at(killed.url)
        asked = self._ask(alice, amount)
        (request,) = waiting_in(asked)
        body = {
            "conversation": asked[0].json()["conversation"],
            "answers": [{"id": request["id"], "decision": "approve"}],
            "client_id": f"00000000-0000-4000-8000-{amount:012d}",
        }
        with ThreadPoolExecutor(1) as pool:
            if trial.point:
                self._file("hold", trial.point).touch()
            reading = pool.submit(_answer, alice, body)
            self._wait(trial)
            self._end(killed, trial)
            seen = reading.result()
        if survivor is killed:
            killed.start()
        reader = alice.at(survivor.url)
        if not seen:  # no response arrived, so the client sends the same key again
            with reader.ask(**body) as stream:
                assert stream.response.status_code == 200, stream.response.read()
                seen = stream.all_events()
        read_to_done(reader, seen)
        if survivor is not killed:
            killed.start()
        self.seen += [asked, seen]
        return self._judge(trial, reader, seen, amount)

    def _ask(self, alice: Member, amount: int) -> list[SseEvent]:
        slowly: list[Text | Pause] = [Text("It is "), Pause(0.1), Text("do"), Pause(0.1), Text("ne.")]
        question = f"Pay {amount}."
        self.bank.gemini.on(question, [Call("transfer_money", {"amount": amount})], slowly)
        with alice.ask(question, agent="bank") as stream:
            return stream.all_events()

    def _file(self, kind: str, point: str) -> Path:
        return self.bank.folder / f"{kind}_{point}"

    def _wait(self, trial: Trial) -> None:
        if not trial.point:
            time.sleep(trial.delay)
            return
        reached = self._file("reached", trial.point)
        until(reached.exists, otherwise=lambda: f"the run never came to {trial.point}")
        reached.unlink()

    def _end(self, server: LiveServer, trial: Trial) -> None:
        hold = self._file("hold", trial.point)
        if trial.signal == "stop" and trial.point in ON_THREAD:
            with ThreadPoolExecutor(1) as pool:
                stopping = pool.submit(server.stop)
                time.sleep(0.3)  # the signal comes while the thread is held
                hold.unlink()
                stopping.result()
            return
        (server.kill if trial.signal == "kill" else server.stop)()
        hold.unlink(missing_ok=True)

    def _judge(self, trial: Trial, alice: Member, seen: list[SseEvent], amount: int) -> dict[str, Any]:
        end = terminal_of(seen)
        sent = self.bank.sent(amount)
        is_lost = end.name == "run.expired" and end.json()["code"] == "lost"
        assert sent <= 1, f"{trial.name}: sent {sent} times"
        assert is_lost or end.name == "run.completed", f"{trial.name}: {end}"
        if not is_lost:
            assert sent == 1 and text_of(seen) == "It is done.", f"{trial.name}: {sent} {text_of(seen)}"
        is_exact = trial.signal == "kill" or trial.point not in ON_THREAD or trial.point == "marked"
        if trial.point and is_exact:
            assert is_lost == (trial.point in AFTER), f"{trial.name}: {end}"
        if is_lost:
            self._check_in_doubt(alice, seen)
        return {"end": "lost" if is_lost else "completed", "sent": sent}

    def _check_in_doubt(self, alice: Member, seen: list[SseEvent]) -> None:
        """Check that the page can say that it is in doubt, and that nothing begins the run again."""
        started = seen[0].json()
        found = alice.http.get(f"/api/v1/conversations/{started['conversation']}").json()
        (prompt,) = (each for each in found["messages"]["items"] if each["id"] == started["prompt"])
        (item,) = prompt["parts"]["items"]
        assert item["state"] == "in_doubt", item
        with alice.ask(prompt=started["prompt"]) as stream:
            stream.response.read()
            error = stream.response.json()["error"]
            assert (stream.response.status_code, error["code"]) == (409, "answered"), error
            assert error["run"] == started["run"]

    def check(self) -> None:
        """Check all that was seen with the oracle, and that no tool has acted since its trial."""
        check_with_oracle(self.bank.servers[0], self.seen)
        assert all(self.bank.sent(amount) <= 1 for amount in self.amounts)


def _answer(alice: Member, body: dict[str, Any]) -> list[SseEvent]:
    """Send the answer; return the events that came before the connection broke."""
    try:
        with alice.ask(**body) as stream:
            if stream.response.status_code == 503:  # the server stops already, and has stored nothing
                return []
            assert stream.response.status_code == 200, stream.response.read()
            return stream.all_events(may_break=True)
    except httpx.TransportError:
        return []


def run(log: Log, engine: str, trials: list[Trial]) -> str:
    """Run the trials that the log lacks, and return a line that sums up all of them."""
    left = [trial for trial in trials if f"{engine}: {trial.name}" not in log.results]
    if left:
        with bank_of(engine, AGENT, DRAIN_SECONDS="0") as bank:
            kills = Kills(bank)
            for n, trial in enumerate(left, 1):
                log.add(f"{engine}: {trial.name}", **kills.run(trial))
                if n % 10 == 0:
                    say(f"{engine}: {n} of {len(left)}")
            kills.check()
    ends = Counter((trial.signal, log.results[f"{engine}: {trial.name}"]["end"]) for trial in trials)
    counts = ", ".join(
        f"{signal} {ends[signal, 'completed']} completed and {ends[signal, 'lost']} lost"
        for signal in SIGNALS
    )
    return f"{engine}: {len(trials)} answering runs: {counts}; no tool acted twice"


def main() -> None:
    """Run the trials that are left on both engines."""
    parser = argparse.ArgumentParser(prog="python -m tests.waiting.kills", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var/kills"))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    chosen = parser.parse_args()
    log = Log(chosen.folder / "log.jsonl")
    for engine in chosen.engine or ENGINES:
        say(run(log, engine, trials_of(chosen.rounds)))


if __name__ == "__main__":
    main()
