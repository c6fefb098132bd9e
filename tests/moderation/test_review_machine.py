"""The review queue in any order of events, through its forms: each answer and state is that of a model."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from accounts.models import User
from chat.models import Conversation, Message, Run
from chat.moderated import ModerationReason
from chat.moderation import audit
from chat.moderation.groups import AUDITOR, MODERATOR, SENIOR, TRIAGE
from chat.moderation.models import AccessGrant, Appeal, AuditEvent, Decision, HiddenMessage, ReviewItem
from tests.conftest import make_staff, make_user
from tests.support.campaigns import IS_FULL, trials

EXAMPLES = trials(300, 20)
STEPS = 60 if IS_FULL else 50
TEXT = "canary quokka"
HALF_HOUR = timedelta(minutes=30)
PAUSES = [timedelta(minutes=number) for number in (1, 29, 30, 31, 60)]
STATUS_AFTER = {
    "act": "actioned", "dismiss": "dismissed", "escalate": "escalated", "uphold": "upheld",
    "overturn": "overturned",
}  # fmt: skip
UNDECIDED = {"open", "escalated", "appealed"}


@dataclass(frozen=True)
class Role:
    group: str | None  # None: the site's owner
    sees_queue: bool = True
    may_act: bool = True
    is_senior: bool = False


# By the name of the member of the staff who has it.
ROLES = {
    "tom": Role(TRIAGE, may_act=False),
    "mona": Role(MODERATOR),
    "nina": Role(MODERATOR),
    "sam": Role(SENIOR, is_senior=True),
    "olga": Role(None, is_senior=True),
    "audrey": Role(AUDITOR, sees_queue=False, may_act=False),
}
STAFF = st.sampled_from(["mona", "mona", "nina", "sam", "olga", "tom", "audrey"])
ACTS = [
    "report", "report", "claim", "claim", "claim", "claim", "act", "act", "act", "dismiss", "escalate",
    "escalate", "release", "note", "appeal", "appeal", "appeal", "uphold", "overturn", "overturn", "overturn",
    "look", "list", "wait",
]  # fmt: skip


@dataclass
class ModelOfItem:
    """A reply of alice, its item, and the decision to hide it."""

    message: uuid.UUID
    key: uuid.UUID | None = None
    status: str = ""
    reasons: set[str] = field(default_factory=set)
    claimed_by: str | None = None
    claimed_until: datetime | None = None
    decision: uuid.UUID | None = None  # in force
    decided_by: str = ""
    appealed: set[uuid.UUID] = field(default_factory=set)


@dataclass
class World:
    """Accounts and their browsers, shared by all examples. The machine moves their clock."""

    now: datetime
    users: dict[str, User]
    clients: dict[str, Client] = field(default_factory=dict)


class ReviewMachine(RuleBasedStateMachine):
    """Staff and alice act; each answer is that of the model."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        for model in (Appeal, Decision, AccessGrant, ReviewItem, HiddenMessage, Conversation):
            model._default_manager.all().delete()
        self.items = [self.store_reply() for _ in range(2)]
        self.steps = self.looks = 0
        self.steps_before, self.looks_before = count_steps(), count_looks()

    def store_reply(self) -> ModelOfItem:
        alice = self.world.users["alice"]
        stored = Conversation.objects.create(owner=alice, agent="chat_assistant", title="a title")
        asked = Message.objects.create(conversation=stored, role="user", text="asked")
        parts = {"v": 1, "items": [{"type": "text", "agent": "chat_assistant", "text": TEXT}]}
        reply = Message.objects.create(
            conversation=stored, role="assistant", text=TEXT, parts=parts, parent=asked
        )
        run = Run.objects.create(
            conversation=stored,
            owner=alice,
            prompt=asked,
            reply=reply,
            status=Run.Status.COMPLETED,
            ended_at=self.now,
            last_seq=3,
            last_change=1,
        )
        Message.objects.filter(pk=reply.pk).update(run=run)
        Conversation.objects.filter(pk=stored.pk).update(head=reply)
        return ModelOfItem(reply.pk)

    @rule(
        act=st.sampled_from(ACTS), staff=STAFF, number=st.sampled_from([0, 0, 0, 1]),
        reason=st.sampled_from(ModerationReason.values), pause=st.sampled_from(PAUSES),
        pick=st.integers(0, 3),
    )  # fmt: skip
    def act(self, act: str, staff: str, number: int, reason: str, pause: timedelta, pick: int) -> None:
        """Let one of them do something; with most values of ``pick``, whoever has claimed the item."""
        item = self.items[number]
        if item.claimed_by and pick:
            staff = item.claimed_by
        if act == "wait":
            self.world.now += pause
        elif act == "report":
            self.report(item, reason)
        elif act == "list":
            self.look_at_list(staff)
        elif item.key is None:
            self.report(item, reason)
        elif act == "appeal":
            self.appeal(item)
        elif act == "look":
            self.look(staff, item)
        else:
            self.step(staff, item, act, reason)

    @invariant()
    def states_are_those_of_the_model(self) -> None:
        """Compare the rows with the model, and count the audit."""
        for item in self.items:
            if item.key is None:
                continue
            stored = ReviewItem.objects.select_related("claimed_by").get(pk=item.key)
            assert stored.status == item.status
            assert (stored.claimed_by.username if stored.claimed_by else None) == item.claimed_by
            hidden = Message.objects.get(pk=item.message)
            assert (hidden.hidden_at is not None) == (item.decision is not None)
            assert hidden.text == ("" if item.decision else TEXT)
        assert ReviewItem.objects.exclude(pk__in=[each.key for each in self.items if each.key]).count() == 0
        assert count_steps() - self.steps_before == self.steps

    # --- the model ------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        return self.world.now

    def holds(self, staff: str, item: ModelOfItem) -> bool:
        return item.claimed_by == staff and item.claimed_until is not None and item.claimed_until > self.now

    def expected(self, staff: str, item: ModelOfItem, act: str) -> int:
        """Return the status that answers this step."""
        role = ROLES[staff]
        if not role.sees_queue:
            return 403
        if act in ("note", "release"):
            return 303
        if item.status not in UNDECIDED:
            return 409
        if act == "claim":
            return self.expected_of_claim(staff, item)
        if not self.holds(staff, item):
            return 409
        if (act in ("uphold", "overturn")) != (item.status == "appealed"):
            return 409
        if act == "escalate":
            return 303 if item.status == "open" else 409
        return 303 if role.may_act else 403

    def expected_of_claim(self, staff: str, item: ModelOfItem) -> int:
        is_taken = item.claimed_until is not None and item.claimed_until > self.now
        if is_taken and item.claimed_by != staff:
            return 409
        if item.status == "escalated" and not ROLES[staff].is_senior:
            return 403
        # Somebody else decides about an appeal: there always is one.
        if item.status == "appealed" and (item.decided_by == staff or not ROLES[staff].may_act):
            return 403
        return 303

    # --- staff ----------------------------------------------------------------------------------

    def step(self, staff: str, item: ModelOfItem, act: str, reason: str) -> None:
        expected = self.expected(staff, item, act)
        form = {"do": act, "reason": reason, "words": "w", "note": "n", "hide": "true"}
        if act in ("claim", "note"):
            form = {"do": act} | ({"note": "n"} if act == "note" else {})
        answer = self.world.clients[staff].post(f"/admin/moderation/{item.key}/", form)
        assert answer.status_code == expected, (act, item.status, answer.content[-300:])
        if expected == 303:
            self.take(staff, item, act)
        self.check_look(answer, staff, item)

    def take(self, staff: str, item: ModelOfItem, act: str) -> None:
        """Take the step in the model."""
        if act == "release" and item.claimed_by != staff:
            return
        self.steps += 1
        if act == "claim":
            item.claimed_by, item.claimed_until = staff, self.now + HALF_HOUR
        if act in ("claim", "note"):
            return
        if act == "act" and item.decision is None:
            item.decision = Decision.objects.get(message=item.message, ended_at=None).pk
            item.decided_by = staff
            self.steps += 1
        if act == "overturn":
            item.decision = None
            self.steps += 1
        item.status = STATUS_AFTER.get(act, item.status)
        item.claimed_by = item.claimed_until = None

    def look(self, staff: str, item: ModelOfItem) -> None:
        answer = self.world.clients[staff].get(f"/admin/moderation/{item.key}/")
        assert answer.status_code == (200 if ROLES[staff].sees_queue else 403)
        self.check_look(answer, staff, item)

    def look_at_list(self, staff: str) -> None:
        answer = self.world.clients[staff].get("/admin/moderation/")
        assert answer.status_code == (200 if ROLES[staff].sees_queue else 403)
        page = answer.content.decode()
        assert TEXT not in page
        claimed = any(self.holds(staff, item) for item in self.items)
        assert claimed or ">alice<" not in page

    def check_look(self, answer: Any, staff: str, item: ModelOfItem) -> None:
        """Check that the text is there if and only if the claim opens it, and that this look was recorded."""
        if answer.status_code == 303:
            return
        may_look = self.holds(staff, item) and ROLES[staff].may_act
        assert (TEXT in answer.content.decode()) == may_look
        self.looks += may_look
        assert count_looks() - self.looks_before == self.looks

    # --- alice ----------------------------------------------------------------------------------

    def report(self, item: ModelOfItem, reason: str) -> None:
        answer = self.world.clients["alice"].post(
            f"/api/v1/messages/{item.message}/report", {"reason": reason}, content_type="application/json"
        )
        if item.decision:
            assert answer.status_code == 404  # it is hidden
            return
        if answer.status_code == 429:
            return
        assert answer.status_code == (201 if item.key is None else 200)
        is_new, item.key = item.key is None, item.key or ReviewItem.objects.get(message=item.message).pk
        if reason not in item.reasons:
            self.steps += 1
            item.reasons.add(reason)
            if is_new or item.status not in UNDECIDED:
                item.status = "open"

    def appeal(self, item: ModelOfItem) -> None:
        if item.decision is None:
            return
        answer = self.world.clients["alice"].post(
            f"/api/v1/decisions/{item.decision}/appeal", {"text": "Please."}, content_type="application/json"
        )
        is_first = item.decision not in item.appealed
        assert answer.status_code == (201 if is_first else 409)
        if is_first:
            self.steps += 1
            item.appealed.add(item.decision)
            item.status = "appealed"


