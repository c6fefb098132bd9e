"""Without a grant, no address shows the owner of the site a member's text; and the walk would find a leak."""

import importlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import clear_url_caches, path

from chat.files import blobs
from chat.files.models import File
from chat.instruments.logs import JsonFormatter
from chat.models import Conversation, Message, PersonRequest, QueuedAsk, Run
from chat.moderation.models import AuditEvent, Decision, ReviewItem
from config import urls
from tests.conftest import make_user
from tests.moderation import walk
from tests.moderation.walk import Walk
from tests.support.campaigns import IS_FULL
from tests.support.client import Client


@pytest.fixture
async def as_olga(parley: Any, transactional_db: None) -> Client:
    """Return a client signed in as the owner of the site."""
    olga = await sync_to_async(make_user)("olga", is_staff=True, is_superuser=True)
    return await Client(parley, olga).sign_in()


@pytest.fixture
async def walker(as_olga: Client, as_alice: Client) -> Walk:
    """Return a walk through a site where alice has asked, and each of her columns has a canary."""
    started = (await as_alice.ask("What is a quasar?"))[0].json()
    found = await sync_to_async(walk.fill)(as_alice.user, started["conversation"], started["run"])
    return Walk(as_olga, found)


async def values(walker: Walk) -> dict[str, list[str]]:
    """Return what the parameters of routes may be."""
    run = await Run.objects.afirst()
    assert run is not None
    conversation = str(run.conversation_id)
    message = str(run.prompt_id)
    request = await PersonRequest.objects.afirst()
    queued = await QueuedAsk.objects.afirst()
    alice = await sync_to_async(lambda: run.owner)()
    group = await Group.objects.afirst()
    item, decision = await ReviewItem.objects.afirst(), await Decision.objects.afirst()
    file = await File.objects.afirst()
    assert request and queued and group and item and decision and file
    return {
        "conversation": [conversation],
        "run": [str(run.pk)],
        "message": [message, str(run.reply_id)],
        "request_id": [str(request.pk)],
        "queued": [str(queued.pk)],
        "decision": [str(decision.pk)],
        "item": [str(item.pk)],
        "member": [str(alice.pk)],
        "object_id": [conversation, str(run.pk), str(alice.pk), str(group.pk), str(request.pk)],
        "name": ["chat_assistant"],
        "file": [str(file.pk)],
        "seq": ["1"],  # 1000000 is staff's own text: shown by a POST that is a row (test_audit.py)
        "app_label": ["chat", "accounts", "calls", "moderation", "auth"],
        "content_type_id": ["1", "2"],
        "url": ["admin/nowhere", "admin/chat/conversation"],
        "*": [conversation, "word"],
    }


async def queries(walker: Walk) -> list[dict[str, str]]:
    """Return the queries: each name with an id, and with words that alice's text has."""
    run = await Run.objects.afirst()
    assert run is not None
    words = [walker.canaries["chat.Message.text"]]
    ids = [str(run.conversation_id), str(run.reply_id)] if IS_FULL else [str(run.reply_id)]
    common = ["1", "true"] if IS_FULL else ["true"]
    return [
        {name: value}
        for name in sorted(walk.parameter_names())
        # A question of the owner's own comes back in the owner's conversations.
        for value in ([*ids, "hello"] if name in {"query", "message"} else [*words, *ids, *common])
    ]


async def whole(walker: Walk, only: str = "") -> None:
    """Walk through all routes, or those that begin with ``only``."""
    candidates, asked = await values(walker), await queries(walker)
    for route in sorted(set(walk.patterns())):
        if only and not route.startswith(only):
            continue
        paths = walk.filled(route, candidates)
        some = asked if IS_FULL else asked[::25] if "<" in route else asked[::5]
        await walker.all_of(paths if IS_FULL else paths[:6], some)


def test_each_column_is_a_canarys_or_a_fact() -> None:
    labels = {f"{model._meta.label}.{column.name}" for model, column in walk.columns()}
    assert {"chat.Conversation.title", "chat.Message.text", "chat.Run.failure"} <= labels
    stale = {label for label in walk.FACTS if not _exists(label)}
    assert not stale


def _exists(label: str) -> bool:
    from django.apps import apps

    app, model, name = label.split(".")
    return name in {column.name for column in apps.get_model(app, model)._meta.concrete_fields}


