"""Approvers: members of a group who decide in the asker's place, and see nothing but the request."""

import asyncio
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.core.checks import run_checks
from django.utils import timezone

from accounts.models import User
from chat.models import Conversation, PersonRequest, RequestLook, Run
from chat.runs.supervisor import supervisor
from tests.support import oracle
from tests.support.client import Answer, Client
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import LiveServer
from tests.support.talk import Talk
from tests.support.waiting import auntil
from tests.waiting.conftest import LEAVE, PAY, Pay


async def decide(client: Client, request: dict[str, Any], decision: str = "approve", **fields: Any) -> Answer:
    path = f"/api/v1/requests/{request['id']}/decision"
    return await client.request("POST", path, json_body={"decision": decision, **fields})


async def answer(
    talk: Talk, request: dict[str, Any], decision: str = "approve", *, key: uuid.UUID | None = None
) -> Answer:
    body = {"conversation": talk.conversation, "answers": [{"id": request["id"], "decision": decision}]}
    headers = {"idempotency-key": str(key)} if key else {}
    return await talk.client.post("/chat/stream", body, headers=headers)


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


async def runs_end() -> None:
    await supervisor.idle()


async def test_an_approver_decides_and_the_run_goes_on(pay: Pay, as_carol: Client) -> None:
    talk, (request,) = await pay()
    assert request["approvers"] == "Finance"
    decided = await decide(as_carol, request)
    assert (decided.status, decided.json()) == (200, {"state": "started"})
    await runs_end()
    prompt, reply = (await talk.messages())[-2:]
    assert prompt["text"] == "Approved by carol, asked by alice: transfer_money"
    assert prompt["parts"]["items"][0] | {"state": ""} == {
        "type": "approval", "request": request["id"], "decision": "approve", "tool": "transfer_money",
        "by": "carol", "asked_by": "alice", "approvers": "Finance", "state": "",
    }  # fmt: skip
    assert reply["text"] == "It is done."
    stored = await PersonRequest.objects.select_related("decided_by", "answered_by__owner").aget()
    assert stored.decided_by == as_carol.user
    assert stored.answered_by
    assert stored.answered_by.owner == talk.client.user


async def test_the_list_has_the_request_and_nothing_of_the_conversation(pay: Pay, as_carol: Client) -> None:
    talk, (request,) = await pay()
    listed = await as_carol.get("/api/v1/requests")
    (item,) = listed.json()["items"]
    assert item.keys() == {
        "id", "kind", "tool", "args", "hint", "schema", "payload", "agent", "asked_by", "asked_at",
        "expires_at", "approvers", "job",
    }  # fmt: skip
    assert (item["agent"], item["asked_by"], item["args"]) == ("bank", "alice", {"amount": 5})
    assert item["id"] == request["id"]
    assert b"canary" not in listed.body
    assert str(talk.conversation).encode() not in listed.body


async def test_an_approver_reads_no_conversation(pay: Pay, as_carol: Client) -> None:
    talk, (request,) = await pay()
    run = (await PersonRequest.objects.aget()).run_id
    await decide(as_carol, request)
    await runs_end()
    for path in (
        f"/api/v1/conversations/{talk.conversation}",
        f"/chat/{talk.conversation}/",
        f"/api/v1/runs/{run}",
        f"/chat/runs/{run}/events",
    ):
        assert (await as_carol.get(path)).status == 404
    assert (
        await answer(
            Talk(
                as_carol,
            ),
            request,
        )
    ).status in (400, 404)


async def test_a_stranger_finds_nothing(pay: Pay, as_bob: Client) -> None:
    _talk, (request,) = await pay()
    assert (await as_bob.get("/api/v1/requests")).status == 404
    unknown = await decide(as_bob, {"id": str(uuid.uuid4())})
    foreign = await decide(as_bob, request)
    assert (foreign.status, foreign.body) == (unknown.status, unknown.body) == (404, foreign.body)
    other = await Group.objects.acreate(name="Legal")
    await other.user_set.aadd(as_bob.user)
    assert (await decide(as_bob, request)).status == 404
    assert (await as_bob.get("/api/v1/requests")).status == 404
    await other.adelete()
    assert not (await PersonRequest.objects.aget()).decision


