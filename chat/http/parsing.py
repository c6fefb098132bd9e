"""Strict parser of request bodies and query strings: an invalid one is refused with 4xx, never 5xx."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.utils.translation import gettext as _

from chat import refusals
from chat.text import check_text

MAX_DEPTH = 32
MAX_NESTED = 10_000  # arrays and objects; 300,000 of them took 0.4 s on the database's thread
PIECE_BYTES = 64 * 1024
MAX_INTEGER = 2**53  # above it JavaScript's numbers are not exact
FORMS = {"application/x-www-form-urlencoded", "multipart/form-data"}

# One match skips everything before a bracket, strings included. It is possessive: a body of 500,000 quotes
# costs one pass. The end of the body also matches: otherwise a body without a bracket is tried again from
# each of its bytes, which takes minutes.
_BRACKETS = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))*+([\[\]{}]|\Z)', re.DOTALL)


def media_type(request: HttpRequest) -> str:
    """Return ``application/json`` or a form's type. Raises the 415 refusal for anything else."""
    kind = (request.content_type or "").lower()
    charset = (request.content_params or {}).get("charset", "utf-8").lower()
    if kind not in FORMS | {"application/json"} or charset not in {"utf-8", "utf8"}:
        raise refusals.wrong_content_type()
    _check_encoding(request)
    return kind


def _check_encoding(request: HttpRequest) -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise refusals.wrong_content_type()


def check_size(request: HttpRequest) -> None:
    """Raise the 413 refusal if the announced body is over the limit."""
    length = request.headers.get("Content-Length") or "0"
    if length.isascii() and length.isdigit() and (len(length) > 12 or int(length) > settings.BODY_MAX_BYTES):
        raise refusals.too_large()


def body_of(request: HttpRequest) -> dict[str, Any]:
    """Return the fields of a JSON or form body. Raises 415, 413 and 400 refusals, in this order."""
    kind = media_type(request)
    check_size(request)
    with unreadable_is_refused():
        if kind in FORMS:
            return _form_fields(request)
        body = request.body
    return json_object(body)


@contextmanager
def unreadable_is_refused() -> Iterator[None]:
    """Turn Django's errors of an unreadable body into the 415, 413 and 400 refusals."""
    try:
        yield
    except RequestDataTooBig as error:
        raise refusals.too_large() from error
    except BadRequest as error:  # a form in another character set
        raise refusals.wrong_content_type() from error
    except (MultiPartParserError, SuspiciousOperation, UnreadablePostError) as error:
        raise refusals.malformed(_("The form could not be read.")) from error


def json_body(request: HttpRequest) -> dict[str, Any]:
    """Return the fields of a JSON body. Raises as ``body_of``, and the 415 refusal for a form."""
    if media_type(request) in FORMS:
        raise refusals.wrong_content_type()
    return body_of(request)


def raw_chunks(request: HttpRequest) -> Iterator[bytes]:
    """Yield a body of any type in pieces. Raises the 415, 413 and 400 refusals; 415 for a compressed one."""
    _check_encoding(request)
    check_size(request)
    with unreadable_is_refused():
        while piece := request.read(PIECE_BYTES):
            yield piece


def uploaded_file(request: HttpRequest) -> "UploadedFile[bytes]":
    """Return the one file of a form, its field ``file``. Raises as ``body_of``."""
    check_size(request)
    with unreadable_is_refused():
        files, fields = request.FILES, _single_values(request.POST)
    if fields or [*files] != ["file"] or len(files.getlist("file")) != 1:
        raise refusals.malformed(_("The form must have one field, file."))
    return files.getlist("file")[0]


def _form_fields(request: HttpRequest) -> dict[str, Any]:
    if request.FILES:
        raise refusals.malformed(_("Files are not accepted here."))
    if request.content_type != "multipart/form-data":
        _check_utf8(request.body)
    return _single_values(request.POST)


def query_fields(request: HttpRequest) -> dict[str, Any]:
    """Return the fields of a query string. Raises the 400 refusal."""
    _check_utf8(request.META.get("QUERY_STRING", "").encode())
    return _single_values(request.GET)


def _single_values(query: Any) -> dict[str, Any]:
    """Return a QueryDict as a dict. Raises the 400 refusal if a name comes twice."""
    fields: dict[str, Any] = {}
    for name, values in query.lists():
        if name == "csrfmiddlewaretoken":
            continue
        if len(values) != 1:
            # ASCII, and at most 40 characters: the name may be anything
            raise refusals.malformed(
                _("The field %(name)s comes more than once.") % {"name": ascii(name[:40])}
            )
        fields[name] = values[0]
    check_text(fields)
    return fields


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``, in UTF-8. Raises the 400 refusal."""
    _check_nesting(body)
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_int=_bounded_integer,
            parse_float=_finite_float,
        )
    except UnicodeDecodeError as error:
        raise refusals.malformed(_("The body is not UTF-8.")) from error
    except (ValueError, RecursionError) as error:
        raise refusals.malformed(_("The body is not JSON.")) from error
    if not isinstance(value, dict):
        raise refusals.malformed(_("The body must be a JSON object."))
    check_text(value)
    return value


def _check_utf8(encoded: bytes) -> None:
    """Raise the 400 refusal if percent-encoded bytes are not UTF-8, which Django would replace."""
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError as error:
        raise refusals.malformed(_("The text is not UTF-8.")) from error


def _check_nesting(body: bytes) -> None:
    """Raise the 400 refusal for deep or many arrays and objects, before json.loads recurses into them."""
    depth = 0
    for number, found in enumerate(_BRACKETS.finditer(body)):
        depth += 1 if found[1] in (b"[", b"{") else -1
        if depth > MAX_DEPTH:
            raise refusals.malformed(_("The JSON is nested deeper than %(limit)s.") % {"limit": MAX_DEPTH})
        if number > 2 * MAX_NESTED:
            raise refusals.malformed(
                _("The JSON holds more than %(limit)s arrays and objects.") % {"limit": MAX_NESTED}
            )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _bounded_integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
        raise ValueError("integer out of range")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError("number out of range")
    return value
