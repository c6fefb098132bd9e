"""Grants in any order of events: text is shown if and only if a model of the rules allows it."""

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
from chat.moderation import audit
from chat.moderation.groups import AUDITOR, MODERATOR, SENIOR, TRIAGE
from chat.moderation.models import AccessGrant, AuditEvent, Consent, GrantReason, SealedConversation
from tests.conftest import make_staff, make_user
from tests.support.campaigns import IS_FULL, trials
from tests.support.staff import opening, transcript

EXAMPLES = trials(400, 25)
STEPS = 60 if IS_FULL else 30
TEXT = "canary quokka"
HALF_HOUR, HOUR, WEEK = timedelta(minutes=30), timedelta(hours=1), timedelta(days=7)
# Beside and at each limit of the rules.
PAUSES = [
    *(timedelta(minutes=number) for number in (1, 29, 30, 31, 60, 90, 91)),
    timedelta(days=6),
    WEEK,
]


@dataclass(frozen=True)
class Role:
    group: str | None  # None: the site's owner
    may_list: bool = True
    may_read: bool = True
    may_view_runs: bool = True


# By the name of the member of the staff who has it.
ROLES = {
    "tom": Role(TRIAGE, may_read=False, may_view_runs=False),
    "mona": Role(MODERATOR),
    "stella": Role(SENIOR),
    "olga": Role(None),
    "audrey": Role(AUDITOR, may_list=False, may_read=False, may_view_runs=False),
}
NO_ROLE = Role("", may_list=False, may_read=False, may_view_runs=False)
STAFF = st.sampled_from(["mona", "mona", "stella", "olga", "tom", "audrey"])
CONVERSATIONS = st.integers(0, 1)
REASONS = st.sampled_from(GrantReason.values)
# One rule chooses among these: Hypothesis leaves some rules out of each example, and without one of the first
# four, the others have nothing to do.
ACTS = [
    "open with reason", "open by consent", "open by consent", "give roles",
    "read", "read run", "read facts", "extend", "extend of another", "end", "end of another",
    "give consent", "revoke consent", "delete", "restore", "restore", "seal", "take role", "wait", "wait",
]  # fmt: skip


@dataclass
class ModelOfGrant:
    key: uuid.UUID
    staff: str
    conversation: int
    is_by_consent: bool
    expires_at: datetime
    is_revoked: bool = False


@dataclass
class ModelOfConversation:
    key: uuid.UUID
    run: uuid.UUID
    is_deleted: bool = False
    is_sealed: bool = False
    consent_until: datetime | None = None  # None: none was given, or it was revoked


@dataclass
class World:
    """Accounts and their browsers, shared by all examples. The machine moves their clock."""

    now: datetime
    users: dict[str, User]
    clients: dict[str, Client] = field(default_factory=dict)


