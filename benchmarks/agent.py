"""Agent of all measured processes. It imports only packages that each of their environments has."""

import os

import httpx
from google.adk.agents import LlmAgent
from google.adk.models import Gemini
from google.genai import types

NAME = "bench"


def agent() -> LlmAgent:
    """Return a minimal agent, whose connections to the model have no limit, as in Parley."""
    # httpx is set because google-genai's default client depends on which packages are installed.
    limits = httpx.Limits(max_connections=None)
    client = httpx.AsyncClient(timeout=httpx.Timeout(None, connect=10), limits=limits)
    model = Gemini(
        model="gemini-2.5-flash",
        client_kwargs={
            "http_options": types.HttpOptions(httpx_async_client=client),
            "api_key": os.environ["GOOGLE_API_KEY"],
        },
    )
    return LlmAgent(name=NAME, model=model, instruction="Answer.")
