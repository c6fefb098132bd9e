"""Live watch: off by default, by a grant, recorded; it ends within ten seconds of the right to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.utils import timezone

from chat import sign_ins
from chat.models import Message, Run
from chat.moderation import watching
from chat.moderation.groups import MODERATOR
from chat.moderation.models import AccessGrant, AuditEvent, AuditText, Decision, Policy
from chat.runs.supervisor import supervisor
from chat.stream import admission
from tests.conftest import make_user
from tests.support.client import Client, Exchange
from tests.support.gemini import Gemini, Hold, Text
from tests.support.sse_client import SseEvent
from tests.support.staff import open_as_staff, opening, transcript

SHOWN, LATER = "shown quokka", "never wombat"


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_ins, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(watching, "WATCH_CHECK_SECONDS", 0.2)


@pytest.fixture
def switched_on(transactional_db: None) -> None:
    Policy.objects.update_or_create(pk=1, defaults={"watches_live": True})


@asynccontextmanager
async def running(client: Client, gemini: Gemini) -> AsyncIterator[tuple[Run, Exchange]]:
    """Yield a run that has written SHOWN and writes LATER when it is released, and its member's stream."""
    gemini.on("write", [Text(SHOWN), Hold(), Text(f" {LATER}")])
    async with client.open("POST", "/chat/stream", json_body={"query": "write"}) as asked:
        started = (await asked.until("text"))[0].json()
        yield await Run.objects.aget(pk=started["run"]), asked


def page(run: Run) -> str:
    return f"/admin/watch/{run.pk}/"


def events(run: Run) -> str:
    return f"/admin/watch/{run.pk}/events"


async def rows(**wanted: Any) -> list[AuditEvent]:
    return [row async for row in AuditEvent.objects.filter(**wanted).order_by("seq")]


def text_of(found: list[SseEvent]) -> str:
    return " ".join(event.data for event in found)


# --- who may watch --------------------------------------------------------------------------------


async def test_it_is_off_until_the_owner_turns_it_on(
    as_alice: Client, as_mona: Client, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, _asked):
        await open_as_staff(as_mona, run.conversation_id)
        for path in (page(run), events(run)):
            answer = await as_mona.get(path)
            assert answer.status == 404
            assert SHOWN not in answer.text
        form = {"do": "stop", "reason": "harmful"}
        assert (await as_mona.post(page(run), form=form)).status == 404
        for listed in (f"/admin/chat/run/{run.pk}/change/", "/admin/chat/run/?status=running"):
            assert page(run) not in (await as_mona.get(listed)).text
        gemini.release()
    assert await rows(action="watch") == []


async def test_staff_without_the_permission_are_refused(
    as_alice: Client, as_tom: Client, as_audrey: Client, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, _asked):
        for client in (as_tom, as_audrey):
            for path in (page(run), events(run)):
                assert (await client.get(path)).status == 403
        assert (await as_alice.get(page(run))).status == 302
        assert (await as_alice.get(events(run))).status == 403
        gemini.release()


async def test_without_a_grant_the_page_leads_to_the_one_that_opens_it(
    as_alice: Client, as_mona: Client, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, _asked):
        answer = await as_mona.get(page(run))
        assert (answer.status, answer.headers["location"]) == (302, opening(run.conversation_id))
        refused = await as_mona.get(events(run))
        assert refused.status == 403
        assert SHOWN not in refused.text
        gemini.release()
    assert await rows() == []


async def test_the_site_s_owner_needs_a_grant_too(
    parley: Any, as_alice: Client, switched_on: None, gemini: Gemini
) -> None:
    olga = await sync_to_async(make_user)("olga", is_staff=True, is_superuser=True)
    as_olga = await Client(parley, olga).sign_in()
    async with running(as_alice, gemini) as (run, _asked):
        assert (await as_olga.get(page(run))).status == 302
        assert (await as_olga.get(events(run))).status == 403
        gemini.release()


@pytest.mark.parametrize("run", ["word", "00000000-0000-0000-0000-000000000000"])
async def test_a_missing_run_is_not_found(as_mona: Client, switched_on: None, run: str) -> None:
    for path in (f"/admin/watch/{run}/", f"/admin/watch/{run}/events"):
        assert (await as_mona.get(path)).status == 404


# --- what is shown and recorded -------------------------------------------------------------------


