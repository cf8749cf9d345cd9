"""For every dataset a DAG ``<name>_pipeline``: from what is pending to a report.

It is scheduled on the asset ``<name>_landed``, which a trigger on the triggerer updates when a
marker lands. While anything waits, no worker slot is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    AssetWatcher,
    BaseOperator,
    TriggerRule,
)
from airflow.sdk.configuration import conf
from airflow.sdk.definitions._internal.expandinput import DictOfListsExpandInput, MappedArgument
from airflow.sdk.definitions.taskgroup import MappedTaskGroup

from flagfall.dataset.feed import Feed
from flagfall.dataset.model import Pod
from flagfall.dataset.schema import Dataset
from flagfall.dataset.tasks import TaskSettings
from flagfall.operators.airflow_release import retry_what_may_heal
from flagfall.operators.callbacks import on_failure, on_retry
from flagfall.operators.pods import executor_config
from flagfall.operators.stages import LABEL, ClaimOperator, ReportOperator, StageOperator
from flagfall.stages import STAGES
from flagfall.triggers.markers import MarkerFeedTrigger

GO_ON_WITH_THE_REST = TriggerRule.NONE_SKIPPED
"""Where the stage before failed on some batches of a shard, the others go on."""
NO_RETRIES = {"retries": 0}
"""For the report: the next run writes one that is missing, so a retry would only delay that run."""


def default_args(dataset: Dataset) -> dict[str, Any]:
    """What all tasks of a dataset share."""
    return {
        "owner": dataset.owner,
        "retries": 3,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=2),
        **retry_what_may_heal(),
        "on_failure_callback": on_failure(dataset),
        "on_retry_callback": on_retry(dataset),
    }


def task_settings(dataset: Dataset, task_id: str) -> dict[str, Any]:
    """What the dataset's file sets for one task in ``tasks`` and ``resources``."""
    given: TaskSettings = getattr(dataset.tasks, task_id)
    settings = {"retries": given.retries, "execution_timeout": given.timeout}
    pod = {"executor_config": executor_config(dataset, task_id)}
    return pod | {name: value for name, value in settings.items() if value is not None}


def active_tasks(dataset: Dataset) -> int:
    """How many tasks run at once: few, so that one feed's backlog leaves room for the others."""
    return dataset.limits.active_tasks or conf.getint("core", "max_active_tasks_per_dag")


def landed(dataset: Dataset) -> Asset:
    """The asset that schedules a pipeline; declared here only, or it would be watched twice."""
    trigger = MarkerFeedTrigger.of(Feed.of(dataset))
    watcher = AssetWatcher(name=f"{dataset.name}_markers", trigger=trigger)
    return Asset(f"{dataset.name}_landed", watchers=[watcher])


Own = Callable[[Any], Any]
"""Makes a task of the DAG's author out of what a stage returned (an ``XComArg``): a function that
``@task`` decorates, or one that returns an operator."""


def pipeline(dataset: Dataset, folder: Path, after: Mapping[str, Own] | None = None) -> DAG:
    """The DAG of one dataset, whose file is in ``folder``: each task reads it again.

    Args:
        dataset: The dataset.
        folder: Folder of its file.
        after: Tasks of the author's own by the task id of the stage that they follow, once for each
            shard. The next stage waits for them.
    """
    with DAG(
        f"{dataset.name}_pipeline",
        description=dataset.title,
        schedule=[landed(dataset)],
        catchup=False,
        max_active_runs=1,
        max_active_tasks=active_tasks(dataset),
        default_args=default_args(dataset),
        doc_md=_doc(dataset),
        tags=["flagfall", dataset.name],
    ) as dag:
        claimed = ClaimOperator(
            task_id="claim",
            dataset=dataset.name,
            datasets=folder,
            landed=f"{dataset.name}_landed",
            again=f"{dataset.name}_landed_again",
            **task_settings(dataset, "claim"),
        )
        report = ReportOperator(
            task_id="generate_report",
            dataset=dataset.name,
            datasets=folder,
            claimed=claimed.output,
            trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,  # the claim is the one, at least
            outlets=[Asset(f"{dataset.name}_report")],
            **NO_RETRIES | task_settings(dataset, "generate_report"),
        )
        _shards(dataset, folder, claimed, after or {}) >> report
    return dag


def _shards(
    dataset: Dataset, folder: Path, claimed: ClaimOperator, after: Mapping[str, Own]
) -> Any:
    """The stages, once for every shard; gives the group of them."""

    def in_pod(pod: Pod, batches: Any) -> BaseOperator:
        # Here, since its provider may not be installed.
        from flagfall.operators.pod_inference import PodInferenceOperator

        return PodInferenceOperator(
            task_id="run_inference",
            dataset=dataset.name,
            datasets=folder,
            batches=batches,
            pod=pod,
            trigger_rule=GO_ON_WITH_THE_REST,
            map_index_template=LABEL,
            outlets=[Asset(f"{dataset.name}_predictions")],
            **task_settings(dataset, "run_inference"),
        )

    def stage(task_id: str, name: str, batches: Any, *outlets: str) -> BaseOperator:
        rule = TriggerRule.ALL_SUCCESS if name == STAGES[0] else GO_ON_WITH_THE_REST
        return StageOperator(
            task_id=task_id,
            dataset=dataset.name,
            datasets=folder,
            stage=name,
            batches=batches,
            trigger_rule=rule,
            map_index_template=LABEL,
            outlets=[Asset(f"{dataset.name}_{outlet}") for outlet in outlets],
            **task_settings(dataset, task_id),
        )

    def stages(batches: Any) -> Iterator[BaseOperator]:
        """Each gets what the one before returned."""
        yield (done := stage("ingest_data", "ingest", batches, "staged"))
        if dataset.model is None:
            return
        yield (done := stage("preprocess_data", "preprocess", done.output, "features"))
        if dataset.model.pod is not None:
            yield (done := in_pod(dataset.model.pod, done.output))
        else:
            yield (done := stage("run_inference", "infer", done.output, "predictions"))
        yield stage("evaluate_results", "evaluate", done.output, "evaluated")

    # What @task_group does; to import that takes as long as to read a dataset file.
    shards = DictOfListsExpandInput({"batches": claimed.output})
    with MappedTaskGroup(expand_input=shards, group_id="shard", prefix_group_id=False) as shard:
        before: list[Any] = []
        for done in stages(MappedArgument(input=shards, key="batches")):
            before >> done
            before = [after[done.task_id](done.output)] if done.task_id in after else []
            done >> before
    return shard


def _doc(dataset: Dataset) -> str:
    scored = "preprocess → inference → evaluation → " if dataset.model else ""
    return f"""\
### {dataset.title}

{dataset.description}

**From** `{dataset.landing.uri}`, marker `{dataset.landing.marker}`
**to** `{dataset.lake.uri}/{dataset.name}`

claim → ingest → {scored}report. `claim` asks the inbox what has landed and has no receipt; the
event that started the run only said "look now". A batch that cannot be taken in gets a rejected
receipt that says why; the run goes on.

What to do when a task failed: read its log, mend the cause, clear the task. Nothing is done twice.
The report shows the other batches all the same, and fails with the names of those that are not
finished; they are handed out again by themselves after {dataset.watch.redeliver_after}.
`flagfall status {dataset.name}` shows what is pending, accepted and rejected; `flagfall replay
{dataset.name} BATCH` hands a batch out again.
"""
