"""Runs nodes that it makes itself, one for each word."""

from google.adk.agents.context import Context
from google.adk.workflow import START, Workflow, node


def shout(node_input):
    return node_input.upper()


@node(rerun_on_resume=True)
async def each(ctx: Context, node_input):
    words = node_input.parts[0].text.split()
    return " ".join([await ctx.run_node(shout, word) for word in words])


QUESTIONS = ["one two"]
root_agent = Workflow(name="root", edges=[(START, each)])
