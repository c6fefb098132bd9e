"""Each sentence that a user reads is in the message catalogue, as ``makemessages`` would extract it.

The checks are functions from a source to findings, so that each one is also run on a small bad source.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.db.models import Field
from django.template.base import Lexer, TokenType
from django.utils.functional import Promise
from django.utils.translation import override
from django.utils.translation.template import templatize

from accounts import forms as accounts_forms
from chat.endings import SENTENCES
from tests.support.commands import ROOT
from tests.support.docs import MODULES

pytestmark = pytest.mark.any_database

Check = Callable[[str], Iterable[str]]

SOURCES = {
    path: path.read_text()
    for module, path in MODULES.items()
    if module.split(".")[0] in ("accounts", "chat", "config") and "migrations" not in path.parts
}
TEMPLATES = {
    path: path.read_text()
    for path in sorted((ROOT / "templates").rglob("*"))
    if path.suffix in (".html", ".txt")
}
SCRIPTS = {path: path.read_text() for path in sorted((ROOT / "chat" / "static" / "chat").rglob("*.js"))}

# The functions whose calls makemessages extracts.
PLURALS = {"ngettext", "ngettext_lazy"}
LAZY = {"gettext_lazy", "ngettext_lazy", "gettext_noop"}
GETTEXT = {"_", "gettext"} | PLURALS | LAZY
POSITIONAL = re.compile(r"%[#0+-]*[\d.]*[sdifgrx]|\{\d*\}")

# Arguments that a user reads, by the called function: their position.
SENTENCE_ARGUMENTS = {
    "Refusal": 2, "malformed": 0, "unprocessable": 1, "too_many": 0, "unavailable": 0, "ValidationError": 0,
    "add_error": 1, "messages.error": 1, "messages.success": 1, "messages.info": 1, "messages.warning": 1,
}  # fmt: skip
REFUSALS = {"malformed", "unprocessable", "too_many", "unavailable"}
LABELS = {
    "label", "help_text", "verbose_name", "verbose_name_plural", "short_description", "search_help_text",
    "index_title",
}  # fmt: skip
SHOWN_ATTRIBUTES = {"title", "aria-label", "placeholder", "alt"}
# The brand, and CSS classes that a block of Django's admin puts into an attribute.
NOT_TRANSLATED = {"Parley", "· Parley", "app-chat model-conversation", "colM"}

JS_STRING = r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`"""
JS_SHOWN = re.compile(
    r"""(?:\.(?:textContent|innerText|ariaLabel|title|placeholder|alt)\s*\+?=(?![=>])"""
    r"""|\b(?:notify|notifyFor|toast|alarm|speak)\("""
    r"""|\bsetAttribute\(\s*["'](?:aria-label|title|placeholder|alt)["']\s*,)\s*"""
    rf"""(?P<expression>(?:{JS_STRING}|[^;"'`])*)"""
)


# --- Python -----------------------------------------------------------------------------------------


def gettext_calls(source: str) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (name := called(node)) in GETTEXT:
            yield node, name


def called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def messages_of(node: ast.Call, name: str) -> list[ast.expr]:
    return node.args[: 2 if name in PLURALS else 1]


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def messages_that_cannot_be_extracted(source: str) -> list[str]:
    """Return the calls of gettext without a literal, in an f-string, or with a placeholder without a name."""
    fields = [each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.FormattedValue)]
    formatted = {
        ast.unparse(call) for each in fields for call, _name in gettext_calls(ast.unparse(each.value))
    }
    return [
        ast.unparse(call)
        for call, name in gettext_calls(source)
        if ast.unparse(call) in formatted  # xgettext skips f-strings
        or not (messages := messages_of(call, name))
        or not all(map(is_text, messages))
        or any(POSITIONAL.search(ast.literal_eval(message)) for message in messages)
    ]


def names_that_makemessages_ignores(source: str) -> list[str]:
    """Return the imports of gettext functions under a name other than ``_`` or their own."""
    return [
        f"{each.name} as {each.asname}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
        for each in node.names
        if "gettext" in each.name and each.asname not in (None, "_")
    ]


