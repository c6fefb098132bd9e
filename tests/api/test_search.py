"""GET /api/v1/search: the own titles and messages of a member, found by their words in every script."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as configured
from django.db import connection, transaction
from django.utils import timezone

from chat.models import Conversation, Message
from chat.search import found
from chat.search.index import index_due
from tests.support.client import Client


async def search(client: Client, text: str, more: str = "") -> dict[str, Any]:
    answer = await client.get(f"/api/v1/search?q={quote(text)}{more}")
    assert answer.status == 200, answer.json()
    found: dict[str, Any] = answer.json()
    return found


async def found_texts(client: Client, text: str) -> list[str]:
    """Return the snippets of the messages that a search finds, without the titles."""
    items = (await search(client, text))["items"]
    return ["".join(piece["text"] for piece in item["snippet"]) for item in items if item["message"]]


@sync_to_async
def store(owner: Any, *texts: str, title: str = "-") -> Conversation:
    """Store a conversation with a question of each text."""
    conversation = Conversation.objects.create(owner=owner, agent="x", title=title)
    for text in texts:
        Message.objects.create(conversation=conversation, role="user", text=text)
    return conversation


async def test_a_hit_has_its_conversation_its_sentence_and_its_time(as_alice: Client, alice: Any) -> None:
    stored = await store(alice, "The quick brown fox jumps.")
    message = await Message.objects.aget()
    found = await search(as_alice, "bro")
    assert found == {
        "items": [
            {
                "conversation": str(stored.pk),
                "title": "-",
                "message": str(message.pk),
                "role": "user",
                "snippet": [
                    {"text": "The quick ", "hit": False},
                    {"text": "bro", "hit": True},
                    {"text": "wn fox jumps.", "hit": False},
                ],
                "created_at": message.created_at.isoformat().replace("+00:00", "Z"),
            }
        ],
        "next": None,
    }


async def test_a_hit_in_a_title_has_no_message(as_alice: Client, alice: Any) -> None:
    stored = await store(alice, title="Night sky")
    (item,) = (await search(as_alice, "sky"))["items"]
    assert (item["conversation"], item["message"], item["role"]) == (str(stored.pk), None, None)


async def test_a_stored_question_and_its_reply_are_found_at_once(as_alice: Client) -> None:
    await as_alice.ask("What is a quasar?")
    roles = [item["role"] for item in (await search(as_alice, "quasar"))["items"]]
    assert sorted(map(str, roles)) == ["None", "assistant", "user"]


async def test_hits_come_newest_first_page_by_page(as_alice: Client, alice: Any) -> None:
    texts = [f"apple {n}" for n in range(7)]
    await store(alice, *texts)
    seen: list[str] = []
    more = "&limit=3"
    while more:
        page = await search(as_alice, "apple", more)
        seen += ["".join(piece["text"] for piece in item["snippet"]) for item in page["items"]]
        more = f"&limit=3&cursor={page['next']}" if page["next"] else ""
    assert seen == texts[::-1]


async def test_a_new_title_replaces_the_old_one(as_alice: Client, alice: Any) -> None:
    stored = await store(alice, title="before")
    assert (await search(as_alice, "before"))["items"]
    path = f"/api/v1/conversations/{stored.pk}"
    await as_alice.request("PATCH", path, json_body={"title": "afterwards"})
    assert (await search(as_alice, "before"))["items"] == []
    assert len((await search(as_alice, "afterwards"))["items"]) == 1


# --- whose texts are searched -------------------------------------------------------------------------


async def test_a_member_finds_nothing_of_others(as_bob: Client, alice: Any) -> None:
    await store(alice, "the secret word", title="secret")
    assert await search(as_bob, "secret") == {"items": [], "next": None}


async def test_ids_that_begin_alike_are_different_owners(as_bob: Client, alice: Any, bob: Any) -> None:
    """In the index the owner's id is in front of each term, and a search may hold one, too."""
    await store(alice, "secret")
    for text in ("2:secret", f"{alice.pk}:secret", f'"{alice.pk}:secret"', f"{alice.pk} secret"):
        assert (await search(as_bob, text))["items"] == []


