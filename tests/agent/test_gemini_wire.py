"""The real ADK Gemini model and google-genai client, from the wire to the stored message.

Only the server is a fake (tests/support/gemini.py).
"""

import asyncio
from typing import Any

import pytest
from google.genai import types

from chat.agent.agents import catalog
from chat.agent.agents import gemini as account
from chat.models import Message, Run
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import (
    Block,
    Call,
    Cut,
    Drop,
    Failure,
    Finish,
    Gemini,
    InPieces,
    Raw,
    Status,
    Step,
    Text,
    Thought,
    closed_port,
    questions_of,
)
from tests.support.talk import Talk, use_tools

pytestmark = pytest.mark.any_database

STREAMED = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry as often as usual, with waits of 10 ms at most."""
    assert account.RETRIES.attempts == 3
    quick = account.RETRIES.model_copy(update={"initial_delay": 0.01, "max_delay": 0.01, "jitter": 0})
    monkeypatch.setattr(account, "RETRIES", quick)


@pytest.fixture
def talk(as_alice: Client) -> Talk:
    return Talk(as_alice)


async def outcome(talk: Talk, query: str, streamed: bool) -> tuple[str, str | None, str | None]:
    """Return the status, code and text of an answer as the client got it."""
    if streamed:
        said = await talk.ask(query)
        return said.end.removeprefix("run."), said.code, said.text if said.message else None
    answer = await talk.ask_whole(query)
    return answer["status"], answer["code"], answer["message"] and answer["message"]["text"]


def parts_sent(gemini: Gemini) -> list[dict[str, Any]]:
    """Return all parts of the newest request."""
    return [part for content in gemini.requests[-1]["contents"] for part in content["parts"]]


# --- text -----------------------------------------------------------------------------------------

ODD_TEXTS = {
    "emoji of several code points": ["👩‍👩", "‍👧 ", "e", "\u0301", " 🇳", "🇬"],
    "no spaces": ["量子", "力学は", "面白い。"],
    "right to left": ["مرح", "با \u200f", "\u202eabc"],
    "carriage returns": ["one\r\n", "\r", "\n two\t", " \n\n"],
    "line ends of Unicode": ["a\u2028b", "\u2029c", "\u0085", "d\u2028"],
    "frames of our own stream": ["data: [DONE]\n\n", "id: 7\nevent: run.completed\n\n", ": comment\n"],
    "JSON and HTML": ['{"text": "\\u0000\\"}', "<script>alert(1)</script>", "&amp;"],
    "chunks of white space": ["a", " ", "\n", "b"],
    "an empty chunk": ["a", "", "b"],
    "characters outside the BMP": ["𝔘𝔫𝔦", "\U0010fffd", "\ufeff"],
    "a separator of our own": ["\n\n", "a\n\n", "\n\nb"],
}


@STREAMED
@pytest.mark.parametrize("pieces", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
async def test_text_is_shown_and_stored_byte_for_byte(
    talk: Talk, gemini: Gemini, pieces: list[str], streamed: bool
) -> None:
    gemini.on("Say it", [Text(piece) for piece in pieces])
    text = "".join(pieces)
    assert await outcome(talk, "Say it", streamed) == ("completed", None, text)
    reply = await Message.objects.aget(role="assistant")
    assert reply.text == text and (await talk.reply())["text"] == text
    await talk.ask("Go on")
    assert questions_of(gemini.requests[-1])[1] == ("model", text)
    await oracle.acheck()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_a_chunk_may_arrive_in_pieces_of_any_size(talk: Talk, gemini: Gemini, size: int) -> None:
    text = "👩‍👩‍👧 – “量子”\u2028…\u0085é"
    gemini.on("Say it", [InPieces(Text(text), size), InPieces(Text(text), size)])
    said = await talk.ask("Say it")
    assert said.text == text * 2
    assert said.end == "run.completed"


@STREAMED
async def test_a_nul_becomes_a_replacement_character(talk: Talk, gemini: Gemini, streamed: bool) -> None:
    """PostgreSQL cannot store NUL, and the shown text must equal the stored one."""
    gemini.on("Say it", [Text("a\x00"), Text("\x00b")])
    assert await outcome(talk, "Say it", streamed) == ("completed", None, "a\ufffd\ufffdb")


async def test_a_lone_surrogate_becomes_a_replacement_character(talk: Talk, gemini: Gemini) -> None:
    part = rb'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"a\ud83d"}]},"index":0}]}'
    gemini.on("Say it", [Raw(part + b"\r\n\r\n"), Text("b")])
    said = await talk.ask("Say it")
    assert (said.end, said.text) == ("run.completed", "a\ufffdb")
    assert (await talk.reply())["text"] == "a\ufffdb"


async def test_a_chunk_of_5_mb_is_received_completely(talk: Talk, gemini: Gemini, settings: Any) -> None:
    settings.REPLY_MAX_BYTES = 8 * 1024 * 1024
    text = "é" * 2_500_000
    gemini.on("Say a lot", [Text(text), Text("!")])
    said = await talk.ask("Say a lot")
    assert said.end == "run.completed" and said.data["finish"] == "stop"
    assert said.text == text + "!"


@STREAMED
async def test_a_reply_over_the_limit_is_cut_at_a_character(
    talk: Talk, gemini: Gemini, settings: Any, streamed: bool
) -> None:
    settings.REPLY_MAX_BYTES = 11
    gemini.on("Say a lot", [Text("1234"), Text("ééééé"), Text("never shown")])
    assert await outcome(talk, "Say a lot", streamed) == ("completed", None, "1234ééé")
    run = await Run.objects.aget()
    assert (run.finish, run.bytes) == ("length", 10)
    await oracle.acheck()


# --- thoughts, tools, several model calls ---------------------------------------------------------


async def test_thoughts_are_shown_apart_from_the_text_and_never_sent_as_text(
    talk: Talk, gemini: Gemini
) -> None:
    gemini.on("Think", [Thought("Let me "), Thought("see."), Text("I "), Text("see.")])
    said = await talk.ask("Think")
    assert (said.thought, said.text) == ("Let me see.", "I see.")
    assert [item["type"] for item in (await talk.reply())["parts"]["items"]] == ["thought", "text"]
    await talk.ask("Go on")
    sent = gemini.requests[-1]["contents"][1]["parts"]
    assert [part["text"] for part in sent if not part.get("thought")] == ["I see."]


async def test_a_tool_is_called_and_its_result_reaches_the_model(talk: Talk, gemini: Gemini) -> None:
    gemini.on(
        "What is 2 + 3?",
        [Text("Let me "), Text("count."), Call("calculate", {"expression": "2 + 3"})],
        [Text("It is "), Text("5.")],
    )
    said = await talk.ask("What is 2 + 3?")
    assert [event.name for event in said.events if event.name] == [
        "run.started",
        "tool.called",
        "tool.returned",
        "run.completed",
    ]
    (called,), (returned,) = said.named("tool.called"), said.named("tool.returned")
    assert called.json() == {
        "id": called.json()["id"],
        "name": "calculate",
        "args": {"expression": "2 + 3"},
    }
    answer = returned.json()
    assert answer.pop("elapsed_ms") >= 0
    assert answer == {"id": called.json()["id"], "name": "calculate", "result": {"result": 5}}
    second = gemini.requests[1]["contents"]
    assert second[1]["parts"][0] == {"text": "Let me count."}
    assert second[1]["parts"][1]["functionCall"]["args"] == {"expression": "2 + 3"}
    assert second[2]["parts"][0]["functionResponse"]["response"] == {"result": 5}
    await oracle.acheck([said.events])


async def test_an_event_of_its_own_separates_the_texts_of_two_model_calls(talk: Talk, gemini: Gemini) -> None:
    gemini.on(
        "What is 2 + 3?",
        [Text("Let me count."), Call("calculate", {"expression": "2 + 3"})],
        [Text("It is "), Text("5.")],
    )
    said = await talk.ask("What is 2 + 3?")
    assert said.text == "Let me count.\n\nIt is 5."
    assert said.deltas()[:2] == ["Let me count.", "\n\n"]
    assert "".join(said.deltas()[2:]) == "It is 5."
    assert said.data["deltas"] == len(said.deltas())
    assert said.data["usage"] == {
        "input": 24,
        "output": 8,
        "thought": 0,
        "cached": 0,
        "total": 32,
        "calls": 2,
    }


async def test_no_separator_comes_before_the_first_text(talk: Talk, gemini: Gemini) -> None:
    gemini.on("What is 2 + 3?", [Call("calculate", {"expression": "2 + 3"})], [Text("5.")])
    assert (await talk.ask("What is 2 + 3?")).deltas() == ["5."]


@STREAMED
async def test_the_signature_of_a_call_is_sent_back_to_the_model(
    talk: Talk, gemini: Gemini, streamed: bool
) -> None:
    """Newer models refuse a conversation in which the signature of a call is missing."""
    call = Call("calculate", {"expression": "2 + 3"}, signature="AP/+/2Zha2U=")
    gemini.on("What is 2 + 3?", [Text("Wait."), call], [Text("5.")])
    await outcome(talk, "What is 2 + 3?", streamed)
    await outcome(talk, "And doubled?", streamed)
    assert len(gemini.requests) == 3
    for request in gemini.requests[1:]:
        (part,) = [part for part in request["contents"][1]["parts"] if "functionCall" in part]
        assert part.get("thoughtSignature", part.get("thought_signature")) == "AP_-_2Zha2U="


@STREAMED
async def test_text_tools_and_thoughts_are_stored_as_parts_in_order(
    talk: Talk, gemini: Gemini, streamed: bool
) -> None:
    gemini.on(
        "What is 2 + 3?",
        [Thought("Hm."), Text("Let me count."), Call("calculate", {"expression": "2 + 3"})],
        [Thought("Ah."), Text("It is 5.")],
    )
    await outcome(talk, "What is 2 + 3?", streamed)
    reply = await talk.reply()
    items = reply["parts"]["items"]
    assert [item["type"] for item in items] == ["thought", "text", "tool", "thought", "text"]
    assert {item["agent"] for item in items} == {"chat_assistant"}
    assert items[2]["name"] == "calculate" and items[2]["args"] == {"expression": "2 + 3"}
    assert items[2]["result"] == {"result": 5}
    assert reply["text"] == "Let me count.\n\nIt is 5."
    assert "".join(item["text"] for item in items if item["type"] == "text") == reply["text"]


async def test_parallel_tool_calls_each_get_their_result(talk: Talk, gemini: Gemini) -> None:
    calls = [Call("calculate", {"expression": f"{n} * 10"}) for n in (1, 2, 3)]
    gemini.on("Three at once", calls, [Text("Done.")])
    said = await talk.ask("Three at once")
    called = {event.json()["id"]: event.json()["args"]["expression"] for event in said.named("tool.called")}
    returned = {event.json()["id"]: event.json()["result"]["result"] for event in said.named("tool.returned")}
    assert sorted(called.values()) == ["1 * 10", "2 * 10", "3 * 10"]
    assert {called[key]: value for key, value in returned.items()} == {
        "1 * 10": 10,
        "2 * 10": 20,
        "3 * 10": 30,
    }


async def test_the_model_sees_an_error_for_an_unknown_tool(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Do magic", [Call("magic", {})], [Text("I cannot.")])
    said = await talk.ask("Do magic")
    assert (said.end, said.text) == ("run.completed", "I cannot.")
    (returned,) = said.named("tool.returned")
    assert "magic" in returned.json()["error"]
    (answer,) = [part["functionResponse"] for part in parts_sent(gemini) if "functionResponse" in part]
    assert answer["response"]["error"] == returned.json()["error"]


# --- context on the wire --------------------------------------------------------------------------


async def test_the_second_question_is_sent_with_the_whole_conversation(talk: Talk, gemini: Gemini) -> None:
    gemini.on(
        "What is 2 + 3?", [Text("Wait."), Call("calculate", {"expression": "2 + 3"})], [Text("It is 5.")]
    )
    await talk.ask("What is 2 + 3?")
    await talk.ask("And doubled?")
    contents = gemini.requests[-1]["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user", "model", "user"]
    assert contents[1]["parts"][0] == {"text": "Wait."}
    assert contents[1]["parts"][1]["functionCall"]["name"] == "calculate"
    assert contents[2]["parts"][0]["functionResponse"]["response"] == {"result": 5}
    assert questions_of(gemini.requests[-1]) == [
        ("user", "What is 2 + 3?"),
        ("model", "Wait."),
        ("model", "It is 5."),
        ("user", "And doubled?"),
    ]


async def test_other_conversations_are_not_sent(as_alice: Client, as_bob: Client, gemini: Gemini) -> None:
    await Talk(as_alice).ask("My secret is 42.")
    await Talk(as_bob).ask("What is the secret?")
    assert questions_of(gemini.requests[-1]) == [("user", "What is the secret?")]
    await Talk(as_alice).ask("A new conversation")
    assert questions_of(gemini.requests[-1]) == [("user", "A new conversation")]


async def test_an_answer_without_streaming_is_requested_from_the_model_whole(
    talk: Talk, gemini: Gemini
) -> None:
    answer = await talk.ask_whole("Hello there")
    assert answer["message"]["text"] == "You said: Hello there"
    assert answer["usage"] == {"input": 12, "output": 4, "thought": 0, "cached": 0, "total": 16, "calls": 1}
    assert [path.split("?")[0].rpartition(":")[2] for path in gemini.paths] == ["generateContent"]
    await talk.ask("And now streamed")
    assert gemini.paths[-1].endswith(":streamGenerateContent?alt=sse")
    assert questions_of(gemini.requests[-1])[1] == ("model", "You said: Hello there")


# --- faults ---------------------------------------------------------------------------------------

HALF = Text("Half ")
BROKEN = Raw(b"data: {oops\r\n\r\n")

# the model's answer, the run's code, and the text that the user saw
FAULTS: dict[str, tuple[list[Step], str, str | None]] = {
    "429": ([Status(429, "RESOURCE_EXHAUSTED")], "rate_limited", None),
    "500": ([Status(500, "INTERNAL")], "unavailable", None),
    "503": ([Status(503, "UNAVAILABLE")], "unavailable", None),
    "400": ([Status(400, "INVALID_ARGUMENT")], "model_error", None),
    "a wrong key": ([Status(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID")], "misconfigured", None),
    "401": ([Status(401, "UNAUTHENTICATED")], "misconfigured", None),
    "403": ([Status(403, "PERMISSION_DENIED")], "misconfigured", None),
    "404": ([Status(404, "NOT_FOUND")], "misconfigured", None),
    "dropped before anything": ([Drop()], "model_error", None),
    "cut before the first text": ([Cut()], "model_error", None),
    "empty": ([Finish("STOP")], "empty", None),
    "empty text": ([Text("")], "empty", None),
    "only white space": ([Text(" \n")], "empty", " \n"),
    "only a thought": ([Thought("Hm.")], "empty", ""),
    "safety before any text": ([Finish("SAFETY")], "blocked", None),
    "safety after some text": ([HALF, Finish("SAFETY")], "blocked", "Half "),
    "prohibited": ([HALF, Finish("PROHIBITED_CONTENT")], "blocked", "Half "),
    "prompt blocked": ([Block("PROHIBITED_CONTENT")], "blocked", None),
    "malformed call": ([Finish("MALFORMED_FUNCTION_CALL")], "bad_output", None),
    "an unknown reason before any text": ([Finish("BORED")], "model_error", None),
    "max tokens before any text": ([Finish("MAX_TOKENS")], "empty", None),
}
STREAM_FAULTS: dict[str, tuple[list[Step], str, str | None]] = {
    "cut mid-reply": ([HALF, Cut()], "model_error", "Half "),
    "malformed chunk": ([HALF, BROKEN], "bad_output", "Half "),
    "malformed first chunk": ([BROKEN], "bad_output", None),
    "a web page instead of a stream": ([Raw(b"<html>502</html>\r\n\r\n")], "bad_output", None),
    "an error mid-reply": ([HALF, Failure(503, "UNAVAILABLE")], "unavailable", "Half "),
    "too many requests mid-reply": ([HALF, Failure(429, "RESOURCE_EXHAUSTED")], "rate_limited", "Half "),
}
WHOLE_FAULTS: dict[str, tuple[list[Step], str, str | None]] = {
    "cut": ([HALF, Cut()], "model_error", None),
    "malformed body": ([Raw(b'{"candidates": oops')], "bad_output", None),
    "a web page instead of JSON": ([Raw(b"<html>502</html>")], "bad_output", None),
    "a list instead of an object": ([Raw(b"[1, 2]")], "empty", None),
    "wrong types": ([Raw(b'{"candidates": [{"content": 7}]}')], "bad_output", None),
}


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("reason", ["BORED", "OTHER"])
@pytest.mark.filterwarnings("ignore:BORED is not a valid FinishReason")
async def test_an_answer_with_an_unknown_finish_reason_is_complete(
    talk: Talk, gemini: Gemini, reason: str, streamed: bool
) -> None:
    gemini.on("Hello", [Text("Hello "), Text("to you."), Finish(reason)])
    assert await outcome(talk, "Hello", streamed) == ("completed", None, "Hello to you.")
    assert await Run.objects.values_list("finish", flat=True).aget() == "stop"


async def check_fault(
    talk: Talk,
    gemini: Gemini,
    streamed: bool,
    steps: list[Step],
    code: str,
    shown: str | None,
) -> None:
    gemini.on("Fail", steps)
    assert await outcome(talk, "Fail", streamed) == ("failed", code, shown)
    run = await Run.objects.select_related("reply").aget()
    assert (run.status, run.code) == ("failed", code)
    assert (run.reply.text if run.reply else None) == shown
    # the conversation continues, and the model sees the text that the user saw
    said = await talk.ask("Go on")
    assert (said.end, said.text) == ("run.completed", "You said: Go on")
    seen = [("model", shown)] if shown else []
    assert questions_of(gemini.requests[-1]) == [("user", "Fail"), *seen, ("user", "Go on")]
    await oracle.acheck([said.events])


@STREAMED
@pytest.mark.filterwarnings("ignore:BORED is not a valid FinishReason")
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_model_ends_the_run_with_its_code(
    talk: Talk, gemini: Gemini, fault: str, streamed: bool
) -> None:
    await check_fault(talk, gemini, streamed, *FAULTS[fault])


@pytest.mark.parametrize("fault", STREAM_FAULTS)
async def test_a_fault_in_the_stream_ends_the_run_with_its_code_and_keeps_the_text(
    talk: Talk, gemini: Gemini, fault: str
) -> None:
    await check_fault(talk, gemini, True, *STREAM_FAULTS[fault])


@pytest.mark.parametrize("fault", WHOLE_FAULTS)
async def test_a_fault_in_the_whole_answer_ends_the_run_with_its_code(
    talk: Talk, gemini: Gemini, fault: str
) -> None:
    await check_fault(talk, gemini, False, *WHOLE_FAULTS[fault])


@STREAMED
async def test_a_refused_connection_fails_the_run_with_code_unavailable(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", f"http://127.0.0.1:{closed_port()}")
    await catalog.close()  # clients are built at the start
    assert await outcome(talk, "Anybody?", streamed) == ("failed", "unavailable", None)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", gemini.url)
    await catalog.close()
    assert (await talk.ask("Now?")).text == "You said: Now?"
    assert questions_of(gemini.requests[-1]) == [("user", "Anybody?"), ("user", "Now?")]


@STREAMED
async def test_the_models_token_limit_completes_the_run(talk: Talk, gemini: Gemini, streamed: bool) -> None:
    gemini.on("Say a lot", [Text("As far "), Text("as I"), Finish("MAX_TOKENS")])
    assert await outcome(talk, "Say a lot", streamed) == ("completed", None, "As far as I")
    assert (await Run.objects.aget()).finish == "max_tokens"


async def test_a_failed_run_shows_a_sentence_and_not_the_models_message(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Fail", [Status(429, "RESOURCE_EXHAUSTED")])
    said = await talk.ask("Fail")
    assert said.data["detail"] == "The model is asked too often at the moment. Try again in a little while."
    assert said.data["retryable"] is True
    assert b"as scripted" not in b"".join(event.data.encode() for event in said.events)


async def test_a_wrong_key_names_its_setting(
    talk: Talk, gemini: Gemini, caplog: pytest.LogCaptureFixture
) -> None:
    gemini.on(
        "Hello", [Status(400, "INVALID_ARGUMENT", message="API key not valid.", reason="API_KEY_INVALID")]
    )
    said = await talk.ask("Hello")
    assert (said.code, said.data["retryable"]) == ("misconfigured", False)
    failure = (await Run.objects.aget()).failure
    assert failure and "check GOOGLE_API_KEY." in failure["message"] and "not valid" in failure["message"]
    assert "check GOOGLE_API_KEY." in caplog.text


@STREAMED
async def test_an_endless_tool_loop_ends_at_25_model_calls(
    talk: Talk, gemini: Gemini, streamed: bool
) -> None:
    gemini.on("Loop", [Call("calculate", {"expression": "1 + 1"})])
    assert await outcome(talk, "Loop", streamed) == ("failed", "limit", "")
    assert gemini.calls_for("Loop") == 25
    assert (await Run.objects.aget()).usage_calls == 25
    assert (await talk.ask("Go on")).text == "You said: Go on"
    sent = parts_sent(gemini)
    assert sum("functionCall" in part for part in sent) == 25
    assert sum("functionResponse" in part for part in sent) == 25


# --- retries --------------------------------------------------------------------------------------


@STREAMED
@pytest.mark.parametrize("fault", [Status(429, "RESOURCE_EXHAUSTED"), Status(503, "UNAVAILABLE")])
async def test_a_busy_model_is_asked_again_before_the_first_token(
    talk: Talk, gemini: Gemini, fault: Status, streamed: bool
) -> None:
    gemini.on("Are you there?", [fault], [fault], [Text("Yes.")])
    assert await outcome(talk, "Are you there?", streamed) == ("completed", None, "Yes.")
    assert gemini.calls_for("Are you there?") == 3


@pytest.mark.parametrize("fault", [Cut(), BROKEN, Failure(503, "UNAVAILABLE"), Failure(429, "X")])
async def test_a_model_is_not_asked_again_after_the_first_token(
    talk: Talk, gemini: Gemini, fault: Step
) -> None:
    gemini.on("Are you there?", [HALF, fault], [Text("Never shown.")])
    said = await talk.ask("Are you there?")
    assert (said.end, said.text) == ("run.failed", "Half ")
    assert gemini.calls_for("Are you there?") == 1


async def test_a_request_that_the_model_refuses_is_not_repeated(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Nonsense", [Status(400, "INVALID_ARGUMENT")], [Text("Never shown.")])
    assert (await talk.ask("Nonsense")).code == "model_error"
    assert gemini.calls_for("Nonsense") == 1


async def test_a_retry_of_the_second_model_call_does_not_repeat_the_tool(talk: Talk, gemini: Gemini) -> None:
    gemini.on(
        "What is 2 + 3?",
        [Call("calculate", {"expression": "2 + 3"})],
        [Status(503, "UNAVAILABLE")],
        [Text("It is 5.")],
    )
    said = await talk.ask("What is 2 + 3?")
    assert (said.end, said.text) == ("run.completed", "It is 5.")
    assert len(said.named("tool.called")) == 1 and gemini.calls_for("What is 2 + 3?") == 3


# --- tools that fail ------------------------------------------------------------------------------


def raises(place: str) -> dict[str, Any]:
    """Raise an error."""
    raise OSError(f"no route to {place}")


async def hangs(place: str) -> dict[str, Any]:
    """Never return."""
    await asyncio.sleep(3600)
    return {}


def gives_an_object(place: str) -> Any:
    """Return values that are not JSON."""
    return {"place": place, "infinite": float("inf"), "object": types, "half": "\ud83d"}


@STREAMED
async def test_a_tool_that_raises_gives_an_error_and_the_run_completes(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    await use_tools(monkeypatch, raises)
    gemini.on("Look", [Call("raises", {"place": "Lagos"})], [Text("I could not look.")])
    assert await outcome(talk, "Look", streamed) == ("completed", None, "I could not look.")
    error = "OSError: no route to Lagos"
    (answer,) = [part["functionResponse"] for part in parts_sent(gemini) if "functionResponse" in part]
    assert answer["response"] == {"error": error}
    (item,) = [item for item in (await talk.reply())["parts"]["items"] if item["type"] == "tool"]
    assert item["error"] == error and "result" not in item


async def test_a_tool_that_hangs_gives_an_error_after_its_time_limit(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.TOOL_SECONDS = 0.2
    await use_tools(monkeypatch, hangs)
    gemini.on("Look", [Call("hangs", {"place": "Lagos"})], [Text("I could not look.")])
    said = await talk.ask("Look")
    assert (said.end, said.text) == ("run.completed", "I could not look.")
    (returned,) = said.named("tool.returned")
    assert returned.json()["error"] == "hangs did not answer within 0.2 s."
    assert 200 <= returned.json()["elapsed_ms"] < 2000


async def test_a_result_that_is_not_json_is_converted_to_json(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    await use_tools(monkeypatch, gives_an_object)
    gemini.on("Look", [Call("gives_an_object", {"place": "Lagos"})], [Text("I looked.")])
    said = await talk.ask("Look")
    assert (said.end, said.text) == ("run.completed", "I looked.")
    result = {"place": "Lagos", "infinite": "inf", "object": repr(types), "half": "\ufffd"}
    (returned,) = said.named("tool.returned")
    assert returned.json()["result"] == result
    (answer,) = [part["functionResponse"] for part in parts_sent(gemini) if "functionResponse" in part]
    assert answer["response"] == result
    await oracle.acheck([said.events])


# --- settings on the wire -------------------------------------------------------------------------


async def test_the_default_settings_reach_the_model(talk: Talk, gemini: Gemini) -> None:
    await talk.ask("Hello")
    assert gemini.paths[-1] == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert gemini.headers[-1]["x-goog-api-key"] == "not-a-key"
    body = gemini.requests[-1]
    config = body["generationConfig"]
    assert config["temperature"] == 0.7
    assert config.get("maxOutputTokens", config.get("max_output_tokens")) == 2048
    (part,) = body["systemInstruction"]["parts"]
    assert part["text"].startswith("You are a helpful, friendly assistant engaging in natural conversation.")
    assert 'Your internal name is "chat_assistant"' in part["text"]
    declared = [each["name"] for each in body["tools"][0]["functionDeclarations"]]
    assert declared == ["current_time", "calculate", "days_between"]


async def test_changed_settings_reach_the_model(talk: Talk, gemini: Gemini, settings: Any) -> None:
    settings.CHAT_MODEL = "gemini-9-mini"
    settings.AGENT_TEMPERATURE = 0.1
    settings.AGENT_MAX_OUTPUT_TOKENS = 99
    settings.AGENT_SHOWS_THOUGHTS = False
    settings.AGENT_INSTRUCTION = 'Answer {briefly} as {"json": [1]} and {user:name?}.'
    settings.GOOGLE_API_KEY = "another-key"
    await catalog.close()
    said = await talk.ask("Hello")
    assert said.end == "run.completed"
    assert gemini.paths[-1].startswith("/v1beta/models/gemini-9-mini:")
    assert gemini.headers[-1]["x-goog-api-key"] == "another-key"
    body = gemini.requests[-1]
    config = body["generationConfig"]
    assert config["temperature"] == 0.1
    assert config.get("maxOutputTokens", config.get("max_output_tokens")) == 99
    assert "thinkingConfig" not in config and "thinking_config" not in config
    (part,) = body["systemInstruction"]["parts"]
    assert part["text"].startswith(settings.AGENT_INSTRUCTION)


async def test_the_agents_name_is_a_setting(as_alice: Client, gemini: Gemini, settings: Any) -> None:
    settings.AGENT_NAME = "librarian"
    await catalog.close()
    talk = Talk(as_alice)
    said = await talk.ask("Hello")
    assert said.end == "run.completed"
    assert said.events[0].json()["agent"] == "librarian"
    assert (await talk.reply())["agent"] == "librarian"
    assert 'Your internal name is "librarian"' in gemini.requests[-1]["systemInstruction"]["parts"][0]["text"]


async def test_a_question_to_an_agent_that_is_gone_fails_as_unavailable(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    await talk.ask("Hello")
    settings.AGENT_NAME = "librarian"
    await catalog.close()
    said = await talk.ask("Still there?")
    assert (said.end, said.code) == ("run.failed", "unavailable")
    settings.AGENT_NAME = "chat_assistant"
    await catalog.close()
    await talk.ask("And now?")
    assert [text for _role, text in questions_of(gemini.requests[-1])] == [
        "Hello",
        "You said: Hello",
        "Still there?",
        "And now?",
    ]


async def test_the_transport_is_httpx_even_if_aiohttp_is_installed(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library aiohttp would count the whole stream against its time-out, and retry by its own rules."""
    from google.genai import _api_client

    monkeypatch.setattr(_api_client, "has_aiohttp", True)
    assert (await talk.ask("Hello")).text == "You said: Hello"
    assert (await talk.ask_whole("Hello"))["message"]["text"] == "You said: Hello"
    agent: Any = catalog.runner_of("chat_assistant").agent
    client = agent.model.api_client._api_client
    assert not client._use_aiohttp()
    timeout = client._async_httpx_client.timeout
    assert (timeout.connect, timeout.read) == (10, None)  # deadlines are set in the run's execution


async def test_answers_are_not_compressed(talk: Talk, gemini: Gemini) -> None:
    """Line ends could not be escaped in compressed bytes."""
    await talk.ask("Hello")
    assert gemini.headers[-1]["accept-encoding"] == "identity"


async def test_vertex_is_used_if_the_settings_say_so(
    talk: Talk, gemini: Gemini, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", gemini.url)
    monkeypatch.setenv("GOOGLE_API_KEY", "not-a-key")
    settings.USE_VERTEX = True
    await catalog.close()
    assert (await talk.ask("Hello")).text == "You said: Hello"
    assert gemini.paths[-1] == (
        "/v1beta1/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    )
