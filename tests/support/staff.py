"""Steps of staff in the admin before they read: open a conversation, or the search, with a reason."""

from typing import Any

from tests.support.client import Answer, Client

AUDIT_PAGE, SEARCH_PAGE = "/admin/audit/", "/admin/search/"


def transcript(conversation: Any) -> str:
    return f"/admin/chat/conversation/{conversation}/change/"


def opening(conversation: Any) -> str:
    return f"/admin/open/{conversation}/"


async def open_as_staff(client: Client, conversation: Any, reason: str = "report", **fields: str) -> None:
    """Open a conversation with a reason, for 30 minutes."""
    answer = await client.post(opening(conversation), form={"reason": reason, **fields})
    assert (answer.status, answer.headers.get("location")) == (303, transcript(conversation)), answer.text


async def open_search(client: Client, reason: str = "incident", **fields: str) -> None:
    """Open the search of texts with a reason, for 30 minutes."""
    answer = await client.post(SEARCH_PAGE, form={"reason": reason, **fields})
    assert (answer.status, answer.headers.get("location")) == (303, SEARCH_PAGE), answer.text


async def search_as_staff(client: Client, words: str) -> Answer:
    """Search the texts, with the grant that ``open_search`` gave."""
    return await client.post(SEARCH_PAGE, form={"words": words})
