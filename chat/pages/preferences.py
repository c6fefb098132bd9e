"""How somebody likes the page: kept in cookies, so that the server renders it so from the first byte."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from chat import refusals
from chat.http import parsing

# Each with what may be chosen; the first is what holds until then.
CHOICES = {
    "theme": ("system", "light", "dark"),
    "sidebar": ("open", "closed"),
    "follow": ("on", "off"),  # whether the view follows the words of an answer
    "announce": ("whole", "blocks", "none"),  # what of an answer is read aloud, and when
}
COOKIE_SECONDS = 365 * 24 * 3600


def of(request: HttpRequest) -> dict[str, str]:
    """What holds for this browser; a cookie that says something else says nothing."""
    chosen = {name: request.COOKIES.get(f"parley_{name}", "") for name in CHOICES}
    return {name: value if value in CHOICES[name] else CHOICES[name][0] for name, value in chosen.items()}


def context(request: HttpRequest) -> dict[str, dict[str, str]]:
    """``preferences`` for every template."""
    return {"preferences": of(request)}


@never_cache
@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """Keep what the form says, and 303 back to the page it was on (``next``). Raises the 400 refusal."""
    fields = parsing.body_of(request)
    parsing.refuse_unknown(fields, {*CHOICES, "next"})
    # Not redirect(): it takes a word such as "true" for the name of a route.
    response = HttpResponseRedirect(_own_page(request, parsing.text_field(fields, "next") or "/"), status=303)
    for name, choices in CHOICES.items():
        value = parsing.text_field(fields, name)
        if value is None:
            continue
        if value not in choices:
            raise refusals.malformed(
                _("%(name)s must be one of: %(choices)s.") % {"name": name, "choices": ", ".join(choices)}
            )
        response.set_cookie(
            f"parley_{name}",
            value,
            max_age=COOKIE_SECONDS,
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
    return response


def _own_page(request: HttpRequest, path: str) -> str:
    """``path``, unless it leads to another site."""
    is_ours = url_has_allowed_host_and_scheme(
        path, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return path if is_ours else "/"
