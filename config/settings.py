"""Django's settings and Parley's own, made of the environment variables in config/environment.py."""

import os
import sqlite3
from email.utils import formataddr
from pathlib import Path
from urllib.parse import quote

import dj_database_url
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from accounts.secret_file import secret_from_file
from config import environment

BASE_DIR = environment.BASE_DIR
env = environment.read_environment()
ENV_FILE = env.ENV_FILE
# An agent's .env file cannot set these.
OWN_VARIABLES = frozenset(environment.Environment.model_fields)
# For render processes: they read hostile text, so they get no secrets.
PYTHON_ENVIRONMENT = environment.python_environment()

VERSION = "0.1.0"

# --- address and data folder --------------------------------------------------------------------

HOST = env.HOST
PORT = env.PORT
ON_LOOPBACK = HOST in {"127.0.0.1", "::1", "localhost"}

DATA_DIR = env.DATA_DIR
try:
    DATA_DIR = DATA_DIR.expanduser().resolve()
    DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
except OSError as error:
    raise ImproperlyConfigured(f"DATA_DIR: {DATA_DIR} cannot be made ({error.strerror}).") from error
except (RuntimeError, ValueError) as error:  # such as "~" and the name of no user
    raise ImproperlyConfigured(f"DATA_DIR: {DATA_DIR} is not a folder's name ({error}).") from error
if not os.access(DATA_DIR, os.W_OK | os.X_OK):
    raise ImproperlyConfigured(f"DATA_DIR: {DATA_DIR} is not writable for this user.")
try:
    SECRET_KEY = env.SECRET_KEY or secret_from_file(DATA_DIR / "secret.key", 64)
except OSError as error:
    raise ImproperlyConfigured(
        f"{DATA_DIR / 'secret.key'} cannot be read or made ({error.strerror})."
    ) from error
if len(SECRET_KEY) < 50 or SECRET_KEY.startswith("django-insecure"):
    raise ImproperlyConfigured("SECRET_KEY must be at least 50 random characters.")
SETUP_TOKEN_FILE = DATA_DIR / "setup-token"

DEBUG = env.DEBUG
ALLOWED_HOSTS = env.ALLOWED_HOSTS

# Behind a TLS proxy: secure cookies, HSTS, and the scheme as the proxy reports it.
HTTPS = env.HTTPS
CSRF_TRUSTED_ORIGINS = env.CSRF_TRUSTED_ORIGINS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # requested directly, not through the proxy
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
if HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# The proxies whose X-Forwarded-For is trusted (accounts/client_address.py).
TRUSTED_PROXIES = env.TRUSTED_PROXIES
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
    "chat.calls",
    "chat.files",
    "chat.memories",
    "chat.moderation",
    "allauth",
    "allauth.account",
    "channels",
    "csp",
    "config.apps.ParleyAdminConfig",
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
    "config.policy.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "chat.pages.time_zone.activate_time_zone",
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
                "accounts.context.accounts",
                "chat.pages.preferences.context",
            ]
        },
    }
]

# --- the database -------------------------------------------------------------------------------

# Older SQLite can corrupt a WAL file when a commit coincides with a checkpoint (config/__init__.py).
SQLITE_HAS_SAFE_WAL = sqlite3.sqlite_version_info >= (3, 51, 3)
DATABASE_POOL = env.DATABASE_POOL
DATABASE_URL = env.DATABASE_URL or f"sqlite:///{quote(str(DATA_DIR / 'parley.sqlite3'))}"
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
            "PRAGMA synchronous=FULL;PRAGMA journal_size_limit=67108864;"
            "PRAGMA secure_delete=ON;",  # deleted text is overwritten: chat/erasure.py
        },
        "CONN_MAX_AGE": None,  # opening one takes 0.7 ms
        # a file: with several threads an in-memory database fails with "table is locked"
        "TEST": {"NAME": DATA_DIR / f"test-{os.getpid()}.sqlite3"},
    }
else:
    DATABASES["default"] |= {
        "OPTIONS": {
            "pool": {
                "min_size": 1,
                "max_size": DATABASE_POOL,
                "timeout": 2,  # seconds for a free connection; then requests get 503, and runs retry
                "reconnect_timeout": 4,  # by default retries are up to 2 min apart, even after it is back
            },
            "connect_timeout": 10,
        },
        "CONN_HEALTH_CHECKS": True,  # else every pooled connection fails once after a restart
    }

