"""Plots of the last 30 days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from flagfall.report.axes import (
    BOTTOM,
    HEIGHT,
    TOP,
    hold_in,
    in_percent,
    limit_line,
    plot,
    short_count,
    span,
)
from flagfall.report.formatting import figure as two_decimals
from flagfall.report.formatting import number, share
from flagfall.report.svg import ACCENT, ALERT, MIDDLE, MUTED, PAPER, TEXT, picture
from flagfall.report.trend import Period

_NAMED_ENDS = 88

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@picture
def auc_trend(periods: Sequence[Period], limit: float | None) -> tuple[Figure, str]:
    """AUC by day or batch, with the line below which it alerts."""
    figure, axes = plot("AUC", "")
    known = [(p, auc) for p in periods if (auc := p.pool.auc) is not None]
    _line(axes, known, ACCENT)
    if limit is not None:
        limit_line(axes, limit, f"alert below {limit:.2f}", over=False)
    span(axes, [auc for _, auc in known], limit, 0.2)
    _name_last(axes, known, two_decimals)
    _time_axis(axes, periods)
    return figure, _trend_in_words("AUC", known)


@picture
def calibration_trend(periods: Sequence[Period]) -> tuple[Figure, str]:
    """Mean score against the share of rows that were really positive, by day or batch."""
    figure, axes = plot("Share", "", right=_NAMED_ENDS)
    real = [(p, part) for p in periods if (part := p.pool.positive_share) is not None]
    score = [(p, mean) for p in periods if (mean := p.pool.mean_score) is not None]
    _line(axes, real, MUTED)
    _line(axes, score, ACCENT)
    values = [value for _, value in (*real, *score)]
    axes.set_ylim(0, 1.15 * max(*values, 0.05))
    in_percent(axes)
    _time_axis(axes, periods)
    _ends(axes, [(real, "real", MUTED), (score, "score", ACCENT)])
    words = _trend_in_words("Mean score", score)
    return figure, f"{words} {_trend_in_words('Share really positive', real)}" if real else words


@picture
def accuracy_trend(periods: Sequence[Period], limit: float | None) -> tuple[Figure, str]:
    """Accuracy by day or batch, with the line below which it alerts."""
    figure, axes = plot("Share of rows", "")
    known = [(p, part) for p in periods if (part := p.pool.multiclass.accuracy) is not None]
    _line(axes, known, ACCENT)
    if limit is not None:
        limit_line(axes, limit, f"alert below {limit:.0%}", over=False)
    span(axes, [part for _, part in known], limit, 0.2)
    _name_last(axes, known, share)
    in_percent(axes)
    _time_axis(axes, periods)
    return figure, _trend_in_words("Accuracy", known)


@picture
def mae_trend(periods: Sequence[Period], limit: float | None) -> tuple[Figure, str]:
    """Mean absolute error by day or batch, with the line above which it alerts."""
    figure, axes = plot("Mean absolute error", "")
    known = [(p, mae) for p in periods if (mae := p.pool.regression.mae) is not None]
    _line(axes, known, ACCENT)
    most = max(value for _, value in known)
    if limit is not None and most > limit / 4:
        limit_line(axes, limit, f"alert above {number(limit)}")
        most = max(most, limit)
    axes.set_ylim(0, 1.25 * most or 1)
    _name_last(axes, known, number)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    _time_axis(axes, periods)
    return figure, _trend_in_words("Mean absolute error", known, ".3g")


@picture
def mean_trend(periods: Sequence[Period]) -> tuple[Figure, str]:
    """Mean prediction beside the mean of the real values, by day or batch."""
    figure, axes = plot("Mean", "", right=_NAMED_ENDS)
    real = [(p, mean) for p in periods if (mean := p.pool.regression.real_mean) is not None]
    said = [(p, mean) for p in periods if (mean := p.pool.regression.mean) is not None]
    _line(axes, real, MUTED)
    _line(axes, said, ACCENT)
    values = [value for _, value in (*real, *said)]
    span(axes, values, None, 0.2 * max(abs(value) for value in values) or 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    _time_axis(axes, periods)
    _ends(axes, [(real, "real", MUTED), (said, "model", ACCENT)], number)
    words = _trend_in_words("Mean prediction", said, ".3g")
    return figure, f"{words} {_trend_in_words('Really', real, '.3g')}" if real else words


@picture
def flagged_trend(
    periods: Sequence[Period], least: float | None, most: float | None
) -> tuple[Figure, str]:
    """Share of rows that are flagged, by day or batch, with the lines where it alerts."""
    figure, axes = plot("Share of rows", "")
    known = [(p, part) for p in periods if (part := p.pool.anomaly.share) is not None]
    _line(axes, known, ACCENT)
    top = max(*(part for _, part in known), 0.01)
    if least is not None:
        limit_line(axes, least, f"alert below {100 * least:g}%", over=False)
        top = max(top, least)
    if most is not None and top > most / 4:
        limit_line(axes, most, f"alert above {100 * most:g}%")
        top = max(top, most)
    axes.set_ylim(0, 1.25 * top)
    _name_last(axes, known, share)
    in_percent(axes)
    _time_axis(axes, periods)
    return figure, _trend_in_words("Share flagged", known, ".1%")


@picture
def drift_trend(periods: Sequence[Period], line: str) -> tuple[Figure, str]:
    """Largest drift as a share of its line, which is called ``line``, by day or batch."""
    figure, axes = plot(f"Share of the {line}", "", right=_NAMED_ENDS)
    known = [(p, p.drift) for p in periods if p.drift is not None]
    score = [(p, p.score_drift) for p in periods if p.score_drift is not None]
    _line(axes, score, MUTED)
    _line(axes, known, ACCENT)
    limit_line(axes, 1.0, line)
    axes.set_ylim(0, 1.2 * max(*(drift for _, drift in (*known, *score)), 1.0))
    in_percent(axes)
    _time_axis(axes, periods)
    _ends(axes, [(score, "model", MUTED), (known, "feature", ACCENT)])
    return figure, _trend_in_words("Largest drift as a share of its line", known)


@picture
def rows_trend(periods: Sequence[Period]) -> tuple[Figure, str]:
    """Accepted rows by day or batch."""
    figure, axes = plot("Rows", "")
    values = [(p, float(p.rows)) for p in periods]
    _bars(axes, values, short_count)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    _time_axis(axes, periods)
    return figure, _trend_in_words("Rows", values, ",.0f")


@picture
def rejected_trend(periods: Sequence[Period], limit: float) -> tuple[Figure, str]:
    """Share of rejected rows, with the line above which the whole batch is rejected."""
    figure, axes = plot("Share of rows", "")
    values = [(p, p.rejected_rows / max(p.rows + p.rejected_rows, 1)) for p in periods]
    _bars(axes, values, share)
    most = max(value for _, value in values)
    if most > limit / 4:
        limit_line(axes, limit, f"batch rejected above {limit:.0%}")
    axes.set_ylim(0, 1.25 * max(most, limit if most > limit / 4 else 0.01))
    in_percent(axes)
    _time_axis(axes, periods)
    return figure, _trend_in_words("Share of rows rejected", values, ".1%")


@picture
def seconds_trend(periods: Sequence[Period]) -> tuple[Figure, str]:
    """Longest time from marker to receipt, by day or batch."""
    slowest = [(p, max(p.seconds)) for p in periods if p.seconds]
    size, unit = _time_unit(max(time for _, time in slowest))
    figure, axes = plot(unit, "")
    values = [(period, time / size) for period, time in slowest]
    _bars(axes, values, lambda value: f"{value:.3g}")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _time_axis(axes, periods)
    return figure, _trend_in_words(f"{unit} from marker to receipt", values, ".1f")


def _time_unit(longest: float) -> tuple[float, str]:
    for size, unit in ((86400, "Days"), (3600, "Hours"), (60, "Minutes")):
        if longest > 2 * size:
            return size, unit
    return 1, "Seconds"


def _bars(
    axes: Axes, values: Sequence[tuple[Period, float]], shown: Callable[[float], str]
) -> None:
    places = [p.position for p, _ in values]
    apart = min((b - a for a, b in pairwise(places)), default=1)
    colours = [ACCENT if p.now else MIDDLE for p, _ in values]
    axes.bar(places, [value for _, value in values], width=0.75 * apart, color=colours)
    axes.set_ylim(0, 1.25 * max([value for _, value in values]) or 1)
    _name_last(axes, values, shown)


def _name_last(
    axes: Axes, known: Sequence[tuple[Period, float]], shown: Callable[[float], str]
) -> None:
    """Write the run's last value, else the newest, above it."""
    full = [one for one in known if one[0].rows] or known
    period, value = next((one for one in reversed(full) if one[0].now), full[-1])
    edges = {known[0][0].position: "left", known[-1][0].position: "right"}
    axes.annotate(
        shown(value),
        (period.position, value),
        (0, 6),
        color=ACCENT,
        ha=edges.get(period.position, "center"),
        textcoords="offset points",
        weight="bold",
    )


