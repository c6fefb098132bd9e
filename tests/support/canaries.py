"""Texts that are found again: one of its own in each column of a member's rows, made by introspection."""

import itertools
import re
import uuid
from typing import Any

from django.db import connection, models
from django.utils import timezone

from accounts.models import User
from chat import personal_data
from chat.personal_data import PersonalData

# Columns that are no free text: the database or another column decides their values.
FIXED = {
    ("accounts.User", "password"),
    ("accounts.User", "folded_name"),
    ("sessions.Session", "session_data"),
}
# Columns that a constraint asks for, although they may be null.
NEEDED = {
    ("moderation.AccessGrant", "conversation"),
    ("moderation.Decision", "conversation"),
    ("moderation.Decision", "message"),
    ("moderation.Decision", "ended_at"),  # one that is in force is the only one
}
# References of which there is one row each.
UNSHARED = {("moderation.Appeal", "decision"), ("moderation.Appeal", "item")}
TEXTS = (models.CharField, models.TextField, models.FileField)

CANARY_LENGTH = 12

_numbers = itertools.count(1)


def canary(owner: str) -> str:
    """Return a new word of the owner. The end is common: the index stores words without common beginnings."""
    return f"{next(_numbers):05}zq{owner}"


def canaries_in(text: str, owner: str) -> set[str]:
    return set(re.findall(rf"\d{{5}}zq{owner}", text))


def fill(user: Any, owner: str) -> None:
    """Give the user a row of each model that holds personal data, and a canary in each of its columns."""
    for data in sorted(personal_data.declarations, key=lambda data: data.model is User):
        if isinstance(data.path, str) and not _rows(data, user):
            make(data, user)
    for data in personal_data.declarations:
        for row in _rows(data, user):
            put_canaries(row, owner)


def _rows(data: PersonalData, user: Any) -> list[Any]:
    return [row for rows in data.rows(user) for row in rows] if isinstance(data.path, str) else []


def make(data: PersonalData, user: Any) -> None:
    """Store a row of the declared model whose reference of that path is to the user."""
    values: dict[str, Any] = {}
    for field in data.model._meta.concrete_fields:
        if isinstance(field, models.ForeignKey):
            if field.related_model is User and (field.name == data.path or not field.null):
                values[field.name] = user
            elif not field.null or (data.model._meta.label, field.name) in NEEDED:
                is_shared = (data.model._meta.label, field.name) not in UNSHARED
                values[field.name] = some(field.related_model, user, is_shared=is_shared)
        elif field.primary_key and type(field) is models.BigIntegerField:
            values[field.name] = 10**9 + next(_numbers)
        elif (data.model._meta.label, field.name) in NEEDED or not (
            field.has_default() or field.null or field.blank or field.primary_key
        ):
            values[field.name] = _value(field)
    data.model._default_manager.create(**values)


def some(model: Any, user: Any, *, is_shared: bool = True) -> Any:
    """Return a row of the model, the user's if it has an owner; without ``is_shared`` a new one."""
    for data in personal_data.declarations:
        if data.model is model and isinstance(data.path, str):
            before = {row.pk for row in _rows(data, user)}
            if not (before and is_shared):
                make(data, user)
            return next(row for row in _rows(data, user) if is_shared or row.pk not in before)
    return model._default_manager.first() or model._default_manager.create(name="Group")


def _value(field: Any) -> Any:
    if field.choices:
        return field.choices[0][0]
    if isinstance(field, models.DateTimeField):
        return timezone.now()
    if isinstance(field, models.DateField):
        return timezone.now().date()
    if isinstance(field, models.UUIDField):
        return uuid.uuid4()
    if isinstance(field, models.JSONField):
        return {}
    return canary("x") if isinstance(field, TEXTS) else 1


def put_canaries(row: Any, owner: str) -> None:
    changed: dict[str, Any] = {}
    for field in row._meta.concrete_fields:
        label = (row._meta.label, field.name)
        if field.choices or field.primary_key or label in FIXED:
            continue
        if label == ("calls.LiveCall", "handle") and row.ended_at:
            continue  # a constraint: a call that has ended has none
        if isinstance(field, models.JSONField):
            changed[field.name] = {"items": [], "canary": canary(owner)}
        elif isinstance(field, models.EmailField):
            changed[field.name] = f"{canary(owner)}@example.org"
        elif isinstance(field, models.BinaryField):
            changed[field.name] = canary(owner).encode()
        elif isinstance(field, TEXTS) and (field.max_length or CANARY_LENGTH) >= CANARY_LENGTH:
            changed[field.name] = canary(owner)
    if isinstance(row, User):
        changed["folded_name"] = changed["username"]
    if changed:
        type(row)._base_manager.filter(pk=row.pk).update(**changed)


def database_text() -> str:
    """Return all columns of all tables, those of the full-text index included, as one text."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for row in cursor.fetchall():
                found += [each.decode("latin-1") if isinstance(each, bytes) else str(each) for each in row]
    return "\n".join(found)
