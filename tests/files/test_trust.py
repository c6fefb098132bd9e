"""Files where members trust Parley: downloads of own data, exports, erasure, and the admin."""

import io
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from chat import erasure
from chat.files import blobs
from chat.files.models import Blob, File
from chat.files.sweep import sweep_step
from chat.models import AccountDeletion, Conversation, Message
from chat.moderation.models import AuditEvent
from tests.conftest import PASSWORD
from tests.support.client import Answer, Client
from tests.support.files import PNG, picture, send, stored_names
from tests.support.gemini import Gemini, Text


async def asked_with(client: Client, name: str, data: bytes, query: str = "see") -> dict[str, Any]:
    """Ask with a file; return its ids, and those of the run."""
    file = await send(client, name, data)
    started = (await client.ask(query, files=[file["id"]]))[0].json()
    return {**started, "file": file["id"], "sha256": file["sha256"]}


def unzipped(answer: Answer) -> dict[str, bytes]:
    assert answer.status == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archived:
        assert archived.testzip() is None
        return {name: archived.read(name) for name in archived.namelist()}


# --- downloads ------------------------------------------------------------------------------------


async def my_data(client: Client) -> dict[str, bytes]:
    asked = await client.post("/account/data/", form={})
    return unzipped(await client.post(asked.headers["location"], form={"password": PASSWORD}))


@pytest.mark.usefixtures("fresh_limits")
async def test_my_data_has_the_bytes_of_own_files(as_alice: Client, as_bob: Client) -> None:
    asked = await asked_with(as_alice, "pic <1>.png", PNG)
    unused = await send(as_alice, "a.txt", b"hello")
    await send(as_bob, "b.txt", b"secret of bob")
    found = await my_data(as_alice)
    assert found[f"files/{asked['file']}/pic <1>.png"] == PNG
    assert found[f"files/{unused['id']}/a.txt"] == b"hello"
    assert b"secret of bob" not in b"".join(found.values())
    page = found[f"conversations/{asked['conversation']}.html"].decode()
    assert f'href="../files/{asked["file"]}/pic%20%3C1%3E.png"' in page


