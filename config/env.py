"""Readers of environment variables, whose errors name the variable and what it should be."""

import os
import secrets
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from dotenv import load_dotenv
from dotenv.parser import parse_stream

from accounts.secret_file import create_secret_file

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}

OF_PYTHON = ("PYTHON", "LD_", "DYLD_")
_read: set[str] = set()  # names of the variables that have been read: Parley's own


def load(path: Path) -> None:
    """Add the lines of ``path``, if it exists, to the environment. Variables that are set already win.

    Raises ImproperlyConfigured for a file that cannot be read, or a line that is not NAME=value.
    """
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


def python_environment() -> dict[str, str]:
    """Return the variables that a Python process needs to start; no keys or passwords are among them."""
    return {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith(OF_PYTHON)}


def own_variables() -> frozenset[str]:
    """Return the names of the variables that were read so far: Parley's own."""
    return frozenset(_read)


def string(name: str, default: str = "") -> str:
    _read.add(name)
    return os.environ.get(name, "").strip() or default


def flag(name: str, default: bool) -> bool:
    value = string(name).lower()
    if not value:
        return default
    if value not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} must be 'on' or 'off', not {value!r}.")
    return value in TRUE


def number(name: str, default: float, *, least: float = 0) -> float:
    value = string(name)
    if not value:
        return default
    try:
        parsed = float(value)
    except ValueError:
        parsed = float("nan")
    if not least <= parsed < float("inf"):
        raise ImproperlyConfigured(f"{name} must be a number of at least {least}, not {value!r}.")
    return parsed


def integer(name: str, default: int, *, least: int = 0) -> int:
    value = string(name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 16 and int(value) >= least):
        raise ImproperlyConfigured(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return int(value)


def port(name: str, default: int) -> int:
    value = integer(name, default, least=1)
    if value > 65535:
        raise ImproperlyConfigured(f"{name} must be at most 65535, not {value}.")
    return value


def url(name: str, default: str = "", *, schemes: tuple[str, ...]) -> str:
    """Return a URL with one of these schemes and, if it has a port, a valid one."""
    value = string(name, default)
    try:
        parts = urlsplit(value)
        well_formed = parts.port is None or parts.port > 0
    except ValueError:
        well_formed = False
    if value and not (well_formed and parts.scheme in schemes):
        begins = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ImproperlyConfigured(f"{name} must be an address that begins with {begins}.")
    return value


def choice(name: str, default: str, *, choices: tuple[str, ...]) -> str:
    value = string(name, default).lower()
    if value not in choices:
        allowed = " or ".join(repr(each) for each in choices)
        raise ImproperlyConfigured(f"{name} must be {allowed}, not {value!r}.")
    return value


def strings(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in string(name, default).split(",") if part.strip()]


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """Return addresses and networks (``10.0.0.7, 10.1.0.0/16``); IPv4-mapped IPv6 becomes IPv4."""
    try:
        return [_unmapped(ip_network(each)) for each in strings(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must name addresses or networks: {error}.") from error


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


def data_dir(name: str, default: Path) -> Path:
    """Return the folder for everything that Parley stores; create it with mode 0700 if it is missing.

    Raises ImproperlyConfigured if it cannot be created or written.
    """
    path = Path(string(name, str(default)))
    try:
        path = path.expanduser().resolve()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"{name}: {path} cannot be made ({error.strerror}).") from error
    except (RuntimeError, ValueError) as error:  # such as "~" and the name of no user
        raise ImproperlyConfigured(f"{name}: {path} is not a folder's name ({error}).") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"{name}: {path} is not writable for this user.")
    return path


def folder(name: str) -> Path | None:
    """Return an existing folder, None if the variable is unset. Raises ImproperlyConfigured."""
    value = string(name)
    if not value:
        return None
    try:
        path = Path(value).expanduser().resolve()
        is_there = path.is_dir() and os.access(path, os.R_OK | os.X_OK)
    except (OSError, RuntimeError, ValueError):
        is_there = False
    if not is_there:
        raise ImproperlyConfigured(f"{name} must be a folder that can be read, not {value!r}.")
    return path


def secret(name: str, path: Path) -> str:
    """Return the value of ``name``, else of the file ``path``, created with mode 0600 on first use."""
    _read.add(name)
    value = os.environ.get(name, "").strip()
    if not value:
        value = _read_or_create_secret(path)
    if len(value) < 50 or value.startswith("django-insecure"):
        raise ImproperlyConfigured(f"{name} must be at least 50 random characters.")
    return value


def _read_or_create_secret(path: Path) -> str:
    try:
        if not path.exists():
            create_secret_file(path, secrets.token_urlsafe(64))
        return path.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be read or made ({error.strerror}).") from error
