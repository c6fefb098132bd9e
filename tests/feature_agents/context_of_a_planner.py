"""Plans in ADK's own format, whose plan and reasoning are thoughts."""

from _scripted import scripted
from google.adk.planners import PlanReActPlanner

plan = "/*PLANNING*/First look, then answer./*REASONING*/It is simple./*FINAL_ANSWER*/The answer is blue."
root_agent = scripted(plan, planner=PlanReActPlanner())
