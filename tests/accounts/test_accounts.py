"""Sign-up, sign-in, sign-out, passwords, and the one-time link that creates the site's owner."""

import re
import stat
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from accounts import owner
from accounts.models import User
from tests.conftest import PASSWORD, make_user
from tests.support.dom import Element, parse

# Attempts are counted by address, and all tests have the same one.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_limits")]
NEW_PASSWORD = "staple battery horse"


@pytest.fixture(autouse=True)
def no_token() -> Iterator[None]:
    owner.forget_token()
    yield
    owner.forget_token()


def sign_up(client: Client, **fields: str) -> Any:
    form = {
        "username": "alice",
        "email": "alice@example.org",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    return client.post(reverse("account_signup"), form | fields)


def sign_in(client: Client, login: str = "alice", password: str = PASSWORD) -> Any:
    return client.post(reverse("account_login"), {"login": login, "password": password})


def is_signed_in(client: Client) -> bool:
    return bool(client.get("/").status_code == 200)


def page(response: Any) -> Element:
    return parse(response.content.decode())


# --- members --------------------------------------------------------------------------------------


def test_sign_up_is_open_and_creates_a_member() -> None:
    client = Client()
    response = sign_up(client)
    assert (response.status_code, response["Location"]) == (302, "/")
    alice = User.objects.get()
    assert (alice.username, alice.is_staff, alice.is_superuser) == ("alice", False, False)
    assert is_signed_in(client)


def test_sign_up_ignores_fields_that_grant_rights() -> None:
    sign_up(Client(), is_superuser="on", is_staff="on", is_active="", first_name="x")
    alice = User.objects.get()
    assert (alice.is_superuser, alice.is_staff, alice.is_active, alice.first_name) == (False, False, True, "")


@pytest.mark.parametrize("name", ["alice", "ALICE", "ａｌｉｃｅ", "Ａlice"])
def test_user_names_are_unique_in_any_case_and_width(name: str) -> None:
    make_user("alice")
    response = sign_up(Client(), username=name, email="other@example.org")
    assert "taken" in page(response).one("ul", id="id_username_error").text
    assert User.objects.count() == 1


def test_user_names_are_stored_in_normal_width() -> None:
    sign_up(Client(), username="Ａｌｉｃｅ")
    assert User.objects.get().username == "Alice"


@pytest.mark.parametrize("email", ["alice@example.org", "ALICE@Example.ORG"])
def test_e_mail_addresses_are_unique_in_any_case(email: str) -> None:
    make_user("alice")
    response = sign_up(Client(), username="bob", email=email)
    assert response.status_code == 200
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "ALICE", "email": "b@example.org"},
        {"username": "ａｌｉｃｅ", "email": "b@example.org"},
        {"username": "bob", "email": "ALICE@EXAMPLE.ORG"},
    ],
)
def test_the_database_refuses_a_duplicate_name_or_address(fields: dict[str, str]) -> None:
    make_user("alice")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user(password=PASSWORD, **fields)


def test_several_users_may_have_no_e_mail_address() -> None:
    User.objects.create_user("alice", "", PASSWORD)
    User.objects.create_user("bob", "", PASSWORD)
    assert User.objects.filter(email="").count() == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"password1": "short", "password2": "short"},
        {"password1": "password1234", "password2": "password1234"},
        {"password1": "alice@example.org", "password2": "alice@example.org"},
        {"password2": "another password"},
        {"username": "al ice"},
        {"username": "al\x00ice"},
        {"username": "x" * 151},
        {"username": ""},
        {"email": "nowhere"},
        {"email": ""},
    ],
)
def test_an_invalid_sign_up_creates_no_user(fields: dict[str, str]) -> None:
    response = sign_up(Client(), **fields)
    assert response.status_code == 200
    assert page(response).all("ul", class_="errorlist")
    assert not User.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_one_of_two_racing_sign_ups_gets_the_name_and_the_other_a_notice(monkeypatch: Any) -> None:
    checked = threading.Barrier(2, timeout=20)
    from accounts.adapter import AccountAdapter

    save = AccountAdapter.save_user

    def save_together(*args: Any, **kwargs: Any) -> Any:
        checked.wait()
        return save(*args, **kwargs)

    monkeypatch.setattr(AccountAdapter, "save_user", save_together)
    answers = run_together(lambda n: sign_up(Client(), email=f"alice{n}@example.org"), 2)
    assert User.objects.count() == 1
    assert sorted(answer["Location"] for answer in answers) == ["/", "/accounts/signup/"]
    loser = next(answer for answer in answers if answer["Location"] != "/")
    notice = page(loser.client.get(loser["Location"])).one("p", class_="error")
    assert notice.words == "Somebody else was faster: this name or e-mail address is taken."


@pytest.mark.parametrize("login", ["alice", "ALICE", "ａｌｉｃｅ", "alice@example.org", "Alice@Example.org"])
def test_sign_in_accepts_name_or_e_mail_in_any_case(login: str) -> None:
    make_user("alice")
    client = Client()
    response = sign_in(client, login)
    assert (response.status_code, response["Location"]) == (302, "/")
    assert is_signed_in(client)


