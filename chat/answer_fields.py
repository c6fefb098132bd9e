"""Inputs of an answer to a request, from its schema, and the values of what a person types into them."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext as _

from chat import refusals
from chat.models import PersonRequest

# Characters that show nothing, or change the order of others: what is approved must be what is seen.
HIDDEN_CHARACTER = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
# In a sentence, joiners and marks of direction are part of the writing of Persian or Hindi, and of emoji.
HIDDEN_IN_SENTENCE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e0fff]"
)
FIELDS_MAX = 300  # a larger schema is answered as one JSON text


@dataclass(frozen=True, slots=True)
class Option:
    """Choice of a field: ``value`` is JSON."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class AnswerField:
    """Input of an answer. ``kind`` is "text", "lines", "number", "integer", "flag", "choice" or "json"."""

    name: str  # of the input
    label: str
    kind: str
    value: Any = ""
    options: list[Option] = field(default_factory=list)
    required: bool = False
    key: str | None = None  # the property that it sets; None: it is the whole answer
    help: str = ""
    is_proposed: bool = False  # by the agent: an empty text is a value then
    seen: str = ""  # the value with its hidden characters as escapes, if it has any


def args_of(request: PersonRequest) -> str:
    """Return the arguments of a request as indented JSON, with hidden characters as escapes."""
    return visible(json.dumps(request.args, ensure_ascii=False, indent=2)) if request.args else ""


def visible(text: str, hidden: re.Pattern[str] = HIDDEN_CHARACTER) -> str:
    """Return ``text`` with its control and direction characters as escapes."""
    return hidden.sub(lambda found: json.dumps(found[0])[1:-1], text)


def inputs_of(request: PersonRequest) -> Iterable[AnswerField]:
    """Yield the inputs for what a person adds to a decision, or answers.

    Types come from the JSON schema. A confirmation has none: types are those of the payload that the agent
    proposes, and each of its keys stays.
    """
    is_proposed = request.kind == PersonRequest.Kind.CONFIRM
    if is_proposed and request.payload is None:
        return
    root = _schema_of(request.payload) if is_proposed else request.schema or {"type": "string"}
    schema, _nullable = _plain(root, root)
    named = schema.get("properties")
    if isinstance(named, dict) and 0 < len(named) <= FIELDS_MAX:
        required = schema.get("required")
        values = request.payload if isinstance(request.payload, dict) else {}
        for number, (key, each) in enumerate(named.items()):
            inner = each if isinstance(each, dict) else {}
            is_required = is_proposed or (isinstance(required, list) and key in required)
            yield _field(
                AnswerField(
                    name=f"{request.pk}.{number}",
                    label=visible(str(inner.get("title") or key)),
                    kind="",
                    value=values.get(key),
                    required=is_required,
                    key=key,
                    is_proposed=is_proposed,
                ),
                inner,
                root,
            )
    else:
        value = request.payload if is_proposed else None
        if not is_proposed and not request.schema:
            schema = {**schema, "format": SEVERAL_LINES}
        whole = AnswerField(f"{request.pk}.0", _("Answer"), "", value, required=True, is_proposed=is_proposed)
        yield _field(whole, schema, root)


SEVERAL_LINES = "lines"  # format of a text that may have several lines
KINDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "flag"}


