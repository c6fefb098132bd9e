"""The settings and the nginx configuration of docs/operations.md, with a real nginx before a real Parley."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.test_operations import documented_environment
from tests.support.gemini import Gemini, Hold, Text
from tests.support.live import PASSWORD, LiveServer
from tests.support.nginx import HINT, nginx
from tests.support.proxy import SITE, Nginx, Visitor
from tests.support.sse_client import terminal_of, text_of

pytestmark = [pytest.mark.any_database, pytest.mark.skipif(not nginx(), reason=HINT)]

MEBIBYTE = 1024 * 1024
WRONG = "not the password"
INVENTED = "203.0.113.77"
METRICS = "    location = /metrics {\n        return 404;\n    }\n"


@pytest.fixture(scope="module")
def server(gemini_server: Gemini, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start Parley with the documented settings, without services missing here. Sign-up is open."""
    documented = {k: v for k, v in documented_environment().items() if k != "DATA_DIR"}
    documented |= {"EMAIL_HOST": "", "GOOGLE_API_KEY": "not-a-key", "SIGNUP": "open"}
    folder = tmp_path_factory.mktemp("parley")
    server = LiveServer(folder, None, GOOGLE_GEMINI_BASE_URL=gemini_server.url, **documented)
    yield server.prepare().start()
    server.kill()


