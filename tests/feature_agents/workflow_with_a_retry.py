"""Repeats a node that fails twice."""

from google.adk.workflow import START, RetryConfig, Workflow, node

tried = []


@node(retry_config=RetryConfig(max_attempts=3, initial_delay=0.01, jitter=0.0))
def fragile(node_input):
    tried.append(1)
    if len(tried) % 3:
        raise ValueError("not yet")
    return "It is done."


root_agent = Workflow(name="root", edges=[(START, fragile)])
