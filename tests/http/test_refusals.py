"""Refusals before the first frame: their shape and order, and that nothing is partly stored."""

import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.utils import timezone

from chat.models import Conversation, Message, Run
from tests.support.client import Client
from tests.support.gemini import Gemini, Hold, Text

LONG = "x" * (128 * 1024 + 1)


def code_of(answer: Any) -> str:
    error = answer.json()["error"]
    assert error["detail"].endswith("."), "a sentence for the person"
    return str(error["code"])


async def test_a_visitor_is_not_signed_in_also_without_a_csrf_token(visitor: Client) -> None:
    for csrf in (True, False):
        answer = await visitor.post("/chat/stream", {"query": "x"}, csrf=csrf)
        assert answer.status == 401
        assert code_of(answer) == "not_signed_in"


async def test_a_member_without_the_csrf_token_is_refused(as_alice: Client) -> None:
    answer = await as_alice.post("/chat/stream", {"query": "x"}, csrf=False)
    assert (answer.status, code_of(answer)) == (403, "csrf")
    assert await Message.objects.acount() == 0


async def test_csrf_is_checked_for_forms_by_their_field(as_alice: Client) -> None:
    form = {"query": "hello", "csrfmiddlewaretoken": as_alice.csrf}
    assert (await as_alice.post("/chat/stream", form=form, csrf=False)).status == 200


async def test_a_cross_site_post_is_refused(as_alice: Client) -> None:
    answer = await as_alice.post("/chat/stream", {"query": "x"}, headers={"sec-fetch-site": "cross-site"})
    assert (answer.status, code_of(answer)) == (403, "cross_site")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "", "application/xml", "application/json; charset=utf-16", "application/jsonp"],
)
async def test_other_content_types_are_refused(as_alice: Client, content_type: str) -> None:
    answer = await as_alice.post(
        "/chat/stream", body=b'{"query": "x"}', headers={"content-type": content_type}
    )
    assert (answer.status, code_of(answer)) == (415, "content_type")


