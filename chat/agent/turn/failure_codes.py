"""The failure of an agent, as a code of docs/streaming.md, for each error code and exception."""

import json
import re

import httpx
from google.adk.agents.invocation_context import LlmCallsLimitExceededError
from google.genai import errors
from pydantic import ValidationError

from chat.agent.turn.exception_details import ExceptionDetails, details_of
from chat.instruments.stack import Owner

# ADK puts the model's finish or block reason into an event's error_code.
BLOCKED_CODES = {
    "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "LANGUAGE", "JAILBREAK",
    "MODEL_ARMOR", "BLOCKED_REASON_UNSPECIFIED", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
}  # fmt: skip
BAD_OUTPUT_CODES = {
    "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE",
}  # fmt: skip
RATE_LIMITED_CODES = {"RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", "RATE_LIMIT_ERROR"}
UNAVAILABLE_CODES = {"UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "OVERLOADED_ERROR"}
CODE_PATTERN = re.compile(r"[A-Z0-9_]{1,64}")
UNNAMED_ERROR = "UNNAMED_ERROR"  # for a model that gives a message without a code
EMPTY_CODES = {"MODEL_RETURNED_NO_CONTENT", "NO_IMAGE"}


class AgentFailure(Exception):
    """The agent failed. ``code`` is one of docs/streaming.md.

    ``reason`` is for the log and quotes no user. ``details`` describe an exception that no model is known
    to raise.
    """

    def __init__(self, code: str, reason: str, details: ExceptionDetails | None = None) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.details = details


def failure_of_code(error_code: str) -> AgentFailure:
    """Return the failure for the ``error_code`` of an ADK event."""
    if error_code in BLOCKED_CODES:
        return AgentFailure("blocked", error_code)
    if error_code in BAD_OUTPUT_CODES:
        return AgentFailure("bad_output", error_code)
    if error_code in EMPTY_CODES:
        return AgentFailure("empty", error_code)
    if error_code.upper() in RATE_LIMITED_CODES:
        return AgentFailure("rate_limited", error_code)
    if error_code.upper() in UNAVAILABLE_CODES:
        return AgentFailure("unavailable", error_code)
    if error_code.isdecimal():
        return AgentFailure(_code_of_status(int(error_code)), error_code)
    # A custom model can put a user's text there: log only what looks like a code.
    return AgentFailure("model_error", error_code if CODE_PATTERN.fullmatch(error_code) else UNNAMED_ERROR)


def failure_of_exception(error: Exception, *, is_parleys_agent: bool = False) -> AgentFailure:
    """Return the failure for an exception from the Runner, without content of the request.

    ``is_parleys_agent``: the agent is Parley's, so an exception in ADK's code has the code "internal".
    """
    if isinstance(error, AgentFailure):
        return error
    if isinstance(error, ExceptionGroup):  # from parallel agents: report the first one
        first: Exception = error.exceptions[0]
        return failure_of_exception(first, is_parleys_agent=is_parleys_agent)
    details = details_of(error)
    known = (
        None
        if _is_outside_model_call(error, details, is_parleys_agent=is_parleys_agent)
        else _known_failure(error, details)
    )
    return known or AgentFailure(
        _code_by_owner(details, is_parleys_agent=is_parleys_agent), details.kind, details
    )


def _is_outside_model_call(error: Exception, details: ExceptionDetails, *, is_parleys_agent: bool) -> bool:
    """Return whether it was raised outside a model call: a time-out in a callback is the agent's failure."""
    if details.in_model_call or is_parleys_agent:
        return False
    return details.owner is Owner.AGENT or isinstance(error, (httpx.HTTPError, OSError))


def _known_failure(error: Exception, details: ExceptionDetails) -> AgentFailure | None:
    """Return the failure for an exception that ADK, models or their transport are known to raise."""
    reason = details.kind
    # The message of an agent's own client may quote the question.
    reason_and_message = reason if details.owner is Owner.AGENT else f"{reason}: {error}"
    match error:
        case LlmCallsLimitExceededError():
            return AgentFailure("limit", reason)
        case errors.APIError():
            return AgentFailure(_code_of_status(error.code), f"{reason} {error.code} {error.status}")
        case Exception() if status := _status_of(error):
            return AgentFailure(_code_of_status(status), f"{reason} {status}")
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return AgentFailure("unavailable", reason_and_message)
        case httpx.HTTPError() | OSError():
            return AgentFailure("model_error", reason_and_message)
        case errors.UnknownApiResponseError() | ValidationError() | json.JSONDecodeError() | UnicodeError():
            return AgentFailure("bad_output", reason)
    return None


def _code_by_owner(details: ExceptionDetails, *, is_parleys_agent: bool) -> str:
    """Return the code for any other exception, by the owner of the code that raised it."""
    if details.owner is Owner.AGENT:
        return "agent"
    if details.owner is Owner.PARLEY:
        return "internal"
    if details.in_model_call:
        return "model_error"
    return "internal" if is_parleys_agent else "agent"


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status that a client of a model provider put on its exception, or None."""
    # openai, anthropic and litellm have status_code, google-api-core has code, httpx has it on the response.
    holders = (error, getattr(error, "response", None))
    found = [getattr(holder, name, None) for holder in holders for name in ("status_code", "code")]
    return next((int(each) for each in found if isinstance(each, int) and 400 <= each < 600), None)


def _code_of_status(status: int | None) -> str:
    if status == 429:
        return "rate_limited"
    if status is None:
        return "bad_output"
    return "unavailable" if status >= 500 or status == 408 else "model_error"
