"""Views and waits that run on the event loop. config/handler.py runs all other views on threads."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from django.http import HttpResponseRedirect

View = TypeVar("View", bound=Callable[..., Any])

_MARK = "runs_on_event_loop"


def on_event_loop(view: View) -> View:
    """Mark a view that runs on the event loop: one that waits for a run, or for nothing.

    It reaches the database only through ``run_db``, and its middleware must not look up the user: mark it
    ``login_not_required`` too.
    """
    setattr(view, _MARK, True)
    return view


def runs_on_event_loop(view: Callable[..., Any]) -> bool:
    return getattr(view, _MARK, False)


class RedirectAfter(HttpResponseRedirect):
    """Redirect (303) that is sent after ``work``, which runs on the event loop, so that no thread waits."""

    status_code = 303

    def __init__(self, redirect_to: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__(redirect_to)
        self.work = work
