"""The environment variables that Parley reads: each with its type, bound, default and meaning.

`make docs` writes the tables of docs/settings.md from the fields of Environment.
"""

import json
import os
import sys
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from annotated_types import Ge
from django.core.exceptions import ImproperlyConfigured
from dotenv import load_dotenv
from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent
TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}
# Else litellm fetches a list of prices from GitHub while it is imported, and uses aiohttp, whose connections
# no one closes.
OF_LITELLM = ("LITELLM_LOCAL_MODEL_COST_MAP", "DISABLE_AIOHTTP_TRANSPORT")
OF_PYTHON = ("PYTHON", "LD_", "DYLD_")

# --- types: pydantic's own accept more spellings, such as "t" for true and "+8.0" for 8 ---------


DAYS_MAX = 36_500


def _switch(value: str, info: ValidationInfo) -> bool:
    if value.lower() not in TRUE | FALSE:
        raise ValueError(f"{info.field_name} must be 'on' or 'off', not {value.lower()!r}.")
    return value.lower() in TRUE


def _digits(value: str) -> str:
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise ValueError
    return value


def _strings(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _networks(value: str, info: ValidationInfo) -> list[IPv4Network | IPv6Network]:
    try:
        return [_unmapped(ip_network(each)) for each in _strings(value)]
    except ValueError as error:
        raise ValueError(f"{info.field_name} must name addresses or networks: {error}.") from error


def _approvers(value: str, info: ValidationInfo) -> dict[str, dict[str, str]]:
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    by_tool = list(found.values()) if isinstance(found, dict) else [None]
    groups = [group for tools in by_tool for group in (tools.values() if isinstance(tools, dict) else [None])]
    if not all(isinstance(group, str) and group.strip() for group in groups):
        example = '{"agent": {"tool": "name of a group"}}'
        raise ValueError(f"{info.field_name} must be JSON such as {example}, not {value!r}.")
    return {agent: dict(tools) for agent, tools in found.items()}


def _days_by_agent(value: str, info: ValidationInfo) -> dict[str, float]:
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    days: list[Any] = list(found.values()) if isinstance(found, dict) else [None]
    if not all(type(each) in (int, float) and 1 <= each <= DAYS_MAX for each in days):
        example = '{"agent": 365, "*": 730}'
        raise ValueError(f"{info.field_name} must be JSON such as {example}, not {value!r}.")
    return {agent: float(each) for agent, each in found.items()}


def _files_storage(value: str, info: ValidationInfo) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    fits = isinstance(found, dict) and {"BACKEND"} <= found.keys() <= {"BACKEND", "OPTIONS"}
    if not (fits and isinstance(found["BACKEND"], str) and isinstance(found.get("OPTIONS", {}), dict)):
        example = '{"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {"bucket_name": "parley"}}'
        # without the value: it may hold a password
        raise ValueError(f"{info.field_name} must be JSON such as {example}.")
    return {"BACKEND": found["BACKEND"], "OPTIONS": found.get("OPTIONS", {})}


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def _url(*schemes: str) -> AfterValidator:
    """Return the check for a URL with one of these schemes and, if it has a port, a valid one."""

    def check(value: str, info: ValidationInfo) -> str:
        try:
            parts = urlsplit(value)
            well_formed = parts.port is None or parts.port > 0
        except ValueError:
            well_formed = False
        if not (well_formed and parts.scheme in schemes):
            begins = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"{info.field_name} must be an address that begins with {begins}.")
        return value

    return AfterValidator(check)


def _less_than_run(value: float, info: ValidationInfo) -> float:
    longest = info.data.get("RUN_SECONDS")
    if longest is not None and value >= longest:
        raise ValueError(f"{info.field_name} must be less than RUN_SECONDS ({longest:g}), not {value:g}.")
    return value


