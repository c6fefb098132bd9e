"""The name of an approver is in no download of the asker, and leaves the conversation with the account."""

import pytest
from asgiref.sync import sync_to_async

from chat.models import PersonRequest
from tests.pages.test_my_data import downloaded
from tests.support.canaries import database_text
from tests.support.client import Client
from tests.test_erasure import erase_all, make_due
from tests.waiting.conftest import Pay
from tests.waiting.test_approvers import decide, runs_end


@pytest.mark.usefixtures("fresh_limits")
async def test_the_askers_download_does_not_name_the_approver(
    pay: Pay, as_carol: Client, as_alice: Client
) -> None:
    _talk, (request,) = await pay()
    await decide(as_carol, request)
    await runs_end()
    files = await downloaded(as_alice)
    assert "carol" not in "".join(files.values())
    conversation = next(text for name, text in files.items() if name.startswith("conversations/"))
    for shown in (files["data/messages.json"], conversation):
        assert "Approved by another member, asked by alice: transfer_money" in shown


async def test_the_askers_conversation_no_longer_names_the_approver(pay: Pay, as_carol: Client) -> None:
    talk, (request,) = await pay()
    await decide(as_carol, request)
    await runs_end()
    assert "carol" in await sync_to_async(database_text)()
    await sync_to_async(make_due)(as_carol.user)
    await sync_to_async(erase_all)()
    prompt, reply = (await talk.messages())[-2:]
    assert prompt["text"] == "Approved by another member, asked by alice: transfer_money"
    assert reply["text"] == "It is done."
    assert (await PersonRequest.objects.aget()).decided_by_id is None
    assert "carol" not in await sync_to_async(database_text)()
