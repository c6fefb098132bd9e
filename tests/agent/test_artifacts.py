"""Artifacts through the application: what a reply shows, limits, members kept apart, and branches."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from accounts.models import User
from chat.agent.agents import catalog
from chat.files.models import Artifact, File
from tests.support import oracle
from tests.support.client import Client
from tests.support.files import PNG
from tests.support.gemini import Call, Gemini, Picture, Text
from tests.support.talk import Said, Talk

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

DESK = """
    from google.adk.agents import Agent
    from google.adk.tools import load_artifacts
    from google.genai import types

    async def save(name: str, text: str, tool_context) -> dict:
        \"\"\"Saves a text.\"\"\"
        return {"version": await tool_context.save_artifact(name, types.Part(text=text))}

    async def read(name: str, tool_context) -> dict:
        \"\"\"Reads it.\"\"\"
        found = await tool_context.load_artifact(name)
        return {"text": found and found.text, "all": await tool_context.list_artifacts()}

    async def fill(megabytes: int, tool_context) -> dict:
        \"\"\"Saves much.\"\"\"
        part = types.Part.from_bytes(data=bytes(megabytes * 1024 * 1024), mime_type="application/x")
        return {"version": await tool_context.save_artifact("much", part)}

    root_agent = Agent(name="desk", model="gemini-2.5-flash", tools=[save, read, fill, load_artifacts])