def messages_translated_at_import(source: str) -> list[str]:
    """Return calls outside functions of a gettext that is not lazy: their language is never the reader's."""
    tree = ast.parse(source)
    imported = {
        each.asname or each.name: each.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
        for each in node.names
    }
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, functions) for n in ast.walk(f)}
    decorators = [d for f in ast.walk(tree) for d in getattr(f, "decorator_list", [])]
    inside -= {id(n) for decorator in decorators for n in ast.walk(decorator)}
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and id(node) not in inside and called(node) in imported
        if imported[called(node)] in GETTEXT - LAZY
    ]


def sentences_without_gettext(source: str) -> list[str]:
    """Return the literals, f-strings and names that a user would read as a refusal, an error or a label."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                whole = ast.unparse(node.func)
                position = SENTENCE_ARGUMENTS.get(whole, SENTENCE_ARGUMENTS.get(name))
                if position is not None:
                    given = [k.value for k in node.keywords if k.arg in ("detail", "message")]
                    sentences = [*node.args[position : position + 1], *given]
                    found += [ast.unparse(each) for each in sentences if has_text(each)]
                    if name in REFUSALS:  # a variable may hold text that no check sees
                        found += [
                            each.id
                            for each in sentences
                            if isinstance(each, ast.Name) and each.id != "detail"
                        ]
                labels = LABELS | ({"description"} if whole in ("admin.display", "admin.action") else set())
                found += [
                    ast.unparse(k.value) for k in node.keywords if k.arg in labels and has_text(k.value)
                ]
            case ast.ClassDef(bases=bases, body=body):
                is_filter = any(ast.unparse(base).endswith("Filter") for base in bases)
                labels = LABELS | ({"title"} if is_filter else set())
                for statement in body:
                    found += labels_in(statement, labels)
            case ast.Assign(targets=[ast.Attribute()]):
                found += labels_in(node, LABELS)
    return found


def labels_in(statement: ast.stmt, labels: set[str]) -> list[str]:
    if not isinstance(statement, ast.Assign):
        return []
    names = {
        ast.unparse(part).rpartition(".")[2] for target in statement.targets for part in ast.walk(target)
    }
    return [ast.unparse(statement)] if names & labels and has_text(statement.value) else []


def has_text(node: ast.AST) -> bool:
    """Return whether an expression is text that did not go through gettext."""
    match node:
        case ast.Call() if called(node) in GETTEXT:
            return False
        case ast.BinOp(op=ast.Mod(), left=left):
            return has_text(left)
        case ast.Constant(value=str() as value):
            return any(map(str.isalpha, value))
        case ast.JoinedStr() | ast.Call(func=ast.Attribute(attr="format")):
            return True
        case ast.IfExp(body=body, orelse=other) | ast.BinOp(left=body, right=other):
            return has_text(body) or has_text(other)
        case ast.Tuple(elts=elements):
            return any(map(has_text, elements))
    return False


# --- templates --------------------------------------------------------------------------------------


def variables_that_are_translated(source: str) -> list[str]:
    """Return the ``{% translate %}`` tags with a variable: makemessages does not know its values."""
    tags = [
        token.split_contents() for token in Lexer(source).tokenize() if token.token_type is TokenType.BLOCK
    ]
    return [" ".join(tag) for tag in tags if tag[0] in ("translate", "trans") and tag[1][0] not in "\"'"]


class Shown(HTMLParser):
    """Text and attributes of a page that a user reads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag if tag in ("kbd", "script", "style") else ""  # keys keep their printed names
        self.found += [value for name, value in attrs if name in SHOWN_ATTRIBUTES and value]

    def handle_endtag(self, tag: str) -> None:
        self._hidden = ""

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.found.append(data)


