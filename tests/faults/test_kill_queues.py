"""Servers that end while questions wait in a queue: each is asked once, in order."""

import pytest
from django.conf import settings

from tests.support.gemini import Hold, Pause, Step, Text
from tests.support.live import Member, check_with_oracle
from tests.support.waiting import until
from tests.waiting import kills
from tests.waiting.campaign import Bank, bank_of

pytestmark = [
    pytest.mark.skipif(settings.ON_SQLITE, reason="by design, a SQLite file has only one server"),
    pytest.mark.timeout(300),  # it prepares two servers
]


def queue_two(bank: Bank, first: list[Step]) -> tuple[Member, str, list[str]]:
    """Ask at the first server, and queue two more questions there while it answers."""
    bank.gemini.on("first", first, [Text("It is done.")])
    alice = bank.servers[0].member("alice")
    with alice.ask("first", agent="bank") as stream:
        conversation = stream.until("text")[0].json()["conversation"]
    queued = []
    for question in ("second", "third"):
        bank.gemini.on(question, [Text(f"{question} answer")])
        body = {"query": question, "conversation": conversation, "if_busy": "queue"}
        answer = alice.http.post("/chat/stream", json=body, headers=alice.headers())
        assert answer.status_code == 202, answer.text
        queued.append(answer.json()["queued"])
    return alice, f"/api/v1/conversations/{conversation}", queued


def assert_asked_in_order(bank: Bank, member: Member, path: str, queued: list[str]) -> None:
    def is_idle() -> bool:
        found = member.http.get(path).json()
        return found["active_run"] is None and not found["queued"]

    until(is_idle, otherwise=lambda: member.http.get(path).text)
    prompts = [each for each in member.http.get(path).json()["messages"]["items"] if each["role"] == "user"]
    assert [each["text"] for each in prompts] == ["first", "second", "third"]
    assert [each["run"] for each in prompts[1:]] == queued
    assert [bank.gemini.calls_for(question) for question in ("second", "third")] == [1, 1]
    check_with_oracle(bank.servers[1], [])


def test_a_server_dies_between_the_end_of_a_run_and_the_launch_of_the_next() -> None:
    with bank_of("postgresql", kills.AGENT) as bank:
        one, two = bank.servers
        alice, path, queued = queue_two(bank, [Text("It "), Hold(), Text("is done.")])
        (bank.folder / "hold_queued").touch()
        bank.gemini.release()
        until((bank.folder / "reached_queued").exists)
        there = alice.at(two.url)
        assert there.http.get(f"/api/v1/runs/{queued[0]}").json()["status"] == "queued"
        one.kill()
        (bank.folder / "hold_queued").unlink()
        assert_asked_in_order(bank, there, path, queued)


def test_a_stopping_server_hands_over_its_run_and_the_queue_behind_it() -> None:
    with bank_of("postgresql", kills.AGENT, DRAIN_SECONDS="0.5") as bank:
        one, two = bank.servers
        alice, path, queued = queue_two(bank, [Text("It "), Pause(60), Text("is late.")])
        assert one.stop() == 0
        assert_asked_in_order(bank, alice.at(two.url), path, queued)
