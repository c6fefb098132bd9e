"""ADK's contract of artifact services, on ours and on ADK's in-memory one."""

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.adk.artifacts import BaseArtifactService, InMemoryArtifactService, artifact_util
from google.adk.errors.input_validation_error import InputValidationError
from google.genai import types

from accounts.models import User
from chat.agent.memory.artifact_service import StoredArtifactService
from chat.agent.memory.session_service import ConversationSessionService

pytestmark = pytest.mark.any_database

Ids = dict[str, Any]


def text(value: str) -> types.Part:
    return types.Part(text=value)


def reference(uri: str) -> types.Part:
    return types.Part(file_data=types.FileData(file_uri=f"artifact://apps/{uri}", mime_type="text/plain"))


def scope_of(mine: Ids) -> str:
    return f"desk/users/{mine['user_id']}/sessions/{mine['session_id']}"


@pytest.fixture(params=[InMemoryArtifactService, StoredArtifactService])
def service(request: pytest.FixtureRequest) -> BaseArtifactService:
    made: BaseArtifactService = request.param()
    return made


@pytest.fixture
async def mine(alice: User) -> Ids:
    """Return the ids of a conversation of alice with the agent "desk"."""
    return await conversation("desk", alice)


async def conversation(agent: str, user: User) -> Ids:
    session_id = str(uuid.uuid4())
    ids: Ids = {"app_name": agent, "user_id": str(user.pk), "session_id": session_id}
    await ConversationSessionService().create_session(**ids)
    return ids


async def test_versions_count_from_zero_and_the_newest_is_loaded(
    service: BaseArtifactService, mine: Ids
) -> None:
    saved = [await service.save_artifact(**mine, filename="x", artifact=text(each)) for each in "abc"]
    assert saved == await service.list_versions(**mine, filename="x") == [0, 1, 2]
    assert await service.load_artifact(**mine, filename="x") == text("c")
    assert await service.load_artifact(**mine, filename="x", version=0) == text("a")
    assert await service.load_artifact(**mine, filename="x", version=3) is None
    assert await service.load_artifact(**mine, filename="x", version=-1) is None


async def test_a_missing_file_is_none_or_empty(service: BaseArtifactService, mine: Ids) -> None:
    await service.delete_artifact(**mine, filename="x")
    assert await service.load_artifact(**mine, filename="x") is None
    assert await service.get_artifact_version(**mine, filename="x") is None
    assert await service.list_versions(**mine, filename="x") == []
    assert await service.list_artifact_versions(**mine, filename="x") == []
    assert await service.list_artifact_keys(**mine) == []


async def test_all_names_are_listed_and_sorted(service: BaseArtifactService, mine: Ids) -> None:
    for name in ("z.txt", "user:b", "a/b.txt", "ä"):
        await service.save_artifact(**mine, filename=name, artifact=text(name))
    assert await service.list_artifact_keys(**mine) == ["a/b.txt", "user:b", "z.txt", "ä"]
    assert await service.list_artifact_keys(app_name="desk", user_id=mine["user_id"]) == ["user:b"]


async def test_user_files_are_shared_by_conversations_and_others_are_not(
    service: BaseArtifactService, mine: Ids, alice: User
) -> None:
    await service.save_artifact(**mine, filename="user:x", artifact=text("everywhere"))
    await service.save_artifact(**mine, filename="x", artifact=text("here"))
    other = await conversation("desk", alice)
    assert await service.load_artifact(**other, filename="user:x") == text("everywhere")
    assert await service.load_artifact(**other, filename="x") is None
    assert await service.save_artifact(**other, filename="user:x", artifact=text("changed")) == 1
    assert await service.load_artifact(**mine, filename="user:x") == text("changed")


@pytest.mark.parametrize("changed", ["user", "agent", "conversation"])
async def test_the_same_name_in_another_scope_is_another_file(
    service: BaseArtifactService, mine: Ids, changed: str, alice: User, bob: User
) -> None:
    await service.save_artifact(**mine, filename="x", artifact=text("mine"))
    agent, user = ("other" if changed == "agent" else "desk"), (bob if changed == "user" else alice)
    theirs = await conversation(agent, user)
    assert await service.load_artifact(**theirs, filename="x") is None
    assert await service.list_artifact_keys(**theirs) == []
    assert await service.save_artifact(**theirs, filename="x", artifact=text("theirs")) == 0
    await service.delete_artifact(**theirs, filename="x")
    assert await service.load_artifact(**mine, filename="x") == text("mine")


