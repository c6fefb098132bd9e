"""Fill an empty database with a million messages: ``python -m benchmarks.fixture_large``.

100,000 conversations of 1,000 members, for measuring the admin and for trying migrations.
"""

import argparse
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.contrib.auth.hashers import make_password  # noqa: E402  (Django first)
from django.contrib.auth.models import Group  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.models import User  # noqa: E402
from chat.models import Conversation, Message, Run  # noqa: E402
from chat.moderation import audit, groups  # noqa: E402
from chat.moderation.models import (  # noqa: E402
    AuditEvent,
    AuditHead,
    Decision,
    Report,
    ReviewItem,
)
from chat.moderation.reports import WEIGHTS  # noqa: E402
from chat.rendering import RENDERER_VERSION, render  # noqa: E402
from chat.search.index import index_due  # noqa: E402
from chat.text import title_of  # noqa: E402

MEMBERS = 1_000
BATCH = 500  # conversations a transaction
AGENTS = ["chat_assistant", "researcher", "translator"]
DAYS = 730
MESSAGES_A_LOOK = 5
MESSAGES_AN_ITEM = 20

# How a run ends, and how often: status, code, is there a reply?
ENDS = [
    (("completed", "", True), 92.5),
    (("stopped", "", True), 2),
    (("stopped", "", False), 0.5),
    (("failed", "unavailable", False), 2),
    (("failed", "rate_limited", False), 1),
    (("failed", "timeout_first", False), 0.9),
    (("failed", "stalled", True), 0.5),
    (("failed", "blocked", False), 0.4),
    (("failed", "crashed", False), 0.1),
    (("expired", "lost", True), 0.1),
]


