"""Fails in the first round of a loop, and answers in the second."""

from _scripted import response
from google.adk.agents import Agent, LoopAgent
from google.adk.models import BaseLlm


class Improving(BaseLlm):
    rounds: int = 0

    async def generate_content_async(self, llm_request, stream=False):
        self.rounds += 1
        if self.rounds % 2:
            yield response(error_code="MALFORMED_FUNCTION_CALL", error_message="odd arguments")
        else:
            yield response("The second try works.")


worker = Agent(name="worker", model=Improving(model="improving"))
root_agent = LoopAgent(name="root", max_iterations=2, sub_agents=[worker])
