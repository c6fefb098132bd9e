"""``/metrics``: for Prometheus beside the server, and whom METRICS_ALLOW names. For others, nothing."""

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from accounts.client_address import client_address
from chat import refusals
from chat.instruments import metrics

# A request with one of these comes through a proxy, which is refused also where TRUSTED_PROXIES lists it.
FORWARDING = {
    "Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip",
    "Cf-Connecting-Ip",
}  # fmt: skip


@csrf_exempt  # or a POST would be told apart from one to a page that is not there
@login_not_required
async def exposed(request: HttpRequest) -> HttpResponse:
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
