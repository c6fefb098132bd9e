"""The built-in agent's tools: their answers, and their failures, which must not harm a run."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

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
