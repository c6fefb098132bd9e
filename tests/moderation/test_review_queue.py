"""The review queue's page: filters, order, pages, and what it does not show."""

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.models import Conversation, Message
from chat.moderation import reports, review
from chat.moderation.models import Policy, Report, ReviewItem
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

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quasar(alice: Any) -> Conversation:
    return conversation_with(alice, "canary question", "canary reply", "canary second", "canary answer")


def replies(conversation: Conversation) -> list[Message]:
    return list(conversation.messages.filter(role="assistant").order_by("created_at"))


def shown(staff: Any, **query: str) -> list[str]:
    """Return the ids of the listed items, in order."""
    answer = signed_in(staff).get(QUEUE, query)
    assert answer.status_code == 200
    return re.findall(r'class="queue-link" href="/admin/moderation/([0-9a-f-]{36})/', answer.content.decode())


def test_members_and_staff_without_the_permission_do_not_see_the_queue(alice: Any, audrey: Any) -> None:
    assert signed_in(alice).get(QUEUE).status_code in (302, 403)
    assert signed_in(audrey).get(QUEUE).status_code == 403


def test_the_queue_lists_the_facts_and_neither_name_nor_text(
    alice: Any, mona: Any, quasar: Conversation
) -> None:
    item = reported(alice, replies(quasar)[0], "privacy", "canary note")
    page = html.unescape(signed_in(mona).get(QUEUE).content.decode())
    for fact in ("It reveals something private", "Report", "chat_assistant", "Open", "40", "ago"):
        assert fact in page
    for secret in ("alice", "canary", str(quasar.pk), str(item.message_id), f"/user/{alice.pk}/"):
        assert secret not in page
    assert 'href="/waiting/"' in page


def test_the_most_pressing_comes_first_then_the_oldest(alice: Any, mona: Any) -> None:
    found = [
        reported(alice, replies(conversation_with(alice, "q", "r"))[0], reason)
        for reason in ("wrong", "illegal", "wrong", "harmful")
    ]
    wrong, illegal, wrong_later, harmful = (str(item.pk) for item in found)
    assert shown(mona) == [illegal, harmful, wrong, wrong_later]


def test_the_queue_has_pages_of_fifty_without_a_gap(alice: Any, mona: Any) -> None:
    now = timezone.now()
    ReviewItem.objects.bulk_create(
        ReviewItem(
            member=alice,
            priority=number % 3,
            opened_at=now - timedelta(minutes=number % 7),
            status=("open", "appealed", "escalated")[number % 3],
        )
        for number in range(120)
    )
    seen, address = [], QUEUE
    client = signed_in(mona)
    while address:
        page = client.get(address).content.decode()
        ids = re.findall(r'class="queue-link" href="/admin/moderation/([0-9a-f-]{36})/', page)
        assert len(ids) <= 50
        seen += ids
        more = re.search(r'href="(\?[^"]*)" rel="next"', page)
        address = QUEUE + html.unescape(more[1]) if more else ""
    ordered = ReviewItem.objects.order_by("-priority", "opened_at", "pk")
    assert seen == [str(item.pk) for item in ordered]


@pytest.mark.parametrize("cursor", ["x", "MSAyIDM", "OSAyMDI2LTAxLTAxIHg"])
def test_a_wrong_place_is_refused(mona: Any, cursor: str) -> None:
    assert signed_in(mona).get(QUEUE, {"after": cursor}).status_code == 400


def test_each_filter_leaves_its_items(alice: Any, mona: Any, stella: Any) -> None:
    Policy.objects.create(takes_feedback=True)
    one, two, three = (replies(conversation_with(alice, "q", "r"))[0] for _number in range(3))
    item = reported(alice, one, "privacy")
    two.feedback, two.feedback_detail = -1, {"reasons": ["wrong"], "text": ""}
    with transaction.atomic():  # as the action that stores feedback has one
        reports.report_feedback(two)
    rated = ReviewItem.objects.get(message=two)
    ReviewItem.objects.filter(pk=rated.pk).update(opened_at=timezone.now() - timedelta(days=3), agent="other")
    decided = reported(alice, three, "wrong")
    review.claim_item(mona, decided.pk)
    review.dismiss(mona, decided.pk)
    review.claim_item(mona, item.pk)
    assert set(shown(mona)) == {str(item.pk), str(rated.pk)}
    for query, expected in (
        ({"source": "feedback"}, rated),
        ({"source": "report"}, item),
        ({"reason": "privacy"}, item),
        ({"reason": "wrong"}, rated),
        ({"agent": "other"}, rated),
        ({"age": "day"}, item),
        ({"status": "dismissed"}, decided),
        ({"mine": "true"}, item),
    ):
        assert shown(mona, **query) == [str(expected.pk)], query
    assert shown(mona, age="older") == []
    assert len(shown(mona, age="week")) == 2
    assert shown(stella, mine="true") == []


