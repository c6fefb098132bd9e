"""Figures of the code's structure, by commit: ``python -m tools.structure [COMMIT …]``."""

import ast
import io
import subprocess
import sys
import tarfile
import tempfile
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("accounts", "chat", "config")
# Django finds these by their names; they import the folders of chat/, and nothing imports them.
ENTRY_POINTS = {"chat.urls", "chat.apps", "chat.checks"}
# Names that a framework or the standard library looks for.
DEMANDED = {"Command", "admin", "log", "main", "register", "urlpatterns"}
AGENT_FOLDERS = {"agents", "sample_agents", "feature_agents"}
NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip


def modules(root: Path) -> dict[str, ast.Module]:
    """Return the syntax tree of each module of the product, without migrations, by its dotted name."""
    found = {}
    for top in PRODUCT:
        for path in sorted((root / top).rglob("*.py")):
            if "migrations" not in path.parts:
                name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
                found[name] = ast.parse(path.read_text())
    return found


def names_defined_twice(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Return each public module-level name that more than one module defines, with those modules."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, tree in trees.items():
        for node in tree.body if module != "config.settings" else []:  # Django reads these by their names
            for name in _names(node):
                if not name.startswith("_") and name not in DEMANDED:
                    found[name].add(module)
    return {name: sorted(places) for name, places in sorted(found.items()) if len(places) > 1}


def _names(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
            pass  # T is T in every module
        case ast.Assign(targets=targets):
            yield from (part.id for t in targets for part in ast.walk(t) if isinstance(part, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name


def folder_imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return the folders that each folder imports; ``chat`` is the modules at the top of chat/."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, tree in trees.items():
        for imported in _imports(tree, trees):
            ours, theirs = _folder(module, trees), _folder(imported, trees)
            if ours != theirs:
                found[ours].add(theirs)
    return found


def _imports(tree: ast.Module, trees: dict[str, ast.Module]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in trees)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in trees or node.module in trees:
                    yield full if full in trees else node.module


def _folder(module: str, trees: dict[str, ast.Module]) -> str:
    if module in ENTRY_POINTS:
        return "entry points"
    is_package = any(other.startswith(f"{module}.") for other in trees)
    top, *rest = module.split(".") if is_package else module.split(".")[:-1]
    return ".".join([top, *rest][:2]) if top == "chat" else top


def folders_in_cycles(imports: dict[str, set[str]]) -> list[str]:
    """Return the folders that import each other, directly or through others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for folder in imports.get(waiting.pop(), set()) - seen:
                seen.add(folder)
                waiting.append(folder)
        return seen

    return sorted(folder for folder in imports if folder in reached(folder))


def contract(root: Path) -> tuple[int, int]:
    """Return the number of layers of the import contract for chat/, and of its exceptions."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(len(each["layers"]) for each in contracts if each["type"] == "layers")
    exceptions = sum(
        len(each.get("ignore_imports", []))
        for each in contracts
        if "google" not in each.get("forbidden_modules", [])
    )
    return layers, exceptions


def code_lines(paths: Iterable[Path]) -> int:
    """Return the lines of these files that hold code: no blank lines, comments or docstrings."""
    return sum(_code_lines(path.read_text()) for path in paths)


def product_files(root: Path) -> Iterator[Path]:
    for top in PRODUCT:
        yield from (path for path in (root / top).rglob("*.py") if "migrations" not in path.parts)


def harness_files(root: Path) -> Iterator[Path]:
    """Yield the Python files that tests need and that hold no tests; agents are not of them."""
    yield from (root / name for name in ["noxfile.py"] if (root / name).exists())
    for path in (root / "tests").rglob("*.py"):
        if not path.name.startswith("test_") and not AGENT_FOLDERS & set(path.parts):
            yield path


def _code_lines(source: str) -> int:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.end_lineno:
            lines -= set(range(node.lineno, node.end_lineno + 1))  # of modules, functions and attributes
    return len(lines)


def figures(root: Path) -> dict[str, int]:
    """Return the figures of the tree at ``root``, by their names."""
    trees = modules(root)
    layers, exceptions = contract(root)
    return {
        "modules directly in chat/": len(list((root / "chat").glob("*.py"))),
        "folders in import cycles": len(folders_in_cycles(folder_imports(trees))),
        "layers in the import contract": layers,
        "exceptions in the import contract": exceptions,
        "lines of code of the product, without comments and docstrings": code_lines(product_files(root)),
        "lines of code of the test harness": code_lines(harness_files(root)),
        "public names defined twice": len(names_defined_twice(trees)),
    }


def main() -> None:
    """Print one table: a column for each commit named, and one for the working tree."""
    columns = []
    for commit in sys.argv[1:]:
        archive = subprocess.run(  # noqa: S603  (the commit is the caller's own argument)
            ["git", "-C", str(ROOT), "archive", commit],  # noqa: S607
            capture_output=True,
            check=True,
        ).stdout
        with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
            columns.append((commit, figures(Path(folder))))
    columns.append(("working tree", figures(ROOT)))
    print("|  | " + " | ".join(name for name, _ in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in columns[-1][1]:
        print(f"| {name} | " + " | ".join(f"{values[name]:,}" for _, values in columns) + " |")


if __name__ == "__main__":
    main()
