"""Titles of new conversations, written by their agent's model after the first reply.

A title never delays a reply, and never replaces one that a member wrote. Until it is there, and if the model
fails or the process ends, the conversation keeps the first words of its question.
"""

import asyncio
import contextvars
import logging
import uuid

from django.conf import settings

from chat import actions, lifecycle
from chat.agent.agents.title import write_title
from chat.database import run_db
from chat.models import Run
from chat.text import is_visible, title_of

log = logging.getLogger(__name__)

TITLE_SECONDS = 20.0
# Titles that one process writes at the same time; above it, new conversations keep their first words.
TITLES_AT_ONCE = 8

_writing: "set[asyncio.Task[None]]" = set()


def title_soon(run_id: uuid.UUID) -> None:
    """Start to write the title of the run's conversation, if the run completed its first reply."""
    if settings.TITLES != "model" or len(_writing) >= TITLES_AT_ONCE:
        return
    task = asyncio.get_running_loop().create_task(_write(run_id), context=contextvars.Context())
    _writing.add(task)
    task.add_done_callback(_writing.discard)


async def stop_writing() -> None:
    """Cancel the titles that are being written, at the end of the process."""
    for task in list(_writing):
        task.cancel()
    if _writing:
        await asyncio.wait(_writing, timeout=1)


async def _write(run_id: uuid.UUID) -> None:
    try:
        async with asyncio.timeout(TITLE_SECONDS):
            run = await run_db(_first_run, run_id)
            if run is None or run.reply is None:
                return
            title, usage = await write_title(run.conversation.agent, run.prompt.text, run.reply.text)
            if usage.calls:
                await run_db(lifecycle.add_usage, run_id, usage)
            if is_visible(title):
                await run_db(actions.entitle, run.conversation, title)
    except Exception as error:  # noqa: BLE001  (of a model, a library or the database: the first words stay)
        log.warning("Run %s: its conversation got no title: %s", run_id, type(error).__name__)


def _first_run(run_id: uuid.UUID) -> Run | None:
    """Return the run, if it completed a first reply and its conversation still has its first title.

    A run that has made MODEL_CALLS has none left for a title.
    """
    first = Run.objects.filter(
        pk=run_id, status=Run.Status.COMPLETED, prompt__parent=None, usage_calls__lt=settings.MODEL_CALLS
    )
    run = first.select_related("conversation", "prompt", "reply").defer("state_after").first()
    return run if run and run.conversation.title == title_of(run.prompt.text) else None
