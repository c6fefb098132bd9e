"""``python -m tests.check FILE``: the oracle on the database that the environment names.

FILE holds what screens showed: a list of lists of [id, name, data].
"""

import json
import sys
from pathlib import Path


def main() -> None:
    import django

    django.setup()
    from tests import oracle
    from tests.sse_client import SseEvent

    plain = json.loads(Path(sys.argv[1]).read_text())
    oracle.check([[SseEvent(*event) for event in seen] for seen in plain])


if __name__ == "__main__":
    main()
