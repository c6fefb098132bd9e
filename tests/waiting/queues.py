"""Interleavings of a queue: ``python -m tests.waiting.queues [--folder var/queues] [--count 500]``.

In each trial alice queues, withdraws, stops, interrupts, answers, deletes and sends at random servers, while
the model takes a random time. In every tenth trial one server is killed and started again. Then the queue is
sent to its end. Each question must have been asked once, in order, or withdrawn; no request may have lapsed.
The number of a trial is its seed. The folder has the results, so that an interrupted campaign goes on.
"""

import argparse
import random
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.support.gemini import Call, Pause, Step, Text
from tests.support.live import Member, check_with_oracle
from tests.waiting.campaign import ENGINES, Bank, Log, bank_of, say
from tests.waiting.doubles import AGENT

BATCH = 20  # trials; then the oracle checks the database, and they are logged
KILL_EVERY = 10
STEPS = 10
SETTLE_SECONDS = 60
ACTIONS = ["queue"] * 5 + [
    "withdraw",
    "withdraw",
    "stop",
    "interrupt",
    "interrupt",
    "answer",
    "answer",
    "send",
]
# Each trial decides what waits, so only a request that has lapsed is still undecided.
NONE_LAPSED = """
from chat.models import PersonRequest
undecided = PersonRequest.objects.filter(decision="", run__conversation__deleted_at=None)
assert not undecided.exists(), list(undecided.values())
"""


