#!/usr/bin/env python
"""Parley's commands: ``manage.py help`` lists them."""

import os
import signal
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Parley cannot start: {error}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        # Until the command handles it: an interrupt inside an import can come out as any other error.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says it of a command that Ctrl-C ended
