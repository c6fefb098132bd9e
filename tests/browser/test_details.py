"""Time of a message, and how an answer was made."""

from datetime import datetime

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.test_versions import open_asked
from tests.support.live import Member


def test_the_time_of_an_answer_unfolds_its_model_and_tokens(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one")
    details = page.locator("article.assistant .message-details")
    expect(details.locator("dl")).to_be_hidden()
    details.locator("summary").click()
    expect(details).to_contain_text("Chat assistant")
    expect(details).to_contain_text("fake")
    expect(details).to_contain_text("read")


def test_times_are_those_of_the_browsers_zone(visit: Visit, alice: Member) -> None:
    page = open_asked(visit, alice, "one", timezone_id="Asia/Tokyo")
    page.reload()  # the server knows the zone from the first page on
    time = page.locator("article.user time")
    sent = datetime.fromisoformat(time.get_attribute("datetime") or "")
    assert str(sent.tzinfo) == "UTC+09:00"
    expect(time).to_have_text(f"{sent:%H:%M}")
