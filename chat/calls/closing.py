"""Ends of a call: close code of its socket, code of the error frame, and the member's sentence."""

from enum import Enum

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class CallEnd(Enum):
    """Reason why a call ended, lost its socket, or was not opened."""

    HUNG_UP = "hung_up", 1000, _("The call is over.")
    RESUMING = "resuming", 1012, _("The server restarts. The call goes on in a moment.")
    MALFORMED = "malformed", 4400, _("The page sent something that is no part of a call.")
    TOO_MUCH = "too_much", 4400, _("The page sent more sound than a microphone hears.")
    SIGNED_OUT = "not_signed_in", 4401, _("Sign in first.")
    NO_VOICE = "no_voice", 4403, _("This agent cannot speak.")
    NOT_FOUND = "not_found", 4404, _("There is nothing here.")
    IDLE = "idle", 4408, _("Nobody has spoken for a while, so the call has ended.")
    TOO_LONG = "too_long", 4408, _("The call has reached its longest time. You can call again.")
    BUSY = "busy", 4409, _("This conversation is already answering.")
    IN_CALL = "in_call", 4409, _("You are in a call already.")
    TAKEN_OVER = "taken_over", 4409, _("The call goes on in another window.")
    WRITTEN = "written", 4409, _("The conversation has gone on in writing.")
    LOCKED = "locked", 4423, _("A moderator has locked this conversation.")
    SUSPENDED = "suspended", 4423, _("Your account is suspended.")
    WARNED = "warning", 4423, _("A moderator has warned you. Read the warning first, under “Decisions”.")
    OVER_LIMIT = "too_many", 4429, _("You have spoken for as long as a day allows.")
    UNAVAILABLE = "unavailable", 4503, _("The server cannot take calls now. Try again in a moment.")
    FAILED = "failed", 4503, _("The call has failed. Try again in a moment.")
    LOST = "lost", 1006, _("The connection was lost for too long.")

    def __init__(self, label: str, code: int, sentence: Promise) -> None:
        self.label = label  # of the error frame, and of LiveCall.end_code
        self.code = code  # of the socket
        self.sentence = sentence


class CallRefused(Exception):
    """The call is not opened, or this socket must leave it. ``detail`` is a translated sentence."""

    def __init__(self, end: CallEnd, detail: str = "") -> None:
        super().__init__(end.label)
        self.end = end
        self.detail = detail or str(end.sentence)
