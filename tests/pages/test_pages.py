"""The pages in a browser without JavaScript: reading, asking, stopping, regenerating."""

import json
import re
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.test import Client as DjangoClient
from django.urls import reverse
from django.utils import timezone

from chat import events, refusals
from chat.models import Conversation, Message, Run, Suggestion
from chat.pages import icons
from chat.pages import views as pages
from config.static import StaticStorage, minified
from tests.conftest import PASSWORD
from tests.support.client import Answer, Client
from tests.support.dom import Element, parse
from tests.support.gemini import Block, Call, Cut, Finish, Gemini, Hold, Status, Text, Thought
from tests.support.talk import use_tools
from tests.support.waiting import auntil, until

STATIC = Path(str(finders.find("chat/main.js"))).parent


async def see(client: Client, path: str, *, status: int = 200) -> Element:
    answer = await client.get(path)
    assert answer.status == status, answer.text
    return parse(answer.text)


async def submit(client: Client, form: Element, at: str, **typed: str) -> Answer:
    """Send a form as a browser does: with its own CSRF token and without a script's headers."""
    path = form.get("action") or at
    return await client.post(path, form=form.fields() | typed, csrf=False)


async def ask(client: Client, query: str, at: str = "/") -> str:
    """Ask by the page's form and return the conversation's path."""
    form = (await see(client, at)).one("form", id="composer")
    answer = await submit(client, form, at, query=query)
    assert answer.status == 303, answer.text
    return answer.headers["location"]


async def settled(client: Client, path: str) -> Element:
    """Return the conversation's page once no run is active."""
    from chat.runs.supervisor import supervisor

    await supervisor.idle()
    return await see(client, path)


def turns(page: Element) -> list[str]:
    """Return the texts of the messages, in order."""
    said = []
    for article in page.all("article"):
        body = article.all("div", class_="bubble") or article.all("div", class_="prose") or [article]
        said.append(body[0].text)
    return said


def is_running(page: Element) -> bool:
    return page.one("body")["data-state"] == "answering"


# --- asking ---------------------------------------------------------------------------------------


async def test_a_question_by_a_plain_form_redirects_to_its_conversation(as_alice: Client) -> None:
    path = await ask(as_alice, "Hello")
    assert re.fullmatch("/chat/[0-9a-f-]{36}/", path)
    page = await settled(as_alice, path)
    assert turns(page) == ["Hello", "You said: Hello"]
    assert page.one("h1").text == "Hello"


async def test_the_next_question_continues_the_conversation(as_alice: Client) -> None:
    path = await ask(as_alice, "one")
    await settled(as_alice, path)
    assert await ask(as_alice, "two", at=path) == path
    assert turns(await settled(as_alice, path)) == ["one", "You said: one", "two", "You said: two"]


async def test_a_form_sent_twice_stores_one_message(as_alice: Client) -> None:
    form = (await see(as_alice, "/")).one("form", id="composer")
    answers = [await submit(as_alice, form, "/", query="Hello") for _ in range(2)]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert await Message.objects.filter(role="user").acount() == 1


async def test_every_page_has_a_key_of_its_own(as_alice: Client) -> None:
    keys = {(await see(as_alice, "/")).one("form", id="composer").fields()["client_id"] for _ in range(2)}
    assert len(keys) == 2
    assert all(uuid.UUID(key).version == 4 for key in keys)


async def test_a_question_is_shown_exactly_as_typed(as_alice: Client) -> None:
    text = '  <b>bold</b> &amp; "quotes"\n\n\tindented  \n{{ 7*7 }} {% now %} \u202eRTL'
    page = await settled(as_alice, await ask(as_alice, text))
    assert page.one("div", class_="bubble").text == text
    assert page.one("h1").words.startswith("<b>bold</b> &amp;")
    assert page.one("title").text.startswith("<b>bold</b> &amp;")


