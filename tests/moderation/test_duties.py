"""Permissions below the pages: each way to a text asks for its own, whoever calls it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import PermissionDenied

from accounts.models import User
from chat.models import Conversation
from chat.moderation import grants
from chat.moderation.duties import may_act_on
from chat.moderation.models import AccessGrant
from tests.conftest import make_user

pytestmark = pytest.mark.django_db(transaction=True)

ALL = ["read_text", "break_glass", "search_text"]


@pytest.fixture
def nora(transactional_db: None) -> Any:
    return make_user("nora", is_staff=True)


@pytest.fixture
def quasar(alice: Any) -> Conversation:
    return Conversation.objects.create(owner=alice, agent="chat_assistant", title="What is a quasar?")


def able(staff: Any, names: list[str]) -> User:
    """Give the staff exactly these permissions; return the account as the next request reads it."""
    staff.user_permissions.set(Permission.objects.filter(codename__in=names))
    return User.objects.get(username=staff.username)


WAYS: dict[str, tuple[list[str], Callable[[User, Conversation], Any]]] = {
    "with a reason": (["read_text", "break_glass"], lambda s, c: grants.open_with_reason(s, c, "report", "")),
    "by consent": (["read_text"], grants.open_by_consent),
    "a search": (["search_text"], lambda s, _c: grants.open_search(s, "report", "")),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_opens_with_its_permissions_and_not_without_one(
    nora: Any, quasar: Conversation, way: str
) -> None:
    needed, open_it = WAYS[way]
    grants.give_consent(quasar)
    for missing in needed:
        with pytest.raises(PermissionDenied):
            open_it(able(nora, [name for name in ALL if name != missing]), quasar)
    assert not AccessGrant.objects.exists()
    assert open_it(able(nora, needed), quasar)


def test_consent_has_to_be_there(nora: Any, quasar: Conversation) -> None:
    staff = able(nora, ALL)
    with pytest.raises(PermissionDenied):
        grants.open_by_consent(staff, quasar)


@pytest.mark.parametrize("way", WAYS)
def test_a_lost_permission_ends_a_grant_and_its_extension(nora: Any, quasar: Conversation, way: str) -> None:
    needed, open_it = WAYS[way]
    grants.give_consent(quasar)
    grant = open_it(able(nora, ALL), quasar)
    is_search = way == "a search"
    for missing in needed:
        staff = able(nora, [name for name in ALL if name != missing])
        assert (grants.search_grant_of(staff) if is_search else grants.grant_of(staff, quasar)) is None
        assert not is_search or grants.search_texts(staff, "quasar") is None
        with pytest.raises(PermissionDenied):
            grants.extend_grant(staff, grant.pk)
    staff = able(nora, ALL)
    assert grants.extend_grant(staff, grant.pk).pk == grant.pk


def test_staff_act_on_members_the_owner_on_staff_and_nobody_on_the_owner(
    nora: Any, alice: Any, transactional_db: None
) -> None:
    olga, stefan = make_user("olga", is_staff=True, is_superuser=True), make_user("stefan", is_staff=True)
    moderator = able(nora, ["act_on_members"])
    assert [may_act_on(moderator, each) for each in (alice, stefan, olga, moderator)] == [
        True, False, False, False,
    ]  # fmt: skip
    assert [may_act_on(olga, each) for each in (alice, stefan, olga)] == [True, True, False]
    assert not may_act_on(able(nora, []), alice)
    # each rule by itself: not on oneself, and not on an owner who is no staff
    assert not may_act_on(able(alice, ["act_on_members"]), alice)
    User.objects.filter(pk=olga.pk).update(is_staff=False)
    assert not may_act_on(able(nora, ["act_on_members"]), User.objects.get(pk=olga.pk))
