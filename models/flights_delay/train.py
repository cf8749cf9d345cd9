"""Train the model that says, before departure, whether a flight will arrive over 15 minutes late.

Run from the project's root, in a virtual environment with ``requirements/model.txt``::

    python -m models.flights_delay.train           # writes the model's files and prints the figures
    python -m models.flights_delay.train --check   # trains again, compares files and README.md

The inputs and the label are those that ``datasets/flights.yaml`` declares, made by the same
functions that score, so training and scoring cannot differ. The ONNX file is run by Flagfall's own
engine on every flight of the year and must agree with the trained model to ``PARITY``.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
import onnx
import polars as pl
from onnxmltools.convert import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from flagfall.dataset.loader import find_dataset
from flagfall.dataset.schema import Dataset
from flagfall.scoring.drift import fit_reference
from flagfall.scoring.engines.onnx import MODEL_FILE, VERSION_KEY, OnnxEngine
from flagfall.scoring.features import (
    Constants,
    feature_expressions,
    fit_constants,
    label_expression,
    raw_expression,
)
from flagfall.scoring.model_folder import CONSTANTS_FILE, REFERENCE_FILE
from sandbox.flights import all_flights

FOLDER = Path(__file__).parent
VERSION = "1.0.0"
LAST_TRAINING_MONTH = 8
PARITY = 1e-5
"""Largest difference between the trained model and the ONNX file that is let pass."""

SIZE_LIMIT = 1_000_000
"""Largest model file, in bytes."""

ROUNDS = 150
SETTINGS = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 500,
    "feature_fraction": 0.5,
    "lambda_l2": 50.0,
    "seed": 7,
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 2,
    "verbose": -1,
}
"""Chosen among six by log loss on held-out fortnights of the training months (see the card)."""

FOLDS = 4
OPSET = 15
Inputs = npt.NDArray[np.float32]
Scores = npt.NDArray[np.floating]


def usable(dataset: Dataset, flights: pl.DataFrame) -> pl.DataFrame:
    """The flights that ingest would accept: those with a value in every required column."""
    required = [field.name for field in dataset.table.fields if field.constraints.required]
    return flights.drop_nulls(required)


def known(dataset: Dataset, flights: pl.DataFrame) -> pl.DataFrame:
    """The flights whose outcome is known, with it in a column ``label``."""
    return flights.with_columns(label_expression(dataset)).drop_nulls("label")


def inputs(dataset: Dataset, constants: Constants, flights: pl.DataFrame) -> Inputs:
    """The model's inputs, one row a flight."""
    return table(dataset, constants, flights).to_numpy(order="c")


def table(dataset: Dataset, constants: Constants, flights: pl.DataFrame) -> pl.DataFrame:
    """The same as a table, a column for each."""
    return flights.select(feature_expressions(dataset, constants))


def scores_of(engine: OnnxEngine, rows: pl.DataFrame) -> Scores:
    """Of each row the probability that the flight is late."""
    return np.ascontiguousarray(engine.predict(rows).scores[:, 1])


def train(features: Inputs, label: pl.Series) -> lightgbm.Booster:
    """Boosted trees on the inputs."""
    data = lightgbm.Dataset(features, label.cast(pl.Int8).to_numpy())
    return lightgbm.train(SETTINGS, data, num_boost_round=ROUNDS)


def export(booster: lightgbm.Booster, constants: Constants) -> bytes:
    """The trained model as ONNX."""
    width = len(constants.features)
    model = convert_lightgbm(
        lightgbm.Booster(model_str=floored(booster.model_to_string())),
        "flights_delay",
        [("features", FloatTensorType([None, width]))],
        target_opset=OPSET,
        zipmap=False,
    )
    onnx.helper.set_model_props(model, {VERSION_KEY: constants.version})
    # The converter writes them in the order of a set, which differs from run to run.
    imports = sorted(model.opset_import, key=lambda opset: opset.domain)
    del model.opset_import[:]
    model.opset_import.extend(imports)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def floored(model_text: str) -> str:
    """LightGBM's model text with every threshold rounded down to a float32.

    The converter rounds to nearest. For a float32 input x and a threshold t, ``x <= t`` is the same
    as ``x <= floor32(t)``, while a threshold rounded up moves the rows that lie on it. The line
    ``tree_sizes`` goes: it tells where each tree starts in the text as it was.
    """
    model_text = re.sub(r"(?m)^tree_sizes=.*\n", "", model_text)
    return re.sub(r"(?m)^(threshold=)(.*)$", lambda m: m[1] + _floor_all(m[2]), model_text)


def _floor_all(texts: str) -> str:
    return " ".join(repr(floor32(float(text))) for text in texts.split())


def floor32(value: float) -> float:
    """The largest float32 that is not above ``value``."""
    nearest = np.float32(value)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return float(nearest if float(nearest) <= value else below)


def parity(booster: lightgbm.Booster, engine: OnnxEngine, features: pl.DataFrame) -> float:
    """Largest difference between the trained model and the ONNX file over all rows."""
    trained = np.asarray(booster.predict(features.to_numpy(order="c")))
    return float(np.abs(trained - scores_of(engine, features)).max())


def figures(label: pl.Series, scores: Scores, constant: float) -> list[str]:
    """Cells of the card's table for some flights whose outcome is known."""
    late = label.cast(pl.Int8).to_numpy()
    likely = scores >= 0.5
    return [
        f"{len(late):,}",
        f"{late.mean():.3f}",
        f"{scores.mean():.3f}",
        f"{roc_auc_score(late, scores):.3f}",
        f"{average_precision_score(late, scores):.3f}",
        f"{brier_score_loss(late, scores):.3f}",
        f"{np.square(late - constant).mean():.3f}",
        f"{likely.mean():.3f}",
        f"{late[likely].mean():.3f}",
    ]


