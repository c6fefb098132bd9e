"""Live watch: staff with a grant see a running reply as it is written, and stop or hide it."""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Literal

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from accounts.models import User
from chat import refusals
from chat.access import may_look, parse_id
from chat.database import AWAY, run_db
from chat.http import parsing
from chat.http.event_loop import RedirectAfter, on_event_loop
from chat.http.fields import Fields
from chat.http.members import member_of
from chat.instruments import logs
from chat.models import Conversation, Run
from chat.moderated import ModerationReason
from chat.moderation import audit, decisions, grants
from chat.moderation.decisions import DECISION_TEXT_MAX, Why
from chat.moderation.duties import ACT_ON_CONTENT, WATCH_LIVE, may_decide_about, staff_with
from chat.moderation.policy import policy_in_force
from chat.pages import transcript
from chat.refusals import Refusal
from chat.runs.follow import follow
from chat.runs.stopping import stop_and_wait
from chat.sign_ins import SignIn
from chat.stream import admission, html_view, resume, sse
from chat.stream.resume import Position

log = logging.getLogger(__name__)

# Between two checks of an open stream, and for how long one may take. Ten seconds are promised.
WATCH_CHECK_SECONDS = 4.0
WATCH_CHECK_MAX_SECONDS = 5.0
NEEDED = ("chat.view_conversation", WATCH_LIVE)


class WatchForm(Fields):
    """Fields of the form that ends the reply."""

    do: Literal["stop", "hide"]
    reason: str = ""
    words: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """An open stream of a running reply to staff."""

    sign_in: SignIn
    position: Position  # of the page


def is_watcher(request: HttpRequest) -> bool:
    """Return whether the signed-in staff may watch replies, each by a grant."""
    user = request.user
    is_staff = isinstance(user, User) and user.is_active and user.is_staff
    return is_staff and user.has_perms(NEEDED) and policy_in_force().watches_live


# --- the page -------------------------------------------------------------------------------------


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def watch_page(request: HttpRequest, run: str) -> HttpResponse:
    """Show a running reply as it is written, after the look is stored; a POST stops or hides it.

    Without a grant to its conversation, redirect to the page that opens that.
    """
    staff, found = _access(request, run)
    if request.method != "POST":
        return _render(request, staff, found)
    form = WatchForm.read(parsing.body_of(request))
    try:
        return _act(request, staff, found, form)
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        return _render(request, staff, found, form, refusal)


def _access(request: HttpRequest, run: str) -> tuple[User, Run]:
    """Return the signed-in staff and the run. Raises PermissionDenied, and the 404 refusal.

    It is one while the site's owner has not turned live watch on, too.
    """
    staff = staff_with(request, *NEEDED)
    pk = parse_id(run)
    runs = Run.objects.filter(conversation__in=grants.openable()).defer("state_after")
    found = runs.select_related("conversation__owner", "prompt").filter(pk=pk).first() if pk else None
    if found is None or not policy_in_force().watches_live:
        raise refusals.not_found()
    logs.set_request_run(found.pk)
    return staff, found


def _act(request: HttpRequest, staff: User, run: Run, form: WatchForm) -> HttpResponse:
    page = reverse("watch", args=[run.pk])
    why = Why(form.reason, form.words, form.note)
    if form.do == "hide":
        decisions.hide_running(staff, run, why)
        messages.success(request, _("The reply is ended, and hidden from its member and the agent."))
        return HttpResponseRedirect(page, status=303)
    decisions.stop_answer(staff, run, why)
    messages.success(request, _("The reply is stopped. What was written stays."))
    return RedirectAfter(page, partial(stop_and_wait, run))


