"""Agents whose reply is more than a model's text: workflows, images, code, tools without a summary."""

import json
import textwrap
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chat.events import Event, Fold
from tests.support import oracle
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text
from tests.support.talk import Said, Talk

WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

HEAD = """
    import asyncio
    from google.adk.agents import Agent, BaseAgent, LoopAgent, ParallelAgent, SequentialAgent
    from google.adk.apps import App, ResumabilityConfig
    from google.adk.events import Event, RequestInput
    from google.adk.models import BaseLlm, LlmResponse
    from google.adk.tools import FunctionTool, ToolContext, exit_loop, get_user_choice, request_input
    from google.adk.workflow import START, JoinNode, RetryConfig, Workflow, node
    from google.genai import types

    Part = types.Part

    def one(name, *tools, **more):
        return Agent(name=name, model="gemini-2.5-flash", tools=list(tools), **more)

    class Scripted(BaseLlm):
        \"\"\"Plays the n-th of ``script`` in the n-th model call of a conversation.\"\"\"
        model: str = "scripted"
        script: list = []

        async def generate_content_async(self, llm_request, stream=False):
            n = sum(content.role == "model" for content in llm_request.contents)
            turn = self.script[min(n, len(self.script) - 1)]
            if isinstance(turn, LlmResponse):
                yield turn
                return
            for part in turn if stream else []:
                yield LlmResponse(content=types.Content(role="model", parts=[part]), partial=True)
            yield LlmResponse(content=types.Content(role="model", parts=list(turn)), partial=False)

    def scripted(*script, **more):
        return Agent(name="scripted", model=Scripted(script=list(script)), **more)

    def picture(size=3000):
        return Part(inline_data=types.Blob(data=b"x" * size, mime_type="image/png"))
"""


class TalkTo(Talk):
    """A conversation with the agent ``it``."""

    async def ask(self, query: str | None = None, **fields: Any) -> Said:
        return await super().ask(query, **({} if self.conversation else {"agent": "it"}), **fields)


async def talk_to(write_agents: WriteAsync, client: Client, code: str) -> TalkTo:
    await write_agents({"it/agent.py": HEAD + textwrap.indent(textwrap.dedent(code), "    ")})
    return TalkTo(client)


# --- resumable apps -----------------------------------------------------------------------------

ROOTS = {
    "sequential": "SequentialAgent(name='it', sub_agents=[one('first'), one('second')])",
    "loop": "LoopAgent(name='it', max_iterations=2, sub_agents=[one('first')])",
    "parallel": "ParallelAgent(name='it', sub_agents=[one('first'), one('second')])",
    "custom": "Custom(name='it', sub_agents=[one('first')])",
    "llm": "one('it')",
    "workflow": "Workflow(name='it', edges=[(START, one('first'))])",
}
CUSTOM = """
class Custom(BaseAgent):
    async def _run_async_impl(self, ctx):
        async for event in self.sub_agents[0].run_async(ctx):
            yield event

app = App(name="it", root_agent={root}, resumability_config=ResumabilityConfig(is_resumable=True))
"""


@pytest.mark.parametrize("root", sorted(ROOTS))
async def test_a_resumable_app_answers_the_first_question_and_the_next(
    write_agents: WriteAsync, as_alice: Client, root: str
) -> None:
    talk = await talk_to(write_agents, as_alice, CUSTOM.format(root=ROOTS[root]))
    for question in ("One?", "Two?"):
        said = await talk.ask(question)
        assert said.end == "run.completed", said.data
        assert f"You said: {question}" in said.text
    await oracle.acheck([said.events])


async def test_a_run_has_the_invocation_id_of_its_first_adk_event(as_alice: Client) -> None:
    from chat.models import Run, SessionEvent

    said = await Talk(as_alice).ask("Hello")
    stored = (await SessionEvent.objects.filter(run_id=said.run, position=0).aget()).payload
    run = await Run.objects.aget(pk=said.run)
    assert run.invocation_id == json.loads(stored)["invocationId"] != ""


# --- replies without a model's text --------------------------------------------------------------

OUTPUTS = {
    "text": ("return 'It is ' + node_input.parts[0].text", "It is noon"),
    "object": ("return {'sum': 3}", '```json\n{\n  "sum": 3\n}\n```'),
    "list": ("return [1, 'zwei']", '```json\n[\n  1,\n  "zwei"\n]\n```'),
    "number": ("return 42", "```json\n42\n```"),
}


