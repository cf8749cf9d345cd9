"""Logs that a producer cannot write in, and cannot fill.

Names come from producers. One with an escape sequence, a line feed or a mark that turns text around
would steer the terminal, or forge a line of its own. And one warning for each of 10,000 odd names,
at every sweep, fills a disk.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from flagfall.errors import FlagfallError, printable

MOST_WARNINGS = 20
"""Warnings of one kind and place that a process logs."""


def logger(name: str) -> logging.Logger:
    """The logger of a module; what its messages quote is written out as ``printable`` does."""
    found = logging.getLogger(name)
    found.addFilter(_write_out)
    return found


def _write_out(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(map(_written_out, record.args))
    return True


def _written_out(argument: Any) -> Any:
    """Text that prints on one line; errors of ours do already, line by line."""
    if isinstance(argument, FlagfallError) or not isinstance(argument, str | Exception | PurePath):
        return argument
    return printable(str(argument))


class Warnings:
    """Warnings of one kind about one place: each is logged once, and no more than a few of them.

    Args:
        log: Where they go.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._warned: set[str] = set()

    def warn(self, subject: str, message: str, *arguments: object) -> None:
        """Log a warning, unless there was one with this subject, or there were too many.

        Args:
            subject: What it is about.
            message: With ``%s`` for each of the ``arguments``, as ``logging`` has it.
            arguments: For the message.
        """
        if subject in self._warned or len(self._warned) > MOST_WARNINGS:
            return
        self._warned.add(subject)
        if len(self._warned) <= MOST_WARNINGS:
            self._log.warning(message, *arguments)
        else:
            more = "there are more than %d such warnings; this process logs no more of them"
            self._log.warning(f"{message}; {more}", *arguments, MOST_WARNINGS)


@lru_cache(maxsize=1_000)
def warnings_about(place: str, name: str) -> Warnings:
    """The warnings about a place that a module logs; a store that is opened anew shares them.

    Args:
        place: Such as the URI of a store.
        name: Of the module's logger.
    """
    return Warnings(logger(name))
