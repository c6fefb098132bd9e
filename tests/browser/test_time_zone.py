"""Time zone: the page stores the browser's, and shows dates in it."""

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.support.live import Member


def test_the_page_stores_the_browsers_time_zone(visit: Visit, alice: Member) -> None:
    page = visit(alice, timezone_id="Asia/Tokyo")
    with page.expect_response("**/preferences/"):
        page.goto("/")
    page.goto("/")
    expect(page.locator("body")).to_have_attribute("data-time-zone", "Asia/Tokyo")
