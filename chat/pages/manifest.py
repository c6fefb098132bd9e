"""Description of the page for browsers that install it, and the icon that old ones ask for."""

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

# The colours of --paper and --spruce in tokens.css, light: a manifest has no dark ones.
PAPER, SPRUCE = "#fbfaf7", "#0e6656"


@login_not_required  # browsers request it without cookies
@require_safe
def manifest(request: HttpRequest) -> HttpResponse:
    icons = [
        {"src": static(f"chat/icons/{name}{size}.png"), "sizes": f"{size}x{size}", "type": "image/png"}
        | {"purpose": purpose}
        for name, purpose in (("", "any"), ("maskable-", "maskable"))
        for size in (192, 512)
    ]
    content = {
        "id": "/",
        "name": "Parley",
        "description": _("Conversations with agents"),
        "start_url": reverse("chat:home"),
        "scope": "/",
        "display": "standalone",
        "background_color": PAPER,
        "theme_color": SPRUCE,
        "icons": icons,
    }
    return JsonResponse(content, content_type="application/manifest+json")


@login_not_required
@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Redirect to the icon for browsers that do not read the page's links."""
    return HttpResponseRedirect(static("chat/icons/favicon.ico"))
