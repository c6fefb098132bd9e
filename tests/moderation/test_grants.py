"""Grants: staff see text of members by a grant only, for 30 minutes, and each look is recorded before."""

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.utils import timezone

from chat.admin.transcripts import transcript_of
from chat.models import Conversation, Message
from chat.moderation.groups import MODERATOR, SENIOR
from chat.moderation.models import (
    AccessGrant,
    AuditEvent,
    AuditText,
    Consent,
    GrantReason,
    SealedConversation,
)
from tests.conftest import make_staff, make_user
from tests.moderation.conftest import SECRET
from tests.support.client import Answer, Client
from tests.support.gemini import Gemini, Status
from tests.support.staff import (
    SEARCH_PAGE,
    open_as_staff,
    open_search,
    opening,
    search_as_staff,
    transcript,
)
from tests.support.talk import Talk

LIST, RUNS = "/admin/chat/conversation/", "/admin/chat/run/"


async def rows(**wanted: Any) -> list[AuditEvent]:
    return [row async for row in AuditEvent.objects.filter(**wanted).order_by("seq")]


async def reads(client: Client, conversation: Any) -> bool:
    """Return whether the transcript shows the text now. Otherwise it must lead to the page that opens it."""
    answer = await client.get(transcript(conversation))
    if answer.status == 200:
        assert SECRET in answer.text
        return True
    assert SECRET not in answer.text
    assert (answer.status, answer.headers["location"]) == (302, opening(conversation))
    return False


async def post(client: Client, conversation: Any, **form: Any) -> Answer:
    return await client.post(opening(conversation), form={name: str(value) for name, value in form.items()})


async def let_end(ago: timedelta = timedelta(seconds=1)) -> AccessGrant:
    """Let the newest grant have ended so long ago, and return it."""
    grant = await AccessGrant.objects.select_related("conversation").alatest("opened_at")
    await AccessGrant.objects.filter(pk=grant.pk).aupdate(expires_at=timezone.now() - ago)
    return grant


async def consent(client: Client, talk: Talk, *, allow: bool) -> None:
    path = f"/chat/{talk.conversation}/support/"
    answer = await client.post(path, form={"allow": "true" if allow else "false"})
    assert (answer.status, answer.headers["location"]) == (303, path)


async def take_away(group: str, permission: str) -> None:
    """Take a permission from a group, as the site's owner can."""
    found = await Permission.objects.aget(content_type__app_label="moderation", codename=permission)
    await (await Group.objects.aget(name=group)).permissions.aremove(found)


# --- without a grant --------------------------------------------------------------------------------


async def test_no_page_shows_text_without_a_grant(
    as_alice: Client, as_mona: Client, as_stella: Client, as_tom: Client, gemini: Gemini
) -> None:
    """Title, question, reply, feedback and failure are on no page of the admin."""
    gemini.on("fail quokka", [Status(400, "INVALID_ARGUMENT", message="provider quokka")])
    said = await (talk := Talk(as_alice)).ask("title quokka")
    failed = await (wrong := Talk(as_alice)).ask("fail quokka")
    await Message.objects.filter(pk=said.message or "").aupdate(
        text="reply quokka",
        feedback=-1,
        feedback_at=timezone.now(),
        feedback_detail={"reasons": [], "text": "feedback quokka"},
    )
    for client, may_view_runs in ((as_mona, True), (as_stella, True), (as_tom, False)):
        for path in (LIST, f"{LIST}?q=alice", f"{LIST}?q={talk.conversation}", f"{LIST}?feedback=-1"):
            listed = await client.get(path)
            assert listed.status == 200
            assert str(talk.conversation) in listed.text
            assert "quokka" not in listed.text
        for each in (talk, wrong):
            answer = await client.get(f"{transcript(each.conversation)}?q=x&message={said.prompt}")
            place = f"{opening(each.conversation)}?q=x&message={said.prompt}"
            assert (answer.status, answer.headers["location"]) == (302, place)
            assert "quokka" not in (await client.get(place)).text
        for path in (
            RUNS,
            f"{RUNS}{said.run}/change/",
            f"{RUNS}{failed.run}/change/",
            f"{RUNS}{failed.run}/history/",
            "/admin/agents/chat_assistant/",
            "/admin/",
        ):
            answer = await client.get(path)
            assert answer.status == (200 if may_view_runs or path == "/admin/" else 403), path
            assert "quokka" not in answer.text, path
    assert await rows() == []


