"""Sources of a reply: grounding and citations of the model, in code points, on every surface."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chat.models import Message
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Gemini, Pause, Raw, Text, Thought
from tests.support.talk import Said, Talk

pytestmark = pytest.mark.any_database

ANSWER = "Zürich liegt am See 🏞️. Bern ist die Hauptstadt."
FIRST, SECOND = "Zürich liegt am See 🏞️.", "Bern ist die Hauptstadt."


@pytest.fixture
def talk(as_alice: Client) -> Talk:
    return Talk(as_alice)


def grounding(*chunks: dict[str, Any], supports: list[tuple[str, list[int]]] = (), **more: Any) -> Raw:  # type: ignore[assignment]
    """Return the last chunk of an answer, with grounding for these sentences of ANSWER."""
    found = []
    for sentence, used in supports:
        start = len(ANSWER[: ANSWER.index(sentence)].encode())
        segment = {"startIndex": start, "endIndex": start + len(sentence.encode()), "text": sentence}
        found.append({"segment": segment, "groundingChunkIndices": used})
    metadata = {"groundingChunks": chunks, "groundingSupports": found, **more}
    return last({"groundingMetadata": metadata})


def last(candidate: dict[str, Any]) -> Raw:
    content = {"role": "model", "parts": [{"text": ""}]}
    chunk = {"candidates": [{"content": content, "finishReason": "STOP", "index": 0, **candidate}]}
    return Raw(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n")


def web(title: str, uri: str) -> dict[str, Any]:
    return {"web": {"title": title, "uri": uri}}


ZURICH = web("Zürich", "https://example.org/zurich?a=1&b=2")
BERN = web("bern.example", "https://bern.example/")
BOTH = grounding(
    ZURICH, BERN, supports=[(FIRST, [0]), (SECOND, [1, 0])], webSearchQueries=["Hauptstadt", "See"]
)
ITEMS = [
    {"n": 1, "title": "Zürich", "uri": "https://example.org/zurich?a=1&b=2", "host": "example.org"},
    {"n": 2, "title": "bern.example", "uri": "https://bern.example/", "host": "bern.example"},
]


def sources_of(said: Said) -> dict[str, Any]:
    (found,) = said.named("sources")
    value: dict[str, Any] = found.json()
    return value


async def test_grounding_is_sources_in_code_points_of_the_reply(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Where?", [Thought("Hm."), Text(ANSWER[:9]), Text(ANSWER[9:]), BOTH])
    said = await talk.ask("Where?")
    assert (said.end, said.text) == ("run.completed", ANSWER)
    found = sources_of(said)
    assert found["items"] == ITEMS
    assert [(ANSWER[s["start"] : s["end"]], s["items"]) for s in found["spans"]] == [
        (FIRST, [1]),
        (SECOND, [2, 1]),
    ]
    assert found["queries"] == ["Hauptstadt", "See"]
    assert [event.name for event in said.events][-3:-1] == ["sources", "run.completed"]
    reply = await talk.reply()
    assert reply["text"] == ANSWER
    assert reply["parts"]["items"][-1] == {"type": "sources", "agent": "chat_assistant", **found}
    await oracle.acheck([said.events])


async def test_spans_count_from_the_beginning_of_the_whole_reply(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Where?", [Text(ANSWER), BOTH])
    gemini.on("Why?", [Text("Ähm, "), Text(ANSWER), BOTH])
    await talk.ask("Where?")
    found = sources_of(said := await talk.ask("Why?"))
    # the indexes are of a text that is not the part's: the sentences are found by their words
    assert [said.text[s["start"] : s["end"]] for s in found["spans"]] == [FIRST, SECOND]


async def test_citations_are_sources_too(talk: Talk, gemini: Gemini) -> None:
    end = len(FIRST.encode())
    cited = {"startIndex": 0, "endIndex": end, "uri": "https://example.org/", "title": "Example"}
    gemini.on(
        "Where?", [Text(ANSWER), last({"citationMetadata": {"citationSources": [cited, {"uri": "x:y"}]}})]
    )
    found = sources_of(said := await talk.ask("Where?"))
    assert [each["title"] for each in found["items"]] == ["Example"]
    assert [said.text[s["start"] : s["end"]] for s in found["spans"]] == [FIRST]


HOSTILE = [
    web("javascript", "javascript:alert(1)"),
    web("data", "data:text/html,<script>alert(1)</script>"),
    web("<img src=x onerror=alert(1)>", 'https://example.org/"onmouseover="alert(1)'),
    web('"><script>alert(1)</script>', "https://example.org/ok"),
    web("line\nbreak\u202e\u2028", "https://google.com@evil.example/"),
    {"retrievedContext": {"title": "Handbook, page 3", "uri": "gs://bucket/secret.pdf"}},
    web("", "HTTPS://EXAMPLE.ORG/upper"),
    web("long", "https://example.org/" + "x" * 4000),
]


async def test_only_web_addresses_are_links_and_titles_are_text(
    talk: Talk, gemini: Gemini, as_alice: Client
) -> None:
    gemini.on("Where?", [Text(ANSWER), grounding(*HOSTILE, supports=[(FIRST, [*range(8), 99])])])
    found = sources_of(await talk.ask("Where?"))
    assert [each["uri"] for each in found["items"]] == [
        "", "", "", "https://example.org/ok", "https://google.com@evil.example/", "",
        "HTTPS://EXAMPLE.ORG/upper", "",
    ]  # fmt: skip
    assert [each["host"] for each in found["items"]][4] == "evil.example"
    assert found["items"][6]["title"] == "example.org"
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    message = page[page.index('<article class="message assistant"') :]
    message = message[: message.index("</article>")]
    assert "<script" not in message and "<img" not in message and "javascript:" not in message
    assert "&lt;img src=x onerror=alert(1)&gt;" in message
    assert message.count('<sup class="source">') == 8


async def test_the_page_has_numbered_links_and_a_list(talk: Talk, gemini: Gemini, as_alice: Client) -> None:
    gemini.on("Where?", [Text(ANSWER), BOTH])
    await talk.ask("Where?")
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    address = "https://example.org/zurich?a=1&amp;b=2"
    target = 'target="_blank" rel="nofollow noopener noreferrer ugc"'
    one = f'<sup class="source"><a href="{address}" title="Zürich" {target}>1</a></sup>'
    two = f'<sup class="source"><a href="https://bern.example/" title="bern.example" {target}>2</a></sup>'
    assert f'<p dir="auto">{FIRST}{one} {SECOND}{two}{one}</p>' in page
    assert page.count(f'<a href="{address}" {target}><bdi>Zürich</bdi></a>') == 1
    assert "<q>Hauptstadt</q>" in page
    assert (await Message.objects.aget(role="assistant")).text == ANSWER


@pytest.mark.parametrize(
    ("text", "sentence", "html"),
    [
        ("**So it is.** Yes.", "So it is.", "<strong>So it is.{1}</strong> Yes."),
        ("- One.\n- Two.", "One.", "<li>One.{1}</li>"),
        ("| a | b |\n|---|---|\n| One. | Two. |", "One.", ">One.{1}</td>"),
        ("It is `One.` so.", "One.", "<code>One.</code>{1} so."),
        ("```\nOne.\n```\n\nOut.", "One.", "One.\n</code></pre>"),
        ("See [One. Two](https://example.com/).", "One.", "One. Two</a>{1}."),
        ("See https://example.com/one two.", "See https://example.com/o", "/one</a>{1} two."),
        ("| a | b |\n|---|---|\n| c | d |", "| a | b |\n|-", "<table>"),
        ("So \U000f0001 it is. One.", "One.", "One.</p>"),
    ],
    ids=["bold", "list", "table", "code", "block", "link", "address", "rule", "mark"],
)  # fmt: skip
async def test_a_number_never_changes_the_markup(
    talk: Talk, gemini: Gemini, text: str, sentence: str, html: str
) -> None:
    start = text.encode().index(sentence.encode())
    segment = {"startIndex": start, "endIndex": start + len(sentence.encode()), "text": sentence}
    support = {"segment": segment, "groundingChunkIndices": [0]}
    found = last({"groundingMetadata": {"groundingChunks": [BERN], "groundingSupports": [support]}})
    gemini.on("Where?", [Text(text), found])
    await talk.ask("Where?")
    rendered = (await Message.objects.aget(role="assistant")).html
    number = rendered[rendered.index("<sup") : rendered.index("</sup>") + 6] if "<sup" in rendered else ""
    assert html.replace("{1}", number) in rendered
    assert bool(number) == ("{1}" in html)


PAIR = """
    from google.adk.agents import Agent, SequentialAgent

    def one(name):
        return Agent(name=name, model="gemini-2.5-flash")

    root_agent = SequentialAgent(name="pair", sub_agents=[one("left"), one("right")])
