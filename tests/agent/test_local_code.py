"""Agents that run code on this machine: unavailable unless allowed, and then confined."""

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chat.agent.agents import catalog
from chat.agent.turn import local_code, sandbox
from chat.agent.turn.sandbox import Finished
from tests.support.client import Client
from tests.support.gemini import Call, Gemini, Text
from tests.support.talk import Talk
from tests.support.waiting import until

# ADK's environments and skills say that they are experimental.
pytestmark = [pytest.mark.any_database, pytest.mark.filterwarnings("ignore::UserWarning")]

Write = Callable[[dict[str, str]], Path]
WriteAsync = Callable[[dict[str, str]], Awaitable[None]]

HEAD = """
    from pathlib import Path
    from google.adk.agents import Agent, BaseAgent, SequentialAgent
    from google.adk.code_executors import BaseCodeExecutor, BuiltInCodeExecutor, UnsafeLocalCodeExecutor
    from google.adk.code_executors.code_execution_utils import CodeExecutionResult
    from google.adk.environment import LocalEnvironment
    from google.adk.integrations.cloud_run import CloudRunSandboxCodeExecutor
    from google.adk.skills import models
    from google.adk.tools import AgentTool
    from google.adk.tools.bash_tool import ExecuteBashTool
    from google.adk.tools.environment import EnvironmentToolset
    from google.adk.tools.skill_toolset import SkillToolset
    from google.adk.workflow import START, Workflow

    class Own(UnsafeLocalCodeExecutor):
        greeting: str = "print('greeting')"

        def execute_code(self, invocation_context, code_execution_input):
            code_execution_input.code = self.greeting + chr(10) + code_execution_input.code
            return super().execute_code(invocation_context, code_execution_input)

    class Elsewhere(BaseCodeExecutor):
        def execute_code(self, invocation_context, code_execution_input):
            return CodeExecutionResult(stdout="from elsewhere")

    def agent(name="coder", **more):
        return Agent(name=name, model="gemini-2.5-flash", **more)

    skill = models.Skill(
        frontmatter=models.Frontmatter(name="sums", description="Adds."),
        instructions="Run add.py.",
        resources=models.Resources(scripts={
            "add.py": models.Script(src="import sys; open('sum.txt', 'w').write('3'); print(1 + 2)"),
            "tell.sh": models.Script(src="echo $GOOGLE_API_KEY; pwd; cat /proc/1/environ"),
        }),
    )
"""
LOCAL = {
    "executor": "agent(code_executor=UnsafeLocalCodeExecutor())",
    "subclass": "agent(code_executor=Own())",
    "sub_agent": "agent('root', sub_agents=[agent(code_executor=UnsafeLocalCodeExecutor())])",
    "sequence": "SequentialAgent(name='s', sub_agents=[agent(code_executor=UnsafeLocalCodeExecutor())])",
    "agent_tool": "agent('root', tools=[AgentTool(agent(code_executor=UnsafeLocalCodeExecutor()))])",
    "node": "Workflow(name='w', edges=[(START, agent(code_executor=UnsafeLocalCodeExecutor()))])",
    "skills": "agent(tools=[SkillToolset(skills=[skill], code_executor=UnsafeLocalCodeExecutor())])",
    "skills_folder": "agent(tools=[SkillToolset(skills=[skill], environment=LocalEnvironment())])",
    "with_skills": "agent(tools=[SkillToolset(skills=[], additional_tools=[ExecuteBashTool()])])",
    "environment": "agent(tools=[EnvironmentToolset(environment=LocalEnvironment())])",
    "bash": "agent(tools=[ExecuteBashTool(workspace=Path('/var/empty'))])",
    "cloud_run": "agent(code_executor=CloudRunSandboxCodeExecutor())",
}
REMOTE = {
    "plain": "agent()",
    "built_in": "agent(code_executor=BuiltInCodeExecutor())",
    "own_service": "agent(code_executor=Elsewhere())",
    "skills_without_code": "agent(tools=[SkillToolset(skills=[skill])])",
}
NEEDS_ON = "It runs code on this machine, which needs ALLOW_LOCAL_CODE=on."
KEY = "canary-key-of-the-server"


def code_of(expression: str) -> str:
    return f"{HEAD}\n    root_agent = {expression}\n"


@pytest.fixture
def allowed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ALLOW_LOCAL_CODE = True
    monkeypatch.setenv("CANARY", KEY)


def others() -> dict[str, tuple[bool, str | None]]:
    return {agent.name: (agent.available, agent.reason) for agent in catalog.all_agents()[1:]}


