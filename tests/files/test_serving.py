"""Serving of files: GET /files/<id>/<name> and /thumbnails/<id>."""

import io
import uuid
from typing import Any

import pytest
from PIL import Image

from chat.files.models import Blob, File
from chat.models import Message
from tests.support.client import Client
from tests.support.files import PNG, picture, send

SANDBOXED = "sandbox; default-src 'none'"


async def test_a_picture_is_shown_in_a_sandbox(as_alice: Client) -> None:
    file = await send(as_alice, "pic.png", PNG)
    answer = await as_alice.get(f"/files/{file['id']}/pic.png")
    assert (answer.status, answer.body) == (200, PNG)
    headers = answer.headers
    assert headers["content-type"] == "image/png"
    assert headers["content-disposition"] == 'inline; filename="pic.png"'
    assert headers["content-security-policy"] == SANDBOXED
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["etag"] == f'"{file["sha256"]}"'
    assert headers["cache-control"].startswith("private")
    assert headers["content-length"] == str(len(PNG))


async def test_a_pdf_is_shown_with_its_viewers_styles(as_alice: Client) -> None:
    file = await send(as_alice, "a.pdf", b"%PDF-1.7\n%%EOF")
    headers = (await as_alice.get(f"/files/{file['id']}/a.pdf")).headers
    assert headers["content-type"] == "application/pdf"
    assert headers["content-disposition"].startswith("inline")
    assert headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.html", b"<script>alert(1)</script>"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
        ("a.png", b"<html><script>alert(1)</script>"),
        ("a.txt", b"hello"),
        ("a.bin", b"\x00\x01"),
    ],
)
async def test_all_else_is_downloaded(as_alice: Client, name: str, data: bytes) -> None:
    file = await send(as_alice, name, data)
    answer = await as_alice.get(f"/files/{file['id']}/{name}")
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["content-security-policy"] == SANDBOXED


async def test_the_stored_name_is_sent_and_not_that_of_the_address(as_alice: Client) -> None:
    file = await send(as_alice, "Übung \N{SNOWMAN}.txt", b"hello")
    answer = await as_alice.get(f"/files/{file['id']}/other.html")
    assert answer.headers["content-disposition"] == (
        "attachment; filename*=utf-8''%C3%9Cbung%20%E2%98%83.txt"
    )


@pytest.mark.parametrize(
    ("asked", "status", "span", "begin", "end"),
    [
        ("bytes=0-3", 206, "bytes 0-3/10", 0, 4),
        ("bytes=4-", 206, "bytes 4-9/10", 4, 10),
        ("bytes=-3", 206, "bytes 7-9/10", 7, 10),
        ("bytes=-30", 206, "bytes 0-9/10", 0, 10),
        ("bytes=8-99", 206, "bytes 8-9/10", 8, 10),
        ("bytes=10-", 416, "bytes */10", 0, 0),
        ("bytes=-0", 416, "bytes */10", 0, 0),
        ("bytes=5-2", 200, None, 0, 10),
        ("bytes=0-1,3-4", 200, None, 0, 10),
        ("bytes=-", 200, None, 0, 10),
        ("lines=0-3", 200, None, 0, 10),
        (f"bytes={'9' * 30}-", 200, None, 0, 10),
    ],
)
async def test_a_range(
    as_alice: Client, asked: str, status: int, span: str | None, begin: int, end: int
) -> None:
    data = b"0123456789"
    file = await send(as_alice, "a.txt", data)
    answer = await as_alice.get(f"/files/{file['id']}/a.txt", headers={"range": asked})
    assert (answer.status, answer.headers.get("content-range")) == (status, span)
    assert answer.body == data[begin:end]
    assert answer.headers["content-length"] == str(end - begin)


async def test_a_range_of_other_bytes_is_the_whole_file(as_alice: Client) -> None:
    file = await send(as_alice, "a.txt", b"0123456789")
    headers = {"range": "bytes=0-3", "if-range": '"other"'}
    assert (await as_alice.get(f"/files/{file['id']}/a.txt", headers=headers)).body == b"0123456789"


async def test_known_bytes_are_not_sent_again(as_alice: Client) -> None:
    file = await send(as_alice, "a.txt", b"0123456789")
    headers = {"if-none-match": f'"{file["sha256"]}"'}
    answer = await as_alice.get(f"/files/{file['id']}/a.txt", headers=headers)
    assert (answer.status, answer.body) == (304, b"")


async def test_head_sends_no_bytes(as_alice: Client) -> None:
    file = await send(as_alice, "a.txt", b"0123456789")
    answer = await as_alice.request("HEAD", f"/files/{file['id']}/a.txt")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "10")


async def test_a_large_file_is_sent_in_chunks(as_alice: Client) -> None:
    data = bytes(range(256)) * 12_000
    file = await send(as_alice, "a.bin", data)
    async with as_alice.open("GET", f"/files/{file['id']}/a.bin") as exchange:
        sizes = [len(chunk) async for chunk in exchange.chunks()]
    assert exchange.body == data
    assert max(sizes) <= 64 * 1024


