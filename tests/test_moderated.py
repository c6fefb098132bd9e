"""Members read what moderators decided: in answers of the API, streams, pages, exports and the search."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from chat import lifecycle
from chat.actions import Ask, send_message
from chat.models import Message, PersonRequest, Process, Run
from chat.moderation.models import Decision
from chat.runs.supervisor import supervisor
from chat.runs.sweep import sweep
from tests.agent.test_agents_that_wait import HEAD
from tests.pages.test_my_data import downloaded
from tests.support import moderated
from tests.support.client import Answer, Client
from tests.support.gemini import Call, Gemini, Hold, Text, Thought
from tests.support.moderated import WORDS
from tests.support.pages import see, settled
from tests.support.talk import Talk
from tests.waiting.bank import WriteAsync

hide = sync_to_async(moderated.hide)
restore = sync_to_async(moderated.restore)
lock = sync_to_async(moderated.lock)
unlock = sync_to_async(moderated.unlock)
suspend = sync_to_async(moderated.suspend)
warn = sync_to_async(moderated.warn)
stop = sync_to_async(moderated.stop)
hide_running = sync_to_async(moderated.hide_running)

CANARY = "canary quokka"
TOMBSTONE = "A moderator has hidden this message."


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


@pytest.fixture
async def talk(as_alice: Client, gemini: Gemini) -> Talk:
    """Return a conversation of alice whose question and reply hold the canary, with a plain title."""
    call = Call("calculate", {"expression": "6*7"})
    gemini.on(f"q {CANARY}", [Thought(f"t {CANARY}"), call], [Text(f"**a** {CANARY}")])
    talk = Talk(as_alice)
    await talk.ask(f"q {CANARY}")
    path = f"/api/v1/conversations/{talk.conversation}"
    await as_alice.request("PATCH", path, json_body={"title": "Plain"})
    return talk


async def of_role(role: str) -> str:
    return str((await Message.objects.aget(role=role)).pk)


def path_of(talk: Talk) -> str:
    return f"/chat/{talk.conversation}/"


# --- a hidden message -----------------------------------------------------------------------------


async def test_the_owner_reads_that_a_reply_is_hidden_and_why(talk: Talk) -> None:
    await talk.client.request(
        "PUT", f"/api/v1/messages/{(await talk.reply())['id']}/feedback", json_body={"value": 1}
    )
    await hide(await of_role("assistant"), "illegal")
    question, reply = await talk.messages()
    assert question["hidden"] is None
    assert (reply["text"], reply["parts"], reply["feedback"]) == ("", {"v": 1, "items": []}, None)
    assert (reply["hidden"]["reason"], reply["hidden"]["words"]) == ("illegal", WORDS)
    assert reply["hidden"]["at"].endswith("Z")


async def test_a_message_with_the_mark_is_answered_without_its_text(talk: Talk) -> None:
    await Message.objects.aupdate(hidden_at=timezone.now())  # its text stays in the row
    assert [(each["text"], each["parts"]["items"]) for each in await talk.messages()] == [("", []), ("", [])]


@pytest.mark.parametrize("role", ["user", "assistant"])
async def test_a_hidden_message_is_in_no_answer(talk: Talk, as_alice: Client, role: str) -> None:
    message = await of_role(role)
    await hide(message)
    run = await Run.objects.aget()
    other = "a" if role == "user" else "q"
    own = {"user": "q", "assistant": "a"}[role]
    conversation = f"/api/v1/conversations/{talk.conversation}"
    for path in (
        path_of(talk),
        f"{path_of(talk)}?version={message}",
        f"{path_of(talk)}?message={message}",
        f"{path_of(talk)}?edit={message}",
        f"{path_of(talk)}?feedback={message}",
        conversation,
        f"{conversation}/export?format=markdown&all=true",
        f"{conversation}/export?format=json&all=true",
    ):
        shown = await as_alice.get(path)
        assert shown.status == 200, path
        assert f"{own} {CANARY}" not in shown.text.replace("<strong>", "").replace("</strong>", ""), path
        if role == "assistant":
            assert f"t {CANARY}" not in shown.text, path
            assert "6*7" not in shown.text, path
        assert other in shown.text
    found = (await as_alice.get("/api/v1/search?q=quokka")).json()["items"]
    assert message not in [hit["message"] for hit in found]
    assert (await as_alice.get(f"{path_of(talk)}{message}/text/")).status == 404
    if role == "assistant":
        for query in ("", "?view=html", "?after=3"):
            events = (await as_alice.get(f"/chat/runs/{run.pk}/events{query}")).text
            assert CANARY not in events


async def test_the_log_of_a_hidden_reply_replays_in_its_short_form(talk: Talk, as_alice: Client) -> None:
    run = await Run.objects.aget()
    await hide(await of_role("assistant"))
    replayed = (await as_alice.get(f"/chat/runs/{run.pk}/events")).events
    assert [event.name for event in replayed] == ["run.started", "replace", "run.completed", ""]
    assert (replayed[1].json(), replayed[-1].is_done) == ({"text": ""}, True)
    assert "called" not in replayed[2].json()
    # each reader discards what it has: it reads the replacement, or the start
    for after in range(1, replayed[1].seq):
        rest = (await as_alice.get(f"/chat/runs/{run.pk}/events?after={after}")).events
        assert [event.name for event in rest] == ["replace", "run.completed", ""]


async def test_a_key_sent_again_finds_the_hidden_answer(as_alice: Client) -> None:
    headers = {"idempotency-key": "0190b3a0-0000-7000-8000-000000000001"}
    body = {"query": CANARY, "stream": False}
    await as_alice.post("/chat/stream", body, headers=headers)
    await hide(await of_role("assistant"))
    message = (await as_alice.post("/chat/stream", body, headers=headers)).json()["message"]
    assert (message["text"], message["hidden"]["reason"]) == ("", "harmful")


async def test_a_tombstone_is_in_place_of_a_hidden_reply(talk: Talk, as_alice: Client) -> None:
    await hide(await of_role("assistant"), "illegal", "Look: <b>rule 2</b>.")
    reply = (await see(as_alice, path_of(talk))).all("article")[-1]
    assert TOMBSTONE in reply.words
    assert "It is against the law" in reply.words
    assert reply.one("blockquote").text == "Look: <b>rule 2</b>."
    assert reply.all("button") == []
    assert reply.all("details") == []
    assert reply.get("data-hidden") is not None


async def test_a_hidden_question_is_neither_copied_edited_nor_asked_again(
    talk: Talk, as_alice: Client
) -> None:
    question = await of_role("user")
    await hide(question)
    page = await see(as_alice, f"{path_of(talk)}?edit={question}")
    first, reply = page.all("article")
    assert TOMBSTONE in first.words
    assert first.all("button") == first.all("form") == []
    assert reply.all("button", class_="ask-again") == []
    assert code(await as_alice.post("/chat/stream", {"prompt": question})) == (409, "hidden")
    edited = await as_alice.post(f"{path_of(talk)}{question}/edit/", form={"query": "x"})
    assert edited.status == 409
    assert "A moderator has hidden this question." in edited.text


async def test_a_hidden_question_without_a_reply_is_not_retried(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("one", [Text("")])
    talk = Talk(as_alice)
    await talk.ask("one")
    await hide(await of_role("user"))
    page = await see(as_alice, path_of(talk))
    assert "The model answered with nothing." in page.one("div", id="messages").words
    assert page.one("div", id="messages").all("button") == []


async def test_a_hidden_reply_takes_no_feedback(talk: Talk, as_alice: Client) -> None:
    reply = await of_role("assistant")
    await hide(reply)
    path = f"/api/v1/messages/{reply}/feedback"
    assert code(await as_alice.request("PUT", path, json_body={"value": 1})) == (404, "not_found")
    assert (await as_alice.post(f"{path_of(talk)}{reply}/feedback/", form={"value": "1"})).status == 404
    assert (await Message.objects.aget(pk=reply)).feedback is None


async def test_a_version_beside_a_hidden_reply_can_be_chosen(talk: Talk, as_alice: Client) -> None:
    hidden, question = await of_role("assistant"), await of_role("user")
    await as_alice.post("/chat/stream", {"prompt": question})
    await hide(hidden)
    shown = await see(as_alice, f"{path_of(talk)}?version={hidden}")
    assert "version" in shown.words
    chosen = await as_alice.post(f"{path_of(talk)}branch/", form={"message": hidden})
    assert chosen.status == 303
    reply = (await see(as_alice, path_of(talk))).all("article")[-1]
    assert TOMBSTONE in reply.words
    assert len(reply.one("span", class_="pager").all("button")) == 2


async def test_a_restored_message_is_shown_again(talk: Talk, as_alice: Client) -> None:
    reply = await of_role("assistant")
    await hide(reply)
    await restore(reply)
    page = await see(as_alice, path_of(talk))
    assert CANARY in page.all("article")[-1].one("div", class_="prose").text
    assert (await talk.reply())["hidden"] is None


async def test_exports_name_a_hidden_message(talk: Talk, as_alice: Client) -> None:
    await hide(await of_role("assistant"))
    conversation = f"/api/v1/conversations/{talk.conversation}"
    assert f"*{TOMBSTONE}*" in (await as_alice.get(f"{conversation}/export")).text
    found = (await as_alice.get(f"{conversation}/export?format=json")).json()
    assert [each["hidden"] is not None for each in found["messages"]] == [False, True]


@pytest.mark.usefixtures("fresh_limits")
async def test_the_archive_names_a_hidden_message(talk: Talk, as_alice: Client) -> None:
    await Message.objects.filter(role="assistant").aupdate(hidden_at=timezone.now(), hidden_reason="illegal")
    files = await downloaded(as_alice)
    assert TOMBSTONE in files[f"conversations/{talk.conversation}.html"]
    assert f"a {CANARY}" not in "".join(files.values())
    hidden = [each for each in json.loads(files["data/messages.json"]) if each["hidden_at"]]
    assert [(each["text"], each["hidden_reason"]) for each in hidden] == [("", "illegal")]


async def test_a_request_of_a_hidden_reply_is_closed(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"bank/agent.py": HEAD + "\n    root_agent = one('bank', confirmed)\n"})
    gemini.on("Pay.", [Call("transfer_money", {"amount": 12345})])
    talk = Talk(as_alice)
    await talk.ask("Pay.", agent="bank")
    request = str((await PersonRequest.objects.aget()).pk)
    await hide((await talk.reply())["id"])
    found = (await as_alice.get(f"/api/v1/conversations/{talk.conversation}")).json()
    assert (found["waiting"], found["is_waiting"]) == ([], False)
    body = {"conversation": talk.conversation, "answers": [{"id": request, "decision": "approve"}]}
    assert code(await as_alice.post("/chat/stream", body)) == (409, "lapsed")
    assert "12345" not in (await as_alice.get(path_of(talk))).text


# --- a run that a moderator stops -----------------------------------------------------------------


async def test_a_running_answer_that_a_moderator_stops_ends_with_the_code(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("shown"), Hold(), Text(" never")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as stream:
        started = (await stream.until("text"))[0].json()
        await stop(started["run"])
        rest = await stream.all_events()
    assert (rest[-2].name, rest[-2].json()["code"]) == ("run.stopped", "moderated")
    assert rest[-2].json()["detail"] == "A moderator stopped this answer."
    page = await settled(as_alice, f"/chat/{started['conversation']}/")
    assert "A moderator stopped this answer." in page.one("div", id="messages").words
    assert page.all("button", class_="ask-again") == []


@sync_to_async
def queued_run(owner: Any) -> uuid.UUID:
    """Return a run that no process executes."""
    return send_message(owner, Ask(query="q"), agents=["chat_assistant"]).pk


@pytest.mark.parametrize("view", ["", "?view=html"])
async def test_an_answer_that_is_hidden_while_it_is_written_ends_without_its_text(
    as_alice: Client, gemini: Gemini, view: str
) -> None:
    gemini.on("slow", [Text(CANARY), Hold(), Text(" never")])
    async with as_alice.open("POST", f"/chat/stream{view}", json_body={"query": "slow"}) as stream:
        started = (await stream.until(lambda seen: CANARY in seen[-1].data))[0].json()
        await hide_running(started["run"])
        rest = await stream.all_events()
    gemini.release()
    assert [event.name for event in rest if event.name != "html"] == ["replace", "run.stopped", ""]
    assert (rest[0].json(), rest[-2].json()["code"]) == ({"text": ""}, "moderated")
    assert "never" not in "".join(event.data for event in rest)
    if view:
        assert rest[1].json() == {"from": 0, "closed": [], "keep": 0, "open": ""}
    page = await settled(as_alice, f"/chat/{started['conversation']}/")
    assert TOMBSTONE in page.all("article")[-1].words
    assert CANARY not in page.words


async def test_a_queued_run_that_a_moderator_stops_ends_with_the_code(alice: Any) -> None:
    run = await queued_run(alice)
    await stop(run)
    await sync_to_async(lifecycle.stop_queued)(run)
    ended = await Run.objects.aget(pk=run)
    assert (ended.status, ended.code) == ("stopped", "moderated")


@sync_to_async
@transaction.atomic  # or the sweep of the running supervisor is first
def orphaned_run(owner: Any, process: Process) -> uuid.UUID:
    """Return a run of a dead process that a moderator stops."""
    run = send_message(owner, Ask(query="q"), agents=["chat_assistant"]).pk
    assert lifecycle.claim(run, process.pk)
    moderated.stop(run)
    return run


async def test_an_orphan_that_a_moderator_stops_ends_with_the_code(as_alice: Client) -> None:
    process = await Process.objects.acreate(
        host="h", pid=1, boot_id="b", version="v", heartbeat_at=timezone.now() - timedelta(days=1)
    )
    run = await orphaned_run(as_alice.user, process)
    await sweep(supervisor)
    await supervisor.idle()
    ended = await Run.objects.aget(pk=run)
    assert (ended.status, ended.code) == ("stopped", "moderated")


async def test_a_deletion_keeps_its_own_code(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("shown"), Hold()])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as stream:
        started = (await stream.until("text"))[0].json()
        await Run.objects.aupdate(stop_code="moderated")
        await as_alice.request("DELETE", f"/api/v1/conversations/{started['conversation']}")
        rest = await stream.all_events()
    assert rest[-2].json()["code"] == "deleted"


async def test_an_answer_that_its_owner_stops_has_no_code(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("shown"), Hold()])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as stream:
        started = (await stream.until("text"))[0].json()
        await as_alice.post(f"/chat/runs/{started['run']}/stop")
        rest = await stream.all_events()
    assert rest[-2].json()["code"] is None


# --- a locked conversation ------------------------------------------------------------------------


async def test_a_lock_is_in_the_conversation_and_in_the_refusal(talk: Talk, as_alice: Client) -> None:
    path = f"/api/v1/conversations/{talk.conversation}"
    assert (await as_alice.get(path)).json()["locked"] is None
    await lock(talk.conversation)
    found = (await as_alice.get(path)).json()["locked"]
    assert (found["reason"], found["words"]) == ("illegal", WORDS)
    listed = (await as_alice.get("/api/v1/conversations")).json()["items"]
    assert [each["locked"] for each in listed] == [found]
    refused = await as_alice.post("/chat/stream", {"query": "more", "conversation": talk.conversation})
    assert code(refused) == (423, "locked")
    assert refused.json()["error"]["locked"] == found
    await unlock(talk.conversation)
    assert (await as_alice.get(path)).json()["locked"] is None


async def test_the_page_of_a_locked_conversation_says_why_and_offers_nothing(
    talk: Talk, as_alice: Client
) -> None:
    await lock(talk.conversation, words="See <b>rule 1</b>.")
    page = await see(as_alice, path_of(talk))
    notice = page.one("div", id="standing")
    assert "A moderator has locked this conversation." in notice.words
    assert "It is against the law" in notice.words
    assert notice.one("blockquote").text == "See <b>rule 1</b>."
    assert notice.one("time")
    assert notice.get("data-closed") is not None
    assert page.one("form", id="composer").get("hidden") is None  # styles hide it: a script may show it again
    for name in ("edit-question", "ask-again"):
        assert page.all("button", class_=name) == []
    assert len(page.all("button", class_="rate")) == 2
    other = await see(as_alice, "/")
    assert other.one("div", id="standing").get("data-closed") is None


async def test_a_request_in_a_locked_conversation_waits_until_it_is_unlocked(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"bank/agent.py": HEAD + "\n    root_agent = one('bank', confirmed)\n"})
    gemini.on("Pay.", [Call("transfer_money", {"amount": 5})])
    talk = Talk(as_alice)
    await talk.ask("Pay.", agent="bank")
    await lock(talk.conversation)
    page = await see(as_alice, path_of(talk))
    assert page.all("form", class_="requests") == []
    assert "It can be answered when the conversation is unlocked." in page.all("article")[-1].words
    await unlock(talk.conversation)
    assert len((await see(as_alice, path_of(talk))).all("form", class_="requests")) == 1


# --- a suspended or warned member -----------------------------------------------------------------


async def test_a_suspended_member_reads_until_when_and_why(talk: Talk, as_alice: Client) -> None:
    await suspend(as_alice.user)
    for path in ("/", path_of(talk), f"{path_of(talk)}?before={await of_role('assistant')}"):
        notice = (await see(as_alice, path)).one("div", id="standing")
        assert "Your account is suspended until" in notice.words, path
        assert "It is harmful or dangerous" in notice.words
        assert notice.get("data-closed") is not None
    page = await see(as_alice, path_of(talk))
    for name in ("edit-question", "ask-again"):
        assert page.all("button", class_=name) == []
    refused = (await as_alice.post("/chat/stream", {"query": "x"})).json()["error"]
    decision = str((await Decision.objects.aget()).pk)
    assert (refused["code"], refused["reason"], refused["decision"]) == ("suspended", "harmful", decision)


async def test_a_suspended_member_sees_open_requests_without_a_form(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"bank/agent.py": HEAD + "\n    root_agent = one('bank', confirmed)\n"})
    gemini.on("Pay.", [Call("transfer_money", {"amount": 5})])
    talk = Talk(as_alice)
    await talk.ask("Pay.", agent="bank")
    await suspend(as_alice.user)
    page = await see(as_alice, path_of(talk))
    assert page.all("form", class_="requests") == []
    assert "You can decide when your suspension has ended." in page.all("article")[-1].words


async def test_a_suspension_that_has_ended_is_not_shown(talk: Talk, as_alice: Client) -> None:
    await suspend(as_alice.user)
    await User.objects.aupdate(suspended_until=timezone.now() - timedelta(seconds=1))
    notice = (await see(as_alice, path_of(talk))).one("div", id="standing")
    assert notice.words == ""
    assert notice.get("data-closed") is None


async def test_a_warned_member_reads_it_and_keeps_the_message_field(talk: Talk, as_alice: Client) -> None:
    await warn(as_alice.user)
    notice = (await see(as_alice, path_of(talk))).one("div", id="standing")
    assert "A moderator has warned you." in notice.words
    assert notice.get("data-closed") is None


async def test_other_members_read_nothing_of_it(talk: Talk, as_alice: Client, as_bob: Client) -> None:
    await suspend(as_alice.user)
    await warn(as_alice.user)
    assert (await see(as_bob, "/")).one("div", id="standing").words == ""


async def test_a_decision_reaches_an_open_socket(talk: Talk, as_alice: Client) -> None:
    async with as_alice.socket() as socket:
        await socket.opened()
        await hide(await of_role("assistant"))
        frames: list[dict[str, Any]] = await socket.frames(2)
    assert {"type": "decision", "conversation": None} in frames
    assert {"type": "conversation", "conversation": talk.conversation} in frames
