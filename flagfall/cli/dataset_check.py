"""Checking a dataset file as far as that can be done without data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from flagfall.cli.model_check import try_model
from flagfall.cli.model_init import says_of
from flagfall.cli.pod_template import why_no_pod
from flagfall.dataset.loader import datasets_folder, with_lines
from flagfall.dataset.model import Task
from flagfall.dataset.notifiers import notifier_problems
from flagfall.dataset.outcomes import joined_to, misfits, misfits_of_feed, outcome_feed, why_no_feed
from flagfall.dataset.schema import Dataset
from flagfall.errors import (
    DatasetInvalid,
    ModelInvalid,
    Problem,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from flagfall.extras import require
from flagfall.rows.rules import check_rules
from flagfall.scoring.evaluations.check import check_evaluation
from flagfall.scoring.features import FeatureInvalid, check_expressions
from flagfall.scoring.labels import LabelInvalid, Says
from flagfall.scoring.late_labels import check_late_label
from flagfall.scoring.model import challenger_of
from flagfall.stores import open_store
from flagfall.stores.places import is_file, is_made, is_there
from flagfall.stores.promises import check_create_if_absent


def check_dataset(dataset: Dataset) -> str:
    """Try the expressions and open the model.

    Returns:
        One line that says what was found.

    Raises:
        DatasetInvalid: A date format, a pattern, a rule, a notifier or the template of a pod cannot
            be used; an expression does not work on the columns, or the label cannot be what the
            model predicts; the model's folder lacks something, was trained on other features, or
            does not score several rows at once.
        CodeInvalid: A file of the team's own code cannot be used.
        ExtraMissing: It has tables, and delta-rs is not installed.
        StoreError: The model's folder may not be read, or does not answer.
    """
    if dataset.lake.table is not None:
        require("delta")
    _check_notifiers(dataset)
    _check_rules(dataset)
    _check_template(dataset)
    _check_code(dataset)
    with _named_expressions(dataset):
        check_expressions(dataset)
    _check_joined(dataset)
    columns = f"fine; {len(dataset.table.fields)} columns"
    if dataset.model is None:
        return f"{columns}, no model"
    with _named_expressions(dataset), _named_store(dataset, "model.path"):
        return columns + _check_model(dataset)


def _check_model(dataset: Dataset) -> str:
    """Try the model, its challenger, the label and the evaluation; gives what to say of them."""
    try:
        tried = try_model(dataset)
        reading = tried.reading
    except ModelInvalid as invalid:
        raise _invalid(dataset, [Problem("model", None, str(invalid))]) from invalid
    challenger = _check_challenger(dataset, reading.task)
    _check_outcomes(dataset, says_of(reading))
    if problems := check_evaluation(dataset, says_of(reading)):
        named = [Problem(f"thresholds.{name}", None, why) for name, why in problems.items()]
        raise _invalid(dataset, named)
    features = f"{len(tried.features.columns)} features"
    if dataset.evaluate is not None:
        tried.own_figures(dataset)
    return f", {features}, model {tried.model.version}: {tried.says}{challenger}"


def _check_challenger(dataset: Dataset, task: Task) -> str:
    """Try the challenger as the model itself; gives what to say of it."""
    if dataset.model is None or not dataset.model.challenger:
        return ""
    try:
        tried = try_model(challenger_of(dataset))
    except ModelInvalid as invalid:
        raise _invalid(dataset, [Problem("model.challenger", None, str(invalid))]) from invalid
    if tried.reading.task != task:
        why = f"expected a model of task {task}, got one of {tried.reading.task}"
        raise _invalid(dataset, [Problem("model.challenger", None, why)])
    return f"; challenger {tried.model.version}"


def _check_outcomes(dataset: Dataset, says: Says) -> None:
    """See whether the feed of outcomes is there, and can be joined.

    Raises:
        DatasetInvalid: It is not, or cannot; or its own file cannot be used; or the label's
            expression does not work on its columns, or cannot be what the model predicts.
    """
    if dataset.late_label is None:
        return
    if problems := why_no_feed(dataset):
        raise _invalid(dataset, problems)
    feed = outcome_feed(dataset)
    if problems := misfits(dataset, feed):
        raise _invalid(dataset, problems)
    if problems := misfits_of_feed(dataset, feed):
        raise _invalid(feed, problems)
    try:
        check_late_label(dataset, feed, says)
    except LabelInvalid as invalid:
        raise _invalid(dataset, [Problem("label.expr", None, invalid.reason)]) from invalid


def _check_joined(feed: Dataset) -> None:
    """See whether the datasets that it brings outcomes for can use them.

    Raises:
        DatasetInvalid: One cannot, by a key of its own file or of this one.
    """
    for dataset in joined_to(feed):
        if problems := misfits(dataset, feed):
            raise _invalid(dataset, problems)
        if problems := misfits_of_feed(dataset, feed):
            raise _invalid(feed, problems)


def check_landing(dataset: Dataset) -> str:
    """See whether the landing zone can be listed: on S3 by one request.

    Returns:
        What a person should know; empty where it is there.

    Raises:
        StoreRefused: It is no directory, its bucket is not there, or it may not be listed. The
            error names the line, as every one of ``flagfall check``.
        StoreUnavailable: It does not answer.
    """
    with _named_store(dataset, "landing.uri"):
        store = open_store(dataset.landing.uri, dataset.landing.conn_id)
        if not store.metered and not is_made(store.uri):
            return f"the landing zone {store.uri} is not there yet"
        next(store.list(skip_unreadable=True), None)
    return ""


def check_lake(dataset: Dataset) -> None:
    """Try on the lake that of two who create an object one wins.

    Raises:
        StoreRefused: It may not be written to, or cannot be a lake.
        StoreUnavailable: It does not answer.
    """
    with _named_store(dataset, "lake.uri"):
        folder = f"{dataset.lake.uri.rstrip('/')}/{dataset.name}"
        check_create_if_absent(folder, dataset.lake.conn_id)


def _check_notifiers(dataset: Dataset) -> None:
    """Import the notifiers, where Airflow is installed.

    Raises:
        DatasetInvalid: One cannot be used.
    """
    if find_spec("airflow") is None:
        return
    if problems := list(notifier_problems(dataset.notify)):
        raise _invalid(dataset, problems)


def _check_rules(dataset: Dataset) -> None:
    try:
        check_rules(dataset)
    except DatasetInvalid as invalid:
        raise _invalid(dataset, invalid.problems) from invalid


def _check_template(dataset: Dataset) -> None:
    pod = dataset.model.pod if dataset.model else None
    if pod and pod.template and (why := why_no_pod(Path(pod.template))):
        why = f"expected a pod in YAML, {why}"
        raise _invalid(dataset, [Problem("model.pod.template", None, why)])


def _check_code(dataset: Dataset) -> None:
    """See that the files of the team's own code are there."""
    evaluate = dataset.evaluate.python if dataset.evaluate else ""
    for key, file in (("features.python", dataset.features_python), ("evaluate.python", evaluate)):
        if file and not is_file(file):
            why = f"expected a Python file, there is none at {file}"
            raise _invalid(dataset, [Problem(key, None, why)])


