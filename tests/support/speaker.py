"""Agents for AGENTS_DIR that need no model: each says the word in its module ``words``."""

import textwrap

SPEAKER = """
from google.adk.agents import BaseAgent
from google.adk.events import Event
from google.genai import types

from . import words


class Speaker(BaseAgent):
    async def _run_async_impl(self, context):
        yield Event(
            author=self.name,
            invocation_id=context.invocation_id,
            content=types.Content(role="model", parts=[types.Part(text=await words.word())]),
        )


root_agent = Speaker(name="root", description="Says a word.")
"""


# A module ``words`` whose answer waits for the file "go". It says so by the file "begun".
PATIENT = """
    import asyncio
    from pathlib import Path

    FOLDER = Path(__file__).parent

    async def word():
        (FOLDER / "begun").touch()
        while not (FOLDER / "go").exists():
            await asyncio.sleep(0.01)
        return "old"
"""


def speaker(word: str, name: str = "speaker") -> dict[str, str]:
    """Return the files of an agent that says ``word``."""
    return saying(f'async def word():\n    return "{word}"\n', name)


def saying(code: str, name: str = "speaker") -> dict[str, str]:
    """Return the files of an agent whose module ``words`` is ``code``, with an async function ``word``."""
    return {
        f"{name}/__init__.py": "",
        f"{name}/agent.py": SPEAKER,
        f"{name}/words.py": textwrap.dedent(code),
    }
