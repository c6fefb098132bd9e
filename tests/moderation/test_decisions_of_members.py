"""Decisions about a member as the member reads them, appeals, and acknowledged warnings."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test import Client as DjangoClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.models import Conversation, Message, Run
from chat.moderation import decisions, review
from chat.moderation.decisions import Why
from chat.moderation.models import Appeal, AuditEvent, Decision, ReviewItem
from tests.support.client import Answer, Client
from tests.support.talk import Talk

WORDS, PRIVATE, PLEA = "Please keep it kind.", "canary private", "canary plea"


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


async def warned(mona: Any, member: Any, **target: Any) -> str:
    """Warn the member, and return the decision's id."""
    why = Why("harmful", WORDS, PRIVATE)
    return str((await sync_to_async(decisions.warn)(mona, member, why, **target)).pk)


async def listed(client: Client) -> list[dict[str, Any]]:
    answer = await client.get("/api/v1/decisions")
    assert answer.status == 200
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def appeal(client: Client, decision: str, text: str = PLEA) -> Answer:
    return await client.post(f"/api/v1/decisions/{decision}/appeal", {"text": text})


async def test_a_member_reads_each_decision_without_names_and_notes(
    as_alice: Client, as_bob: Client, mona: Any, talk: Talk
) -> None:
    reply = await Message.objects.aget(role="assistant")
    run = await Run.objects.select_related("conversation").aget()
    await warned(mona, as_alice.user)
    until = timezone.now() + timedelta(days=2)
    why = Why("privacy", WORDS, PRIVATE)
    await sync_to_async(decisions.suspend)(mona, as_alice.user, until, why)
    await sync_to_async(decisions.impose_lock)(mona, run.conversation, why)
    hidden = await sync_to_async(decisions.hide_message)(mona, reply, why)
    found = await listed(as_alice)
    assert [each["kind"] for each in found] == ["hide", "lock", "suspend", "warn"]
    newest = dict(found[0])
    assert newest.pop("decided_at").endswith("Z")
    assert newest == {
        "id": str(hidden.pk),
        "kind": "hide",
        "conversation": talk.conversation,
        "message": str(reply.pk),
        "reason": "privacy",
        "label": "It reveals something private",
        "words": WORDS,
        "until": None,
        "ended_at": None,
        "acknowledged_at": None,
        "appeal": None,
        "can_appeal": True,
    }
    assert found[2]["until"].endswith("Z")
    page = await as_alice.get("/account/decisions/")
    text = page.text + (await as_alice.get("/api/v1/decisions")).text
    for heading in ("Message hidden", "Conversation locked", "Account suspended", "Warning", WORDS):
        assert heading in page.text
    for word in ("mona", PRIVATE):
        assert word not in text
    assert await listed(as_bob) == []


async def test_the_list_has_pages(as_alice: Client, mona: Any) -> None:
    for days in (1, 2, 3):
        until = timezone.now() + timedelta(days=days)
        await sync_to_async(decisions.suspend)(mona, as_alice.user, until, Why("other"))
    first = (await as_alice.get("/api/v1/decisions?limit=2")).json()
    rest = (await as_alice.get(f"/api/v1/decisions?limit=2&cursor={first['next']}")).json()
    assert [len(first["items"]), len(rest["items"]), rest["next"]] == [2, 1, None]
    assert [bool(each["ended_at"]) for each in first["items"] + rest["items"]] == [False, True, True]
    assert [each["can_appeal"] for each in first["items"] + rest["items"]] == [True, False, False]


