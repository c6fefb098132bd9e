"""Every page: its scripts and styles, its use with a screen reader and a keyboard, and the error pages."""

import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.test import Client as DjangoClient
from django.urls import reverse

from chat import refusals
from chat.pages import icons
from tests.conftest import PASSWORD
from tests.support.client import Answer, Client
from tests.support.dom import Element, parse
from tests.support.gemini import Call, Gemini, Text, Thought
from tests.support.pages import ask, see, settled

STATIC = Path(str(finders.find("chat/main.js"))).parent

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


async def test_the_page_has_one_script_and_one_style_sheet(as_alice: Client) -> None:
    """Each further file costs a round trip on a slow network (docs/decisions/0035)."""
    page = await see(as_alice, "/")
    assert len(page.all("link", rel="stylesheet")) == 1
    assert len([script for script in page.all("script") if script.get("src")]) == 1


async def test_only_the_script_with_the_pages_nonce_may_run(as_alice: Client, visitor: Client) -> None:
    for page in [await as_alice.get("/") for _ in range(2)]:
        (nonce,) = {script["nonce"] for script in parse(page.text).all("script")}
        policy = page.headers["content-security-policy"]
        # and one worklet, by its address: tests/pages/test_calls.py
        assert re.search(
            rf"script-src 'nonce-{re.escape(nonce)}' [^ ;]+/static/chat/live/worklet[.\w]*\.js(;|$)", policy
        )
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
    page = parse(render_to_string("refused.html", {"refusal": refusals.locked(None)}))
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
