"""The admin's first page: what waits for a moderator, each block only with its permission."""

import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection
from django.test import Client as DjangoClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.models import Message, Run
from chat.moderation.groups import MODERATOR
from chat.moderation.models import Policy, Report, ReviewItem
from tests.admin.test_admin_scale import full_scans, plan
from tests.conftest import make_staff, make_user
from tests.moderation.test_figures import item_of
from tests.support.client import Client
from tests.support.dom import Element, parse
from tests.support.gemini import Gemini, Hold, Text

PAGE = "/admin/"
HOUR = timedelta(hours=1)


async def cards(client: Client) -> dict[str, str]:
    """Return the words of each card by its heading."""
    found = await index(client)
    return {card.one("h2").words: card.words for card in found.all("section", class_="start-card")}


async def index(client: Client) -> Element:
    answer = await client.get(PAGE)
    assert answer.status == 200
    assert "quokka" not in answer.text
    return parse(answer.text)


async def test_each_group_sees_the_blocks_of_its_permissions(
    as_mona: Client, as_tom: Client, as_audrey: Client
) -> None:
    assert list(await cards(as_mona)) == ["Open items", "My claims", "Running replies", "The site"]
    assert list(await cards(as_tom)) == ["Open items", "My claims", "The site"]
    assert list(await cards(as_audrey)) == ["The site"]


async def test_staff_without_a_permission_of_moderation_see_no_block(parley: Any) -> None:
    steve = await sync_to_async(make_user)("steve", is_staff=True)
    assert await cards(await Client(parley, steve).sign_in()) == {}


async def test_open_items_have_a_count_an_age_and_the_most_pressing_one(as_tom: Client, alice: Any) -> None:
    def fill() -> None:
        item_of(alice, age=30 * HOUR)
        item_of(alice, age=50 * HOUR, took=HOUR)
        ReviewItem.objects.filter(pk=item_of(alice, age=2 * HOUR, reason="self_harm").pk).update(priority=100)

    assert "Nothing waits for a decision." in (await cards(as_tom))["Open items"]
    await sync_to_async(fill)()
    words = (await cards(as_tom))["Open items"]
    assert "Open items 2" in words
    assert "waits for 1 day, 6 hours" in words.replace("\xa0", " ")
    assert "It encourages somebody to harm themselves" in words
    assert "2 hours ago" in words.replace("\xa0", " ")
    assert "alice" not in words


async def test_more_than_99_items_are_99_and_more(as_tom: Client, alice: Any) -> None:
    def fill() -> None:
        ReviewItem.objects.bulk_create(ReviewItem(member=alice) for _n in range(100))

    await sync_to_async(fill)()
    assert "Open items 99+" in (await cards(as_tom))["Open items"]
    await ReviewItem.objects.filter(pk=(await ReviewItem.objects.afirst()).pk).adelete()  # type: ignore[union-attr]
    assert "Open items 99 " in (await cards(as_tom))["Open items"]


async def test_own_claims_are_listed_with_their_end(
    as_mona: Client, mona: Any, stella: Any, alice: Any
) -> None:
    def claim(by: Any, until: timedelta) -> None:
        ReviewItem.objects.filter(pk=item_of(alice).pk).update(
            claimed_by=by, claimed_until=timezone.now() + until
        )

    await sync_to_async(claim)(stella, HOUR)
    await sync_to_async(claim)(mona, -HOUR)
    assert "You have claimed nothing." in (await cards(as_mona))["My claims"]
    await sync_to_async(claim)(mona, HOUR)
    assert re.search(r"Open, chat_assistant until \d", (await cards(as_mona))["My claims"])


@pytest.mark.parametrize("is_on", [True, False])
async def test_running_replies_are_counted_by_agent_and_watched_by_those_who_may(
    as_alice: Client, as_mona: Client, gemini: Gemini, is_on: bool
) -> None:
    await Policy.objects.aupdate_or_create(pk=1, defaults={"watches_live": is_on})
    gemini.on("write", [Text("quokka"), Hold()])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "write"}) as asked:
        started = (await asked.until("text"))[0].json()
        found = await index(as_mona)
        words = (await cards(as_mona))["Running replies"]
        assert "Running replies 1 chat_assistant 1" in words
        links = [link["href"] for link in found.all("a")]
        assert (f"/admin/watch/{started['run']}/" in links) is is_on
        gemini.release()
        await asked.all_events()
    assert "No reply is being written." in (await cards(as_mona))["Running replies"]


async def test_approvals_that_wait_are_counted_for_their_approvers(
    parley: Any, as_mona: Client, settings: Any
) -> None:
    settings.APPROVERS = {"chat_assistant": {"send": MODERATOR}}
    found = await index(as_mona)
    assert "Approvals 0" in (await cards(as_mona))["Approvals"]
    assert "/waiting/" in [link["href"] for link in found.all("a")]


# --- its cost -------------------------------------------------------------------------------------

ITEMS = 50_000


@pytest.fixture
def browser(db: None) -> DjangoClient:
    browser = DjangoClient()
    browser.force_login(make_staff("mona", MODERATOR))
    return browser


def selects(browser: DjangoClient) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert browser.get(PAGE).status_code == 200
    return [query["sql"] for query in captured]


def test_query_counts_do_not_grow_and_50_000_items_are_not_read(browser: DjangoClient) -> None:
    alice = make_user("alice")
    item_of(alice)
    few = selects(browser)
    now = timezone.now()
    items = [
        ReviewItem(
            member=alice,
            priority=n % 100,
            opened_at=now - timedelta(seconds=n),
            **({} if n % 2 else {"status": "dismissed", "decided_at": now}),
        )
        for n in range(ITEMS)
    ]
    ReviewItem.objects.bulk_create(items, batch_size=5_000)
    Report.objects.bulk_create(
        (Report(item=item, source="report", reason="wrong", member=alice) for item in items[:1_000]),
        batch_size=1_000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    many = selects(browser)
    assert len(many) == len(few) <= 22
    of_items = [sql for sql in many if 'FROM "moderation_reviewitem"' in sql]
    assert len(of_items) == 4
    for sql in of_items:
        assert not full_scans(sql), sql
        assert "moderation_item" in plan(sql), plan(sql)
    assert sum("LIMIT 100" in sql and "COUNT" in sql for sql in of_items) == 1


def test_runs_that_run_are_found_by_an_index(browser: DjangoClient) -> None:
    alice = make_user("alice")
    item = item_of(alice)
    assert item.conversation
    prompt = Message.objects.create(conversation=item.conversation, role="user", text="x")
    Run.objects.create(conversation=item.conversation, owner=alice, prompt=prompt, status="running")
    (sql,) = [each for each in selects(browser) if 'FROM "chat_run"' in each and "COUNT" not in each]
    assert not full_scans(sql)
    if settings.ON_SQLITE:
        assert "USING INDEX chat_run_" in plan(sql), plan(sql)
