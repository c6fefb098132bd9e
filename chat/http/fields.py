"""Typed fields of a body, form or query string: a wrong one is refused with a sentence that names it."""

import uuid
from typing import Annotated, Any, Literal, Self

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from chat import refusals
from chat.access import CANONICAL

# By the type of pydantic's error. A model may use only types that raise one of these.
_SENTENCES: dict[str, Promise] = {
    "string_type": _("%(name)s must be text."),
    "bool_type": _("%(name)s must be true or false."),
    "int_type": _("%(name)s must be a whole number."),
    "id": _("%(name)s must be a UUID."),
    "list_type": _("%(name)s must be a list."),
    "literal_error": _("%(name)s must be %(expected)s."),
    "extra_forbidden": _("%(name)s is an unknown field."),  # of an object inside the body
    "missing": _("%(name)s is missing."),
    "model_type": _("%(name)s must be an object."),
    "time_zone": _("%(name)s must be the name of a time zone."),
}


def _id(value: Any) -> Any:
    """Return the UUID that ``value`` spells; null, and the empty field of a form, stay as they are."""
    if value is None or value == "":
        return value
    if not isinstance(value, str) or not CANONICAL.fullmatch(value.lower()):
        raise PydanticCustomError("id", "not a UUID in its canonical form")
    return uuid.UUID(value)


def _flag(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


IdOrEmpty = Annotated[uuid.UUID | Literal[""] | None, BeforeValidator(_id)]
Id = Annotated[uuid.UUID | None, BeforeValidator(lambda value: _id(value) or None)]
Flag = Annotated[bool, BeforeValidator(_flag)]  # a form has only text


class Fields(BaseModel):
    """Base of the models: no other fields, and only ids and the text of a flag are converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    @classmethod
    def read(cls, fields: dict[str, Any]) -> Self:
        """Return the validated fields. Raises the 400 refusal."""
        for name in fields:
            if name not in cls.model_fields:  # before pydantic, which would list each of 100,000
                # ASCII, and at most 40 characters: the name may be anything
                raise refusals.malformed(_("Unknown field %(name)s.") % {"name": ascii(name[:40])})
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
        expected = first.get("ctx", {}).get("expected", "")
        name = ".".join(ascii(str(step)[:40]).strip("'\"") for step in first["loc"])  # such as answers.0.id
        raise refusals.malformed(_SENTENCES[first["type"]] % {"name": name, "expected": expected})