@pytest.fixture(scope="module")
def site(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    proxy = Nginx(tmp_path_factory.mktemp("nginx") / "prefix", server).start()
    yield proxy
    proxy.stop()


# --- streams and sockets ------------------------------------------------------------------------------


def test_text_arrives_while_the_reply_is_being_written(site: Nginx, gemini: Gemini) -> None:
    gemini.on("slow", [Text("half"), Hold(), Text(" and half")])
    with site.member("alice", "127.0.0.2").ask("slow") as stream:
        seen = stream.until("text")
        assert text_of(seen) == "half"
        gemini.release()
        seen += stream.all_events()
    assert text_of(seen) == "half and half"
    assert terminal_of(seen).name == "run.completed"


def test_the_socket_works(site: Nginx, gemini: Gemini) -> None:
    gemini.on("Hello", [Text("Hello yourself")])
    bob = site.member("bob", "127.0.0.3")
    with bob.socket() as socket:
        with bob.ask("Hello") as stream:
            stream.all_events()
        frame = json.loads(socket.recv(timeout=20))
    assert frame["type"] == "conversation"


def test_plain_http_is_redirected_to_https(site: Nginx) -> None:
    answer = httpx.get(f"http://127.0.0.1:{site.plain_port}/chat/?list=x", headers={"Host": SITE})
    assert (answer.status_code, answer.headers["Location"]) == (301, f"https://{SITE}/chat/?list=x")


def test_parley_knows_that_the_client_speaks_https(site: Nginx) -> None:
    answer = site.visitor("127.0.0.2").http.get("/accounts/login/")
    assert answer.status_code == 200
    assert "Strict-Transport-Security" in answer.headers
    assert "Secure" in answer.headers["Set-Cookie"]


# --- lockouts -----------------------------------------------------------------------------------------


def sign_in(visitor: Visitor, login: str, password: str, **headers: str) -> bool:
    """Sign in on the page. Return False if the account is locked after too many wrong passwords."""
    if "csrftoken" not in visitor.http.cookies:
        visitor.http.get("/accounts/login/")
    form = {"login": login, "password": password}
    answer = visitor.http.post("/accounts/login/", data=form, headers=visitor.headers() | headers)
    if answer.status_code == 302:
        return True
    refusal = "is wrong" if password == WRONG else "Too many wrong passwords"
    assert refusal in answer.text
    return False


def fail_ten_times(visitor: Visitor, *forwarded: str) -> None:
    """Fail ten sign-ins, each with another name (names have a limit too) and the next of these headers."""
    for n in range(10):
        headers = {"X-Forwarded-For": forwarded[n % len(forwarded)]} if forwarded else {}
        assert not sign_in(visitor, f"nobody {n} at {visitor.source}", WRONG, **headers)


def test_ten_wrong_passwords_lock_out_their_own_client_only(site: Nginx) -> None:
    site.member("carol", "127.0.0.4")
    guessing, other = site.visitor("127.0.0.10"), site.visitor("127.0.0.11")
    fail_ten_times(guessing)
    assert not sign_in(guessing, "carol", PASSWORD)
    assert sign_in(other, "carol", PASSWORD)


def test_a_forged_address_does_not_evade_the_lockout(site: Nginx) -> None:
    site.member("dora", "127.0.0.4")
    guessing = site.visitor("127.0.0.12")
    fail_ten_times(guessing, *(f"203.0.113.{n}" for n in range(10)))
    assert not sign_in(guessing, "dora", PASSWORD, **{"X-Forwarded-For": INVENTED})


@pytest.mark.parametrize(
    ("source", "victim", "header"),
    [
        ("127.0.0.13", "127.0.0.14", "127.0.0.14"),
        ("127.0.0.15", "127.0.0.16", "127.0.0.16, 127.0.0.1"),
    ],
)
def test_a_forged_address_locks_out_no_other_client(
    site: Nginx, source: str, victim: str, header: str
) -> None:
    name = f"erin{source.rpartition('.')[2]}"
    site.member(name, "127.0.0.5")
    fail_ten_times(site.visitor(source), header)
    assert sign_in(site.visitor(victim), name, PASSWORD)
    assert not sign_in(site.visitor(source), name, PASSWORD)


def test_a_forged_address_is_not_logged(site: Nginx, server: LiveServer) -> None:
    visitor = site.visitor("127.0.0.21")
    for header in (INVENTED, f"{INVENTED}, 127.0.0.1", "canary"):
        assert not sign_in(visitor, "nobody", WRONG, **{"X-Forwarded-For": header})
    assert "accounts/login/" in server.output()
    for word in (INVENTED, "canary"):
        assert word not in server.output()


def test_links_in_e_mails_use_the_public_name_whatever_the_requested_port(
    site: Nginx, server: LiveServer
) -> None:
    site.member("grace", "127.0.0.8")
    visitor = site.visitor("127.0.0.24")
    visitor.http.get("/accounts/login/")
    headers = visitor.headers() | {"Host": f"{SITE}:8081"}
    form = {"email": "grace@example.org"}
    assert visitor.http.post("/accounts/password/reset/", data=form, headers=headers).status_code == 302
    [letter] = (server.data_dir / "mail").iterdir()
    assert f"https://{SITE}/accounts/password/reset/key/" in letter.read_text()


# --- limits of requests -------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "in chunks"])
def test_a_body_over_parleys_limit_gets_parleys_own_refusal(site: Nginx, chunked: bool) -> None:
    frank = site.member(f"frank{chunked}", "127.0.0.6")
    body = b'{"query": "' + b"x" * MEBIBYTE + b'"}'
    headers = {"Content-Type": "application/json"} | frank.headers()
    answer = frank.http.post("/chat/stream", content=iter([body]) if chunked else body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_a_far_larger_body_does_not_reach_parley(site: Nginx) -> None:
    answer = site.visitor("127.0.0.6").http.post("/chat/stream", content=b"x" * (2 * MEBIBYTE + 1))
    assert answer.status_code == 413
    assert "X-Request-ID" not in answer.headers


# --- metrics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/metrics", "/%6detrics", "/chat/../metrics"])
def test_nginx_does_not_serve_the_metrics(site: Nginx, server: LiveServer, address: str) -> None:
    for source in ("127.0.0.1", "127.0.0.7"):
        answer = site.visitor(source).http.get(address)
        assert (answer.status_code, "parley_info" in answer.text) == (404, False)
    assert httpx.get(f"{server.url}/metrics").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Forwarded-For": ""}], ids=str)
def test_parley_itself_refuses_metrics_through_a_proxy(
    server: LiveServer, tmp_path: Path, headers: dict[str, str]
) -> None:
    site = Nginx(tmp_path / "prefix", server, without=METRICS).start()
    try:
        answer = site.visitor("127.0.0.1").http.get("/metrics", headers=headers)
    finally:
        site.stop()
    assert (answer.status_code, "parley_info" in answer.text) == (404, False)
    assert "X-Request-ID" in answer.headers