# --- between processes --------------------------------------------------------------------------

REDIS_URL = env.REDIS_URL
REDIS_PREFIX = env.REDIS_PREFIX
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
PASSWORD_LENGTH = 10
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": PASSWORD_LENGTH},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Closed: accounts are created in the admin. The owner pays for every member's model calls.
SIGNUP_IS_OPEN = env.SIGNUP == "open"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "chat:home"

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # many installations have no mail server
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_LOGIN_ON_PASSWORD_RESET = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""  # by default the host's name: the sender is Parley already
ACCOUNT_FORMS = {
    "login": "accounts.labelled_forms.LoginForm",
    "signup": "accounts.labelled_forms.SignupForm",
    "add_email": "accounts.labelled_forms.AddEmailForm",
    "change_password": "accounts.labelled_forms.ChangePasswordForm",
    "set_password": "accounts.labelled_forms.SetPasswordForm",
    "reset_password": "accounts.labelled_forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.labelled_forms.ResetPasswordKeyForm",
    "reauthenticate": "accounts.labelled_forms.ReauthenticateForm",
}

EMAIL_HOST = env.EMAIL_HOST
EMAIL_PORT = env.EMAIL_PORT
EMAIL_HOST_USER = env.EMAIL_USER
EMAIL_HOST_PASSWORD = env.EMAIL_PASSWORD
EMAIL_USE_TLS = env.EMAIL_TLS
EMAIL_TIMEOUT = 10  # seconds; by default a mail server that hangs would block its caller for ever
DEFAULT_FROM_EMAIL = formataddr(("Parley", env.EMAIL_FROM)) if "<" not in env.EMAIL_FROM else env.EMAIL_FROM
if not EMAIL_HOST:  # without a mail server, e-mails are written to files
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = DATA_DIR / "mail"
WAITING_EMAIL_MINUTES = env.WAITING_EMAIL_MINUTES

# --- language, files, headers -------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]  # the languages that have a catalogue
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = "config.formats"

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
SERVESTATIC_KEEP_ONLY_HASHED_FILES = True  # no URL names the unhashed ones, which are half of all files
# What Django's storage in a folder needs; another storage has its own options.
FILES_IN_FOLDER = {
    "location": DATA_DIR / "files",
    "allow_overwrite": True,
    "file_permissions_mode": 0o600,
    "directory_permissions_mode": 0o700,
}
FOLDER_STORAGE = "django.core.files.storage.FileSystemStorage"
FILES_STORAGE = env.FILES_STORAGE or {"BACKEND": FOLDER_STORAGE, "OPTIONS": {}}
FILES_ARE_IN_FOLDER = FILES_STORAGE["BACKEND"] == FOLDER_STORAGE
FILES_TEMP_DIR = DATA_DIR / "files" / "tmp"
if FILES_ARE_IN_FOLDER:
    FILES_STORAGE = {**FILES_STORAGE, "OPTIONS": FILES_IN_FOLDER | FILES_STORAGE["OPTIONS"]}
    # Beside the stored files, which are moved to their place.
    FILES_TEMP_DIR = Path(FILES_STORAGE["OPTIONS"]["location"]) / "tmp"
else:
    try:
        import_string(FILES_STORAGE["BACKEND"])
    except ImportError as error:
        raise ImproperlyConfigured(f"FILES_STORAGE: the BACKEND cannot be imported ({error}).") from error
STORAGES = {
    "default": {"BACKEND": FOLDER_STORAGE},
    "staticfiles": {"BACKEND": "config.static.StaticStorage"},
    "files": FILES_STORAGE,
}

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],  # blob: a picture before it is sent
        "media-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["server-html"],
    }
}

# --- the agent ----------------------------------------------------------------------------------

