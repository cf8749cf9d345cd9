"""What a benchmark found: a table that is printed, kept as JSON, and drawn.

Every script of a part makes some ``Table`` and hands it to ``found``. Run alone, it prints them;
``make bench`` also keeps them, and makes ``docs/benchmarks.md`` out of all that were kept.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

FOLDER = "FLAGFALL_BENCH"
"""Names the folder in which tables are kept; when unset, they are only printed."""

Cell = str | float | None
"""A number is kept as it was measured, and rounded where it is shown. ``None`` shows as a dash."""


class Column(NamedTuple):
    """A column: what it is called, and how its numbers are written.

    Attributes:
        name: With the unit, if it has one: ``p50, s``.
        form: A format specification, such as ``,.2f``.
    """

    name: str
    form: str = ""


class Plot(NamedTuple):
    """A plot of a table: one line for each ``by``, on logarithmic axes.

    Attributes:
        by: Name of the column that tells the lines apart.
        x: Name of the column that goes to the right.
        y: Name of the column that goes up.
        title: What one reads off it.
        only: Name of a column and a cell: of rows that have it there; ``None`` for all.
    """

    by: str
    x: str
    y: str
    title: str
    only: tuple[str, Cell] | None = None


@dataclass(frozen=True)
class Table:
    """Rows of cells below named columns.

    Attributes:
        name: A file name without an ending, unique among all benchmarks.
        columns: One for each cell of a row.
        rows: What was measured, in the order in which it is shown.
        plots: Drawn as ``<name>.svg``, ``<name>-2.svg`` and so on.
    """

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    plots: tuple[Plot, ...] = field(default=())

    def texts(self) -> list[list[str]]:
        """The cells as they are shown."""
        return [
            [_text(cell, column.form) for cell, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]

    def markdown(self) -> str:
        """The table in Markdown: the first column to the left, numbers to the right."""
        head = [column.name for column in self.columns]
        line = ["---", *["---:"] * (len(head) - 1)]
        return "\n".join(f"| {' | '.join(row)} |" for row in [head, line, *self.texts()])

    def column(self, name: str) -> list[Cell]:
        """All cells below a name."""
        at = [column.name for column in self.columns].index(name)
        return [row[at] for row in self.rows]

    def value(self, name: str, **where: Cell) -> Cell:
        """The cell below a name, in the one row whose other cells are as given.

        Args:
            name: Of the column.
            where: Names of other columns (``_`` stands for a blank), with their cells.

        Raises:
            LookupError: There is no such row, or more than one.
        """
        wanted = {key.replace("_", " "): cell for key, cell in where.items()}
        names = [column.name for column in self.columns]
        rows = [
            row for row in self.rows if wanted.items() <= dict(zip(names, row, strict=True)).items()
        ]
        if len(rows) != 1:
            raise LookupError(f"{self.name}: {len(rows)} rows where {wanted}")
        return rows[0][names.index(name)]


def _text(cell: Cell, form: str) -> str:
    if cell is None:
        return "–"
    return cell if isinstance(cell, str) else format(cell, form)


def found(table: Table) -> None:
    """Print a table, and keep it where ``FLAGFALL_BENCH`` says."""
    print(f"\n{table.name}\n\n{table.markdown()}\n", flush=True)
    if folder := os.environ.get(FOLDER):
        file = Path(folder) / f"{table.name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(table), indent=1))


def kept(file: Path) -> Table:
    """The table that was kept in a file."""
    read = json.loads(file.read_text())
    return Table(
        read["name"],
        tuple(Column(*column) for column in read["columns"]),
        tuple(tuple(row) for row in read["rows"]),
        tuple(Plot(*plot) for plot in read["plots"]),
    )
