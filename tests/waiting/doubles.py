"""Double answers: ``python -m tests.waiting.doubles [--folder var/doubles] [--count 1000]``.

In each trial two signed-in sessions of alice answer one request at the same time: one approves, the other
rejects. On PostgreSQL they use two servers. Another tenth of the trials approves twice, and another tenth
sends one key twice. One decision must count, and the tool's own counter must be 1 if it is an approval, else
0. The folder has the results, so that an interrupted campaign goes on.
"""

import argparse
import random
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

from tests.support.gemini import Call, Text
from tests.support.live import Member, check_with_oracle
from tests.support.sse_client import SseEvent, text_of
from tests.waiting.campaign import ENGINES, Bank, Log, bank_of, say, waiting_in

BATCH = 100  # trials on one installation; then the oracle checks it, and they are logged
SENTENCES = {"approve": "Approved: transfer_money", "reject": "Rejected: transfer_money"}

AGENT = '''
import pathlib
from google.adk.agents import Agent
from google.adk.tools import FunctionTool

HERE = pathlib.Path(__file__).parent

def transfer_money(amount: int) -> dict:
    """Transfers money."""
    with (HERE / "counter").open("a") as out:
        out.write(f"{amount}\\n")
    return {"sent": amount}

root_agent = Agent(
    name="bank", model="gemini-2.5-flash", tools=[FunctionTool(transfer_money, require_confirmation=True)]
)
'''


@dataclass(frozen=True)
class Trial:
    """Two answers, by their decisions; ``gap`` is how many seconds the second one is later."""

    number: int
    kind: str  # "other", "same decision" or "same key"
    decisions: tuple[str, str]
    gap: float

    @property
    def name(self) -> str:
        return f"{self.kind} {self.number}"


@dataclass
class Answered:
    """Answer that one of the two sessions received."""

    status: int
    events: list[SseEvent]
    error: dict[str, Any]


