"""The temporary artifact service: ADK's contract, the memory limit, and members' files kept apart.

The tests of the contract run on ADK's in-memory service and on ours, the others through the application.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.adk.artifacts import BaseArtifactService, InMemoryArtifactService, artifact_util
from google.adk.errors.input_validation_error import InputValidationError
from google.genai import types

from chat.agent.agents import catalog
from chat.agent.memory.artifact_service import OVERHEAD_BYTES, TemporaryArtifactService
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text
from tests.support.talk import Said, Talk

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

KEPT = "kept until the server restarts"
MINE: dict[str, Any] = {"app_name": "desk", "user_id": "1", "session_id": "a"}
MIB = 1024 * 1024


def text(value: str) -> types.Part:
    return types.Part(text=value)


def reference(uri: str) -> types.Part:
    return types.Part(file_data=types.FileData(file_uri=f"artifact://apps/{uri}", mime_type="text/plain"))


# --- ADK's contract -------------------------------------------------------------------------------


@pytest.fixture(params=[InMemoryArtifactService, TemporaryArtifactService])
def service(request: pytest.FixtureRequest) -> BaseArtifactService:
    made: BaseArtifactService = request.param()
    return made


async def test_versions_count_from_zero_and_the_newest_is_loaded(service: BaseArtifactService) -> None:
    saved = [await service.save_artifact(**MINE, filename="x", artifact=text(each)) for each in "abc"]
    assert saved == await service.list_versions(**MINE, filename="x") == [0, 1, 2]
    assert await service.load_artifact(**MINE, filename="x") == text("c")
    assert await service.load_artifact(**MINE, filename="x", version=0) == text("a")
    assert await service.load_artifact(**MINE, filename="x", version=3) is None
    assert await service.load_artifact(**MINE, filename="x", version=-1) is None


async def test_a_missing_file_is_none_or_empty(service: BaseArtifactService) -> None:
    await service.delete_artifact(**MINE, filename="x")
    assert await service.load_artifact(**MINE, filename="x") is None
    assert await service.get_artifact_version(**MINE, filename="x") is None
    assert await service.list_versions(**MINE, filename="x") == []
    assert await service.list_artifact_versions(**MINE, filename="x") == []
    assert await service.list_artifact_keys(**MINE) == []


async def test_all_names_are_listed_and_sorted(service: BaseArtifactService) -> None:
    for name in ("z.txt", "user:b", "a/b.txt", "ä"):
        await service.save_artifact(**MINE, filename=name, artifact=text(name))
    assert await service.list_artifact_keys(**MINE) == ["a/b.txt", "user:b", "z.txt", "ä"]
    assert await service.list_artifact_keys(app_name="desk", user_id="1") == ["user:b"]


async def test_user_files_are_shared_by_conversations_and_others_are_not(
    service: BaseArtifactService,
) -> None:
    await service.save_artifact(**MINE, filename="user:x", artifact=text("everywhere"))
    await service.save_artifact(**MINE, filename="x", artifact=text("here"))
    other = MINE | {"session_id": "b"}
    assert await service.load_artifact(**other, filename="user:x") == text("everywhere")
    assert await service.load_artifact(**other, filename="x") is None
    assert await service.save_artifact(**other, filename="user:x", artifact=text("changed")) == 1
    assert await service.load_artifact(**MINE, filename="user:x") == text("changed")


@pytest.mark.parametrize("other", [{"user_id": "2"}, {"app_name": "other"}, {"session_id": "b"}])
async def test_the_same_name_in_another_scope_is_another_file(
    service: BaseArtifactService, other: dict[str, str]
) -> None:
    await service.save_artifact(**MINE, filename="x", artifact=text("mine"))
    theirs = MINE | other
    assert await service.load_artifact(**theirs, filename="x") is None
    assert await service.list_artifact_keys(**theirs) == []
    assert await service.save_artifact(**theirs, filename="x", artifact=text("theirs")) == 0
    await service.delete_artifact(**theirs, filename="x")
    assert await service.load_artifact(**MINE, filename="x") == text("mine")


async def test_deletion_removes_every_version_and_is_idempotent(service: BaseArtifactService) -> None:
    for each in "ab":
        await service.save_artifact(**MINE, filename="x", artifact=text(each))
    await service.save_artifact(**MINE, filename="y", artifact=text("stays"))
    for _ in range(2):
        await service.delete_artifact(**MINE, filename="x")
    assert await service.list_artifact_keys(**MINE) == ["y"]
    assert await service.save_artifact(**MINE, filename="x", artifact=text("new")) == 0


async def test_metadata_and_type_are_kept_with_each_version(service: BaseArtifactService) -> None:
    picture = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    await service.save_artifact(**MINE, filename="x", artifact=picture, custom_metadata={"n": 1})
    await service.save_artifact(**MINE, filename="x", artifact=text("t"))
    first, second = await service.list_artifact_versions(**MINE, filename="x")
    assert (first.version, first.mime_type, first.custom_metadata) == (0, "image/png", {"n": 1})
    assert (second.version, second.mime_type, second.custom_metadata) == (1, "text/plain", {})
    assert "/users/1/sessions/a/artifacts/x/versions/1" in second.canonical_uri
    assert await service.get_artifact_version(**MINE, filename="x") == second
    assert await service.get_artifact_version(**MINE, filename="x", version=0) == first
    assert await service.get_artifact_version(**MINE, filename="x", version=2) is None


async def test_a_plain_dictionary_is_a_part(service: BaseArtifactService) -> None:
    plain = {"inlineData": {"mimeType": "text/csv", "data": "YSxi"}}
    await service.save_artifact(**MINE, filename="x", artifact=plain)
    loaded = await service.load_artifact(**MINE, filename="x")
    assert loaded and loaded.inline_data and loaded.inline_data.data == b"a,b"


async def test_saved_and_loaded_files_are_copies(service: BaseArtifactService) -> None:
    part, metadata = text("as saved"), {"list": [1]}
    await service.save_artifact(**MINE, filename="x", artifact=part, custom_metadata=metadata)
    part.text = "changed"
    metadata["list"].append(2)
    loaded = await service.load_artifact(**MINE, filename="x")
    assert loaded == text("as saved")
    loaded.text = "changed"
    assert await service.load_artifact(**MINE, filename="x") == text("as saved")
    about = await service.get_artifact_version(**MINE, filename="x")
    assert about and about.custom_metadata == {"list": [1]}


async def test_a_version_removed_by_a_rewind_is_absent_and_keeps_its_number(
    service: BaseArtifactService,
) -> None:
    await service.save_artifact(**MINE, filename="x", artifact=text("before"))
    await service.save_artifact(**MINE, filename="x", artifact=artifact_util._new_rewind_tombstone())
    assert await service.load_artifact(**MINE, filename="x") is None
    assert await service.load_artifact(**MINE, filename="x", version=0) == text("before")
    assert await service.save_artifact(**MINE, filename="x", artifact=text("after")) == 2


async def test_a_reference_loads_its_target(service: BaseArtifactService) -> None:
    await service.save_artifact(**MINE, filename="x", artifact=text("target"))
    await service.save_artifact(**MINE, filename="user:y", artifact=text("shared"))
    to_x = reference("desk/users/1/sessions/a/artifacts/x/versions/0")
    to_y = reference("desk/users/1/artifacts/user:y/versions/0")
    await service.save_artifact(**MINE, filename="r", artifact=to_x)
    await service.save_artifact(**MINE, filename="s", artifact=to_y)
    assert await service.load_artifact(**MINE, filename="r") == text("target")
    assert await service.load_artifact(**MINE, filename="s") == text("shared")
    about = await service.get_artifact_version(**MINE, filename="r")
    assert about and about.mime_type is None


@pytest.mark.parametrize(
    "uri",
    [
        "desk/users/2/sessions/a/artifacts/x/versions/0",
        "other/users/1/sessions/a/artifacts/x/versions/0",
        "desk/users/1/sessions/b/artifacts/x/versions/0",
        "desk/users/2/artifacts/user:x/versions/0",
        "desk/users/1/sessions/a/artifacts/x/versions/new",
        "nothing",
    ],
)
async def test_a_reference_out_of_scope_is_refused(service: BaseArtifactService, uri: str) -> None:
    with pytest.raises(InputValidationError):
        await service.save_artifact(**MINE, filename="r", artifact=reference(uri))


async def test_circular_references_are_refused(service: BaseArtifactService) -> None:
    circle = reference("desk/users/1/sessions/a/artifacts/r/versions/0")
    await service.save_artifact(**MINE, filename="r", artifact=circle)
    with pytest.raises(InputValidationError):
        await service.load_artifact(**MINE, filename="r")


@pytest.mark.parametrize("part", [types.Part(), types.Part(function_call=types.FunctionCall(name="x"))])
async def test_unsupported_content_is_refused(service: BaseArtifactService, part: types.Part) -> None:
    with pytest.raises(InputValidationError):
        await service.save_artifact(**MINE, filename="x", artifact=part)
    assert await service.list_artifact_keys(**MINE) == []


async def test_a_file_of_a_conversation_needs_a_session_id(service: BaseArtifactService) -> None:
    with pytest.raises(InputValidationError):
        await service.save_artifact(app_name="desk", user_id="1", filename="x", artifact=text("t"))


# --- the memory limit -----------------------------------------------------------------------------


def blob(size: int) -> types.Part:
    return types.Part.from_bytes(data=b"x" * size, mime_type="application/x")


async def test_the_oldest_version_of_any_member_is_dropped_first() -> None:
    service = TemporaryArtifactService(3 * MIB)
    bobs = MINE | {"user_id": "2"}
    await service.save_artifact(**bobs, filename="x", artifact=blob(MIB))
    for _ in range(3):
        await service.save_artifact(**MINE, filename="x", artifact=blob(MIB - OVERHEAD_BYTES - 500))
    assert await service.list_artifact_keys(**bobs) == []
    assert await service.list_versions(**MINE, filename="x") == [0, 1, 2]
    assert await service.save_artifact(**MINE, filename="x", artifact=blob(MIB)) == 3
    assert await service.list_versions(**MINE, filename="x") == [2, 3]
    assert await service.load_artifact(**MINE, filename="x", version=1) is None
    assert await service.load_artifact(**MINE, filename="x", version=2) is not None


@pytest.mark.parametrize(
    "part",
    [
        blob(MIB),
        text("é" * (MIB // 2)),
        types.Part(text="t", thought_signature=b"s" * MIB),
        types.Part(file_data=types.FileData(file_uri="gs://" + "x" * MIB, mime_type="text/plain")),
    ],
    ids=["bytes", "text", "signature", "URI"],
)
async def test_a_file_over_the_limit_is_refused_and_drops_no_other(part: types.Part) -> None:
    service = TemporaryArtifactService(MIB)
    await service.save_artifact(**MINE, filename="small", artifact=text("stays"))
    with pytest.raises(InputValidationError, match=f"at most {MIB} are kept"):
        await service.save_artifact(**MINE, filename="large", artifact=part)
    assert await service.list_artifact_keys(**MINE) == ["small"]


async def test_names_metadata_and_empty_files_count_against_the_limit() -> None:
    service = TemporaryArtifactService(MIB)
    for n in range(2000):
        await service.save_artifact(**MINE, filename=f"{n}", artifact=text(""))
    assert len(await service.list_artifact_keys(**MINE)) <= MIB // OVERHEAD_BYTES
    for filename, metadata in (("n" * MIB, {}), ("m", {"x": "m" * MIB})):
        with pytest.raises(InputValidationError):
            await service.save_artifact(
                **MINE, filename=filename, artifact=text(""), custom_metadata=metadata
            )


def test_concurrent_saves_from_several_event_loops_lose_nothing() -> None:
    service = TemporaryArtifactService()

    def work(n: int) -> list[int]:
        async def save() -> list[int]:
            each: dict[str, Any] = {"filename": "x", "artifact": text(f"{n}")}
            return [await service.save_artifact(**MINE, **each) for _ in range(50)]

        return asyncio.run(save())

    with ThreadPoolExecutor(8) as pool:
        saved = sorted(version for versions in pool.map(work, range(8)) for version in versions)
    assert saved == list(range(400))


# --- through the application ----------------------------------------------------------------------

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


@pytest.fixture
def empty_service(monkeypatch: pytest.MonkeyPatch) -> TemporaryArtifactService:
    """Return an empty service, as after a restart, that the application uses."""
    service = TemporaryArtifactService()
    monkeypatch.setattr(catalog, "artifact_service", service)
    return service


def results(said: Said) -> list[Any]:
    return [
        data.get("result", data.get("error"))
        for data in (event.json() for event in said.named("tool.returned"))
    ]


def files(said: Said) -> list[tuple[str, int, str]]:
    found = [event.json() for event in said.named("file")]
    return [(data["name"], data["version"], data["note"]) for data in found]


@pytest.mark.usefixtures("empty_service")
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


@pytest.mark.usefixtures("empty_service")
async def test_a_file_step_shows_its_name_version_and_how_long_it_is_kept(
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
    assert files(said) == [("<b>.txt", 0, KEPT), ("user:n", 0, KEPT), ("<b>.txt", 1, KEPT)]
    items = (await talk.reply())["parts"]["items"]
    assert [item["type"] for item in items] == ["tool", "tool", "file", "file", "tool", "file", "text"]
    assert items[2] == {"type": "file", "agent": "desk", "name": "<b>.txt", "version": 0, "note": KEPT}
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert page.count(f'<span class="file-note">{KEPT}</span>') == 3
    assert '<bdi class="file-name">&lt;b&gt;.txt</bdi>' in page
    assert '<span class="file-version">version 1</span>' in page


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
@pytest.mark.usefixtures("empty_service")
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
        assert (said.end, files(said)) == ("run.completed", [("kept.txt", 0, KEPT)])
    else:
        assert (await talk.ask_whole("Look", agent="keeper"))["status"] == "completed"
    items = (await talk.reply())["parts"]["items"]
    assert [item["name"] for item in items if item["type"] == "file"] == ["kept.txt"]


@pytest.mark.usefixtures("empty_service")
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


@pytest.mark.usefixtures("empty_service")
async def test_the_model_sees_an_error_for_a_file_over_the_limit(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"desk/agent.py": DESK})
    gemini.on("Fill", [Call("fill", {"megabytes": 65})], [Text("Too much.")])
    said = await Talk(as_alice).ask("Fill", agent="desk")
    assert (said.end, said.text, files(said)) == ("run.completed", "Too much.", [])
    assert "67108864 are kept" in results(said)[0]


async def test_a_process_keeps_at_most_64_mib(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, empty_service: TemporaryArtifactService
) -> None:
    await write_agents({"desk/agent.py": DESK})
    for _ in range(5):  # each in its own conversation
        gemini.on("Fill", [Call("fill", {"megabytes": 20})], [Text("Full.")])
        said = await Talk(as_alice).ask("Fill", agent="desk")
        assert results(said) == [{"version": 0}]
    assert sum(stored.size for stored in empty_service._stored.values()) <= 64 * MIB
    assert len(empty_service._stored) == 3


@pytest.mark.usefixtures("empty_service")
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


@pytest.mark.usefixtures("empty_service")
async def test_artifact_placeholders_of_an_instruction_are_filled_in(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"poet/agent.py": INSTRUCTED})
    assert (await Talk(as_alice).ask("Hello", agent="poet")).text == "You said: Hello"
    assert "Speak in rhymes." in str(gemini.requests[-1]["systemInstruction"])


async def test_a_file_is_gone_after_a_restart_and_its_step_remains(
    write_agents: WriteAsync,
    as_alice: Client,
    gemini: Gemini,
    empty_service: TemporaryArtifactService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await write_agents({"desk/agent.py": DESK})
    gemini.on("Save", [Call("save", {"name": "a.txt", "text": "x"})], [Text("Saved.")])
    gemini.on("Load", [Call("load_artifacts", {"artifact_names": ["a.txt"]})], [Text("Gone.")])
    talk = Talk(as_alice)
    await talk.ask("Save", agent="desk")
    monkeypatch.setattr(catalog, "artifact_service", TemporaryArtifactService())
    await catalog.close()
    said = await talk.ask("Load")
    assert (said.end, said.text) == ("run.completed", "Gone.")
    items = (await talk.messages())[1]["parts"]["items"]
    assert [item["note"] for item in items if item["type"] == "file"] == [KEPT]
