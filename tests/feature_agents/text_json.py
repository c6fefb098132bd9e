"""Answers with an object of a schema, which is stored in the state, too."""

from _scripted import scripted
from pydantic import BaseModel


class Town(BaseModel):
    name: str
    people: int


root_agent = scripted('{"name": "Bergen", "people": 291940}', output_schema=Town, output_key="town")