@pytest.mark.parametrize(
    ("typed", "status", "sentence"),
    [
        (" \n ", 422, "The message is empty."),
        ("x" * 132_000, 422, "The message is longer than 128 KiB."),
        ("a\x00b", 400, "Text must not hold a NUL character."),
    ],
)
async def test_a_refused_question_stays_in_the_form(
    as_alice: Client, typed: str, status: int, sentence: str
) -> None:
    form = (await see(as_alice, "/")).one("form", id="composer")
    answer = await submit(as_alice, form, "/", query=typed)
    assert answer.status == status
    page = parse(answer.text)
    assert page.one("div", id="notice").text == sentence
    assert page.one("textarea").text == "\n" + typed
    assert await Message.objects.acount() == 0


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/x-www-form-urlencoded", b"query=" + b"x" * 1_100_000, 413),
        ("application/x-www-form-urlencoded", b"query=%ff", 400),
        ("application/x-www-form-urlencoded", b"query=a&query=b", 400),
        ("application/x-www-form-urlencoded", b"query=a&is_staff=1", 400),
        ("application/x-www-form-urlencoded", b"", 400),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(200)), 400),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense", 400),
        ("multipart/form-data", b"--x", 400),
        ("text/plain", b"query=a", 415),
        ("application/x-www-form-urlencoded; charset=utf-16", b"query=a", 415),
    ],
)
async def test_an_unreadable_form_gets_an_error_page(
    as_alice: Client, kind: str, body: bytes, status: int
) -> None:
    answer = await as_alice.request("POST", "/chat/", body=body, headers={"content-type": kind})
    assert answer.status == status
    page = parse(answer.text)
    assert page.all("div", id="notice") or page.one("p", role="alert").words
    assert await Message.objects.acount() == 0


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/", "/admin/login/"])
@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/x-www-form-urlencoded; charset=utf-16", b"login=a", 415),
        ("application/x-www-form-urlencoded", b"login=" + b"x" * 1_100_000, 413),
        ("multipart/form-data", b"--x", 400),
    ],
)
async def test_every_form_answers_an_unreadable_body_with_an_error_page(
    visitor: Client, path: str, kind: str, body: bytes, status: int
) -> None:
    answer = await visitor.request("POST", path, body=body, headers={"content-type": kind}, csrf=False)
    assert answer.status == status
    assert parse(answer.text).one("p", role="alert").words


