"""List of artifacts: GET /api/v1/conversations/<id>/artifacts."""

from typing import Any

from chat.files.models import Artifact, File
from chat.models import Conversation, Message, Run
from tests.support.client import Client
from tests.support.files import PNG, send


async def save(client: Client, run: str | None, name: str, version: int, **fields: Any) -> Artifact:
    """Store a version of an artifact as a run would."""
    blob_id = (await send(client, name, PNG))["sha256"]
    found = await Run.objects.aget(pk=run) if run else None
    of_member = name.startswith("user:")
    common = {"owner": client.user, "run": found, "name": name}
    common["conversation_id"] = None if of_member or found is None else found.conversation_id
    file = await File.objects.acreate(size=len(PNG), mime="image/png", blob_id=blob_id, **common)
    agent = fields.pop("agent", "chat_assistant")
    given = {"attempt": 1, "agent": agent, "version": version, "file": file} | fields
    return await Artifact.objects.acreate(**common, **given)


async def listed(client: Client, conversation: str) -> list[tuple[str, int]]:
    answer = await client.get(f"/api/v1/conversations/{conversation}/artifacts")
    assert answer.status == 200, answer.body
    return [(each["name"], each["version"]) for each in answer.json()["items"]]


async def test_versions_of_the_active_branch_are_listed_newest_first(as_alice: Client) -> None:
    first = (await as_alice.ask("draw"))[0].json()
    conversation = first["conversation"]
    await save(as_alice, first["run"], "a.png", 0)
    second = (await as_alice.ask("again", conversation=conversation))[0].json()
    await save(as_alice, second["run"], "a.png", 1)
    assert await listed(as_alice, conversation) == [("a.png", 1), ("a.png", 0)]
    other = (await as_alice.ask("other", conversation=conversation, parent=None))[0].json()
    await save(as_alice, other["run"], "a.png", 2)
    assert await listed(as_alice, conversation) == [("a.png", 2)]
    [item] = (await as_alice.get(f"/api/v1/conversations/{conversation}/artifacts")).json()["items"]
    assert item["run"] == other["run"]
    assert (item["mime"], item["size"]) == ("image/png", len(PNG))
    assert (await as_alice.get(f"/files/{item['file']}/a.png")).body == PNG


async def test_an_abandoned_attempt_and_a_hidden_run_have_no_versions(as_alice: Client) -> None:
    events = await as_alice.ask("draw")
    started, reply = events[0].json(), events[-2].json()["message"]
    await save(as_alice, started["run"], "a.png", 0, attempt=0)
    await save(as_alice, started["run"], "a.png", 1)
    await save(as_alice, started["run"], "user:b.png", 0)
    assert set(await listed(as_alice, started["conversation"])) == {("a.png", 1), ("user:b.png", 0)}
    await Message.objects.filter(pk=reply).aupdate(hidden_at="2026-01-01T00:00Z")
    assert await listed(as_alice, started["conversation"]) == []


async def test_artifacts_of_the_member_are_those_of_the_same_agent(as_alice: Client, as_bob: Client) -> None:
    one = (await as_alice.ask("draw"))[0].json()
    other = (await as_alice.ask("draw"))[0].json()
    of_bob = (await as_bob.ask("draw"))[0].json()
    await save(as_alice, one["run"], "user:a.png", 0)
    await save(as_alice, None, "user:b.png", 0, attempt=0)
    await save(as_alice, one["run"], "user:c.png", 0, agent="another")
    await save(as_alice, one["run"], "mine.png", 0)
    await save(as_bob, of_bob["run"], "user:d.png", 0)
    assert await listed(as_alice, other["conversation"]) == [("user:b.png", 0), ("user:a.png", 0)]


async def test_a_run_without_a_reply_is_on_the_branch_of_its_question(as_alice: Client) -> None:
    started = (await as_alice.ask("draw"))[0].json()
    await Message.objects.filter(role="assistant").aupdate(run=None)
    await Run.objects.filter(pk=started["run"]).aupdate(reply=None, status="failed", code="empty")
    await Conversation.objects.filter(pk=started["conversation"]).aupdate(head=started["prompt"])
    await save(as_alice, started["run"], "a.png", 0)
    assert await listed(as_alice, started["conversation"]) == [("a.png", 0)]


async def test_another_member_gets_no_list(as_alice: Client, as_bob: Client) -> None:
    started = (await as_alice.ask("draw"))[0].json()
    path = f"/api/v1/conversations/{started['conversation']}/artifacts"
    assert (await as_bob.get(path)).status == 404
