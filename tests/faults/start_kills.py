"""Kills at the start of a run: ``python -m tests.faults.start_kills [--folder F] [--count 100]``.

In each trial alice asks, and the server is killed after the ask has committed, before the run is launched or
while it starts. Another server, or the same one after its restart, must answer, and it is the first attempt.
The folder has the results, so that an interrupted campaign goes on.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.support.gemini import Text
from tests.support.live import Member, check_with_oracle, read_to_done
from tests.support.sse_client import SseEvent, terminal_of, text_of
from tests.support.waiting import until
from tests.waiting.campaign import ENGINES, Bank, Log, bank_of, say

BATCH = 20  # trials; then the oracle checks the database, and they are logged
AGENT = """
import pathlib, time
from google.adk.agents import Agent
from chat.stream import admission

HERE = pathlib.Path(__file__).parent
prepare_run = admission.prepare_run

def at(point):
    if (HERE / f"hold_{point}").exists():
        (HERE / f"reached_{point}").touch()
        while True:
            time.sleep(1)

def held_prepare(*args, **kwargs):
    at("committed")
    prepared = prepare_run(*args, **kwargs)
    at("prepared")
    return prepared

if admission.prepare_run.__name__ == "prepare_run":
    admission.prepare_run = held_prepare

root_agent = Agent(name="bank", model="gemini-2.5-flash")
"""
FIRST_ATTEMPTS = "from chat.models import Run; assert not Run.objects.exclude(attempt=1).exists()"


def kill_at_start(bank: Bank, alice: Member, number: int) -> list[SseEvent]:
    """Run one trial, and return what alice has seen. Raises AssertionError if a promise is broken."""
    killed = bank.servers[number % len(bank.servers)]
    survivor = next((each for each in bank.servers if each is not killed), killed)
    point = ("committed", "prepared")[number // 2 % 2]
    hold, reached = bank.folder / f"hold_{point}", bank.folder / f"reached_{point}"
    question, key = f"Question {number}.", f"00000000-0000-4000-8000-{number:012d}"
    bank.gemini.on(question, [Text(f"Answer {number}.")])
    hold.touch()
    asker = alice.at(killed.url)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(_ask, asker, question, key)
        until(reached.exists, otherwise=lambda: f"trial {number}: the run did not come to {point}")
        hold.unlink()
        killed.kill()
        assert asking.result() == []
    reached.unlink()
    if survivor is killed:
        killed.start()
    reader = alice.at(survivor.url)
    seen = _ask(reader, question, key)  # the same key, as a client does that got no answer
    read_to_done(reader, seen)
    if survivor is not killed:
        killed.start()
    assert terminal_of(seen).name == "run.completed", f"trial {number}: {terminal_of(seen)}"
    assert text_of(seen) == f"Answer {number}.", f"trial {number}: {text_of(seen)}"
    return seen


def _ask(member: Member, question: str, key: str) -> list[SseEvent]:
    try:
        with member.ask(question, agent="bank", client_id=key) as stream:
            return stream.all_events(may_break=True)
    except httpx.TransportError:
        return []


def run(log: Log, engine: str, count: int) -> str:
    """Run the trials that the log lacks, and return a line that sums up all of them."""
    left = [number for number in range(count) if f"{engine}: {number}" not in log.results]
    for at in range(0, len(left), BATCH):
        seen: dict[int, list[SseEvent]] = {}
        with bank_of(engine, AGENT) as bank:
            alice = bank.servers[0].member("alice")
            for number in left[at : at + BATCH]:
                seen[number] = kill_at_start(bank, alice, number)
            check_with_oracle(bank.servers[0], list(seen.values()))
            done = bank.servers[0].manage("shell", "-c", FIRST_ATTEMPTS)
            assert done.returncode == 0, done.stderr
        for number in seen:
            log.add(f"{engine}: {number}")
        say(f"{engine}: {at + len(seen)} of {len(left)}")
    return f"{engine}: {count} servers killed at the start of a run, which its first attempt answered"


def main(arguments: Any = None) -> None:
    """Run the trials that are left on both engines."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.start_kills", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var/start_kills"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    chosen = parser.parse_args(arguments)
    log = Log(chosen.folder / "log.jsonl")
    for engine in chosen.engine or ENGINES:
        say(run(log, engine, chosen.count))


if __name__ == "__main__":
    main()
