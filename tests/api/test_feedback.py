"""Feedback on replies: PUT /api/v1/messages/<message>/feedback, and the page's forms."""

from typing import Any

import pytest

from chat.models import Message
from tests.support.client import Answer, Client
from tests.support.pages import ask, see, settled, submit


async def asked(client: Client) -> tuple[str, str]:
    """Return the ids of a question and of its reply."""
    await client.ask("one")
    question, reply = [str(message.pk) async for message in Message.objects.order_by("created_at", "id")]
    return question, reply


async def put(client: Client, message: str, **body: Any) -> Answer:
    return await client.request("PUT", f"/api/v1/messages/{message}/feedback", json_body=body)


async def read_feedback(client: Client) -> Any:
    conversation = (await client.get("/api/v1/conversations")).json()["items"][0]["id"]
    read = (await client.get(f"/api/v1/conversations/{conversation}")).json()
    return read["messages"]["items"][-1]["feedback"]


async def test_feedback_is_stored_and_read_back(as_alice: Client) -> None:
    _question, reply = await asked(as_alice)
    given = {"value": -1, "reasons": ["wrong", "other"], "text": "It is 43."}
    for _time in range(2):
        answer = await put(as_alice, reply, **given)
        assert (answer.status, answer.json()) == (200, given)
        assert await read_feedback(as_alice) == given


async def test_null_removes_feedback(as_alice: Client) -> None:
    _question, reply = await asked(as_alice)
    await put(as_alice, reply, value=-1, reasons=["wrong"], text="no")
    assert (await put(as_alice, reply, value=None)).status == 200
    assert await read_feedback(as_alice) is None
    stored = await Message.objects.aget(pk=reply)
    assert (stored.feedback_at, stored.feedback_detail) == (None, None)


async def test_a_question_has_no_feedback(as_alice: Client) -> None:
    question, _reply = await asked(as_alice)
    assert (await put(as_alice, question, value=1)).status == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"value": 2}, 400, "malformed"),
        ({"value": "1"}, 400, "malformed"),
        ({"value": 1, "reasons": ["ugly"]}, 400, "malformed"),
        ({"value": 1, "reasons": "wrong"}, 400, "malformed"),
        ({"value": 1, "text": 1}, 400, "malformed"),
        ({"value": 1, "stars": 5}, 400, "malformed"),
        ({"value": 1, "text": "x" * 2001}, 422, "too_long"),
    ],
)
async def test_other_feedback_is_refused(
    as_alice: Client, body: dict[str, Any], status: int, code: str
) -> None:
    _question, reply = await asked(as_alice)
    answer = await put(as_alice, reply, **body)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert await read_feedback(as_alice) is None


async def test_the_pressed_thumb_of_a_page_removes_its_feedback(as_alice: Client) -> None:
    path = await ask(as_alice, "one")
    for expected in ({"value": 1, "reasons": [], "text": ""}, None):
        page = await settled(as_alice, path)
        thumb = next(each for each in page.all("button", class_="rate") if each.words == "Good answer")
        assert thumb["aria-pressed"] == ("true" if expected is None else "false")
        form = page.one("form", id="feedback")
        answer = await as_alice.post(
            thumb["formaction"], form=form.fields() | {"value": thumb["value"]}, csrf=False
        )
        assert answer.status == 303
        assert await read_feedback(as_alice) == expected


async def test_a_bad_answer_is_asked_for_reasons_by_a_form(as_alice: Client) -> None:
    path = await ask(as_alice, "one")
    page = await settled(as_alice, path)
    thumb = next(each for each in page.all("button", class_="rate") if each.words == "Bad answer")
    fields = page.one("form", id="feedback").fields() | {"value": thumb["value"]}
    answer = await as_alice.post(thumb["formaction"], form=fields, csrf=False)
    form = (await see(as_alice, answer.headers["location"].split("#")[0])).one("form", class_="feedback-form")
    kept = {name: value for name, value in form.fields().items() if name in ("csrfmiddlewaretoken", "value")}
    fields = kept | {"length": "on", "text": "Too long."}
    assert (await as_alice.post(form["action"], form=fields, csrf=False)).status == 303
    assert await read_feedback(as_alice) == {"value": -1, "reasons": ["length"], "text": "Too long."}
    assert (await submit(as_alice, form, path, value="5")).status == 400
