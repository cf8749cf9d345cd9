"""Pictures for a page: matplotlib figures as small inline SVG.

They are drawn for a phone (340 units wide, text of 11) and stand side by side on a wide screen, so
that text is never scaled down until it cannot be read. Text stays text, in the page's own font.
Colours are the page's CSS variables, so that one picture serves light, dark and print: matplotlib
draws in placeholder colours, and ``_colour`` puts the variables in. The same values make the same
bytes. No text of a producer gets here but a batch's label, which is made of safe characters.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from datetime import date
from functools import wraps
from itertools import pairwise
from typing import ParamSpec
from xml.etree import ElementTree

import matplotlib
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from flagfall.report.summary import CalibrationBin, Counts, Period, roc

WIDTH, HEIGHT = 340, 210
TEXT = 11
FEWEST_ROWS = 10
"""Fewer rows make no point in a calibration plot."""

INK, MUTED, GRID, ACCENT, SOFT, ALERT, PAPER, MIDDLE = (f"#00000{n}" for n in range(1, 9))

_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    ACCENT: "var(--accent)",
    SOFT: "var(--soft)",
    ALERT: "var(--alert)",
    PAPER: "var(--paper)",
    MIDDLE: "var(--middle)",
}
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 18, 26, 36
_NAMED_ENDS = 88
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
ElementTree.register_namespace("", _SVG)

Drawn = ParamSpec("Drawn")
Floats = npt.NDArray[np.float64]


def _picture(draw: Callable[Drawn, tuple[Figure, str]]) -> Callable[Drawn, Markup]:
    """Run ``draw`` under the page's settings; it returns a figure and what the figure shows."""

    @wraps(draw)
    def drawn(*args: Drawn.args, **kwargs: Drawn.kwargs) -> Markup:
        settings = matplotlib.rc_context(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "flagfall",
                "text.parse_math": False,
                "font.size": TEXT,
            }
        )
        with settings:
            figure, description = draw(*args, **kwargs)
            return _to_svg(figure, draw.__name__.replace("_", "-"), description)

    return drawn


def _to_svg(figure: Figure, name: str, description: str) -> Markup:
    written = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(written.getvalue())
    _drop_style_sheet(root)
    _keep_used_ids(root, name)
    for element in root.iter():
        _tidy(element)
    _describe(root, name, description)
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # escaped by ElementTree


def _drop_style_sheet(root: ElementTree.Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)


def _keep_used_ids(root: ElementTree.Element, name: str) -> None:
    """Ids of one picture must not meet those of another on the page."""
    for element in root.iter():
        old = element.attrib.pop("id", "")
        if element.tag.endswith(("}path", "}clipPath")) and old:
            element.set("id", f"{name}-{old}")
        if reference := element.attrib.pop(_HREF, ""):
            element.set("href", f"#{name}-{reference[1:]}")
        if clip := element.get("clip-path"):
            element.set("clip-path", clip.replace("url(#", f"url(#{name}-"))


def _tidy(element: ElementTree.Element) -> None:
    element.text, element.tail = _stripped(element.text), None
    if style := element.get("style"):
        element.set("style", _colour(re.sub(r" ?font-family: [^;]*;", "", style)))
    if "rotate(-0 " in element.get("transform", ""):
        del element.attrib["transform"]
    for key in ("d", "x", "y", "width", "height"):
        if key in element.attrib:
            element.set(key, _shorter(element.attrib[key]))


def _stripped(text: str | None) -> str | None:
    return text.strip() if text else None


def _colour(style: str) -> str:
    return re.sub(r"#00000[1-8]", lambda match: _VARIABLES[match[0]], style)


def _shorter(numbers: str) -> str:
    rounded = re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.1f}", numbers)
    return re.sub(r"\s+", " ", rounded.replace(".0", "")).strip()


