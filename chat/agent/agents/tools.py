"""The tools of the built-in agent. ADK runs them in threads, and the model reads their docstrings."""

import ast
import math
import operator
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, cast
from zoneinfo import ZoneInfo, available_timezones

from google.adk.tools import FunctionTool

OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
MAX_EXPRESSION = 200  # characters; without powers, this bounds the size of the result too


def current_time(place: str) -> dict[str, Any]:
    """Tell the current date and time in a city, an IANA time zone such as Europe/Paris, or UTC.

    Args:
        place: The name of a city or of a time zone.
    """
    zone = _zone_of(place)
    if zone is None:
        return {"error": f"No time zone is known for {place!r}."}
    now = datetime.now(UTC).astimezone(ZoneInfo(zone))
    return {"place": place, "time_zone": zone, "date": now.date().isoformat(), "time": now.strftime("%H:%M")}


def calculate(expression: str) -> dict[str, Any]:
    """Calculate an arithmetic expression of numbers, + - * / // % and parentheses.

    Args:
        expression: For example "(3 + 4) * 12.5".
    """
    if len(expression) > MAX_EXPRESSION:
        return {"error": f"The expression is longer than {MAX_EXPRESSION} characters."}
    try:
        result = _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError) as error:
        return {"error": f"That cannot be calculated: {error}"}
    if not math.isfinite(result):
        return {"error": "That cannot be calculated: the result is too large."}
    return {"result": result}


def days_between(first: str, second: str) -> dict[str, Any]:
    """Count the days from one date to another.

    Args:
        first: A date such as 2026-01-31.
        second: A date such as 2026-12-24.
    """
    try:
        return {"days": (date.fromisoformat(second) - date.fromisoformat(first)).days}
    except ValueError as error:
        return {"error": str(error)}


def built_in() -> list[FunctionTool]:
    """Return the built-in agent's tools."""
    return [FunctionTool(function) for function in (current_time, calculate, days_between)]


def _zone_of(place: str) -> str | None:
    key = "_".join(place.split()).casefold()
    return _zones().get(key) or _cities().get(key)


@cache
def _zones() -> dict[str, str]:
    """Return each zone by its casefolded name; read from the disk once."""
    return {zone.casefold(): zone for zone in sorted(available_timezones())}


@cache
def _cities() -> dict[str, str]:
    """Return each zone by the casefolded city in its name; if two zones share it, the first one."""
    return {zone.rpartition("/")[2].casefold(): zone for zone in sorted(available_timezones(), reverse=True)}


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return cast(float, OPERATORS[type(op)](_value(operand)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return cast(float, OPERATORS[type(op)](_value(left), _value(right)))
    raise ValueError("only numbers and + - * / // % are understood")
