"""``flagfall model``: from a model's file to a folder that scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flagfall.cli.console import DatasetName, at_work, err, out
from flagfall.dataset.loader import find_dataset
from flagfall.errors import NotThere, printable
from flagfall.stores.places import is_file

model_app = typer.Typer(no_args_is_help=True, help="Take a model in, and try it.")

Train = Annotated[
    list[Path], typer.Option("--train", help="Training data, as the feed's files are; a folder.")
]


@model_app.command("init")
def model_init(
    dataset: DatasetName,
    train: Train,
    onnx: Annotated[Path | None, typer.Option(help="Copied to model.onnx.")] = None,
    python: Annotated[Path | None, typer.Option(help="Copied to model.py.")] = None,
    version: Annotated[str, typer.Option(help="Of the model; by default from its hash.")] = "",
    batch: Annotated[
        str, typer.Option(help="Column that says in which batch a row would come, as a date.")
    ] = "",
    challenger: Annotated[
        bool, typer.Option("--challenger", help="For the folder of model.challenger.")
    ] = False,
) -> None:
    """Write what a model's folder needs, from the rows that it was trained on.

    They go through the same checks and features as batches do.

    Example: flagfall model init churn --train train.csv --onnx model.onnx
    """
    from flagfall.cli.model_init import init_model, model_file, take_model
    from flagfall.cli.training_rows import read_training_rows
    from flagfall.scoring.features import check_expressions
    from flagfall.scoring.model import challenger_of, scorer_of

    one = find_dataset(dataset)
    scorer = scorer_of(one)
    if challenger:
        if not scorer.challenger:
            raise NotThere("challenger of", dataset, "its file has no model.challenger")
        one = challenger_of(one, "python" if python else "onnx" if onnx else None)
        scorer = scorer_of(one)
    check_expressions(one)
    for given, name in ((onnx, "model.onnx"), (python, "model.py")):
        if given is None:
            continue
        if name != model_file(scorer) and scorer.engine != "pod":
            wanted = {"model.py": "python", "model.onnx": "onnx"}[name]
            hint = f"model.engine is {scorer.engine}; set it to {wanted}"
            raise NotThere("use for", str(given), hint)
        if not is_file(given):
            raise NotThere("file", str(given))
        take_model(scorer, given, name)
    with at_work("reading training rows"):
        training = read_training_rows(one, train)
    if batch and batch not in training.rows.columns:
        raise NotThere("column", batch, f"there are: {', '.join(training.rows.columns)}")
    with at_work("fitting constants and reference"):
        made = init_model(one, training, version, batch)
    if made.kept:
        _say(f"kept {made.kept}, which was there: remove it to have it fitted again")
    for sentence in made.left_out:
        err.print(f"flagfall: left out: {printable(sentence)}", soft_wrap=True)
    line = f"{scorer.path}: version {made.card.version}, {made.card.task}, from"
    _say(f"{line} {training.rows.height:,} training rows; wrote {', '.join(made.wrote)}")


@model_app.command("check")
def model_check(
    dataset: DatasetName,
    train: Annotated[
        list[Path] | None, typer.Option("--train", help="Rows to score, such as training data.")
    ] = None,
    expect: Annotated[
        Path | None, typer.Option(help="What the model's own framework says of these rows.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Most that a score may differ.")] = 1e-4,
) -> None:
    """Have a model score rows that its dataset allows: always the same, and as expected.

    Example: flagfall model check churn --train train.csv --expect scores.parquet
    """
    from flagfall.cli.model_check import compare, measured, try_model
    from flagfall.cli.model_init import check_labels
    from flagfall.cli.training_rows import read_training_rows

    one = find_dataset(dataset)
    if expect is not None and not train:
        raise NotThere("rows for", str(expect), "give --train, the rows that were scored")
    training = read_training_rows(one, train) if train else None
    with at_work("scoring rows"):
        tried = try_model(one, None if training is None else training.rows)
    _say(f"{dataset}: model {tried.model.version} returns {tried.says}")
    if training is not None:
        check_labels(one, tried.reading, training.rows)
        _say(f"training data: {training.rows.height:,} rows scored")
    if expect is not None:
        _say(compare(one, tried, expect, tolerance))
    for line in measured(tried):
        _say(line)


def _say(line: str) -> None:
    out.print(printable(line), highlight=False, soft_wrap=True)
