"""Fake Gemini server that also speaks: REST and live connections on one port, over TLS.

The real google-genai client talks to it over a real WebSocket. A test scripts what follows an input:

    live.on("What time is it?", [Spoken("It is "), Spoken("noon."), Sound(400), TurnComplete()])

The key is what the member types, or says: ``speech`` makes audio that carries its words. Each further input
with this key takes the next answer; the last one repeats. Other audio, for example of a real microphone,
takes the answers of ``on_speech``. Without a script it says "You said: …", a caption and its sound for each
word.

With automatic detection, loud audio is speech, which interrupts a running answer. A member stops speaking at
the end of ``speech``, after 300 ms of silence, or at audioStreamEnd. Otherwise activityStart and activityEnd
say so. As Gemini does, it sends a resumption handle after the set-up and after each answer, and refuses
handles that it never sent.
"""

import array
import asyncio
import base64
import contextlib
import datetime as dt
import ipaddress
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.support.gemini import Call, Gemini, Hold, Pause, Text, Thought
from tests.support.shared import CERTIFICATE, shared

LOUD = 500  # mean amplitude of a blob from which it is speech
SILENCE_BYTES = 9_600  # 300 ms at 16 kHz, after which the member has stopped speaking
RATE = 24_000
# Audio that carries words: marks of three samples around the characters, each a loud sample.
CHARACTER_BASE = 0x3000
SPEECH_START = array.array("h", [0x6FFE, -0x6FFE, 0x6FFE]).tobytes()
SPEECH_END = array.array("h", [0x6FFF, -0x6FFF, 0x6FFF]).tobytes()


def speech(words: str, *, ends: bool = True) -> bytes:
    """Return PCM that carries ``words``; without ``ends`` the member goes on speaking after them."""
    said = array.array("h", [CHARACTER_BASE + ord(letter) for letter in words]).tobytes()
    return SPEECH_START + said + (SPEECH_END if ends else b"")


