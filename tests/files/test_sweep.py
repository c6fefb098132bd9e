"""Sweep of files, and the command ``files``."""

import os
import time
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as project
from django.core.management import CommandError, call_command
from django.utils import timezone

from chat.files import blobs
from chat.files.models import Artifact, Blob, File, UploadPart
from chat.files.sweep import sweep_step, sweep_temporary_files
from tests.support.client import Client
from tests.support.files import PNG, announce, put_part, send, stored_names

MIB = 1024 * 1024


@sync_to_async
def sweep() -> None:
    while sweep_step():
        pass


@sync_to_async
def files_command(*arguments: str) -> str:
    out = StringIO()
    call_command("files", *arguments, stdout=out)
    return out.getvalue()


async def make_old() -> None:
    await File.objects.aupdate(created_at=timezone.now() - timedelta(hours=25))


async def make_unused() -> None:
    await Blob.objects.filter(unused_since__isnull=False).aupdate(
        unused_since=timezone.now() - timedelta(hours=2)
    )


async def test_an_unused_upload_is_swept_after_a_day_and_its_bytes_an_hour_later(as_alice: Client) -> None:
    file = await send(as_alice, "a.png", PNG)
    assert (await as_alice.get(f"/thumbnails/{file['id']}")).status == 200
    incomplete = (await announce(as_alice, "a.txt", MIB + 1))["id"]
    await put_part(as_alice, incomplete, 0, b"a" * MIB)
    await sweep()
    assert await File.objects.acount() == 2
    await make_old()
    await sweep()
    assert not await File.objects.aexists()
    assert {name.partition("/")[0] for name in stored_names()} == {"blobs", "thumbnails"}
    await make_unused()
    await sweep()
    assert stored_names() == set()
    assert not await Blob.objects.aexists()
    assert await files_command() == "Nothing is missing or orphaned.\n"


async def test_used_files_stay(as_alice: Client) -> None:
    asked, queued, made, of_member = [await send(as_alice, "a", bytes([n])) for n in range(4)]
    started = (await as_alice.ask("see", files=[asked["id"]]))[0].json()
    await File.objects.filter(pk=queued["id"]).aupdate(conversation=started["conversation"])
    await File.objects.filter(pk=made["id"]).aupdate(run=started["run"])
    await Artifact.objects.acreate(
        owner=as_alice.user, agent="a", name="user:a", version=0, file_id=of_member["id"]
    )
    await make_old()
    await sweep()
    assert await File.objects.acount() == 4


async def test_bytes_that_are_sent_again_in_time_stay(as_alice: Client) -> None:
    await send(as_alice, "a.txt", b"hello")
    await make_old()
    await sweep()
    await send(as_alice, "b.txt", b"hello")
    await make_unused()
    await sweep()
    assert len(stored_names()) == 1
    assert (await Blob.objects.aget()).unused_since is None


async def test_parts_of_an_erased_account_are_swept(as_alice: Client) -> None:
    file = (await announce(as_alice, "a.txt", MIB + 1))["id"]
    await put_part(as_alice, file, 0, b"a" * MIB)
    await as_alice.user.adelete()
    assert not await UploadPart.objects.aexists()
    assert len(stored_names()) == 1
    await sweep()
    assert stored_names() == set()


async def test_parts_that_a_killed_process_left_of_a_complete_file_are_swept(as_alice: Client) -> None:
    file = await send(as_alice, "a.txt", b"hello")
    name = f"parts/{file['id']}/0"
    path = project.FILES_TEMP_DIR / "left"
    path.write_bytes(b"hello")
    await sync_to_async(blobs.write_object)(name, path)
    path.unlink()
    await UploadPart.objects.acreate(file_id=file["id"], number=0, size=5, stored_at=timezone.now())
    await sweep()
    assert name not in stored_names()
    assert not await UploadPart.objects.aexists()
    assert await File.objects.aexists()


def test_old_temporary_files_are_deleted(settings: Any) -> None:
    settings.FILES_TEMP_DIR.mkdir(parents=True)
    old, new = settings.FILES_TEMP_DIR / "old", settings.FILES_TEMP_DIR / "new"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    sweep_temporary_files()
    assert not old.exists()
    assert new.exists()


async def test_the_command_finds_what_is_missing(as_alice: Client, tmp_path: Any) -> None:
    file = await send(as_alice, "a.txt", b"hello")
    (tmp_path / "files" / "blobs" / file["sha256"][:2] / file["sha256"]).write_bytes(b"hell")
    out = StringIO()
    with pytest.raises(CommandError, match=r"1 missing, 0 orphaned\."):
        await sync_to_async(call_command)("files", stdout=out)
    assert file["sha256"] in out.getvalue()


@pytest.mark.parametrize(
    "name", ["blobs/aa/" + "a" * 64, "parts/0/0", "thumbnails/aa/x.webp", "blobs/readme.txt"]
)
async def test_the_command_finds_orphans(as_alice: Client, tmp_path: Any, name: str) -> None:
    await send(as_alice, "a.txt", b"hello")
    path = tmp_path / "files" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    out = StringIO()
    with pytest.raises(CommandError, match=r"0 missing, 1 orphaned\."):
        await sync_to_async(call_command)("files", stdout=out)
    assert out.getvalue() == f"Orphaned: {name}\n"


async def test_the_command_sweeps(as_alice: Client) -> None:
    await send(as_alice, "a.txt", b"hello")
    await make_old()
    assert await files_command("--sweep") == "Deleted: 1.\n"
