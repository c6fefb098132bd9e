"""Feedback in a request: its fields, as JSON or as a form."""

from typing import Literal

from django.http import HttpRequest
from django.utils.translation import gettext as _
from pydantic import Field

from chat import refusals
from chat.http import parsing
from chat.http.fields import Fields
from chat.models import Message

TEXT_MAX = 2000  # characters

FeedbackReason = Literal["wrong", "unhelpful", "unsafe", "length", "other"]


class FeedbackBody(Fields):
    """Body of the API's PUT."""

    value: Literal[1, -1] | None = Field(None, description="1 is good, -1 is bad, null removes the feedback.")
    reasons: list[FeedbackReason] = Field([], description="Reasons for a bad one.")
    text: str = Field("", description=f"At most {TEXT_MAX} characters.")


class FeedbackForm(Fields):
    """Fields of the page's form: a checkbox for each reason, because a field may occur only once."""

    value: Literal["1", "-1", ""] = ""
    wrong: str = ""
    unhelpful: str = ""
    unsafe: str = ""
    length: str = ""
    other: str = ""
    text: str = ""


def feedback_in_json(request: HttpRequest) -> FeedbackBody:
    """Return the feedback in a JSON body. Raises the 415, 413, 400 and 422 refusals."""
    return _checked(FeedbackBody.read(parsing.json_body(request)))


def feedback_in_form(request: HttpRequest) -> FeedbackBody:
    """Return the feedback in a form. Raises the 415, 413, 400 and 422 refusals."""
    form = FeedbackForm.read(parsing.body_of(request))
    reasons = [reason for reason in Message.Reason.values if getattr(form, reason)]
    value = int(form.value) if form.value else None
    return _checked(FeedbackBody.read({"value": value, "reasons": reasons, "text": form.text}))


def _checked(found: FeedbackBody) -> FeedbackBody:
    if len(found.text) > TEXT_MAX:
        raise refusals.unprocessable(
            "too_long", _("Feedback has at most %(limit)s characters.") % {"limit": TEXT_MAX}
        )
    return found