def text_outside_translate(source: str, *, is_html: bool = True) -> list[str]:
    """Return the text of a template, and its visible attributes, that no translate tag covers."""
    kept, skipping = "", ""
    literals: list[str] = []
    for token in Lexer(source).tokenize():
        name = token.contents.partition(" ")[0] if token.token_type is TokenType.BLOCK else ""
        if skipping:
            skipping = "" if name == skipping else skipping
        elif name in ("comment", "blocktranslate", "blocktrans"):
            skipping = f"end{name}"
        elif token.token_type is TokenType.TEXT:
            kept += token.contents
        elif token.token_type in (TokenType.BLOCK, TokenType.VAR) and name not in ("translate", "trans"):
            # a sentence as an argument of a tag or filter
            literals += [each for each in re.findall(r'(?<!_\()"([^"]*)"', token.contents) if " " in each]
    page = Shown()
    page.feed(kept)
    page.close()
    texts = (text.strip() for text in [*(page.found if is_html else [kept]), *literals])
    return [text for text in texts if any(map(str.isalpha, text)) and text not in NOT_TRANSLATED]


# --- scripts ----------------------------------------------------------------------------------------


def sentences_in_scripts(source: str) -> list[str]:
    """Return the literals that a script shows: any text shown as it is, and sentences inside calls."""
    source = re.sub(r"^\s*//.*$", "", source, flags=re.MULTILINE)
    found = []
    for shown in JS_SHOWN.finditer(source):
        for literal in re.finditer(JS_STRING, shown["expression"], re.DOTALL):
            text = re.sub(r"\$\{.*\}", "", literal[0][1:-1], flags=re.DOTALL)
            is_sentence = " " in text and any(map(str.isupper, text))
            if is_sentence or (literal.start() == 0 and any(map(str.isalpha, text))):
                found.append(literal[0])
    return found


# --- the catalogue ----------------------------------------------------------------------------------

TEMPLATIZED = re.compile(
    r"""\b(?:n?gettext|_)\(((?:u?(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'),?[ ]?){1,2})""", re.DOTALL
)


def messages_in_python(source: str) -> set[str]:
    calls = list(gettext_calls(source))
    return {
        ast.literal_eval(each) for call, name in calls for each in messages_of(call, name) if is_text(each)
    }


def messages_in_template(source: str) -> set[str]:
    found: set[str] = set()
    for literals in TEMPLATIZED.findall(templatize(source)):
        found.update(ast.literal_eval(f"({literals.rstrip(', ')},)"))
    return found


CATALOGUE = set().union(
    *map(messages_in_python, SOURCES.values()), *map(messages_in_template, TEMPLATES.values())
)


@pytest.mark.parametrize(
    ("extract", "source", "messages"),
    [
        (messages_in_python, "_('One.')", {"One."}),
        (messages_in_python, "gettext_lazy('A long '\n 'line.')", {"A long line."}),
        (messages_in_python, "ngettext('%(n)s hour', '%(n)s hours', n)", {"%(n)s hour", "%(n)s hours"}),
        (messages_in_template, '{% translate "The site\'s owner" %}', {"The site's owner"}),
        (messages_in_template, "{{ _('Constant')|upper }}", {"Constant"}),
        (messages_in_template, "{% blocktranslate %}A {{ b }}.{% endblocktranslate %}", {"A %(b)s."}),
        (
            messages_in_template,
            "{% blocktranslate count n=n %}{{ n }} hour{% plural %}{{ n }} hours{% endblocktranslate %}",
            {"%(n)s hour", "%(n)s hours"},
        ),
    ],
)
def test_messages_are_extracted(extract: Check, source: str, messages: set[str]) -> None:
    assert set(extract(source)) == messages


def test_the_catalogue_has_the_sentences_of_refusals_templates_and_endings() -> None:
    assert {"Sign in first.", "%(name)s must be a UUID.", "New conversation", "Thinking…"} <= CATALOGUE
    with override(None):
        assert {str(sentence) for sentence, _again in SENTENCES.values()} <= CATALOGUE


# --- the product ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        messages_that_cannot_be_extracted,
        names_that_makemessages_ignores,
        messages_translated_at_import,
        sentences_without_gettext,
    ],
)
def test_python_sends_every_sentence_through_gettext(check: Check) -> None:
    assert findings(check, SOURCES) == {}


def test_templates_translate_literals_only() -> None:
    assert findings(variables_that_are_translated, TEMPLATES) == {}