def _field(base: AnswerField, schema: dict[str, Any], root: dict[str, Any]) -> AnswerField:
    """Return the input with what its schema says. ``root`` has the definitions that the schema refers to."""
    schema, is_nullable = _plain(schema, root)
    value = schema.get("default") if base.value is None else base.value
    choices = schema.get("enum")
    kind = KINDS.get(str(schema.get("type")), "json")
    if kind == "flag" and is_nullable:
        choices = [True, False]
    options = []
    if isinstance(choices, list):
        kind, options = "choice", [Option(json.dumps(each), visible(_said(each))) for each in choices]
    elif kind == "text" and (schema.get("format") == SEVERAL_LINES or "\n" in str(value)):
        kind = SEVERAL_LINES
    if kind == "choice":
        value = json.dumps(value)
    elif kind == "json" and (value is not None or base.is_proposed):
        value = visible(json.dumps(value, ensure_ascii=False, indent=2))
    elif value is None:
        value = ""
    seen = visible(value) if isinstance(value, str) else value
    may_be_empty = kind == "flag" or (base.is_proposed and kind in ("text", SEVERAL_LINES))
    return replace(
        base,
        kind=kind,
        value=value,
        options=options,
        required=base.required and not may_be_empty,
        help=visible(str(schema.get("description") or ""), HIDDEN_IN_SENTENCE),
        seen="" if seen == value else seen,
    )


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(schema: dict[str, Any], root: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a schema with its reference followed and without null, and whether it allows null.

    What has several other forms stays as it is: its field takes JSON.
    """
    is_nullable = False
    for _step in range(5):  # a reference may lead to itself
        if isinstance(name := schema.get("$ref"), str) and name.startswith("#/$defs/"):
            found = (root.get("$defs") or {}).get(name.removeprefix("#/$defs/"))
        elif isinstance(forms := schema.get("anyOf") or schema.get("type"), list):
            others = [each for each in forms if each not in ("null", {"type": "null"})]
            is_nullable = is_nullable or len(others) < len(forms)
            if len(others) != 1:
                break
            found = others[0] if isinstance(others[0], dict) else {"type": others[0]}
        else:
            break
        if not isinstance(found, dict):
            break
        schema = {**{key: each for key, each in schema.items() if key not in ("$ref", "anyOf")}, **found}
    return schema, is_nullable


def _schema_of(payload: Any) -> dict[str, Any]:
    """Return the schema of what an agent proposes for its confirmation."""
    if isinstance(payload, dict):
        return {"type": "object", "properties": {name: _schema_of(each) for name, each in payload.items()}}
    # an amount of 5 may also be 5.50
    types = {bool: "boolean", int: "number", float: "number", str: "string"}
    return {"type": types.get(type(payload), "any")}


def payload_in_form(request: PersonRequest, form: dict[str, Any]) -> Any:
    """Return the payload of a request in a form. Raises the 422 refusal."""
    found: dict[str, Any] = {}
    inputs = list(inputs_of(request))
    for each in inputs:
        value = value_of(each, str(form.get(each.name, "")))
        if each.key is None:
            return None if value is MISSING else value
        if value is not MISSING:
            found[each.key] = value
    return found if inputs else None


MISSING = object()  # the value of an empty input


def value_of(answer_field: AnswerField, text: str) -> Any:
    """Return the value of an input, or MISSING. Raises the 422 refusal."""
    label = {"label": answer_field.label}
    if answer_field.kind == "flag":
        return text == "on"
    if answer_field.kind in ("text", SEVERAL_LINES):
        text = text.replace("\r\n", "\n")  # as forms send the end of a line
        if text.strip() or answer_field.is_proposed:
            return text
    if not text.strip():
        if answer_field.required:
            raise refusals.unprocessable("payload", _("“%(label)s” is missing.") % label)
        return MISSING
    if answer_field.kind == "choice" and text not in [option.value for option in answer_field.options]:
        raise refusals.unprocessable("payload", _("“%(label)s” is not one of the choices.") % label)
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise refusals.unprocessable("payload", _unfit(answer_field) % label) from error
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if answer_field.kind in ("number", "integer") and not is_number:
        raise refusals.unprocessable("payload", _unfit(answer_field) % label)
    if answer_field.kind == "integer" and value != int(value):
        raise refusals.unprocessable("payload", _unfit(answer_field) % label)
    return value


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(name)


def _unfit(answer_field: AnswerField) -> str:
    match answer_field.kind:
        case "number":
            return _("“%(label)s” is no number.")
        case "integer":
            return _("“%(label)s” is no whole number.")
    return _("“%(label)s” is no JSON.")