"""


async def test_the_sources_of_several_agents_are_numbered_together(
    write_agents: Callable[[dict[str, str]], Awaitable[None]],
    talk: Talk,
    gemini: Gemini,
    as_alice: Client,
) -> None:
    await write_agents({"pair.py": PAIR})
    gemini.on_agent("left", [Text("Nothing yet.")])
    gemini.on_agent("right", [Text(ANSWER), BOTH])
    said = await talk.ask("Where?", agent="pair")
    assert [said.text[s["start"] : s["end"]] for s in sources_of(said)["spans"]] == [FIRST, SECOND]
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    section = page[page.index('<section class="agent-section">') :]
    assert f'<p dir="auto">{FIRST}<sup class="source"><a' in section
    assert section[: section.index("</article>")].count('<section class="sources">') == 1


async def test_a_stopped_reply_keeps_the_sources_of_its_complete_calls(
    write_agents: Callable[[dict[str, str]], Awaitable[None]], talk: Talk, gemini: Gemini, settings: Any
) -> None:
    await write_agents({"pair.py": PAIR})
    settings.SILENCE_SECONDS = 0.5
    gemini.on_agent("left", [Text(ANSWER), BOTH])
    gemini.on_agent("right", [Text("And"), Pause(3), Text(" so on.")])
    said = await talk.ask("Where?", agent="pair")
    assert (said.end, said.code, said.text) == ("run.failed", "stalled", f"{ANSWER}\n\nAnd")
    assert sources_of(said)["items"] == ITEMS


async def test_an_export_lists_the_sources(talk: Talk, gemini: Gemini, as_alice: Client) -> None:
    gemini.on("Where?", [Text(ANSWER), grounding(web("a [b] *c*", "https://example.org/"), BERN)])
    await talk.ask("Where?")
    export = await as_alice.get(f"/api/v1/conversations/{talk.conversation}/export?format=markdown")
    assert (
        "1. a \\[b\\] \\*c\\* <https://example.org/>\n2. bern.example <https://bern.example/>" in export.text
    )


async def test_a_reply_without_sources_has_no_event(talk: Talk, gemini: Gemini) -> None:
    gemini.on("Where?", [Text(ANSWER), last({"groundingMetadata": {}})])
    assert (await talk.ask("Where?")).named("sources") == []