def _render(
    request: HttpRequest,
    staff: User,
    run: Run,
    typed: WatchForm | None = None,
    refusal: Refusal | None = None,
) -> HttpResponse:
    conversation = run.conversation
    with transaction.atomic():
        if not may_look(request, conversation):
            return HttpResponseRedirect(reverse("open_conversation", args=[conversation.pk]))
        grant = grants.grant_of(staff, conversation)
        if run.is_active and grant:  # an own conversation needs none
            audit.record(
                "watch",
                actor=staff,
                member=conversation.owner,
                object_type="run",
                object_id=run.pk,
                reason=grant.reason or grant.basis,
                grant=grant.pk,
            )
    context = {
        **admin.site.each_context(request),
        "title": _("Live"),
        "conversation": conversation,
        "run": run,
        "live": transcript.live_reply(run) if run.status == Run.Status.RUNNING else None,
        "may_act": run.is_active and may_decide_about(staff, conversation.owner, ACT_ON_CONTENT),
        "may_view_runs": staff.has_perm("chat.view_run"),
        "reasons": ModerationReason.choices,
        "typed": typed,
        "refusal": refusal,
        "text_max": DECISION_TEXT_MAX,
        "outcome_max": transcript.SHOWN_OUTCOME,
    }
    return render(request, "admin/moderation/watch.html", context, status=refusal.status if refusal else 200)


# --- the stream -----------------------------------------------------------------------------------


@on_event_loop
@login_not_required
@require_GET
async def watch_events(request: HttpRequest, run: str) -> HttpResponseBase:
    """Follow an active run as its member does, for as long as the staff may watch it.

    204 if it has ended, unless the page has a part of it, which lost its stream. Each connection is a look,
    stored before any text is sent.
    """
    watch = await run_db(_admit, request, run)
    if watch is None:
        return HttpResponse(status=204, headers={"Cache-Control": "private, no-store"})
    run_id, rows = watch.position.run.pk, watch.position.rows
    if rows is None:
        batches = follow(run_id, 0, idle=settings.STREAM_HEARTBEAT_SECONDS, sign_in=watch.sign_in)
    else:
        batches = resume.replay(rows, 0)
    chunks = sse.frames(run_id, html_view.rows(run_id, batches, watch.position.after))
    return sse.response(admission.count_stream(watch.sign_in.member, _while_allowed(watch, chunks)))


def _admit(request: HttpRequest, run: str) -> Watch | None:
    """Return what is to be watched, None if there is nothing. Raises PermissionDenied and refusals."""
    member_of(request)
    staff, found = _access(request, run)
    if refusal := admission.stream_refusal(staff):
        raise refusal
    position = resume.followed_position(found, request)
    if not (found.is_active or 0 < position.after < found.last_seq):
        return None
    if not may_look(request, found.conversation):
        raise PermissionDenied
    return Watch(SignIn(request, staff), position)


async def _while_allowed(watch: Watch, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield ``chunks`` until the staff may no longer watch: no text is sent after that was noticed."""
    checks = asyncio.ensure_future(_check(watch))
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                if watch.sign_in.has_ended:
                    return
                yield chunk
    finally:
        checks.cancel()


async def _check(watch: Watch) -> None:
    """End the sign-in of the stream when the staff may no longer watch, or when that cannot be checked."""
    try:
        is_allowed = True
        while is_allowed:
            await asyncio.sleep(WATCH_CHECK_SECONDS)
            async with asyncio.timeout(WATCH_CHECK_MAX_SECONDS):
                conversation = watch.position.run.conversation_id
                is_allowed = await run_db(_may_watch_now, watch.sign_in.member, conversation)
    except (TimeoutError, *AWAY) as error:
        log.warning("A live watch ends: the database did not answer: %s", error)
    finally:
        watch.sign_in.end()


def _may_watch_now(staff_id: int, conversation_id: uuid.UUID) -> bool:
    staff = User.objects.filter(pk=staff_id, is_active=True, is_staff=True).first()
    conversation = grants.openable().filter(pk=conversation_id).first()
    if staff is None or conversation is None:
        return False
    if not (staff.has_perms(NEEDED) and policy_in_force().watches_live):
        return False
    return _is_own(staff, conversation) or grants.grant_of(staff, conversation) is not None


def _is_own(staff: User, conversation: Conversation) -> bool:
    return conversation.owner_id == staff.pk and conversation.deleted_at is None
