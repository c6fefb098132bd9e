"""The admin: what a moderator finds and reads there, and that no one else can read it."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin import site
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from chat.admin.lists import ReadOnlyAdmin
from chat.calls.models import LiveCall
from chat.models import Conversation, Message, Process, Run, Suggestion
from chat.moderation.groups import MODERATOR
from tests.conftest import make_user
from tests.support.client import Answer, Client
from tests.support.dom import Element, parse
from tests.support.gemini import Call, Gemini, Hold, Status, Text, Thought
from tests.support.staff import (
    SEARCH_PAGE,
    open_as_staff,
    open_search,
    opening,
    search_as_staff,
    transcript,
)
from tests.support.talk import Talk, use_tools

LIST = "/admin/chat/conversation/"
RUNS = "/admin/chat/run/"
CALLS = "/admin/calls/livecall/"


@pytest.fixture
async def as_mona(parley: Any, mona: Any) -> Client:
    return await Client(parley, mona).sign_in()


@pytest.fixture
async def as_stella(parley: Any, stella: Any) -> Client:
    """Return a client signed in as a senior moderator, with a grant to search texts."""
    client = await Client(parley, stella).sign_in()
    await open_search(client)
    return client


@pytest.fixture
async def as_olga(parley: Any, transactional_db: None) -> Client:
    """Return a client signed in as the site's owner."""
    olga = await sync_to_async(make_user)("olga", is_staff=True, is_superuser=True)
    return await Client(parley, olga).sign_in()


async def ask_each(client: Client, *questions: str) -> dict[str, str]:
    """Ask each question in a conversation of its own; return their ids by question."""
    talks = {question: Talk(client) for question in questions}
    for question, talk in talks.items():
        await talk.ask(question)
    return {question: str(talk.conversation) for question, talk in talks.items()}


async def read(client: Client, talk: Talk, query: str = "") -> Element:
    """Open a conversation with a reason, and return its transcript."""
    await open_as_staff(client, talk.conversation)
    return await page(client, transcript(talk.conversation) + query)


async def page(client: Client, path: str) -> Element:
    answer = await client.get(path)
    assert answer.status == 200, (path, answer.status, answer.headers.get("location"))
    return parse(tidy(answer.text))


def tidy(html: str) -> str:
    """Remove the p tags: Django's own templates leave some open, and the parser is strict."""
    return re.sub(r"</?p\b[^>]*>", "", html)


def rows(found: Element) -> list[dict[str, str]]:
    """Return the rows of a list, each as its cells by column."""
    table = found.all(id="result_list")
    if not table:
        return []
    return [
        {
            name.removeprefix("field-"): cell.words
            for cell in row.below()
            if cell.tag in {"td", "th"}
            for name in (cell.get("class") or "").split()
            if name.startswith("field-")
        }
        for row in table[0].one("tbody").all("tr")
    ]


async def listed(client: Client, query: str = "") -> set[str]:
    """Return the ids in the list of conversations."""
    return {row["shown_id"] for row in rows(await page(client, f"{LIST}?{query}"))}


async def found_by(client: Client, words: str) -> set[str]:
    """Return the ids of the conversations that the search of texts shows."""
    answer = await search_as_staff(client, words)
    assert answer.status == 200, answer.status
    tables = parse(tidy(answer.text)).all("table", id="found")
    return {row.one("th").words for table in tables for row in table.one("tbody").all("tr")}


def entries(found: Element) -> list[Element]:
    return found.all("article", class_="transcript-entry")


# --- the list ---------------------------------------------------------------------------------------


async def test_the_list_shows_owner_agent_message_count_and_status(
    as_alice: Client, as_bob: Client, as_mona: Client, gemini: Gemini
) -> None:
    gemini.on("Go wrong", [Status(400, "INVALID_ARGUMENT")])
    talk, wrong = Talk(as_alice), Talk(as_bob)
    await talk.ask("What is a quasar?")
    await talk.ask("And a pulsar?")
    await wrong.ask("Go wrong")
    found = await page(as_mona, LIST)
    newest, older = rows(found)
    assert (newest["shown_id"], newest["owner_link"]) == (wrong.conversation, "bob")
    assert (newest["last_status"], newest["agent"], newest["message_count"]) == (
        "Failed",
        "chat_assistant",
        "1",
    )
    assert (older["shown_id"], older["owner_link"]) == (talk.conversation, "alice")
    assert (older["last_status"], older["message_count"]) == ("Completed", "4")
    assert older["last_activity"]
    assert "quasar" not in found.text
    assert "Go wrong" not in found.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("answer=failed", {"Go wrong"}),
        ("answer=completed", {"What is a quasar?"}),
        ("answer=nonsense", {"Go wrong", "What is a quasar?"}),
        ("agent=chat_assistant", {"Go wrong", "What is a quasar?"}),
        ("locked=yes", set()),
        ("updated_at__lt=2001-01-01", set()),
    ],
)
async def test_filters_narrow_the_list(
    as_alice: Client, as_mona: Client, gemini: Gemini, query: str, found: set[str]
) -> None:
    gemini.on("Go wrong", [Status(400, "INVALID_ARGUMENT")])
    ids = await ask_each(as_alice, "What is a quasar?", "Go wrong")
    assert await listed(as_mona, query) == {ids[question] for question in found}