async def test_a_deleted_conversation_is_not_found(as_alice: Client, alice: Any) -> None:
    stored = await store(alice, "apple", title="apple")
    assert len((await search(as_alice, "apple"))["items"]) == 2
    await as_alice.request("DELETE", f"/api/v1/conversations/{stored.pk}")
    assert (await search(as_alice, "apple"))["items"] == []


async def test_a_hidden_message_is_not_found(as_alice: Client, alice: Any) -> None:
    await store(alice, "apple")
    await Message.objects.aupdate(hidden_at=timezone.now())
    assert (await search(as_alice, "apple"))["items"] == []


async def test_a_message_that_is_deleted_during_a_search_is_left_out(
    as_alice: Client, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(alice, "one fox", "two foxes")
    read = found._own_rows

    def read_and_delete(*args: Any) -> Any:
        rows = read(*args)
        Message.objects.filter(text="one fox").delete()
        return rows

    monkeypatch.setattr(found, "_own_rows", read_and_delete)
    assert await found_texts(as_alice, "fox") == ["two foxes"]


@pytest.mark.skipif(configured.ON_SQLITE, reason="SQLite has one writer at a time")
def test_a_message_and_then_a_title_are_written_while_both_are_taken_in(alice: Any) -> None:
    """The index reads the title first. If it kept that row and waited for the message, both would wait."""
    conversation = Conversation.objects.create(owner=alice, agent="x", title="old")
    message = Message.objects.create(conversation=conversation, role="user", text="old")

    def index() -> None:
        index_due()
        connection.close()  # this thread's own

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            Message.objects.filter(pk=message.pk).update(text="new walrus")
            indexed = thread.submit(index)
            with suppress(TimeoutError):
                indexed.result(0.5)
            assert not indexed.done(), "it does not wait for the message, so that this test shows nothing"
            Conversation.objects.filter(pk=conversation.pk).update(title="new title")
        indexed.result()
    for word in ("walrus", "title"):
        hits, _next = found.own_hits(alice, f"new {word}", None, 10)
        assert len(hits) == 1


async def test_hidden_and_deleted_hits_leave_no_gap_in_a_page(as_alice: Client, alice: Any) -> None:
    await store(alice, *(f"apple {n}" for n in range(4)))
    await Message.objects.filter(text__in=["apple 3", "apple 2"]).aupdate(hidden_at=timezone.now())
    page = await search(as_alice, "apple", "&limit=2")
    assert len(page["items"]) == 2
    assert page["next"] is None


async def test_a_conversation_that_moves_to_another_owner_is_not_found_by_the_first(
    as_alice: Client, alice: Any, bob: Any
) -> None:
    await store(alice, "apple")
    assert await found_texts(as_alice, "apple")
    await Conversation.objects.aupdate(owner=bob)
    assert not await found_texts(as_alice, "apple")


# --- words in every script ----------------------------------------------------------------------------

CASES = [
    ("hel", "Hello", True), ("HELLO", "hello", True), ("ello", "Hello", False),
    ("привіт", "Привіт", True), ("прив", "ПРИВІТ світ", True), ("cafe", "Café", True), ("café", "CAFE", True),
    ("cafe", "cafe\u0301", True), ("caf\u00e9", "cafe\u0301", True),
    ("istanbul", "İstanbul", True), ("İstanbul", "ISTANBUL", True), ("isik", "IŞIK ışık", True),
    ("strasse", "Straße", True), ("STRAẞE", "Strasse", True), ("οδοσ", "ΟΔΟΣ", True), ("οδος", "ΟΔΟΣ", True),
    ("αθηναι", "Ἀθῆναι", True), ("lodz", "Łódź", True), ("smorrebrod", "Smørrebrød", True),
    ("كتاب", "كِتَابٌ", True), ("احمد", "أحمد", True), ("שלום", "שָׁלוֹם", True),
    ("full", "\uff46\uff55\uff4c\uff4c width", True), ("fine", "\ufb01ne", True), ("2024", "٢٠٢٤", True),
    ("हिन्दी", "मैं हिन्दी बोलता हूँ", True), ("तमिल", "हिन्दी", False), ("tiếng", "Tieng Viet", True),
    ("東京", "今日は東京へ行く", True),
    ("京都", "今日は東京都へ行く", True), ("東京都", "東京と京都", False),
    ("我们", "明天我们去北京", True), ("猫", "私の猫", True),
    ("ガッツ", "ｶﾞｯﾂ", True), ("ハハ", "パパ", False),
    ("학교", "나는 학교에 간다", True), ("교에", "나는 학교에 간다", True),
    ("\u1112\u1161\u11a8교", "학교", True),
    ("ไทย", "ฉันพูดภาษาไทยได้", True),
    ("ພາສາ", "ຂ້ອຍເວົ້າພາສາລາວ", True),
    ("ភាសា", "ខ្ញុំនិយាយភាសាខ្មែរ", True),
    ("မြန်မာ", "ကျွန်တော်မြန်မာစကားပြော", True), ("iPhone15を", "新しいiPhone15を買う", True),
    ('"brown fox"', "quick brown fox", True), ('"fox brown"', "quick brown fox", False),
    ("brown quick", "quick brown fox", True), ("brown cat", "quick brown fox", False),
    ("don't", "I don’t know", True), ("user_id", "the user_id column", True), ("a/b", "path a/b", True),
    ("C++", "in C++ and C#", True), ("<b>", "tag <b>", True), ("soft", "so\u00adft hyphen", True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "stored", "is_found"), CASES)
async def test_words_are_found_in_every_script(
    as_alice: Client, alice: Any, text: str, stored: str, is_found: bool
) -> None:
    await store(alice, stored)
    found = (await search(as_alice, text))["items"]
    assert len(found) == is_found
    if is_found:
        assert any(piece["hit"] for piece in found[0]["snippet"])


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 422, "blank"), ("q=", 422, "blank"), ("q=%20%E2%80%8B", 422, "blank"),
        (f"q={'x' * 201}", 422, "too_long"), ("q=%00", 400, "malformed"), ("q=a&cursor=x", 400, "malformed"),
        ("q=a&limit=0", 400, "malformed"), ("q=a&cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5IHg", 400, "malformed"),
    ],
)  # fmt: skip
async def test_bad_searches_are_refused(as_alice: Client, query: str, status: int, code: str) -> None:
    answer = await as_alice.get(f"/api/v1/search?{query}")
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


