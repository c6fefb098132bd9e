"""Agents with a memory: they find what their member and they have said, and what they have added."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from chat.memories.models import Memory
from chat.memories.remembering import MEMORIES_MAX, MEMORY_MAX, turn_memory
from chat.models import Conversation, Message, Run
from chat.purge import claim_day, purge_some
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Text
from tests.support.moderated import hide, restore
from tests.support.talk import Said, Talk
from tests.support.waiting import auntil

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

KEEPER = '''
from google.adk.agents import Agent
from google.adk.memory.memory_entry import MemoryEntry
from google.adk.tools import ToolContext, load_memory
from google.genai import types

async def note(text: str, tool_context: ToolContext) -> dict:
    """Note."""
    content = types.Content(role="user", parts=[types.Part(text=text)])
    await tool_context.add_memory(memories=[MemoryEntry(content=content, author="keeper")])
    return {"noted": text}

async def erase(text: str, tool_context: ToolContext) -> dict:
    """Erase."""
    found = await tool_context.search_memory(text)
    for memory in found.memories:
        await tool_context.delete_memory(memory.id)
    return {"erased": len(found.memories)}

async def keep_session(callback_context):
    await callback_context.add_session_to_memory()
    await callback_context.add_events_to_memory(events=callback_context.session.events)

root_agent = Agent(
    name="keeper",
    model="gemini-2.5-flash",
    tools=[load_memory, note, erase],
    after_agent_callback=keep_session,
)
'''
PRELOADER = """
from google.adk.agents import Agent
from google.adk.tools import preload_memory

