"""Reports of a reply: by its owner, by bad feedback, and by a block of the model."""

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts.models import User
from chat.models import Conversation, Message
from chat.moderation import review
from chat.moderation.models import Policy, Report, ReviewItem
from chat.moderation.reports import REPORTS_AN_HOUR
from tests.support.client import Answer, Client
from tests.support.gemini import Finish, Gemini
from tests.support.talk import Talk

NOTE = "canary wombat"


@pytest.fixture
async def reply(talk: Talk) -> str:
    """Return the id of alice's reply."""
    return str((await talk.reply())["id"])


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


async def report(client: Client, reply: str, reason: str = "harmful", note: str = "") -> Answer:
    return await client.post(f"/api/v1/messages/{reply}/report", {"reason": reason, "note": note})


async def reports(client: Client) -> list[dict[str, Any]]:
    answer = await client.get("/api/v1/reports")
    assert answer.status == 200
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def decided(staff: Any, *kinds: str, reason: str = "harmful") -> ReviewItem:
    """Claim the only item, and act on it, or dismiss it."""
    item = await ReviewItem.objects.aget()
    await sync_to_async(review.claim_item)(staff, item.pk)
    if kinds:
        await sync_to_async(review.act)(staff, item.pk, kinds, reason=reason, words="Please do not.")
    else:
        await sync_to_async(review.dismiss)(staff, item.pk, note="a private note")
    return await ReviewItem.objects.aget()


async def test_the_first_report_is_new_and_a_later_one_is_the_same(as_alice: Client, reply: str) -> None:
    first = await report(as_alice, reply, note=NOTE)
    assert first.status == 201
    again = await report(as_alice, reply, note=NOTE)
    assert (again.status, again.json()) == (200, first.json())
    assert await Report.objects.acount() == 1
    other = await report(as_alice, reply, "privacy")
    assert (other.status, other.json()) == (200, first.json())
    assert await ReviewItem.objects.acount() == 1
    assert [each["reason"] for each in await reports(as_alice)] == ["privacy", "harmful"]


async def test_a_report_is_listed_for_the_member_who_sent_it(
    as_alice: Client, as_bob: Client, talk: Talk, reply: str
) -> None:
    sent = (await report(as_alice, reply, note=NOTE)).json()["report"]
    (listed,) = await reports(as_alice)
    assert listed.pop("reported_at").endswith("Z")
    assert listed == {
        "id": sent,
        "conversation": talk.conversation,
        "message": reply,
        "reason": "harmful",
        "note": NOTE,
        "status": "open",
        "decided_at": None,
    }
    assert await reports(as_bob) == []


async def test_the_list_has_pages(as_alice: Client, reply: str) -> None:
    for reason in ("harmful", "wrong", "privacy"):
        await report(as_alice, reply, reason)
    first = (await as_alice.get("/api/v1/reports?limit=2")).json()
    rest = (await as_alice.get(f"/api/v1/reports?limit=2&cursor={first['next']}")).json()
    assert [each["reason"] for each in first["items"] + rest["items"]] == ["privacy", "wrong", "harmful"]
    assert rest["next"] is None
    for cursor in ("x", "AAAA", first["next"][:-6]):
        assert code(await as_alice.get(f"/api/v1/reports?cursor={cursor}")) == (400, "malformed")


async def test_the_member_reads_what_became_of_it_and_not_by_whom(
    as_alice: Client, mona: Any, reply: str
) -> None:
    await report(as_alice, reply)
    await decided(mona)
    answer = await as_alice.get("/api/v1/reports")
    (listed,) = answer.json()["items"]
    assert listed["status"] == "dismissed"
    assert listed["decided_at"]
    page = await as_alice.get("/account/reports/")
    assert "Nothing was done" in page.text
    for word in ("mona", "a private note", "priority"):
        assert word not in answer.text + page.text


