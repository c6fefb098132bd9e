"""Many folders of agents, loaded by ADK's own loader and by Parley: both find and load the same agents."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.support.commands import ROOT

pytestmark = pytest.mark.any_database

HEAD = "from google.adk.agents import Agent, BaseAgent, LoopAgent, ParallelAgent, SequentialAgent\n"
NEW_MODEL = """
from google.adk.models import BaseLlm
class Own(BaseLlm):
    async def generate_content_async(self, request, stream=False): yield
"""
TEXT_FILE = """
from importlib import resources
from pathlib import Path
text = (Path(__file__).parent / "t.txt").read_text() + resources.files("a").joinpath("t.txt").read_text()
"""
IN_A_THREAD = """
import asyncio, threading
loop = asyncio.new_event_loop()
thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.sleep(0)))
thread.start()
thread.join()
"""
PICKLED = """
import inspect, pickle
class Own: pass
pickle.loads(pickle.dumps(Own()))
text = inspect.getsource(Own).strip()
"""
CLIENTS = """
import httpx
from google import genai
clients = genai.Client(), httpx.AsyncClient(), httpx.Client()
"""
LATE = f"""
{HEAD}
def __getattr__(name):
    if name != "root_agent":
        raise AttributeError(name)
    return Agent(name="late")
"""
WORKFLOW = """
from google.adk.workflow import Workflow
def shout(node_input: str) -> str:
    return node_input