async def test_the_page_shows_the_reply_so_far_after_it_is_recorded(
    as_alice: Client, as_mona: Client, mona: Any, alice: Any, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, _asked):
        await open_as_staff(as_mona, run.conversation_id, "incident")
        answer = await as_mona.get(page(run))
        assert answer.status == 200
        assert SHOWN in answer.text
        assert "no-store" in answer.headers["cache-control"]
        assert f'data-events="{events(run)}"' in answer.text
        look, watch = await rows(action__in=["look", "watch"])
        assert (look.action, look.object_id) == ("look", str(run.conversation_id))
        assert (watch.action, watch.object_type, watch.object_id) == ("watch", "run", str(run.pk))
        assert (watch.actor, watch.member, watch.reason) == (mona.audit_id, alice.audit_id, "incident")
        assert watch.grant == (await AccessGrant.objects.aget()).pk
        gemini.release()


async def test_the_stream_is_the_member_s_and_each_connection_is_a_look(
    as_alice: Client, as_mona: Client, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, _asked):
        await open_as_staff(as_mona, run.conversation_id)
        async with (
            as_alice.open("GET", f"/chat/runs/{run.pk}/events?view=html") as own,
            as_mona.open("GET", f"{events(run)}?view=html") as watched,
        ):
            assert watched.status == 200
            assert watched.headers["content-type"].startswith("text/event-stream")
            first = await watched.until("html")
            assert SHOWN in text_of(first)
            before = await own.until("html")
            gemini.release()
            assert _shown(first + await watched.all_events()) == _shown(before + await own.all_events())
        assert len(await rows(action="look")) == 1
        ended = await as_mona.get(events(run))
        assert (ended.status, ended.body) == (204, b"")


def _shown(found: list[SseEvent]) -> list[tuple[str, Any]]:
    """Return names and data; of HTML the last state only, as frames depend on the time."""
    others = [(event.name, event.data) for event in found if event.name != "html"]
    last = [json.loads(event.data)["closed"] for event in found if event.name == "html"][-1]
    return [*others, ("html", last)]


async def test_a_page_goes_on_where_it_was_made(
    as_alice: Client, as_mona: Client, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, _asked):
        await open_as_staff(as_mona, run.conversation_id)
        async with as_mona.open("GET", f"{events(run)}?view=html&after=1") as watched:
            (event,) = await watched.until("html")
            assert event.name == "html"
            gemini.release()
            assert (await watched.all_events())[-1].is_done


async def test_a_page_that_lost_its_stream_gets_the_rest_of_an_ended_reply(
    as_alice: Client, as_mona: Client, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, asked):
        await open_as_staff(as_mona, run.conversation_id)
        async with as_mona.open("GET", f"{events(run)}?view=html") as watched:
            last = (await watched.until("html"))[-1]
        gemini.release()
        await asked.all_events()
    async with as_mona.open("GET", f"{events(run)}?view=html", headers={"Last-Event-ID": last.id}) as watched:
        rest = await watched.all_events()
    assert rest[-1].is_done
    assert LATER in text_of(rest)
    assert (await as_mona.get(f"{events(run)}?after={rest[-2].id.rpartition(':')[2]}")).status == 204


async def test_it_counts_as_a_stream_of_the_staff_and_not_of_the_member(
    as_alice: Client, as_mona: Client, mona: Any, alice: Any, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, _asked):
        await open_as_staff(as_mona, run.conversation_id)
        before = admission._open_streams[alice.pk]
        async with as_mona.open("GET", events(run)) as watched:
            await watched.until("html")
            assert admission._open_streams[alice.pk] == before
            assert admission._open_streams[mona.pk] == 1
        gemini.release()


async def test_a_queued_and_an_ended_reply_lead_to_the_transcript(
    as_alice: Client, as_mona: Client, alice: Any, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, asked):
        gemini.release()
        await asked.all_events()
    await open_as_staff(as_mona, run.conversation_id)
    ended = await as_mona.get(page(run))
    assert "This reply has ended." in ended.text
    await run.arefresh_from_db()
    prompt = await Message.objects.acreate(conversation_id=run.conversation_id, role="user", text="more")
    queued = await Run.objects.acreate(conversation_id=run.conversation_id, owner=alice, prompt=prompt)
    waits = await as_mona.get(page(queued))
    assert "This reply is queued" in waits.text
    for answer in (ended, waits):
        assert answer.status == 200
        assert transcript(run.conversation_id) in answer.text
        assert "data-events" not in answer.text


async def test_lists_and_transcript_link_to_it(
    as_alice: Client, as_mona: Client, as_tom: Client, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, asked):
        await open_as_staff(as_mona, run.conversation_id)
        places = [
            f"/admin/chat/run/{run.pk}/change/",
            "/admin/chat/run/?status=running",
            transcript(run.conversation_id),
        ]
        for place in places:
            assert page(run) in (await as_mona.get(place)).text, place
        gemini.release()
        await asked.all_events()
    for place in places:
        assert page(run) not in (await as_mona.get(place)).text, place


