"""The instruments page in the admin: its permission, its content after a restart, its sums and charts."""

import re
import uuid
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client as DjangoClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat import samples
from chat.admin.charts import Chart, Series, round_up, short_number
from chat.calls.models import LiveCall
from chat.models import Run, Sample
from chat.runs.supervisor import supervisor
from chat.samples import Sum
from tests.conftest import make_user
from tests.support.client import Client
from tests.support.dom import parse
from tests.support.gemini import Gemini, Hold, Status, Text

PAGE = "/admin/instruments/"
GAP = "parley_delta_gap_seconds"


@pytest.fixture
async def as_owner(parley: Any) -> Client:
    """Return a browser signed in as the site's owner."""
    owner = await sync_to_async(make_user)("olga", is_staff=True, is_superuser=True)
    return await Client(parley, owner).sign_in()


def row(page: str, name: str) -> list[str]:
    """Return the cells of the table's row that begins with ``name``."""
    found = re.search(rf"<tr>\s*<t[hd][^>]*>{re.escape(name)}</t[hd]>(.*?)</tr>", page, flags=re.DOTALL)
    assert found, page
    return [cell.strip() for cell in re.findall(r"<td>(.*?)</td>", found[1], flags=re.DOTALL)]


# --- access -----------------------------------------------------------------------------------------


async def test_a_visitor_and_a_member_are_sent_to_the_sign_in(visitor: Client, as_alice: Client) -> None:
    for client in (visitor, as_alice):
        answer = await client.get(PAGE)
        assert answer.status == 302
        assert "/login/?next=" in answer.headers["location"]
        assert b"chart" not in answer.body


async def test_staff_see_the_page_once_they_have_the_permission(parley: Any, mona: Any) -> None:
    as_mona = await Client(parley, mona).sign_in()
    assert (await as_mona.get(PAGE)).status == 403
    assert PAGE not in (await as_mona.get("/admin/")).text
    permission = await Permission.objects.aget(codename="view_sample")
    await mona.user_permissions.aadd(permission)
    assert (await as_mona.get(PAGE)).status == 200
    assert PAGE in (await as_mona.get("/admin/")).text


async def test_the_page_cannot_be_kept_or_posted_to(as_owner: Client) -> None:
    assert "no-store" in (await as_owner.get(PAGE)).headers["cache-control"]
    assert (await as_owner.post(PAGE, {})).status == 405


# --- content ----------------------------------------------------------------------------------------


async def test_runs_and_counters_are_shown_after_a_restart(
    as_alice: Client, as_owner: Client, gemini: Gemini
) -> None:
    gemini.on("Hello", [Text("Hel"), Text("lo"), Text(" there")])
    gemini.on("too much", [Status(429, "RESOURCE_EXHAUSTED")])
    await as_alice.ask("Hello")
    await as_alice.ask("too much")
    await as_alice.post("/chat/stream", {"query": " "})
    assert row((await as_owner.get(PAGE)).text, "Size of a delta")[0] == "–"  # nothing is stored yet
    await supervisor.idle()
    await supervisor.shut_down()
    await supervisor.start()
    page = (await as_owner.get(PAGE)).text
    assert row(page, "Completed")[1] == "1"
    assert row(page, "Failed") == ["rate_limited", "1"]
    assert row(page, "blank") == ["1"]
    assert row(page, "Size of a delta")[2] == "bytes"
    assert 2 <= float(row(page, "Size of a delta")[0]) <= 8
    assert float(row(page, "First text")[1]) < 60
    assert float(row(page, "Commit of the journal")[1]) > 0
    assert "Hello" not in page


async def test_a_run_that_is_handed_over_counts_once(
    as_alice: Client, as_owner: Client, gemini: Gemini
) -> None:
    gemini.on("go", [Text("Once"), Hold()], [Text("Once upon a time")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "go"}) as reading:
        await reading.until("text")
        supervisor.hand_over()
        await reading.until("run.completed")
    page = (await as_owner.get(PAGE)).text
    assert await Run.objects.acount() == 2
    assert row(page, "Completed")[1] == "1"
    assert ">lost<" not in page


