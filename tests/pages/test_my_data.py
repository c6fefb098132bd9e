"""Pages of a member's own data: the download, and the deletion of the account."""

import asyncio
import io
import json
import re
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core import mail
from django.utils import timezone

from accounts.models import User
from chat import actions
from chat.memories.models import Memory
from chat.models import (
    AccountDeletion,
    Conversation,
    DataDownload,
    Message,
    PersonRequest,
    QueuedAsk,
    Run,
    UserState,
)
from chat.pages import archive
from tests.conftest import PASSWORD, make_user
from tests.support.client import Answer, Client
from tests.support.dom import Element, parse
from tests.support.gemini import Gemini, Text

pytestmark = pytest.mark.usefixtures("fresh_limits")

DATA, DELETE, KEEP = "/account/data/", "/account/delete/", "/account/delete/cancel/"


async def confirmed(client: Client, path: str) -> Answer:
    """Send a form, and the password when it is asked for; return the answer to that."""
    asked = await client.post(path, form={})
    assert asked.status == 302
    assert asked.headers["location"].startswith("/accounts/reauthenticate/?next=")
    return await client.post(asked.headers["location"], form={"password": PASSWORD})


def unzipped(answer: Answer) -> dict[str, str]:
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert "no-store" in answer.headers["cache-control"]
    assert re.fullmatch(
        r'attachment; filename="parley-\d{4}-\d\d-\d\d\.zip"', answer.headers["content-disposition"]
    )
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archived:
        assert archived.testzip() is None
        return {name: archived.read(name).decode() for name in archived.namelist()}


async def downloaded(client: Client) -> dict[str, str]:
    return unzipped(await confirmed(client, DATA))


async def page(client: Client, path: str) -> Element:
    answer = await client.get(path)
    assert answer.status == 200
    return parse(answer.text)


def words(shown: Element) -> str:
    return shown.one("main").words


# --- the download ---------------------------------------------------------------------------------


