"""Words of both sides of a turn: how much of an answer was heard, and which words are whose turn's."""

import re

BYTES_PER_MS = 48  # PCM of an answer: 24 kHz, 16 bits, mono


class SpokenAnswer:
    """Captions of an answer on the time line of its audio.

    A model sends a caption before the audio of its words, or after it. The first caption of the answer shows
    which: if it came before any audio, each one spans the audio that came after it, up to the next caption;
    else the audio since the caption before it. Captions without audio between them count as one.
    """

    def __init__(self) -> None:
        self.audio_ms = 0.0  # received so far
        self._captions: list[tuple[float, str]] = []  # milliseconds of audio that came before, and the text

    @property
    def text(self) -> str:
        return "".join(text for _at, text in self._captions)

    def add_audio(self, size: int) -> None:
        """Count a piece of audio of ``size`` bytes."""
        self.audio_ms += size / BYTES_PER_MS

    def add_caption(self, text: str) -> None:
        self._add(self.audio_ms, text)

    def _add(self, at: float, text: str) -> None:
        if self._captions and self._captions[-1][0] == at:
            text = self._captions.pop()[1] + text
        self._captions.append((at, text))

    def replace(self, text: str) -> None:
        """Correct the captions: what they have in common with ``text`` keeps its place."""
        before, self._captions = self._captions, []
        for at, shown in before:
            if not text.startswith(shown):
                break
            self._add(at, shown)
            text = text[len(shown) :]
        if text:
            changed = before[len(self._captions) :] or [(self.audio_ms, "")]
            # The rest takes the time of all captions that it replaces.
            self._add(changed[0][0] if before and before[0][0] == 0 else changed[-1][0], text)

    def heard_until(self, ms: float) -> str:
        """Return the text that was heard after ``ms`` of the audio were played: a prefix of ``text``.

        A caption in the middle of which it stopped counts by whole words, in proportion. All captions count
        as heard if there was no audio.
        """
        if self.audio_ms == 0:
            return self.text
        heard, ms = "", min(ms, self.audio_ms)
        for text, start, end in self._spans():
            if not start < end <= ms:
                return heard + (whole_words(text, (ms - start) / (end - start)) if start < ms else "")
            heard += text
        return heard

    def _spans(self) -> list[tuple[str, float, float]]:
        """Return each caption with the milliseconds at which its audio starts and ends."""
        if not self._captions:
            return []
        times = [at for at, _text in self._captions]
        if times[0] == 0:  # text first
            starts, ends = times, [*times[1:], self.audio_ms]
        else:
            starts, ends = [0.0, *times[:-1]], times
        texts = [text for _at, text in self._captions]
        return list(zip(texts, starts, ends, strict=True))


def whole_words(text: str, share: float) -> str:
    """Return the whole words in the first ``share`` of the text, 0 to 1, by its characters."""
    room = share * len(text)
    cut = 0
    for word in re.finditer(r"\S+", text):
        if word.end() > room:
            break
        cut = word.end()
    return text[:cut]


class SpokenWords:
    """The member's words, given to the turns that they belong to.

    A transcript comes in utterances: the whole text so far again and again, then a final one. It may come
    late: words that come after the model has begun to answer belong to this turn if the answer is spoken to
    its end, and to the next one if they have interrupted it.
    """

    def __init__(self) -> None:
        self._said: list[str] = []  # of this turn, utterances that are final
        self._open = ""  # of this turn, of an utterance that is not final
        self._late: list[str] = []  # final utterances that have come since the answer began
        self._late_open = ""
        self._goes_on = False  # the first late utterance is the end of the last one before the answer
        self._taken = ""  # beginning of the current utterance, which earlier turns have
        self._is_answered = False

    @property
    def question(self) -> str:
        """Return the words of this turn so far, without those that are late."""
        return _joined([*self._said, self._open])

    @property
    def is_final(self) -> bool:
        """Return whether the last utterance of this turn has ended."""
        return bool(self._said) and not self._open

    def hear(self, text: str, *, final: bool) -> bool:
        """Take the whole text of the current utterance, and return whether the question has changed."""
        before = self.question, self.is_final
        text = text.removeprefix(self._taken)
        if not self._is_answered or (self._open and not text.startswith(self._open)):
            # Before the answer; or the question's utterance comes again, corrected.
            self._open = "" if final else text
            self._said += [text] if final and text.strip() else []
        else:
            rest = text.removeprefix(self._open)
            self._late_open = "" if final else rest
            if final and self._open:
                self._said, self._open = [*self._said, self._open], ""
                self._goes_on = bool(rest.strip())
            if final and rest.strip():
                self._late.append(rest)
        if final:
            self._taken = ""
        return before != (self.question, self.is_final)

    def answer(self) -> None:
        """Record that the model has begun to answer."""
        self._is_answered = True

    def complete(self) -> str:
        """End a turn whose answer was whole; return its question, with the late words."""
        said, late = [*self._said], [*self._late, self._late_open]
        if self._open:
            said.append(self._open + late.pop(0))
        elif self._goes_on:
            said[-1] += late.pop(0)
        question = _joined(said + late)
        self._taken += self._open + self._late_open
        self._end_turn()
        return question

    def interrupt(self) -> str:
        """End a turn whose answer was interrupted; return its question. Late words are the next one's."""
        question, said, is_open = self.question, self._late, self._late_open
        self._taken += self._open
        self._end_turn()
        self._said, self._open = said, is_open
        return question

    def _end_turn(self) -> None:
        self._said, self._open, self._late, self._late_open = [], "", [], ""
        self._is_answered = self._goes_on = False


def _joined(texts: list[str]) -> str:
    return " ".join(text.strip() for text in texts if text.strip())