async def test_feedback_is_a_mark_and_a_filter(as_alice: Client, as_mona: Client) -> None:
    ids = {}
    for query, value in (("praised", 1), ("blamed", -1), ("passed over", None)):
        events = await as_alice.ask(query)
        ids[query], reply = str(events[0].json()["conversation"]), events[-2].json()["message"]
        body = {"value": value, "reasons": ["wrong"] if value == -1 else [], "text": "No." * (value == -1)}
        await as_alice.request("PUT", f"/api/v1/messages/{reply}/feedback", json_body=body)
    marks = {row["shown_id"]: row["feedback"] for row in rows(await page(as_mona, LIST))}
    assert marks == {
        ids["praised"]: "rated good",
        ids["blamed"]: "rated bad",
        ids["passed over"]: "",
    }
    assert await listed(as_mona, "feedback=-1") == {ids["blamed"]}
    assert [row["feedback"] for row in rows(await page(as_mona, f"{RUNS}?feedback=1"))] == ["rated good"]
    await open_as_staff(as_mona, ids["blamed"])
    reply_entry = entries(await page(as_mona, transcript(ids["blamed"])))[1]
    assert [each.words for each in reply_entry.one("header").all("span")] == ["rated bad", "It is wrong"]
    assert reply_entry.one("blockquote").words == "No."


@pytest.fixture
async def old_and_new(as_alice: Client) -> dict[str, str]:
    ids = await ask_each(as_alice, "old", "new")
    for question, when in (("old", "2024-02-29T23:59:00Z"), ("new", "2026-03-01T00:00:00Z")):
        await Conversation.objects.filter(pk=ids[question]).aupdate(updated_at=when)
    return ids


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        ("2024-02-29", "2024-03-01", {"old"}),
        ("", "2026-03-01", {"old"}),
        ("2024-03-01", "", {"new"}),
        ("2026-03-01", "2026-03-01", set()),
        ("", "", {"old", "new"}),
    ],
)
async def test_the_date_form_reaches_any_days_and_keeps_the_other_filters(
    old_and_new: dict[str, str], as_mona: Client, since: str, until: str, found: set[str]
) -> None:
    form = (await page(as_mona, f"{LIST}?agent=chat_assistant&p=1")).one("form", class_="dates")
    fields = {each["name"]: each.get("value") for each in form.all("input")}
    assert fields == {"agent": "chat_assistant", "updated_at__gte": "", "updated_at__lt": ""}
    shown = await page(as_mona, f"{LIST}?agent=chat_assistant&updated_at__gte={since}&updated_at__lt={until}")
    assert {row["shown_id"] for row in rows(shown)} == {old_and_new[question] for question in found}
    dates = [each["value"] for each in shown.one("form", class_="dates").all("input", type="date")]
    assert dates == [since, until]


async def test_django_s_choices_of_a_date_narrow_the_list(
    old_and_new: dict[str, str], as_alice: Client, as_mona: Client
) -> None:
    ids = old_and_new | await ask_each(as_alice, "just now")
    sidebar = (await page(as_mona, LIST)).one("nav", id="changelist-filter")
    links = {link.words: link["href"] for link in sidebar.all("a")}
    assert await listed(as_mona, links["Today"][1:]) == {ids["just now"]}
    assert ids["old"] not in await listed(as_mona, links["This year"][1:])
    assert await listed(as_mona, links["Any date"][1:]) == set(ids.values())


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("quasar", True),
        ("QUAS", True),  # a prefix, in any case
        ("luminous active", True),  # all words, anywhere in one message
        ('"active galaxy"', True),
        ('"galaxy active"', False),
        ("asar", False),
        ("quasar nonsense", False),
        ("b", False),  # so short a word must match a whole word
        ("a", True),
        ("grosse", True),
        ("größe", True),
        ("hidden", True),  # the words of a tag, which PostgreSQL's parser would skip
        ("bar", True),  # foo/bar is not parsed as a path
        ("alice", False),  # names of owners are found in the list
        ("canary", False),
    ],
)
async def test_the_search_of_texts_finds_words_of_messages(
    as_alice: Client, as_stella: Client, gemini: Gemini, text: str, is_found: bool
) -> None:
    gemini.on("What is it?", [Text("A quasar is a luminous, active galaxy's Größe. <hidden> foo/bar")])
    ids = await ask_each(as_alice, "What is it?")
    assert await found_by(as_stella, text) == (set(ids.values()) if is_found else set())


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("alice", True),
        ("ALICE@example.org", True),
        ("alic", False),  # only a complete user name is found
        ("bob", False),
        ("quasar", False),  # no words of titles and messages
        ("What is a quasar?", False),
    ],
)
async def test_the_list_is_searched_for_ids_and_owners_only(
    as_alice: Client, as_mona: Client, as_stella: Client, bob: Any, text: str, is_found: bool
) -> None:
    ids = await ask_each(as_alice, "What is a quasar?")
    for client in (as_mona, as_stella):
        assert await listed(client, f"q={quote(text)}") == (set(ids.values()) if is_found else set())
        assert await listed(client, f"q={ids['What is a quasar?']}") == set(ids.values())


