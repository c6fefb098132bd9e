"""Nobody becomes another member: staff set no password or address, and each act on an account is seen."""

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from accounts.models import User
from chat.moderation.groups import MODERATOR, TRIAGE
from chat.moderation.models import AuditEvent, OneTimeLink
from tests.conftest import PASSWORD, make_user

pytestmark = pytest.mark.django_db(transaction=True)

NEW = "another horse battery"


@pytest.fixture
def olga(transactional_db: None) -> Any:
    return make_user("olga", is_staff=True, is_superuser=True)


@pytest.fixture
def as_olga(olga: Any) -> Client:
    return signed_in(olga)


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def fields_of(user: Any, **changed: Any) -> dict[str, Any]:
    """Return the form of a user's page as the browser sends it."""
    form = {"username": user.username, "is_active": "on" if user.is_active else ""}
    form |= {"is_staff": "on"} if user.is_staff else {}
    return {name: value for name, value in (form | changed).items() if value != ""}


def change(client: Client, user: Any, **changed: Any) -> Any:
    path = reverse("admin:accounts_user_change", args=[user.pk])
    return client.post(path, fields_of(user, **changed))


def help_path(user: Any) -> str:
    return reverse("help_to_sign_in", args=[user.pk])


def rows(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action).order_by("seq"))


def assert_seen_by(member: Any, words: str) -> None:
    """Check the notice on the chat page and the line of the page that it leads to."""
    member.refresh_from_db()
    client = signed_in(member)
    assert 'id="staff-acted"' in client.get("/").content.decode()
    assert words in client.get("/account/staff-access/").content.decode()
    assert 'id="staff-acted"' not in client.get("/").content.decode()


# --- twelve ways for the owner to become alice ------------------------------------------------------------


def test_1_the_admin_has_no_page_that_sets_a_password(as_olga: Client, alice: Any) -> None:
    with pytest.raises(NoReverseMatch):
        reverse("admin:auth_user_password_change", args=[alice.pk])
    path = f"/admin/accounts/user/{alice.pk}/password/"
    as_olga.post(path, {"password1": NEW, "password2": NEW, "usable_password": "true"})
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


@pytest.mark.parametrize(
    "field",
    [
        {"password": "pbkdf2_sha256$1$a$b"},
        {"password1": NEW, "password2": NEW},
        {"usable_password": "true", "password1": NEW, "password2": NEW},
    ],
)
def test_2_the_form_of_a_user_takes_no_password(as_olga: Client, alice: Any, field: dict[str, str]) -> None:
    assert change(as_olga, alice, **field).status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_3_the_form_of_a_user_takes_no_address(as_olga: Client, alice: Any) -> None:
    change(as_olga, alice, email="olga@example.org")
    alice.refresh_from_db()
    assert alice.email == "alice@example.org"


def test_4_the_table_of_addresses_cannot_be_edited(as_olga: Client, alice: Any) -> None:
    with pytest.raises(NoReverseMatch):
        reverse("admin:account_emailaddress_add")
    form = {"user": alice.pk, "email": "olga@work.example", "verified": "on", "primary": "on"}
    assert as_olga.post("/admin/account/emailaddress/add/", form).status_code == 404
    assert not EmailAddress.objects.filter(user=alice).exists()


def test_5_sessions_are_not_in_the_admin(as_olga: Client, alice: Any) -> None:
    assert as_olga.get("/admin/sessions/session/").status_code == 404


def test_6_a_new_account_has_no_password_that_staff_know(as_olga: Client) -> None:
    form = {"username": "nora", "email": "nora@example.org", "password1": NEW, "password2": NEW}
    as_olga.post(reverse("admin:accounts_user_add"), {**form, "usable_password": "true"})
    nora = User.objects.get(username="nora")
    assert not nora.has_usable_password()
    assert [row.member for row in rows("member.add")] == [nora.audit_id]


