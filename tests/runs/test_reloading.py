"""Reload of AGENTS_DIR: new code answers, broken code does not, and runs in progress keep their agents."""

import asyncio
import gc
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from google.adk.runners import Runner

from chat.agent.agents import importing
from chat.models import Process
from chat.runs.supervisor import supervisor
from tests.admin.test_admin import as_mona, as_olga
from tests.support.client import Answer, Client
from tests.support.commands import ROOT
from tests.support.gemini import Gemini, Hold, Text
from tests.support.speaker import PATIENT, saying, speaker
from tests.support.sse_client import text_of
from tests.support.talk import Talk
from tests.support.waiting import auntil

__all__ = ["as_mona", "as_olga"]  # fixtures

PAGE = "/admin/agents/"
WriteAsync = Callable[[dict[str, str]], Awaitable[None]]


@pytest.fixture
def edit(write_agents: WriteAsync, settings: Any) -> Callable[[dict[str, str]], None]:
    """Return a function that changes files of AGENTS_DIR, which ``write_agents`` has made."""

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = settings.AGENTS_DIR / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))

    return write


async def reload(client: Client) -> Answer:
    answer = await client.post(PAGE, form={})
    assert answer.status == 302, answer.text
    return answer


async def said(client: Client, agent: str = "speaker") -> str:
    return (await Talk(client).ask("Hello", agent=agent)).text


async def agents(client: Client) -> dict[str, tuple[bool, str | None]]:
    """Return whether each agent but the built-in one is available, and its reason."""
    items = (await client.get("/api/v1/agents")).json()["items"]
    return {item["name"]: (item["available"], item["reason"]) for item in items[1:]}


async def process() -> Process:
    return await Process.objects.aget()


# --- new code -------------------------------------------------------------------------------------


async def test_an_edited_module_answers_after_a_reload(
    write_agents: WriteAsync, edit: Any, as_alice: Client, as_olga: Client
) -> None:
    await write_agents(speaker("old"))
    assert await said(as_alice) == "old"
    edit(speaker("brand new"))
    assert await said(as_alice) == "old"
    await reload(as_olga)
    assert await said(as_alice) == "brand new"


async def test_an_agent_appears_and_another_one_disappears(
    write_agents: WriteAsync, edit: Any, as_alice: Client, as_olga: Client, settings: Any
) -> None:
    await write_agents(speaker("one", "first"))
    talk = Talk(as_alice)
    await talk.ask("Hello", agent="first")
    (settings.AGENTS_DIR / "first" / "agent.py").unlink()
    (settings.AGENTS_DIR / "first" / "__init__.py").unlink()
    edit(speaker("two", "second"))
    await reload(as_olga)
    assert list(await agents(as_alice)) == ["second"]
    assert await said(as_alice, "second") == "two"
    assert (await talk.ask("Still there?")).code == "unavailable"


async def test_the_process_reports_the_generation_that_it_loaded(
    write_agents: WriteAsync, edit: Any, as_olga: Client
) -> None:
    await write_agents({**speaker("one"), **saying("import nothing_like_it", "lost")})
    await reload(as_olga)
    first = await process()
    assert (first.agents_state, first.agents_error) == ("loaded", "")
    assert first.agents == {"lost": "broken", "speaker": "loaded"}
    edit(saying("import nothing_like_it"))
    await reload(as_olga)
    second = await process()
    assert second.agents_generation > first.agents_generation
    assert second.agents == {"lost": "broken", "speaker": "last_good"}


async def test_a_process_that_starts_later_loads_the_newest_files(
    write_agents: WriteAsync, edit: Any, as_alice: Client, as_olga: Client
) -> None:
    await write_agents(speaker("old"))
    await reload(as_olga)
    generation = (await process()).agents_generation
    edit(speaker("brand new"))
    await supervisor.shut_down()
    await supervisor.start()
    assert await said(as_alice) == "brand new"
    started = await process()
    assert (started.agents_generation, started.agents_state) == (generation, "loaded")


