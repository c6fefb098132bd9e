"""Why an agent failed, in PROTOCOL's codes."""

import json

import httpx
from google.adk.agents.invocation_context import LlmCallsLimitExceededError
from google.genai import errors
from pydantic import ValidationError

# ADK puts the model's finish or block reason into an event's error_code.
BLOCKED = {
    "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "LANGUAGE", "JAILBREAK",
    "MODEL_ARMOR", "BLOCKED_REASON_UNSPECIFIED", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
}  # fmt: skip
BAD_OUTPUT = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"}
RATE_LIMITED = {"RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", "RATE_LIMIT_ERROR"}
UNAVAILABLE = {"UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "OVERLOADED_ERROR"}
UNNAMED_ERROR = "UNNAMED_ERROR"  # of a model that says only in words what went wrong
EMPTY = {"MODEL_RETURNED_NO_CONTENT", "NO_IMAGE"}


class AgentFailure(Exception):
    """The agent came to no answer. ``code`` is PROTOCOL's; ``reason`` is for the log alone."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


def of_error_code(error_code: str) -> AgentFailure:
    """The failure that an event's ``error_code`` tells of."""
    if error_code in BLOCKED:
        return AgentFailure("blocked", error_code)
    if error_code in BAD_OUTPUT:
        return AgentFailure("bad_output", error_code)
    if error_code in EMPTY:
        return AgentFailure("empty", error_code)
    if error_code.upper() in RATE_LIMITED:
        return AgentFailure("rate_limited", error_code)
    if error_code.upper() in UNAVAILABLE:
        return AgentFailure("unavailable", error_code)
    if error_code.isdecimal():
        return AgentFailure(_of_status(int(error_code)), error_code)
    return AgentFailure("model_error", error_code)


def of_exception(error: Exception) -> AgentFailure:
    """The failure that an exception out of the Runner tells of. Never the request's own content."""
    reason = type(error).__name__
    match error:
        case AgentFailure():
            return error
        case LlmCallsLimitExceededError():
            return AgentFailure("limit", reason)
        case errors.APIError():
            return AgentFailure(_of_status(error.code), f"{reason} {error.code} {error.status}")
        case Exception() if status := _status_of(error):
            return AgentFailure(_of_status(status), f"{reason} {status}")
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return AgentFailure("unavailable", f"{reason}: {error}")
        case httpx.HTTPError() | TimeoutError() | OSError():
            return AgentFailure("model_error", f"{reason}: {error}")
        case errors.UnknownApiResponseError() | ValidationError() | json.JSONDecodeError() | UnicodeError():
            return AgentFailure("bad_output", reason)
    return AgentFailure("internal", reason)


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
