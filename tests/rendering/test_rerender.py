"""Replies stored by an older renderer: pages show them correctly, and ``rerender`` updates them."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from chat.management.commands import rerender
from chat.models import Conversation, Message
from chat.rendering import RENDERER_VERSION, render
from tests.support.client import Client
from tests.support.gemini import Gemini, Text


@pytest.fixture
def old_replies(alice: Any) -> Callable[[int], list[Message]]:
    """Return a function that stores replies of an older renderer."""

    def make(count: int) -> list[Message]:
        conversation = Conversation.objects.create(owner=alice, agent="chat_assistant", title="t")
        return [
            Message.objects.create(
                conversation=conversation,
                role="assistant",
                text=f"*{n}*",
                html="<p>old</p>",
                renderer_version=1,
            )
            for n in range(count)
        ]

    return make


def run(**options: Any) -> str:
    out = StringIO()
    call_command("rerender", stdout=out, **options)
    return out.getvalue()


def versions() -> list[int]:
    return list(Message.objects.filter(role="assistant").values_list("renderer_version", flat=True))


def test_every_old_reply_is_rendered_again(old_replies: Callable[[int], list[Message]]) -> None:
    messages = old_replies(7)
    assert run(batch=3).splitlines()[-1].startswith("7 replies were rendered again")
    for message in messages:
        message.refresh_from_db()
        assert (message.html, message.renderer_version) == (render(message.text), RENDERER_VERSION)


def test_current_replies_and_questions_are_left_unchanged(
    old_replies: Callable[[int], list[Message]],
) -> None:
    (message,) = old_replies(1)
    Message.objects.filter(pk=message.pk).update(html="<p>mine</p>", renderer_version=RENDERER_VERSION)
    question = Message.objects.create(conversation=message.conversation, role="user", text="*q*")
    run()
    message.refresh_from_db()
    question.refresh_from_db()
    assert (message.html, question.html) == ("<p>mine</p>", "")


def test_an_interrupted_command_continues_where_it_was(
    old_replies: Callable[[int], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    old_replies(5)
    rendered: list[str] = []

    def interrupted(text: str, sources: object) -> str:
        if len(rendered) == 4:
            raise KeyboardInterrupt
        rendered.append(text)
        return render(text)

    monkeypatch.setattr(rerender, "render_reply_in_time", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(batch=2)
    assert sorted(versions()) == [1] + [RENDERER_VERSION] * 4
    monkeypatch.undo()
    assert run(batch=2).splitlines()[-1].startswith("1 replies")
    assert set(versions()) == {RENDERER_VERSION}


def test_a_text_erased_during_rendering_is_not_restored(
    old_replies: Callable[[int], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (message,) = old_replies(1)

    def erased_meanwhile(text: str, sources: object) -> str:
        Message.objects.filter(pk=message.pk).update(text="", html="")
        return render(text)

    monkeypatch.setattr(rerender, "render_reply_in_time", erased_meanwhile)
    run()
    message.refresh_from_db()
    assert message.html == ""


def test_rendering_happens_outside_the_transaction(
    old_replies: Callable[[int], list[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    old_replies(4)

    def outside(text: str, sources: object) -> str:
        assert not connection.in_atomic_block
        return render(text)

    monkeypatch.setattr(rerender, "render_reply_in_time", outside)
    run(batch=2)
    assert versions() == [RENDERER_VERSION] * 4


def test_an_invalid_batch_size_is_refused() -> None:
    with pytest.raises(CommandError, match="at least 1"):
        run(batch=0)


async def test_a_page_shows_an_old_reply_as_the_current_renderer_does(
    as_alice: Client, gemini: Gemini
) -> None:
    gemini.on("sum", [Text("It is $x^2$.")])
    conversation = (await as_alice.ask("sum"))[0].json()["conversation"]
    await Message.objects.filter(role="assistant").aupdate(html="<p>evil</p>", renderer_version=1)
    page = (await as_alice.get(f"/chat/{conversation}/")).text
    assert render("It is $x^2$.") in page
    assert "evil" not in page