# --- its end --------------------------------------------------------------------------------------


def expire_session(mona: Any) -> None:
    Session.objects.filter(pk=mona.session).update(expire_date=timezone.now() - timedelta(seconds=1))


def change_password(mona: Any) -> None:
    mona.set_password("another horse battery")
    mona.save(update_fields=["password"])


def deactivate(mona: Any) -> None:
    type(mona).objects.filter(pk=mona.pk).update(is_active=False)


def leave_the_staff(mona: Any) -> None:
    type(mona).objects.filter(pk=mona.pk).update(is_staff=False)


def leave_the_group(mona: Any) -> None:
    mona.groups.clear()


def _without(name: str) -> None:
    group = Group.objects.get(name=MODERATOR)
    group.permissions.remove(Permission.objects.get(content_type__app_label="moderation", codename=name))


def lose_the_permission_to_watch(mona: Any) -> None:
    _without("watch_live")


def lose_the_permission_to_read(mona: Any) -> None:
    _without("read_text")


def switch_off(mona: Any) -> None:
    Policy.objects.update(watches_live=False)


def let_the_grant_end(mona: Any) -> None:
    AccessGrant.objects.update(expires_at=timezone.now())


def revoke_the_grant(mona: Any) -> None:
    AccessGrant.objects.update(revoked_at=timezone.now())


ENDS = [
    expire_session,
    change_password,
    deactivate,
    leave_the_staff,
    leave_the_group,
    lose_the_permission_to_watch,
    lose_the_permission_to_read,
    switch_off,
    let_the_grant_end,
    revoke_the_grant,
]


def test_the_end_of_the_right_is_noticed_within_ten_seconds() -> None:
    assert watching.WATCH_CHECK_SECONDS + watching.WATCH_CHECK_MAX_SECONDS < 10


@pytest.mark.parametrize("end", ENDS)
async def test_the_stream_ends_with_the_right_to_it(
    as_alice: Client,
    as_mona: Client,
    mona: Any,
    switched_on: None,
    gemini: Gemini,
    quick_checks: None,
    end: Callable[[Any], None],
) -> None:
    mona.session = as_mona.cookies["sessionid"]
    async with running(as_alice, gemini) as (run, asked):
        await open_as_staff(as_mona, run.conversation_id)
        async with as_mona.open("GET", events(run)) as watched:
            await watched.until("html")
            await asyncio.sleep(0.5)  # it was checked, and goes on
            await sync_to_async(end)(mona)
            async with asyncio.timeout(5):  # ends without the model's help
                assert await watched.all_events() == []
        gemini.release()
        assert LATER in text_of(await asked.all_events())
        assert (await as_mona.get(events(run))).status in {401, 403, 404, 204}


