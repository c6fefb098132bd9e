"""A hidden message: neither its owner nor the agent meets its words again, until it is restored.

Each place that can hold words has a canary: question, reply, thought, arguments and result of a tool, title,
file name, and the state of three scopes.
"""

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat.agent.agents import catalog
from chat.models import AppState, Conversation, Message, PersonRequest, Run, RunEvent, SessionEvent, UserState
from chat.moderation import decisions
from chat.moderation.decisions import Why
from chat.moderation.models import AuditEvent, Decision, HiddenMessage, HiddenRun, HiddenTitle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Pause, Text, Thought
from tests.support.sse_client import SseEvent, text_of
from tests.support.talk import Talk
from tests.support.waiting import auntil

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

# A tool that leaves its words wherever a tool can.
KEEPER = '''
from google.adk.agents import Agent
from google.adk.tools import FunctionTool, ToolContext, load_artifacts
from google.genai import types

async def keep(word: str, tool_context: ToolContext) -> dict:
    """Keep."""
    tool_context.state["own"] = "zzstate" + word
    tool_context.state["user:theirs"] = "zzuserstate" + word
    tool_context.state["app:ours"] = "zzappstate" + word
    await tool_context.save_artifact("zzfile" + word + ".txt", types.Part(text="zzcontent" + word))
    return {"said": "zzresult" + word}

async def look(tool_context: ToolContext) -> dict:
    """Look."""
    state = {key: tool_context.state.get(key) for key in ("own", "user:theirs", "app:ours")}
    return {"state": state, "files": await tool_context.list_artifacts()}

def send(to: str, tool_context: ToolContext) -> dict:
    """Send."""
    return {"sent": "to " + to}

root_agent = Agent(
    name="keeper", model="gemini-2.5-flash", instruction="Keep.",
    tools=[keep, look, load_artifacts, FunctionTool(send, require_confirmation=True)],
)
'''
WORDS = (
    "zzquestion", "zzreply", "zzthought", "zzargument", "zzresult", "zzfile", "zzstate", "zzuserstate",
    "zzappstate",
)  # fmt: skip


async def ask_secret(talk: Talk, gemini: Gemini) -> Any:
    gemini.on(
        "zzquestion one",
        [Thought("zzthought one"), Call("keep", {"word": "zzargument"})],
        [Text("zzreply one. "), Text("It goes on for a while, zzreply.")],
    )
    return await talk.ask("zzquestion one", **({} if talk.conversation else {"agent": "keeper"}))


@pytest.fixture
async def talk(write_agents: WriteAsync, as_alice: Client, gemini: Gemini) -> Talk:
    """Return a conversation of alice whose first answer has all the words, and a second one without."""
    await write_agents({"keeper/agent.py": KEEPER})
    talk = Talk(as_alice)
    await ask_secret(talk, gemini)
    gemini.on("two", [Text("Second.")])
    await talk.ask("two")
    return talk


async def first(role: str) -> Message:
    found = Message.objects.filter(role=role).select_related("conversation").order_by("created_at", "id")
    message = await found.afirst()
    assert message
    return message


async def hide(mona: Any, message: Message, words: str = "Not here.") -> Decision:
    return await sync_to_async(decisions.hide_message)(mona, message, Why("harmful", words, "private note"))


async def take_back(mona: Any, decision: Decision) -> None:
    await sync_to_async(decisions.take_back)(mona, decision)


async def all_shown(client: Client, talk: Talk) -> dict[str, str]:
    """Return everything that the member can read, by address."""
    found: dict[str, str] = {}

    async def get(path: str, **headers: str) -> None:
        answer = await client.get(path, headers=headers or None)
        found[path + str(headers or "")] = answer.text + str(answer.headers)

    chat = f"/chat/{talk.conversation}"
    api = f"/api/v1/conversations/{talk.conversation}"
    for path in (
        "/",
        f"{chat}/",
        api,
        "/api/v1/conversations",
        "/chat/list/",
        "/waiting/",
        "/api/v1/requests",
    ):
        await get(path)
    for kind in ("markdown", "json"):
        await get(f"{api}/export?format={kind}")
        await get(f"{api}/export?format={kind}&all=true")
    for word in WORDS:
        await get(f"/api/v1/search?q={word}")
        await get(f"/chat/hits?find={word}")
        # what was asked for is on the page of results
        found[f"/chat/hits?find={word}"] = found[f"/chat/hits?find={word}"].replace(word, "", 3)
    for pk in [pk async for pk in Message.objects.values_list("pk", flat=True)]:
        await get(f"{chat}/{pk}/text/")
        await get(f"{chat}/?version={pk}")
        await get(f"{chat}/?edit={pk}")
    async for run in Run.objects.all():
        await get(f"/api/v1/runs/{run.pk}")
        for after in range(run.last_seq + 2):
            await get(f"/chat/runs/{run.pk}/events?after={after}")
            await get(f"/chat/runs/{run.pk}/events?after={after}&view=html")
            await get(f"/chat/runs/{run.pk}/events", **{"last-event-id": f"{run.pk}:{after}"})
    return found