Switch = Annotated[bool, PlainValidator(_switch)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LessThanRun = Annotated[Number, AfterValidator(_less_than_run), Field(validate_default=True)]
Whole = Annotated[int, BeforeValidator(_digits), Field(ge=1)]
WholeOrZero = Annotated[int, BeforeValidator(_digits), Field(ge=0)]
Port = Annotated[Whole, Field(le=65535)]
Strings = Annotated[list[str], PlainValidator(_strings)]
Networks = Annotated[list[IPv4Network | IPv6Network], PlainValidator(_networks)]
Approvers = Annotated[dict[str, dict[str, str]], PlainValidator(_approvers)]
DaysByAgent = Annotated[dict[str, float], PlainValidator(_days_by_agent)]
FilesStorage = Annotated[dict[str, Any], PlainValidator(_files_storage)]
LOWER = BeforeValidator(str.lower)


def _own_hosts(before: dict[str, Any]) -> list[str]:
    host = before["HOST"]
    return ["localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host]


class Environment(BaseSettings):
    """The variables, in the order of docs/settings.md. A text in a type is the docs' text of its default."""

    model_config = SettingsConfigDict(
        case_sensitive=True,
        enable_decoding=False,  # lists are separated by commas, not JSON
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=False,  # a default is a value, and the validators parse texts
    )

    # --- server --------------------------------------------------------------------------------------

    HOST: str = "127.0.0.1"
    """the address to listen on. Only this machine by default, so that no one else reaches a half-configured
    server"""
    PORT: Port = 8000
    """the port to listen on"""
    DATA_DIR: Annotated[Path, "the folder `var`"] = BASE_DIR / "var"
    """all data that Parley keeps: database, secret, set-up link, collected static files, e-mails. Created
    with mode 0700. Back up this folder"""
    ENV_FILE: Annotated[Path, "the file `.env`"] = BASE_DIR / ".env"
    """the file of settings; this variable is read only from the environment. A missing file counts as
    empty"""
    SECRET_KEY: Annotated[str, "a file in `DATA_DIR`"] = ""
    """signs the session cookies; at least 50 random characters. Created on the first start (`secret.key`,
    mode 0600). Several processes need the same key"""
    DEBUG: Switch = False
    """Django's error pages, for work on Parley. Never on a server that others can reach: they show settings
    and code"""
    ALLOWED_HOSTS: Annotated[Strings, "`localhost`, `127.0.0.1`, `[::1]` and `HOST`"] = Field(
        default_factory=_own_hosts
    )
    """the host names that requests may carry. With `HTTPS`, the first one is in the address that is printed
    at the start"""
    HTTPS: Switch = False
    """on behind a proxy that terminates TLS: cookies only over https, HSTS for a year, a redirect from http,
    and trust in the proxy's `X-Forwarded-Proto`. Off by default, because a first start on your own machine
    has no certificate"""
    CSRF_TRUSTED_ORIGINS: Strings = []
    """origins such as `https://chat.example.org` that may send forms, if the proxy changes the host name"""
    TRUSTED_PROXIES: Networks = []
    """addresses and networks of the proxies in front of Parley (`127.0.0.1, 10.1.0.0/16`), never all
    addresses. Sign-in attempts are limited by client address: see [production
    settings](operations.md#production-settings)"""
    SIGNUP: Annotated[Literal["open", "closed"], LOWER] = "open"
    """`closed`: only the site's owner creates accounts, in the admin, and the sign-up page says so. Open by
    default, for a first try on your own machine; beyond it, the start prints a warning"""
    LOG_LEVEL: str = "WARNING"
    """the level of libraries' logs. Parley itself logs from `INFO`. `DEBUG` applies only to Parley, because
    libraries would log prompts ([the log](operations.md#logs))"""
    LOG_FORMAT: Annotated[Literal["text", "json"], LOWER, "`text` on a terminal, else `json`"] = (
        "text" if sys.stderr.isatty() else "json"
    )
    """text for a terminal, JSON for log collectors"""
    METRICS_ALLOW: Networks = []
    """addresses and networks (`10.0.0.7, 10.1.0.0/16`) that may read [`/metrics`](operations.md#metrics),
    besides this machine; never through a proxy"""

    # --- database and Redis --------------------------------------------------------------------------

    DATABASE_URL: Annotated[str, _url("sqlite", "postgres", "postgresql"), "a SQLite file in `DATA_DIR`"] = ""
    """`postgres://user:password@host/name` for PostgreSQL, `sqlite:////folder/name.sqlite3` for another file.
    A SQLite file has one server process, and is on a local disk"""
    DATABASE_POOL: Annotated[Whole, Field(ge=6)] = 10
    """maximum of connections of one process to PostgreSQL, at least 6: four are for runs and
    streams, the others for requests, one each. A request that gets none for 2 s is answered 503. PostgreSQL's
    `max_connections` must be at least this times the processes"""
    REDIS_URL: Annotated[str, _url("redis", "rediss")] = ""
    """`redis://host/0` for several processes: the doorbell between them. Without it they poll the database
    every 100 ms"""
    REDIS_PREFIX: str = "parley"
    """the prefix of every key, so that several installations can share a Redis"""

    # --- e-mail --------------------------------------------------------------------------------------

    EMAIL_HOST: str = ""
    """the mail server, for password resets and letters about requests. Without one, e-mails are written to
    files in `DATA_DIR`, folder `mail`, for the site's owner"""
    EMAIL_PORT: Port = 587
    """its port; 587 is usual for STARTTLS"""
    EMAIL_USER: str = ""
    """the account on the mail server"""
    EMAIL_PASSWORD: str = ""
    """its password"""
    EMAIL_TLS: Switch = True
    """STARTTLS. Off only for a server on the same machine"""
    EMAIL_FROM: str = "parley@localhost"
    """the sender: an address, which is then named Parley, or `A name <address>`"""
    WAITING_EMAIL_MINUTES: WholeOrZero = 0
    """a request that has waited this long is told to who decides it, in [a letter without
    content](operations.md#letters-about-requests). `0` sends none"""

    # --- the agent -----------------------------------------------------------------------------------

    GOOGLE_API_KEY: str = ""
    """the Gemini key. Without a key (and without Vertex) the demo model answers, and says so"""
    GEMINI_API_KEY: str = ""
    """another name of the same key; `GOOGLE_API_KEY` wins"""
    GOOGLE_GENAI_USE_VERTEXAI: Switch = False
    """Gemini through Vertex AI instead of a key"""
    GOOGLE_GENAI_USE_ENTERPRISE: Switch = False
    """the newer name of the same switch"""
    CHAT_MODEL: str = "gemini-2.5-flash"
    """the built-in agent's model, by any name that ADK knows: `gemini-2.5-pro`, `gpt-5`, `claude-sonnet-4-5`,
    `ollama_chat/llama3.2`, `groq/…` ([models](agents.md#models-of-the-built-in-agent))"""
    CHAT_API_BASE: Annotated[str, _url("http", "https")] = ""
    """the address of that model's server. Without it the provider's own; for Ollama
    `http://localhost:11434`"""
    CHAT_API_KEY: str = ""
    """the key for it. Without it the provider's usual variable, such as `OPENAI_API_KEY` or
    `ANTHROPIC_API_KEY`"""
    AGENT_NAME: str = "chat_assistant"
    """the agent's name: a Python identifier, as ADK requires"""
    AGENT_DESCRIPTION: str = "Helpful assistant with streaming responses"
    """one line about the agent"""
    AGENT_INSTRUCTION: Annotated[
        str, "five guidelines for a friendly assistant"
    ] = """You are a helpful, friendly assistant engaging in natural conversation.

Guidelines:
- Be conversational and engaging
- Provide detailed explanations when asked
- Ask clarifying questions if needed
- Remember conversation context
- Be concise for simple queries, detailed for complex ones"""
    """the system instruction. Used literally: braces have no meaning in it"""
    AGENT_TEMPERATURE: Number = 0.7
    """conversational, not erratic"""
    AGENT_MAX_OUTPUT_TOKENS: Whole = 2048
    """maximum of tokens of one model answer; a reply that reaches it is completed with `finish`
    `max_tokens`"""
    AGENT_SHOWS_THOUGHTS: Annotated[Switch, "on for Gemini since 2.5"] = Field(
        default_factory=lambda data: (
            data["CHAT_MODEL"].startswith("gemini-")
            and not data["CHAT_MODEL"].startswith(("gemini-1", "gemini-2.0"))
        )
    )
    """asks the model for its thoughts, which the page can unfold. Older models reject the request. Thoughts
    that other models send by themselves are shown anyway"""
    AGENTS_DIR: Path | None = None
    """a folder of [your own agents](agents.md), in the layout that `adk web` reads. Its code runs inside the
    server: restrict write access to it as to the server's code"""
    AGENT_LOAD_SECONDS: Annotated[Number, Field(ge=0.1)] = 20
    """time to import one of these agents at the start; after it the agent is listed as broken. Big libraries
    take 5 s"""
    MEMORY_SERVICE_URI: str = ""
    """another [memory service](agents.md#services-of-your-own) for all agents, as `adk web` takes it with
    `--memory_service_uri`. By default Parley's own, on its database"""
    ARTIFACT_SERVICE_URI: str = ""
    """another [artifact service](agents.md#services-of-your-own), as with `--artifact_service_uri`"""
    ALLOW_LOCAL_CODE: Switch = False
    """on lets agents run code and commands on this machine, [confined](agents.md#code-on-this-machine). Off
    by default, because members influence what a model writes; such agents are then listed as not available"""
    APPROVERS: Annotated[Approvers, "no groups: the asker decides"] = {}
    """groups that decide in the asker's place whether an agent's tool may run, as JSON:
    `{"bank": {"transfer_money": "Finance"}}` ([approvers](agents.md#approvers))"""
    TITLES: Annotated[Literal["model", "first-words"], LOWER] = "model"
    """`model`: after the first reply, the agent's model writes the title of the conversation, with one more
    call ([agents](agents.md#titles)). `first-words` makes no call, and the title stays the beginning of the
    question"""
    DEMO_DELAY_SECONDS: Number = 0.03
    """the demo model's pause between two words, which makes streaming visible"""
    LIVE: Switch = True
    """off lets nobody speak with an agent ([voice](agents.md#voice))"""
    LIVE_MODEL: Annotated[
        str | None,
        "`gemini-2.5-flash-native-audio-preview-12-2025`, on Vertex AI `gemini-live-2.5-flash-native-audio`",
    ] = None
    """the model that speaks for agents whose model is Gemini, with their account. Empty: none"""
    LIVE_STT: str = ""
    """the speech-to-text for all other models, by a dotted name: `google.adk.live.GeminiSTT`, or a
    `LiveIngress` of your own"""
    LIVE_TTS: str = ""
    """the text-to-speech for them, such as `google.adk.live.GeminiTTS`, or a `LiveEgress` of your own"""

    # --- limits --------------------------------------------------------------------------------------

    LIMITS: Switch = True
    """off removes the limits per member (streams, sockets and runs), for benchmarks and tests. Refused unless
    `HOST` is a loopback address"""
    MESSAGE_MAX_BYTES: Whole = 128 * 1024
    """of one question, in UTF-8: 128 KiB. Users paste documents"""
    BODY_MAX_BYTES: Annotated[Whole, Field(ge=1024)] = 1024 * 1024
    """of a request's body: 1 MiB. Fits the longest question in any JSON encoding"""
    FILES_STORAGE: Annotated[FilesStorage, "the folder `files` in `DATA_DIR`"] = {}
    """where the bytes of files are, as JSON: any storage of Django, such as
    `{"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {"bucket_name": "parley"}}`, whose package you
    install. It must be private, and overwrite a name that is saved again. Servers on several machines need
    one that all of them reach ([files](operations.md#files))"""
    FILE_MAX_BYTES: Whole = 25 * 1024 * 1024
    """of one file: 25 MiB. It is sent in parts, so `BODY_MAX_BYTES` may be smaller"""
    FILES_QUOTA_BYTES: Whole = 1024 * 1024 * 1024
    """of all files of one member: 1 GiB. The same content counts once, and files of a deleted conversation
    count until it leaves the database"""
    REPLY_MAX_BYTES: Whole = 1024 * 1024
    """of one reply: 1 MiB, many times a usual reply. A reply that reaches it is completed with `finish`
    `length`"""
    RENDER_SECONDS: Annotated[Number, Field(ge=0.01)] = 0.3
    """of CPU, to render one text; after it the text is shown as it was written. A reply of 5 KB takes 0.003
    s. The end of a run waits for its rendering"""
    RUN_SECONDS: Number = 300
    """of a whole run, because a user is waiting. The next three are less"""
    FIRST_TOKEN_SECONDS: LessThanRun = 120
    """of each model call, until it begins to answer. Models with long thoughts take a minute"""
    SILENCE_SECONDS: LessThanRun = 60
    """between two pieces of a streamed reply. A model that pauses longer does not resume. While a tool works,
    this and `FIRST_TOKEN_SECONDS` don't count"""
    TOOL_SECONDS: LessThanRun = 30
    """of one tool call; after it the model receives an error: the tool did not answer. An agent with a larger
    limit of its own is listed as not available"""
    REQUEST_DAYS: Whole = 30
    """for which a request waits for a person. Then it can no longer be answered"""
    TOOL_THREADS: Whole = 8
    """tools that run at the same time in ADK's thread pool. On the event loop, a blocking tool would stop
    every stream"""
    MODEL_CALLS: Whole = 25
    """of one run, which ends a tool loop. ADK's own limit is 500"""
    STREAMS_PER_MEMBER: Whole = 10
    """open streams of one member: more than a browser's connections"""
    SOCKETS_PER_MEMBER: Whole = 20
    """open sockets of one member at one process. Each visible tab holds one; a hidden tab
    releases it, unless it waits for an answer or shows notifications"""
    RUNS_PER_MEMBER: Whole = 5
    """active runs of one member"""
    UNSENT_MAX_BYTES: Annotated[Whole, Field(ge=1024)] = 256 * 1024
    """unsent bytes of one connection: 256 KiB. Frames are sent in pieces of at most half of it, and the
    kernel's buffer is set to a quarter. By default the kernel buffers 4 MB for a reader that has stopped"""
    STALL_SECONDS: Number = 30
    """a connection whose reader reads nothing for this long is closed. The reader may resume"""
    LIVE_SECONDS: Number = 1800
    """of one call: half an hour. Providers end a session on their side, too, and Parley resumes it"""
    LIVE_IDLE_SECONDS: Number = 300
    """a call in which neither side has said anything for this long ends"""
    LIVE_MINUTES_A_DAY: WholeOrZero = 60
    """of sound, of both sides together, in one member's calls of the last 24 hours. `0` is no limit"""
    CONTEXT_EVENTS: Annotated[Whole, Field(ge=200)] = 400
    """maximum of ADK events that a run starts from: whole runs, newest first. At least 200"""
    CONTEXT_TOKENS: Annotated[Whole, Field(ge=1000)] = 200_000
    """the same maximum in tokens, counted as four characters of JSON each"""
    DRAIN_SECONDS: Number = 60
    """time for active replies to finish when the server is asked to end; after it they are handed over"""

    # --- deletion ------------------------------------------------------------------------------------

    DELETED_DAYS: Annotated[Number, Field(le=DAYS_MAX)] = 30
    """a deleted conversation leaves the database after this many days, and not before its owner's ten
    minutes to undo it have passed"""
    KEEP_DAYS: Annotated[DaysByAgent, "no agent: everything is kept"] = {}
    """conversations without activity for so many days are deleted, pinned ones too:
    `{"agent": 365, "*": 730}`, where `*` is for the agents that are not named"""

    # --- the audit -----------------------------------------------------------------------------------

    AUDIT_KEY_FILE: Annotated[Path | None, "`DATA_DIR/audit.key`, made on first use"] = None
    """file with the secret that chains the rows of the audit; one for all servers of an installation"""
    AUDIT_DAYS: Annotated[Number, Field(ge=1, le=DAYS_MAX)] = 730
    """rows of the audit that are older are removed, in whole segments of 1,000"""

    # --- timers --------------------------------------------------------------------------------------

    HEARTBEAT_SECONDS: Annotated[Number, Field(ge=0.05)] = 5
    """interval at which a process renews its heartbeat, and looks for runs of dead processes"""
    DEAD_AFTER_SECONDS: Annotated[Number, Field(ge=0.2)] = 20
    """a process without a heartbeat for this long is dead. At least three heartbeats: a late one is no
    death"""
    QUEUED_MAX_SECONDS: Number = 5
    """a run that waited this long for its process is taken up by any other"""
    STREAM_HEARTBEAT_SECONDS: Annotated[Number, Field(ge=0.05)] = 15
    """at the latest after this much silence a comment is sent. Proxies close a connection that is silent for
    60 s"""
    JOURNAL_SECONDS: Number = 0.025
    """text that arrives within this time is one commit. A smaller value costs commits, a larger one is
    visible"""
    COALESCE_SECONDS: Annotated[Number, Field(le=0.1)] = 0.1
    """with more than eight runs in a process, the chunks of a model call gather for up to this time before
    ADK reads them; 0 turns that off"""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_blank(cls, values: dict[str, str]) -> dict[str, str]:
        return {name: text for name, value in values.items() if (text := value.strip())}

    @field_validator("TRUSTED_PROXIES")
    @classmethod
    def _some_addresses(cls, networks: list[IPv4Network | IPv6Network]) -> list[IPv4Network | IPv6Network]:
        if any(network.prefixlen == 0 for network in networks):
            raise ValueError("TRUSTED_PROXIES must not list every address: clients could name any as theirs.")
        return networks

    @field_validator("LOG_LEVEL")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
            raise ValueError(f"LOG_LEVEL must be a level of Python's logging, not {value.upper()!r}.")
        return value.upper()

    @field_validator("AGENT_NAME")
    @classmethod
    def _name_for_adk(cls, value: str) -> str:
        if not value.isidentifier() or value == "user":
            raise ValueError("AGENT_NAME must be a Python identifier other than 'user'.")
        return value

    @field_validator("AGENTS_DIR", mode="before")
    @classmethod
    def _folder_of_agents(cls, value: str) -> Path:
        try:
            path = Path(value).expanduser().resolve()
            is_there = path.is_dir() and os.access(path, os.R_OK | os.X_OK)
        except (OSError, RuntimeError, ValueError):
            is_there = False
        if not is_there:
            raise ValueError(f"AGENTS_DIR must be a folder that can be read, not {value!r}.")
        if (path / "agent.py").exists():
            raise ValueError("AGENTS_DIR is one agent's own folder: it must be the folder above it.")
        return path


def read_environment() -> Environment:
    """Add the lines of the file ENV_FILE to the environment, and return the settings in it.

    Raises ImproperlyConfigured with one sentence, which names the file's line or the variable.
    """
    file = Path(os.environ.get("ENV_FILE", "").strip() or BASE_DIR / ".env")
    _add_lines(file)
    for name in OF_LITELLM:
        os.environ.setdefault(name, "True")
    try:
        return Environment(ENV_FILE=str(file))
    except ValidationError as error:
        # from None: a traceback would have the values, such as passwords
        raise ImproperlyConfigured(_sentence(error.errors()[0])) from None


def _add_lines(path: Path) -> None:
    """Add the lines of ``path``, if it exists, to the environment. Variables that are set already win."""
    try:
        if not path.exists():
            return
        with path.open(encoding="utf-8") as file:
            wrong = [line.original.line for line in parse_stream(file) if line.error]
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{path} cannot be read ({error}).") from error
    if wrong:
        raise ImproperlyConfigured(f"{path}, line {wrong[0]}: it should be NAME=value.")
    load_dotenv(path, override=False, encoding="utf-8")


def _sentence(error: ErrorDetails) -> str:
    name, value, context = str(error["loc"][0]), error["input"], error.get("ctx", {})
    field = Environment.model_fields[name]
    bounds = [each.ge for each in field.metadata if isinstance(each, Ge)]
    if error["type"] == "less_than_equal":
        return f"{name} must be at most {context['le']}, not {int(value)}."
    if sentence := str(context.get("error", "")):
        return sentence
    if bounds:  # the field's own is after the one of its type
        kind = "whole number" if field.annotation is int else "number"
        return f"{name} must be a {kind} of at least {bounds[-1]}, not {value!r}."
    if error["type"] == "literal_error":
        return f"{name} must be {context['expected']}, not {value!r}."
    return f"{name}: {error['msg']}."


def python_environment() -> dict[str, str]:
    """Return the variables that a Python process needs to start; no keys or passwords are among them."""
    return {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith(OF_PYTHON)}