@pytest.mark.parametrize("is_member", [False, True])
async def test_the_asker_cannot_decide(pay: Pay, finance: Group, as_alice: Client, is_member: bool) -> None:
    if is_member:
        await finance.user_set.aadd(as_alice.user)
    talk, (request,) = await pay()
    assert code(await decide(as_alice, request)) == (403, "not_approver")
    assert code(await answer(talk, request)) == (403, "not_approver")
    form = await as_alice.post(f"/chat/{talk.conversation}/answer/", form={request["id"]: "approve"})
    assert form.status == 403
    if is_member:
        assert (await as_alice.get("/api/v1/requests")).json() == {"items": []}
    assert not (await PersonRequest.objects.aget()).decision


async def test_a_request_of_the_asker_is_no_approvers(pay: Pay, as_carol: Client, as_alice: Client) -> None:
    _talk, (request,) = await pay(LEAVE)
    assert request["approvers"] is None
    assert (await decide(as_carol, request)).status == 404
    assert (await decide(as_alice, request)).status == 404
    assert (await as_carol.get("/api/v1/requests")).json() == {"items": []}


async def test_a_revoked_approver_decides_nothing(pay: Pay, finance: Group, as_carol: Client) -> None:
    _talk, (request,) = await pay()
    assert len((await as_carol.get("/api/v1/requests")).json()["items"]) == 1
    await finance.user_set.aremove(as_carol.user)
    assert (await decide(as_carol, request)).status == 404
    assert (await as_carol.get("/api/v1/requests")).status == 404
    assert not (await PersonRequest.objects.aget()).decision


async def test_of_two_approvers_at_once_one_decides(
    pay: Pay, finance: Group, as_carol: Client, as_bob: Client
) -> None:
    await finance.user_set.aadd(as_bob.user)
    _talk, (request,) = await pay()
    answers = await asyncio.gather(decide(as_carol, request), decide(as_bob, request, "reject"))
    assert sorted(each.status for each in answers) == [200, 409]
    (late,) = (each for each in answers if each.status == 409)
    assert late.json()["error"]["code"] == "answered"
    assert late.json()["error"]["run"] is None
    await runs_end()
    assert await Run.objects.acount() == 2


async def test_the_last_of_several_decisions_starts_the_run(
    pay: Pay, as_carol: Client, gemini: Gemini
) -> None:
    talk, requests = await pay(PAY, LEAVE)
    by_tool = {each["tool"]: each for each in requests}
    held = await answer(talk, by_tool["book_leave"])
    assert (held.status, held.json()) == (
        202,
        {"state": "waiting", "waiting": [by_tool["transfer_money"]["id"]]},
    )
    assert await Run.objects.acount() == 1
    assert code(await answer(talk, by_tool["book_leave"])) == (409, "answered")
    again = await answer(talk, by_tool["book_leave"], key=uuid.uuid4())
    assert (again.status, again.json()) == (202, held.json())
    other = await answer(talk, by_tool["book_leave"], "reject", key=uuid.uuid4())
    assert code(other) == (409, "answered")
    assert (await decide(as_carol, by_tool["transfer_money"], "reject")).json() == {"state": "started"}
    await runs_end()
    messages = await talk.messages()
    assert messages[-2]["text"].split("\n") == [
        "Rejected by carol, asked by alice: transfer_money",
        "Approved: book_leave",
    ]
    assert messages[-1]["text"] == "It is done."
    assert "'booked': 3" in str(gemini.requests[-1]["contents"])


async def test_the_asker_may_be_the_last(pay: Pay, as_carol: Client) -> None:
    talk, requests = await pay(PAY, LEAVE)
    by_tool = {each["tool"]: each for each in requests}
    assert (await decide(as_carol, by_tool["transfer_money"])).json() == {"state": "decided"}
    listed = (await talk.client.get(f"/api/v1/conversations/{talk.conversation}")).json()["waiting"]
    assert [each["tool"] for each in listed] == ["book_leave"]
    started = await answer(talk, by_tool["book_leave"])
    assert started.status == 200
    await oracle.acheck([started.events])
    returned = [event.json() for event in started.events if event.name == "tool.returned"]
    assert {each["name"]: each["result"] for each in returned} == {
        "transfer_money": {"sent": 5},
        "book_leave": {"booked": 3},
    }


