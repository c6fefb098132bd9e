"""Access by strangers: every route, its policy, and its answers to users who may not see the object."""

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from chat.memories.models import Memory
from chat.models import Conversation, Message, PersonRequest, QueuedAsk, Run
from chat.moderation.models import Decision
from chat.socket.routing import websocket_urlpatterns
from tests.support.client import Answer, Client
from tests.support.files import PNG
from tests.support.files import send as upload
from tests.support.gemini import Gemini, Text

PUBLIC, MEMBER, STAFF = "public", "member", "staff"
APPROVER = "approver"  # tests/waiting/test_approvers.py

# Each route and its policy. A missing route fails the build, and so does a stale row.
POLICY = {
    "": MEMBER,
    "chat/": MEMBER,
    "chat/stream": MEMBER,
    "chat/hits": MEMBER,
    "chat/<str:conversation>/": MEMBER,
    "chat/<str:conversation>/stop/": MEMBER,
    "chat/<str:conversation>/answer/": MEMBER,
    "chat/<str:conversation>/branch/": MEMBER,
    "chat/<str:conversation>/delete/": MEMBER,
    "chat/<str:conversation>/restore/": MEMBER,
    "chat/<str:conversation>/<str:message>/edit/": MEMBER,
    "chat/<str:conversation>/<str:message>/feedback/": MEMBER,
    "chat/<str:conversation>/<str:message>/text/": MEMBER,
    "files/<str:file>/<path:name>": MEMBER,
    "thumbnails/<str:file>": MEMBER,
    "waiting/": APPROVER,
    "waiting/<str:request_id>/": APPROVER,
    "account/data/": MEMBER,
    "account/memories/": MEMBER,
    "account/memories/<str:memory>/": MEMBER,
    "account/delete/": MEMBER,
    "account/delete/cancel/": MEMBER,
    "preferences/": MEMBER,
    "chat/runs/<str:run>/events": MEMBER,
    "chat/runs/<str:run>/stop": MEMBER,
    "chat/list/": MEMBER,
    "chat/<str:conversation>/files/": MEMBER,
    "chat/<str:conversation>/manage/": MEMBER,
    "chat/<str:conversation>/support/": MEMBER,
    "account/staff-access/": MEMBER,
    "account/what-staff-can-see/": MEMBER,
    "chat/<str:conversation>/<str:message>/report/": MEMBER,
    "account/reports/": MEMBER,
    "account/decisions/": MEMBER,
    "account/decisions/<str:decision>/appeal/": MEMBER,
    "account/decisions/<str:decision>/acknowledge/": MEMBER,
    "api/v1/messages/<message>/report": MEMBER,
    "api/v1/reports": MEMBER,
    "api/v1/decisions": MEMBER,
    "api/v1/decisions/<decision>/appeal": MEMBER,
    "api/v1/decisions/<decision>/acknowledge": MEMBER,
    "api/v1/": PUBLIC,
    "api/v1/openapi.json": PUBLIC,
    "api/v1/conversations": MEMBER,
    "api/v1/conversations/<conversation>": MEMBER,
    "api/v1/conversations/<conversation>/export": MEMBER,
    "api/v1/conversations/<conversation>/restore": MEMBER,
    "api/v1/conversations/<conversation>/artifacts": MEMBER,
    "api/v1/files": MEMBER,
    "api/v1/files/<file>": MEMBER,
    "api/v1/files/<file>/parts/<number>": MEMBER,
    "api/v1/messages/<message>/feedback": MEMBER,
    "api/v1/runs/<run>": MEMBER,
    "api/v1/queued/<queued>": MEMBER,
    "api/v1/queued/<queued>/send": MEMBER,
    "api/v1/search": MEMBER,
    "api/v1/memories": MEMBER,
    "api/v1/memories/<memory>": MEMBER,
    "api/v1/requests": APPROVER,
    "api/v1/requests/<request_id>/decision": APPROVER,
    "api/v1/agents": MEMBER,
    "manifest.webmanifest": PUBLIC,
    "favicon.ico": PUBLIC,
    "healthz": PUBLIC,
    "readyz": PUBLIC,
    "metrics": PUBLIC,  # only for this machine: tests/instruments/test_metrics.py
    "accounts/set-up/<str:token>/": PUBLIC,
    "accounts/login/": PUBLIC,
    "accounts/login/code/confirm/": PUBLIC,
    "accounts/logout/": PUBLIC,
    "accounts/signup/": PUBLIC,
    "accounts/inactive/": PUBLIC,
    "accounts/reauthenticate/": MEMBER,
    "accounts/email/": MEMBER,
    "accounts/confirm-email/": PUBLIC,
    "accounts/confirm-email/<key>/": PUBLIC,
    "accounts/password/change/": MEMBER,
    "accounts/password/set/": MEMBER,
    "accounts/password/reset/": PUBLIC,
    "accounts/password/reset/done/": PUBLIC,
    "accounts/password/reset/key/<uidb36>-<key>/": PUBLIC,
    "accounts/password/reset/key/done/": PUBLIC,
    "admin/": STAFF,
    "admin/instruments/": STAFF,
    "admin/agents/": STAFF,
    "admin/agents/<str:name>/": STAFF,
    "admin/open/<str:conversation>/": STAFF,
    "admin/open/<str:conversation>/files/<str:file>/<path:name>": STAFF,
    "admin/search/": STAFF,
    "admin/audit/": STAFF,
    "admin/audit/export/": STAFF,
    "admin/audit/<int:seq>/text/": STAFF,
    "admin/policy/": STAFF,
    "admin/moderation/figures/": STAFF,
    "admin/moderation/figures/export/": STAFF,
    "admin/watch/<str:run>/": STAFF,
    "admin/watch/<str:run>/events": STAFF,
    "admin/moderation/": STAFF,
    "admin/moderation/<str:item>/": STAFF,
    "admin/decide/<str:conversation>/": STAFF,
    "admin/members/<int:member>/decide/": STAFF,
    "admin/members/<int:member>/sign-in/": STAFF,
    "accounts/one-time/<str:token>/": PUBLIC,
}


