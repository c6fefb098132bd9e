"""Two approvers at two servers decide one request at the same time: one decision counts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.gemini import Call, Gemini, Text
from tests.support.live import LiveServer, Member
from tests.support.waiting import until
from tests.waiting.doubles import AGENT

pytestmark = pytest.mark.skipif(settings.ON_SQLITE, reason="by design, a SQLite file has only one server")

ROUNDS = 8
FINANCE = """
from django.contrib.auth.models import Group
from accounts.models import User
group, _new = Group.objects.get_or_create(name="Finance")
group.user_set.set(User.objects.filter(username__in=["carol", "dave"]))
"""


@pytest.fixture
def servers(
    tmp_path: Path, gemini: Gemini, live_database: dict[str, str]
) -> Iterator[tuple[LiveServer, LiveServer]]:
    env = {"GOOGLE_API_KEY": "x", "GOOGLE_GEMINI_BASE_URL": gemini.url, "LIMITS": "off", **live_database}
    env["SECRET_KEY"] = "s" * 60
    env["APPROVERS"] = '{"bank": {"transfer_money": "Finance"}}'
    env["AGENTS_DIR"] = str(tmp_path / "agents")
    for name in ("one", "two", "agents/bank"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "agents" / "bank" / "agent.py").write_text(AGENT)
    one = LiveServer(tmp_path / "one", None, **env).prepare().start()
    two = LiveServer(tmp_path / "two", None, **env).prepare().start()
    yield one, two
    for server in (one, two):
        server.kill()


def is_idle(member: Member, address: str) -> bool:
    return member.http.get(address).json()["active_run"] is None


def test_of_two_approvers_at_two_servers_one_decides(
    servers: tuple[LiveServer, LiveServer], gemini: Gemini, tmp_path: Path
) -> None:
    one, two = servers
    alice, carol, dave = one.member("alice"), one.member("carol"), one.member("dave").at(two.url)
    one.manage("shell", "-c", FINANCE)
    approved = 0
    for number in range(ROUNDS):
        question = f"Pay {number}."
        gemini.on(question, [Call("transfer_money", {"amount": number})], [Text("Done.")])
        with alice.ask(question, agent="bank") as stream:
            events = stream.all_events()
        conversation = events[0].json()["conversation"]
        (request,) = (event.json()["id"] for event in events if event.name == "waiting")

        def decide(member: Member, decision: str, request: str = request) -> tuple[int, str]:
            path, body = f"/api/v1/requests/{request}/decision", {"decision": decision}
            answer = member.http.post(path, json=body, headers=member.headers())
            return answer.status_code, answer.json().get("error", {}).get("code", "")

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(decide, carol, "approve")
            second = pool.submit(decide, dave, "reject")
            results = [first.result(), second.result()]
        assert sorted(results) == [(200, ""), (409, "answered")]
        approved += results[0][0] == 200
        address = f"/api/v1/conversations/{conversation}"
        until(partial(is_idle, alice, address))
        shown = alice.http.get(address).json()["messages"]["items"]
        assert [message["role"] for message in shown] == ["user", "assistant"] * 2
    counter = tmp_path / "agents" / "bank" / "counter"
    assert len(counter.read_text().split() if counter.exists() else []) == approved
