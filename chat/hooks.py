"""Points at which another app takes part. Each list is empty by default; chat/moderation adds to them.

``chat`` calls the functions and imports nothing of their app.
"""

import uuid
from collections.abc import Callable
from typing import Any

from django.db.models import Model
from django.http import HttpRequest

from accounts.models import User
from chat.events import Event
from chat.models import Conversation, Message, Run

# May this member ask? Raises a Refusal. In the transaction that stores the ask; None is a new conversation.
may_ask: list[Callable[[User, Conversation | None], None]] = []

# Is this prompt allowed? Raises a Refusal. In the same transaction; also for a queued ask when it is asked.
check_prompt: list[Callable[[User, str], None]] = []

# Event of a run that is about to be stored and shown: returns it, another one, or None to drop it. Called on
# the event loop for each delta, so it must not wait.
filter_event: list[Callable[[uuid.UUID, Event], Event | None]] = []

# May this tool be called? Returns the sentence that the model receives instead of a result, or None. Called
# on the event loop with the names of the agent and the tool, and the arguments.
check_tool_call: list[Callable[[str, str, dict[str, Any]], str | None]] = []

# A run ended with the code "blocked": its model or provider refused. In the transaction of its end.
run_blocked: list[Callable[[Run], None]] = []


def tell_of_end(run: Run) -> None:
    """Call ``run_blocked`` if the run was."""
    if run.code == "blocked":
        for told in run_blocked:
            told(run)


# The owner rated a reply, or removed the rating. In its transaction.
message_rated: list[Callable[[Message], None]] = []

# May staff see the text of somebody else's conversation now? Stores the look before it returns True. Without
# any function, nobody may.
looks: list[Callable[[HttpRequest, Conversation], bool]] = []

# May the signed-in staff watch replies while they are written? Lists and transcripts then link to that page.
watches: list[Callable[[HttpRequest], bool]] = []

# An operator opened a terminal as this member (manage.py chat --user).
terminal_opened: list[Callable[[User], None]] = []

# The operator made another user the owner of the site (manage.py hand_over). In its transaction.
owner_changed: list[Callable[[User | None, User], None]] = []

# Models with a key ``conversation``: their rows leave the database with it.
models_of_conversation: list[type[Model]] = []
