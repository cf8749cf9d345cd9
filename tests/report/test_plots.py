"""Pictures are small, say in words what they show, and take no text for markup."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from flagfall.report import axes, score_plots, trend_plots
from flagfall.report.pooled import calibration
from flagfall.report.trend import Period

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "$<b>\\frac{1$"


def _texts(svg: str) -> list[str | None]:
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def _periods(*labels: str) -> list[Period]:
    return [Period(label, position=place, rows=10 + place) for place, label in enumerate(labels)]


def test_a_label_is_text_whatever_is_in_it() -> None:
    """Mathematics would raise on an open brace, and markup would be run."""
    assert HOSTILE in _texts(trend_plots.rows_trend(_periods("first", HOSTILE)))


def test_a_picture_scales_with_its_place_and_has_a_title() -> None:
    root = ElementTree.fromstring(trend_plots.rows_trend(_periods("2013-10-01", "2013-10-02")))
    assert root.get("viewBox") == "0 0 340 210"
    assert "width" not in root.attrib
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == ("Rows from 10 (2013-10-01) to 11 (2013-10-02); lowest 10, highest 11.")


def test_every_coordinate_is_inside_the_picture() -> None:
    """Of texts, where they are anchored."""
    counts = np.zeros((3, 100), dtype=np.int64)
    counts[1, :40], counts[2, 20:] = 7, 3
    pictures = [
        score_plots.scores(counts, 0.5),
        score_plots.roc_curve(counts[1], counts[2], 0.9),
        score_plots.calibration(calibration(counts[1], counts[2])),
        trend_plots.seconds_trend(
            [Period("a", 0, seconds=[1.0]), Period("b", 1, seconds=[9000.0])]
        ),
    ]
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        height = float((root.get("viewBox") or "").split()[3])
        for text in root.iter(f"{SVG}text"):
            assert 0 <= float(text.get("x") or 0) <= axes.WIDTH
            assert 0 <= float(text.get("y") or 0) <= height


@pytest.mark.parametrize(
    ("label", "shown"),
    [("2013-10-03", "3 Oct"), ("part7", "part7"), ("x" * 14, "x" * 14), ("x" * 15, f"{'x' * 13}…")],
)
def test_a_day_is_named_shortly_and_a_long_label_is_cut(label: str, shown: str) -> None:
    assert trend_plots.tick_label(label) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(950, "950"), (9500, "9,500"), (12_000, "12 k"), (3_400_000, "3.4 M"), (0, "0")],
)
def test_a_count_on_an_axis_is_short(count: float, shown: str) -> None:
    assert axes.short_count(count) == shown
