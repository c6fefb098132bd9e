"""The page of what agents remember: notes are seen, edited and erased, and memory is turned off."""

from typing import Any

from asgiref.sync import sync_to_async

from chat.memories.models import Memory, MemoryOptOut
from chat.memories.remembering import MEMORY_MAX, NewMemory, add_memories
from chat.pages.memories import SHOWN_OF_AGENT
from tests.support.client import Answer, Client
from tests.support.dom import Element, parse

PAGE = "/account/memories/"


async def noted(member: Any, agent: str, *texts: str) -> list[Memory]:
    added = [NewMemory(text, {"role": "user", "parts": [{"text": text}]}, agent) for text in texts]
    await sync_to_async(add_memories)(member.pk, agent, added)
    return [each async for each in Memory.objects.filter(owner=member, agent=agent).order_by("pk")]


async def shown(client: Client, path: str = PAGE) -> Element:
    answer = await client.get(path)
    assert answer.status == 200
    assert "no-store" in answer.headers["cache-control"]
    return parse(answer.text).one("main")


async def change(client: Client, memory: Memory, **form: str) -> Answer:
    return await client.post(f"{PAGE}{memory.pk}/", form=form)


async def test_the_empty_page_says_how_memory_works(as_alice: Client) -> None:
    page = await shown(as_alice)
    assert "look up what you and it have said before" in page.words
    assert "No agent has noted anything about you." in page.words


async def test_notes_are_listed_by_agent_and_only_the_members_own(as_alice: Client, as_bob: Client) -> None:
    await noted(as_alice.user, "keeper", "Likes tea", "Has a cat")
    await noted(as_alice.user, "helper", "Lives in Lagos")
    await noted(as_bob.user, "keeper", "zanzibar")
    page = await shown(as_alice)
    assert [each.words for each in page.all("h2")] == ["helper: 1 note", "keeper: 2 notes"]
    notes = [each.one("p", **{"class": "in-own-words"}).words for each in page.all("li")]
    assert notes == ["Lives in Lagos", "Has a cat", "Likes tea"]
    assert "zanzibar" not in page.words


async def test_a_note_is_edited_and_the_agent_then_finds_the_members_words(as_alice: Client) -> None:
    from chat.memories.finding import find_memories

    [memory] = await noted(as_alice.user, "keeper", "Likes tea")
    answer = await change(as_alice, memory, do="edit", text=" Likes coffee ")
    assert (answer.status, answer.headers["location"]) == (303, f"{PAGE}#m-{memory.pk}")
    assert "Edited by you" in (await shown(as_alice)).words
    find = sync_to_async(find_memories)
    assert await find(as_alice.user.pk, "keeper", "tea") == []
    [found] = await find(as_alice.user.pk, "keeper", "coffee")
    assert found.text == "Likes coffee"
    assert found.memory
    assert found.memory.content == {"role": "user", "parts": [{"text": "Likes coffee"}]}


async def test_a_text_that_is_refused_is_shown_again(as_alice: Client) -> None:
    [memory] = await noted(as_alice.user, "keeper", "Likes tea")
    answer = await change(as_alice, memory, do="edit", text="x" * (MEMORY_MAX + 1))
    assert answer.status == 422
    page = parse(answer.text)
    assert "at most 2000 characters" in page.one("p", role="alert").words
    assert "x" * 100 in page.one("textarea").words
    assert (await change(as_alice, memory, do="edit", text=" ")).status == 422
    assert (await Memory.objects.aget()).text == "Likes tea"


async def test_one_note_is_erased(as_alice: Client) -> None:
    first, second = await noted(as_alice.user, "keeper", "Likes tea", "Has a cat")
    assert (await change(as_alice, first, do="erase")).status == 303
    assert [each.pk async for each in Memory.objects.all()] == [second.pk]
    assert (await change(as_alice, first, do="erase")).status == 404


async def test_all_notes_of_one_agent_are_erased(as_alice: Client, as_bob: Client) -> None:
    await noted(as_alice.user, "keeper", "Likes tea", "Has a cat")
    await noted(as_alice.user, "helper", "Lives in Lagos")
    await noted(as_bob.user, "keeper", "zanzibar")
    answer = await as_alice.post(PAGE, form={"do": "erase", "agent": "keeper"})
    assert (answer.status, answer.headers["location"]) == (303, PAGE)
    left = Memory.objects.order_by("pk").values_list("text", flat=True)
    assert [each async for each in left] == ["Lives in Lagos", "zanzibar"]
    assert (await as_alice.post(PAGE, form={"do": "erase"})).status == 400


async def test_memory_is_turned_off_and_on(as_alice: Client) -> None:
    for _ in range(2):
        assert (await as_alice.post(PAGE, form={"do": "off"})).status == 303
    assert "Memory is off" in (await shown(as_alice)).words
    assert (await as_alice.post(PAGE, form={"do": "on"})).status == 303
    assert not await MemoryOptOut.objects.aexists()
    assert "Memory is on." in (await shown(as_alice)).words


async def test_many_notes_of_an_agent_are_on_pages_of_their_own(as_alice: Client) -> None:
    await noted(as_alice.user, "keeper", *(f"Note {n}" for n in range(40)))
    page = await shown(as_alice)
    assert len(page.all("li")) == SHOWN_OF_AGENT
    [rest] = [link for link in page.all("a") if link.words == "All notes of keeper"]
    page = await shown(as_alice, PAGE + str(rest["href"]))
    assert len(page.all("li")) == 30
    [older] = [link for link in page.all("a") if link.words == "Older ones"]
    page = await shown(as_alice, PAGE + str(older["href"]))
    assert len(page.all("li")) == 10


async def test_text_of_an_agent_is_no_markup(as_alice: Client) -> None:
    await noted(as_alice.user, "keeper", "<script>alert(1)</script>")
    answer = await as_alice.get(PAGE)
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;" in answer.text


async def test_with_a_service_of_the_site_the_page_says_so(as_alice: Client, settings: Any) -> None:
    settings.MEMORY_SERVICE_URI = "elsewhere://x"
    assert "in a service of the site's owner" in (await shown(as_alice)).words
