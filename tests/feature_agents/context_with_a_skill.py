"""Loads a skill, whose instructions become part of the next call."""

from _scripted import call, scripted
from google.adk.skills.models import Frontmatter, Skill
from google.adk.tools.skill_toolset import SkillToolset

skill = Skill(
    frontmatter=Frontmatter(name="baking", description="Bakes bread."), instructions="Knead for ten minutes."
)
load = [call("load_skill", skill_name="baking")]
root_agent = scripted([call("list_skills")], load, "Knead first.", tools=[SkillToolset(skills=[skill])])
