"""Answers of a member who means harm: they are refused, and change nothing of anyone's requests."""

import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from accounts.models import User
from chat.json_schemas import misfit
from chat.models import Conversation, PersonRequest, Run
from chat.runs.supervisor import supervisor
from tests.agent.test_agents_that_wait import HEAD
from tests.support.client import Answer, Client
from tests.support.gemini import Call, Gemini, Text
from tests.support.talk import Talk

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]
Start = Callable[..., Awaitable[tuple[Talk, list[dict[str, Any]]]]]

CONFIRMED = "root_agent = one('bank', confirmed)"
ASKED = "root_agent = one('bank', request_input)"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Lagos", "Łódź"]}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture
async def start(write_agents: WriteAsync, as_alice: Client, gemini: Gemini) -> Start:
    """Return a function that asks a question whose answer ends with these calls."""

    async def start(code: str, *calls: Call, client: Client = as_alice) -> tuple[Talk, list[dict[str, Any]]]:
        await write_agents({"bank/agent.py": HEAD + f"\n    {code}\n"})
        question = f"Pay, {uuid.uuid4()}."
        gemini.on(question, list(calls), [Text("It is done.")])
        talk = Talk(client)
        said = await talk.ask(question, agent="bank")
        return talk, [event.json() for event in said.named("waiting")]

    return start


async def send(client: Client, conversation: str | None, *answers: Any, **fields: Any) -> Answer:
    body = {"conversation": conversation, "answers": list(answers), **fields}
    return await client.post("/chat/stream", body)


def approval(request: dict[str, Any]) -> dict[str, Any]:
    return {"id": request["id"], "decision": "approve"}


async def nothing_is_decided() -> bool:
    return not await PersonRequest.objects.exclude(decision="").aexists()


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"city": "Paris"}, "$.city"),
        ({"days": 3}, "$"),
        ({"city": "Lagos", "days": "three"}, "$.days"),
        ({"city": "Lagos", "days": True}, "$.days"),
        ({"city": "Lagos", "extra": 1}, "$"),
        ("Lagos", "$"),
        ([], "$"),
    ],
)
async def test_an_answer_that_the_schema_forbids_is_refused(
    payload: Any, place: str, start: Start, as_alice: Client
) -> None:
    talk, (request,) = await start(
        ASKED, Call("adk_request_input", {"message": "Where?", "response_schema": SCHEMA})
    )
    assert request["schema"] == SCHEMA
    refused = await send(
        as_alice, talk.conversation, {"id": request["id"], "decision": "answer", "payload": payload}
    )
    assert (refused.status, refused.json()["error"]["code"]) == (422, "payload")
    assert refused.json()["error"]["detail"].endswith(f"see {place}.")
    assert await nothing_is_decided()
    said = await talk.ask(
        answers=[{"id": request["id"], "decision": "answer", "payload": {"city": "Łódź", "days": 2}}]
    )
    assert said.end == "run.completed"


async def test_only_an_offered_choice_can_be_chosen(start: Start, as_alice: Client) -> None:
    talk, (request,) = await start(
        "root_agent = one('bank', get_user_choice)", Call("get_user_choice", {"options": ["a", "b"]})
    )
    refused = await send(
        as_alice, talk.conversation, {"id": request["id"], "decision": "answer", "payload": "c"}
    )
    assert (refused.status, refused.json()["error"]["code"]) == (422, "payload")
    assert await nothing_is_decided()


ENDLESS = {
    "$ref": "#/$defs/d0",
    "$defs": {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(30)
    }
    | {"d30": {"type": "integer"}},
}


@pytest.mark.parametrize(
    "schema",
    [
        {"required": 5, "type": "object"},
        {"type": "no type"},
        {"enum": "abc"},
        {"properties": [1]},
        {"$ref": "#"},
        {"$ref": "http://127.0.0.1:1/schema"},
        {"$ref": "#/$defs/none"},
        {"type": "string", "pattern": "(a+)+$"},
        {"type": "string", "minLength": "x"},
        ENDLESS,
    ],
    ids=str,
)
async def test_a_hostile_schema_refuses_nothing_and_takes_no_time(schema: Any, start: Start) -> None:
    talk, (request,) = await start(
        ASKED, Call("adk_request_input", {"message": "Where?", "response_schema": schema})
    )
    page = await talk.client.get(f"/chat/{talk.conversation}/")
    assert page.status == 200
    assert request["id"] in page.text
    began = time.process_time()
    said = await talk.ask(
        answers=[{"id": request["id"], "decision": "answer", "payload": {"a": "a" * 40 + "!"}}]
        if "properties" in schema or "required" in schema
        else [{"id": request["id"], "decision": "answer", "payload": "a" * 40 + "!"}]
    )
    assert said.end == "run.completed"
    assert time.process_time() - began < 10


def test_a_value_of_many_items_is_checked_to_a_limit() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    assert misfit([*range(1000), "x"], schema) == "$[1000]"
    assert misfit([*range(30_000), "x"], schema) is None


