"""``flagfall model init``: what a model's folder needs, made from training data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

from flagfall.cli.deadline import answering
from flagfall.cli.training_rows import TrainingRows
from flagfall.dataset.expressions import parse_expression
from flagfall.dataset.model import Label, Scorer
from flagfall.dataset.schema import Dataset
from flagfall.errors import ModelInvalid
from flagfall.scoring.drift import fit_reference
from flagfall.scoring.engines.outputs import Outputs
from flagfall.scoring.feature_maker import feature_maker
from flagfall.scoring.features import Constants, fit_constants
from flagfall.scoring.labels import Says, read_labels
from flagfall.scoring.model import Model
from flagfall.scoring.model_folder import (
    CARD_FILE,
    CONSTANTS_FILE,
    ONNX_FILE,
    PYTHON_FILE,
    REFERENCE_FILE,
    Card,
    ModelFolder,
)
from flagfall.scoring.reading import Reading, classes_of
from flagfall.stages.infer import BATCH_ROWS
from flagfall.stores.places import is_there

README = "README.md"


@dataclass(frozen=True)
class Made:
    """What ``model init`` did.

    Attributes:
        card: What it wrote into ``card.json``.
        wrote: Files that it wrote.
        kept: Constants that were there, and are what the model was trained with; else empty.
        left_out: What it left out, a sentence each.
    """

    card: Card
    wrote: tuple[str, ...]
    kept: str
    left_out: tuple[str, ...]


def take_model(scorer: Scorer, given: Path, name: str) -> None:
    """Copy a model's file into its folder, with the weights that an exporter put beside it.

    Args:
        scorer: Says which folder.
        given: The file.
        name: What it is called there.
    """
    folder = Path(scorer.path)
    folder.mkdir(parents=True, exist_ok=True)
    beside = [given.with_name(f"{given.name}.data"), given.with_name(f"{given.stem}.data")]
    for source, target in ((given, name), *((one, one.name) for one in beside if is_there(one))):
        if source.resolve() != (folder / target).resolve():
            shutil.copyfile(source, folder / target)


def init_model(
    dataset: Dataset, training: TrainingRows, named: str = "", batch_column: str = ""
) -> Made:
    """Write ``constants.json``, ``reference.json``, ``card.json`` and a card into the folder.

    Args:
        dataset: The dataset, with a model whose files are in its folder.
        training: What the model was trained on.
        named: Version of the model; empty for one from the content's hash.
        batch_column: Column that says in which batch each row would have come, such as a date;
            empty: each file is a batch.

    Raises:
        ModelInvalid: The model cannot be used on these rows, or does not tell what it says.
        FeatureInvalid: The label of these rows cannot be what the model predicts.
    """
    scorer = dataset.model
    assert scorer is not None, "asked for a dataset with a model"
    wrote = list(_constants(dataset, scorer, training))
    try:
        return _init_model(dataset, scorer, training, named, batch_column, wrote)
    except BaseException:  # constants that stay would be kept by the next try
        for name in wrote:
            Path(scorer.path, name).unlink(missing_ok=True)
        raise


def _init_model(
    dataset: Dataset,
    scorer: Scorer,
    training: TrainingRows,
    named: str,
    batch_column: str,
    constants: Sequence[str],
) -> Made:
    folder = ModelFolder(scorer.path)
    version_of = named or f"sha256-{folder.sha256[:12]}"
    maker = feature_maker(dataset)
    features = maker.make(training.rows)
    model = Model(dataset, scorer, version_of)
    model.check(features.columns)
    outputs = _outputs(model, features)
    predictions = model.read(outputs, classes_of(outputs))
    reading = model.reading
    assert reading is not None, "it has read outputs"
    check_labels(dataset, reading, training.rows)
    check_order(dataset, model, training.rows, predictions)
    inputs = _inputs(dataset, model, features.columns)
    raw = maker.raw(training.rows).select(inputs)
    batches = training.rows[batch_column] if batch_column else _by_file(training)
    fit_reference(dataset, raw, predictions, batches).write(scorer.path)
    card = Card(
        version=version_of,
        sha256=folder.sha256,
        task=reading.task,
        classes=reading.classes if reading.is_named else (),
        flagfall=version("flagfall"),
    )
    _write(scorer.path, CARD_FILE, card.model_dump_json(indent=1, exclude_defaults=True) + "\n")
    wrote = (
        *constants,
        REFERENCE_FILE,
        CARD_FILE,
        *_card(dataset, scorer, card, reading, training),
    )
    is_kept = CONSTANTS_FILE not in wrote and folder.has(CONSTANTS_FILE)
    kept = CONSTANTS_FILE if is_kept else ""
    return Made(card, wrote, kept, (*training.left_out, *_not_measured(features, inputs)))


def model_file(scorer: Scorer) -> str:
    """Name of the file that the folder has to have."""
    return PYTHON_FILE if scorer.engine == "python" else ONNX_FILE


def _constants(dataset: Dataset, scorer: Scorer, training: TrainingRows) -> Iterator[str]:
    """Fit and write what features need; what is there is what the model was trained with."""
    if not any(feature.is_fitted for feature in dataset.features):
        return
    if ModelFolder(scorer.path).has(CONSTANTS_FILE):
        Constants.read(scorer.path)
        return
    fitted = fit_constants(dataset, training.rows)
    _write(scorer.path, CONSTANTS_FILE, fitted.model_dump_json(indent=1) + "\n")
    yield CONSTANTS_FILE


def _write(folder: str, name: str, text: str) -> None:
    """Write a file at once: who is interrupted leaves the old one, or none."""
    begun = Path(folder, f".{name}.begun")
    begun.write_text(text, encoding="utf-8")
    begun.replace(Path(folder, name))


def _outputs(model: Model, features: pl.DataFrame) -> Outputs:
    found = []
    for rows in features.iter_slices(BATCH_ROWS):
        with answering(model.scorer.path):
            found.append(model.engine.predict(rows))
    if others := [one.classes for one in found if one.classes != found[0].classes]:
        why = f"it returns the columns {list(found[0].classes)}, and for other rows"
        raise ModelInvalid(model.scorer.path, f"{why} {list(others[0])}")
    own = [one.labels for one in found if one.labels is not None]
    flags = [one.flagged for one in found if one.flagged is not None]
    return Outputs(
        np.concatenate([one.scores for one in found]),
        found[0].classes,
        np.concatenate(own) if own else None,
        np.concatenate(flags) if flags else None,
    )


def _inputs(dataset: Dataset, model: Model, features: Sequence[str]) -> list[str]:
    """Features whose drift is measured: those that the model takes.

    Where columns go to it as they are, names of rows and the outcome are none.
    """
    taken = model.engine.inputs(features)
    if dataset.features or dataset.features_python:
        return list(taken)
    outcome = _columns_of(dataset.own_label)
    return [name for name in taken if name not in {*dataset.table.primary_key, *outcome}]


def _columns_of(label: Label | None) -> list[str]:
    return [] if label is None else parse_expression(label.expr).meta.root_names()


def check_labels(dataset: Dataset, reading: Reading, rows: pl.DataFrame) -> None:
    """See whether the label of these rows can be what the model predicts.

    Raises:
        FeatureInvalid: It cannot.
    """
    if dataset.own_label is not None:
        read_labels(dataset, says_of(reading), rows)


def says_of(reading: Reading) -> Says:
    """What labels are compared with."""
    return Says(reading.task, reading.classes, reading.positive, reading.is_named)


FEW = 30
"""Fewer rows of a class say nothing of how a model treats it."""


def check_order(
    dataset: Dataset, model: Model, rows: pl.DataFrame, predictions: pl.DataFrame
) -> None:
    """See that a classifier's classes are what the training rows call them.

    Raises:
        ModelInvalid: Rows of one class are mostly given another one, and the other way round.
    """
    reading = model.reading
    assert reading is not None, "it has read outputs"
    if dataset.own_label is None or reading.task not in ("binary", "multiclass"):
        return
    mostly = _mostly_given(read_labels(dataset, says_of(reading), rows), predictions["class"])
    is_permuted = set(mostly.values()) == set(mostly) and mostly != {one: one for one in mostly}
    if is_permuted:
        why = f"its training rows are mostly given another class than they have: {mostly}"
        remedy = "correct model.classes or model.positive_class"
        raise ModelInvalid(model.scorer.path, f"{why}; {remedy}")


def _mostly_given(labels: pl.Series, classes: pl.Series) -> dict[str | int, str | int]:
    """For each class of the labels the one that most of its rows are given."""
    table = pl.DataFrame({"real": labels.cast(classes.dtype), "given": classes}).drop_nulls()
    by_class = table.group_by("real").agg(pl.col("given").mode().sort().first(), rows=pl.len())
    return dict(by_class.filter(pl.col("rows") >= FEW).select("real", "given").sort("real").rows())


def _by_file(training: TrainingRows) -> pl.Series | None:
    return training.files if training.files.n_unique() > 1 else None


def _not_measured(features: pl.DataFrame, inputs: Sequence[str]) -> Iterator[str]:
    others = [name for name in features.columns if name not in inputs]
    if others:
        yield f"no drift is measured of: {', '.join(others)}"


_SAYS = {
    "binary": "the probability of {positive!r} (the other class is {other!r})",
    "multiclass": "the probabilities of {classes}",
    "regression": "a value",
    "anomaly": "how unusual a row is",
}


def said(reading_task: str, classes: Sequence[str], positive: str) -> str:
    """What a model says of a row, in words."""
    other = next((name for name in classes if name != positive), "")
    return _SAYS[reading_task].format(positive=positive, other=other, classes=", ".join(classes))


def _card(
    dataset: Dataset, scorer: Scorer, card: Card, reading: Reading, training: TrainingRows
) -> Iterator[str]:
    """A card with what is known, and blanks for what people know."""
    if is_there(Path(scorer.path, README)):
        return
    says = said(reading.task, reading.classes, reading.positive)
    text = f"""\
# {Path(scorer.path).name}

| | |
| --- | --- |
| scores | {dataset.title} (`datasets/{dataset.name}.yaml`) |
| says of a row | {says} |
| version | {card.version} |
| trained on | {training.rows.height:,} rows in {training.files.n_unique()} files |

## What it is for

(Who uses its scores, and for what. What it must not be used for.)

## How it was trained

(Script, data, period, who.)

## How good it is

(On rows that it was not trained on.)
"""
    _write(scorer.path, README, text)
    yield README
