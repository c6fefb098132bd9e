"""The instruments page of the site owner: light and dark, wide and narrow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.test_accessibility import axe_violations
from tests.support.live import LiveServer, Member

# Six hours of two processes, with a bad half hour: a sample for each minute, a run every three minutes.
SIX_HOURS = """
import random, uuid
from datetime import timedelta
from django.utils import timezone
from accounts.models import User
from chat.models import Conversation, Message, Run, Sample
User.objects.filter(username="alice").update(is_staff=True, is_superuser=True)
alice, now, dice = User.objects.get(), timezone.now(), random.Random(7)
for process in (uuid.uuid4(), uuid.uuid4()):
    for minute in range(0, 360):
        bad = 120 <= minute < 150
        busy = dice.randrange(40, 90)
        Sample.objects.create(process=process, at=now - timedelta(minutes=minute), figures={
            "levels": {"parley_active_runs": busy // 12, "parley_open_streams": busy // 9,
                       "parley_open_sockets": busy // 3, "parley_unsent_bytes": 90000 if bad else 0},
            "histograms": {
                "parley_delta_gap_seconds": {"0.02": busy, "0.05": 5 * busy, "0.1": busy, "sum": 9.0},
                "parley_delta_bytes": {"16": busy, "32": 3 * busy, "sum": 900},
                "parley_journal_commit_seconds": {"0.2" if bad else "0.005": busy, "0.01": 9, "sum": 1.0},
                "parley_journal_batch_events": {"2": busy, "5": 9, "sum": 99}},
            "refusals": {"busy": 1} if bad else {}})
for number in range(120):
    at = now - timedelta(minutes=3 * number)
    failed = 40 <= number < 50 and number % 2
    status = "failed" if failed else "stopped" if number % 9 == 4 else "completed"
    talk = Conversation.objects.create(owner=alice, agent="a", title="secret text")
    prompt = Message.objects.create(conversation=talk, role="user", text="secret text")
    reply = Message.objects.create(conversation=talk, role="assistant", parent=prompt)
    Run.objects.create(conversation=talk, owner=alice, prompt=prompt, reply=reply, status=status,
        code="rate_limited" if failed else "", ttft_ms=dice.randrange(400, 1900), last_seq=5,
        duration_ms=dice.randrange(3000, 19000), ended_at=at, last_change=1)
"""
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    server = LiveServer(tmp_path_factory.mktemp("instruments")).prepare().start()
    member = server.member("alice")
    done = server.manage("shell", "-c", SIX_HOURS)
    assert done.returncode == 0, done.stderr
    yield member
    member.http.close()
    server.kill()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_owner_sees_charts_and_their_numbers(
    visit: Visit, owner: Member, scheme: Scheme, width: int, tmp_path: Path
) -> None:
    page = visit(
        owner,
        expect_faults=["404"],  # the browser asks for an icon, and the admin has none
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
    )
    page.goto("/admin/")
    page.get_by_role("link", name="Instruments").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Instruments")
    expect(page.get_by_role("img")).to_have_count(7)
    page.wait_for_load_state()  # the charts appear before their styles
    chart = page.get_by_role("img", name="Commit of the journal")
    expect(chart).to_be_visible()
    colors = chart.evaluate(
        "svg => [getComputedStyle(svg.querySelector('polyline')).stroke,"
        " getComputedStyle(document.body).backgroundColor]"
    )
    assert colors[0] == ("rgb(14, 102, 86)" if scheme == "light" else "rgb(111, 203, 182)")
    assert colors[0] != colors[1]
    page.screenshot(path=tmp_path / f"{scheme}-{width}.png", full_page=True)
    numbers = page.locator("figure", has=chart)
    numbers.get_by_text("The numbers").click()
    expect(numbers.get_by_role("row").nth(1)).to_be_visible()
    expect(page.locator("body")).not_to_contain_text("secret text")
    scrolls_sideways = page.evaluate(
        "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    assert not scrolls_sideways
    assert axe_violations(page) == []


def test_a_link_selects_another_time_span(visit: Visit, owner: Member) -> None:
    page = visit(owner)
    page.goto("/admin/instruments/")
    expect(page.get_by_role("link", name="6 hours")).to_have_attribute("aria-current", "page")
    page.get_by_role("link", name="1 hour", exact=True).click()
    expect(page.get_by_role("link", name="1 hour", exact=True)).to_have_attribute("aria-current", "page")
