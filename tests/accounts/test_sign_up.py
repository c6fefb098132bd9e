"""SIGNUP=closed: only the site's owner creates accounts, by the set-up link and in the admin."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core import mail
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts import owner
from accounts.models import User
from chat.moderation.groups import MODERATOR
from tests.accounts.test_accounts import is_signed_in, page, set_up, sign_in, sign_up, the_token
from tests.conftest import PASSWORD, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def closed(settings: Any, fresh_limits: None) -> Iterator[None]:
    settings.SIGNUP_IS_OPEN = False
    owner.forget_token()
    yield
    owner.forget_token()


@pytest.fixture
def as_olga() -> Client:
    """Return a browser signed in as the site's owner."""
    make_user("olga", is_staff=True, is_superuser=True)
    olga = Client()
    assert sign_in(olga, "olga").status_code == 302
    return olga


# --- members cannot sign up -------------------------------------------------------------------------


def test_the_sign_up_page_says_that_it_is_closed() -> None:
    answer = Client().get(reverse("account_signup"))
    shown = page(answer)
    assert answer.status_code == 403
    assert shown.one("h1").words == "Sign-up is closed"
    assert shown.one("main").one("p").words == (
        "The owner of this site creates its accounts. If you have one, sign in."
    )
    assert shown.one("main").one("a")["href"] == reverse("account_login")
    assert not shown.all("form")


def test_a_form_from_before_sign_up_was_closed_creates_no_account(settings: Any) -> None:
    settings.SIGNUP_IS_OPEN = True
    client = Client()
    form = page(client.get(reverse("account_signup"))).one("form").fields()
    settings.SIGNUP_IS_OPEN = False
    answer = sign_up(client, **form)
    assert answer.status_code == 403
    assert not User.objects.exists()
    assert not is_signed_in(client)


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "head", "options"])
def test_every_method_is_refused_at_the_sign_up_page(method: str) -> None:
    assert getattr(Client(), method)(reverse("account_signup")).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Requested-With": "XMLHttpRequest"},
        {"Accept": "application/json"},
        {"Content-Type": "application/json"},
    ],
    ids=str,
)
def test_a_script_cannot_sign_up_either(headers: dict[str, str]) -> None:
    answer = Client(headers=headers).post(reverse("account_signup"), ACCOUNT)
    assert answer.status_code == 403
    assert not User.objects.exists()


def test_the_sign_in_page_has_no_link_to_a_closed_sign_up() -> None:
    assert reverse("account_signup") not in Client().get(reverse("account_login")).content.decode()


def test_the_sign_in_page_links_to_an_open_sign_up(settings: Any) -> None:
    settings.SIGNUP_IS_OPEN = True
    shown = page(Client().get(f"{reverse('account_login')}?next=/chat/")).one("main")
    assert shown.all("p")[-1].words == "No account yet? Sign up."
    assert shown.all("p")[-1].one("a")["href"] == "/accounts/signup/?next=%2Fchat%2F"


def test_the_sign_in_page_still_links_to_the_password_reset() -> None:
    links = [each["href"] for each in page(Client().get(reverse("account_login"))).all("a")]
    assert reverse("account_reset_password") in links


@pytest.mark.parametrize("is_open", [True, False])
def test_an_e_mail_to_an_unknown_address_links_only_to_an_open_sign_up(settings: Any, is_open: bool) -> None:
    settings.SIGNUP_IS_OPEN = is_open
    Client().post(reverse("account_reset_password"), {"email": "nobody@example.org"})
    (letter,) = mail.outbox
    assert ("http://testserver/accounts/signup/" in str(letter.body)) is is_open
    assert ("The owner of this site creates its accounts" in str(letter.body)) is not is_open
    assert "nobody@example.org" in str(letter.body)


# --- other routes -----------------------------------------------------------------------------------

ACCOUNT = {
    "username": "eve",
    "email": "eve@example.org",
    "email2": "eve@example.org",
    "login": "eve",
    "password": PASSWORD,
    "password1": PASSWORD,
    "password2": PASSWORD,
    "usable_password": "true",
    "code": "123456",
    "action_add": "",
    "is_staff": "on",
    "is_superuser": "on",
    "_save": "Save",
}


def addresses(patterns: Any, before: str = "/") -> Iterator[str]:
    """Return each route of the site, with placeholders for its arguments."""
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield re.sub(r"<[^>]+>|\(\?P<\w+>[^)]*\)", "1", route).replace("^", "").replace("$", "")


