"""Traces of hidden runs, which later runs are not given: values of the state, and summaries.

Their files and artifacts are not given either: each row names its run. ``marks`` are those of the member's
hidden runs (Run.hidden_marks), by run. They have digests, no text.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q

from chat.models import PersonRequest, Run


def mark_of(name: str, value: Any) -> str:
    """Return the digest of a key of the state with its value."""
    return hashlib.sha256(json.dumps([name, value], sort_keys=True).encode()).hexdigest()


def values_left(state: Mapping[str, Any], marks: Mapping[str, Any] | None) -> list[str]:
    """Return the keys of the state that still hold the value of the run with these marks."""
    left = (marks or {}).get("state", {}).items()
    return [key for key, digest in left if key in state and mark_of(key, state[key]) == digest]


def without_continuations(runs: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Return the runs without those that go on after a request of a hidden run, and so on.

    They begin with the results of its calls, which models refuse without the calls.
    """
    hidden = Q(run__prompt__hidden_at__isnull=False) | Q(run__reply__hidden_at__isnull=False)
    continued = PersonRequest.objects.filter(answered_by__in=runs).values_list("answered_by", flat=True)
    left_out, newly = set[uuid.UUID | None](), set(continued.filter(hidden))
    while newly:
        left_out |= newly
        newly = set(continued.filter(run__in=newly)) - left_out
    return [run for run in runs if run not in left_out]


def without_summaries_of(payloads: Sequence[str], hidden: Sequence[uuid.UUID]) -> list[str]:
    """Return the ADK events without the summaries that cover a hidden run, and those made after them."""
    if not hidden or not any('"compaction"' in payload for payload in payloads):
        return list(payloads)
    times = Run.objects.filter(pk__in=hidden).values_list("created_at", "ended_at")
    spans = [(begin.timestamp(), end.timestamp()) for begin, end in times if end]
    kept, has_dropped = [], False
    for payload in payloads:
        compaction = (json.loads(payload).get("actions") or {}).get("compaction")
        if compaction:
            begin, end = compaction["startTimestamp"], compaction["endTimestamp"]
            # A later one may have been made from the one before.
            has_dropped = has_dropped or any(start <= end and stop >= begin for start, stop in spans)
            if has_dropped:
                continue
        kept.append(payload)
    return kept
