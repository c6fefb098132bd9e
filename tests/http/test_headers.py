"""Status, headers and cookies of every route, as recorded in ``headers.json``.

``UPDATE_HEADERS=1 pytest tests/http/test_headers.py`` records them again, after a change that is wanted.
"""

import json
import os
import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.live import LiveServer, Member
from tests.test_strangers import POLICY

RECORDED = Path(__file__).parent / "headers.json"
METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")
STATIC = ("static/chat/main.js", "static/chat/none.js", "static/")
MISSING = ("nothing/", "chat", "admin/nothing/", "api/v1/nothing", "%FF")
# Their values differ each time, or with the text of the answer.
ONLY_NAMED = {"content-length", "date", "last-modified", "expires", "x-request-id", "etag"}
UNORDERED = {"allow", "cache-control", "vary"}  # sets, in another order in each process
FILE_SIZE = re.compile(r"(?<=^bytes 2-9/)\d+$")  # of Content-Range: it changes with each edit of the file
WORKLET = re.compile(r"127\.0\.0\.1:\d+(/static/chat/live/worklet\.)\w+\.js")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STATIC_ASKS = {
    "GET plain": {"Accept-Encoding": "identity"},
    "GET compressed": {"Accept-Encoding": "gzip, br"},
    "GET a range": {"Accept-Encoding": "identity", "Range": "bytes=2-9"},
    "GET if new": {"Accept-Encoding": "identity", "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    "HEAD plain": {"Accept-Encoding": "identity"},
    "POST plain": {"Accept-Encoding": "identity"},
}
STREAMS = {"chat/stream": {"Accept": "text/event-stream"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    started = LiveServer(tmp_path_factory.mktemp("headers"), LIMITS="off").prepare().start()
    yield started
    started.stop()


def described(answer: httpx.Response) -> dict[str, Any]:
    """Return what is compared of an answer: no text, and no value that is new each time."""
    headers = {
        name.lower(): "" if name.lower() in ONLY_NAMED else UUID.sub("ID", value)
        for name, value in answer.headers.items()
        if name.lower() not in ("set-cookie", "location", "content-security-policy")
    }
    for name in UNORDERED & headers.keys():
        headers[name] = ", ".join(sorted(headers[name].split(", ")))
    if span := headers.get("content-range"):
        headers["content-range"] = FILE_SIZE.sub("SIZE", span)
    policy = answer.headers.get("content-security-policy", "")
    if policy:  # its parts are in another order in each process
        policy = WORKLET.sub(r"HOST\1HASH.js", re.sub(r"'nonce-[^']+'", "'nonce'", policy))
        parts = [sorted(part.split()) for part in policy.split(";")]
        headers["content-security-policy"] = "; ".join(sorted(" ".join(part) for part in parts))
    if place := answer.headers.get("location"):
        headers["location"] = UUID.sub("ID", place)
    cookies = {}
    for line in answer.headers.get_list("set-cookie"):
        for name, morsel in SimpleCookie(line).items():
            kept = {key: value for key, value in morsel.items() if value and key != "expires"}
            cookies[name] = {**kept, "is_set": bool(morsel.value)}
    return {"status": answer.status_code, "headers": dict(sorted(headers.items())), "cookies": cookies}


def walk(server: LiveServer) -> dict[str, Any]:
    alice, mona = server.member("alice"), server.member("mona")
    make_moderator = (
        "from accounts.models import User; from django.contrib.auth.models import Group; "
        "u = User.objects.get(username='mona'); u.is_staff = True; u.save(); "
        "u.groups.set(Group.objects.all())"
    )
    done = server.manage("shell", "-c", make_moderator)
    assert done.returncode == 0, done.stderr
    with alice.ask("What time is it?") as stream:
        events = stream.all_events()
    conversation, run = events[0].json()["conversation"], events[0].run
    messages = alice.http.get(f"/api/v1/conversations/{conversation}").json()["messages"]["items"]
    ids = {"conversation": conversation, "run": run, "message": messages[-1]["id"], "seq": "1"}
    found: dict[str, Any] = {}
    for who, member in {"nobody": Member(server.url), "alice": alice, "mona": mona}.items():
        for route in (*POLICY, *STATIC, *MISSING):
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: ids.get(name[1], "unknown"), route)
            if who == "alice" and route in ("accounts/logout/", "chat/<str:conversation>/delete/"):
                continue
            for method in METHODS:
                if who == "alice" and (method, route) == ("POST", "chat/stream"):
                    continue  # it is asked above
                answer = member.http.request(
                    method, f"/{path}", headers={"Accept-Encoding": "identity", **STREAMS.get(route, {})}
                )
                found[f"{who} {method} /{route}"] = described(answer)
        script = re.findall(r'"(/static/chat/main\.\w+\.js)"', alice.http.get("/").text)[0]
        for name, asked in STATIC_ASKS.items():
            answer = member.http.request(name.split()[0], script, headers=asked)
            found[f"{who} {name} of a static file"] = described(answer)
        if who == "mona":
            continue
        with_token = {"X-CSRFToken": member.http.cookies.get("csrftoken") or ""}
        for route in ("api/v1/queued/<queued>", "chat/runs/<str:run>/stop", "chat/<str:conversation>/stop/"):
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: ids.get(name[1], "unknown"), route)
            for method in ("POST", "DELETE"):
                answer = member.http.request(method, f"/{path}", headers=with_token, data={"run": run})
                found[f"{who} {method} /{route} with the token"] = described(answer)
    return found


def record(found: dict[str, Any]) -> None:
    """Write each different answer once, and the number of its answer for each route."""
    answers: list[Any] = []
    for each in found.values():
        if each not in answers:
            answers.append(each)
    routes = {route: answers.index(each) for route, each in sorted(found.items())}
    RECORDED.write_text(json.dumps({"answers": answers, "routes": routes}, indent=1) + "\n")


def test_status_headers_and_cookies_of_every_route_are_the_recorded_ones(server: LiveServer) -> None:
    found = walk(server)
    if os.environ.get("UPDATE_HEADERS"):
        record(found)
    stored = json.loads(RECORDED.read_text())
    recorded = {route: stored["answers"][number] for route, number in stored["routes"].items()}
    assert found.keys() == recorded.keys()
    different = {key: (recorded[key], found[key]) for key in found if found[key] != recorded[key]}
    assert different == {}
