"""For every dataset with an ``arrival.schedule`` a DAG ``<name>_expected``: is the batch due there?

Its sensor waits on the triggerer for its own partition's marker. When the deadline passes it fails
and says which marker is late; when the marker comes it updates ``<name>_landed``. No partition key
goes with that event: a DAG that is scheduled without partitions never starts from an event with
one.
"""

from __future__ import annotations

from airflow.sdk import DAG, Asset, CronTriggerTimetable

from flagfall.dataset.arrival import Arrival
from flagfall.dataset.schema import Dataset
from flagfall.operators.callbacks import on_failure
from flagfall.operators.sensors import MarkerSensor


def partition(arrival: Arrival) -> dict[str, str]:
    """The fields of the marker that a run waits for, as templates that Airflow renders."""
    time = f"(dag_run.run_after - macros.timedelta(seconds={arrival.lag.total_seconds()}))"
    return {k: f"{{{{ {time}.strftime({v!r}) }}}}" for k, v in arrival.partition.items()}


def expected(dataset: Dataset) -> DAG:
    """The DAG that waits for the batches of one dataset, which has a schedule.

    It is in UTC, as for ``flagfall status``, whatever Airflow's ``default_timezone`` is.
    """
    assert dataset.arrival.schedule is not None, "asked for a feed without a schedule"
    with DAG(
        f"{dataset.name}_expected",
        description=f"{dataset.title}: is the batch that is due there in time?",
        schedule=CronTriggerTimetable(dataset.arrival.schedule, timezone="UTC"),
        catchup=False,
        default_args={"owner": dataset.owner, "on_failure_callback": on_failure(dataset)},
        doc_md=_doc(dataset),
        tags=["flagfall", dataset.name],
    ) as dag:
        MarkerSensor(
            task_id="wait_for_marker",
            landing=dataset.landing.uri,
            marker=dataset.landing.marker,
            partition=partition(dataset.arrival),
            deadline=dataset.arrival.deadline,
            settle=dataset.landing.settle,
            sweep_every=dataset.watch.sweep_every,
            conn_id=dataset.landing.conn_id,
            sqs_queue=dataset.landing.sqs_queue,
            outlets=[Asset.ref(name=f"{dataset.name}_landed")],
        )
    return dag


def _doc(dataset: Dataset) -> str:
    return f"""\
### Is {dataset.title} in time?

Waits for `{dataset.landing.uri}/{dataset.landing.marker}` with the fields
`{dataset.arrival.partition}`, from `{dataset.arrival.schedule}` (UTC) on for
{dataset.arrival.deadline}. While it waits it is deferred and holds no slot.

When it fails, the marker is late: ask the producer. Nothing else has to be done: when the marker
comes, `{dataset.name}_pipeline` takes it in.
"""