async def test_a_process_whose_row_was_deleted_reports_its_agents_again(
    write_agents: WriteAsync, as_olga: Client
) -> None:
    await write_agents(speaker("one"))
    await reload(as_olga)
    before = await process()
    await Process.objects.filter(pk=before.pk).adelete()
    await supervisor._renew_and_sweep_once()
    after = await process()
    assert after.pk != before.pk
    assert (after.agents_generation, after.agents) == (before.agents_generation, {"speaker": "loaded"})


# --- broken code ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        {"speaker/words.py": "def word(:"},
        {"speaker/words.py": "raise SystemExit(3)"},
        {"speaker/agent.py": "root_agent = 'me'"},
        {"speaker.py": ""},
    ],
    ids=["syntax", "exit", "no agent", "two of one name"],
)
async def test_an_agent_that_is_broken_now_keeps_its_last_good_version(
    write_agents: WriteAsync, edit: Any, as_alice: Client, as_olga: Client, broken: dict[str, str]
) -> None:
    await write_agents(speaker("good"))
    await reload(as_olga)
    edit(broken)
    await reload(as_olga)
    assert await agents(as_alice) == {"speaker": (True, None)}
    assert await said(as_alice) == "good"
    assert (await process()).agents == {"speaker": "last_good"}


async def test_an_agent_that_never_loads_is_given_up_and_keeps_its_last_good_version(
    write_agents: WriteAsync, edit: Any, as_alice: Client, as_olga: Client, settings: Any
) -> None:
    # A name that no other test uses: the abandoned thread locks the import of the module for good.
    await write_agents(speaker("good", "forever"))
    assert await said(as_alice, "forever") == "good"
    settings.AGENT_LOAD_SECONDS = 1
    edit({"forever/words.py": "import time\nwhile True: time.sleep(0.05)"})
    await reload(as_olga)
    assert await said(as_alice, "forever") == "good"
    assert (await process()).agents == {"forever": "last_good"}


async def test_the_last_good_version_imports_its_own_modules(
    write_agents: WriteAsync, edit: Any, as_alice: Client, as_olga: Client
) -> None:
    late = "async def word():\n    from . import rest\n    return rest.WORD\n"
    await write_agents({**saying(late), "speaker/rest.py": 'WORD = "good"'})
    assert await said(as_alice) == "good"
    edit({"speaker/agent.py": "from . import rest\nraise RuntimeError", "speaker/rest.py": 'WORD = "broken"'})
    await reload(as_olga)
    assert await said(as_alice) == "good"


async def test_a_mended_agent_answers_with_its_new_version(
    write_agents: WriteAsync, edit: Any, as_alice: Client, as_olga: Client
) -> None:
    await write_agents(speaker("good"))
    edit({"speaker/words.py": "def word(:"})
    await reload(as_olga)
    edit(speaker("mended"))
    await reload(as_olga)
    assert await said(as_alice) == "mended"
    assert (await process()).agents == {"speaker": "loaded"}


async def test_all_agents_stay_if_the_folder_cannot_be_read(
    write_agents: WriteAsync, as_alice: Client, as_olga: Client, settings: Any
) -> None:
    await write_agents(speaker("good"))
    assert await said(as_alice) == "good"
    settings.AGENTS_DIR.rename(settings.AGENTS_DIR.with_name("moved"))
    await reload(as_olga)
    assert await said(as_alice) == "good"
    failed = await process()
    assert failed.agents_state == "failed"
    assert failed.agents_error.startswith("FileNotFoundError: ")


# --- runs in progress -----------------------------------------------------------------------------

CLOSING_AGENT = """
    from pathlib import Path

    from google.adk.agents import Agent
    from google.adk.tools.base_toolset import BaseToolset


    class Toolset(BaseToolset):
        async def get_tools(self, readonly_context=None):
            return []

        async def close(self):
            (Path(__file__).parent / "closed").touch()


    root_agent = Agent(name="root", model="gemini-2.5-flash", tools=[Toolset()])
"""