async def test_a_plain_question_lapses_what_others_have_decided(
    pay: Pay, as_carol: Client, gemini: Gemini
) -> None:
    talk, requests = await pay(PAY, LEAVE)
    by_tool = {each["tool"]: each for each in requests}
    await decide(as_carol, by_tool["transfer_money"])
    gemini.on("Never mind.", [Text("Fine.")])
    await talk.ask("Never mind.")
    assert code(await answer(talk, by_tool["book_leave"])) == (409, "lapsed")
    stored = await PersonRequest.objects.aget(pk=by_tool["transfer_money"]["id"])
    assert (stored.answered_by_id, stored.started_at) == (None, None)


async def test_what_is_no_longer_open_is_refused(pay: Pay, as_carol: Client, gemini: Gemini) -> None:
    talk, (request,) = await pay()
    own = Conversation.objects.all()
    await own.aupdate(locked_at=timezone.now())
    assert code(await decide(as_carol, request)) == (423, "locked")
    await own.aupdate(locked_at=None)
    until = (await PersonRequest.objects.aget()).expires_at
    await PersonRequest.objects.aupdate(expires_at=timezone.now() - timedelta(seconds=1))
    assert code(await decide(as_carol, request)) == (409, "lapsed")
    await PersonRequest.objects.aupdate(expires_at=until)
    gemini.on("Never mind.", [Text("Fine.")])
    await talk.ask("Never mind.")
    assert code(await decide(as_carol, request)) == (409, "lapsed")
    await talk.client.request("DELETE", f"/api/v1/conversations/{talk.conversation}")
    assert code(await decide(as_carol, request)) == (404, "not_found")
    assert (await as_carol.get("/api/v1/requests")).json() == {"items": []}


async def test_a_decision_must_fit(pay: Pay, as_carol: Client) -> None:
    _talk, (request,) = await pay()
    assert code(await decide(as_carol, request, "answer", payload="x")) == (422, "payload")
    assert code(await decide(as_carol, request, "perhaps")) == (400, "malformed")
    assert (await decide(as_carol, {"id": "x"})).status == 404


async def test_the_askers_limit_loses_no_decision(
    pay: Pay, as_carol: Client, as_alice: Client, gemini: Gemini, settings: Any
) -> None:
    settings.LIMITS, settings.RUNS_PER_MEMBER = True, 1
    _talk, (request,) = await pay()
    gemini.on("Slow.", [Text("a"), Hold(), Text("b")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "Slow."}) as slow:
        await slow.until("run.started")
        assert (await decide(as_carol, request)).json() == {"state": "started"}
        gemini.release()
        await slow.all_events()
    await runs_end()
    assert await Run.objects.filter(status="completed").acount() == 3


async def test_each_look_is_recorded_once_an_hour(pay: Pay, as_carol: Client) -> None:
    await pay()
    assert await RequestLook.objects.acount() == 0
    await as_carol.get("/api/v1/requests")
    await as_carol.get("/api/v1/requests")
    look = await RequestLook.objects.aget()
    assert look.person_id == as_carol.user.pk
    await RequestLook.objects.aupdate(looked_at=timezone.now() - timedelta(minutes=61))
    await as_carol.get("/api/v1/requests")
    assert await RequestLook.objects.acount() == 2