async def test_the_opening_page_has_facts_and_no_text(as_mona: Client, talk: Talk) -> None:
    answer = await as_mona.get(opening(talk.conversation))
    assert answer.status == 200
    for fact in ("alice", "chat_assistant", str(talk.conversation), "completed"):
        assert fact in answer.text
    assert SECRET not in answer.text
    assert answer.headers["cache-control"] == "max-age=0, no-cache, no-store, must-revalidate, private"


async def test_the_failure_of_a_run_is_shown_by_a_grant_only(
    as_alice: Client, as_mona: Client, gemini: Gemini
) -> None:
    gemini.on("fail", [Status(400, "INVALID_ARGUMENT", message="provider quokka")])
    failed = await (talk := Talk(as_alice)).ask("fail")
    path = f"{RUNS}{failed.run}/change/"
    hidden = await as_mona.get(path)
    assert opening(talk.conversation) in hidden.text
    for text in ("ClientError", "provider quokka", "Traceback"):
        assert text not in hidden.text
    await open_as_staff(as_mona, talk.conversation)
    shown = await as_mona.get(path)
    assert "ClientError" in shown.text
    assert "provider quokka" in shown.text
    assert len(await rows(action="look")) == 1


@pytest.mark.parametrize("conversation", [uuid.UUID(int=0), "word", "DB3D5536-8013-4B01-A2F5-5E04A71D9273"])
async def test_a_missing_conversation_is_not_found(as_mona: Client, conversation: Any) -> None:
    for path in (opening(conversation), transcript(conversation)):
        assert (await as_mona.get(path)).status == 404
    assert (await post(as_mona, conversation, reason="report")).status == 404


# --- a reason ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", GrantReason.values)
async def test_each_reason_opens(as_mona: Client, talk: Talk, reason: str) -> None:
    assert not await reads(as_mona, talk.conversation)
    await open_as_staff(as_mona, talk.conversation, reason, text="because wombat")
    assert await reads(as_mona, talk.conversation)
    opened, look = await rows()
    assert [(row.action, row.reason) for row in (opened, look)] == [("grant.open", reason), ("look", reason)]
    assert (await AuditText.objects.aget()).text == "because wombat"


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"reason": "other"}, "Say why, in a few words."),
        ({"reason": "other", "text": " \u200b "}, "Say why, in a few words."),
        ({"reason": "report", "delay_days": 3}, "Say why, in a few words."),
        ({"reason": "report", "text": "typed wombat", "delay_days": 31}, "at most 30 days"),
        ({"reason": "report", "text": "typed wombat", "delay_days": "-1"}, "must be a whole number"),
        ({"reason": "report", "text": "typed wombat", "delay_days": "1.5"}, "must be a whole number"),
        ({"reason": "report", "text": "typed wombat", "delay_days": "٣"}, "must be a whole number"),
        ({"reason": "report", "text": "typed wombat" + "x" * 2_000}, "At most 2000 characters."),
        ({"reason": "nonsense", "text": "typed wombat"}, "Choose a reason."),
        ({"text": "typed wombat"}, "Choose a reason."),
    ],
)
async def test_an_incomplete_reason_opens_nothing_and_stays_on_the_page(
    as_mona: Client, talk: Talk, form: dict[str, Any], sentence: str
) -> None:
    answer = await post(as_mona, talk.conversation, **form)
    assert answer.status == 422
    assert sentence in answer.text
    assert SECRET not in answer.text
    if "wombat" in form.get("text", ""):
        assert "typed wombat" in answer.text
    if form.get("reason") in GrantReason.values:
        assert f'value="{form["reason"]}" required checked' in answer.text
    assert not await reads(as_mona, talk.conversation)
    assert await rows() == []


async def test_the_transcript_opens_where_its_link_led_to(as_mona: Client, talk: Talk) -> None:
    refused = await as_mona.get(f"{transcript(talk.conversation)}?q=canary")
    answer = await as_mona.post(refused.headers["location"], form={"reason": "help"})
    assert answer.headers["location"] == f"{transcript(talk.conversation)}?q=canary"