ADDRESSES = sorted(set(addresses(get_resolver().url_patterns)))


def test_the_tried_routes_include_those_of_accounts() -> None:
    for name in ("account_signup", "account_login", "account_reset_password", "admin:accounts_user_add"):
        assert reverse(name) in ADDRESSES


@pytest.mark.parametrize("who", ["a visitor", "alice", "mona"])
def test_no_route_creates_an_account(who: str, settings: Any) -> None:
    """Send each route every field of every form about accounts."""
    settings.ACCOUNT_RATE_LIMITS = False  # otherwise a rate limit could hide an open route
    client = Client()
    if who != "a visitor":
        member = make_user(who, is_staff=who == "mona")
        if who == "mona":
            member.groups.add(Group.objects.get(name=MODERATOR))
        client.force_login(member)
    before = set(User.objects.values_list("username", flat=True))
    the_token()
    for address in ADDRESSES:
        if not address.startswith(("/accounts/", "/admin/")) or "logout" in address:
            continue
        for body in ({"data": ACCOUNT}, {"data": ACCOUNT, "content_type": "application/json"}):
            client.get(address)
            answer = client.post(address, **body)
            assert answer.status_code < 500, address
            assert set(User.objects.values_list("username", flat=True)) == before, address


# --- the owner still can ----------------------------------------------------------------------------


def test_the_set_up_link_creates_the_owner_while_sign_up_is_closed() -> None:
    client = Client()
    token = the_token()
    assert (
        page(client.get(reverse("set_up", args=[token])))
        .one("main")
        .one("p")
        .words.endswith("works once; you create all other accounts.")
    )
    assert set_up(client, token)["Location"] == "/"
    assert User.objects.get().is_superuser


def test_the_set_up_page_says_that_others_can_sign_up_if_it_is_open(settings: Any) -> None:
    settings.SIGNUP_IS_OPEN = True
    shown = page(Client().get(reverse("set_up", args=[the_token()])))
    assert shown.one("main").one("p").words.endswith("everybody else signs up as a member.")


def add(olga: Client, **changed: str) -> Any:
    """Fill in the admin's form for a new user as it is shown."""
    address = reverse("admin:accounts_user_add")
    form = page(olga.get(address)).one("form", id="user_form").fields()
    filled = {"username": "bob", "email": "bob@example.org"}
    return olga.post(address, form | filled | changed)


def test_the_owner_creates_a_member_who_signs_in(as_olga: Client) -> None:
    assert add(as_olga).status_code == 302
    bob = User.objects.get(username="bob")
    assert (bob.email, bob.is_staff, bob.is_superuser, bob.is_active) == (
        "bob@example.org", False, False, True,
    )  # fmt: skip
    help_path = reverse("help_to_sign_in", args=[bob.pk])
    shown = as_olga.post(help_path, {"reason": "help"}).content.decode()
    link = re.search(r"http://testserver(/accounts/one-time/[^<]+)<", shown)
    assert link
    Client().post(link[1], {"password1": PASSWORD, "password2": PASSWORD})
    for login in ("bob", "BOB", "bob@example.org"):
        client = Client()
        assert sign_in(client, login).status_code == 302
        assert is_signed_in(client)


def test_a_member_created_by_the_owner_can_reset_the_password(as_olga: Client) -> None:
    add(as_olga)
    Client().post(reverse("account_reset_password"), {"email": "bob@example.org"})
    (letter,) = mail.outbox
    assert letter.to == ["bob@example.org"]
    assert "/accounts/password/reset/key/" in str(letter.body)


def test_an_account_can_be_created_without_an_e_mail_address(as_olga: Client) -> None:
    assert add(as_olga, email="").status_code == 302
    assert add(as_olga, email="", username="alice").status_code == 302
    assert not sign_in(Client(), "alice").has_header("location")  # it has no password yet


@pytest.mark.parametrize(
    "changed",
    [
        {"username": "OLGA"},
        {"username": "ｏｌｇａ"},
        {"email": "OLGA@example.org"},
        {"username": ""},
    ],
    ids=str,
)
def test_an_invalid_form_of_the_owner_creates_no_account_and_says_why(
    as_olga: Client, changed: dict[str, str]
) -> None:
    answer = add(as_olga, **changed)
    assert answer.status_code == 200
    assert page(answer).all("ul", class_="errorlist")
    assert User.objects.count() == 1
