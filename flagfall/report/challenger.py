"""A challenger's figures beside those of the model that counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from flagfall.dataset.schema import Dataset
from flagfall.lake.output import Lake
from flagfall.lake.records import Apart, Challenged
from flagfall.report.batches import Batch
from flagfall.report.formatting import number
from flagfall.report.kinds.kind import Facts, Kind
from flagfall.report.pooled import Pool
from flagfall.report.trend import Trend

ROWS_SHOWN = 5


@dataclass(frozen=True)
class Figure:
    """A figure of both models, in words."""

    label: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class Difference:
    """A row of which they say different things."""

    row: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class Beside:
    """Both models beside each other.

    Attributes:
        versions: Of the challenger.
        rows: Rows that both scored.
        other_class: Those of them that have another class; ``None`` for values.
        mean_difference: Mean size of the difference of score or value, in words.
        failed: Batches that the challenger failed on, each with the reason.
    """

    versions: tuple[str, ...]
    figures: tuple[Figure, ...]
    rows: int
    other_class: int | None
    mean_difference: str
    furthest: tuple[Difference, ...]
    failed: tuple[tuple[str, str], ...]


def beside(
    dataset: Dataset, lake: Lake, kind: Kind, counted: Sequence[Batch], trend: Trend
) -> Beside | None:
    """What a run's challenger said; ``None`` where nothing was challenged."""
    if dataset.model is None or not dataset.model.challenger:
        return None
    read = lake.find_all(Challenged, [batch.receipt.batch_id for batch in counted])
    pairs = [(batch, one) for batch, one in zip(counted, read, strict=True) if one is not None]
    if not pairs:
        return None
    scored = [(batch, one) for batch, one in pairs if one.evaluation is not None]
    found = [one for _, one in scored]
    return Beside(
        versions=tuple(sorted({one.model_version for one in found})),
        figures=tuple(_figures(dataset, kind, scored, trend)),
        rows=sum(one.rows for one in found),
        other_class=_sum(one.other_class for one in found),
        mean_difference=_mean_difference(found),
        furthest=_furthest(found),
        failed=tuple((batch.label, one.error) for batch, one in pairs if one.error),
    )


def _figures(
    dataset: Dataset, kind: Kind, scored: Sequence[tuple[Batch, Challenged]], trend: Trend
) -> Iterable[Figure]:
    """The tiles that both have, over the batches that both scored."""
    ours = [batch for batch, _ in scored]
    theirs = [replace(batch, evaluation=one.evaluation, predicted=None) for batch, one in scored]
    mine, its = (_tiles(dataset, kind, batches, trend) for batches in (ours, theirs))
    return [Figure(label, mine[label], value) for label, value in its.items() if label in mine]


def _tiles(dataset: Dataset, kind: Kind, batches: Sequence[Batch], trend: Trend) -> dict[str, str]:
    pool = Pool.of(batch.evaluation for batch in batches)
    tiles = kind.tiles(Facts(dataset, batches, pool, trend, ()))
    return {tile.label: tile.value for tile in tiles}


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _mean_difference(found: Sequence[Challenged]) -> str:
    rows = sum(one.rows for one in found)
    total = sum((one.mean_difference or 0.0) * one.rows for one in found)
    return number(total / rows) if rows else ""


def _furthest(found: Sequence[Challenged]) -> tuple[Difference, ...]:
    every = chain.from_iterable(one.furthest for one in found)
    first = sorted(every, key=_agreement)[:ROWS_SHOWN]
    return tuple(
        Difference(
            _name(one),
            f"{one.our_class} {number(one.ours)}".strip(),
            f"{one.their_class} {number(one.theirs)}".strip(),
        )
        for one in first
    )


def _agreement(apart: Apart) -> float:
    """Smallest where they are furthest apart; two classes are, and the surer they are the more."""
    if apart.our_class != apart.their_class:
        return -apart.ours - apart.theirs
    return -abs(apart.ours - apart.theirs)


def _name(apart: Apart) -> str:
    return ", ".join(f"{name} {value}" for name, value in apart.key.items())
