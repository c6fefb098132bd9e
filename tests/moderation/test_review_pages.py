"""The page of a review item: what it shows before and after a claim, each step, and each refusal."""

import html
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from chat.models import Conversation, Message
from chat.moderation import decisions, review
from chat.moderation.models import AccessGrant, Appeal, AuditEvent, Decision, ReviewItem
from tests.conftest import make_staff, make_user
from tests.moderation.reviewing import (
    QUEUE,
    acted,
    address_of,
    claimed,
    conversation_with,
    reported,
    signed_in,
)
from tests.support.staff import opening

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = [f"canary {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
MESSAGE = 3  # the reported reply


@pytest.fixture
def quasar(alice: Any) -> Conversation:
    return conversation_with(alice, *TEXTS)


@pytest.fixture
def item(alice: Any, quasar: Conversation) -> ReviewItem:
    return reported(alice, message(quasar), "harmful", "canary note of alice")


@pytest.fixture
def olga(transactional_db: None) -> Any:
    return make_user("olga", is_staff=True, is_superuser=True)


def message(conversation: Conversation) -> Message:
    found: Message = conversation.messages.get(text=TEXTS[MESSAGE])
    return found


def page_of(client: Any, item: ReviewItem, status: int = 200) -> str:
    answer = client.get(address_of(item))
    assert answer.status_code == status
    return html.unescape(answer.content.decode())


def step(client: Any, item: ReviewItem, do: str, **fields: Any) -> Any:
    return client.post(address_of(item), {"do": do, **fields})


def done(answer: Any) -> None:
    assert (answer.status_code, answer.get("location")) == (303, QUEUE), answer.content.decode()[:3000]


def refused(answer: Any, status: int, sentence: str) -> str:
    page = html.unescape(answer.content.decode())
    assert answer.status_code == status, page[:3000]
    assert sentence in page
    return page


def status_of(item: ReviewItem) -> str:
    return ReviewItem.objects.get(pk=item.pk).status


def actions() -> list[str]:
    return list(
        AuditEvent.objects.exclude(action__in=["look", "report"])
        .order_by("seq")
        .values_list("action", flat=True)
    )


# --- who may see it -----------------------------------------------------------------------------------


def test_members_auditors_and_strangers_do_not_see_an_item(
    alice: Any, bob: Any, audrey: Any, item: ReviewItem
) -> None:
    for member in (alice, bob):
        assert signed_in(member).get(address_of(item)).status_code in (302, 403)
        assert signed_in(member).post(address_of(item), {"do": "claim"}).status_code in (302, 403)
    assert signed_in(audrey).get(address_of(item)).status_code == 403
    assert signed_in(audrey).post(address_of(item), {"do": "claim"}).status_code == 403


def test_an_unknown_item_is_not_found(mona: Any) -> None:
    for name in ("word", "00000000-0000-7000-8000-000000000000"):
        assert signed_in(mona).get(f"{QUEUE}{name}/").status_code == 404


def test_before_a_claim_the_page_has_facts_and_neither_name_nor_text(
    alice: Any, mona: Any, olga: Any, quasar: Conversation, item: ReviewItem
) -> None:
    review.add_note(mona, item.pk, "canary note of staff")
    for staff in (mona, olga):
        page = page_of(signed_in(staff), item)
        assert "It is harmful or dangerous" in page
        assert "shown once you have claimed it" in page
        for secret in ("alice", "canary", str(quasar.pk), str(item.message_id)):
            assert secret not in page
    assert not AuditEvent.objects.filter(action="look").exists()


def test_after_a_claim_the_page_shows_the_name_the_report_and_two_messages_on_either_side(
    mona: Any, quasar: Conversation, item: ReviewItem
) -> None:
    client = claimed(mona, item)
    page = page_of(client, item)
    shown = [text for text in TEXTS if text in page]
    assert shown == TEXTS[MESSAGE - 2 : MESSAGE + 3]
    assert "alice" in page
    assert "canary note of alice" in page
    assert f"/admin/chat/conversation/{quasar.pk}/change/?message={item.message_id}" in page
    (look,) = AuditEvent.objects.filter(action="look")
    assert (look.actor, look.member) == (mona.audit_id, quasar.owner.audit_id)
    assert (look.object_id, look.reason) == (str(quasar.pk), "report")
    page_of(client, item)
    assert AuditEvent.objects.filter(action="look").count() == 2


def test_without_a_stored_look_nothing_is_shown(
    mona: Any, item: ReviewItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = claimed(mona, item)
    monkeypatch.setattr(review, "record_item_look", lambda request, item: False)
    assert "canary" not in page_of(client, item)


def test_a_message_of_another_branch_is_shown_with_its_own_branch(alice: Any, mona: Any) -> None:
    quasar = conversation_with(alice, *TEXTS)
    first = quasar.messages.get(text=TEXTS[0])
    other = Message.objects.create(
        conversation=quasar, parent=first, role="assistant", agent="chat_assistant", text="canary aside"
    )
    page = page_of(claimed(mona, item := reported(alice, other)), item)
    assert "canary aside" in page
    assert TEXTS[0] in page
    assert TEXTS[1] not in page


def test_the_whole_conversation_needs_a_reason(mona: Any, quasar: Conversation, item: ReviewItem) -> None:
    client = claimed(mona, item)
    answer = client.get(f"/admin/chat/conversation/{quasar.pk}/change/?message={item.message_id}")
    assert answer.status_code == 302
    assert answer["location"].startswith(opening(quasar.pk))


def test_the_text_is_gone_after_the_claim_and_with_a_grant_it_is_there_again(
    mona: Any, stella: Any, quasar: Conversation, item: ReviewItem
) -> None:
    client = claimed(mona, item)
    assert "canary" not in page_of(signed_in(stella), item)
    done(step(client, item, "release"))
    assert "canary" not in page_of(client, item)
    assert not AccessGrant.objects.in_force().exists()
    done(step(claimed(mona, item), item, "dismiss"))
    assert "canary" not in page_of(client, item)
    assert client.post(opening(quasar.pk), {"reason": "report"}).status_code == 303
    assert TEXTS[MESSAGE] in page_of(client, item)


def test_the_same_words_elsewhere_are_named_by_their_place(alice: Any, mona: Any) -> None:
    words = "The recipe needs three spoons of it"
    quasar = conversation_with(alice, words, words, "a", "b", "c", "d", f"Is this right? {words}", "e")
    reply = quasar.messages.get(role="assistant", text=words)
    item = reported(alice, reply)
    page = page_of(claimed(mona, item), item)
    last = quasar.messages.get(text__startswith="Is this right?")
    assert "The same words stand elsewhere" in page
    assert f"/admin/decide/{quasar.pk}/?message={last.pk}" in page
    assert "Is this right?" not in page


# --- triage -------------------------------------------------------------------------------------------


def test_triage_claims_notes_and_escalates_without_a_text(tom: Any, item: ReviewItem) -> None:
    client = claimed(tom, item)
    page = page_of(client, item)
    assert "alice" in page
    assert "canary" not in page
    for button in ("escalate", "note", "release"):
        assert f'value="{button}"' in page
    for button in ("act", "dismiss", "uphold", "overturn"):
        assert f'value="{button}"' not in page
    assert not AuditEvent.objects.filter(action="look").exists()
    assert step(client, item, "note", note="It looks bad").status_code == 303
    for do in ("act", "dismiss"):
        refused(step(client, item, do, lock="true", reason="harmful"), 403, "You may not do this.")
    refused(step(client, item, "escalate"), 422, "Say why, in a few words.")
    done(step(client, item, "escalate", note="Please look"))
    assert status_of(item) == "escalated"
    assert actions() == ["item.claim", "item.note", "item.escalated"]


# --- the steps ----------------------------------------------------------------------------------------


def test_a_moderator_acts_in_several_ways_with_one_reason(
    alice: Any, mona: Any, quasar: Conversation, item: ReviewItem
) -> None:
    client = claimed(mona, item)
    until = (timezone.localdate() + timedelta(days=7)).isoformat()
    fields = {"hide": "true", "lock": "true", "warn": "true", "suspend": "true", "until": until}
    done(step(client, item, "act", **fields, reason="illegal", words="Not here", note="as agreed"))
    assert status_of(item) == "actioned"
    found = Decision.objects.filter(item=item)
    assert {each.kind for each in found} == {"hide", "lock", "warn", "suspend"}
    assert {(each.reason, each.words, each.note) for each in found} == {("illegal", "Not here", "as agreed")}
    assert quasar.messages.get(pk=item.message_id or "").text == ""
    quasar.refresh_from_db()
    assert quasar.locked_at
    alice = User.objects.get(pk=alice.pk)
    assert timezone.localtime(alice.suspended_until).date().isoformat() == until
    assert set(actions()) == {
        "item.claim", "decision.hide", "decision.lock", "decision.warn", "decision.suspend", "item.actioned",
    }  # fmt: skip


def test_an_item_is_dismissed(mona: Any, item: ReviewItem) -> None:
    done(step(claimed(mona, item), item, "dismiss", note="a joke"))
    assert status_of(item) == "dismissed"
    assert actions() == ["item.claim", "item.dismissed"]
    page = page_of(signed_in(mona), item)
    assert "Dismissed" in page
    assert 'value="claim"' not in page
    assert "a joke" not in page


def test_an_escalated_item_is_a_seniors(mona: Any, stella: Any, item: ReviewItem) -> None:
    done(step(claimed(mona, item), item, "escalate", note="canary why"))
    page = page_of(signed_in(mona), item)
    assert "a senior moderator decides" in page
    assert 'value="claim"' not in page
    refused(step(signed_in(mona), item, "claim"), 403, "a senior moderator decides")
    client = claimed(stella, item)
    page = page_of(client, item)
    assert "canary why" in page
    assert 'value="escalate"' not in page
    done(step(client, item, "act", lock="true", reason="harmful"))
    assert status_of(item) == "actioned"


def test_a_hidden_message_is_shown_folded_to_staff_who_look(
    mona: Any, stella: Any, quasar: Conversation, item: ReviewItem
) -> None:
    decisions.hide_message(stella, message(quasar), decisions.Why("privacy", "canary words"))
    page = page_of(claimed(mona, item), item)
    head, _details, rest = page.partition("<summary>What it said</summary>")
    assert "Hidden by stella" in head
    assert "It reveals something private" in head
    assert TEXTS[MESSAGE] in rest
    assert "(already so)" in page


@pytest.mark.parametrize(("outcome", "status"), [("uphold", "upheld"), ("overturn", "overturned")])
def test_an_appeal_is_decided_by_another_moderator(
    alice: Any, mona: Any, stella: Any, item: ReviewItem, outcome: str, status: str
) -> None:
    (decision,) = acted(mona, item, "hide", words="canary words", note="canary private")
    review.appeal(alice, decision.pk, "canary appeal")
    page = page_of(signed_in(mona), item)
    assert "somebody else decides" in page
    assert 'value="claim"' not in page
    refused(step(signed_in(mona), item, "claim"), 403, "somebody else decides")
    assert "canary" not in page_of(signed_in(stella), item)
    client = claimed(stella, item)
    page = page_of(client, item)
    for shown in ("canary appeal", "canary words", "canary private", "Message hidden", "mona"):
        assert shown in page
    assert 'value="act"' not in page
    done(step(client, item, outcome, words="We looked again"))
    appeal = Appeal.objects.get()
    assert (appeal.outcome, appeal.words) == (status, "We looked again")
    assert status_of(item) == status
    decision.refresh_from_db()
    assert bool(decision.ended_at) == (outcome == "overturn")


def test_an_appeal_about_the_account_needs_no_conversation(
    alice: Any, mona: Any, stella: Any, tom: Any
) -> None:
    until = timezone.now() + timedelta(days=3)
    decision = decisions.suspend(mona, alice, until, decisions.Why("harmful"))
    review.appeal(alice, decision.pk, "canary appeal")
    item = ReviewItem.objects.get()
    assert "canary" not in page_of(signed_in(stella), item)
    client = claimed(stella, item)
    assert "canary appeal" in page_of(client, item)
    done(step(client, item, "overturn"))
    assert User.objects.get(pk=alice.pk).suspended_until is None


# --- refusals -----------------------------------------------------------------------------------------


TYPED = {
    "hide": "true", "suspend": "true", "until": "2027-01-01", "reason": "privacy",
    "words": "typed words", "note": "typed note",
}  # fmt: skip


def keeps_typed(page: str) -> None:
    assert "typed words" in page
    assert "typed note" in page
    assert 'value="2027-01-01"' in page
    assert 'name="hide" value="true" checked' in page
    assert 'name="suspend" value="true" checked' in page
    assert 'value="privacy" checked' in page


def test_after_the_claim_has_ended_one_click_claims_again_and_nothing_is_lost(
    mona: Any, item: ReviewItem
) -> None:
    client = claimed(mona, item)
    past = timezone.now() - timedelta(seconds=1)
    ReviewItem.objects.update(claimed_until=past)
    AccessGrant.objects.update(expires_at=past)
    page = refused(step(client, item, "act", **TYPED), 409, "Your claim has ended.")
    keeps_typed(page)
    assert "canary" not in page
    assert "Claim it again" in page
    answer = step(client, item, "claim", **TYPED)
    page = refused(answer, 200, "yours until")
    keeps_typed(page)
    assert "canary" in page
    assert not Decision.objects.exists()


def test_the_second_of_two_reads_a_conflict_and_keeps_what_was_typed(
    mona: Any, stella: Any, item: ReviewItem
) -> None:
    client = claimed(mona, item)
    past = timezone.now() - timedelta(seconds=1)
    ReviewItem.objects.update(claimed_until=past)
    second = claimed(stella, item)
    page = refused(step(client, item, "act", **TYPED), 409, "Somebody else has claimed this.")
    keeps_typed(page)
    done(step(second, item, "dismiss"))
    keeps_typed(refused(step(client, item, "act", **TYPED), 409, "This was decided already."))
    refused(step(client, item, "claim"), 409, "This was decided already.")
    assert status_of(item) == "dismissed"


def test_a_second_claim_is_a_conflict(mona: Any, stella: Any, item: ReviewItem) -> None:
    claimed(mona, item)
    refused(step(signed_in(stella), item, "claim"), 409, "Somebody else has claimed this.")
    refused(step(signed_in(stella), item, "dismiss"), 409, "Somebody else has claimed this.")


@pytest.mark.parametrize(
    ("do", "fields", "sentence"),
    [
        ("act", {"reason": "harmful"}, "Choose what is to be done."),
        ("act", {"hide": "true"}, "Choose a reason."),
        ("act", {"hide": "true", "reason": "nonsense"}, "Choose a reason."),
        ("act", {"suspend": "true", "reason": "harmful"}, "Say until when"),
        ("act", {"suspend": "true", "reason": "harmful", "until": "soon"}, "as a date"),
        ("act", {"suspend": "true", "reason": "harmful", "until": "2020-01-01"}, "ends within 365 days"),
        ("act", {"warn": "true", "reason": "harmful", "words": "x" * 2_001}, "At most 2000 characters."),
        ("dismiss", {"reason": "nonsense"}, "Choose a reason."),
        ("escalate", {"note": " "}, "Say why, in a few words."),
        ("note", {"note": ""}, "The note is empty."),
        ("", {}, "Choose what is to be done."),
        ("nonsense", {}, "Choose what is to be done."),
        ("uphold", {}, "This has changed meanwhile."),
    ],
)
def test_a_form_that_cannot_be_done_is_refused_and_shown_again(
    mona: Any, item: ReviewItem, do: str, fields: dict[str, str], sentence: str
) -> None:
    client = claimed(mona, item)
    status = 409 if do == "uphold" else 422
    refused(step(client, item, do, **fields), status, sentence)
    assert status_of(item) == "open"
    assert not Decision.objects.exists()


def test_a_note_leaves_the_rest_of_the_form(mona: Any, item: ReviewItem) -> None:
    client = claimed(mona, item)
    page = refused(step(client, item, "note", note="kept apart", words="typed words"), 200, "typed words")
    assert "kept apart</textarea>" not in page
    assert "kept apart" in page


def test_a_moderator_who_may_not_act_on_members_gets_no_boxes_for_that(alice: Any, item: ReviewItem) -> None:
    from django.contrib.auth.models import Permission

    nora = make_staff("nora")
    names = ["view_queue", "read_text", "act_on_content"]
    nora.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = claimed(nora, item)
    page = page_of(client, item)
    assert 'name="hide"' in page
    assert 'name="warn"' not in page
    assert 'name="suspend"' not in page
    answer = step(client, item, "act", hide="true", warn="true", reason="harmful", words="typed words")
    assert "typed words" in refused(answer, 403, "You may not do this.")
    assert status_of(item) == "open"
    assert not Decision.objects.exists()


def test_the_filters_of_the_queue_stay_on_the_way(alice: Any, mona: Any, item: ReviewItem) -> None:
    others = [reported(alice, message(conversation_with(alice, *TEXTS)), "wrong") for _number in range(2)]
    client = signed_in(mona)
    page = client.get(f"{address_of(item)}?source=report").content.decode()
    assert f'rel="next" href="{address_of(others[0])}?source=report"' in page
    assert 'rel="prev"' not in page
    page = client.get(address_of(others[1])).content.decode()
    assert f'rel="prev" href="{address_of(others[0])}"' in page
    answer = client.post(f"{address_of(item)}?source=report", {"do": "claim"})
    assert answer["location"] == f"{address_of(item)}?source=report"
    answer = client.post(f"{address_of(item)}?source=report", {"do": "dismiss"})
    assert answer["location"] == f"{QUEUE}?source=report"


def test_the_number_of_queries_of_an_item_is_bounded(alice: Any, mona: Any, item: ReviewItem) -> None:
    client = claimed(mona, item)
    page_of(client, item)
    with CaptureQueriesContext(connection) as captured:
        page_of(client, item)
    few = len(captured)
    assert few <= 60
    for number in range(20):
        review.add_note(mona, item.pk, f"note {number}")
        other = message(conversation_with(alice, *TEXTS))
        reported(alice, other, "wrong") if number < 10 else None
    with CaptureQueriesContext(connection) as captured:
        page_of(client, item)
    assert len(captured) == few
