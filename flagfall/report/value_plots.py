"""Plots over a value or a score of any range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from flagfall.lake.records import ValueBins
from flagfall.report.axes import hold_in, in_percent, legend, plot, short_count
from flagfall.report.formatting import number
from flagfall.report.svg import ACCENT, ALERT, INK, MIDDLE, MUTED, SOFT, picture
from flagfall.scoring.evaluations.value_bins import coarser, edges
from flagfall.scoring.metrics import Values

FEWEST_ROWS = 10
"""A point of the error plot needs this many rows."""
_STEPS, _POINTS = 32, 14
"""Bins that a distribution and an error plot show at most."""


@picture
def values(bins: ValueBins, mean: float, real_mean: float | None) -> tuple[Figure, str]:
    """Distribution of the predictions, with their mean and that of the real values."""
    figure, axes = plot("Share of rows", "Prediction")
    shown = _at_most(bins, _STEPS)
    shares = _shares(shown, "rows")
    _stairs(axes, shown, shares, ACCENT, SOFT)
    axes.axvline(mean, color=ACCENT, linewidth=1.5)
    lines = [(f"mean {number(mean)}", ACCENT)]
    if real_mean is not None:
        axes.axvline(real_mean, color=INK, linewidth=1, linestyle=(0, (2, 2)))
        lines.append((f"really {number(real_mean)}", INK))
    legend(axes, lines)
    _finish(axes, shown, shares.max())
    return figure, f"Distribution of predictions. Their mean is {number(mean)}."


@picture
def errors(bins: ValueBins) -> tuple[Figure, str]:
    """Mean error by prediction, and how far two thirds of the errors lie from it."""
    figure, axes = plot("Predicted minus real", "Prediction")
    shown = _at_most(bins, _POINTS)
    found = _errors_of(shown)
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.fill_between(
        found.places, found.mean - found.spread, found.mean + found.spread, color=SOFT, linewidth=0
    )
    axes.vlines(found.places, found.mean - found.unsure, found.mean + found.unsure, color=ACCENT)
    axes.plot(found.places, found.mean, "o-", color=ACCENT, markersize=5, linewidth=1)
    _finish(axes, shown, None)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    points = (
        f"near {number(place)}: {number(mean)}"
        for place, mean in zip(found.places, found.mean, strict=True)
    )
    return figure, f"Mean of predicted minus real, by prediction. {'; '.join(points)}."


@dataclass(frozen=True)
class _Errors:
    """Errors by bin: its middle, their mean, spread, and the 95 % interval of the mean."""

    places: Values
    mean: Values
    spread: Values
    unsure: Values


def _errors_of(bins: ValueBins) -> _Errors:
    rows, error, square = (np.asarray(bins.sums[n]) for n in ("known", "error", "square"))
    enough = rows >= min(FEWEST_ROWS, max(rows.max(), 1))
    rows, mean = rows[enough], error[enough] / rows[enough]
    spread = np.sqrt(np.maximum(square[enough] / rows - mean**2, 0))
    middles = (edges(bins)[:-1] + bins.width / 2)[enough]
    return _Errors(middles, mean, spread, 1.96 * spread / np.sqrt(rows))


@picture
def anomaly_scores(bins: ValueBins) -> tuple[Figure, str]:
    """Distribution of the scores on a logarithmic axis: what is flagged, or unusual, is rare."""
    figure, axes = plot("Rows", "Score; higher is more unusual")
    shown = _at_most(bins, _STEPS)
    rows, flagged, positive = (
        np.asarray(shown.sums[name]) for name in ("rows", "flagged", "positive")
    )
    axes.stairs(rows, edges(shown), fill=True, facecolor=SOFT, edgecolor="none", baseline=0.5)
    axes.stairs(rows, edges(shown), edgecolor=MIDDLE, linewidth=1.75, baseline=0.5)
    axes.stairs(flagged, edges(shown), fill=True, facecolor=ACCENT, edgecolor="none", baseline=0.5)
    lines = [(f"flagged: {short_count(flagged.sum())} rows", ACCENT)]
    if positive.any():
        axes.stairs(positive, edges(shown), edgecolor=ALERT, linewidth=1.75, baseline=0.5)
        lines.append((f"really unusual: {short_count(positive.sum())}", ALERT))
    legend(axes, lines)
    axes.set_yscale("log")
    axes.set_ylim(0.5, 8 * rows.max())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    axes.minorticks_off()
    _across(axes, shown)
    share = flagged.sum() / max(rows.sum(), 1)
    return figure, f"Distribution of anomaly scores. {share:.1%} of the rows are flagged."


def _at_most(bins: ValueBins, most: int) -> ValueBins:
    while len(bins.sums["rows"]) > most:
        bins = coarser(bins)
    return bins


def _shares(bins: ValueBins, name: str) -> Values:
    counts = np.asarray(bins.sums[name])
    shares: Values = counts / max(counts.sum(), 1)
    return shares


def _stairs(axes: Axes, bins: ValueBins, shares: Values, edge: str, face: str) -> None:
    axes.stairs(shares, edges(bins), fill=True, facecolor=face, edgecolor="none")
    axes.stairs(shares, edges(bins), edgecolor=edge, linewidth=1.75)


def _finish(axes: Axes, bins: ValueBins, highest: float | None) -> None:
    if highest is not None:
        axes.set_ylim(0, 1.25 * highest)
        in_percent(axes)
    _across(axes, bins)


def _across(axes: Axes, bins: ValueBins) -> None:
    ends = edges(bins)
    axes.set_xlim(ends[0], ends[-1])
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    hold_in(axes)