async def test_a_look_can_be_kept_from_the_member_for_some_days(as_mona: Client, talk: Talk) -> None:
    await open_as_staff(as_mona, talk.conversation, "legal", text="a court order", delay_days="14")
    assert await reads(as_mona, talk.conversation)
    (look,) = await rows(action="look")
    assert look.told_from
    assert timedelta(days=13, hours=23) < look.told_from - look.at <= timedelta(days=14)


# --- its end ----------------------------------------------------------------------------------------


async def test_a_grant_ends_after_30_minutes(as_mona: Client, talk: Talk) -> None:
    await open_as_staff(as_mona, talk.conversation)
    grant = await AccessGrant.objects.aget()
    assert grant.expires_at - grant.opened_at == timedelta(minutes=30)
    assert await reads(as_mona, talk.conversation)
    await let_end()
    assert not await reads(as_mona, talk.conversation)
    assert len(await rows(action="look")) == 1


@pytest.mark.parametrize(
    ("ago", "is_extended"),
    [(timedelta(minutes=-1), True), (timedelta(minutes=59), True), (timedelta(minutes=61), False)],
)
async def test_a_grant_is_extended_by_one_click_until_an_hour_after_its_end(
    as_mona: Client, talk: Talk, ago: timedelta, is_extended: bool
) -> None:
    await open_as_staff(as_mona, talk.conversation, "incident")
    grant = await let_end(ago)
    page = await as_mona.get(opening(talk.conversation))
    assert (f'name="extend" value="{grant.pk}"' in page.text) is is_extended
    answer = await post(as_mona, talk.conversation, extend=grant.pk)
    assert answer.status == (303 if is_extended else 404)
    assert await reads(as_mona, talk.conversation) is is_extended
    extensions = await rows(action="grant.extend", grant=grant.pk, reason="incident")
    assert len(extensions) == is_extended
    if is_extended:
        await grant.arefresh_from_db()
        assert timedelta(minutes=29) < grant.expires_at - timezone.now() <= timedelta(minutes=30)


async def test_the_bar_of_a_transcript_extends_and_ends_its_grant(as_mona: Client, talk: Talk) -> None:
    await open_as_staff(as_mona, talk.conversation)
    grant = await AccessGrant.objects.aget()
    shown = await as_mona.get(transcript(talk.conversation))
    for button in ("extend", "end"):
        assert f'name="{button}" value="{grant.pk}"' in shown.text
    answer = await post(as_mona, talk.conversation, end=grant.pk)
    assert (answer.status, answer.headers["location"]) == (303, LIST)
    assert not await reads(as_mona, talk.conversation)
    for button in ("extend", "end"):
        assert (await post(as_mona, talk.conversation, **{button: grant.pk})).status == 404
    assert [row.action for row in await rows()] == ["grant.open", "look", "grant.end"]


@pytest.mark.parametrize("button", ["extend", "end"])
async def test_a_grant_of_another_member_of_the_staff_is_not_found(
    as_mona: Client, as_stella: Client, talk: Talk, button: str
) -> None:
    await open_as_staff(as_mona, talk.conversation)
    grant = await AccessGrant.objects.aget()
    for value in (grant.pk, uuid.uuid4()):
        assert (await post(as_stella, talk.conversation, **{button: value})).status == 404
    assert not await reads(as_stella, talk.conversation)
    assert await reads(as_mona, talk.conversation)


# --- roles ------------------------------------------------------------------------------------------


async def test_a_grant_opens_for_its_staff_and_its_conversation_only(
    as_alice: Client, as_mona: Client, as_stella: Client, talk: Talk
) -> None:
    other = Talk(as_alice)
    await other.ask(f"{SECRET} of another conversation")
    await open_as_staff(as_mona, talk.conversation)
    assert await reads(as_mona, talk.conversation)
    assert not await reads(as_mona, other.conversation)
    assert not await reads(as_stella, talk.conversation)


async def test_triage_cannot_open(as_tom: Client, as_alice: Client, talk: Talk) -> None:
    await consent(as_alice, talk, allow=True)
    assert not await reads(as_tom, talk.conversation)
    assert (await as_tom.get(opening(talk.conversation))).status == 403
    for form in ({"reason": "report"}, {"consent": "true"}):
        assert (await post(as_tom, talk.conversation, **form)).status == 403
    assert not await AccessGrant.objects.aexists()


