"""Runs a stage on the batches of a shard, one after the other.

A stage is a function of a dataset, its inbox and a marker. It can be run again at any time: it does
not repeat work that is in the lake.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Literal

from flagfall.concurrency import in_parallel
from flagfall.dataset.schema import Dataset
from flagfall.errors import HOPELESS, FlagfallError, NotSettled, NotThere
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt, Status
from flagfall.landing.marker import Marker
from flagfall.logs import logger
from flagfall.stages import STAGES
from flagfall.stages.second_look import apart

log = logger(__name__)


@dataclass(frozen=True)
class Delivery:
    """One batch on its way through the stages, by XCom: a reference, never rows.

    Attributes:
        marker: The marker of the batch.
        status: Its receipt's status; ``None`` before ingest.
        rows: Rows accepted.
        rejected_rows: Rows rejected.
    """

    marker: Marker
    status: Status | None = None
    rows: int = 0
    rejected_rows: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for XCom."""
        counts = {"rows": self.rows, "rejected_rows": self.rejected_rows}
        return {"marker": self.marker.to_dict(), "status": self.status, **counts}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Delivery:
        """The inverse of ``to_dict``."""
        return cls(**{**plain, "marker": Marker.from_dict(plain["marker"])})

    def received(self, receipt: Receipt) -> Delivery:
        """The same delivery, with what its receipt says."""
        return replace(
            self,
            status=receipt.status,
            rows=receipt.rows,
            rejected_rows=receipt.rejected_rows,
        )


def run_stage(
    stage: str, dataset: Dataset, inbox: Inbox, deliveries: Sequence[Delivery]
) -> list[Delivery]:
    """Run a stage on every delivery of a shard (see ``try_stage``).

    Raises:
        NotThere: There is no such stage.
        FlagfallError: One failed; raised when all have been tried (see ``foremost``).
    """
    done, failures = try_stage(stage, dataset, inbox, deliveries)
    if failures:
        raise foremost(failures)
    return done


def foremost(failures: Sequence[Exception]) -> Exception:
    """Return the first error that may heal if the stage is run again, else the first one.

    So a batch that fails for good does not keep the others of its shard from a retry.
    """
    return next((error for error in failures if not isinstance(error, HOPELESS)), failures[0])


def try_stage(
    stage: str, dataset: Dataset, inbox: Inbox, deliveries: Sequence[Delivery]
) -> tuple[list[Delivery], list[Exception]]:
    """Run a stage on every delivery of a shard; if one fails, the others still run.

    Skips batches whose marker has disappeared; they are not part of this run. Logs a line when it
    ends a batch, with its number in the shard, rows and seconds.

    Args:
        stage: One of ``STAGES``.
        dataset: Their dataset.
        inbox: The dataset's inbox.
        deliveries: Rejected and unchanged ones pass through untouched.

    Returns:
        The deliveries that were done, and the errors of the others.

    Raises:
        NotThere: There is no such stage.
    """
    tried = _Tried(_step(stage), f"{dataset.name}: {stage}")
    tried.each(dataset, inbox, deliveries)
    if odd := tried.not_settled:
        time.sleep(apart(dataset))
        inbox.landing.folders.forget()  # the second look is no look at what the first one saw
        tried.not_settled = []
        tried.each(dataset, inbox, odd)
    if dataset.lake.table is not None and stage in _TABLES:
        tried.to_table(dataset, inbox, stage)
    return tried.done, tried.failures


_TABLES: dict[str, Literal["rows", "predictions"]] = {"ingest": "rows", "infer": "predictions"}
"""The table that is made of a stage (see ``flagfall.tables``)."""


@dataclass
class _Tried:
    """What became of a shard's deliveries.

    Attributes:
        not_settled: Those that have to be looked at once more; after that, they are left pending.
    """

    step: Callable[[Dataset, Inbox, Delivery], list[Delivery]]
    name: str
    done: list[Delivery] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    not_settled: list[Delivery] = field(default_factory=list)

    def each(self, dataset: Dataset, inbox: Inbox, deliveries: Sequence[Delivery]) -> None:
        for number, delivery in enumerate(deliveries, start=1):
            began = time.monotonic()
            name = f"{self.name} {number} of {len(deliveries)}: {delivery.marker.batch_id}"
            try:
                result = self.step(dataset, inbox, delivery)
            except NotSettled as odd:
                log.info("%s left for now: %s", name, odd)
                self.not_settled.append(delivery)
            except Exception as error:
                log.exception("%s failed", name)
                self.failures.append(_damage(inbox, delivery.marker, error) or error)
            else:
                log.info("%s %s, %.1f s", name, _outcome(result), time.monotonic() - began)
                self.done += result

    def to_table(self, dataset: Dataset, inbox: Inbox, stage: str) -> None:
        """Commit to a table what was done. Where that fails, the batches go on all the same."""
        from flagfall.tables.upkeep import commit  # polars, only where there is work

        accepted = [one.marker for one in self.done if one.status == "accepted"]
        try:
            receipts = list(filter(None, in_parallel(inbox.receipts.find, accepted)))
            added = commit(dataset, inbox.lake, _TABLES[stage], receipts)
        except Exception as error:
            log.exception("%s: its table failed", self.name)
            self.failures.append(error)
        else:
            log.info("%s: %d batches added to its table", self.name, added)


def _damage(inbox: Inbox, marker: Marker, error: Exception) -> FlagfallError | None:
    """The rows in the lake that are damaged or gone, if a stage may have failed of that."""
    import polars as pl  # only where something failed

    from flagfall.stages.damaged import check_output

    if not isinstance(error, pl.exceptions.PolarsError | FileNotFoundError):
        return None
    try:
        for batch_id in filter(None, (marker.staged_from, marker.batch_id)):
            check_output(inbox.lake, batch_id)
    except FlagfallError as damage:
        damage.__cause__ = error
        return damage
    return None


def _outcome(result: Sequence[Delivery]) -> str:
    """The result of a stage for one batch, for the log."""
    if not result:
        return "left: its marker is gone"
    delivery = result[0]
    return f"{delivery.status}: {delivery.rows:,} rows, {delivery.rejected_rows:,} rejected"


def _step(stage: str) -> Callable[[Dataset, Inbox, Delivery], list[Delivery]]:
    if stage not in STAGES:
        raise NotThere("stage", stage, f"there are: {', '.join(STAGES)}")
    module = import_module(f"flagfall.stages.{stage}")  # only the stage that runs is loaded
    function: Callable[..., Any] = getattr(module, stage)
    if stage == "ingest":
        return lambda dataset, inbox, delivery: _ingested(function, dataset, inbox, delivery)
    return lambda dataset, inbox, delivery: _on_accepted(
        function, dataset, inbox, delivery, is_last=stage == STAGES[-1]
    )


def _ingested(
    function: Callable[..., Receipt | None], dataset: Dataset, inbox: Inbox, delivery: Delivery
) -> list[Delivery]:
    receipt = function(dataset, inbox, delivery.marker)
    if receipt is not None and receipt.status == "rejected":
        why = (
            f"{dataset.name}: {receipt.batch_id} was rejected ({receipt.reason}): {receipt.message}"
        )
        log.warning("%s", why)
    return [] if receipt is None else [delivery.received(receipt)]


def _on_accepted(
    function: Callable[..., Any],
    dataset: Dataset,
    inbox: Inbox,
    delivery: Delivery,
    is_last: bool,
) -> list[Delivery]:
    if delivery.status == "accepted" and dataset.model is not None:
        function(dataset, inbox.lake, delivery.marker.batch_id)
        if is_last:
            inbox.finish(delivery.marker)
    return [delivery]
