"""Check of a value by a JSON schema that an agent or its model wrote: it may be malformed or expensive."""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import UnknownType
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

STEPS = 20_000  # keywords that one check looks at: 0.3 s
REFERENCE = 20  # steps, for a "$ref" takes 20 times as long as other keywords
# Not ``pattern`` nor ``uniqueItems``: a hostile one takes minutes. ``format`` says nothing in this standard.
KEYWORDS = {
    "$ref", "type", "enum", "const", "required", "properties", "additionalProperties", "items", "prefixItems",
    "anyOf", "oneOf", "allOf", "not", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
}  # fmt: skip

# The library expects a schema that was checked; a check by its own schema would have no limit. The end of
# ``_steps`` and an endless reference are RuntimeErrors.
MALFORMED = (
    ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
    UnknownType, Unresolvable,
)  # fmt: skip

_steps: ContextVar[Iterator[int]] = ContextVar("steps")


def misfit(value: Any, schema: dict[str, Any]) -> str | None:
    """Return the path of the first part of ``value`` that the schema forbids, such as ``$.city``; else None.

    A schema that is malformed, refers to another document or takes too long forbids nothing.
    """
    _steps.set(iter(range(STEPS)))
    try:
        found = next(_Validator(schema, registry=Registry()).iter_errors(value), None)
    except MALFORMED:
        return None
    return found.json_path if found else None


def _counted(name: str) -> Callable[..., Any] | None:
    if name not in KEYWORDS:
        return None
    check = Draft202012Validator.VALIDATORS[name]
    cost = REFERENCE if name == "$ref" else 1

    def counted(validator: Any, keyword: Any, value: Any, schema: Any) -> Iterator[Any]:
        for _step in range(cost):
            next(_steps.get())  # raises at the end
        if name == "enum" and not isinstance(keyword, list):  # in a text, each part of it would fit
            return
        yield from check(validator, keyword, value, schema) or ()

    return counted


_Validator = extend(Draft202012Validator, {name: _counted(name) for name in Draft202012Validator.VALIDATORS})