async def test_the_site_s_owner_needs_a_grant_too(parley: Any, talk: Talk) -> None:
    olga = await sync_to_async(make_user)("olga", is_staff=True, is_superuser=True)
    as_olga = await Client(parley, olga).sign_in()
    assert not await reads(as_olga, talk.conversation)
    await open_as_staff(as_olga, talk.conversation)
    assert await reads(as_olga, talk.conversation)


@pytest.mark.parametrize("lost", ["read_text", "break_glass", "staff"])
async def test_a_grant_opens_nothing_after_its_role_is_taken_away(
    as_mona: Client, mona: Any, talk: Talk, lost: str
) -> None:
    await open_as_staff(as_mona, talk.conversation)
    grant = await AccessGrant.objects.aget()
    if lost == "staff":
        mona.is_staff = False
        await mona.asave(update_fields=["is_staff"])
    else:
        await take_away(MODERATOR, lost)
    answer = await as_mona.get(transcript(talk.conversation))
    assert answer.status == 302
    assert SECRET not in answer.text
    extended = await post(as_mona, talk.conversation, extend=grant.pk)
    assert extended.status == (302 if lost == "staff" else 403)
    assert await rows(action="look") == []


async def test_an_own_conversation_needs_no_grant(as_mona: Client) -> None:
    await (own := Talk(as_mona)).ask(SECRET)
    assert await reads(as_mona, own.conversation)
    await as_mona.request("DELETE", f"/api/v1/conversations/{own.conversation}")
    assert not await reads(as_mona, own.conversation)
    assert await rows() == []


# --- consent ----------------------------------------------------------------------------------------


async def test_without_break_glass_a_moderator_opens_by_consent_only(
    as_mona: Client, as_alice: Client, talk: Talk
) -> None:
    await take_away(MODERATOR, "break_glass")
    page = await as_mona.get(opening(talk.conversation))
    assert "You can open a conversation only if its member allows it." in page.text
    assert 'name="reason"' not in page.text
    for form in ({"reason": "report"}, {"consent": "true"}):
        assert (await post(as_mona, talk.conversation, **form)).status == 403
    assert not await AccessGrant.objects.aexists()
    await consent(as_alice, talk, allow=True)
    assert 'name="consent"' in (await as_mona.get(opening(talk.conversation))).text
    answer = await post(as_mona, talk.conversation, consent="true")
    assert (answer.status, answer.headers["location"]) == (303, transcript(talk.conversation))
    assert await reads(as_mona, talk.conversation)
    given, opened, look = await rows()
    assert (given.action, given.actor) == ("consent.give", as_alice.user.audit_id)
    assert [(row.action, row.reason) for row in (opened, look)] == [
        ("grant.open", "consent"),
        ("look", "consent"),
    ]


async def test_consent_alone_opens_nothing_and_lasts_seven_days(
    as_mona: Client, as_alice: Client, talk: Talk
) -> None:
    await consent(as_alice, talk, allow=True)
    given = await Consent.objects.aget()
    assert given.expires_at - given.given_at == timedelta(days=7)
    assert not await reads(as_mona, talk.conversation)
    await Consent.objects.aupdate(expires_at=timezone.now())
    assert (await post(as_mona, talk.conversation, consent="true")).status == 403


async def test_a_revoked_consent_ends_its_grant_with_the_next_request(
    as_mona: Client, as_stella: Client, as_alice: Client, talk: Talk
) -> None:
    await consent(as_alice, talk, allow=True)
    await post(as_mona, talk.conversation, consent="true")
    await open_as_staff(as_stella, talk.conversation, "legal")
    grant = await AccessGrant.objects.aget(basis="consent")
    assert await reads(as_mona, talk.conversation)
    await consent(as_alice, talk, allow=False)
    assert not await reads(as_mona, talk.conversation)
    assert (await post(as_mona, talk.conversation, extend=grant.pk)).status == 404
    assert await reads(as_stella, talk.conversation)  # with a reason, not by consent
    await consent(as_alice, talk, allow=True)
    assert not await reads(as_mona, talk.conversation)


async def test_a_grant_by_consent_is_not_extended_after_the_consent_has_ended(
    as_mona: Client, as_alice: Client, talk: Talk
) -> None:
    await consent(as_alice, talk, allow=True)
    await post(as_mona, talk.conversation, consent="true")
    grant = await AccessGrant.objects.aget()
    await Consent.objects.aupdate(expires_at=timezone.now())
    assert (await post(as_mona, talk.conversation, extend=grant.pk)).status == 403


