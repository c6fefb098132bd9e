"""The admin's pages: the index, users with their conversations, runs, times, and hits of a search."""

import json
import re
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission

from chat.models import Message, Run
from tests.admin.test_admin import (
    LIST,
    RUNS,
    as_mona,
    as_olga,
    ask_each,
    entries,
    listed,
    page,
    read,
    rows,
)
from tests.conftest import make_user
from tests.support.client import Client
from tests.support.dom import Element
from tests.support.gemini import Gemini, Status
from tests.support.staff import open_as_staff
from tests.support.talk import Talk

__all__ = ["as_mona", "as_olga"]  # fixtures
USERS = "/admin/accounts/user/"
TIME = re.compile(r"\d{1,2} \w{3} 20\d\d, \d\d:\d\d UTC")
RAW_TIME = re.compile(r"\d\d:\d\d:\d\d\.\d+")


def sections(found: Element) -> dict[str, list[str]]:
    """Return the pages by section of the index."""
    modules = [
        each for each in found.one(id="content-main").all("div", class_="module") if each.all("caption")
    ]
    return {
        each.one("caption").words: [row.one("th", scope="row").words for row in each.all("tr")[1:]]
        for each in modules
    }


# --- the index --------------------------------------------------------------------------------------


async def test_the_index_has_one_section_for_the_chat_and_one_for_accounts(as_olga: Client) -> None:
    assert sections(await page(as_olga, "/admin/")) == {
        "Chat": [
            "Review queue",
            "Figures of the queue",
            "Conversations",
            "Search the texts",
            "Runs",
            "Calls",
            "Agents",
            "Instruments",
            "Processes",
            "Suggestions",
            "Audit",
            "Rules",
        ],
        "Accounts": ["Users", "Groups"],
    }


async def test_the_index_shows_a_moderator_only_what_they_may_open(as_mona: Client) -> None:
    assert sections(await page(as_mona, "/admin/")) == {
        "Chat": [
            "Review queue",
            "Figures of the queue",
            "Conversations",
            "Runs",
            "Calls",
            "Agents",
            "Processes",
        ],
        "Accounts": ["Users"],
    }


async def test_the_side_list_leads_to_the_instruments(as_olga: Client) -> None:
    side = (await page(as_olga, LIST)).one("nav", id="nav-sidebar")
    assert "/admin/instruments/" in [link["href"] for link in side.all("a")]


async def test_a_page_of_an_app_shows_its_section(as_olga: Client) -> None:
    for app in ("accounts", "auth"):
        assert list(sections(await page(as_olga, f"/admin/{app}/"))) == ["Accounts"]


async def test_the_index_shows_no_empty_list_of_actions(as_mona: Client) -> None:
    assert not (await page(as_mona, "/admin/")).all(id="recent-actions-module")


# --- users ------------------------------------------------------------------------------------------


async def test_the_list_of_users_counts_their_conversations(
    as_alice: Client, as_bob: Client, as_mona: Client
) -> None:
    await Talk(as_alice).ask("one")
    await Talk(as_alice).ask("two")
    found = {row["username"]: row for row in rows(await page(as_mona, USERS))}
    assert (found["alice"]["conversations"], found["bob"]["conversations"]) == ("2", "0")
    assert TIME.fullmatch(found["alice"]["last_activity"])


async def test_a_user_leads_to_their_conversations(as_alice: Client, as_bob: Client, as_mona: Client) -> None:
    ids = await ask_each(as_alice, "by alice")
    await Talk(as_bob).ask("by bob")
    found = await page(as_mona, f"{USERS}{as_alice.user.pk}/change/")
    link = found.one("div", class_="field-conversations").one("a")["href"]
    assert await listed(as_mona, link.partition("?")[2]) == set(ids.values())


async def test_deleted_conversations_are_not_counted(as_alice: Client, as_mona: Client) -> None:
    await (talk := Talk(as_alice)).ask("gone")
    await as_alice.request("DELETE", f"/api/v1/conversations/{talk.conversation}")
    (row,) = rows(await page(as_mona, f"{USERS}?q=alice"))
    assert row["conversations"] == "0"


async def test_staff_who_may_not_read_conversations_see_no_figures_of_them(
    parley: Any, as_alice: Client
) -> None:
    await Talk(as_alice).ask("one")
    steve = await sync_to_async(make_user)("steve", is_staff=True)
    await steve.user_permissions.aset([await Permission.objects.aget(codename="view_user")])
    as_steve = await Client(parley, steve).sign_in()
    assert "conversations" not in rows(await page(as_steve, USERS))[0]
    found = await page(as_steve, f"{USERS}{as_alice.user.pk}/change/")
    assert not found.all("div", class_="field-conversations")


