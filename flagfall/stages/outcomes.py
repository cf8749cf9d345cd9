"""Outcomes: how well batches were scored, evaluated when another feed brings what really happened.

A batch waits for outcomes until ``label.within`` after it landed. Each delivery of outcomes that
counts is matched by key with the predictions that count, once. Where the deliveries that have
outcomes for a batch are others than before, because one was added or corrected, the batch is
evaluated again of all of them. So nothing is counted twice, however often this runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from flagfall.dataset.schema import KNOWN_AT, OUTCOME, Dataset
from flagfall.errors import FlagfallError, NotThere
from flagfall.inbox.inbox import Inbox
from flagfall.lake.outcomes import (
    add_late,
    last_late,
    note_learned,
    read_matched,
    write_matched,
)
from flagfall.lake.output import Lake, part_name
from flagfall.lake.receipts import current_view
from flagfall.lake.records import Evaluation, LateEvaluation, Predicted, Receipt, Staged
from flagfall.logs import logger
from flagfall.scoring.evaluations import open_evaluator
from flagfall.scoring.labels import LABEL, Says, no_labels
from flagfall.scoring.late_labels import ORDER, last_outcomes
from flagfall.scoring.model import scorer_of
from flagfall.scoring.reference import Reference
from flagfall.tables.upkeep import commit_missing, has_tables

log = logger(__name__)

_BATCH = "outcomes.batch"
_TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Learned:
    """What a look at outcomes has brought.

    Attributes:
        batches: Receipts of the batches that were evaluated again, in the order of landing.
        failures: Errors of those that could not be.
    """

    batches: tuple[Receipt, ...]
    failures: tuple[FlagfallError, ...]


def learn(dataset: Dataset, inbox: Inbox, outcomes: Inbox) -> Learned:
    """As ``evaluate_outcomes``, and then have the dataset's table show it, where it has one.

    Also what an earlier look could not commit. A table that fails is one of the failures.
    """
    learned = evaluate_outcomes(dataset, inbox, outcomes)
    if not has_tables(dataset):
        return learned
    since = _waits_since(dataset, inbox).date()
    try:
        added = commit_missing(dataset, inbox.lake, "outcomes", since)
    except FlagfallError as error:
        log.exception("%s: the table of outcomes failed", dataset.name)
        return Learned(learned.batches, (*learned.failures, error))
    log.info("%s: outcomes of %d batches added to their table", dataset.name, added)
    return learned


def evaluate_outcomes(dataset: Dataset, inbox: Inbox, outcomes: Inbox) -> Learned:
    """Evaluate the batches whose outcomes have come, or were corrected, since the last time.

    Args:
        dataset: The dataset whose rows are scored.
        inbox: Its inbox.
        outcomes: That of the feed that brings the outcomes.

    Raises:
        StoreError: One of the two lakes cannot be reached.
        NotThere: Rows of outcomes are gone.
    """
    waiting = _waiting(dataset, inbox)
    # before the deliveries: see ``add_late``
    last = last_late(inbox.lake.store, waiting, inbox.lake.rollups)
    deliveries = _deliveries(dataset, outcomes)
    look = _Look(dataset, inbox.lake, outcomes.lake)
    sources = look.sources(waiting, deliveries)
    done, failures = [], []
    for receipt in waiting:
        try:
            if look.evaluate(inbox, receipt, sources[receipt.batch_id], last):
                done.append(receipt)
        except FlagfallError as error:
            log.exception("%s: outcomes of %s failed", dataset.name, receipt.batch_id)
            failures.append(error)
    if done:
        note_learned(inbox.lake.store, inbox.clock(), [one.batch_id for one in done])
    return Learned(tuple(done), tuple(failures))


def _waiting(dataset: Dataset, inbox: Inbox) -> list[Receipt]:
    """Batches that count and wait for outcomes, in the order of landing."""
    since = _waits_since(dataset, inbox)
    found = current_view(inbox.receipts.since(since.date()))
    return [one for one in found if one.rows and one.marker.landed_at > since]


def _waits_since(dataset: Dataset, inbox: Inbox) -> datetime:
    """What landed before waits for outcomes no more."""
    assert dataset.late_label is not None, "only for datasets with outcomes of another feed"
    return inbox.clock() - dataset.late_label.within


def _deliveries(dataset: Dataset, outcomes: Inbox) -> list[Receipt]:
    """Deliveries of outcomes that count and may be of a waiting batch, in the order of landing."""
    assert dataset.late_label is not None, "only for datasets with outcomes of another feed"
    since = outcomes.clock() - 2 * dataset.late_label.within
    return [one for one in current_view(outcomes.receipts.since(since.date())) if one.rows]


class _Look:
    """One look at what the outcomes of a dataset say.

    Args:
        dataset: The dataset whose rows are scored.
        lake: Its lake.
        outcomes: That of the feed that brings the outcomes.
    """

    def __init__(self, dataset: Dataset, lake: Lake, outcomes: Lake) -> None:
        self._dataset = dataset
        self._lake = lake
        self._outcomes = outcomes
        self._key = list(dataset.outcome_key)

    def sources(
        self, waiting: Sequence[Receipt], deliveries: Sequence[Receipt]
    ) -> dict[str, list[Receipt]]:
        """The deliveries that have outcomes for each batch, in their order, by batch id."""
        found: dict[str, list[Receipt]] = {receipt.batch_id: [] for receipt in waiting}
        for delivery in deliveries:
            matched = self._matched(delivery.batch_id, list(found))
            for batch_id, rows in matched.items():
                if rows and batch_id in found:
                    found[batch_id].append(delivery)
        return found

    def _matched(self, delivery: str, waiting: Sequence[str]) -> dict[str, int]:
        """Rows of each batch that a delivery has an outcome for. Each pair is matched once."""
        known = read_matched(self._lake.store, delivery)
        missing = [batch_id for batch_id in waiting if batch_id not in known]
        if not missing:
            return known
        new = self._match(delivery, missing)
        if not new:
            return known
        matched = {one: rows for one, rows in known.items() if one in set(waiting)} | new
        write_matched(self._lake.store, delivery, matched)
        return matched

    def _match(self, delivery: str, batch_ids: Sequence[str]) -> dict[str, int]:
        """The same, looked up; batches that are not scored yet are left out."""
        records = list(filter(None, self._lake.find_all(Predicted, batch_ids)))
        if not records:
            return {}
        with self._lake.scratch() as folder:
            theirs = self._delivered(delivery, folder).select(self._key)
            ours = [
                rows.with_columns(pl.lit(one.batch_id).alias(_BATCH))
                for one in records
                for rows in self._predicted(one, folder)
            ]
            both = pl.concat(ours).join(theirs, on=self._key, how="semi")
            counted = both.group_by(_BATCH).len().collect(engine="streaming")
        return dict.fromkeys((one.batch_id for one in records), 0) | dict(counted.iter_rows())

    def _delivered(self, delivery: str, folder: Path) -> pl.LazyFrame:
        """The rows of a delivery of outcomes."""
        staged = self._outcomes.find(Staged, delivery)
        if staged is None:
            why = "replay the delivery, and let lake.keep.staged be twice label.within"
            raise NotThere("staged outcomes of batch", delivery, why)
        place = folder / f"outcomes-{delivery}"
        place.mkdir(exist_ok=True)
        return pl.scan_parquet(list(self._outcomes.parts(staged, place)))

    def _predicted(self, predicted: Predicted, folder: Path) -> Iterator[pl.LazyFrame]:
        """The keys of a batch's predictions, part by part."""
        for file in self._files(predicted, folder):
            yield pl.scan_parquet(file).select(self._key)

    def _files(self, predicted: Predicted, folder: Path) -> Iterator[Path]:
        place = folder / f"predictions-{predicted.batch_id}"
        place.mkdir(exist_ok=True)
        return self._lake.parts(predicted, place)

    def evaluate(
        self,
        inbox: Inbox,
        receipt: Receipt,
        sources: Sequence[Receipt],
        last: dict[str, LateEvaluation],
    ) -> bool:
        """Evaluate a batch, if its outcomes are of other deliveries than at the last time.

        Returns:
            Whether it was evaluated.
        """
        before, made_of = last.get(receipt.batch_id), _hash(sources)
        if before.made_of == made_of if before else not sources:
            return False
        with self._lake.scratch() as folder:
            files: list[tuple[Path, int]] = []
            record = LateEvaluation(
                batch_id=receipt.batch_id,
                number=before.number + 1 if before else 1,
                made_of=made_of,
                deliveries=len(sources),
                at=inbox.clock(),
                earlier=before.looks if before else (),
                evaluation=self._evaluation(receipt.batch_id, sources, folder, files),
            )
            add_late(self._lake.store, receipt, record, files)
        name, found = f"{self._dataset.name}: {receipt.batch_id}", record.evaluation
        log.info("%s: outcomes known of %d of %d rows", name, found.labelled, found.rows)
        return True

    def _evaluation(
        self,
        batch_id: str,
        sources: Sequence[Receipt],
        folder: Path,
        files: list[tuple[Path, int]],
    ) -> Evaluation:
        """The evaluation of a batch; outcomes are written to ``folder``, and noted in ``files``."""
        predicted = self._lake.find(Predicted, batch_id)
        if predicted is None:
            raise NotThere("predictions of batch", batch_id, "run infer first")
        evaluator = open_evaluator(predicted, Reference.find(scorer_of(self._dataset).path))
        for number, (predictions, outcomes) in enumerate(self._labelled(predicted, sources)):
            evaluator.add(predictions, outcomes[LABEL])
            known = self._known(outcomes)
            if known.height:
                known.write_parquet(file := folder / part_name(number))
                files.append((file, known.height))
        found = evaluator.findings(self._dataset.thresholds)
        evaluation = Evaluation(
            batch_id=batch_id,
            rows=predicted.rows,
            task=predicted.task,
            **found.record,
            drift=(),
            alerts=(),
            model_version=predicted.model_version,
        )
        alerts = found.alerts if self._is_enough(evaluation) else ()
        return evaluation.model_copy(update={"alerts": alerts})

    def _is_enough(self, evaluation: Evaluation) -> bool:
        """Whether so many outcomes are known that thresholds say something."""
        assert self._dataset.late_label is not None, "only with outcomes of another feed"
        return evaluation.labelled >= self._dataset.late_label.enough * evaluation.rows

    def _known(self, outcomes: pl.DataFrame) -> pl.DataFrame:
        """Those that are known, as others read them."""
        known = outcomes.filter(pl.col(LABEL).is_not_null())
        return known.select(*self._key, pl.col(LABEL).alias(OUTCOME), KNOWN_AT)

    def _labelled(
        self, predicted: Predicted, sources: Sequence[Receipt]
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """The predictions of a batch, part by part, and for each row its key, label and time."""
        says = Says(predicted.task, predicted.classes, predicted.positive, predicted.named)
        with self._lake.scratch() as folder:
            files = list(self._files(predicted, folder))
            outcomes = self._last(says, sources, files, folder) if sources else None
            for rows in map(pl.read_parquet, files):
                if rows.height:
                    yield rows, self._labels(says, rows, outcomes)

    def _last(
        self, says: Says, sources: Sequence[Receipt], files: Sequence[Path], folder: Path
    ) -> pl.DataFrame:
        rows = [self._delivered(delivery.batch_id, folder) for delivery in sources]
        wanted = pl.scan_parquet(list(files)).select(self._key)
        found = last_outcomes(self._dataset, says, rows, wanted)
        times = pl.Series([delivery.received_at for delivery in sources], dtype=_TIME)
        return found.with_columns(times.gather(found[ORDER]).alias(KNOWN_AT)).drop(ORDER)

    def _labels(
        self, says: Says, rows: pl.DataFrame, outcomes: pl.DataFrame | None
    ) -> pl.DataFrame:
        keys = rows.select(self._key)
        if outcomes is None:
            never = pl.lit(None, dtype=_TIME).alias(KNOWN_AT)
            return keys.with_columns(no_labels(says, rows.height), never)
        return keys.join(outcomes, on=self._key, how="left", maintain_order="left")


def _hash(sources: Sequence[Receipt]) -> str:
    """What an evaluation is made of."""
    ids = (delivery.batch_id for delivery in sources)
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
