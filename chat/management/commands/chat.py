"""Command ``chat``: talk with an agent in a terminal."""

import logging
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat.terminal.chat import cannot_write
from chat.terminal.command import CannotStart, ChatOptions, run_chat


class Command(BaseCommand):
    help = "Talks with an agent in this terminal, as one member. Piped input is one question a line."
    # ``serve`` runs the checks; they import all pages.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, metavar="NAME", help="the member who asks")
        parser.add_argument("--agent", metavar="NAME", help="the agent of a new conversation")
        parser.add_argument("--conversation", metavar="ID", help="go on with this conversation of the member")
        parser.add_argument("--demo", action="store_true", help="ask four questions and end")
        parser.add_argument(
            "--out",
            action="append",
            default=[],
            metavar="FILE",
            help="add the conversation to FILE too; can be repeated",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verbosity"] < 2:
            # The terminal shows why a run failed. Only errors of Parley itself are logged.
            for name in ("", "chat"):
                logging.getLogger(name).setLevel(logging.ERROR)
        chat_options = ChatOptions(
            user=options["user"],
            agent=options["agent"],
            conversation=options["conversation"],
            demo=options["demo"],
            out=options["out"],
            colour=not options["no_color"],
            verbose=options["verbosity"] > 1,
        )
        try:
            code = run_chat(chat_options)
        except CannotStart as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # its reader has ended: no message
                raise CommandError(cannot_write("stdout", error)) from error
            code = 1
        sys.exit(code)
