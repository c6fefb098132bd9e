"""How durably a running server stores what it shows, as its own threads see it."""

import json

from django.conf import settings

from tests.support.gemini import Call, Text
from tests.waiting.campaign import bank_of

ENGINE = "sqlite" if settings.ON_SQLITE else "postgresql"
AGENT = '''
from django.conf import settings
from django.db import connection
from google.adk.agents import Agent
from chat.database import run_db

def on_the_thread_that_commits():
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous" if settings.ON_SQLITE else "SHOW synchronous_commit")
        (found,) = cursor.fetchone()
        return str(found)

async def durability() -> dict:
    """Returns how durable a commit is, and how long deltas wait for one."""
    return {"commit": await run_db(on_the_thread_that_commits), "seconds": settings.JOURNAL_SECONDS}

root_agent = Agent(name="bank", model="gemini-2.5-flash", tools=[durability])
'''
FULL = "2"  # SQLite's number for synchronous=FULL


def test_a_commit_is_on_the_disk_and_a_delta_waits_25_ms_for_it() -> None:
    with bank_of(ENGINE, AGENT) as bank:
        bank.gemini.on("How durable?", [Call("durability", {})], [Text("Very.")])
        with bank.servers[0].member("alice").ask("How durable?", agent="bank") as stream:
            seen = stream.all_events()
        (returned,) = [event.json() for event in seen if event.name == "tool.returned"]
        result = returned["result"]
        found = json.loads(result) if isinstance(result, str) else result
        assert found == {"commit": FULL if ENGINE == "sqlite" else "on", "seconds": 0.025}
