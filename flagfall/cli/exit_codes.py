"""How a command ends: one scheme for all of them. ``docs/command-line.md`` lists it for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from flagfall.errors import HOPELESS, HOPELESS_EXIT, FlagfallError


class ExitCode(IntEnum):
    """What a command ends with."""

    DONE = 0
    FAILED = 1
    """Another try may help."""
    MISSPELT = 2
    """As click ends where a command or an option cannot be."""
    ATTENTION = 3
    """``status --check``: a feed needs attention, or has failed."""
    UNKNOWN = 4
    """``status --check``: nothing says whether a feed is normal; and none is worse."""
    HOPELESS = HOPELESS_EXIT
    """Somebody has to change something first."""
    INTERRUPTED = 130
    """Ctrl-C; as a shell has it of SIGINT."""


def code_of(failures: Sequence[FlagfallError]) -> ExitCode:
    """How a command ends that met these errors."""
    if not failures:
        return ExitCode.DONE
    is_hopeless = all(isinstance(failure, HOPELESS) for failure in failures)
    return ExitCode.HOPELESS if is_hopeless else ExitCode.FAILED