# --- availability ---------------------------------------------------------------------------------


async def test_agents_that_run_local_code_are_unavailable_with_a_reason(
    write_agents: WriteAsync, as_alice: Client, caplog: pytest.LogCaptureFixture
) -> None:
    sources = {f"{name}.py": code_of(expression) for name, expression in {**LOCAL, **REMOTE}.items()}
    await write_agents(sources)
    items = (await as_alice.get("/api/v1/agents")).json()["items"][1:]
    told = {item["name"]: (item["available"], item["reason"]) for item in items}
    assert told == dict.fromkeys(LOCAL, (False, NEEDS_ON)) | dict.fromkeys(REMOTE, (True, None))
    page = (await as_alice.get("/")).text
    assert page.count(f'title="{NEEDS_ON}"') == len(LOCAL)
    refused = await as_alice.post("/chat/stream", {"query": "Hello", "agent": "executor"})
    assert (refused.status, refused.json()["error"]["code"]) == (422, "unknown_agent")
    logged = [str(r.exc_info[1]) for r in caplog.records if r.levelno == logging.WARNING and r.exc_info]
    assert {"UnsafeLocalCodeExecutor", "Own", "LocalEnvironment", "ExecuteBashTool"} <= set(logged)


def test_local_code_agents_that_can_be_confined_are_available_when_allowed(
    agent_files: Write, allowed: None, settings: Any
) -> None:
    settings.ENV_FILE = Path("manage.py")  # with_skills runs its bash tool in the server's folder
    agent_files({f"{name}.py": code_of(expression) for name, expression in {**LOCAL, **REMOTE}.items()})
    refused = {
        "cloud_run": "It runs code on this machine in a way that Parley cannot confine.",
        "with_skills": "It runs commands in a folder that holds files of Parley's.",
    }
    assert {name: reason for name, (available, reason) in others().items() if not available} == refused


LANDLOCK = "It runs code on this machine, which needs Landlock (Linux 6.2) and DATA_DIR apart from programs."