def trials_of(count: int) -> list[Trial]:
    """Return the trials, always the same ones: ``count`` of two decisions, and a fifth more."""
    found = []
    for kind, number in (("other", count), ("same decision", count // 10), ("same key", count // 10)):
        for n in range(number):
            first, second = ("approve", "reject") if n % 2 == 0 else ("reject", "approve")
            second = second if kind == "other" else first
            # An answering run takes about 0.2 s: most second answers come before it has ended.
            gap = random.Random(f"{kind} {n}").choice([0, 0, 0.005, 0.02, 0.1, 0.5])
            found.append(Trial(n, kind, (first, second), gap))
    return found


class Doubles:
    """The campaign on one installation."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        first, last = bank.servers[0], bank.servers[-1]
        alice = first.member("alice")
        self.sessions = [alice, Member(last.url).sign_in("alice")]
        assert len({member.http.cookies["sessionid"] for member in self.sessions}) == 2
        self.seen: list[list[SseEvent]] = []

    def run(self, trial: Trial) -> dict[str, Any]:
        """Run one trial, and return its result. Raises AssertionError if a promise is broken."""
        alice, _other = self.sessions
        question, amount = f"Pay, {trial.name}.", self._amount(trial)
        self.bank.gemini.on(question, [Call("transfer_money", {"amount": amount})], [Text("It is done.")])
        with alice.ask(question, agent="bank") as stream:
            asked = stream.all_events()
        (request,) = waiting_in(asked)
        conversation = asked[0].json()["conversation"]
        keys = [str(uuid.uuid4()) for _ in range(2)]
        barrier = Barrier(2)

        def answer(n: int) -> Answered:
            body = {
                "conversation": conversation,
                "answers": [{"id": request["id"], "decision": trial.decisions[n]}],
                "client_id": keys[0 if trial.kind == "same key" else n],
            }
            barrier.wait()
            time.sleep(trial.gap * n)
            with self.sessions[n].ask(**body) as stream:
                if stream.response.status_code == 200:
                    return Answered(200, stream.all_events(), {})
                stream.response.read()
                return Answered(stream.response.status_code, [], stream.response.json()["error"])

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(answer, range(2)))
        result = self._judge(trial, request, answers, amount)
        self._read_back(conversation, result["decision"], result["run"])
        self.seen += [asked, *(each.events for each in answers if each.events)]
        return result

    @staticmethod
    def _amount(trial: Trial) -> int:
        return {"other": 1_000_000, "same decision": 2_000_000, "same key": 3_000_000}[
            trial.kind
        ] + trial.number

    def _judge(
        self, trial: Trial, request: dict[str, Any], answers: list[Answered], amount: int
    ) -> dict[str, Any]:
        statuses = sorted(each.status for each in answers)
        assert statuses == ([200, 200] if trial.kind == "same key" else [200, 409]), answers
        winner = next(n for n in range(2) if answers[n].status == 200)
        events, decision = answers[winner].events, trial.decisions[winner]
        assert events[-1].is_done and events[-2].name == "run.completed", events
        assert text_of(events) == "It is done.", events
        if trial.kind == "same key":
            assert answers[0].events == answers[1].events
        else:
            error = answers[1 - winner].error
            assert (error["code"], error["run"]) == ("answered", events[0].run), error
            assert error["detail"]
        (returned,) = (event.json() for event in events if event.name == "tool.returned")
        assert returned["id"] == request["call"]
        assert ("result" in returned) == (decision == "approve"), returned
        assert self.bank.sent(amount) == (decision == "approve"), (decision, self.bank.sent(amount))
        return {"decision": decision, "winner": winner, "run": events[0].run}

    def _read_back(self, conversation: str, decision: str, run: str) -> None:
        """Check that both sessions see one decision, its prompt and its reply."""
        for session in self.sessions:
            found = session.http.get(f"/api/v1/conversations/{conversation}").json()
            assert found["waiting"] == []
            _question, _asking, prompt, reply = found["messages"]["items"]
            assert prompt["text"] == SENTENCES[decision], prompt
            (item,) = prompt["parts"]["items"]
            assert (item["type"], item["decision"], item["by"]) == ("approval", decision, "alice"), item
            assert (reply["text"], reply["run"]) == ("It is done.", run), reply


def run(log: Log, engine: str, trials: list[Trial]) -> str:
    """Run the trials that the log lacks, and return a line that sums up all of them."""
    left = [trial for trial in trials if f"{engine}: {trial.name}" not in log.results]
    for start in range(0, len(left), BATCH):
        batch = left[start : start + BATCH]
        with bank_of(engine, AGENT) as bank:
            doubles = Doubles(bank)
            results = [doubles.run(trial) for trial in batch]
            check_with_oracle(bank.servers[0], doubles.seen)
        for trial, result in zip(batch, results, strict=True):
            log.add(f"{engine}: {trial.name}", **result)
        say(f"{engine}: {start + len(batch)} of {len(left)}")
    found = [log.results[f"{engine}: {trial.name}"] for trial in trials]
    other = Counter(
        result["decision"] for trial, result in zip(trials, found, strict=True) if trial.kind == "other"
    )
    assert len(trials) < 10 or all(other[decision] for decision in SENTENCES), f"one outcome only: {other}"
    second = sum(result["winner"] == 1 for result in found)
    return (
        f"{engine}: {len(found)} double answers, one decision each; approve against reject: "
        f"{other['approve']} approved, {other['reject']} rejected; the second session won {second}"
    )


def main() -> None:
    """Run the trials that are left on both engines."""
    parser = argparse.ArgumentParser(prog="python -m tests.waiting.doubles", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var/doubles"))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    chosen = parser.parse_args()
    log = Log(chosen.folder / "log.jsonl")
    for engine in chosen.engine or ENGINES:
        say(run(log, engine, trials_of(chosen.count)))


if __name__ == "__main__":
    main()