async def test_a_member_consents_for_an_own_conversation_only(
    as_bob: Client, as_mona: Client, talk: Talk
) -> None:
    for client in (as_bob, as_mona):
        answer = await client.post(f"/chat/{talk.conversation}/support/", form={"allow": "true"})
        assert answer.status == 404
    assert not await Consent.objects.aexists()


# --- deleted conversations --------------------------------------------------------------------------


async def test_a_deleted_conversation_opens_with_a_reason_and_not_by_consent(
    as_mona: Client, as_stella: Client, as_alice: Client, talk: Talk
) -> None:
    await consent(as_alice, talk, allow=True)
    await post(as_mona, talk.conversation, consent="true")
    assert await reads(as_mona, talk.conversation)
    await as_alice.request("DELETE", f"/api/v1/conversations/{talk.conversation}")
    assert not await reads(as_mona, talk.conversation)
    assert 'name="consent"' not in (await as_mona.get(opening(talk.conversation))).text
    assert (await post(as_stella, talk.conversation, consent="true")).status == 403
    await open_as_staff(as_stella, talk.conversation, "legal")
    assert await reads(as_stella, talk.conversation)


async def test_a_sealed_conversation_never_opens(as_mona: Client, talk: Talk) -> None:
    await open_as_staff(as_mona, talk.conversation)
    await Conversation.objects.filter(pk=talk.conversation or "").aupdate(deleted_at=timezone.now())
    await SealedConversation.objects.acreate(conversation_id=uuid.UUID(talk.conversation))
    assert (await as_mona.get(opening(talk.conversation))).status == 404
    assert (await post(as_mona, talk.conversation, reason="report")).status == 404
    refused = await as_mona.get(transcript(talk.conversation))  # although there is a grant
    assert refused.status in (302, 404)
    assert SECRET not in refused.text
    assert await rows(action="look") == []


# --- each look is recorded --------------------------------------------------------------------------


async def test_each_look_is_one_row_without_names(as_mona: Client, mona: Any, alice: Any, talk: Talk) -> None:
    await open_as_staff(as_mona, talk.conversation, "incident", text="typed wombat")
    grant = await AccessGrant.objects.aget()
    for number in (1, 2):
        answer = await as_mona.get(transcript(talk.conversation))
        looks = await rows(action="look")
        assert len(looks) == number
        look = looks[-1]
        assert (look.actor, look.member) == (mona.audit_id, alice.audit_id)
        assert (look.object_type, look.object_id) == ("conversation", talk.conversation)
        assert (look.reason, look.grant) == ("incident", grant.pk)
        assert look.request == answer.headers["x-request-id"]
        assert look.text_digest == ""
        assert look.told_from
        assert abs(look.told_from - look.at) < timedelta(seconds=1)
    stored = [row async for row in AuditEvent.objects.values()]
    for name in ("alice", "mona", "example.org", "quokka", "wombat"):
        assert name not in str(stored)