def count_looks() -> int:
    return AuditEvent.objects.filter(action="look").count()


def count_steps() -> int:
    """Return the number of rows about items, decisions, reports and appeals."""
    of_queue = AuditEvent.objects.filter(object_type__in=["item", "decision"])
    return of_queue.count()


@pytest.fixture
def world(transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    settings.SESSION_COOKIE_AGE = 10**9  # the clock goes on for years
    users = {"alice": make_user("alice")} | {name: make_staff(name) for name in ROLES}
    world = World(timezone.now(), users)
    monkeypatch.setattr(timezone, "now", lambda: world.now)
    for name, user in users.items():
        if name in ROLES:
            user.groups.set(Group.objects.filter(name=ROLES[name].group))
            User.objects.filter(pk=user.pk).update(is_superuser=ROLES[name].group is None)
        world.clients[name] = Client()
        world.clients[name].force_login(user)
    ReviewMachine.world = world
    yield world
    del ReviewMachine.world


@pytest.mark.timeout(0 if IS_FULL else 300)
def test_no_edge_is_taken_that_the_model_does_not_have(world: World) -> None:
    run_state_machine_as_test(
        ReviewMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            # Shrinking takes minutes.
            phases=[phase for phase in Phase if IS_FULL or phase is not Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    seen = set(AuditEvent.objects.values_list("action", flat=True))
    assert seen >= {"report", "look", "appeal", "item.claim", "item.actioned", "decision.hide"}
    if IS_FULL:  # too rare for each sample
        assert seen >= {"item.dismissed", "item.escalated", "item.overturned", "item.upheld", "decision.end"}
    assert audit.verify().faults == []