@pytest.mark.parametrize("kind", sorted(OUTPUTS))
async def test_a_workflows_output_is_the_reply(write_agents: WriteAsync, as_alice: Client, kind: str) -> None:
    body, text = OUTPUTS[kind]
    code = f"""
        def last(node_input):
            {body}

        root_agent = Workflow(name="it", edges=[(START, last)])
    """
    talk = await talk_to(write_agents, as_alice, code)
    said = await talk.ask("noon")
    assert (said.end, said.text) == ("run.completed", text)
    assert (await talk.reply())["text"] == text
    await oracle.acheck([said.events])


async def test_a_workflows_output_follows_the_texts_of_its_agents(
    write_agents: WriteAsync, as_alice: Client
) -> None:
    code = """
        writer = one("writer")

        def shout(node_input):
            return str(node_input).upper()

        root_agent = Workflow(name="it", edges=[(START, writer), (writer, shout)])
    """
    said = await (await talk_to(write_agents, as_alice, code)).ask("Hi")
    assert said.text == "You said: Hi\n\nYOU SAID: HI"


async def test_the_output_of_a_join_is_shown(write_agents: WriteAsync, as_alice: Client) -> None:
    code = """
        def left(node_input):
            return "L"

        def right(node_input):
            return "R"

        join = JoinNode(name="join")
        root_agent = Workflow(name="it", edges=[(START, left), (START, right), (left, join), (right, join)])
    """
    said = await (await talk_to(write_agents, as_alice, code)).ask("Hi")
    assert json.loads(said.text.removeprefix("```json\n").removesuffix("\n```")) == {
        "left": "L",
        "right": "R",
    }


async def test_an_image_alone_is_a_reply(write_agents: WriteAsync, as_alice: Client) -> None:
    talk = await talk_to(write_agents, as_alice, "root_agent = scripted([picture()])")
    said = await talk.ask("Draw.")
    assert said.end == "run.completed"
    assert (said.text, [event.json()["size"] for event in said.named("file")]) == ("", [3000])
    await oracle.acheck([said.events])


@pytest.mark.parametrize("stream", [True, False])
async def test_an_image_between_texts_keeps_its_place(
    write_agents: WriteAsync, as_alice: Client, stream: bool
) -> None:
    code = "root_agent = scripted([Part(text='Here:'), picture(), Part(text='Well?')])"
    talk = await talk_to(write_agents, as_alice, code)
    text = "Here:\n\nWell?"
    if stream:
        said = await talk.ask("Draw.")
        assert said.text == text and not said.named("replace")
        await oracle.acheck([said.events])
    else:
        assert (await talk.ask_whole("Draw.", agent="it"))["message"]["text"] == text
    items = (await talk.reply())["parts"]["items"]
    assert [item["type"] for item in items] == ["text", "file", "text"]


async def test_code_executed_by_the_model_is_a_step(write_agents: WriteAsync, as_alice: Client) -> None:
    code = """
        ran = Part(executable_code=types.ExecutableCode(code="print(2)", language="PYTHON"))
        came = Part(code_execution_result=types.CodeExecutionResult(outcome="OUTCOME_OK", output="2"))
        root_agent = scripted([Part(text="I count."), ran, came, Part(text="Two.")])
    """
    talk = await talk_to(write_agents, as_alice, code)
    said = await talk.ask("Count.")
    assert said.text == "I count.\n\nTwo."
    assert said.named("tool.called")[0].json() == {
        "id": "code-1", "name": "code", "args": {"language": "python", "code": "print(2)"},
    }  # fmt: skip
    assert said.named("tool.returned")[0].json()["result"] == {"outcome": "OUTCOME_OK", "output": "2"}
    assert len(said.named("tool.called")) == 1 and not said.named("replace")
    items = (await talk.reply())["parts"]["items"]
    assert [item["type"] for item in items] == ["text", "tool", "text"]
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    places = [page.index(shown) for shown in ('<p dir="auto">I count.', "print(2)", '<p dir="auto">Two.')]
    assert places == sorted(places), "the code is between the texts"
    assert page.count('<h2 class="speaker">It</h2>') == 1
    await oracle.acheck([said.events])


TOOL_WITHOUT_SUMMARY = """
    def pay(amount: int, tool_context: ToolContext) -> dict:
        \"\"\"Pays.\"\"\"
        tool_context.actions.skip_summarization = True
        return {"paid": amount}

    root_agent = one("it", pay)
"""


