"""The contract of a memory service: what ADK's in-memory service and Parley's both promise.

ADK's needs an event to be added; Parley's has the message already, so the same events are stored as messages.
"""

from typing import Any, Protocol

import pytest
from asgiref.sync import sync_to_async
from google.adk.events import Event
from google.adk.memory import BaseMemoryService, InMemoryMemoryService
from google.adk.memory.memory_entry import MemoryEntry
from google.adk.sessions import Session
from google.genai import types

from chat.agent.memory.memory_service import MemberMemoryService
from chat.memories.models import Memory
from chat.models import Conversation, Message

pytestmark = pytest.mark.django_db(transaction=True)

APP, OTHER_APP = "keeper", "other"


class Said(Protocol):
    """A store of what members have said: users are 0 and 1."""

    users: tuple[str, str]

    @property
    def service(self) -> BaseMemoryService: ...

    async def say(self, user: int, app: str, *texts: str) -> None: ...


class Added:
    """ADK's own service: sessions are added."""

    def __init__(self) -> None:
        self.service = InMemoryMemoryService()
        self.users = ("one", "two")
        self.sessions = 0

    async def say(self, user: int, app: str, *texts: str) -> None:
        self.sessions += 1
        session = Session(
            id=f"s{self.sessions}",
            app_name=app,
            user_id=self.users[user],
            events=[event(text) for text in texts],
        )
        await self.service.add_session_to_memory(session)


class Stored:
    """Parley's: messages are there; adding their session too changes nothing."""

    def __init__(self, *members: Any) -> None:
        self.service = MemberMemoryService()
        self.members = members
        self.users = (str(members[0].pk), str(members[1].pk))

    async def say(self, user: int, app: str, *texts: str) -> None:
        conversation = await sync_to_async(self._store)(user, app, texts)
        session = Session(
            id=str(conversation.pk),
            app_name=app,
            user_id=self.users[user],
            events=[event(text) for text in texts],
        )
        await self.service.add_session_to_memory(session)
        await self.service.add_events_to_memory(app_name=app, user_id=self.users[user], events=session.events)

    def _store(self, user: int, app: str, texts: tuple[str, ...]) -> Conversation:
        conversation = Conversation.objects.create(owner=self.members[user], agent=app)
        for text in texts:
            Message.objects.create(conversation=conversation, role="user", text=text)
        return conversation


def event(text: str) -> Event:
    return Event(author="user", content=types.Content(role="user", parts=[types.Part(text=text)]))


@pytest.fixture(params=["adk", "parley"])
def said(request: pytest.FixtureRequest) -> Said:
    if request.param == "adk":
        return Added()
    return Stored(request.getfixturevalue("alice"), request.getfixturevalue("bob"))


async def search(said: Said, query: str, user: int = 0, app: str = APP) -> list[str]:
    found = await said.service.search_memory(app_name=app, user_id=said.users[user], query=query)
    return [each.content.parts[0].text or "" for each in found.memories if each.content.parts]


async def test_text_is_found_by_any_of_its_words_in_any_case(said: Said) -> None:
    await said.say(0, APP, "My cat is called Tom", "It rains")
    assert await search(said, "what about the CAT") == ["My cat is called Tom"]


async def test_text_without_a_word_of_the_query_is_not_found(said: Said) -> None:
    await said.say(0, APP, "My cat is called Tom")
    assert await search(said, "dogs") == []
    assert await search(said, "ca") == []


async def test_an_empty_query_finds_nothing(said: Said) -> None:
    await said.say(0, APP, "My cat is called Tom")
    assert await search(said, "") == []
    assert await search(said, " ?! ") == []


async def test_users_and_apps_are_apart(said: Said) -> None:
    await said.say(0, APP, "tea of one")
    await said.say(1, APP, "tea of two")
    await said.say(0, OTHER_APP, "tea of another app")
    assert await search(said, "tea") == ["tea of one"]
    assert await search(said, "tea", user=1) == ["tea of two"]
    assert await search(said, "tea", app=OTHER_APP) == ["tea of another app"]


@pytest.mark.parametrize("user", ["nobody", "", "99999999", "9" * 40, "-1", "٣"])
async def test_an_unknown_user_has_no_memory(said: Said, user: str) -> None:
    await said.say(0, APP, "tea")
    found = await said.service.search_memory(app_name=APP, user_id=user, query="tea")
    assert found.memories == []
    await said.service.delete_memory(app_name=APP, user_id=user, memory_id="x")


async def test_an_unknown_app_has_no_memory(said: Said) -> None:
    await said.say(0, APP, "tea")
    assert await search(said, "tea", app="unknown") == []


