"""Parley for terminals: a data folder with members, and terminals that are closed at the end."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gemini import Gemini
from tests.support.live import LiveServer
from tests.support.terminal import Terminal, peopled

Open = Callable[..., Terminal]


@pytest.fixture
def parley_here(tmp_path: Path, gemini: Gemini) -> Iterator[LiveServer]:
    """Return Parley with alice and bob, without a running server."""
    server = peopled(tmp_path, gemini)
    yield server
    gemini.release()
    if server.process:
        server.process.send_signal(signal.SIGCONT)
        server.kill()


@pytest.fixture
def open_terminal(parley_here: LiveServer) -> Iterator[Open]:
    terminals = []

    def start(*words: str, **streams: Any) -> Terminal:
        terminal = Terminal(parley_here, *words, **streams)
        terminals.append(terminal)
        return terminal

    yield start
    for terminal in terminals:
        terminal.close()
