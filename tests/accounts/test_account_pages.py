"""Words of the account pages and letters, and the steps of e-mail addresses and password resets."""

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests.accounts.test_accounts import change_password, page, sign_in, sign_up
from tests.conftest import PASSWORD, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_limits")]

OTHER_WORDS = re.compile(
    r"Sign [IUO]|Log ?[Ii]n|Login|Logout|Username|\b[Ee]mails?\b|\b[Cc]ontact us|successfully"
)


@pytest.fixture
def as_member() -> Client:
    """Return the browser of alice, who is signed in."""
    make_user("alice")
    client = Client()
    sign_in(client)
    return client


@pytest.fixture
def with_mail_server(settings: Any) -> None:
    settings.EMAIL_HOST = "mail.example.org"


def remove(client: Client, address: str, **fields: str) -> Any:
    form = {"email": address, "action_remove": ""}
    return client.post(reverse("account_email"), form | fields)


def addresses() -> list[str]:
    return list(EmailAddress.objects.order_by("email").values_list("email", flat=True))


def ask_for_reset(email: str = "alice@example.org") -> Any:
    return Client().post(reverse("account_reset_password"), {"email": email}, follow=True)


def text_of(letter: Any) -> str:
    """Return the letter's text without its links."""
    return re.sub(r"http\S+", "", str(letter.body))


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "account_login", "account_signup", "account_reset_password", "account_reset_password_done",
        "account_reset_password_from_key_done", "account_inactive", "account_email_verification_sent",
    ],
)  # fmt: skip
def test_the_pages_of_visitors_use_the_words_of_the_site(name: str) -> None:
    assert OTHER_WORDS.findall(page(Client().get(reverse(name))).one("body").words) == []


@pytest.mark.parametrize(
    "name", ["account_email", "account_change_password", "account_logout", "account_reauthenticate"]
)
def test_the_pages_of_members_use_the_words_of_the_site(as_member: Client, name: str) -> None:
    assert OTHER_WORDS.findall(page(as_member.get(reverse(name))).one("body").words) == []


def test_the_rules_for_passwords_are_one_sentence() -> None:
    shown = page(Client().get(reverse("account_signup"))).one("div", class_="field-help")
    assert shown.words == "At least 10 characters. Not a common password, and not like your name."


def test_a_success_is_not_marked_as_a_problem(as_member: Client) -> None:
    change_password(as_member)
    shown = page(as_member.get(reverse("account_email")))
    assert shown.one("p", class_="success").words == "Your password is changed."


# --- e-mail addresses -----------------------------------------------------------------------------


def test_the_only_address_is_not_removed_without_a_question(as_member: Client) -> None:
    as_member.get(reverse("account_email"))
    asked = page(remove(as_member, "alice@example.org"))
    assert asked.one("h1").words == "Remove alice@example.org?"
    assert "you cannot reset it" in asked.one("main").words
    assert addresses() == ["alice@example.org"]


def test_a_confirmed_removal_removes_the_address(as_member: Client) -> None:
    as_member.get(reverse("account_email"))
    form = page(remove(as_member, "alice@example.org")).one("form").fields()
    remove(as_member, **{"address": form.pop("email"), **form})
    assert addresses() == []
    assert "cannot reset" in page(as_member.get(reverse("account_email"))).one("main").words


def test_the_primary_address_cannot_be_made_primary_again(as_member: Client) -> None:
    as_member.get(reverse("account_email"))  # stores alice's address
    EmailAddress.objects.update(primary=True)  # as a sign-up does
    as_member.post(reverse("account_email"), {"email": "second@example.org", "action_add": ""})
    entries = page(as_member.get(reverse("account_email"))).one("ul", class_="address-list").all("li")
    buttons = {entry.all("span")[0].words: [b["name"] for b in entry.all("button")] for entry in entries}
    assert "action_primary" not in buttons["alice@example.org"]
    assert "action_primary" in buttons["second@example.org"]


# --- letters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("email", ["alice@example.org", "nobody@example.org"])
def test_a_letter_names_the_site_and_its_address(email: str) -> None:
    make_user("alice")
    ask_for_reset(email)
    (letter,) = mail.outbox
    assert letter.from_email == "Parley <parley@localhost>"
    assert "testserver" not in letter.subject
    assert str(letter.body).endswith("\n-- \nParley, http://testserver")
    assert OTHER_WORDS.findall(text_of(letter)) == []


