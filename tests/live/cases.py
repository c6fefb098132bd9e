"""Cases of the campaign: interruptions of a spoken answer, and what was heard before each."""

from dataclasses import dataclass
from itertools import product

from chat.agent.live.events import Audio, LiveEvent, Shown
from chat.events import text
from chat.live.heard import BYTES_PER_MS, whole_words

CAPTIONS = ["First words ", "of a long answer, ", "which nobody ", "lets me end."]
CAPTION_MS = 100


def spoken(*captions: str, ms: int = 100, text_first: bool = False) -> list[LiveEvent]:
    """Return the events of an answer: each caption with its audio, before it or after it."""
    found: list[LiveEvent] = []
    for caption in captions:
        pair: list[LiveEvent] = [Audio(b"\1\0" * (BYTES_PER_MS * ms // 2)), Shown([text(caption)])]
        found += reversed(pair) if text_first else pair
    return found


@dataclass(frozen=True)
class Case:
    """An interruption after ``taken`` events of the answer; ``played`` milliseconds of it were heard."""

    text_first: bool
    taken: int
    played: int
    when: str  # "before" the client hears of the interruption, or "after", or "both"


def every_case() -> list[Case]:
    events = 2 * len(CAPTIONS)
    times = range(0, CAPTION_MS * len(CAPTIONS) + 1, 25)
    found = product([False, True], range(1, events + 1), times, ["before", "after", "both"])
    return [case for each in found if (case := Case(*each)).played <= sent_ms(case)]


def answer_of(case: Case) -> list[LiveEvent]:
    return spoken(*CAPTIONS, ms=CAPTION_MS, text_first=case.text_first)[: case.taken]


def sent_ms(case: Case) -> int:
    return sum(len(event.pcm) // BYTES_PER_MS for event in answer_of(case) if isinstance(event, Audio))


def heard_of(case: Case) -> str:
    """Return what was heard, as decision 61 says it."""
    received, captions = 0, list[tuple[int, str]]()
    for event in answer_of(case):
        if isinstance(event, Audio):
            received += len(event.pcm) // BYTES_PER_MS
        elif isinstance(event, Shown):
            captions.append((received, event.events[0].data["text"]))
    texts = [caption for _at, caption in captions]
    if received == 0:
        return "".join(texts)
    times = [at for at, _text in captions]
    spans = [*times, received] if case.text_first else [0, *times]
    heard = ""
    for caption, start, end in zip(texts, spans, spans[1:], strict=False):
        if start < end <= case.played:
            heard += caption
        elif start < case.played:
            return heard + whole_words(caption, (case.played - start) / (end - start))
        else:
            return heard
    return heard
