"""Versions of messages through forms and the API: edits, new answers, and the choice between them."""

import pytest

from chat.models import Conversation, Message
from chat.pages import excerpt
from tests.support.client import Answer, Client
from tests.support.dom import Element, parse
from tests.support.gemini import Gemini, Hold, Text
from tests.support.pages import ask, ask_again, see, settled, submit, turns
from tests.support.waiting import auntil


def pagers(page: Element) -> list[str]:
    return [pager["aria-label"] for pager in page.all("span", class_="pager")]


async def press(client: Client, page: Element, name: str) -> Answer:
    """Press this button of the page's last pager."""
    button = next(each for each in reversed(page.all("button", form="branch")) if each.words == name)
    return await submit(client, page.one("form", id="branch"), "", message=button["value"])


async def regenerated(client: Client, gemini: Gemini) -> str:
    """Return the path of a conversation with two versions of its answer."""
    gemini.on("one", [Text("first")], [Text("second")])
    path = await ask(client, "one")
    await ask_again(client, await settled(client, path))
    await settled(client, path)
    return path


async def test_a_message_without_siblings_has_no_pager(as_alice: Client) -> None:
    assert pagers(await settled(as_alice, await ask(as_alice, "one"))) == []


async def test_a_chosen_version_redirects_to_its_message(as_alice: Client, gemini: Gemini) -> None:
    path = await regenerated(as_alice, gemini)
    page = await see(as_alice, path)
    assert pagers(page) == ["Version 2 of 2"]
    answer = await press(as_alice, page, "Previous version")
    first = await Message.objects.aget(text="first")
    assert answer.status == 303
    assert answer.headers["location"] == f"{path}?version={first.pk}#m-{first.pk}"
    page = await see(as_alice, path)
    assert (turns(page), pagers(page)) == (["one", "first"], ["Version 1 of 2"])


async def test_a_chosen_version_shows_the_branch_below_it(as_alice: Client, gemini: Gemini) -> None:
    path = await regenerated(as_alice, gemini)
    await ask(as_alice, "two", at=path)
    page = await settled(as_alice, path)
    first = next(each for each in page.all("button", form="branch") if each.words == "Previous version")
    await submit(as_alice, page.one("form", id="branch"), "", message=first["value"])
    page = await see(as_alice, path)
    assert turns(page) == ["one", "first"]
    await press(as_alice, page, "Next version")
    assert turns(await see(as_alice, path)) == ["one", "second", "two", "You said: two"]


async def test_a_version_far_above_the_end_is_on_its_page(as_alice: Client, gemini: Gemini) -> None:
    path = await regenerated(as_alice, gemini)
    second = await Message.objects.aget(text="second")
    for n in range(16):
        await ask(as_alice, f"{n}", at=path)
        await settled(as_alice, path)
    assert not (await see(as_alice, path)).all("article", id=f"m-{second.pk}")
    page = await see(as_alice, f"{path}?version={second.pk}")
    assert page.all("article")[1]["id"] == f"m-{second.pk}"


async def test_a_version_very_far_above_the_end_has_a_page_of_its_own(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpt, "VERSION_DEPTH", 8)
    monkeypatch.setattr(excerpt, "PAGE_LENGTH", 4)
    path = await regenerated(as_alice, gemini)
    second = await Message.objects.aget(text="second")
    for n in range(5):
        await ask(as_alice, f"{n}", at=path)
        await settled(as_alice, path)
    page = await see(as_alice, f"{path}?version={second.pk}")
    assert turns(page) == ["one", "second", "0", "You said: 0"]
    assert pagers(page) == ["Version 2 of 2"]
    assert not page.all("form", id="composer")
    assert page.one("main").all("a")[-1].words == "To the newest messages"


async def test_a_question_far_above_the_end_is_edited_on_a_page_of_its_own(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpt, "PAGE_LENGTH", 4)
    path = await ask(as_alice, "one")
    for text in ("two", "three"):
        await settled(as_alice, path)
        await ask(as_alice, text, at=path)
    await settled(as_alice, path)
    first = await Message.objects.aget(text="one")
    form = (await see(as_alice, f"{path}?edit={first.pk}")).one("form", class_="edit-form")
    refused = await submit(as_alice, form, path, query=" ")
    assert refused.status == 422
    assert len(parse(refused.text).all("form", class_="edit-form")) == 1


