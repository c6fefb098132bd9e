"""Code of the docs, run against a real server: the README's curl and the clients of docs/streaming.md."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat import events
from chat.events import Row
from chat.stream import sse
from tests.support.commands import ROOT
from tests.support.docs import STREAMING, blocks
from tests.support.live import PASSWORD, LiveServer

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start Parley as the README does, without a key, and sign up alice."""
    live = LiveServer(tmp_path_factory.mktemp("docs"), DEMO_DELAY_SECONDS="0.02").prepare()
    live.start()
    live.member("alice")
    yield live
    live.stop()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the Python client as a module, and close its connections after the tests of this file."""
    path = tmp_path_factory.mktemp("client") / "parley_client.py"
    path.write_text(blocks(STREAMING, "python")[0])
    spec = spec_from_file_location("parley_client", path)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    with ExitStack() as opened, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "httpx", TrackedHttpx(opened))
        yield module


class TrackedHttpx:
    """The httpx module, with clients that ``opened`` closes."""

    def __init__(self, opened: ExitStack) -> None:
        self._opened = opened

    def __getattr__(self, name: str) -> Any:
        return getattr(httpx, name)

    def Client(self, *args: Any, **options: Any) -> httpx.Client:
        return self._opened.enter_context(httpx.Client(*args, **options))


def test_the_python_client_gets_a_reply(server: LiveServer, client: Any) -> None:
    alice = client.Parley(server.url, "alice", PASSWORD)
    answer = client.reply(alice.ask(query="What time is it in Lagos?"))
    assert answer.startswith("In Lagos it is **")


def test_the_python_client_splits_lines_at_line_feeds_only(client: Any) -> None:
    """Other readers split at more characters. A chunk may end within a character."""
    text = "one\u2028two\u2029three\u0085four\u2027é😀"
    sent = sse.frame(uuid.uuid4(), Row(2, events.TEXT, events.encode_json({"text": text})))
    for cut in range(len(sent)):
        ((_id, name, data),) = client.frames([sent[:cut], sent[cut:]])
        assert (name, json.loads(data)) == ("text", {"text": text})


def test_the_python_client_resumes_after_the_server_was_killed(server: LiveServer, client: Any) -> None:
    alice = client.Parley(server.url, "alice", PASSWORD)
    heard = alice.ask(query="Hello")
    seen = [next(heard) for _ in range(5)]
    server.kill()
    server.start()
    seen += heard
    (again,) = [data for name, data in seen if name == "replace"]
    assert (again["text"], again["attempt"]) == ("", 2)
    answer = client.reply(seen)
    assert answer.startswith("You said: Hello\n\n")
    assert answer.count("You said") == 1


def test_the_python_client_raises_on_a_refusal(server: LiveServer, client: Any) -> None:
    alice = client.Parley(server.url, "alice", PASSWORD)
    with pytest.raises(RuntimeError, match="The message is empty"):
        client.reply(alice.ask(query=" "))
    with pytest.raises(PermissionError):
        client.Parley(server.url, "alice", "not her password")


# Stands in for a browser: the page's address and its cookies.
BROWSER = """
const cookies = %(cookies)s, address = %(address)s, send = globalThis.fetch;
globalThis.document = { cookie: `csrftoken=${cookies.csrftoken}` };
const cookie = Object.entries(cookies).map((pair) => pair.join("=")).join("; ");
globalThis.fetch = (path, init = {}) =>
  send(address + path, { ...init, headers: { ...init.headers, cookie } });
"""


def test_the_javascript_client_gets_a_reply(server: LiveServer, client: Any, tmp_path: Path) -> None:
    asking, use = blocks(STREAMING, "javascript")
    alice = client.Parley(server.url, "alice", PASSWORD)
    browser = BROWSER % {"cookies": json.dumps(dict(alice.http.cookies)), "address": json.dumps(server.url)}
    script = tmp_path / "client.mjs"
    script.write_text(f"{browser}\n{asking}\n{use}\nconsole.log(text);")
    done = subprocess.run([node(), script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("In Lagos it is **")


def node() -> str:
    """Return the path of the Node.js that comes with Playwright."""
    spec = find_spec("playwright")
    assert spec and spec.origin
    return str(Path(spec.origin).parent / "driver" / "node")


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl on this machine")
def test_the_readmes_curl_script_gets_a_reply(server: LiveServer, tmp_path: Path) -> None:
    script = next(block for block in blocks(ROOT / "README.md", "sh") if "curl" in block)
    assert "PARLEY=http://127.0.0.1:8000" in script
    script = script.replace("http://127.0.0.1:8000", server.url)
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["sh", "-ec", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "event: tool.called\n" in done.stdout
    assert done.stdout.endswith("data: [DONE]\n\n")
