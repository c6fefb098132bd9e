"""``manage.py rerender``: replies whose HTML another version of the renderer wrote are rendered anew."""

import uuid
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from chat.models import Message
from chat.rendering import RENDERER_VERSION
from chat.rendering.process import render_in_time

# Replies a transaction. They are rendered before it begins, so it takes milliseconds, and a server on SQLite
# waits no longer than that to write. At most 20 MiB of text in memory.
BATCH = 20


class Command(BaseCommand):
    help = (
        "Renders the replies anew whose HTML was written by another version of the renderer. "
        "It can run beside the server, and be interrupted and begun again at any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch", type=int, default=BATCH, help=f"replies a transaction (default: {BATCH})"
        )

    def handle(self, *args: Any, batch: int, **options: Any) -> None:
        if batch < 1:
            raise CommandError("--batch must be at least 1.")
        total = _outdated().count()
        done = 0
        for messages in _batches(batch):
            done += _store([(message, render_in_time(message.text)) for message in messages])
            self.stdout.write(f"{done} of {total}")
        self.stdout.write(
            f"{done} replies were rendered anew, by version {RENDERER_VERSION} of the renderer."
        )


def _outdated() -> Any:
    return Message.objects.filter(role=Message.Role.ASSISTANT).exclude(renderer_version=RENDERER_VERSION)


def _batches(size: int) -> Iterator[list[Message]]:
    """The outdated replies in the order of their ids, so that each is looked at once."""
    last = uuid.UUID(int=0)
    while batch := list(_outdated().filter(pk__gt=last).order_by("pk").only("text")[:size]):
        yield batch
        last = batch[-1].pk


@transaction.atomic
def _store(rendered: list[tuple[Message, str]]) -> int:
    """How many were stored: whose text was taken away meanwhile keeps nothing of it."""
    return sum(
        Message.objects.filter(pk=message.pk, text=message.text).update(
            html=html, renderer_version=RENDERER_VERSION
        )
        for message, html in rendered
    )
