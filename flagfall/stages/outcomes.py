"""Outcomes: how well batches were scored, evaluated when another feed brings what really happened.

The outcomes of a batch are those that were delivered until ``label.within`` after it, and for as
long before (see ``lake.outcome_deliveries``). Each such delivery is matched by key with its
predictions, once. Where the deliveries that have outcomes for a batch are others than before,
because one was added or corrected, the batch is evaluated again of all of them. So nothing is
counted twice, however often this runs. A batch is looked at for some days more than it waits, so
what came in time is known although nobody looked in time; and for as long after it was taken in, as
history is that landed before the feed existed. What a model of another task scored stays
as it was evaluated: today's label says nothing of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from flagfall.dataset.model import Label, Task
from flagfall.dataset.outcomes import LOOKS_ON, misfits
from flagfall.dataset.schema import KNOWN_AT, OUTCOME, Dataset
from flagfall.errors import DatasetInvalid, FlagfallError, NotThere
from flagfall.inbox.inbox import Inbox
from flagfall.lake.outcome_deliveries import OutcomeDelivery, Window
from flagfall.lake.outcomes import Looked, add_late, looked, note_learned, once_a_day
from flagfall.lake.output import Lake, part_name
from flagfall.lake.parquet import read_parquet
from flagfall.lake.receipts import InDoubt, current_view
from flagfall.lake.records import Evaluation, LateEvaluation, Predicted, Receipt
from flagfall.lake.rollups import day_of
from flagfall.logs import logger
from flagfall.scoring.evaluations import open_evaluator
from flagfall.scoring.labels import LABEL, Says, no_labels
from flagfall.scoring.model import scorer_of
from flagfall.scoring.model_folder import declared_task
from flagfall.scoring.reference import Reference
from flagfall.stages.delivered import Delivered, look_at_deliveries
from flagfall.stages.outcome_rows import OutcomeRows
from flagfall.tables.legible import legible
from flagfall.tables.upkeep import commit_missing, has_tables

log = logger(__name__)

_TIME = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Learned:
    """What a look at outcomes has brought.

    Attributes:
        batches: Receipts of the batches that were evaluated again, in the order of landing; also
            those that an earlier try of the same run evaluated, before it died.
        failures: Errors of those that could not be, and of outcomes that could not be read.
    """

    batches: tuple[Receipt, ...]
    failures: tuple[FlagfallError, ...]


def learn(dataset: Dataset, inbox: Inbox, feed: Dataset, outcomes: Inbox, run: str = "") -> Learned:
    """As ``evaluate_outcomes``, and then have the dataset's table show it, where it has one.

    Also what an earlier look could not commit. A table that fails is one of the failures.
    """
    learned = evaluate_outcomes(dataset, inbox, feed, outcomes, run)
    if not has_tables(dataset):
        return learned
    days = {_looks_since(_label(dataset), inbox).date(), *map(day_of, learned.batches)}
    try:
        added = commit_missing(dataset, inbox.lake, "outcomes", min(days))
    except FlagfallError as error:
        log.exception("%s: the table of outcomes failed", dataset.name)
        return Learned(learned.batches, (*learned.failures, error))
    log.info("%s: outcomes of %d batches added to their table", dataset.name, added)
    return learned


def evaluate_outcomes(
    dataset: Dataset, inbox: Inbox, feed: Dataset, outcomes: Inbox, run: str = ""
) -> Learned:
    """Evaluate the batches whose outcomes have come, or were corrected, since the last time.

    Args:
        dataset: The dataset whose rows are scored.
        inbox: Its inbox.
        feed: The dataset that brings the outcomes.
        outcomes: Its inbox.
        run: Names the run that this is a try of; empty for none.

    Raises:
        DatasetInvalid: The two files do not fit, so no outcome would ever be found.
        StoreError: One of the two lakes cannot be reached, or that of the outcomes is empty, which
            it was not before.
    """
    if problems := misfits(dataset, feed):
        raise DatasetInvalid(f"datasets/{dataset.name}.yaml", problems)
    waiting = _waiting(_label(dataset), inbox)
    before = looked(inbox.lake.store, waiting, inbox.lake.rollups)  # first: see ``add_late``
    delivered = look_at_deliveries(_label(dataset), waiting, outcomes, before)
    rows = OutcomeRows(dataset, inbox.lake, feed, outcomes.lake, inbox.clock())
    look = _Look(dataset, inbox, rows, run)
    sources = look.sources(waiting, delivered, before)
    sure = [one for one in waiting if one.batch_id in sources]
    due = [one for one in sure if look.is_due(one, sources[one.batch_id], before)]
    due = look.of_todays_task(due, waiting)
    if due:  # before they are: a worker that dies between the two is to leave no alert unseen
        note_learned(inbox.lake.store, inbox.clock(), [one.batch_id for one in due])
    done = {name for name, one in before.last.items() if run and one.run == run}
    failures: list[FlagfallError] = [
        *inbox.receipts.failures.values(),
        *delivered.failures(outcomes.lake.store.uri),
        *rows.failures.values(),
    ]
    for receipt in due:
        try:
            look.evaluate(receipt, sources[receipt.batch_id], before)
            done.add(receipt.batch_id)
        except _OtherKey as other:
            log.warning("%s: %s", dataset.name, other)
        except FlagfallError as error:
            log.exception("%s: outcomes of %s failed", dataset.name, receipt.batch_id)
            failures.append(error)
    return Learned(tuple(one for one in waiting if one.batch_id in done), tuple(failures))


def _label(dataset: Dataset) -> Label:
    assert dataset.late_label is not None, "only for datasets with outcomes of another feed"
    return dataset.late_label


def _waiting(label: Label, inbox: Inbox) -> list[Receipt]:
    """Batches that count and are looked at, in the order of landing."""
    since, received = _looks_since(label, inbox), inbox.clock() - LOOKS_ON
    found = current_view(inbox.receipts.since(since.date(), received=received.date()))
    doubt = inbox.receipts.in_doubt()
    looked_at = (one for one in found if one.marker.landed_at > since or one.received_at > received)
    return [one for one in looked_at if one.rows and not doubt.has(one)]


def _looks_since(label: Label, inbox: Inbox) -> datetime:
    """What landed before is looked at no more, unless it was taken in since."""
    return inbox.clock() - label.within - LOOKS_ON


class _OtherKey(Exception):
    """Rows were scored with other columns for their key than the dataset has for outcomes now."""

    def __init__(self, batch_id: str, key: Sequence[str]) -> None:
        why = f"was scored when the key of outcomes had other columns than {', '.join(key)}"
        super().__init__(f"{batch_id} {why}, so it stays as it was evaluated")


class _Look:
    """One look at what the outcomes of a dataset say.

    Args:
        dataset: The dataset whose rows are scored.
        inbox: Its inbox.
        rows: Reads predictions and outcomes.
        run: Names the run; empty for none.
    """

    def __init__(self, dataset: Dataset, inbox: Inbox, rows: OutcomeRows, run: str) -> None:
        self._dataset = dataset
        self._label = _label(dataset)
        self._inbox = inbox
        self._lake: Lake = inbox.lake
        self._rows = rows
        self._run = run

    def sources(
        self, waiting: Sequence[Receipt], delivered: Delivered, before: Looked
    ) -> dict[str, list[Receipt]]:
        """The deliveries that have outcomes for each batch, in their order, by batch id.

        A batch is left out if what is known of it may be lost because something cannot be read.
        """
        windows = {one.batch_id: Window.of(one, self._label.within) for one in waiting}
        unsure = {*delivered.gone, *self._known_by_others(delivered.in_doubt, before)}
        found: dict[str, list[Receipt]] = {name: [] for name in windows}
        for delivery in delivered.deliveries:
            asked = [name for name, window in windows.items() if delivery.counts_in(window)]
            matched = self._rows.matched(delivery.receipt, asked) if asked else {}
            for name in asked:
                if matched.get(name):
                    found[name].append(delivery.receipt)
                elif name not in matched and self._may_lose(name, delivery, before):
                    unsure.add(name)
        if unsure:
            names = ", ".join(sorted(unsure))
            log.warning("%s: left as it is, until all is readable: %s", self._dataset.name, names)
        return {name: of for name, of in found.items() if name not in unsure}

    def _known_by_others(self, doubt: InDoubt, before: Looked) -> set[str]:
        """Batches that something is known of, perhaps by a delivery of a marker in doubt."""
        names = (name for names in doubt.deliveries.values() for name in names)
        matched = [self._rows.matched_before(name) for name in names]
        return {name for name in before.last if any(one.get(name) != 0 for one in matched)}

    def _may_lose(self, batch_id: str, delivery: OutcomeDelivery, before: Looked) -> bool:
        """Whether a batch that a delivery was not looked up for may lose what is known of it."""
        last = before.last.get(batch_id)
        if last is None:
            return False
        return batch_id in self._rows.failures or self._rows.may_be_known_by(delivery, last)

    def is_due(self, receipt: Receipt, sources: Sequence[Receipt], before: Looked) -> bool:
        """Whether a batch's outcomes are of other deliveries, or read otherwise, than before."""
        last = before.last.get(receipt.batch_id)
        return bool(sources) if last is None else last.made_of != self._made_of(sources)

    def of_todays_task(self, due: Sequence[Receipt], waiting: Sequence[Receipt]) -> list[Receipt]:
        """Those that a model of today's task scored; the others are named in the log."""
        today = self._task_today(waiting) if due else None
        other = {one.batch_id for one in due if self._task(one) not in (None, today)}
        if today is None or not other:
            return list(due)
        names = ", ".join(sorted(other))
        why = f"the model's task is {today} now, and was another one when these were scored, so"
        log.warning("%s: %s they stay as they were evaluated: %s", self._dataset.name, why, names)
        return [one for one in due if one.batch_id not in other]

    def _task_today(self, waiting: Sequence[Receipt]) -> Task | None:
        """As the model's folder says, else as the batch that was scored last has it."""
        last = sorted(waiting, key=lambda one: one.received_at, reverse=True)
        found = (task for task in map(self._task, last) if task is not None)
        return declared_task(scorer_of(self._dataset)) or next(found, None)

    def _task(self, receipt: Receipt) -> Task | None:
        """Of the model that scored a batch; ``None`` where none did, or nobody can read it."""
        predicted = self._lake.legible(Predicted, receipt.batch_id)
        return predicted.task if predicted else None

    def _made_of(self, sources: Sequence[Receipt]) -> str:
        ids = (delivery.batch_id for delivery in sources)
        read_so = (self._label.expr, *self._rows.key)
        return hashlib.sha256("\n".join((*read_so, *ids)).encode()).hexdigest()

    def evaluate(self, receipt: Receipt, sources: Sequence[Receipt], before: Looked) -> None:
        """Evaluate a batch by the outcomes of these deliveries."""
        last = before.last.get(receipt.batch_id)
        with self._lake.scratch() as folder:
            files: list[tuple[Path, int]] = []
            record = LateEvaluation(
                batch_id=receipt.batch_id,
                number=before.numbers.get(receipt.batch_id, 0) + 1,
                made_of=self._made_of(sources),
                deliveries=len(sources),
                at=self._inbox.clock(),
                run=self._run,
                sources=tuple(f"{day_of(one)}~{one.batch_id}" for one in sources),
                earlier=once_a_day(last.looks, receipt.marker.delivered_at) if last else (),
                evaluation=self._evaluation(receipt.batch_id, sources, folder, files),
            )
            add_late(self._lake.store, receipt, record, files)
        name, found = f"{self._dataset.name}: {receipt.batch_id}", record.evaluation
        log.info("%s: outcomes known of %d of %d rows", name, found.labelled, found.rows)

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
        return evaluation.labelled >= self._label.enough * evaluation.rows

    def _known(self, outcomes: pl.DataFrame) -> pl.DataFrame:
        """Those that are known, as others read them."""
        known = outcomes.filter(pl.col(LABEL).is_not_null())
        return known.select(*self._rows.key, pl.col(LABEL).alias(OUTCOME), KNOWN_AT)

    def _labelled(
        self, predicted: Predicted, sources: Sequence[Receipt]
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """The predictions of a batch, part by part, and for each row its key, label and time."""
        says = Says(predicted.task, predicted.classes, predicted.positive, predicted.named)
        uri = self._lake.uri(Predicted, predicted.batch_id)
        with legible(uri), self._lake.scratch() as folder:
            files = list(self._rows.files(predicted, folder))
            if not self._rows.have_key(files):
                raise _OtherKey(predicted.batch_id, self._rows.key)
            outcomes = self._rows.last(says, sources, files, folder) if sources else None
            for rows in map(read_parquet, files):
                if rows.height:
                    yield rows, self._labels(says, rows, outcomes)

    def _labels(
        self, says: Says, rows: pl.DataFrame, outcomes: pl.DataFrame | None
    ) -> pl.DataFrame:
        keys = rows.select(self._rows.key)
        if outcomes is None:
            never = pl.lit(None, dtype=_TIME).alias(KNOWN_AT)
            return keys.with_columns(no_labels(says, rows.height), never)
        return keys.join(outcomes, on=self._rows.key, how="left", maintain_order="left")
