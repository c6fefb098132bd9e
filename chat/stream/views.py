"""Views to ask for a reply as a stream, and to follow and stop a run. The rules are in chat/actions.py."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from accounts.models import User
from chat import actions, refusals
from chat.access import access_run
from chat.actions import Held
from chat.api import serializers
from chat.database import run_db
from chat.http import asks
from chat.http.event_loop import on_event_loop
from chat.http.members import member_of
from chat.instruments import logs
from chat.models import QueuedAsk, Run
from chat.runs.follow import follow, wait_for_end
from chat.runs.stopping import stop_and_wait
from chat.sign_ins import SignIn
from chat.stream import admission, html_view, resume, sse
from chat.stream.resume import Position


@dataclass(frozen=True, slots=True)
class Reading:
    """Reading of a run that a request asks for: from where, and in which format."""

    sign_in: SignIn
    position: Position
    html: bool = False  # text as HTML
    whole: bool = False  # one JSON answer after the run's end, instead of a stream


@dataclass(frozen=True, slots=True)
class Queued:
    """Queued ask, and how its run is read if it is asked while this request waits."""

    ask: QueuedAsk
    position: int
    reading: Callable[[Run], Reading]
    interrupted: Run | None = None  # the run before it, which is to stop


@on_event_loop
@csrf_exempt
@login_not_required
async def stream(request: HttpRequest) -> HttpResponseBase:
    """Ask by POST, or by GET as a browser's EventSource does. With Last-Event-ID both only resume."""
    if request.method not in ("GET", "POST"):
        return HttpResponseNotAllowed(["GET", "POST"])
    reading = await run_db(_ask_by_post if request.method == "POST" else _ask_by_get, request)
    if isinstance(reading, Queued) and reading.interrupted:
        await stop_and_wait(reading.interrupted)
        reading = await run_db(_read_again, reading)
    if isinstance(reading, Held | Queued):
        return JsonResponse(
            _waiting_json(reading), status=202, headers={"Cache-Control": "private, no-store"}
        )
    return await _whole_answer(reading) if reading.whole else _event_stream(reading)


def _ask_by_post(request: HttpRequest) -> Reading | Held | Queued:
    member = member_of(request)
    html = resume.wants_html(request)
    sign_in = SignIn(request, member)
    # Clients that repeat their POST after a lost connection add Last-Event-ID: the body is ignored then.
    if position := resume.resumed_position(member, request):
        return Reading(sign_in, _admitted(member, position), html)
    ask = asks.ask_in_body(request)
    stored = admission.store_ask(member, ask)
    if isinstance(stored, Held):
        return stored

    def reading(run: Run) -> Reading:
        return Reading(sign_in, Position(run), html, whole=ask.mode == Run.Mode.NONE)

    if isinstance(stored, Run):
        return reading(stored)
    queued = Queued(stored, stored.position, reading)
    if not stored.interrupts:
        return queued
    # The question may have been asked by now: its own run, or one that goes ahead of it, is not to stop.
    stopping = Run.objects.active().filter(
        conversation=stored.conversation_id, stop_requested_at__isnull=False
    )
    interrupted = stopping.first()
    return replace(queued, interrupted=interrupted) if interrupted else _read_again(queued)


def _read_again(queued: Queued) -> Reading | Queued:
    """Return the reading of the run that the ask has become, or its place in the queue."""
    run = Run.objects.select_related("conversation").filter(pk=queued.ask.pk).first()
    if run is not None:
        return queued.reading(run)
    found = QueuedAsk.objects.filter(pk=queued.ask.pk).first()
    if found is None:  # withdrawn meanwhile
        raise refusals.not_found()
    return replace(queued, position=found.position)


def _waiting_json(waiting: Held | Queued) -> dict[str, Any]:
    if isinstance(waiting, Held):
        return {"state": "waiting", "waiting": [str(each) for each in waiting.waiting]}
    return {"queued": str(waiting.ask.pk), "position": waiting.position}


def _ask_by_get(request: HttpRequest) -> Reading:
    member = member_of(request)
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise refusals.cross_site()
    if "text/event-stream" not in request.headers.get("Accept", "").lower():
        raise refusals.Refusal(406, "accept", _("Ask with Accept: text/event-stream."))
    html = resume.wants_html(request)
    if position := resume.resumed_position(member, request):
        return Reading(SignIn(request, member), _admitted(member, position), html)
    run = admission.store_ask(member, asks.ask_in_query(request))
    assert isinstance(run, Run)  # a query string can neither answer nor wait
    return Reading(SignIn(request, member), Position(run), html)


@on_event_loop
@login_not_required
@require_GET
async def run_events(request: HttpRequest, run: str) -> HttpResponseBase:
    """Follow a run, from its start or from the reader's position."""
    return _event_stream(await run_db(_follow, request, run))


def _follow(request: HttpRequest, run: str) -> Reading:
    member = member_of(request)
    html = resume.wants_html(request)
    position = resume.followed_position(access_run(member, run), request)
    return Reading(SignIn(request, member), _admitted(member, position), html)


def _admitted(member: User, position: Position) -> Position:
    """Return ``position``. Raises the 429 refusal, unless the reader has everything already."""
    if not position.has_done_frame and (refusal := admission.stream_refusal(member)):
        raise refusal
    return position


def _event_stream(reading: Reading) -> HttpResponseBase:
    position, run_id = reading.position, reading.position.run.pk
    logs.set_request_run(run_id)
    if position.has_done_frame:
        return HttpResponse(status=204, headers={"Cache-Control": "private, no-store"})
    if position.lacks_only_done_frame:
        return sse.response(sse.end_frames(run_id, position.after + 1))
    after = 0 if reading.html else position.after  # HTML needs the whole text
    if position.rows is None:
        batches = follow(
            run_id,
            after,
            idle=settings.STREAM_HEARTBEAT_SECONDS,
            begun=position.run.begun,
            sign_in=reading.sign_in,
        )
    else:
        batches = resume.replay(position.rows, after)
    if reading.html:
        batches = html_view.rows(run_id, batches, position.after)
    return sse.response(admission.count_stream(reading.sign_in.member, sse.frames(run_id, batches)))


async def _whole_answer(reading: Reading) -> HttpResponse:
    run = reading.position.run
    logs.set_request_run(run.pk)
    if run.is_active:
        await wait_for_end(run.pk, reading.sign_in)
        if reading.sign_in.has_ended:
            raise refusals.not_signed_in()
    return JsonResponse(
        await run_db(serializers.whole_answer, run.pk), headers={"Cache-Control": "private, no-store"}
    )


@on_event_loop
@csrf_exempt
@login_not_required
@require_POST
async def stop_run(request: HttpRequest, run: str) -> HttpResponse:
    """Request the stop, and answer when the run has ended, or after STOP_SECONDS."""
    found = await run_db(_request_stop, request, run)
    await stop_and_wait(found)
    return JsonResponse(await run_db(_stop_answer, found.pk), headers={"Cache-Control": "private, no-store"})


def _request_stop(request: HttpRequest, run: str) -> Run:
    return actions.request_stop(access_run(member_of(request), run))


def _stop_answer(run_id: uuid.UUID) -> dict[str, Any]:
    run = Run.objects.select_related("reply").get(pk=run_id)
    length = len(run.reply.text) if run.reply else 0
    return {
        "run": str(run.pk),
        "status": run.status,
        "seq": None if run.is_active else run.last_seq,
        "text_length": None if run.is_active else length,
    }
