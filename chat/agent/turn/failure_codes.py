"""The failure of an agent, as a code of docs/streaming.md, for each error code and exception."""

import json
import re
import traceback
from dataclasses import replace

import httpx
from django.conf import settings
from google.adk.agents import BaseAgent
from google.adk.agents.invocation_context import LlmCallsLimitExceededError
from google.genai import errors
from pydantic import ValidationError

from chat.agent.turn.exception_details import (
    ExceptionDetails,
    details_of,
    details_of_event,
    without_secrets,
)
from chat.instruments.stack import Owner, chain_of

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
MISCONFIGURED_CODES = {
    "UNAUTHENTICATED", "PERMISSION_DENIED", "AUTHENTICATION_ERROR", "PERMISSION_ERROR", "INVALID_API_KEY",
    "NOT_FOUND", "NOT_FOUND_ERROR", "MODEL_NOT_FOUND",
}  # fmt: skip
UNAVAILABLE_CODES = {"UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "OVERLOADED_ERROR"}
CODE_PATTERN = re.compile(r"[A-Z0-9_]{1,64}")
UNNAMED_ERROR = "UNNAMED_ERROR"  # for a model that gives a message without a code
EMPTY_CODES = {"MODEL_RETURNED_NO_CONTENT", "NO_IMAGE"}

# Wrong settings that have no status of their own: Google answers 400 for a wrong key, some servers for an
# unknown model, and a client without a key raises before it sends.
KEY_PATTERN = re.compile(
    r"API_KEY_INVALID|api_key client option must be set|No Anthropic credential|resolve authentication method"
    r"|Missing key inputs|No API key was provided|Missing credentials|Missing \w+ API key"
)
MODEL_PATTERN = re.compile(
    r"LLM Provider NOT provided|model_not_found|not a valid model|model .{0,80}(not found|does not exist)",
    re.IGNORECASE,
)


UNREACHED_PATTERN = re.compile(r"Connection error|connection attempts failed|Cannot connect to host")
# The clients of openai and anthropic wrap them.
UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class AgentFailure(Exception):
    """The agent failed. ``code`` is one of docs/streaming.md.

    ``reason`` is for the log and quotes no user. ``details`` describe the exception, if there was one.
    """

    def __init__(self, code: str, reason: str, details: ExceptionDetails | None = None) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.details = details
        self.agent = ""  # ADK's name of the agent that failed, if it is known


def is_known(finish_reason: str) -> bool:
    """Return whether the reason says that the answer is not what the model wanted to say."""
    return finish_reason in BLOCKED_CODES | BAD_OUTPUT_CODES | EMPTY_CODES


def failure_of_event(error_code: str, message: str) -> AgentFailure:
    """Return the failure for the ``error_code`` and ``error_message`` of an ADK event."""
    failure = _failure_of_code(error_code)
    if message:
        failure.details = details_of_event(failure.reason, message)
    return failure


def _failure_of_code(error_code: str) -> AgentFailure:
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
    if error_code.upper() in MISCONFIGURED_CODES:
        return AgentFailure("misconfigured", error_code)
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
    failure = _failure_of_exception(error, is_parleys_agent=is_parleys_agent)
    failure.agent = _raising_agent(error)
    return failure


def _raising_agent(error: BaseException) -> str:
    """Return the name of the innermost agent in the traceback."""
    if isinstance(error, ExceptionGroup):
        return _raising_agent(error.exceptions[0])
    frames = (frame.f_locals.get("self") for frame, _line in traceback.walk_tb(error.__traceback__))
    return next((found.name for found in reversed(list(frames)) if isinstance(found, BaseAgent)), "")


def _failure_of_exception(error: Exception, *, is_parleys_agent: bool) -> AgentFailure:
    if isinstance(error, ExceptionGroup):  # from parallel agents: report the first one
        first: Exception = error.exceptions[0]
        return _failure_of_exception(first, is_parleys_agent=is_parleys_agent)
    details = details_of(error)
    known = (
        None
        if _is_outside_model_call(error, details, is_parleys_agent=is_parleys_agent)
        else _known_failure(error, details)
    )
    if known is None:
        code = _code_by_owner(details, is_parleys_agent=is_parleys_agent)
        return AgentFailure(code, details.kind, details)
    advice = ""  # a toolset's server may refuse a key, too
    if details.in_model_call or is_parleys_agent:
        advice = _advice(known.code, error, is_parleys_agent=is_parleys_agent)
    known.reason = ". ".join(filter(None, [known.reason, advice]))
    # What the model's provider says is enough: a key, a model's name or a quota is wrong, not code.
    message = "\n".join(filter(None, [advice, details.message]))
    known.details = replace(details, place="", traceback="", message=message)
    return known


def _advice(code: str, error: Exception, *, is_parleys_agent: bool) -> str:
    """Return the sentence that tells the site's owner what is wrong, and which setting to check."""
    key = "CHAT_API_KEY"
    if not settings.CHAT_API_KEY:
        is_google = isinstance(error, errors.APIError)
        key = "GOOGLE_API_KEY" if is_google else "CHAT_API_KEY or the provider's own variable"
    if code == "misconfigured" and _is_about_the_model(error):
        where = "CHAT_MODEL" if is_parleys_agent else "its name in the agent's code"
        return f"The model's provider does not have this model: check {where}."
    if code == "misconfigured":
        where = key if is_parleys_agent else "the agent's .env, or Parley's"
        return f"The model's provider did not accept the key: check {where}."
    if code == "rate_limited":
        return "The quota at the model's provider is used up, or too many requests come at the same time."
    if code == "unavailable" and (_is_unreached(error) or _status_of(error) is None):
        where = "CHAT_API_BASE" if is_parleys_agent else "the address in the agent's code or .env"
        return f"The model's server cannot be reached: check {where} and the network."
    return ""


def _is_about_the_model(error: Exception) -> bool:
    return _status_of(error) == 404 or bool(MODEL_PATTERN.search(str(error)))


def _is_outside_model_call(error: Exception, details: ExceptionDetails, *, is_parleys_agent: bool) -> bool:
    """Return whether it was raised outside a model call: a time-out in a callback is the agent's failure."""
    if details.in_model_call or is_parleys_agent:
        return False
    return details.owner is Owner.AGENT or isinstance(error, (httpx.HTTPError, OSError))


def _known_failure(error: Exception, details: ExceptionDetails) -> AgentFailure | None:
    """Return the failure for an exception that ADK, models or their transport are known to raise."""
    reason = details.kind
    # The message of an agent's own client may quote the question.
    reason_and_message = (
        reason if details.owner is Owner.AGENT else f"{reason}: {without_secrets(str(error))}"
    )
    match error:
        case LlmCallsLimitExceededError():
            return AgentFailure("limit", reason)
        case Exception() if _is_misconfigured(error):
            return AgentFailure("misconfigured", f"{reason} {_status_of(error) or ''}".strip())
        case errors.APIError():
            return AgentFailure(_code_of_status(error.code), f"{reason} {error.code} {error.status}")
        case Exception() if status := _status_of(error):
            return AgentFailure(_code_of_status(status), f"{reason} {status}")
        case Exception() if _is_unreached(error):
            return AgentFailure("unavailable", reason_and_message)
        case httpx.HTTPError() | OSError():
            return AgentFailure("model_error", reason_and_message)
        case errors.UnknownApiResponseError() | ValidationError() | json.JSONDecodeError() | UnicodeError():
            return AgentFailure("bad_output", reason)
    return None


def _is_misconfigured(error: Exception) -> bool:
    """Return whether the provider refused the key, or does not have the model."""
    return (
        _status_of(error) in (401, 403) or _is_about_the_model(error) or bool(KEY_PATTERN.search(str(error)))
    )


def _is_unreached(error: Exception) -> bool:
    # ADK raises a node's exception again, which loses its context: of litellm's, only the message remains.
    by_chain = any(isinstance(each, UNREACHED) for each in chain_of(error))
    return by_chain or bool(UNREACHED_PATTERN.search(str(error)))


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
    if status in (402, 429):  # 402: a prepaid quota is used up
        return "rate_limited"
    if status in (401, 403, 404):
        return "misconfigured"
    if status is None:
        return "bad_output"
    return "unavailable" if status >= 500 or status == 408 else "model_error"
