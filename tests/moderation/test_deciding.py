"""Decisions outside the queue: the pages about a conversation and about a member, and the ways to them."""

import html
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from chat.models import Conversation, Message, Run
from chat.moderation import decisions
from chat.moderation.models import AuditEvent, Decision
from tests.conftest import make_staff, make_user
from tests.moderation.reviewing import conversation_with, reported, signed_in
from tests.support.client import Client as AsyncClient
from tests.support.gemini import Gemini, Hold, Text
from tests.support.sse_client import terminal_of
from tests.support.staff import opening, transcript

pytestmark = pytest.mark.django_db(transaction=True)

REASON = {"reason": "privacy", "words": "typed words", "note": "typed note"}
TEXTS = ("canary question of alice", "canary reply with a name", "canary second", "canary reply with a name")


@pytest.fixture
def quasar(alice: Any) -> Conversation:
    return conversation_with(alice, *TEXTS)


@pytest.fixture
def reply(quasar: Conversation) -> Message:
    found = quasar.messages.filter(role="assistant").order_by("created_at").first()
    assert found
    return found


def about(conversation: Conversation, message: Message | None = None) -> str:
    address = f"/admin/decide/{conversation.pk}/"
    return f"{address}?message={message.pk}" if message else address


def about_member(member: Any) -> str:
    return f"/admin/members/{member.pk}/decide/"


def page_of(answer: Any, status: int = 200) -> str:
    page = html.unescape(answer.content.decode())
    assert answer.status_code == status, page[:3000]
    return page


def opened(staff: Any, conversation: Conversation) -> Any:
    client = signed_in(staff)
    assert client.post(opening(conversation.pk), {"reason": "report"}).status_code == 303
    return client


# --- a conversation -----------------------------------------------------------------------------------


def test_only_staff_who_may_act_decide_about_a_conversation(
    alice: Any, tom: Any, audrey: Any, quasar: Conversation
) -> None:
    for user in (alice, tom, audrey):
        for answer in (signed_in(user).get(about(quasar)), signed_in(user).post(about(quasar), {})):
            assert answer.status_code in ((302, 403) if user == alice else (403,))


def test_nobody_decides_about_the_own_conversation_or_one_of_staff(mona: Any, stella: Any) -> None:
    make_user("olga", is_staff=True, is_superuser=True)
    for owner in (mona, stella):
        found = conversation_with(owner, "q", "r")
        assert signed_in(mona).get(about(found)).status_code == 403
        assert signed_in(mona).post(about(found), {"do": "lock", **REASON}).status_code == 403
    assert not Decision.objects.exists()


def test_without_a_grant_the_page_has_no_text_and_leads_to_the_opening(
    mona: Any, quasar: Conversation, reply: Message
) -> None:
    decisions.hide_message(mona, reply, decisions.Why("harmful", "canary words", "canary note"))
    for address in (about(quasar), about(quasar, reply)):
        page = page_of(signed_in(mona).get(address))
        assert "canary" not in page
    assert f"{opening(quasar.pk)}?message={reply.pk}" in page
    assert not AuditEvent.objects.filter(action="look").exists()


def test_a_message_is_hidden_and_restored_from_its_transcript(
    mona: Any, quasar: Conversation, reply: Message
) -> None:
    client = opened(mona, quasar)
    assert about(quasar, reply) in page_of(client.get(transcript(quasar.pk)))
    page = page_of(client.get(about(quasar, reply)))
    assert TEXTS[1] in page
    assert "The same words stand elsewhere" in page
    answer = client.post(about(quasar, reply), {"do": "hide", **REASON})
    assert (answer.status_code, answer["location"]) == (303, about(quasar, reply))
    decision = Decision.objects.get()
    assert (decision.kind, decision.reason, decision.words, decision.note) == ("hide", *REASON.values())
    page = page_of(client.get(transcript(quasar.pk)))
    assert "Hidden by mona" in page
    assert "It reveals something private" in page
    assert TEXTS[1] in page.partition("What it said")[2]
    assert "The same words stand elsewhere" in page_of(client.get(about(quasar, reply)))
    answer = client.post(
        about(quasar, reply), {"do": "end", "decision": str(decision.pk), "note": "a mistake"}
    )
    assert answer.status_code == 303
    assert Message.objects.get(pk=reply.pk).text == TEXTS[1]
    rows = AuditEvent.objects.filter(action__startswith="decision").order_by("seq")
    assert list(rows.values_list("action", flat=True)) == ["decision.hide", "decision.end"]


