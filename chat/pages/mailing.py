"""Hands claimed letters to the mail server, and gives back the claim of one that it did not take."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from smtplib import SMTPRecipientsRefused
from typing import Any

from django.core.mail import EmailMessage, get_connection
from django.template.loader import render_to_string

from chat.database import run_db_patiently
from chat.http.address import browser_address

log = logging.getLogger(__name__)

PAUSE_SECONDS = 30.0  # between two looks for due letters
WARNING_SECONDS = 600.0  # between two warnings that the mail server is away

_warned_at = [-WARNING_SECONDS]  # time.monotonic() of the last warning


async def send_claimed(
    template: str,
    path: str,
    facts: dict[str, Any],
    addresses: Sequence[str],
    give_back: Callable[..., None],
    *claim: Any,
) -> bool:
    """Send a letter whose claim is committed to each address; return whether the mail server is there.

    ``template`` is the start of the names of two templates, ``path`` what the letter links. If the mail
    server took none, ``give_back`` is called with the claim, on the database's thread.
    """
    try:
        await asyncio.to_thread(_hand_over, template, path, facts, addresses)
    except OSError as error:  # smtplib's errors, too
        await run_db_patiently(give_back, *claim)
        _warn(error)
        return isinstance(error, SMTPRecipientsRefused)
    return True


def _hand_over(template: str, path: str, facts: dict[str, Any], addresses: Sequence[str]) -> None:
    """Give the letter to the mail server, for each address its own. Raises OSError if it took none."""
    address = browser_address()
    title = render_to_string(f"{template}_subject.txt", facts).strip()
    text = render_to_string(f"{template}_message.txt", {"address": address, "link": address + path, **facts})
    handed_over = 0
    try:
        with get_connection() as connection:
            for to in addresses:
                try:
                    EmailMessage(title, text, to=[to], connection=connection).send()
                except SMTPRecipientsRefused as error:
                    if any(code < 500 for code, _reason in error.recipients.values()):
                        raise
                    # For good: another attempt would end in the same way.
                    log.warning("The mail server refuses an address of a member: no letter is sent to it")
                handed_over += 1
    except OSError as error:
        if not handed_over:
            raise
        # Those who have their letter would get it again.
        _warn(error)


def _warn(error: OSError) -> None:
    """Log that the mail server is away, at most once in WARNING_SECONDS. A refusal's text has addresses."""
    now = time.monotonic()
    if now - _warned_at[0] >= WARNING_SECONDS:
        _warned_at[0] = now
        reason = type(error).__name__ if isinstance(error, SMTPRecipientsRefused) else error
        log.warning("A letter is sent later: the mail server did not take it: %s", reason)