@pytest.mark.timeout(3600 if IS_FULL else 240)
async def test_the_owner_without_a_grant_reads_no_text_at_any_address(
    walker: Walk, as_alice: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = await File.objects.afirst()
    assert file is not None
    assert await sync_to_async(blobs.read)(file) == walker.canaries[walk.BYTES].encode()
    for label, word in walker.canaries.items():
        assert label == walk.BYTES or await sync_to_async(walk.tables_hold)(word[:30]), label
    await whole(walker, only="" if IS_FULL else "admin")
    for address in ("/metrics", "/nowhere", "/admin/nowhere/", "/api/v1/nowhere"):
        await walker.visit("GET", address)
    async with walker.client.socket("/ws/?after=0") as socket:
        await socket.opened()
        await as_alice.ask("What is a pulsar?")
        await socket.silent()
        walker.look("the socket", *socket.text)
    walker.look_at_letters()
    formatted = JsonFormatter()
    walker.look(
        "a line of the log", *(formatted.format(record) for record in caplog.records if _is_ours(record))
    )
    assert not walker.leaks
    assert not await AuditEvent.objects.filter(action="look").aexists()


def _is_ours(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG and not record.name.startswith(("httpcore", "httpx"))


# --- the walk finds leaks ---------------------------------------------------------------------------------


class LeakingAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("text",)
    actions = ("show",)

    def show(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return HttpResponse(" ".join(queryset.values_list("html", flat=True)))


def leaking_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Conversation.objects.exclude(title="").values_list("title", flat=True)[0])


def leaking_api(request: HttpRequest) -> JsonResponse:
    return JsonResponse(Message.objects.exclude(feedback_detail=None).values("feedback_detail")[0])


def leaking_stream(request: HttpRequest) -> StreamingHttpResponse:
    async def texts() -> AsyncIterator[str]:
        async for text in QueuedAsk.objects.values_list("text", flat=True):
            yield text

    return StreamingHttpResponse(texts())


@pytest.fixture
def leaks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Register a leaking ModelAdmin with an action, a view, an API route and a stream."""
    admin.site.register(Message, LeakingAdmin)
    added = [
        path("leak/", leaking_view),
        path("api/v1/leak", leaking_api),
        path("leak/stream", leaking_stream),
    ]
    monkeypatch.setattr(urls, "urlpatterns", [*added, *_with_admin_of_now()])
    clear_url_caches()
    yield
    admin.site.unregister(Message)
    monkeypatch.undo()
    clear_url_caches()


def _with_admin_of_now() -> list[Any]:
    return [
        path("admin/", admin.site.urls) if str(each.pattern) == "admin/" else each
        for each in urls.urlpatterns
    ]


async def test_the_walk_reports_five_leaks(walker: Walk, leaks: None) -> None:
    for address in ("admin/chat/message/", "leak/", "api/v1/leak", "leak/stream"):
        await whole(walker, only=address)
    selected = {"action": "show", "_selected_action": str((await Message.objects.aget(role="assistant")).pk)}
    await walker.visit("POST", "/admin/chat/message/", selected)
    found = {label for _where, label in walker.leaks}
    assert found >= {
        "chat.Message.text",  # the list
        "chat.Message.html",  # the action
        "chat.Conversation.title",  # the view
        "chat.Message.feedback_detail",  # the API
        "chat.QueuedAsk.text",  # the stream
    }


@pytest.mark.parametrize("module", walk.gates())
async def test_without_a_gate_the_walk_fails(
    walker: Walk, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setattr(importlib.import_module(module), "may_look", lambda request, conversation: True)
    if module == "chat.moderation.watching":
        await whole(walker, only="admin/watch/")
    elif module == "chat.moderation.opening":
        await whole(walker, only="admin/open/")
    elif module.startswith("chat.admin"):
        await whole(walker, only="admin/chat/")
    else:
        item = await ReviewItem.objects.aget()
        await walker.visit("GET", f"/admin/moderation/{item.pk}/")
        await walker.visit("GET", f"/admin/decide/{item.conversation_id}/?message={item.message_id}")
    assert walker.leaks


async def test_with_a_grant_the_text_is_there(walker: Walk) -> None:
    """The walk meets no canary because of the gate, not because the pages show nothing."""
    conversation = (await Run.objects.aget()).conversation_id
    opened = await walker.client.request("POST", f"/admin/open/{conversation}/", form={"reason": "report"})
    answer = await walker.client.get(opened.headers["location"])
    for label in ("chat.Message.text", "chat.Message.feedback_detail", "moderation.HiddenMessage.text"):
        assert walker.canaries[label] in answer.text, label
    run = await Run.objects.afirst()
    assert run is not None
    answer = await walker.client.get(f"/admin/chat/run/{run.pk}/change/")
    assert json.loads(json.dumps(walker.canaries["chat.Run.failure"])) in answer.text


async def test_with_a_claim_the_text_of_an_item_is_there(walker: Walk) -> None:
    item = await ReviewItem.objects.aget()
    address = f"/admin/moderation/{item.pk}/"
    await walker.client.request("POST", address, form={"do": "claim"})
    answer = await walker.client.get(address)
    for label in (
        "chat.Message.text", "moderation.Report.note", "moderation.ReviewNote.text",
        "moderation.Decision.words", "moderation.Appeal.text", "moderation.HiddenMessage.text",
    ):  # fmt: skip
        assert walker.canaries[label] in answer.text, label
