"""Every parameter of every route accepts nasty values from any client without a 5xx.

About 280,000 requests are generated from the URL table. Each test run sends 500 as each user, chosen by a
seed that a failure prints (``NASTY_SEED``). ``NASTY=300000`` sends all.
"""

import os
import random
from typing import Any

import pytest

from chat.models import Message, Run
from tests.support import nasty
from tests.support.client import Client
from tests.support.nasty import Sent

SEED = int(os.environ.get("NASTY_SEED") or random.randrange(1_000_000))
SAMPLE = int(os.environ.get("NASTY") or 500)


@pytest.fixture
def no_rate_limits(settings: Any) -> None:
    """Lift the limits: sign-ins would be refused from the sixth on, before their input is read."""
    settings.ACCOUNT_RATE_LIMITS = False
    settings.LIMITS = False


@pytest.mark.timeout(0)
@pytest.mark.parametrize("who", ["anonymous", "alice", "mona"])
async def test_nasty_values_get_no_5xx(
    who: str, parley: Any, alice: Any, mona: Any, no_rate_limits: None
) -> None:
    client = Client(parley, {"anonymous": None, "alice": alice, "mona": mona}[who])
    if client.user:
        await client.sign_in()
    path_pieces = await pieces(parley, alice)
    sent = list(nasty.requests(path_pieces))
    if len(sent) > SAMPLE:
        sent = nasty.sample(sent, SAMPLE, SEED)
    found = []
    for number, request in enumerate(sent):
        if client.user and number % 100 == 0:  # some of them sign out
            await client.sign_in()
        cookie = {"cookie": request.cookie} if request.cookie else {}
        answer = await client.request(
            request.method, request.path, body=request.body, headers=request.headers | cookie
        )
        if answer.status >= 500:
            found.append(f"{answer.status} {request.method} {request.path[:100]} ({request.what})")
    assert not found, f"NASTY_SEED={SEED}: {len(found)} of {len(sent)}:\n" + "\n".join(found[:40])


OCTAL_NUL = r'sessionid="\000bcdefghijklmnopqrstuvwxyzabcdef"'
# Each of these was a 500, at least on PostgreSQL.
FOUND = [
    Sent("GET", "/", "session cookie with a NUL", cookie=OCTAL_NUL),
    Sent("GET", "/accounts/login/", "session cookie with a NUL", cookie=OCTAL_NUL),
    Sent("GET", "/api/v1/conversations", "session cookie with a NUL", cookie=OCTAL_NUL),
    Sent("GET", "/healthz", "session cookie of 8 KB", cookie="sessionid=" + "x" * 8_000),
    Sent("GET", "/accounts/login/?next=http://[", "half an IPv6 address"),
    Sent("GET", "/accounts/signup/?next=//[", "half an IPv6 address without a scheme"),
    Sent("GET", "/accounts/inactive/?next=http://%E2%84%80/", "a host that NFKC changes"),
    Sent("POST", "/accounts/logout/", "next", b"next=https://[::1", nasty.FORM_TYPE),
    Sent("POST", "/admin/login/", "next", b"next=//[", nasty.FORM_TYPE),
    Sent("POST", "/preferences/", "a word that is no route's name", b"next=true", nasty.FORM_TYPE),
    Sent("GET", "/?before=x", "older messages of no conversation"),
    Sent("GET", f"/?before={nasty.ID}", "older messages of no conversation"),
    Sent("GET", "/?find=%00", "NUL to look for"),
    *(Sent("GET", f"/?list={value}", "a date that overflows") for value in nasty.CURSORS),
    *(Sent("GET", f"/api/v1/conversations?cursor={value}", "it overflows") for value in nasty.CURSORS),
    *(
        Sent("POST", "/accounts/signup/", "an address of 300 characters", form.encode(), nasty.FORM_TYPE)
        for form in [
            "username=zoe&password1=correct+horse+9&password2=correct+horse+9"
            f"&email=zoe@{'b.' * 140}org&next={address}"
            for address in ("", "http://[")
        ]
    ),
    Sent("POST", "/accounts/email/", "an address of 300 characters",
         b"action_add=&email=z@" + b"b." * 140 + b"org", nasty.FORM_TYPE),
]  # fmt: skip


@pytest.mark.parametrize("request_", FOUND, ids=lambda each: f"{each.method} {each.path[:40]}: {each.what}")
async def test_inputs_that_caused_a_500_are_refused_or_ignored(
    request_: Sent, as_alice: Client, visitor: Client, no_rate_limits: None
) -> None:
    for client in (visitor, as_alice):
        cookie = {"cookie": request_.cookie} if request_.cookie else {}
        answer = await client.request(
            request_.method, request_.path, body=request_.body, headers=request_.headers | cookie
        )
        assert answer.status < 500


@pytest.mark.parametrize("length", [254, 255])
async def test_an_e_mail_address_over_254_characters_is_refused_with_a_reason(
    visitor: Client, length: int
) -> None:
    domain = "b." * 120 + "org"
    form = {
        "username": "zoe",
        "email": f"{'z' * (length - 1 - len(domain))}@{domain}",
        "password1": "correct horse 9",
        "password2": "correct horse 9",
    }
    answer = await visitor.post("/accounts/signup/", form=form)
    assert answer.status == (302 if length == 254 else 200)
    assert ("at most 254 characters" in answer.text) is (length == 255)


async def pieces(parley: Any, alice: Any) -> dict[str, str]:
    as_alice = await Client(parley, alice).sign_in()
    run = (await as_alice.ask("hello"))[0].run
    found = await Run.objects.aget(pk=run)
    message = await Message.objects.aget(pk=found.prompt_id)
    return nasty.known(found.conversation_id, message.pk, run, alice.pk)
