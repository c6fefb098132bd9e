"""POST /api/v1/conversations: a conversation without a question, to speak in."""

from datetime import timedelta

from django.utils import timezone

from accounts.models import User
from chat.models import Conversation
from tests.support.client import Client

PATH = "/api/v1/conversations"


async def test_a_conversation_opens_without_a_question(as_alice: Client) -> None:
    async with as_alice.socket() as socket:
        await socket.opened()
        answer = await as_alice.post(PATH, {})
        assert (await socket.frame())["type"] == "conversation"  # other tabs list it
    assert answer.status == 201
    opened = answer.json()
    assert (opened["title"], opened["agent"], opened["head"]) == ("New conversation", "chat_assistant", None)
    read = (await as_alice.get(f"{PATH}/{opened['id']}")).json()
    assert read["messages"]["items"] == []
    assert (await as_alice.get(f"/chat/{opened['id']}/")).status == 200
    events = await as_alice.ask("Hello", conversation=opened["id"])
    assert events[-2].name == "run.completed"
    assert (await as_alice.get(f"{PATH}/{opened['id']}")).json()["title"] == "Hello"


async def test_an_empty_conversation_is_used_again(as_alice: Client, as_bob: Client) -> None:
    first = (await as_alice.post(PATH, {"agent": "chat_assistant"})).json()
    assert (await as_alice.post(PATH, {})).json()["id"] == first["id"]
    assert (await as_bob.post(PATH, {})).json()["id"] != first["id"]
    await as_alice.ask("Hello", conversation=first["id"])
    assert (await as_alice.post(PATH, {})).json()["id"] != first["id"]


async def test_an_unknown_agent_is_refused(as_alice: Client) -> None:
    answer = await as_alice.post(PATH, {"agent": "nobody"})
    assert (answer.status, answer.json()["error"]["code"]) == (422, "unknown_agent")
    assert not await Conversation.objects.aexists()


async def test_a_suspended_member_opens_none(as_alice: Client) -> None:
    await User.objects.filter(username="alice").aupdate(suspended_until=timezone.now() + timedelta(days=1))
    assert (await as_alice.post(PATH, {})).status == 403
    assert not await Conversation.objects.aexists()
