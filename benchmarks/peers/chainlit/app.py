"""Handler for ``chainlit run``: a session of ADK for each of Chainlit's, in memory."""

import chainlit as cl
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types

from benchmarks.agent import NAME, agent

sessions = InMemorySessionService()
runner = Runner(app_name=NAME, agent=agent(), session_service=sessions)


@cl.on_message
async def answer(message: cl.Message) -> None:
    session = cl.user_session.get("id")
    if not await sessions.get_session(app_name=NAME, user_id="u", session_id=session):
        await sessions.create_session(app_name=NAME, user_id="u", session_id=session)
    reply = cl.Message(content="")
    events = runner.run_async(
        user_id="u",
        session_id=session,
        new_message=types.Content(role="user", parts=[types.Part(text=message.content)]),
        run_config=RunConfig(streaming_mode=StreamingMode.SSE),
    )
    async for event in events:
        if event.partial:
            for part in (event.content and event.content.parts) or []:
                await reply.stream_token(part.text or "")
    await reply.send()
