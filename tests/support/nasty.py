"""Requests with invalid and extreme values for each parameter that a route of the URL table may read."""

import itertools
import random
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from django.contrib import admin
from django.urls import URLPattern, URLResolver, get_resolver

ID = "0190a5d2-0000-7000-8000-000000000000"
OVERFLOWS = [f"0 9999-12-31T23:59:59-23:59 {ID}", f"1 0001-01-01T00:00:00+23:59 {ID}"]
CURSORS = [urlsafe_b64encode(each.encode()).decode().rstrip("=") for each in OVERFLOWS]

# Percent-encoded, for a URL or a form.
VALUES = [
    "%00", "a%00b", "%FF%FE", "%ED%A0%80", "%F4%90%80%80", "%0D%0A", "%E2%80%AE", "%C2%85", "%", "%zz",
    "http://[", "//[", "https://[::1", "http://[::1]]/", "//%5C%5B@%5D", "http://%E2%84%80/", "http://a:b/",
    "x" * 10_000, "%F0%9F%90%99" * 300, "a@" + "b" * 300 + ".org", "a" * 300 + "@example.org", "9" * 40, "-1",
    "0", "1e999", "NaN", "null", "true", "[]", "{}", "'", "../../etc", "0001-01-01", "99999-99-99", "9999",
    ID, ID.upper(), "", "%20", "e%CC%81", "%EF%BF%BF", "%F3%A0%80%81",
    *CURSORS,
]  # fmt: skip
RAW = ["\\000", "\\377", "\\000abcdefghij", "\udcff\udcfe", "x" * 8_000, "http://[", "//[", "-1", "9" * 40,
       "1e999", "", "\x7f", "é", "[]", ID, f"{ID}:{'9' * 10}", f"{ID}:0", "bytes=0-99999999999999999999",
       "multipart/form-data; boundary=", 'multipart/form-data; boundary="["', "application/json; charset=x",
       "text/html; charset=utf-7", "*" * 300, "en;q=9", "Sun, 31 Dec 9999 23:59:59 GMT",
       'W/"x', "\xad"]  # fmt: skip

# Names of parameters by the prefix of the route: /api/v1, allauth, the admin, the stream and the pages.
QUERY = {
    "api/": "cursor limit".split(),
    "accounts/": "next key code email".split(),
    "admin/": "next q p o all e hours _popup _to_field _changelist_filters _facets term app_label model_name"
    " field_name".split(),
    "": "next before list find draft after view query message conversation agent client_id".split(),
}
FORM = {
    "api/": [],
    "accounts/": "next username email email2 password password1 password2 login remember oldpassword code key"
    " action_add action_primary action_remove action_send".split(),
    "admin/": "next username password select_across action _selected_action index post".split(),
    "": "query message conversation parent prompt agent stream client_id run next theme sidebar".split(),
}
# Valid values of forms that check one field only if the others are valid. "{n}" is a new number each time.
SIGN_UP = {"username": "u{n}", "email": "u{n}@example.org", "password1": "correct+horse+{n}",
           "password2": "correct+horse+{n}"}  # fmt: skip
GOOD_FORMS = {
    "accounts/signup/": SIGN_UP,
    "accounts/login/": {"login": "alice", "password": "correct+horse+battery"},
    "accounts/email/": {"email": "u{n}@example.org", "action_add": ""},
    "accounts/password/reset/": {"email": "alice@example.org"},
    "admin/accounts/user/add/": {**SIGN_UP, "usable_password": "true"},
    "admin/accounts/user/<object_id>/change/": {"username": "u{n}", "date_joined_0": "2026-01-01",
                                                "date_joined_1": "00:00:00"},
    "admin/chat/suggestion/add/": {"text": "x", "position": "1"},
    "admin/auth/group/add/": {"name": "g{n}"},
    "admin/account/emailaddress/add/": {"user": "1", "email": "u{n}@example.org"},
    "chat/stream": {"query": "x", "stream": "false"},
    "chat/": {"query": "x"},
}  # fmt: skip
# One route of each kind: headers and cookies are read before routing, or alike for a whole kind.
HEADER_ROUTES = [
    "", "chat/stream", "chat/runs/<run>/events", "api/v1/conversations", "accounts/login/", "admin/",
    "admin/accounts/user/", "healthz",
]  # fmt: skip
HEADERS = """
    accept accept-language authorization content-encoding content-type cookie if-match
    if-modified-since if-none-match idempotency-key last-event-id origin range referer sec-fetch-site
    user-agent x-csrftoken x-forwarded-for x-forwarded-host x-forwarded-proto x-request-id x-requested-with
""".split()
COOKIES = [
    "sessionid",
    "csrftoken",
    "messages",
    "django_language",
    "parley_theme",
    "parley_sidebar",
    "a b",
    "",
]

PIECE = re.compile(r"<(?:\w+:)?(\w+)>")
GROUP = re.compile(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)")


