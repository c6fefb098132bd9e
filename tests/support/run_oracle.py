"""Command ``python -m tests.support.run_oracle FILE``: check the database that the environment names.

FILE is JSON: a list of transcripts, each a list of ``[id, name, data]``.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    import django

    django.setup()
    from tests.support import oracle
    from tests.support.sse_client import SseEvent

    transcripts = json.loads(Path(sys.argv[1]).read_text())
    oracle.check([[SseEvent(*event) for event in transcript] for transcript in transcripts])


if __name__ == "__main__":
    main()
