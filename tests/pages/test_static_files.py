"""Scripts and style sheets: what they may contain, and the bundles of them."""

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

from config.static import bundled

STATIC = Path(str(finders.find("chat/main.js"))).parent
STYLES = sorted((STATIC / "css").glob("*.css"))
SCRIPTS = sorted([*STATIC.glob("*.js"), *STATIC.glob("live/*.js")])
IN_CALL = {path.stem for path in SCRIPTS if path.parent.name == "live"}  # loaded when a call begins
PHYSICAL = re.compile(
    r"(?<![\w-])(?:(?:margin|padding|border|inset|scroll-margin|scroll-padding)-(?:left|right|top|bottom)"
    r"|(?:min-|max-)?(?:width|height)|left|right|top|bottom|float|clear"
    r"|border-(?:top|bottom)-(?:left|right)-radius)\s*:"
    r"|text-align\s*:\s*(?:left|right)"
)


def without_comments(source: str) -> str:
    return re.sub(r"/\*.*?\*/|^\s*//.*?$", "", source, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
def test_our_styles_use_no_left_or_right(path: Path) -> None:
    css = re.sub(r"@media \([^)]*\)", "", without_comments(path.read_text()))
    assert not PHYSICAL.search(css), PHYSICAL.search(css)
    assert "url(" not in css
    assert path.name == "chat.css" or "@import" not in css


GROUNDS = ("paper", "surface", "sunken")
LEGIBLE = {
    **dict.fromkeys(("ink", "ink-soft", "ink-faint", "spruce"), GROUNDS),
    "danger": ("paper", "surface"),
    "on-spruce": ("spruce",),
    **dict.fromkeys(("keyword", "string", "comment", "name", "number"), ("code",)),
}


def luminance(colour: str) -> float:
    """Return WCAG's relative luminance of #rrggbb."""
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_controls_have_enough_contrast(scheme: int) -> None:
    tokens = (STATIC / "css" / "tokens.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", tokens)
    colours = {name: both[scheme] for name, *both in pairs}
    for text, grounds in LEGIBLE.items():
        for ground in grounds:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["ink"], colours["bubble"]) >= 4.5
    assert contrast(colours["edge"], colours["paper"]) >= 3
    assert contrast(colours["edge"], colours["surface"]) >= 3


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_our_modules_import_and_export_as_the_bundle_expects(path: Path) -> None:
    """config/static.py reads imports of one line, and exported declarations."""
    source = path.read_text()
    comments = re.findall(r"^\s*//.*$", source, re.MULTILINE)
    assert not [line for line in comments if re.search(r"\b(?:import|export)\b.*\bfrom\b", line)]
    imports = re.findall(r"^import .*$", source, re.MULTILINE)
    later = re.findall(r'\bimport\("(\./live/\w+\.js)"\)', source)
    assert len(imports) + len(later) == len(re.findall(r"\bimport\b", without_comments(source)))
    assert all((STATIC / address).exists() for address in later)
    for line in imports:
        found = re.fullmatch(r'import \{ [\w, ]+ \} from "(\./\w+\.js)";', line)
        assert found, line
        assert (path.parent / found[1]).exists()
    exports = re.findall(r"^export\b.*$", source, re.MULTILINE)
    assert all(re.match(r"export (?:const|function|async function|class) \w+", line) for line in exports)


def test_the_bundles_hold_every_module_and_sheet_of_the_page() -> None:
    script = bundled(STATIC / "main.js")
    assert sorted(re.findall(r"^const \$(\w+) = \(", script, re.MULTILINE)) == sorted(
        path.stem
        for path in SCRIPTS
        if path.stem not in {"waiting_page", *IN_CALL}  # the script of /waiting/
    )
    assert not re.search(r"^(?:import|export)\b", script, re.MULTILINE)
    sheet = bundled(STATIC / "css" / "chat.css")
    assert "@import" not in sheet
    others = {
        "admin", "agents", "call", "chat", "facts", "forms", "instruments", "moderation", "start",
        "transcript", "watch",
    }  # fmt: skip
    for path in STYLES:
        assert (path.read_text() in sheet) == (path.stem not in others), path.name


def test_the_bundle_of_a_call_exports_its_beginning() -> None:
    script = bundled(STATIC / "live" / "call.js")
    assert script.startswith("export const { startCall } = (() => {")
    assert sorted(re.findall(r"^const \$(\w+) = \(", script, re.MULTILINE)) == sorted(IN_CALL - {"worklet"})


def test_our_modules_import_in_one_direction() -> None:
    """In the bundle, a module comes after all that it imports."""
    imported = {path.name: re.findall(r'from "\./([\w.]+)"', path.read_text()) for path in SCRIPTS}
    done: set[str] = set()
    while len(done) < len(imported):
        ready = {name for name, needs in imported.items() if name not in done and set(needs) <= done}
        assert ready, sorted(set(imported) - done)
        done |= ready


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_our_scripts_make_no_code_and_no_markup_from_text(path: Path) -> None:
    source = without_comments(path.read_text())
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|parseFromString|createPolicy|setHTML"
    if path.name != "trusted_html.js":  # the only place that may
        assert not re.search(markup, source)
    assert not re.search(r"\beval\b|new Function|console\.", source)