async def test_feedback_is_counted_for_each_agent(as_owner: Client, as_alice: Client) -> None:
    for value in (1, 1, -1):
        reply = (await as_alice.ask("one"))[-2].json()["message"]
        await as_alice.request("PUT", f"/api/v1/messages/{reply}/feedback", json_body={"value": value})
    tables = parse((await as_owner.get("/admin/instruments/")).text).all("table")
    table = next(each for each in tables if each.one("caption").words == "Feedback")
    assert [cell.words for cell in table.one("tbody").all("td")] == ["chat_assistant", "2", "1", "67 %"]


async def test_calls_are_counted_for_each_agent(as_owner: Client, as_alice: Client) -> None:
    started = (await as_alice.ask("one"))[0].json()
    now = timezone.now()
    for hours, seconds in ((0, 90), (1, 30), (7, 600)):
        at = now - timedelta(hours=hours)
        await LiveCall.objects.acreate(
            owner=as_alice.user, conversation_id=started["conversation"], opened_at=at, ended_at=at, turns=2,
            seconds_in=seconds, seconds_out=2 * seconds,
        )  # fmt: skip
    tables = parse((await as_owner.get(PAGE)).text).all("table")
    table = next(each for each in tables if each.one("caption").words == "Calls")
    cells = [cell.words for cell in table.one("tbody").all("td")]
    assert cells == ["chat_assistant", "2", "4", "2.0", "4.0"]