async def test_the_search_of_texts_finds_the_current_title(as_alice: Client, as_stella: Client) -> None:
    talk = Talk(as_alice)
    await talk.ask("What is a quasar?")
    path = f"/api/v1/conversations/{talk.conversation}"
    await as_alice.request("PATCH", path, json_body={"title": "Night sky"})
    assert await found_by(as_stella, "night") == {talk.conversation}


HOSTILE_SEARCHES = [
    '"', '""', "'", "*", "NEAR(a b)", "a AND", "OR", "-a", "words:x", "^a", "\\", "a:*",
    "& |", "!!", "( )", "%", "_", "x" * 5000, "a " * 3000, "\u202e", "\x00", "😀", "<->", "{a b}: c",
    "٠", "id:1", "' OR 1=1 --", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE_SEARCHES)
@pytest.mark.parametrize("path", [LIST, RUNS, "/admin/accounts/user/"])
async def test_hostile_search_terms_do_not_break_a_list(
    as_alice: Client, as_mona: Client, path: str, text: str
) -> None:
    await Talk(as_alice).ask("hello")
    answer = await as_mona.get(f"{path}?q={quote(text, errors='surrogatepass')}")
    assert answer.status == 200


@pytest.mark.parametrize("text", [text for text in HOSTILE_SEARCHES if text != "\ud800"])
async def test_hostile_words_do_not_break_the_search_of_texts(
    as_alice: Client, as_stella: Client, text: str
) -> None:
    await Talk(as_alice).ask("hello")
    answer = await search_as_staff(as_stella, text)
    assert answer.status == (400 if "\x00" in text else 200)


@pytest.mark.parametrize(
    ("query", "conversations", "runs"),
    [
        ("p=99999", 200, 200), ("p=-1", 200, 200), ("p=x", 200, 200), (f"p={'9' * 5000}", 200, 200),
        ("o=99", 200, 200), ("o=x.-.5", 200, 200), ("all=", 200, 200),
        ("updated_at__gte=x", 302, 400), ("updated_at__lt=2026-13-01", 302, 400),
        ("updated_at__gte=0000-01-01", 302, 400),
        ("updated_at__lt=%00", 302, 302), ("updated_at__gte=9999-12-31T23:00-12:00", 302, 400),
        ("updated_at__lt=0001-01-01T00:00%2B12:00", 302, 400),
        ("updated_at__gte=9999-12-31&updated_at__lt=0001-01-01", 302, 400),
        ("created_at__gte=2026-02-30", 400, 302),
        ("updated_at__year=2026", 400, 400), ("created_at__year=9999", 400, 400),
        ("updated_at__gte=2026-01-01&updated_at__gte=2025-01-01", 200, 400),
        ("owner__id__exact=x", 302, 302), (f"owner__id__exact={'9' * 40}", 200, 200),
        ("conversation__id__exact=x", 400, 302), ("status=x", 400, 200), ("code=%00", 302, 302),
        ("_to_field=id", 200, 200), ("_popup=1", 200, 200), ("e=1", 200, 200), ("_facets=True", 200, 200),
    ],
)  # fmt: skip
async def test_invalid_parameters_are_ignored_removed_or_refused(
    as_alice: Client, as_mona: Client, query: str, conversations: int, runs: int
) -> None:
    """An unreadable value is removed by a redirect. A column that the list does not offer gets 400."""
    await Talk(as_alice).ask("hello")
    for path, status in ((LIST, conversations), (RUNS, runs)):
        answer = await as_mona.get(f"{path}?{query}")
        assert answer.status == status, path
        if status == 302:
            assert answer.headers["location"] == f"{path}?e=1"