"""


def results(said: Said) -> list[Any]:
    return [
        data.get("result", data.get("error"))
        for data in (event.json() for event in said.named("tool.returned"))
    ]


def files(said: Said) -> list[tuple[str, int]]:
    found = [event.json() for event in said.named("file")]
    return [(data["artifact"], data["version"]) for data in found]


async def test_a_file_that_a_tool_saves_can_be_read_in_a_later_turn(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"desk/agent.py": DESK})
    gemini.on("Save", [Call("save", {"name": "plan.txt", "text": "Begin."})], [Text("Saved.")])
    gemini.on("Read", [Call("read", {"name": "plan.txt"})], [Text("Read.")])
    talk = Talk(as_alice)
    said = await talk.ask("Save", agent="desk")
    assert (said.end, said.text, results(said)) == ("run.completed", "Saved.", [{"version": 0}])
    said = await talk.ask("Read")
    assert results(said) == [{"text": "Begin.", "all": ["plan.txt"]}]
    await oracle.acheck([said.events])


async def test_an_artifact_is_shown_with_its_name_and_version(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"desk/agent.py": DESK})
    gemini.on(
        "Save",
        [Call("save", {"name": "<b>.txt", "text": "1"}), Call("save", {"name": "user:n", "text": "2"})],
        [Call("save", {"name": "<b>.txt", "text": "3"})],
        [Text("Saved.")],
    )
    talk = Talk(as_alice)
    said = await talk.ask("Save", agent="desk")
    assert files(said) == [("<b>.txt", 0), ("user:n", 0), ("<b>.txt", 1)]
    items = (await talk.reply())["parts"]["items"]
    assert [item["type"] for item in items] == ["tool", "tool", "file", "file", "tool", "file", "text"]
    file = await File.objects.aget(artifact__name="<b>.txt", artifact__version=0)
    assert items[2] == {
        "type": "file",
        "agent": "desk",
        **file.as_item(),
        "artifact": "<b>.txt",
        "version": 0,
    }
    assert (items[3]["name"], items[3]["mime"], items[3]["size"]) == ("n", "text/plain", 1)
    for item, data in ((items[2], b"1"), (items[5], b"3")):
        assert (await as_alice.get(f"/files/{item['file']}/x")).body == data
    await oracle.acheck([said.events])


CALLBACKS = {
    "before_agent": "callback_context",
    "after_agent": "callback_context",
    "before_model": "callback_context, llm_request",
    "after_model": "callback_context, llm_response",
    "before_tool": "tool, args, tool_context",
    "after_tool": "tool, args, tool_context, tool_response",
}


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("streams", [True, False])
async def test_a_file_that_a_callback_saves_is_a_step(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, callback: str, streams: bool
) -> None:
    arguments = CALLBACKS[callback]
    context = "tool_context" if "tool_context" in arguments else "callback_context"
    code = f"""
        from google.adk.agents import Agent
        from google.genai import types

        done = []

        async def keep({arguments}):
            if not done:
                done.append(await {context}.save_artifact("kept.txt", types.Part(text="x")))

        def look() -> dict:
            \"\"\"Looks.\"\"\"
            return {{"seen": True}}

        root_agent = Agent(
            name="keeper", model="gemini-2.5-flash", tools=[look], {callback}_callback=keep
        )
    """
    await write_agents({"keeper/agent.py": code})
    gemini.on("Look", [Text("I look."), Call("look")], [Text("Seen"), Text(".")])
    talk = Talk(as_alice)
    if streams:
        said = await talk.ask("Look", agent="keeper")
        assert (said.end, files(said)) == ("run.completed", [("kept.txt", 0)])
    else:
        assert (await talk.ask_whole("Look", agent="keeper"))["status"] == "completed"
    items = (await talk.reply())["parts"]["items"]
    assert [item["name"] for item in items if item["type"] == "file"] == ["kept.txt"]


async def test_members_cannot_read_each_others_files(
    write_agents: WriteAsync, as_alice: Client, as_bob: Client, gemini: Gemini
) -> None:
    await write_agents({"desk/agent.py": DESK})
    for name in ("plan.txt", "user:plan.txt"):
        gemini.on("Alice saves", [Call("save", {"name": name, "text": "alice's"})], [Text("Saved.")])
        gemini.on("Read", [Call("read", {"name": name})], [Text("Read.")])
        await Talk(as_alice).ask("Alice saves", agent="desk")
        assert results(await Talk(as_bob).ask("Read", agent="desk")) == [{"text": None, "all": []}]
    gemini.on("Bob saves", [Call("save", {"name": "user:plan.txt", "text": "bob's"})], [Text("Saved.")])
    await Talk(as_bob).ask("Bob saves", agent="desk")
    gemini.on("Read", [Call("read", {"name": "user:plan.txt"})], [Text("Read.")])
    said = await Talk(as_alice).ask("Read", agent="desk")
    assert results(said) == [{"text": "alice's", "all": ["user:plan.txt"]}]


@pytest.mark.parametrize("limit", ["FILE_MAX_BYTES", "FILES_QUOTA_BYTES"])
async def test_the_model_sees_an_error_for_an_artifact_over_a_limit(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, settings: Any, limit: str
) -> None:
    setattr(settings, limit, 1024 * 1024)
    await write_agents({"desk/agent.py": DESK})
    gemini.on("Fill", [Call("fill", {"megabytes": 2})], [Text("Too much.")])
    said = await Talk(as_alice).ask("Fill", agent="desk")
    assert (said.end, said.text, files(said)) == ("run.completed", "Too much.", [])
    assert "'much' cannot be saved" in results(said)[0]
    assert "at most 1 MiB" in results(said)[0]
    assert not await Artifact.objects.aexists()
    assert not await File.objects.aexists()


async def test_load_artifacts_sends_the_file_to_the_model(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"desk/agent.py": DESK})
    gemini.on("Save", [Call("save", {"name": "a.txt", "text": "the secret"})], [Text("Saved.")])
    talk = Talk(as_alice)
    assert (await talk.ask("Hello", agent="desk")).end == "run.completed"
    await talk.ask("Save")
    gemini.on_agent("desk", [Call("load_artifacts", {"artifact_names": ["a.txt"]})], [Text("Loaded.")])
    assert (await talk.ask("Load")).text == "Loaded."
    assert "the secret" in str(gemini.requests[-1]["contents"][-1])


INSTRUCTED = """
    from google.adk.agents import Agent
    from google.genai import types

    async def keep(callback_context):
        await callback_context.save_artifact("rules.txt", types.Part(text="Speak in rhymes."))

    root_agent = Agent(
        name="poet", model="gemini-2.5-flash", before_agent_callback=keep,
        instruction="Follow: {artifact.rules.txt}. Or: {artifact.nothing?}.",
    )
