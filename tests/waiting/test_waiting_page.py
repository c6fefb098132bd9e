"""The page /waiting/ of approvers, and the names in the asker's page and the moderators' transcript."""

from typing import Any

from django.contrib.auth.models import Group

from chat.models import PersonRequest
from tests.support.client import Client
from tests.support.staff import open_as_staff, transcript
from tests.waiting.conftest import LEAVE, PAY, Pay
from tests.waiting.test_approvers import decide, runs_end


async def test_the_page_has_the_request_and_nothing_of_the_conversation(pay: Pay, as_carol: Client) -> None:
    talk, (request,) = await pay()
    page = await as_carol.get("/waiting/")
    assert page.status == 200
    for shown in ("May the agent use <code>transfer_money</code>?", "1 request waits.", "Finance", "alice"):
        assert shown in page.text
    assert "&quot;amount&quot;: 5" in page.text
    assert request["id"] in page.text
    assert "canary" not in page.text
    assert str(talk.conversation) not in page.text


async def test_a_form_decides_and_the_page_is_empty(pay: Pay, as_carol: Client) -> None:
    _talk, (request,) = await pay()
    path = f"/waiting/{request['id']}/"
    wrong = await as_carol.post(path, form={request["id"]: "answer"})
    assert wrong.status == 422
    assert "is no answer to this request" in wrong.text
    decided = await as_carol.post(path, form={request["id"]: "approve"})
    assert (decided.status, decided.headers["location"]) == (303, "/waiting/")
    await runs_end()
    assert "Nothing waits for you." in (await as_carol.get("/waiting/")).text
    late = await as_carol.post(path, form={request["id"]: "reject"})
    assert late.status == 409
    assert "This was decided already." in late.text


async def test_the_page_is_only_for_members_of_the_group(
    pay: Pay, finance: Group, as_carol: Client, as_bob: Client, as_alice: Client
) -> None:
    _talk, (request,) = await pay()
    path, form = f"/waiting/{request['id']}/", {request["id"]: "approve"}
    assert (await as_bob.get("/waiting/")).status == 404
    assert (await as_bob.post(path, form=form)).status == 404
    assert "/waiting/" not in (await as_bob.get("/")).text
    assert "/waiting/" in (await as_carol.get("/")).text
    await finance.user_set.aadd(as_alice.user)
    assert (await as_alice.post(path, form=form)).status == 403
    await finance.user_set.aremove(as_carol.user)
    assert (await as_carol.post(path, form=form)).status == 404
    assert (await as_carol.get("/waiting/")).status == 404
    assert not (await PersonRequest.objects.aget()).decision


async def test_the_asker_sees_who_decides_and_cannot(pay: Pay, as_carol: Client, as_alice: Client) -> None:
    talk, requests = await pay(PAY, LEAVE)
    by_tool = {each["tool"]: each["id"] for each in requests}
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert "Waits for Finance" in page
    assert f'name="{by_tool["transfer_money"]}"' not in page
    assert f'name="{by_tool["book_leave"]}"' in page
    form = {by_tool["book_leave"]: "approve"}
    assert (await as_alice.post(f"/chat/{talk.conversation}/answer/", form=form)).status == 303
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert "Waits for Finance" in page
    assert "/answer/" not in page
    await decide(as_carol, {"id": by_tool["transfer_money"]})
    await runs_end()
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert "Approved by carol, asked by alice: transfer_money" in page
    assert "Waits for Finance" not in page


async def test_the_moderators_transcript_says_who_decided(
    pay: Pay, as_carol: Client, parley: Any, mona: Any
) -> None:
    talk, (request,) = await pay()
    as_mona = await Client(parley, mona).sign_in()
    path = transcript(talk.conversation)
    await open_as_staff(as_mona, talk.conversation)
    page = (await as_mona.get(path)).text
    assert "for Finance" in page
    assert "Open" in page
    await decide(as_carol, request)
    await runs_end()
    page = (await as_mona.get(path)).text
    assert "Approved by carol" in page
    assert "&quot;amount&quot;: 5" in page
