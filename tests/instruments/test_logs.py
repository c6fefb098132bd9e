"""The log: one line per event, the request and run it belongs to, and the texts it must not hold."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import DataError

from chat.agent.turn import reply
from chat.http.exchanges import Exchanges
from chat.instruments import logs
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Hold, Raw, Status, Text
from tests.support.live import LiveServer, Stream
from tests.support.waiting import until

MARKER = "kanarienvogel"
Serve = Callable[..., LiveServer]


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """Return the lines logged during the test, as a JSON log would hold them."""
    found: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(self.format(record)))

    handler = Keep()
    handler.setFormatter(logs.JsonFormatter())
    logging.getLogger().addHandler(handler)
    yield found
    logging.getLogger().removeHandler(handler)


def answered(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["logger"] == Exchanges.__module__]


# --- the line of a request --------------------------------------------------------------------------


async def test_each_request_has_one_line(
    as_alice: Client, alice: Any, gemini: Gemini, lines: list[dict[str, Any]]
) -> None:
    gemini.on("Hello", [Text("Hello")])
    answer = await as_alice.post("/chat/stream?x=1", {"query": "Hello"})
    [line] = answered(lines)
    assert set(line) <= set(logs.FIELDS)
    assert line["level"] == "INFO"
    assert (line["method"], line["route"], line["status"]) == ("POST", "chat/stream", 200)
    assert line["member"] == str(alice.pk)
    assert line["run"] == answer.events[0].run
    assert line["bytes"] == len(answer.body)
    assert line["duration_ms"] >= 0
    assert line["request"] == answer.headers["x-request-id"]


async def test_its_route_is_the_pattern_and_its_method_a_known_one(
    as_alice: Client, lines: list[dict[str, Any]]
) -> None:
    await as_alice.get("/api/v1/conversations/some-secret?cursor=some-secret")
    await as_alice.get("/some-secret/")
    await as_alice.request("SOME-SECRET", "/")
    found = [(line["method"], line.get("route")) for line in answered(lines)]
    assert found == [
        ("GET", "api/v1/conversations/<conversation>"),
        ("GET", None),
        ("other", None),
    ]
    assert "secret" not in json.dumps(lines)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/static/chat/css/base.css"])
async def test_probes_and_metrics_requests_are_not_logged(
    visitor: Client, lines: list[dict[str, Any]], path: str
) -> None:
    answer = await visitor.get(path)
    assert "x-request-id" in answer.headers
    assert not answered(lines)


async def test_an_abandoned_request_still_has_its_line(
    as_alice: Client, gemini: Gemini, lines: list[dict[str, Any]]
) -> None:
    gemini.on("slow", [Text("half"), Hold()])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow"}) as asked:
        await anext(asked.events())
    [line] = answered(lines)
    assert (line["route"], line["status"]) == ("chat/stream", 200)


# --- ids of requests and runs -----------------------------------------------------------------------


async def test_a_safe_request_id_of_a_proxy_is_kept(visitor: Client) -> None:
    answer = await visitor.get("/healthz", headers={"X-Request-ID": "edge-7_Ab"})
    assert answer.headers["x-request-id"] == "edge-7_Ab"


@pytest.mark.parametrize("given", ["", "a b", "a\tb", 'a"b', "ä", "a" * 65, "a;b", "<b>"])
async def test_an_unsafe_request_id_is_replaced(visitor: Client, given: str) -> None:
    answer = await visitor.get("/healthz", headers={"X-Request-ID": given})
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])


async def test_request_ids_are_unique(visitor: Client) -> None:
    names = {(await visitor.get("/healthz")).headers["x-request-id"] for _ in range(20)}
    assert len(names) == 20


async def test_a_line_about_a_run_names_the_run_and_no_request(
    as_alice: Client, gemini: Gemini, lines: list[dict[str, Any]]
) -> None:
    gemini.on("too much", [Status(429, "RESOURCE_EXHAUSTED")])
    run = (await as_alice.ask("too much"))[0].run
    [line] = [line for line in lines if line["logger"] == "chat.runs.execution"]
    assert line["run"] == run
    assert "request" not in line  # the run outlives the request


# --- the format of a line ---------------------------------------------------------------------------


def record_of(message: str, *args: Any, error: Exception | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("chat.x", logging.ERROR, __file__, 1, message, args, info)


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    def work() -> None:
        raise error from cause

    with pytest.raises(type(error)) as caught:
        work()
    return caught.value


HOSTILE = 'a\nERROR root: "},{"level":"CRITICAL\x1b[2J\u2028\u202e'


def test_an_event_is_always_one_line_of_json() -> None:
    text = logs.JsonFormatter().format(record_of("%s", HOSTILE, error=raised(ValueError(HOSTILE))))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["message"] == HOSTILE


def test_a_line_of_text_cannot_be_forged() -> None:
    text = logs.TextFormatter().format(record_of("%s", HOSTILE, error=raised(ValueError(HOSTILE))))
    first, *rest = text.split("\n")
    assert first.isprintable()
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_a_cycle_of_exceptions_is_logged_once() -> None:
    """An agent's code may build such a cycle, and logging must not fail on it."""
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert logs.exception_of(one).count("builtins.ValueError: one") == 1
    assert logs.exception_of(one).count("builtins.ValueError: other") == 1


