"""Installing the page as an app: the manifest as Chromium reads it."""

from playwright.sync_api import Page

from tests.browser.conftest import Visit
from tests.support.live import LiveServer, Member


def manifest_of(page: Page) -> dict[str, object]:
    found: dict[str, object] = page.context.new_cdp_session(page).send("Page.getAppManifest")
    return found


def test_the_browser_accepts_the_manifest(visit: Visit, server: LiveServer) -> None:
    page = visit(url=server.url)
    page.goto("/accounts/login/")
    found = manifest_of(page)
    assert (found["url"], found["errors"]) == (f"{server.url}/manifest.webmanifest", [])


def test_the_policy_allows_the_manifest(visit: Visit, alice: Member) -> None:
    page = visit(alice)  # fails on a violation of the policy
    page.goto("/")
    assert '"Parley"' in str(manifest_of(page)["data"])


def test_the_icons_have_the_sizes_that_the_manifest_names(visit: Visit, alice: Member) -> None:
    page = visit(alice)
    page.goto("/")
    sizes = """async () => {
        const {icons} = await (await fetch("/manifest.webmanifest")).json();
        return Promise.all(icons.map(async ({src, sizes}) => {
            const image = new Image();
            image.src = src;
            await image.decode();
            return [sizes, `${image.naturalWidth}x${image.naturalHeight}`];
        }));
    }"""
    found = page.evaluate(sizes)
    assert len(found) == 4
    assert all(named == real for named, real in found)
