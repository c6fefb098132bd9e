"""The audit: rows are appended only, a change is found, and old rows leave in whole segments."""

import json
import logging
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as configured
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from chat.moderation import audit, audit_page
from chat.moderation.audit import AuditBroken
from chat.moderation.groups import AUDITOR
from chat.moderation.models import AuditEvent, AuditHead, AuditText
from chat.refusals import Refusal
from tests.admin.test_admin import tidy
from tests.support.client import Client
from tests.support.dom import Element, parse
from tests.support.guards import without_guards
from tests.support.staff import AUDIT_PAGE, open_as_staff
from tests.support.talk import Talk

TABLE = AuditEvent._meta.db_table


def record(count: int, **columns: Any) -> list[AuditEvent]:
    return [
        audit.record("look", actor=None, **{"object_id": str(number), **columns}) for number in range(count)
    ]


def run_sql(statement: str, *values: Any) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


# --- the chain --------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_whole_chain_has_no_faults(alice: Any, mona: Any) -> None:
    assert audit.verify() == audit.Verification(0, "", [], 0)
    audit.record("look", actor=mona, member=alice, text="typed", reason="report", object_id="x")
    rows = record(3)
    found = audit.verify()
    assert found == audit.Verification(4, audit.head_text(4, rows[-1].hash), [], 0)
    assert [row.seq for row in AuditEvent.objects.order_by("seq")] == [1, 2, 3, 4]


def test_each_column_is_in_the_chain_or_is_its_hash() -> None:
    columns = {field.name for field in AuditEvent._meta.fields}
    assert set(audit._HASHED) | {"hash"} == columns == set(audit_page.EXPORTED)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE {TABLE} SET reason = 'help' WHERE seq = 2",
        f"UPDATE {TABLE} SET seq = 9 WHERE seq = 3",
        f"DELETE FROM {TABLE} WHERE seq = 3",
        f"DELETE FROM {TABLE}",
        pytest.param(
            f"REPLACE INTO {TABLE} SELECT * FROM {TABLE} WHERE seq = 3",
            marks=pytest.mark.skipif(not configured.ON_SQLITE, reason="SQLite only"),
        ),
        pytest.param(
            f"TRUNCATE {TABLE}", marks=pytest.mark.skipif(configured.ON_SQLITE, reason="PostgreSQL only")
        ),
    ],
)
def test_the_database_refuses_a_change(statement: str) -> None:
    record(3)
    before = list(AuditEvent.objects.values())
    with pytest.raises(DatabaseError, match="the audit is append-only"):
        run_sql(statement)
    assert list(AuditEvent.objects.values()) == before
    assert audit.verify().faults == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("reason", "help"),
        ("at", "2026-01-01 00:00:00+00:00"),
        ("actor", "0123456789abcdef0123456789abcdef"),
        ("member", "0123456789abcdef0123456789abcdef"),
        ("action", "search"),
        ("object_type", "search"),
        ("object_id", "x"),
        ("request", "x"),
        ("told_from", "2026-01-01 00:00:00+00:00"),
        ("text_digest", "x"),
    ],
)
def test_a_changed_row_is_named(column: str, value: str) -> None:
    record(3)
    with without_guards():
        run_sql(f"UPDATE {TABLE} SET {column} = %s WHERE seq = 2", value)
    assert audit.verify().faults == ["Row 2 was changed."]


@pytest.mark.django_db(transaction=True)
def test_a_changed_row_with_a_hash_of_another_key_is_named(settings: Any, tmp_path: Path) -> None:
    rows = record(3)
    own = settings.AUDIT_KEY_FILE
    with without_guards():
        changed = AuditEvent.objects.get(seq=2)
        changed.reason = "help"
        settings.AUDIT_KEY_FILE = tmp_path / "another"
        forged = audit.hash_of(changed, rows[0].hash)
        settings.AUDIT_KEY_FILE = own
        AuditEvent.objects.filter(seq=2).update(reason="help", hash=forged)
    assert audit.verify().faults == ["Row 2 was changed.", "Row 3 was changed."]


@pytest.mark.django_db(transaction=True)
def test_missing_rows_are_named() -> None:
    record(5)
    with without_guards():
        AuditEvent.objects.filter(seq__in=[2, 3]).delete()
    assert audit.verify().faults[0] == "Rows 2 to 3 are missing."


