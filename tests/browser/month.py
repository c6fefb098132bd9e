"""Simulated month of one member in the page: ``python -m tests.browser.month [--folder var/month]``.

Each of 30 days begins ten conversations, and uses them and older ones: questions, edits, other versions,
reloads, new names, pins, deletions and searches, chosen by chance from a seed. After each step the page must
show the branch that the simulation expects. After each day the oracle checks the database, everything becomes
a day older, and the state is written to the folder, so that an interrupted run goes on.
"""

import argparse
import pickle
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import ask, conversation_of, shown_texts, wait_until_idle
from tests.support.chromium import chromium
from tests.support.gemini import Gemini, Text
from tests.support.live import LiveServer, Member, check_with_oracle

DAYS = 30
CONVERSATIONS_A_DAY = 10
STEPS = 4  # in each new conversation, and in one older one
OLDER = """
from datetime import timedelta
from django.db.models import F
from chat.models import Conversation, Message, Run
day = timedelta(days=1)
Conversation.objects.update(created_at=F("created_at") - day, updated_at=F("updated_at") - day)
Message.objects.update(created_at=F("created_at") - day)
Run.objects.update(created_at=F("created_at") - day)
"""


@dataclass
class Expected:
    """Tree of the messages that a conversation must have; a message is named by its place in ``texts``."""

    id: str = ""
    title: str = ""
    texts: list[str] = field(default_factory=list)
    parents: list[int | None] = field(default_factory=list)
    head: int = -1

    def add(self, text: str, parent: int | None) -> int:
        self.texts.append(text)
        self.parents.append(parent)
        self.head = len(self.texts) - 1
        return self.head

    def children(self, parent: int | None) -> list[int]:
        return [place for place, each in enumerate(self.parents) if each == parent]

    def branch(self) -> list[int]:
        found: list[int] = []
        place: int | None = self.head
        while place is not None:
            found.insert(0, place)
            place = self.parents[place]
        return found

    def choose(self, place: int) -> None:
        """Make the newest branch through a message the active one."""
        while below := self.children(place):
            place = below[-1]
        self.head = place


@dataclass
class State:
    """Everything that an interrupted run needs besides the server's data."""

    member: str = "alice"
    day: int = 0
    number: int = 0  # of the last question or answer
    conversations: list[Expected] = field(default_factory=list)