root_agent = Agent(name="preloader", model="gemini-2.5-flash", tools=[preload_memory])
"""


@pytest.fixture(autouse=True)
async def agents(write_agents: WriteAsync) -> None:
    await write_agents({"keeper/agent.py": KEEPER, "preloader/agent.py": PRELOADER})


async def told(client: Client, agent: str, text: str) -> Talk:
    talk = Talk(client)
    assert (await talk.ask(text, agent=agent)).end == "run.completed"
    return talk


async def recall(
    client: Client, gemini: Gemini, query: str, talk: Talk | None = None
) -> list[dict[str, Any]]:
    """Let the keeper load its memory; return what it finds."""
    said = await call(client, gemini, Call("load_memory", {"query": query}), talk)
    [event] = said.named("tool.returned")
    found: list[dict[str, Any]] = event.json()["result"]["result"]["memories"]
    return found


async def call(client: Client, gemini: Gemini, made: Call, talk: Talk | None = None) -> Said:
    gemini.on("Go", [made], [Text("Done.")])
    said = await (talk or Talk(client)).ask("Go", **({} if talk else {"agent": "keeper"}))
    gemini.reset()
    assert said.end == "run.completed"
    return said


def texts(found: list[dict[str, Any]]) -> list[str]:
    return [each["content"]["parts"][0]["text"] for each in found]


# --- conversations --------------------------------------------------------------------------------


async def test_load_memory_finds_question_and_reply_of_another_conversation(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("My cat is Tom", [Text("Tom is a fine cat.")])
    await told(as_alice, "keeper", "My cat is Tom")
    found = await recall(as_alice, gemini, "cat Tom")
    assert [(each["author"], text) for each, text in zip(found, texts(found), strict=True)] == [
        ("keeper", "Tom is a fine cat."),
        ("user", "My cat is Tom"),
    ]
    assert all(each["timestamp"].endswith("Z") and "id" not in each for each in found)


async def test_the_conversation_itself_is_found_but_not_the_question_that_is_being_answered(
    as_alice: Client, gemini: Gemini
) -> None:
    talk = await told(as_alice, "keeper", "Go west")
    gemini.on("Go north", [Call("load_memory", {"query": "go"})], [Text("Done.")])
    said = await talk.ask("Go north")
    [event] = said.named("tool.returned")
    found = texts(event.json()["result"]["result"]["memories"])
    assert sorted(found) == ["Go west", "You said: Go west"]


async def test_another_member_and_another_agent_find_nothing(
    as_alice: Client, as_bob: Client, gemini: Gemini
) -> None:
    await told(as_alice, "keeper", "zanzibar one")
    await told(as_bob, "preloader", "zanzibar two")
    await call(as_alice, gemini, Call("note", {"text": "zanzibar three"}))
    assert await recall(as_bob, gemini, "zanzibar") == []


async def test_a_deleted_conversation_is_not_found_until_it_is_restored(
    as_alice: Client, gemini: Gemini
) -> None:
    talk = await told(as_alice, "keeper", "zanzibar")
    await call(as_alice, gemini, Call("note", {"text": "zanzibar noted"}), talk)
    assert len(await recall(as_alice, gemini, "zanzibar")) == 3
    await as_alice.request("DELETE", f"/api/v1/conversations/{talk.conversation}")
    assert await recall(as_alice, gemini, "zanzibar") == []
    await as_alice.post(f"/api/v1/conversations/{talk.conversation}/restore", {})
    assert len(await recall(as_alice, gemini, "zanzibar")) == 3


async def test_a_purged_conversation_takes_what_was_added_in_it(as_alice: Client, gemini: Gemini) -> None:
    talk = await told(as_alice, "keeper", "zanzibar")
    await call(as_alice, gemini, Call("note", {"text": "zanzibar noted"}), talk)
    await call(as_alice, gemini, Call("note", {"text": "kept"}))
    ago = timezone.now() - timedelta(days=31)
    assert talk.conversation
    await Conversation.objects.filter(pk=talk.conversation).aupdate(deleted_at=ago)

    def purge() -> None:
        record = claim_day(timedelta())
        assert record
        while purge_some(record):
            pass

    await sync_to_async(purge)()
    assert [each.text async for each in Memory.objects.all()] == ["kept"]


async def test_a_hidden_reply_and_what_its_run_added_are_not_found_until_they_are_restored(
    as_alice: Client, gemini: Gemini, mona: Any
) -> None:
    gemini.on("Secret", [Call("note", {"text": "zanzibar noted"})], [Text("zanzibar replied")])
    said = await Talk(as_alice).ask("Secret", agent="keeper")
    assert sorted(texts(await recall(as_alice, gemini, "zanzibar"))) == ["zanzibar noted", "zanzibar replied"]
    await sync_to_async(hide)(said.message)
    assert await recall(as_alice, gemini, "zanzibar") == []
    assert (await as_alice.get("/api/v1/memories")).json()["items"] == []
    await sync_to_async(restore)(said.message)
    assert len(await recall(as_alice, gemini, "zanzibar")) == 2


async def test_a_rare_word_counts_more_than_common_ones(as_alice: Client, gemini: Gemini) -> None:
    await told(as_alice, "keeper", "The cat and the quagga are here")
    for n in range(3):
        await told(as_alice, "keeper", f"The cat is in the house {n}")
    found = texts(await recall(as_alice, gemini, "where is the quagga"))
    assert "quagga" in found[0]
    assert "quagga" in found[1]


@pytest.mark.parametrize(
    "query",
    ["", "  ", "?!…", '"', '"unbalanced', "a AND OR NOT (b) -c *", "NEAR(x, 3)", "'; DROP TABLE x; --",
     "\\", "\ufffd", "👋🏽", "5:zanzibar", "x" * 100_000, "zwei " * 20_000, "{}", "%s %(owner)s", "&|!<->:*"],
)  # fmt: skip
async def test_no_query_is_an_error(as_alice: Client, gemini: Gemini, query: str) -> None:
    await told(as_alice, "keeper", "zanzibar")
    found = await recall(as_alice, gemini, query)
    assert len(found) == (2 if "zanzibar" in query else 0)


@pytest.mark.parametrize(
    ("said", "query"),
    [
        ("私の猫は東京に住んでいます", "東京の天気"),
        ("Мою кошку зовут Мурка", "как зовут КОШКУ"),
        ("قطتي اسمها لولو", "لولو"),
        ("Ich wohne in der Straße", "strasse"),
        ("내 고양이는 서울에 있어요", "서울"),
    ],
)
async def test_words_of_every_script_are_found(
    as_alice: Client, gemini: Gemini, said: str, query: str
) -> None:
    await told(as_alice, "keeper", said)
    assert said in texts(await recall(as_alice, gemini, query))


async def test_a_result_is_limited_in_number_and_length(as_alice: Client, gemini: Gemini) -> None:
    @sync_to_async
    def store() -> None:
        conversation = Conversation.objects.create(owner=as_alice.user, agent="keeper")
        for n in range(30):
            long = f"{'before ' * 500}zanzibar {n}{' after' * 500}"
            Message.objects.create(conversation=conversation, role="user", text=long)

    await store()
    found = texts(await recall(as_alice, gemini, "zanzibar"))
    assert len(found) <= 10
    assert sum(map(len, found)) <= 8_000
    assert all("zanzibar" in each and each.startswith("…") for each in found)
    assert "zanzibar 29" in found[0]  # the newest first


async def test_preload_memory_gives_earlier_conversations_to_the_model(
    as_alice: Client, as_bob: Client, gemini: Gemini
) -> None:
    await told(as_alice, "preloader", "My dog is Rex")
    await told(as_bob, "preloader", "My dog is Fido")
    await told(as_alice, "preloader", "What is my dog called?")
    sent = str(gemini.requests[-1])
    assert "PAST_CONVERSATIONS" in sent
    assert "user: My dog is Rex" in sent
    assert "Fido" not in sent
    assert sent.count("What is my dog called?") == 1  # the question itself is no memory


async def test_a_turn_has_the_same_number_of_queries_with_many_messages(
    as_alice: Client, gemini: Gemini, django_assert_max_num_queries: Any
) -> None:
    from chat.memories.finding import find_memories
    from chat.search.index import index_due

    @sync_to_async
    def store() -> None:
        conversation = Conversation.objects.create(owner=as_alice.user, agent="keeper")
        for n in range(300):
            Message.objects.create(conversation=conversation, role="user", text=f"the word {n}")
        while index_due():
            pass
        with django_assert_max_num_queries(20):
            assert len(find_memories(as_alice.user.pk, "keeper", "the word that I said 299")) == 10

    await store()


# --- what an agent adds ---------------------------------------------------------------------------


async def test_what_an_agent_adds_is_found_first_and_can_be_erased_by_it(
    as_alice: Client, gemini: Gemini
) -> None:
    await call(as_alice, gemini, Call("note", {"text": "Likes zanzibar tea"}))
    await told(as_alice, "keeper", "I drink tea")
    found = await recall(as_alice, gemini, "tea")
    stored = await Memory.objects.aget()
    assert (found[0]["id"], texts(found)[0]) == (str(stored.pk), "Likes zanzibar tea")
    assert stored.run_id is not None
    assert stored.conversation_id is not None
    await call(as_alice, gemini, Call("erase", {"text": "zanzibar"}))
    assert not await Memory.objects.aexists()


async def test_an_agent_cannot_erase_the_memory_of_another_member(
    as_alice: Client, as_bob: Client, gemini: Gemini
) -> None:
    from chat.agent.memory.memory_service import MemberMemoryService

    await call(as_alice, gemini, Call("note", {"text": "tea"}))
    stored = await Memory.objects.aget()
    service = MemberMemoryService()
    bob = str(as_bob.user.pk)
    await service.delete_memory(app_name="keeper", user_id=bob, memory_id=str(stored.pk))
    await service.delete_memory(app_name="other", user_id=str(as_alice.user.pk), memory_id=str(stored.pk))
    assert await Memory.objects.aexists()


async def test_the_same_text_is_stored_once_in_a_conversation(as_alice: Client, gemini: Gemini) -> None:
    talk = Talk(as_alice)
    gemini.on("First", [Call("note", {"text": "tea"})], [Call("note", {"text": "tea"})], [Text("Done.")])
    await talk.ask("First", agent="keeper")
    assert await Memory.objects.acount() == 1


async def test_a_memory_that_is_too_long_is_an_error_for_the_model(as_alice: Client, gemini: Gemini) -> None:
    said = await call(as_alice, gemini, Call("note", {"text": "x" * (MEMORY_MAX + 1)}))
    [event] = said.named("tool.returned")
    assert "at most 2000 characters" in str(event.json())
    assert not await Memory.objects.aexists()


async def test_the_oldest_memories_leave_when_there_are_too_many(as_alice: Client, gemini: Gemini) -> None:
    from chat.memories.remembering import NewMemory, add_memories

    added = [NewMemory(f"note {n}", {"parts": [{"text": f"note {n}"}]}) for n in range(MEMORIES_MAX)]
    await sync_to_async(add_memories)(as_alice.user.pk, "keeper", added)
    first = await Memory.objects.order_by("created_at", "pk").afirst()
    await call(as_alice, gemini, Call("note", {"text": "the newest"}))
    assert await Memory.objects.acount() == MEMORIES_MAX
    assert await Memory.objects.filter(text="the newest").aexists()
    assert first
    assert not await Memory.objects.filter(pk=first.pk).aexists()


async def test_with_memory_off_nothing_is_added_and_nothing_found(as_alice: Client, gemini: Gemini) -> None:
    await told(as_alice, "keeper", "zanzibar")
    await call(as_alice, gemini, Call("note", {"text": "zanzibar noted"}))
    await sync_to_async(turn_memory)(as_alice.user, on=False)
    assert await recall(as_alice, gemini, "zanzibar") == []
    await call(as_alice, gemini, Call("note", {"text": "zanzibar again"}))
    assert await Memory.objects.acount() == 1
    await sync_to_async(turn_memory)(as_alice.user, on=True)
    assert len(await recall(as_alice, gemini, "zanzibar")) == 3


async def test_a_question_that_another_run_is_answering_is_not_found(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("zanzibar", [Text("wait"), Hold()])
    async with as_alice.open(
        "POST", "/chat/stream", json_body={"query": "zanzibar", "agent": "keeper"}
    ) as exchange:
        await exchange.until("run.started")
        await auntil(lambda: Run.objects.filter(status="running").aexists())
        gemini.on("Look", [Call("load_memory", {"query": "zanzibar"})], [Text("Done.")])
        said = await Talk(as_alice).ask("Look", agent="keeper")
        [event] = said.named("tool.returned")
        assert event.json()["result"]["result"]["memories"] == []
        gemini.release()
        await exchange.all_events()
