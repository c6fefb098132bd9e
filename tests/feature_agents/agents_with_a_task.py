"""Delegates a task to an agent, which finishes it with a value."""

from _scripted import call, scripted
from pydantic import BaseModel


class Booking(BaseModel):
    room: int


clerk = scripted(
    "Which room? I take 12.",
    [call("finish_task", room=12)],
    name="clerk",
    mode="task",
    description="Books rooms.",
    output_schema=Booking,
)
root_agent = scripted([call("clerk", request="A room.")], "Room 12 is booked.", sub_agents=[clerk])