def test_an_appeal_is_found_by_its_source_and_reason(alice: Any, mona: Any, quasar: Conversation) -> None:
    (decision,) = acted(mona, reported(alice, replies(quasar)[0]), "hide")
    review.appeal(alice, decision.pk, "canary appeal")
    assert len(shown(mona, source="appeal", reason="harmful")) == 1
    page = signed_in(mona).get(QUEUE).content.decode()
    assert "Appeal" in page
    assert "canary" not in page


def test_a_claim_names_the_claimer_until_its_end(
    alice: Any, mona: Any, stella: Any, quasar: Conversation
) -> None:
    item = reported(alice, replies(quasar)[0])
    assert ">Claim<" in signed_in(stella).get(QUEUE).content.decode()
    claimed(mona, item)
    page = signed_in(stella).get(QUEUE).content.decode()
    assert "claimed by mona until" in page
    assert ">Claim<" not in page
    ReviewItem.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    page = signed_in(stella).get(QUEUE).content.decode()
    assert "claimed by" not in page
    assert ">Claim<" in page


def test_an_item_about_staff_is_listed_for_the_owner_only(mona: Any, stella: Any) -> None:
    item = reported(stella, replies(conversation_with(stella, "q", "r"))[0])
    olga = make_user("olga", is_staff=True, is_superuser=True)
    assert shown(mona) == shown(stella) == []
    assert shown(olga) == [str(item.pk)]
    for staff in (mona, stella):
        assert signed_in(staff).get(address_of(item)).status_code == 403


def _items(member: Any, count: int) -> None:
    made = ReviewItem.objects.bulk_create(
        ReviewItem(member=member, agent="chat_assistant", priority=number % 50) for number in range(count)
    )
    Report.objects.bulk_create(
        Report(item=item, source=source, reason=reason, member=member)
        for item in made
        for source, reason in (("report", "harmful"), ("feedback", "wrong"))
    )


def _queries(client: Any, address: str) -> int:
    client.get(address)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


@pytest.mark.parametrize("query", ["", "?source=feedback&reason=wrong&age=day", "?mine=true&status=open"])
def test_the_number_of_queries_does_not_grow_with_the_queue(alice: Any, mona: Any, query: str) -> None:
    client = signed_in(mona)
    _items(alice, 1)
    few = _queries(client, QUEUE + query)
    _items(alice, 200)
    assert _queries(client, QUEUE + query) == few
    assert few <= 20


def test_no_statement_of_the_queue_counts_or_sorts_all_items(alice: Any, mona: Any) -> None:
    _items(alice, 300)
    client = signed_in(mona)
    with CaptureQueriesContext(connection) as captured:
        client.get(QUEUE + "?source=report")
    own = [each["sql"] for each in captured if "moderation_reviewitem" in each["sql"]]
    assert not [sql for sql in own if "COUNT(" in sql]
    if connection.vendor == "sqlite":
        lists = [sql for sql in own if "ORDER BY" in sql and "EXISTS" in sql]
        assert len(lists) == 3
        for sql in lists:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
                plan = " ".join(str(row) for row in cursor.fetchall())
            assert "TEMP B-TREE" not in plan, plan


# --- the badge ----------------------------------------------------------------------------------------


def test_staff_of_the_queue_see_how_many_items_wait(alice: Any, mona: Any, audrey: Any) -> None:
    assert 'id="review-badge"' not in signed_in(mona).get("/").content.decode()
    assert "Review queue" in signed_in(mona).get("/").content.decode()
    _items(alice, 3)
    badge = re.search(r'id="review-badge"[^>]*>(\d+\+?)<', signed_in(mona).get("/").content.decode())
    assert badge
    assert badge[1] == "3"
    _items(alice, 100)
    assert ">99+<" in signed_in(mona).get("/").content.decode()
    for other in (alice, audrey, make_staff("nora")):
        page = signed_in(other).get("/").content.decode()
        assert "review-badge" not in page
        assert "Review queue" not in page


def test_the_badge_costs_members_no_query(alice: Any, mona: Any) -> None:
    client = signed_in(alice)
    client.get("/")
    with CaptureQueriesContext(connection) as captured:
        client.get("/")
    assert not [each for each in captured if "moderation_reviewitem" in each["sql"]]
    assert not [each for each in captured if "auth_permission" in each["sql"]]
