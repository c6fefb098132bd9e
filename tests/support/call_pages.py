"""Calls of a real server: its start beside a model that speaks, and the page of a member who calls."""

import json
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.support.gemini_live import GeminiLive, speech
from tests.support.live import LiveServer, Member

SECRET = "the same on all servers, which open each other's handles"


def new_server(folder: Path, model: GeminiLive, database: dict[str, str], **env: str) -> LiveServer:
    folder.mkdir(exist_ok=True)
    variables = {"LIMITS": "off", "SECRET_KEY": SECRET, **model.environment, **database, **env}
    return LiveServer(folder, None, **variables).prepare()


class Page:
    """The page of a member in a call, whose frames are read up to the wanted one."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []
        self.call = self.until("ready")["call"]

    def send(self, **frame: Any) -> None:
        self.socket.send(json.dumps(frame))

    def speak(self, words: str) -> None:
        pcm = speech(words)
        self.socket.send(pcm + b"\0" * (len(pcm) % 2))

    def until(self, kind: str) -> dict[str, Any]:
        while True:
            received = self.socket.recv(timeout=20)
            if isinstance(received, str):
                self.frames.append(json.loads(received))
                if self.frames[-1]["type"] == kind:
                    return self.frames[-1]

    def close_code(self) -> int:
        try:
            while True:
                received = self.socket.recv(timeout=60)
                if isinstance(received, str):
                    self.frames.append(json.loads(received))
        except ConnectionClosed:
            return int(self.socket.close_code)


def conversation_of(member: Member) -> str:
    with member.ask("Hello") as stream:
        return str(stream.all_events()[0].json()["conversation"])


def last_turn(member: Member, conversation: str) -> tuple[str, str, str | None, str]:
    """Return question, status, code and reply of the conversation's last turn."""
    found = member.http.get(f"/api/v1/conversations/{conversation}").json()["messages"]["items"]
    question, reply = found[-2:]
    run = member.http.get(f"/api/v1/runs/{reply['run']}").json()
    return question["text"], run["status"], run["code"], reply["text"]