@pytest.mark.parametrize(
    "path",
    [
        f"{LIST}?title__startswith=h",
        f"{LIST}?messages__text__contains=h",
        f"{LIST}?owner__password__startswith=a",
        f"{RUNS}?state_after__contains=h",
        f"{RUNS}?prompt__text__contains=h",
    ],
)
async def test_filters_on_columns_that_are_not_offered_are_refused(
    as_alice: Client, as_mona: Client, path: str
) -> None:
    await Talk(as_alice).ask("hello")
    # They would let a moderator guess a value letter by letter.
    assert (await as_mona.get(path)).status == 400


async def test_a_list_ends_at_its_limit_and_says_so(
    as_mona: Client, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.admin.lists.LIST_BOUND", 3)
    made = [Conversation(owner=alice, agent="chat_assistant", title=f"number {n}") for n in range(5)]
    await Conversation.objects.abulk_create(made)
    newest = [str(each.pk) for each in reversed(made[2:])]
    found = await page(as_mona, LIST)
    assert [row["shown_id"] for row in rows(found)] == newest
    assert "The newest 3 conversations." in found.words
    # in reverse order the list has the same three
    found = await page(as_mona, f"{LIST}?o=0")
    assert [row["shown_id"] for row in rows(found)] == newest[::-1]


# --- one conversation -------------------------------------------------------------------------------


async def test_a_transcript_shows_the_reply_as_members_see_it_and_its_run(
    as_alice: Client, as_mona: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(place: str) -> str:
        """Look."""
        return f"noon in {place}"

    await use_tools(monkeypatch, look_up)
    gemini.on(
        "What *time* is it?",
        [Thought("They want a clock."), Call("look_up", {"place": "Lagos"})],
        [Text("It is **noon**.\n\n```python\nx = 1\n```")],
    )
    talk = Talk(as_alice)
    said = await talk.ask("What *time* is it?")
    members = parse(tidy((await as_alice.get(f"/chat/{talk.conversation}/")).text))
    found = await read(as_mona, talk)
    assert found.one("h1").words == "What *time* is it?"
    question, reply = entries(found)
    assert question.one("h2").words == "alice"
    assert question.one("div", class_="bubble").text == "What *time* is it?"
    assert question.one("time")["datetime"].startswith("20")
    assert reply.one("h2").words == "Chat assistant"
    stored = reply.one("div", class_="prose")
    assert structure(stored) == structure(members.one("div", class_="prose"))
    assert stored.one("strong").words == "noon"
    thought, tool = reply.all("details")
    assert (thought.get("open"), tool.get("open")) == (None, None)
    assert "They want a clock." in thought.text
    assert "Lagos" in tool.one("pre", class_="tool-args").text
    assert "noon in Lagos" in tool.one("pre", class_="tool-outcome").text
    facts = reply.one("ul", class_="run-facts").words
    assert "Completed" in facts
    usage = said.data["usage"]
    assert f"{usage['input']} tokens in, {usage['output']} out" in facts
    assert f"first text after {said.data['ttft_ms']} ms" in facts
    assert f"{said.data['duration_ms']} ms in all" in facts


def structure(element: Element) -> Any:
    return (
        element.tag,
        sorted(element.attrs.items()),
        [child if isinstance(child, str) else structure(child) for child in element.children],
    )


async def test_every_branch_can_be_read(as_alice: Client, as_mona: Client, gemini: Gemini) -> None:
    gemini.on("hello", [Text("first answer")], [Text("second answer")])
    talk = Talk(as_alice)
    said = await talk.ask("hello")
    await talk.ask("go on from the first")
    await talk.ask(prompt=said.prompt)
    shown = await read(as_mona, talk)
    assert [each.words for each in shown.all("div", class_="prose")] == ["second answer"]
    nav = shown.one("nav", class_="message-siblings")
    assert "version 2 of 2" in nav.words
    other = await page(as_mona, transcript(talk.conversation) + nav.one("a")["href"].partition("#")[0])
    assert [each.words for each in other.all("div", class_="bubble")] == ["hello", "go on from the first"]
    assert "first answer" in other.words
    assert "This is not the branch that its owner sees." in other.words
    assert "version 1 of 2" in other.one("nav", class_="message-siblings").words


async def test_a_failed_run_without_a_reply_is_shown_at_its_question(
    as_alice: Client, as_mona: Client, gemini: Gemini
) -> None:
    gemini.on("hello", [Status(400, "INVALID_ARGUMENT")], [Text("at last")])
    talk = Talk(as_alice)
    said = await talk.ask("hello")
    await talk.ask(prompt=said.prompt)
    question, reply = entries(await read(as_mona, talk))
    assert "Failed model_error" in question.one("ul", class_="run-facts").words
    assert "Completed" in reply.one("ul", class_="run-facts").words


async def test_an_unfinished_reply_is_shown_as_far_as_it_is_stored(
    as_alice: Client, as_mona: Client, gemini: Gemini
) -> None:
    gemini.on("hello", [Text("so far "), Hold(), Text("so good")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "hello"}) as exchange:
        await exchange.until("text")
        conversation = (await as_alice.get("/api/v1/conversations")).json()["items"][0]["id"]
        await open_as_staff(as_mona, conversation)
        live = (await page(as_mona, transcript(conversation))).one("article", class_="live")
        assert live.one("div", class_="prose").words == "so far"
        assert "is being written" in live.words
        gemini.release()
        assert (await exchange.all_events())[-1].is_done


async def test_a_long_conversation_is_read_page_by_page(
    as_alice: Client, as_mona: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.admin.transcripts.TRANSCRIPT_LENGTH", 2)
    talk = Talk(as_alice)
    for question in ("one", "two", "three"):
        await talk.ask(question)
    found = await read(as_mona, talk)
    shown = []
    while True:
        shown.append([each.words for each in found.all("div", class_="bubble")])
        older = [a for a in found.all("a") if a.words == "Older messages"]
        if not older:
            break
        found = await page(as_mona, transcript(talk.conversation) + older[0]["href"])
    assert shown == [["three"], ["two"], ["one"]]
    assert "These are older messages." in found.words


@pytest.mark.parametrize("parameter", ["message", "before"])
async def test_a_message_of_another_conversation_is_not_found(
    as_alice: Client, as_mona: Client, parameter: str
) -> None:
    mine, other = Talk(as_alice), Talk(as_alice)
    await mine.ask("one")
    said = await other.ask("two")
    await open_as_staff(as_mona, mine.conversation)
    for value in (said.prompt, "x", "0" * 36):
        assert (await as_mona.get(f"{transcript(mine.conversation)}?{parameter}={value}")).status == 404


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}\u202e\"'"


async def test_hostile_text_is_escaped_everywhere(
    as_alice: Client, as_mona: Client, as_stella: Client, gemini: Gemini
) -> None:
    gemini.on("x", [Thought(HOSTILE), Text("fine")])
    talk = Talk(as_alice)
    said = await talk.ask("x")
    tool = {"type": "tool", "agent": HOSTILE, "id": "1", "name": HOSTILE, "args": {HOSTILE: HOSTILE}}

    def store_hostile_text() -> None:
        Conversation.objects.update(title=HOSTILE, agent=HOSTILE[:100])
        Message.objects.filter(role="user").update(text=HOSTILE)
        reply = Message.objects.get(role="assistant")
        reply.agent, reply.parts["items"] = HOSTILE[:100], [tool | {"error": HOSTILE}, *reply.parts["items"]]
        reply.save(update_fields=["agent", "parts"])

    await sync_to_async(store_hostile_text)()
    await open_as_staff(as_mona, talk.conversation)
    facts, searched = opening(talk.conversation), await search_as_staff(as_stella, HOSTILE)
    paths = [
        LIST,
        f"{LIST}?q={quote(HOSTILE)}",
        facts,
        transcript(talk.conversation),
        RUNS,
        f"{RUNS}{said.run}/change/",
    ]
    typed = await as_mona.post(facts, form={"reason": "none", "text": HOSTILE, "delay_days": HOSTILE})
    assert typed.status == 422
    answers = {"search": searched, "typed": typed} | {path: await as_mona.get(path) for path in paths}
    for path, answer in answers.items():
        found = parse(tidy(answer.text))
        assert not [each for each in found.all("script") if not each.get("src")], path
        assert not [each for each in found.all() if each.get("onerror")], path
        if path not in (f"{LIST}?q={quote(HOSTILE)}", "search", RUNS):  # nothing found; no agent
            assert HOSTILE in found.text, path


# --- nothing can be changed -------------------------------------------------------------------------


def test_all_chat_models_in_the_admin_are_read_only() -> None:
    ours = {
        model: model_admin for model, model_admin in site._registry.items() if model._meta.app_label == "chat"
    }
    assert set(ours) == {Conversation, Run, Process, Suggestion}
    del ours[Suggestion]  # written by the site's owner, not by members
    assert all(isinstance(model_admin, ReadOnlyAdmin) for model_admin in ours.values())


async def test_the_owner_cannot_change_conversations_or_runs(as_alice: Client, as_olga: Client) -> None:
    talk = Talk(as_alice)
    said = await talk.ask("hello")
    form = {"title": "mine", "text": "mine", "status": "failed", "post": "yes", "_save": "Save"}
    await open_as_staff(as_olga, talk.conversation)
    action = {"action": "delete_selected", "_selected_action": str(talk.conversation), "post": "yes"}
    for model, key, change, delete, add in (
        ("conversation", talk.conversation, 405, 404, 404),
        ("run", said.run, 403, 403, 403),
    ):
        assert (await as_olga.get(f"/admin/chat/{model}/{key}/change/")).status == 200
        for path, status in ((f"{key}/change/", change), (f"{key}/delete/", delete), ("add/", add)):
            assert (await as_olga.post(f"/admin/chat/{model}/{path}", form=form)).status == status, path
        # a list has no actions, so that it is only shown again
        assert (await as_olga.post(f"/admin/chat/{model}/", form=action)).status == 200
    for path in ("history/", "delete/"):
        assert (await as_olga.get(f"{LIST}{talk.conversation}/{path}")).status == 404
    assert [message["text"] for message in await talk.messages()] == ["hello", said.text]
    stored = (await as_alice.get(f"/api/v1/runs/{said.run}")).json()
    assert stored["status"] == "completed"


# --- everyone else ----------------------------------------------------------------------------------


def shape(answer: Answer) -> tuple[int, str, bytes]:
    """Return what an answer reveals, without the ids and tokens that differ between two requests."""
    location = answer.headers.get("location", "").partition("?")[0]
    return answer.status, location, re.sub(rb'value="[^"]{64}"|[0-9a-f-]{36}', b"", answer.body)


async def url_pairs(as_alice: Client) -> Iterator[tuple[str, str]]:
    """Return for each kind of page a path that exists, and one that does not."""
    talk = Talk(as_alice)
    said = await talk.ask("alice's secret quokka")
    opened, missing = transcript(talk.conversation), "00000000-0000-7000-8000-000000000000"
    assert talk.conversation
    call = await LiveCall.objects.acreate(conversation_id=talk.conversation, owner=as_alice.user)
    return iter(
        [
            (LIST, LIST),
            (f"{LIST}?q=quokka", f"{LIST}?q=nonsense"),
            (opened, transcript(missing)),
            (opening(talk.conversation), opening(missing)),
            (SEARCH_PAGE, SEARCH_PAGE),
            (f"{opened}?message={said.message}", f"{opened}?message={missing}"),
            (RUNS, RUNS),
            (f"{RUNS}{said.run}/change/", f"{RUNS}{missing}/change/"),
            (f"{RUNS}{said.run}/history/", f"{RUNS}{missing}/history/"),
            ("/admin/accounts/user/1/change/", "/admin/accounts/user/999999/change/"),
            ("/admin/chat/process/", "/admin/chat/process/"),
            (CALLS, CALLS),
            (f"{CALLS}{call.pk}/change/", f"{CALLS}{missing}/change/"),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("who", ["a member", "a visitor", "staff without the group"])
async def test_other_users_get_nothing_and_cannot_tell_what_exists(
    as_alice: Client, as_bob: Client, parley: Any, who: str
) -> None:
    if who == "staff without the group":
        steve = await sync_to_async(make_user)("steve", is_staff=True)
        client = await Client(parley, steve).sign_in()
    else:
        client = as_bob if who == "a member" else Client(parley)
    refused = 403 if who == "staff without the group" else 302
    for there, not_there in await url_pairs(as_alice):
        one, other = await client.get(there), await client.get(not_there)
        assert one.status == refused, there
        assert shape(one) == shape(other), there
        posted = await client.post(there, form={"title": "mine", "reason": "report", "words": "quokka"})
        only_read = refused == 403 and there.startswith(LIST) and "/change/" in there
        assert posted.status == (405 if only_read else refused), there
        assert b"quokka" not in one.body + other.body + posted.body
    index = await client.get("/admin/")
    assert b"conversation" not in index.body.lower()


async def test_a_member_is_refused_at_the_admins_sign_in_page(as_bob: Client) -> None:
    sent = (await as_bob.get(LIST)).headers["location"]
    assert sent.startswith("/admin/login/")
    assert (await as_bob.get(sent)).status == 403


async def test_a_former_moderator_reads_nothing(as_alice: Client, as_mona: Client, mona: Any) -> None:
    talk = Talk(as_alice)
    await talk.ask("hello")
    await open_as_staff(as_mona, talk.conversation)
    assert (await as_mona.get(transcript(talk.conversation))).status == 200
    await mona.groups.aclear()
    assert (await as_mona.get(transcript(talk.conversation))).status == 403
    assert (await as_mona.get(opening(talk.conversation))).status == 403
    assert (await as_mona.get(LIST)).status == 403


async def test_a_deleted_conversation_is_listed_on_demand_only(
    as_alice: Client, as_mona: Client, as_stella: Client, as_olga: Client
) -> None:
    talk, kept = Talk(as_alice), Talk(as_alice)
    said = await talk.ask("secret quokka")
    await kept.ask("kept")
    await as_alice.request("DELETE", f"/api/v1/conversations/{talk.conversation}")
    for client in (as_mona, as_olga):
        for query in ("", "q=alice", "answer=completed", "deleted=no"):
            assert await listed(client, query) == {kept.conversation}
        assert await listed(client, f"q={talk.conversation}") == set()
        assert await listed(client, "deleted=yes") == {talk.conversation}
        assert await listed(client, f"deleted=yes&q={talk.conversation}") == {talk.conversation}
        assert len(rows(await page(client, RUNS))) == 1
        assert (await client.get(f"{RUNS}{said.run}/change/")).status == 302
    assert await found_by(as_stella, "quokka") == set()


async def test_a_deleted_conversation_is_read_with_a_reason_and_named_as_deleted(
    as_alice: Client, as_mona: Client
) -> None:
    talk = Talk(as_alice)
    await talk.ask("secret quokka")
    await as_alice.request("DELETE", f"/api/v1/conversations/{talk.conversation}")
    refused = await as_mona.get(transcript(talk.conversation))
    assert (refused.status, refused.headers["location"]) == (302, opening(talk.conversation))
    facts = await page(as_mona, opening(talk.conversation))
    assert "Deleted" in facts.one("dl").words
    assert "quokka" not in facts.text
    found = await read(as_mona, talk)
    assert "secret quokka" in found.text
    assert "Deleted" in found.one("dl").words


# --- runs and processes -----------------------------------------------------------------------------


async def test_the_list_of_runs_shows_figures_and_sorts_by_them(
    as_alice: Client, as_mona: Client, gemini: Gemini
) -> None:
    gemini.on("Go wrong", [Status(400, "INVALID_ARGUMENT")])
    ids = await ask_each(as_alice, "quick", "slow", "Go wrong")

    def set_times() -> None:
        for title, ms in (("quick", 10), ("slow", 2500)):
            runs = Run.objects.filter(conversation__title=title)
            runs.update(ttft_ms=ms, duration_ms=2 * ms, deltas=ms, bytes=ms, usage_total=ms)

    await sync_to_async(set_times)()
    failed, slow, quick = rows(await page(as_mona, RUNS))
    assert (failed["shown_status"], failed["code"], failed["first_token"]) == ("Failed", "model_error", "")
    assert (slow["first_token"], slow["duration"], slow["deltas"]) == ("2.50 s", "5.00 s", "2500")
    assert slow["size"].replace("\xa0", " ") == "2.4 KB"
    assert (quick["owner"], quick["conversation_link"]) == ("alice", ids["quick"])
    for column in (5, 6, 7, 8, 9):
        up = [row["conversation_link"] for row in rows(await page(as_mona, f"{RUNS}?o={column}"))]
        down = [row["conversation_link"] for row in rows(await page(as_mona, f"{RUNS}?o=-{column}"))]
        assert up.index(ids["quick"]) < up.index(ids["slow"])
        assert down.index(ids["slow"]) < down.index(ids["quick"])
    for query in ("status=failed", "code=model_error", f"q={ids['Go wrong']}"):
        found = rows(await page(as_mona, f"{RUNS}?{query}"))
        assert [row["conversation_link"] for row in found] == [ids["Go wrong"]]
    assert rows(await page(as_mona, f"{RUNS}?status=expired")) == []
    assert len(rows(await page(as_mona, f"{RUNS}?q=alice"))) == 3
    assert rows(await page(as_mona, f"{RUNS}?q=bob")) == []


async def test_a_run_page_shows_no_text_and_no_title(as_alice: Client, as_mona: Client) -> None:
    said = await Talk(as_alice).ask("title only\nsecret quokka " + "x" * 100)
    assert rows(await page(as_mona, f"{RUNS}?q={said.run}"))[0]["shown_status"] == "Completed"
    found = await page(as_mona, f"{RUNS}{said.run}/change/")
    assert "state_after" not in found.text
    assert not found.all("textarea")
    assert not found.all("input", name="_save")
    for text in ("title only", "quokka", "x" * 100):
        assert text not in found.text


async def test_processes_are_listed(as_mona: Client) -> None:
    (row,) = rows(await page(as_mona, "/admin/chat/process/"))
    assert row["pid"].isdigit()
    assert row["heartbeat_at"]


async def test_calls_are_listed_and_nobody_changes_them(as_alice: Client, as_mona: Client) -> None:
    said = await Talk(as_alice).ask("secret quokka")
    run = await Run.objects.aget(pk=said.run)
    call = await LiveCall.objects.acreate(
        conversation_id=run.conversation_id,
        owner=as_alice.user,
        handle="secret handle",
        turns=3,
        seconds_in=90,
    )
    (row,) = rows(await page(as_mona, CALLS))
    assert (row["owner"], row["state"], row["turns"], row["minutes_heard"]) == ("alice", "open", "3", "1.5")
    found = await page(as_mona, f"{CALLS}{call.pk}/change/")
    assert "secret" not in found.text
    assert not found.all("input", name="_save")
    assert (await as_mona.post(f"{CALLS}{call.pk}/change/", form={"turns": "1"})).status == 403
    now = timezone.now()
    await LiveCall.objects.aupdate(ended_at=now, end_code="hung_up", handle=None)
    (row,) = rows(await page(as_mona, CALLS))
    assert row["state"] == "hung_up"


# --- users ------------------------------------------------------------------------------------------


async def test_a_moderator_sees_users_but_not_their_passwords(
    as_alice: Client, alice: Any, as_mona: Client
) -> None:
    listed = rows(await page(as_mona, "/admin/accounts/user/?q=alice"))
    assert [row["username"] for row in listed] == ["alice"]
    found = await page(as_mona, f"/admin/accounts/user/{alice.pk}/change/")
    assert "alice@example.org" in found.text
    assert "password" not in found.one("div", id="content").text.lower()
    assert alice.password not in found.text
    assert (await as_mona.get(f"/admin/accounts/user/{alice.pk}/password/")).status in {302, 404}
    assert (
        await as_mona.post(f"/admin/accounts/user/{alice.pk}/change/", form={"username": "x"})
    ).status == 403


async def test_permission_to_change_users_does_not_grant_more_rights(
    parley: Any, as_olga: Client, alice: Any, mona: Any
) -> None:
    steve = await sync_to_async(make_user)("steve", is_staff=True)
    able = ["view_user", "change_user", "delete_user"]
    await steve.user_permissions.aset([p async for p in Permission.objects.filter(codename__in=able)])
    as_steve = await Client(parley, steve).sign_in()
    for person in (as_olga.user, mona, steve):
        path = f"/admin/accounts/user/{person.pk}"
        assert (await as_steve.post(f"{path}/change/", form={"username": "mine"})).status == 403
        assert (await as_steve.post(f"{path}/delete/", form={"post": "yes"})).status == 403
    form = {
        "username": "alice", "email": "new@example.org",
        "is_active": "on", "is_staff": "on", "is_superuser": "on",
        "date_joined_0": "2026-01-01", "date_joined_1": "12:00:00",
    }  # fmt: skip
    saved = await as_steve.post(f"/admin/accounts/user/{alice.pk}/change/", form=form)
    assert saved.status == 302
    await alice.arefresh_from_db()
    assert (alice.email, alice.is_staff, alice.is_superuser) == ("alice@example.org", False, False)


async def test_the_owner_can_make_a_user_a_moderator(as_olga: Client, as_alice: Client, bob: Any) -> None:
    talk = Talk(as_alice)
    await talk.ask("hello")
    group = await Group.objects.aget(name=MODERATOR)
    form = {
        "username": "bob", "email": "bob@example.org",
        "is_active": "on", "is_staff": "on", "groups": str(group.pk),
        "date_joined_0": "2026-01-01", "date_joined_1": "12:00:00",
    }  # fmt: skip
    assert (await as_olga.post(f"/admin/accounts/user/{bob.pk}/change/", form=form)).status == 302
    as_bob = await Client(as_olga.application, bob).sign_in()
    await open_as_staff(as_bob, talk.conversation)
    assert (await as_bob.get(transcript(talk.conversation))).status == 200


async def test_users_cannot_be_deleted_in_the_admin(as_olga: Client, alice: Any) -> None:
    assert (
        await as_olga.post(f"/admin/accounts/user/{alice.pk}/delete/", form={"post": "yes"})
    ).status == 403


def test_permissions_removed_from_the_group_are_not_restored(db: None) -> None:
    from django.core.management import call_command

    group = Group.objects.get(name=MODERATOR)
    assert {p.codename for p in group.permissions.all()} == {
        "view_conversation", "view_run", "view_process", "view_user",
        "view_queue", "read_text", "break_glass", "act_on_content", "act_on_members", "watch_live",
    }  # fmt: skip
    group.permissions.remove(Permission.objects.get(codename="view_user"))
    call_command("migrate", verbosity=0)
    assert not group.permissions.filter(codename="view_user").exists()