async def test_no_text_is_sent_after_the_end_was_noticed(
    as_alice: Client,
    as_mona: Client,
    switched_on: None,
    gemini: Gemini,
    quick_checks: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Text that was read from the log before is dropped, too."""
    async with running(as_alice, gemini) as (run, asked):
        await open_as_staff(as_mona, run.conversation_id)
        async with as_mona.open("GET", events(run)) as watched:
            await watched.until("html")
            await sync_to_async(switch_off)(None)
            await asyncio.sleep(0.5)
            gemini.release()
            assert LATER in text_of(await asked.all_events())
            assert await watched.all_events() == []


async def test_the_stream_ends_if_it_cannot_be_checked(
    as_alice: Client,
    as_mona: Client,
    switched_on: None,
    gemini: Gemini,
    quick_checks: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from django.db import OperationalError

    def away(*_args: Any) -> bool:
        raise OperationalError("away")

    async with running(as_alice, gemini) as (run, _asked):
        await open_as_staff(as_mona, run.conversation_id)
        async with as_mona.open("GET", events(run)) as watched:
            await watched.until("html")
            monkeypatch.setattr(watching, "_may_watch_now", away)
            async with asyncio.timeout(5):
                assert await watched.all_events() == []
        gemini.release()


# --- stop and hide --------------------------------------------------------------------------------


async def test_a_stop_keeps_the_text_and_ends_both_streams(
    as_alice: Client, as_mona: Client, mona: Any, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, asked):
        await open_as_staff(as_mona, run.conversation_id)
        async with as_mona.open("GET", events(run)) as watched:
            await watched.until("html")
            form = {"do": "stop", "reason": "harmful", "words": "Not here.", "note": "private note"}
            answer = await as_mona.post(page(run), form=form)
            assert (answer.status, answer.headers["location"]) == (303, page(run))
            for stream in (asked, watched):
                *_others, end, done = await stream.all_events()
                assert (end.name, end.json()["code"], done.is_done) == ("run.stopped", "moderated", True)
    assert "This reply has ended." in (await as_mona.get(page(run))).text
    stored = await Run.objects.select_related("reply").aget()
    assert stored.reply and (stored.status, stored.reply.text) == ("stopped", SHOWN)
    decision = await Decision.objects.select_related("decided_by").aget()
    assert (decision.kind, decision.run, decision.reason) == ("stop", run.pk, "harmful")
    assert (decision.words, decision.note, decision.decided_by) == ("Not here.", "private note", mona)
    (row,) = await rows(action="decision.stop")
    assert (await AuditText.objects.aget(seq=row.seq)).text == "private note"


@pytest.mark.parametrize("view", ["", "?view=html"])
async def test_a_hidden_reply_is_taken_back_from_the_member_s_stream(
    as_alice: Client, as_mona: Client, switched_on: None, gemini: Gemini, view: str
) -> None:
    async with running(as_alice, gemini) as (run, _asked):
        await open_as_staff(as_mona, run.conversation_id)
        async with (
            as_alice.open("GET", f"/chat/runs/{run.pk}/events{view}") as own,
            as_mona.open("GET", events(run)) as watched,
        ):
            await own.until("html" if view else "text")
            await watched.until("html")
            form = {"do": "hide", "reason": "self_harm"}
            assert (await as_mona.post(page(run), form=form)).status == 303
            for stream in (own, watched):
                found = [each for each in await stream.all_events() if each.name != "html"]
                replaced, end, done = found
                assert (replaced.name, replaced.json()) == ("replace", {"text": ""})
                assert (end.name, end.json()["code"], done.is_done) == ("run.stopped", "moderated", True)
        async with asyncio.timeout(5):  # the agent ends, too, though the model is silent
            await supervisor.idle()
        gemini.release()
        again = (await as_alice.get(f"/chat/runs/{run.pk}/events{view}")).events
        assert SHOWN not in text_of(again)
        assert [each.name for each in again if each.name not in ("", "html")] == [
            "run.started",
            "replace",
            "run.stopped",
        ]
        assert again[-1].is_done
        # a reader that lost its connection just before
        seqs = [int(each.id.rpartition(":")[2]) for each in again]
        late = await as_alice.get(
            f"/chat/runs/{run.pk}/events", headers={"last-event-id": f"{run.pk}:{seqs[-1] - 3}"}
        )
        assert [each.name for each in late.events] == ["replace", "run.stopped", ""]
    reply = await Message.objects.aget(role="assistant")
    assert (reply.text, bool(reply.hidden_at)) == ("", True)
    assert [row.action for row in await rows(action__startswith="decision")] == ["decision.hide"]


async def test_a_form_without_a_reason_keeps_what_was_typed(
    as_alice: Client, as_mona: Client, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, _asked):
        await open_as_staff(as_mona, run.conversation_id)
        answer = await as_mona.post(
            page(run), form={"do": "hide", "words": "typed koala", "note": "kept emu"}
        )
        assert answer.status == 422
        for text in ("Choose a reason.", "typed koala", "kept emu", SHOWN):
            assert text in answer.text
        gemini.release()
    assert not await Decision.objects.aexists()


async def test_a_reply_that_ended_meanwhile_is_not_stopped(
    as_alice: Client, as_mona: Client, switched_on: None, gemini: Gemini
) -> None:
    async with running(as_alice, gemini) as (run, asked):
        await open_as_staff(as_mona, run.conversation_id)
        gemini.release()
        await asked.all_events()
    answer = await as_mona.post(page(run), form={"do": "stop", "reason": "harmful"})
    assert answer.status == 409
    assert "This answer has ended already." in answer.text
    assert not await Decision.objects.aexists()


async def test_staff_who_may_not_act_watch_only(
    as_alice: Client, as_mona: Client, switched_on: None, gemini: Gemini
) -> None:
    await sync_to_async(_without)("act_on_content")
    async with running(as_alice, gemini) as (run, _asked):
        await open_as_staff(as_mona, run.conversation_id)
        answer = await as_mona.get(page(run))
        assert SHOWN in answer.text
        assert 'name="do"' not in answer.text
        for do in ("stop", "hide"):
            refused = await as_mona.post(page(run), form={"do": do, "reason": "harmful"})
            assert refused.status == 403
        gemini.release()
    assert not await Decision.objects.aexists()
