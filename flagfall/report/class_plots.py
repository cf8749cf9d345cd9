"""Plots of a multiclass model's run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from flagfall.lake.records import ClassCounts
from flagfall.report.axes import RIGHT, WIDTH, short_count
from flagfall.report.formatting import visible
from flagfall.report.svg import ACCENT, INK, MIDDLE, MUTED, TEXT, picture
from flagfall.scoring.metrics import Values

NAMES_LEFT = 84
NAME_SHOWN = 11
LINE, WIDEST = 20, 46
"""Height of a class, in units of the page: at least, and at most."""
_STRONGEST = 0.5
"""Opacity of a field with all rows of its line; text on it stays easy to read."""


@picture
def confusion(names: Sequence[str], table: Values) -> tuple[Figure, str]:
    """Rows by real class (lines) and given class (columns), as shares of the line."""
    names = [visible(name) for name in names]
    inner = len(names) * max(LINE, min(WIDEST, 140 // len(names)))
    height = 74 + inner
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    axes = _field(figure, height, 46, inner)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    for line, column in np.ndindex(*table.shape):
        _cell(axes, column, line, float(shares[line, column]), has_rows=bool(table[line].any()))
    axes.set(xlim=(0, len(names)), ylim=(len(names), 0))
    axes.set_yticks(np.arange(len(names)) + 0.5, [_short(name, NAME_SHOWN) for name in names])
    across = _fitting(names)
    axes.set_xticks(np.arange(len(names)) + 0.5, [_short(name, across) for name in names])
    figure.text(2 / WIDTH, 1 - 12 / height, "Really", color=MUTED)
    middle = (NAMES_LEFT + WIDTH - RIGHT) / 2 / WIDTH
    figure.text(middle, 6 / height, "Predicted", color=MUTED, ha="center")
    return figure, _confusion_in_words(names, table)


def _fitting(names: Sequence[str]) -> int:
    """Characters of a name that fit below a column."""
    return max(3, int((WIDTH - NAMES_LEFT - RIGHT) / len(names) / (0.62 * TEXT)))


def _short(name: str, length: int) -> str:
    """A name's beginning and end: names of classes often differ at their end only."""
    if len(name) <= length:
        return name
    return f"{name[: length // 2]}…{name[-((length - 1) // 2) :]}"


def _field(figure: Figure, height: int, bottom: int, inner: int) -> Axes:
    across = (WIDTH - NAMES_LEFT - RIGHT) / WIDTH
    axes = figure.add_axes((NAMES_LEFT / WIDTH, bottom / height, across, inner / height))
    axes.spines[["left", "right", "top", "bottom"]].set_visible(False)
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=TEXT, pad=5)
    return axes


def _cell(axes: Axes, column: int, line: int, share: float, *, has_rows: bool) -> None:
    place = (column + 0.03, line + 0.06)
    colour = ACCENT if column == line else MUTED
    axes.add_patch(
        Rectangle(place, 0.94, 0.88, facecolor=colour, alpha=0.04 + _STRONGEST * share, linewidth=0)
    )
    if has_rows and share >= 0.005:
        axes.text(
            column + 0.5, line + 0.53, f"{100 * share:.0f}", color=INK, ha="center", va="center"
        )


def _confusion_in_words(names: Sequence[str], table: Values) -> str:
    totals = np.maximum(table.sum(axis=1), 1)
    found = (
        f"{name}: {table[place, place] / totals[place]:.0%} of {table[place].sum():,.0f} rows"
        for place, name in enumerate(names)
    )
    return f"Confusion matrix. Rows of a class that were given it. {'; '.join(found)}."


@picture
def class_shares(
    names: Sequence[str], counts: dict[str, ClassCounts], is_known: bool
) -> tuple[Figure, str]:
    """Share of rows by predicted class, and by real class where it is known."""
    inner = len(names) * max(LINE, min(WIDEST, 140 // len(names)))
    height = 54 + inner
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    axes = _field(figure, height, 26, inner)
    predicted = _shares([counts[name].predicted for name in names], counts, "predicted")
    real = _shares([counts[name].real for name in names], counts, "real")
    places = np.arange(len(names))
    axes.barh(places, predicted, height=0.6, color=MIDDLE)
    if is_known:
        axes.plot(real, places, "|", color=INK, markersize=14, markeredgewidth=2)
    most = max(float(predicted.max()), float(real.max()) if is_known else 0.0)
    for place, share in enumerate(predicted):
        right = max(float(share), float(real[place]) if is_known else 0.0)
        axes.text(right + 0.03 * most, place, f"{share:.0%}", color=ACCENT, va="center")
    axes.set(xlim=(0, 1.22 * most), ylim=(len(names) - 0.4, -0.6), xticks=[])
    axes.set_yticks(places, [_short(visible(name), NAME_SHOWN) for name in names])
    note = "Bar: predicted; line: really" if is_known else "Predicted"
    rows = sum(one.predicted for one in counts.values())
    figure.text(2 / WIDTH, 1 - 12 / height, "Class", color=MUTED)
    figure.text(
        0.5, 6 / height, f"Share of rows ({short_count(rows)}). {note}", color=MUTED, ha="center"
    )
    words = (f"{visible(name)}: {share:.0%}" for name, share in zip(names, predicted, strict=True))
    return figure, f"Share of rows by predicted class. {'; '.join(words)}."


def _shares(rows: Sequence[int], counts: dict[str, ClassCounts], of: str) -> Values:
    total = sum(getattr(one, of) for one in counts.values())
    shares: Values = np.asarray(rows, dtype=np.float64) / max(total, 1)
    return shares