async def test_a_look_is_stored_before_the_text_is_read(
    as_mona: Client, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_as_staff(as_mona, talk.conversation)
    seen: list[tuple[bool, int]] = []

    def spy(*args: Any, **options: Any) -> Any:
        seen.append((connection.in_atomic_block, AuditEvent.objects.filter(action="look").count()))
        return transcript_of(*args, **options)

    monkeypatch.setattr("chat.admin.conversations.transcript_of", spy)
    assert await reads(as_mona, talk.conversation)
    assert seen == [(False, 1)]


@pytest.mark.parametrize("key", ["another", "empty", "a folder", "in no folder"])
async def test_no_text_is_shown_while_the_audit_cannot_be_written(
    as_mona: Client, as_stella: Client, talk: Talk, settings: Any, tmp_path: Path, key: str
) -> None:
    await open_as_staff(as_mona, talk.conversation)
    await open_search(as_stella)
    before = [row.seq for row in await rows()]
    (tmp_path / "empty").touch()
    settings.AUDIT_KEY_FILE = tmp_path if key == "a folder" else tmp_path / key / "key"
    if key in ("another", "empty"):
        settings.AUDIT_KEY_FILE = tmp_path / key
    answers = {
        "look": await as_mona.get(transcript(talk.conversation)),
        "search": await search_as_staff(as_stella, "canary"),
        "opening": await post(as_stella, talk.conversation, reason="report", text="typed wombat"),
    }
    for what, answer in answers.items():
        assert answer.status == 503, what
        assert "The audit cannot be written, so nothing is shown." in answer.text, what
        assert SECRET not in answer.text, what
        assert str(tmp_path) not in answer.text, what
    assert str(talk.conversation) not in answers["search"].text
    assert "typed wombat" in answers["opening"].text
    assert [row.seq for row in await rows()] == before
    assert await AccessGrant.objects.acount() == 2


async def test_a_member_reads_on_while_the_audit_cannot_be_written(
    as_alice: Client, talk: Talk, settings: Any, tmp_path: Path
) -> None:
    settings.AUDIT_KEY_FILE = tmp_path
    assert SECRET in (await as_alice.get(f"/chat/{talk.conversation}/")).text


# --- the search of texts ----------------------------------------------------------------------------


async def test_the_search_needs_a_grant_of_its_own(as_stella: Client, talk: Talk) -> None:
    await open_as_staff(as_stella, talk.conversation)
    page = await as_stella.get(SEARCH_PAGE)
    assert 'name="words"' not in page.text
    answer = await search_as_staff(as_stella, "canary")
    assert str(talk.conversation) not in answer.text
    assert await rows(action="search") == []
    await open_search(as_stella, "legal", text="typed wombat")
    assert 'name="words"' in (await as_stella.get(SEARCH_PAGE)).text
    assert str(talk.conversation) in (await search_as_staff(as_stella, "canary")).text


async def test_the_grant_to_search_opens_no_conversation(as_stella: Client, talk: Talk) -> None:
    await open_search(as_stella)
    assert str(talk.conversation) in (await search_as_staff(as_stella, "canary")).text
    assert not await reads(as_stella, talk.conversation)


async def test_the_search_shows_no_text(as_stella: Client, as_alice: Client, talk: Talk) -> None:
    await as_alice.request(
        "PATCH", f"/api/v1/conversations/{talk.conversation}", json_body={"title": "Night sky"}
    )
    await open_search(as_stella)
    answer = await search_as_staff(as_stella, "canary")
    assert str(talk.conversation) in answer.text
    assert "alice" in answer.text
    for text in ("quokka", "Night sky"):
        assert text not in answer.text
    link = f'href="{transcript(talk.conversation)}?q=canary"'
    assert link in answer.text


async def test_each_search_is_one_row_whose_words_are_stored_apart(
    as_stella: Client, stella: Any, talk: Talk
) -> None:
    await open_search(as_stella, "incident")
    grant = await AccessGrant.objects.aget()
    for words in ("canary", "nonsensewombat", "  canary  "):
        answer = await search_as_staff(as_stella, words)
        row = (await rows(action="search"))[-1]
        assert (row.actor, row.member, row.reason, row.grant) == (
            stella.audit_id,
            None,
            "incident",
            grant.pk,
        )
        assert row.request == answer.headers["x-request-id"]
        stored = await AuditText.objects.aget(seq=row.seq)
        assert (stored.text, stored.author_id) == (words.strip(), stella.pk)
        assert "canary" not in str([each async for each in AuditEvent.objects.values()])
    assert len(await rows(action="search")) == 3
    await search_as_staff(as_stella, "   ")  # nothing was searched
    assert len(await rows(action="search")) == 3


async def test_the_search_shows_the_newest_50(as_stella: Client, alice: Any) -> None:
    made = [Conversation(owner=alice, agent="chat_assistant", title=f"zyzzyva {n}") for n in range(51)]
    await Conversation.objects.abulk_create(made)
    await open_search(as_stella)
    answer = await search_as_staff(as_stella, "zyzzyva")
    assert [str(each.pk) in answer.text for each in made] == [False] + [True] * 50
    assert "Only the newest 50 are shown." in answer.text


async def test_the_search_finds_no_deleted_conversation(
    as_stella: Client, as_alice: Client, talk: Talk
) -> None:
    await as_alice.request("DELETE", f"/api/v1/conversations/{talk.conversation}")
    await open_search(as_stella)
    assert str(talk.conversation) not in (await search_as_staff(as_stella, "canary")).text


async def test_a_grant_to_search_helps_only_its_staff(as_stella: Client, parley: Any, talk: Talk) -> None:
    as_sven = await Client(parley, await sync_to_async(make_staff)("sven", SENIOR)).sign_in()
    await open_search(as_stella)
    grant = await AccessGrant.objects.aget()
    assert str(talk.conversation) not in (await search_as_staff(as_sven, "canary")).text
    for button in ("extend", "end"):
        assert (await as_sven.post(SEARCH_PAGE, form={button: str(grant.pk)})).status == 404
    assert str(talk.conversation) in (await search_as_staff(as_stella, "canary")).text


async def test_a_moderator_who_is_not_senior_cannot_search(as_mona: Client, as_tom: Client) -> None:
    for client in (as_mona, as_tom):
        assert (await client.get(SEARCH_PAGE)).status == 403
        for form in ({"reason": "report"}, {"words": "canary"}):
            assert (await client.post(SEARCH_PAGE, form=form)).status == 403
    assert await rows() == []


async def test_the_search_ends_after_30_minutes_by_a_click_or_with_the_role(
    as_stella: Client, talk: Talk
) -> None:
    async def finds() -> bool:
        return str(talk.conversation) in (await search_as_staff(as_stella, "canary")).text

    await open_search(as_stella)
    grant = await let_end()
    assert not await finds()
    assert (await as_stella.post(SEARCH_PAGE, form={"extend": str(grant.pk)})).status == 303
    assert await finds()
    assert (await as_stella.post(SEARCH_PAGE, form={"end": str(grant.pk)})).status == 303
    assert not await finds()
    assert (await as_stella.post(SEARCH_PAGE, form={"extend": str(grant.pk)})).status == 404
    await open_search(as_stella)
    assert await finds()
    await take_away(SENIOR, "search_text")
    assert (await search_as_staff(as_stella, "canary")).status == 403


@pytest.mark.parametrize(
    ("form", "sentence"),
    [({"reason": "other"}, "Say why"), ({"reason": "x"}, "Choose a reason."), ({}, "Choose a reason.")],
)
async def test_an_incomplete_reason_opens_no_search(
    as_stella: Client, form: dict[str, str], sentence: str
) -> None:
    answer = await as_stella.post(SEARCH_PAGE, form={"text": "  ", **form})
    assert answer.status == 422
    assert sentence in answer.text
    assert not await AccessGrant.objects.aexists()


async def test_words_that_were_typed_when_the_search_ended_are_searched_after_it_is_open_again(
    as_stella: Client, talk: Talk
) -> None:
    await open_search(as_stella)
    await AccessGrant.objects.aupdate(expires_at=timezone.now())
    refused = await as_stella.post("/admin/search/", form={"words": "wombat"})
    assert '<input type="hidden" name="words" value="wombat">' in refused.text
    found = await as_stella.post("/admin/search/", form={"words": "wombat", "reason": "report"})
    assert "0 conversations" in found.text
    assert len(await rows(action="search")) == 1


async def test_a_page_links_only_to_what_its_reader_may_view(parley: Any, talk: Talk) -> None:
    nora = await sync_to_async(make_user)("nora", is_staff=True)
    able = ["view_conversation", "read_text", "break_glass"]
    await nora.user_permissions.aset([p async for p in Permission.objects.filter(codename__in=able)])
    as_nora = await Client(parley, nora).sign_in()
    facts = await as_nora.get(opening(talk.conversation))
    await open_as_staff(as_nora, talk.conversation)
    shown = await as_nora.get(transcript(talk.conversation))
    for answer in (facts, shown):
        assert answer.status == 200
        assert "/admin/chat/run/" not in answer.text
        assert "/admin/accounts/user/" not in answer.text


async def test_without_break_glass_the_page_offers_no_reason(parley: Any, talk: Talk) -> None:
    nora = await sync_to_async(make_user)("nora", is_staff=True)
    able = ["view_conversation", "read_text"]
    await nora.user_permissions.aset([p async for p in Permission.objects.filter(codename__in=able)])
    page = await (await Client(parley, nora).sign_in()).get(opening(talk.conversation))
    assert page.status == 200
    assert 'name="reason"' not in page.text
