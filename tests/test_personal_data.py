"""Each model declares its way to a member, its export and its erasure."""

from collections import Counter

import pytest
from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from accounts.models import User
from chat import personal_data, purge
from chat.models import Suggestion
from chat.personal_data import declare

ALL_MODELS = apps.get_models(include_auto_created=True)


@pytest.mark.parametrize("model", ALL_MODELS, ids=lambda model: model._meta.label)
def test_each_model_is_declared(model: type[models.Model]) -> None:
    """Declare a new model in chat/personal_data.py, or in the ``ready`` of its app."""
    assert model in {data.model for data in personal_data.declarations}


@pytest.mark.parametrize("model", ALL_MODELS, ids=lambda model: model._meta.label)
def test_each_reference_to_a_member_is_a_declared_path(model: type[models.Model]) -> None:
    paths = [data.path for data in personal_data.declarations if data.model is model]
    for field in model._meta.concrete_fields:
        if field.related_model is User:
            # An owner of a run or a queued ask is the one of its conversation.
            beside = model in purge.PURGED_MODELS and field.name == "owner"
            assert field.name in paths or (beside and "conversation__owner" in paths), field


@pytest.mark.parametrize("data", personal_data.declarations, ids=lambda data: data.model._meta.label)
def test_declared_paths_and_values_exist(data: personal_data.PersonalData) -> None:
    if isinstance(data.path, str):
        data.model._default_manager.filter(**{data.path: 1})
    for name in data.erase.values:
        try:
            data.model._meta.get_field(name)
        except FieldDoesNotExist:
            pytest.fail(f"{data.model} has no {name}")
    if data.export:
        data.model._default_manager.values(*data.export.fields.split())


def test_each_exported_file_has_a_name_of_its_own() -> None:
    names = Counter(data.export.file for data in personal_data.declarations if data.export)
    assert not [name for name, count in names.items() if count > 1]


def test_secrets_are_in_no_export() -> None:
    exported = " ".join(data.export.fields for data in personal_data.declarations if data.export)
    for secret in ("password", "session", "key_hash", "failure", "decided_by", "person", "state_after"):
        assert secret not in exported.split()


def test_a_declaration_without_a_path_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="Suggestion"):
        declare(Suggestion)
