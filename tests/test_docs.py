"""What the docs name is there, and what is there is in the docs."""

import ast
import json
import os
import re
import shutil
import subprocess
import tomllib
import uuid
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import get_commands
from django.urls import NoReverseMatch, Resolver404, resolve, reverse

from chat import api, events, sse, urls
from chat.events import Row
from chat.runs.lifecycle import SENTENCES
from tests.live import PASSWORD, ROOT, LiveServer

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
PACKAGES = ("accounts", "chat", "config", "tests")
ENDINGS = (".py", ".md", ".toml", ".in", ".txt", ".html", ".js", ".css")
CHECK = re.compile(r"chat\.[EW]\d{3}")  # a system check's id
# Designed and not built. Once one of them answers, the docs that say "not yet" are wrong.
NOT_YET = {"/ws/", "/metrics"}


def each_page() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def code(page: Path) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def section(page: Path, heading: str) -> str:
    """The text below a heading, down to the next one of its level or a higher one."""
    level, text = heading.split(" ")[0], page.read_text()
    assert f"\n{heading}\n" in text, f"{page} has no {heading!r}"
    below = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def table(page: Path, heading: str) -> list[list[str]]:
    """The rows of the table below a heading, cell by cell, without its own heading."""
    lines = [line for line in section(page, heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def first_code(cell: str) -> str:
    found = re.search(r"`([^`]+)`", cell)
    return found[1] if found else ""


SETTINGS = ROOT / "docs" / "settings.md"
STREAMING = ROOT / "docs" / "streaming.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"


# --- files, names, links --------------------------------------------------------------------------


@each_page()
def test_every_file_that_is_named_is_there(page: Path) -> None:
    gone = [name for name in code(page) if is_path(name) and not list(ROOT.glob(name.rstrip("/")))]
    assert not gone


def is_path(name: str) -> bool:
    if not re.fullmatch(r"[\w.*/-]+", name) or name.startswith("/"):
        return False
    top = name.split("/")[0]
    return name.endswith(ENDINGS) or ("/" in name and (ROOT / top).is_dir())


@each_page()
def test_every_name_of_ours_resolves(page: Path) -> None:
    wrong = [name for name in code(page) if not resolves(re.sub(r"\(.*\)$", "", name))]
    assert not wrong


def modules() -> dict[str, Path]:
    """Our modules by their dotted names."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def resolves(name: str) -> bool:
    """Whether a dotted name that begins with a module of ours (``chat.events.Fold``, ``events.Fold``)
    leads somewhere. What begins otherwise is not ours to judge.
    """
    if not re.fullmatch(r"[a-zA-Z_]\w*(\.\w+)+", name) or name.endswith(ENDINGS) or CHECK.fullmatch(name):
        return True
    first, *rest = name.split(".")
    if first in PACKAGES:
        return any(
            leads_to(MODULES[prefix], name.split(".")[depth:])
            for depth in range(1, len(rest) + 2)
            if (prefix := ".".join(name.split(".")[:depth])) in MODULES
        )
    named = [path for module, path in MODULES.items() if module.rpartition(".")[2] == first]
    return not named or any(leads_to(path, rest) for path in named)


def leads_to(path: Path, names: list[str]) -> bool:
    if not names:
        return True
    found = defined_in(ast.parse(path.read_text()).body)
    if names[0] in found:
        return len(names) == 1 or names[1] in found[names[0]]
    # supervisor.launch: a method of what the module is about
    return len(names) == 1 and any(names[0] in inside for inside in found.values())


def defined_in(body: list[ast.stmt]) -> dict[str, set[str]]:
    """Each name, with the names inside it where it is a class."""
    found: dict[str, set[str]] = {}
    for node in body:
        match node:
            case ast.ClassDef(name=name, body=inside):
                found[name] = set(defined_in(inside))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found[name] = set()
            case ast.Assign(targets=targets):
                names = [part for target in targets for part in ast.walk(target)]
                found |= {part.id: set() for part in names if isinstance(part, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = set()
            case ast.If(body=inside, orelse=other):
                found |= defined_in(inside) | defined_in(other)
    return found


@each_page()
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
    assert not broken


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page()
def test_every_make_target_that_is_named_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {target for text in code(page) for target in re.findall(r"\bmake ([a-z-]+)", text)}
    assert named <= targets


def test_every_page_of_the_docs_can_be_found() -> None:
    """From the README, link by link."""
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.suffix != ".md" or page in seen:
            continue
        seen.add(page)
        targets = re.findall(r"\]\(([^)\s#]+)", prose(page))
        waiting += [(page.parent / t).resolve() for t in targets if not t.startswith("http")]
    assert set(PAGES) <= seen


# --- the rooms ------------------------------------------------------------------------------------


def test_every_module_has_its_line_in_the_rooms() -> None:
    named = set(code(ARCHITECTURE))
    missing = [
        str(path.relative_to(ROOT))
        for module, path in MODULES.items()
        if module.split(".")[0] in ("accounts", "chat", "config")
        and ".migrations" not in module
        and path.name != "apps.py"
        and path.read_text().count("\n") > 1
        and str(path.relative_to(ROOT)) not in named
    ]
    assert not missing


def layers() -> list[list[str]]:
    _before, drawn, *_rest = section(ARCHITECTURE, "## Who imports whom").split("```\n")
    return [line.split(", ") for line in drawn.splitlines()]


def layer_of(module: str) -> int | None:
    """How far down a module is drawn; itself, or the package that it is in."""
    for depth, line in enumerate(layers()):
        if any(module == name or module.startswith(f"{name}.") for name in line):
            return depth
    return None


def test_nobody_imports_upwards() -> None:
    upwards = []
    for module, path in MODULES.items():
        if not module.startswith("chat.") or (own := layer_of(module)) is None:
            continue
        for imported in imports(path):
            theirs = layer_of(imported)
            if theirs is not None and theirs < own:
                upwards.append(f"{module} imports {imported}")
    assert not upwards


def test_every_module_of_chat_is_drawn_in_a_layer() -> None:
    drawn_elsewhere = {"chat", "chat.apps", "chat.checks", "chat.runs"}
    lost = [m for m in MODULES if m.startswith("chat") and ".migrations" not in m and layer_of(m) is None]
    assert set(lost) == drawn_elsewhere


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in MODULES else node.module


def test_only_the_agents_import_google_and_accounts_never_imports_chat() -> None:
    for module, path in MODULES.items():
        tops = {name.split(".")[0] for name in imports(path)}
        if module.split(".")[0] in ("accounts", "chat", "config") and not module.startswith("chat.agent"):
            assert "google" not in tops, module
        if module.startswith("accounts"):
            assert "chat" not in tops, module


# --- settings -------------------------------------------------------------------------------------


def variables() -> dict[str, ast.expr | None]:
    """Each variable that config/settings.py reads, with the default it gives to the reader."""
    found: dict[str, ast.expr | None] = {}
    for node in ast.walk(ast.parse((ROOT / "config" / "settings.py").read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="env"), attr=reader),
                args=[ast.Constant(value=str() as name), *rest],
            ) if reader != "load":
                found[name] = rest[0] if rest else None
    return found


def documented_variables() -> dict[str, str]:
    """Each variable in docs/settings.md, with its default's cell."""
    headings = ["Where it lives", "Database and Redis", "Letters", "The agent", "Limits", "Clocks"]
    rows = [row for heading in headings for row in table(SETTINGS, f"## {heading}")]
    assert all(len(row) == 3 and row[2] for row in rows)
    return {first_code(name): default for name, default, _meaning in rows}


def test_every_setting_is_documented_and_every_documented_one_is_read() -> None:
    assert len(variables()) > 40
    assert set(documented_variables()) == set(variables())


def test_no_other_file_reads_the_environment() -> None:
    """Save what must be known before there are settings."""
    for module, path in MODULES.items():
        if module.split(".")[0] in ("accounts", "chat", "config") and module != "config.env":
            read = re.findall(r"environ\W+(?:get\W+|setdefault\W+)?(\w*)", path.read_text())
            assert set(read) <= {"DJANGO_SETTINGS_MODULE"}, module


@pytest.mark.parametrize("name", variables())
def test_a_documented_default_is_the_real_one(name: str) -> None:
    default, shown = variables()[name], documented_variables()[name]
    if default is None:
        assert shown == "none" or not shown.startswith("`"), shown
        return
    try:
        value = constant(default)
    except ValueError:
        return  # made of other settings: described in words
    if isinstance(value, bool):
        value = "on" if value else "off"
    if "\n" not in str(value):
        assert first_code(shown) == str(value)


def constant(node: ast.expr) -> Any:
    """The value of a literal, products of numbers included. Raises ValueError for anything else."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return constant(node.left) * constant(node.right)
    return ast.literal_eval(node)


def test_what_libraries_read_is_read_by_them() -> None:
    rows = table(SETTINGS, "## Read by what Parley uses")
    assert rows
    for name, package, _meaning in rows:
        spec = find_spec(first_code(package))
        assert spec and spec.submodule_search_locations, package
        sources = [p for place in spec.submodule_search_locations for p in Path(place).glob("*.py")]
        assert any(first_code(name) in source.read_text() for source in sources), name


# --- the wire -------------------------------------------------------------------------------------


def event_names() -> set[str]:
    """The named events of chat/events.py: all but text, which is unnamed on the wire."""
    strings = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    return strings - {events.TEXT, events.SEPARATOR}


def test_every_event_is_documented_and_every_documented_one_exists() -> None:
    documented = {first_code(row[0]) for row in table(STREAMING, "## Events")}
    assert documented == event_names()
    assert len(documented) == 10


def test_every_code_of_a_run_is_documented_with_its_sentence() -> None:
    documented = {
        first_code(code): (sentence, {"yes": True, "no": False}[again])
        for code, again, sentence in table(STREAMING, "## How a run ends")
    }
    own = SENTENCES["stopped"]
    assert documented == {code: told for code, told in SENTENCES.items() if code != "stopped"}
    assert own[0] in section(STREAMING, "## How a run ends")


def refusals() -> set[tuple[int, str]]:
    """Status and code of every refusal that our code makes."""
    found = set()
    for module, path in MODULES.items():
        if module.split(".")[0] not in ("accounts", "chat", "config"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func).rpartition(".")[2]
            match called, node.args:
                case "Refusal", [ast.Constant(value=int() as status), ast.Constant(value=str() as code), *_]:
                    found.add((status, code))
                case "unprocessable", [ast.Constant(value=str() as code), *_]:
                    found.add((422, code))
    return found


def test_every_refusal_is_documented_and_every_documented_one_exists() -> None:
    documented = [(int(status), first_code(code)) for status, code, _when in table(STREAMING, "## Refusals")]
    assert len(documented) == len(set(documented))
    assert set(documented) == refusals()


def routes() -> list[str]:
    """Our own routes as the docs write them, ``/chat/runs/<run>/stop``."""
    own = ["/" + str(each.pattern) for each in urls.urlpatterns]
    patterns, _app, _name = api.urls()
    read_back = ["/api/v1/" + str(each.pattern) for each in patterns if each.name != "api-root"]
    return [re.sub(r"<\w+:(\w+)>", r"<\1>", route) for route in own + read_back]


@pytest.mark.parametrize("route", routes())
def test_every_route_is_documented(route: str) -> None:
    written = [re.sub(r"^[A-Z]+ ", "", text).partition("?")[0] for text in code(STREAMING)]
    assert route in written


@each_page()
def test_every_address_that_is_named_answers(page: Path) -> None:
    for text in code(page):
        found = re.fullmatch(r"(?:(?:GET|POST|PATCH|DELETE) )?(/[a-z][^\s`]*|/)", text)
        if not found:
            continue
        address = re.sub(r"<\w+>", str(uuid.uuid4()), found[1].partition("?")[0])
        if address in NOT_YET:
            with pytest.raises(Resolver404):
                resolve(address)
        elif not leads_below(address):
            resolve(address)


def leads_below(address: str) -> bool:
    """Whether it is how several of our routes begin."""
    return any(route != address and route.startswith(f"{address.rstrip('/')}/") for route in routes())


def test_the_docs_address_accounts_by_the_names_that_they_have() -> None:
    for name in ("account_login", "account_signup"):
        try:
            address = reverse(name)
        except NoReverseMatch:
            pytest.fail(f"allauth has no {name} any more")
        assert any(address in text for page in PAGES for text in code(page))


# --- commands and versions ------------------------------------------------------------------------


def test_every_command_of_ours_is_documented_and_every_documented_one_exists() -> None:
    own = {name for name, app in get_commands().items() if app in ("chat", "accounts")}
    named = {name for page in PAGES for name in re.findall(r"manage\.py (\w+)", prose(page))}
    assert own <= named <= set(get_commands())
    assert {"prepare", "serve"} <= own


def test_every_system_check_is_documented_and_every_documented_one_exists() -> None:
    named = {text for page in PAGES for text in code(page) if CHECK.fullmatch(text)}
    assert named == set(CHECK.findall((ROOT / "chat" / "checks.py").read_text()))


def test_one_version_everywhere() -> None:
    newest = re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert newest
    assert newest[1] == project["version"] == settings.VERSION


def test_every_decision_says_why() -> None:
    found = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in found] == [f"{n:04}" for n in range(1, len(found) + 1)]
    for page in found:
        text = page.read_text()
        assert re.match(rf"# {page.name[:4]}: .+\n\n20\d\d-\d\d-\d\d\n", text), page.name
        headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Rejected", "Evidence"], page.name


# --- what the docs tell to type -------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Parley as the README starts it, without a key; alice has signed up."""
    live = LiveServer(tmp_path_factory.mktemp("docs"), DEMO_DELAY_SECONDS="0.02").prepare()
    live.start()
    live.member("alice")
    yield live
    live.stop()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The Python client, as a module."""
    path = tmp_path_factory.mktemp("client") / "parley_client.py"
    path.write_text(blocks(STREAMING, "python")[0])
    spec = spec_from_file_location("parley_client", path)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_python_client_asks(server: LiveServer, client: Any) -> None:
    alice = client.Parley(server.url, "alice", PASSWORD)
    answer = client.reply(alice.ask(query="What time is it in Lagos?"))
    assert answer.startswith("In Lagos it is **")


def test_the_python_client_ends_a_line_where_it_ends(client: Any) -> None:
    """A reply may hold characters that other readers of lines take for line ends."""
    text = "one\u2028two\u2029three\u0085four"
    sent = sse.frame(uuid.uuid4(), Row(2, events.TEXT, events.encode({"text": text})))
    assert text.encode() in sent
    for cut in range(len(sent)):
        ((_id, name, data),) = client.frames([sent[:cut], sent[cut:]])
        assert (name, json.loads(data)) == ("text", {"text": text})


def test_the_python_client_goes_on_where_the_server_was_killed(server: LiveServer, client: Any) -> None:
    alice = client.Parley(server.url, "alice", PASSWORD)
    heard = alice.ask(query="Hello")
    seen = [next(heard) for _ in range(5)]
    server.kill()
    server.start()
    seen += heard
    assert ("replace", {"text": "", "attempt": 2}) in seen
    answer = client.reply(seen)
    assert answer.startswith("You said: Hello\n\n")
    assert answer.count("You said") == 1


def test_the_python_client_tells_of_a_refusal(server: LiveServer, client: Any) -> None:
    alice = client.Parley(server.url, "alice", PASSWORD)
    with pytest.raises(RuntimeError, match="The message is empty"):
        client.reply(alice.ask(query=" "))
    with pytest.raises(PermissionError):
        client.Parley(server.url, "alice", "not her password")


# A browser's part: where the page is, and its cookies.
BROWSER = """
const cookies = %(cookies)s, address = %(address)s, send = globalThis.fetch;
globalThis.document = { cookie: `csrftoken=${cookies.csrftoken}` };
const cookie = Object.entries(cookies).map((pair) => pair.join("=")).join("; ");
globalThis.fetch = (path, init = {}) =>
  send(address + path, { ...init, headers: { ...init.headers, cookie } });
"""


def test_the_javascript_client_asks(server: LiveServer, client: Any, tmp_path: Path) -> None:
    asking, use = blocks(STREAMING, "javascript")
    alice = client.Parley(server.url, "alice", PASSWORD)
    browser = BROWSER % {"cookies": json.dumps(dict(alice.http.cookies)), "address": json.dumps(server.url)}
    script = tmp_path / "client.mjs"
    script.write_text(f"{browser}\n{asking}\n{use}\nconsole.log(text);")
    done = subprocess.run([node(), script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("In Lagos it is **")


def node() -> str:
    """Playwright brings one along."""
    spec = find_spec("playwright")
    assert spec and spec.origin
    return str(Path(spec.origin).parent / "driver" / "node")


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl on this machine")
def test_the_readmes_curl_asks(server: LiveServer, tmp_path: Path) -> None:
    script = next(block for block in blocks(ROOT / "README.md", "sh") if "curl" in block)
    assert "PARLEY=http://127.0.0.1:8000" in script
    script = script.replace("http://127.0.0.1:8000", server.url)
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["sh", "-ec", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "event: tool.called\n" in done.stdout
    assert done.stdout.endswith("data: [DONE]\n\n")
