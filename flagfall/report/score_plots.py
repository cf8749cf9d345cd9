"""Plots of a run's scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flagfall.report.axes import (
    BOTTOM,
    HEIGHT,
    RIGHT,
    WIDTH,
    in_percent,
    legend,
    place,
    plot,
    short_count,
)
from flagfall.report.pooled import CalibrationBin, Counts, roc
from flagfall.report.svg import ACCENT, INK, MIDDLE, MUTED, SOFT, picture

FEWEST_ROWS = 10
"""A point of the calibration plot needs this many rows."""


@picture
def scores(counts: Counts, threshold: float) -> tuple[Figure, str]:
    """Distribution of the scores, by outcome if it is known.

    Args:
        counts: Rows by bin: unlabelled, negative, positive.
        threshold: Rows whose score is at least this are given class 1.
    """
    unlabelled, negative, positive = counts
    figure, axes = plot("Share of rows", f"Score; class 1 from {threshold:g} (dotted)")
    if negative.any() or positive.any():
        tops = [_spread(axes, positive, ACCENT, SOFT), _spread(axes, negative, MUTED, "none")]
        outcomes = (("yes", positive, ACCENT), ("no", negative, MUTED))
        legend(
            axes, [(f"{word}: {short_count(n.sum())} rows", colour) for word, n, colour in outcomes]
        )
    else:
        tops = [_spread(axes, unlabelled, ACCENT, SOFT)]
    axes.set(xlim=(0, 1), ylim=(0, 1.25 * max(*tops, 0.01)))
    axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    in_percent(axes)
    return figure, f"Distribution of scores. Rows from {threshold:g} are given class 1."


def _spread(axes: Axes, counts: Counts, edge: str, fill: str) -> float:
    """Draw one distribution in 25 steps, and return its highest step."""
    shares = counts.reshape(25, -1).sum(axis=1) / max(counts.sum(), 1)
    steps = np.linspace(0, 1, 26)
    axes.stairs(shares, steps, fill=True, facecolor=fill, edgecolor="none")
    axes.stairs(shares, steps, edgecolor=edge, linewidth=1.75)
    return float(shares.max())


@picture
def roc_curve(negative: Counts, positive: Counts, auc: float) -> tuple[Figure, str]:
    """ROC curve: share of positives found, by share of false alarms."""
    figure, axes = plot("Positives found", "False alarms among negatives")
    false, true = roc(negative, positive)
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.fill_between(false, true, color=SOFT, linewidth=0)
    axes.plot(false, true, color=ACCENT, linewidth=2)
    axes.text(0.97, 0.1, f"AUC {auc:.2f}", color=ACCENT, ha="right", weight="bold", size=15)
    axes.text(0.2, 0.13, "chance", color=MUTED, ha="left")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    in_percent(axes)
    axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
    return figure, f"ROC curve. The area under it, AUC, is {auc:.2f}; chance is 0.50."


@picture
def calibration(bins: Sequence[CalibrationBin]) -> tuple[Figure, str]:
    """Share of positives by score; below it, the number of rows."""
    height = HEIGHT + 40
    figure, axes = plot("Really positive", "Score", height)
    axes.set_position(
        (axes.get_position().x0, 84 / height, axes.get_position().width, 140 / height)
    )
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    drawn = [b for b in bins if b.rows >= FEWEST_ROWS]
    for b in drawn:
        axes.plot((b.score,) * 2, (b.low, b.high), color=ACCENT, linewidth=1.25)
    axes.plot([b.score for b in drawn], [b.share for b in drawn], "o", color=ACCENT, markersize=6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticklabels=[])
    in_percent(axes)
    _rows_below(figure, height, bins)
    return figure, _calibration_in_words(bins)


def _rows_below(figure: Figure, height: int, bins: Sequence[CalibrationBin]) -> None:
    axes = place(figure, height, BOTTOM, 66, RIGHT)
    axes.grid(visible=False)
    middles = [np.floor(b.score * 10) / 10 + 0.05 for b in bins]
    axes.bar(middles, [b.rows for b in bins], width=0.08, color=MIDDLE)
    axes.set(xlim=(0, 1), yticks=[])
    figure.text(2 / WIDTH, 44 / height, "Rows", color=MUTED)
    most = max(bins, key=lambda b: b.rows)
    figure.text(1 - RIGHT / WIDTH, 54 / height, f"most: {most.rows:,}", color=MUTED, ha="right")


def _calibration_in_words(bins: Sequence[CalibrationBin]) -> str:
    points = (f"scores near {b.score:.2f}: {b.share:.0%} of {b.rows:,} rows" for b in bins)
    return f"Calibration, really positive by score. {'; '.join(points)}."