def test_an_exception_is_logged_without_the_rows_that_it_quotes() -> None:
    refused = raised(DataError(f"value too long for type character varying(8)\nDETAIL: {MARKER}"))
    found = logs.exception_of(raised(RuntimeError("the journal"), refused))
    assert MARKER not in found
    assert "value too long" in found
    assert found.endswith("builtins.RuntimeError: the journal")
    assert found.count("Traceback (most recent call last):") == 2
    assert __file__ in found


# --- texts that no line holds -----------------------------------------------------------------------


@pytest.fixture
def serve(tmp_path: Path, gemini: Gemini) -> Iterator[Serve]:
    servers = []

    def start(**env: str) -> LiveServer:
        env = {"GOOGLE_API_KEY": f"key-{MARKER}", "GOOGLE_GEMINI_BASE_URL": gemini.url, **env}
        servers.append(LiveServer(tmp_path, port=None, **env).prepare().start())
        return servers[0]

    yield start
    gemini.release()
    for server in servers:
        if server.process:
            server.kill()


@pytest.mark.any_database
@pytest.mark.parametrize("form", ["json", "text"])
def test_logs_and_metrics_hold_no_message_text_and_no_secret_even_at_debug(
    serve: Serve, gemini: Gemini, form: str
) -> None:
    """The marker text is in everything that a person, a model or a link can hold."""
    gemini.on(f"plain {MARKER}", [Text(f"reply {MARKER} "), Text(MARKER)])
    gemini.on(f"tool {MARKER}", [Call("calculate", {"expression": MARKER})])
    gemini.on(f"broken {MARKER}", [Text(MARKER), Raw(f"data: {MARKER}\n\n".encode())])
    capture = {
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT",
        "ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS": "true",
    }
    server = serve(LOG_LEVEL="DEBUG", LOG_FORMAT=form, **capture)
    link = re.search(r"/accounts/set-up/(\S+)/", server.output())
    assert link
    with server.member("alice") as alice:
        exercise(server, alice.http, link[1])
    assert server.stop() == 0
    # after the welcome, which shows the link to the person who starts the server
    written = server.output().partition(link[0])[2].strip()
    assert written.count("chat/stream") >= 4
    assert MARKER not in written.lower()
    assert link[1] not in written
    assert "csrftoken" not in written
    if form == "json":
        assert {"request", "run", "route"} <= {
            name for line in written.splitlines() for name in json.loads(line)
        }


