"""Plots of a table: SVG with a white ground, that look alike on any page and in any year."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from table import Cell, Plot, Table

OURS = "#c2410c"
THEIRS = ("#334155", "#0e7490", "#7c3aed", "#4d7c0f", "#a16207", "#be185d", "#1d4ed8", "#78716c")
VARIANTS = ("--", ":", "-.")
"""Lines of ours beside the first: ``Flagfall, incremental``."""
STYLE = {
    "axes.edgecolor": "#94a3b8",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 11,
    "grid.color": "#e2e8f0",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "flagfall",
    "text.parse_math": False,
}
Points = list[tuple[float, float]]


def draw(table: Table, folder: Path) -> None:
    """Draw every plot of a table into a folder."""
    for name, plot in zip(names(table), table.plots, strict=True):
        with matplotlib.rc_context(STYLE):
            figure = _figure(table, plot)
            figure.savefig(folder / name, metadata={"Date": None, "Creator": None})


def names(table: Table) -> list[str]:
    """The file names of a table's plots."""
    endings = ["", *(f"-{n}" for n in range(2, len(table.plots) + 1))]
    return [f"{table.name}{ending}.svg" for ending in endings[: len(table.plots)]]


def _figure(table: Table, plot: Plot) -> Figure:
    figure = Figure(figsize=(7.6, 4.8), layout="constrained")
    axes: Axes = figure.subplots()
    colours, variants = iter(THEIRS), iter(VARIANTS)
    for label, points in _lines(table, plot):
        ours = label.startswith("Flagfall")
        style = {"color": OURS if ours else next(colours), "linewidth": 2.6 if ours else 1.6}
        dashes = next(variants) if ours and "," in label else "-"
        axes.plot(*zip(*points, strict=True), dashes, marker="o", ms=5, label=label, **style)
    axes.set(xscale="log", yscale="log", xlabel=plot.x, ylabel=plot.y)
    figure.suptitle(plot.title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        steps = (1,) if high > 100 * low else (1, 2, 5)
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter(FuncFormatter(_number))
        axis.set_minor_locator(NullLocator())
    labelled = axes.get_legend_handles_labels()
    figure.legend(*labelled, loc="outside lower left", ncols=2, fontsize=10)
    return figure


def _lines(table: Table, plot: Plot) -> Iterator[tuple[str, Points]]:
    """Each line's label and its points; what is not above zero has no place on these axes.

    Raises:
        ValueError: A line would have two points above each other: ``only`` is missing.
    """
    named = [dict(zip([c.name for c in table.columns], row, strict=True)) for row in table.rows]
    kept = [row for row in named if plot.only is None or row[plot.only[0]] == plot.only[1]]
    rows = [(row[plot.by], row[plot.x], row[plot.y]) for row in kept]
    for label in dict.fromkeys(by for by, *_ in rows):
        points = [(x, y) for by, x, y in rows if by == label and _above(x) and _above(y)]
        if len({x for x, _ in points}) < len(points):
            raise ValueError(f"{table.name}: {label} has several rows for one {plot.x}")
        if points:
            yield str(label), points  # type: ignore[misc]  # numbers, by _above


def _above(cell: Cell) -> bool:
    return not isinstance(cell, str) and cell is not None and cell > 0


def _number(value: float, _: int) -> str:
    """1, 10, 1,000, 0.01."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
