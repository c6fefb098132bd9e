"""Every setting of Parley, read from the environment, which overrides the file .env.

docs/settings.md lists the variables; a test compares the two.
"""

import os
import sqlite3
import sys
from pathlib import Path
from urllib.parse import quote

import dj_database_url
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from config import env

BASE_DIR = Path(__file__).resolve().parent.parent
ENV_FILE = Path(env.string("ENV_FILE", str(BASE_DIR / ".env")))
env.load(ENV_FILE)

VERSION = "0.1.0"

# --- address and data folder --------------------------------------------------------------------

HOST = env.string("HOST", "127.0.0.1")
PORT = env.port("PORT", 8000)
ON_LOOPBACK = HOST in {"127.0.0.1", "::1", "localhost"}

DATA_DIR = env.data_dir("DATA_DIR", BASE_DIR / "var")
SECRET_KEY = env.secret("SECRET_KEY", DATA_DIR / "secret.key")
SETUP_TOKEN_FILE = DATA_DIR / "setup-token"

DEBUG = env.flag("DEBUG", False)
ALLOWED_HOSTS = env.strings(
    "ALLOWED_HOSTS", f"localhost,127.0.0.1,[::1],{f'[{HOST}]' if ':' in HOST else HOST}"
)

# Behind a TLS proxy: secure cookies, HSTS, and the scheme as the proxy reports it.
HTTPS = env.flag("HTTPS", False)
CSRF_TRUSTED_ORIGINS = env.strings("CSRF_TRUSTED_ORIGINS")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # requested directly, not through the proxy
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
if HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# The proxies whose X-Forwarded-For is trusted (accounts/client_address.py).
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
if any(network.prefixlen == 0 for network in TRUSTED_PROXIES):
    raise ImproperlyConfigured(
        "TRUSTED_PROXIES must not list every address: clients could name any as theirs."
    )
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    "security.W003",  # it does not recognise chat.http.middleware.CheckCsrf, a subclass of Django's
    # HSTS for subdomains and preloading are decisions of the domain's owner, made at the proxy.
    "security.W005",
    "security.W021",
]

# --- the parts ----------------------------------------------------------------------------------

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "accounts",
    "chat",
    "allauth",
    "allauth.account",
    "channels",
    "csp",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

# Every one of them is async capable (checked by chat.E001): a sync-only middleware would move
# the whole chain to a thread, and streams with it.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "config.policy.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "chat.http.middleware.RequireSignIn",
    # after RequireSignIn: a visitor without a token is sent to the sign-in page too
    "chat.http.middleware.CheckCsrf",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "chat.http.middleware.AnswerRefusals",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context.sign_up",
                "chat.pages.preferences.context",
            ]
        },
    }
]

# --- the database -------------------------------------------------------------------------------

# Older SQLite can corrupt a WAL file when a commit coincides with a checkpoint (config/__init__.py).
SQLITE_HAS_SAFE_WAL = sqlite3.sqlite_version_info >= (3, 51, 3)
DATABASE_URL = env.url(
    "DATABASE_URL",
    f"sqlite:///{quote(str(DATA_DIR / 'parley.sqlite3'))}",
    schemes=("sqlite", "postgres", "postgresql"),
)
DATABASES = {"default": dict(dj_database_url.parse(DATABASE_URL))}
ON_SQLITE = DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3"
if ON_SQLITE:
    if DATABASES["default"]["NAME"] in {"", ":memory:"}:
        raise ImproperlyConfigured("DATABASE_URL must name a file: sqlite:////folder/name.sqlite3.")
    DATABASES["default"] |= {
        "OPTIONS": {
            "timeout": 20,  # with ten writers the longest wait was 3.4 s
            "transaction_mode": "IMMEDIATE",  # DEFERRED ones fail without waiting when they write
            "init_command": f"PRAGMA journal_mode={'WAL' if SQLITE_HAS_SAFE_WAL else 'DELETE'};"
            "PRAGMA synchronous=FULL;PRAGMA journal_size_limit=67108864;",
        },
        # a file: with several threads an in-memory database fails with "table is locked"
        "TEST": {"NAME": DATA_DIR / f"test-{os.getpid()}.sqlite3"},
    }
else:
    DATABASES["default"] |= {
        "OPTIONS": {
            "pool": {
                "min_size": 1,
                "max_size": env.integer("DATABASE_POOL", 10, least=6),
                "timeout": 2,  # seconds for a free connection; then requests get 503, and runs retry
                "reconnect_timeout": 4,  # by default retries are up to 2 min apart, even after it is back
            },
            "connect_timeout": 10,
        },
        "CONN_HEALTH_CHECKS": True,  # else every pooled connection fails once after a restart
    }

