"""The agents in the admin: who sees which part, the condition of each, its usage and its last failures."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chat.admin import agents
from chat.models import Conversation, Reload, Run
from tests.admin.test_admin import as_mona, as_olga, page
from tests.support.client import Client
from tests.support.dom import Element
from tests.support.gemini import Gemini, Status, Text
from tests.support.speaker import saying, speaker
from tests.support.talk import Talk

__all__ = ["as_mona", "as_olga"]  # fixtures

PAGE = "/admin/agents/"
WriteAsync = Callable[[dict[str, str]], Awaitable[None]]
SECRET = "hunter2"
BROKEN = {"broken/agent.py": f"def connect():\n    raise ValueError('{SECRET}')\n\nconnect()\n"}


def cells(found: Element, table: str) -> list[list[str]]:
    """Return the cells of each row of a table."""
    body = found.one("table", id=table).one("tbody")
    return [[cell.words for cell in row.below() if cell.tag in {"th", "td"}] for row in body.all("tr")]


# --- access ---------------------------------------------------------------------------------------


async def test_a_visitor_and_a_member_are_sent_to_the_sign_in(visitor: Client, as_alice: Client) -> None:
    for client in (visitor, as_alice):
        for path in (PAGE, f"{PAGE}chat_assistant/", f"{PAGE}nobody/"):
            answer = await client.get(path)
            assert answer.status == 302
            assert "/login/?next=" in answer.headers["location"]


async def test_staff_without_the_permission_see_no_agent(as_mona: Client, mona: Any) -> None:
    await mona.groups.aclear()
    for path in (PAGE, f"{PAGE}chat_assistant/", f"{PAGE}nobody/"):
        assert (await as_mona.get(path)).status == 403
    assert PAGE not in (await as_mona.get("/admin/")).text


async def test_a_moderator_sees_the_reason_but_no_exception_and_no_reload(
    write_agents: WriteAsync, as_mona: Client
) -> None:
    await write_agents(BROKEN)
    shown = await page(as_mona, f"{PAGE}broken/")
    assert "Its code does not load (ValueError)." in shown.words
    assert not shown.all(id="load-error")
    assert SECRET not in shown.words and "Traceback" not in shown.words
    assert not (await page(as_mona, PAGE)).one(id="content-main").all("form")


async def test_an_agent_that_does_not_exist_has_no_page(as_olga: Client) -> None:
    assert (await as_olga.get(f"{PAGE}nobody/")).status == 404


# --- what is shown --------------------------------------------------------------------------------


async def test_the_owner_sees_the_exception_of_a_broken_agent(
    write_agents: WriteAsync, as_olga: Client
) -> None:
    await write_agents({**BROKEN, **speaker("one")})
    assert [row[:2] for row in cells(await page(as_olga, PAGE), "agents")] == [
        ["chat_assistant", "Loaded"],
        ["broken", "Broken Its code does not load (ValueError)."],
        ["speaker", "Loaded"],
    ]
    error = (await page(as_olga, f"{PAGE}broken/")).one(id="load-error")
    kind, place, message, traceback = [each.words for each in error.all("dd")]
    assert (kind, place, message) == ("ValueError", "broken/agent.py:2 in connect", SECRET)
    assert traceback.startswith("Traceback (most recent call last)")


async def test_an_agent_whose_reload_failed_says_that_its_last_good_version_answers(
    write_agents: WriteAsync, as_olga: Client, settings: Any
) -> None:
    await write_agents(speaker("one"))
    await page(as_olga, PAGE)  # loads the agents
    (settings.AGENTS_DIR / "speaker" / "words.py").write_text("import nothing_like_it")
    await as_olga.post(PAGE, form={})
    shown = await page(as_olga, f"{PAGE}speaker/")
    assert "Broken; its last good version answers" in shown.words
    assert "nothing_like_it" in shown.one(id="load-error").words
    (process,) = (await page(as_olga, PAGE)).one("table", class_="agents-processes").one("tbody").all("tr")
    assert process.all("td")[-1].words == "speaker"


async def test_only_the_owner_sees_which_variables_have_another_value(
    write_agents: WriteAsync, as_olga: Client, as_mona: Client
) -> None:
    await write_agents(
        {
            **speaker("one", "first"),
            "first/.env": f"CITY={SECRET}",
            **speaker("two", "second"),
            "second/.env": "CITY=Lagos",
        }
    )
    shown = await page(as_olga, f"{PAGE}second/")
    assert shown.one(id="differing").one("dd").words == "CITY"
    assert SECRET not in shown.words and "Lagos" not in shown.words
    assert not (await page(as_mona, f"{PAGE}second/")).all(id="differing")


async def test_an_agents_page_warns_of_questions_that_reach_no_one(
    write_agents: WriteAsync, as_mona: Client, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
        from google.adk.agents import Agent
        from google.adk.tools import AgentTool, FunctionTool, LongRunningFunctionTool

        def pay(amount: int) -> dict:
            return {}

        def print_all() -> None:
            pass

        asking = [FunctionTool(pay, require_confirmation=True), LongRunningFunctionTool(print_all)]
        payer = Agent(name="payer", model="gemini-2.5-flash", tools=[*asking, pay])
        inner = Agent(name="inner", model="gemini-2.5-flash", sub_agents=[payer])
        root_agent = Agent(name="desk", model="gemini-2.5-flash", tools=[AgentTool(inner)])
        payer.tools.append(AgentTool(root_agent))  # a cycle
        """
    own = """
        from google.adk.agents import Agent
        from google.adk.tools import AgentTool, FunctionTool

        def pay(amount: int) -> dict:
            return {}

        clerk = Agent(name="clerk", model="gemini-2.5-flash", tools=[pay])
        root_agent = Agent(name="fine", model="gemini-2.5-flash",
                           tools=[AgentTool(clerk), FunctionTool(pay, require_confirmation=True)])
        """
    await write_agents({"desk/agent.py": code, "fine/agent.py": own})
    shown = await page(as_mona, f"{PAGE}desk/")
    assert (
        shown.one(id="unheard").one("dd").words == "desk: pay, desk: print_all, inner: pay, inner: print_all"
    )
    assert not (await page(as_mona, f"{PAGE}fine/")).all(id="unheard")
    (warning,) = [
        each.getMessage() for each in caplog.records if "no person can be asked" in each.getMessage()
    ]
    assert warning.startswith("Agent 'desk': inside an AgentTool, no person can be asked by desk: pay, ")


