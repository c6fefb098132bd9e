"""The list of conversations: order, groups, archive, pages, and the page that manages one conversation."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from chat.models import Conversation
from chat.pages import sidebar
from tests.support.client import Client
from tests.support.dom import Element, parse

pytestmark = pytest.mark.any_database

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


async def make(client: Client, title: str, *, at: datetime | None = None, **fields: Any) -> Conversation:
    made: Conversation = await Conversation.objects.acreate(
        owner=client.user, agent="chat_assistant", title=title, updated_at=at or timezone.now(), **fields
    )
    return made


async def listed(client: Client, path: str = "/") -> list[str]:
    """Return the headings, in brackets, and the titles of the list, in order."""
    answer = await client.get(path)
    assert answer.status == 200, answer.text
    items = parse(answer.text).one("ul", id="conversations").all("li")
    return [f"[{heading[0].words}]" if (heading := item.all("h2")) else _title(item) for item in items]


def _title(item: Element) -> str:
    links = item.all("a")
    return links[0].words if links else ""


@pytest.mark.parametrize(
    ("at", "heading"),
    [
        (NOON, "[Today]"),
        (datetime(2026, 3, 10, 0, 0, tzinfo=UTC), "[Today]"),
        (datetime(2026, 3, 9, 23, 59, tzinfo=UTC), "[Yesterday]"),
        (datetime(2026, 3, 8, 23, 59, tzinfo=UTC), "[Previous 7 days]"),
        (datetime(2026, 3, 3, 0, 0, tzinfo=UTC), "[Previous 7 days]"),
        (datetime(2026, 3, 2, 23, 59, tzinfo=UTC), "[Previous 30 days]"),
        (datetime(2026, 2, 8, 0, 0, tzinfo=UTC), "[Previous 30 days]"),
        (datetime(2026, 2, 7, 23, 59, tzinfo=UTC), "[February 2026]"),
        (datetime(2025, 12, 31, 23, 59, tzinfo=UTC), "[December 2025]"),
    ],
)
async def test_a_conversation_is_in_the_group_of_its_last_activity(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch, at: datetime, heading: str
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOON)
    await make(as_alice, "one", at=at)
    assert await listed(as_alice) == [heading, "one"]


async def test_groups_are_of_the_browsers_time_zone(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOON)
    await make(as_alice, "one", at=datetime(2026, 3, 9, 16, tzinfo=UTC))
    assert await listed(as_alice) == ["[Yesterday]", "one"]
    as_alice.cookies["parley_time_zone"] = "Asia/Tokyo"  # where it was one o'clock on March 10
    assert await listed(as_alice) == ["[Today]", "one"]


async def test_pinned_conversations_come_first(as_alice: Client) -> None:
    await make(as_alice, "old", at=timezone.now() - timedelta(400), pinned_at=timezone.now())
    await make(as_alice, "new")
    assert await listed(as_alice) == ["[Pinned]", "old", "[Today]", "new"]


async def test_an_archived_conversation_is_only_in_the_archive(as_alice: Client) -> None:
    await make(as_alice, "kept")
    await make(as_alice, "away", archived_at=timezone.now())
    assert await listed(as_alice) == ["[Today]", "kept"]
    assert await listed(as_alice, "/?archived=1") == ["[Today]", "away"]
    page = parse((await as_alice.get("/")).text)
    assert page.one("p", id="archived-conversations").one("a")["href"] == "/?archived=1"


async def test_a_question_takes_its_conversation_out_of_the_archive(as_alice: Client) -> None:
    conversation = (await as_alice.ask("one"))[0].json()["conversation"]
    path = f"/api/v1/conversations/{conversation}"
    assert (await as_alice.request("PATCH", path, json_body={"archived": True})).json()["archived"] is True
    await as_alice.ask("two", conversation=conversation)
    assert (await as_alice.get(path)).json()["archived"] is False


async def test_archiving_unpins_and_pinning_unarchives(as_alice: Client) -> None:
    path = f"/api/v1/conversations/{(await make(as_alice, 'one')).pk}"
    seen = []
    for body in ({"pinned": True}, {"archived": True}, {"pinned": True}, {"pinned": False}):
        changed = (await as_alice.request("PATCH", path, json_body=body)).json()
        seen.append((changed["pinned"], changed["archived"]))
    assert seen == [(True, False), (False, True), (True, False), (False, False)]


async def test_the_api_lists_pinned_ones_first_across_pages(as_alice: Client) -> None:
    now = timezone.now()
    for n in range(7):
        pinned = now if n in (1, 4) else None
        await make(as_alice, str(n), at=now - timedelta(minutes=n), pinned_at=pinned)
    await make(as_alice, "away", archived_at=now)
    for limit in (1, 2, 3, 7):
        titles, cursor = [], ""
        while cursor is not None:
            query = f"?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
            page = (await as_alice.get(f"/api/v1/conversations{query}")).json()
            titles += [item["title"] for item in page["items"]]
            cursor = page["next"]
        assert titles == ["1", "4", "0", "2", "3", "5", "6"]


async def test_the_api_lists_archived_ones_apart(as_alice: Client) -> None:
    await make(as_alice, "kept")
    await make(as_alice, "away", archived_at=timezone.now())
    page = (await as_alice.get("/api/v1/conversations?archived=true")).json()
    assert [(item["title"], item["archived"]) for item in page["items"]] == [("away", True)]
    assert (await as_alice.get("/api/v1/conversations?archived=yes")).status == 400


async def test_the_open_conversation_is_listed_and_marked_also_below_the_first_page(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidebar, "ENTRIES", 2)
    monkeypatch.setattr(timezone, "now", lambda: NOON)
    for n in range(4):
        await make(as_alice, f"number {n}", at=NOON - timedelta(minutes=n))
    old = await make(as_alice, "old", at=datetime(2025, 10, 3, tzinfo=UTC))
    path = f"/chat/{old.pk}/"
    assert await listed(as_alice, path) == ["[Today]", "number 0", "number 1", "[October 2025]", "old"]
    marked = (
        parse((await as_alice.get(path)).text).one("ul", id="conversations").all("a", aria_current="page")
    )
    assert [link.words for link in marked] == ["old"]


async def test_an_open_archived_conversation_is_marked_below_the_list(as_alice: Client) -> None:
    await make(as_alice, "kept")
    away = await make(as_alice, "away", archived_at=timezone.now())
    assert await listed(as_alice, f"/chat/{away.pk}/") == ["[Today]", "kept", "[Archived]", "away"]


async def test_the_list_alone_shows_named_conversations_or_all_up_to_a_cursor(
    as_alice: Client, as_bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidebar, "ENTRIES", 2)
    now = timezone.now()
    mine = [await make(as_alice, str(n), at=now - timedelta(seconds=n)) for n in range(5)]
    foreign = await make(as_bob, "bob's")
    named = ",".join(str(each.pk) for each in (mine[3], foreign, mine[1]))
    assert await listed(as_alice, f"/chat/list/?ids={named},x") == ["[Today]", "1", "3"]
    first = parse((await as_alice.get("/chat/list/")).text)
    cursor = first.one("p", id="more-conversations").one("a")["href"].removeprefix("?list=")
    await make(as_alice, "new", at=now + timedelta(seconds=1))
    assert await listed(as_alice, f"/chat/list/?through={cursor}") == ["[Today]", "new", "0", "1"]
    assert await listed(as_alice, f"/chat/list/?list={cursor}") == ["[Today]", "2", "3"]


async def test_the_list_alone_shows_the_open_conversation_in_its_group(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidebar, "ENTRIES", 2)
    monkeypatch.setattr(timezone, "now", lambda: NOON)
    made = [await make(as_alice, str(n), at=NOON - timedelta(minutes=n)) for n in range(5)]
    first = parse((await as_alice.get("/chat/list/")).text)
    cursor = first.one("p", id="more-conversations").one("a")["href"].removeprefix("?list=")
    pages = [f"/chat/list/?list={cursor}&open={made[n].pk}" for n in (0, 2, 4)]
    assert [await listed(as_alice, page) for page in pages] == [
        ["[Today]", "0", "2", "3"],
        ["[Today]", "2", "3"],
        ["[Today]", "2", "3", "4"],
    ]


async def test_the_open_conversation_of_another_member_is_not_listed(
    as_alice: Client, as_bob: Client
) -> None:
    foreign = await make(as_bob, "bob's")
    assert await listed(as_alice, f"/chat/list/?open={foreign.pk}") == []


async def test_the_archive_has_no_open_conversation_that_is_not_archived(as_alice: Client) -> None:
    kept = await make(as_alice, "kept")
    await make(as_alice, "away", archived_at=timezone.now())
    assert await listed(as_alice, f"/chat/list/?archived=1&open={kept.pk}") == ["[Today]", "away"]


async def test_a_conversation_is_managed_by_plain_forms(as_alice: Client) -> None:
    made = await make(as_alice, "one")
    path = f"/chat/{made.pk}/manage/"
    for fields in ({"title": " A  new name "}, {"pinned": "true"}):
        page = parse((await as_alice.get(path)).text)
        form = page.all("form")[0].fields() | fields if "title" in fields else {**_token(page), **fields}
        answer = await as_alice.post(path, form=form, csrf=False)
        assert (answer.status, answer.headers["location"]) == (303, f"/chat/{made.pk}/")
    assert await listed(as_alice) == ["[Pinned]", "A new name"]
    page = parse((await as_alice.get(path)).text)
    await as_alice.post(path, form={**_token(page), "archived": "true"}, csrf=False)
    assert await listed(as_alice, "/?archived=1") == ["[Today]", "A new name"]


def _token(page: Element) -> dict[str, str]:
    token = page.all("input", name="csrfmiddlewaretoken")[0]
    return {"csrfmiddlewaretoken": token["value"]}


async def test_a_blank_title_is_refused_by_a_plain_form(as_alice: Client) -> None:
    made = await make(as_alice, "one")
    path = f"/chat/{made.pk}/manage/"
    page = parse((await as_alice.get(path)).text)
    answer = await as_alice.post(path, form={**_token(page), "title": "  "}, csrf=False)
    assert answer.status == 422
    assert "A title needs at least one letter." in answer.text
    await sync_to_async(made.refresh_from_db)()
    assert made.title == "one"


@pytest.mark.skipif(not settings.ON_SQLITE, reason="PostgreSQL's plan depends on its statistics")
async def test_a_page_of_the_list_reads_no_other_entry(as_alice: Client) -> None:
    """Each part of the list has an index in the order of its pages."""
    own = Conversation.objects.visible_to(as_alice.user)
    for part in own.listed() + own.listed(archived=True):
        plan = await sync_to_async(part.order_by("-updated_at", "-id")[:50].explain)()
        assert "INDEX chat_conversation_" in plan
        assert "TEMP B-TREE" not in plan