async def test_deletion_removes_every_version_and_is_idempotent(
    service: BaseArtifactService, mine: Ids
) -> None:
    for each in "ab":
        await service.save_artifact(**mine, filename="x", artifact=text(each))
    await service.save_artifact(**mine, filename="y", artifact=text("stays"))
    for _ in range(2):
        await service.delete_artifact(**mine, filename="x")
    assert await service.list_artifact_keys(**mine) == ["y"]
    assert await service.save_artifact(**mine, filename="x", artifact=text("new")) == 0


async def test_metadata_and_type_are_kept_with_each_version(service: BaseArtifactService, mine: Ids) -> None:
    picture = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    await service.save_artifact(**mine, filename="x", artifact=picture, custom_metadata={"n": 1})
    await service.save_artifact(**mine, filename="x", artifact=text("t"))
    first, second = await service.list_artifact_versions(**mine, filename="x")
    assert (first.version, first.mime_type, first.custom_metadata) == (0, "image/png", {"n": 1})
    assert (second.version, second.mime_type, second.custom_metadata) == (1, "text/plain", {})
    assert (
        f"/users/{mine['user_id']}/sessions/{mine['session_id']}/artifacts/x/versions/1"
        in second.canonical_uri
    )
    assert await service.get_artifact_version(**mine, filename="x") == second
    assert await service.get_artifact_version(**mine, filename="x", version=0) == first
    assert await service.get_artifact_version(**mine, filename="x", version=2) is None


async def test_a_plain_dictionary_is_a_part(service: BaseArtifactService, mine: Ids) -> None:
    plain = {"inlineData": {"mimeType": "text/csv", "data": "YSxi"}}
    await service.save_artifact(**mine, filename="x", artifact=plain)
    loaded = await service.load_artifact(**mine, filename="x")
    assert loaded and loaded.inline_data and loaded.inline_data.data == b"a,b"


async def test_saved_and_loaded_files_are_copies(service: BaseArtifactService, mine: Ids) -> None:
    part, metadata = text("as saved"), {"list": [1]}
    await service.save_artifact(**mine, filename="x", artifact=part, custom_metadata=metadata)
    part.text = "changed"
    metadata["list"].append(2)
    loaded = await service.load_artifact(**mine, filename="x")
    assert loaded == text("as saved")
    loaded.text = "changed"
    assert await service.load_artifact(**mine, filename="x") == text("as saved")
    about = await service.get_artifact_version(**mine, filename="x")
    assert about and about.custom_metadata == {"list": [1]}


async def test_a_version_removed_by_a_rewind_is_absent_and_keeps_its_number(
    service: BaseArtifactService,
    mine: Ids,
) -> None:
    await service.save_artifact(**mine, filename="x", artifact=text("before"))
    await service.save_artifact(**mine, filename="x", artifact=artifact_util._new_rewind_tombstone())
    assert await service.load_artifact(**mine, filename="x") is None
    assert await service.load_artifact(**mine, filename="x", version=0) == text("before")
    assert await service.save_artifact(**mine, filename="x", artifact=text("after")) == 2


async def test_a_reference_loads_its_target(service: BaseArtifactService, mine: Ids) -> None:
    await service.save_artifact(**mine, filename="x", artifact=text("target"))
    await service.save_artifact(**mine, filename="user:y", artifact=text("shared"))
    to_x = reference(f"{scope_of(mine)}/artifacts/x/versions/0")
    to_y = reference(f"desk/users/{mine['user_id']}/artifacts/user:y/versions/0")
    await service.save_artifact(**mine, filename="r", artifact=to_x)
    await service.save_artifact(**mine, filename="s", artifact=to_y)
    assert await service.load_artifact(**mine, filename="r") == text("target")
    assert await service.load_artifact(**mine, filename="s") == text("shared")
    about = await service.get_artifact_version(**mine, filename="r")
    assert about and about.mime_type is None


