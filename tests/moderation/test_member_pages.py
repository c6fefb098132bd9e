"""Pages of a member: staff access, what staff can see, and the consent to read one conversation."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from chat.models import Conversation
from chat.moderation import grants
from chat.moderation.models import AccessGrant, AuditEvent, Consent, GrantReason, Policy
from tests.conftest import make_user

pytestmark = pytest.mark.django_db(transaction=True)

LOOKS = "/account/staff-access/"
RULES = "/account/what-staff-can-see/"


@pytest.fixture
def quasar(alice: Any) -> Conversation:
    return Conversation.objects.create(owner=alice, agent="chat_assistant", title="What is a quasar?")


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def transcript(conversation: Conversation) -> str:
    return reverse("admin:chat_conversation_change", args=[conversation.pk])


def opened(conversation: Conversation, **form: str) -> str:
    """Return the path of the page that opens it."""
    return reverse("open_conversation", args=[conversation.pk])


def look(staff: Any, conversation: Conversation, **form: str) -> None:
    client = signed_in(staff)
    answer = client.post(opened(conversation), {"reason": "help", **form})
    assert answer.status_code == 303, answer.content
    assert client.get(answer["location"]).status_code == 200


def shown_to(member: Any, path: str = LOOKS) -> str:
    answer = signed_in(member).get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_member_reads_when_staff_looked_at_which_conversation_and_why(
    alice: Any, bob: Any, mona: Any, quasar: Conversation
) -> None:
    assert "read nothing of yours" in shown_to(alice)
    look(mona, quasar)
    page = shown_to(alice)
    assert "Staff read a conversation" in page
    assert "What is a quasar?" in page
    assert str(GrantReason.HELP.label) in page
    assert "mona" not in page
    assert "read nothing of yours" in shown_to(bob)


def test_a_look_by_consent_says_so(alice: Any, mona: Any, quasar: Conversation) -> None:
    signed_in(alice).post(reverse("consent", args=[quasar.pk]), {"allow": "true"})
    client = signed_in(mona)
    answer = client.post(opened(quasar), {"consent": "true"})
    client.get(answer["location"])
    assert "you allowed it" in shown_to(alice)


def test_a_look_of_an_investigation_is_told_later(alice: Any, mona: Any, quasar: Conversation) -> None:
    assert signed_in(mona).post(opened(quasar), {"reason": "legal", "delay_days": "10"}).status_code == 422
    look(mona, quasar, reason="legal", delay_days="10", text="a court asked for it")
    assert "read nothing of yours" in shown_to(alice)
    told_from = AuditEvent.objects.get(action="look").told_from
    assert told_from is not None
    assert told_from > timezone.now() + timedelta(days=9)
    AccessGrant.objects.update(told_from=timezone.now() - timedelta(days=1))
    signed_in(mona).get(transcript(quasar))  # after the delay each look is told at once
    assert "Staff read a conversation" in shown_to(alice)


@pytest.mark.parametrize("days", ["31", "-1", "x", "1.5", "９"])
def test_a_look_is_kept_back_for_at_most_thirty_days(mona: Any, quasar: Conversation, days: str) -> None:
    form = {"reason": "legal", "text": "a court asked for it", "delay_days": days}
    assert signed_in(mona).post(opened(quasar), form).status_code == 422
    assert not AccessGrant.objects.exists()


def test_the_owner_turns_the_page_off_and_members_read_that(
    alice: Any, mona: Any, quasar: Conversation
) -> None:
    olga = make_user("olga", is_staff=True, is_superuser=True)
    look(mona, quasar)
    assert signed_in(olga).post(reverse("policy"), {"takes_reports": "true"}).status_code == 303
    assert "turned off" in shown_to(alice)
    assert "What is a quasar?" not in shown_to(alice)
    assert "turned off" in shown_to(alice, RULES)
    (row,) = AuditEvent.objects.filter(action="policy.change")
    assert (row.actor, row.object_id, row.reason) == (olga.audit_id, "members_see_looks", "off")
    signed_in(olga).post(reverse("policy"), {"members_see_looks": "true", "takes_reports": "true"})
    assert "What is a quasar?" in shown_to(alice)
    assert "turned off" not in shown_to(alice, RULES)


@pytest.mark.parametrize(
    ("switch", "sentence"),
    [
        ("takes_reports", "a reply that you report"),
        ("takes_feedback", "a reply that you rate as bad, if you say why"),
        ("takes_blocks", "an answer that the model or its provider blocks"),
        ("watches_live", "Staff may watch an answer while it is written"),
    ],
)
def test_each_switch_is_a_row_and_members_read_it(alice: Any, switch: str, sentence: str) -> None:
    olga = make_user("olga", is_staff=True, is_superuser=True)
    before = {"members_see_looks": "true"}
    signed_in(olga).post(reverse("policy"), before)
    assert sentence not in shown_to(alice, RULES)
    for _same in range(2):
        signed_in(olga).post(reverse("policy"), {**before, switch: "true"})
    assert sentence in shown_to(alice, RULES)
    page = signed_in(olga).get(reverse("policy")).content.decode()
    assert f'name="{switch}" value="true" checked' in page
    signed_in(olga).post(reverse("policy"), before)
    rows = AuditEvent.objects.filter(action="policy.change").order_by("seq")
    expected = [("takes_reports", "off"), (switch, "on"), (switch, "off")]
    assert [(row.object_id, row.reason) for row in rows] == expected


def test_only_the_owner_changes_the_rules(mona: Any) -> None:
    assert signed_in(mona).post(reverse("policy"), {}).status_code == 403
    assert not Policy.objects.exists()


def test_the_rules_state_the_times_in_force(alice: Any, settings: Any) -> None:
    settings.DELETED_DAYS, settings.AUDIT_DAYS = 11, 99
    page = shown_to(alice, RULES)
    for words in ("30 minutes", "7 days", "after 11 days", "for 99 days", "at most\n        30 days"):
        assert " ".join(words.split()) in " ".join(page.split())


def test_consent_is_for_seven_days_and_only_of_the_owner(alice: Any, bob: Any, quasar: Conversation) -> None:
    path = reverse("consent", args=[quasar.pk])
    assert signed_in(bob).post(path, {"allow": "true"}).status_code == 404
    assert not Consent.objects.exists()
    assert signed_in(alice).post(path, {"allow": "true"}).status_code == 303
    consent = Consent.objects.get()
    assert timedelta(days=6.9) < consent.expires_at - timezone.now() <= timedelta(days=7)
    assert "What is a quasar?" in shown_to(alice)
    signed_in(alice).post(path, {"allow": "false"})
    assert not grants.consents(quasar).exists()
    assert [row.action for row in AuditEvent.objects.order_by("seq")] == ["consent.give", "consent.end"]


def test_giving_consent_again_starts_the_days_anew(alice: Any, quasar: Conversation) -> None:
    path = reverse("consent", args=[quasar.pk])
    signed_in(alice).post(path, {"allow": "true"})
    Consent.objects.update(expires_at=timezone.now() + timedelta(days=1))
    signed_in(alice).post(path, {"allow": "true"})
    (consent,) = grants.consents(quasar)
    assert consent.expires_at > timezone.now() + timedelta(days=6)


def test_a_deleted_conversation_is_named_by_its_id(alice: Any, mona: Any, quasar: Conversation) -> None:
    look(mona, quasar)
    signed_in(alice).delete(f"/api/v1/conversations/{quasar.pk}")
    Conversation.objects.filter(pk=quasar.pk).update(deleted_at=timezone.now())
    page = shown_to(alice)
    assert str(quasar.pk) in page
    assert "What is a quasar?" not in page
