"""Find ADK's code executors, tools and environments that run code on this machine; refuse or confine them.

In ADK 2.13 they start processes with the server's environment, keys included, and with access to every file
that the server can read. With ALLOW_LOCAL_CODE, these processes run in the sandbox.
"""

import asyncio
import shlex
import sys
import tempfile
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from google.adk.agents.invocation_context import InvocationContext
from google.adk.code_executors import UnsafeLocalCodeExecutor
from google.adk.code_executors.code_execution_utils import CodeExecutionInput, CodeExecutionResult
from google.adk.code_executors.unsafe_local_code_executor import _RUNNER, _run_name
from google.adk.environment import LocalEnvironment
from google.adk.environment._base_environment import ExecutionResult
from google.adk.integrations.cloud_run import CloudRunSandboxCodeExecutor
from google.adk.tools import BaseTool, ToolContext
from google.adk.tools.base_toolset import BaseToolset
from google.adk.tools.bash_tool import ExecuteBashTool, _validate_command
from google.adk.tools.skill_toolset import _GENERATED_FILES_MARKER
from google.adk.workflow import BaseNode
from google.adk.workflow._graph import Graph

from chat.agent.turn import sandbox
from chat.agent.turn.sandbox import Finished

OUTPUT_BYTES = 256 * 1024  # of one output: 64,000 tokens, more than a model needs
# A skill's script prints the files that it made: at most 16 MiB in ADK 2.13, before their encoding.
SKILL_OUTPUT_BYTES = 24 * 1024 * 1024
# The attributes in which ADK 2.13's agents, nodes, tools and toolsets hold each other and their executors.
CHILD_ATTRIBUTES = (
    "sub_agents", "nodes", "graph", "agent", "node", "_node", "tool", "tools", "_provided_tools_by_name",
    "_provided_toolsets", "code_executor", "_code_executor", "_environment", "_env",
)  # fmt: skip
CONTAINER_CLASSES = (BaseNode, BaseTool, BaseToolset, Graph)


