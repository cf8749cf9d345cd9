"""Axes, legends and limits that all plots of a report use."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from flagfall.report.svg import ALERT, GRID, MUTED, TEXT

WIDTH, HEIGHT = 340, 210
LEFT, RIGHT, TOP, BOTTOM = 40, 18, 26, 36


def plot(y: str, x: str, height: int = HEIGHT, right: int = RIGHT) -> tuple[Figure, Axes]:
    """Create a figure with one plot; ``y`` is written above the axis."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    axes = place(figure, height, BOTTOM, height - TOP, right)
    figure.text(2 / WIDTH, 1 - 12 / height, y, color=MUTED)
    label_below(figure, axes, x)
    return figure, axes


def place(figure: Figure, height: int, bottom: int, top: int, right: int) -> Axes:
    """Add a plot to a figure; ``bottom`` and ``top`` are in units of the page."""
    across = (WIDTH - LEFT - right) / WIDTH
    axes = figure.add_axes((LEFT / WIDTH, bottom / height, across, (top - bottom) / height))
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=TEXT, pad=5)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return axes


def label_below(figure: Figure, axes: Axes, label: str) -> None:
    """Write what the horizontal axis shows."""
    box = axes.get_position()
    figure.text((box.x0 + box.x1) / 2, 4 / HEIGHT, label, color=MUTED, ha="center")


def legend(axes: Axes, lines: Sequence[tuple[str, str]]) -> None:
    """Write a legend: each text in the colour of its line."""
    for line, (text, colour) in enumerate(lines):
        place = (1, 0.99 - 0.1 * line)
        axes.text(
            *place,
            text,
            color=colour,
            ha="right",
            va="top",
            weight="bold",
            transform=axes.transAxes,
        )


def in_percent(axes: Axes) -> None:
    """Show shares as percentages."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))


def short_count(value: float) -> str:
    """A count in few characters: 950, 9,500, 12 k, 3.4 M."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M"
    return f"{value / 1e3:.3g} k" if abs(value) >= 1e4 else f"{value:,.0f}"


def limit_line(axes: Axes, limit: float, text: str, *, over: bool = True) -> None:
    """Draw a threshold, with its name on the side where it alerts."""
    axes.axhline(limit, color=ALERT, linewidth=1.25, linestyle=(0, (4, 3)))
    axes.annotate(
        text,
        (0, limit),
        (0, 4 if over else -4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=ALERT,
        va="bottom" if over else "top",
    )


def span(axes: Axes, values: Sequence[float], limit: float | None, least: float) -> None:
    """Set limits that need not include 0, wide enough to keep noise small."""
    shown = [*values, *([] if limit is None else [limit])]
    middle, half = (min(shown) + max(shown)) / 2, (max(shown) - min(shown)) / 2
    half = max(1.3 * half, least / 2)
    axes.set_ylim(middle - half, middle + half)


def hold_in(axes: Axes) -> None:
    """Keep the outer labels inside the picture."""
    labels = axes.get_xticklabels()
    if len(labels) > 1:
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")
