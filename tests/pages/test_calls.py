"""The page in which a member can speak: its policy, its button, and a question that is being spoken."""

import re

import pytest
from django.conf import settings
from django.test import Client as DjangoClient
from django.utils import timezone

from accounts.models import User
from chat import events
from chat.begin import begin_run, store_question
from chat.models import Conversation, Message, Process, Run, RunEvent
from tests.support.client import Client
from tests.support.dom import parse
from tests.support.pages import ask, see, settled

WORKLET = re.compile(r"script-src 'nonce-[^']+' ([^\s;]+)")


async def test_only_the_chat_page_may_use_the_microphone(as_alice: Client, visitor: Client) -> None:
    for client, path, allowed in (
        (as_alice, "/", "microphone=(self)"),
        (as_alice, "/accounts/password/change/", "microphone=()"),
        (as_alice, "/nowhere/", "microphone=()"),
        (visitor, "/accounts/login/", "microphone=()"),
    ):
        answer = await client.get(path)
        assert answer.headers["permissions-policy"] == allowed, path
        assert bool(WORKLET.search(answer.headers["content-security-policy"])) == ("self" in allowed), path


async def test_the_policy_of_the_chat_page_names_one_script(as_alice: Client) -> None:
    answer = await as_alice.get("/")
    found = WORKLET.search(answer.headers["content-security-policy"])
    assert found
    host, _slash, path = found[1].partition("/")
    assert host == "testserver"
    form = parse(answer.text).one("form", id="composer")
    assert f"/{path}" == form["data-worklet"]
    for word in ("strict-dynamic", "'self' 'nonce", "unsafe", "blob: script"):
        assert word not in answer.headers["content-security-policy"]


async def test_the_button_says_why_nobody_can_speak_with_an_agent(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await see(as_alice, "/")).one("form", id="composer")["data-no-voice"] == ""
    monkeypatch.setattr(settings, "LIVE", False)
    path = await ask(as_alice, "hello")
    for page in (await see(as_alice, "/"), await settled(as_alice, path)):
        assert page.one("form", id="composer")["data-no-voice"] == "Spoken conversations are turned off here."


@pytest.fixture
def spoken(alice: User) -> Run:
    """Begin a turn whose question is being spoken."""
    now = timezone.now()
    conversation = Conversation.objects.create(owner=alice, agent="chat_assistant", title="Spoken")
    prompt = store_question(conversation, None, "", None, now)
    process = Process.objects.create(host="here", pid=1)
    return begin_run(
        conversation, prompt, now, 1,
        mode=Run.Mode.LIVE, status=Run.Status.RUNNING, process=process, epoch=1,
    )  # fmt: skip


def shown(alice: User, run: Run, *said: events.Event) -> tuple[str, bool]:
    """Add events; return the question on the page, and whether the member still speaks by its sign."""
    for seq, event in enumerate(said, RunEvent.objects.filter(run=run).count() + 1):
        row = events.Row.of(seq, event)
        RunEvent.objects.create(run=run, seq=row.seq, type=row.type, data=row.data)
    browser = DjangoClient()
    browser.force_login(alice)
    page = parse(browser.get(f"/chat/{run.conversation_id}/").content.decode())
    live = page.one("article", **{"data-run": str(run.pk)})
    return page.one("div", class_="bubble").text, "data-hearing" in live.attrs


def test_a_page_shows_what_was_said_so_far(alice: User, spoken: Run) -> None:
    assert shown(alice, spoken) == ("", True)
    assert shown(alice, spoken, events.heard("What", final=False)) == ("What", True)
    assert shown(alice, spoken, events.heard("What time is it?", final=True)) == ("What time is it?", False)
    assert shown(alice, spoken, events.text("Noon.")) == ("What time is it?", False)


def test_a_stored_question_is_shown_instead(alice: User, spoken: Run) -> None:
    shown(alice, spoken, events.heard("What tim", final=False))
    Message.objects.filter(pk=spoken.prompt_id).update(text="What time is it?")
    assert shown(alice, spoken) == ("What time is it?", False)