async def test_a_new_reason_opens_a_decided_item_again(as_alice: Client, mona: Any, reply: str) -> None:
    await report(as_alice, reply)
    assert (await decided(mona)).status == "dismissed"
    await report(as_alice, reply, note="the same reason again")
    assert (await ReviewItem.objects.aget()).status == "dismissed"
    await report(as_alice, reply, "self_harm")
    item = await ReviewItem.objects.aget()
    assert (item.status, item.decided_by_id, item.decided_at) == ("open", None, None)
    assert {each["status"] for each in await reports(as_alice)} == {"open"}
    assert (await decided(mona, "warn")).status == "actioned"
    assert {each["status"] for each in await reports(as_alice)} == {"acted"}


async def test_a_further_reason_raises_the_priority(as_alice: Client, reply: str) -> None:
    found = []
    for reason in ("wrong", "privacy", "illegal"):
        await report(as_alice, reply, reason)
        found.append((await ReviewItem.objects.aget()).priority)
    assert found == [10, 50, 150]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"reason": "rude"}, (422, "reason")),
        ({"reason": ""}, (422, "reason")),
        ({"note": "x"}, (400, "malformed")),
        ({"reason": 1}, (400, "malformed")),
        ({"reason": "wrong", "priority": 9}, (400, "malformed")),
        ({"reason": "wrong", "note": "x" * 2001}, (422, "too_long")),
    ],
)
async def test_a_wrong_body_is_refused(
    as_alice: Client, reply: str, body: Any, expected: tuple[int, str]
) -> None:
    assert code(await as_alice.post(f"/api/v1/messages/{reply}/report", body)) == expected
    assert not await Report.objects.aexists()


async def test_only_an_own_reply_that_is_not_hidden_can_be_reported(
    as_alice: Client, as_bob: Client, talk: Talk, reply: str
) -> None:
    question = str((await talk.messages())[0]["id"])
    foreign, unknown = await report(as_bob, reply), await report(as_alice, question)
    assert foreign.status == unknown.status == 404
    assert foreign.body == unknown.body
    await Message.objects.filter(pk=reply).aupdate(hidden_at=timezone.now())
    assert (await report(as_alice, reply)).status == 404
    assert (await as_alice.get(f"/chat/{talk.conversation}/{reply}/report/")).status == 404


async def test_twenty_reports_an_hour(as_alice: Client, reply: str) -> None:
    for number in range(REPORTS_AN_HOUR):
        assert (await report(as_alice, reply, note=str(number))).status in (200, 201)
    refused = await report(as_alice, reply, note="one more")
    assert code(refused) == (429, "too_many")
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    assert (await report(as_alice, reply, note="0")).status == 200  # stored before
    talk = Talk(as_alice)
    await talk.ask("hello")
    page = f"/chat/{talk.conversation}/{(await talk.reply())['id']}/report/"
    answer = await as_alice.post(page, form={"reason": "wrong", "note": NOTE})
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 3500
    assert NOTE in answer.text
    oldest = await Report.objects.order_by("reported_at").afirst()
    assert oldest
    await Report.objects.filter(pk=oldest.pk).aupdate(reported_at=timezone.now() - timedelta(hours=1))
    assert (await report(as_alice, reply, note="one more")).status == 200


async def test_reports_can_be_switched_off(as_alice: Client, talk: Talk, reply: str) -> None:
    await Policy.objects.acreate(takes_reports=False)
    assert code(await report(as_alice, reply)) == (403, "reports_off")
    path = f"/chat/{talk.conversation}/{reply}/report/"
    page = await as_alice.get(path)
    assert page.status == 200
    assert "This site takes no reports." in page.text
    assert 'name="reason"' not in page.text
    assert (await as_alice.post(path, form={"reason": "wrong"})).status == 403
    assert "This site takes no reports." in (await as_alice.get("/account/reports/")).text


async def test_a_suspended_member_reports(as_alice: Client, talk: Talk, reply: str) -> None:
    until = timezone.now() + timedelta(days=1)
    await User.objects.filter(pk=as_alice.user.pk).aupdate(suspended_until=until)
    assert (await report(as_alice, reply)).status == 201
    path = f"/chat/{talk.conversation}/{reply}/report/"
    assert (await as_alice.post(path, form={"reason": "wrong"})).status == 303
    assert len(await reports(as_alice)) == 2


