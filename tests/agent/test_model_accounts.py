"""Keys and addresses in the ``.env`` files of two agents: each model uses its own, with real clients."""

import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from chat.agent.agents import catalog
from tests.support.client import Client
from tests.support.talk import Talk

pytestmark = pytest.mark.any_database

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]


class Provider(BaseHTTPRequestHandler):
    """A provider that refuses each key, and remembers it with the path."""

    def do_POST(self) -> None:
        key = self.headers.get("x-api-key") or self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.asked.append((self.path, key))  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(401)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


MODELS = {
    "litellm": ("LiteLlm(model='openai/some')", "OPENAI_API_KEY", "OPENAI_API_BASE", "/chat/completions"),
    "litellm of another provider": (
        "LiteLlm(model='groq/x')",
        "GROQ_API_KEY",
        "GROQ_API_BASE",
        "/chat/completions",
    ),
    "litellm by name": ("'openai/some'", "OPENAI_API_KEY", "OPENAI_BASE_URL", "/chat/completions"),
    "openai": ("OpenAILlm(model='gpt-x')", "OPENAI_API_KEY", "OPENAI_BASE_URL", "/chat/completions"),
    "openai by name": ("'gpt-4o'", "OPENAI_API_KEY", "OPENAI_BASE_URL", "/chat/completions"),
    "anthropic": (
        "AnthropicLlm(model='claude-x')",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "/v1/messages",
    ),
}
AGENT = """
from google.adk.agents import Agent
from google.adk.integrations.openai import OpenAILlm
from google.adk.models.anthropic_llm import AnthropicLlm
from google.adk.models.lite_llm import LiteLlm

root_agent = Agent(name="someone", sub_agents=[Agent(name="below")], model={model})
"""


@pytest.mark.parametrize("name", MODELS)
async def test_each_agents_model_uses_its_own_key_and_address(
    write_agents: WriteAsync, as_alice: Client, provider: Any, name: str
) -> None:
    model, key, address, path = MODELS[name]
    url = f"http://127.0.0.1:{provider.server_port}"
    files = {}
    for agent in ("one", "two"):
        files[f"{agent}/agent.py"] = AGENT.format(model=model)
        files[f"{agent}/.env"] = (
            f"BASE={url}\n{key}=key-{agent}\n{address}=${{BASE}}/{agent}\nTOOL_KEY={agent}"
        )
    await write_agents(files)
    for agent in ("two", "one"):
        assert (await Talk(as_alice).ask("Hello", agent=agent)).end == "run.failed"
    assert [tuple(asked) for asked in dict.fromkeys(provider.asked)] == [
        (f"/two{path}", "key-two"),
        (f"/one{path}", "key-one"),
    ]
    differing = {agent.name: agent.differing for agent in catalog.folder_agents()}
    assert differing == {"one": (), "two": ("TOOL_KEY",)}


async def test_a_key_in_the_code_wins(write_agents: WriteAsync, as_alice: Client, provider: Any) -> None:
    url = f"http://127.0.0.1:{provider.server_port}/code"
    model = f"LiteLlm(model='openai/some', api_key='in the code', api_base='{url}')"
    await write_agents({"one/agent.py": AGENT.format(model=model), "one/.env": "OPENAI_API_KEY=in the file"})
    await Talk(as_alice).ask("Hello", agent="one")
    assert set(provider.asked) == {("/code/chat/completions", "in the code")}
