"""Grounds its answer in pages of a search."""

from _scripted import response, scripted
from google.genai import types

chunks = [
    types.GroundingChunk(
        web=types.GroundingChunkWeb(uri="https://fjord.example/depth", title="Depths of fjords")
    ),
    types.GroundingChunk(web=types.GroundingChunkWeb(uri="https://sea.example/", title="The sea")),
]
support = types.GroundingSupport(
    segment=types.Segment(start_index=0, end_index=30, text="The Sognefjord is 1,308 m deep"),
    grounding_chunk_indices=[0, 1],
)
found = types.GroundingMetadata(
    grounding_chunks=chunks, grounding_supports=[support], web_search_queries=["deepest fjord"]
)
root_agent = scripted(response("The Sognefjord is 1,308 m deep. It is long, too.", grounding_metadata=found))