@pytest.mark.usefixtures("fresh_limits")
async def test_my_data_has_no_hidden_file(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("seeFile secret.txt:\n\nhidden bytes", [Text("I see.")])  # not the words of the file
    asked = await asked_with(as_alice, "secret.txt", b"hidden bytes")
    await Message.objects.filter(pk=asked["prompt"]).aupdate(hidden_at=timezone.now())
    found = await my_data(as_alice)
    assert b"hidden bytes" not in b"".join(found.values())
    assert b"secret.txt" not in found["data/files.json"]


@pytest.mark.usefixtures("fresh_limits")
async def test_my_data_is_whole_without_bytes_that_the_storage_has_lost(
    as_alice: Client, tmp_path: Any
) -> None:
    asked = await asked_with(as_alice, "a.png", PNG)
    (tmp_path / "files" / "blobs" / asked["sha256"][:2] / asked["sha256"]).unlink()
    found = await my_data(as_alice)
    assert not [name for name in found if name.startswith("files/")]
    assert "index.html" in found


async def test_an_export_as_zip_has_the_files_and_links_to_them(as_alice: Client) -> None:
    asked = await asked_with(as_alice, "pic [1].png", PNG)
    path = f"/api/v1/conversations/{asked['conversation']}/export?format=zip"
    answer = await as_alice.get(path)
    assert answer.headers["content-type"] == "application/zip"
    found = unzipped(answer)
    assert found[f"files/{asked['file']}/pic [1].png"] == PNG
    text = found["conversation.md"].decode()
    assert rf"![pic \[1\].png](<files/{asked['file']}/pic%20[1].png>)" in text
    await Message.objects.filter(pk=asked["prompt"]).aupdate(hidden_at=timezone.now())
    assert list(unzipped(await as_alice.get(path))) == ["conversation.md"]


async def test_other_exports_have_names_and_links(as_alice: Client) -> None:
    asked = await asked_with(as_alice, "a.txt", b"hello")
    path = f"/api/v1/conversations/{asked['conversation']}/export"
    text = (await as_alice.get(path)).text
    assert "see\n[a.txt](<http://" in text
    assert f"/files/{asked['file']}/a.txt>)" in text
    found = (await as_alice.get(f"{path}?format=json")).json()
    [item] = [each for each in found["messages"][0]["parts"]["items"] if each["type"] == "file"]
    assert (item["file"], item["name"]) == (asked["file"], "a.txt")


# --- erasure and purge ----------------------------------------------------------------------------


def erase(user: Any) -> None:
    deletion, _is_new = erasure.request_deletion(user)
    AccountDeletion.objects.filter(pk=deletion.pk).update(due_at=timezone.now() - timedelta(seconds=1))
    while found := erasure.claim_erasure():
        for _pause in erasure.erase(found):
            pass


def sweep_an_hour_later() -> None:
    while sweep_step():
        pass
    Blob.objects.filter(unused_since__isnull=False).update(unused_since=timezone.now() - blobs.KEPT_UNUSED)
    while sweep_step():
        pass


def all_bytes(folder: Any) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_after_an_erasure_neither_bytes_nor_thumbnail_are_left(
    as_alice: Client, as_bob: Client, tmp_path: Any
) -> None:
    png = picture(600, 300)
    asked = await asked_with(as_alice, "a.png", png)
    assert (await as_alice.get(f"/thumbnails/{asked['file']}")).status == 200
    await send(as_alice, "unused.txt", b"zqalice unused")
    await send(as_alice, "both.txt", b"zqboth")
    incomplete = await as_alice.post("/api/v1/files", {"name": "part", "size": 1024 * 1024 + 7})
    part = f"/api/v1/files/{incomplete.json()['id']}/parts/1"
    assert (await as_alice.request("PUT", part, body=b"zqalice")).status == 200
    of_bob = await send(as_bob, "both.txt", b"zqboth")
    await sync_to_async(erase)(as_alice.user)
    assert not await File.objects.filter(owner_id=as_alice.user.pk).aexists()
    await sync_to_async(sweep_an_hour_later)()
    left = all_bytes(tmp_path / "files")
    assert b"zqalice" not in left
    assert png not in left
    assert [name for name in stored_names() if not name.startswith("blobs/")] == []
    assert (await as_bob.get(f"/files/{of_bob['id']}/both.txt")).body == b"zqboth"


async def test_a_purged_conversation_takes_its_files_along(as_alice: Client) -> None:
    asked = await asked_with(as_alice, "a.txt", b"hello")
    await as_alice.request("DELETE", f"/api/v1/conversations/{asked['conversation']}")
    long_ago = timezone.now() - timedelta(days=40)
    await Conversation.objects.aupdate(deleted_at=long_ago)

    def purge_all() -> None:
        from chat import purge

        record = purge.claim_day(timedelta())
        assert record
        while purge.purge_some(record):
            pass

    await sync_to_async(purge_all)()
    await sync_to_async(sweep_an_hour_later)()
    assert stored_names() == set()


# --- the admin ------------------------------------------------------------------------------------


@pytest.fixture
async def as_mona(parley: Any, mona: Any) -> Client:
    return await Client(parley, mona).sign_in()


async def open_conversation(staff: Client, conversation: str) -> None:
    answer = await staff.post(f"/admin/open/{conversation}/", form={"reason": "report"})
    assert answer.status == 303, answer.text


async def test_staff_get_a_file_by_an_address_of_the_admin_after_opening(
    as_alice: Client, as_mona: Client
) -> None:
    asked = await asked_with(as_alice, "a.txt", b"hello")
    address = f"/admin/open/{asked['conversation']}/files/{asked['file']}/a.txt"
    closed = await as_mona.get(address)
    assert closed.status == 302
    assert closed.headers["location"] == f"/admin/open/{asked['conversation']}/"
    await open_conversation(as_mona, asked["conversation"])
    looks = await AuditEvent.objects.filter(action="look").acount()
    answer = await as_mona.get(address)
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert await AuditEvent.objects.filter(action="look").acount() == looks + 1
    assert (await as_mona.get(f"/files/{asked['file']}/a.txt")).status == 404


async def test_the_transcript_names_files_also_of_hidden_messages(as_alice: Client, as_mona: Client) -> None:
    asked = await asked_with(as_alice, "a <b>.txt", b"hello")
    await open_conversation(as_mona, asked["conversation"])
    await Message.objects.filter(pk=asked["prompt"]).aupdate(hidden_at=timezone.now())
    page = (await as_mona.get(f"/admin/chat/conversation/{asked['conversation']}/change/")).text
    assert f"/admin/open/{asked['conversation']}/files/{asked['file']}/a%20%3Cb%3E.txt" in page
    assert "<bdi>a &lt;b&gt;.txt</bdi>" in page
    address = f"/admin/open/{asked['conversation']}/files/{asked['file']}/x"
    assert (await as_mona.get(address)).body == b"hello"


async def test_a_grant_opens_no_file_of_another_conversation(as_alice: Client, as_mona: Client) -> None:
    opened, other = await asked_with(as_alice, "a", b"one"), await asked_with(as_alice, "b", b"two")
    unused = await send(as_alice, "c", b"three")
    await open_conversation(as_mona, opened["conversation"])
    for file in (other["file"], unused["id"], "word"):
        assert (await as_mona.get(f"/admin/open/{opened['conversation']}/files/{file}/x")).status == 404