async def test_the_socket_sends_decision(as_alice: Client, reply: str) -> None:
    async with as_alice.socket() as socket:
        await socket.opened()
        await report(as_alice, reply)
        assert (await socket.frame())["type"] == "decision"


# --- the pages -------------------------------------------------------------------------------------


async def test_the_flag_below_a_reply_leads_to_the_form(as_alice: Client, talk: Talk, reply: str) -> None:
    path = f"/chat/{talk.conversation}/{reply}/report/"
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert page.count(f'href="{path}"') == page.count('title="Report"') == 1  # none below the question
    form = await as_alice.get(path)
    for reason in ("harmful", "wrong", "privacy", "illegal", "self_harm", "other"):
        assert f'value="{reason}"' in form.text
    for _twice in range(2):
        sent = await as_alice.post(path, form={"reason": "illegal", "note": NOTE})
        assert (sent.status, sent.headers["location"]) == (303, path)
    assert await Report.objects.acount() == 1
    assert "Thank you. Staff of this site will look at it." in (await as_alice.get(path)).text
    listed = (await as_alice.get("/account/reports/")).text
    assert NOTE in listed
    assert "Not decided yet" in listed
    assert f"#m-{reply}" in listed


async def test_a_refused_form_keeps_what_was_typed(as_alice: Client, talk: Talk, reply: str) -> None:
    path = f"/chat/{talk.conversation}/{reply}/report/"
    answer = await as_alice.post(path, form={"note": NOTE})
    assert answer.status == 422
    assert "Choose a reason." in answer.text
    assert NOTE in answer.text
    answer = await as_alice.post(path, form={"reason": "wrong", "note": "x" * 2001})
    assert answer.status == 422
    assert 'value="wrong" required checked' in answer.text


async def test_the_form_is_of_the_conversation_in_its_address(as_alice: Client, reply: str) -> None:
    other = Talk(as_alice)
    await other.ask("hello")
    path = f"/chat/{other.conversation}/{reply}/report/"
    assert (await as_alice.get(path)).status == 404
    assert (await as_alice.post(path, form={"reason": "wrong"})).status == 404


async def test_a_deleted_conversation_is_not_linked(as_alice: Client, talk: Talk, reply: str) -> None:
    await report(as_alice, reply)
    await Conversation.objects.filter(pk=talk.conversation or "").aupdate(deleted_at=timezone.now())
    page = (await as_alice.get("/account/reports/")).text
    assert "in a conversation that you have deleted" in page
    assert str(talk.conversation) not in page


# --- the other sources -----------------------------------------------------------------------------


async def rate(client: Client, reply: str, **feedback: Any) -> None:
    answer = await client.request("PUT", f"/api/v1/messages/{reply}/feedback", json_body=feedback)
    assert answer.status == 200


async def test_bad_feedback_with_a_reason_is_a_report_where_it_is_switched_on(
    as_alice: Client, reply: str
) -> None:
    bad = {"value": -1, "reasons": ["unsafe"], "text": NOTE}
    await rate(as_alice, reply, **bad)
    assert not await Report.objects.aexists()
    await Policy.objects.acreate(takes_feedback=True)
    await rate(as_alice, reply, value=-1)
    await rate(as_alice, reply, value=1, reasons=["unsafe"])
    assert not await Report.objects.aexists()
    for _twice in range(2):
        await rate(as_alice, reply, **bad)
    stored = await Report.objects.aget()
    assert (stored.source, stored.reason, stored.note) == ("feedback", "harmful", NOTE)
    assert await reports(as_alice) == []
    assert "rate as bad" in (await as_alice.get("/account/reports/")).text


async def test_a_block_of_the_model_is_a_report_where_it_is_switched_on(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("blocked", [Finish("SAFETY")])
    talk = Talk(as_alice)
    assert (await talk.ask("blocked")).code == "blocked"
    assert not await Report.objects.aexists()
    await Policy.objects.acreate(takes_blocks=True)
    await talk.ask("blocked")
    stored = await Report.objects.select_related("item").aget()
    assert (stored.source, stored.reason, stored.member_id) == ("block", "harmful", None)
    assert str(stored.item.conversation_id) == talk.conversation
    assert await reports(as_alice) == []
