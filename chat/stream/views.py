"""The stream, and how it is asked for, followed and stopped. Views translate; actions decide."""

import uuid
from collections.abc import AsyncGenerator
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from chat import actions, refusals
from chat.access import access_run
from chat.api import serializers
from chat.database import run_db
from chat.events import Row
from chat.http.members import member_of
from chat.instruments import logs
from chat.models import Run
from chat.runs.follow import follow
from chat.runs.stopping import stop_and_wait, wait_for_end
from chat.runs.supervisor import supervisor
from chat.stream import admission, asks, html_view, resume, sse
from chat.stream.resume import Place


@csrf_exempt
@login_not_required
async def stream(request: HttpRequest) -> HttpResponseBase:
    """POST asks; GET asks as a browser's EventSource does. With Last-Event-ID both resume, and never ask."""
    if request.method == "POST":
        return await _post(request)
    if request.method == "GET":
        return await _get(request)
    return HttpResponseNotAllowed(["GET", "POST"])


async def _post(request: HttpRequest) -> HttpResponseBase:
    member, place, html, whole = await run_db(_ask_or_resume_by_post, request)
    supervisor.launch(place.run.pk)
    if whole:
        logs.asked_of(place.run.pk)
        return await _whole_answer(place.run)
    return _event_stream(member, place, html=html)


async def _get(request: HttpRequest) -> HttpResponseBase:
    member, place, html = await run_db(_ask_or_resume_by_get, request)
    supervisor.launch(place.run.pk)
    return _event_stream(member, place, html=html)


def _ask_or_resume_by_post(request: HttpRequest) -> tuple[Any, Place, bool, bool]:
    """The member, where to follow which run, whether as HTML, and whether it is answered as a whole.

    A client that repeats its POST after a cut sends Last-Event-ID along: its body is not looked at.
    """
    member = member_of(request)
    html = asks.wants_html(request)
    if place := _resumed(member, request):
        return member, place, html, False
    ask = asks.ask_of(request)
    return member, Place(admission.store_ask(member, ask).run), html, ask.mode == Run.Mode.NONE


def _ask_or_resume_by_get(request: HttpRequest) -> tuple[Any, Place, bool]:
    member = member_of(request)
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise refusals.cross_site()
    if "text/event-stream" not in request.headers.get("Accept", "").lower():
        raise refusals.Refusal(406, "accept", _("Ask with Accept: text/event-stream."))
    html = asks.wants_html(request)
    place = _resumed(member, request) or Place(
        admission.store_ask(member, asks.event_source_ask(request)).run
    )
    return member, place, html


def _resumed(member: Any, request: HttpRequest) -> Place | None:
    """Where Last-Event-ID leads, None without it. Raises the 400, 404 and 429 refusals."""
    last_id = resume.last_event_id(request)
    if not last_id:
        return None
    named = resume.split_id(last_id)
    if named is None:
        raise refusals.malformed(_("Last-Event-ID is not the id of an event."))
    return _admitted(member, resume.resumed_place(access_run(member, named[0]), named[1]))


@login_not_required
@require_GET
async def run_events(request: HttpRequest, run: str) -> HttpResponseBase:
    """Follow a run, from its start or from where the reader was."""
    member, place, html = await run_db(_follow_by_get, request, run)
    return _event_stream(member, place, html=html)


def _follow_by_get(request: HttpRequest, run: str) -> tuple[Any, Place, bool]:
    member = member_of(request)
    html = asks.wants_html(request)
    return member, _admitted(member, resume.place_in(access_run(member, run), request)), html


def _admitted(member: Any, place: Place) -> Place:
    """A reader's place. Raises the 429 refusal, unless there is nothing left to read."""
    if not place.over:
        admission.refuse_if_too_many_streams(member)
    return place


def _event_stream(member: Any, place: Place, *, html: bool) -> HttpResponseBase:
    logs.asked_of(place.run.pk)
    if place.over:
        return HttpResponse(status=204, headers={"Cache-Control": "private, no-store"})
    run_id = place.run.pk
    if place.at_end:
        return sse.response(sse.end_frames(run_id, place.after + 1))
    return sse.response(admission.count_stream(member, sse.frames(run_id, _batches(place, html=html))))


def _batches(place: Place, *, html: bool) -> AsyncGenerator[list[Row], None]:
    """The run's rows from there on; as HTML they come from the whole of it."""
    run_id, after = place.run.pk, 0 if html else place.after
    if place.rows is None:
        batches = follow(run_id, after, idle=settings.STREAM_HEARTBEAT_SECONDS)
    else:
        batches = resume.at_hand(place.rows, after)
    return html_view.rows(run_id, batches, place.after) if html else batches


async def _whole_answer(run: Run) -> HttpResponse:
    if run.is_active:
        await wait_for_end(run.pk)
    return JsonResponse(
        await run_db(serializers.whole_answer, run.pk), headers={"Cache-Control": "private, no-store"}
    )


@csrf_exempt
@login_not_required
@require_POST
async def stop_run(request: HttpRequest, run: str) -> HttpResponse:
    """Record the wish, and answer when the run has ended, or after STOP_SECONDS."""
    found = await run_db(_request_stop, request, run)
    await stop_and_wait(found)
    return JsonResponse(await run_db(_stop_answer, found.pk), headers={"Cache-Control": "private, no-store"})


def _request_stop(request: HttpRequest, run: str) -> Run:
    member = member_of(request)
    return actions.request_stop(access_run(member, run))


def _stop_answer(run_id: uuid.UUID) -> dict[str, Any]:
    run = Run.objects.select_related("reply").get(pk=run_id)
    ended = not run.is_active
    length = len(run.reply.text) if run.reply else 0
    return {
        "run": str(run.pk),
        "status": run.status,
        "seq": run.last_seq if ended else None,
        "text_length": length if ended else None,
    }
