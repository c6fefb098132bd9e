"""Addresses for monitoring: ``/healthz``, ``/readyz`` and ``/metrics``."""

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from accounts.client_address import client_address
from chat import refusals
from chat.database import run_db
from chat.http.event_loop import on_event_loop
from chat.instruments import metrics
from chat.models import Process
from chat.runs.supervisor import supervisor

# A request with one of these came through a proxy. It is refused even if TRUSTED_PROXIES lists that.
FORWARDING = {
    "Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip",
    "Cf-Connecting-Ip",
}  # fmt: skip


@on_event_loop
@login_not_required
@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200: the process is alive."""
    return JsonResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


@on_event_loop
@login_not_required
@require_GET
async def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 if the process can take work; 503 while it starts or drains, or without its database."""
    if not supervisor.has_started:
        raise refusals.unavailable(_("This server is starting."))
    if supervisor.draining:
        raise refusals.unavailable(_("This server is about to restart."))
    await run_db(Process.objects.exists)
    return JsonResponse({"status": "ready"}, headers={"Cache-Control": "no-store"})


@csrf_exempt  # otherwise the answer to a POST differs from that of a missing page
@login_not_required
def metrics_page(request: HttpRequest) -> HttpResponse:
    """Return the counts of this process. Raises the 404 refusal for clients that may not read them."""
    if not may_read(request):
        raise refusals.not_found()
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    return HttpResponse(
        generate_latest(metrics.registry),
        content_type=CONTENT_TYPE_LATEST,
        headers={"Cache-Control": "no-store"},
    )


def may_read(request: HttpRequest) -> bool:
    """Return whether the request comes straight from this machine, or from an allowed address."""
    if any(name in FORWARDING or name.startswith("X-Forwarded-") for name in request.headers):
        return False
    client = client_address(request)
    return client is not None and (
        client.is_loopback or any(client in network for network in settings.METRICS_ALLOW)
    )
