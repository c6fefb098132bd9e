"""``/metrics``: for Prometheus beside the server, and whom METRICS_ALLOW names. For others, nothing."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from chat import refusals
from chat.instruments import metrics

# Whoever sends one of these passes on somebody else's request: the peer's address says nothing then.
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
    """Whether the request comes straight from this machine, or from an allowed address."""
    if any(name in FORWARDING or name.startswith("X-Forwarded-") for name in request.headers):
        return False
    peer = _peer(request)
    return peer is not None and (
        peer.is_loopback or any(peer in network for network in settings.METRICS_ALLOW)
    )


def _peer(request: HttpRequest) -> IPv4Address | IPv6Address | None:
    try:
        peer = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return None  # a socket file has no address
    return getattr(peer, "ipv4_mapped", None) or peer
