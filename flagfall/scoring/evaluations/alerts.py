"""Sentences on what is not normal: ``<what> <figure> is below|above|worse … <line>``."""

from __future__ import annotations

from collections.abc import Iterable

from flagfall.lake.records import DRIFT_OF, Drift
from flagfall.scoring import drift

CLEARLY = 3.0
"""Standard errors from which on chance is no explanation."""
_BEYOND = 1e9


def below(what: str, figure: float | None, limit: float | None) -> list[str]:
    """A sentence where a figure is below its limit; none where either is ``None``."""
    if figure is None or limit is None or figure >= limit:
        return []
    return ["{} {} is below {}".format(what, *_distinct_texts(figure, limit))]


def above(what: str, figure: float | None, limit: float | None) -> list[str]:
    """The same where it is above."""
    if figure is None or limit is None or figure <= limit:
        return []
    return ["{} {} is above {}".format(what, *_distinct_texts(figure, limit))]


def worse_than_chance(
    what: str, figure: float | None, chance: float, error: float, remedy: str
) -> list[str]:
    """A sentence where a figure is below chance by more than ``CLEARLY`` standard errors.

    No threshold is needed for that: such a model is used the wrong way round.
    """
    if figure is None or figure >= chance - CLEARLY * error:
        return []
    return [f"{what} {figure:.2f} is worse than chance ({remedy})"]


def drift_alerts(psi_max: float | None, drifts: Iterable[Drift]) -> tuple[str, ...]:
    """One sentence for each feature that has drifted.

    The line that is shown is the one that counted (``drift.alert_above``).
    """
    if psi_max is None:
        return ()
    return tuple(
        sentence
        for one in drifts
        for sentence in above(f"{DRIFT_OF}{_name(one)}", one.psi, drift.alert_above(one, psi_max))
    )


def _name(one: Drift) -> str:
    """A feature may be called as what the model says."""
    return one.feature if one.kind == "feature" else f"the model's {one.feature}"


def _distinct_texts(figure: float, limit: float) -> tuple[str, str]:
    """Both with two decimals, or with as many as the limit has and as show which is larger.

    A figure beyond all measure has three digits and an exponent.
    """
    first = next((digits for digits in range(2, 7) if round(limit, digits) == limit), 2)
    pairs = ((f"{figure:.{digits}f}", f"{limit:.{digits}f}") for digits in range(first, 17))
    known = next((pair for pair in pairs if pair[0] != pair[1]), (repr(figure), repr(limit)))
    return (figure_text(figure), known[1]) if abs(figure) >= _BEYOND else known


def figure_text(figure: float) -> str:
    """A figure with two decimals, or with an exponent where it is beyond all measure."""
    return f"{figure:.3g}" if abs(figure) >= _BEYOND else f"{figure:.2f}"
