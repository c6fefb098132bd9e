"""Trials of the campaign: an answer is interrupted, and what is stored is compared."""

from collections.abc import Sequence

from chat.agent.live.events import Heard, Interrupted
from chat.database import run_db
from tests.live.cases import Case, answer_of, heard_of, sent_ms
from tests.live.context import context_of
from tests.live.script import Talk, texts_of, turns_of


async def interrupt(talk: Talk, case: Case, number: int, texts: list[str]) -> None:
    """Ask, interrupt the answer by speaking, and check what is stored; ``texts`` are those before."""
    question = f"question {number}"
    if not talk.model.connections:
        await talk.open_connection()
    if f"word {number}" not in texts:
        await talk.model.say(Heard(question, True))
    await talk.model.say(*answer_of(case))
    if case.when != "after" and sent_ms(case):
        talk.call.played(case.played if case.when == "before" else case.played / 2)
    talk.listener.on_interrupted = (
        (lambda: None) if case.when == "before" else lambda: talk.call.played(case.played)
    )
    await talk.model.say(Interrupted())
    *_, (asked, status, code, reply) = await turns_of(talk.conversation)
    assert (asked, status, code) == (question, "stopped", "interrupted"), case
    assert reply == heard_of(case), case
    texts += [question, *([reply] if reply else [])]
    assert await texts_of(talk.conversation) == texts, case
    assert await run_db(context_of, talk.conversation) == [text for text in texts if text.strip()], case


async def interrupt_all(talk: Talk, cases: Sequence[Case]) -> None:
    texts: list[str] = []
    for number, case in enumerate(cases):
        await interrupt(talk, case, number, texts)