class Trial:
    """One conversation; ``number`` is the seed."""

    def __init__(self, bank: Bank, members: list[Member], number: int) -> None:
        self.bank, self.members, self.number = bank, members, number
        self.chance = random.Random(number)
        self.queued: dict[str, str] = {}  # id by text, in the order of asking
        self.interrupting: dict[str, str] = {}
        self.withdrawn: set[str] = set()
        self.sent: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.deleted = False

    @property
    def member(self) -> Member:
        return self.chance.choice(self.members)

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request to a server; while that one starts again, to the other."""
        for _attempt in range(200):
            member = self.member
            try:
                return member.http.request(method, path, json=body, headers=member.headers())
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"no server answers {method} {path}")

    def run(self) -> dict[str, Any]:
        """Run the trial. Raises AssertionError if a promise is broken."""
        first = self._question("first", asks=self.chance.random() < 0.3)
        with self.members[0].ask(first, agent="bank") as stream:
            self.conversation = stream.until("run.started")[0].json()["conversation"]
        kill_at = self.chance.randrange(STEPS) if self.number % KILL_EVERY == 0 else -1
        delete_at = self.chance.randrange(STEPS) if self.number % 7 == 3 else -1
        for step in range(STEPS):
            time.sleep(self.chance.choice([0, 0, 0.01, 0.05, 0.1, 0.3]))
            if step == kill_at:
                server = self.chance.choice(self.bank.servers)
                server.kill()
                server.start()
                self.counts["kill"] += 1
            if step == delete_at:
                assert self.request("DELETE", self._path()).status_code == 204
                self.deleted = True
                self.counts["delete"] += 1
                break
            self._act(self.chance.choice(ACTIONS), step)
        self._settle()
        self._judge()
        return {"counts": dict(self.counts)}

    def _path(self) -> str:
        return f"/api/v1/conversations/{self.conversation}"

    def _question(self, name: str, *, asks: bool = False) -> str:
        text = f"{name} of trial {self.number}"
        answer: list[Step] = [Text("a"), Pause(self.chance.choice([0, 0.05, 0.2, 0.5])), Text("b")]
        # again: after a kill the run may begin again
        steps: list[list[Step]] = (
            [[Call("transfer_money", {"amount": self.number})], answer] if asks else [answer]
        )
        self.bank.gemini.on(text, *steps, answer, answer)
        return text

    def _act(self, action: str, step: int) -> None:
        match action:
            case "queue" | "interrupt":
                self._ask(action, step)
            case "withdraw" if self.queued or self.interrupting:
                named = self.chance.choice([*self.queued.values(), *self.interrupting.values()])
                done = self.request("DELETE", f"/api/v1/queued/{named}")
                assert done.status_code in (204, 409) or named in self.withdrawn, done.text
                if done.status_code == 204:
                    self.withdrawn.add(named)
                    self.counts["withdraw"] += 1
            case "send" if self.queued:
                named = self.chance.choice(list(self.queued.values()))
                done = self.request("POST", f"/api/v1/queued/{named}/send")
                if done.status_code == 200:
                    self.sent.add(named)
                    self.counts["send"] += 1
            case "stop":
                if run := self.request("GET", self._path()).json()["active_run"]:
                    assert self.request("POST", f"/chat/runs/{run}/stop").status_code == 200
                    self.counts["stop"] += 1
            case "answer":
                self._answer()

    def _ask(self, if_busy: str, step: int) -> None:
        text = self._question(f"{if_busy} {step}", asks=self.chance.random() < 0.2)
        body = {"query": text, "conversation": self.conversation, "if_busy": if_busy}
        body["client_id"] = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        done = self.request("POST", "/chat/stream", body)
        if done.status_code == 409:
            assert done.json()["error"]["code"] == "queue_full", done.text
            self.counts["full"] += 1
            return
        assert done.status_code in (200, 202), done.text
        if done.status_code == 202:
            named = done.json()["queued"]
        else:
            named = done.text.split("id: ", 1)[1].split(":", 1)[0]
        (self.queued if if_busy == "queue" else self.interrupting)[text] = named
        self.counts[if_busy] += 1

    def _answer(self) -> None:
        found = self.request("GET", self._path()).json()["waiting"]
        if not found:
            return
        answers = [
            {"id": each["id"], "decision": self.chance.choice(["approve", "reject"])} for each in found
        ]
        done = self.request("POST", "/chat/stream", {"conversation": self.conversation, "answers": answers})
        # Nothing but queued questions comes here, so a request cannot lapse.
        assert done.status_code == 200 or done.json()["error"]["code"] in ("busy", "answered"), done.text
        self.counts["answer"] += 1

    def _settle(self) -> None:
        """Decide what waits, and send the queue, first one first, until nothing is left."""
        deadline = time.monotonic() + SETTLE_SECONDS
        idle = 0
        # Twice: a run may end while the server reads, after it has read what waits.
        while not self.deleted and idle < 2:
            assert time.monotonic() < deadline, self.request("GET", self._path()).text
            found = self.request("GET", self._path()).json()
            if found["waiting"]:
                self._answer()
            elif found["queued"] and not found["active_run"]:
                self.request("POST", f"/api/v1/queued/{found['queued'][0]['id']}/send")
            idle = 0 if found["waiting"] or found["queued"] or found["active_run"] else idle + 1
            time.sleep(0.05)

    def _judge(self) -> None:
        if self.deleted:
            return
        found = self.request("GET", f"{self._path()}?limit=100").json()
        assert found["queued"] == found["waiting"] == [], found
        asked = [each for each in found["messages"]["items"] if each["role"] == "user"]
        texts = Counter(each["text"] for each in asked)
        for text, named in {**self.queued, **self.interrupting}.items():
            expected = 0 if named in self.withdrawn else 1
            assert texts[text] == expected, (text, texts[text], expected)
        runs = {each["text"]: each["run"] for each in asked}
        assert all(runs[text] == named for text, named in self.queued.items() if text in runs)
        in_order = [text for text, named in self.queued.items() if named not in self.withdrawn | self.sent]
        assert in_order == [each["text"] for each in asked if each["text"] in in_order]


def run(log: Log, engine: str, count: int) -> str:
    """Run the trials that the log lacks, and return a line that sums up all of them."""
    left = [n for n in range(count) if f"{engine}: {n}" not in log.results]
    if left:
        with bank_of(engine, AGENT) as bank:
            alice = bank.servers[0].member("alice")
            members = [alice, *(alice.at(server.url) for server in bank.servers[1:])]
            for start in range(0, len(left), BATCH):
                batch = left[start : start + BATCH]
                results = [Trial(bank, members, number).run() for number in batch]
                check_with_oracle(bank.servers[0], [])
                checked = bank.servers[0].manage("shell", "-c", NONE_LAPSED)
                assert checked.returncode == 0, checked.stderr
                for number, result in zip(batch, results, strict=True):
                    log.add(f"{engine}: {number}", **result)
                say(f"{engine}: {start + len(batch)} of {len(left)}")
    total: Counter[str] = Counter()
    for n in range(count):
        total.update(log.results[f"{engine}: {n}"]["counts"])
    said = ", ".join(f"{number} {name}" for name, number in sorted(total.items()))
    return f"{engine}: {count} interleavings, each question asked once, in order, or withdrawn: {said}"


def main() -> None:
    """Run the trials that are left."""
    parser = argparse.ArgumentParser(prog="python -m tests.waiting.queues", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var/queues"))
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    chosen = parser.parse_args()
    log = Log(chosen.folder / "log.jsonl")
    for engine in chosen.engine or ["postgresql"]:
        say(run(log, engine, chosen.count))


if __name__ == "__main__":
    main()
