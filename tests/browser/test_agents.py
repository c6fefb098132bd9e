"""Agents of AGENTS_DIR in the page: the picker, and the names above answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, Visit, ask, conversation_of, serve_agents, wait_until_idle
from tests.support.commands import ROOT
from tests.support.gemini import Call, Gemini, Hold, Text
from tests.support.live import LiveServer, Member

FLOW = """
from google.adk.agents import Agent
from google.adk.workflow import START, Workflow

def count(node_input):
    return {"words": 3}

closer = Agent(name="closer", model="gemini-2.5-flash")
root_agent = Workflow(name="flow", edges=[(START, count), (count, closer)])
"""

SCRIBE = """
from google.adk.agents import Agent
from google.genai import types


async def save(name: str, tool_context) -> dict:
    \"\"\"Saves a text.\"\"\"
    return {"version": await tool_context.save_artifact(name, types.Part(text="x"))}


root_agent = Agent(name="scribe", model="gemini-2.5-flash", tools=[save])
"""


@pytest.fixture(scope="module")
def agents_server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start Parley with the agents of tests/sample_agents, one that saves files, and a broken one."""
    folder = tmp_path_factory.mktemp("agents")
    for agent in (ROOT / "tests" / "sample_agents").iterdir():
        if agent.name not in ("README.md", "__pycache__"):
            (folder / agent.name).symlink_to(agent)
    (folder / "scribe.py").write_text(SCRIBE)
    (folder / "flow.py").write_text(FLOW)
    (folder / "broken.py").write_text('raise RuntimeError("<b>secret</b>")')
    yield from serve_agents(folder, tmp_path_factory.mktemp("parley-agents"), gemini_server)


@pytest.fixture(scope="module")
def carol(agents_server: LiveServer, sign_up: SignUp) -> Member:
    return sign_up(agents_server, "carol")


def speakers(page: Page) -> list[str]:
    return page.locator("article.assistant .speaker").all_inner_texts()


def test_a_member_picks_an_agent_and_asks_it(
    visit: Visit, agents_server: LiveServer, sign_up: SignUp, gemini: Gemini
) -> None:
    gemini.on("Weather in Lagos?", [Call("get_weather", {"city": "Lagos"})], [Text("Warm."), Hold()])
    nora = sign_up(agents_server, "nora")
    page = visit(nora)
    page.goto("/")
    picker = page.get_by_label("Agent", exact=True)
    expect(picker.locator("option")).to_have_count(9)
    expect(picker).to_have_value("chat_assistant")
    broken = picker.locator("option[value=broken]")
    expect(broken).to_be_disabled()
    expect(broken).to_have_text("Broken")
    expect(broken).to_have_attribute("title", "Its code does not load (RuntimeError).")
    picker.focus()
    page.keyboard.press("Enter")
    page.keyboard.type("Weather")
    page.keyboard.press("Enter")
    expect(picker).to_have_value("weather_time")
    ask(page, "Weather in Lagos?")
    live = page.locator("article.live")
    expect(live.locator(".speaker")).to_have_text("Weather time")
    expect(live.locator(".tool-name")).to_have_text("get_weather")
    gemini.release()
    wait_until_idle(page)
    assert speakers(page) == ["Weather time"]
    expect(picker).to_have_count(0)  # a conversation keeps its agent
    conversation = nora.http.get(f"/api/v1/conversations/{conversation_of(page)}").json()
    assert conversation["agent"] == "weather_time"


def test_the_welcome_and_the_field_name_the_chosen_agent(visit: Visit, carol: Member) -> None:
    page = visit(carol)
    page.goto("/")
    page.get_by_label("Agent", exact=True).select_option("weather_time")
    expect(page.locator("#agent-name")).to_have_text("Weather time")
    about = page.locator("option[value=weather_time]").get_attribute("title")
    assert about
    expect(page.locator("#agent-about")).to_have_text(about)
    message = page.get_by_label("Message", exact=True)
    expect(message).to_have_attribute("placeholder", "Message Weather time")


def test_a_new_conversation_begins_with_the_agent_asked_last(
    visit: Visit, agents_server: LiveServer, sign_up: SignUp
) -> None:
    page = visit(sign_up(agents_server, "olga"))
    page.goto("/")
    page.get_by_label("Agent", exact=True).select_option("weather_time")
    ask(page, "Hello")
    wait_until_idle(page)
    page.goto("/")
    expect(page.get_by_label("Agent", exact=True)).to_have_value("weather_time")
    expect(page.locator("#agent-name")).to_have_text("Weather time")