async def test_one_can_appeal_once(as_alice: Client, mona: Any) -> None:
    decision = await warned(mona, as_alice.user)
    first = await appeal(as_alice, decision)
    assert first.status == 201
    assert first.json()["appeal"]["text"] == PLEA
    assert first.json()["can_appeal"] is False
    assert code(await appeal(as_alice, decision, "again")) == (409, "appealed")
    (found,) = await listed(as_alice)
    assert found["appeal"] == first.json()["appeal"]
    assert [found["appeal"][name] for name in ("outcome", "words", "decided_at")] == [None, "", None]
    assert (await ReviewItem.objects.aget()).status == "appealed"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"text": " \u200b"}, (422, "blank")),
        ({"text": "x" * 2001}, (422, "too_long")),
        ({}, (400, "malformed")),
        ({"text": "x", "outcome": "overturned"}, (400, "malformed")),
    ],
)
async def test_a_wrong_appeal_is_refused(
    as_alice: Client, mona: Any, body: Any, expected: tuple[int, str]
) -> None:
    decision = await warned(mona, as_alice.user)
    assert code(await as_alice.post(f"/api/v1/decisions/{decision}/appeal", body)) == expected
    assert not await Appeal.objects.aexists()


async def test_a_decision_that_was_taken_back_takes_no_appeal(as_alice: Client, mona: Any) -> None:
    decision = await warned(mona, as_alice.user)
    await sync_to_async(decisions.take_back)(mona, await Decision.objects.select_related("member").aget())
    assert code(await appeal(as_alice, decision)) == (409, "ended")
    page = await as_alice.post(f"/account/decisions/{decision}/appeal/", form={"text": PLEA})
    assert page.status == 409
    assert "This decision was taken back already." in page.text
    assert "No longer in force since" in page.text
    assert "Send the appeal" not in page.text


async def test_the_member_reads_the_outcome_of_an_appeal(
    as_alice: Client, mona: Any, stella: Any, talk: Talk
) -> None:
    reply = await Message.objects.aget(role="assistant")
    hidden = await sync_to_async(decisions.hide_message)(mona, reply, Why("harmful", WORDS))
    await appeal(as_alice, str(hidden.pk))
    assert "waits to be decided by somebody else" in (await as_alice.get("/account/decisions/")).text
    item = await ReviewItem.objects.aget()
    await sync_to_async(review.claim_item)(stella, item.pk)
    await sync_to_async(review.decide_appeal)(
        stella, item.pk, "overturned", words="You are right.", note=PRIVATE
    )
    (found,) = await listed(as_alice)
    assert (found["appeal"]["outcome"], found["appeal"]["words"]) == ("overturned", "You are right.")
    assert found["appeal"]["decided_at"]
    assert found["ended_at"]
    page = (await as_alice.get("/account/decisions/")).text
    assert "The decision was taken back" in page
    assert "You are right." in page
    assert PRIVATE not in page
    assert "stella" not in page


async def test_where_nobody_else_may_decide_the_member_reads_that(
    as_alice: Client, mona: Any, talk: Talk
) -> None:
    decision = await warned(mona, as_alice.user)
    sentence = "It is decided by the same person, after 24 hours, because nobody else may."
    assert sentence in (await as_alice.get("/account/decisions/")).text
    await appeal(as_alice, decision)
    assert sentence in (await as_alice.get("/account/decisions/")).text


async def test_where_somebody_else_may_decide_the_member_reads_that(
    as_alice: Client, mona: Any, stella: Any
) -> None:
    await warned(mona, as_alice.user)
    page = (await as_alice.get("/account/decisions/")).text
    assert "It is decided by somebody else." in page
    assert "24 hours" not in page


async def test_a_form_that_is_sent_twice_is_one_appeal(as_alice: Client, mona: Any) -> None:
    decision = await warned(mona, as_alice.user)
    path = f"/account/decisions/{decision}/appeal/"
    for _twice in range(2):
        sent = await as_alice.post(path, form={"text": PLEA})
        assert (sent.status, sent.headers["location"]) == (303, f"/account/decisions/#d-{decision}")
    assert await Appeal.objects.acount() == 1
    other = await as_alice.post(path, form={"text": "something else"})
    assert other.status == 409
    assert "You have appealed against this already." in other.text


