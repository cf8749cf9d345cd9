"""The rows of one look at outcomes: predictions, deliveries of outcomes, and which belong together.

What cannot be read is noted as a failure of its batch or delivery, and holds up no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from flagfall.concurrency import in_parallel
from flagfall.dataset.outcomes import rows_are_kept
from flagfall.dataset.schema import KNOWN_AT, Dataset
from flagfall.errors import FlagfallError, NotThere, StoreRefused
from flagfall.lake.outcome_deliveries import OutcomeDelivery
from flagfall.lake.outcomes import read_matched, write_matched
from flagfall.lake.output import Lake
from flagfall.lake.parquet import scan_parquet
from flagfall.lake.records import LateEvaluation, Predicted, Receipt, Staged
from flagfall.logs import logger
from flagfall.scoring.labels import Says
from flagfall.scoring.late_labels import ORDER, last_outcomes
from flagfall.tables.legible import legible, read_through
from flagfall.tables.todays_columns import in_form

log = logger(__name__)

_BATCH = "\0batch"
"""No column is called so."""
_TIME = pl.Datetime("us", "UTC")


class OutcomeRows:
    """Rows in two lakes.

    Args:
        dataset: The dataset whose rows are scored.
        lake: Its lake.
        feed: The dataset that brings the outcomes.
        outcomes: Its lake.
        now: The time (UTC).

    Attributes:
        failures: Of batches and deliveries that cannot be read, by their ids.
    """

    def __init__(
        self, dataset: Dataset, lake: Lake, feed: Dataset, outcomes: Lake, now: datetime
    ) -> None:
        self._dataset = dataset
        self._lake = lake
        self._feed = feed
        self._outcomes = outcomes
        self._now = now
        self.key = list(dataset.outcome_key)
        self.failures: dict[str, FlagfallError] = {}

    def matched(self, delivery: Receipt, asked: Sequence[str]) -> dict[str, int]:
        """Rows of each batch that a delivery has an outcome for. Each pair is matched once."""
        known = self.matched_before(delivery.batch_id)
        missing = [batch_id for batch_id in asked if batch_id not in known]
        try:
            new = self._match(delivery, missing)
        except NotThere as gone:
            if self._is_kept(delivery):
                self._note(delivery.batch_id, gone)
            return known
        except FlagfallError as error:
            self._note(delivery.batch_id, error)
            return known
        if not new:
            return known
        matched = {one: rows for one, rows in known.items() if one in set(asked)} | new
        write_matched(self._lake.store, delivery.batch_id, self.key, matched)
        return matched

    def may_be_known_by(self, delivery: OutcomeDelivery, last: LateEvaluation) -> bool:
        """Whether what is known of a batch may be of a delivery that cannot be read.

        Or of an earlier delivery of its marker. Look-ups say of which it is not.
        """
        receipt = delivery.receipt
        if receipt.batch_id not in self.failures:
            return False
        was_there = receipt.received_at <= last.at
        names = (*delivery.replaces, receipt.batch_id) if was_there else delivery.replaces
        return any(self.matched_before(name).get(last.batch_id) != 0 for name in names)

    def matched_before(self, delivery: str) -> dict[str, int]:
        """As ``matched``, of what was looked up already; of no other batch it says anything."""
        return read_matched(self._lake.store, delivery, self.key)

    def _is_kept(self, delivery: Receipt) -> bool:
        """Whether its rows have to be there still."""
        assert self._dataset.late_label is not None, "only with outcomes of another feed"
        return delivery.received_at > self._now - rows_are_kept(self._dataset.late_label)

    def _note(self, name: str, error: FlagfallError) -> None:
        log.error("%s: outcomes: %s", self._dataset.name, error)
        self.failures[name] = error

    def _match(self, delivery: Receipt, batch_ids: Sequence[str]) -> dict[str, int]:
        """The same, looked up; batches that are not scored yet are left out."""
        records = list(filter(None, in_parallel(self._predicted, batch_ids)))
        if not records:
            return {}
        with self._lake.scratch() as folder:
            theirs = self.delivered(delivery.batch_id, folder)
            try:
                return self._counted(theirs, records, folder)
            except StoreRefused:
                self._check_readable(theirs, delivery)
            found: dict[str, int] = {}
            for record in records:  # the others are not to wait for one that cannot be read
                try:
                    found |= self._counted(theirs, [record], folder)
                except StoreRefused as error:
                    self._note(record.batch_id, error)
        return found

    def _predicted(self, batch_id: str) -> Predicted | None:
        try:
            return self._lake.find(Predicted, batch_id)
        except StoreRefused as damaged:
            self._note(batch_id, damaged)
            return None

    def _counted(
        self, theirs: pl.LazyFrame, records: Sequence[Predicted], folder: Path
    ) -> dict[str, int]:
        """Rows of batches that are among those of a delivery; of keys of another type none is."""
        none = dict.fromkeys((one.batch_id for one in records), 0)
        with legible(self._lake.uri(Predicted, records[0].batch_id)):
            wanted = self._types(theirs)
            ours = [
                rows.select(*self.key, pl.lit(one.batch_id).alias(_BATCH))
                for one in records
                for rows in map(scan_parquet, self.files(one, folder))
                if wanted is not None and self._types(rows) == wanted
            ]
            if not ours:
                return none
            both = pl.concat(ours).join(theirs.select(self.key), on=self.key, how="semi")
            counted = both.group_by(_BATCH).len().collect(engine="streaming")
        return none | dict(counted.iter_rows())

    def have_key(self, files: Sequence[Path]) -> bool:
        """Whether predictions have the columns by which outcomes are found."""
        return not files or self._types(scan_parquet(files[0])) is not None

    def _types(self, rows: pl.LazyFrame) -> list[pl.DataType] | None:
        """Of the key's columns; ``None`` where one is missing."""
        there = rows.collect_schema()
        return [there[name] for name in self.key] if {*self.key} <= there.keys() else None

    def _check_readable(self, theirs: pl.LazyFrame, delivery: Receipt) -> None:
        with legible(self._outcomes.uri(Staged, delivery.batch_id)):
            read_through(theirs)

    def delivered(self, delivery: str, folder: Path) -> pl.LazyFrame:
        """The rows of a delivery of outcomes, with the columns that the feed has now.

        The key's columns are as they were: predictions of that time have the same.
        """
        staged = self._outcomes.find(Staged, delivery)
        if staged is None:
            why = "replay the delivery, and see what docs/outcomes.md says of lake.keep.staged"
            raise NotThere("staged outcomes of batch", delivery, why)
        place = folder / f"outcomes-{delivery}"
        place.mkdir(exist_ok=True)
        with legible(self._outcomes.uri(Staged, delivery)):
            parts = [scan_parquet(file) for file in self._outcomes.parts(staged, place)]
            return pl.concat(in_form(self._feed, part, self.key) for part in parts)

    def files(self, predicted: Predicted, folder: Path) -> Iterator[Path]:
        """Local files of a batch's predictions."""
        place = folder / f"predictions-{predicted.batch_id}"
        place.mkdir(exist_ok=True)
        return self._lake.parts(predicted, place)

    def last(
        self, says: Says, sources: Sequence[Receipt], files: Sequence[Path], folder: Path
    ) -> pl.DataFrame:
        """Of each row that one is known of, its outcome and when that was received.

        Args:
            says: What the model says of a row.
            sources: The deliveries that have outcomes of these rows, in their order.
            files: Of the batch's predictions.
            folder: For local copies.
        """
        rows = [self.delivered(delivery.batch_id, folder) for delivery in sources]
        wanted = scan_parquet(list(files)).select(self.key)
        found = last_outcomes(self._dataset, says, rows, wanted)
        times = pl.Series([delivery.received_at for delivery in sources], dtype=_TIME)
        return found.with_columns(times.gather(found[ORDER]).alias(KNOWN_AT)).drop(ORDER)
