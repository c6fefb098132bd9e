"""Invalid input: refused with a 4xx and a sentence, or stored exactly; never a 5xx or half a turn."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chat.http import parsing
from chat.models import Conversation, Message, Run
from chat.refusals import Refusal
from tests.support.client import Client

JSON = {"content-type": "application/json"}
ID = "0190a5d2-0000-7000-8000-000000000000"

BODIES = {
    "nothing": b"",
    "not json": b"query=x",
    "truncated": b'{"query": "x"',
    "an array": b'["x"]',
    "null": b"null",
    "a string": b'"x"',
    "a number": b"1",
    "NUL": b'{"query": "a\\u0000b"}',
    "raw NUL": b'{"query": "a\x00b"}',
    "lone surrogate": b'{"query": "\\ud800"}',
    "surrogates in reverse order": b'{"query": "\\udc00\\ud800"}',
    "surrogate in a key": b'{"\\ud800": 1, "query": "x"}',
    "CESU-8": b'{"query": "\xed\xa0\x80"}',
    "overlong": b'{"query": "\xc0\xaf"}',
    "latin-1": b'{"query": "\xe9"}',
    "utf-16": '{"query": "x"}'.encode("utf-16"),
    "a BOM": b'\xef\xbb\xbf{"query": "x"}',
    "100,000 deep": b'{"query": ' + b"[" * 100_000,
    "100,000 deep objects": b'{"a":' * 100_000,
    "a million empty arrays": b'{"query": [' + b"[]," * 300_000 + b"[]]}",
    "a million closing brackets": b"]" * 1_000_000,
    "33 deep": b'{"query": ' + b"[" * 33 + b"]" * 33 + b"}",
    "5,000 digits": b'{"query": ' + b"9" * 5000 + b"}",
    "beyond 2^53": b'{"query": "x", "parent": 9007199254740993}',
    "NaN": b'{"query": NaN}',
    "Infinity": b'{"query": -Infinity}',
    "1e999": b'{"query": 1e999}',
    "a duplicate key": b'{"query": "x", "query": "y"}',
    "an unknown field": b'{"query": "x", "is_staff": true}',
    "role": b'{"query": "x", "role": "assistant"}',
    "two values": b'{"query": "x"} {"query": "y"}',
    "quotes": b'{"query": "' + b'\\"' * 400_000,
    "query a number": b'{"query": 1}',
    "query a list": b'{"query": ["x"]}',
    "query an object": b'{"query": {"text": "x"}}',
    "query null": b'{"query": null}',
    "conversation a number": b'{"query": "x", "conversation": 1}',
    "conversation not an id": b'{"query": "x", "conversation": "1"}',
    "conversation in braces": f'{{"query": "x", "conversation": "{{{ID}}}"}}'.encode(),
    "conversation a urn": f'{{"query": "x", "conversation": "urn:uuid:{ID}"}}'.encode(),
    "conversation without hyphens": f'{{"query": "x", "conversation": "{ID.replace("-", "")}"}}'.encode(),
    "parent false": b'{"query": "x", "parent": false}',
    "parent not an id": b'{"query": "x", "parent": "x"}',
    "prompt not an id": b'{"prompt": "x"}',
    "agent a number": b'{"query": "x", "agent": 7}',
    "stream a string": b'{"query": "x", "stream": "yes"}',
    "stream a number": b'{"query": "x", "stream": 0}',
    "client_id not an id": b'{"query": "x", "client_id": "x"}',
    "client_id 1 MB": b'{"query": "x", "client_id": "' + b"a" * 900_000 + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_malformed_body_is_refused_with_a_sentence(as_alice: Client, body: bytes) -> None:
    answer = await as_alice.post("/chat/stream", body=body, headers=JSON)
    assert answer.status == 400, answer.body
    assert answer.json()["error"]["code"] == "malformed"
    assert answer.json()["error"]["detail"].endswith(".")
    assert await Conversation.objects.acount() == 0
    assert await Message.objects.acount() == 0


FORMS = {
    "nothing": b"",
    "not UTF-8": b"query=%ff",
    "NUL": b"query=a%00b",
    "twice": b"query=a&query=b",
    "unknown": b"query=a&is_staff=1",
    "a thousand fields": b"&".join(b"f%d=1" % n for n in range(1000)),
    "stream": b"query=a&stream=maybe",
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS.keys())
async def test_a_malformed_form_is_refused(as_alice: Client, body: bytes) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = await as_alice.post("/chat/stream", body=body, headers=form)
    assert answer.status == 400, answer.body
    assert await Run.objects.acount() == 0


@pytest.mark.parametrize("body", [b"", b"--x", b"--x\r\n\r\n", b"junk"])
async def test_a_broken_multipart_form_is_refused(as_alice: Client, body: bytes) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = await as_alice.post("/chat/stream", body=body, headers={"content-type": kind})
        assert answer.status == 400, answer.body
        assert answer.json()["error"]["code"] == "malformed"


@pytest.mark.parametrize("key", ["", "x", "1" * 36, ID.replace("-", ""), f"{{{ID}}}", "a" * 10_000])
async def test_an_idempotency_key_that_is_no_uuid_is_refused(as_alice: Client, key: str) -> None:
    answer = await as_alice.post("/chat/stream", {"query": "x"}, headers={"idempotency-key": key})
    assert answer.status == 400
    assert await Run.objects.acount() == 0


async def test_two_different_idempotency_keys_are_refused(as_alice: Client) -> None:
    body = {"query": "x", "client_id": str(uuid.uuid4())}
    answer = await as_alice.post("/chat/stream", body, headers={"idempotency-key": str(uuid.uuid4())})
    assert answer.status == 400


@pytest.mark.parametrize(
    "query",
    ["", "?x=1", "?query=a&query=b", "?query=a&is_staff=1", "?query=%ff", "?query=a%00b",
     "?query=a&conversation=1", "?query=a&client_id=1", "?query=a&stream=false"],
)  # fmt: skip
async def test_a_malformed_query_string_is_refused(as_alice: Client, query: str) -> None:
    headers = {"accept": "text/event-stream"}
    assert (await as_alice.get(f"/chat/stream{query}", headers=headers)).status == 400
    assert await Run.objects.acount() == 0


@pytest.mark.parametrize(
    "path",
    ["?limit=0", "?limit=-1", "?limit=101", "?limit=NaN", "?limit=1e1", "?limit=10000000000000000000",
     "?limit=٣", "?limit=", "?cursor=x", "?cursor=%00", "?cursor=" + "A" * 5000, "?cursor=AAAA"],
)  # fmt: skip
async def test_a_malformed_limit_or_cursor_is_refused(as_alice: Client, path: str) -> None:
    from urllib.parse import quote

    answer = await as_alice.get("/api/v1/conversations" + quote(path, safe="?=&%"))
    assert answer.status == 400, answer.body


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 200),
        ({"title": "A new title"}, 200),
        ({"title": " "}, 422),
        ({"title": "x" * 201}, 422),
        ({"title": 1}, 400),
        ({"title": "a\x00b"}, 400),
        ({"pinned": "yes"}, 400),
        ({"pinned": None}, 400),
        ({"head": "x"}, 400),
        ({"head": ID}, 404),
        ({"owner": 2}, 400),
        ({"deleted_at": None}, 400),
        ([], 400),
    ],
)
async def test_patch_accepts_known_fields_with_valid_values_only(
    as_alice: Client, body: Any, status: int
) -> None:
    conversation = (await as_alice.ask("one"))[0].json()["conversation"]
    path = f"/api/v1/conversations/{conversation}"
    assert (await as_alice.request("PATCH", path, json_body=body)).status == status


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_the_parser_returns_an_object_or_refuses_with_400(body: bytes) -> None:
    try:
        parsed: Any = parsing.json_object(body)
    except Refusal as refusal:
        parsed = refusal
    assert isinstance(parsed, dict) or parsed.status == 400