def test_agents_are_unavailable_on_a_kernel_that_cannot_confine(
    agent_files: Write, allowed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = tmp_path / "launcher.py"
    text = sandbox.LAUNCHER.read_text()
    later.write_text(text.replace("LANDLOCK_VERSION = 3", "LANDLOCK_VERSION = 99"))
    monkeypatch.setattr(sandbox, "LAUNCHER", later)
    sandbox.why_unavailable.cache_clear()
    try:
        agent_files({"coder.py": code_of(LOCAL["executor"])})
        assert others() == {"coder": (False, LANDLOCK)}
    finally:
        sandbox.why_unavailable.cache_clear()


def test_agents_are_unavailable_if_data_dir_lies_among_the_programs(
    agent_files: Write, allowed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    (tmp_path / "lib" / "data").mkdir(parents=True)
    settings.DATA_DIR = tmp_path / "lib" / "data"
    monkeypatch.setattr(sandbox, "READABLE", [*sandbox.READABLE, str(tmp_path / "lib")])
    agent_files({"coder.py": code_of(LOCAL["executor"])})
    assert others() == {"coder": (False, LANDLOCK)}


@pytest.mark.parametrize(
    "folder",
    ["settings.DATA_DIR", "settings.DATA_DIR / 'x'", "settings.DATA_DIR.parent", "Path(__file__).parent"],
)
def test_agents_whose_commands_would_see_parleys_files_are_unavailable(
    agent_files: Write, allowed: None, folder: str
) -> None:
    code = f"""{HEAD}
    from django.conf import settings
    root_agent = agent(tools=[EnvironmentToolset(environment=LocalEnvironment(working_dir={folder}))])
"""
    agent_files({"coder.py": code, ".env": "SOME_KEY=x"})
    assert others()["coder"] == (False, "It runs commands in a folder that holds files of Parley's.")


async def test_an_agent_created_during_a_run_cannot_run_local_code_either(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    code = f"""{HEAD}
    class Maker(BaseAgent):
        async def _run_async_impl(self, ctx):
            inner = agent("inner", code_executor=UnsafeLocalCodeExecutor())
            async for event in inner.run_async(ctx):
                yield event

    root_agent = Maker(name="maker")
"""
    await write_agents({"maker.py": code})
    gemini.on_agent("inner", [Text(f"```python\nopen({str(mark)!r}, 'w')\n```")], [Text("Done.")])
    assert (await Talk(as_alice).ask("Go", agent="maker")).end == "run.failed"
    assert not mark.exists()


# --- as under adk web -----------------------------------------------------------------------------


def block(code: str) -> list[Text]:
    """Return the model's answer with a block of code, as streamed pieces."""
    return [Text("I compute.\n```python\n"), Text(code), Text("\n```"), Text("\nand more")]


def told(gemini: Gemini) -> str:
    """Return the last text that the model received: the output of its code."""
    parts = gemini.requests[-1]["contents"][-1]["parts"]
    return "".join(part.get("text") or str(part.get("codeExecutionResult", "")) for part in parts)


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("streams", [True, False])
async def test_the_model_receives_the_output_of_its_code_and_answers(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, streams: bool
) -> None:
    await write_agents({"coder.py": code_of(LOCAL["executor"])})
    gemini.on_agent("coder", block("print(6 * 7)"), block("print('é' * 3)"), [Text("It is "), Text("42.")])
    talk = Talk(as_alice)
    if streams:
        said = await talk.ask("Compute", agent="coder")
        assert said.end == "run.completed" and said.text.endswith("It is 42.")
    else:
        whole = await talk.ask_whole("Compute", agent="coder")
        assert whole["status"] == "completed" and whole["message"]["text"].endswith("It is 42.")
    steps = [item for item in (await talk.reply())["parts"]["items"] if item["type"] == "tool"]
    assert [(step["name"], step["args"]["code"].strip()) for step in steps] == [
        ("code", "print(6 * 7)"),
        ("code", "print('é' * 3)"),
    ]
    assert "42" in str(steps[0]["result"]) and "ééé" in str(steps[1]["result"])
    assert "ééé" in told(gemini)
    assert "42" in str(gemini.requests[1]["contents"])
    assert gemini.calls_for("\0agent coder") == 3


FAILING = {
    "raises": ("x = 1\n1 / x.y", "object has no attribute"),
    "syntax": ("def f(:", "SyntaxError"),
    "exit": ("import sys; sys.exit(3)", "exited with status 3"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "exited with status -9"),
    "endless": ("print('begun', flush=True)\nwhile True: pass", "timed out after 1 seconds"),
}


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("name", FAILING)
async def test_the_model_receives_failures_as_errors_and_tries_again(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, settings: Any, name: str
) -> None:
    code, error = FAILING[name]
    settings.TOOL_SECONDS = 1 if name == "endless" else 30
    await write_agents({"coder.py": code_of(LOCAL["executor"])})
    gemini.on_agent("coder", block(code), block("print('well')"), [Text("Done.")])
    said = await Talk(as_alice).ask("Compute", agent="coder")
    assert said.end == "run.completed" and said.text.endswith("Done.")
    assert error in str(gemini.requests[1]["contents"])
    assert "well" in told(gemini)


@pytest.mark.usefixtures("allowed")
async def test_no_more_code_is_run_after_two_errors(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"coder.py": code_of(LOCAL["executor"])})
    gemini.on_agent("coder", block("1 / 0"))
    said = await Talk(as_alice).ask("Compute", agent="coder")
    assert said.end == "run.completed"
    assert gemini.calls_for("\0agent coder") == 3


@pytest.mark.usefixtures("allowed")
async def test_a_subclass_of_adks_executor_keeps_its_additions(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    await write_agents({"coder.py": code_of(LOCAL["subclass"])})
    gemini.on_agent("coder", block("import os; print(os.environ.get('CANARY'))"), [Text("Done.")])
    assert (await Talk(as_alice).ask("Compute", agent="coder")).end == "run.completed"
    assert "greeting\nNone" in told(gemini)


@pytest.mark.usefixtures("allowed")
async def test_a_skills_scripts_run_and_their_files_are_kept(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    toolset = LOCAL["skills"].replace("code_executor", "save_output_artifacts=True, code_executor")
    await write_agents({"coder.py": code_of(toolset)})
    script = {"skill_name": "sums", "file_path": "scripts/add.py"}
    shell = {"skill_name": "sums", "file_path": "scripts/tell.sh"}
    gemini.on_agent(
        "coder", [Call("run_skill_script", script)], [Call("run_skill_script", shell)], [Text("Three.")]
    )
    said = await Talk(as_alice).ask("Add", agent="coder")
    added, told_by_shell = (event.json()["result"] for event in said.named("tool.returned"))
    assert (added["status"], added["stdout"].strip()) == ("success", "3")
    assert [event.json()["name"] for event in said.named("file")] == ["sum.txt"]
    assert "parley-code-" in told_by_shell["stdout"] and "Permission denied" in told_by_shell["stderr"]
    assert "not-a-key" not in str(told_by_shell)


@pytest.mark.usefixtures("allowed")
async def test_an_environments_commands_share_a_folder_and_see_nothing_else(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini
) -> None:
    environment = LOCAL["environment"].replace(
        "LocalEnvironment()", "LocalEnvironment(env_vars={'OWN': '1'})"
    )
    await write_agents({"coder.py": code_of(environment)})
    gemini.on_agent(
        "coder",
        [Call("Execute", {"command": "echo kept > a.txt; echo $OWN$CANARY"})],
        [Call("Execute", {"command": "cat a.txt; cat /proc/$PPID/environ"})],
        [Text("Done.")],
    )
    said = await Talk(as_alice).ask("Go", agent="coder")
    first, second = (str(event.json()) for event in said.named("tool.returned"))
    assert said.end == "run.completed"
    assert "1\\n" in first
    assert "kept" in second and "Permission denied" in second
    assert KEY not in first + second


async def test_a_command_that_a_person_approved_runs_confined(allowed: None, tmp_path: Path) -> None:
    from google.adk.tools.bash_tool import BashToolPolicy, ExecuteBashTool
    from google.adk.tools.tool_confirmation import ToolConfirmation

    class Context:
        tool_confirmation: Any = ToolConfirmation(confirmed=True)

    policy = BashToolPolicy(allowed_command_prefixes=("sh", "sleep"), timeout_seconds=1)
    tool = ExecuteBashTool(workspace=tmp_path, policy=policy)
    local_code.confine(tool)

    async def run(command: str) -> Any:
        return await tool.run_async(args={"command": command}, tool_context=Context())  # type: ignore[arg-type]

    done = await run("sh -c 'echo $CANARY; pwd; exit 4'")
    assert done == {"stdout": f"\n{tmp_path}\n", "stderr": "<no stderr captured>", "returncode": 4}
    assert (await run("sleep 60"))["error"] == "Command timed out after 1 seconds."
    assert "blocked" in (await run("cat /etc/passwd"))["error"]
    tool._policy = BashToolPolicy()
    assert (await run("sh -c 'unfinished"))["error"] == "Execution failed: No closing quotation"
    Context.tool_confirmation = ToolConfirmation(confirmed=False)
    assert (await run("sh -c 'touch x'"))["error"] == "This tool call is rejected."
    assert not (tmp_path / "x").exists()


# --- confinement ----------------------------------------------------------------------------------


def run(code: str, *, seconds: float = 20, max_output: int = 10_000) -> Finished:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code]
        return sandbox.run_confined(command, folder=Path(folder), seconds=seconds, max_output=max_output)


async def test_no_variable_of_the_servers_reaches_the_code(
    write_agents: WriteAsync, as_alice: Client, gemini: Gemini, allowed: None
) -> None:
    await write_agents({"coder.py": code_of(LOCAL["executor"])})
    gemini.on_agent("coder", block("import os; print(sorted(os.environ))"), [Text("Done.")])
    await Talk(as_alice).ask("Look", agent="coder")
    assert "['HOME', 'LANG', 'PATH', 'TMPDIR']" in told(gemini)


FORBIDDEN = {
    "the secret": "open({data!r} + '/secret.key')",
    "the folder of data": "os.listdir({data!r})",
    "through a link": "os.symlink({data!r}, 'link'); os.listdir('link')",
    "by a hard link": "os.link({data!r} + '/secret.key', 'link'); open('link')",
    "by renaming": "os.rename({data!r} + '/secret.key', 'mine')",
    "emptying it": "os.truncate({data!r} + '/secret.key', 0)",
    "removing it": "os.remove({data!r} + '/secret.key')",
    "the server's environment": "open('/proc/' + str({server}) + '/environ')",
    "its own first environment": "open('/proc/self/environ')",
    "the server's memory": "open('/proc/' + str({server}) + '/mem')",
    "the source of Parley": "os.listdir({root!r})",
    "a shell": "subprocess.run(['/bin/cat', {data!r} + '/secret.key'], check=True)",
    "a mount": "subprocess.run(['mount', '-t', 'tmpfs', 'none', '/mnt'], check=True)",
    "a network": "socket.create_connection(('127.0.0.1', {port}))",
    "a local socket": "socket.socket(socket.AF_UNIX)",
    "the server's life": "os.kill({server}, 0)",
    "a session of its own": "subprocess.run(['true'], start_new_session=True, check=True)",
    "a group of its own": "subprocess.run(['true'], process_group=0, check=True)",
}


@pytest.mark.parametrize("way", FORBIDDEN)
def test_no_way_leads_out(way: str, settings: Any, gemini: Gemini) -> None:
    secret = settings.DATA_DIR / "secret.key"
    before = secret.read_bytes()
    values = {
        "data": str(settings.DATA_DIR),
        "server": os.getpid(),
        "root": str(Path.cwd()),
        "port": gemini.port,
    }
    attempt = FORBIDDEN[way].format(**values)
    code = f"import os, socket, subprocess\ntry:\n    print({'0' if ';' in attempt else attempt})"
    if ";" in attempt:
        code = f"import os, socket, subprocess\ntry:\n    {attempt}\n    print('reached')"
    code += "\nexcept (OSError, subprocess.CalledProcessError) as error:\n    print('refused', error)"
    done = run(code)
    assert done.stdout.startswith("refused"), done
    assert secret.read_bytes() == before


def test_no_open_file_of_the_servers_is_passed_on(tmp_path: Path) -> None:
    code = """
import os
for number in range(3, 1000):
    try:
        print(os.fstat(number))
    except OSError:
        pass
"""
    (tmp_path / "secret").touch()
    descriptor = os.open(tmp_path / "secret", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        assert run(code).stdout == ""
    finally:
        os.close(descriptor)


def test_processes_started_by_the_code_end_with_it() -> None:
    mark = f"{time.time_ns()}"
    code = "import subprocess, sys; subprocess.Popen(['sleep', sys.argv[1]]); print('left')"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code, mark]
        begun = time.monotonic()
        done = sandbox.run_confined(command, folder=Path(folder), seconds=20, max_output=100)
    assert (done.code, done.stdout) == (0, "left\n")
    assert time.monotonic() - begun < 15
    until(lambda: not any(mark in line for line in command_lines()))


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text())
        except OSError:
            continue  # the process has ended
    return found


def test_output_is_bounded() -> None:
    done = run("while True: print('x' * 1000)", max_output=5000)
    assert done.code != 0 and "File too large" in done.stderr
    assert len(done.stdout) < 5100 and done.stdout.endswith(" more bytes]")


def test_output_before_the_time_limit_is_kept() -> None:
    done = run("print('begun', flush=True)\nwhile True: pass", seconds=1)
    assert (done.timed_out, done.stdout, done.code) == (True, "begun\n", -9)


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio; print(asyncio.run(asyncio.sleep(0.01, 'done')))",
        "import subprocess; print(subprocess.check_output(['echo', 'done'], text=True))",
        "import tempfile; f = tempfile.NamedTemporaryFile('w+'); f.write('done'); f.seek(0); print(f.read())",
        "import ssl, sqlite3, hashlib, zoneinfo; zoneinfo.ZoneInfo('Europe/Paris'); print('done')",
        "import concurrent.futures as f; print(list(f.ThreadPoolExecutor().map(str, ['done']))[0])",
        "open('helper.py', 'w').write('word = \"done\"'); import helper; print(helper.word)",
        "import yaml, httpx, pydantic; print('done')",
    ],
)
def test_ordinary_code_works(code: str) -> None:
    done = run(code)
    assert (done.code, done.stdout.strip(), done.stderr) == (0, "done", "")