async def test_an_edit_keeps_the_parent_of_the_question(as_alice: Client) -> None:
    path = await ask(as_alice, "one")
    await settled(as_alice, path)
    await ask(as_alice, "two", at=path)
    page = await settled(as_alice, path)
    for article, text in ((page.all("article")[2], "TWO"), (page.all("article")[0], "ONE")):
        edited = article["id"].removeprefix("m-")
        form = (await see(as_alice, f"{path}?edit={edited}")).one("form", class_="edit-form")
        assert (await submit(as_alice, form, path, query=text)).status == 303
        page = await settled(as_alice, path)
        assert turns(page)[-2:] == [text, f"You said: {text}"]
        new = await Message.objects.aget(text=text)
        assert new.parent_id == (await Message.objects.aget(pk=edited)).parent_id


async def test_a_refused_edit_shows_its_form_again(as_alice: Client) -> None:
    path = await ask(as_alice, "one")
    page = await settled(as_alice, path)
    edited = page.all("article")[0]["id"].removeprefix("m-")
    form = (await see(as_alice, f"{path}?edit={edited}")).one("form", class_="edit-form")
    answer = await submit(as_alice, form, path, query="\u200b")
    assert answer.status == 422
    page = parse(answer.text)
    assert page.one("form", class_="edit-form").fields()["query"].strip("\n") == "\u200b"
    assert page.one("textarea", id="query").text.strip() == ""


async def test_an_edit_during_a_run_is_refused(as_alice: Client, gemini: Gemini) -> None:
    path = await ask(as_alice, "one")
    page = await settled(as_alice, path)
    edited = page.all("article")[0]["id"].removeprefix("m-")
    form = (await see(as_alice, f"{path}?edit={edited}")).one("form", class_="edit-form")
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    await ask(as_alice, "slow", at=path)
    assert (await submit(as_alice, form, path, query="uno")).status == 409
    gemini.release()


async def test_the_branch_of_an_active_run_ends_at_its_prompt(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("sec"), Hold(), Text("ond")])
    path = await ask(as_alice, "one")
    await ask_again(as_alice, await settled(as_alice, path))
    await auntil(lambda: gemini.calls_for("one") == 2)
    page = await see(as_alice, path)
    await press(as_alice, page, "Previous version")
    page = await see(as_alice, path)
    assert turns(page) == ["one", "first"]
    assert pagers(page) == ["Version 1 of 2"]
    assert page.one("div", id="elsewhere").words == "The answer is being written in another version. Show it"
    await press(as_alice, page, "Next version")
    page = await see(as_alice, path)
    assert len(page.all("article", class_="live")) == 1
    gemini.release()
    page = await settled(as_alice, path)
    assert (turns(page), pagers(page)) == (["one", "second"], ["Version 2 of 2"])


async def test_a_run_ends_off_the_shown_branch_without_moving_it(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("one", [Text("first")], [Text("sec"), Hold(), Text("ond")])
    path = await ask(as_alice, "one")
    await ask_again(as_alice, await settled(as_alice, path))
    await auntil(lambda: gemini.calls_for("one") == 2)
    await press(as_alice, await see(as_alice, path), "Previous version")
    gemini.release()
    page = await settled(as_alice, path)
    assert (turns(page), pagers(page)) == (["one", "first"], ["Version 1 of 2"])
    await press(as_alice, page, "Next version")
    assert turns(await see(as_alice, path)) == ["one", "second"]


@pytest.mark.parametrize("kind", ["foreign", "deleted", "malformed"])
async def test_only_a_message_of_the_conversation_can_be_chosen(
    as_alice: Client, as_bob: Client, kind: str
) -> None:
    path = await ask(as_alice, "one")
    page = await settled(as_alice, path)
    foreign = (await as_bob.ask("bob's"))[0].json()["prompt"]
    own = page.all("article")[0]["id"].removeprefix("m-")
    if kind == "deleted":
        await as_alice.request("DELETE", f"/api/v1/conversations/{path[6:-1]}")
    message = {"foreign": foreign, "deleted": own, "malformed": "word"}[kind]
    head = (await Conversation.objects.aget(owner__username="alice")).head_id
    answers = [
        await submit(as_alice, page.one("form", id="branch"), path, message=message),
        await as_alice.request("PATCH", f"/api/v1/conversations/{path[6:-1]}", json_body={"head": message}),
    ]
    assert [answer.status for answer in answers] == [404, 400 if kind == "malformed" else 404]
    assert (await Conversation.objects.aget(owner__username="alice")).head_id == head