async def test_a_blank_appeal_keeps_the_form_open(as_alice: Client, mona: Any) -> None:
    decision = await warned(mona, as_alice.user)
    page = await as_alice.post(f"/account/decisions/{decision}/appeal/", form={"text": " "})
    assert page.status == 422
    assert "Say why, in a few words." in page.text
    assert '<details class="appeal" open>' in page.text


async def test_a_warning_is_acknowledged_before_the_next_question(as_alice: Client, mona: Any) -> None:
    decision = await warned(mona, as_alice.user)
    refused = await as_alice.post("/chat/stream", {"query": "hello"})
    assert code(refused) == (409, "warning")
    assert refused.json()["error"]["decision"] == decision
    assert "I have read this" in (await as_alice.get("/account/decisions/")).text
    read = await as_alice.post(f"/api/v1/decisions/{decision}/acknowledge", {})
    assert read.status == 200
    assert read.json()["acknowledged_at"]
    again = await as_alice.post(f"/api/v1/decisions/{decision}/acknowledge")
    assert again.json() == read.json()
    assert await AuditEvent.objects.filter(action="warning.acknowledge").acount() == 1
    assert (await as_alice.post("/chat/stream", {"query": "hello"})).status == 200


async def test_the_button_acknowledges_a_warning(as_alice: Client, mona: Any) -> None:
    decision = await warned(mona, as_alice.user)
    path = f"/account/decisions/{decision}/acknowledge/"
    for _twice in range(2):
        assert (await as_alice.post(path, form={})).status == 303
    page = (await as_alice.get("/account/decisions/")).text
    assert "I have read this" not in page
    assert "You read it on" in page
    assert (await as_alice.post("/chat/stream", {"query": "hello"})).status == 200


async def test_only_ones_own_warning_is_acknowledged(
    as_alice: Client, as_bob: Client, mona: Any, talk: Talk
) -> None:
    run = await Run.objects.select_related("conversation").aget()
    locked = await sync_to_async(decisions.impose_lock)(mona, run.conversation, Why("other"))
    assert (await as_alice.post(f"/api/v1/decisions/{locked.pk}/acknowledge")).status == 404
    decision = await warned(mona, as_alice.user)
    assert (await as_bob.post(f"/api/v1/decisions/{decision}/acknowledge")).status == 404
    assert (await appeal(as_bob, decision)).status == 404


async def test_a_suspended_member_reads_appeals_and_acknowledges(as_alice: Client, mona: Any) -> None:
    until = timezone.now() + timedelta(days=1)
    await warned(mona, as_alice.user)
    await sync_to_async(decisions.suspend)(mona, as_alice.user, until, Why("other"))
    suspension, warning = [each["id"] for each in await listed(as_alice)]
    assert (await as_alice.get("/account/decisions/")).status == 200
    assert (await appeal(as_alice, suspension)).status == 201
    assert (await as_alice.post(f"/api/v1/decisions/{warning}/acknowledge")).status == 200
    assert code(await as_alice.post("/chat/stream", {"query": "hello"})) == (403, "suspended")


async def test_the_account_menu_links_both_lists(as_alice: Client) -> None:
    page = (await as_alice.get("/")).text
    for path in ("/account/reports/", "/account/decisions/"):
        assert f'href="{path}"' in page
    assert "Moderators have decided nothing about you." in (await as_alice.get("/account/decisions/")).text


async def test_a_long_list_takes_no_more_queries_than_a_short_one(
    as_alice: Client, mona: Any, stella: Any
) -> None:
    def shown(number: int) -> int:
        for _each in range(number):
            Decision.objects.create(
                kind="stop",
                run=uuid.uuid4(),
                reason="other",
                member=as_alice.user,
                conversation=conversation,
                decided_by=mona,
            )
        client = DjangoClient()
        client.force_login(as_alice.user)
        with CaptureQueriesContext(connection) as captured:
            assert client.get("/account/decisions/").status_code == 200
        return len(captured)

    conversation = await Conversation.objects.acreate(owner=as_alice.user, agent="chat_assistant")
    assert await sync_to_async(shown)(1) == await sync_to_async(shown)(20)
