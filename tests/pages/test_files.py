"""Files of messages in a page: cards of questions and replies, and the page that lists them."""

import json
import uuid
from typing import Any

import pytest

from chat.files.models import File
from chat.models import Message
from chat.rendering import RENDERER_VERSION, render
from tests.files.test_artifact_list import save
from tests.support.client import Client
from tests.support.dom import Element
from tests.support.files import picture, send
from tests.support.gemini import Gemini, Hold, Text
from tests.support.pages import ask, see, settled, submit, until_shown

CSV = b"month,sales\nMay,12\n"


async def ask_with(client: Client, query: str, *files: dict[str, Any]) -> str:
    """Ask with uploaded files, and return the conversation's path."""
    first = (await client.ask(query, files=[file["id"] for file in files]))[0].json()
    return f"/chat/{first['conversation']}/"


def text(value: str, agent: str = "chat_assistant") -> dict[str, Any]:
    return {"type": "text", "agent": agent, "text": value}


async def item(client: Client, name: str, content: bytes) -> dict[str, Any]:
    """Upload a file, and return it as an item of a reply."""
    sent = await send(client, name, content)
    kept = {key: sent[key] for key in ("name", "mime", "size", "width", "height")}
    return {"type": "file", "agent": "chat_assistant", "file": sent["id"], **kept}


async def give_reply(path: str, items: list[dict[str, Any]]) -> None:
    """Let the reply in the conversation consist of these items."""
    whole = "".join(each["text"] for each in items if each["type"] == "text")
    stored = {"text": whole, "html": render(whole), "renderer_version": RENDERER_VERSION}
    replies = Message.objects.filter(conversation=uuid.UUID(path.split("/")[2]), role="assistant")
    reply = await replies.select_related("run").alast()
    assert reply
    files = [each["file"] for each in items if "file" in each]
    await File.objects.filter(pk__in=files).aupdate(run=reply.run, conversation=reply.conversation_id)
    await replies.aupdate(parts={"v": 1, "items": items}, **stored)


def shown(article: Element) -> list[str]:
    """Return the texts and the files of a reply, in order."""
    found = []
    for element in article.below():
        classes = (element.get("class") or "").split()
        if "prose" in classes:
            found.append(element.text)
        elif "file-card" in classes:
            found.append(f"[{element['data-name']}]")
    return found


async def test_a_questions_files_are_above_its_text(as_alice: Client) -> None:
    files = [await send(as_alice, "photo.png", picture(800, 600)), await send(as_alice, "a b.csv", CSV)]
    article = (await settled(as_alice, await ask_with(as_alice, "Look", *files))).all("article")[0]
    image = article.one("img")
    assert (image["alt"], image["width"], image["height"]) == ("photo.png", "384", "288")
    assert image["src"] == f"/thumbnails/{files[0]['id']}"
    card = article.one("li", class_="other-card")
    assert card.one("a")["href"] == f"/files/{files[1]['id']}/a%20b.csv"
    assert "download" in card.one("a").attrs
    assert card.one("span", class_="file-size").text == "1 KB"
    assert article.one("div", class_="bubble").text == "Look"


async def test_a_question_of_files_only_is_titled_by_the_first(as_alice: Client) -> None:
    page = await settled(as_alice, await ask_with(as_alice, "", await send(as_alice, "sales.csv", CSV)))
    assert page.one("h1").text == "sales.csv"
    assert page.all("article")[0].one("div", class_="bubble").text == ""


async def test_a_replys_files_come_after_the_block_that_was_being_written(as_alice: Client) -> None:
    path = await ask(as_alice, "Draw")
    await settled(as_alice, path)
    names = ("before.csv", "inside.csv", "between.csv", "end.csv")
    before, inside, between, end = [await item(as_alice, name, CSV) for name in names]
    pieces = [before, text("- one\n"), inside, text("- two\n\nThe **second**"), between]
    await give_reply(path, [*pieces, text(" one.\n\nBye."), end])
    article = (await see(as_alice, path)).all("article")[1]
    assert shown(article) == [
        "[before.csv]", "onetwo", "[inside.csv]", "The second one.", "[between.csv]", "Bye.", "[end.csv]", "",
    ]  # fmt: skip
    assert article.one("strong").text == "second"


async def test_files_of_several_agents_are_in_their_sections(as_alice: Client) -> None:
    path = await ask(as_alice, "Draw")
    await settled(as_alice, path)
    first = await item(as_alice, "first.csv", CSV)
    second = {**await item(as_alice, "second.csv", CSV), "agent": "painter"}
    await give_reply(path, [text("Wait."), first, text("Done.", "painter"), second])
    sections = (await see(as_alice, path)).all("section", class_="agent-section")
    assert [shown(section) for section in sections] == [["Wait.", "[first.csv]"], ["Done.", "[second.csv]"]]


async def test_a_file_that_was_not_stored_stays_a_step(as_alice: Client) -> None:
    path = await ask(as_alice, "Draw")
    await settled(as_alice, path)
    old = {"type": "file", "agent": "", "name": "old.txt", "version": 2, "note": "Kept until a restart."}
    await give_reply(path, [old, {**old, "name": "other.txt", "version": None, "note": ""}, text("Done.")])
    article = (await see(as_alice, path)).all("article")[1]
    assert [step.words for step in article.all("p", class_="file-step")] == [
        "old.txt version 2 Kept until a restart.", "other.txt",
    ]  # fmt: skip
    assert shown(article) == ["Done."]