def words_in(pcm: bytes) -> str | None:
    """Return the words that audio of ``speech`` carries, or None."""
    if SPEECH_START not in pcm:
        return None
    said = pcm[pcm.index(SPEECH_START) :].replace(SPEECH_START, b"").partition(SPEECH_END)[0]
    samples = array.array("h", said[: len(said) // 2 * 2])
    return "".join(chr(each - CHARACTER_BASE) for each in samples if each > CHARACTER_BASE)


def is_loud(pcm: bytes) -> bool:
    samples = array.array("h", pcm[: len(pcm) // 2 * 2])
    return bool(samples) and sum(map(abs, samples)) / len(samples) >= LOUD


# --- steps of an answer; also Text, Thought, Call, Pause and Hold of tests/support/gemini.py ----


@dataclass(frozen=True)
class Heard:
    """A piece of the input transcript. An answer without one gets it before its first step."""

    text: str
    finished: bool = False


@dataclass(frozen=True)
class Spoken:
    """A piece of the output transcript: a caption."""

    text: str


@dataclass(frozen=True)
class Sound:
    """Audio of the answer, one message."""

    milliseconds: int


@dataclass(frozen=True)
class AwaitTools:
    """Wait until the client has answered the calls so far."""


@dataclass(frozen=True)
class Interrupted:
    pass


@dataclass(frozen=True)
class GenerationComplete:
    pass


@dataclass(frozen=True)
class TurnComplete:
    pass


@dataclass(frozen=True)
class Tokens:
    prompt: int
    response: int


@dataclass(frozen=True)
class GoAway:
    """Google's note that it will close the connection soon."""


@dataclass(frozen=True)
class Handle:
    value: str


@dataclass(frozen=True)
class Close:
    """A close of the socket; without a code the connection is lost (1006)."""

    code: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Message:
    """Any message of the server, as JSON."""

    value: dict[str, Any]


Step = (
    Heard | Spoken | Sound | AwaitTools | Interrupted | GenerationComplete | TurnComplete | Tokens | GoAway
    | Handle | Close | Message | Text | Thought | Call | Pause | Hold
)  # fmt: skip


@dataclass
class Connection:
    """Messages of the client on one live connection. Keys are in Gemini's camel case, two levels deep."""

    path: str
    headers: dict[str, str]
    setup: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)  # without the set-up and audio
    audio: bytearray = field(default_factory=bytearray)
    close_code: int | None = None  # of the client
    is_open: bool = True

    @property
    def handle(self) -> str | None:
        """The handle with which the client resumed."""
        found: str | None = (self.setup.get("sessionResumption") or {}).get("handle")
        return found

    @property
    def is_manual(self) -> bool:
        detection = (self.setup.get("realtimeInputConfig") or {}).get("automaticActivityDetection") or {}
        return bool(detection.get("disabled"))

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Role and text of all contents that the client sent as text, the replayed history included."""
        found = []
        for message in self.messages:
            for turn in (message.get("clientContent") or {}).get("turns") or []:
                text = "".join(part.get("text") or "" for part in turn.get("parts") or [])
                found.append((turn.get("role") or "user", text))
            if typed := (message.get("realtimeInput") or {}).get("text"):
                found.append(("user", typed))
        return found

    @property
    def tool_responses(self) -> list[dict[str, Any]]:
        return [
            response
            for message in self.messages
            for response in (message.get("toolResponse") or {}).get("functionResponses") or []
        ]


class GeminiLive(Gemini):
    """The server. ``connections`` are its live connections in order; the rest is as ``Gemini``.

    A client finds it by ``environment``, or in this process by ``GOOGLE_GEMINI_BASE_URL`` alone.
    """

    def __init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate())
        self.connections: list[Connection] = []
        self.pace = 0.0  # seconds that the server waits for each second of sound that it sends
        self.refuses_handles = False
        self._known_handles: set[str] = set()
        self._talks: set[_Talk] = set()
        super().__init__(context)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "GOOGLE_API_KEY": "not-a-key",
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "SSL_CERT_FILE": str(CERTIFICATE),
        }

    def on(self, question: str, *answers: Sequence[Any]) -> None:
        """Set the answers to what is typed or said."""
        super().on(question, *answers)

    def on_speech(self, *answers: Sequence[Any]) -> None:
        """Set the answers to audio that carries no words."""
        self.on("", *answers)

    def reset(self) -> None:
        super().reset()
        self.connections.clear()
        self.pace = 0.0
        self.refuses_handles = False

    def interrupt(self) -> None:
        """End each running answer as interrupted, as if its model had heard somebody."""
        self._each(lambda talk: talk.interrupt())

    def send(self, *steps: Step) -> None:
        """Send these steps on each open live connection, beside any running answer."""
        self._each(lambda talk: talk.tasks.append(asyncio.ensure_future(talk.play(steps))))

    def _each(self, act: Any) -> None:
        def all_of_them() -> None:
            for talk in list(self._talks):
                act(talk)

        self._loop.call_soon_threadsafe(all_of_them)

    def next_steps(self, question: str) -> Sequence[Step]:
        script = self._scripts.get(question)
        if script:
            steps: Sequence[Any] = self._next_answer(question)
            return steps
        said = f"You said: {question}" if question else "You said something."
        words = said.split(" ")
        each = [(Spoken((" " if n else "") + word), Sound(120)) for n, word in enumerate(words)]
        return [*(step for pair in each for step in pair), GenerationComplete(), TurnComplete()]

    def new_handle(self) -> str:
        handle = f"handle-{len(self._known_handles) + 1}-of-a-secret"
        self._known_handles.add(handle)
        return handle

    def knows(self, handle: str) -> bool:
        return handle in self._known_handles and not self.refuses_handles

    def remember(self, handle: str) -> None:
        self._known_handles.add(handle)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"upgrade: websocket" in head.lower():
            talk = _Talk(self, writer)
            self._talks.add(talk)
            try:
                await talk.run(head, reader)
            finally:
                self._talks.discard(talk)
            return False
        return await self._respond(*await self._read_body(head, reader), writer)


class _Talk:
    """One live connection."""

    def __init__(self, server: GeminiLive, writer: asyncio.StreamWriter) -> None:
        self._server, self._writer = server, writer
        self._protocol = ServerProtocol(max_size=None)
        self.connection = Connection("", {})
        self._answer: asyncio.Task[None] | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self._buffer = b""  # of a fragmented message
        self._utterance = bytearray()  # loud audio that was not answered yet
        self._silence = 0  # bytes since the last loud audio
        self._open_calls: set[str] = set()
        self._answered = asyncio.Event()
        self._calls = 0

    async def run(self, head: bytes, reader: asyncio.StreamReader) -> None:
        self._protocol.receive_data(head)
        for event in self._protocol.events_received():
            assert isinstance(event, Request)
            headers = {name.lower(): value for name, value in event.headers.raw_items()}
            self.connection = Connection(event.path, headers)
            self._protocol.send_response(self._protocol.accept(event))
        self._server.connections.append(self.connection)
        self._flush()
        try:
            while data := await reader.read(65_536):
                self._protocol.receive_data(data)
                for event in self._protocol.events_received():
                    if isinstance(event, Frame):
                        self._take(event)
                self._flush()
                await self._writer.drain()
                if self._protocol.close_rcvd:
                    self.connection.close_code = int(self._protocol.close_rcvd.code)
                    break
        finally:
            self.connection.is_open = False
            for task in [self._answer, *self.tasks]:
                if task:
                    task.cancel()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._buffer += frame.data
        if frame.fin:
            message, self._buffer = json.loads(self._buffer), b""
            self._understand(_in_camel_case(message))

    def _understand(self, message: dict[str, Any]) -> None:
        if "setup" in message:
            self._set_up(message["setup"])
        elif media := _audio_of(message):
            self._hear(media)
        else:
            self.connection.messages.append(message)
            self._react(message)

    def _react(self, message: dict[str, Any]) -> None:
        content, tools = message.get("clientContent"), message.get("toolResponse")
        realtime = message.get("realtimeInput") or {}
        if content and content.get("turnComplete") and content.get("turns"):
            last = content["turns"][-1]
            if (last.get("role") or "user") == "user":
                text = "".join(part.get("text") or "" for part in last.get("parts") or [])
                self._begin(text, is_speech=False)
        elif tools:
            self._open_calls -= {response.get("id") for response in tools.get("functionResponses") or []}
            if not self._open_calls:
                self._answered.set()
        elif "activityStart" in realtime:
            self._utterance.clear()
            self.interrupt()
        elif "activityEnd" in realtime or realtime.get("audioStreamEnd"):
            if self._utterance:
                self._end_of_speech()
        elif realtime.get("text"):
            self._begin(realtime["text"], is_speech=False)

    def _set_up(self, setup: dict[str, Any]) -> None:
        self.connection.setup = _in_camel_case(setup)
        handle = self.connection.handle
        if handle and not self._server.knows(handle):
            self.close(Close(1008, "BidiGenerateContent session not found"))
            return
        self.send({"setupComplete": {"sessionId": f"session-{len(self._server.connections)}"}})
        if "sessionResumption" in self.connection.setup:
            self._send_handle(self._server.new_handle())

    def _hear(self, pcm: bytes) -> None:
        self.connection.audio += pcm
        if is_loud(pcm):
            self._silence = 0
            if not self.connection.is_manual and not self._utterance:
                self.interrupt()
            self._utterance += pcm
            if not self.connection.is_manual and SPEECH_END in pcm:
                self._end_of_speech()
        elif self._utterance:
            self._silence += len(pcm)
            if not self.connection.is_manual and self._silence >= SILENCE_BYTES:
                self._end_of_speech()

    def _end_of_speech(self) -> None:
        said = words_in(bytes(self._utterance)) or ""
        self._utterance.clear()
        self._begin(said, is_speech=True)

    def _begin(self, question: str, *, is_speech: bool) -> None:
        if self._answer:
            self._answer.cancel()
        steps = list(self._server.next_steps(question))
        if is_speech and not any(isinstance(step, Heard) for step in steps):
            steps.insert(0, Heard(question or "Something."))
        self._answer = asyncio.ensure_future(self._play_answer(steps))

    async def _play_answer(self, steps: Sequence[Step]) -> None:
        await self.play(steps)
        if "sessionResumption" in self.connection.setup:
            self._send_handle(self._server.new_handle())

    def interrupt(self) -> None:
        if self._answer and not self._answer.done():
            self._answer.cancel()
            self.send({"serverContent": {"interrupted": True}})
            self.send({"serverContent": {"turnComplete": True}})

    async def play(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Pause | Hold):
                await self._server._wait(step)
            elif isinstance(step, AwaitTools):
                await self._answered.wait()
            elif isinstance(step, Close):
                self.close(step)
            elif isinstance(step, Handle):
                self._server.remember(step.value)
                self._send_handle(step.value)
            elif isinstance(step, Call):
                self._call(step)
            else:
                self.send(_message(step))
                if isinstance(step, Sound):
                    await asyncio.sleep(step.milliseconds / 1000 * self._server.pace)
            with contextlib.suppress(ConnectionError):
                await self._writer.drain()

    def _call(self, step: Call) -> None:
        self._calls += 1
        call_id = f"call-{len(self._server.connections)}-{self._calls}"
        self._open_calls.add(call_id)
        self._answered.clear()
        self.send({"toolCall": {"functionCalls": [{"id": call_id, "name": step.name, "args": step.args}]}})

    def _send_handle(self, handle: str) -> None:
        self.send({"sessionResumptionUpdate": {"newHandle": handle, "resumable": True}})

    def send(self, message: dict[str, Any]) -> None:
        if self._protocol.state.name == "OPEN":
            self._protocol.send_text(json.dumps(message, ensure_ascii=False).encode())
            self._flush()

    def close(self, step: Close) -> None:
        self.connection.is_open = False
        if step.code is None:
            self._writer.transport.abort()
        elif self._protocol.state.name == "OPEN":
            self._protocol.send_close(step.code, step.reason)
            self._flush()


def _message(step: Step) -> dict[str, Any]:
    match step:
        case Sound(milliseconds):
            blob = {"mimeType": f"audio/pcm;rate={RATE}", "data": sound(milliseconds)}
            return _turn_of({"inlineData": blob})
        case Text(text):
            return _turn_of({"text": text})
        case Thought(text):
            return _turn_of({"text": text, "thought": True})
        case Tokens(prompt, response):
            total = prompt + response
            counts = {"promptTokenCount": prompt, "responseTokenCount": response, "totalTokenCount": total}
            return {"usageMetadata": counts}
        case GoAway():
            return {"goAway": {"timeLeft": "10s"}}
        case Message(value):
            return value
    return {"serverContent": _server_content(step)}


def _server_content(step: Step) -> dict[str, Any]:
    match step:
        case Heard(text, finished):
            return {"inputTranscription": {"text": text} | ({"finished": True} if finished else {})}
        case Spoken(text):
            return {"outputTranscription": {"text": text}}
        case Interrupted():
            return {"interrupted": True}
        case GenerationComplete():
            return {"generationComplete": True}
        case TurnComplete():
            return {"turnComplete": True}
    raise AssertionError(step)


def _turn_of(part: dict[str, Any]) -> dict[str, Any]:
    return {"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}}


def sound(milliseconds: int) -> str:
    """Return audio of the answer in base64: a square wave of 200 Hz."""
    wave = array.array("h", ([2000] * 60 + [-2000] * 60) * (milliseconds // 5 + 1))
    return base64.b64encode(wave.tobytes()[: milliseconds * RATE // 1000 * 2]).decode()


def _audio_of(message: dict[str, Any]) -> bytes:
    realtime = message.get("realtimeInput") or {}
    blobs = [*(realtime.get("mediaChunks") or []), realtime.get("audio") or realtime.get("media")]
    # google-genai encodes with the URL-safe alphabet
    return b"".join(base64.urlsafe_b64decode(_plain(blob["data"])) for blob in blobs if blob)


def _plain(data: str) -> str:
    return data.replace("+", "-").replace("/", "_")


def _in_camel_case(message: dict[str, Any]) -> dict[str, Any]:
    return {
        _camel(key): {_camel(k): v for k, v in value.items()} if isinstance(value, dict) else value
        for key, value in message.items()
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def certificate() -> Path:
    """Return the server's key and certificate, which all clients of the tests trust by SSL_CERT_FILE."""
    return shared("gemini-live", _make_certificate) / "server.pem"


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem + private)
    with CERTIFICATE.open("ab") as trusted:
        trusted.write(b"\n" + pem)
