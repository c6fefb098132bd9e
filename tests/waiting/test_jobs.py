"""Jobs: long-running tools that returned a first value. Their result may come after later turns."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from chat.models import PersonRequest
from tests.support import oracle
from tests.support.gemini import Call, Text
from tests.waiting.bank import Bank, approve, requests_of, say

PRINTER = """
    def start_print(pages: int) -> dict:
        act("started")
        return {"ticket": pages}

    root_agent = one("bank", LongRunningFunctionTool(start_print), confirmed)
"""


def printing(pages: int) -> Call:
    return Call("start_print", {"pages": pages})


async def test_a_job_is_listed_and_does_not_end_the_turn(bank: Bank) -> None:
    talk, said = await bank.ask(PRINTER, [printing(7)], [Text("It prints.")])
    (job,) = requests_of(said)
    assert (said.data["finish"], said.text, "waiting" in said.data) == ("stop", "It prints.", False)
    assert (job["kind"], job["job"], job["payload"], job["args"]) == (
        "tool",
        True,
        {"ticket": 7},
        {"pages": 7},
    )
    assert await bank.open_now(talk) == [job["id"]]
    listed = (await bank.alice.get("/api/v1/conversations")).json()["items"]
    assert listed[0]["is_waiting"] is False


async def test_a_job_is_answered_after_later_turns(bank: Bank, settings: Any) -> None:
    settings.CONTEXT_EVENTS = 4  # the job's own turn is no longer in the window
    turns = [printing(7)], [Text("It prints.")], [Text("Your print is ready.")]
    talk, said = await bank.ask(PRINTER, *turns)
    (job,) = requests_of(said)
    for n in range(3):
        await talk.ask(f"Question {n}?")
    assert await bank.open_now(talk) == [job["id"]]
    before = [message["id"] for message in await talk.messages()]
    answered = await talk.ask(answers=[say(job, {"status": "printed"})])
    assert (answered.end, answered.text) == ("run.completed", "Your print is ready."), answered.data
    contents = bank.gemini.requests[-1]["contents"]
    calls = [
        part["functionCall"] for content in contents for part in content["parts"] if "functionCall" in part
    ]
    assert [(call["name"], call["args"]) for call in calls] == [("start_print", {"pages": 7})]
    assert ("start_print", {"status": "printed"}) in bank.results()
    assert [message["id"] for message in await talk.messages()][: len(before)] == before
    assert await bank.open_now(talk) == []
    assert bank.acts == ["started"]
    await oracle.acheck([said.events, answered.events])


async def test_two_jobs_are_answered_in_any_order(bank: Bank) -> None:
    talk, said = await bank.ask(PRINTER, [printing(1), printing(2)], [Text("Both print.")])
    first, second = requests_of(said)
    assert (await talk.ask(answers=[say(second, "printed 2")])).end == "run.completed"
    assert await bank.open_now(talk) == [first["id"]]
    answered = await talk.ask(answers=[say(first, "printed 1")])
    assert answered.end == "run.completed", answered.data
    assert {str(result) for _name, result in bank.results()} >= {
        "{'result': 'printed 1'}",
        "{'result': 'printed 2'}",
    }
    assert await bank.refusal(talk, say(first, "again")) == (409, "answered")


async def test_a_job_is_not_part_of_the_confirmations_of_its_reply(bank: Bank) -> None:
    calls = [printing(1), Call("transfer_money", {"amount": 5})]
    talk, said = await bank.ask(PRINTER, calls, [Text("It is sent.")], [Text("It is printed.")])
    job, confirmation = requests_of(said)
    assert (said.data["finish"], said.data["waiting"]) == ("approval", [confirmation["id"]])
    answered = await talk.ask(answers=[approve(confirmation)])
    assert (answered.end, answered.text) == ("run.completed", "It is sent."), answered.data
    assert await bank.open_now(talk) == [job["id"]]
    answered = await talk.ask(answers=[say(job, "printed")])
    assert (answered.end, answered.text) == ("run.completed", "It is printed."), answered.data


async def test_a_job_expires(bank: Bank) -> None:
    talk, said = await bank.ask(PRINTER, [printing(7)], [Text("It prints.")])
    await PersonRequest.objects.aupdate(expires_at=timezone.now() - timedelta(seconds=1))
    assert await bank.open_now(talk) == []
    assert await bank.refusal(talk, say(requests_of(said)[0], "printed")) == (409, "lapsed")