async def test_an_agents_page_names_its_models_and_tools(write_agents: WriteAsync, as_mona: Client) -> None:
    code = """
        from google.adk.agents import Agent
        from google.adk.tools import AgentTool
        from google.adk.tools.base_toolset import BaseToolset

        class Shelf(BaseToolset):
            async def get_tools(self, readonly_context=None):
                raise RuntimeError("only a run may connect")

        def look_up(word: str) -> str:
            return word

        critic = Agent(name="critic", model="gemini-2.5-pro")
        helper = Agent(name="helper", tools=[Shelf()])
        root_agent = Agent(
            name="root", model="gemini-2.5-flash", tools=[look_up, AgentTool(critic)], sub_agents=[helper]
        )
    """
    await write_agents(saying(code, "reader") | {"reader/agent.py": "from .words import root_agent"})
    assert cells(await page(as_mona, f"{PAGE}reader/"), "overview") == [
        ["root", "gemini-2.5-flash", "look_up, critic"],
        ["critic", "gemini-2.5-pro", "–"],
        ["helper", "gemini-2.5-flash", "Shelf"],
    ]


async def test_usage_counts_the_runs_of_the_last_7_and_30_days(
    write_agents: WriteAsync, as_alice: Client, as_mona: Client, gemini: Gemini
) -> None:
    await write_agents(speaker("one"))
    gemini.on("costs", [Text("much")])
    gemini.on("fails", [Status(429, "RESOURCE_EXHAUSTED")])
    await Talk(as_alice).ask("Hello", agent="speaker")
    for question, days in (("costs", 0), ("fails", 1), ("fails", 8), ("costs", 29), ("costs", 31)):
        talk = Talk(as_alice)
        said = await talk.ask(question)
        at = timezone.now() - timedelta(days=days)
        await Run.objects.filter(pk=said.run).aupdate(created_at=at, ended_at=at)
    assert cells(await page(as_mona, f"{PAGE}chat_assistant/"), "usage") == [
        ["Last 7 days", "2", "1", "16"],
        ["Last 30 days", "4", "2", "32"],
    ]
    rows = {row[0]: row[2:] for row in cells(await page(as_mona, PAGE), "agents")}
    assert rows == {"chat_assistant": ["2", "1", "4", "2"], "speaker": ["1", "0", "1", "0"]}


async def test_usage_says_since_when_it_counts(
    as_alice: Client, as_mona: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for question in ("one", "two", "three"):
        await Talk(as_alice).ask(question)
    assert "they are counted since" not in (await page(as_mona, PAGE)).words
    monkeypatch.setattr(agents, "RUNS_COUNTED", 2)
    shown = await page(as_mona, PAGE)
    assert "they are counted since" in shown.words
    assert cells(shown, "agents")[0][2] == "2"


async def test_the_last_failures_lead_to_their_runs(
    write_agents: WriteAsync, as_alice: Client, as_mona: Client
) -> None:
    await write_agents(
        {
            **saying(f"async def word():\n    raise OSError('{SECRET}')\n"),
            **speaker("one", "sound"),
        }
    )
    first, second = Talk(as_alice), Talk(as_alice)
    failed = await first.ask("Hello", agent="speaker")
    await second.ask("Hello", agent="speaker")
    assert second.conversation
    await Conversation.objects.filter(pk=second.conversation).aupdate(deleted_at=timezone.now())
    shown = await page(as_mona, f"{PAGE}speaker/")
    ((_at, code),) = cells(shown, "failures")
    assert code == "agent"
    assert "OSError" not in shown.text  # an agent can name its own exceptions
    assert shown.one("table", id="failures").one("a")["href"] == f"/admin/chat/run/{failed.run}/change/"
    assert SECRET not in shown.words
    assert cells(await page(as_mona, f"{PAGE}sound/"), "failures") == [["No run failed lately."]]


async def test_the_list_shows_the_generation_of_each_process_and_who_requested_it(
    write_agents: WriteAsync, as_olga: Client
) -> None:
    await write_agents(speaker("one"))
    answer = await as_olga.post(PAGE, form={})
    assert (answer.status, answer.headers["location"]) == (302, PAGE)
    shown = await page(as_olga, PAGE)
    assert "was requested by olga on" in shown.words
    (process,) = shown.one("table", class_="agents-processes").one("tbody").all("tr")
    _generation, state, _since, broken = [cell.words for cell in process.all("td")]
    assert (state, broken) == ("Loaded", "–")


async def test_without_a_folder_there_is_nothing_to_reload(as_olga: Client) -> None:
    shown = (await page(as_olga, PAGE)).one(id="content-main")
    assert "AGENTS_DIR is not set" in shown.words
    assert not shown.all("form")


async def test_only_the_owner_reloads(as_mona: Client) -> None:
    assert (await as_mona.post("/admin/agents/", form={})).status == 403
    assert not await Reload.objects.aexists()
