"""Columns that the files of a batch have and the dataset does not name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from flagfall.dataset.table import Table
from flagfall.errors import BatchInvalid

COLUMNS_NAMED = 20
"""Columns whose names a receipt has."""

NAME_SHOWN = 60
"""Characters of a column's name that a message or a receipt has."""

AND_MORE = "and more"


class Unexpected:
    """Collects their names over the files of a batch: the first ones, and of each the beginning."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def add(self, file: str, table: Table, columns: Iterable[str]) -> None:
        """Note columns of a file.

        Args:
            file: Its name, for the message.
            table: The dataset's columns.
            columns: Names that are not in ``table``.

        Raises:
            BatchInvalid: ``columns``: there are some, and the dataset rejects them.
        """
        if table.unexpected == "ignore" or len(self._found) > COLUMNS_NAMED:
            return
        new = [_shown(name) for name in islice(columns, COLUMNS_NAMED + 1)]
        if new and table.unexpected == "reject":
            shown = ", ".join(f"'{name}'" for name in _first(new))
            why = f"{file}: columns that the dataset does not name: {shown}"
            remedy = "leave them out, or add them to the dataset file (schema.unexpected)"
            raise BatchInvalid("columns", f"{why}; {remedy}")
        self._found |= dict.fromkeys(new)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, each once; ``and more`` is the last where there are more."""
        return _first(list(self._found))


def _shown(name: str) -> str:
    """The beginning of a name; what would steer a terminal is written out."""
    begin = name[:NAME_SHOWN]
    if not begin.isprintable():
        plain = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in begin)
        begin = "".join(plain)[:NAME_SHOWN]
    return begin


def _first(names: Sequence[str]) -> tuple[str, ...]:
    more = (AND_MORE,) if len(names) > COLUMNS_NAMED else ()
    return (*names[:COLUMNS_NAMED], *more)
