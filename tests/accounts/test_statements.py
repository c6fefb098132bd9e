"""Statements whose SQL is built once: they find, insert and change what Django's own queries would."""

import uuid
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q, QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from accounts.statements import Statement, insert, update
from chat.actions import Ask, send_message
from chat.models import Conversation, Message, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversations(alice: User, bob: User) -> list[Conversation]:
    """Two of alice's and one of bob's."""
    return [
        send_message(owner, Ask(query=f"question {n}"), agents=["a"]).conversation
        for n, owner in enumerate([alice, alice, bob])
    ]


def same(found: Any, expected: QuerySet[Any]) -> bool:
    """Return whether objects have the same values in all their columns, in the same order."""
    names = [field.attname for field in expected.model._meta.concrete_fields]
    return [[getattr(each, name) for name in names] for each in found] == [
        [getattr(each, name) for name in names] for each in expected
    ]


def test_it_finds_what_the_query_finds(conversations: list[Conversation], alice: User, bob: User) -> None:
    own = Statement(lambda owner: Conversation.objects.filter(owner=owner).order_by("-id"))
    for owner in (alice, bob, alice):
        assert same(own.all(owner.pk), Conversation.objects.filter(owner=owner).order_by("-id"))
    assert own.first(bob.pk) == conversations[2]
    assert own.first(0) is None


def test_lists_of_any_length_are_compared(conversations: list[Conversation]) -> None:
    named = Statement(lambda ids, title: Conversation.objects.filter(Q(pk__in=ids) | Q(title=title)))
    for length in (1, 3, 2, 1):
        ids = [each.pk for each in conversations[:length]]
        assert {each.pk for each in named.all(ids, "")} == set(ids)
    assert {each.pk for each in named.all([uuid.uuid4()], "question 1")} == {conversations[1].pk}


def test_nothing_is_in_an_empty_list() -> None:
    named = Statement(lambda ids: Conversation.objects.filter(pk__in=ids))
    with CaptureQueriesContext(connection) as asked:
        assert named.all([]) == []
    assert not asked


def test_the_sql_is_built_once(conversations: list[Conversation]) -> None:
    built = []

    def build(pk: uuid.UUID) -> QuerySet[Conversation]:
        built.append(pk)
        return Conversation.objects.filter(pk=pk)

    named = Statement(build)
    assert [named.first(each.pk) for each in conversations] == conversations
    assert len(built) == 1


def test_related_objects_deferred_columns_and_annotations_are_there(alice: User) -> None:
    run = send_message(alice, Ask(query="q"), agents=["a"])
    with_owner = Statement(
        lambda pk, now: (
            Conversation.objects.with_active_run()
            .select_related("owner", "head__run")
            .defer("title", "owner__password")
            .filter(pk=pk, created_at__lt=now)
        )
    )
    found = with_owner.first(run.conversation_id, timezone.now())
    assert found
    with CaptureQueriesContext(connection) as asked:
        assert (found.owner.username, found.head and found.head.text) == ("alice", "q")
        assert found.head and found.head.run is None
        assert found.active_run == run.pk  # type: ignore[attr-defined]
    assert not asked
    assert found.get_deferred_fields() == {"title"}
    assert found.owner.get_deferred_fields() == {"password"}


def test_values_are_tuples_with_the_types_of_the_columns(alice: User) -> None:
    run = send_message(alice, Ask(query="q"), agents=["a"])
    of: Statement[Any] = Statement(
        lambda pk: Message.objects.filter(pk=pk).values_list("pk", "parts", "created_at", "run")
    )
    prompt = Message.objects.get(pk=run.prompt_id)
    [row] = of.all(prompt.pk)
    assert row == (prompt.pk, prompt.parts, prompt.created_at, None)


def test_a_value_that_is_no_parameter_is_an_error(alice: User) -> None:
    """Otherwise each call would have the value of the first one."""
    newest = Statement(lambda owner, count: Conversation.objects.filter(owner=owner)[: count % 7 + 1])
    with pytest.raises(ValueError, match="not a parameter"):
        newest.all(alice.pk, 3)


def test_inserted_objects_are_those_that_django_would_store(alice: User) -> None:
    run = send_message(alice, Ask(query="q"), agents=["a"])
    new = [
        Message(
            conversation=run.conversation,
            parent_id=run.prompt_id,
            role=Message.Role.ASSISTANT,
            run=run,
            text=f"“{n}” \\ %s ?",
            parts={"v": 1, "items": [{"text": "é\u2028", "n": 1.5, "none": None}]},
            feedback=-1,
            feedback_detail=None,
            feedback_at=timezone.now(),
        )
        for n in range(3)
    ]
    insert(*new)
    stored = Message.objects.filter(pk__in=[each.pk for each in new]).order_by("text")
    assert same(new, stored)
    new[0].text = "changed"
    new[0].save()  # it is known to be stored
    assert Message.objects.filter(parent=run.prompt_id).count() == 3


def test_nothing_to_insert_is_no_statement() -> None:
    with CaptureQueriesContext(connection) as asked:
        insert()
    assert not asked


def test_only_the_named_columns_of_one_object_change(alice: User, conversations: list[Conversation]) -> None:
    before, now = Conversation.objects.get(pk=conversations[0].pk), timezone.now()
    update(Conversation, before.pk, title="new", archived_at=now, head_id=None, pinned_at=None)
    after = Conversation.objects.get(pk=before.pk)
    assert (after.title, after.archived_at, after.head_id) == ("new", now, None)
    assert (after.owner_id, after.updated_at) == (before.owner_id, before.updated_at)
    assert Conversation.objects.filter(title="new").count() == 1


def test_an_unknown_column_is_an_error(alice: User) -> None:
    with pytest.raises(KeyError):
        update(Run, uuid.uuid4(), nothing=1)
