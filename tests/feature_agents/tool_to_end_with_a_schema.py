"""Uses a tool and answers in a schema, for which ADK gives the model a tool, too."""

from _scripted import call, scripted
from pydantic import BaseModel


class Answer(BaseModel):
    town: str
    degrees: int


def measure(town: str) -> dict:
    """Measures."""
    return {"degrees": 7}


root_agent = scripted(
    [call("measure", town="Oslo")],
    [call("set_model_response", town="Oslo", degrees=7)],
    "Said.",
    tools=[measure],
    output_schema=Answer,
)