async def test_text_that_shares_more_words_comes_first_and_ten_at_most_are_returned(said: Said) -> None:
    await said.say(0, APP, *(f"green tea {n}" for n in range(20)), "green tea with lemon")
    found = await search(said, "green tea lemon")
    assert len(found) == 10
    assert found[0] == "green tea with lemon"


async def test_adding_a_session_again_finds_its_text_once(said: Said) -> None:
    session = Session(id="s", app_name=APP, user_id=said.users[0], events=[event("lemon tea")])
    await said.say(0, APP, "lemon tea")
    for _ in range(2):
        await said.service.add_events_to_memory(
            app_name=APP, user_id=said.users[0], events=[], session_id=session.id
        )
    assert await search(said, "lemon") == ["lemon tea"]


async def test_an_entry_has_author_time_and_role(said: Said) -> None:
    await said.say(0, APP, "tea")
    found = await said.service.search_memory(app_name=APP, user_id=said.users[0], query="tea")
    [entry] = found.memories
    assert (entry.author, entry.content.role) == ("user", "user")
    assert entry.timestamp
    assert entry.timestamp[:2] == "20"


@pytest.mark.parametrize("memory", [None, "", "unknown", "0198c0de-0000-7000-8000-000000000000"])
async def test_deleting_an_unknown_memory_does_nothing(said: Said, memory: str | None) -> None:
    await said.say(0, APP, "tea")
    await said.service.delete_memory(app_name=APP, user_id=said.users[0], memory_id=memory)
    assert await search(said, "tea") == ["tea"]


# --- what ADK's in-memory service does not have ---------------------------------------------------


def entry(*texts: str, **fields: Any) -> MemoryEntry:
    return MemoryEntry(
        content=types.Content(role="user", parts=[types.Part(text=text) for text in texts]), **fields
    )


async def test_an_added_memory_comes_back_with_its_fields(alice: Any) -> None:
    service, user = MemberMemoryService(), str(alice.pk)
    await service.add_memory(
        app_name=APP,
        user_id=user,
        memories=[entry("Likes", "tea", author="keeper", custom_metadata={"kind": "taste"})],
        custom_metadata={"ttl": "1d"},
    )
    [found] = (await service.search_memory(app_name=APP, user_id=user, query="tea")).memories
    assert [part.text for part in found.content.parts or ()] == ["Likes", "tea"]
    assert (found.author, found.custom_metadata) == ("keeper", {"kind": "taste", "ttl": "1d"})
    await service.delete_memory(app_name=APP, user_id=user, memory_id=found.id)
    assert not await Memory.objects.aexists()


async def test_bytes_are_not_kept(alice: Any) -> None:
    picture = types.Part(inline_data=types.Blob(data=b"zanzibar" * 100, mime_type="image/png"))
    content = types.Content(role="user", parts=[types.Part(text="A picture of tea"), picture])
    service = MemberMemoryService()
    await service.add_memory(app_name=APP, user_id=str(alice.pk), memories=[MemoryEntry(content=content)])
    stored = await Memory.objects.aget()
    assert stored.content == {"role": "user", "parts": [{"text": "A picture of tea"}]}
    with pytest.raises(ValueError, match="needs text"):
        await service.add_memory(
            app_name=APP,
            user_id=str(alice.pk),
            memories=[MemoryEntry(content=types.Content(role="user", parts=[picture]))],
        )


async def test_of_several_memories_all_or_none_are_added(alice: Any) -> None:
    service, user = MemberMemoryService(), str(alice.pk)
    with pytest.raises(ValueError, match="needs text"):
        await service.add_memory(app_name=APP, user_id=user, memories=[entry("tea"), entry(" ")])
    with pytest.raises(ValueError, match="metadata"):
        await service.add_memory(
            app_name=APP, user_id=user, memories=[entry("tea")], custom_metadata={"x": "y" * 5000}
        )
    assert not await Memory.objects.aexists()


@pytest.mark.parametrize("user", ["nobody", "99999999"])
async def test_a_memory_of_no_member_is_not_stored(alice: Any, user: str) -> None:
    await MemberMemoryService().add_memory(app_name=APP, user_id=user, memories=[entry("tea")])
    assert not await Memory.objects.aexists()


async def test_text_that_databases_refuse_is_stored_readable(alice: Any) -> None:
    service, user = MemberMemoryService(), str(alice.pk)
    await service.add_memory(
        app_name=APP, user_id=user, memories=[entry("tea\x00 and more", author="a\x00" * 200)]
    )
    stored = await Memory.objects.aget()
    assert stored.text == "tea\ufffd and more"