def test_a_single_agent_is_not_named_above_its_answer(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on("Who?", [Text("I."), Hold()])
    page = visit(carol)
    page.goto("/")
    page.get_by_label("Agent", exact=True).select_option("weather_time")
    ask(page, "Who?")
    expect(page.locator("article.live .prose")).to_have_text("I.")
    is_hidden = "(name) => name.getBoundingClientRect().width <= 1"
    assert page.locator("article.live .speaker").evaluate(is_hidden)
    gemini.release()
    wait_until_idle(page)
    assert speakers(page) == ["Weather time"]  # for screen readers
    assert page.locator("article.assistant .speaker").evaluate(is_hidden)


def test_an_agent_that_takes_over_is_named_above_its_answer(
    visit: Visit, carol: Member, gemini: Gemini
) -> None:
    gemini.on_agent("outliner", [Text("1. A fox"), Hold()])
    page = visit(carol)
    page.goto("/")
    page.get_by_label("Agent", exact=True).select_option("story_pipeline")
    ask(page, "A story!")
    speaker = page.locator("article.live .speaker")
    expect(speaker).to_have_text("Outliner")
    is_shown = "(name) => name.getBoundingClientRect().width > 1"
    assert speaker.evaluate(is_shown)
    page.reload()
    expect(speaker).to_have_text("Outliner")
    assert speaker.evaluate(is_shown)


def test_an_option_shows_the_description_of_its_agent(visit: Visit, carol: Member) -> None:
    page = visit(carol)
    page.goto("/")
    page.get_by_label("Agent", exact=True).click()
    option = page.locator("option[value=weather_time]")
    expect(option).to_be_visible()
    shown = option.evaluate("(option) => getComputedStyle(option, '::after').content")
    assert shown == f'"{option.get_attribute("title")}"'


def test_each_of_several_agents_is_named_above_its_text(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on_agent("outliner", [Text("1. A `fox")])
    gemini.on_agent("writer", [Text("```\nThe fox met the hen.")])
    gemini.on_agent("editor", [Text("They "), Hold(), Text("**met**.")])
    page = visit(carol)
    page.goto("/")
    page.get_by_label("Agent", exact=True).select_option("story_pipeline")
    ask(page, "A story!")
    expect(page.locator("article.live .speaker")).to_have_text("Editor")
    gemini.release()
    wait_until_idle(page)
    assert speakers(page) == ["Outliner", "Writer", "Editor"]
    # an unclosed code block of one agent does not swallow the next one's text
    expect(page.locator(".agent-section").last.locator(".prose strong")).to_have_text("met")
    page.reload()
    assert speakers(page) == ["Outliner", "Writer", "Editor"]


@pytest.mark.parametrize("width", [1280, 320])
def test_a_saved_file_is_a_card_of_the_reply(
    visit: Visit, carol: Member, gemini: Gemini, width: int, tmp_path: Path
) -> None:
    name = f"{'long-' * 20}{width}.txt"
    gemini.on("Save it", [Call("save", {"name": name})], [Text("Saved."), Hold()])
    page = visit(carol, viewport={"width": width, "height": 700})
    page.goto("/")
    page.get_by_label("Agent", exact=True).select_option("scribe")
    ask(page, "Save it")
    expect(page.locator("article.live .file-card .file-name")).to_have_text(name)
    gemini.release()
    wait_until_idle(page)
    page.reload()
    expect(page.locator("article.assistant .file-card .file-name")).to_have_text(name)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / f"file-{width}.png")


def test_a_member_picks_an_agent_without_scripts(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on("Weather in Oslo?", [Text("Snow.")])
    page = visit(carol, java_script_enabled=False, expect_faults=["422"])
    page.goto("/")
    page.get_by_label("Agent", exact=True).select_option("weather_time")
    page.get_by_label("Message", exact=True).fill("x" * 132_000)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_label("Agent", exact=True)).to_have_value("weather_time")  # also when refused
    page.get_by_label("Message", exact=True).fill("Weather in Oslo?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("article.assistant .prose")).to_have_text("Snow.")
    assert speakers(page) == ["Weather time"]


@pytest.mark.parametrize("width", [1280, 320])
def test_the_agent_picker_fits_the_page(visit: Visit, carol: Member, width: int, tmp_path: Path) -> None:
    page = visit(carol, viewport={"width": width, "height": 700})
    page.goto("/")
    picker = page.get_by_label("Agent", exact=True)
    picker.select_option("research_parallel")
    box, send = picker.bounding_box(), page.get_by_role("button", name="Send").bounding_box()
    assert box and send
    assert box["width"] >= 100 and box["x"] + box["width"] <= send["x"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / f"picker-{width}.png")


def test_the_steps_of_a_workflow_are_a_quiet_list(visit: Visit, carol: Member, gemini: Gemini) -> None:
    gemini.on_agent("closer", [Text("It is "), Hold(), Text("done.")])
    page = visit(carol)
    page.goto("/")
    page.get_by_label("Agent").select_option("flow")
    ask(page, "Count.")
    step = page.locator(".node-step")
    expect(step.locator(".node-name")).to_have_text(["count"])
    gemini.release()
    wait_until_idle(page)
    expect(step.locator(".node-name")).to_have_text(["count", "closer"])
    step.first.locator("summary").click()
    expect(step.first.locator(".tool-outcome")).to_contain_text('"words": 3')