def test_7_a_letter_goes_to_the_member_and_the_member_sees_it(
    as_olga: Client, olga: Any, alice: Any, settings: Any
) -> None:
    settings.EMAIL_HOST = "mail.example.org"
    answer = as_olga.post(help_path(alice), {"reason": "help", "text": "alice has called"})
    assert [letter.to for letter in mail.outbox] == [["alice@example.org"]]
    link = re.search(r"https?://\S+", str(mail.outbox[0].body))
    assert link
    assert link[0] not in answer.content.decode()
    (row,) = rows("member.reset_link")
    assert (row.actor, row.member, row.reason) == (olga.audit_id, alice.audit_id, "help")
    assert_seen_by(alice, "sent you a link")


def test_8_a_one_time_link_is_seen_by_the_member_when_made_and_when_used(
    as_olga: Client, olga: Any, alice: Any
) -> None:
    link = made_link(as_olga, alice)
    assert_seen_by(alice, "made a link")
    answer = Client().post(link, {"password1": NEW, "password2": NEW})
    assert (answer.status_code, answer["location"]) == (302, "/")
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    (row,) = rows("member.link_used")
    assert (row.actor, row.member) == (None, alice.audit_id)
    assert_seen_by(alice, "was used")


def test_9_a_swap_of_names_is_recorded_and_moves_no_conversation(
    as_olga: Client, olga: Any, alice: Any
) -> None:
    change(as_olga, alice, username="former")
    assert [(row.member, row.reason) for row in rows("member.change")] == [(alice.audit_id, "username")]
    assert_seen_by(alice, "changed your account")


def test_10_the_set_up_link_is_gone(as_olga: Client) -> None:
    assert as_olga.get("/accounts/set-up/anything/").status_code == 404


