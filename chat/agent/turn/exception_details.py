"""The details of an agent's or a model's failure that a run keeps: class, place, message, traceback.

The message is only for the run's page in the admin, not for logs: it may quote what users wrote.
"""

import os
import re
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings

from chat.agent.turn.containment import AgentExit
from chat.events import clean_text
from chat.instruments.logs import exception_of
from chat.instruments.stack import Owner, chain_of, owners_in, short_path

MESSAGE_LENGTH = 4_000  # characters
TRACEBACK_LENGTH = 8_000  # characters of its end, where the exception is
SECRET_NAME = re.compile("KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
SECRET_LENGTH = 8  # shorter values could be words
MODEL_CALL = "generate_content_async"  # the method of every ADK model


@dataclass(frozen=True, slots=True)
class ExceptionDetails:
    """An exception that the Runner raised.

    ``kind`` is its class. ``place`` is file, line and function in the agent's code, or empty if ADK raised
    it. ``traceback`` has no locals and no messages.
    """

    owner: Owner
    kind: str
    place: str
    message: str
    traceback: str
    in_model_call: bool

    def as_json(self) -> dict[str, Any]:
        """Return the fields that the run stores."""
        kept = asdict(self)
        return {name: kept[name] for name in ("kind", "place", "message", "traceback")}


def details_of(error: BaseException) -> ExceptionDetails:
    """Return the details of an exception from the Runner, or of the agent's exception that ADK wrapped."""
    culprit = next((found for found in chain_of(error) if _owner_of(found) is Owner.AGENT), error)
    if isinstance(culprit, AgentExit):
        culprit = culprit.original
    frames = list(owners_in(culprit))
    return ExceptionDetails(
        owner=Owner.AGENT if isinstance(error, AgentExit) else _owner_of(culprit),
        kind=type(culprit).__qualname__,
        place=_place_of_syntax_error(culprit)
        or next((place for owner, place in frames if owner is Owner.AGENT), ""),
        message=clean_text(without_secrets(_message_of(culprit))[:MESSAGE_LENGTH]),
        traceback=clean_text(exception_of(error, with_message=False)[-TRACEBACK_LENGTH:]),
        in_model_call=any(place.endswith(f" in {MODEL_CALL}") for _owner, place in frames),
    )


def details_of_event(kind: str, message: str) -> ExceptionDetails:
    """Return the details of an error that the model's answer reports, without an exception."""
    text = clean_text(without_secrets(message)[:MESSAGE_LENGTH])
    return ExceptionDetails(Owner.LIBRARY, kind, place="", message=text, traceback="", in_model_call=True)


def without_secrets(text: str) -> str:
    """Return ``text`` without the values of variables whose names say that they are secret.

    Providers and their clients quote keys in messages and addresses.
    """
    named = {value for name, value in os.environ.items() if SECRET_NAME.search(name)}
    for secret in {settings.CHAT_API_KEY, settings.GOOGLE_API_KEY, *named}:
        if len(secret) >= SECRET_LENGTH:
            text = text.replace(secret, "…")
    return text


def _owner_of(error: BaseException) -> Owner:
    """Return the owner of the innermost frame that is not a library's."""
    owners = (owner for owner, _place in owners_in(error))
    return next((owner for owner in owners if owner is not Owner.LIBRARY), Owner.LIBRARY)


def _place_of_syntax_error(error: BaseException) -> str:
    """Return the file and line that Python could not read: they are in no frame."""
    if not isinstance(error, SyntaxError) or not error.filename:
        return ""
    return f"{short_path(error.filename)}:{error.lineno}"


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 (an agent's class may have a faulty __str__)
        return f"({type(broken).__name__} in its __str__)"