@contextmanager
def _named_store(dataset: Dataset, key: str) -> Iterator[None]:
    """Name file, line and key in the error of a store."""
    try:
        yield
    except StoreError as error:
        named = _invalid(dataset, [Problem(key, None, str(error))])
        kind = StoreRefused if isinstance(error, StoreRefused) else StoreUnavailable
        raise kind(named.path, str(named.problems[0])) from error


@contextmanager
def _named_expressions(dataset: Dataset) -> Iterator[None]:
    """Name file, line and key in the error of an expression."""
    try:
        yield
    except FeatureInvalid as invalid:
        key = _key_of(dataset, invalid)
        raise _invalid(dataset, [Problem(key, None, invalid.reason)]) from invalid


def _key_of(dataset: Dataset, invalid: FeatureInvalid) -> str:
    for index, feature in enumerate(dataset.features):
        if (feature.name, feature.expr or feature.name) == (invalid.name, invalid.expr):
            return f"features[{index}].{'expr' if feature.expr else 'name'}"
    return "label.expr"


def _invalid(dataset: Dataset, problems: Sequence[Problem]) -> DatasetInvalid:
    """An error that names the lines, where the dataset was read from the folder of datasets."""
    path = datasets_folder() / f"{dataset.name}.yaml"
    found = with_lines(path, problems) if is_there(path) else problems
    return DatasetInvalid(str(path), found)
