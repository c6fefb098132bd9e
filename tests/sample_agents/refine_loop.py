"""A loop, in a module: a critic and a refiner take turns until the critic is content."""

from google.adk.agents import LlmAgent, LoopAgent, SequentialAgent
from google.adk.tools import exit_loop

MODEL = "gemini-2.5-flash"

drafter = LlmAgent(name="drafter", model=MODEL, instruction="Write a draft.", output_key="draft")
critic = LlmAgent(
    name="critic",
    model=MODEL,
    instruction="Criticise the draft: {draft}. When nothing is wrong with it, call exit_loop.",
    tools=[exit_loop],
    output_key="criticism",
)
refiner = LlmAgent(
    name="refiner",
    model=MODEL,
    instruction="Better the draft {draft} by this: {criticism}",
    output_key="draft",
)

root_agent = SequentialAgent(
    name="refine_loop",
    description="Writes a text and betters it until nothing is wrong with it.",
    sub_agents=[
        drafter,
        LoopAgent(name="refinement", sub_agents=[critic, refiner], max_iterations=3),
    ],
)