async def test_a_tool_that_skips_the_models_summary_completes_the_run(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("Pay 5.", [Call("pay", {"amount": 5})])
    talk = await talk_to(write_agents, as_alice, TOOL_WITHOUT_SUMMARY)
    said = await talk.ask("Pay 5.")
    assert (said.end, said.data["finish"]) == ("run.completed", "stop")
    assert (await talk.reply())["parts"]["items"][0]["result"] == {"paid": 5}
    await oracle.acheck([said.events])


async def test_an_empty_reply_after_a_tool_completes_the_run(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("Pay 5.", [Call("pay", {"amount": 5})], [Text("")])
    code = TOOL_WITHOUT_SUMMARY.replace("skip_summarization = True", "skip_summarization = None")
    assert (await (await talk_to(write_agents, as_alice, code)).ask("Pay 5.")).end == "run.completed"


async def test_an_empty_reply_without_a_tool_fails_with_code_empty(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("Hello", [Text("")])
    assert (await Talk(as_alice).ask("Hello")).code == "empty"


# --- the tools that were called -------------------------------------------------------------------


async def test_the_terminal_event_names_the_called_tools(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("Pay 5.", [Call("pay", {"amount": 5}), Call("pay", {"amount": 6})])
    said = await (await talk_to(write_agents, as_alice, TOOL_WITHOUT_SUMMARY)).ask("Pay 5.")
    assert said.data["called"] == ["pay"]
    assert (await as_alice.get(f"/api/v1/runs/{said.run}")).json()["called"] == ["pay"]


async def test_a_failed_run_names_the_called_tools(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    from tests.support.gemini import Block

    gemini.on("Pay 5.", [Call("pay", {"amount": 5})], [Block("SAFETY")])
    code = TOOL_WITHOUT_SUMMARY.replace("skip_summarization = True", "skip_summarization = None")
    said = await (await talk_to(write_agents, as_alice, code)).ask("Pay 5.")
    assert (said.code, said.data["called"]) == ("blocked", ["pay"])


async def test_a_run_without_tools_has_no_called_field(as_alice: Client) -> None:
    said = await Talk(as_alice).ask("Hello")
    assert "called" not in said.data
    assert "called" not in (await as_alice.get(f"/api/v1/runs/{said.run}")).json()


# --- failures and answers ---------------------------------------------------------------------------

RECOVERIES = {
    "a_node_that_is_retried": """
        tried = []

        @node(retry_config=RetryConfig(max_attempts=3, initial_delay=0.01, jitter=0.0))
        def fragile(node_input):
            tried.append(1)
            if len(tried) < 3:
                raise ValueError("not yet")
            return "It is done."

        root_agent = Workflow(name="it", edges=[(START, fragile)])
    """,
    "a_callback_that_answers_for_its_model": """
        class Failing(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                raise ConnectionError("gone")
                yield

        def make_up(callback_context, llm_request, error):
            content = types.Content(role="model", parts=[Part(text="It is done.")])
            return LlmResponse(content=content)

        root_agent = Agent(name="it", model=Failing(model="x"), on_model_error_callback=make_up)
    """,
    "a_loop_whose_second_round_answers": """
        failed = LlmResponse(error_code="MALFORMED_FUNCTION_CALL", error_message="odd")
        said = LlmResponse(content=types.Content(role="model", parts=[Part(text="It is done.")]))
        rounds = []

        class Improving(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                rounds.append(1)
                yield failed if len(rounds) == 1 else said

        worker = Agent(name="worker", model=Improving(model="x"))
        root_agent = LoopAgent(name="it", max_iterations=2, sub_agents=[worker])
    """,
}


@pytest.mark.parametrize("kind", sorted(RECOVERIES))
async def test_an_answer_after_a_failure_completes_the_run(
    write_agents: WriteAsync, as_alice: Client, kind: str
) -> None:
    said = await (await talk_to(write_agents, as_alice, RECOVERIES[kind])).ask("Do it.")
    assert (said.end, said.text) == ("run.completed", "It is done."), said.data


async def test_a_failure_of_one_parallel_agent_fails_the_run(
    write_agents: WriteAsync, as_alice: Client
) -> None:
    code = """
        said = LlmResponse(content=types.Content(role="model", parts=[Part(text="Mine.")]))
        blocked = LlmResponse(error_code="SAFETY", error_message="no")

        class Late(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                await asyncio.sleep(0.2)
                yield said

        root_agent = ParallelAgent(name="it", sub_agents=[
            Agent(name="bad", model=Scripted(script=[blocked])), Agent(name="good", model=Late(model="x")),
        ])
    """
    said = await (await talk_to(write_agents, as_alice, code)).ask("Do it.")
    assert (said.code, said.text) == ("blocked", "Mine.")


ERRORS_WITHOUT_CODE = {
    "a_model": "root_agent = scripted(LlmResponse(error_message='It broke.'))",
    "an_agent": """
        class Broken(BaseAgent):
            async def _run_async_impl(self, ctx):
                yield Event(author=self.name, invocation_id=ctx.invocation_id, error_message="It broke.")

        root_agent = Broken(name="it")
    """,
}


@pytest.mark.parametrize("kind", sorted(ERRORS_WITHOUT_CODE))
async def test_an_error_without_a_code_is_a_model_error(
    write_agents: WriteAsync, as_alice: Client, kind: str
) -> None:
    said = await (await talk_to(write_agents, as_alice, ERRORS_WITHOUT_CODE[kind])).ask("Do it.")
    assert (said.end, said.code) == ("run.failed", "model_error")


PROVIDERS = {
    "a_status_code": ("self.status_code = 429", "rate_limited"),
    "a_code": ("self.code = 429", "rate_limited"),
    "a_response": ("self.response = types.HttpOptions(); self.status_code = 503", "unavailable"),
    "a_bad_request": ("self.status_code = 400", "model_error"),
}


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
async def test_status_codes_of_other_providers_are_understood(
    write_agents: WriteAsync, as_alice: Client, kind: str
) -> None:
    attributes, code_ = PROVIDERS[kind]
    code = f"""
        class RateLimitError(Exception):
            def __init__(self):
                super().__init__("as the provider says it")
                {attributes}

        class Provider(BaseLlm):
            async def generate_content_async(self, llm_request, stream=False):
                raise RateLimitError
                yield

        root_agent = Agent(name="it", model=Provider(model="x"))
    """
    said = await (await talk_to(write_agents, as_alice, code)).ask("Hi")
    assert (said.end, said.code) == ("run.failed", code_)


@pytest.mark.parametrize(
    ("error_code", "code"),
    [("RESOURCE_EXHAUSTED", "rate_limited"), ("429", "rate_limited"), ("UNAVAILABLE", "unavailable"),
     ("503", "unavailable"), ("SOMETHING_ELSE", "model_error")],
)  # fmt: skip
async def test_error_codes_of_other_providers_are_understood(
    write_agents: WriteAsync, as_alice: Client, error_code: str, code: str
) -> None:
    agent = f"root_agent = scripted(LlmResponse(error_code={error_code!r}, error_message='x'))"
    assert (await (await talk_to(write_agents, as_alice, agent)).ask("Hi")).code == code


# --- text that changes when it is complete ------------------------------------------------------------

CHANGING = """
    def look_up(word: str) -> dict:
        \"\"\"Looks up.\"\"\"
        return {"found": word}

    def sign(callback_context, llm_response):
        parts = llm_response.content.parts if llm_response.content else []
        if not llm_response.partial and parts and parts[-1].text:
            parts[-1].text += " (signed)"
        return llm_response

    root_agent = one("it", look_up, after_model_callback=sign)
"""


async def test_a_replace_event_keeps_text_from_before_its_model_call(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("Look.", [Text("First."), Call("look_up", {"word": "x"})], [Text("Sec"), Text("ond.")])
    talk = await talk_to(write_agents, as_alice, CHANGING)
    said = await talk.ask("Look.")
    (replace,) = said.named("replace")
    assert replace.json() == {"text": "First.\n\nSecond. (signed)", "keep": len("First.\n\n")}
    items = (await talk.reply())["parts"]["items"]
    assert [(i["type"], i.get("text", i.get("result"))) for i in items] == [
        ("text", "First."), ("tool", {"found": "x"}), ("text", "\n\nSecond. (signed)"),
    ]  # fmt: skip
    await oracle.acheck([said.events])


async def test_a_replace_event_keeps_a_tool_before_any_text(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("Look.", [Call("look_up", {"word": "x"})], [Text("Found.")])
    talk = await talk_to(write_agents, as_alice, CHANGING)
    said = await talk.ask("Look.")
    assert said.named("replace")[0].json() == {"text": "Found. (signed)", "keep": 0}
    items = (await talk.reply())["parts"]["items"]
    assert [item["type"] for item in items] == ["tool", "text"]


async def test_a_replace_event_keeps_thoughts_and_speakers(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    from tests.support.gemini import Thought

    code = CHANGING.replace(
        'root_agent = one("it", look_up, after_model_callback=sign)',
        """root_agent = SequentialAgent(name="it", sub_agents=[
        one("first"), one("second", after_model_callback=sign)])""",
    )
    gemini.on_agent("first", [Thought("Hm."), Text("One.")])
    gemini.on_agent("second", [Thought("Well."), Text("Two.")])
    talk = await talk_to(write_agents, as_alice, code)
    said = await talk.ask("Count.")
    assert said.named("replace")[0].json()["keep"] == len("One.\n\n")
    items = (await talk.reply())["parts"]["items"]
    assert [(item["type"], item["agent"], item["text"]) for item in items] == [
        ("thought", "first", "Hm."), ("text", "first", "One."), ("thought", "second", "Well."),
        ("text", "second", "\n\nTwo. (signed)"),
    ]  # fmt: skip


@pytest.mark.parametrize("keep", range(8))
def test_a_fold_applies_keep_as_a_strict_client_does(keep: int) -> None:
    """Items up to the first ``keep`` code points of text stay, and nothing else."""
    log = [
        Event("tool.called", {"id": "0", "name": "t", "args": {}}),
        Event("text", {"text": "abc"}),
        Event("thought", {"text": "hm"}),
        Event("text", {"text": "déf"}),
        Event("tool.called", {"id": "1", "name": "u", "args": {}}),
        Event("replace", {"text": "abcdéf"[:keep] + "NEW", "keep": min(keep, 6)}),
    ]
    fold = Fold(log)
    assert fold.text == "abcdéf"[:keep] + "NEW"
    kinds = [item["type"] for item in fold.items]
    assert kinds[0] == "tool"
    assert ("thought" in kinds) == (keep >= 3)
    assert (kinds.count("tool") == 2) == (keep >= 6)
    assert "".join(item["text"] for item in fold.items if item["type"] == "text") == fold.text


PLANNING = """
    from google.adk.planners import PlanReActPlanner

    PLAN = "/*PLANNING*/First look around, then think./*REASONING*/It is simple./*FINAL_ANSWER*/It is blue."

    class Streaming(BaseLlm):
        async def generate_content_async(self, llm_request, stream=False):
            for start in range(0, len(PLAN), {length}):
                yield LlmResponse(partial=True, content=types.Content(
                    role="model", parts=[Part(text=PLAN[start:start + {length}])]))
            yield LlmResponse(content=types.Content(role="model", parts=[Part(text=PLAN)]), partial=False)

    root_agent = Agent(name="it", model=Streaming(model="x"), planner=PlanReActPlanner())
"""


@pytest.mark.parametrize("length", [5, 16, 20, 24, 30, 50, 200])
async def test_a_thought_is_complete_when_its_fragments_were_not_all_thoughts(
    write_agents: WriteAsync, as_alice: Client, length: int
) -> None:
    """ADK's planner recognises a plan by tags, which a fragment can lack or cut."""
    talk = await talk_to(write_agents, as_alice, PLANNING.replace("{length}", str(length)))
    said = await talk.ask("Colour?")
    assert said.text == "It is blue."
    items = (await talk.reply())["parts"]["items"]
    thoughts = "".join(item["text"] for item in items if item["type"] == "thought")
    assert "First look around, then think." in thoughts and "It is simple." in thoughts
    await oracle.acheck([said.events])


WORKFLOW = """
from google.adk.agents import Agent
from google.adk.workflow import START, Workflow

def count(node_input):
    return {"words": 3}

def sum_up(node_input):
    return f"{node_input['words']} words"

clerk = Agent(name="clerk", model="gemini-2.5-flash")
root_agent = Workflow(name="desk", edges=[(START, count), (count, sum_up), (sum_up, clerk)])
"""


async def test_the_steps_of_a_workflow_are_listed_with_their_outputs(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"desk.py": WORKFLOW})
    gemini.on_agent("clerk", [Text("Three words.")])
    talk = Talk(as_alice)
    said = await talk.ask("Count.", agent="desk")
    assert [(e.json()["name"], e.json().get("output")) for e in said.named("step")] == [
        ("count", {"words": 3}),
        ("sum_up", "3 words"),
        ("clerk", None),
    ]
    items = (await talk.reply())["parts"]["items"]
    assert [item["name"] for item in items if item["type"] == "step"] == ["count", "sum_up", "clerk"]
    page = (await as_alice.get(f"/chat/{talk.conversation}/")).text
    assert "3 words" in page and ">sum_up</bdi>" in page