async def test_a_question_while_an_answer_is_written_is_refused_and_kept(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("one", [Text("a"), Hold(), Text("b")])
    path = await ask(as_alice, "one")
    form = (await see(as_alice, path)).one("form", id="composer")
    answer = await submit(as_alice, form, path, query="two")
    assert answer.status == 409
    page = parse(answer.text)
    assert page.one("div", id="notice").text == "This conversation is already answering."
    assert page.one("textarea").text == "\ntwo"
    assert await Message.objects.filter(role="user").acount() == 1


async def test_an_old_page_sent_again_with_other_text_is_refused(as_alice: Client) -> None:
    form = (await see(as_alice, "/")).one("form", id="composer")
    await submit(as_alice, form, "/", query="Hello")
    answer = await submit(as_alice, form, "/", query="Something else")
    assert answer.status == 422
    renewed = parse(answer.text).one("form", id="composer")
    assert (await submit(as_alice, renewed, "/", query="Something else")).status == 303


async def test_an_agent_can_be_chosen_if_there_are_several(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chat.agent.agents import catalog

    assert not (await see(as_alice, "/")).all("select")
    default = catalog.all_agents()[0]
    second = catalog.AgentInfo("librarian", "Knows books", available=False, reason="No books yet")
    monkeypatch.setattr(catalog, "all_agents", lambda: [default, second])
    picker = (await see(as_alice, "/")).one("select")
    assert [(option["value"], "disabled" in option.attrs) for option in picker.all("option")] == [
        (default.name, False),
        ("librarian", True),
    ]
    form = (await see(as_alice, "/")).one("form", id="composer")
    assert (await submit(as_alice, form, "/", query="x", agent="librarian")).status == 422
    answer = await submit(as_alice, form, "/", query="x", agent=default.name)
    page = await settled(as_alice, answer.headers["location"])
    assert not page.all("select")


# --- while an answer is written -------------------------------------------------------------------


async def test_a_page_shows_the_partial_answer_and_reloads_itself(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Thought("Let me see."), Text("Once <b>upon</b>"), Hold(), Text(" a time")])
    path = await ask(as_alice, "go")
    page = await _until(as_alice, path, "Once")
    live = page.one("article", class_="live")
    assert live.one("div", class_="prose").text == "Once <b>upon</b>"
    assert live.one("details", class_="thought-step").one("div").text == "Let me see."
    assert page.one("head").one("noscript").one("meta", http_equiv="refresh")["content"] == "2"
    assert not page.all("form", class_="ask-again")
    gemini.release()
    page = await settled(as_alice, path)
    assert turns(page)[1] == "Once <b>upon</b> a time"
    assert not page.all("meta", http_equiv="refresh")


async def _until(client: Client, path: str, word: str) -> Element:
    async def page_with_word() -> Element | None:
        page = await see(client, path)
        return page if word in page.one("div", id="messages").text else None

    page: Element = await auntil(page_with_word)
    return page


async def test_an_answer_that_ends_while_the_page_is_built_is_shown(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier version read messages first and the active run later, and showed the answer in neither."""
    gemini.on("go", [Text("Once upon"), Hold(), Text(" a time")])
    path = await ask(as_alice, "go")
    await _until(as_alice, path, "Once")
    read = Message.objects.all().__class__.branch

    def end_first(*args: Any, **kwargs: Any) -> Any:
        branch = read(*args, **kwargs)
        gemini.release()
        until(lambda: not Run.objects.active().exists())
        return branch

    monkeypatch.setattr(Message.objects.all().__class__, "branch", end_first)
    page = await see(as_alice, path)
    text = page.one("div", id="messages").text
    assert "Once upon" in text
    assert "Regenerate" not in text
    monkeypatch.undo()
    assert turns(await see(as_alice, path)) == ["go", "Once upon a time"]


async def test_stop_by_a_plain_form_keeps_what_was_written(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("Once upon"), Hold(), Text(" a time")])
    path = await ask(as_alice, "go")
    page = await _until(as_alice, path, "Once")
    answer = await submit(as_alice, page.one("form", id="stop"), path)
    assert (answer.status, answer.headers["location"]) == (303, path)
    page = await see(as_alice, path)
    assert not is_running(page)
    assert turns(page) == ["go", "Once upon"]
    assert page.one("p", class_="ending").text == "You stopped this answer."


async def test_a_stop_affects_only_the_run_that_it_names(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("Once"), Hold()])
    other = await settled(as_alice, await ask(as_alice, "hello"))
    path = await ask(as_alice, "go")
    page = await _until(as_alice, path, "Once")
    stop = page.one("form", id="stop")
    astray = other.one("form", id="stop")
    assert (await submit(as_alice, stop, path, run=str(uuid.uuid4()))).status == 404
    assert (await submit(as_alice, astray, path, run=stop.fields()["run"])).status == 404
    assert (await submit(as_alice, stop, path, run="")).status == 404
    assert (await submit(as_alice, stop, path, other="x")).status == 400
    assert is_running(await see(as_alice, path))


async def test_a_stop_after_the_end_is_not_an_error(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("Once"), Hold(), Text(" upon")])
    path = await ask(as_alice, "go")
    form = (await _until(as_alice, path, "Once")).one("form", id="stop")
    gemini.release()
    await settled(as_alice, path)
    assert (await submit(as_alice, form, path)).status == 303
    assert turns(await see(as_alice, path)) == ["go", "Once upon"]


# --- endings and retries --------------------------------------------------------------------------


async def test_a_failed_answer_says_why_and_can_be_tried_again(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Status(500)], [Status(500)], [Status(500)], [Text("now it works")])
    path = await ask(as_alice, "go")
    page = await settled(as_alice, path)
    while page.all("p", class_="ending"):
        assert turns(page)[0] == "go"
        assert page.one("p", class_="ending").text.startswith("The model")
        again = page.one("form", class_="ask-again")
        assert again.one("button").words == "Retry"
        assert (await submit(as_alice, again, path)).headers["location"] == path
        page = await settled(as_alice, path)
    assert turns(page) == ["go", "now it works"]


async def test_text_written_before_a_failure_is_kept(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("Half an ans"), Cut()])
    page = await settled(as_alice, await ask(as_alice, "go"))
    assert turns(page) == ["go", "Half an ans"]
    assert page.one("p", class_="ending")
    assert page.one("form", class_="ask-again").one("button").words == "Retry"


async def test_a_declined_answer_offers_no_retry(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Block("PROHIBITED_CONTENT")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    assert page.one("p", class_="ending").text == "The model declined to answer this."
    assert not page.all("form", class_="ask-again")


async def test_a_failure_is_still_shown_after_the_next_turn(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Block("PROHIBITED_CONTENT")])
    path = await ask(as_alice, "go")
    await settled(as_alice, path)
    await ask(as_alice, "and now?", at=path)
    page = await settled(as_alice, path)
    assert turns(page) == ["go", "and now?", "You said: and now?"]
    assert page.all("article")[0].one("p", class_="ending").text == "The model declined to answer this."


async def test_an_answer_cut_off_at_its_limit_says_so(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("So long"), Finish("MAX_TOKENS")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    assert page.one("p", class_="ending").text.startswith("The answer was cut off")


async def test_a_retry_warning_names_each_called_tool_once_except_adks_own(
    as_alice: Client, gemini: Gemini
) -> None:
    names = ["transfer_money", "transfer_to_agent", "adk_request_input", "<b>send</b>", "transfer_money"]
    gemini.on("go", [Call(name, {}) for name in names], [Text("Done.")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    assert page.one("p", id="again-called").text == "This may do it again: transfer_money, <b>send</b>."
    assert not page.all("b")


async def test_a_retry_needs_no_confirmation_if_only_adks_own_tools_were_called(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("go", [Call("adk_request_confirmation", {})], [Text("Done.")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    assert not page.all("dialog", id="again")
    assert page.one("form", class_="ask-again").one("button").words == "Regenerate"


async def test_regenerate_replaces_the_last_answer(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("two", [Text("second, first try")], [Text("second, second try")])
    path = await ask(as_alice, "one")
    await settled(as_alice, path)
    await ask(as_alice, "two", at=path)
    page = await settled(as_alice, path)
    again = page.all("article")[-1].one("form", class_="ask-again")
    assert len(page.all("form", class_="ask-again")) == 1
    assert again.one("button").words == "Regenerate"
    answers = [await submit(as_alice, again, path) for _ in range(2)]  # a double click
    assert [answer.status for answer in answers] == [303, 303]
    page = await settled(as_alice, path)
    assert turns(page) == ["one", "You said: one", "two", "second, second try"]
    assert await Run.objects.acount() == 3


# --- parts of an answer ---------------------------------------------------------------------------


async def test_an_answer_is_rendered_markdown_under_its_speakers_name(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("go", [Text("# Title\n\n**bold** <script>alert(1)</script>")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    article = page.all("article")[-1]
    assert article.one("h2").text == "Chat assistant"
    assert article.one("h3").text == "Title"
    assert article.one("strong").text == "bold"
    assert "<script>alert(1)</script>" in article.text


async def test_thoughts_and_tool_calls_are_collapsed_and_escaped(as_alice: Client, gemini: Gemini) -> None:
    hostile = '<img src=x onerror="alert(1)">'
    gemini.on(
        "go",
        [Thought(f"Hm. {hostile}"), Call("current_time", {"place": hostile})],
        [Text("Done.")],
    )
    page = await settled(as_alice, await ask(as_alice, "go"))
    article = page.all("article")[-1]
    thought, tool = article.all("details")
    assert "open" not in thought.attrs
    assert thought.one("div").text == f"Hm. {hostile}"
    assert tool.one("code").text == "current_time"
    asked, answered = tool.one("pre", class_="tool-args"), tool.one("pre", class_="tool-outcome")
    assert not tool.all("details")
    assert hostile in asked.text.replace("\\", "")
    assert "No time zone is known" in answered.text
    assert not page.all("img")


async def test_a_tool_that_failed_says_so(as_alice: Client, gemini: Gemini, monkeypatch: Any) -> None:
    gemini.on("go", [Call("no_such_tool", {})], [Text("Sorry.")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    steps = page.all("article")[-1].all("details", class_="tool-step")
    assert [step.one("code").text for step in steps] == ["no_such_tool"]
    assert steps[0].one("span", class_="failed").text == "failed"


async def test_a_long_tool_result_is_truncated(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure() -> str:
        """Measure."""
        return "<b>" + "x" * 20_000

    await use_tools(monkeypatch, measure)
    gemini.on("go", [Call("measure", {})], [Text("Done.")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    tool = page.all("article")[-1].one("details", class_="tool-step")
    shown, rest = tool.one("pre", class_="tool-outcome").text, tool.one("pre", class_="tool-rest").text
    assert len(shown) == 2000
    assert json.loads(shown + rest) == {"result": "<b>" + "x" * 20_000}


async def test_a_failures_details_hold_its_code_and_its_run(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Block("PROHIBITED_CONTENT")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    details = page.one("div", class_="broken").one("details")
    run = await Run.objects.aget()
    assert [each.text for each in details.all("code")] == ["blocked", str(run.pk)]


async def test_a_message_is_copied_as_it_was_written(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("# Title\n\n**bold** <b>")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    answer = await as_alice.get(page.all("article")[-1].one("form", class_="copy-message")["action"])
    assert answer.text == "# Title\n\n**bold** <b>"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_message_that_a_moderator_hid_is_not_copied(as_alice: Client) -> None:
    page = await settled(as_alice, await ask(as_alice, "hello"))
    address = page.all("article")[-1].one("form", class_="copy-message")["action"]
    await Message.objects.filter(role="assistant").aupdate(hidden_at=timezone.now())
    assert (await as_alice.get(address)).status == 404


# --- navigation -----------------------------------------------------------------------------------


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
    page = await _until(as_alice, path, "Once")  # also during a run
    form = page.one("dialog", id="delete").one("form")
    answer = await submit(as_alice, form, path)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    await see(as_alice, path, status=404)
    assert (await as_alice.get(form["action"])).status == 405


async def test_conversations_are_found_by_the_words_of_their_titles(as_alice: Client) -> None:
    for title in ("Lisbon in spring", "100% wool", "lisbon again"):
        await settled(as_alice, await ask(as_alice, title))

    async def found(words: str) -> list[str]:
        page = await see(as_alice, f"/?find={words}")
        return [link.text for link in page.one("ul", id="conversations").all("a")]

    assert await found("LISBON") == ["lisbon again", "Lisbon in spring"]
    assert await found("%25") == ["100% wool"]
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
    monkeypatch.setattr(pages, "SIDEBAR_LENGTH", 3)
    make = Conversation.objects.create
    for n in range(7):
        await sync_to_async(make)(owner=as_alice.user, agent="chat_assistant", title=f"number {n}")
    seen, path = [], "/"
    while path:
        links = (await see(as_alice, path)).one("ul", id="conversations").all("a")
        seen += [link.text for link in links if link["href"].startswith("/chat/")]
        path = next((f"/{link['href']}" for link in links if link["href"].startswith("?")), "")
    assert seen == [f"number {n}" for n in reversed(range(7))]
    await see(as_alice, "/?list=garbage", status=400)


async def test_every_message_of_a_long_conversation_can_be_reached(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_LENGTH", 4)
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
        assert not page.all("form", class_="ask-again")
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


# --- every page -----------------------------------------------------------------------------------

PAGES = {
    "home": "/",
    "conversation": "",
    "not found": "/nowhere/",
    "refused": "/?list=garbage",
    "sign in": "/accounts/login/",
    "sign up": "/accounts/signup/",
    "sign out": "/accounts/logout/",
    "change password": "/accounts/password/change/",
    "e-mail addresses": "/accounts/email/",
    "confirm access": "/accounts/reauthenticate/",
    "reset password": "/accounts/password/reset/",
    "reset sent": "/accounts/password/reset/done/",
    "bad reset link": "/accounts/password/reset/key/1-x/",
    "reset done": "/accounts/password/reset/key/done/",
    "verification sent": "/accounts/confirm-email/",
    "bad verification": "/accounts/confirm-email/x/",
    "inactive": "/accounts/inactive/",
}
VISITORS = {
    "sign in", "sign up", "reset password", "reset sent", "bad reset link", "reset done",
    "verification sent", "bad verification", "inactive",
}  # fmt: skip


@pytest.fixture
async def a_page(request: Any, as_alice: Client, visitor: Client, gemini: Gemini) -> tuple[Element, Answer]:
    gemini.on(
        "hello", [Thought("Hm."), Call("calculate", {"expression": "1+1"})], [Text("# Two\n\n- [x] `2`")]
    )
    path = PAGES[request.param]
    if request.param == "conversation":
        path = await ask(as_alice, "hello")
        await settled(as_alice, path)
    client = visitor if request.param in VISITORS else as_alice
    answer = await client.get(path)
    while answer.status == 302:  # allauth confirms the account first
        answer = await client.get(answer.headers["location"])
    return parse(answer.text), answer


@pytest.mark.parametrize("a_page", PAGES, indirect=True)
async def test_no_page_holds_a_script_or_a_style_of_its_own(a_page: tuple[Element, Answer]) -> None:
    page, answer = a_page
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    for element in page.below():
        assert element.tag != "style", element.text
        assert element.tag != "script" or element.get("nonce") or element.get("type") == "application/json"
        for name, value in element.attrs.items():
            assert name != "style"
            assert not name.startswith("on")
            assert not value.strip().lower().startswith("javascript:")


async def test_the_page_listens_to_every_event_of_a_run(as_alice: Client) -> None:
    stored = {
        events.STARTED, events.TEXT, events.THOUGHT, events.TOOL_CALLED, events.TOOL_RETURNED, events.FILE,
        events.AGENT, events.REPLACE, *events.TERMINAL,
    }  # fmt: skip
    names = (await see(as_alice, "/")).one("body")["data-events"].split()
    # as HTML, text comes as html events (docs/streaming.md)
    assert sorted(names) == sorted(stored - {events.TEXT} | {"html"})


async def test_few_style_sheets_delay_the_first_paint(as_alice: Client) -> None:
    """A seventh sheet in the head costs a round trip (docs/decisions/0033)."""
    page = await see(as_alice, "/")
    assert len(page.one("head").all("link", rel="stylesheet")) <= 6
    (later,) = page.one("body").all("link", rel="stylesheet")
    assert later["fetchpriority"] == "low"


async def test_only_the_script_with_the_pages_nonce_may_run(as_alice: Client, visitor: Client) -> None:
    for page in [await as_alice.get("/") for _ in range(2)]:
        (nonce,) = {script["nonce"] for script in parse(page.text).all("script")}
        policy = page.headers["content-security-policy"]
        assert f"script-src 'nonce-{nonce}'" in policy.split("; ")
        assert "require-trusted-types-for 'script'" in policy
        assert "trusted-types server-html" in policy
        assert nonce not in (await as_alice.get("/")).text  # a nonce is used once
    assert "'nonce-" not in (await visitor.get("/accounts/login/")).headers["content-security-policy"]


async def test_the_admins_own_scripts_run(as_alice: Client) -> None:
    policy = (await as_alice.get("/admin/")).headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "trusted-types" not in policy
    assert "unsafe" not in policy


def test_every_icon_that_a_page_shows_is_drawn() -> None:
    used = set()
    for path in Path("templates").rglob("*.html"):
        used |= set(re.findall(r'{% icon "([\w-]+)" %}', path.read_text()))
    assert used <= icons.NAMES
    sprite = parse(icons.sprite())
    assert {symbol["id"] for symbol in sprite.all("symbol")} == {f"i-{name}" for name in icons.NAMES}
    assert len(icons.sprite()) < 8000


@pytest.mark.parametrize("a_page", PAGES, indirect=True)
async def test_every_page_works_with_a_screen_reader_and_a_keyboard(a_page: tuple[Element, Answer]) -> None:
    page, _answer = a_page
    assert (page.one("html")["lang"], page.one("html")["dir"]) == ("en", "ltr")
    assert page.one("title").words.endswith("· Parley")
    assert len(page.one("title").words) > len("· Parley")
    assert page.one("h1").words
    ids = [element["id"] for element in page.below() if element.get("id")]
    assert len(ids) == len(set(ids)), ids
    main = page.one("main")
    skip = page.one("a", class_="skip-link")
    assert page.one(id=skip["href"][1:])
    assert main.get("id")
    labelled = {label["for"] for label in page.all("label") if label.get("for")}
    for field in page.below():
        is_field = field.tag in {"textarea", "select"} or (
            field.tag == "input" and field.get("type") not in {"hidden", "submit"}
        )
        if is_field:
            wrapped = field.parent is not None and field.parent.tag == "label"
            assert wrapped or field.get("id") in labelled, field.attrs
        if field.tag in {"button", "a"}:
            assert field.words or field.get("aria-label"), field.attrs


@pytest.mark.parametrize("a_page", ["home", "conversation"], indirect=True)
async def test_the_chat_page_has_its_landmarks_and_directions(a_page: tuple[Element, Answer]) -> None:
    page, _answer = a_page
    assert page.one("nav")["aria-label"] == "Conversations"
    assert page.one("section", class_="composer-area")["aria-label"] == "Message composer"
    assert page.one("textarea")["dir"] == "auto"
    assert page.one("p", id="announcer")["role"] == "status"
    for article in page.all("article"):
        assert article.all("h2")[0].words
        body = article.all("div", class_="bubble") + article.all("div", class_="prose")
        assert [each["dir"] for each in body] == ["auto"]
    for link in page.one("ul", id="conversations").all("a"):
        assert link["dir"] == "auto"


@pytest.mark.parametrize("a_page", ["conversation"], indirect=True)
async def test_no_answer_is_inside_a_live_region(a_page: tuple[Element, Answer]) -> None:
    page, _answer = a_page
    element: Element | None = page.one("div", id="messages")
    while element is not None:
        assert element.get("aria-live") is None
        assert element.get("role") not in {"log", "status", "alert"}
        element = element.parent


def test_the_error_page_is_rendered_without_a_request() -> None:
    for name in ("500.html", "403.html", "403_csrf.html", "404.html", "429.html"):
        page = parse(render_to_string(name))
        assert page.one("h1").words
    page = parse(render_to_string("refused.html", {"refusal": refusals.locked()}))
    assert page.one("p", role="alert").text == "A moderator has locked this conversation."


@pytest.mark.django_db
def test_the_page_of_the_set_up_link_is_like_the_others() -> None:
    from accounts import owner

    client = DjangoClient()
    answer = client.post(reverse("set_up", args=[owner.setup_token()]), {"password1": PASSWORD})
    page = parse(answer.content.decode())
    owner.forget_token()
    assert page.one("h1").words == "Welcome to Parley"
    assert [field["id"] for field in page.all("input") if field.get("type") != "hidden"] == [
        label["for"] for label in page.all("label")
    ]
    assert not page.all("style")
    assert not page.all("script")


async def test_not_found_pages_are_identical(as_alice: Client, visitor: Client) -> None:
    paths = ["/nowhere/", "/chat/x/", f"/chat/{uuid.uuid4()}/"]
    answers = [await as_alice.get(path) for path in paths]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.body for answer in answers}) == 1


# --- the files ------------------------------------------------------------------------------------

STYLES = sorted((STATIC / "css").glob("*.css"))
SCRIPTS = sorted(STATIC.glob("*.js"))
PHYSICAL = re.compile(
    r"(?<![\w-])(?:(?:margin|padding|border|inset|scroll-margin|scroll-padding)-(?:left|right|top|bottom)"
    r"|(?:min-|max-)?(?:width|height)|left|right|top|bottom|float|clear"
    r"|border-(?:top|bottom)-(?:left|right)-radius)\s*:"
    r"|text-align\s*:\s*(?:left|right)"
)


def without_comments(source: str) -> str:
    return re.sub(r"/\*.*?\*/|^\s*//.*?$", "", source, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_our_styles_use_no_left_or_right(path: Path) -> None:
    css = re.sub(r"@media \([^)]*\)", "", without_comments(path.read_text()))
    assert not PHYSICAL.search(css), PHYSICAL.search(css)
    assert "url(" not in css
    assert "@import" not in css


GROUNDS = ("paper", "surface", "sunken")
LEGIBLE = {
    **dict.fromkeys(("ink", "ink-soft", "ink-faint", "spruce"), GROUNDS),
    "danger": ("paper", "surface"),
    "on-spruce": ("spruce",),
    **dict.fromkeys(("keyword", "string", "comment", "name", "number"), ("code",)),
}


def luminance(colour: str) -> float:
    """Return WCAG's relative luminance of #rrggbb."""
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_controls_have_enough_contrast(scheme: int) -> None:
    tokens = (STATIC / "css" / "tokens.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", tokens)
    colours = {name: both[scheme] for name, *both in pairs}
    for text, grounds in LEGIBLE.items():
        for ground in grounds:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["ink"], colours["bubble"]) >= 4.5
    assert contrast(colours["edge"], colours["paper"]) >= 3
    assert contrast(colours["edge"], colours["surface"]) >= 3


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_our_modules_are_found_by_the_names_of_their_hashed_copies(path: Path) -> None:
    """Django rewrites an import only if it ends with a semicolon, and does so in comments too."""
    source = path.read_text()
    comments = re.findall(r"^\s*//.*$", source, re.MULTILINE)
    assert not [line for line in comments if re.search(r"\b(?:import|export)\b.*\bfrom\b", line)]
    imports = re.findall(r"^import .*$", source, re.MULTILINE)
    assert len(imports) == len(re.findall(r"\bimport\b", without_comments(source)))
    for line in imports:
        found = re.fullmatch(r'import \{ [\w, ]+ \} from "(\./[\w.]+)";', line)
        assert found, line
        assert (STATIC / found[1]).exists()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_minified_modules_are_found_by_the_names_of_their_hashed_copies(path: Path) -> None:
    imported = re.findall(r'^import .* from "(.*)";$', path.read_text(), re.MULTILINE)
    sent = minified(path.name, path.read_text())
    _, patterns = StaticStorage._js_module_import_aggregation_patterns
    found = [match["url"] for pattern, _ in patterns for match in re.finditer(pattern, sent, re.IGNORECASE)]
    assert sorted(found) == sorted(imported)


def test_our_modules_import_in_one_direction() -> None:
    """A cycle makes collectstatic fail: "Max post-process passes exceeded"."""
    imported = {path.name: re.findall(r'from "\./([\w.]+)"', path.read_text()) for path in SCRIPTS}
    done: set[str] = set()
    while len(done) < len(imported):
        ready = {name for name, needs in imported.items() if name not in done and set(needs) <= done}
        assert ready, sorted(set(imported) - done)
        done |= ready


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_our_scripts_make_no_code_and_no_markup_from_text(path: Path) -> None:
    source = without_comments(path.read_text())
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|parseFromString|createPolicy|setHTML"
    if path.name != "trusted_html.js":  # the only place that may
        assert not re.search(markup, source)
    assert not re.search(r"\beval\b|new Function|console\.", source)
