"""GET, PATCH and DELETE of what agents remember."""

from chat.memories.models import Memory
from tests.pages.test_memories import noted
from tests.support.client import Client

PATH = "/api/v1/memories"


async def test_memories_are_listed_newest_first_in_pages(as_alice: Client, as_bob: Client) -> None:
    await noted(as_alice.user, "keeper", "one", "two")
    await noted(as_alice.user, "helper", "three")
    await noted(as_bob.user, "keeper", "his")
    first = (await as_alice.get(f"{PATH}?limit=2")).json()
    rest = (await as_alice.get(f"{PATH}?limit=2&cursor={first['next']}")).json()
    assert [each["text"] for each in first["items"] + rest["items"]] == ["three", "two", "one"]
    assert rest["next"] is None
    of_agent = (await as_alice.get(f"{PATH}?agent=keeper")).json()["items"]
    assert [each["text"] for each in of_agent] == ["two", "one"]
    stored = await Memory.objects.aget(text="one")
    assert of_agent[1] == {
        "id": str(stored.pk),
        "agent": "keeper",
        "text": "one",
        "author": "keeper",
        "conversation": None,
        "created_at": stored.created_at.isoformat().replace("+00:00", "Z"),
        "edited_at": None,
    }


async def test_a_memory_is_edited(as_alice: Client) -> None:
    [memory] = await noted(as_alice.user, "keeper", "one")
    answer = await as_alice.request("PATCH", f"{PATH}/{memory.pk}", json_body={"text": "two"})
    assert (answer.status, answer.json()["text"]) == (200, "two")
    assert answer.json()["edited_at"]
    assert (await Memory.objects.aget()).text == "two"


async def test_a_text_that_cannot_be_one_is_refused(as_alice: Client) -> None:
    [memory] = await noted(as_alice.user, "keeper", "one")
    for body, status, code in (
        ({"text": "  "}, 422, "blank"),
        ({"text": "x" * 2001}, 422, "too_long"),
        ({"text": "a\x00"}, 400, "malformed"),
        ({"text": 1}, 400, "malformed"),
        ({}, 400, "malformed"),
        ({"text": "a", "agent": "b"}, 400, "malformed"),
    ):
        answer = await as_alice.request("PATCH", f"{PATH}/{memory.pk}", json_body=body)
        assert (answer.status, answer.json()["error"]["code"]) == (status, code), body
    assert (await Memory.objects.aget()).text == "one"


async def test_a_memory_is_erased(as_alice: Client) -> None:
    [memory] = await noted(as_alice.user, "keeper", "one")
    assert (await as_alice.request("DELETE", f"{PATH}/{memory.pk}")).status == 204
    assert (await as_alice.request("DELETE", f"{PATH}/{memory.pk}")).status == 404
    assert not await Memory.objects.aexists()
