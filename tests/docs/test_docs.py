"""The docs and the code name the same files, names, settings, events, routes and metrics."""

import ast
import re
import tomllib
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands
from django.urls import NoReverseMatch, resolve, reverse

from accounts import urls as accounts_urls
from chat import events, urls
from chat.api import views as api
from chat.endings import SENTENCES
from chat.instruments import logs, metrics
from chat.moderation import urls as moderation_urls
from chat.socket.routing import websocket_urlpatterns
from chat.terminal.decisions import AS_JSON, DECLINE
from config import urls as site_urls
from config.environment import Environment
from tests.support.commands import ROOT
from tests.support.docs import (
    ARCHITECTURE,
    MODULES,
    OPERATIONS,
    PACKAGES,
    PAGES,
    SETTINGS,
    STREAMING,
    code,
    first_code,
    prose,
    section,
    table,
)
from tools.settings_docs import SECTIONS, with_tables

pytestmark = pytest.mark.any_database

ENDINGS = (".py", ".md", ".toml", ".in", ".txt", ".html", ".js", ".css")
CHECK = re.compile(r"(?:accounts|chat)\.[EW]\d{3}")  # a system check's id


def each_page() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


# --- files, names, links --------------------------------------------------------------------------


@each_page()
def test_every_named_file_exists(page: Path) -> None:
    gone = [name for name in code(page) if is_path(name) and not list(ROOT.glob(name.rstrip("/")))]
    assert not gone


def is_path(name: str) -> bool:
    if not re.fullmatch(r"[\w.*/-]+", name) or name.startswith("/"):
        return False
    top = name.split("/", maxsplit=1)[0]
    if top == "var":  # only a used checkout has it, and only some of what is in it
        return False
    return name.endswith(ENDINGS) or ("/" in name and (ROOT / top).is_dir())


@each_page()
def test_every_code_name_resolves(page: Path) -> None:
    wrong = [name for name in code(page) if not resolves(re.sub(r"\(.*\)$", "", name))]
    assert not wrong