async def test_answers_do_not_reach_into_another_conversation(start: Start, as_alice: Client) -> None:
    one, (first,) = await start(CONFIRMED, Call("transfer_money", {"amount": 1}))
    two, (second,) = await start(CONFIRMED, Call("transfer_money", {"amount": 2}))
    both = await send(as_alice, one.conversation, approval(first), approval(second))
    other = await send(as_alice, two.conversation, approval(first))
    assert (both.status, other.status) == (404, 404)
    form = {second["id"]: "approve", first["id"]: "approve"}
    assert (await as_alice.post(f"/chat/{one.conversation}/answer/", form=form)).status == 404
    assert await nothing_is_decided()


@pytest.mark.parametrize("state", ["deleted", "locked"])
async def test_answers_in_a_deleted_or_locked_conversation_are_refused(
    state: str, start: Start, as_alice: Client
) -> None:
    from django.utils import timezone

    talk, (request,) = await start(CONFIRMED, Call("transfer_money", {"amount": 1}))
    await Conversation.objects.filter(pk=str(talk.conversation)).aupdate(**{f"{state}_at": timezone.now()})
    refused = await send(as_alice, talk.conversation, approval(request))
    form = await as_alice.post(f"/chat/{talk.conversation}/answer/", form={request["id"]: "approve"})
    assert (refused.status, form.status) == ((404, 404) if state == "deleted" else (423, 423))
    assert await nothing_is_decided()


async def test_a_draining_server_stores_no_answer(
    start: Start, as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk, (request,) = await start(CONFIRMED, Call("transfer_money", {"amount": 1}))
    key = str(uuid.uuid4())
    monkeypatch.setattr(supervisor, "draining", True)
    refused = await send(as_alice, talk.conversation, approval(request), client_id=key)
    form = await as_alice.post(f"/chat/{talk.conversation}/answer/", form={request["id"]: "approve"})
    assert (refused.status, form.status) == (503, 503)
    assert await nothing_is_decided()
    monkeypatch.setattr(supervisor, "draining", False)
    assert (await send(as_alice, talk.conversation, approval(request), client_id=key)).status == 200


async def test_a_key_is_of_one_answer_and_of_one_member(
    start: Start, as_alice: Client, as_bob: Client
) -> None:
    talk, (request,) = await start(CONFIRMED, Call("transfer_money", {"amount": 1}))
    key = str(uuid.uuid4())
    first = await send(as_alice, talk.conversation, approval(request), client_id=key)
    again = await send(as_alice, talk.conversation, approval(request), client_id=key)
    assert (first.status, again.events) == (200, first.events)
    other = {"id": request["id"], "decision": "reject"}
    assert (await send(as_alice, talk.conversation, other, client_id=key)).status == 422
    assert (await send(as_bob, talk.conversation, approval(request), client_id=key)).status == 404
    assert await Run.objects.filter(answered__isnull=False).acount() == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "%s", "decision": "answer", "payload": "a\\u0000b"}',
        b'{"id": "%s", "decision": "answer", "payload": "a\\ud800b"}',
        b'{"id": "%s", "decision": "answer", "payload": {"a\\u0000b": 1}}',
        b'{"id": "%s", "decision": "answer", "payload": 1e999}',
        b'{"id": "%s", "decision": "answer", "payload": NaN}',
        b'{"id": "%s", "decision": "answer", "payload": 99999999999999999999999}',
        b'{"id": "%s", "decision": "answer", "payload": {"a": 1, "a": 2}}',
        b'{"id": "%s", "decision": "answer", "payload": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"id": "%s", "decision": "answer", "payload": [' + b"{}," * 20_000 + b"1]}",
        b'{"id": "%s", "decision": ["answer"], "payload": "a"}',
        b'{"id": "%s", "decision": "answer", "payload": "a", "by": "mona"}',
        b'{"id": null, "decision": "answer", "payload": "a"}',
        b'{"decision": "answer", "payload": "a"}',
        b'{"id": "%s", "decision": "answer"}, {"id": "%s", "decision": "reject"}',
        b'{"id": "%s", "decision": "approve", "payload": "a"}',
        b'"%s"',
        b"[]",
        b"null",
    ],
    ids=lambda body: body[:70].decode(),
)
async def test_a_broken_answer_is_refused(body: bytes, start: Start, as_alice: Client) -> None:
    talk, (request,) = await start(ASKED, Call("adk_request_input", {"message": "Where?"}))
    body = body.replace(b"%s", request["id"].encode())
    whole = b'{"conversation": "%s", "answers": [%s]}' % (str(talk.conversation).encode(), body)
    refused = await as_alice.post("/chat/stream", body=whole, headers={"content-type": "application/json"})
    assert refused.status in (400, 422), refused.body
    assert await nothing_is_decided()


async def test_a_payload_over_the_limit_of_a_body_is_refused(start: Start, as_alice: Client) -> None:
    talk, (request,) = await start(ASKED, Call("adk_request_input", {"message": "Where?"}))
    answer = {"id": request["id"], "decision": "answer", "payload": "a" * 9_000_000}
    assert (await send(as_alice, talk.conversation, answer)).status == 413
    assert await nothing_is_decided()


