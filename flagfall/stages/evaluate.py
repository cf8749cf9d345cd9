"""Evaluate: how well a batch was scored, and how far it has moved from the model's training rows.

What is measured depends on the model's task (``flagfall.scoring.evaluations``), and so does the
memory that it takes. Drift is counted part by part.
"""

from __future__ import annotations

from typing import TypeVar

from flagfall.dataset.schema import Dataset
from flagfall.errors import NotThere
from flagfall.lake.output import Lake
from flagfall.lake.records import Evaluation, Predicted, Staged
from flagfall.scoring.model import scorer_of
from flagfall.stages.challenge import challenge
from flagfall.stages.gathered import Gathered, aligned

Needed = TypeVar("Needed", Staged, Predicted)

_STAGES: dict[type, str] = {Staged: "ingest", Predicted: "infer"}


def evaluate(dataset: Dataset, lake: Lake, batch_id: str) -> Evaluation:
    """Evaluate a scored batch, once.

    Raises:
        NotThere: The batch was not ingested or not scored.
        ModelInvalid: The model's drift reference is broken or of other features.
        FeatureInvalid: The label's expression fails on the batch's values, or they cannot be what
            the model predicts.
        CodeInvalid: The team's own function fails.
    """
    if (done := lake.find(Evaluation, batch_id)) is None:
        done = _evaluated(dataset, lake, batch_id)
    if scorer_of(dataset).challenger:
        challenge(dataset, lake, batch_id)
    return done


def _evaluated(dataset: Dataset, lake: Lake, batch_id: str) -> Evaluation:
    staged, predicted = _needed(lake, Staged, batch_id), _needed(lake, Predicted, batch_id)
    gathered = Gathered(dataset, predicted)
    with lake.scratch() as folder:
        for part in aligned(dataset, lake, staged, predicted, folder):
            gathered.add(part)
    return lake.finish(gathered.evaluation(batch_id))


def _needed(lake: Lake, kind: type[Needed], batch_id: str) -> Needed:
    found = lake.find(kind, batch_id)
    if found is None:
        raise NotThere(f"{kind.__name__} record of batch", batch_id, f"run {_STAGES[kind]} first")
    return found
