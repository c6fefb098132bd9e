"""Asking and stopping in a browser without JavaScript, and the page while an answer is written."""

import re
import uuid
from typing import Any

import pytest

from chat.models import Message, Run
from tests.support.client import Client
from tests.support.dom import parse
from tests.support.gemini import Gemini, Hold, Text, Thought
from tests.support.pages import ask, is_running, see, settled, submit, turns, until_shown
from tests.support.waiting import until


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
    page = await until_shown(as_alice, path, "Once")
    live = page.one("article", class_="live")
    assert live.one("div", class_="prose").text == "Once <b>upon</b>"
    assert live.one("details", class_="thought-step").one("div").text == "Let me see."
    assert page.one("head").one("noscript").one("meta", http_equiv="refresh")["content"] == "2"
    assert not page.all("button", class_="ask-again")
    gemini.release()
    page = await settled(as_alice, path)
    assert turns(page)[1] == "Once <b>upon</b> a time"
    assert not page.all("meta", http_equiv="refresh")


async def test_an_answer_that_ends_while_the_page_is_built_is_shown(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier version read messages first and the active run later, and showed the answer in neither."""
    gemini.on("go", [Text("Once upon"), Hold(), Text(" a time")])
    path = await ask(as_alice, "go")
    await until_shown(as_alice, path, "Once")
    read = Message.objects.all().__class__.links_above

    def end_first(*args: Any, **kwargs: Any) -> Any:
        branch = read(*args, **kwargs)
        gemini.release()
        until(lambda: not Run.objects.active().exists())
        return branch

    monkeypatch.setattr(Message.objects.all().__class__, "links_above", end_first)
    page = await see(as_alice, path)
    text = page.one("div", id="messages").text
    assert "Once upon" in text
    assert "Regenerate" not in text
    monkeypatch.undo()
    assert turns(await see(as_alice, path)) == ["go", "Once upon a time"]


async def test_stop_by_a_plain_form_keeps_what_was_written(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("Once upon"), Hold(), Text(" a time")])
    path = await ask(as_alice, "go")
    page = await until_shown(as_alice, path, "Once")
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
    page = await until_shown(as_alice, path, "Once")
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
    form = (await until_shown(as_alice, path, "Once")).one("form", id="stop")
    gemini.release()
    await settled(as_alice, path)
    assert (await submit(as_alice, form, path)).status == 303
    assert turns(await see(as_alice, path)) == ["go", "Once upon"]
