"""Members' search beside a million foreign hits: ``python -m benchmarks.search``, on an empty database.

Fills the configured database, after ``manage.py prepare``, with messages of one member that all have the same
word, and three of another. Prints the time to store and to index them, and the response times of the other
member's search; then of 200 pairs of searches, for that word and for one that nobody else has.
"""

import argparse
import os
import statistics
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.conf import settings  # noqa: E402  (Django first)
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402

from accounts.models import User  # noqa: E402
from benchmarks.admin_pages import p95, write_line  # noqa: E402
from chat.models import Conversation, Message  # noqa: E402
from chat.search.index import index_due  # noqa: E402

BATCH = 10_000
PAIRS = 200
OWN = 3


def fill(messages: int) -> None:
    alice, bob = (User.objects.create_user(name, f"{name}@example.org") for name in ("alice", "bob"))
    began = time.perf_counter()
    for first in range(0, messages, BATCH):
        one = Conversation.objects.create(owner=bob, agent="x", title=f"number {first}")
        Message.objects.bulk_create(
            Message(
                conversation=one, role="user", text=f"The word zebra, for the {n}th time, and a few more."
            )
            for n in range(first, min(first + BATCH, messages))
        )
    own = Conversation.objects.create(owner=alice, agent="x", title="mine")
    for n in range(OWN):
        Message.objects.create(conversation=own, role="user", text=f"My zebra {n} and my okapi.")
    write_line(f"stored {messages:,} messages in {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    while index_due():
        pass
    write_line(f"indexed them in {time.perf_counter() - began:.0f} s")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def seconds(client: Client, text: str) -> float:
    began = time.perf_counter()
    answer = client.get("/api/v1/search", {"q": text})
    took = time.perf_counter() - began
    assert answer.status_code == 200
    assert len(answer.json()["items"]) == OWN, answer.json()
    return took * 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search")
    parser.add_argument("--messages", type=int, default=1_000_000)
    options = parser.parse_args()
    settings.ALLOWED_HOSTS.append("testserver")
    if not User.objects.filter(username="alice").exists():
        fill(options.messages)
    client = Client()
    client.force_login(
        User.objects.get(username="alice"), "allauth.account.auth_backends.AuthenticationBackend"
    )
    for text in ("zebra", "okapi"):
        seconds(client, text)
    write_line("SQLite" if settings.ON_SQLITE else "PostgreSQL")
    for text in ("zebra", "zeb", "zebra my", '"my zebra"'):
        took = sorted(seconds(client, text) for _ in range(100))
        write_line(f"{text}: median {statistics.median(took):.1f} ms, p95 {p95(took):.1f} ms")
    pairs = [(seconds(client, "zebra"), seconds(client, "okapi")) for _ in range(PAIRS)]
    theirs, nobody = (statistics.median(each) for each in zip(*pairs, strict=True))
    write_line(
        f"{PAIRS} pairs: {theirs:.2f} ms with foreign hits, {nobody:.2f} ms without, {theirs / nobody:.3f}"
    )


if __name__ == "__main__":
    main()
