"""Files on the wire of the model: a question's, a reply's and a tool's, and what is stored of them."""

import base64
import hashlib
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from PIL import Image

from chat.files.models import File
from chat.models import Run, SessionEvent
from tests.support import oracle
from tests.support.client import Client
from tests.support.files import send
from tests.support.gemini import Call, Gemini, Picture, Text
from tests.support.talk import Said, Talk, use_tools

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]
SIGNATURE = base64.b64encode(b"a thought").decode()


def png(number: int, side: int = 8, size: int = 0) -> bytes:
    """Return a picture, different for each number, with at least ``size`` bytes."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (number % 256, number // 256 % 256, side % 256)).save(file, "PNG")
    data = file.getvalue()
    noise = b"".join(hashlib.sha256(f"{number}-{n}".encode()).digest() for n in range(size // 32 + 1))
    return data + noise if size else data


def inline_in(request: dict[str, Any]) -> list[bytes]:
    """Return the bytes of all files in a request, in order."""
    found = []
    for content in request["contents"]:
        for part in content["parts"]:
            if "inlineData" in part:
                found.append(base64.urlsafe_b64decode(part["inlineData"]["data"]))
            for inner in part.get("functionResponse", {}).get("parts", []):
                blob = inner.get("inlineData") or inner["inline_data"]
                found.append(base64.urlsafe_b64decode(blob["data"]))
    return found


def texts_in(request: dict[str, Any]) -> list[str]:
    return [part["text"] for content in request["contents"] for part in content["parts"] if "text" in part]


def files_of(said: Said) -> list[dict[str, Any]]:
    return [event.json() for event in said.named("file")]


async def payloads() -> list[str]:
    rows = SessionEvent.objects.order_by("run__created_at", "position").values_list("payload", flat=True)
    return [payload async for payload in rows]


async def bytes_of(client: Client, file: str) -> bytes:
    answer = await client.get(f"/files/{file}/x")
    assert answer.status == 200
    return answer.body


@pytest.fixture
def talk(as_alice: Client) -> Talk:
    return Talk(as_alice)


# --- in -------------------------------------------------------------------------------------------


@pytest.mark.any_database
async def test_the_model_gets_the_exact_bytes_of_a_question_in_this_and_later_turns(
    talk: Talk, gemini: Gemini
) -> None:
    picture = png(1, size=50_000)
    sent = await send(talk.client, "cat.png", picture)
    said = await talk.ask("What is it?", files=[sent["id"]])
    assert said.end == "run.completed"
    parts = gemini.requests[-1]["contents"][-1]["parts"]
    assert parts[0] == {"text": "What is it?"}
    assert parts[1]["inlineData"]["mime_type"] == "image/png"
    assert inline_in(gemini.requests[-1]) == [picture]
    await talk.ask("Really?")
    assert inline_in(gemini.requests[-1]) == [picture]
    assert gemini.requests[-1]["contents"][0]["parts"] == parts
    assert max(map(len, await payloads())) < 2_000
    assert "inlineData" not in "".join(await payloads())
    await oracle.acheck([said.events])


async def test_a_question_may_be_files_only(talk: Talk, gemini: Gemini) -> None:
    sent = await send(talk.client, "cat.png", png(1))
    said = await talk.ask("", files=[sent["id"]])
    assert said.end == "run.completed"
    assert [list(part) for part in gemini.requests[-1]["contents"][-1]["parts"]] == [["inlineData"]]


async def test_texts_are_given_as_text_and_others_by_name(talk: Talk, gemini: Gemini) -> None:
    files = [("a.csv", b"x,y\n1,2\n"), ("b.zip", b"PK\x03\x04" + bytes(3_000)), ("c.txt", "é".encode())]
    ids = [(await send(talk.client, name, data))["id"] for name, data in files]
    for _turn in range(2):
        await talk.ask("Read.", files=ids)
        assert texts_in(gemini.requests[-1])[-4:] == [
            "Read.",
            "File a.csv:\n\nx,y\n1,2\n",
            "[file b.zip, application/zip, 3 KB: of a type that cannot be read]",
            "File c.txt:\n\né",
        ]


async def test_a_file_beyond_the_budget_of_a_question_is_named(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.agent.memory.file_parts.INLINE_BYTES", 100_000)
    first, second = png(1, size=60_000), png(2, size=60_000)
    ids = [(await send(talk.client, f"{n}.png", data))["id"] for n, data in enumerate((first, second))]
    await talk.ask("Compare.", files=ids)
    assert inline_in(gemini.requests[-1]) == [first]
    assert (
        texts_in(gemini.requests[-1])[-1]
        == "[file 1.png, image/png, 60 KB: too large beside the other files]"
    )


async def test_an_edit_and_a_regenerated_reply_have_their_files(talk: Talk, gemini: Gemini) -> None:
    picture, other = png(1), png(2)
    sent = await send(talk.client, "1.png", picture)
    said = await talk.ask("What?", files=[sent["id"]])
    await talk.ask(prompt=said.prompt)
    assert inline_in(gemini.requests[-1]) == [picture]
    again = await send(talk.client, "2.png", other)
    await talk.ask("And what?", parent=None, files=[again["id"]])
    assert inline_in(gemini.requests[-1]) == [other]


async def test_the_question_of_a_run_that_never_started_keeps_its_files(talk: Talk, gemini: Gemini) -> None:
    picture = png(1)
    sent = await send(talk.client, "1.png", picture)
    said = await talk.ask("What?", files=[sent["id"]])
    await SessionEvent.objects.filter(run_id=said.run).adelete()  # as a run that was stopped in the queue
    await talk.ask("And?")
    assert inline_in(gemini.requests[-1]) == [picture]
    assert texts_in(gemini.requests[-1])[0] == "What?"


async def test_a_file_that_was_erased_is_words(talk: Talk, gemini: Gemini) -> None:
    sent = await send(talk.client, "cat.png", png(1))
    await talk.ask("What?", files=[sent["id"]])
    await File.objects.all().adelete()
    assert (await talk.ask("And?")).end == "run.completed"
    assert inline_in(gemini.requests[-1]) == []
    assert "[picture cat.png, which no longer exists]" in texts_in(gemini.requests[-1])


# --- out ------------------------------------------------------------------------------------------


@pytest.mark.any_database
@pytest.mark.parametrize("streams", [True, False], ids=["streamed", "whole"])
async def test_a_picture_of_a_reply_is_shown_in_its_place_and_goes_back_with_its_signature(
    talk: Talk, gemini: Gemini, streams: bool
) -> None:
    picture = png(3, side=40, size=50_000)
    gemini.on("Draw", [Text("Here: "), Picture(picture, signature=SIGNATURE), Text("Do you like it?")])
    ask = talk.ask if streams else talk.ask_whole
    await ask("Draw")
    reply = await talk.reply()
    assert [item["type"] for item in reply["parts"]["items"]] == ["text", "file", "text"]
    item = reply["parts"]["items"][1]
    assert (item["name"], item["mime"], item["size"]) == ("picture.png", "image/png", len(picture))
    assert (item["width"], item["height"]) == (40, 40)
    assert await bytes_of(talk.client, item["file"]) == picture
    stored = "".join(await payloads())
    assert "inlineData" not in stored and item["file"] in stored
    await talk.ask("Yes.")
    parts = gemini.requests[-1]["contents"][1]["parts"]
    assert inline_in(gemini.requests[-1]) == [picture]
    signed = next(part for part in parts if "inlineData" in part)
    assert base64.urlsafe_b64decode(signed["thoughtSignature"]) == b"a thought"
    assert await File.objects.acount() == 1


async def test_a_reply_of_a_picture_alone_is_complete(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Draw", [Picture(png(1))])
    said = await talk.ask("Draw")
    assert (said.end, said.text, len(files_of(said))) == ("run.completed", "", 1)
    assert set(files_of(said)[0]) == {"agent", "file", "name", "mime", "size", "width", "height"}
    await oracle.acheck([said.events])


async def test_pictures_without_a_name_are_numbered(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Draw", [Picture(png(1)), Picture(png(2)), Picture(b"\x01\x00\xff" * 400, mime="audio/l16")])
    said = await talk.ask("Draw")
    assert [file["name"] for file in files_of(said)] == ["picture.png", "picture-2.png", "sound"]


async def test_the_type_is_that_of_the_content(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Draw", [Picture(b"<script>alert(1)</script>", mime="image/png")])
    said = await talk.ask("Draw")
    assert [file["mime"] for file in files_of(said)] == ["text/plain"]


async def test_a_tools_picture_is_shown_after_its_result_and_stored_as_a_reference(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.genai import types

    picture = png(5, size=40_000)

    def photograph() -> Any:
        """Take a picture."""
        return types.Part.from_bytes(data=picture, mime_type="image/png")

    await use_tools(monkeypatch, photograph)
    gemini.on("Look", [Call("photograph")], [Text("Seen.")])
    said = await talk.ask("Look")
    names = [event.name for event in said.events if event.name]
    assert names[names.index("tool.returned") + 1] == "file"
    assert inline_in(gemini.requests[-1]) == [picture]
    assert max(map(len, await payloads())) < 2_000
    await talk.ask("And?")
    assert inline_in(gemini.requests[-1]) == [picture]


async def test_a_picture_of_a_full_quota_is_kept_once_and_then_named(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    settings.FILES_QUOTA_BYTES = 1_000
    gemini.on("One", [Picture(png(1, size=2_000))])
    gemini.on("Two", [Picture(png(2, size=2_000))])
    assert len(files_of(await talk.ask("One"))) == 1
    said = await talk.ask("Two")
    assert (said.end, files_of(said)) == ("run.completed", [])
    assert said.text == "[A file that could not be kept: image/png, 2 KB]"
    assert "inlineData" not in "".join(await payloads())
    assert await File.objects.acount() == 1


async def test_a_picture_over_the_limit_of_a_file_is_named(talk: Talk, gemini: Gemini, settings: Any) -> None:
    settings.FILE_MAX_BYTES = 1_000
    gemini.on("Draw", [Text("Here:"), Picture(png(1, size=2_000))])
    said = await talk.ask("Draw")
    assert said.text == "Here:\n\n[A file that could not be kept: image/png, 2 KB]"


# --- the window, and the size of requests ----------------------------------------------------------


@pytest.mark.any_database
async def test_ten_pictures_in_a_conversation_leave_context_and_payloads_as_they_were(
    talk: Talk, gemini: Gemini
) -> None:
    pictures = [png(n, size=1_400_000) for n in range(10)]
    for n, picture in enumerate(pictures):
        sent = await send(talk.client, f"{n}.png", picture)
        assert (await talk.ask(f"Question {n}", files=[sent["id"]])).end == "run.completed"
        size = len(json.dumps(gemini.requests[-1]))
        assert size < 20_000_000
        assert [f"Question {each}" for each in range(n + 1)] == [
            text for text in texts_in(gemini.requests[-1]) if text.startswith("Question")
        ]
        assert inline_in(gemini.requests[-1])[-1] == picture
    assert max(map(len, await payloads())) < 2_000
    # 14 MiB are exceeded by none of the ten; the first words are of the eleventh
    assert len(inline_in(gemini.requests[-1])) == 10


async def test_files_are_dropped_several_at_a_time(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.agent.memory.request_files.REQUEST_FILES_MAX", 4)
    counts, beginnings = [], []
    for n in range(8):
        sent = await send(talk.client, f"{n}.png", png(n))
        await talk.ask(f"Question {n}", files=[sent["id"]])
        counts.append(len(inline_in(gemini.requests[-1])))
        beginnings.append(json.dumps(gemini.requests[-1]["contents"][0]))
    assert counts == [1, 2, 3, 4, 2, 3, 4, 2]
    assert len(set(beginnings[:4])) == len(set(beginnings[4:])) == 1
    assert "[picture 0.png, shown earlier]" in texts_in(gemini.requests[-1])


async def test_a_dropped_picture_takes_its_signature_along(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.agent.memory.request_files.REQUEST_FILES_MAX", 1)
    for n in range(2):
        gemini.on(f"Draw {n}", [Picture(png(n), signature=SIGNATURE)])
        await talk.ask(f"Draw {n}")
    await talk.ask("And?")
    drawn = [content["parts"] for content in gemini.requests[-1]["contents"] if content["role"] == "model"]
    assert drawn[0] == [{"text": "[picture, shown earlier]"}]
    assert "thoughtSignature" in drawn[1][0]


async def test_a_large_picture_pushes_no_earlier_turn_out(talk: Talk, gemini: Gemini, settings: Any) -> None:
    settings.CONTEXT_TOKENS = 3_000
    await talk.ask("The word is owl.")
    gemini.on("Draw", [Picture(png(1, size=1_500_000))])
    await talk.ask("Draw")
    await talk.ask("Which word?")
    assert texts_in(gemini.requests[-1])[0] == "The word is owl."


async def test_a_conversation_with_bytes_of_a_version_before_goes_on(
    talk: Talk, gemini: Gemini, settings: Any
) -> None:
    settings.CONTEXT_TOKENS = 3_000
    await talk.ask("The word is owl.")
    said = await talk.ask("Draw")
    picture = png(1, size=300_000)
    row = await SessionEvent.objects.filter(run_id=said.run).order_by("-position").afirst()
    assert row
    event = json.loads(row.payload)
    blob = {"data": base64.urlsafe_b64encode(picture).decode(), "mimeType": "image/png"}
    event["content"]["parts"].append({"inlineData": blob, "thoughtSignature": SIGNATURE})
    await SessionEvent.objects.filter(pk=row.pk).aupdate(payload=json.dumps(event))
    await talk.ask("Which word?")
    assert texts_in(gemini.requests[-1])[0] == "The word is owl."
    assert inline_in(gemini.requests[-1]) == [picture]


async def test_each_file_is_read_once_a_run(
    talk: Talk, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chat.files import blobs

    read: list[str] = []
    original = blobs.read

    def counted(file: File) -> bytes:
        read.append(str(file.pk))
        return original(file)

    def look() -> str:
        """Look."""
        return "seen"

    await use_tools(monkeypatch, look)
    for n in range(3):
        sent = await send(talk.client, f"{n}.png", png(n))
        await talk.ask(f"Question {n}", files=[sent["id"]])
    monkeypatch.setattr(blobs, "read", counted)
    gemini.on("Look", [Call("look")], [Call("look")], [Text("Done.")])
    await talk.ask("Look")
    assert len(inline_in(gemini.requests[-1])) == 3
    assert len(read) == len(set(read)) == 3


# --- the agent's own code --------------------------------------------------------------------------

WATCHER = """
    from google.adk.agents import Agent
    from google.genai import types

    seen = []

    def before(callback_context, llm_request):
        for content in llm_request.contents:
            for part in content.parts:
                if part.inline_data:
                    seen.append(len(part.inline_data.data))
                assert not part.file_data

    async def hang(tool_context) -> dict:
        \"\"\"Hangs it up.\"\"\"
        picture = tool_context.user_content.parts[-1]
        tool_context.state["wall"] = {"picture": picture, "blobs": [picture.inline_data]}
        return {"hung": len(picture.inline_data.data)}

    async def wall(tool_context) -> dict:
        \"\"\"Looks at it.\"\"\"
        import base64, hashlib
        found = tool_context.state["wall"]
        picture = types.Part.model_validate(found["picture"])
        other = types.Blob.model_validate(found["blobs"][0])
        assert picture.inline_data.data == other.data
        return {"digest": hashlib.sha256(other.data).hexdigest(), "mime": other.mime_type, "seen": seen}

    root_agent = Agent(
        name="watcher", model="gemini-2.5-flash", tools=[hang, wall], before_model_callback=before
    )
