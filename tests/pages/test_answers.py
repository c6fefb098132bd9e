"""Answers in a browser without JavaScript: their endings, retries and parts."""

import json
from typing import Any

import pytest
from django.utils import timezone

from chat.models import Message, Run
from tests.support.client import Client
from tests.support.gemini import Block, Call, Cut, Finish, Gemini, Status, Text, Thought
from tests.support.pages import ask, ask_again, settled, turns
from tests.support.talk import use_tools

# --- endings and retries --------------------------------------------------------------------------


async def test_a_failed_answer_says_why_and_can_be_tried_again(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Status(500)], [Status(500)], [Status(500)], [Text("now it works")])
    path = await ask(as_alice, "go")
    page = await settled(as_alice, path)
    while page.all("p", class_="ending"):
        assert turns(page)[0] == "go"
        assert page.one("p", class_="ending").text.startswith("The model")
        assert page.one("button", class_="ask-again").words == "Retry"
        assert (await ask_again(as_alice, page)).headers["location"] == path
        page = await settled(as_alice, path)
    assert turns(page) == ["go", "now it works"]


async def test_text_written_before_a_failure_is_kept(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("Half an ans"), Cut()])
    page = await settled(as_alice, await ask(as_alice, "go"))
    assert turns(page) == ["go", "Half an ans"]
    assert page.one("p", class_="ending")
    assert page.one("button", class_="ask-again").words == "Retry"


async def test_a_declined_answer_offers_no_retry(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Block("PROHIBITED_CONTENT")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    assert page.one("p", class_="ending").text == "The model declined to answer this."
    assert not page.all("button", class_="ask-again")


async def test_a_failure_is_still_shown_after_the_next_turn(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Block("PROHIBITED_CONTENT")])
    path = await ask(as_alice, "go")
    await settled(as_alice, path)
    await ask(as_alice, "and now?", at=path)
    page = await settled(as_alice, path)
    assert turns(page) == ["go", "and now?", "You said: and now?"]
    assert page.all("article")[0].one("p", class_="ending").text == "The model declined to answer this."


async def test_an_answer_cut_off_at_its_limit_says_so(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("So long"), Finish("MAX_TOKENS")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    assert page.one("p", class_="ending").text.startswith("The answer was cut off")


async def test_a_retry_warning_names_each_called_tool_once_except_adks_own(
    as_alice: Client, gemini: Gemini
) -> None:
    names = ["transfer_money", "transfer_to_agent", "adk_request_input", "<b>send</b>", "transfer_money"]
    gemini.on("go", [Call(name, {}) for name in names], [Text("Done.")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    assert (
        page.all("article")[-1].one("dialog").one("p").text
        == "This may do it again: transfer_money, <b>send</b>."
    )
    assert not page.all("b")


async def test_a_retry_needs_no_confirmation_if_only_adks_own_tools_were_called(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("go", [Call("adk_request_confirmation", {})], [Text("Done.")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    assert not page.all("article")[-1].all("dialog")
    assert page.one("button", class_="ask-again").words == "Regenerate"


async def test_regenerate_replaces_the_last_answer(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("two", [Text("second, first try")], [Text("second, second try")])
    path = await ask(as_alice, "one")
    await settled(as_alice, path)
    await ask(as_alice, "two", at=path)
    page = await settled(as_alice, path)
    assert [each.words for each in page.all("button", class_="ask-again")] == ["Regenerate", "Regenerate"]
    answers = [await ask_again(as_alice, page) for _ in range(2)]  # a double click
    assert [answer.status for answer in answers] == [303, 303]
    page = await settled(as_alice, path)
    assert turns(page) == ["one", "You said: one", "two", "second, second try"]
    assert await Run.objects.acount() == 3


# --- parts of an answer ---------------------------------------------------------------------------


async def test_an_answer_is_rendered_markdown_under_its_speakers_name(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("go", [Text("# Title\n\n**bold** <script>alert(1)</script>")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    article = page.all("article")[-1]
    assert article.one("h2").text == "Chat assistant"
    assert article.one("h3").text == "Title"
    assert article.one("strong").text == "bold"
    assert "<script>alert(1)</script>" in article.text


async def test_thoughts_and_tool_calls_are_collapsed_and_escaped(as_alice: Client, gemini: Gemini) -> None:
    hostile = '<img src=x onerror="alert(1)">'
    gemini.on(
        "go",
        [Thought(f"Hm. {hostile}"), Call("current_time", {"place": hostile})],
        [Text("Done.")],
    )
    page = await settled(as_alice, await ask(as_alice, "go"))
    article = page.all("article")[-1]
    thought, tool = article.all("details", class_="step")
    assert "open" not in thought.attrs
    assert thought.one("div").text == f"Hm. {hostile}"
    assert tool.one("code").text == "current_time"
    asked, answered = tool.one("pre", class_="tool-args"), tool.one("pre", class_="tool-outcome")
    assert not tool.all("details")
    assert hostile in asked.text.replace("\\", "")
    assert "No time zone is known" in answered.text
    assert not article.all("img")


async def test_a_tool_that_failed_says_so(as_alice: Client, gemini: Gemini, monkeypatch: Any) -> None:
    gemini.on("go", [Call("no_such_tool", {})], [Text("Sorry.")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    steps = page.all("article")[-1].all("details", class_="tool-step")
    assert [step.one("code").text for step in steps] == ["no_such_tool"]
    assert steps[0]["data-outcome"] == "failed"
    assert steps[0].one("span", class_="tool-state").text == "failed"


async def test_a_long_tool_result_is_truncated(
    as_alice: Client, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure() -> str:
        """Measure."""
        return "<b>" + "x" * 20_000

    await use_tools(monkeypatch, measure)
    gemini.on("go", [Call("measure", {})], [Text("Done.")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    tool = page.all("article")[-1].one("details", class_="tool-step")
    shown, rest = tool.one("pre", class_="tool-outcome").text, tool.one("pre", class_="tool-rest").text
    assert len(shown) == 2000
    assert json.loads(shown + rest) == {"result": "<b>" + "x" * 20_000}


async def test_a_failures_details_hold_its_code_and_its_run(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Block("PROHIBITED_CONTENT")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    details = page.one("div", class_="broken").one("details")
    run = await Run.objects.aget()
    assert [each.text for each in details.all("code")] == ["blocked", str(run.pk)]


async def test_a_message_is_copied_as_it_was_written(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("go", [Text("# Title\n\n**bold** <b>")])
    page = await settled(as_alice, await ask(as_alice, "go"))
    answer = await as_alice.get(page.all("article")[-1].one("form", class_="copy-message")["action"])
    assert answer.text == "# Title\n\n**bold** <b>"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_message_that_a_moderator_hid_is_not_copied(as_alice: Client) -> None:
    page = await settled(as_alice, await ask(as_alice, "hello"))
    address = page.all("article")[-1].one("form", class_="copy-message")["action"]
    await Message.objects.filter(role="assistant").aupdate(hidden_at=timezone.now())
    assert (await as_alice.get(address)).status == 404