# The same for sockets.
SOCKET_POLICY = {"ws/": MEMBER, "ws/live/<str:conversation>/": MEMBER, "": "nobody"}


def routes(patterns: Any, before: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if route == "admin/":  # Django's own routes have one policy
                yield route
            else:
                yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield plain(route)


def plain(route: str) -> str:
    """Return a route of allauth that is a regular expression as plain text."""
    for written, meant in (
        ("^confirm-email/(?P<key>[-:\\w]+)/$", "confirm-email/<key>/"),
        ("^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$", "password/reset/key/<uidb36>-<key>/"),
    ):
        route = route.replace(written, meant)
    return route


def test_every_route_has_a_policy_and_no_policy_is_stale() -> None:
    assert set(routes(get_resolver().url_patterns)) == set(POLICY)
    assert set(routes(websocket_urlpatterns)) == set(SOCKET_POLICY)


PATHS: dict[str, list[tuple[str, Any]]] = {
    "chat/<str:conversation>/": [("GET", None), ("POST", {"query": "mine now"})],
    "chat/<str:conversation>/stop/": [("POST", {"run": "{run}"})],
    "chat/<str:conversation>/answer/": [("POST", {"{request}": "approve"})],
    "chat/<str:conversation>/branch/": [("POST", {"message": "{prompt}"})],
    "chat/<str:conversation>/files/": [("GET", None)],
    "chat/<str:conversation>/manage/": [("GET", None), ("POST", {"title": "mine"})],
    "chat/<str:conversation>/support/": [("GET", None), ("POST", {"allow": "true"})],
    "chat/<str:conversation>/delete/": [("POST", {})],
    "chat/<str:conversation>/restore/": [("POST", {})],
    "chat/<str:conversation>/<str:message>/edit/": [("POST", {"query": "mine now"})],
    "chat/<str:conversation>/<str:message>/text/": [("GET", None)],
    "chat/runs/<str:run>/events": [("GET", None)],
    "chat/runs/<str:run>/stop": [("POST", {})],
    "api/v1/conversations/<conversation>": [("GET", None), ("PATCH", {"title": "mine"}), ("DELETE", None)],
    "chat/<str:conversation>/<str:message>/feedback/": [("POST", {"value": "1"})],
    "chat/<str:conversation>/<str:message>/report/": [("GET", None), ("POST", {"reason": "wrong"})],
    "account/decisions/<str:decision>/appeal/": [("POST", {"text": "why?"})],
    "account/decisions/<str:decision>/acknowledge/": [("POST", {})],
    "api/v1/messages/<message>/report": [("POST", {"reason": "wrong"})],
    "api/v1/decisions/<decision>/appeal": [("POST", {"text": "why?"})],
    "api/v1/decisions/<decision>/acknowledge": [("POST", {})],
    "api/v1/conversations/<conversation>/export": [("GET", None)],
    "api/v1/conversations/<conversation>/restore": [("POST", None)],
    "api/v1/conversations/<conversation>/artifacts": [("GET", None)],
    "files/<str:file>/<path:name>": [("GET", None), ("HEAD", None)],
    "thumbnails/<str:file>": [("GET", None)],
    "api/v1/files/<file>": [("GET", None), ("DELETE", None)],
    "api/v1/files/<file>/parts/<number>": [("PUT", PNG)],
    "api/v1/messages/<message>/feedback": [("PUT", {"value": 1})],
    "api/v1/runs/<run>": [("GET", None)],
    "account/memories/<str:memory>/": [("POST", {"do": "edit", "text": "mine"})],
    "api/v1/memories/<memory>": [("PATCH", {"text": "mine"}), ("DELETE", None)],
    "api/v1/queued/<queued>": [("DELETE", None)],
    "api/v1/queued/<queued>/send": [("POST", {})],
}
CREATES = {"api/v1/messages/<message>/report", "api/v1/decisions/<decision>/appeal"}  # 201
WRONG_IDS = ["random", "foreign", "upper", "braces", "urn", "bare", "word", "long", "nil"]


def test_every_member_route_with_an_object_is_tested() -> None:
    named = {route for route, policy in POLICY.items() if "<" in route and policy == MEMBER}
    assert named == set(PATHS)


def spelled(kind: str, own: str, foreign: str) -> str:
    return {
        "random": str(uuid.uuid4()),
        "foreign": foreign,
        "upper": own.upper(),
        "braces": f"%7B{own}%7D",
        "urn": f"urn:uuid:{own}",
        "bare": own.replace("-", ""),
        "word": "word",
        "long": "a" * 2000,
        "nil": str(uuid.UUID(int=0)),
    }[kind]


async def asked(client: Client, query: str) -> dict[str, str]:
    """Ask, and return the ids of conversation, run, prompt, reply (``message``) and a request after it.

    Also that of a queued ask (``queued``), in another conversation, of a ``deleted`` conversation, of a
    ``decision`` and of a ``memory``.
    """
    events = await client.ask(query)
    started = events[0].json()
    waits = await PersonRequest.objects.acreate(
        run_id=started["run"],
        kind=PersonRequest.Kind.CONFIRM,
        call="call",
        asking_call="asking",
        tool="tool",
        expires_at=timezone.now() + timedelta(days=1),
    )
    other = await Conversation.objects.acreate(owner=client.user, agent=started["agent"], title=query)
    queued = await QueuedAsk.objects.acreate(conversation=other, owner=client.user, text=query, position=1)
    gone = await Conversation.objects.acreate(
        owner=client.user, agent=started["agent"], title=query, deleted_at=timezone.now()
    )
    warning = await Decision.objects.acreate(kind="warn", member=client.user, reason="other")
    ids = {"request": str(waits.pk), "queued": str(queued.pk), "deleted": str(gone.pk)}
    ids["decision"] = str(warning.pk)
    ids["file"] = (await upload(client, "pic.png", PNG))["id"]
    memory = await Memory.objects.acreate(owner=client.user, agent="a", text=query, content={})
    ids["memory"] = str(memory.pk)
    return {**started, "message": events[-2].json()["message"], **ids}


def object_of(route: str) -> str:
    if "restore" in route:
        return "deleted"
    names = ("conversation", "run", "message", "queued", "decision", "file", "memory")
    return next(name for name in names if f"{name}>" in route)


def addressed(route: str, name: str, value: str, started: dict[str, str]) -> str:
    """Return the path of a route: the object ``name`` in it is ``value``."""
    named = "conversation" if name == "deleted" else name
    path = "/" + route.replace(f"<str:{named}>", value).replace(f"<{named}>", value)
    path = path.replace("<path:name>", "pic.png").replace("<number>", "0")
    return path.replace(
        "<str:message>", started["prompt" if "edit" in route or "text" in route else "message"]
    )


async def send(client: Client, method: str, path: str, body: Any, started: dict[str, str]) -> Answer:
    """Send a request; ``{run}``, ``{prompt}`` and ``{request}`` in its body are those of ``started``."""
    if isinstance(body, bytes):
        return await client.request(method, path, body=body)
    body = body and {
        k.format(**started): v.format(**started) if isinstance(v, str) else v for k, v in body.items()
    }
    if path.startswith(("/chat/", "/account/")) and path.endswith("/") and method == "POST":
        return await client.request(method, path, form=body)
    return await client.request(method, path, json_body=body)


CLOCKS = {"date", "expires"}


def shape(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Return all of an answer that could reveal something: not its date or its request id."""
    said = {k: v for k, v in answer.headers.items() if k not in CLOCKS | {"x-request-id"}}
    return answer.status, said, answer.body


@pytest.mark.parametrize("route", PATHS)
async def test_foreign_and_missing_objects_get_identical_answers(
    as_alice: Client, as_bob: Client, route: str
) -> None:
    mine, his = await asked(as_alice, "alice's canary 7f3a"), await asked(as_bob, "bob's canary 9c1d")
    name = object_of(route)
    for method, body in PATHS[route]:
        answers = set()
        for kind in WRONG_IDS:
            path = addressed(route, name, spelled(kind, his[name], mine[name]), mine)
            answer = await send(as_bob, method, path, body, mine)
            assert answer.status == 404, (method, kind, answer.body)
            assert b"7f3a" not in answer.body
            answers.add(str(shape(answer)))
        assert len(answers) == 1
    stored = await Conversation.objects.aget(pk=mine["conversation"])
    assert (stored.title, stored.deleted_at) == ("alice's canary 7f3a", None)
    assert await Message.objects.acount() == 4


@pytest.mark.parametrize("route", PATHS)
async def test_the_owner_gets_the_object(as_alice: Client, route: str) -> None:
    """The requests refused to strangers succeed for the owner, so those 404s have no other reason."""
    mine = await asked(as_alice, "hello")
    name = object_of(route)
    for method, body in PATHS[route]:
        path = addressed(route, name, mine[name], mine)
        is_form = method == "POST" and path.endswith("/")
        expected = 303 if is_form else 204 if method == "DELETE" else 201 if route in CREATES else 200
        assert (await send(as_alice, method, path, body, mine)).status == expected


@pytest.mark.parametrize("field", ["conversation", "parent", "prompt"])
async def test_a_foreign_id_in_a_body_is_not_found(as_alice: Client, as_bob: Client, field: str) -> None:
    mine = (await as_alice.ask("alice's"))[0].json()
    his = (await as_bob.ask("bob's"))[0].json()

    def body(value: str) -> dict[str, str]:
        if field == "prompt":
            return {"prompt": value}
        own = {"conversation": his["conversation"]} if field == "parent" else {}
        return {"query": "x", **own, field: value}

    foreign = mine["conversation"] if field == "conversation" else mine["prompt"]
    one = await as_bob.post("/chat/stream", body(foreign))
    other = await as_bob.post("/chat/stream", body(str(uuid.uuid4())))
    assert one.status == 404
    assert shape(one) == shape(other)


@pytest.mark.parametrize("kind", WRONG_IDS)
async def test_only_messages_of_the_conversation_can_be_copied(
    as_alice: Client, as_bob: Client, kind: str
) -> None:
    mine = (await as_alice.ask("alice's canary 7f3a"))[0].json()
    his = (await as_bob.ask("bob's"))[0].json()
    message = spelled(kind, his["prompt"], mine["prompt"])
    answer = await as_bob.get(f"/chat/{his['conversation']}/{message}/text/")
    assert answer.status == 404
    assert b"7f3a" not in answer.body


async def test_a_foreign_run_cannot_be_resumed(as_alice: Client, as_bob: Client) -> None:
    last = (await as_alice.ask("alice's"))[1].id
    headers = {"accept": "text/event-stream", "last-event-id": last}
    assert (await as_bob.get("/chat/stream?query=x", headers=headers)).status == 404


@pytest.mark.parametrize("route", [route for route, policy in POLICY.items() if policy != PUBLIC])
async def test_a_visitor_gets_no_object(visitor: Client, as_alice: Client, route: str) -> None:
    mine = (await as_alice.ask("alice's canary 7f3a"))[0].json()
    path = "/" + route.replace("<str:message>", mine["prompt"]).replace("<message>", mine["prompt"])
    for name, value in {**mine, "queued": mine["run"]}.items():
        path = path.replace(f"<str:{name}>", str(value)).replace(f"<{name}>", str(value))
    statuses = set()
    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        answer = await visitor.request(method, path, json_body={} if method != "GET" else None)
        assert b"7f3a" not in answer.body
        statuses.add(answer.status)
        if answer.status == 302:
            assert "/login/?next=" in answer.headers["location"]
    of_the_api = path.startswith(("/api/", "/chat/stream", "/chat/runs/", "/thumbnails/")) or path.endswith(
        "/events"
    )
    assert statuses == ({401, 405} if of_the_api else {302})


@pytest.mark.parametrize("route", SOCKET_POLICY)
async def test_a_visitors_socket_receives_nothing(visitor: Client, as_alice: Client, route: str) -> None:
    started = (await as_alice.ask("alice's canary 7f3a"))[0].json()
    own = route.replace("<str:conversation>", started["conversation"])
    for path in (f"/{own}", f"/{own}?after=0", f"/{route}"):
        async with visitor.socket(path) as socket:
            await as_alice.ask("alice's canary 7f3a")
            if SOCKET_POLICY[route] == MEMBER:
                await socket.opened()
                assert await socket.closed() == 4401
            else:
                assert await socket.refused()
            refusals = [json.loads(text)["code"] for text in socket.text]
            assert refusals == (["not_signed_in"] if "live" in route else [])


async def test_a_visitors_form_redirects_to_the_sign_in_without_a_csrf_token_too(visitor: Client) -> None:
    for csrf in (True, False):
        answer = await visitor.post("/chat/", form={"query": "x"}, csrf=csrf)
        assert answer.status == 302
        assert answer.headers["location"].startswith("/accounts/login/")


async def test_a_member_gets_no_page_of_the_admin(as_alice: Client) -> None:
    answer = await as_alice.get("/admin/")
    assert (answer.status, answer.headers["location"]) == (302, "/admin/login/?next=/admin/")
    assert b"site administration" not in answer.body.lower()


async def test_a_moderator_cannot_read_conversations_by_the_members_routes(
    as_alice: Client, parley: Any, mona: Any
) -> None:
    mine = (await as_alice.ask("alice's canary 7f3a"))[0].json()
    as_mona = await Client(parley, mona).sign_in()
    for path in (f"/api/v1/conversations/{mine['conversation']}", f"/chat/runs/{mine['run']}/events"):
        assert (await as_mona.get(path)).status == 404


async def test_no_answer_to_a_member_may_be_kept_by_a_cache(as_alice: Client, gemini: Gemini) -> None:
    gemini.on("x", [Text("y")])
    events = await as_alice.ask("x")
    started = events[0].json()
    for path in (
        "/",
        f"/chat/{started['conversation']}/",
        f"/chat/runs/{started['run']}/events",
        "/api/v1/conversations",
        f"/api/v1/conversations/{started['conversation']}",
        f"/api/v1/runs/{started['run']}",
        "/api/v1/agents",
    ):
        kept = (await as_alice.get(path)).headers.get("cache-control", "")
        assert "no-store" in kept, path
        assert "private" in kept, path


async def test_a_deactivated_user_is_treated_as_a_visitor(as_alice: Client, alice: Any) -> None:
    from accounts.models import User

    await User.objects.filter(pk=alice.pk).aupdate(is_active=False)
    assert (await as_alice.post("/chat/stream", {"query": "x"})).status == 401
    assert (await as_alice.get("/api/v1/conversations")).status == 401
    assert await Run.objects.acount() == 0


async def test_no_log_line_holds_a_question_or_a_query_string(
    as_alice: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    headers = {"accept": "text/event-stream"}
    await as_alice.get("/chat/stream?query=canary-51ab", headers=headers)
    await as_alice.get("/nowhere?query=canary-51ab")
    await as_alice.post("/chat/stream", {"query": "canary-51ab", "x": 1})
    ours = [r for r in caplog.records if not r.name.startswith(("httpcore", "httpx", "django.db"))]
    assert "canary-51ab" not in "\n".join(record.getMessage() for record in ours if record.levelno > 10)
