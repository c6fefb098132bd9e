"""Figures of the review queue: totals for the queue's staff, moderators for the auditor, and a safe CSV."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client as DjangoClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.models import Conversation, Message
from chat.moderation.figures import FORMULA, csv_of, median_and_p90, shown_time
from chat.moderation.groups import AUDITOR, MODERATOR
from chat.moderation.models import Appeal, AuditEvent, Decision, Report, ReviewItem
from tests.conftest import make_staff, make_user
from tests.support.client import Client
from tests.support.dom import Element, parse

PAGE, EXPORT = "/admin/moderation/figures/", "/admin/moderation/figures/export/"
HOUR = timedelta(hours=1)


def item_of(
    member: Any,
    *,
    age: timedelta = HOUR,
    took: timedelta | None = None,
    by: Any = None,
    reason: str = "wrong",
    source: str = "report",
) -> ReviewItem:
    """Return an item about a reply of the member, opened so long ago, and decided if it ``took`` a time."""
    now = timezone.now()
    conversation = Conversation.objects.create(owner=member, agent="chat_assistant", title="title quokka")
    message = Message.objects.create(conversation=conversation, role="assistant", text="text quokka")
    item = ReviewItem.objects.create(
        message=message,
        conversation=conversation,
        member=member,
        agent="chat_assistant",
        opened_at=now - age,
        status="dismissed" if took else "open",
        decided_at=now - age + took if took else None,
        decided_by=by,
        priority=10,
    )
    Report.objects.create(
        item=item, source=source, reason=reason, note="note quokka", member=member, reported_at=now - age
    )
    return item


def cells(found: Element, table: str) -> list[list[str]]:
    """Return the cells of a table's body."""
    rows = found.one("table", id=table).one("tbody").all("tr")
    return [[cell.words for cell in [*row.all("th"), *row.all("td")]] for row in rows]


async def shown(client: Client) -> Element:
    answer = await client.get(PAGE)
    assert answer.status == 200, answer.text[:500]
    assert "quokka" not in answer.text
    return parse(answer.text)


async def exported(client: Client) -> list[dict[str, str]]:
    answer = await client.post(EXPORT, form={})
    assert answer.status == 200
    assert answer.body.startswith(b"\xef\xbb\xbf")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "no-store" in answer.headers["cache-control"]
    return list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"))))


# --- access ---------------------------------------------------------------------------------------


async def test_moderators_see_the_totals_and_no_colleague(
    as_mona: Client, as_tom: Client, alice: Any, mona: Any
) -> None:
    await sync_to_async(item_of)(alice, took=HOUR, by=mona)
    for client in (as_mona, as_tom):
        found = await shown(client)
        assert cells(found, "totals") == [["Not decided", "0"], ["Opened", "1"], ["Decided", "1"]]
        assert not found.all("table", id="moderators")
        assert not found.all("form", action=EXPORT)
        assert (await client.post(EXPORT, form={})).status == 403


async def test_the_auditor_and_the_owner_see_each_moderator(
    parley: Any, as_audrey: Client, alice: Any, mona: Any, stella: Any
) -> None:
    olga = await sync_to_async(make_user)("olga", is_staff=True, is_superuser=True)

    def fill() -> None:
        for hours in (1, 2, 3):
            item_of(alice, age=5 * HOUR, took=hours * HOUR, by=mona)
        item_of(alice, age=5 * HOUR, took=HOUR, by=stella)
        item_of(alice, age=5 * HOUR, took=HOUR)  # of an erased account
        item = item_of(alice)
        decision = Decision.objects.create(
            kind="warn", member=alice, item=item, reason="wrong", decided_by=mona, ended_at=timezone.now()
        )
        Appeal.objects.create(
            decision=decision,
            item=item,
            text="appeal quokka",
            outcome="overturned",
            decided_by=stella,
            decided_at=timezone.now(),
        )

    await sync_to_async(fill)()
    for client in (as_audrey, await Client(parley, olga).sign_in()):
        found = await shown(client)
        assert cells(found, "moderators") == [
            ["mona", "3", "1", "2 hours"],
            ["erased", "1", "0", "60 minutes"],
            ["stella", "1", "0", "60 minutes"],
        ]


async def test_a_member_and_other_staff_see_none(parley: Any, as_alice: Client) -> None:
    steve = await sync_to_async(make_user)("steve", is_staff=True)
    as_steve = await Client(parley, steve).sign_in()
    assert (await as_alice.get(PAGE)).status == 302
    assert (await as_steve.get(PAGE)).status == 403
    assert (await as_steve.post(EXPORT, form={})).status == 403


# --- the figures ----------------------------------------------------------------------------------


async def test_ages_and_times_are_median_and_p90(as_mona: Client, alice: Any, mona: Any) -> None:
    def fill() -> None:
        for hours in range(1, 12):
            item_of(alice, age=hours * HOUR)
            item_of(alice, age=timedelta(days=5), took=hours * timedelta(days=0.25), by=mona)
        item_of(alice, age=timedelta(days=90), took=timedelta(days=1), by=mona)  # before these days

    await sync_to_async(fill)()
    assert cells(await shown(as_mona), "times") == [
        ["Age of what is not decided", "6 hours", "10 hours"],
        ["Time to a decision", "36 hours", "2 days"],
    ]


