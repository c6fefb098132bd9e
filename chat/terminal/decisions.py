"""Requests of an agent at the prompt: shows what waits for the member, and reads the decisions."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from chat.answer_fields import (
    HIDDEN_IN_SENTENCE,
    MISSING,
    AnswerField,
    args_of,
    inputs_of,
    value_of,
    visible,
)
from chat.models import PersonRequest
from chat.refusals import Refusal
from chat.terminal.stderr import Stderr
from chat.waiting import Answer

AS_JSON, DECLINE = "/json", "/decline"  # in place of an answer
INDENT = "    "  # a line that begins with it is not wrapped


class LeftOpen(Exception):
    """The member has not decided."""


class DecisionPrompt:
    """Asks the member to decide requests. ``read`` writes a label and returns the line that is typed.

    ``read`` raises EOFError for Ctrl-D, and drops what was typed before its label was shown.
    """

    def __init__(self, read: Callable[[str], str], stderr: Stderr) -> None:
        self._read_line = read
        self._stderr = stderr

    def decide(self, requests: Iterable[PersonRequest]) -> tuple[Answer, ...] | None:
        """Show requests that are decided together; return the decisions, or None if one is left open."""
        try:
            return tuple([self._decide(request) for request in requests])
        except LeftOpen:
            return None

    def _decide(self, request: PersonRequest) -> Answer:
        self.show(request)
        if request.kind == PersonRequest.Kind.CONFIRM:
            return self._confirm(request)
        return self._answer(request)

    def show(self, request: PersonRequest) -> None:
        """Write what a request would do, or asks, whole, with its hidden characters as escapes."""
        tool = visible(request.tool).replace("\n", " ")
        args = args_of(request)
        if request.kind == PersonRequest.Kind.CONFIRM:
            lines = [_("May the agent use %(tool)s?") % {"tool": tool}]
        elif request.kind == PersonRequest.Kind.INPUT:
            lines = [_("The agent asks you something.")]
        elif request.schema is not None:
            lines, args = [_("The agent asks you to choose.")], ""
        else:
            lines = [_("The agent waits for the result of %(tool)s.") % {"tool": tool}]
        if args:
            lines += _indented(args)
        if request.hint:
            lines += [_("It says:"), *_indented(visible(request.hint, HIDDEN_IN_SENTENCE))]
        expires = timezone.localtime(request.expires_at)
        lines.append(_("Open until %(date)s.") % {"date": f"{expires:%Y-%m-%d %H:%M}"})
        self._stderr.message("\n".join(lines))

    # --- confirmations ------------------------------------------------------------------------

    def _confirm(self, request: PersonRequest) -> Answer:
        fields, payload = list(inputs_of(request)), request.payload
        label = _("approve, change or reject: ") if fields else _("approve or reject: ")
        if fields:
            self._show_proposal(payload)
        while True:
            match self._read(label).lower():
                case "approve":
                    return Answer(request.pk, "approve", payload)
                case "reject":
                    return Answer(request.pk, "reject")
                case "change" if fields:
                    try:
                        payload = self._payload(fields, payload)
                    except _Declined:
                        return Answer(request.pk, "reject")
                    self._show_proposal(payload)
                case _:
                    self._stderr.message(_("Type one of these words. An empty line leaves it open."))

    def _show_proposal(self, payload: Any) -> None:
        lines = [_("With these values:"), *_indented(visible(_as_json(payload, indent=2)))]
        self._stderr.message("\n".join(lines))

    # --- questions ----------------------------------------------------------------------------

    def _answer(self, request: PersonRequest) -> Answer:
        fields = list(inputs_of(request))
        words = {"json": AS_JSON, "decline": DECLINE}
        self._stderr.message(
            _("%(decline)s: no answer.") % words
            if fields[0].key is None
            else _("%(json)s: the whole answer as JSON. %(decline)s: no answer.") % words
        )
        try:
            payload = self._payload(fields, MISSING)
        except _Declined:
            return Answer(request.pk, "reject")
        if payload is MISSING:
            raise LeftOpen
        return Answer(request.pk, "answer", payload)

    def _payload(self, fields: list[AnswerField], proposed: Any) -> Any:
        """Return what is typed for the fields one by one, or as JSON; MISSING if nothing is.

        An empty line keeps the value that is ``proposed``, or leaves out a field that is not required.
        """
        found: dict[str, Any] = {}
        for field in fields:
            kept = proposed
            if field.key is not None:
                kept = proposed.get(field.key, MISSING) if isinstance(proposed, dict) else MISSING
            try:
                value = self._value(field, kept)
            except _WholeAsJson as whole:
                return whole.value
            if field.key is None:
                return value
            if value is not MISSING:
                found[field.key] = value
        return found or MISSING

    def _value(self, field: AnswerField, kept: Any) -> Any:
        label = self._label(field, kept)
        while True:
            text = self._line(label).strip()
            if text == DECLINE:
                raise _Declined
            if text == AS_JSON:
                raise _WholeAsJson(self._json())
            if not text:
                if kept is MISSING and field.required:
                    raise LeftOpen
                return kept
            if (said := _as_in_a_form(field, text)) is None:
                self._stderr.message(_("That is none of the choices."))
                continue
            try:
                return value_of(field, said)
            except Refusal as refusal:
                self._stderr.message(refusal.detail)

    def _label(self, field: AnswerField, kept: Any) -> str:
        """Show the choices of a field, and return its label with the value that an empty line keeps."""
        if field.help:
            self._stderr.message(field.help)
        for number, option in enumerate(field.options, 1):
            self._stderr.message(f"{INDENT}{number}  {option.label}")
        kinds = {
            "number": _("a number"),
            "integer": _("a whole number"),
            "flag": _("yes or no"),
            "json": _("JSON"),
        }
        notes = [kinds[field.kind]] if field.kind in kinds else []
        if kept is not MISSING:
            notes.append(_("now %(value)s") % {"value": visible(_as_json(kept))})
        elif not field.required:
            notes.append(_("may be empty"))
        label = field.label.replace("\n", " ")
        return f"{label} ({', '.join(notes)}): " if notes else f"{label}: "

    def _json(self) -> Any:
        while True:
            try:
                return json.loads(self._read(_("JSON: ")))
            except (ValueError, RecursionError):
                self._stderr.message(_("That is no JSON."))

    # --- lines --------------------------------------------------------------------------------

    def _read(self, label: str) -> str:
        """Return the line typed. Raises LeftOpen for an empty one."""
        if line := self._line(label).strip():
            return line
        raise LeftOpen

    def _line(self, label: str) -> str:
        while True:
            try:
                return self._read_line(label)
            except UnicodeDecodeError:
                self._stderr.message(_("That is not UTF-8."))
            except (EOFError, KeyboardInterrupt) as error:
                self._stderr.message("")
                raise LeftOpen from error


class _Declined(Exception):
    """The member does not answer a question."""


class _WholeAsJson(Exception):
    """The member gave the whole payload as JSON."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def _as_in_a_form(field: AnswerField, text: str) -> str | None:
    """Return a typed line as the page's form would send it; None if it is none of the field's choices."""
    if field.kind == "flag":
        return {_("yes"): "on", _("no"): "", "yes": "on", "no": ""}.get(text.lower())
    if field.kind != "choice":
        return text
    by_label = {option.label: option.value for option in field.options}
    by_number = {str(number): option.value for number, option in enumerate(field.options, 1)}
    return (by_number | by_label).get(text)


def _as_json(value: Any, *, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _indented(text: str) -> list[str]:
    return [INDENT + line for line in text.split("\n")]
