"""Storage of static files under names with a content hash, and the bundles of the pages."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from servestatic.storage import CompressedManifestStaticFilesStorage

TYPES = {".js": "text/javascript", ".css": "text/css"}
# A file that only names others, and becomes all of them (docs/decisions/0035).
BUNDLES = ("chat/main.js", "chat/live/call.js", "chat/waiting_page.js", "chat/css/chat.css")

SHEET = re.compile(r'^@import "\./([\w.]+)";$', re.MULTILINE)
IMPORT = re.compile(r'^import \{ (.+) \} from "\./(\w+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:const|function|async function|class) (\w+))", re.MULTILINE)


class StaticStorage(CompressedManifestStaticFilesStorage):
    support_js_module_import_aggregation = True  # off by default in Django 5.2

    def post_process(self, paths: dict[str, Any], *args: Any, **options: Any) -> Iterator[Any]:
        bundles = InMemoryStorage()
        for name in BUNDLES:
            storage, path = paths[name]
            bundles.save(name, ContentFile(bundled(Path(storage.path(path))).encode()))
            paths[name] = (bundles, name)
        yield from super().post_process(paths, *args, **options)

    def _save(self, name: str, content: Any) -> str:
        if name.startswith("chat/") and name.endswith(tuple(TYPES)):
            source = b"".join(content.chunks()).decode()
            content = ContentFile(minified(name, source).encode())
        saved: str = super()._save(name, content)
        return saved


def bundled(path: Path) -> str:
    """Return a style sheet with its imports in place, or a module with all that it imports.

    A module that exports something, because another one imports it when it is needed, still does.
    """
    source = path.read_text()
    if path.suffix == ".css":
        return SHEET.sub(lambda found: bundled(path.parent / found[1]), source)
    modules: dict[str, str] = {}
    _add_module(path, modules)
    # In a block or a function, so that the minifier shortens their names.
    if exports := EXPORT.findall(source):
        names, own = ", ".join(exports), f"${path.stem}"
        return f"export const {{ {names} }} = (() => {{\n{''.join(modules.values())}return {own};\n}})();\n"
    return f"{{\n{''.join(modules.values())}}}\n"


def _add_module(path: Path, modules: dict[str, str]) -> None:
    """Add the modules that ``path`` imports, then itself: a function that returns the exports."""
    source = path.read_text()
    for _names, imported in IMPORT.findall(source):
        if imported not in modules:
            _add_module(path.with_stem(imported), modules)
    exports = ", ".join(EXPORT.findall(source))
    source = IMPORT.sub(lambda found: f"const {{ {found[1].replace(' as ', ': ')} }} = ${found[2]};", source)
    body = f"{EXPORT.sub('', source)}\nreturn {{ {exports} }};"
    modules[path.stem] = (
        f"const ${path.stem} = (() => {{\n{body}\n}})();\n"  # $: modules have variables of their names
    )


def minified(name: str, source: str) -> str:
    """Return a script or style sheet minified: a quarter less to transfer (docs/decisions/0021)."""
    import minify  # written in Go, whose threads only collectstatic needs

    text: str = minify.string(TYPES[name[name.rindex(".") :]], source)
    return text