@pytest.mark.parametrize(("login", "password"), [("alice", "wrong"), ("nobody", PASSWORD), ("alice", "")])
def test_a_wrong_password_and_an_unknown_name_give_the_same_error(login: str, password: str) -> None:
    make_user("alice")
    client = Client()
    response = sign_in(client, login, password)
    assert response.status_code == 200
    assert not is_signed_in(client)
    if password:
        assert page(response).one("div", class_="problem").words == ("The name or the password is wrong.")


def test_an_inactive_account_cannot_sign_in() -> None:
    make_user("alice", is_active=False)
    client = Client()
    response = sign_in(client)
    assert response["Location"] == reverse("account_inactive")
    assert page(client.get(response["Location"])).one("h1").words == "This account is closed"
    assert not is_signed_in(client)


def test_password_guessing_is_rate_limited() -> None:
    make_user("alice")
    client = Client()
    for _ in range(5):
        sign_in(client, password="wrong")
    assert "Too many wrong passwords" in page(sign_in(client)).text
    assert not is_signed_in(client)


def test_too_many_sign_ups_from_one_address_are_refused_with_a_page() -> None:
    client = Client()
    answers = [sign_up(client, password2="x") for _ in range(21)]
    assert [answer.status_code for answer in answers] == [200] * 20 + [429]
    assert page(answers[-1]).one("h1").words == "Too many attempts"


def test_sign_in_redirects_to_the_requested_page() -> None:
    make_user("alice")
    client = Client()
    asked = client.get("/chat/?list=x")
    assert asked["Location"] == "/accounts/login/?next=/chat/%3Flist%3Dx"
    form = page(client.get(asked["Location"])).one("form")
    answer = client.post(form["action"], form.fields() | {"login": "alice", "password": PASSWORD})
    assert answer["Location"] == "/chat/?list=x"


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
def test_sign_in_redirects_to_no_other_site(target: str) -> None:
    make_user("alice")
    answer = Client().post(reverse("account_login"), {"login": "alice", "password": PASSWORD, "next": target})
    assert answer["Location"] == "/"


def test_sign_out_needs_a_post_with_a_csrf_token() -> None:
    make_user("alice")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(), backend="allauth.account.auth_backends.AuthenticationBackend")
    client.get(reverse("account_logout"))
    assert is_signed_in(client)
    assert client.post(reverse("account_logout")).status_code == 403
    assert is_signed_in(client)
    button = page(client.get("/")).one("form", action=reverse("account_logout"))
    answer = client.post(button["action"], button.fields())
    assert answer["Location"] == reverse("account_login")
    assert not is_signed_in(client)


def test_a_form_without_a_csrf_token_gets_a_page_that_explains() -> None:
    answer = Client(enforce_csrf_checks=True).post(reverse("account_login"), {"login": "alice"})
    assert answer.status_code == 403
    assert page(answer).one("h1").words == "The page was too old"


# --- passwords ------------------------------------------------------------------------------------