"""


async def test_the_agents_code_sees_bytes_and_its_state_keeps_them(
    write_agents: WriteAsync, talk: Talk, gemini: Gemini
) -> None:
    await write_agents({"watcher/agent.py": WATCHER})
    picture = png(1, size=30_000)
    sent = await send(talk.client, "cat.png", picture)
    gemini.on("Hang", [Call("hang")], [Text("Done.")])
    said = await talk.ask("Hang", files=[sent["id"]], agent="watcher")
    assert said.named("tool.returned")[0].json()["result"] == {"hung": len(picture)}
    run = await Run.objects.aget(pk=said.run)
    assert len(run.state_after) < 3_000
    assert max(map(len, await payloads())) < 4_000
    gemini.on("Look", [Call("wall")], [Text("Done.")])
    said = await talk.ask("Look")
    assert said.named("tool.returned")[0].json()["result"] == {
        "digest": hashlib.sha256(picture).hexdigest(),
        "mime": "image/png",
        "seen": [len(picture)] * 3,
    }


async def test_a_turn_without_files_asks_for_none(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: Any) -> Any:
        raise AssertionError("files are read")

    await talk.ask("One")
    monkeypatch.setattr("chat.agent.memory.run_files._readable", never)
    assert (await talk.ask("Two")).end == "run.completed"


async def test_no_reference_opens_anothers_file(as_bob: Client, talk: Talk, gemini: Gemini) -> None:
    sent = await send(talk.client, "cat.png", png(1))
    await talk.ask("What?", files=[sent["id"]])
    stolen = next(payload for payload in await payloads() if sent["id"] in payload)
    theirs = Talk(as_bob)
    said = await theirs.ask("Hello")
    await SessionEvent.objects.filter(run_id=said.run, position=0).aupdate(payload=stolen)
    await theirs.ask("And?")
    assert inline_in(gemini.requests[-1]) == []
    assert "[picture cat.png, which no longer exists]" in texts_in(gemini.requests[-1])
