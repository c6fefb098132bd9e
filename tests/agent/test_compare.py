"""Every feature of ADK: Parley shows and stores what ``adk api_server`` sends of the same agents."""

from collections.abc import Iterator

import pytest

from tests.agent import compare
from tests.agent.compare import ApiServer, Parley, differences


@pytest.fixture(scope="module")
def adk() -> Iterator[ApiServer]:
    with compare.api_server() as server:
        yield server


@pytest.fixture(scope="module")
def parley(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parley]:
    with compare.parley(tmp_path_factory.mktemp("compare")) as server:
        yield server


@pytest.mark.any_database
@pytest.mark.parametrize("agent", compare.AGENTS)
def test_parley_tells_what_api_server_tells(adk: ApiServer, parley: Parley, agent: str) -> None:
    assert list(differences(adk, parley, agent, streams=True)) == []


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("agent", "kinds"),
    [
        ("tool_sync", {"text", "call", "result"}),
        ("text_thoughts", {"text", "thought"}),
        ("text_cut_off", {"text", "cut off"}),
        ("code_by_the_model", {"text", "code", "outcome"}),
        ("file_saved", {"text", "call", "result", "artifact"}),
        ("file_picture_alone", {"file"}),
        ("workflow_of_functions", {"output"}),
        ("wait_for_a_choice", {"call", "request"}),
        ("failure_of_the_model", {"error"}),
    ],
)
def test_the_comparison_notices_each_kind_of_lost_fact(
    adk: ApiServer, parley: Parley, agent: str, kinds: set[str]
) -> None:
    """Look for what one agent said in the answer of another, where none of it is."""
    events, _state = next(adk.ask(agent, streams=True))
    other = next(parley.ask("text_plain", streams=True))
    lost = {(fact.kind, place) for fact, place in compare.lost(events, other) if place != "stream"}
    assert lost == {(kind, place) for kind in kinds for place in ("parts", "page", "session")}


@pytest.mark.any_database
def test_the_comparison_notices_a_fact_that_is_shown_once_too_often(adk: ApiServer, parley: Parley) -> None:
    events, _state = next(adk.ask("tool_sync", streams=True))
    turn = next(parley.ask("tool_sync", streams=True))
    assert list(compare.repeated(events, turn)) == []
    text = next(event for event in reversed(events) if not event.get("partial"))
    (line,) = compare.repeated(
        [event for event in events if event is not text and not event.get("partial")], turn
    )
    assert "Itis42" in line
    call = next(event for event in events if "functionCall" in str(event) and not event.get("partial"))
    assert "calls []" in next(compare.repeated([event for event in events if event is not call], turn))
