"""Command ``rerender``: render replies again whose HTML is by another version of the renderer."""

import uuid
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from chat.events import sources_of
from chat.models import Message
from chat.rendering import RENDERER_VERSION
from chat.rendering.renderer import render_reply_in_time

# Replies per transaction. They are rendered before it begins: it takes milliseconds, and a server on SQLite
# waits no longer to write. They are at most 20 MiB of text in memory.
BATCH_SIZE = 20


class Command(BaseCommand):
    help = (
        "Renders replies again whose HTML was written by another version of the renderer. "
        "It can run beside the server, and be interrupted and repeated at any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch", type=int, default=BATCH_SIZE, help=f"replies per transaction (default: {BATCH_SIZE})"
        )

    def handle(self, *args: Any, batch: int, **options: Any) -> None:
        if batch < 1:
            raise CommandError(_("--batch must be at least 1."))
        total = _outdated().count()
        done = 0
        for messages in _batches(batch):
            done += _store(
                [
                    (each, render_reply_in_time(each.text, sources_of(each.parts.get("items", []))))
                    for each in messages
                ]
            )
            self.stdout.write(_("%(done)s of %(total)s") % {"done": done, "total": total})
        self.stdout.write(
            _("%(count)s replies were rendered again by version %(version)s of the renderer.")
            % {"count": done, "version": RENDERER_VERSION}
        )


def _outdated() -> QuerySet[Message]:
    return Message.objects.filter(role=Message.Role.ASSISTANT).exclude(renderer_version=RENDERER_VERSION)


def _batches(size: int) -> Iterator[list[Message]]:
    """Yield the outdated replies in the order of their ids, each one once."""
    last = uuid.UUID(int=0)
    while batch := list(_outdated().filter(pk__gt=last).order_by("pk").only("text", "parts")[:size]):
        yield batch
        last = batch[-1].pk


@transaction.atomic
def _store(rendered: list[tuple[Message, str]]) -> int:
    """Store the HTML of messages whose text is unchanged. Return their number."""
    return sum(
        Message.objects.filter(pk=message.pk, text=message.text).update(
            html=html, renderer_version=RENDERER_VERSION
        )
        for message, html in rendered
    )