def resolves(name: str) -> bool:
    """Return whether a dotted name of ours (``chat.events.Fold``, ``events.Fold``) exists.

    Names that begin with no module of ours count as existing.
    """
    if not re.fullmatch(r"[a-zA-Z_]\w*(\.\w+)+", name) or name.endswith(ENDINGS) or CHECK.fullmatch(name):
        return True
    if name in event_names():
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
    """Return each name, with the names inside it if it is a class."""
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
def test_every_link_has_a_target(page: Path) -> None:
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
    """Return the headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page()
def test_every_named_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {target for text in code(page) for target in re.findall(r"\bmake ([a-z-]+)", text)}
    assert named <= targets


def test_every_page_is_linked_from_the_readme() -> None:
    """A reader reaches each page from the README by links."""
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.suffix != ".md" or page in seen:
            continue
        seen.add(page)
        targets = re.findall(r"\]\(([^)\s#]+)", prose(page))
        waiting += [(page.parent / t).resolve() for t in targets if not t.startswith("http")]
    assert set(PAGES) <= seen


# --- settings -------------------------------------------------------------------------------------


def test_the_tables_of_settings_are_the_ones_of_the_fields() -> None:
    assert SETTINGS.read_text() == with_tables(SETTINGS.read_text()), "run make docs"


def test_every_setting_has_a_row_and_is_used() -> None:
    rows = [row for heading in SECTIONS.values() for row in table(SETTINGS, f"## {heading}")]
    assert all(len(row) == 3 and all(row) for row in rows)
    assert [first_code(row[0]) for row in rows] == list(Environment.model_fields)
    used = re.findall(r"\benv\.([A-Z_]+)", (ROOT / "config" / "settings.py").read_text())
    assert set(used) == set(Environment.model_fields)


def test_only_four_modules_read_the_environment() -> None:
    """Two before there are settings, one adds the variables of agents, one leaves secrets out."""
    readers = {"config.bootstrap", "config.environment", "chat.agent.agents.environment"}
    readers |= {"chat.agent.turn.exception_details"}
    for module, path in MODULES.items():
        if module.split(".")[0] in ("accounts", "chat", "config") and module not in readers:
            read = re.findall(r"environ\W+(?:get\W+|setdefault\W+)?(\w*)", path.read_text())
            assert set(read) <= {"DJANGO_SETTINGS_MODULE"}, module


def test_variables_of_libraries_are_read_by_them() -> None:
    rows = table(SETTINGS, "## Read by libraries")
    assert rows
    for name, package, _meaning in rows:
        spec = find_spec(first_code(package))
        assert spec and spec.submodule_search_locations, package
        sources = [p for place in spec.submodule_search_locations for p in Path(place).glob("*.py")]
        assert any(first_code(name) in source.read_text() for source in sources), name


# --- the wire -------------------------------------------------------------------------------------


def event_names() -> set[str]:
    """Return the named events of chat/events.py: all but text, which is unnamed on the wire."""
    strings = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    return strings - {events.TEXT, events.SEPARATOR, events.CODE_TOOL}


def test_events_and_their_docs_are_the_same() -> None:
    documented = {first_code(row[0]) for row in table(STREAMING, "## Events")}
    assert documented == event_names()
    assert len(documented) == 16


def test_endings_and_their_docs_are_the_same() -> None:
    documented = {
        first_code(code): (sentence, {"yes": True, "no": False}[again])
        for code, again, sentence in table(STREAMING, "## How a run ends")
    }
    sentences = {code: (str(sentence), again) for code, (sentence, again) in SENTENCES.items()}
    stopped, _again = sentences.pop("stopped")
    assert documented == sentences
    assert stopped in section(STREAMING, "## How a run ends")


def refusals() -> set[tuple[int, str]]:
    """Return status and code of every refusal in our code."""
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


def test_refusals_and_their_docs_are_the_same() -> None:
    documented = [(int(status), first_code(code)) for status, code, _when in table(STREAMING, "## Refusals")]
    assert len(documented) == len(set(documented))
    assert set(documented) == refusals()


def sockets() -> list[str]:
    patterns = [str(each.pattern) for each in websocket_urlpatterns]
    return ["/" + re.sub(r"<\w+:(\w+)>", r"<\1>", pattern) for pattern in patterns if pattern]


def routes() -> list[str]:
    """Return our own routes as the docs write them, such as ``/chat/runs/<run>/stop``."""
    own = ["/" + str(each.pattern) for each in urls.urlpatterns] + sockets()
    patterns, _app, _name = api.urls()
    read_back = ["/api/v1/" + str(each.pattern) for each in patterns if each.name != "api-root"]
    return [re.sub(r"<\w+:(\w+)>", r"<\1>", route) for route in own + read_back]


@pytest.mark.parametrize("route", routes())
def test_every_route_is_documented(route: str) -> None:
    written = [re.sub(r"^[A-Z]+ ", "", text).partition("?")[0] for text in code(STREAMING)]
    assert route in written


@each_page()
def test_every_named_address_has_a_route(page: Path) -> None:
    for text in code(page):
        found = re.fullmatch(r"(?:(?:GET|POST|PATCH|DELETE) )?(/[a-z][^\s`]*|/)", text)
        if not found or found[1] in (AS_JSON, DECLINE):  # typed at the terminal
            continue
        named = found[1].partition("?")[0]
        address = re.sub(r"<\w+>", str(uuid.uuid4()), named)
        if named not in sockets() and not leads_below(address):
            resolve(address)


def leads_below(address: str) -> bool:
    """Return whether routes of ours begin with this address."""
    return any(route != address and route.startswith(f"{address.rstrip('/')}/") for route in routes())


def test_allauth_pages_have_the_documented_addresses() -> None:
    for name in ("account_login", "account_signup"):
        try:
            address = reverse(name)
        except NoReverseMatch:
            pytest.fail(f"allauth has no {name} any more")
        assert any(address in text for page in PAGES for text in code(page))


def names_of_routes() -> set[str]:
    """Return the names under which our own code reverses its routes."""
    own = [("chat:", each) for each in urls.urlpatterns]
    others = [*site_urls.urlpatterns, *accounts_urls.urlpatterns, *moderation_urls.urlpatterns]
    own += [("", each) for each in others]
    names = ((space, getattr(each, "name", None)) for space, each in own)
    return {f"{space}{name}" for space, name in names if name}


@pytest.mark.parametrize("name", sorted(names_of_routes()))
def test_named_routes_and_their_docs_are_the_same(name: str) -> None:
    rows = {first_code(cells[0]): first_code(cells[1]) for cells in table(ARCHITECTURE, "## Names of routes")}
    assert set(rows) == names_of_routes()
    values = dict.fromkeys(re.findall(r"<(\w+)>", rows[name]), "1")
    assert reverse(name, kwargs=values) == re.sub(r"<\w+>", "1", rows[name])


# --- what is measured and logged --------------------------------------------------------------------


def test_metrics_and_their_docs_are_the_same() -> None:
    documented = {first_code(cells[0]) for cells in table(OPERATIONS, "## Metrics")}
    assert documented == {metric.name for metric in metrics.registry.collect()}


def test_alerts_use_metrics_that_exist() -> None:
    ends = ("", "_total", "_bucket", "_sum", "_count")
    seen = {metric.name + end for metric in metrics.registry.collect() for end in ends}
    named = re.findall(r"parley_\w+", section(OPERATIONS, "## Suggested alerts"))
    assert named
    assert set(named) <= seen


def test_log_fields_are_documented_in_their_order() -> None:
    assert [first_code(cells[0]) for cells in table(OPERATIONS, "## Logs")] == list(logs.FIELDS)


# --- commands and versions ------------------------------------------------------------------------


def test_commands_and_their_docs_are_the_same() -> None:
    own = {name for name, app in get_commands().items() if app in ("chat", "accounts")}
    named = {name for page in PAGES for name in re.findall(r"manage\.py (\w+)", prose(page))}
    assert own <= named <= set(get_commands())
    assert {"prepare", "serve"} <= own


def test_system_checks_and_their_docs_are_the_same() -> None:
    named = {text for page in PAGES for text in code(page) if CHECK.fullmatch(text)}
    made = [ROOT / app / "checks.py" for app in ("accounts", "chat")]
    assert named == {name for path in made for name in CHECK.findall(path.read_text())}


def test_the_version_is_the_same_everywhere() -> None:
    newest = re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert newest
    assert newest[1] == project["version"] == settings.VERSION


def test_every_decision_record_has_the_four_sections() -> None:
    found = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in found] == [f"{n:04}" for n in range(1, len(found) + 1)]
    for page in found:
        text = page.read_text()
        assert re.match(rf"# {page.name[:4]}: .+\n\n20\d\d-\d\d-\d\d\n", text), page.name
        headings = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
        assert headings == ["Context", "Decision", "Rejected", "Evidence"], page.name