# --- between processes --------------------------------------------------------------------------

REDIS_URL = env.url("REDIS_URL", schemes=("redis", "rediss"))
REDIS_PREFIX = env.string("REDIS_PREFIX", "parley")
if REDIS_URL:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL], "prefix": REDIS_PREFIX},
        }
    }
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": REDIS_PREFIX,
            "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},  # then 503; by default 5 s each
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- accounts -----------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
SESSION_ENGINE = "accounts.sessions"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Closed: accounts are created in the admin. The owner pays for every member's model calls.
SIGNUP_IS_OPEN = env.choice("SIGNUP", "open", choices=("open", "closed")) == "open"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "chat:home"

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # many installations have no mail server
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PREVENT_ENUMERATION = True

EMAIL_HOST = env.string("EMAIL_HOST")
EMAIL_PORT = env.port("EMAIL_PORT", 587)
EMAIL_HOST_USER = env.string("EMAIL_USER")
EMAIL_HOST_PASSWORD = env.string("EMAIL_PASSWORD")
EMAIL_USE_TLS = env.flag("EMAIL_TLS", True)
DEFAULT_FROM_EMAIL = env.string("EMAIL_FROM", "parley@localhost")
if not EMAIL_HOST:  # without a mail server, e-mails are written to files
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = DATA_DIR / "mail"

# --- language, files, headers -------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]  # the languages that have a catalogue
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
SERVESTATIC_KEEP_ONLY_HASHED_FILES = True  # no URL names the unhashed ones, which are half of all files
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "config.static.StaticStorage"},
}

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["server-html"],
    }
}

# --- the agent ----------------------------------------------------------------------------------

GOOGLE_API_KEY = env.string("GOOGLE_API_KEY") or env.string("GEMINI_API_KEY")
USE_VERTEX = env.flag("GOOGLE_GENAI_USE_VERTEXAI", False) or env.flag("GOOGLE_GENAI_USE_ENTERPRISE", False)
CHAT_MODEL = env.string("CHAT_MODEL", "gemini-2.5-flash")
AGENT_NAME = env.string("AGENT_NAME", "chat_assistant")
if not AGENT_NAME.isidentifier() or AGENT_NAME == "user":
    raise ImproperlyConfigured("AGENT_NAME must be a Python identifier other than 'user'.")
AGENT_DESCRIPTION = env.string("AGENT_DESCRIPTION", "Helpful assistant with streaming responses")
AGENT_INSTRUCTION = env.string(
    "AGENT_INSTRUCTION",
    """You are a helpful, friendly assistant engaging in natural conversation.

Guidelines:
- Be conversational and engaging
- Provide detailed explanations when asked
- Ask clarifying questions if needed
- Remember conversation context
- Be concise for simple queries, detailed for complex ones""",
)
AGENT_TEMPERATURE = env.number("AGENT_TEMPERATURE", 0.7)
AGENT_MAX_OUTPUT_TOKENS = env.integer("AGENT_MAX_OUTPUT_TOKENS", 2048, least=1)
# Models before 2.5 refuse requests for thoughts.
AGENT_SHOWS_THOUGHTS = env.flag("AGENT_SHOWS_THOUGHTS", not CHAT_MODEL.startswith(("gemini-1", "gemini-2.0")))
# Folder of agents, in the layout of adk web (docs/agents.md).
AGENTS_DIR = env.folder("AGENTS_DIR")
if AGENTS_DIR and (AGENTS_DIR / "agent.py").exists():
    raise ImproperlyConfigured("AGENTS_DIR is one agent's own folder: it must be the folder above it.")
AGENT_LOAD_SECONDS = env.number("AGENT_LOAD_SECONDS", 20, least=0.1)
# Whether agents may run code and commands on this machine, confined (docs/agents.md).
ALLOW_LOCAL_CODE = env.flag("ALLOW_LOCAL_CODE", False)
# The demo model's pause between two words, so that the stream can be seen.
DEMO_DELAY_SECONDS = env.number("DEMO_DELAY_SECONDS", 0.03)

# --- limits: docs/settings.md has the reasons ---------------------------------------------------

LIMITS = env.flag("LIMITS", True)  # off: no per-member limits, for benchmarks and tests
if not LIMITS and not ON_LOOPBACK:
    raise ImproperlyConfigured("LIMITS=off is refused unless HOST is a loopback address.")
