"""How much of an answer was heard, and which words belong to which turn: the pure parts of a call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.live.heard import BYTES_PER_MS, SpokenAnswer, SpokenWords, whole_words

AUDIO_FIRST = [100, "One. ", 100, "Two three. ", 100, "Four."]
TEXT_FIRST = ["One. ", 100, "Two three. ", 100, "Four.", 100]


def answer_of(steps: list[int | str]) -> SpokenAnswer:
    answer = SpokenAnswer()
    for step in steps:
        if isinstance(step, int):
            answer.add_audio(step * BYTES_PER_MS)
        else:
            answer.add_caption(step)
    return answer


@pytest.mark.parametrize("steps", [AUDIO_FIRST, TEXT_FIRST])
@pytest.mark.parametrize(
    ("ms", "heard"),
    [
        (0, ""),
        (99, "One."),
        (100, "One. "),
        (140, "One. Two"),
        (199, "One. Two three."),
        (200, "One. Two three. "),
        (299, "One. Two three. "),
        (300, "One. Two three. Four."),
    ],
)
def test_captions_are_heard_with_their_audio(steps: list[int | str], ms: float, heard: str) -> None:
    assert answer_of(steps).heard_until(ms) == heard


def test_without_audio_all_that_was_shown_counts_as_heard() -> None:
    assert answer_of(["One. ", "Two."]).heard_until(0) == "One. Two."


def test_a_caption_whose_audio_has_not_come_is_not_heard() -> None:
    assert answer_of(["One. ", 100, "Two."]).heard_until(100) == "One. "


def test_audio_whose_caption_has_not_come_adds_nothing() -> None:
    assert answer_of([100, "One. ", 100]).heard_until(200) == "One. "


def test_captions_before_the_same_audio_count_as_one() -> None:
    assert answer_of(["One ", "two ", 100]).heard_until(50) == "One"


@pytest.mark.parametrize(
    ("corrected", "heard"), [("One. Too three", "One. Too"), ("One. ", "One. "), ("", ""), ("1. 2.", "1.")]
)
def test_a_correction_keeps_the_places_of_captions(corrected: str, heard: str) -> None:
    answer = answer_of([100, "One. ", 100, "Two three. "])
    answer.replace(corrected)
    assert answer.text == corrected
    assert answer.heard_until(199) == heard


Step = st.one_of(st.integers(1, 500), st.text("ab \n", min_size=1, max_size=8))


@given(st.lists(Step, max_size=12), st.lists(st.floats(0, 5000), min_size=2, max_size=2))
def test_the_heard_text_is_a_prefix_that_grows(steps: list[int | str], times: list[float]) -> None:
    answer = answer_of(steps)
    less, more = (answer.heard_until(ms) for ms in sorted(times))
    assert answer.text.startswith(more) and more.startswith(less)


def test_whole_words_are_counted_by_characters() -> None:
    assert [whole_words("ab cd", share / 5) for share in range(6)] == ["", "", "ab", "ab", "ab", "ab cd"]


# --- the member's words --------------------------------------------------------------------------


def heard(transcript: SpokenWords, *utterances: str) -> None:
    """Hear texts; one that ends with a dot is final."""
    for text in utterances:
        transcript.hear(text, final=text.endswith("."))


def test_a_question_is_its_newest_transcript() -> None:
    transcript = SpokenWords()
    heard(transcript, "What", "What tim", "What time.")
    assert (transcript.question, transcript.is_final) == ("What time.", True)
    heard(transcript, "And", "And where.")
    assert transcript.complete() == "What time. And where."


def test_late_words_complete_a_question_whose_answer_is_whole() -> None:
    transcript = SpokenWords()
    heard(transcript, "What ti")
    transcript.answer()
    heard(transcript, "What time is", "What time is it.")
    assert transcript.question == "What ti"
    assert transcript.complete() == "What time is it."
    assert transcript.question == ""


def test_words_that_interrupt_are_the_next_question() -> None:
    transcript = SpokenWords()
    heard(transcript, "Tell me.")
    transcript.answer()
    heard(transcript, "Wait", "Wait a")
    assert transcript.interrupt() == "Tell me."
    assert transcript.question == "Wait a"
    heard(transcript, "Wait a minute.")
    assert transcript.complete() == "Wait a minute."


def test_an_utterance_over_two_turns_is_divided() -> None:
    # A provider that never ends the first utterance adds the interrupting words to it.
    transcript = SpokenWords()
    heard(transcript, "Tell me")
    transcript.answer()
    heard(transcript, "Tell me no")
    assert transcript.interrupt() == "Tell me"
    heard(transcript, "Tell me no stop.")
    assert transcript.complete() == "no stop."
    heard(transcript, "Go on.")
    assert transcript.complete() == "Go on."


def test_an_utterance_that_ends_after_its_answer_begins_no_question() -> None:
    transcript = SpokenWords()
    heard(transcript, "Tell me")
    transcript.answer()
    assert transcript.complete() == "Tell me"
    transcript.hear("Tell me", final=True)
    assert transcript.question == ""
    heard(transcript, "Tell me.")
    assert transcript.question == "Tell me."


def test_a_late_correction_belongs_to_its_question() -> None:
    transcript = SpokenWords()
    heard(transcript, "what thyme")
    transcript.answer()
    transcript.hear("What time?", final=True)
    assert (transcript.question, transcript.is_final) == ("What time?", True)


@given(st.lists(st.tuples(st.sampled_from(["hear", "answer", "complete", "interrupt"]), st.booleans())))
def test_no_word_is_lost_or_doubled(steps: list[tuple[str, bool]]) -> None:
    transcript, said, questions, utterance, n = SpokenWords(), [], [], [], 0
    for step, final in steps:
        match step:
            case "hear":
                utterance.append(f"w{n}")
                said.append(f"w{n}")
                n += 1
                transcript.hear(" ".join(utterance), final=final)
                if final:
                    utterance = []
            case "answer":
                transcript.answer()
            case "complete":
                questions.append(transcript.complete())
            case "interrupt":
                questions.append(transcript.interrupt())
    questions += [transcript.complete()]
    assert " ".join(question for question in questions if question).split() == said