async def test_reports_decisions_and_appeals_are_counted(as_mona: Client, alice: Any, mona: Any) -> None:
    def fill() -> None:
        item_of(alice, reason="illegal")
        item_of(alice, reason="illegal", source="feedback")
        item = item_of(alice, age=timedelta(days=40), reason="privacy")
        for number, outcome in enumerate(("upheld", "overturned", "")):
            decision = Decision.objects.create(
                kind="warn", member=alice, item=item, reason="wrong", ended_at=timezone.now()
            )
            Appeal.objects.create(
                decision=decision,
                item=item,
                text="appeal quokka",
                outcome=outcome,
                decided_at=timezone.now() if outcome else None,
                appealed_at=timezone.now() - timedelta(days=40 if number == 0 else 1),
            )

    await sync_to_async(fill)()
    found = await shown(as_mona)
    assert ["It is against the law", "1", "1", "0"] in cells(found, "reasons")
    assert ["It reveals something private", "0", "0", "0"] in cells(found, "reasons")
    assert ["Warning", "3", "3"] in cells(found, "decisions")
    assert [row[1] for row in cells(found, "appeals")] == ["2", "1", "1", "1"]


async def test_an_empty_queue_has_figures_too(as_mona: Client) -> None:
    found = await shown(as_mona)
    assert cells(found, "times") == [
        ["Age of what is not decided", "–", "–"],
        ["Time to a decision", "–", "–"],
    ]
    assert len(found.all("figure")) == 3


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, ""), (0, "0 minutes"), (60, "1 minute"), (7_199, "2 hours"), (172_000, "2 days")],
)
def test_times_are_shown_in_their_unit(seconds: float | None, shown: str) -> None:
    assert shown_time(seconds) == shown


def test_one_value_is_its_own_median() -> None:
    assert median_and_p90([5.0]) == (5.0, 5.0)
    assert median_and_p90([]) == (None, None)


# --- the export -----------------------------------------------------------------------------------


async def test_the_export_has_ids_and_codes_and_is_recorded(
    as_audrey: Client, audrey: Any, alice: Any, mona: Any
) -> None:
    item = await sync_to_async(item_of)(alice, took=HOUR, by=mona, reason="illegal")
    await sync_to_async(item_of)(alice, age=timedelta(days=60), took=HOUR, by=mona)
    (row,) = await exported(as_audrey)
    assert (row["item"], row["message"]) == (str(item.pk), str(item.message_id))
    assert (row["status"], row["sources"], row["reasons"]) == ("dismissed", "report", "illegal")
    assert row["decided_by"] == "mona"
    assert "quokka" not in str(row)
    recorded = await AuditEvent.objects.aget(action="queue.export")
    assert (recorded.actor, recorded.object_type) == (audrey.audit_id, "queue")


async def test_without_the_audit_the_export_names_nobody(parley: Any, alice: Any, mona: Any) -> None:
    def exporter() -> Any:
        from chat.moderation.groups import permissions_named

        staff = make_staff("emil", MODERATOR)
        staff.user_permissions.set(permissions_named(["moderation.export"]))
        item_of(alice, took=HOUR, by=mona)
        return staff

    as_emil = await Client(parley, await sync_to_async(exporter)()).sign_in()
    (row,) = await exported(as_emil)
    assert "decided_by" not in row
    assert "mona" not in str(row)


HOSTILE = ["=1+2", "+cmd|x", "-1+1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")', "=1,2\n=3"]


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_name_is_no_formula(as_audrey: Client, alice: Any, name: str) -> None:
    def fill() -> None:
        item_of(alice, took=HOUR, by=make_user(name, is_staff=True))

    await sync_to_async(fill)()
    (row,) = await exported(as_audrey)
    assert row["decided_by"] == f"'{name}"
    assert not any(cell.startswith(FORMULA) for cell in row.values())


def test_a_harmless_cell_stays_as_it_is() -> None:
    assert csv_of([["a=1", 5, "", "x,y", 'say "hi"']]) == 'a=1,5,,"x,y","say ""hi"""\r\n'


@pytest.mark.django_db(transaction=True)
def test_all_items_are_exported_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    from chat.moderation import figures

    monkeypatch.setattr(figures, "ITEMS_AT_ONCE", 2)
    alice = make_user("alice")
    items = [item_of(alice) for _n in range(5)]
    last, seen = ReviewItem(pk="00000000-0000-0000-0000-000000000000").pk, []
    while batch := figures._batch(timezone.now() - timedelta(days=1), last):
        seen += [each.pk for each in batch]
        last = batch[-1].pk
    assert sorted(seen) == sorted(each.pk for each in items)


# --- its cost -------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_items() -> None:
    browser, alice = DjangoClient(), make_user("alice")
    mona = make_staff("mona", MODERATOR)
    mona.groups.add(Group.objects.get(name=AUDITOR))
    browser.force_login(mona)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert browser.get(PAGE).status_code == 200
        return len(captured)

    item_of(alice)
    item_of(alice, took=HOUR, by=mona)
    few = queries()
    for _n in range(20):
        item_of(alice)
        item_of(alice, took=HOUR, by=mona)
    assert queries() == few <= 20
