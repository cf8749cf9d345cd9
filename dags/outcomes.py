"""For a dataset whose outcomes come by another feed a DAG ``<name>_outcomes``.

It is scheduled on the assets that two pipelines update: that outcomes were taken in, and that rows
were scored, since outcomes may come first. While it waits for either it holds no slot.

It starts unpaused: whoever writes ``label.from`` wants outcomes joined, and nothing would say that
they are not.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG, Asset, TriggerRule

from flagfall.dags.ml_pipeline import NO_RETRIES, default_args, task_settings
from flagfall.dataset.schema import Dataset
from flagfall.operators.outcomes import OutcomesOperator, OutcomesReportOperator


def outcomes(dataset: Dataset, folder: Path) -> DAG:
    """The DAG that evaluates what outcomes say of a dataset's predictions.

    Args:
        dataset: The dataset whose rows are scored.
        folder: Folder of its file, and of that of the feed.
    """
    assert dataset.late_label is not None, "asked for a dataset without outcomes of another feed"
    with DAG(
        f"{dataset.name}_outcomes",
        description=f"{dataset.title}: what became of the predictions",
        schedule=Asset.ref(name=f"{dataset.late_label.feed}_staged")
        | Asset.ref(name=f"{dataset.name}_evaluated"),
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=1,
        default_args=default_args(dataset),
        doc_md=_doc(dataset, dataset.late_label.feed),
        tags=["flagfall", dataset.name],
    ) as dag:
        evaluated = OutcomesOperator(
            task_id="evaluate_outcomes",
            dataset=dataset.name,
            datasets=folder,
            outlets=[Asset(f"{dataset.name}_outcomes")],
            **task_settings(dataset, "evaluate_results"),
        )
        OutcomesReportOperator(
            task_id="generate_report",
            dataset=dataset.name,
            datasets=folder,
            batches=evaluated.output,
            trigger_rule=TriggerRule.ALL_DONE,  # also where some batches failed
            **NO_RETRIES | task_settings(dataset, "generate_report"),
        )
    return dag


def _doc(dataset: Dataset, feed: str) -> str:
    return f"""\
### What became of {dataset.title}

Joins the outcomes of `{feed}` to the predictions of `{dataset.name}` by
`{", ".join(dataset.outcome_key)}`, evaluates the batches of which more is known than before, and
writes a report of them. It asks both lakes what counts; the event that started the run only said
"look now". Nothing is counted twice.

What to do when a task failed: read its log, mend the cause, clear the task.
"""