# Each mark is tried alone, around, before, after and inside of a word that bob has written.
MARKS = [
    '"', "'", "*", ":", ":*", "&", "|", "!", "<->", "<2>", "(", ")", "-", "+", "^", "~", "%", "_", "\\", "/*",
    "--", ";", "{", "}", "[", "]", "NEAR", "NEAR(", "AND", "OR", "NOT", "$1", "%s", "%(q)s", "\x01", "\ud800",
    "\x00", "\u202e", "\u200d", "😀", "\u0301", "ﷺ", "İ", "中", "ก", "\t\n",
]  # fmt: skip
HOSTILE = [
    query
    for mark in MARKS
    for query in (mark * 3, f"{mark}secret{mark}", f"secret {mark}", f"{mark} secret", f"sec{mark}ret")
] + ["' OR 1=1 --", "owner:secret", "1:secret", "x" * 201, "a " * 100, "😀" * 200, "中" * 200, '"' * 199]


async def test_no_query_fails_or_finds_what_others_wrote(as_alice: Client, alice: Any, bob: Any) -> None:
    assert len(HOSTILE) > 200
    await store(bob, "secret", *MARKS[:10], title="secret")
    own = await store(alice, "sec ret", title="mine")
    for query in HOSTILE:
        answer = await as_alice.get(f"/api/v1/search?q={quote(query, errors='surrogatepass')}")
        assert answer.status in (200, 400, 422), query
        if answer.status == 200:
            assert {item["conversation"] for item in answer.json()["items"]} <= {str(own.pk)}, query


async def test_a_visitor_is_refused(visitor: Client) -> None:
    assert (await visitor.get("/api/v1/search?q=a")).status == 401
