"""Where what a run made can be found: for whoever has to look further."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flagfall.dataset.schema import Dataset
from flagfall.lake.output import Lake
from flagfall.lake.records import Predicted
from flagfall.report.batches import Batch

BATCH = "BATCH"
"""Stands for a batch id in the path of several batches."""


@dataclass(frozen=True)
class Place:
    """Something, and its path or version."""

    name: str
    path: str


def places(dataset: Dataset, lake: Lake, batches: Sequence[Batch]) -> list[Place]:
    """Model version, predictions, rejected rows, receipts and dataset file."""
    return list(_places(dataset, lake, batches))


def model_versions(batches: Sequence[Batch]) -> list[str]:
    """Versions of the model that scored a run's deliveries."""
    records = [record for batch in batches for record in (batch.evaluation, batch.predicted)]
    return sorted({record.model_version for record in records if record is not None})


def _places(dataset: Dataset, lake: Lake, batches: Sequence[Batch]) -> Iterator[Place]:
    predicted = [batch.predicted for batch in batches if batch.predicted is not None]
    if versions := model_versions(batches):
        yield Place("Model version", ", ".join(versions))
    if predicted:
        yield Place("Predictions", lake.uri(Predicted, _named([p.batch_id for p in predicted])))
    if rejected := [one.receipt.batch_id for one in batches if one.receipt.rejected_rows]:
        yield Place("Rejected rows", f"{lake.store.uri}/rejected/{_named(rejected)}/rows.jsonl")
    yield Place("Receipts", f"{lake.store.uri}/receipts")
    yield Place("Dataset file", f"datasets/{dataset.name}.yaml")


def _named(batch_ids: Sequence[str]) -> str:
    return batch_ids[0] if len(batch_ids) == 1 else BATCH
