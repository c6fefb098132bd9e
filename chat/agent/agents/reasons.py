"""The sentences that say why an agent could not be loaded."""

import importlib.util
import re

from django.conf import settings
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from yaml import YAMLError

from chat.agent.turn import local_code, tool_limits
from chat.instruments.stack import chain_of

YAML_FILE = "root_agent.yaml"

EXTRAS = {"a2a": "a2a-sdk", "anthropic": "anthropic", "litellm": "litellm", "mcp": "mcp", "openai": "openai"}
# Messages of ADK 2.13 that stand for the missing package of an extra, without a ModuleNotFoundError.
WITHOUT_EXTRA = {
    r"cannot import name '\w+' from 'google\.adk\.tools\.mcp_tool'": "mcp",
    r"LiteLLM support requires|has no attribute 'Gemma3Ollama'": "litellm",
    r"Model claude-.* not found": "anthropic",
    r"Model (gpt-|o\d+-).* not found": "openai",
    r"Model \S+/.* not found": "litellm",
}
# Packages whose names differ from the module's by more than "_" and "-".
PACKAGE_NAMES = {
    "PIL": "pillow", "attr": "attrs", "bs4": "beautifulsoup4", "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil", "docx": "python-docx", "fitz": "pymupdf", "git": "GitPython",
    "googleapiclient": "google-api-python-client", "jose": "python-jose", "jwt": "PyJWT",
    "magic": "python-magic", "pptx": "python-pptx", "psycopg2": "psycopg2-binary",
    "serpapi": "google-search-results", "sklearn": "scikit-learn", "vertexai": "google-cloud-aiplatform",
    "yaml": "PyYAML",
}  # fmt: skip

Reason = str | Promise


class AgentLoadError(Exception):
    """An agent cannot be loaded. ``reason`` is a sentence for members, without paths and values."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


def load_error(error: BaseException) -> AgentLoadError:
    """Return the error as a sentence for members, without its message: that may hold paths and secrets."""
    match error:
        case AgentLoadError():
            return error
        case local_code.CodeNotAllowed() | tool_limits.LimitTooLarge():
            return AgentLoadError(error.reason)
        case SyntaxError():
            return AgentLoadError(_("There is a syntax error in its code."))
        case YAMLError():
            return AgentLoadError(format_lazy(_("Its {file} is no YAML."), file=YAML_FILE))
    for found in chain_of(error):
        if reason := _missing(found):
            return AgentLoadError(reason)
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return AgentLoadError(_("Its code ends the process instead of loading."))
    return AgentLoadError(format_lazy(_("Its code does not load ({error})."), error=type(error).__name__))


def _missing(error: BaseException) -> Reason | None:
    """Return the sentence that says what the exception misses: a package, a module, a name or a model."""
    message = str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing_module(error.name)
    if isinstance(error, ImportError | AttributeError | ValueError):
        for pattern, extra in WITHOUT_EXTRA.items():
            if re.search(pattern, message) and not importlib.util.find_spec(extra):
                model = re.search(r"Model (\S+) not found", message)
                return _missing_extra(extra, model[1] if model else None)
    if isinstance(error, ValueError) and (model := re.search(r"Model (\S+) not found", message)):
        return format_lazy(_("ADK knows no model {model}."), model=model[1])
    name = isinstance(error, ImportError) and re.search(
        r"cannot import name '(\w+)' from '([\w.]+)'( \(unknown location\))?", message
    )
    if not name:
        return None
    if name[3]:  # a namespace package such as google.cloud
        return _missing_module(f"{name[2]}.{name[1]}")
    return format_lazy(
        _("It imports {name} from {module}, which has no such name."), name=name[1], module=name[2]
    )


def _missing_extra(extra: str, model: str | None) -> Reason:
    if model:
        sentence = _("Its model {model} needs the package {package}: start with EXTRAS={extra}.")
        return format_lazy(sentence, model=model, package=EXTRAS[extra], extra=extra)
    sentence = _("It needs the package {package}: start with EXTRAS={extra}.")
    return format_lazy(sentence, package=EXTRAS[extra], extra=extra)


def _missing_module(module: str) -> Reason:
    top = module.partition(".")[0]
    if top in EXTRAS:
        return _missing_extra(top, None)
    folder = settings.AGENTS_DIR
    if folder and ((folder / top).is_dir() or (folder / f"{top}.py").is_file()):
        return format_lazy(_("It needs the module {module}, which is not there."), module=module)
    package = (
        ".".join(module.split(".")[:3]) if module.startswith("google.cloud.") else PACKAGE_NAMES.get(top, top)
    )
    package = re.sub(r"[._]+", "-", package)
    if package.lower() in _required_packages():
        sentence = _(
            "It needs the package {package}, which requirements.txt in AGENTS_DIR names and which is not "
            "installed. “make set-up” installs it, or says why it cannot."
        )
    else:
        sentence = _(
            "It needs the module {module}, which is not there. If it is no file of yours, add the package "
            "{package} to requirements.txt in AGENTS_DIR, and start again."
        )
    return format_lazy(sentence, module=module, package=package)


def _required_packages() -> set[str]:
    """Return the normalized names of the packages in AGENTS_DIR/requirements.txt."""
    file = settings.AGENTS_DIR and settings.AGENTS_DIR / "requirements.txt"
    try:
        text = file.read_text(encoding="utf-8") if file else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    names = re.findall(r"^\s*([A-Za-z0-9][\w.-]*)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}