# --- lists and times --------------------------------------------------------------------------------


async def test_an_owner_in_the_list_leads_to_their_conversations(
    as_alice: Client, as_bob: Client, as_mona: Client
) -> None:
    await Talk(as_alice).ask("by alice")
    ids = await ask_each(as_bob, "by bob")
    cells = (await page(as_mona, LIST)).all("td", class_="field-owner_link")
    link = next(cell.one("a")["href"] for cell in cells if cell.words == "bob")
    found = await page(as_mona, LIST + link)
    assert [row["shown_id"] for row in rows(found)] == [ids["by bob"]]
    assert "bob" in found.one(id="changelist-filter").words


async def test_times_name_their_time_zone(as_alice: Client, as_mona: Client) -> None:
    await (talk := Talk(as_alice)).ask("when?")
    assert TIME.fullmatch(rows(await page(as_mona, LIST))[0]["last_activity"])
    assert TIME.fullmatch(rows(await page(as_mona, RUNS))[0]["started"])
    shown = await read(as_mona, talk)
    assert TIME.search(shown.one("dl").words)
    assert TIME.search(shown.one("form", class_="grant-bar").words)


async def test_the_page_of_a_run_has_readable_times_and_labels(as_alice: Client, as_mona: Client) -> None:
    said = await Talk(as_alice).ask("when?")
    found = (await page(as_mona, f"{RUNS}{said.run}/change/")).one(id="content-main").words
    assert TIME.search(found)
    assert not RAW_TIME.search(found)
    assert not re.search(r"Sse|SSE|Epoch|Usage|None|Last seq", found)


async def test_the_page_of_a_failed_run_has_what_the_provider_said(
    as_alice: Client, as_mona: Client, gemini: Gemini
) -> None:
    gemini.on("Hello", [Status(400, "INVALID_ARGUMENT", message="API key not valid.")])
    said = await (talk := Talk(as_alice)).ask("Hello")
    await open_as_staff(as_mona, talk.conversation)
    found = await page(as_mona, f"{RUNS}{said.run}/change/")
    message = found.one("div", class_="field-failure_message").words
    assert "400 INVALID_ARGUMENT" in message
    assert "API key not valid." in message


async def test_a_member_does_not_read_what_the_provider_said(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("Hello", [Status(400, "INVALID_ARGUMENT", message="API key not valid.")])
    said = await (talk := Talk(as_alice)).ask("Hello")
    for path in (f"/chat/{talk.conversation}/", f"/api/v1/runs/{said.run}"):
        assert "API key" not in (await as_alice.get(path)).text


# --- hits of a search -------------------------------------------------------------------------------


async def read_from_search(client: Client, talk: Talk, search: str) -> Element:
    """Return the transcript as the search of texts links to it."""
    return await read(client, talk, f"?q={search}")


async def test_a_transcript_opened_from_a_search_knows_its_words(as_alice: Client, as_mona: Client) -> None:
    await (talk := Talk(as_alice)).ask("What is a quasar?")
    found = await read_from_search(as_mona, talk, "%22a+Quasar%22+is")
    assert json.loads(found.one("div", class_="transcript")["data-marked"]) == ["a", "quasar", "is"]


async def test_a_transcript_opened_from_a_search_shows_a_hit_that_is_far_up(
    as_alice: Client, as_mona: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.admin.transcripts.TRANSCRIPT_LENGTH", 2)
    talk = Talk(as_alice)
    await talk.ask("What is a quasar?")
    await talk.ask("And a pulsar?")
    await talk.ask("And a nova?")
    shown = [entry["id"] for entry in entries(await read_from_search(as_mona, talk, "quasar"))]
    hits = Message.objects.filter(text__contains="quasar")
    assert {f"m-{key}" async for key in hits.values_list("pk", flat=True)} & set(shown)


async def test_a_transcript_shows_the_newest_messages_if_they_have_the_hit(
    as_alice: Client, as_mona: Client
) -> None:
    talk = Talk(as_alice)
    await talk.ask("What is a quasar?")
    await talk.ask("And a pulsar?")
    assert len(entries(await read_from_search(as_mona, talk, "quasar"))) == 4


@pytest.mark.parametrize("search", ["%00", "%22", "", "%F0%9F%98%80", "x" * 5000])
async def test_an_odd_search_opens_the_transcript(as_alice: Client, as_mona: Client, search: str) -> None:
    await (talk := Talk(as_alice)).ask("What is a quasar?")
    assert len(entries(await read_from_search(as_mona, talk, search))) == 2
    assert await Run.objects.acount() == 1
