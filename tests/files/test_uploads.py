"""Uploads: POST /api/v1/files, their parts, what they leave behind, and their limits."""

import asyncio
import hashlib
from typing import Any

import pytest

from chat.files.models import Blob, File, UploadPart
from tests.support.client import Answer, Client
from tests.support.files import PNG, announce, put_part, send, stored_names

MIB = 1024 * 1024


async def test_a_file_is_complete_with_its_last_part(as_alice: Client) -> None:
    data = bytes(range(256)) * 10_000  # 2.4 MiB
    upload = await announce(as_alice, "../noise.bin", len(data))
    assert upload["part_bytes"] == MIB
    file = upload["id"]
    assert (await put_part(as_alice, file, 2, data[2 * MIB :])).json() == {"id": file, "parts": [2]}
    assert (await put_part(as_alice, file, 0, data[:MIB])).json() == {"id": file, "parts": [0, 2]}
    last = await put_part(as_alice, file, 1, data[MIB : 2 * MIB])
    assert last.status == 200
    assert last.json() == {
        "id": file,
        "name": "noise.bin",
        "mime": "application/octet-stream",
        "size": len(data),
        "width": None,
        "height": None,
        "sha256": hashlib.sha256(data).hexdigest(),
        "given": "name",
    }
    assert not await UploadPart.objects.aexists()
    assert stored_names() == {f"blobs/{last.json()['sha256'][:2]}/{last.json()['sha256']}"}


async def test_a_part_that_is_sent_again_changes_nothing(as_alice: Client) -> None:
    file = (await announce(as_alice, "a.txt", MIB + 5))["id"]
    for _time in range(2):
        answer = await put_part(as_alice, file, 0, b"a" * MIB)
        assert answer.json() == {"id": file, "parts": [0]}
    first = await put_part(as_alice, file, 1, b"hello")
    again = await put_part(as_alice, file, 1, b"hello")
    assert first.json()["mime"] == "text/plain"
    assert again.json() == first.json()


async def test_another_device_reads_which_parts_are_missing(as_alice: Client, parley: Any) -> None:
    file = (await announce(as_alice, "a.txt", 2 * MIB))["id"]
    await put_part(as_alice, file, 1, b"a" * MIB)
    phone = await Client(parley, as_alice.user).sign_in()
    state = (await phone.get(f"/api/v1/files/{file}")).json()
    assert (state["parts"], state["complete"], state["file"]) == ([1], False, None)
    await put_part(phone, file, 0, b"a" * MIB)
    state = (await phone.get(f"/api/v1/files/{file}")).json()
    assert (state["parts"], state["complete"], state["file"]["size"]) == ([], True, 2 * MIB)


@pytest.mark.parametrize(
    ("number", "size", "status"),
    [(0, 1, 422), (0, MIB - 1, 422), (1, 6, 422), (2, 5, 422), (1, 0, 422), (0, MIB + 1, 413)],
)
async def test_a_part_of_another_size_is_refused(
    as_alice: Client, number: int, size: int, status: int
) -> None:
    file = (await announce(as_alice, "a.txt", MIB + 5))["id"]
    assert (await put_part(as_alice, file, number, b"a" * size)).status == status
    assert stored_names() == set()


@pytest.mark.parametrize("number", ["-1", "x", "1e3", "9" * 30, "%20", "٣"])
async def test_a_part_without_a_number_is_not_found(as_alice: Client, number: str) -> None:
    file = (await announce(as_alice, "a.txt", 5))["id"]
    answer = await as_alice.request("PUT", f"/api/v1/files/{file}/parts/{number}", body=b"hello")
    assert answer.status == 404


async def test_two_requests_with_the_last_part_get_one_file(as_alice: Client) -> None:
    data = b"ab" * MIB
    file = (await announce(as_alice, "a.txt", len(data)))["id"]
    await put_part(as_alice, file, 0, data[:MIB])
    answers = await asyncio.gather(*(put_part(as_alice, file, 1, data[MIB:]) for _n in range(4)))
    assert {each.status for each in answers} == {200}
    assert len({each.body for each in answers}) == 1
    assert await Blob.objects.acount() == 1
    assert len(stored_names()) == 1


async def test_a_form_uploads_in_one_request(as_alice: Client) -> None:
    answer = await form(as_alice, "file", "pic.png", PNG)
    assert answer.status == 201
    found = answer.json()
    assert (found["name"], found["mime"], found["given"]) == ("pic.png", "image/png", "inline")
    assert (found["width"], found["height"]) == (2, 1)


@pytest.mark.parametrize("field", ["files", "picture"])
async def test_another_form_is_refused(as_alice: Client, field: str) -> None:
    assert (await form(as_alice, field, "a.txt", b"hello")).status == 400


