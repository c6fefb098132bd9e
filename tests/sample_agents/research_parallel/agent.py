"""Two researchers at once, then one who merges what they found."""

from google.adk.agents import LlmAgent, ParallelAgent, SequentialAgent

MODEL = "gemini-2.5-flash"


def researcher(subject: str) -> LlmAgent:
    return LlmAgent(
        name=f"{subject}_researcher",
        model=MODEL,
        instruction=f"You research {subject}.",
        output_key=f"{subject}_findings",
    )


merger = LlmAgent(name="merger", model=MODEL, instruction="Merge: {wind_findings} and {solar_findings}")

root_agent = SequentialAgent(
    name="research_parallel",
    description="Researches two subjects at once and merges the findings.",
    sub_agents=[
        ParallelAgent(name="researchers", sub_agents=[researcher("wind"), researcher("solar")]),
        merger,
    ],
)
