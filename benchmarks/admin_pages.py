"""Response times of the admin: ``python -m benchmarks.admin_pages``, after ``make fixture-large``.

Calls the ASGI application as a server does, signed in as the fixture's moderator, one request after
another, on the configured database. The moderator has grants for the transcripts and the search, so each look
and each search is also a row of the audit. Prints a Markdown table. Its last column is the CPU time of this
process: on SQLite that is the whole cost, and it does not depend on other load of the machine.
"""

import argparse
import asyncio
import gc
import os
import random
import statistics
import sys
import time
from collections.abc import Callable

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from asgiref.sync import sync_to_async  # noqa: E402  (Django first)
from django.conf import settings  # noqa: E402

from accounts.models import User  # noqa: E402
from chat.models import Conversation, Message, Run  # noqa: E402
from chat.moderated import ModerationReason  # noqa: E402
from chat.moderation import grants, review  # noqa: E402
from chat.moderation.models import AuditEvent, ReviewItem  # noqa: E402
from chat.moderation.queue_page import Place  # noqa: E402
from config.asgi import application  # noqa: E402
from tests.support.client import Client  # noqa: E402

LIST, RUNS, AUDIT = "/admin/chat/conversation/", "/admin/chat/run/", "/admin/audit/"
AGENTS, SEARCH, QUEUE = "/admin/agents/", "/admin/search/", "/admin/moderation/"
TRANSCRIPTS = 40  # conversations that the moderator opens

Page = tuple[str, str]  # an address, and the words that are posted to it


def pages(moderator: User) -> dict[str, Callable[[], Page]]:
    """Return a function for each kind of page; each call returns an address, of another conversation.

    Opens the search, and the conversations whose transcripts are read.
    """
    rng = random.Random(11)  # noqa: S311  (the same pages in every run)
    some = list(Conversation.objects.reviewable().order_by("-updated_at")[:20_000:97])
    longest = Conversation.objects.order_by("-id")[0]  # the fixture's last one has all the remaining messages
    opened = rng.sample(some, min(TRANSCRIPTS, len(some)))
    for conversation in {longest, *opened}:
        grants.open_with_reason(moderator, conversation, "incident", "")
    grants.open_search(moderator, "incident", "")
    marked = Message.objects.filter(text__contains="Reference mark").values_list("text", flat=True)[:60]
    rare = [text.rpartition(" ")[2].rstrip(".") for text in marked]
    words = [conversation.title.split() for conversation in some]
    newest_row = AuditEvent.objects.latest("seq").seq
    items = list(ReviewItem.objects.filter(status="open").values_list("pk", flat=True)[:20_000:97])
    claimed = rng.sample(items, min(TRANSCRIPTS, len(items)))
    for item in claimed:
        review.claim_item(moderator, item)
    middle = (
        ReviewItem.objects.filter(status="open").order_by("-priority", "opened_at", "id")[12_000:].first()
    )
    later = Place.of(middle).cursor if middle else ""

    def word() -> str:
        return max(rng.choice(words), key=len).strip("…?.")

    def month() -> str:
        n = rng.randint(1, 10)
        return f"updated_at__gte=2026-{n:02}-01&updated_at__lt=2026-{n + 1:02}-01"

    common = sorted({word for title in words for word in title}, key=len)[:10]
    got: dict[str, Callable[[], str]] = {
        "list": lambda: LIST,
        "list, page 50": lambda: f"{LIST}?p=50",
        "list, of a month": lambda: f"{LIST}?{month()}",
        "list, of an agent": lambda: f"{LIST}?agent=chat_assistant",
        "list, with a failed answer": lambda: f"{LIST}?answer=failed",
        "list, of an owner": lambda: f"{LIST}?owner__id__exact={rng.choice(some).owner_id}",
        "list, an owner by name": lambda: f"{LIST}?q=member{rng.randint(0, 999):04}",
        "list, deleted": lambda: f"{LIST}?deleted=yes",
        "facts of a conversation": lambda: f"/admin/open/{rng.choice(some).pk}/",
        "transcript": lambda: f"{LIST}{rng.choice(opened).pk}/change/",
        "transcript, the longest": lambda: f"{LIST}{longest.pk}/change/",
        "runs": lambda: RUNS,
        "runs, by duration": lambda: f"{RUNS}?o=-6",
        "runs, failed, by duration": lambda: f"{RUNS}?status=failed&o=-6",
        "runs, of a code": lambda: f"{RUNS}?code=crashed",
        "audit": lambda: AUDIT,
        "audit, page 100": lambda: f"{AUDIT}?before={max(2, newest_row - 10_000)}",
        "audit, of a member": lambda: f"{AUDIT}?member=member{rng.randint(0, 999):04}",
        "audit, of a conversation": lambda: f"{AUDIT}?object={rng.choice(some).pk}",
        "first page": lambda: "/admin/",
        "queue": lambda: QUEUE,
        "queue, a later page": lambda: f"{QUEUE}?after={later}",
        "queue, of a reason": lambda: f"{QUEUE}?reason={rng.choice(ModerationReason.values)}",
        "queue, of a source": lambda: f"{QUEUE}?source=block",
        "queue, of an agent": lambda: f"{QUEUE}?agent=translator",
        "queue, dismissed": lambda: f"{QUEUE}?status=dismissed",
        "queue, the last 24 hours": lambda: f"{QUEUE}?age=day",
        "queue, my claims": lambda: f"{QUEUE}?mine=true",
        "item": lambda: f"{QUEUE}{rng.choice(items)}/",
        "item, claimed": lambda: f"{QUEUE}{rng.choice(claimed)}/",
        "figures of the queue": lambda: f"{QUEUE}figures/",
        "users": lambda: "/admin/accounts/user/",
        "agents": lambda: AGENTS,
        "agent": lambda: f"{AGENTS}chat_assistant/",
    }
    searched: dict[str, Callable[[], str]] = {
        "search, a word of one message": lambda: rng.choice(rare),
        "search, a word": word,
        "search, two words": lambda: f"{word()} {word()}",
        "search, one of the commonest words": lambda: rng.choice(common),
    }

    def posted(words: Callable[[], str]) -> Callable[[], Page]:
        return lambda: (SEARCH, words())

    def fetched(address: Callable[[], str]) -> Callable[[], Page]:
        return lambda: (address(), "")

    return {
        **{kind: fetched(address) for kind, address in got.items()},
        **{kind: posted(words) for kind, words in searched.items()},
    }