async def test_a_compressed_body_is_refused(as_alice: Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert (await as_alice.post("/chat/stream", body=b"\x1f\x8b", headers=headers)).status == 415


async def test_a_body_over_a_mebibyte_is_too_large(as_alice: Client) -> None:
    answer = await as_alice.post("/chat/stream", {"query": "x" * 1024 * 1024})
    assert (answer.status, code_of(answer)) == (413, "too_large")
    answer = await as_alice.post("/chat/stream", form={"query": "x" * 1024 * 1024})
    assert (answer.status, code_of(answer)) == (413, "too_large")


@pytest.mark.parametrize("query", ["", " ", "\n\t ", "\u200b", "\u200e\u2060 \ufeff", "\u3164", "\u2800"])
async def test_a_message_with_nothing_visible_is_blank(as_alice: Client, query: str) -> None:
    answer = await as_alice.post("/chat/stream", {"query": query})
    assert (answer.status, code_of(answer)) == (422, "blank")


async def test_a_message_over_the_limit_is_too_long(as_alice: Client) -> None:
    answer = await as_alice.post("/chat/stream", {"query": LONG})
    assert (answer.status, code_of(answer)) == (422, "too_long")


async def test_the_limit_counts_utf8_bytes(as_alice: Client) -> None:
    assert (await as_alice.post("/chat/stream", {"query": "é" * 65_537})).status == 422
    assert (await as_alice.post("/chat/stream", {"query": "é" * 65_536})).status == 200


async def test_a_locked_conversation_takes_no_question(as_alice: Client) -> None:
    conversation = (await as_alice.ask("one"))[0].json()["conversation"]
    await Conversation.objects.aupdate(locked_at=timezone.now())
    answer = await as_alice.post("/chat/stream", {"query": "two", "conversation": conversation})
    assert (answer.status, code_of(answer)) == (423, "locked")


async def test_busy_names_the_run_that_answers(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        started = await anext(aiter(exchange.events()))
        conversation = started.json()["conversation"]
        answer = await as_alice.post("/chat/stream", {"query": "two", "conversation": conversation})
        assert (answer.status, code_of(answer)) == (409, "busy")
        assert answer.json()["error"]["run"] == started.run
        gemini.release()
        await exchange.all_events()
    assert await Message.objects.filter(role="user").acount() == 1


async def test_a_member_has_at_most_five_active_runs(as_alice: Client, settings: Any, alice: Any) -> None:
    from chat.actions import Ask, send_message
    from chat.runs.supervisor import supervisor

    supervisor.draining = True
    for n in range(5):
        await sync_to_async(send_message)(alice, Ask(query=f"{n}"), agents=["chat_assistant"])
    answer = await as_alice.post("/chat/stream", {"query": "six"})
    supervisor.draining = False
    assert (answer.status, code_of(answer)) == (429, "too_many")
    assert int(answer.headers["retry-after"]) >= 1
    assert await Run.objects.acount() == 5


async def test_limits_off_removes_the_limits(as_alice: Client, settings: Any, alice: Any) -> None:
    from chat.actions import Ask, send_message

    settings.LIMITS = False
    settings.RUNS_PER_MEMBER = 0
    run = await sync_to_async(send_message)(alice, Ask(query="x"), agents=["chat_assistant"])
    assert run.status == "queued"


async def test_a_draining_server_takes_no_question_and_is_not_ready(
    as_alice: Client, visitor: Client
) -> None:
    from chat.runs.supervisor import supervisor

    assert (await visitor.get("/readyz")).status == 200
    supervisor.draining = True
    answer = await as_alice.post("/chat/stream", {"query": "x"})
    ready = await visitor.get("/readyz")
    supervisor.draining = False
    assert (answer.status, code_of(answer)) == (503, "unavailable")
    assert answer.headers["retry-after"]
    assert ready.status == 503
    assert (await visitor.get("/healthz")).status == 200


async def test_a_question_without_a_database_gets_503_and_no_internals(
    as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly: host=secret.internal")

    monkeypatch.setattr("chat.actions.send_or_queue", away)
    answer = await as_alice.post("/chat/stream", {"query": "x"})
    assert (answer.status, code_of(answer)) == (503, "unavailable")
    assert "secret" not in answer.text
    assert answer.headers["retry-after"]


async def test_the_order_of_refusals(
    as_alice: Client, visitor: Client, as_bob: Client, gemini: Gemini, settings: Any
) -> None:
    """Each request is wrong in several ways. The answer is the first of them in the documented order."""
    settings.RUNS_PER_MEMBER = 1
    settings.STREAMS_PER_MEMBER = 1
    foreign = (await as_bob.ask("bob's"))[0].json()["conversation"]
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    text = {"content-type": "text/plain"}
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as exchange:
        started = await anext(aiter(exchange.events()))
        own = started.json()["conversation"]

        async def status(client: Client, body: Any, **kwargs: Any) -> int:
            return (await client.post("/chat/stream", body, **kwargs)).status

        assert await status(visitor, {"query": ""}, csrf=False, headers=text) == 401
        assert await status(as_alice, {"query": ""}, csrf=False, headers=text) == 403
        huge = b'{"query": "' + b"x" * 2_000_000
        assert (await as_alice.post("/chat/stream", body=huge, headers=text)).status == 415
        json_type = {"content-type": "application/json"}
        assert (await as_alice.post("/chat/stream", body=huge, headers=json_type)).status == 413
        assert await status(as_alice, {"query": "", "conversation": foreign, "x": 1}) == 400
        assert await status(as_alice, {"query": "", "conversation": foreign}) == 404
        assert await status(as_alice, {"query": "", "conversation": own}) == 422
        await Conversation.objects.filter(pk=own).aupdate(locked_at=timezone.now())
        assert await status(as_alice, {"query": "x", "conversation": own}) == 423
        await Conversation.objects.filter(pk=own).aupdate(locked_at=None)
        assert await status(as_alice, {"query": "x", "conversation": own}) == 409
        assert await status(as_alice, {"query": "x"}) == 429
        gemini.release()
        await exchange.all_events()


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
async def test_other_methods_are_not_allowed(as_alice: Client, method: str) -> None:
    for path in ("/chat/stream", f"/chat/runs/{uuid.uuid4()}/events", f"/chat/runs/{uuid.uuid4()}/stop"):
        assert (
            await as_alice.request(method, path, headers={"x-http-method-override": "POST"})
        ).status == 405