def _line(axes: Axes, known: Sequence[tuple[Period, float]], colour: str) -> None:
    axes.plot([p.position for p, _ in known], [v for _, v in known], color=colour, linewidth=1.75)
    axes.plot(
        [p.position for p, _ in known if not p.now],
        [v for p, v in known if not p.now],
        "o",
        color=colour,
        markersize=2.5,
    )
    axes.plot(
        [p.position for p, _ in known if p.now],
        [v for p, v in known if p.now],
        "o",
        color=colour,
        markeredgecolor=PAPER,
        markeredgewidth=1.5,
        markersize=8,
    )


def _in_whole_percent(value: float) -> str:
    return f"{value:.0%}"


def _ends(
    axes: Axes,
    lines: Sequence[tuple[Sequence[tuple[Period, float]], str, str]],
    shown: Callable[[float], str] = _in_whole_percent,
) -> None:
    """Write names at the right ends of lines, without overlap."""
    low, high = axes.get_ylim()
    apart = (high - low) * (TEXT + 3) / (HEIGHT - TOP - BOTTOM)
    below = -np.inf
    for known, word, colour in sorted((e for e in lines if e[0]), key=lambda e: e[0][-1][1]):
        value = known[-1][1]
        height = max(value, below + apart)
        axes.annotate(
            f"{word} {shown(value)}",
            (1, height),
            (4, 0),
            color=colour,
            va="center",
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            weight="bold",
            annotation_clip=False,
        )
        below = height


