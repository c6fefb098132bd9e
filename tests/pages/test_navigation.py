"""The way between conversations and through a long one, without JavaScript."""

from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async

from chat.models import Conversation, Message, Suggestion
from chat.pages import excerpt, sidebar
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text
from tests.support.pages import ask, see, settled, submit, turns, until_shown


async def test_the_sidebar_lists_the_members_own_conversations_newest_first(
    as_alice: Client, as_bob: Client
) -> None:
    first = await ask(as_alice, "first")
    await settled(as_alice, first)
    await settled(as_alice, await ask(as_alice, "second"))
    await settled(as_bob, await ask(as_bob, "bob's own"))
    await settled(as_alice, await ask(as_alice, "again", at=first))
    links = (await see(as_alice, first)).one("ul", id="conversations").all("a")
    assert [(link.text, link.get("aria-current")) for link in links] == [("first", "page"), ("second", None)]
    assert links[0]["href"] == first


async def test_a_deleted_conversation_is_gone_from_everywhere(as_alice: Client) -> None:
    path = await ask(as_alice, "secret")
    await settled(as_alice, path)
    deleted = await as_alice.request("DELETE", f"/api/v1/conversations/{path.split('/')[2]}")
    assert deleted.status == 204
    await see(as_alice, path, status=404)
    assert not (await see(as_alice, "/")).one("ul", id="conversations").all("a")


async def test_a_conversation_is_deleted_by_a_plain_form(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("Once"), Hold()])
    path = await ask(as_alice, "go")
    await until_shown(as_alice, path, "Once")  # also during a run
    form = (await see(as_alice, f"{path}manage/")).one("form", action=f"{path}delete/")
    answer = await submit(as_alice, form, path)
    conversation = path.strip("/").removeprefix("chat/")
    assert (answer.status, answer.headers["location"]) == (303, f"/?deleted={conversation}")
    await see(as_alice, path, status=404)
    assert (await as_alice.get(form["action"])).status == 405


async def test_conversations_are_found_by_the_words_of_their_titles(as_alice: Client) -> None:
    for title in ("Lisbon in spring", "100% wool", "lisbon again"):
        await settled(as_alice, await ask(as_alice, title))

    async def found(words: str) -> list[str]:
        page = await see(as_alice, f"/?find={words}")
        titles = [title.text for title in page.one("div", id="found").all("bdi")]
        return list(dict.fromkeys(titles))  # the question has the words, too

    assert await found("LISBON") == ["lisbon again", "Lisbon in spring"]
    assert await found("100%25") == ["100% wool"]
    assert await found("nothing") == []
    assert (await see(as_alice, "/?find=%3Cb%3E")).one("input", id="find")["value"] == "<b>"


async def test_the_owners_suggestions_are_shown(as_alice: Client) -> None:
    wanted = [Suggestion(text=f"<b>{n}</b> & co", position=9 - n) for n in range(6)]
    await Suggestion.objects.abulk_create(wanted)
    shown = (await see(as_alice, "/")).one("form", class_="suggestions").all("button")
    assert [each.text for each in shown] == [f"<b>{n}</b> & co" for n in (5, 4, 3, 2)]


async def test_a_suggestion_fills_the_form_and_is_not_sent(as_alice: Client) -> None:
    page = await see(as_alice, "/")
    suggestions = page.one("form", class_="suggestions").all("button")
    assert len(suggestions) == 4
    page = await see(as_alice, f"/?draft={quote(suggestions[0]['value'])}")
    assert page.one("textarea").text == "\n" + suggestions[0].text
    assert await Message.objects.acount() == 0


async def test_older_conversations_are_a_link_away(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidebar, "ENTRIES", 3)
    make = Conversation.objects.create
    for n in range(7):
        await sync_to_async(make)(owner=as_alice.user, agent="chat_assistant", title=f"number {n}")
    seen, path = [], "/"
    while path:
        links = (await see(as_alice, path)).one("div", id="conversation-list").all("a")
        seen += [link.text for link in links if link["href"].startswith("/chat/")]
        path = next((f"/{link['href']}" for link in links if link["href"].startswith("?list")), "")
    assert seen == [f"number {n}" for n in reversed(range(7))]
    await see(as_alice, "/?list=garbage", status=400)


async def test_every_message_of_a_long_conversation_can_be_reached(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpt, "PAGE_LENGTH", 4)
    path = await ask(as_alice, "0")
    for n in range(1, 5):
        await settled(as_alice, path)
        await ask(as_alice, str(n), at=path)
    seen: list[str] = []
    page = await settled(as_alice, path)
    while True:
        seen = turns(page) + seen
        older = [link for link in page.all("a") if link.text == "Older messages"]
        if not older:
            break
        page = await see(as_alice, path + older[0]["href"])
        assert not page.all("form", id="composer")
        assert next(link for link in page.all("a") if link.text == "To the newest messages")["href"] == path
    assert seen == [text for n in range(5) for text in (str(n), f"You said: {n}")]


@pytest.mark.parametrize("before", ["x", "00000000-0000-0000-0000-000000000000"])
async def test_a_page_before_an_unknown_message_is_not_found(as_alice: Client, before: str) -> None:
    path = await ask(as_alice, "hello")
    await see(as_alice, f"{path}?before={before}", status=404)


async def test_a_page_before_another_members_message_is_not_found(as_alice: Client, as_bob: Client) -> None:
    path = await ask(as_alice, "hello")
    await settled(as_bob, await ask(as_bob, "bob's own"))
    foreign = (await Message.objects.aget(text="bob's own")).pk
    await see(as_alice, f"{path}?before={foreign}", status=404)


async def test_a_visitor_is_redirected_to_the_sign_in(visitor: Client) -> None:
    answer = await visitor.get("/")
    assert (answer.status, answer.headers["location"]) == (302, "/accounts/login/?next=/")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_page_allows_only_get_head_and_post(as_alice: Client, method: str) -> None:
    answer = await as_alice.request(method, "/")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_a_page_is_not_cached(as_alice: Client) -> None:
    cached = (await as_alice.get("/")).headers["cache-control"]
    assert {"no-store", "private"} <= set(cached.replace(" ", "").split(","))
