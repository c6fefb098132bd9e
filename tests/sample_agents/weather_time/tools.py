"""Plain functions: ADK makes tools of them."""

import threading
import time

REPORTS = {"lagos": "warm and humid, 31 degrees", "oslo": "snow, 4 degrees below zero"}


def get_weather(city: str) -> dict[str, str]:
    """Tells the weather in a city.

    Args:
        city: The name of a city.
    """
    report = REPORTS.get(city.casefold())
    if report is None:
        raise LookupError(f"no report for {city}")
    return {"report": report}


def measure(seconds: float) -> dict[str, str]:
    """Measures the wind for some seconds, and blocks its thread meanwhile.

    Args:
        seconds: How long.
    """
    time.sleep(seconds)
    return {"thread": threading.current_thread().name}