@pytest.mark.parametrize(
    ("name", "content", "card", "inside"),
    [
        ("a.wav", b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + bytes(60), "audio-card", "audio"),
        ("a.mp4", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(60), "video-card", "video"),
    ],
)
async def test_audio_and_video_have_players(
    as_alice: Client, name: str, content: bytes, card: str, inside: str
) -> None:
    sent = await send(as_alice, name, content)
    article = (await settled(as_alice, await ask_with(as_alice, "Play", sent))).all("article")[0]
    player = article.one("li", class_=card).one(inside)
    assert player["preload"] == "metadata"
    assert player["aria-label"] == name
    assert player["src"] == f"/files/{sent['id']}/{name}"


async def test_a_pdf_opens_in_a_tab_of_its_own(as_alice: Client) -> None:
    sent = await send(as_alice, "a.pdf", b"%PDF-1.4\n%%EOF\n")
    article = (await settled(as_alice, await ask_with(as_alice, "Read", sent))).all("article")[0]
    opened, downloaded = article.one("li", class_="pdf-card").all("a")
    assert opened["target"] == "_blank"
    assert "download" in downloaded.attrs


async def test_a_hidden_question_shows_no_file(as_alice: Client) -> None:
    from django.utils import timezone

    path = await ask_with(as_alice, "Look", await send(as_alice, "secret.csv", CSV))
    await settled(as_alice, path)
    await Message.objects.filter(role="user").aupdate(hidden_at=timezone.now(), hidden_reason="privacy")
    # The fake model repeats in its reply what it was given.
    assert "secret.csv" not in (await see(as_alice, path)).all("article")[0].text
    listed = (await see(as_alice, f"{path}files/")).one("div", id="files-list")
    assert "secret.csv" not in listed.text


async def test_an_edit_without_scripts_keeps_the_files(as_alice: Client) -> None:
    path = await ask_with(as_alice, "Sum it up", await send(as_alice, "sales.csv", CSV))
    page = await settled(as_alice, path)
    question = page.one("button", class_="edit-question")["value"]
    form = (await see(as_alice, f"{path}?edit={question}")).one("form", class_="edit-form")
    assert (await submit(as_alice, form, path, query="Sum it up again")).status == 303
    article = (await settled(as_alice, path)).all("article")[0]
    assert article.one("div", class_="bubble").text == "Sum it up again"
    assert article.one("bdi", class_="file-name").text == "sales.csv"


async def test_a_queued_message_names_its_files(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("Tell me", [Text("Once"), Hold(), Text(" upon")])
    path = await ask(as_alice, "Tell me")
    await until_shown(as_alice, path, "Once")
    sent = await send(as_alice, "sales.csv", CSV)
    body = {"query": "", "files": [sent["id"]], "conversation": path.split("/")[2], "if_busy": "queue"}
    assert (await as_alice.post("/chat/stream", body)).status == 202
    queued = (await see(as_alice, path)).one("li", class_="queued")
    assert queued.one("bdi").text == "sales.csv"
    gemini.release()
    await settled(as_alice, path)


async def test_the_page_of_files_lists_those_of_the_branch(as_alice: Client) -> None:
    first = (await as_alice.ask("Draw", files=[(await send(as_alice, "sketch.csv", CSV))["id"]]))[0].json()
    await settled(as_alice, "/")
    path = f"/chat/{first['conversation']}/"
    await save(as_alice, first["run"], "chart.png", 0)
    await save(as_alice, first["run"], "chart.png", 1)
    made = await item(as_alice, "inline.csv", CSV)
    await give_reply(path, [text("Done."), made])
    listed = (await see(as_alice, f"{path}files/")).one("div", id="files-list")
    names = [each.text for each in listed.all("bdi", class_="file-name")]
    assert sorted(names) == ["chart.png", "chart.png", "inline.csv", "sketch.csv"]
    assert names[-1] == "sketch.csv"  # sent by the member
    versions = [each.text for each in listed.all("span", class_="file-version")]
    assert versions == ["version 1", "version 0"]
    assert listed.one("details").one("summary").text == "1 earlier version"
    question = (await see(as_alice, path)).one("button", class_="edit-question")["value"]
    form = (await see(as_alice, f"{path}?edit={question}")).one("form", class_="edit-form")
    await submit(as_alice, form, path, query="Draw a house")
    await settled(as_alice, path)
    listed = (await see(as_alice, f"{path}files/")).one("div", id="files-list")
    assert [each.text for each in listed.all("bdi", class_="file-name")] == ["sketch.csv"]


async def test_the_page_of_files_of_an_empty_conversation_says_so(as_alice: Client) -> None:
    path = await ask(as_alice, "Hello")
    await settled(as_alice, path)
    page = await see(as_alice, f"{path}files/")
    assert "This conversation has no files yet." in page.one("div", id="files-list").text


async def test_names_of_files_are_escaped(as_alice: Client) -> None:
    hostile = '"><img src=x onerror=alert(1)>.csv'
    path = await ask_with(as_alice, json.dumps(hostile), await send(as_alice, hostile, CSV))
    page = await settled(as_alice, path)
    article = page.all("article")[0]
    assert article.one("bdi", class_="file-name").text == hostile
    assert not article.all("img")
    assert not (await see(as_alice, f"{path}files/")).all("img")
