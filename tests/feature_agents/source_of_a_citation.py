"""Cites a page."""

from _scripted import response, scripted
from google.genai import types

cited = types.CitationMetadata(
    citations=[types.Citation(start_index=0, end_index=20, uri="https://poems.example/owl", title="The owl")]
)
root_agent = scripted(response("The owl and the cat went to sea.", citation_metadata=cited))