MESSAGE_MAX_BYTES = env.integer("MESSAGE_MAX_BYTES", 128 * 1024, least=1)  # enough for a pasted document
BODY_MAX_BYTES = env.integer("BODY_MAX_BYTES", 1024 * 1024, least=1024)
REPLY_MAX_BYTES = env.integer("REPLY_MAX_BYTES", 1024 * 1024, least=1)
RENDER_SECONDS = env.number("RENDER_SECONDS", 0.3, least=0.01)
PYTHON_ENVIRONMENT = (
    env.python_environment()
)  # of render processes: they read hostile text, so they get no secrets
FIRST_TOKEN_SECONDS = env.number("FIRST_TOKEN_SECONDS", 120)
SILENCE_SECONDS = env.number("SILENCE_SECONDS", 60)
RUN_SECONDS = env.number("RUN_SECONDS", 300)
TOOL_SECONDS = env.number("TOOL_SECONDS", 30)
TOOL_THREADS = env.integer("TOOL_THREADS", 8, least=1)
MODEL_CALLS = env.integer("MODEL_CALLS", 25, least=1)
STREAMS_PER_MEMBER = env.integer("STREAMS_PER_MEMBER", 10, least=1)
SOCKETS_PER_MEMBER = env.integer("SOCKETS_PER_MEMBER", 20, least=1)
RUNS_PER_MEMBER = env.integer("RUNS_PER_MEMBER", 5, least=1)
UNSENT_MAX_BYTES = env.integer("UNSENT_MAX_BYTES", 256 * 1024, least=1024)
STALL_SECONDS = env.number(
    "STALL_SECONDS", 30
)  # a connection whose client reads nothing for this long is closed
CONTEXT_EVENTS = env.integer("CONTEXT_EVENTS", 400, least=200)
CONTEXT_TOKENS = env.integer("CONTEXT_TOKENS", 200_000, least=1000)
DRAIN_SECONDS = env.number("DRAIN_SECONDS", 60)

METRICS_ALLOW = env.networks("METRICS_ALLOW")  # clients that may read /metrics, besides this machine

HEARTBEAT_SECONDS = env.number("HEARTBEAT_SECONDS", 5, least=0.05)
DEAD_AFTER_SECONDS = env.number("DEAD_AFTER_SECONDS", 20, least=0.2)
if DEAD_AFTER_SECONDS < 3 * HEARTBEAT_SECONDS:
    raise ImproperlyConfigured("DEAD_AFTER_SECONDS must be at least three times HEARTBEAT_SECONDS.")
QUEUED_MAX_SECONDS = env.number("QUEUED_MAX_SECONDS", 5)
STREAM_HEARTBEAT_SECONDS = env.number("STREAM_HEARTBEAT_SECONDS", 15, least=0.05)
JOURNAL_SECONDS = env.number("JOURNAL_SECONDS", 0.025)

# The request parser has stricter limits of its own; these let a body reach it.
DATA_UPLOAD_MAX_MEMORY_SIZE = BODY_MAX_BYTES
DATA_UPLOAD_MAX_NUMBER_FIELDS = 100

# --- logs: to stderr, never a query string or a message text (chat/instruments/logs.py) -----------

LOG_LEVEL = env.string("LOG_LEVEL", "WARNING").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
    raise ImproperlyConfigured(f"LOG_LEVEL must be a level of Python's logging, not {LOG_LEVEL!r}.")
# Text for a terminal, JSON for log collectors.
LOG_FORMAT = env.choice("LOG_FORMAT", "text" if sys.stderr.isatty() else "json", choices=("text", "json"))

# At DEBUG libraries log what they send and receive: whole prompts, SQL with its values, template
# contexts. So DEBUG applies only to Parley, and libraries stay at INFO.
OWN_LEVEL = "DEBUG" if LOG_LEVEL == "DEBUG" else "INFO"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "chat.instruments.logs.TextFormatter"},
        "json": {"()": "chat.instruments.logs.JsonFormatter"},
    },
    # A 503 refuses a request; it is no incident. A 500 has a log record of its own.
    "filters": {
        "incident": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 500) != 503,
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": "INFO" if LOG_LEVEL == "DEBUG" else LOG_LEVEL},
    "loggers": {
        "config": {"level": OWN_LEVEL},
        "chat": {"level": OWN_LEVEL},
        "accounts": {"level": OWN_LEVEL},
        "daphne": {"level": "WARNING"},
        # ADK logs each model failure twice with its traceback; Parley logs it once.
        "google_adk": {"level": "CRITICAL"},
        "google_genai": {"level": "ERROR"},
        "httpx": {"level": "WARNING"},  # at INFO it logs whole URLs, with the query strings of tools
        "django.request": {"level": "ERROR", "filters": ["incident"]},
        "django.security": {"level": "ERROR"},
    },
}

# The last line, after all variables were read. An agent's .env file cannot set them.
OWN_VARIABLES = env.own_variables()