def _time_axis(axes: Axes, periods: Sequence[Period]) -> None:
    first, last = periods[0].position, periods[-1].position
    margin = 0.6 * max(1, (last - first) / 30)
    axes.set_xlim(first - margin, last + margin)
    shown = sorted({0, len(periods) - 1, *((len(periods) // 2,) if len(periods) > 8 else ())})
    axes.set_xticks(
        [periods[i].position for i in shown], [tick_label(periods[i].label) for i in shown]
    )
    hold_in(axes)
    for period in periods:
        if period.rejected:
            axes.plot(
                period.position,
                0.04,
                "x",
                color=ALERT,
                markersize=7,
                markeredgewidth=2,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )


def tick_label(label: str) -> str:
    """A date as ``3 Oct``; other labels as they are, up to 14 characters."""
    try:
        day = date.fromisoformat(label)
    except ValueError:
        return label if len(label) <= 14 else f"{label[:13]}…"
    return f"{day.day} {_MONTHS[day.month - 1]}"


def _trend_in_words(what: str, known: Sequence[tuple[Period, float]], spec: str = ".2f") -> str:
    values = [value for _, value in known]
    first, last = known[0][0].label, known[-1][0].label
    ends = f"from {values[0]:{spec}} ({first}) to {values[-1]:{spec}} ({last})"
    return f"{what} {ends}; lowest {min(values):{spec}}, highest {max(values):{spec}}."
