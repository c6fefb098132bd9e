"""Requests on branches: one is open exactly where its reply is the end of the active branch."""

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone

from chat.models import Conversation, PersonRequest
from tests.support.campaigns import trials
from tests.support.gemini import Call, Text, questions_of
from tests.support.talk import Said
from tests.waiting.bank import Bank, approve, reject, requests_of

BANK = 'root_agent = one("bank", confirmed)'
PAY = Call("transfer_money", {"amount": 5})


async def show(bank: Bank, talk: object, message: str | None) -> None:
    conversation = f"/api/v1/conversations/{talk.conversation}"  # type: ignore[attr-defined]
    assert (await bank.alice.request("PATCH", conversation, json_body={"head": message})).status == 200


async def test_a_request_is_open_on_its_own_branch_alone(bank: Bank) -> None:
    talk, said = await bank.ask(BANK, [PAY], [Text("It is sent.")])
    (request,) = requests_of(said)
    other = await talk.ask("Pay nothing.", parent=None)
    assert await bank.open_now(talk) == []
    assert await bank.refusal(talk, approve(request)) == (409, "lapsed")
    await show(bank, talk, said.message)
    assert await bank.open_now(talk) == [request["id"]]
    answered = await talk.ask(answers=[approve(request)])
    assert (answered.end, answered.text) == ("run.completed", "It is sent."), answered.data
    assert [text for _role, text in questions_of(bank.gemini.requests[-1])] == ["Pay 5."]
    assert bank.results() == [("transfer_money", {"sent": 5})]
    await show(bank, talk, other.message)
    await talk.ask("And here?")
    assert bank.results() == []
    await show(bank, talk, answered.message)
    assert await bank.open_now(talk) == []


async def test_a_second_version_of_the_reply_asks_for_itself(bank: Bank) -> None:
    talk, said = await bank.ask(BANK, [PAY], [PAY], [Text("It is sent.")])
    (first,) = requests_of(said)
    again = await talk.ask(prompt=said.prompt)
    (second,) = requests_of(again)
    assert await bank.open_now(talk) == [second["id"]]
    assert await bank.refusal(talk, approve(first)) == (409, "lapsed")
    assert (await talk.ask(answers=[approve(second)])).end == "run.completed"
    assert bank.results() == [("transfer_money", {"sent": 5})]
    await show(bank, talk, said.message)
    assert await bank.open_now(talk) == [first["id"]]


async def test_a_question_lapses_a_request_for_good_on_its_branch(bank: Bank) -> None:
    talk, said = await bank.ask(BANK, [PAY])
    await talk.ask("Never mind.")
    assert bank.results() == [
        ("transfer_money", {"error": "This tool call requires confirmation, please approve or reject."})
    ]
    await talk.ask("Something else.", parent=None)
    await show(bank, talk, said.message)
    assert await bank.open_now(talk) == []


async def test_a_locked_or_expired_request_is_not_open(bank: Bank) -> None:
    talk, said = await bank.ask(BANK, [PAY], [Text("It is sent.")])
    (request,) = requests_of(said)
    await Conversation.objects.aupdate(locked_at=timezone.now())
    assert (await bank.open_now(talk), await bank.refusal(talk, approve(request))) == ([], (423, "locked"))
    await Conversation.objects.aupdate(locked_at=None)
    expires_at = (await PersonRequest.objects.aget()).expires_at
    await PersonRequest.objects.aupdate(expires_at=timezone.now() - timedelta(seconds=1))
    assert (await bank.open_now(talk), await bank.refusal(talk, approve(request))) == ([], (409, "lapsed"))
    await PersonRequest.objects.aupdate(expires_at=expires_at)
    assert await bank.open_now(talk) == [request["id"]]
    await bank.alice.request("DELETE", f"/api/v1/conversations/{talk.conversation}")
    assert await bank.refusal(talk, approve(request)) == (404, "not_found")


@dataclass
class Tree:
    """Model of a conversation: each message's parent, and the request of each reply that asked."""

    parents: dict[str, str | None] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    head: str = ""

    def add(self, parent: str | None, said: Said) -> None:
        assert said.message
        self.parents.setdefault(said.prompt, parent)
        self.parents[said.message], self.head = said.prompt, said.message
        for request in requests_of(said):
            self.requests[said.message] = request

    def ends(self) -> list[str]:
        return sorted(set(self.parents) - set(self.parents.values()))

    def open_now(self) -> dict[str, Any] | None:
        return self.requests.get(self.head)  # the head is always an end


@pytest.mark.parametrize("seed", range(trials(100, sample=3)))
async def test_a_request_is_open_exactly_where_its_reply_is_the_end(
    bank: Bank, settings: LazySettings, seed: int
) -> None:
    """Random walks of questions, edits, second versions, switches and answers."""
    settings.LIMITS = False
    rng = random.Random(seed)
    talk, said = await bank.ask(BANK, [PAY], [Text("It is sent.")])
    tree = Tree()
    tree.add(None, said)
    tree.questions.append(said.prompt)
    done = set()
    for number in range(15):
        query = f"Question {number}."
        bank.gemini.on(query, *([[PAY]] if rng.random() < 0.6 else []), [Text("Done.")])
        step, request = rng.choice(["ask", "edit", "again", "show", "show", "answer"]), tree.open_now()
        match step:
            case "ask" | "edit":
                parent = tree.head if step == "ask" else tree.parents[rng.choice(tree.questions)]
                said = await talk.ask(query, parent=parent)
                tree.add(parent, said)
                tree.questions.append(said.prompt)
            case "again":
                tree.add(None, await talk.ask(prompt=rng.choice(tree.questions)))
            case "show":
                tree.head = rng.choice(tree.ends())
                await show(bank, talk, tree.head)
            case "answer" if request:
                tree.add(tree.head, await talk.ask(answers=[rng.choice([approve, reject])(request)]))
            case _:
                continue
        open_now = tree.open_now()
        assert await bank.open_now(talk) == ([open_now["id"]] if open_now else []), (number, step)
        done.add(step)
    assert len(done) > 2