@pytest.mark.parametrize(
    "uri",
    [
        "desk/users/0/sessions/{session_id}/artifacts/x/versions/0",
        "other/users/{user_id}/sessions/{session_id}/artifacts/x/versions/0",
        "desk/users/{user_id}/sessions/another/artifacts/x/versions/0",
        "desk/users/0/artifacts/user:x/versions/0",
        "desk/users/{user_id}/sessions/{session_id}/artifacts/x/versions/new",
        "nothing",
    ],
)
async def test_a_reference_out_of_scope_is_refused(service: BaseArtifactService, mine: Ids, uri: str) -> None:
    with pytest.raises(InputValidationError):
        await service.save_artifact(**mine, filename="r", artifact=reference(uri.format(**mine)))


async def test_circular_references_are_refused(service: BaseArtifactService, mine: Ids) -> None:
    circle = reference(f"{scope_of(mine)}/artifacts/r/versions/0")
    await service.save_artifact(**mine, filename="r", artifact=circle)
    with pytest.raises(InputValidationError):
        await service.load_artifact(**mine, filename="r")


@pytest.mark.parametrize("part", [types.Part(), types.Part(function_call=types.FunctionCall(name="x"))])
async def test_unsupported_content_is_refused(
    service: BaseArtifactService, mine: Ids, part: types.Part
) -> None:
    with pytest.raises(InputValidationError):
        await service.save_artifact(**mine, filename="x", artifact=part)
    assert await service.list_artifact_keys(**mine) == []


async def test_a_file_of_a_conversation_needs_a_session_id(service: BaseArtifactService, mine: Ids) -> None:
    with pytest.raises(InputValidationError):
        await service.save_artifact(
            app_name="desk", user_id=mine["user_id"], filename="x", artifact=text("t")
        )


async def test_an_address_names_the_version(mine: Ids) -> None:
    service = StoredArtifactService()
    await service.save_artifact(**mine, filename="x", artifact=text("t"))
    await service.save_artifact(**mine, filename="user:x", artifact=text("t"))
    for name in ("x", "user:x"):
        about = await service.get_artifact_version(**mine, filename=name)
        assert about
        parsed = artifact_util.parse_artifact_uri(about.canonical_uri)
        assert parsed and (parsed.filename, parsed.version) == (name, 0)


async def test_every_field_of_a_part_comes_back(mine: Ids) -> None:
    service = StoredArtifactService()
    blob = types.Blob(data=bytes(range(256)), mime_type="application/x-own; v=1", display_name="own.x")
    for part in (
        types.Part(inline_data=blob, thought_signature=b"s"),
        types.Part(text="", thought_signature=b"s"),
        types.Part(file_data=types.FileData(file_uri="gs://bucket/x", mime_type="video/mp4")),
        types.Part(inline_data=types.Blob(data=b"", mime_type="text/csv")),
    ):
        await service.save_artifact(**mine, filename="x", artifact=part)
        assert await service.load_artifact(**mine, filename="x") == part


async def test_no_ids_lead_to_anothers_files(mine: Ids, bob: User) -> None:
    service = StoredArtifactService()
    await service.save_artifact(**mine, filename="x", artifact=text("alice's"))
    await service.save_artifact(**mine, filename="user:x", artifact=text("alice's"))
    for ids in (
        mine | {"user_id": str(bob.pk)},
        mine | {"user_id": "alice"},
        mine | {"session_id": "a"},
        mine | {"user_id": f"0{mine['user_id']} "},
        mine | {"user_id": "9" * 30},
    ):
        assert await service.load_artifact(**ids, filename="x") is None
        assert await service.load_artifact(**ids, filename="x", version=0) is None
        with pytest.raises(InputValidationError):
            await service.save_artifact(**ids, filename="x", artifact=text("bob's"))
    assert await service.list_versions(**mine, filename="x") == [0]


def test_concurrent_saves_from_several_event_loops_lose_nothing(transactional_db: None, mine: Ids) -> None:
    service = StoredArtifactService()

    def work(n: int) -> list[int]:
        async def save() -> list[int]:
            return [
                await service.save_artifact(**mine, filename="x", artifact=text(f"{n}-{each}"))
                for each in range(10)
            ]

        return asyncio.run(save())

    with ThreadPoolExecutor(4) as pool:
        saved = sorted(version for versions in pool.map(work, range(4)) for version in versions)
    assert saved == list(range(40))
