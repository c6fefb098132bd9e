"""Views to ask for a reply as a stream, and to follow and stop a run. The rules are in chat/actions.py."""

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

from accounts.models import User
from chat import actions, refusals
from chat.access import access_run
from chat.api import serializers
from chat.database import run_db
from chat.events import Row
from chat.http.members import member_of
from chat.instruments import logs
from chat.models import Run
from chat.runs.follow import follow, wait_for_end
from chat.runs.stopping import stop_and_wait
from chat.runs.supervisor import supervisor
from chat.stream import admission, asks, html_view, resume, sse
from chat.stream.resume import Position


@csrf_exempt
@login_not_required
async def stream(request: HttpRequest) -> HttpResponseBase:
    """Ask by POST, or by GET as a browser's EventSource does. With Last-Event-ID both only resume."""
    if request.method == "POST":
        return await _post(request)
    if request.method == "GET":
        return await _get(request)
    return HttpResponseNotAllowed(["GET", "POST"])


async def _post(request: HttpRequest) -> HttpResponseBase:
    member, position, html, whole = await run_db(_ask_or_resume_by_post, request)
    supervisor.launch(position.run.pk)
    if whole:
        logs.set_request_run(position.run.pk)
        return await _whole_answer(position.run)
    return _event_stream(member, position, html=html)


async def _get(request: HttpRequest) -> HttpResponseBase:
    member, position, html = await run_db(_ask_or_resume_by_get, request)
    supervisor.launch(position.run.pk)
    return _event_stream(member, position, html=html)


def _ask_or_resume_by_post(request: HttpRequest) -> tuple[User, Position, bool, bool]:
    """Return the member, the position to read from, whether as HTML, and whether as one JSON answer."""
    member = member_of(request)
    html = asks.wants_html(request)
    # Clients that repeat their POST after a lost connection add Last-Event-ID: the body is ignored then.
    if position := _resumed(member, request):
        return member, position, html, False
    ask = asks.ask_in_body(request)
    return member, Position(admission.store_ask(member, ask).run), html, ask.mode == Run.Mode.NONE


def _ask_or_resume_by_get(request: HttpRequest) -> tuple[User, Position, bool]:
    member = member_of(request)
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise refusals.cross_site()
    if "text/event-stream" not in request.headers.get("Accept", "").lower():
        raise refusals.Refusal(406, "accept", _("Ask with Accept: text/event-stream."))
    html = asks.wants_html(request)
    position = _resumed(member, request)
    return member, position or Position(admission.store_ask(member, asks.ask_in_query(request)).run), html


def _resumed(member: User, request: HttpRequest) -> Position | None:
    """Return the position after Last-Event-ID, None without it. Raises the 400, 404 and 429 refusals."""
    last_id = resume.last_event_id(request)
    if not last_id:
        return None
    named = resume.parse_event_id(last_id)
    if named is None:
        raise refusals.malformed(_("Last-Event-ID is not the id of an event."))
    return _admitted(member, resume.resumed_position(access_run(member, named[0]), named[1]))


@login_not_required
@require_GET
async def run_events(request: HttpRequest, run: str) -> HttpResponseBase:
    """Follow a run, from its start or from the reader's position."""
    member, position, html = await run_db(_follow, request, run)
    return _event_stream(member, position, html=html)


def _follow(request: HttpRequest, run: str) -> tuple[User, Position, bool]:
    member = member_of(request)
    html = asks.wants_html(request)
    return member, _admitted(member, resume.followed_position(access_run(member, run), request)), html


def _admitted(member: User, position: Position) -> Position:
    """Return ``position``. Raises the 429 refusal, unless the reader has everything already."""
    if not position.has_done_frame:
        admission.refuse_if_too_many_streams(member)
    return position


def _event_stream(member: User, position: Position, *, html: bool) -> HttpResponseBase:
    run_id = position.run.pk
    logs.set_request_run(run_id)
    if position.has_done_frame:
        return HttpResponse(status=204, headers={"Cache-Control": "private, no-store"})
    if position.lacks_only_done_frame:
        return sse.response(sse.end_frames(run_id, position.after + 1))
    return sse.response(admission.count_stream(member, sse.frames(run_id, _batches(position, html=html))))


def _batches(position: Position, *, html: bool) -> AsyncGenerator[list[Row], None]:
    run_id, after = position.run.pk, 0 if html else position.after  # HTML needs the whole text
    if position.rows is None:
        batches = follow(run_id, after, idle=settings.STREAM_HEARTBEAT_SECONDS)
    else:
        batches = resume.replay(position.rows, after)
    return html_view.rows(run_id, batches, position.after) if html else batches


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
    """Request the stop, and answer when the run has ended, or after STOP_SECONDS."""
    found = await run_db(_request_stop, request, run)
    await stop_and_wait(found)
    return JsonResponse(await run_db(_stop_answer, found.pk), headers={"Cache-Control": "private, no-store"})


def _request_stop(request: HttpRequest, run: str) -> Run:
    return actions.request_stop(access_run(member_of(request), run))


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
