"""Real nginx with the configuration of docs/operations.md, and clients with different addresses."""

import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.support.docs import OPERATIONS, blocks
from tests.support.live import LiveServer, Member, free_port
from tests.support.nginx import nginx
from tests.support.waiting import until

SITE = "chat.example.org"
[CONFIGURATION] = blocks(OPERATIONS, "nginx")


class Nginx:
    """nginx with the documented configuration, but other ports, paths and certificate."""

    def __init__(self, folder: Path, server: LiveServer, without: str = "") -> None:
        """Create an nginx; ``without`` is a part of the configuration to omit."""
        self.folder = folder
        self.server = server
        self.port, self.plain_port = free_port(), free_port()
        self.without = without
        self.visitors: list[Visitor] = []

    def start(self) -> "Nginx":
        self.folder.mkdir()
        _make_certificate(self.folder)
        (self.folder / "nginx.conf").write_text(self._configuration())
        command = [
            str(nginx()),
            "-e",
            "stderr",
            "-p",
            str(self.folder),
            "-c",
            str(self.folder / "nginx.conf"),
        ]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: self.process.poll() is not None or _is_open(self.port), 30, self.log)
        assert self.process.poll() is None, self.log()
        return self

    def stop(self) -> None:
        for visitor in self.visitors:
            visitor.http.close()
        self.process.terminate()
        self.process.wait(30)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def _configuration(self) -> str:
        site = CONFIGURATION
        for documented, replacement in {
            "server 127.0.0.1:8000;": f"server 127.0.0.1:{self.server.port};",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{self.port} ssl http2;",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "/etc/ssl/chat.example.org.pem": f"{self.folder}/site.pem",
            "/etc/ssl/chat.example.org.key": f"{self.folder}/site.key",
            **({self.without: ""} if self.without else {}),
        }.items():
            assert site.count(documented) == 1, documented
            site = site.replace(documented, replacement)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in kinds)
        # A single process runs as this user and ends on one signal.
        return (
            f"daemon off;\nmaster_process off;\npid {self.folder}/pid;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{places}{site}\n}}\n"
        )

    @cached_property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "site.pem")

    def visitor(self, source: str) -> "Visitor":
        """Return an anonymous client that connects from this loopback address."""
        visitor = Visitor(self, source)
        self.visitors.append(
            visitor
        )  # a reference: without it, the client is closed while its response is read
        return visitor

    def member(self, name: str, source: str) -> "Visitor":
        visitor = self.visitor(source)
        visitor.sign_up(name)
        return visitor


class Visitor(Member):
    """Client of the site's public name, through nginx."""

    def __init__(self, through: Nginx, source: str) -> None:
        super().__init__(f"https://{SITE}", _Transport(through, source))
        self.http.headers["Origin"] = self.url  # as browsers send it
        self.through = through
        self.source = source

    def socket(self, after: int | None = None) -> Any:
        cookies = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        line = socket.create_connection(("127.0.0.1", self.through.port), source_address=(self.source, 0))
        return connect(
            f"wss://{SITE}/ws/" + ("" if after is None else f"?after={after}"),
            sock=line,
            ssl=self.through.tls,
            origin=Origin(self.url),
            additional_headers={"Cookie": cookies},
        )


class _Transport(httpx.HTTPTransport):
    """Transport from a loopback address to nginx for the public name."""

    def __init__(self, through: Nginx, source: str) -> None:
        super().__init__(verify=through.tls, local_address=source)
        self.port = through.port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        redirected = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1", port=self.port),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": SITE},
        )
        return super().handle_request(redirected)


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, SITE)])
    names = x509.SubjectAlternativeName([x509.DNSName(SITE), x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "site.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "site.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