def _describe(root: ElementTree.Element, name: str, description: str) -> None:
    del root.attrib["width"], root.attrib["height"]
    root.set("class", "plot")
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title")
    title = ElementTree.Element(f"{{{_SVG}}}title", {"id": f"{name}-title"})
    title.text = description
    root.insert(0, title)


def _axes(y: str, x: str, height: int = HEIGHT, right: int = _RIGHT) -> tuple[Figure, Axes]:
    """A figure with one plot; ``y`` stands above the axis, where it can be read."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    axes = _place(figure, height, _BOTTOM, height - _TOP, right)
    figure.text(2 / WIDTH, 1 - 12 / height, y, color=MUTED)
    _across(figure, axes, x)
    return figure, axes


def _place(figure: Figure, height: int, bottom: int, top: int, right: int) -> Axes:
    across = (WIDTH - _LEFT - right) / WIDTH
    axes = figure.add_axes((_LEFT / WIDTH, bottom / height, across, (top - bottom) / height))
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=TEXT, pad=5)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return axes


def _across(figure: Figure, axes: Axes, label: str) -> None:
    box = axes.get_position()
    figure.text((box.x0 + box.x1) / 2, 4 / HEIGHT, label, color=MUTED, ha="center")


@_picture
def scores(counts: Counts, threshold: float) -> tuple[Figure, str]:
    """How the scores are spread, by outcome where that is known.

    Args:
        counts: Rows by bin: unlabelled, negative, positive.
        threshold: Rows whose score is at least this are given class 1.
    """
    unlabelled, negative, positive = counts
    figure, axes = _axes("Share of rows", f"Score; class 1 from {threshold:g} (dotted)")
    if negative.any() or positive.any():
        tops = [_spread(axes, positive, ACCENT, SOFT), _spread(axes, negative, MUTED, "none")]
        told = (("yes", positive, ACCENT), ("no", negative, MUTED))
        _keys(axes, [(f"{word}: {short_count(n.sum())} rows", colour) for word, n, colour in told])
    else:
        tops = [_spread(axes, unlabelled, ACCENT, SOFT)]
    axes.set(xlim=(0, 1), ylim=(0, 1.25 * max(*tops, 0.01)))
    axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    _percent(axes)
    return figure, f"Distribution of scores. Rows from {threshold:g} are given class 1."


def _spread(axes: Axes, counts: Counts, edge: str, fill: str) -> float:
    """Draw one distribution in 25 steps; returns its highest step."""
    shares = counts.reshape(25, -1).sum(axis=1) / max(counts.sum(), 1)
    steps = np.linspace(0, 1, 26)
    axes.stairs(shares, steps, fill=True, facecolor=fill, edgecolor="none")
    axes.stairs(shares, steps, edgecolor=edge, linewidth=1.75)
    return float(shares.max())


def _keys(axes: Axes, lines: Sequence[tuple[str, str]]) -> None:
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


def _percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))


def short_count(value: float) -> str:
    """A count in few characters: 950, 9,500, 12 k, 3.4 M."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M"
    return f"{value / 1e3:.3g} k" if abs(value) >= 1e4 else f"{value:,.0f}"


@_picture
def roc_curve(negative: Counts, positive: Counts, auc: float) -> tuple[Figure, str]:
    """How many positives are found at the price of how many false alarms."""
    figure, axes = _axes("Positives found", "False alarms among negatives")
    false, true = roc(negative, positive)
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.fill_between(false, true, color=SOFT, linewidth=0)
    axes.plot(false, true, color=ACCENT, linewidth=2)
    axes.text(0.97, 0.1, f"AUC {auc:.2f}", color=ACCENT, ha="right", weight="bold", size=15)
    axes.text(0.2, 0.13, "chance", color=MUTED, ha="left")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    _percent(axes)
    axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
    return figure, f"ROC curve. The area under it, AUC, is {auc:.2f}; chance is 0.50."