async def test_the_download_has_everything_of_the_member(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("one", [Text("It is **bold**.")], [Text("second")])
    started = (await as_alice.ask("one"))[0].json()
    await as_alice.post("/chat/stream", {"prompt": started["prompt"]})
    conversation = await Conversation.objects.aget()
    reply = await Message.objects.filter(role="assistant").order_by("created_at").afirst()
    assert reply
    await sync_to_async(actions.give_feedback)(reply, -1, ["wrong"], "not so")
    await Conversation.objects.aupdate(locked_at=timezone.now())  # else the server asks what is queued
    await QueuedAsk.objects.acreate(conversation=conversation, owner=as_alice.user, text="later", position=1)
    await UserState.objects.acreate(user=as_alice.user, agent="a", key="city", value='"Lisbon"')
    await Memory.objects.acreate(owner=as_alice.user, agent="a", text="Likes tea", content={})
    gone = (await as_alice.ask("deleted one"))[0].json()["conversation"]
    await as_alice.request("DELETE", f"/api/v1/conversations/{gone}")

    files = await downloaded(as_alice)
    found = {name: json.loads(text) for name, text in files.items() if name.endswith(".json")}
    [account] = found["data/account.json"]
    assert (account["username"], account["email"]) == ("alice", "alice@example.org")
    assert [each["title"] for each in found["data/conversations.json"]] == ["one", "deleted one"]
    assert found["data/conversations.json"][1]["deleted_at"]
    texts = [each["text"] for each in found["data/messages.json"]]
    assert texts == ["one", "It is **bold**.", "second", "deleted one", "You said: deleted one"]
    assert found["data/messages.json"][1]["feedback_detail"] == {"reasons": ["wrong"], "text": "not so"}
    assert len(found["data/runs.json"]) == 3
    assert [each["text"] for each in found["data/queued_questions.json"]] == ["later"]
    assert found["data/memory_of_agents.json"][0]["value"] == '"Lisbon"'
    assert [each["text"] for each in found["data/memories.json"]] == ["Likes tea"]

    index = parse(files["index.html"])
    links = {link.words: link["href"] for link in index.all("a")}
    assert links["one"] == f"conversations/{started['conversation']}.html"
    assert "deleted" in index.one("a", href=f"conversations/{gone}.html").parent.words  # type: ignore[union-attr]
    assert {href for href in links.values() if href not in files} == set()
    shown = parse(files[links["one"]])
    speakers = [each.one("h2").words.split(" · ")[0] for each in shown.all("article")]
    assert speakers == ["You", "Chat assistant", "Chat assistant"]
    assert shown.one("strong").words == "bold"
    assert "version 2 of 2" in shown.all("article")[2].words


async def test_the_download_has_nothing_of_others(as_alice: Client, as_bob: Client, mona: Any) -> None:
    await as_bob.ask("zanzibar")
    await as_alice.ask("mine")
    run = await Run.objects.aget(owner=as_alice.user)
    await Run.objects.filter(pk=run.pk).aupdate(failure={"traceback": "zanzibar"})
    await PersonRequest.objects.acreate(
        run=run,
        kind="confirm",
        call="c",
        asking_call="a",
        tool="t",
        approvers="Finance",
        expires_at=timezone.now(),
        decision="approve",
        decided_by=mona,
        decided_at=timezone.now(),
    )
    files = await downloaded(as_alice)
    for name, text in files.items():
        for foreign in ("zanzibar", "bob", "mona", str(as_bob.user.pk) + "@"):
            assert foreign not in text, name
    assert "Finance" in files["data/requests.json"]


async def test_a_message_that_is_hidden_is_not_in_the_download(as_alice: Client) -> None:
    await as_alice.ask("quetzal")
    await Message.objects.aupdate(hidden_at=timezone.now())
    await Conversation.objects.aupdate(title="mine")
    assert "quetzal" not in "".join((await downloaded(as_alice)).values())


async def test_the_pages_of_the_download_load_and_run_nothing(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("<script>alert(1)</script>", [Text("<script>x</script> ![i](https://evil.example/i.png)")])
    await as_alice.ask("<script>alert(1)</script>")
    for name, text in (await downloaded(as_alice)).items():
        if name.endswith(".html"):
            shown = parse(text)
            assert not shown.all("script")
            assert not shown.all("link")
            assert not [each for each in shown.all() if each.get("src")]
            policy = shown.one("meta", http_equiv="Content-Security-Policy")["content"]
            assert policy.startswith("default-src 'none'")


async def test_it_is_written_in_pages(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ROWS_AT_ONCE", 2)
    conversation = (await as_alice.ask("0"))[0].json()["conversation"]
    for n in range(1, 5):
        await as_alice.ask(str(n), conversation=conversation)
        await as_alice.ask(f"other {n}")
    files = await downloaded(as_alice)
    assert len(json.loads(files["data/messages.json"])) == 18
    assert len(parse(files[f"conversations/{conversation}.html"]).all("article")) == 10
    assert len([name for name in files if name.startswith("conversations/")]) == 5


async def test_the_download_begins_before_it_is_whole(as_alice: Client) -> None:
    for n in range(30):
        await as_alice.ask(f"{n} " + "x" * 1000)
    await confirmed(as_alice, DATA)
    await DataDownload.objects.aupdate(begun_at=timezone.now() - timedelta(hours=1))
    async with as_alice.open("POST", DATA, form={}) as exchange:
        chunks = [chunk async for chunk in exchange.chunks()]
    assert len(chunks) > 30
    assert max(map(len, chunks)) < 50_000


async def test_a_member_downloads_once_an_hour(as_alice: Client) -> None:
    await downloaded(as_alice)
    again = await as_alice.post(DATA, form={})
    assert again.status == 429
    assert "once an hour: again on" in words(parse(again.text))
    assert 3500 < int(again.headers["retry-after"]) <= 3600
    await DataDownload.objects.aupdate(begun_at=timezone.now() - timedelta(hours=1))
    assert unzipped(await as_alice.post(DATA, form={}))


async def test_of_two_downloads_at_the_same_time_one_begins(as_alice: Client) -> None:
    await downloaded(as_alice)
    for before in (None, timezone.now() - timedelta(hours=2)):
        if before:
            await DataDownload.objects.aupdate(begun_at=before)
        else:
            await DataDownload.objects.all().adelete()
        answers = await asyncio.gather(*(as_alice.post(DATA, form={}) for _ in range(4)))
        assert sorted(answer.status for answer in answers) == [200, 429, 429, 429]


async def test_a_download_and_a_deletion_need_the_password(as_alice: Client) -> None:
    for path in (DATA, DELETE):
        asked = await as_alice.post(path, form={})
        wrong = await as_alice.post(asked.headers["location"], form={"password": "wrong"})
        assert "The password is wrong." in words(parse(wrong.text))
    assert not await DataDownload.objects.aexists()
    assert not await AccountDeletion.objects.aexists()


async def test_a_visitor_gets_neither(visitor: Client) -> None:
    for path in (DATA, DELETE, KEEP):
        for method in ("GET", "POST"):
            answer = await visitor.request(method, path)
            assert answer.headers["location"].startswith("/accounts/login/")


# --- the deletion ---------------------------------------------------------------------------------


async def test_the_settings_lead_to_the_data_and_to_the_deletion(as_alice: Client) -> None:
    assert (await page(as_alice, "/")).one("a", href=DATA).words == "Your data"
    assert (await page(as_alice, DATA)).one("a", href=DELETE).words == "Delete your account"


async def test_the_page_says_what_the_deletion_cannot_reach(as_alice: Client) -> None:
    said = words(await page(as_alice, DELETE))
    for reason in ("Back-ups", "sent elsewhere", "VACUUM", "random id", "7 days after"):
        assert reason in said


async def test_a_deletion_is_asked_for_and_cancelled(as_alice: Client) -> None:
    answer = await confirmed(as_alice, DELETE)
    assert (answer.status, answer.headers["location"]) == (303, DELETE)
    deletion = await AccountDeletion.objects.aget()
    assert deletion.user_id == as_alice.user.pk
    for path in (DATA, DELETE):
        shown = await page(as_alice, path)
        assert "Your account will be deleted on" in shown.one("p", class_="notice").words
        assert not shown.all("button", class_="danger")
    assert (await as_alice.ask("still"))[-1].data == "[DONE]"
    kept = await as_alice.post(KEEP, form={})
    assert (kept.status, kept.headers["location"]) == (303, DATA)
    assert not await AccountDeletion.objects.aexists()
    assert not (await page(as_alice, DATA)).all("p", class_="notice")


async def test_a_letter_tells_of_the_deletion_once(as_alice: Client) -> None:
    await confirmed(as_alice, DELETE)
    await as_alice.post(DELETE, form={})
    [letter] = mail.outbox
    assert letter.to == ["alice@example.org"]
    assert letter.subject == "Your account will be deleted"
    assert "/account/delete/" in str(letter.body)


async def test_the_deletion_is_stored_while_the_mail_server_is_away(
    as_alice: Client, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    assert (await confirmed(as_alice, DELETE)).status == 303
    assert await AccountDeletion.objects.aexists()
    assert "ConnectionRefusedError" in caplog.text


async def test_the_owner_cannot_be_deleted(parley: Any) -> None:
    olga = await sync_to_async(make_user)("olga", is_staff=True, is_superuser=True)
    as_olga = await Client(parley, olga).sign_in()
    shown = await page(as_olga, DELETE)
    assert "Make another member its owner first" in words(shown)
    assert not shown.all("button", class_="danger")
    answer = await confirmed(as_olga, DELETE)
    assert answer.status == 409
    assert "manage.py hand_over" in words(parse(answer.text))
    assert await User.objects.aexists()


async def test_staff_can_delete_their_account(parley: Any, mona: Any) -> None:
    as_mona = await Client(parley, mona).sign_in()
    assert (await confirmed(as_mona, DELETE)).status == 303


async def test_a_download_while_the_account_is_erased_ends(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "ROWS_AT_ONCE", 1)
    for n in range(5):
        await as_alice.ask(str(n))
    await confirmed(as_alice, DATA)
    await DataDownload.objects.aupdate(begun_at=timezone.now() - timedelta(hours=1))
    async with as_alice.open("POST", DATA, form={}) as exchange:
        chunks = exchange.chunks()
        await anext(chunks)
        await Conversation.objects.all().adelete()
        async for _chunk in chunks:
            pass
    with zipfile.ZipFile(io.BytesIO(exchange.body)) as archived:
        assert archived.testzip() is None
