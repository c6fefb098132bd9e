"""Sound of an answer in the one form that the page plays: PCM, 16 bits, mono, 24 kHz, in small pieces."""

import array
from collections.abc import Iterator
from functools import lru_cache

from google.genai import types

from chat.agent.turn.failure_codes import AgentFailure

VOICE_RATE = 24_000
SOUND_PIECE_BYTES = VOICE_RATE  # half a second
VOICE_RATES = range(8_000, 96_001)


def is_sound(part: types.Part) -> bool:
    return bool(part.inline_data and is_sound_of(part.inline_data))


def is_sound_of(blob: types.Blob) -> bool:
    return (blob.mime_type or "").startswith("audio/")


def played_pieces(blob: types.Blob) -> Iterator[bytes]:
    """Yield the sound of a model or a voice in pieces. Raises AgentFailure for another form than PCM."""
    rate = rate_of(blob.mime_type or "")
    if rate is None:
        raise AgentFailure("bad_output", "The voice sends another sound than mono PCM.")
    data = blob.data or b""
    data = resampled(data[: len(data) // 2 * 2], rate)
    for start in range(0, len(data), SOUND_PIECE_BYTES):
        yield data[start : start + SOUND_PIECE_BYTES]


def is_played_as_it_is(mime_type: str, data: bytes) -> bool:
    """Return whether ``played_pieces`` would yield just ``data``."""
    return rate_of(mime_type) == VOICE_RATE and 0 < len(data) <= SOUND_PIECE_BYTES and len(data) % 2 == 0


@lru_cache(maxsize=64)
def rate_of(mime_type: str) -> int | None:
    """Return the samples a second of mono PCM, or None for any other sound."""
    kind, _semicolon, options = mime_type.lower().replace(" ", "").partition(";")
    named = dict(option.partition("=")[::2] for option in options.split(";"))
    rate = int(named["rate"]) if named.get("rate", "").isdecimal() else VOICE_RATE
    is_mono_pcm = kind in ("audio/pcm", "audio/l16") and named.get("channels", "1") == "1"
    return rate if is_mono_pcm and rate in VOICE_RATES else None


def resampled(data: bytes, rate: int) -> bytes:
    """Return PCM of another rate at 24 kHz, by linear interpolation: enough for speech."""
    if rate == VOICE_RATE or not data:
        return data
    samples = array.array("h", data)
    if rate % VOICE_RATE == 0:
        return samples[:: rate // VOICE_RATE].tobytes()
    step, last = rate / VOICE_RATE, len(samples) - 1
    found = array.array("h")
    for n in range(int(len(samples) / step)):
        place = n * step
        index = min(int(place), last)
        following = samples[min(index + 1, last)]
        found.append(round(samples[index] + (following - samples[index]) * (place - index)))
    return found.tobytes()