def test_a_hidden_message_keeps_its_content_from_staff_without_a_grant(
    mona: Any, stella: Any, quasar: Conversation, reply: Message
) -> None:
    decisions.hide_message(mona, reply, decisions.Why("harmful"))
    for address in (transcript(quasar.pk), about(quasar, reply)):
        assert "canary" not in signed_in(stella).get(address).content.decode()


def test_a_conversation_is_locked_and_unlocked(mona: Any, quasar: Conversation) -> None:
    client = signed_in(mona)
    assert client.post(about(quasar), {"do": "lock", **REASON}).status_code == 303
    quasar.refresh_from_db()
    assert quasar.locked_reason == "privacy"
    page = page_of(client.get(about(quasar)))
    assert 'value="lock"' not in page
    decision = Decision.objects.get()
    assert client.post(about(quasar), {"do": "end", "decision": str(decision.pk)}).status_code == 303
    quasar.refresh_from_db()
    assert quasar.locked_at is None


async def test_an_answer_is_stopped_while_it_is_written(
    as_alice: AsyncClient, as_mona: AsyncClient, gemini: Gemini
) -> None:
    gemini.on("Tell me", [Text("It is "), Hold(), Text("secret")])
    async with as_alice.open("POST", "/chat/stream", json_body={"query": "Tell me"}) as exchange:
        await exchange.until("text")
        run = await Run.objects.select_related("conversation").aget()
        address = about(run.conversation)
        assert f'name="run" value="{run.pk}"' in (await as_mona.get(address)).text
        form = {"do": "stop", "run": str(run.pk), **REASON}
        assert (await as_mona.post(address, form=form)).status == 303
        end = terminal_of(await exchange.all_events())
    assert end.name == "run.stopped"
    assert (await Decision.objects.aget()).run == run.pk
    assert 'value="stop"' not in (await as_mona.get(address)).text


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"do": "lock"}, 422, "Choose a reason."),
        ({"do": "lock", "reason": "nonsense"}, 422, "Choose a reason."),
        ({"do": "hide", "reason": "privacy"}, 422, "Choose what is to be done."),
        ({"do": "stop", "reason": "privacy"}, 422, "There is no answer to stop."),
        ({}, 422, "Choose what is to be done."),
        ({"do": "end"}, 404, "nothing here"),
    ],
)
def test_a_refused_decision_keeps_what_was_typed(
    mona: Any, quasar: Conversation, fields: dict[str, str], status: int, sentence: str
) -> None:
    answer = signed_in(mona).post(about(quasar), {**fields, "words": "typed words", "note": "typed note"})
    page = page_of(answer, status)
    if status == 422:
        assert sentence in page
        assert "typed words" in page
        assert "typed note" in page
    assert not Decision.objects.exists()


def test_a_decision_of_another_conversation_is_not_found(alice: Any, mona: Any, quasar: Conversation) -> None:
    other = decisions.impose_lock(mona, conversation_with(alice, "q", "r"), decisions.Why("other"))
    answer = signed_in(mona).post(about(quasar), {"do": "end", "decision": str(other.pk)})
    assert answer.status_code == 404
    other.refresh_from_db()
    assert other.ended_at is None


