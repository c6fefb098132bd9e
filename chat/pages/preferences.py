"""Display preferences of a browser, in cookies: the server renders each page with them."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from pydantic import AfterValidator, create_model

from chat.http import parsing
from chat.http.fields import Fields
from chat.pages.time_zone import time_zone_name

# The allowed values of each, with the labels of the settings dialog; the first is the default.
PREFERENCES: dict[str, dict[str, Any]] = {
    "theme": {"system": gettext_lazy("System"), "light": gettext_lazy("Light"), "dark": gettext_lazy("Dark")},
    "sidebar": {"open": "", "closed": ""},  # by a button of its own
    # whether the view scrolls with a growing reply
    "follow": {"on": gettext_lazy("To the newest words"), "off": gettext_lazy("Stay at the question")},
    # a notification of the browser when an answer ends while the page is hidden
    "notify": {"off": gettext_lazy("Off"), "on": gettext_lazy("On")},
    # how a screen reader announces a reply: at its end, block by block, or not
    "announce": {
        "whole": gettext_lazy("Whole answers"),
        "blocks": gettext_lazy("By paragraph"),
        "none": gettext_lazy("Nothing"),
    },
}
HEADINGS = {
    "theme": gettext_lazy("Appearance"),
    "follow": gettext_lazy("Follow answers"),
    "notify": gettext_lazy("Notify when an answer is complete"),
    "announce": gettext_lazy("For screen readers"),
}
COOKIE_SECONDS = 365 * 24 * 3600
_FIELDS: Any = {name: (Literal[tuple(values)] | None, None) for name, values in PREFERENCES.items()}
PreferencesForm: type[Fields] = create_model(
    "PreferencesForm",
    __base__=Fields,
    next=(str, ""),
    time_zone=(Annotated[str, AfterValidator(time_zone_name)] | None, None),
    **_FIELDS,
)


def preferences_of(request: HttpRequest) -> dict[str, str]:
    """Return the preferences of this browser. Unknown values of a cookie fall back to the default."""
    chosen = {name: request.COOKIES.get(f"parley_{name}", "") for name in PREFERENCES}
    return {
        name: chosen[name] if chosen[name] in values else next(iter(values))
        for name, values in PREFERENCES.items()
    }


def context(request: HttpRequest) -> dict[str, dict[str, str]]:
    """Return ``preferences`` for every template."""
    return {"preferences": preferences_of(request)}


@dataclass(frozen=True, slots=True)
class Setting:
    """One choice of the settings dialog."""

    name: str
    chosen: str
    heading: Any = field(compare=False)
    labels: dict[str, Any] = field(compare=False)  # by the value to choose


def settings_of(request: HttpRequest) -> tuple[Setting, ...]:
    """Return the choices of the settings dialog."""
    chosen = preferences_of(request)
    return tuple(
        Setting(name, chosen[name], heading, PREFERENCES[name]) for name, heading in HEADINGS.items()
    )


@never_cache
@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """Store the preferences that a form holds, and redirect (303) to ``next``. Raises the 400 refusal."""
    chosen = PreferencesForm.read(parsing.body_of(request)).model_dump(exclude_none=True)
    # Not redirect(): it takes a word such as "true" for the name of a route.
    response = HttpResponseRedirect(_own_page(request, chosen.pop("next") or "/"), status=303)
    for name, value in chosen.items():
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
    """Return ``path``, or ``/`` if it leads to another site."""
    is_ours = url_has_allowed_host_and_scheme(
        path, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return path if is_ours else "/"