class GrantMachine(RuleBasedStateMachine):
    """Staff and alice act; each answer is that of the model."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        for model in (AccessGrant, Consent, SealedConversation):
            model._default_manager.all().delete()
        self.grants: list[ModelOfGrant] = []
        self.conversations = [self.store_conversation() for _ in range(2)]
        self.without_role: set[str] = set()
        self.looks = 0
        self.looks_before = count_looks()
        for name in ROLES:
            self.set_role(name)

    def store_conversation(self) -> ModelOfConversation:
        alice = self.world.users["alice"]
        stored = Conversation.objects.create(owner=alice, agent="chat_assistant", title=TEXT)
        asked = Message.objects.create(conversation=stored, role="user", text=TEXT)
        Conversation.objects.filter(pk=stored.pk).update(head=asked)
        failed = Run.objects.create(
            conversation=stored,
            owner=alice,
            prompt=asked,
            status=Run.Status.FAILED,
            code="agent",
            failure={"kind": "ValueError", "message": TEXT},
            ended_at=self.now,
            last_seq=2,
            last_change=1,
        )
        return ModelOfConversation(stored.pk, failed.pk)

    @rule(
        act=st.sampled_from(ACTS), staff=STAFF, number=CONVERSATIONS, reason=REASONS, pick=st.integers(0, 9),
        pause=st.sampled_from(PAUSES),
    )  # fmt: skip
    def act(  # noqa: C901, PLR0912  (a table)
        self, act: str, staff: str, number: int, reason: str, pick: int, pause: timedelta
    ) -> None:
        """Let one of them do something. ``pick`` chooses among the newest grants."""
        grant = self.grants[-1 - pick % min(3, len(self.grants))] if self.grants else None
        match act:
            case "open with reason":
                self.open_with_reason(staff, number, reason)
            case "open by consent":
                if pick % 2:
                    self.give_consent(number)
                self.open_by_consent(staff, number)
            case "read":
                self.read_transcript(staff, number)
            case "read run":
                self.read_run(staff, number)
            case "read facts":
                self.read_facts(staff, number)
            case "give consent":
                self.give_consent(number)
            case "revoke consent":
                self.revoke_consent(number)
            case "delete" | "restore":
                self.delete_or_restore(number, is_deleted=act == "delete")
            case "seal" if number == 1 and pick < 5:  # little can happen to it afterwards
                self.seal(number)
            case "take role":
                self.change_role(staff, has_role=False)
            case "give roles":
                for each in ROLES:
                    self.change_role(each, has_role=True)
            case "wait":
                self.wait(pause)
            case "extend" | "extend of another" if grant:
                self.extend(grant, grant.staff if act == "extend" else staff)
            case "end" | "end of another" if grant:
                self.end(grant, grant.staff if act == "end" else staff)

    # --- the model ------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        return self.world.now

    def role(self, staff: str) -> Role:
        return NO_ROLE if staff in self.without_role else ROLES[staff]

    def may_look(self, staff: str, number: int) -> bool:
        found = self.conversations[number]
        return (
            self.role(staff).may_read
            and not found.is_sealed
            and any(
                (grant.staff, grant.conversation) == (staff, number)
                and not grant.is_revoked
                and grant.expires_at > self.now
                and not (grant.is_by_consent and found.is_deleted)
                for grant in self.grants
            )
        )

    def has_consent(self, number: int) -> bool:
        found = self.conversations[number]
        return not found.is_deleted and found.consent_until is not None and found.consent_until > self.now

    def refusal(self, staff: str, number: int) -> int | None:
        """Return the status that refuses the page of the opening as a whole."""
        if not self.role(staff).may_read:
            return 403
        return 404 if self.conversations[number].is_sealed else None

    # --- staff ----------------------------------------------------------------------------------

    def read_transcript(self, staff: str, number: int) -> None:
        answer = self.world.clients[staff].get(transcript(self.conversations[number].key))
        may_look = self.may_look(staff, number)
        expected = 200 if may_look else 302 if self.role(staff).may_list else 403
        assert answer.status_code == expected
        self.check_look(answer, may_look=may_look)

    @invariant()
    def read_by_the_newest_grant(self) -> None:
        """Look after each event, which may just have ended the grant."""
        if self.grants:
            self.read_transcript(self.grants[-1].staff, self.grants[-1].conversation)

    def read_run(self, staff: str, number: int) -> None:
        found = self.conversations[number]
        answer = self.world.clients[staff].get(f"/admin/chat/run/{found.run}/change/")
        may_view = self.role(staff).may_view_runs
        assert answer.status_code == (403 if not may_view else 302 if found.is_deleted else 200)
        may_look = may_view and not found.is_deleted and self.may_look(staff, number)
        self.check_look(answer, may_look=may_look)

    def read_facts(self, staff: str, number: int) -> None:
        answer = self.world.clients[staff].get(opening(self.conversations[number].key))
        assert answer.status_code == (self.refusal(staff, number) or 200)
        self.check_look(answer, may_look=False)

    def check_look(self, answer: Any, *, may_look: bool) -> None:
        assert (TEXT in answer.content.decode()) is may_look
        self.looks += may_look
        assert count_looks() - self.looks_before == self.looks

    def post(self, staff: str, number: int, **form: Any) -> int:
        answer = self.world.clients[staff].post(opening(self.conversations[number].key), form)
        assert TEXT not in answer.content.decode()
        return answer.status_code

    def open_with_reason(self, staff: str, number: int, reason: str) -> None:
        status = self.post(staff, number, reason=reason)
        expected = self.refusal(staff, number) or (422 if reason == "other" else 303)
        assert status == expected
        self.add(staff, number, is_opened=status == 303, is_by_consent=False)

    def open_by_consent(self, staff: str, number: int) -> None:
        is_allowed = self.has_consent(number)
        status = self.post(staff, number, consent="true")
        assert status == (self.refusal(staff, number) or (303 if is_allowed else 403))
        self.add(staff, number, is_opened=status == 303, is_by_consent=True)

    def add(self, staff: str, number: int, *, is_opened: bool, is_by_consent: bool) -> None:
        known = [grant.key for grant in self.grants]
        added = list(AccessGrant.objects.exclude(pk__in=known))
        assert len(added) == is_opened
        for stored in added:
            until = self.now + HALF_HOUR
            self.grants.append(ModelOfGrant(stored.pk, staff, number, is_by_consent, until))

    def extend(self, grant: ModelOfGrant, staff: str) -> None:
        status = self.post(staff, grant.conversation, extend=grant.key)
        is_found = staff == grant.staff and not grant.is_revoked and grant.expires_at >= self.now - HOUR
        is_allowed = not grant.is_by_consent or self.has_consent(grant.conversation)
        expected = 404 if not is_found else 303 if is_allowed else 403
        assert status == (self.refusal(staff, grant.conversation) or expected)
        if status == 303:
            grant.expires_at = self.now + HALF_HOUR

    def end(self, grant: ModelOfGrant, staff: str) -> None:
        status = self.post(staff, grant.conversation, end=grant.key)
        is_found = staff == grant.staff and not grant.is_revoked
        assert status == (self.refusal(staff, grant.conversation) or (303 if is_found else 404))
        grant.is_revoked |= status == 303

    # --- alice ----------------------------------------------------------------------------------

    def consent(self, number: int, *, allow: bool) -> bool:
        """Send the form of the consent; return whether it was taken."""
        found = self.conversations[number]
        answer = self.world.clients["alice"].post(
            f"/chat/{found.key}/support/", {"allow": "true" if allow else "false"}
        )
        assert answer.status_code == (404 if found.is_deleted else 303)
        return not found.is_deleted

    def give_consent(self, number: int) -> None:
        if self.consent(number, allow=True):
            self.conversations[number].consent_until = self.now + WEEK

    def revoke_consent(self, number: int) -> None:
        if self.consent(number, allow=False) and self.conversations[number].consent_until:
            self.conversations[number].consent_until = None
            for grant in self.grants:
                if grant.conversation == number and grant.is_by_consent and grant.expires_at > self.now:
                    grant.is_revoked = True

    def delete_or_restore(self, number: int, *, is_deleted: bool) -> None:
        found = self.conversations[number]
        if not found.is_sealed:
            found.is_deleted = is_deleted
            at = self.now if is_deleted else None
            Conversation.objects.filter(pk=found.key).update(deleted_at=at)

    # --- the operator, the owner and the clock --------------------------------------------------

    def seal(self, number: int) -> None:
        found = self.conversations[number]
        if not found.is_sealed:
            self.delete_or_restore(number, is_deleted=True)
            found.is_sealed = True
            SealedConversation.objects.create(conversation_id=found.key)

    def change_role(self, staff: str, has_role: bool) -> None:
        (self.without_role.discard if has_role else self.without_role.add)(staff)
        self.set_role(staff)

    def set_role(self, staff: str) -> None:
        user, group = self.world.users[staff], self.role(staff).group
        user.groups.set(Group.objects.filter(name=group))
        User.objects.filter(pk=user.pk).update(is_superuser=group is None)

    def wait(self, pause: timedelta) -> None:
        self.world.now += pause


def count_looks() -> int:
    return AuditEvent.objects.filter(action="look").count()


@pytest.fixture
def world(transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    settings.SESSION_COOKIE_AGE = 10**9  # the clock goes on for years
    users = {"alice": make_user("alice")} | {name: make_staff(name) for name in ROLES}
    world = World(timezone.now(), users)
    monkeypatch.setattr(timezone, "now", lambda: world.now)
    for name, user in users.items():
        world.clients[name] = Client()
        world.clients[name].force_login(user)
    GrantMachine.world = world
    yield world
    del GrantMachine.world


@pytest.mark.timeout(0 if IS_FULL else 120)
def test_text_is_shown_only_by_a_valid_grant_and_each_look_is_recorded(world: World) -> None:
    run_state_machine_as_test(
        GrantMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            # Shrinking takes minutes.
            phases=[phase for phase in Phase if IS_FULL or phase is not Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    assert count_looks() > EXAMPLES  # not all of them were refused
    assert audit.verify().faults == []