def test_11_a_deactivated_account_keeps_its_name_and_address(
    as_olga: Client, alice: Any, settings: Any
) -> None:
    settings.SIGNUP_IS_OPEN = True
    change(as_olga, alice, is_active="")
    form = {"username": "alice", "email": "alice@example.org", "password1": NEW, "password2": NEW}
    Client().post(reverse("account_signup"), form)
    assert User.objects.filter(username__iexact="alice").count() == 1
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_12_a_terminal_as_the_member_is_seen_by_the_member(
    alice: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    from chat.terminal.command import ChatOptions, _load

    _load(ChatOptions(user="alice"))
    (row,) = rows("terminal.open")
    assert (row.actor, row.member) == (None, alice.audit_id)
    assert_seen_by(alice, "opened a terminal as you")


# --- whom staff may act on --------------------------------------------------------------------------------


def made_link(client: Client, member: Any) -> str:
    page = client.post(help_path(member), {"reason": "help"}).content.decode()
    found = re.search(r'one-time-link">http://testserver([^<]+)<', page)
    assert found, page
    return found[1]


@pytest.mark.parametrize("name", ["olga", "stefan", "mona"])
def test_a_moderator_helps_neither_staff_nor_the_owner_nor_herself(olga: Any, mona: Any, name: str) -> None:
    make_user("stefan", is_staff=True)
    target = User.objects.get(username=name)
    assert signed_in(mona).post(help_path(target), {"reason": "help"}).status_code == 403
    assert not OneTimeLink.objects.exists()


def test_the_owner_helps_staff(as_olga: Client, mona: Any) -> None:
    assert made_link(as_olga, mona)


def test_nobody_without_the_permission_helps(mona: Any, alice: Any) -> None:
    mona.groups.set([Group.objects.get(name=TRIAGE)])
    assert signed_in(mona).post(help_path(alice), {"reason": "help"}).status_code == 403


def test_help_needs_a_reason_and_keeps_the_typed_words(mona: Any, alice: Any) -> None:
    client = signed_in(mona)
    answer = client.post(help_path(alice), {"text": "typed words"})
    assert answer.status_code == 422
    assert "typed words" in answer.content.decode()
    assert client.post(help_path(alice), {"reason": "other"}).status_code == 422
    assert not rows("member.one_time_link")


def test_a_link_works_once_and_for_an_hour(mona: Any, alice: Any) -> None:
    link = made_link(signed_in(mona), alice)
    assert Client().get(link).status_code == 200
    OneTimeLink.objects.update(expires_at=timezone.now())
    assert Client().post(link, {"password1": NEW, "password2": NEW}).status_code == 404
    second = made_link(signed_in(mona), alice)
    assert Client().post(second, {"password1": "short", "password2": "short"}).status_code == 422
    assert Client().post(second, {"password1": NEW, "password2": NEW}).status_code == 302
    assert Client().post(second, {"password1": NEW, "password2": NEW}).status_code == 404


def test_a_newer_link_ends_the_older_one(mona: Any, alice: Any) -> None:
    older = made_link(signed_in(mona), alice)
    made_link(signed_in(mona), alice)
    assert Client().get(older).status_code == 404


def test_a_used_link_ends_the_other_sign_ins(mona: Any, alice: Any) -> None:
    before = signed_in(alice)
    Client().post(made_link(signed_in(mona), alice), {"password1": NEW, "password2": NEW})
    assert before.get("/").status_code == 302


def test_a_deactivated_account_has_no_session_when_it_is_active_again(as_olga: Client, alice: Any) -> None:
    before = signed_in(alice)
    change(as_olga, alice, is_active="")
    assert before.get("/").status_code == 302
    alice.refresh_from_db()
    change(as_olga, alice, is_active="on")
    assert before.get("/").status_code == 302
    assert [row.reason for row in rows("member.change")] == ["is_active", "is_active"]


def test_changes_of_groups_are_recorded(as_olga: Client, alice: Any) -> None:
    moderator = Group.objects.get(name=MODERATOR)
    change(as_olga, alice, is_staff="on", groups=[moderator.pk])
    assert {row.reason for row in rows("member.change")} == {"is_staff", "groups"}
    extra = Permission.objects.get(codename="view_audit").pk
    path = reverse("admin:auth_group_change", args=[moderator.pk])
    as_olga.post(path, {"name": moderator.name, "permissions": [extra]})
    assert [(row.reason, row.object_id) for row in rows("group.change")] == [
        ("permissions", str(moderator.pk))
    ]


def test_a_session_of_before_the_upgrade_stays_valid(alice: Any) -> None:
    User.objects.filter(pk=alice.pk).update(sign_in_epoch=None)
    client = signed_in(alice)
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("head", ["", "1:wrong"])
def test_the_command_says_whether_the_audit_is_whole(alice: Any, mona: Any, head: str, capsys: Any) -> None:
    from django.core.management.base import CommandError

    made_link(signed_in(mona), alice)
    if head:
        with pytest.raises(CommandError):
            call_command("verify_audit", head=head)
    else:
        call_command("verify_audit")
        assert "The audit is whole." in capsys.readouterr().out


def test_handing_over_the_site_is_recorded_and_seen_by_both(olga: Any, alice: Any) -> None:
    call_command("hand_over", "alice")
    assert {(row.actor, row.member) for row in rows("member.change")} == {
        (None, olga.audit_id), (None, alice.audit_id),
    }  # fmt: skip
    assert_seen_by(alice, "changed your account")
    assert_seen_by(olga, "changed your account")


def test_the_history_of_a_user_reveals_to_no_other_staff_which_ids_exist(alice: Any) -> None:
    nora = make_user("nora", is_staff=True)
    answers = [
        signed_in(nora).get(f"/admin/accounts/user/{pk}/history/").status_code for pk in (alice.pk, 10**6)
    ]
    assert answers == [403, 403]


def test_conversations_are_counted_only_for_staff_who_may_list_them(alice: Any) -> None:
    nora = make_user("nora", is_staff=True)
    nora.user_permissions.add(Permission.objects.get(codename="view_user"))
    page = signed_in(nora).get("/admin/accounts/user/").content.decode()
    assert "alice" in page
    assert "column-conversations" not in page


def test_staff_without_the_permission_do_not_learn_which_accounts_exist(mona: Any, alice: Any) -> None:
    mona.groups.set([Group.objects.get(name=TRIAGE)])
    paths = [help_path(alice), reverse("help_to_sign_in", args=[10**6])]
    assert [signed_in(mona).get(path).status_code for path in paths] == [403, 403]
