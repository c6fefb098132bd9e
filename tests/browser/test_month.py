"""The first hours of the simulated month; ``python -m tests.browser.month`` lives all of it."""

from tests.browser.conftest import SignUp, Visit
from tests.browser.month import Month, State, end_day
from tests.support.gemini import Gemini
from tests.support.live import LiveServer


def test_a_day_of_a_member_keeps_the_tree_of_messages_sound(
    visit: Visit, server: LiveServer, sign_up: SignUp, gemini: Gemini
) -> None:
    member = sign_up(server, "julia")
    Month(visit(member), member, gemini, State()).live_a_day(conversations=4)
    end_day(server)