root_agent = Workflow(name="flow", edges=[("START", shout)])
"""
ON_SYS_PATH = """
import os, sys
sys.path.insert(0, os.path.dirname(__file__))
from own_words import WHO
"""


def agent(description: str = '"Answers."', top: str = "", **fields: str) -> str:
    """Return a module with a root agent. ``description`` and the values of ``fields`` are expressions."""
    given = {"name": '"root"', "model": '"gemini-2.5-flash"', "description": description, **fields}
    arguments = ", ".join(f"{name}={value}" for name, value in given.items())
    return f"{HEAD}{dedent(top)}\nroot_agent = Agent({arguments})\n"


def of_kind(kind: str) -> str:
    return f'{HEAD}root_agent = {kind}(name="root", sub_agents=[Agent(name="a"), Agent(name="b")])'


APP = f"""
{HEAD}
from google.adk.apps import App
app = App(name="x", root_agent=Agent(name="of_app", model="gemini-x"))
"""
YAML = "name: from_yaml\nmodel: gemini-2.5-flash\ndescription: In YAML.\ninstruction: Answer.\n"
TOOL = 'def count(text: str) -> int:\n    "Counts."\n    return len(text)\n'
SEEN = 'os.environ.get("SEEN", "-")'
SEES = agent(SEEN, "import os")

Files = dict[str, str]

FOLDERS: dict[str, Files] = {
    # layouts
    "agent module": {"a/__init__.py": "from . import agent", "a/agent.py": agent()},
    "no __init__": {"a/agent.py": agent()},
    "in __init__": {"a/__init__.py": agent()},
    "agent as a package": {"a/__init__.py": "", "a/agent/__init__.py": agent()},
    "agent as a package without __init__ above": {"a/agent/__init__.py": agent()},
    "module": {"a.py": agent()},
    "app in agent": {"a/agent.py": APP},
    "app in __init__": {"a/__init__.py": APP},
    "app and root_agent": {"a/agent.py": agent() + APP},
    "app that is no App": {"a/agent.py": agent() + "app = 1"},
    "package before its agent module": {"a/__init__.py": agent('"package"'), "a/agent.py": agent('"module"')},
    "no agent in the package, one in its module": {"a/__init__.py": "root_agent = 1", "a/agent.py": agent()},
    "None in the package": {"a/__init__.py": "root_agent = None", "a/agent.py": agent()},
    "made when it is asked for": {"a.py": LATE},
    "several": {"a/agent.py": agent('"1"'), "b.py": agent('"2"'), "c/root_agent.yaml": YAML},
    "a folder without agents": {"a/agent.py": agent(), "data/notes.txt": "", "docs/README.md": ""},
    # YAML
    "yaml": {"a/root_agent.yaml": YAML},
    "yaml with a tool in code": {
        "a/root_agent.yaml": f"{YAML}tools: [{{name: a.tools.count}}]",
        "a/tools.py": TOOL,
    },
    "yaml with sub-agents": {
        "a/root_agent.yaml": f"{YAML}sub_agents: [{{config_path: b.yaml}}, {{code: a.more.other}}]",
        "a/b.yaml": YAML.replace("from_yaml", "b"),
        "a/more.py": f'{HEAD}other = Agent(name="other")',
    },
    "yaml of another class": {"a/root_agent.yaml": "agent_class: LoopAgent\nname: loop\nsub_agents: []"},
    "code before yaml": {"a/agent.py": agent(), "a/root_agent.yaml": YAML},
    "yaml with an empty agent module": {"a/agent.py": "", "a/root_agent.yaml": YAML},
    "invalid yaml": {"a/root_agent.yaml": "name: ["},
    "yaml that calls Python": {"a/root_agent.yaml": f"{YAML}tools: [{{name: os.system}}]"},
    "yaml that names a missing file": {"a/root_agent.yaml": f"{YAML}sub_agents: [{{config_path: b.yaml}}]"},
    # kinds
    "sequential": {"a.py": of_kind("SequentialAgent")},
    "loop": {"a.py": of_kind("LoopAgent")},
    "parallel": {"a.py": of_kind("ParallelAgent")},
    "own class": {"a.py": f'{HEAD}class Own(BaseAgent):\n    pass\nroot_agent = Own(name="own")'},
    "workflow": {"a.py": WORKFLOW},
    "tools": {
        "a.py": agent(
            top=f"from google.adk.tools import AgentTool, LongRunningFunctionTool\n{TOOL}",
            tools='[count, LongRunningFunctionTool(count), AgentTool(Agent(name="inner"))]',
        )
    },
    "own model": {"a.py": agent(top=NEW_MODEL, model='Own(model="x")')},
    "model object": {
        "a.py": agent(top="from google.adk.models import Gemini", model='Gemini(model="gemini-x")')
    },
    "schema": {
        "a.py": agent(
            top="from pydantic import BaseModel\nclass Out(BaseModel):\n    x: int", output_schema="Out"
        )
    },
    "unknown model": {"a.py": agent(model='"nobodys-model"')},
    "local code": {
        "a.py": agent(
            top="from google.adk.code_executors import UnsafeLocalCodeExecutor",
            code_executor="UnsafeLocalCodeExecutor()",
        )
    },
    # imports of modules
    "relative import": {"a/agent.py": agent("WHO", "from .tools import WHO"), "a/tools.py": "WHO = 'a'"},
    "import by its own name": {
        "a/agent.py": agent("WHO", "from a.tools import WHO"),
        "a/tools.py": "WHO = 'a'",
    },
    "other agent": {
        "a/agent.py": agent("other.description", "from b.agent import root_agent as other"),
        "b/agent.py": agent(),
    },
    "two that import each other": {
        "a/agent.py": agent("WHO", "from b.words import WHO"),
        "a/words.py": "WHO = 'a'",
        "b/agent.py": agent("WHO", "from a.words import WHO"),
        "b/words.py": "WHO = 'b'",
    },
    "_shared": {
        "a/agent.py": agent("WHO", "from _shared.util import WHO"),
        "_shared/util.py": "WHO = 'shared'",
    },
    "shared folder": {
        "a/agent.py": agent("WHO", "from common.util import WHO"),
        "common/util.py": "WHO = 'shared'",
    },
    "shared module": {
        "a/agent.py": agent("WHO", "from _helpers import WHO"),
        "_helpers.py": "WHO = 'shared'",
    },
    "shared package": {
        "a/agent.py": agent("WHO", "from _shared import WHO"),
        "_shared/__init__.py": "WHO = 'shared'",
    },
    "sys.path": {"a/agent.py": agent("WHO", ON_SYS_PATH), "a/own_words.py": "WHO = 'own'"},
    "above the top": {"a/agent.py": agent(top="from ..b import x"), "b/__init__.py": "x = 1"},
    "data beside the code": {"a/__init__.py": "", "a/agent.py": agent("text", TEXT_FILE), "a/t.txt": "data"},
    "pickle and source": {"a/agent.py": agent("text", PICKLED)},
    "module name": {"a/agent.py": agent("__name__")},
    # objects at import
    "event loop": {
        "a.py": agent(top="import asyncio\nasyncio.Lock(), asyncio.get_event_loop().create_future()")
    },
    "own event loop": {"a.py": agent(top=IN_A_THREAD)},
    "asyncio.run": {"a.py": agent(top="import asyncio\nasyncio.run(asyncio.sleep(0))")},
    "running loop": {"a.py": agent(top="import asyncio\nasyncio.get_running_loop()")},
    "clients": {"a.py": agent(top=CLIENTS)},
    "output": {
        "a.py": agent(top="import sys, warnings\nprint('x')\nsys.stdout.write('y')\nwarnings.warn('z')")
    },
    # .env
    "env": {"a/agent.py": SEES, "a/.env": "SEEN=own"},
    "env of a module": {"a.py": SEES, ".env": "SEEN=beside"},
    "env beside": {"a/agent.py": SEES, ".env": "SEEN=beside"},
    "env above": {"a/agent.py": SEES, "../.env": "SEEN=above"},
    "env of two": {"a/agent.py": SEES, "a/.env": "SEEN=a", "b/agent.py": SEES, "b/.env": "SEEN=b"},
    "env of the first only": {"a/agent.py": SEES, "a/.env": "SEEN=a", "b/agent.py": SEES},
    "env expanded": {"a/agent.py": SEES, "a/.env": "BASE=x\nSEEN=${BASE}/${OWNERS}/${NONE:-else}"},
    "env notations": {"a/agent.py": SEES, "a/.env": '# x\nexport SEEN="two\nlines" # y\nEMPTY'},
    "env of the owner": {"a/agent.py": agent('os.environ["OWNERS"]', "import os"), "a/.env": "OWNERS=agent"},
    "env of Google": {
        "a/agent.py": agent('os.environ["GOOGLE_CLOUD_PROJECT"]', "import os"),
        "a/.env": "GOOGLE_CLOUD_PROJECT=p\nGOOGLE_CLOUD_LOCATION=l",
    },
    "env loaded by the agent": {
        "a/agent.py": agent(SEEN, "import os\nfrom dotenv import load_dotenv\nload_dotenv()"),
        "a/.env": "SEEN=own",
    },
    "env that is reserved": {
        "a/agent.py": agent('os.environ["OTEL_NAME"]', "import os"),
        "a/.env": "OTEL_NAME=x",
    },
    # broken
    "raises": {"a/agent.py": "raise RuntimeError"},
    "raises ValueError": {"a/agent.py": "raise ValueError('x') from KeyError('y')"},
    "exits": {"a/agent.py": "import sys; sys.exit()"},
    "syntax error": {"a/agent.py": "def f(:"},
    "missing module": {"a/agent.py": "import nobody_has_this"},
    "missing module of its own": {"a/agent.py": "from a.nothing import x"},
    "empty": {"a/agent.py": "", "b/__init__.py": ""},
    "wrong type": {"a/agent.py": "root_agent = 'me'"},
    "invalid agent": {"a/agent.py": f'{HEAD}root_agent = Agent(name="no name")'},
    "one of three": {"a.py": agent(), "b.py": "raise RuntimeError", "c.py": agent()},
    # names
    "hyphen": {"my-agent/agent.py": agent()},
    "digit": {"1st/agent.py": agent()},
    "user": {"user/agent.py": agent()},
    "imported already": {"json/agent.py": agent(), "asyncio/__init__.py": agent()},
    "in the standard library": {"wave/__init__.py": agent()},
    "of Parley": {"chat/agent.py": agent(), "accounts.py": agent()},
    "beside the agents, of Parley": {
        "a/agent.py": agent("WHO", "from config import WHO"),
        "config/__init__.py": "WHO = 'x'",
    },
    "hidden": {".a/agent.py": agent(), "__pycache__/agent.py": agent()},
    "folder of agents": {"team/a/agent.py": agent()},
}

# Folders that are loaded otherwise than by ADK, with the agents of each loader that the other does not load
# or list so, and the reason.
DIFFERENT: dict[str, tuple[str, str, str]] = {
    "unknown model": ("a", "", "ADK looks the model up at the first question, which then fails."),
    "local code": ("a", "", "ALLOW_LOCAL_CODE is off."),
    "shared package": ("", "", "ADK lists _shared, as broken."),
    "asyncio.run": ("", "a", "adk web's loop runs, and refuses it without nest_asyncio."),
    "running loop": ("a", "", "The server's loop must not wait for an import."),
    "env that is reserved": ("a", "", "The owner alone sets these."),
    "digit": ("1st", "", "ADK's App refuses the name at the first question."),
    "user": ("user", "", "ADK's App refuses the name at the first question."),
    "in the standard library": ("wave", "", "A module that a library imports later must be the real one."),
    "of Parley": ("accounts chat", "", "Parley's own modules have these names."),
    "beside the agents, of Parley": ("a", "", "Parley's own module has this name."),
    "folder of agents": ("", "", "ADK does not list it. Here it is listed, with the reason."),
}

Loaded = dict[str, list[str] | None]


def load(loader: str, folders: list[Path], **env: str) -> list[Loaded]:
    script = ROOT / "tests" / "support" / "load_folders.py"
    environment = {"PATH": os.environ["PATH"], "GOOGLE_API_KEY": "key", "OWNERS": "owner", **env}
    done = subprocess.run(
        [sys.executable, "-P", script, loader],
        input=json.dumps([str(folder) for folder in folders]),
        env=environment,
        cwd=folders[0].parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Loaded, Loaded]]:
    """Return what ADK and what Parley loads, for each folder."""
    folders = []
    for files in FOLDERS.values():
        folder = tmp_path_factory.mktemp("corpus") / "agents"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        folders.append(folder)
    settings: dict[str, Any] = {
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "ENV_FILE": os.devnull,
    }
    with ThreadPoolExecutor() as pool:
        by_adk = pool.submit(load, "adk", folders)
        by_parley = load("parley", folders, **settings)
    return dict(zip(FOLDERS, zip(by_adk.result(), by_parley, strict=True), strict=True))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_loaded_as_under_adk_web(name: str, loaded: dict[str, tuple[Loaded, Loaded]]) -> None:
    by_adk, by_parley = loaded[name]
    if name not in DIFFERENT:
        assert by_parley == by_adk
        return
    only_adk, only_parley, why = DIFFERENT[name]
    assert by_parley != by_adk, f"no longer: {why}"
    assert agents_missing(by_adk, by_parley) == only_adk
    assert agents_missing(by_parley, by_adk) == only_parley


def agents_missing(there: Loaded, here: Loaded) -> str:
    return " ".join(sorted(name for name, found in there.items() if found and not here.get(name)))


def test_the_corpus_has_sixty_folders() -> None:
    assert len(FOLDERS) >= 60
    assert set(DIFFERENT) <= set(FOLDERS)
