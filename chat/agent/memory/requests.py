"""Requests to a person in the ADK events of a run, and the results by which ADK learns the answers."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from google.adk.utils._function_call_names import (
    REQUEST_CONFIRMATION_FUNCTION_CALL_NAME,
    REQUEST_EUC_FUNCTION_CALL_NAME,
    REQUEST_INPUT_FUNCTION_CALL_NAME,
)
from google.adk.workflow.utils._workflow_hitl_utils import confirmation_interrupt_id

from chat.agent.memory.payload import calls_of, parts_of, pending_ids_of
from chat.events import clean_json, clean_text
from chat.models import PersonRequest

USER_CHOICE = "get_user_choice"
# ADK's own hint speaks to a program.
ADK_HINT = "Please approve or reject the tool call"
NODE_PREFIX = confirmation_interrupt_id("")  # of the id of a call that asks about a workflow's node
CALL_NAME_LENGTH = 128  # characters, as the columns of PersonRequest


def requests_in(payloads: Sequence[str]) -> list[PersonRequest]:
    """Return the requests of an ended run in order, not yet stored. ``payloads`` are its ADK events."""
    results = _results_in(payloads)
    now = timezone.now()
    found = []
    for payload in payloads:
        pending = pending_ids_of(payload)
        for call in calls_of(payload) if pending else []:
            if call.get("id") not in pending or call["name"] == REQUEST_EUC_FUNCTION_CALL_NAME:
                continue
            request = _request_of(call)
            if request is None:
                continue
            if request.asking_call in results:
                request.is_job, request.payload = True, clean_json(results[request.asking_call])
            request.asked_at = now
            request.expires_at = now + timedelta(days=settings.REQUEST_DAYS)
            found.append(request)
    return found


def _results_in(payloads: Sequence[str]) -> dict[str, Any]:
    parts = [part for payload in payloads if '"functionResponse"' in payload for part in parts_of(payload)]
    responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
    return {response["id"]: response.get("response") for response in responses if response.get("id")}


def _request_of(call: dict[str, Any]) -> PersonRequest | None:
    """Return the request of a waiting call, or None for one that names no tool, or has an endless name."""
    args = call.get("args") or {}
    request = PersonRequest(
        kind=PersonRequest.Kind.TOOL, call=call["id"], asking_call=call["id"], tool=call["name"]
    )
    if call["name"] == REQUEST_CONFIRMATION_FUNCTION_CALL_NAME:
        original, confirmation = args.get("originalFunctionCall"), args.get("toolConfirmation") or {}
        if not isinstance(original, dict) or not original.get("id") or not original.get("name"):
            return None
        request.kind, request.call, request.tool = (
            PersonRequest.Kind.CONFIRM,
            original["id"],
            original["name"],
        )
        args = original.get("args") or {}
        hint = clean_text(str(confirmation.get("hint") or ""))
        request.hint = "" if hint.startswith(ADK_HINT) else hint
        request.payload = clean_json(confirmation.get("payload"))
    elif asked := _confirmation_of_node(call):
        request.kind, request.tool = PersonRequest.Kind.CONFIRM, asked["tool_name"]
        args = asked.get("args") or {}
        request.payload = clean_json(asked.get("confirmation_payload"))
    elif call["name"] == REQUEST_INPUT_FUNCTION_CALL_NAME:
        request.kind = PersonRequest.Kind.INPUT
        request.hint = clean_text(str(args.get("message") or ""))
        request.payload = clean_json(args.get("payload"))
        request.schema = _schema_in(args.get("response_schema") or args.get("responseSchema"))
        args = {}
    elif call["name"] == USER_CHOICE:
        request.schema = {"type": "string", "enum": clean_json(args.get("options") or [])}
    request.args = clean_json(args)
    names = (request.call, request.asking_call, request.tool)
    return None if any(len(name) > CALL_NAME_LENGTH for name in names) else request


def _confirmation_of_node(call: dict[str, Any]) -> dict[str, Any] | None:
    """Return what ADK asks before it runs a workflow's node that needs a confirmation: it asks a question."""
    asked = (call.get("args") or {}).get("payload")
    is_confirmation = call["name"] == REQUEST_INPUT_FUNCTION_CALL_NAME and call["id"].startswith(NODE_PREFIX)
    return asked if is_confirmation and isinstance(asked, dict) and asked.get("tool_name") else None


def _schema_in(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return clean_json(value) if isinstance(value, dict) else None


def is_asked_by_adk(call: dict[str, Any]) -> bool:
    """Return whether ADK itself asks in this ``adk_request_confirmation``, because of the tool's settings.

    Otherwise the tool's own code asks, and is entered again whatever the person decides.
    """
    confirmation = (call.get("args") or {}).get("toolConfirmation") or {}
    return str(confirmation.get("hint") or "").startswith(ADK_HINT)


def result_of(request: PersonRequest) -> dict[str, Any]:
    """Return ADK's function response that carries a decision, as JSON."""
    is_approved = request.decision == PersonRequest.Decision.APPROVE
    match request.kind:
        case PersonRequest.Kind.CONFIRM:
            response = {"confirmed": is_approved, "payload": request.answer}
            name = (
                REQUEST_INPUT_FUNCTION_CALL_NAME
                if request.is_of_node
                else REQUEST_CONFIRMATION_FUNCTION_CALL_NAME
            )
        case _ if request.decision == PersonRequest.Decision.REJECT:
            response, name = {"error": "The user declined."}, request.tool
        case _:
            answer = request.answer
            response = answer if isinstance(answer, dict) else {"result": answer}
            name = request.tool
    return {"id": request.asking_call, "name": name, "response": response}
