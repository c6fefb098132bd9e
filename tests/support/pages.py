"""A browser without JavaScript: reads pages, and sends their forms."""

from tests.support.client import Answer, Client
from tests.support.dom import Element, parse
from tests.support.waiting import auntil


async def see(client: Client, path: str, *, status: int = 200) -> Element:
    answer = await client.get(path)
    assert answer.status == status, answer.text
    return parse(answer.text)


async def submit(client: Client, form: Element, at: str, **typed: str) -> Answer:
    """Send a form as a browser does: with its own CSRF token and without a script's headers."""
    path = form.get("action") or at
    return await client.post(path, form=form.fields() | typed, csrf=False)


async def ask(client: Client, query: str, at: str = "/") -> str:
    """Ask by the page's form and return the conversation's path."""
    form = (await see(client, at)).one("form", id="composer")
    answer = await submit(client, form, at, query=query)
    assert answer.status == 303, answer.text
    return answer.headers["location"]


async def ask_again(client: Client, page: Element) -> Answer:
    """Press the page's last Regenerate or Retry."""
    prompt = page.all("button", form="again")[-1]["value"]
    return await submit(client, page.one("form", id="again"), "", prompt=prompt)


async def settled(client: Client, path: str) -> Element:
    """Return the conversation's page once no run is active."""
    from chat.runs.supervisor import supervisor

    await supervisor.idle()
    return await see(client, path)


def turns(page: Element) -> list[str]:
    """Return the texts of the messages, in order."""
    said = []
    for article in page.all("article"):
        body = article.all("div", class_="bubble") or article.all("div", class_="prose") or [article]
        said.append(body[0].text)
    return said


def is_running(page: Element) -> bool:
    return page.one("body")["data-state"] == "answering"


async def until_shown(client: Client, path: str, word: str) -> Element:
    """Return the conversation's page once its messages hold the word."""

    async def page_with_word() -> Element | None:
        page = await see(client, path)
        return page if word in page.one("div", id="messages").text else None

    page: Element = await auntil(page_with_word)
    return page
