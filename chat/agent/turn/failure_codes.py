"""Why an agent failed, in PROTOCOL's codes."""

import json
import re

import httpx
from google.adk.agents.invocation_context import LlmCallsLimitExceededError
from google.genai import errors
from pydantic import ValidationError

from chat.agent.turn.exception_details import ExceptionDetails, details_of
from chat.instruments.stack import Owner

# ADK puts the model's finish or block reason into an event's error_code.
BLOCKED = {
    "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "LANGUAGE", "JAILBREAK",
    "MODEL_ARMOR", "BLOCKED_REASON_UNSPECIFIED", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
}  # fmt: skip
BAD_OUTPUT = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"}
RATE_LIMITED = {"RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", "RATE_LIMIT_ERROR"}
UNAVAILABLE_CODES = {"UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "OVERLOADED_ERROR"}
NAMED = re.compile(r"[A-Z0-9_]{1,64}")
UNNAMED_ERROR = "UNNAMED_ERROR"  # of a model that says only in words what went wrong
EMPTY = {"MODEL_RETURNED_NO_CONTENT", "NO_IMAGE"}


class AgentFailure(Exception):
    """The agent came to no answer. ``code`` is PROTOCOL's; ``reason`` is for the log alone and holds no
    words of a person's. ``fault`` tells of an exception that no model is known to raise.
    """

    def __init__(self, code: str, reason: str, fault: ExceptionDetails | None = None) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.fault = fault


def failure_of_code(error_code: str) -> AgentFailure:
    """The failure that an event's ``error_code`` tells of."""
    if error_code in BLOCKED:
        return AgentFailure("blocked", error_code)
    if error_code in BAD_OUTPUT:
        return AgentFailure("bad_output", error_code)
    if error_code in EMPTY:
        return AgentFailure("empty", error_code)
    if error_code.upper() in RATE_LIMITED:
        return AgentFailure("rate_limited", error_code)
    if error_code.upper() in UNAVAILABLE_CODES:
        return AgentFailure("unavailable", error_code)
    if error_code.isdecimal():
        return AgentFailure(_of_status(int(error_code)), error_code)
    # An agent's own model can put a person's words there.
    return AgentFailure("model_error", error_code if NAMED.fullmatch(error_code) else UNNAMED_ERROR)


def failure_of_exception(error: Exception, *, is_own: bool = False) -> AgentFailure:
    """The failure that an exception out of the Runner tells of. Never the request's own content.

    ``is_own``: the agent is Parley's, so what ADK raises is Parley's fault.
    """
    if isinstance(error, AgentFailure):
        return error
    if isinstance(error, ExceptionGroup):  # of several agents at once: the first one is told
        first: Exception = error.exceptions[0]
        return failure_of_exception(first, is_own=is_own)
    fault = details_of(error)
    found = None if _is_outside_the_model(error, fault, is_own=is_own) else _of_kind(error, fault)
    return found or AgentFailure(_blamed(fault, is_own=is_own), fault.kind, fault)


def _is_outside_the_model(error: Exception, fault: ExceptionDetails, *, is_own: bool) -> bool:
    """Whether no model had a part in it, of whatever kind it is: a callback's time-out is its agent's."""
    if fault.in_model_call or is_own:
        return False
    return fault.owner is Owner.AGENT or isinstance(error, (httpx.HTTPError, OSError))


def _of_kind(error: Exception, fault: ExceptionDetails) -> AgentFailure | None:
    """The failure for the kinds that ADK, models and their transport are known to raise."""
    reason = fault.kind
    # An agent's own client may have put the question into its words.
    told = reason if fault.owner is Owner.AGENT else f"{reason}: {error}"
    match error:
        case LlmCallsLimitExceededError():
            return AgentFailure("limit", reason)
        case errors.APIError():
            return AgentFailure(_of_status(error.code), f"{reason} {error.code} {error.status}")
        case Exception() if status := _status_of(error):
            return AgentFailure(_of_status(status), f"{reason} {status}")
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return AgentFailure("unavailable", told)
        case httpx.HTTPError() | OSError():
            return AgentFailure("model_error", told)
        case errors.UnknownApiResponseError() | ValidationError() | json.JSONDecodeError() | UnicodeError():
            return AgentFailure("bad_output", reason)
    return None


def _blamed(fault: ExceptionDetails, *, is_own: bool) -> str:
    """The code for an exception of no known kind, by whose code raised it."""
    if fault.owner is Owner.AGENT:
        return "agent"
    if fault.owner is Owner.PARLEY:
        return "internal"
    if fault.in_model_call:
        return "model_error"
    return "internal" if is_own else "agent"


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status of an error answer, as clients of model providers carry it on what they
    raise: openai, anthropic, litellm, google-api-core, httpx.
    """
    holders = (error, getattr(error, "response", None))
    found = [getattr(holder, name, None) for holder in holders for name in ("status_code", "code")]
    return next((int(each) for each in found if isinstance(each, int) and 400 <= each < 600), None)


def _of_status(status: int | None) -> str:
    if status == 429:
        return "rate_limited"
    if status is None:
        return "bad_output"
    return "unavailable" if status >= 500 or status == 408 else "model_error"
