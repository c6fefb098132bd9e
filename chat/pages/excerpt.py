"""The messages of a conversation that a page shows: the newest ones, or those around one that it names."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from accounts.statements import Statement
from chat.access import access_message, parse_id
from chat.models import BRANCH_MAX, Conversation, Message

PAGE_LENGTH = 30  # messages; older ones are loaded on scrolling up
VERSION_DEPTH = 300  # messages above the end up to which a named one is on the page of the newest


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Messages of one branch, in reading order."""

    messages: list[Message]
    is_end: bool = True  # the active branch ends with them
    hit: Message | None = None  # the search result that the page opens
    is_other_branch: bool = False  # the hit is not on the active branch


def excerpt_of(found: Conversation, query: Mapping[str, str], edited: str) -> Excerpt:
    """Return the messages that ``query`` names, and that are described at ``render_page``.

    ``edited`` is a question that has a form in its place. Raises the 404 refusal.
    """
    if before := query.get("before"):
        return Excerpt(_branch(access_message(found, before).parent_id, PAGE_LENGTH), is_end=False)
    hit = access_message(found, query["message"]) if query.get("message") else None
    named = hit.pk if hit else parse_id(query.get("version") or edited)
    above = Message.objects.ids_above(found.head_id, BRANCH_MAX) if named else []
    if named in above:
        return _around(named, above, hit)
    if hit:
        return Excerpt(_branch(hit.pk, PAGE_LENGTH), is_end=False, hit=hit, is_other_branch=True)
    return Excerpt(_branch(found.head_id, PAGE_LENGTH))


def _around(named: uuid.UUID, above: list[uuid.UUID], hit: Message | None) -> Excerpt:
    """Return the messages from the one above ``named`` on; all up to the end, if it is not too far."""
    place = above.index(named)
    if place <= VERSION_DEPTH:
        return Excerpt(_branch(above[0], max(PAGE_LENGTH, place + 2)), hit=hit)
    return Excerpt(_branch(above[place - PAGE_LENGTH + 2], PAGE_LENGTH), is_end=False, hit=hit)


def _branch(end: uuid.UUID | None, length: int) -> list[Message]:
    ids = Message.objects.ids_above(end, length)
    found = {message.pk: message for message in _messages.all(ids)}
    return [found[pk] for pk in reversed(ids)]


_messages = Statement(
    lambda ids: Message.objects.select_related("run").defer("run__state_after").filter(pk__in=ids)
)
