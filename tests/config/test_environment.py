"""The class of the settings: what it accepts, and the one sentence for a wrong value."""

import traceback
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.environment import Environment, read_environment

pytestmark = pytest.mark.any_database


APPROVERS = 'APPROVERS must be JSON such as {"agent": {"tool": "name of a group"}}'
KEEP_DAYS = 'KEEP_DAYS must be JSON such as {"agent": 365, "*": 730}'
MALFORMED_DAYS = [
    "365",
    "[]",
    '{"bank": "x"}',
    '{"bank": 0}',
    '{"bank": true}',
    '{"bank": 1e9}',
    '{"bank": NaN}',
]
MALFORMED_APPROVERS = ["Finance", "[]", '{"bank": "Pay"}', '{"bank": {"pay": ""}}', '{"bank": {"pay": 1}}']


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DEBUG", "t", "DEBUG must be 'on' or 'off', not 't'."),
        ("LIMITS", "2", "LIMITS must be 'on' or 'off', not '2'."),
        ("TOOL_THREADS", "+8", "TOOL_THREADS must be a whole number of at least 1, not '+8'."),
        ("TOOL_THREADS", "8.0", "TOOL_THREADS must be a whole number of at least 1, not '8.0'."),
        ("TOOL_THREADS", "0", "TOOL_THREADS must be a whole number of at least 1, not '0'."),
        ("DATABASE_POOL", "5", "DATABASE_POOL must be a whole number of at least 6, not '5'."),
        ("RUN_SECONDS", "inf", "RUN_SECONDS must be a number of at least 0, not 'inf'."),
        ("RUN_SECONDS", "120", "FIRST_TOKEN_SECONDS must be less than RUN_SECONDS (120), not 120."),
        ("FIRST_TOKEN_SECONDS", "300", "FIRST_TOKEN_SECONDS must be less than RUN_SECONDS (300), not 300."),
        ("SILENCE_SECONDS", "1000", "SILENCE_SECONDS must be less than RUN_SECONDS (300), not 1000."),
        ("TOOL_SECONDS", "300.5", "TOOL_SECONDS must be less than RUN_SECONDS (300), not 300.5."),
        ("TOOL_SECONDS", "-1", "TOOL_SECONDS must be a number of at least 0, not '-1'."),
        ("RENDER_SECONDS", "0", "RENDER_SECONDS must be a number of at least 0.01, not '0'."),
        ("RENDER_SECONDS", "soon", "RENDER_SECONDS must be a number of at least 0.01, not 'soon'."),
        ("LOG_FORMAT", "XML", "LOG_FORMAT must be 'text' or 'json', not 'xml'."),
        ("AGENT_NAME", "user", "AGENT_NAME must be a Python identifier other than 'user'."),
        *(("APPROVERS", wrong, f"{APPROVERS}, not {wrong!r}.") for wrong in MALFORMED_APPROVERS),
        *(("KEEP_DAYS", wrong, f"{KEEP_DAYS}, not {wrong!r}.") for wrong in MALFORMED_DAYS),
        ("AGENTS_DIR", "/nowhere", "AGENTS_DIR must be a folder that can be read, not '/nowhere'."),
    ],
)
def test_a_wrong_value_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as refused:
        read_environment()
    assert str(refused.value) == sentence


def test_of_several_wrong_values_the_first_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUN_SECONDS", "PORT", "DEBUG"):
        monkeypatch.setenv(name, "wrong")
    with pytest.raises(ImproperlyConfigured, match=r"^PORT must be .* not 'wrong'\.$"):
        read_environment()


def test_a_wrong_value_does_not_show_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://:open-sesame@host")
    monkeypatch.setenv("EMAIL_PASSWORD", "open-sesame")
    with pytest.raises(ImproperlyConfigured) as refused:
        read_environment()
    assert "open-sesame" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_a_blank_value_counts_as_absent(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    names = set(Environment.model_fields) - {"ENV_FILE"}
    for name in names:
        monkeypatch.setenv(name, blank)
    found = read_environment()
    for name in names:
        monkeypatch.delenv(name)
    assert found == Environment()


def test_white_space_around_a_value_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", " 9000 ")
    monkeypatch.setenv("ALLOWED_HOSTS", " a.example , ,b.example,")
    found = read_environment()
    assert (found.PORT, found.ALLOWED_HOSTS) == (9000, ["a.example", "b.example"])


def test_a_line_of_the_file_cannot_name_another_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("ENV_FILE=/elsewhere\nPORT=9000\n")
    monkeypatch.setenv("ENV_FILE", str(file))
    monkeypatch.setenv("PORT", "")  # so that it is restored after the test
    monkeypatch.delenv("PORT")
    assert file == read_environment().ENV_FILE
    assert Environment().PORT == 9000