def exercise(server: LiveServer, http: httpx.Client, token: str) -> None:
    headers = {"X-CSRFToken": http.cookies["csrftoken"], "X-Note": MARKER, "User-Agent": MARKER}
    headers |= {"Referer": f"{server.url}/{MARKER}"}
    for query in ("plain", "tool", "broken"):
        with http.stream(
            "POST", f"/chat/stream?q={MARKER}", json={"query": f"{query} {MARKER}"}, headers=headers
        ) as response:
            assert response.status_code == 200
            seen = Stream(response).all_events()
            assert seen[-1].is_done
    conversation = seen[0].json()["conversation"]
    event_source = {**headers, "Accept": "text/event-stream"}
    http.get("/chat/stream", params={"query": f"asked {MARKER}"}, headers=event_source)
    address = f"/api/v1/conversations/{conversation}"
    http.patch(address, json={"title": f"title {MARKER}"}, headers=headers)
    http.get(f"/chat/{conversation}/?before={MARKER}", headers=headers)
    http.get("/", headers=headers)
    http.get(f"/{MARKER}/", headers=headers)
    http.get("/healthz", headers={"Host": f"{MARKER}.example"})
    http.post("/chat/stream", content=f'{{"{MARKER}"', headers=headers | {"Content-Type": MARKER})
    http.get(f"/accounts/set-up/{token}/", headers=headers)
    http.get(f"/accounts/password/reset/key/1-{MARKER}/", headers=headers)
    page = http.get("/metrics")
    assert page.status_code == 200
    assert MARKER not in page.text
    until(lambda: "parley_open_streams 0.0" in http.get("/metrics").text)


@pytest.mark.any_database
def test_only_parleys_own_loggers_log_at_debug(tmp_path: Path) -> None:
    """At DEBUG, model clients log prompts, and Django logs SQL and template contexts."""
    server = LiveServer(tmp_path, port=None, LOG_LEVEL="DEBUG", LOG_FORMAT="text")
    libraries = ("openai", "LiteLLM", "django.template", "django.db.backends", "google_adk.flows", "x")
    lines = "".join(f"logging.getLogger({name!r}).debug({MARKER!r})\n" for name in libraries)
    done = server.manage("shell", "-c", f"import logging\n{lines}logging.getLogger('chat.x').debug('ours')")
    assert done.returncode == 0, done.stderr
    assert "DEBUG chat.x: ours" in done.stderr
    assert MARKER not in done.stderr


# --- ADK's own spans --------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ["1", "2"])
async def test_adks_spans_and_records_hold_no_text_whatever_the_environment_says(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch, schema: str
) -> None:
    from google.adk.telemetry import tracing
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_AND_EVENT")
    monkeypatch.setenv("ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS", "true")
    monkeypatch.setenv("ADK_TELEMETRY_SCHEMA_VERSION_OPT_IN", schema)
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing.tracer, "_real_tracer", provider.get_tracer("test"))
    records, logger_provider = InMemoryLogRecordExporter(), LoggerProvider()  # type: ignore[no-untyped-call]
    logger_provider.add_log_record_processor(SimpleLogRecordProcessor(records))
    monkeypatch.setattr(tracing, "otel_logger", logger_provider.get_logger("test"))
    # ADK reads the environment once, when its process starts
    rebuilt = type(reply.TELEMETRY)(**reply.TELEMETRY.model_dump(exclude_none=True))
    monkeypatch.setattr(reply, "TELEMETRY", rebuilt)
    gemini.on(f"tool {MARKER}", [Call("calculate", {"expression": f"1 + 1 # {MARKER}"})], [Text(MARKER)])
    events = await as_alice.ask(f"tool {MARKER}")
    assert {"tool.called", "run.completed"} <= {event.name for event in events}
    spans, written = exporter.get_finished_spans(), records.get_finished_logs()
    assert len(spans) >= 3  # the agent, the model, the tool
    assert written
    told = "".join(span.to_json() for span in spans) + "".join(str(each.log_record) for each in written)
    assert MARKER not in told
