"""DAGs out of dataset files, for any DAG folder.

Two lines in a file of your own are enough::

    from flagfall.dags import pipelines  # airflow
    globals().update(pipelines("/path/to/datasets"))

A third one, in a file of its own, shows mistakes in dataset files as Airflow's import errors::

    from flagfall.dags import check_datasets  # airflow
    check_datasets("/path/to/datasets")

It has to be a file of its own: Airflow stops every DAG of a file that has an import error. And
Airflow reads a file only if it has the words "airflow" and "dag" in it: hence the comments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flagfall.dataset.loader import dataset_files, datasets_folder, usable_datasets
from flagfall.dataset.schema import Dataset
from flagfall.errors import DatasetInvalid, DatasetsInvalid, NotThere
from flagfall.extras import require
from flagfall.logs import logger
from flagfall.operators.providers import lacking, unusable_notifiers

require("airflow")
from airflow.sdk import DAG, get_parsing_context

log = logger(__name__)


TASKS = ("ingest_data", "preprocess_data", "run_inference", "evaluate_results")
"""Stages that a task of the author's own can follow."""
WATCHMAN = "flagfall_watchman"
"""The DAG that looks at every feed, for the page in Airflow, and tells what no run can tell."""
MAINTENANCE = "flagfall_maintenance"
"""The DAG that drops what is old."""


def pipelines(
    folder: Path | str | None = None,
    after: Mapping[str, Callable[[Any], Any]] | None = None,
    watchman: str = WATCHMAN,
    maintenance: str = MAINTENANCE,
) -> dict[str, DAG]:
    """The DAGs of every dataset file that can be used, by DAG id.

    ``<name>_pipeline`` for each, ``<name>_expected`` where it has an ``arrival.schedule``, and
    ``<name>_outcomes`` where another feed brings its outcomes; one ``flagfall_watchman`` for all,
    and one ``flagfall_maintenance`` where a file says what is to be dropped. A file with a mistake
    is logged and left out, so that it does not stop the feeds beside it. In a task only that task's
    dataset is read, and only its DAG is made.

    Args:
        folder: Folder of the dataset files; ``None`` for ``$FLAGFALL_DATASETS``, else ``datasets/``
            in the current directory.
        after: Tasks of your own between two stages: by the id of the task that they follow
            (``TASKS``), or by ``<dataset>.<task id>`` in one pipeline only, a function that makes
            the task of what that stage returned. The next stage waits for it.
        watchman: Id of the watchman's DAG: two folders in one Airflow need two; empty for none.
        maintenance: Id of the DAG that drops what is old: two folders in one Airflow need two;
            empty for none.

    Raises:
        NotThere: There is no such folder, dataset or task.
        DatasetInvalid: The folder cannot be listed.
    """
    folder = _found(folder)
    wanted = get_parsing_context().dag_id
    of_one = wanted if wanted not in (None, watchman, maintenance) else ""
    usable, broken = _usable(folder, only=of_one.rpartition("_")[0])
    for problem in broken:
        log.error("%s", problem)
    own = {dataset.name: _after(dataset, after or {}) for dataset in usable}
    _check_names(after or {}, [path.stem for path in dataset_files(folder)])
    dags = (dag for dataset in usable for dag in _dags(dataset, folder, wanted, own[dataset.name]))
    watching = _watchman(usable, folder, wanted, watchman)
    upkeep = _maintenance(usable, folder, wanted, maintenance)
    return {dag.dag_id: dag for dag in (*dags, *watching, *upkeep)}


def _after(
    dataset: Dataset, after: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Callable[[Any], Any]]:
    """The author's own tasks in one pipeline, by the task that they follow."""
    named = {task: after.get(f"{dataset.name}.{task}", after.get(task)) for task in TASKS}
    return {task: own for task, own in named.items() if own is not None}


def _check_names(after: Iterable[str], datasets: Sequence[str]) -> None:
    """Without this check a task with a misspelt name would never run, and nobody would know."""
    for name in after:
        dataset, _, task = name.rpartition(".")
        if task not in TASKS or (dataset and dataset not in datasets):
            hint = f"expected {', '.join(TASKS)}, or one of them after a dataset's name and a dot"
            raise NotThere("task", name, hint)


def check_datasets(folder: Path | str | None = None) -> None:
    """Raise where a dataset file cannot be used.

    Args:
        folder: As for ``pipelines``.

    Raises:
        DatasetsInvalid: With file, line, key and what was expected, one line each.
        NotThere: There is no such folder.
        DatasetInvalid: It cannot be listed.
    """
    found = _found(folder)
    usable, broken = _usable(found)
    if broken := [*broken, *unusable_notifiers(usable, found)]:
        raise DatasetsInvalid(broken)


def _found(folder: Path | str | None) -> Path:
    """The folder; without this check a misspelt one would have no DAGs, and nobody would know."""
    found = Path(folder or datasets_folder()).absolute()
    if not dataset_files(found) and not found.is_dir():
        hint = "give pipelines() the folder of your dataset files, or set FLAGFALL_DATASETS"
        raise NotThere("folder", str(found), hint)
    return found


def _usable(folder: Path, only: str = "") -> tuple[list[Dataset], list[DatasetInvalid]]:
    """Datasets that can have their DAGs in this Airflow, and what is wrong with the others.

    A task needs the file of its own dataset ``only``.
    """
    read, broken = usable_datasets(folder, only)
    problems = {dataset.name: lacking(dataset, folder) for dataset in read}
    usable = [dataset for dataset in read if problems[dataset.name] is None]
    return usable, [*broken, *filter(None, problems.values())]


def _watchman(
    datasets: Sequence[Dataset], folder: Path, wanted: str | None, dag_id: str
) -> Iterator[DAG]:
    """The watchman's DAG, where there is a feed that it could look at."""
    if datasets and dag_id and wanted in (None, dag_id):
        from flagfall.dags.watchman import watchman

        yield watchman(dag_id, datasets, folder)


def _maintenance(
    datasets: Sequence[Dataset], folder: Path, wanted: str | None, dag_id: str
) -> Iterator[DAG]:
    """The DAG that drops what is old, where a file says that anything is."""
    kept = [dataset for dataset in datasets if dataset.needs_upkeep]
    if kept and dag_id and wanted in (None, dag_id):
        from flagfall.dags.maintenance import maintenance

        yield maintenance(dag_id, kept, folder)


def _dags(
    dataset: Dataset, folder: Path, wanted: str | None, after: Mapping[str, Callable[[Any], Any]]
) -> Iterator[DAG]:
    """The DAGs of one dataset; only the one that is wanted is imported and made."""
    if wanted in (None, f"{dataset.name}_pipeline"):
        from flagfall.dags.ml_pipeline import pipeline

        yield pipeline(dataset, folder, after)
    if wanted in (None, f"{dataset.name}_expected") and dataset.arrival.schedule is not None:
        from flagfall.dags.expected_markers import expected

        yield expected(dataset)
    if wanted in (None, f"{dataset.name}_outcomes") and dataset.late_label is not None:
        from flagfall.dags.outcomes import outcomes

        yield outcomes(dataset, folder)