class CodeNotAllowed(Exception):
    """Code may not run on this machine. ``reason`` is a sentence for members, ``detail`` is for the log."""

    def __init__(self, reason: str | Promise, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ConfinedExecutor(UnsafeLocalCodeExecutor):
    """ADK's executor with the same results, but in the sandbox, in a new folder, for at most TOOL_SECONDS."""

    def execute_code(
        self, invocation_context: InvocationContext, code_execution_input: CodeExecutionInput
    ) -> CodeExecutionResult:
        code = code_execution_input.code
        seconds = min(self.timeout_seconds or settings.TOOL_SECONDS, settings.TOOL_SECONDS)
        with tempfile.TemporaryDirectory(prefix="parley-code-", ignore_cleanup_errors=True) as folder:
            done = sandbox.run_confined(
                [sys.executable, "-s", "-E", "-X", "utf8", "-c", _RUNNER, _run_name(code)],
                folder=Path(folder),
                seconds=seconds,
                max_output=SKILL_OUTPUT_BYTES if _GENERATED_FILES_MARKER in code else OUTPUT_BYTES,
                stdin=code.encode("utf-8", "replace"),
            )
        return CodeExecutionResult(stdout=done.stdout, stderr=_error(done, seconds), exit_code=done.code)


class ConfinedEnvironment(LocalEnvironment):
    """ADK's environment with the same folder, but each command runs in a sandbox, at most TOOL_SECONDS."""

    async def execute(
        self,
        command: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (ADK's signature)
    ) -> ExecutionResult:
        done = await asyncio.to_thread(
            sandbox.run_confined,
            ["/bin/sh", "-c", command],
            folder=self.working_dir,
            seconds=min(timeout or settings.TOOL_SECONDS, settings.TOOL_SECONDS),
            max_output=OUTPUT_BYTES,
            variables=self._env_vars,
        )
        return ExecutionResult(
            exit_code=done.code, stdout=done.stdout, stderr=done.stderr, timed_out=done.timed_out
        )


class ConfinedBashTool(ExecuteBashTool):
    """ADK's tool, with its questions and refusals, but in the sandbox and for at most TOOL_SECONDS."""

    async def run_async(self, *, args: dict[str, Any], tool_context: ToolContext) -> Any:
        command, policy = args.get("command"), self._policy
        confirmation = tool_context.tool_confirmation
        allowed = isinstance(command, str) and not _validate_command(command, policy)
        if not (allowed and confirmation and confirmation.confirmed):
            return await super().run_async(args=args, tool_context=tool_context)
        limits = {"AS": policy.max_memory_bytes, "NPROC": policy.max_child_processes}
        limits["FSIZE"] = policy.max_file_size_bytes
        seconds = min(policy.timeout_seconds or settings.TOOL_SECONDS, settings.TOOL_SECONDS)
        try:
            arguments = shlex.split(str(command))
        except ValueError as error:  # an unclosed quotation
            return {"error": f"Execution failed: {error}"}
        done = await asyncio.to_thread(
            sandbox.run_confined,
            arguments,
            folder=self._workspace,
            seconds=seconds,
            max_output=OUTPUT_BYTES,
            limits={name: value for name, value in limits.items() if value},
        )
        answer = {
            "stdout": done.stdout or "<no stdout captured>",
            "stderr": done.stderr or "<no stderr captured>",
            "returncode": done.code,
        }
        return (
            {"error": f"Command timed out after {seconds:g} seconds.", **answer} if done.timed_out else answer
        )


CONFINED: dict[type, type | None] = {
    UnsafeLocalCodeExecutor: ConfinedExecutor,
    LocalEnvironment: ConfinedEnvironment,
    ExecuteBashTool: ConfinedBashTool,
    CloudRunSandboxCodeExecutor: None,  # its sandbox can read all files of this machine
}


def confine(*things: object) -> None:
    """Confine each object that runs code on this machine in these agents and tools.

    Raises CodeNotAllowed.
    """
    for found in reachable(things, tuple(CONFINED)):
        if not isinstance(found, (ConfinedExecutor, ConfinedEnvironment, ConfinedBashTool)):
            _check(found)
            own: type = type(found)
            adk_class, confined_class = _classes_of(found)
            assert confined_class
            # Change the object itself: ADK has passed references to it on.
            found.__class__ = _confined(own, adk_class, confined_class)


def reachable(things: Iterable[object], wanted: tuple[type, ...]) -> list[Any]:
    """Return the objects of the ``wanted`` classes in these agents, tools and toolsets."""
    found: list[Any] = []
    seen: set[int] = set()
    waiting = list(things)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or not isinstance(thing, (*CONTAINER_CLASSES, *wanted)):
            continue
        seen.add(id(thing))
        if isinstance(thing, wanted):
            found.append(thing)
        for child in (getattr(thing, name, None) for name in CHILD_ATTRIBUTES):
            children = child.values() if isinstance(child, dict) else child
            waiting += children if isinstance(children, Collection) else [children]
    return found


def _check(found: Any) -> None:
    """Raise CodeNotAllowed if ``found`` may not run code here."""
    detail = type(found).__name__
    if not settings.ALLOW_LOCAL_CODE:
        raise CodeNotAllowed(_("It runs code on this machine, which needs ALLOW_LOCAL_CODE=on."), detail)
    if _classes_of(found)[1] is None:
        raise CodeNotAllowed(_("It runs code on this machine in a way that Parley cannot confine."), detail)
    secrets = sandbox.secret_paths()
    if why := sandbox.why_unavailable(secrets):
        reason = _(
            "It runs code on this machine, which needs Landlock (Linux 6.2) and DATA_DIR apart from programs."
        )
        raise CodeNotAllowed(reason, f"{detail}: {why}")
    folder = getattr(found, "_working_dir", None) or getattr(found, "_workspace", None)
    if folder and sandbox.overlaps(Path(folder), secrets):
        reason = _("It runs commands in a folder that holds files of Parley's.")
        raise CodeNotAllowed(reason, f"{detail}: {folder}")


def _classes_of(found: object) -> tuple[type, type | None]:
    """Return ADK's class of ``found`` and its confined class, which is None if it cannot be confined."""
    return next(pair for pair in CONFINED.items() if isinstance(found, pair[0]))


@cache
def _confined(own: type, adk_class: type, confined_class: type) -> type:
    """Return the class that ``own`` would be with ``confined_class`` as its base, not ``adk_class``."""
    if own is adk_class:
        return confined_class
    # An agent's subclass keeps what it adds, and its ``super()`` is the confined class.
    return type(own)(own.__name__, (own, confined_class), {"__module__": own.__module__})


def _error(done: Finished, seconds: float) -> str:
    """Return the error text for the model, as ADK's executor writes it: "" if the program succeeded."""
    if done.timed_out:
        note = f"Code execution timed out after {seconds:g} seconds."
        return f"{done.stderr}\n{note}" if done.stderr else note
    if done.code == 0:
        return ""
    return done.stderr or f"Code execution exited with status {done.code}."