async def test_a_run_in_progress_finishes_on_the_version_that_began_it(
    write_agents: WriteAsync, edit: Any, as_alice: Client, as_olga: Client, settings: Any
) -> None:
    await write_agents(saying(PATIENT))
    folder: Path = settings.AGENTS_DIR / "speaker"
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(said(as_alice))
        await auntil((folder / "begun").exists)
        edit(speaker("brand new"))
        await reload(as_olga)
        assert await said(as_alice) == "brand new"
        assert not answer.done()
        (folder / "go").touch()
    assert answer.result() == "old"


async def test_a_replaced_agent_is_closed_after_its_last_run(
    write_agents: WriteAsync, edit: Any, as_alice: Client, as_olga: Client, settings: Any, gemini: Gemini
) -> None:
    gemini.on("slow", [Text("a"), Hold(), Text("b")])
    await write_agents({**saying(PATIENT), "speaker/agent.py": CLOSING_AGENT})
    closed = settings.AGENTS_DIR / "speaker" / "closed"
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "slow", "agent": "speaker"}) as run:
        await run.until("text")
        edit(speaker("brand new"))
        await reload(as_olga)
        assert not closed.exists()
        gemini.release()
        assert text_of(await run.all_events()) == "b"
    await auntil(closed.exists)


async def test_a_replaced_agent_without_a_run_is_closed(
    write_agents: WriteAsync, edit: Any, as_olga: Client, settings: Any
) -> None:
    await write_agents({**saying(PATIENT), "speaker/agent.py": CLOSING_AGENT})
    assert list(await agents(as_olga)) == ["speaker"]  # loads it
    await reload(as_olga)
    closed = settings.AGENTS_DIR / "speaker" / "closed"
    await auntil(closed.exists)


async def test_a_reload_does_not_block_the_event_loop(
    write_agents: WriteAsync, edit: Any, as_alice: Client, as_olga: Client
) -> None:
    await write_agents(speaker("one"))
    assert await said(as_alice) == "one"
    edit({"slow.py": "import time; time.sleep(1.5)"})
    reloading = asyncio.ensure_future(reload(as_olga))
    await auntil(lambda: supervisor._agents["agents_state"] == "loading")
    assert await said(as_alice) == "one"
    assert not reloading.done()
    await reloading


async def test_only_the_owner_reloads(write_agents: WriteAsync, as_alice: Client, as_mona: Client) -> None:
    await write_agents(speaker("one"))
    before = await process()
    refused = await as_alice.post(PAGE, form={})
    assert (refused.status, refused.headers["location"]) == (302, f"/admin/login/?next={PAGE}")
    assert (await as_mona.post(PAGE, form={})).status == 403
    assert (await as_mona.post(PAGE, form={}, csrf=False)).status == 403
    assert (await process()).agents_generation == before.agents_generation


async def test_a_reload_needs_a_csrf_token(write_agents: WriteAsync, as_olga: Client) -> None:
    await write_agents(speaker("one"))
    before = await process()
    assert (await as_olga.post(PAGE, form={}, csrf=False)).status == 403
    assert (await process()).agents_generation == before.agents_generation


def test_parleys_own_modules_are_never_an_agents() -> None:
    dropped = importing.drop_modules(ROOT)  # as AGENTS_DIR=. would
    sys.modules.update(dropped)
    assert not {"chat", "config", "accounts"} & {name.partition(".")[0] for name in dropped}


async def test_replaced_agents_are_freed(
    write_agents: WriteAsync, as_alice: Client, as_olga: Client, gemini: Gemini
) -> None:
    await write_agents({**saying(PATIENT), "speaker/agent.py": CLOSING_AGENT})
    for _ in range(3):
        assert await said(as_alice) == "You said: Hello"
        await reload(as_olga)
    await auntil(lambda: living_runners("speaker") == 1)


def living_runners(name: str) -> int:
    gc.collect()
    return sum(type(each) is Runner and each.app_name == name for each in gc.get_objects())