@pytest.mark.parametrize("suffix", [".html", ".txt"])
def test_templates_have_no_text_outside_translate_tags(suffix: str) -> None:
    sources = {path: source for path, source in TEMPLATES.items() if path.suffix == suffix}
    assert sources
    assert findings(partial(text_outside_translate, is_html=suffix == ".html"), sources) == {}


def test_scripts_have_no_sentences_of_their_own() -> None:
    assert SCRIPTS
    assert findings(sentences_in_scripts, SCRIPTS) == {}


def findings(check: Check, sources: dict[Path, str]) -> dict[str, list[str]]:
    found = {str(path.relative_to(ROOT)): list(check(source)) for path, source in sources.items()}
    return {path: each for path, each in found.items() if each}


@pytest.mark.parametrize(
    "sentence", [sentence for sentence, _again in SENTENCES.values()], ids=list(SENTENCES)
)
def test_endings_are_translated_when_they_are_shown(sentence: Any) -> None:
    assert isinstance(sentence, Promise)


def labels_of_forms() -> Iterator[tuple[str, Any]]:
    for form in vars(accounts_forms).values():
        if isinstance(form, type) and form.__module__ == accounts_forms.__name__:
            for name, field in getattr(form, "base_fields", {}).items():
                yield f"{form.__name__}.{name}", field.label
                yield f"{form.__name__}.{name}.help_text", field.help_text


def labels_of_admin() -> Iterator[tuple[str, Any]]:
    """Yield what the admin shows of our models: names, columns, states, filters and headings."""
    yield "index_title", admin.site.index_title
    for model, shown in admin.site._registry.items():
        meta = model._meta
        if meta.app_label not in ("accounts", "chat"):
            continue
        yield meta.app_label, apps.get_app_config(meta.app_label).verbose_name
        yield f"{meta.label}.verbose_name", meta.verbose_name
        yield f"{meta.label}.verbose_name_plural", meta.verbose_name_plural
        yield f"{meta.label}.search_help_text", shown.search_help_text
        fieldsets: Any = shown.fieldsets or [(None, {"fields": shown.fields or ()})]
        for heading, _options in fieldsets:
            yield f"{meta.label} heading", heading
        for each in shown.list_filter:
            yield f"{meta.label} filter", getattr(each, "title", None) if isinstance(each, type) else None
        fields = {field.name: field for field in meta.get_fields() if isinstance(field, Field)}
        for name in {*map(str, shown.list_display), *flatten_fieldsets(fieldsets)}:
            if name in fields:
                yield f"{meta.label}.{name}", fields[name].verbose_name
                for value, label in fields[name].choices or ():
                    yield f"{meta.label}.{name}={value}", label
            else:
                yield f"{meta.label}.{name}", getattr(getattr(shown, name), "short_description", name)


@pytest.mark.parametrize("labels", [labels_of_forms, labels_of_admin])
def test_labels_are_translated_when_they_are_shown(labels: Callable[[], Iterator[tuple[str, Any]]]) -> None:
    found = list(labels())
    assert len(found) > 5
    assert [name for name, label in found if label and not isinstance(label, Promise)] == []


