"""Addresses for machines that watch the server: ``/healthz``, ``/readyz`` and ``/metrics``."""

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from accounts.client_address import client_address
from chat import refusals
from chat.database import run_db
from chat.instruments import metrics
from chat.models import Process
from chat.runs.supervisor import supervisor

# A request with one of these comes through a proxy, which is refused also where TRUSTED_PROXIES lists it.
FORWARDING = {
    "Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip",
    "Cf-Connecting-Ip",
}  # fmt: skip


@login_not_required
@require_GET
async def healthz(request: HttpRequest) -> HttpResponse:
    """The process lives."""
    return JsonResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


@login_not_required
@require_GET
async def readyz(request: HttpRequest) -> HttpResponse:
    """It can take work: not while it starts or drains, nor without its database (503)."""
    if not supervisor.has_started:
        raise refusals.unavailable("This server is starting.")
    if supervisor.draining:
        raise refusals.unavailable("This server is about to restart.")
    await run_db(Process.objects.exists)
    return JsonResponse({"status": "ready"}, headers={"Cache-Control": "no-store"})


@csrf_exempt  # or a POST would be told apart from one to a page that is not there
@login_not_required
async def metrics_page(request: HttpRequest) -> HttpResponse:
    """What this process has counted. Raises the 404 refusal for whom it is not for."""
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