def test_the_letter_to_confirm_an_address_names_the_site(as_member: Client) -> None:
    as_member.post(reverse("account_email"), {"email": "second@example.org", "action_add": ""})
    (letter,) = mail.outbox
    assert letter.subject == "Confirm your e-mail address"
    assert "the user alice has added this address" in str(letter.body)
    assert OTHER_WORDS.findall(text_of(letter)) == []


def test_a_link_from_a_letter_confirms_the_address(as_member: Client) -> None:
    as_member.post(reverse("account_email"), {"email": "second@example.org", "action_add": ""})
    found = re.search(r"http://testserver(/\S+confirm-email/\S+)", str(mail.outbox[0].body))
    assert found
    form = page(as_member.get(found[1])).one("form")
    as_member.post(form["action"], form.fields())
    assert EmailAddress.objects.get(email="second@example.org").verified


def test_without_a_mail_server_the_reset_says_that_nothing_was_sent() -> None:
    make_user("alice")
    assert "nothing was sent" in page(ask_for_reset()).one("main").words


@pytest.mark.usefixtures("with_mail_server")
def test_with_a_mail_server_the_reset_says_that_a_letter_is_on_its_way() -> None:
    make_user("alice")
    assert "on its way" in page(ask_for_reset()).one("main").words


# --- a new site -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["account_login", "account_signup"])
def test_a_site_without_an_owner_says_where_the_set_up_link_is(name: str) -> None:
    shown = page(Client().get(reverse(name))).one("p", class_="notice")
    assert "in the terminal, or in the log" in shown.words
    assert "set-up/" not in Client().get(reverse(name)).content.decode()


def test_a_site_with_an_owner_says_nothing_of_the_set_up() -> None:
    make_user("olga", is_staff=True, is_superuser=True)
    assert page(Client().get(reverse("account_login"))).all("p", class_="notice") == []


# --- names in every script ------------------------------------------------------------------------

NAMES = [("Привіт", "привіт"), ("ΝΊΚΟΣ", "νίκος"), ("Straße", "STRASSE"), ("Ólafur", "ólafur")]


@pytest.mark.parametrize(("name", "typed"), NAMES)
def test_sign_in_accepts_a_name_of_any_script_in_any_case(name: str, typed: str) -> None:
    User.objects.create_user(name, "someone@example.org", PASSWORD)
    assert sign_in(Client(), typed).status_code == 302


@pytest.mark.parametrize(("name", "typed"), NAMES)
def test_user_names_of_any_script_are_unique_in_any_case(name: str, typed: str) -> None:
    User.objects.create_user(name, "someone@example.org", PASSWORD)
    answer = sign_up(Client(), username=typed)
    assert page(answer).one("ul", id="id_username_error").words == "This user name is taken."


@pytest.mark.parametrize(("name", "typed"), NAMES)
def test_the_database_refuses_a_name_that_differs_in_case(name: str, typed: str) -> None:
    User.objects.create_user(name, "someone@example.org", PASSWORD)
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user(typed, "other@example.org", PASSWORD)


def test_sign_in_accepts_an_address_of_any_script_in_any_case() -> None:
    User.objects.create_user("alice", "Іван@example.org", PASSWORD)
    assert sign_in(Client(), "іван@EXAMPLE.org").status_code == 302


def test_a_changed_name_is_compared_in_any_case() -> None:
    user = make_user("alice")
    user.username = "Привіт"
    user.save(update_fields=["username"])
    assert sign_in(Client(), "привіт").status_code == 302
    assert sign_in(Client(), "alice").status_code == 200


def test_the_admin_refuses_a_name_that_differs_in_case() -> None:
    User.objects.create_user("Привіт", "someone@example.org", PASSWORD)
    make_user("olga", is_staff=True, is_superuser=True)
    as_olga = Client()
    sign_in(as_olga, "olga")
    form = {"username": "привіт", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    answer = as_olga.post(reverse("admin:accounts_user_add"), form)
    assert (answer.status_code, User.objects.count()) == (200, 2)