# --- each check can fail ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (messages_that_cannot_be_extracted, "_(sentence)"),
        (messages_that_cannot_be_extracted, "_(f'At most {limit}.')"),
        (messages_that_cannot_be_extracted, "_('At most {}.'.format(limit))"),
        (messages_that_cannot_be_extracted, "_('At most %(limit)s.' % {'limit': 1})"),
        (messages_that_cannot_be_extracted, "_('One' + two)"),
        (messages_that_cannot_be_extracted, "_('At most %s.') % limit"),
        (messages_that_cannot_be_extracted, "_('At most %d.') % limit"),
        (messages_that_cannot_be_extracted, "_('At most {}.')"),
        (messages_that_cannot_be_extracted, "gettext_lazy()"),
        (messages_that_cannot_be_extracted, "f'[{_(\"One.\")}]'"),
        (messages_that_cannot_be_extracted, "ngettext('One hour', hours, n)"),
        (names_that_makemessages_ignores, "from django.utils.translation import gettext as say"),
        (messages_translated_at_import, "from django.utils.translation import gettext as _\nA = _('One.')"),
        (
            messages_translated_at_import,
            "from django.utils.translation import gettext\n@display(description=gettext('a'))\ndef a(): 0",
        ),
        (sentences_without_gettext, "raise refusals.malformed('No.')"),
        (sentences_without_gettext, "raise refusals.too_many(f'At most {limit}.')"),
        (sentences_without_gettext, "raise refusals.unprocessable('blank', 'At most %s.' % limit)"),
        (sentences_without_gettext, "raise refusals.unavailable(_('One.') if new else 'Two.')"),
        (sentences_without_gettext, "raise refusals.malformed(sentence)"),
        (sentences_without_gettext, "Refusal(406, 'accept', 'No.')"),
        (sentences_without_gettext, "Refusal(406, 'accept', detail='No.')"),
        (sentences_without_gettext, "ValidationError('No.')"),
        (sentences_without_gettext, "messages.error(request, 'No.')"),
        (sentences_without_gettext, "forms.CharField(label='User name')"),
        (sentences_without_gettext, "forms.CharField(help_text='Any name.')"),
        (sentences_without_gettext, "models.CharField(verbose_name='name')"),
        (sentences_without_gettext, "@admin.display(description='begun')\ndef begun(): 0"),
        (sentences_without_gettext, "class StatusFilter(admin.SimpleListFilter):\n  title = 'status'"),
        (sentences_without_gettext, "class Meta:\n  verbose_name, verbose_name_plural = 'run', 'runs'"),
        (sentences_without_gettext, "begun.short_description = 'begun'"),
        (variables_that_are_translated, "{% translate refusal.detail %}"),
        (variables_that_are_translated, "{% trans title as shown %}"),
        (text_outside_translate, "<p>Nothing here</p>"),
        (text_outside_translate, "<p>{% if a %}Nothing{% endif %}</p>"),
        (text_outside_translate, '<a title="Close">{{ icon }}</a>'),
        (text_outside_translate, "<a aria-label='Close'></a>"),
        (text_outside_translate, '<input placeholder="{% translate "Find" %} it">'),
        (text_outside_translate, '<img alt="Picture" />'),
        (text_outside_translate, '{{ title|default:"No title" }}'),
        (text_outside_translate, '{% include "a.html" with label="Close it" %}'),
        (partial(text_outside_translate, is_html=False), "Dear {{ user }}"),
        (sentences_in_scripts, 'line.textContent = "Not saved";'),
        (sentences_in_scripts, "button.ariaLabel = 'copy';"),
        (sentences_in_scripts, "document.title = `${count} New messages`;"),
        (sentences_in_scripts, 'notify("Try again");'),
        (sentences_in_scripts, 'notifyFor(gone ? word("gone") : "Try again", 3);'),
        (sentences_in_scripts, 'button.setAttribute("aria-label", "Close");'),
    ],
)
def test_each_check_finds_a_bad_source(check: Check, source: str) -> None:
    assert list(check(source))


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (messages_that_cannot_be_extracted, "_('At most %(limit)s of 100 %%.') % {'limit': limit}"),
        (messages_translated_at_import, "from django.utils.translation import gettext as _\ndef a(): _('A')"),
        (messages_translated_at_import, "from django.utils.translation import gettext_lazy as _\nA = _('A')"),
        (sentences_without_gettext, "refusals.malformed(_('At most %(n)s.') % {'n': n})"),
        (sentences_without_gettext, "Refusal(422, code, detail)"),
        (
            text_outside_translate,
            '<p title="{% translate "Close" %}">{% blocktranslate %}A{% endblocktranslate %}</p>',
        ),
        (text_outside_translate, "<script>const a = 'Some words'</script><kbd>Esc</kbd>{# Note #}"),
        (sentences_in_scripts, 'copy.textContent = word("copy"); // Some words'),
        (sentences_in_scripts, 'if (field.title === "Some Words") label.textContent = ` ${words} `;'),
    ],
)
def test_each_check_accepts_a_good_source(check: Check, source: str) -> None:
    assert not list(check(source))
