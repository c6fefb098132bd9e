"""The page of what agents remember, in a browser: on a wide screen, a phone, and without scripts."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SignUp, Visit, serve_agents
from tests.browser.test_accessibility import axe_violations
from tests.browser.test_moderation import PHONE, shoot
from tests.support.gemini import Call, Gemini, Text
from tests.support.live import LiveServer

KEEPER = '''
from google.adk.agents import Agent
from google.adk.memory.memory_entry import MemoryEntry
from google.adk.tools import ToolContext
from google.genai import types

async def note(text: str, tool_context: ToolContext) -> dict:
    """Note."""
    content = types.Content(role="user", parts=[types.Part(text=text)])
    await tool_context.add_memory(memories=[MemoryEntry(content=content)])
    return {"noted": text}

root_agent = Agent(name="keeper", model="gemini-2.5-flash", tools=[note])
'''


@pytest.fixture(scope="module")
def keeper_server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start Parley with an agent that notes things."""
    folder = tmp_path_factory.mktemp("agents")
    (folder / "keeper.py").write_text(KEEPER)
    yield from serve_agents(folder, tmp_path_factory.mktemp("parley-keeper"), gemini_server)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("desktop", {}),
        ("phone", {**PHONE, "color_scheme": "dark"}),
        ("without-scripts", {"java_script_enabled": False}),
    ],
)
def test_a_member_sees_edits_and_erases_what_an_agent_noted(
    visit: Visit,
    keeper_server: LiveServer,
    sign_up: SignUp,
    gemini: Gemini,
    name: str,
    options: dict[str, Any],
) -> None:
    carol = sign_up(keeper_server, "carol")
    first = "Drinks green tea in the morning, and never coffee after noon"
    gemini.on(
        "Note it", [Call("note", {"text": first}), Call("note", {"text": "Has a cat"})], [Text("Noted.")]
    )
    with_scripts = options.get("java_script_enabled", True)
    page = visit(carol, **options)

    def check(state: str) -> None:
        if with_scripts:
            assert axe_violations(page) == []
        shoot(page, f"memories-{state}-{name}")

    page.goto("/account/memories/")
    expect(page.get_by_text("No agent has noted anything about you.")).to_be_visible()
    check("none")
    with carol.ask("Note it", agent="keeper") as stream:
        assert stream.until("run.completed")
    page.goto("/account/data/")
    page.get_by_role("link", name="What agents remember").click()
    expect(page.get_by_role("heading", name="keeper: 2 notes")).to_be_visible()
    entry = page.locator(".entry").filter(has_text=first)
    entry.get_by_text("Edit", exact=True).click()
    entry.get_by_label("The note, in your words").fill("Drinks coffee, too")
    check("editing")
    entry.get_by_role("button", name="Save").click()
    edited = page.locator(".entry").filter(has_text="Drinks coffee, too")
    expect(edited.get_by_text("Edited by you")).to_be_visible()
    check("edited")
    edited.get_by_role("button", name="Erase").click()
    expect(page.get_by_role("heading", name="keeper: 1 note")).to_be_visible()
    page.get_by_role("button", name="Turn memory off").click()
    expect(page.get_by_text("Memory is off")).to_be_visible()
    check("off")
    page.get_by_text("Erase all notes of keeper").click()
    page.get_by_role("button", name="Erase them for good").click()
    expect(page.get_by_text("No agent has noted anything about you.")).to_be_visible()


def test_the_settings_lead_to_the_page(visit: Visit, keeper_server: LiveServer, sign_up: SignUp) -> None:
    page = visit(sign_up(keeper_server, "dora"))
    page.goto("/")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("link", name="What agents remember").click()
    expect(page.get_by_role("heading", name="What agents remember")).to_be_visible()