MONTHS_HEAD = """\
| month | flights | late | mean score | AUC | AP | Brier | Brier, constant | ≥ 0.5 | of these late |
| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |
"""
DAYS_HEAD = """\
| held-out days of January to August | 5 % of days below | median | 5 % of days above |
| --- | --: | --: | --: |
"""


def months_table(held_out: pl.DataFrame, later: pl.DataFrame, constant: float) -> str:
    """The card's table by month."""
    rows = [("January to August, held out", held_out)]
    names = {9: "September", 10: "October", 11: "November", 12: "December"}
    rows += [(name, later.filter(pl.col("date").dt.month() == m)) for m, name in names.items()]
    rows += [("September to December", later)]
    cells = [[name, *figures(f["label"], f["score"].to_numpy(), constant)] for name, f in rows]
    return MONTHS_HEAD + "".join(f"| {' | '.join(row)} |\n" for row in cells)


def days_table(held_out: pl.DataFrame) -> str:
    """The card's table on single days, from which the dataset's thresholds were set."""
    days = pl.DataFrame([_day(day) for day in held_out.partition_by("date")])
    rows = [[name, *_quantiles(days[name])] for name in days.columns]
    return DAYS_HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _day(day: pl.DataFrame) -> dict[str, float]:
    late, score = day["label"].cast(pl.Int8).to_numpy(), day["score"].to_numpy()
    return {
        "AUC": float(roc_auc_score(late, score)),
        "Brier": float(brier_score_loss(late, score)),
        "mean score minus share late": float(score.mean() - late.mean()),
    }


def _quantiles(values: pl.Series) -> Iterator[str]:
    for share in (0.05, 0.5, 0.95):
        yield f"{values.quantile(share, 'linear'):.3f}"


def held_out_scores(features: Inputs, flights: pl.DataFrame) -> Scores:
    """Scores of the training flights by models that have not seen their fortnight."""
    fold = (flights["date"].dt.ordinal_day() // 14 % FOLDS).to_numpy()
    scores = np.empty(flights.height)
    for number in range(FOLDS):
        out = fold == number
        booster = train(features[~out], flights["label"].filter(pl.Series(~out)))
        scores[out] = booster.predict(features[out])
    return scores


def build(folder: Path) -> list[str]:
    """Train, write the model's files into ``folder``, check them.

    Returns:
        The card's tables, as Markdown.
    """
    dataset = find_dataset("flights")
    everything = all_flights()
    flights = usable(dataset, everything)
    training = flights.filter(pl.col("date").dt.month() <= LAST_TRAINING_MONTH)
    learned = known(dataset, training)
    constants = fit_constants(dataset, learned, VERSION)
    features = inputs(dataset, constants, learned)
    booster = train(features, learned["label"])
    (folder / MODEL_FILE).write_bytes(export(booster, constants))
    (folder / CONSTANTS_FILE).write_text(constants.model_dump_json(indent=1) + "\n")

    engine = OnnxEngine(str(folder), VERSION)
    report(engine, booster, table(dataset, constants, everything), folder)
    raw = training.select(raw_expression(feature) for feature in dataset.features)
    scores = scores_of(engine, table(dataset, constants, training))
    reference = fit_reference(dataset, raw, scores, training["date"])
    reference.write(str(folder))

    later = known(dataset, flights.filter(pl.col("date").dt.month() > LAST_TRAINING_MONTH))
    later = later.with_columns(score=scores_of(engine, table(dataset, constants, later)))
    held_out = learned.with_columns(score=held_out_scores(features, learned))
    constant = float(learned["label"].cast(pl.Int8).to_numpy().mean())
    return [months_table(held_out, later, constant), days_table(held_out)]


def report(
    engine: OnnxEngine, booster: lightgbm.Booster, features: pl.DataFrame, folder: Path
) -> None:
    """Print parity and size; stop where either is over its limit."""
    difference = parity(booster, engine, features)
    size = (folder / MODEL_FILE).stat().st_size
    print(f"parity: {difference:.1e} at most over {len(features):,} flights (limit {PARITY:.0e})")
    print(f"{MODEL_FILE}: {size:,} bytes (limit {SIZE_LIMIT:,})")
    if difference > PARITY or size > SIZE_LIMIT:
        sys.exit("the ONNX file is not fit to ship")


def differences(fresh: Path, tables: list[str]) -> Iterator[str]:
    """What differs between this folder and what was just made."""
    for name in (MODEL_FILE, CONSTANTS_FILE, REFERENCE_FILE):
        path = FOLDER / name
        if not path.is_file() or path.read_bytes() != (fresh / name).read_bytes():
            yield f"{name} differs from what this script makes here"
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    if not all(table in card for table in tables):
        yield "README.md does not have the tables above; paste them"


def main() -> None:
    """Train, and write or compare."""
    parser = argparse.ArgumentParser(description="Train the flights model.")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        tables = build(fresh)
        print("", *tables, sep="\n")
        if not check:
            for name in (MODEL_FILE, CONSTANTS_FILE, REFERENCE_FILE):
                (FOLDER / name).write_bytes((fresh / name).read_bytes())
        found = list(differences(fresh, tables))
    if found:
        sys.exit("\n".join(found))
    print("the model's files and README.md are what this script makes")


if __name__ == "__main__":
    main()
