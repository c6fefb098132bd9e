"""Setting FILES_STORAGE, and the warning about servers on several machines."""

from typing import Any

import pytest
from django.conf import settings as project
from django.core.checks import run_checks

from chat.files.comparison import hosts_without_shared_files
from chat.models import Process
from tests.support.client import Client
from tests.support.commands import run
from tests.support.files import send


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("s3", "FILES_STORAGE must be JSON such as"),
        ('{"BACKEND": 1}', "FILES_STORAGE must be JSON such as"),
        ('{"BACKEND": "a.B", "PASSWORD": "x"}', "FILES_STORAGE must be JSON such as"),
        ('{"BACKEND": "no.such.Storage"}', "FILES_STORAGE: the BACKEND cannot be imported"),
    ],
)
def test_a_wrong_value_ends_the_start_with_a_sentence(tmp_path: Any, value: str, sentence: str) -> None:
    env = {
        "PATH": "/usr/bin:/bin",
        "DATA_DIR": str(tmp_path),
        "ENV_FILE": "/dev/null",
        "FILES_STORAGE": value,
    }
    done = run(["manage.py", "check"], env)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.django_db
def test_options_that_the_storage_does_not_take_are_an_error(settings: Any) -> None:
    backend = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = {
        **settings.STORAGES, "files": {"BACKEND": backend, "OPTIONS": {"bucket": "a secret"}}
    }  # fmt: skip
    found = [each for each in run_checks() if each.id == "chat.E003"]
    assert len(found) == 1
    assert "a secret" not in str(found)


async def test_another_storage_takes_files(as_alice: Client, settings: Any) -> None:
    memory = {"BACKEND": "tests.support.memory_storage.OverwritingMemoryStorage"}
    settings.STORAGES = {**settings.STORAGES, "files": memory}
    file = await send(as_alice, "a.txt", b"hello" * 500_000)
    answer = await as_alice.get(f"/files/{file['id']}/a.txt", headers={"range": "bytes=5-9"})
    assert (answer.status, answer.body) == (206, b"hello")


@pytest.mark.skipif(project.ON_SQLITE, reason="one server")
@pytest.mark.django_db(transaction=True)
def test_servers_on_several_machines_with_a_folder_are_warned_about(settings: Any) -> None:
    for host in ("one", "two"):
        Process.objects.create(host=host, pid=1, boot_id="b", version="v")
    assert hosts_without_shared_files() == ["one", "two"]
    assert [each.id for each in run_checks(databases=["default"]) if each.id == "chat.W004"]
    settings.FILES_ARE_IN_FOLDER = False
    assert hosts_without_shared_files() == []