@pytest.mark.parametrize("address", ["/files/{id}/a.png", "/thumbnails/{id}"])
async def test_another_member_gets_nothing(as_alice: Client, as_bob: Client, address: str) -> None:
    file = await send(as_alice, "a.png", PNG)
    await send(as_bob, "other.png", picture(3, 3))
    missing = address.format(id=uuid.uuid4())
    for path in (
        address.format(id=file["id"]),
        address.format(id=file["sha256"]),
        address.format(id="a.png"),
    ):
        answer = await as_bob.get(path)
        assert (answer.status, answer.body) == (404, (await as_bob.get(missing)).body)


@pytest.mark.parametrize("address", ["/files/{id}/a.png", "/thumbnails/{id}"])
async def test_the_same_bytes_give_no_access_to_another_members_file(
    as_alice: Client, as_bob: Client, address: str
) -> None:
    file = await send(as_alice, "a.png", PNG)
    await send(as_bob, "a.png", PNG)
    assert (await as_bob.get(address.format(id=file["id"]))).status == 404


async def used(client: Client, data: bytes = PNG) -> dict[str, Any]:
    file = await send(client, "a.png", data)
    started = (await client.ask("see", files=[file["id"]]))[0].json()
    return {**file, **started, "file": file["id"]}


async def test_a_file_of_a_question_is_served(as_alice: Client, as_bob: Client) -> None:
    file = await used(as_alice)
    assert (await as_alice.get(f"/files/{file['file']}/a.png")).body == PNG
    assert (await as_bob.get(f"/files/{file['file']}/a.png")).status == 404


async def test_a_file_goes_and_comes_with_its_conversation(as_alice: Client) -> None:
    file = await used(as_alice)
    path = f"/api/v1/conversations/{file['conversation']}"
    await as_alice.request("DELETE", path)
    for address in (f"/files/{file['file']}/a.png", f"/thumbnails/{file['file']}"):
        assert (await as_alice.get(address)).status == 404
    await as_alice.post(f"{path}/restore")
    assert (await as_alice.get(f"/files/{file['file']}/a.png")).status == 200


async def test_a_hidden_questions_file_is_not_served(as_alice: Client) -> None:
    file = await used(as_alice)
    await Message.objects.filter(pk=file["prompt"]).aupdate(hidden_at="2026-01-01T00:00Z")
    for address in (f"/files/{file['file']}/a.png", f"/thumbnails/{file['file']}"):
        assert (await as_alice.get(address)).status == 404


@pytest.mark.parametrize("hidden", ["prompt", "message"])
async def test_a_file_of_a_hidden_run_is_not_served(as_alice: Client, hidden: str) -> None:
    events = await as_alice.ask("draw")
    ids = {**events[0].json(), "message": events[-2].json()["message"]}
    blob_id = (await send(as_alice, "a.png", PNG))["sha256"]
    made = await File.objects.acreate(
        owner=as_alice.user, run_id=ids["run"], conversation_id=ids["conversation"], name="a.png",
        size=len(PNG), mime="image/png", blob_id=blob_id,
    )  # fmt: skip
    assert (await as_alice.get(f"/files/{made.pk}/a.png")).status == 200
    await Message.objects.filter(pk=ids[hidden]).aupdate(hidden_at="2026-01-01T00:00Z")
    assert (await as_alice.get(f"/files/{made.pk}/a.png")).status == 404


async def test_bytes_that_the_storage_has_lost_are_refused(as_alice: Client, tmp_path: Any) -> None:
    file = await send(as_alice, "a.png", PNG)
    (tmp_path / "files" / "blobs" / file["sha256"][:2] / file["sha256"]).unlink()
    assert (await as_alice.get(f"/files/{file['id']}/a.png")).status == 503


# --- thumbnails -----------------------------------------------------------------------------------


async def thumbnail(client: Client, data: bytes) -> Image.Image:
    file = await send(client, "a.png", data)
    answer = await client.get(f"/thumbnails/{file['id']}")
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["content-security-policy"] == SANDBOXED
    again = await client.get(f"/thumbnails/{file['id']}")
    assert again.body == answer.body
    return Image.open(io.BytesIO(answer.body))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "AVIF"])
async def test_a_picture_has_a_thumbnail(as_alice: Client, kind: str) -> None:
    made = await thumbnail(as_alice, picture(1000, 500, kind))
    assert (made.format, made.size) == ("WEBP", (512, 256))
    assert await Blob.objects.filter(has_thumbnail=True).acount() == 1


async def test_a_thumbnail_is_turned_and_has_no_place(as_alice: Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif.get_ifd(0x8825)[1] = "N"
    made = await thumbnail(as_alice, picture(1000, 500, "JPEG", exif=exif))
    assert made.size == (256, 512)
    assert not made.getexif()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", b"hello"),
        ("a.pdf", b"%PDF-1.7\n%%EOF"),
        ("a.png", picture(300, 300)[:-60]),
        ("big.png", picture(8000, 8000)),
    ],
)
async def test_there_is_no_thumbnail(as_alice: Client, name: str, data: bytes) -> None:
    file = await send(as_alice, name, data)
    for _time in range(2):
        assert (await as_alice.get(f"/thumbnails/{file['id']}")).status == 404


async def test_a_large_jpeg_has_a_thumbnail(as_alice: Client) -> None:
    assert (await thumbnail(as_alice, picture(12_000, 9000, "JPEG"))).size == (512, 384)