class Month:
    """The member's use of the page, day by day."""

    def __init__(self, page: Page, member: Member, gemini: Gemini, state: State) -> None:
        self.page, self.member, self.gemini, self.state = page, member, gemini, state
        self.chance = random.Random(state.day)
        self.open = Expected()

    def live_a_day(self, conversations: int = CONVERSATIONS_A_DAY) -> None:
        """Begin conversations, use them and older ones, and check the list at the end."""
        for _ in range(conversations):
            self._begin()
            for _ in range(STEPS):
                self._step()
            old = self.chance.choice(self.state.conversations)
            self._visit(old)
            self._step()
            self._manage(self.chance.choice(self.state.conversations))
        self._check_list()
        self.state.day += 1

    def _begin(self) -> None:
        self.page.goto("/")
        question, answer = self._words()
        self.open = Expected(title=question)
        ask(self.page, question)
        self.page.wait_for_url("**/chat/*/")
        self.open.id = conversation_of(self.page)
        self.state.conversations.append(self.open)
        self.open.add(answer, self.open.add(question, None))
        self._check()

    def _visit(self, conversation: Expected) -> None:
        self.open = conversation
        self.page.goto(f"/chat/{conversation.id}/")
        self._check()

    def _step(self) -> None:
        kinds = [self._ask, self._ask, self._edit, self._regenerate, self._turn_pages, self._reload]
        self.chance.choice(kinds)()
        self._check()

    def _words(self) -> tuple[str, str]:
        """Return a question and the answer to it, which no other question has."""
        self.state.number += 1
        question, answer = f"Question {self.state.number}", f"Answer {self.state.number}"
        self.gemini.on(question, [Text(answer)])
        return question, answer

    def _ask(self) -> None:
        question, answer = self._words()
        end = self.open.head
        ask(self.page, question)
        self.open.add(answer, self.open.add(question, end))

    def _edit(self) -> None:
        place = self.chance.choice([each for each in self.open.branch() if self._is_question(each)])
        question, answer = self._words()
        article = self._article(place)
        article.hover()
        article.get_by_role("button", name="Edit", exact=True).click()
        field_ = self.page.get_by_label("Edit the question")
        field_.fill(question)
        field_.press("Enter")
        self.open.add(answer, self.open.add(question, self.open.parents[place]))

    def _regenerate(self) -> None:
        place = self.chance.choice([each for each in self.open.branch() if not self._is_question(each)])
        prompt = self.open.parents[place]
        assert prompt is not None
        self.state.number += 1
        answer = f"Answer {self.state.number}"
        self.gemini.on(self.open.texts[prompt], [Text(answer)])
        article = self._article(place)
        article.hover()
        article.get_by_role("button", name="Regenerate").click()
        self.open.add(answer, prompt)

    def _turn_pages(self) -> None:
        """Go to the version before or after one of the messages, if it has versions."""
        choices = [
            (place, other, name)
            for place in self.open.branch()
            for siblings in [self.open.children(self.open.parents[place])]
            for by, name in ((-1, "Previous version"), (1, "Next version"))
            for other in siblings[max(0, siblings.index(place) + by) :][:1]
            if other != place
        ]
        if not choices:
            return
        place, other, name = self.chance.choice(choices)
        article = self._article(place)
        article.hover()
        article.get_by_role("button", name=name).click()
        self.open.choose(other)

    def _reload(self) -> None:
        self.page.reload()

    def _manage(self, conversation: Expected) -> None:
        """Change a conversation from another device."""
        path = f"/api/v1/conversations/{conversation.id}"
        kind = self.chance.choice(["title", "pinned", "delete", "search"])
        if kind == "delete":
            assert self.member.http.delete(path, headers=self.member.headers()).status_code == 204
            self.state.conversations.remove(conversation)
        elif kind == "search":
            self._search(self.chance.choice(conversation.texts))
        else:
            value: Any = f"Name {self.state.number}" if kind == "title" else self.chance.random() < 0.5
            changed = self.member.http.patch(path, json={kind: value}, headers=self.member.headers())
            assert changed.status_code == 200
            conversation.title = changed.json()["title"]

    def _search(self, text: str) -> None:
        """Search for a message; only those that hold its words are found, each once."""
        found = self.member.http.get("/api/v1/search", params={"q": f'"{text}"', "limit": 100}).json()[
            "items"
        ]
        hits = sorted((hit["conversation"], hit["message"] is None) for hit in found)
        expected = [
            (each.id, is_title)
            for each in self.state.conversations
            for words, is_title in [*((words, False) for words in each.texts), (each.title, True)]
            if f"{words} ".startswith(text)
        ]
        assert hits == sorted(expected)

    def _article(self, place: int) -> Any:
        return self.page.locator("#messages > article").nth(self.open.branch().index(place))

    def _is_question(self, place: int) -> bool:
        return self.open.texts[place].startswith("Question")

    def _check(self) -> None:
        """Check that the page shows the expected branch, each message once and in order."""
        texts = [self.open.texts[place] for place in self.open.branch()]
        expect(self.page.locator("#messages > article .bubble, #messages > article .prose")).to_have_text(
            texts
        )
        wait_until_idle(self.page)
        assert shown_texts(self.page) == texts

    def _check_list(self) -> None:
        """Check that the list of the page begins as the API's does, and names nothing twice."""
        self.page.goto("/")
        listed = self.page.locator("#conversations li[id^='c-']").evaluate_all(
            "all => all.map(each => each.id)"
        )
        answer = self.member.http.get("/api/v1/conversations", params={"limit": 100}).json()["items"]
        stored = [f"c-{each['id']}" for each in answer]
        shorter = min(len(stored), len(listed))
        assert listed[:shorter] == stored[:shorter]
        assert len(set(listed)) == len(listed)
        assert len(stored) == min(100, len(self.state.conversations))


def end_day(server: LiveServer) -> None:
    """Check the database, and make everything in it a day older."""
    check_with_oracle(server, [])
    done = server.manage("shell", "-v0", "-c", OLDER)
    assert done.returncode == 0, done.stderr


def main() -> None:
    """Live the days that are left."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.month", description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var/month"))
    folder = parser.parse_args().folder.resolve()
    path = folder / "state.pickle"
    folder.mkdir(parents=True, exist_ok=True)
    gemini = Gemini()
    server = LiveServer(folder, GOOGLE_API_KEY="not-a-key", GOOGLE_GEMINI_BASE_URL=gemini.url, LIMITS="off")
    if path.exists():
        state, cookies = pickle.loads(path.read_bytes())
        member = Member(server.start().url)
        member.http.cookies.update(cookies)
    else:
        state = State()
        member = server.prepare().start().member(state.member)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium())
        while state.day < DAYS:
            month = Month(page_of(browser.new_context, member), member, gemini, state)
            month.live_a_day()
            end_day(server)
            path.write_bytes(pickle.dumps((state, dict(member.http.cookies))))
            sys.stdout.write(
                f"day {state.day}: {len(state.conversations)} conversations, {state.number} texts\n"
            )
            sys.stdout.flush()
            month.page.context.close()
    server.stop()


def page_of(new_context: Callable[..., Any], member: Member) -> Page:
    """Return a page in which the member is signed in."""
    context = new_context(base_url=member.url, reduced_motion="reduce")
    context.add_cookies([{"name": n, "value": v, "url": member.url} for n, v in member.http.cookies.items()])
    page: Page = context.new_page()
    return page


if __name__ == "__main__":
    main()