@pytest.mark.django_db(transaction=True)
def test_a_cut_tail_is_found_by_the_head_in_the_database() -> None:
    record(5)
    with without_guards():
        AuditEvent.objects.filter(seq__gte=4).delete()
    (fault,) = audit.verify().faults
    assert "The head names row 5, and the newest row is 3" in fault


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_cut_tail_whose_head_was_set_back_is_found_by_the_head_in_the_log(
    caplog: pytest.LogCaptureFixture, goes_on: bool
) -> None:
    rows = record(5)
    with caplog.at_level(logging.INFO, logger="chat.moderation.audit"):
        audit.log_head(timedelta(hours=1))
        audit.log_head(timedelta(hours=1))  # once an hour
    (logged,) = [each.getMessage().rpartition(" ")[2] for each in caplog.records]
    assert logged == audit.head_text(5, rows[-1].hash)
    with without_guards():
        AuditEvent.objects.filter(seq__gte=4).delete()
    AuditHead.objects.update(seq=3, hash=rows[2].hash)
    if goes_on:
        record(2)  # there is a row 5 again, and another one
    assert audit.verify().faults == []
    assert audit.verify(logged).faults == [f"The chain does not hold the head {logged}."]
    assert audit.verify(audit.head_text(3, rows[2].hash)).faults == []


@pytest.mark.django_db(transaction=True)
def test_all_rows_cut_off_are_found_by_the_head_in_the_log() -> None:
    head = audit.head_text(2, record(2)[-1].hash)
    with without_guards():
        AuditEvent.objects.all().delete()
    AuditHead.objects.all().delete()
    assert audit.verify(head).faults == [f"The chain does not hold the head {head}."]


@pytest.mark.django_db(transaction=True)
def test_a_missing_head_stops_the_audit() -> None:
    record(2)
    AuditHead.objects.all().delete()
    with pytest.raises(AuditBroken, match="verify_audit"):
        record(1)
    assert AuditEvent.objects.count() == 2
    (fault,) = audit.verify().faults
    assert fault == "The head names row 0, and the newest row is 2: the head was changed."


@pytest.mark.django_db(transaction=True)
def test_a_head_that_was_set_back_is_found() -> None:
    rows = record(3)
    AuditHead.objects.update(seq=2, hash=rows[1].hash)
    (fault,) = audit.verify().faults
    assert fault == "The head names row 2, and the newest row is 3: the head was changed."


@pytest.mark.django_db(transaction=True)
def test_another_key_is_refused(settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record(2)
    settings.AUDIT_KEY_FILE = tmp_path / "another"
    with pytest.raises(AuditBroken, match="another key") as refused:
        record(1)
    assert isinstance(refused.value, Refusal)
    assert (refused.value.status, refused.value.code) == (503, "unavailable")
    assert "key" not in refused.value.detail  # the operator reads that, in the log
    assert "another key" in caplog.text
    assert AuditEvent.objects.count() == 2
    with pytest.raises(AuditBroken, match="another key"):
        audit.verify()


# --- texts ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_typed_text_is_stored_apart(alice: Any, mona: Any) -> None:
    row = audit.record("search", actor=mona, member=alice, text="typed wombat")
    text = AuditText.objects.get(seq=row.seq)
    assert (text.text, text.author, text.about) == ("typed wombat", mona, alice)
    assert row.text_digest == audit.digest_of(text)
    assert "wombat" not in str(list(AuditEvent.objects.values()))
    other = audit.record("search", actor=mona, text="typed wombat")
    assert other.text_digest != row.text_digest  # it cannot be guessed from the digest


@pytest.mark.django_db(transaction=True)
def test_an_erased_text_leaves_the_chain_whole_and_is_counted(alice: Any, bob: Any, mona: Any) -> None:
    audit.record("search", actor=mona, text="stays")
    audit.record("search", actor=mona, member=alice, text="goes with alice")
    audit.record("search", actor=bob, text="goes with bob")
    alice.delete()
    bob.delete()
    found = audit.verify()
    assert (found.rows, found.faults, found.erased_texts) == (3, [], 2)
    assert AuditText.objects.get().text == "stays"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("column", ["text", "salt"])
def test_a_changed_text_is_found(mona: Any, column: str) -> None:
    audit.record("search", actor=mona, text="typed")
    audit.record("search", actor=mona, text="typed, too")
    AuditText.objects.filter(seq=2).update(**{column: "changed"})
    assert audit.verify().faults == ["The text of row 2 was changed."]


@pytest.mark.django_db(transaction=True)
def test_a_text_of_a_row_that_has_none_is_found() -> None:
    record(2)
    AuditText.objects.create(seq=2, salt="x", text="invented")
    assert audit.verify().faults == ["The text of row 2 was changed."]


# --- old rows ---------------------------------------------------------------------------------------


@pytest.fixture
def segments_of_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "SEGMENT", 5)
    monkeypatch.setattr(audit, "REMOVED_AT_ONCE", 2)