@_picture
def calibration(bins: Sequence[CalibrationBin]) -> tuple[Figure, str]:
    """Whether a score of 30 % means 30 %; below, how many rows that is based on."""
    height = HEIGHT + 40
    figure, axes = _axes("Really positive", "Score", height)
    axes.set_position(
        (axes.get_position().x0, 84 / height, axes.get_position().width, 140 / height)
    )
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.text(0.6, 0.7, "perfect", color=MUTED, ha="right")
    drawn = [one for one in bins if one.rows >= FEWEST_ROWS]
    for one in drawn:
        axes.plot((one.score,) * 2, (one.low, one.high), color=ACCENT, linewidth=1.25)
    axes.plot([b.score for b in drawn], [b.share for b in drawn], "o", color=ACCENT, markersize=6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticklabels=[])
    _percent(axes)
    _rows_below(figure, height, bins)
    return figure, _calibration_in_words(bins)


def _rows_below(figure: Figure, height: int, bins: Sequence[CalibrationBin]) -> None:
    axes = _place(figure, height, _BOTTOM, 66, _RIGHT)
    axes.grid(visible=False)
    middles = [np.floor(b.score * 10) / 10 + 0.05 for b in bins]
    axes.bar(middles, [b.rows for b in bins], width=0.08, color=MIDDLE)
    axes.set(xlim=(0, 1), yticks=[])
    figure.text(2 / WIDTH, 44 / height, "Rows", color=MUTED)
    most = max(bins, key=lambda b: b.rows)
    figure.text(1 - _RIGHT / WIDTH, 54 / height, f"most: {most.rows:,}", color=MUTED, ha="right")


def _calibration_in_words(bins: Sequence[CalibrationBin]) -> str:
    points = (f"scores near {b.score:.2f}: {b.share:.0%} of {b.rows:,} rows" for b in bins)
    return f"Calibration, really positive by score. {'; '.join(points)}."


@_picture
def auc_trend(periods: Sequence[Period], limit: float | None) -> tuple[Figure, str]:
    """AUC by day or batch, with the line below which it alerts."""
    figure, axes = _axes("AUC", "")
    known = [(p, auc) for p in periods if (auc := p.pool.auc) is not None]
    _line(axes, known, ACCENT)
    if limit is not None:
        _limit(axes, limit, f"alert below {limit:.2f}", over=False)
    _span(axes, [auc for _, auc in known], limit, 0.2)
    _time_axis(axes, periods)
    return figure, _trend_in_words("AUC", known)


@_picture
def calibration_trend(periods: Sequence[Period]) -> tuple[Figure, str]:
    """Mean score against the share of rows that were really positive, by day or batch."""
    figure, axes = _axes("Share", "", right=_NAMED_ENDS)
    real = [(p, share) for p in periods if (share := p.pool.positive_share) is not None]
    score = [(p, mean) for p in periods if (mean := p.pool.mean_score) is not None]
    _line(axes, real, MUTED)
    _line(axes, score, ACCENT)
    values = [value for _, value in (*real, *score)]
    axes.set_ylim(0, 1.15 * max(*values, 0.05))
    _percent(axes)
    _time_axis(axes, periods)
    _ends(axes, [(real, "real", MUTED), (score, "score", ACCENT)])
    words = _trend_in_words("Mean score", score)
    return figure, f"{words} {_trend_in_words('Share really positive', real)}" if real else words


@_picture
def drift_trend(periods: Sequence[Period]) -> tuple[Figure, str]:
    """Largest drift as a share of the line at which it alerts, by day or batch."""
    figure, axes = _axes("Share of the alert line", "", right=_NAMED_ENDS)
    known = [(p, p.drift) for p in periods if p.drift is not None]
    score = [(p, p.score_drift) for p in periods if p.score_drift is not None]
    _line(axes, score, MUTED)
    _line(axes, known, ACCENT)
    _limit(axes, 1.0, "alert above 100%")
    axes.set_ylim(0, 1.2 * max(*(drift for _, drift in (*known, *score)), 1.0))
    _percent(axes)
    _time_axis(axes, periods)
    _ends(axes, [(score, "score", MUTED), (known, "largest", ACCENT)])
    return figure, _trend_in_words("Largest drift as a share of its line", known)


