"""The checks of ``make lint`` that are our own find what they are for."""

import ast

import pytest

from tools.lint import subject_faults
from tools.structure import folder_imports, folders_in_cycles, names_defined_twice

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize(
    "subject",
    [
        "What the page's script adds is ignored",
        "The journal writes in batches",
        "Added a test",
        "Adding a test",
        "Adds a test",
        "tests: Add one",
        "add a test",
        "Add a test.",
        "Add " + "x" * 70,
    ],
)
def test_a_subject_that_is_not_imperative_is_a_fault(subject: str) -> None:
    assert list(subject_faults(subject))


@pytest.mark.parametrize(
    "subject",
    [
        "Add a test",
        "Pass the reader's place on",
        "Speed up replies",
        "Merge the plain docs",
        "Process" + " x",
    ],
)
def test_an_imperative_subject_is_no_fault(subject: str) -> None:
    assert not list(subject_faults(subject))


def test_a_public_name_in_two_modules_is_found() -> None:
    first = ast.parse("class Turn: ...\ndef _own(): ...\nlog = 1\n")
    second = ast.parse("Turn: int = 3\ndef _own(): ...\nlog = 2\n")
    assert names_defined_twice({"chat.a": first, "chat.b": second}) == {"Turn": ["chat.a", "chat.b"]}


def test_folders_that_import_each_other_are_a_cycle() -> None:
    trees = {
        "chat": ast.parse(""),
        "chat.events": ast.parse(""),
        "chat.runs": ast.parse(""),
        "chat.runs.journal": ast.parse("from chat import events\nfrom chat.agent import reply"),
        "chat.agent": ast.parse(""),
        "chat.agent.reply": ast.parse("def late():\n    from chat.runs.journal import Journal"),
    }
    assert folders_in_cycles(folder_imports(trees)) == ["chat.agent", "chat.runs"]
