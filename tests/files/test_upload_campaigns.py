"""Uploads to real servers: their memory, cancelled ones, races with the sweep, and a crash in the middle."""

import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.campaigns import trials
from tests.support.live import LiveServer, Member

MIB = 1024 * 1024


@pytest.fixture
def server(tmp_path: Path, live_database: dict[str, str]) -> Iterator[LiveServer]:
    started = LiveServer(tmp_path, None, LIMITS="off", **live_database).prepare().start()
    yield started
    if started.process:
        started.stop()


def announce(member: Member, size: int, name: str = "a.bin") -> str:
    answer = member.http.post("/api/v1/files", json={"name": name, "size": size}, headers=member.headers())
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def put(member: Member, file: str, number: int, data: bytes) -> httpx.Response:
    return member.http.put(f"/api/v1/files/{file}/parts/{number}", content=data, headers=member.headers())


def upload(member: Member, data: bytes, name: str = "a.bin") -> dict[str, Any]:
    file = announce(member, len(data), name)
    for number in range(-(-len(data) // MIB)):
        answer = put(member, file, number, data[number * MIB : (number + 1) * MIB])
        assert answer.status_code == 200, answer.text
    return dict(answer.json())


def break_off(member: Member, file: str, number: int, begin: bytes, size: int) -> None:
    """Send the beginning of a part, and close the connection."""
    address = urlsplit(member.url)
    cookies = "; ".join(f"{name}={value}" for name, value in member.http.cookies.items())
    head = (
        f"PUT /api/v1/files/{file}/parts/{number} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Cookie: {cookies}\r\nX-CSRFToken: {member.http.cookies['csrftoken']}\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(head.encode() + begin)


def memory(server: LiveServer, name: str) -> int:
    """Return a value of the server's process in bytes: VmRSS, or VmHWM, the largest it ever was."""
    assert server.process
    [line] = [
        line
        for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
        if line.startswith(name)
    ]
    return int(line.split()[1]) * 1024


def test_a_file_of_25_mb_takes_little_memory_and_stops_no_one(server: LiveServer) -> None:
    alice = server.member("alice")
    data = random.Random(1).randbytes(25 * MIB)
    upload(alice, data[: 2 * MIB + 1])  # what is loaded once
    alice.http.get(f"/files/{upload(alice, data[:MIB])['id']}/a")
    assert server.process
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak begins anew
    before = memory(server, "VmRSS")
    waits: list[float] = []
    done = threading.Event()

    def poll() -> None:
        with httpx.Client(base_url=server.url) as http:
            while not done.wait(0.02):
                waits.append(http.get("/healthz").elapsed.total_seconds())

    poller = threading.Thread(target=poll)
    poller.start()
    file = upload(alice, data)
    done.set()
    poller.join()
    uploaded = memory(server, "VmHWM")
    assert uploaded - before <= 8 * MIB
    assert sorted(waits)[int(len(waits) * 0.95)] < 0.1  # the machine of the tests is shared
    assert alice.http.get(f"/files/{file['id']}/a.bin").content == data
    assert memory(server, "VmHWM") - before <= 10 * MIB


def test_cancelled_uploads_leave_no_orphan(server: LiveServer) -> None:
    alice = server.member("alice")
    number = trials(200, 40)

    def one(seed: int) -> None:
        chance = random.Random(seed)
        member = alice.at(server.url)
        size = chance.choice([1, 100, MIB, MIB + 1, 3 * MIB])
        # Half of them share their bytes with others.
        data = random.Random(chance.choice([seed, seed % 5])).randbytes(size)
        created = member.http.post(
            "/api/v1/files", json={"name": "a", "size": size}, headers=member.headers()
        )
        assert created.status_code in (201, 429)
        if created.status_code == 429:  # a hundred are not complete
            return
        file = created.json()["id"]
        parts = list(range(-(-size // MIB)))
        chance.shuffle(parts)
        for part in parts:
            act = chance.random()
            if act < 0.15:
                return  # a closed tab
            if act < 0.3:
                deleted = member.http.delete(f"/api/v1/files/{file}", headers=member.headers())
                assert deleted.status_code == 204
                return
            if act < 0.4:  # a lost network, in the middle of a part
                break_off(member, file, part, data[part * MIB : part * MIB + 10], min(MIB, size))
                continue
            answer = put(member, file, part, data[part * MIB : (part + 1) * MIB])
            assert answer.status_code == 200, answer.text
        if chance.random() < 0.3:
            member.http.delete(f"/api/v1/files/{file}", headers=member.headers())

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(one, range(number)))
    age = (
        "from datetime import timedelta; from django.utils import timezone; "
        "from chat.files.models import Blob, File; "
        "old = timezone.now() - timedelta(hours=30); File.objects.update(created_at=old); "
        "Blob.objects.filter(unused_since__isnull=False).update(unused_since=old)"
    )
    for _time in range(2):  # the first marks the blobs
        assert server.manage("shell", "-c", age).returncode == 0
        assert server.manage("files", "--sweep").returncode == 0
    compared = server.manage("files")
    assert compared.returncode == 0, compared.stdout
    left = [path for path in (server.data_dir / "files").rglob("*") if path.is_file()]
    assert left == []


def test_an_upload_goes_on_after_a_crash(server: LiveServer) -> None:
    alice = server.member("alice")
    data = random.Random(2).randbytes(6 * MIB)
    file = announce(alice, len(data))
    for number in (0, 3):
        assert put(alice, file, number, data[number * MIB : (number + 1) * MIB]).status_code == 200

    def send_rest() -> None:
        try:
            for number in (1, 2, 4):
                put(alice.at(server.url), file, number, data[number * MIB : (number + 1) * MIB])
        except httpx.HTTPError:
            pass

    sender = threading.Thread(target=send_rest)
    sender.start()
    server.kill()
    sender.join()
    server.start()
    state = alice.http.get(f"/api/v1/files/{file}").json()
    assert {0, 3} <= set(state["parts"])
    for number in sorted(set(range(6)) - set(state["parts"])):
        answer = put(alice, file, number, data[number * MIB : (number + 1) * MIB])
        assert answer.status_code == 200
    assert answer.json()["size"] == len(data)
    assert alice.http.get(f"/files/{file}/a.bin").content == data


RACE = """
import os, random, sys
from datetime import timedelta
from django.utils import timezone
from accounts.models import User
from chat.files import blobs, uploads
from chat.files.models import Blob, File
from chat.files.sweep import sweep_step
from chat.refusals import Refusal
from django.db import transaction

seed, number = int(sys.argv[-2]), int(sys.argv[-1])
chance = random.Random(seed)
blobs.KEPT_UNUSED = timedelta(0)  # the hour is what makes the races rare
alice = User.objects.get(username="alice")
for turn in range(number):
    data = bytes([turn % 3]) * 1000
    act = chance.random()
    if act < 0.5:
        file = uploads.create_upload(alice, "a", len(data))
        try:
            uploads.receive_whole(file, [data])
        except Refusal:  # the other process has deleted it
            continue
        with transaction.atomic():
            kept = File.objects.select_for_update().filter(pk=file.pk).first()
            if kept:
                assert blobs.read(kept) == data
    elif act < 0.8:
        mine = list(File.objects.filter(owner=alice).values_list("pk", flat=True)[:3])
        if mine:
            with transaction.atomic():
                File.objects.filter(pk=chance.choice(mine)).delete()
    else:
        sweep_step()
"""


def test_no_reference_is_without_its_bytes_after_races_of_uploads_and_sweeps(server: LiveServer) -> None:
    server.member("alice")
    number = trials(1000, 50)
    script = server.data_dir / "race.py"
    script.write_text(RACE)

    def race(seed: int) -> Any:
        code = f"import sys; sys.argv = ['race', '{seed}', '{number}']; exec(open({str(script)!r}).read())"
        return server.manage("shell", "-c", code)

    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(race, (1, 2)):
            assert done.returncode == 0, done.stderr[-3000:]
    compared = server.manage("files")
    assert "Missing" not in compared.stdout, compared.stdout
    assert compared.returncode == 0, compared.stdout
