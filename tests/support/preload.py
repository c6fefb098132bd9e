"""Large libraries for the fork server of commands.py to import once: 2 of a command's 3 seconds of CPU.

None of these reads Parley's settings or leaves a thread or an open file behind. Settings and Parley's own
modules are imported only in the command's process.
"""

import gc
import importlib
import sys

LIBRARIES = """
    anyio._backends._asyncio authlib.integrations.requests_client autobahn.twisted channels.routing
    django.core.handlers.asgi django.db.migrations django.middleware.csrf dotenv
    google.adk.agents.llm_agent google.adk.auth.auth_preprocessor google.adk.flows.llm_flows.auto_flow
    google.adk.models.google_llm google.adk.runners google.adk.tools.agent_tool
    google.adk.workflow._workflow httpcore prometheus_client redis.asyncio servestatic.middleware
    twisted.internet.asyncioreactor twisted.web.http uuid_utils yaml
"""

for name in LIBRARIES.split():
    importlib.import_module(name)
# config/__init__.py replaces sqlite3, and each process must install its own reactor.
assert not {"sqlite3", "twisted.internet.reactor"} & sys.modules.keys()
# Without this, the garbage collector scans all imported objects when a command ends: 0.6 s.
gc.freeze()