async def test_the_form_needs_a_csrf_token_and_a_post(start: Start, as_alice: Client) -> None:
    talk, (request,) = await start(CONFIRMED, Call("transfer_money", {"amount": 1}))
    path = f"/chat/{talk.conversation}/answer/"
    form = {request["id"]: "approve"}
    assert (await as_alice.post(path, form=form, csrf=False)).status == 403
    body = {"conversation": talk.conversation, "answers": [approval(request)]}
    assert (await as_alice.post("/chat/stream", body, csrf=False)).status == 403
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
        assert (await as_alice.request(method, path, form=form)).status == 405
    query = f"conversation={talk.conversation}&answers={json.dumps([approval(request)])}"
    headers = {"accept": "text/event-stream"}
    assert (await as_alice.get(f"/chat/stream?{query}", headers=headers)).status == 400
    assert await nothing_is_decided()


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"word": "approve"},
        {"%s": "answer"},
        {"%s": "perhaps"},
        {"%s": ""},
        {"%s": "approve\x00"},
        {str(uuid.UUID(int=0)): "approve", "%s": "approve"},
    ],
    ids=str,
)
async def test_a_forged_form_decides_nothing(form: dict[str, str], start: Start, as_alice: Client) -> None:
    talk, (request,) = await start(CONFIRMED, Call("transfer_money", {"amount": 1}))
    forged = {name.replace("%s", request["id"]): value for name, value in form.items()}
    answer = await as_alice.post(f"/chat/{talk.conversation}/answer/", form=forged)
    assert 400 <= answer.status < 500, answer.status
    assert await nothing_is_decided()


async def test_a_reply_with_a_hundred_requests_is_answered_as_one(start: Start, as_alice: Client) -> None:
    calls = [Call("transfer_money", {"amount": n}) for n in range(100)]
    talk, requests = await start(CONFIRMED, *calls)
    assert len(requests) == 100
    assert (await as_alice.get(f"/chat/{talk.conversation}/")).status == 200
    assert (await send(as_alice, talk.conversation, *map(approval, requests[:99]))).status == 422
    assert await nothing_is_decided()
    said = await talk.ask(answers=[approval(each) for each in requests])
    assert said.end == "run.completed"
    assert sorted(event.json()["result"]["sent"] for event in said.named("tool.returned")) == list(range(100))


async def test_a_megabyte_of_arguments_can_be_read_and_approved(start: Start, as_alice: Client) -> None:
    code = "root_agent = one('bank', FunctionTool(print_text, require_confirmation=True))"
    tool = "def print_text(text: str) -> int:\n        return len(text)\n\n    "
    talk, (request,) = await start(tool + code, Call("print_text", {"text": "ab<\u202e" * 250_000}))
    assert len(request["args"]["text"]) == 1_000_000
    began = time.process_time()
    page = await as_alice.get(f"/chat/{talk.conversation}/")
    assert page.status == 200
    assert page.text.count(r"ab&lt;\u202e") == 250_000  # whole, in its card
    said = await talk.ask(answers=[approval(request)])
    assert said.end == "run.completed"
    (returned,) = said.named("tool.returned")
    assert returned.json()["result"] == {"result": 1_000_000}
    assert time.process_time() - began < 30


async def test_the_names_of_tools_and_hints_are_shown_as_text(start: Start, as_alice: Client) -> None:
    code = """
    class Named(FunctionTool):
        async def run_async(self, *, args, tool_context):
            if not tool_context.tool_confirmation:
                tool_context.request_confirmation(
                    hint="<script>alert(1)</script>\\u202e\\x00\\ud800", payload={"<b>x</b>": "\\u202e<i>"}
                )
                return {"status": "asked"}
            return {"ok": True}

    root_agent = one('bank', Named(transfer_money))"""
    talk, (request,) = await start(code, Call("transfer_money", {"amount": 1, "<img src=x>": "\u202e<b>"}))
    page = await as_alice.get(f"/chat/{talk.conversation}/")
    assert page.status == 200
    for markup in ("<script>alert", "<b>x</b>", "<img src=x>", "\x00", "<i>"):
        assert markup not in page.text.split('class="request', 1)[-1], markup
    assert "\ud800" not in request["hint"]
    # ADK would leave out the argument that the tool does not have, though the person saw it.
    refused = await send(as_alice, talk.conversation, approval(request))
    assert (refused.status, refused.json()["error"]["code"]) == (409, "changed")


async def test_a_deactivated_member_answers_nothing(start: Start, as_alice: Client, alice: User) -> None:
    talk, (request,) = await start(CONFIRMED, Call("transfer_money", {"amount": 1}))
    await User.objects.filter(pk=alice.pk).aupdate(is_active=False)
    assert (await send(as_alice, talk.conversation, approval(request))).status == 401
    form = await as_alice.post(f"/chat/{talk.conversation}/answer/", form={request["id"]: "approve"})
    assert form.status == 302
    assert await nothing_is_decided()
