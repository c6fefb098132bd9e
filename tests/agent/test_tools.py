"""The built-in agent's tools: their answers, and their failures, which must not harm a run."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from chat import events
from chat.agent.agents.tools import built_in, calculate, current_time, days_between
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text
from tests.support.talk import Said, Talk, use_tools


@pytest.fixture
def talk(as_alice: Client) -> Talk:
    return Talk(as_alice)


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "zone"),
    [
        ("Lagos", "Africa/Lagos"),
        ("new york", "America/New_York"),
        ("  São Paulo".replace("ã", "a"), "America/Sao_Paulo"),
        ("Europe/Paris", "Europe/Paris"),
        ("europe/PARIS", "Europe/Paris"),
        ("UTC", "UTC"),
        ("Port-au-Prince", "America/Port-au-Prince"),
    ],
)
def test_the_time_is_given_for_a_city_or_a_time_zone(place: str, zone: str) -> None:
    answer = current_time(place)
    assert (answer["place"], answer["time_zone"]) == (place, zone)
    told = datetime.fromisoformat(f"{answer['date']}T{answer['time']}").replace(tzinfo=ZoneInfo(zone))
    assert 0 <= (datetime.now(UTC) - told).total_seconds() < 120


@pytest.mark.parametrize(
    "place", ["Atlantis", "", " ", "../../etc/passwd", "/etc/localtime", "Africa/", "\x00"]
)
def test_a_place_without_a_known_time_is_an_error(place: str) -> None:
    assert current_time(place) == {"error": f"No time zone is known for {place!r}."}


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("2 + 3", 5),
        (" (3 + 4) * 12.5 ", 87.5),
        ("-7 // 2", -4),
        ("7 % 4", 3),
        ("--1", 1),
        ("1e3", 1000.0),
        ("99999999999 * 99999999999", 99999999999**2),
        ("-" * 150 + "1", 1),
        ("(" * 90 + "1" + ")" * 90, 1),
    ],
)
def test_arithmetic_is_calculated(expression: str, result: float) -> None:
    assert calculate(expression) == {"result": result}


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "2 +",
        "1 / 0",
        "1 % 0",
        "2 ** 99",
        "1e308 * 10",
        "1e999",
        "1e999 - 1e999",
        "__import__('os').system('true')",
        "open('/etc/passwd')",
        "'a' * 9",
        "True + 1",
        "1j",
        "[1][0]",
        "1 if 1 else 2",
        "x",
        "2 + 3\n4",
        "\x00",
        "1" * 201,
        "(" * 190,
    ],
)
def test_calculate_answers_other_expressions_with_an_error(expression: str) -> None:
    answer = calculate(expression)
    assert set(answer) == {"error"} and answer["error"]


def test_the_longest_result_is_short_valid_json() -> None:
    longest = calculate("9" * 66 + "*" + "9" * 66 + "*" + "9" * 66)
    assert len(json.dumps(longest, allow_nan=False)) < 250


def test_days_are_counted_from_one_date_to_another() -> None:
    assert days_between("2026-01-31", "2026-12-24") == {"days": 327}
    assert days_between("2024-03-01", "2024-02-28") == {"days": -2}
    assert set(days_between("yesterday", "2026-12-24")) == {"error"}


def test_the_model_receives_each_tools_parameters() -> None:
    for tool in built_in():
        declared = tool._get_declaration()
        assert declared is not None and declared.description
        schema = declared.parameters_json_schema
        assert schema and set(schema["required"]) == set(schema["properties"])


# --- failures -------------------------------------------------------------------------------------


async def stubborn(place: str) -> dict[str, Any]:
    """Ignore cancellation for 3 s."""
    clock = asyncio.get_running_loop().time
    end = clock() + 3
    while clock() < end:
        try:
            await asyncio.sleep(end - clock())
        except asyncio.CancelledError:
            continue
    return {}


async def impatient(place: str) -> dict[str, Any]:
    """Raise a time-out of its own."""
    raise TimeoutError("the weather office is closed")


async def late(place: str) -> dict[str, Any]:
    """Raise an error after the run has stopped waiting."""
    try:
        await asyncio.sleep(3600)
    finally:
        raise ValueError("too late")


async def test_an_uncancellable_tool_does_not_delay_its_run(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.TOOL_SECONDS = 0.2
    await use_tools(monkeypatch, stubborn)
    gemini.on("Look", [Call("stubborn", {"place": "Lagos"})], [Text("I could not look.")])
    said = await talk.ask("Look")
    assert (said.end, said.text) == ("run.completed", "I could not look.")
    assert said.named("tool.returned")[0].json()["error"] == "stubborn did not answer within 0.2 s."
    assert said.data["duration_ms"] < 2000


async def test_an_uncancellable_tool_does_not_delay_a_stop(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    await use_tools(monkeypatch, stubborn)
    gemini.on("Look", [Call("stubborn", {"place": "Lagos"})], [Text("Never.")])
    async with talk.client.open("POST", "/chat/stream", json_body={"query": "Look"}) as exchange:
        events = await exchange.until("tool.called")
        answer = await talk.client.post(f"/chat/runs/{events[0].run}/stop")
        assert answer.json()["status"] == "stopped"
        events += await exchange.all_events()
    assert Said(events).end == "run.stopped"
    assert Said(events).data["duration_ms"] < 2000


async def test_a_tools_own_timeout_error_is_an_error_like_any_other(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    await use_tools(monkeypatch, impatient)
    gemini.on("Look", [Call("impatient", {"place": "Lagos"})], [Text("It is closed.")])
    said = await talk.ask("Look")
    assert said.end == "run.completed"
    assert said.named("tool.returned")[0].json()["error"] == "TimeoutError: the weather office is closed"


async def test_an_error_that_a_tool_raises_after_its_time_out_is_not_logged(
    talk: Talk,
    gemini: Gemini,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.TOOL_SECONDS = 0.1
    await use_tools(monkeypatch, late)
    gemini.on("Look", [Call("late", {"place": "Lagos"})], [Text("I could not look.")])
    said = await talk.ask("Look")
    assert said.named("tool.returned")[0].json()["error"] == "late did not answer within 0.1 s."
    assert "too late" not in caplog.text


async def test_the_model_sees_wrong_arguments_as_an_error(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Look", [Call("current_time", {"town": "Lagos"})], [Text("I ask again.")])
    said = await talk.ask("Look")
    assert (said.end, said.text) == ("run.completed", "I ask again.")
    assert "place" in said.named("tool.returned")[0].json()["error"]


# --- large arguments and results ------------------------------------------------------------------

MEGABYTES = "0123456789" * 2_000_000


def fetch_all(note: str) -> dict[str, Any]:
    """Return 20 MB."""
    return {"rows": MEGABYTES}


def fail_at_length() -> None:
    """Raise an exception whose message has 20 MB."""
    raise ValueError(MEGABYTES)


async def test_a_result_of_20_mb_is_cut_where_it_is_shown_and_whole_for_the_model(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    await use_tools(monkeypatch, fetch_all)
    gemini.on("All", [Call("fetch_all", {"note": "é" * 1_000_000})], [Text("Done.")])
    talk = Talk(as_alice)
    said = await talk.ask("All")
    assert (said.end, said.text) == ("run.completed", "Done.")
    (called,), (returned,) = said.named("tool.called"), said.named("tool.returned")
    assert called.json()["args_size"] == len(
        json.dumps({"note": "é" * 1_000_000}, ensure_ascii=False).encode()
    )
    assert set(called.json()["args"]["note"]) == {"é"}
    assert returned.json()["size"] == len(json.dumps({"rows": MEGABYTES}))
    assert MEGABYTES.startswith(returned.json()["result"]["rows"])
    for event in said.events:
        assert len(event.data.encode()) < 34_000
    (part,) = gemini.requests[-1]["contents"][-1]["parts"]
    assert part["functionResponse"]["response"]["rows"] == MEGABYTES, "the model has the whole result"

    (item, _text) = (await talk.reply())["parts"]["items"]
    assert item["args"] == called.json()["args"] and item["result"] == returned.json()["result"]
    assert (item["args_size"], item["size"]) == (called.json()["args_size"], returned.json()["size"])
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert "Cut off here. The whole has 2000 KB." in page
    assert "Cut off here. The whole has 20000 KB." in page
    for kind in ("json", "markdown"):
        export = await as_alice.get(f"/api/v1/conversations/{talk.conversation}/export?format={kind}")
        assert export.status == 200 and len(export.body) < 150_000
    assert len(page) < 300_000


async def test_a_long_error_is_cut_with_its_size(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    await use_tools(monkeypatch, fail_at_length)
    gemini.on("Fail", [Call("fail_at_length")], [Text("It failed.")])
    said = await Talk(as_alice).ask("Fail")
    (returned,) = said.named("tool.returned")
    assert f"ValueError: {MEGABYTES}".startswith(returned.json()["error"])
    assert 32_000 < len(returned.json()["error"]) <= 32 * 1024
    assert returned.json()["size"] > 20_000_000


async def test_a_small_result_has_no_size(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemini.on("Sum", [Call("calculate", {"expression": "1 + 1"})], [Text("Two.")])
    said = await Talk(as_alice).ask("Sum")
    assert "args_size" not in said.named("tool.called")[0].json()
    assert "size" not in said.named("tool.returned")[0].json()


@pytest.mark.parametrize(
    "value",
    [
        '\x00\n"é😀\ud800' * 20_000,
        [{"a": n, "b": None, "é": [1.5, True]} for n in range(20_000)],
        {"é" * n: "x" * n for n in range(1, 2_000)},
        [[[["deep" * 10_000], "x" * 40_000], 1], 2],
        {"n": float("inf"), "of": object, "set": set(range(40_000))},
    ],
    ids=["text", "rows", "keys", "nested", "no JSON"],
)
def test_every_kind_of_value_is_cut_to_the_limit(value: Any) -> None:
    short, size = events.shortened(value)
    assert size is not None and size > events.SHOWN_BYTES
    assert type(short) is type(value)
    assert events.SHOWN_BYTES / 2 < len(events.encode_json({"v": short}).encode()) <= events.SHOWN_BYTES + 8