def record_old(monkeypatch: pytest.MonkeyPatch, count: int, **columns: Any) -> list[AuditEvent]:
    """Append rows that are older than AUDIT_DAYS."""
    long_ago = timezone.now() - timedelta(days=configured.AUDIT_DAYS + 1)
    with monkeypatch.context() as patch:
        patch.setattr("chat.moderation.audit.timezone.now", lambda: long_ago)
        return record(count, **columns)


def remove_all() -> int:
    batches = 0
    while audit.remove_some():
        batches += 1
    return batches


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("old", "new", "removed"), [(12, 3, 10), (10, 1, 10), (10, 0, 10), (4, 9, 0), (5, 0, 5), (0, 7, 0)]
)
def test_old_rows_leave_in_whole_segments_and_the_rest_verifies(
    segments_of_five: None, monkeypatch: pytest.MonkeyPatch, old: int, new: int, removed: int
) -> None:
    rows = record_old(monkeypatch, old) + record(new)
    audit.mark_old_rows()
    audit.mark_old_rows()  # one checkpoint only
    kept = old + new - removed + bool(removed)
    assert remove_all() == -(-removed // 2)
    assert AuditEvent.objects.count() == kept
    assert AuditEvent.objects.order_by("seq").values_list("seq", flat=True)[0] == removed + 1
    found = audit.verify()
    assert (found.rows, found.faults) == (kept, [])
    checkpoints = AuditEvent.objects.filter(action="audit.checkpoint")
    assert [(each.removed_through, each.removed_hash) for each in checkpoints] == (
        [(removed, rows[removed - 1].hash)] if removed else []
    )
    record(1)
    assert audit.verify().faults == []


@pytest.mark.django_db(transaction=True)
def test_an_interrupted_removal_leaves_a_chain_that_verifies(
    segments_of_five: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_old(monkeypatch, 11)
    audit.mark_old_rows()
    assert audit.verify().faults == []
    while audit.remove_some():
        assert audit.verify().faults == []


@pytest.mark.django_db(transaction=True)
def test_later_checkpoints_remove_the_earlier_ones(
    segments_of_five: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    monkeypatch.setattr("chat.moderation.audit.timezone.now", lambda: now)
    kept = []
    for _ in range(3):
        record(9)
        now += timedelta(days=configured.AUDIT_DAYS + 1)
        audit.mark_old_rows()
        remove_all()
        found = audit.verify()
        assert found.faults == []
        kept.append(found.rows)
    assert kept == [5, 5, 5]  # 9 rows and a checkpoint: 10, 20 and 30 rows, less whole segments


@pytest.mark.django_db(transaction=True)
def test_the_texts_of_removed_rows_leave_too(
    segments_of_five: None, monkeypatch: pytest.MonkeyPatch, mona: Any
) -> None:
    record_old(monkeypatch, 5, text="old")
    record(1, text="new")
    audit.mark_old_rows()
    remove_all()
    assert [each.text for each in AuditText.objects.all()] == ["new"]
    found = audit.verify()
    assert (found.faults, found.erased_texts) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_only_rows_behind_the_checkpoint_can_be_deleted(
    segments_of_five: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_old(monkeypatch, 5)
    record(2)
    audit.mark_old_rows()
    with pytest.raises(DatabaseError, match="append-only"):
        run_sql(f"DELETE FROM {TABLE} WHERE seq >= 5")
    with pytest.raises(DatabaseError, match="append-only"):
        run_sql(f"UPDATE {TABLE} SET reason = 'x' WHERE seq = 1")
    assert AuditEvent.objects.count() == 8


@pytest.mark.django_db(transaction=True)
def test_a_head_of_a_removed_row_is_no_fault(segments_of_five: None, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = record_old(monkeypatch, 7)
    audit.mark_old_rows()
    remove_all()
    for row in rows:
        assert audit.verify(audit.head_text(row.seq, row.hash)).faults == [], row.seq


# --- writers at the same time -----------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_parallel_records_keep_the_chain_whole(mona: Any) -> None:
    errors: list[Exception] = []
    # Four: with eight, those in the queue for one lock may wait over 2 s for a connection of the pool.
    begin = threading.Barrier(4)

    def write() -> None:
        try:
            begin.wait()
            for number in range(10):
                audit.record("search", actor=mona, text=f"typed {number}")
        except Exception as error:  # noqa: BLE001  (raised below)
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = audit.verify()
    assert (found.rows, found.faults) == (40, [])
    assert list(AuditEvent.objects.order_by("seq").values_list("seq", flat=True)) == list(range(1, 41))
    assert AuditHead.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_row_of_a_transaction_that_fails_is_not_in_the_chain() -> None:
    record(1)
    with transaction.atomic():
        record(1)
        transaction.set_rollback(True)
    record(1)
    found = audit.verify()
    assert (found.rows, found.faults) == (2, [])


# --- the page ---------------------------------------------------------------------------------------


async def page(client: Client, query: str = "") -> Element:
    answer = await client.get(f"{AUDIT_PAGE}?{query}")
    assert answer.status == 200, (query, answer.status)
    return parse(tidy(answer.text))


def shown(found: Element) -> list[list[str]]:
    """Return the cells of each row."""
    return [
        [cell.words for cell in row.below() if cell.tag in ("th", "td")]
        for row in found.one("table", id="audit").one("tbody").all("tr")
    ]


async def seqs(client: Client, query: str) -> list[int]:
    return [int(row[0]) for row in shown(await page(client, query)) if row[0].isdigit()]


async def test_the_audit_needs_its_permission(
    as_alice: Client, as_mona: Client, as_stella: Client, as_tom: Client, as_audrey: Client
) -> None:
    await sync_to_async(record)(1, text="typed wombat")
    text, export = f"{AUDIT_PAGE}1/text/", f"{AUDIT_PAGE}export/"
    for client in (as_mona, as_stella, as_tom):
        assert (await client.get(AUDIT_PAGE)).status == 403
        for path in (text, export):
            answer = await client.post(path, form={})
            assert answer.status == 403, path
            assert "wombat" not in answer.text
    assert (await as_alice.get(AUDIT_PAGE)).status == 302
    assert await AuditEvent.objects.acount() == 1
    assert (await as_audrey.get(AUDIT_PAGE)).status == 200
    assert await AuditEvent.objects.acount() == 1  # to see the rows is none itself


async def test_an_auditor_reads_no_conversation(as_audrey: Client, talk: Talk) -> None:
    for path in ("/admin/chat/conversation/", f"/admin/open/{talk.conversation}/", "/admin/search/"):
        assert (await as_audrey.get(path)).status == 403
    assert (await as_audrey.get(f"/admin/chat/conversation/{talk.conversation}/change/")).status == 403


async def test_the_page_shows_the_newest_rows_with_current_names(
    as_mona: Client, mona: Any, as_audrey: Client, talk: Talk
) -> None:
    await open_as_staff(as_mona, talk.conversation, "incident", text="typed wombat")
    mona.username = "ramona"
    await mona.asave(update_fields=["username", "folded_name"])
    await sync_to_async(record)(1)
    found = await page(as_audrey)
    operator, opened = shown(found)
    assert (operator[0], operator[2]) == ("2", "–")
    assert opened[0] == "1"
    assert opened[2:7] == ["ramona", "grant.open", "alice", f"conversation {talk.conversation}", "incident"]
    assert opened[7] == "Text of row 1"
    assert "wombat" not in found.text
    await sync_to_async(mona.delete)()
    assert shown(await page(as_audrey))[1][2] == "erased"


async def test_the_page_filters_by_action_actor_member_and_object(
    as_audrey: Client, mona: Any, stella: Any, alice: Any, bob: Any
) -> None:
    def fill() -> None:
        audit.record("look", actor=mona, member=alice, object_id="one")
        audit.record("look", actor=stella, member=bob, object_id="two")
        audit.record("search", actor=stella)
        audit.record("consent.give", actor=alice, member=alice, object_id="one")

    await sync_to_async(fill)()
    for query, found in {
        "": [4, 3, 2, 1],
        "action=look": [2, 1],
        "actor=stella": [3, 2],
        "actor=%20STELLA%20": [3, 2],
        "member=alice": [4, 1],
        "object=one": [4, 1],
        "action=look&member=alice": [1],
        "action=look&actor=alice": [],
        "actor=nobody": [],
        "member=nobody": [],
        "action=nonsense": [],
        "before=3": [2, 1],
        "before=3&actor=mona": [1],
    }.items():
        assert await seqs(as_audrey, query) == found, query
    for query in ("before=x", "before=-1", "before=%D9%A3", f"before={'9' * 40}"):
        assert (await as_audrey.get(f"{AUDIT_PAGE}?{query}")).status == 400, query


async def test_the_page_leads_to_older_rows_and_keeps_the_filters(
    as_audrey: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_page, "ROWS_SHOWN", 2)
    await sync_to_async(record)(5)
    await sync_to_async(audit.record)("search", actor=None)
    read, query = [], "action=look"
    while True:
        found = await page(as_audrey, query)
        read.append([int(row[0]) for row in shown(found)])
        older = found.all("a", rel="next")
        if not older:
            break
        query = older[0]["href"][1:]
    assert read == [[5, 4], [3, 2], [1]]


async def test_a_typed_text_is_shown_by_post_and_is_itself_a_row(
    as_audrey: Client, audrey: Any, mona: Any, alice: Any
) -> None:
    path = f"{AUDIT_PAGE}1/text/"
    await sync_to_async(audit.record)("look", actor=mona, member=alice, text="typed <b>wombat</b>")
    assert (await as_audrey.get(path)).status == 405
    answer = await as_audrey.post(path, form={})
    assert answer.status == 200
    assert "typed &lt;b&gt;wombat&lt;/b&gt;" in answer.text
    row = await AuditEvent.objects.alatest("seq")
    assert (row.action, row.actor, row.member) == ("audit.text", audrey.audit_id, alice.audit_id)
    assert (row.object_type, row.object_id) == ("audit", "1")
    assert row.request == answer.headers["x-request-id"]
    await AuditText.objects.all().adelete()
    assert (await as_audrey.post(path, form={})).status == 404
    assert await AuditEvent.objects.acount() == 2


async def test_no_typed_text_is_shown_while_the_look_cannot_be_stored(
    as_audrey: Client, settings: Any, tmp_path: Path
) -> None:
    await sync_to_async(record)(1, text="typed wombat")
    settings.AUDIT_KEY_FILE = tmp_path / "another"
    for path in (f"{AUDIT_PAGE}1/text/", f"{AUDIT_PAGE}export/"):
        answer = await as_audrey.post(path, form={})
        assert answer.status == 503
        assert "wombat" not in answer.text
    assert await AuditEvent.objects.acount() == 1


async def test_the_export_is_json_lines_of_all_rows_and_is_itself_one(
    as_audrey: Client, audrey: Any, mona: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_page, "EXPORTED_AT_ONCE", 2)
    await sync_to_async(audit.record)("look", actor=mona, member=alice, text="typed wombat", reason="help")
    await sync_to_async(record)(4)
    assert (await as_audrey.get(f"{AUDIT_PAGE}export/")).status == 405
    answer = await as_audrey.post(f"{AUDIT_PAGE}export/", form={})
    assert answer.headers["content-type"] == "application/jsonl"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    assert "wombat" not in answer.text
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(list(line) == list(audit_page.EXPORTED) for line in lines)
    assert (lines[0]["actor"], lines[0]["reason"]) == (str(mona.audit_id), "help")
    assert (lines[-1]["action"], lines[-1]["actor"]) == ("audit.export", str(audrey.audit_id))
    stored = [row async for row in AuditEvent.objects.order_by("seq")]
    for line, row in zip(lines, stored, strict=True):
        assert line == {name: audit.canonical(getattr(row, name)) for name in audit_page.EXPORTED}


async def test_the_export_needs_both_permissions(as_audrey: Client) -> None:
    group = await Group.objects.aget(name=AUDITOR)
    await group.permissions.aremove(await group.permissions.aget(codename="export"))
    assert (await as_audrey.post(f"{AUDIT_PAGE}export/", form={})).status == 403
    assert (await as_audrey.get(AUDIT_PAGE)).status == 200
    assert await AuditEvent.objects.acount() == 0