"""


async def test_artifact_placeholders_of_an_instruction_are_filled_in(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"poet/agent.py": INSTRUCTED})
    assert (await Talk(as_alice).ask("Hello", agent="poet")).text == "You said: Hello"
    assert "Speak in rhymes." in str(gemini.requests[-1]["systemInstruction"])


# --- branches -------------------------------------------------------------------------------------


def save(text: str, name: str = "plan.txt") -> list[Any]:
    return [Call("save", {"name": name, "text": text})]


@pytest.fixture
async def talk(write_agents: WriteAsync, as_alice: Client, gemini: Gemini) -> Talk:
    """Return a conversation whose second turn saved "one"."""
    await write_agents({"desk/agent.py": DESK})
    for n in ("one", "two", "three"):
        gemini.on(f"Save {n}", save(n), [Text("Saved.")])
    gemini.on("Read", [Call("read", {"name": "plan.txt"})], [Text("Read.")])
    talk = Talk(as_alice)
    await talk.ask("Hello", agent="desk")
    await talk.ask("Save one")
    return talk


async def seen(talk: Talk, gemini: Gemini, **fields: Any) -> Any:
    """Return what the agent reads in the next turn, without a version."""
    gemini.on("Read", [Call("read", {"name": "plan.txt"})], [Text("Read.")])
    return results(await talk.ask("Read", **fields))[0]["text"]


@pytest.mark.any_database
async def test_an_edited_branch_does_not_inherit_what_another_one_saved(talk: Talk, gemini: Gemini) -> None:
    hello = (await talk.messages())[1]["id"]
    head = (await talk.reply())["id"]
    assert await seen(talk, gemini, parent=hello) is None
    said = await talk.ask("Save two")
    assert results(said) == [{"version": 1}]  # the number is the conversation's
    assert await seen(talk, gemini) == "two"
    assert await seen(talk, gemini, parent=head) == "one"


async def test_a_regenerated_reply_has_its_own_version(talk: Talk, gemini: Gemini) -> None:
    prompt, first = (await talk.messages())[-2:]
    gemini.on("Save one", [Call("read", {"name": "plan.txt"})], save("again"), [Text("Saved.")])
    said = await talk.ask(prompt=prompt["id"])
    assert results(said) == [{"text": None, "all": []}, {"version": 1}]
    assert await seen(talk, gemini) == "again"
    assert await seen(talk, gemini, parent=first["id"]) == "one"


async def test_an_explicit_version_is_that_of_any_branch(talk: Talk, alice: User) -> None:
    await talk.ask("Save two", parent=None)
    ids = {"app_name": "desk", "user_id": str(alice.pk), "session_id": talk.conversation}
    service: Any = catalog.artifact_service
    assert await service.list_versions(**ids, filename="plan.txt") == [1]  # the active branch
    old = await service.load_artifact(**ids, filename="plan.txt", version=0)
    assert old.text == "one"


async def test_outside_a_run_the_active_branch_counts(talk: Talk, alice: User) -> None:
    first = (await talk.reply())["id"]
    await talk.ask("Save two", parent=None)
    ids = {"app_name": "desk", "user_id": str(alice.pk), "session_id": talk.conversation}
    service: Any = catalog.artifact_service
    assert (await service.load_artifact(**ids, filename="plan.txt")).text == "two"
    answer = await talk.client.request(
        "PATCH", f"/api/v1/conversations/{talk.conversation}", json_body={"head": first}
    )
    assert answer.status == 200
    assert (await service.load_artifact(**ids, filename="plan.txt")).text == "one"


async def test_versions_of_an_abandoned_attempt_keep_their_number_and_are_on_no_branch(
    talk: Talk, gemini: Gemini
) -> None:
    # as a process leaves them that lost its run, and goes on
    await Artifact.objects.aupdate(attempt=7)
    assert await seen(talk, gemini) is None
    assert results(await talk.ask("Save two")) == [{"version": 1}]


async def test_artifacts_of_the_member_have_no_branches(talk: Talk, gemini: Gemini, as_alice: Client) -> None:
    gemini.on("Share", save("shared", "user:plan.txt"), [Text("Saved.")])
    await talk.ask("Share")
    gemini.on("Read it", [Call("read", {"name": "user:plan.txt"})], [Text("Read.")])
    said = await Talk(as_alice).ask("Read it", agent="desk")
    assert results(said) == [{"text": "shared", "all": ["user:plan.txt"]}]


async def test_what_a_deleted_artifact_was_shown_with_stays(talk: Talk, alice: User) -> None:
    item = (await talk.reply())["parts"]["items"][1]
    ids = {"app_name": "desk", "user_id": str(alice.pk), "session_id": talk.conversation}
    service: Any = catalog.artifact_service
    await service.delete_artifact(**ids, filename="plan.txt")
    assert await service.list_artifact_keys(**ids) == []
    assert (await talk.client.get(f"/files/{item['file']}/x")).body == b"one"


PAINTER = """
    from google.adk.agents import Agent
    from google.genai import types

    async def keep(callback_context, llm_response):
        for part in llm_response.content.parts if llm_response.content else []:
            if part.inline_data and not llm_response.partial:
                await callback_context.save_artifact("drawing.png", part)

    root_agent = Agent(name="painter", model="gemini-2.5-flash", after_model_callback=keep)
"""


async def test_a_picture_that_is_also_an_artifact_is_shown_once(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"painter/agent.py": PAINTER})
    gemini.on("Draw", [Picture(PNG)])
    for ask in ("ask", "ask_whole"):
        talk = Talk(as_alice)
        await getattr(talk, ask)("Draw", agent="painter")
        items = [item for item in (await talk.reply())["parts"]["items"] if item["type"] == "file"]
        assert len(items) == 1
    assert (items[0]["artifact"], items[0]["version"]) == ("drawing.png", 0)
