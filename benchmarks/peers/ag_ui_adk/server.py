"""Server of ag-ui-adk: ``python -m benchmarks.peers.ag_ui_adk.server PORT``, in its own environment."""

import sys

import uvicorn
from ag_ui_adk import ADKAgent, add_adk_fastapi_endpoint
from fastapi import FastAPI

from benchmarks.agent import NAME, agent

EXECUTIONS_MAX = 1000  # its default of 10 would refuse the others


def application() -> FastAPI:
    served = ADKAgent(
        agent(),
        app_name=NAME,
        user_id="u",
        use_in_memory_services=True,
        max_concurrent_executions=EXECUTIONS_MAX,
    )
    app = FastAPI()
    add_adk_fastapi_endpoint(app, served)
    return app


if __name__ == "__main__":
    uvicorn.run(application(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