def leaks(shown: dict[str, str], words: tuple[str, ...] = WORDS) -> set[str]:
    return {f"{word} at {path}" for path, text in shown.items() for word in words if word in text}


def met(shown: dict[str, str]) -> set[str]:
    """Return the words that stand anywhere."""
    return {word for word in WORDS if any(word in text for text in shown.values())}


async def wire_after(talk: Talk, gemini: Gemini, question: str = "three") -> str:
    """Return what the model receives with the next question."""
    gemini.on(question, [Call("look")], [Text("Third.")])
    sent = len(gemini.requests)
    await talk.ask(question)
    return json.dumps(gemini.requests[sent:])


# --- hiding and restoring -------------------------------------------------------------------------


async def test_all_words_are_met_before(talk: Talk, as_alice: Client, gemini: Gemini) -> None:
    """Otherwise the tests below would prove nothing."""
    assert met(await all_shown(as_alice, talk)) == {word for word in WORDS if "state" not in word}
    wire = await wire_after(talk, gemini)
    assert {word for word in WORDS if word in wire} >= set(WORDS) - {"zzthought"}


async def test_no_word_of_a_hidden_turn_is_met_again(
    talk: Talk, as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    await hide(mona, await first("user"))
    await hide(mona, await first("assistant"))
    assert leaks(await all_shown(as_alice, talk)) == set()
    wire = await wire_after(talk, gemini)
    assert {word for word in WORDS if word in wire} == set()
    assert "Second." in wire
    assert leaks(await all_shown(as_alice, talk)) == set()


async def test_after_restoring_all_words_are_back(
    talk: Talk, as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    before = await all_shown(as_alice, talk)
    both = [await hide(mona, await first(role)) for role in ("assistant", "user")]
    for decision in both:
        await take_back(mona, decision)
    after = await all_shown(as_alice, talk)
    same = [path for path in before if "/events" not in path and "message" not in path]
    assert met(after) == met(before)
    for path in same:
        if path.startswith("/api/v1/conversations/") and "export" not in path:
            assert (
                json.loads(after[path].split("{'")[0])["messages"]
                == (json.loads(before[path].split("{'")[0])["messages"])
            )
    wire = await wire_after(talk, gemini)
    assert {word for word in WORDS if word in wire} >= set(WORDS) - {"zzthought"}
    for model in (HiddenMessage, HiddenRun, HiddenTitle):
        assert not await model._default_manager.aexists()


async def test_a_hidden_question_is_not_shown_while_its_answer_is(
    talk: Talk, as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    await hide(mona, await first("user"))
    shown = await all_shown(as_alice, talk)
    assert leaks(shown, ("zzquestion",)) == set()
    assert "zzreply" in shown[f"/chat/{talk.conversation}/"]
    assert "zzquestion" not in await wire_after(talk, gemini)


async def test_an_automatic_title_becomes_the_date_and_ones_own_stays(
    talk: Talk, as_alice: Client, mona: Any
) -> None:
    decision = await hide(mona, await first("assistant"))
    found = await Conversation.objects.aget()
    assert found.title == (await HiddenTitle.objects.aget()).shown != "zzquestion one"
    await take_back(mona, decision)
    assert (await Conversation.objects.aget()).title == "zzquestion one"
    await as_alice.request("PATCH", f"/api/v1/conversations/{found.pk}", json_body={"title": "My own"})
    await hide(mona, await first("assistant"))
    assert (await Conversation.objects.aget()).title == "My own"


async def test_what_is_hidden_is_kept_for_staff(talk: Talk, mona: Any) -> None:
    reply = await first("assistant")
    decision = await hide(mona, reply)
    kept = await HiddenMessage.objects.aget(pk=reply.pk)
    assert (kept.text, kept.parts) == (reply.text, reply.parts)
    assert any("zzargument" in payload for payload in (await HiddenRun.objects.aget()).payloads)
    assert not await SessionEvent.objects.filter(run__reply=reply).aexists()
    assert decision.note == "private note"


async def test_hiding_again_changes_nothing(talk: Talk, mona: Any) -> None:
    reply = await first("assistant")
    decision = await hide(mona, reply)
    rows = await AuditEvent.objects.acount()
    assert await hide(mona, reply, "Other words.") == decision
    assert await AuditEvent.objects.acount() == rows
    assert (await first("assistant")).hidden_words == "Not here."


async def test_a_value_that_was_set_anew_since_is_not_hidden(talk: Talk, mona: Any, gemini: Gemini) -> None:
    gemini.on("anew", [Call("keep", {"word": "other"})], [Text("Kept.")])
    await talk.ask("anew")
    await hide(mona, await first("assistant"))
    wire = await wire_after(talk, gemini)
    assert {"zzstateother", "zzuserstateother", "zzappstateother"} <= {
        word for word in ("zzstateother", "zzuserstateother", "zzappstateother") if word in wire
    }
    assert "zzstatezzargument" not in wire
    assert await UserState.objects.filter(key="theirs").aexists()
    assert await AppState.objects.filter(key="ours").aexists()


async def test_a_value_is_again_as_it_was_before_the_hidden_turn(
    write_agents: WriteAsync, as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    await write_agents({"keeper/agent.py": KEEPER})
    talk = Talk(as_alice)
    gemini.on("before", [Call("keep", {"word": "before"})], [Text("Kept.")])
    await talk.ask("before", agent="keeper")
    await ask_secret(talk, gemini)
    hidden = await Message.objects.select_related("conversation").aget(pk=(await talk.reply())["id"])
    gemini.on("two", [Text("Second.")])
    await talk.ask("two")
    await hide(mona, hidden)
    wire = await wire_after(talk, gemini)
    assert "zzstatebefore" in wire
    assert "zzstatezzargument" not in wire


async def test_the_same_value_and_file_in_another_conversation_stay(
    talk: Talk, as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    reply = await first("assistant")
    other = Talk(as_alice)
    await ask_secret(other, gemini)
    await hide(mona, reply)
    wire = await wire_after(other, gemini)
    assert "zzstatezzargument" in wire
    assert "zzfilezzargument.txt" in wire
    assert "zzfilezzargument.txt" not in await wire_after(talk, gemini)


async def test_a_request_of_a_hidden_reply_can_no_longer_be_decided_and_comes_back_with_it(
    talk: Talk, as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    gemini.on("send", [Call("send", {"to": "zzrecipient"})])
    await talk.ask("send")
    request = await PersonRequest.objects.aget()
    reply = await Message.objects.select_related("conversation").aget(pk=(await talk.reply())["id"])
    decision = await hide(mona, reply)
    assert leaks(await all_shown(as_alice, talk), ("zzrecipient",)) == set()
    body = {"conversation": talk.conversation, "answers": [{"id": str(request.pk), "decision": "approve"}]}
    assert (await as_alice.post("/chat/stream", body)).status == 409
    await take_back(mona, decision)
    gemini.on("send", [Text("Sent.")])
    assert (await talk.ask(answers=body["answers"])).end == "run.completed"


async def test_a_turn_that_goes_on_after_a_hidden_request_is_left_out_of_the_context(
    talk: Talk, mona: Any, gemini: Gemini
) -> None:
    """Models refuse the result of a call that they do not see."""
    gemini.on("send", [Call("send", {"to": "zzrecipient"})])
    await talk.ask("send")
    asked = (await talk.reply())["id"]
    request = await PersonRequest.objects.aget()
    gemini.on("send", [Text("zzsent.")])
    await talk.ask(answers=[{"id": str(request.pk), "decision": "approve"}])
    await hide(mona, await Message.objects.select_related("conversation").aget(pk=asked))
    wire = await wire_after(talk, gemini)
    assert "zzrecipient" not in wire
    assert "functionResponse" not in wire.split("look")[0] or "zzsent" not in wire


async def test_a_hidden_question_is_not_asked_again(talk: Talk, as_alice: Client, mona: Any) -> None:
    question = await first("user")
    await hide(mona, question)
    answer = await as_alice.post("/chat/stream", {"prompt": str(question.pk)})
    assert (answer.status, answer.json()["error"]["code"]) == (409, "hidden")


COMPACTED = """
from google.adk.agents import Agent
from google.adk.apps import App
from google.adk.apps.app import EventsCompactionConfig

app = App(
    name="shortens", root_agent=Agent(name="shortens", model="gemini-2.5-flash"),
    events_compaction_config=EventsCompactionConfig(compaction_interval=2, overlap_size=0),
)
"""


async def test_a_summary_that_covers_a_hidden_turn_is_not_given_to_the_model(
    write_agents: WriteAsync, as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    await write_agents({"shortens/agent.py": COMPACTED})
    talk = Talk(as_alice)
    gemini.on("one", [Text("First.")])
    gemini.on("two", [Text("zzreply")])
    await talk.ask("one", agent="shortens")
    await talk.ask("two")

    def compacted() -> bool:
        return SessionEvent.objects.filter(payload__contains='"compaction"').exists()

    await auntil(sync_to_async(compacted))
    payload = await SessionEvent.objects.aget(payload__contains='"compaction"')
    await SessionEvent.objects.filter(pk=payload.pk).aupdate(
        payload=payload.payload.replace('"text":"', '"text":"zzsummary ', 1)
    )
    gemini.on("three", [Text("Third.")])
    sent = len(gemini.requests)
    await talk.ask("three")
    assert "zzsummary" in json.dumps(gemini.requests[sent:])
    replies = Message.objects.filter(role="assistant").select_related("conversation").order_by("created_at")
    hidden = [each async for each in replies][1]
    await hide(mona, hidden)
    gemini.on("four", [Text("Fourth.")])
    sent = len(gemini.requests)
    await talk.ask("four")
    wire = json.dumps(gemini.requests[sent:])
    assert "zzsummary" not in wire
    assert "zzreply" not in wire


# --- while it is written --------------------------------------------------------------------------


async def test_a_reply_that_is_hidden_while_it_is_written_ends_at_once_and_without_its_text(
    as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("zzbefore "), Hold(), Text("zzafter")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as stream:
        seen = await stream.until("text")
        run = await Run.objects.aget()
        decision = await sync_to_async(decisions.hide_running)(mona, run, Why("harmful", "Stop."))
        seen += await stream.all_events()
    gemini.release()
    assert [event.name for event in seen[-3:-1]] == ["replace", "run.stopped"]
    assert seen[-1].is_done
    assert text_of(seen) == ""
    end = seen[-2].json()
    assert (end["code"], end["message"]) == ("moderated", str(decision.message_id))
    replayed = (await as_alice.get(f"/chat/runs/{run.pk}/events")).text
    assert "zz" not in replayed
    found = await Message.objects.aget(pk=decision.message_id or uuid.UUID(int=0))
    assert (found.text, found.hidden_reason) == ("", "harmful")
    assert (await HiddenMessage.objects.aget()).text == "zzbefore "
    assert await RunEvent.objects.filter(run=run).acount() == 3


@pytest.mark.parametrize("cut", range(6))
async def test_a_reader_at_any_place_gets_the_same_short_end(
    cut: int, as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    gemini.on("slow", [*(step for n in range(4) for step in (Text(f"zz{n} "), Pause(0.15))), Hold()])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as stream:
        seen: list[SseEvent] = []
        async for event in stream.events():
            seen.append(event)
            if len(seen) > min(cut, 4):
                break
        run = await Run.objects.aget()
        await sync_to_async(decisions.hide_running)(mona, run, Why("harmful"))
        seen += await stream.all_events()
    gemini.release()
    assert text_of(seen) == ""
    assert seen[-1].is_done
    assert seen[-2].json()["code"] == "moderated"


async def test_an_answer_that_has_written_nothing_is_stopped(
    as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    gemini.on("slow", [Hold(), Text("never")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as stream:
        await stream.until("run.started")
        run = await Run.objects.aget()
        decision = await sync_to_async(decisions.hide_running)(mona, run, Why("harmful"))
        seen = await stream.all_events()
    gemini.release()
    assert decision.kind == "stop"
    assert seen[-2].json()["code"] == "moderated"


async def test_the_conversation_goes_on_after_a_hidden_reply(
    as_alice: Client, mona: Any, gemini: Gemini
) -> None:
    talk = Talk(as_alice)
    gemini.on("bad", [Text("zzbad")])
    await talk.ask("bad")
    await hide(mona, await first("assistant"))
    gemini.on("next", [Text("Fine.")])
    assert (await talk.ask("next")).text == "Fine."
    assert [each["text"] for each in await talk.messages()] == ["bad", "", "next", "Fine."]


async def test_no_version_of_a_hidden_run_is_loaded_and_it_comes_back(
    write_agents: WriteAsync, as_alice: Client, alice: Any, mona: Any, gemini: Gemini
) -> None:
    await write_agents({"keeper/agent.py": KEEPER})
    talk = Talk(as_alice)
    await ask_secret(talk, gemini)
    ids = {"app_name": "keeper", "user_id": str(alice.pk), "session_id": talk.conversation}
    name = "zzfilezzargument.txt"
    service: Any = catalog.artifact_service
    assert await service.list_versions(**ids, filename=name) == [0]
    decision = await hide(mona, await first("assistant"))
    assert await service.load_artifact(**ids, filename=name) is None
    assert await service.load_artifact(**ids, filename=name, version=0) is None
    assert await service.list_artifact_keys(**ids) == []
    await take_back(mona, decision)
    loaded = await service.load_artifact(**ids, filename=name, version=0)
    assert loaded.text == "zzcontentzzargument"