def test_the_transcript_links_decisions_only_for_those_who_may_act(
    alice: Any, mona: Any, quasar: Conversation
) -> None:
    from django.contrib.auth.models import Permission

    nora = make_staff("nora")
    names = ["view_conversation", "read_text", "break_glass"]
    nora.user_permissions.set(Permission.objects.filter(codename__in=names))
    assert "/decide/" not in page_of(opened(nora, quasar).get(transcript(quasar.pk)))
    page = page_of(opened(mona, quasar).get(transcript(quasar.pk)))
    assert about(quasar) in page
    assert about_member(alice) in page


# --- a member -----------------------------------------------------------------------------------------


def test_only_staff_who_may_act_on_a_member_see_the_page(
    alice: Any, mona: Any, tom: Any, stella: Any
) -> None:
    olga = make_user("olga", is_staff=True, is_superuser=True)
    assert signed_in(tom).get(about_member(alice)).status_code == 403
    for member in (mona, stella, olga):
        assert signed_in(mona).get(about_member(member)).status_code == 403
        assert signed_in(mona).post(about_member(member), {"do": "warn", **REASON}).status_code == 403
    assert signed_in(olga).get(about_member(stella)).status_code == 200
    assert signed_in(mona).get("/admin/members/999999/decide/").status_code == 404
    assert not Decision.objects.exists()


def test_a_member_is_warned_and_suspended_and_that_is_taken_back(alice: Any, mona: Any) -> None:
    client = signed_in(mona)
    assert client.post(about_member(alice), {"do": "warn", **REASON}).status_code == 303
    page = page_of(client.post(about_member(alice), {"do": "warn", **REASON}), 409)
    assert "a warning that is not acknowledged" in page
    assert "typed words" in page
    day = (timezone.localdate() + timedelta(days=3)).isoformat()
    assert client.post(about_member(alice), {"do": "suspend", "until": day, **REASON}).status_code == 303
    assert User.objects.get(pk=alice.pk).suspended_until
    for decision in Decision.objects.all():
        form = {"do": "end", "decision": str(decision.pk)}
        assert client.post(about_member(alice), form).status_code == 303
    alice = User.objects.get(pk=alice.pk)
    assert (alice.suspended_until, alice.warned_at) == (None, None)


@pytest.mark.parametrize("until", ["", "soon", "2020-01-01", "9999-12-31"])
def test_a_suspension_needs_an_end(alice: Any, mona: Any, until: str) -> None:
    form = {"do": "suspend", "until": until, **REASON}
    page = page_of(signed_in(mona).post(about_member(alice), form), 422)
    assert "typed words" in page
    assert not Decision.objects.exists()


def test_the_page_has_counts_and_no_text(alice: Any, mona: Any, quasar: Conversation, reply: Message) -> None:
    item = reported(alice, reply, "harmful", "canary note")
    decisions.impose_lock(mona, quasar, decisions.Why("harmful", "canary words", "canary note"))
    page = page_of(signed_in(mona).get(about_member(alice)))
    assert "<dt>Undecided items</dt><dd>1</dd>" in page
    assert f'?owner__id__exact={alice.pk}">1</a>' in page
    assert about(quasar) in page
    assert "Conversation locked" in page
    assert "canary" not in page
    assert str(item.pk) not in page


def test_the_admin_page_of_a_member_leads_there(alice: Any, mona: Any, stella: Any) -> None:
    client = signed_in(mona)
    assert about_member(alice) in page_of(client.get(f"/admin/accounts/user/{alice.pk}/change/"))
    assert about_member(stella) not in page_of(client.get(f"/admin/accounts/user/{stella.pk}/change/"))


def test_a_decision_about_another_member_is_not_found(alice: Any, bob: Any, mona: Any) -> None:
    other = decisions.warn(mona, bob, decisions.Why("other"))
    answer = signed_in(mona).post(about_member(alice), {"do": "end", "decision": str(other.pk)})
    assert answer.status_code == 404