def fill(conversations: int, messages: int, say: Callable[[str], None] = lambda _line: None) -> None:
    """Fill the empty database of the settings. Raises ValueError for one that has users in it."""
    if User.objects.exists() or Conversation.objects.exists():
        raise ValueError("This database has users in it. Name an empty one with DATABASE_URL or DATA_DIR.")
    if not 0 < 2 * conversations <= messages:
        raise ValueError("There must be two messages a conversation at least.")
    writer = Writer(conversations, messages, make_members(min(MEMBERS, conversations)))
    while writer.written < conversations:
        writer.write(min(BATCH, conversations - writer.written))
        if writer.written % 10_000 == 0:
            say(f"{writer.written} conversations, {writer.messages} messages")
    while index_due():
        pass
    write_looks(messages // MESSAGES_A_LOOK)
    write_items(messages // MESSAGES_AN_ITEM)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as PostgreSQL does by itself after a while
    say(f"{writer.written} conversations, {writer.messages} messages, {writer.runs} runs.")


@transaction.atomic
def make_members(count: int) -> list[User]:
    """Return so many new members. Make a senior ``moderator``, too.

    None of them can sign in before ``manage.py changepassword``.
    """
    nobody = make_password(None)
    members = User.objects.bulk_create(
        User(username=f"member{n:04}", email=f"member{n:04}@example.org", password=nobody)
        for n in range(count)
    )
    moderator = User.objects.create(username="moderator", is_staff=True, password=nobody)
    groups.make_groups()  # where a flush took it away
    moderator.groups.set(Group.objects.filter(name__in=[groups.SENIOR, groups.AUDITOR]))
    return members


@transaction.atomic
def write_looks(count: int) -> None:
    """Continue the audit by so many looks of the moderator."""
    moderator = User.objects.get(username="moderator")
    looked_at = list(
        Conversation.objects.select_related("owner").only("owner__audit_id").order_by("?")[:1_000]
    )
    newest = audit.record("audit.export", actor=moderator)
    for start in range(0, count, 1_000):
        batch = []
        for seen in looked_at[: count - start]:
            event = AuditEvent(
                seq=newest.seq + 1,
                at=newest.at + timedelta(milliseconds=1),
                actor=moderator.audit_id,
                member=seen.owner.audit_id,
                action="look",
                object_type="conversation",
                object_id=str(seen.pk),
                reason="report",
                told_from=newest.at,
            )
            event.hash = audit.hash_of(event, newest.hash)
            batch.append(event)
            newest = event
        AuditEvent.objects.bulk_create(batch)
    AuditHead.objects.update(seq=newest.seq, hash=newest.hash)


@transaction.atomic
def write_items(count: int) -> None:
    """Put so many replies into the review queue: half of them undecided, every tenth with a decision."""
    rng = random.Random(17)  # noqa: S311  (the same items in every fixture)
    moderator = User.objects.get(username="moderator")
    replies = Message.objects.filter(role=Message.Role.ASSISTANT).select_related("conversation")
    step = max(1, replies.count() // count) if count else 1
    batch: list[ReviewItem] = []
    for number, reply in enumerate(replies.only("conversation", "created_at").order_by("pk").iterator()):
        if number % step:
            continue
        batch.append(_item_of(reply, rng, moderator))
        if len(batch) == BATCH:
            _store_items(batch, rng, moderator)
            batch = []
    _store_items(batch, rng, moderator)


def _item_of(reply: Message, rng: random.Random, moderator: User) -> ReviewItem:
    status = rng.choices(ReviewItem.Status.values, [48, 2, 0, 20, 28, 1, 1])[0]  # no open appeal
    item = ReviewItem(
        message=reply,
        conversation=reply.conversation,
        member_id=reply.conversation.owner_id,
        agent=reply.conversation.agent,
        status=status,
        opened_at=reply.created_at,
        mailed_at=reply.created_at,
    )
    if not item.is_undecided:
        item.decided_by, item.decided_at = (
            moderator,
            reply.created_at + timedelta(minutes=rng.randint(1, 900)),
        )
    return item


def _store_items(items: list[ReviewItem], rng: random.Random, moderator: User) -> None:
    reports, decided = [], []
    for item in items:
        reason = rng.choices(list(WEIGHTS), [1, 1, 10, 8, 20, 60])[0]
        item.priority = WEIGHTS[reason]
        about = {"item": item, "reason": reason, "member_id": item.member_id}
        source = rng.choices(Report.Source.values, [80, 15, 5])[0]
        reports.append(Report(**about, source=source, note="As it was said.", reported_at=item.opened_at))
        if item.status == ReviewItem.Status.ACTIONED and item.decided_at and rng.random() < 0.5:
            decided.append(
                Decision(**about, kind=Decision.Kind.WARN, decided_by=moderator, decided_at=item.decided_at,
                         ended_at=item.decided_at)
            )  # fmt: skip
    ReviewItem.objects.bulk_create(items)
    Report.objects.bulk_create(reports)
    Decision.objects.bulk_create(decided)


class Library:
    """What is said: words as frequent as in a language, paragraphs that are rendered once."""

    def __init__(self, rng: random.Random, messages: int) -> None:
        self.rng = rng
        syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "il")]
        self.words = list(
            {"".join(rng.choices(syllables, k=rng.randint(1, 4))): 0 for _ in range(min(40_000, messages))}
        )
        weights = [1 / (rank + 3) for rank in range(len(self.words))]
        self.sums = [sum(weights[:1])]
        for weight in weights[1:]:
            self.sums.append(self.sums[-1] + weight)
        self.paragraphs = [
            (text, render(text)) for text in (self.sentence(45) for _ in range(min(4_000, messages // 20)))
        ]

    def sentence(self, length: int) -> str:
        return " ".join(self.rng.choices(self.words, cum_weights=self.sums, k=length)).capitalize() + "."

    def question(self) -> str:
        return self.sentence(self.rng.randint(4, 30))[:-1] + "?"

    def answer(self, number: int) -> tuple[str, str]:
        """Text and HTML; one in fifty has a word that no other has."""
        chosen = self.rng.choices(self.paragraphs, k=self.rng.randint(1, 4))
        if number % 50 == 0:
            mark = f"Reference mark{number:07}."
            chosen.append((mark, render(mark)))
        return "\n\n".join(text for text, _html in chosen), "".join(html for _text, html in chosen)


@dataclass
class Batch:
    conversations: list[Conversation] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @transaction.atomic
    def store(self) -> None:
        # A run and its reply name each other; both databases check that at the commit.
        Conversation.objects.bulk_create(self.conversations, batch_size=1000)
        Message.objects.bulk_create(self.messages, batch_size=1000)
        Run.objects.bulk_create(self.runs, batch_size=1000)


class Writer:
    """Writes conversations in the order of time, batch by batch.

    Their runs' logs are as if pruned: a run's last seq is kept, its events are not.
    """

    def __init__(self, conversations: int, messages: int, members: list[User]) -> None:
        self.rng = random.Random(7)  # noqa: S311  (the same data each time, nothing secret)
        self.library = Library(self.rng, messages)
        self.members = members
        self.shares = [1 / (rank + 5) ** 0.5 for rank in range(len(members))]
        self.total, self.target = conversations, messages
        self.began = timezone.now() - timedelta(days=DAYS)
        self.written = self.messages = self.runs = 0

    def write(self, count: int) -> None:
        batch = Batch()
        for _ in range(count):
            self._conversation(batch)
            self.written += 1
        batch.store()
        self.runs += len(batch.runs)

    def _conversation(self, batch: Batch) -> None:
        now = self.began + timedelta(days=DAYS) * (self.written / self.total)
        question = self.library.question()
        conversation = Conversation(
            owner=self.rng.choices(self.members, self.shares)[0],
            agent=self.rng.choices(AGENTS, [90, 7, 3])[0],
            title=title_of(question),
            created_at=now,
            deleted_at=now if self.rng.random() < 0.01 else None,
            locked_at=now if self.rng.random() < 0.001 else None,
        )
        batch.conversations.append(conversation)
        head, before = None, self.messages
        budget = self._budget()
        while self.messages - before < budget:
            now += timedelta(seconds=self.rng.randint(20, 400))
            head = self._turn(batch, conversation, head, question, now)
            question = self.library.question()
        conversation.head_id, conversation.updated_at = head.pk, min(now, timezone.now())  # type: ignore[union-attr]

    def _budget(self) -> int:
        """Messages of the next conversation: many short ones, a few long ones, one that takes the rest."""
        left = self.target - self.messages
        if self.written == self.total - 1:
            return left
        mean = 0.98 * left / (self.total - self.written)
        return max(2, min(int(self.rng.expovariate(1 / mean)), left - 2 * (self.total - self.written)))

    def _turn(
        self, batch: Batch, conversation: Conversation, parent: Message | None, question: str, now: datetime
    ) -> Message:
        """Add a question and its answers, and return the end of the branch. One in twenty has two answers."""
        prompt = Message(
            conversation=conversation,
            parent=parent,
            role="user",
            text=question,
            parts={"v": 1, "items": [{"type": "text", "text": question}]},
            created_at=now,
        )
        batch.messages.append(prompt)
        self.messages += 1
        end = prompt
        for again in range(2 if self.rng.random() < 0.05 else 1):
            run = self._run(conversation, prompt, now + timedelta(seconds=60 * again))
            batch.runs.append(run)
            if run.reply is not None:
                batch.messages.append(run.reply)
                self.messages += 1
                end = run.reply
        return end

    def _run(self, conversation: Conversation, prompt: Message, now: datetime) -> Run:
        rng = self.rng
        status, code, replied = rng.choices([end for end, _ in ENDS], [weight for _, weight in ENDS])[0]
        ttft, duration = int(rng.lognormvariate(6.5, 0.5)), int(rng.lognormvariate(8.5, 0.7))
        run = Run(
            conversation=conversation,
            owner=conversation.owner,
            prompt=prompt,
            status=status,
            code=code,
            finish="stop" if status == "completed" else "",
            created_at=now,
            ended_at=now + timedelta(milliseconds=ttft + duration),
            ttft_ms=ttft if replied else None,
            duration_ms=ttft + duration,
            last_seq=2,
            last_change=1,
        )
        if replied:
            run.reply = self._reply(conversation, run, prompt)
            run.deltas = len(run.reply.text) // 40 + 1
            run.bytes = len(run.reply.text.encode())
            run.last_seq = run.deltas + 2
            run.usage_input, run.usage_output = rng.randint(200, 9000), run.bytes // 4
            run.usage_total, run.usage_calls = run.usage_input + run.usage_output, 1
        return run

    def _reply(self, conversation: Conversation, run: Run, prompt: Message) -> Message:
        text, html = self.library.answer(self.messages)
        said = {"type": "text", "agent": conversation.agent, "text": text}
        return Message(
            conversation=conversation,
            parent=prompt,
            role="assistant",
            agent=conversation.agent,
            text=text,
            parts={"v": 1, "items": [*self._steps(conversation.agent), said]},
            html=html,
            renderer_version=RENDERER_VERSION,
            run=run,
            created_at=run.created_at,
        )

    def _steps(self, agent: str) -> list[dict[str, Any]]:
        """One answer in ten had thoughts and a tool before it."""
        if self.rng.random() > 0.1:
            return []
        word = self.rng.choice(self.library.words)
        called = {"id": "call-1", "name": "calculate", "args": {"expression": word}}
        return [
            {"type": "thought", "agent": agent, "text": self.library.sentence(20)},
            {"type": "tool", "agent": agent, **called, "result": {"value": word}, "elapsed_ms": 12},
        ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fixture_large")
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    options = parser.parse_args()
    try:
        fill(options.conversations, options.messages, say=print)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