async def test_a_process_takes_samples_by_itself(parley: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SAMPLE_SECONDS", 0)
    monkeypatch.setattr(supervisor.sampler, "_due", 0)
    assert supervisor.id
    while not await Sample.objects.filter(process=supervisor.id).acount():
        await supervisor._renew_and_sweep_once()


async def test_samples_older_than_two_days_are_deleted(parley: Any) -> None:
    def keep(hours: int) -> None:
        at = timezone.now() - timedelta(hours=hours)
        Sample.objects.create(process=uuid.uuid4(), figures={}, at=at)

    await sync_to_async(keep)(49)
    await sync_to_async(keep)(47)
    await supervisor.sampler.take(uuid.uuid4())
    assert await Sample.objects.acount() == 2


async def test_only_the_requested_hours_are_shown(as_owner: Client) -> None:
    figures = {"refusals": {"busy": 3}}
    at = timezone.now() - timedelta(hours=5)
    await Sample.objects.acreate(process=uuid.uuid4(), figures=figures, at=at)
    assert row((await as_owner.get(PAGE)).text, "busy") == ["3"]
    assert "busy" not in (await as_owner.get(f"{PAGE}?hours=1")).text
    for wrong in ("5", "-1", "x", "9" * 50):
        assert row((await as_owner.get(f"{PAGE}?hours={wrong}")).text, "busy") == ["3"]


async def test_every_chart_has_a_title_and_a_description(
    as_alice: Client, as_owner: Client, gemini: Gemini
) -> None:
    await as_alice.ask("Hello")
    page = (await as_owner.get(PAGE)).text
    charts = re.findall(r"<svg viewBox.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 7
    for drawing in charts:
        tree = ET.fromstring(drawing)
        ids = {element.get("id") for element in tree if element.tag in ("title", "desc")}
        assert set((tree.get("aria-labelledby") or "").split()) == ids
        assert all(element.text for element in tree if element.tag in ("title", "desc"))
    assert page.count("<figure") == 7
    assert "<details>" in page
    assert " style=" not in page
    assert "<style" not in page


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_data() -> None:
    browser = DjangoClient()
    browser.force_login(make_user("olga", is_staff=True, is_superuser=True))

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert browser.get(PAGE).status_code == 200
        return len(captured)

    few = queries()
    now = timezone.now()
    Sample.objects.bulk_create(
        Sample(process=uuid.uuid4(), figures={"refusals": {"busy": 1}}, at=now - timedelta(minutes=n))
        for n in range(300)
    )
    assert queries() == few


@pytest.mark.django_db
def test_both_queries_use_their_index() -> None:
    since = timezone.now() - timedelta(hours=6)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # the tables are empty
            cursor.execute("SET LOCAL enable_bitmapscan = off")
    for queryset, index in (
        (Run.objects.filter(ended_at__gte=since).order_by("-ended_at"), "chat_run_ended_last"),
        (Sample.objects.filter(at__gte=since).order_by("-at"), "chat_sample_at"),
    ):
        assert index in queryset[:100].explain()


# --- sums -------------------------------------------------------------------------------------------


def test_a_quantile_lies_in_its_bucket() -> None:
    found = Sum()
    found.add(uuid.uuid4(), {"histograms": {GAP: {"0.1": 50, "sum": 3.0}}})
    found.add(uuid.uuid4(), {"histograms": {GAP: {"0.2": 50, "sum": 7.0}}})
    assert found.count(GAP) == 100
    assert found.mean(GAP) == pytest.approx(0.1)
    assert found.quantile(GAP, 0.5) == pytest.approx(0.1)
    assert found.quantile(GAP, 0.25) == pytest.approx(0.075)
    assert found.quantile(GAP, 0.75) == pytest.approx(0.15)


def test_a_quantile_is_capped_at_the_last_bound_and_none_without_values() -> None:
    found = Sum()
    assert found.quantile(GAP, 0.5) is None
    assert found.mean(GAP) is None
    found.add(uuid.uuid4(), {"histograms": {GAP: {"inf": 3, "sum": 900.0}}})
    assert found.quantile(GAP, 0.95) == 60


def test_levels_are_the_maximum_per_process_summed_over_processes() -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    found = Sum()
    found.add(one, {"levels": {"parley_open_streams": 3}})
    found.add(one, {"levels": {"parley_open_streams": 2}})
    found.add(other, {"levels": {"parley_open_streams": 5}})
    assert found.levels["parley_open_streams"] == 8


# --- charts -----------------------------------------------------------------------------------------


def chart(*values: float | None, stacked: bool = False, others: tuple[float, ...] = ()) -> Chart:
    series = [Series("one", values)] + ([Series("other", others)] if others else [])
    times = [f"{n:02}:00" for n in range(len(values))]
    return Chart("key", "Title", "What it is.", "s", times, series, stacked)


def test_a_missing_value_breaks_the_line() -> None:
    assert len(chart(1, 2, None, 4, 5).lines) == 2
    assert len(chart(None, None).lines) == 0


def test_higher_values_are_drawn_higher_and_inside_the_chart() -> None:
    [(_number, points)] = chart(0, 5, 10).lines
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert heights == sorted(heights, reverse=True)
    assert 0 <= heights[-1] < heights[0] <= 190


def test_bars_are_stacked() -> None:
    lower, upper = chart(4, stacked=True, others=(6,)).bars
    assert upper.y + upper.height == pytest.approx(lower.y, abs=0.2)
    assert upper.height == pytest.approx(1.5 * lower.height, abs=0.3)


@pytest.mark.parametrize(
    ("value", "end"), [(0, 1), (0.03, 0.05), (1, 1), (1.01, 2), (2.2, 2.5), (7, 10), (101, 200), (1000, 1000)]
)
def test_an_axis_ends_at_a_round_number(value: float, end: float) -> None:
    assert round_up(value) == pytest.approx(end)


@pytest.mark.parametrize(("value", "said"), [(0, "0"), (2.5, "2.5"), (1000, "1k"), (2_500_000, "2.5M")])
def test_an_axis_abbreviates_large_numbers(value: float, said: str) -> None:
    assert short_number(value) == said