@pytest.mark.skipif(os.getuid() != 0, reason="the other tests are run by such a user then")
def test_a_user_without_privileges_is_confined_as_root_is() -> None:
    """Servers run as such a user in Docker and under systemd. Landlock needs no privileges."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    assert python, "a Python that such a user may execute"
    policy = json.dumps({"read": sandbox.READABLE, "write": ["/dev/null"], "limits": {}})
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        launcher, secret = Path(folder) / "launcher.py", Path(folder) / "secret"
        launcher.write_text(sandbox.LAUNCHER.read_text())
        secret.write_text("x")
        words = [python, "-I", str(launcher), policy, "/bin/cat", str(secret)]
        nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
        done = subprocess.run(words, **nobody, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Permission denied" in done.stderr, done


async def test_the_event_loop_is_not_blocked_while_code_runs(
    write_agents: WriteAsync, as_alice: Client, as_bob: Client, gemini: Gemini, allowed: None
) -> None:
    await write_agents({"coder.py": code_of(LOCAL["executor"])})
    gemini.on_agent("coder", block("import time; time.sleep(3); print('slept')"), [Text("Done.")])
    slow = asyncio.ensure_future(Talk(as_alice).ask("Sleep", agent="coder"))
    await asyncio.sleep(0.5)
    assert (await Talk(as_bob).ask("Hello")).text == "You said: Hello"
    assert not slow.done()
    assert (await slow).end == "run.completed"