async def test_an_empty_group_is_logged_once(
    pay: Pay, finance: Group, as_carol: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await finance.user_set.aremove(as_carol.user)
    await pay()
    await pay()
    lines = [record for record in caplog.records if "Finance" in record.getMessage()]
    assert len(lines) == 1


def test_an_empty_group_is_a_warning_at_the_start(tmp_path: Path) -> None:
    server = LiveServer(tmp_path, APPROVERS='{"bank": {"transfer_money": "Finance"}}').prepare().start()
    server.kill()
    assert "(chat.W002) The group 'Finance'" in server.output()


async def test_only_a_group_without_an_active_member_is_a_warning(finance: Group, as_carol: Client) -> None:
    def warnings() -> list[str]:
        return [str(found.msg) for found in run_checks(databases=["default"]) if found.id == "chat.W002"]

    assert await sync_to_async(warnings)() == []
    await finance.user_set.aremove(as_carol.user)
    (warning,) = await sync_to_async(warnings)()
    assert "'Finance'" in warning


async def test_sockets_hear_what_waits(pay: Pay, as_carol: Client, as_alice: Client) -> None:
    async with as_carol.socket() as theirs, as_alice.socket() as own:
        await theirs.opened()
        await own.opened()
        talk, (request,) = await pay()
        assert await theirs.frame() == {"type": "waiting", "conversation": None}
        assert [frame["type"] for frame in await own.frames(4)] == [
            "conversation", "run", "run_ended", "waiting",
        ]  # fmt: skip
        await decide(as_carol, request)
        assert await theirs.frame() == {"type": "waiting", "conversation": None}
        frames = await own.frames(3)
        assert {"type": "waiting", "conversation": talk.conversation} in frames
        await runs_end()
        assert await theirs.silent()


@pytest.mark.parametrize("change", ["delete", "ask", "branch"])
async def test_approvers_hear_that_a_request_is_gone(
    change: str, pay: Pay, as_carol: Client, gemini: Gemini
) -> None:
    talk, _requests = await pay()
    gemini.on("Else.", [Text("Fine.")])
    path = f"/api/v1/conversations/{talk.conversation}"
    first = (await talk.messages())[0]["id"]
    if change == "branch":
        await talk.ask("Else.", parent=None)
    async with as_carol.socket() as socket:
        await socket.opened()
        if change == "delete":
            await talk.client.request("DELETE", path)
        elif change == "ask":
            await talk.ask("Else.")
        else:
            assert (await as_carol.get("/api/v1/requests")).json()["items"] == []
            await talk.client.request("PATCH", path, json_body={"head": first})
        assert await socket.frame() == {"type": "waiting", "conversation": None}
    listed = (await as_carol.get("/api/v1/requests")).json()["items"]
    assert len(listed) == (1 if change == "branch" else 0)


async def test_a_decision_waits_while_another_branch_is_answered(
    pay: Pay, as_carol: Client, as_alice: Client, gemini: Gemini
) -> None:
    talk, (request,) = await pay()
    first = (await talk.messages())[0]["id"]
    gemini.on("Else.", [Text("a"), Hold(), Text("b")])
    body = {"query": "Else.", "conversation": talk.conversation, "parent": None}
    async with as_alice.open("POST", "/chat/stream", json_body=body) as other:
        await other.until("run.started")
        path = f"/api/v1/conversations/{talk.conversation}"
        await as_alice.request("PATCH", path, json_body={"head": first})
        assert code(await decide(as_carol, request)) == (409, "busy")
        gemini.release()
        await other.all_events()
    await auntil(lambda: not supervisor.runs)
    assert (await decide(as_carol, request)).json() == {"state": "started"}
    await runs_end()


async def test_a_decision_of_a_deactivated_askers_request_is_refused(
    pay: Pay, as_carol: Client, as_alice: Client
) -> None:
    _talk, (request,) = await pay()
    as_alice.user.is_active = False
    await as_alice.user.asave(update_fields=["is_active"])
    assert (await decide(as_carol, request)).status == 404
    assert (await as_carol.get("/api/v1/requests")).json() == {"items": []}


async def test_a_suspended_approver_decides_nothing(pay: Pay, as_carol: Client) -> None:
    _talk, (request,) = await pay()
    await User.objects.filter(pk=as_carol.user.pk).aupdate(suspended_until=timezone.now() + timedelta(days=1))
    assert code(await decide(as_carol, request)) == (403, "suspended")
    assert await PersonRequest.objects.filter(decision="").acount() == 1


async def test_a_request_of_a_suspended_asker_waits_until_the_suspension_ends(
    pay: Pay, as_carol: Client, as_alice: Client
) -> None:
    _talk, (request,) = await pay()
    asker = User.objects.filter(pk=as_alice.user.pk)
    await asker.aupdate(suspended_until=timezone.now() + timedelta(days=1))
    assert (await decide(as_carol, request)).status == 404
    assert (await as_carol.get("/api/v1/requests")).json() == {"items": []}
    await asker.aupdate(suspended_until=timezone.now())
    assert (await decide(as_carol, request)).json() == {"state": "started"}
    await runs_end()