def change_password(client: Client, old: str = PASSWORD) -> Any:
    form = {"oldpassword": old, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    return client.post(reverse("account_change_password"), form)


def test_a_changed_password_ends_every_other_session() -> None:
    make_user("alice")
    here, elsewhere = Client(), Client()
    sign_in(here)
    sign_in(elsewhere)
    change_password(here)
    assert is_signed_in(here)
    assert not is_signed_in(elsewhere)
    assert sign_in(elsewhere).status_code == 200
    assert sign_in(elsewhere, password=NEW_PASSWORD).status_code == 302


def test_a_password_is_not_changed_without_the_old_one() -> None:
    alice = make_user("alice")
    client = Client()
    sign_in(client)
    response = change_password(client, old="wrong")
    assert page(response).one("ul", id="id_oldpassword_error")
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def reset_link() -> str:
    (message,) = mail.outbox
    assert message.to == ["alice@example.org"]
    found = re.search(r"http://testserver(/accounts/password/reset/key/\S+)", str(message.body))
    assert found
    return found[1]


def test_a_password_reset_link_works_once() -> None:
    make_user("alice")
    client = Client()
    answer = client.post(reverse("account_reset_password"), {"email": "Alice@example.org"})
    assert answer["Location"] == reverse("account_reset_password_done")
    link = reset_link()
    step = client.get(link, follow=True)
    form = page(step).all("form")[0]
    to = step.request["PATH_INFO"]
    done = client.post(to, form.fields() | {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
    assert done["Location"] == "/"
    assert page(client.get("/")).one("p", class_="success").words == "Your password is changed."
    assert sign_in(Client(), password=NEW_PASSWORD).status_code == 302
    assert sign_in(Client(), password=PASSWORD).status_code == 200
    assert page(Client().get(link, follow=True)).one("h1").words == "This link no longer works"


def test_a_password_reset_does_not_reveal_accounts() -> None:
    make_user("alice")
    answers = [
        Client().post(reverse("account_reset_password"), {"email": f"{name}@example.org"}, follow=True)
        for name in ("alice", "nobody")
    ]
    assert answers[0].redirect_chain == answers[1].redirect_chain
    assert page(answers[0]).one("main").words == page(answers[1]).one("main").words


def test_passwords_are_hashed_with_argon2() -> None:
    from config import settings

    assert settings.PASSWORD_HASHERS == ["django.contrib.auth.hashers.Argon2PasswordHasher"]


@pytest.mark.parametrize("action", ["action_add", "action_primary", "action_send", "action_remove"])
def test_another_members_e_mail_address_cannot_be_taken_over(action: str) -> None:
    make_user("bob")
    alice = make_user("alice")
    client = Client()
    sign_in(client)
    client.post(reverse("account_email"), {"email": "bob@example.org", "action_add": ""})
    response = client.post(reverse("account_email"), {"email": "bob@example.org", action: ""})
    assert response.status_code in (200, 302)
    if action == "action_primary":
        notices = page(client.get(reverse("account_email"))).all("p", class_="notice")
        assert notices[-1].words == "This e-mail address belongs to another account."
    alice.refresh_from_db()
    assert alice.email == "alice@example.org"


# --- the site's owner -----------------------------------------------------------------------------


def set_up(client: Client, token: str, **fields: str) -> Any:
    form = {
        "username": "olga",
        "email": "olga@example.org",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    return client.post(reverse("set_up", args=[token]), form | fields)


def the_token() -> str:
    token = owner.setup_token()
    assert token
    return token


def test_the_set_up_link_creates_the_owner_and_signs_in() -> None:
    client = Client()
    token = the_token()
    assert page(client.get(reverse("set_up", args=[token]))).one("h1").words == "Welcome to Parley"
    assert set_up(client, token)["Location"] == "/"
    olga = User.objects.get()
    assert (olga.username, olga.is_superuser, olga.is_staff) == ("olga", True, True)
    assert is_signed_in(client)
    assert client.get(reverse("admin:index")).status_code == 200


def test_the_set_up_link_works_once() -> None:
    token = the_token()
    set_up(Client(), token)
    assert Client().get(reverse("set_up", args=[token])).status_code == 404
    assert set_up(Client(), token, username="eve", email="eve@example.org").status_code == 404
    assert User.objects.count() == 1


@pytest.mark.parametrize("token", ["x", "x" * 43, "é", "..", "%00", " "])
def test_a_wrong_set_up_token_gives_the_ordinary_404_page(token: str) -> None:
    the_token()
    known = Client().get("/no-such-page/")
    answer = Client().get(f"/accounts/set-up/{token}/")
    assert (answer.status_code, answer.content) == (404, known.content)
    assert set_up(Client(), "wrong").status_code == 404
    assert not User.objects.exists()


def test_the_token_file_is_private_and_deleted_after_use(settings: Any) -> None:
    token = the_token()
    file = settings.SETUP_TOKEN_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (file.read_text(), len(token)) == (token, 43)
    set_up(Client(), token)
    assert not file.exists()
    assert owner.setup_token() is None


def test_the_token_stays_the_same_until_it_is_used() -> None:
    assert the_token() == the_token()


def test_an_invalid_set_up_form_creates_no_user_and_keeps_the_link() -> None:
    make_user("alice")
    token = the_token()
    for fields in (
        {"username": "ALICE"},
        {"email": "alice@EXAMPLE.org"},
        {"password1": "short", "password2": "short"},
        {"password2": "another one"},
        {"username": ""},
        {"username": "no spaces"},
    ):
        response = set_up(Client(), token, **fields)
        assert response.status_code == 422
        assert page(response).all("ul", class_="errorlist"), fields
    assert User.objects.filter(is_superuser=True).count() == 0
    assert set_up(Client(), token).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_only_one_of_two_racing_set_ups_creates_the_owner(monkeypatch: Any) -> None:
    token = the_token()
    checked = threading.Barrier(2, timeout=20)
    make = owner.make_owner

    def make_together(user: User) -> None:
        checked.wait()
        make(user)

    monkeypatch.setattr(owner, "make_owner", make_together)
    answers = run_together(
        lambda n: set_up(Client(), token, username=f"olga{n}", email=f"olga{n}@example.org"), 2
    )
    assert sorted(answer.status_code for answer in answers) == [302, 404]
    assert User.objects.count() == 1


def test_the_database_refuses_a_second_owner() -> None:
    make_user("olga", is_superuser=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        make_user("eve", is_superuser=True)


def run_together(call: Any, times: int) -> list[Any]:
    """Return the answers of concurrent calls, each on its own thread and connection."""
    answers: list[Any] = []

    def run(n: int) -> None:
        from django.db import connections

        try:
            answers.append(call(n))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == times
    return answers