async def measure(client: Client, page: Callable[[], Page], times: int) -> tuple[list[float], list[float]]:
    """Return sorted milliseconds of elapsed and of CPU time for each request, after one warm-up request."""
    took, used = [], []
    for _ in range(times + 1):
        path, words = page()
        began, cpu = time.perf_counter(), time.process_time()
        answer = await (client.post(path, form={"words": words}) if words else client.get(path))
        took.append((time.perf_counter() - began) * 1000)
        used.append((time.process_time() - cpu) * 1000)
        assert answer.status == 200, (path, answer.status)
    return sorted(took[1:]), sorted(used[1:])


def row_counts() -> str:
    rows = (("conversations", Conversation), ("messages", Message), ("runs", Run))
    return ", ".join(f"{model.objects.count():,} {name}" for name, model in rows)


async def main(times: int) -> None:
    moderator = await sync_to_async(User.objects.get)(username="moderator")
    client = await Client(application, moderator).sign_in()
    settings.ALLOWED_HOSTS.append("testserver")  # the host name that the client uses
    kinds = await sync_to_async(pages)(moderator)
    gc.freeze()  # as the server does: otherwise a collection of all loaded modules takes 200 ms
    database = "SQLite" if settings.ON_SQLITE else "PostgreSQL"
    write_line(f"{database}, {await sync_to_async(row_counts)()}; {times} requests each\n")
    write_line("| page | median ms | p95 ms | worst ms | p95 of CPU ms |\n|---|---|---|---|---|")
    for kind, page in kinds.items():
        took, used = await measure(client, page, times)
        write_line(
            f"| {kind} | {statistics.median(took):.0f} | {p95(took):.0f} | {took[-1]:.0f} | {p95(used):.0f} |"
        )


def p95(ordered: list[float]) -> float:
    return ordered[max(0, round(0.95 * len(ordered)) - 1)]


def write_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=40)
    asyncio.run(main(parser.parse_args().times))