GOOGLE_API_KEY = env.GOOGLE_API_KEY or env.GEMINI_API_KEY
USE_VERTEX = env.GOOGLE_GENAI_USE_VERTEXAI or env.GOOGLE_GENAI_USE_ENTERPRISE
CHAT_MODEL = env.CHAT_MODEL
CHAT_API_BASE = env.CHAT_API_BASE
CHAT_API_KEY = env.CHAT_API_KEY
AGENT_NAME = env.AGENT_NAME
AGENT_DESCRIPTION = env.AGENT_DESCRIPTION
AGENT_INSTRUCTION = env.AGENT_INSTRUCTION
AGENT_TEMPERATURE = env.AGENT_TEMPERATURE
AGENT_MAX_OUTPUT_TOKENS = env.AGENT_MAX_OUTPUT_TOKENS
AGENT_SHOWS_THOUGHTS = env.AGENT_SHOWS_THOUGHTS
AGENTS_DIR = env.AGENTS_DIR
AGENT_LOAD_SECONDS = env.AGENT_LOAD_SECONDS
MEMORY_SERVICE_URI = env.MEMORY_SERVICE_URI
ARTIFACT_SERVICE_URI = env.ARTIFACT_SERVICE_URI
ALLOW_LOCAL_CODE = env.ALLOW_LOCAL_CODE
APPROVERS = env.APPROVERS
TITLES = env.TITLES
DEMO_DELAY_SECONDS = env.DEMO_DELAY_SECONDS
LIVE = env.LIVE
LIVE_MODEL = env.LIVE_MODEL
LIVE_STT = env.LIVE_STT
LIVE_TTS = env.LIVE_TTS

# --- limits -------------------------------------------------------------------------------------

LIMITS = env.LIMITS
if not LIMITS and not ON_LOOPBACK:
    raise ImproperlyConfigured("LIMITS=off is refused unless HOST is a loopback address.")
MESSAGE_MAX_BYTES = env.MESSAGE_MAX_BYTES
BODY_MAX_BYTES = env.BODY_MAX_BYTES
FILE_MAX_BYTES = env.FILE_MAX_BYTES
FILES_QUOTA_BYTES = env.FILES_QUOTA_BYTES
REPLY_MAX_BYTES = env.REPLY_MAX_BYTES
RENDER_SECONDS = env.RENDER_SECONDS
FIRST_TOKEN_SECONDS = env.FIRST_TOKEN_SECONDS
SILENCE_SECONDS = env.SILENCE_SECONDS
RUN_SECONDS = env.RUN_SECONDS
TOOL_SECONDS = env.TOOL_SECONDS
REQUEST_DAYS = env.REQUEST_DAYS
TOOL_THREADS = env.TOOL_THREADS
MODEL_CALLS = env.MODEL_CALLS
STREAMS_PER_MEMBER = env.STREAMS_PER_MEMBER
SOCKETS_PER_MEMBER = env.SOCKETS_PER_MEMBER
RUNS_PER_MEMBER = env.RUNS_PER_MEMBER
UNSENT_MAX_BYTES = env.UNSENT_MAX_BYTES
STALL_SECONDS = env.STALL_SECONDS
LIVE_SECONDS = env.LIVE_SECONDS
LIVE_IDLE_SECONDS = env.LIVE_IDLE_SECONDS
LIVE_MINUTES_A_DAY = env.LIVE_MINUTES_A_DAY
CONTEXT_EVENTS = env.CONTEXT_EVENTS
CONTEXT_TOKENS = env.CONTEXT_TOKENS
DRAIN_SECONDS = env.DRAIN_SECONDS

METRICS_ALLOW = env.METRICS_ALLOW

HEARTBEAT_SECONDS = env.HEARTBEAT_SECONDS
DEAD_AFTER_SECONDS = env.DEAD_AFTER_SECONDS
if DEAD_AFTER_SECONDS < 3 * HEARTBEAT_SECONDS:
    raise ImproperlyConfigured("DEAD_AFTER_SECONDS must be at least three times HEARTBEAT_SECONDS.")
DELETED_DAYS = env.DELETED_DAYS
KEEP_DAYS = env.KEEP_DAYS
AUDIT_KEY_FILE = env.AUDIT_KEY_FILE or DATA_DIR / "audit.key"
AUDIT_DAYS = env.AUDIT_DAYS
QUEUED_MAX_SECONDS = env.QUEUED_MAX_SECONDS
STREAM_HEARTBEAT_SECONDS = env.STREAM_HEARTBEAT_SECONDS
JOURNAL_SECONDS = env.JOURNAL_SECONDS
COALESCE_SECONDS = env.COALESCE_SECONDS

# The request parser has stricter limits of its own; these let a body reach it.
DATA_UPLOAD_MAX_MEMORY_SIZE = BODY_MAX_BYTES

# --- logs: to stderr, never a query string or a message text (chat/instruments/logs.py) -----------

LOG_LEVEL = env.LOG_LEVEL
LOG_FORMAT = env.LOG_FORMAT

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
