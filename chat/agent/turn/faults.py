"""An exception of an agent's own code: where it was raised, and what is kept of it.

Its words are kept for the run's page in the admin alone: messages quote what people wrote.
"""

from dataclasses import asdict, dataclass
from typing import Any

from chat.agent.turn.containment import AgentExit
from chat.events import clean_text
from chat.instruments.logs import exception_of
from chat.instruments.stack import Owner, chain_of, owners_in

MESSAGE_LENGTH = 4_000  # characters
TRACEBACK_LENGTH = 8_000  # characters of its end, where the exception is
MODEL_CALL = "generate_content_async"  # the method of every ADK model


@dataclass(frozen=True, slots=True)
class Fault:
    """``kind`` is the exception's class, ``place`` the agent's file, line and function, empty where ADK
    raised it. ``traceback`` has frames without locals and no words; ``message`` has the words.
    """

    owner: Owner
    kind: str
    place: str
    message: str
    traceback: str
    in_model_call: bool

    def as_json(self) -> dict[str, Any]:
        """Return what the run keeps of it."""
        kept = asdict(self)
        return {name: kept[name] for name in ("kind", "place", "message", "traceback")}


def fault_of(error: BaseException) -> Fault:
    """Return the fault behind an exception out of the Runner: ADK may have wrapped what an agent raised."""
    culprit = next((found for found in chain_of(error) if _owner_of(found) is Owner.AGENT), error)
    if isinstance(culprit, AgentExit):
        culprit = culprit.original
    frames = list(owners_in(culprit))
    return Fault(
        owner=Owner.AGENT if isinstance(error, AgentExit) else _owner_of(culprit),
        kind=type(culprit).__qualname__,
        place=next((place for owner, place in frames if owner is Owner.AGENT), ""),
        message=clean_text(_words_of(culprit)[:MESSAGE_LENGTH]),
        traceback=clean_text(exception_of(error, with_message=False)[-TRACEBACK_LENGTH:]),
        in_model_call=any(place.endswith(f" in {MODEL_CALL}") for _owner, place in frames),
    )


def _owner_of(error: BaseException) -> Owner:
    """Return the owner of the innermost frame that is no library's."""
    owners = (owner for owner, _place in owners_in(error))
    return next((owner for owner in owners if owner is not Owner.LIBRARY), Owner.LIBRARY)


def _words_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 (an agent's class may fail to speak)
        return f"({type(broken).__name__} in its __str__)"