@_picture
def rows_trend(periods: Sequence[Period]) -> tuple[Figure, str]:
    """Accepted rows by day or batch."""
    figure, axes = _axes("Rows", "")
    values = [(p, float(p.rows)) for p in periods]
    _bars(axes, values)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    _time_axis(axes, periods)
    return figure, _trend_in_words("Rows", values, ",.0f")


@_picture
def rejected_trend(periods: Sequence[Period], limit: float) -> tuple[Figure, str]:
    """Share of rows that were turned away, with the line from which a batch is rejected whole."""
    figure, axes = _axes("Share of rows", "")
    values = [(p, p.rejected_rows / max(p.rows + p.rejected_rows, 1)) for p in periods]
    _bars(axes, values)
    most = max(value for _, value in values)
    if most > limit / 4:
        _limit(axes, limit, f"batch rejected above {limit:.0%}")
    axes.set_ylim(0, 1.2 * max(most, limit if most > limit / 4 else 0.01))
    _percent(axes)
    _time_axis(axes, periods)
    return figure, _trend_in_words("Share of rows rejected", values, ".1%")


@_picture
def seconds_trend(periods: Sequence[Period]) -> tuple[Figure, str]:
    """The slowest way from marker to receipt, by day or batch."""
    slowest = [(p, max(p.seconds)) for p in periods if p.seconds]
    size, unit = _time_unit(max(time for _, time in slowest))
    figure, axes = _axes(unit, "")
    values = [(period, time / size) for period, time in slowest]
    _bars(axes, values)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _time_axis(axes, periods)
    return figure, _trend_in_words(f"{unit} from marker to receipt", values, ".1f")


def _time_unit(longest: float) -> tuple[float, str]:
    for size, unit in ((86400, "Days"), (3600, "Hours"), (60, "Minutes")):
        if longest > 2 * size:
            return size, unit
    return 1, "Seconds"


def _bars(axes: Axes, values: Sequence[tuple[Period, float]]) -> None:
    places = [p.position for p, _ in values]
    apart = min((b - a for a, b in pairwise(places)), default=1)
    colours = [ACCENT if p.now else MIDDLE for p, _ in values]
    axes.bar(places, [value for _, value in values], width=0.75 * apart, color=colours)
    axes.set_ylim(0, 1.15 * max([value for _, value in values]) or 1)


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


def _limit(axes: Axes, limit: float, text: str, *, over: bool = True) -> None:
    """A threshold, named on the side where it is passed."""
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


def _span(axes: Axes, values: Sequence[float], limit: float | None, least: float) -> None:
    """Limits of an axis that need not start at 0, wide enough that noise is not news."""
    shown = [*values, *([] if limit is None else [limit])]
    middle, half = (min(shown) + max(shown)) / 2, (max(shown) - min(shown)) / 2
    half = max(1.3 * half, least / 2)
    axes.set_ylim(middle - half, middle + half)


def _ends(axes: Axes, lines: Sequence[tuple[Sequence[tuple[Period, float]], str, str]]) -> None:
    """Name lines at their right ends, far enough apart to be read."""
    low, high = axes.get_ylim()
    apart = (high - low) * (TEXT + 3) / (HEIGHT - _TOP - _BOTTOM)
    below = -np.inf
    for known, word, colour in sorted((e for e in lines if e[0]), key=lambda e: e[0][-1][1]):
        value = known[-1][1]
        height = max(value, below + apart)
        axes.annotate(
            f"{word} {value:.0%}",
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
    _hold_in(axes)
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


def _hold_in(axes: Axes) -> None:
    """The outer labels must not leave the picture."""
    labels = axes.get_xticklabels()
    if len(labels) > 1:
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")


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