async def test_the_same_bytes_are_stored_once(as_alice: Client, as_bob: Client) -> None:
    one, other = await send(as_alice, "a.txt", b"same"), await send(as_bob, "b.txt", b"same")
    assert one["id"] != other["id"]
    assert len(stored_names()) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "a", "size": 0}, 422, "empty_file"),
        ({"name": "a", "size": -1}, 422, "empty_file"),
        ({"name": "a", "size": 25 * MIB + 1}, 413, "too_large"),
        ({"name": "a", "size": "5"}, 400, "malformed"),
        ({"name": "a", "size": 1.5}, 400, "malformed"),
        ({"name": "a", "size": True}, 400, "malformed"),
        ({"name": 1, "size": 5}, 400, "malformed"),
        ({"name": "a\x00", "size": 5}, 400, "malformed"),
        ({"size": 5}, 400, "malformed"),
        ({"name": "a", "size": 5, "path": "/etc"}, 400, "malformed"),
    ],
)
async def test_a_wrong_announcement_is_refused(
    as_alice: Client, body: dict[str, Any], status: int, code: str
) -> None:
    answer = await as_alice.post("/api/v1/files", body)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert not await File.objects.aexists()


async def test_an_empty_file_in_a_form_is_refused(as_alice: Client) -> None:
    assert (await form(as_alice, "file", "a.txt", b"")).status == 422


async def test_the_quota_counts_content_once_and_announced_bytes(as_alice: Client, settings: Any) -> None:
    settings.FILES_QUOTA_BYTES = 100
    for _time in range(3):  # the same 40 bytes
        await send(as_alice, "a.txt", b"a" * 40)
    await announce(as_alice, "b.txt", 60)
    refused = await as_alice.post("/api/v1/files", {"name": "c.txt", "size": 1})
    assert (refused.status, refused.json()["error"]["code"]) == (429, "quota")
    assert int(refused.headers["retry-after"]) > 0


async def test_the_quota_is_each_members_own(as_alice: Client, as_bob: Client, settings: Any) -> None:
    settings.FILES_QUOTA_BYTES = 100
    await announce(as_alice, "a.txt", 100)
    await announce(as_bob, "a.txt", 100)


async def test_parallel_announcements_cannot_exceed_the_quota(as_alice: Client, settings: Any) -> None:
    settings.FILES_QUOTA_BYTES = 100
    bodies = ({"name": f"{n}", "size": 30} for n in range(12))
    answers = await asyncio.gather(*(as_alice.post("/api/v1/files", body) for body in bodies))
    assert sorted(each.status for each in answers) == [201] * 3 + [429] * 9


async def test_a_member_has_at_most_100_incomplete_uploads(as_alice: Client) -> None:
    await File.objects.abulk_create(File(owner=as_alice.user, name="a", size=1) for _n in range(100))
    assert (await as_alice.post("/api/v1/files", {"name": "a", "size": 1})).status == 429


@pytest.mark.parametrize("parts", [0, 1, 2])
async def test_an_unused_upload_can_be_deleted(as_alice: Client, parts: int) -> None:
    file = (await announce(as_alice, "a.txt", MIB + 1))["id"]
    for number in range(parts):
        await put_part(as_alice, file, number, b"a" * (1 if number else MIB))
    assert (await as_alice.request("DELETE", f"/api/v1/files/{file}")).status == 204
    assert not await File.objects.aexists()
    assert not [name for name in stored_names() if name.startswith("parts/")]
    assert (await as_alice.request("DELETE", f"/api/v1/files/{file}")).status == 404
    assert (await put_part(as_alice, file, 0, b"a" * MIB)).status == 404


async def test_a_used_file_cannot_be_deleted(as_alice: Client) -> None:
    file = await send(as_alice, "a.txt", b"hello")
    await as_alice.ask("see", files=[file["id"]])
    answer = await as_alice.request("DELETE", f"/api/v1/files/{file['id']}")
    assert (answer.status, answer.json()["error"]["code"]) == (409, "used")


async def test_another_members_upload_is_not_found(as_alice: Client, as_bob: Client) -> None:
    file = (await announce(as_alice, "a.txt", 5))["id"]
    assert (await put_part(as_bob, file, 0, b"hello")).status == 404
    for method in ("GET", "DELETE"):
        assert (await as_bob.request(method, f"/api/v1/files/{file}")).status == 404
    assert (await put_part(as_alice, file, 0, b"hello")).status == 200


async def test_uploads_need_a_csrf_token(as_alice: Client, visitor: Client) -> None:
    body = {"name": "a", "size": 5}
    assert (await as_alice.post("/api/v1/files", body, csrf=False)).status == 403
    assert (await visitor.post("/api/v1/files", body)).status == 401
    file = (await announce(as_alice, "a", 5))["id"]
    part = f"/api/v1/files/{file}/parts/0"
    assert (await as_alice.request("PUT", part, body=b"hello", csrf=False)).status == 403


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\alice\\a.txt", "a.txt"),
        ("..", "file"),
        (" . ", "file"),
        ("", "file"),
        ("/", "file"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("a\r\nSet-Cookie: x=1", "aSet-Cookie: x=1"),
        ("a\u2028b.txt", "ab.txt"),
        ("👩\u200d🔬.png", "👩\u200d🔬.png"),
        ("ä" * 300 + ".png", "ä" * 251 + ".png"),
        ("a" * 300, "a" * 255),
    ],
)
async def test_names_are_cleaned(as_alice: Client, name: str, cleaned: str) -> None:
    file = (await announce(as_alice, name, 5))["id"]
    assert (await put_part(as_alice, file, 0, b"hello")).json()["name"] == cleaned


async def form(client: Client, field: str, name: str, data: bytes) -> Answer:
    head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return await client.request(
        "POST",
        "/api/v1/files",
        body=head.encode() + data + b"\r\n--x--\r\n",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