@dataclass(frozen=True)
class Sent:
    """One request; ``what`` describes the parameter and its value."""

    method: str
    path: str
    what: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cookie: str = ""  # in place of the client's own


def routes(patterns: Any = None, before: str = "") -> Iterator[str]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield re.sub(r"[\^$]", "", GROUP.sub(r"<\1>", route))


def requests(good: dict[str, str]) -> Iterator[Sent]:
    """Yield all requests; ``good`` has valid values of path parameters."""
    for route in dict.fromkeys(routes()):
        if route == "admin/<url>":
            continue
        path = "/" + PIECE.sub(lambda piece: good.get(piece[1], ID), route)
        yield from _paths(route, good)
        yield from _queries(route, path)
        yield from _forms(route, path)
        if route in HEADER_ROUTES:
            yield from _headers(path)


def _paths(route: str, good: dict[str, str]) -> Iterator[Sent]:
    pieces = PIECE.findall(route)
    for piece in pieces:
        for value in VALUES:
            values = {name: good.get(name, ID) for name in pieces} | {piece: value or "-"}
            path = "/" + PIECE.sub(lambda found, values=values: values[found[1]], route)  # type: ignore[misc]
            for method in ("GET", "PATCH", "DELETE") if route.startswith("api/") else ("GET", "POST"):
                yield Sent(method, path, f"{piece} in the path: {value[:30]}")


def _queries(route: str, path: str) -> Iterator[Sent]:
    for name in [*_named(QUERY, route), *filters(route)]:
        for value in VALUES:
            for spelled in (name, f"{name}[]", f"{name}={value}&{name}"):
                what = f"?{spelled[:30]}={value[:30]}"
                yield Sent("GET", f"{path}?{spelled}={value}", what, headers=EVENTS)


def _forms(route: str, path: str) -> Iterator[Sent]:
    for name in [*_named(FORM, route), *fields(route)]:
        for value in VALUES:
            good = GOOD_FORMS.get(route, {})
            whole = "&".join(f"{key}={fill}" for key, fill in {**good, name: value}.items())
            body = whole.replace("{n}", str(next(_numbers))).encode()
            yield Sent("POST", path, f"form {name}={value[:30]}", body, FORM_TYPE)
            yield Sent("POST", path, f"form {name}[]", f"{name}[]={value}".encode(), FORM_TYPE)


_numbers = itertools.count()


def _headers(path: str) -> Iterator[Sent]:
    for value in RAW:
        for name in HEADERS:
            what = f"header {name}: {value[:30]!r}"
            yield Sent("GET", path, what, headers={**EVENTS, name: value})
            yield Sent("POST", path, what, b"query=x", {**FORM_TYPE, name: value})
        for name in COOKIES:
            for cookie in (f'{name}="{value}"', f"{name}={value}"):
                yield Sent("GET", path, f"cookie {cookie[:30]!r}", cookie=cookie)


def _named(table: dict[str, list[str]], route: str) -> list[str]:
    return next(names for prefix, names in table.items() if route.startswith(prefix))


FORM_TYPE = {"content-type": "application/x-www-form-urlencoded"}
EVENTS = {"accept": "text/event-stream"}


def filters(route: str) -> Iterator[str]:
    """Yield the parameters by which the admin's lists filter."""
    for model, site in admin.site._registry.items():
        if route == f"admin/{model._meta.app_label}/{model._meta.model_name}/":
            for each in site.list_filter or ():
                field = each[0] if isinstance(each, tuple) else each
                name = field if isinstance(field, str) else getattr(field, "parameter_name", None)
                if name:
                    yield from (name, f"{name}__exact", f"{name}__lt", f"{name}__gte", f"{name}__isnull")
            yield from ("id__exact", "pk__in", "nothing__exact", "created_at__day")


def fields(route: str) -> Iterator[str]:
    """Yield the fields of the models that the admin edits."""
    for model in admin.site._registry:
        if route.startswith(f"admin/{model._meta.app_label}/{model._meta.model_name}/"):
            yield from (each.name for each in model._meta.fields)
            yield from ("last_login_0", "last_login_1", "date_joined_0", "date_joined_1", "groups", "_save")


def known(conversation: Any, message: Any, run: Any, user: Any) -> dict[str, str]:
    """Return valid values of path parameters."""
    return {
        "conversation": str(conversation),
        "message": str(message),
        "run": str(run),
        "object_id": quote(str(user)),
        "id": str(user),
        "content_type_id": "1",
        "app_label": "chat",
        "token": "x",
        "key": "set-password",
        "uidb36": "1",
    }


def sample(sent: list[Sent], number: int, seed: int) -> list[Sent]:
    """Return ``number`` random requests, about equally many for each parameter of each route."""
    generator = random.Random(seed)
    parameters: dict[tuple[str, str], list[Sent]] = {}
    for each in sent:
        parameters.setdefault((each.path.partition("?")[0][:40], re.split("[=:]", each.what)[0]), []).append(
            each
        )
    groups = list(parameters.values())
    return [generator.choice(generator.choice(groups)) for _ in range(number)]
