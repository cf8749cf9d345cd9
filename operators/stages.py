"""Operators that run Flagfall's stages, and one that publishes a batch.

They pass references by XCom, never rows, and put what they did into ``extra`` of their outlets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias, BaseOperator, BaseOperatorLink
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.errors import NotFinished, NotThere, printable
from flagfall.inbox.claim import AT_ONCE, claim
from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import batch_id_of
from flagfall.landing.marker import Marker
from flagfall.operators.airflow_release import fails_for_good
from flagfall.operators.metrics import measure_claim, measure_run
from flagfall.operators.notices import run_link, task_name, tell
from flagfall.operators.page_links import feed_link, report_page
from flagfall.publish import publish
from flagfall.report.due import expect_report, report_is_written
from flagfall.report.run import (
    decided,
    make_up_for_reports,
    plain_report,
    still_there,
    unfinished,
    write_run_report,
)
from flagfall.stages.shard import Delivery, foremost, try_stage
from flagfall.triggers import connections
from flagfall.verdict.failures import Failure, failures, forget_failures, note_failure
from flagfall.verdict.message import Link
from flagfall.verdict.words import listed

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey

    from flagfall.report.page import Report

connections.use()

REPLAY = "replay"
"""Key in a run's configuration of the batches that are handed out again."""
SHOWN = 10
"""URIs that an asset event names; the rest is in the lake."""


class _DatasetOperator(BaseOperator):
    """An operator of one dataset, whose file is read when the task runs.

    Args:
        dataset: Name of the dataset.
        datasets: Folder of its file; ``None`` for ``$FLAGFALL_DATASETS``, else ``datasets/`` in the
            current directory.
    """

    def __init__(self, *, dataset: str, datasets: Path | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.datasets = datasets


class ClaimOperator(_DatasetOperator):
    """Asks the inbox what is pending and returns it in shards: lists of markers.

    The events that started the run are not looked at: they may be late, doubled or gone. A run that
    a person started with ``{"replay": ["<batch id>"]}`` hands these batches out again first, and so
    claims them. Skips the run when nothing is pending. When more is pending than one run takes, it
    updates the landed asset itself, so that the next run is queued at once.

    Args:
        dataset, datasets: Name of the dataset, and folder of its file.
        landed: Name of the asset that schedules the pipeline.
        again: Alias in the task's outlets through which it is updated.
    """

    ui_color = "#dfe9f5"

    def __init__(self, *, landed: str, again: str, **kwargs: Any) -> None:
        super().__init__(outlets=[AssetAlias(again)], **kwargs)
        self.landed = landed
        self.again = again

    @fails_for_good
    def execute(self, context: Context) -> list[list[dict[str, Any]]]:
        """Claim what is pending."""
        dataset = find_dataset(self.dataset, self.datasets)
        inbox = Inbox(Feed.of(dataset))
        for batch_id in to_replay(context):
            self.log.info("%s is handed out again", inbox.replay(batch_id).batch_id)
        taken = claim(inbox, dataset, at_once=self._at_once())
        _forget(inbox, lambda failure: failure.task == self.task_id)
        for number, shard in enumerate(taken.shards, start=1):
            names = ", ".join(marker.batch_id for marker in shard[:SHOWN])
            self.log.info("shard %d: %d batches: %s", number, len(shard), names)
        self.log.info(
            "%s: claimed %d batches in %d shards; %d are left for the next run",
            *(self.dataset, taken.batches, len(taken.shards), taken.left),
        )
        measure_claim(self.dataset, taken.batches + taken.left)
        if taken.left:
            event = context["outlet_events"][AssetAlias(self.again)]
            event.add(Asset(self.landed), extra={"left": taken.left})
        if not taken.shards and not taken.left:
            raise AirflowSkipException(f"{self.dataset}: nothing is pending")
        expect_report(inbox.lake, str(context["run_id"]), list(chain.from_iterable(taken.shards)))
        return [[marker.to_dict() for marker in shard] for shard in taken.shards]

    def _at_once(self) -> int:
        """Tasks of the DAG that run at the same time, as far as Airflow's settings say."""
        dag = self.get_dag()
        of_dag = dag.max_active_tasks if dag else AT_ONCE
        return min(conf.getint("core", "parallelism") or of_dag, of_dag)


def to_replay(context: Context) -> list[str]:
    """Batch ids that the run's configuration names under ``replay``.

    Raises:
        NotThere: It is no list of batch ids.
    """
    given = (getattr(context.get("dag_run"), "conf", None) or {}).get(REPLAY, [])
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise NotThere("list of batch ids", repr(given), 'expected {"replay": ["<batch id>"]}')
    return given


class StageOperator(_DatasetOperator):
    """Runs one stage on the batches of a shard and returns what became of them.

    Where it fails on some, it returns the others nevertheless, so that the next stage goes on with
    them if its trigger rule lets it.

    Args:
        dataset, datasets: Name of the dataset, and folder of its file.
        stage: ``ingest``, ``preprocess``, ``infer`` or ``evaluate``.
        batches: For ``ingest`` the markers of a shard, else what the stage before returned
            (templated); ``None`` where it died and returned nothing.
    """

    template_fields: Sequence[str] = ("batches",)
    ui_color = "#e4efe6"

    def __init__(self, *, stage: str, batches: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self.batches = batches
        self.done: list[Delivery] | None = None

    @property
    def label(self) -> str:
        """Names of the shard's batches, each with what became of it; Airflow shows it for ``[0]``.

        Airflow renders it before the task runs, and once more after it.
        """
        return label(list(deliveries(self.batches or ())) if self.done is None else self.done)

    @fails_for_good
    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Run the stage.

        Raises:
            FlagfallError: What failed, when all have been tried.
        """
        dataset = find_dataset(self.dataset, self.datasets)
        inbox = Inbox(Feed.of(dataset))
        given = list(deliveries(self.batches or ()))
        done, failed = try_stage(self.stage, dataset, inbox, given)
        update(self.outlets, context, summary(inbox, self.stage, done))
        self.done = done
        if failed:
            leave(context, done)
            raise foremost(failed)
        if getattr(context.get("ti"), "try_number", 1) > 1:
            _forget(inbox, lambda failure: is_this(failure, context))
        return [delivery.to_dict() for delivery in done]


def label(shown: Sequence[Delivery]) -> str:
    """Names of the batches of a shard, each with what became of it."""
    names = (f"{one.marker.label}{_OUTCOMES.get(one.status or '', '')}" for one in shown)
    return listed(list(names))


_OUTCOMES = {"rejected": ": REJECTED", "unchanged": ": unchanged"}
LABEL = "{{ task.label }}"
"""What Airflow shows for the number of a shard (``map_index_template``)."""


def is_this(failure: Failure, context: Context) -> bool:
    """Whether a note is of this task of this run."""
    return (failure.run, failure.task) == (str(context["run_id"]), task_name(context))


def _forget(inbox: Inbox, which: Callable[[Failure], bool]) -> None:
    """Remove notes of tasks that failed: they have succeeded since."""
    store = inbox.lake.store
    forget_failures(store, list(filter(which, failures(store))))


def _note_left(inbox: Inbox, run: str, task: str, left: Sequence[str]) -> None:
    """Note that a run ends and has not finished batches, also where its tasks were killed."""
    if left:
        why = f"{len(left):,} batches of the run are not finished: {listed(left)}"
        note_failure(inbox.lake.store, Failure(run=run, task=task, why=why, at=inbox.clock()))


def _forget_earlier(inbox: Inbox, run: str, markers: Iterable[Marker]) -> None:
    """Remove notes of earlier runs, unless a batch that they left is still not finished."""
    own = {marker.batch_id for marker in markers}
    noted = inbox.receipts.filed(inbox.clock().date()).unfinished
    if {batch_id_of(entry.key) for entry in noted} <= own:
        _forget(inbox, lambda failure: failure.run != run)


def update(outlets: Iterable[Any], context: Context, extra: dict[str, Any]) -> None:
    """Put what a task did into the events of its assets."""
    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra = dict(extra)


def summary(inbox: Inbox, stage: str, done: Sequence[Delivery]) -> dict[str, Any]:
    """What a stage did to a shard, for an event."""
    accepted = [delivery for delivery in done if delivery.status == "accepted"]
    return {
        "batches": len(accepted),
        "rejected_batches": sum(d.status == "rejected" for d in done),
        "rows": sum(d.rows for d in accepted),
        "rejected_rows": sum(d.rejected_rows for d in done),
        "uris": [_uri(inbox, stage, d) for d in accepted[:SHOWN]],
    }


def leave(context: Context, done: Sequence[Delivery]) -> None:
    """Leave what was done for the next stage, as if it had been returned."""
    plain = [delivery.to_dict() for delivery in done]
    context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=plain)


_OUTPUT = {
    "ingest": "staged",
    "preprocess": "features",
    "infer": "predictions",
    "evaluate": "evaluations",
}


def _uri(inbox: Inbox, stage: str, delivery: Delivery) -> str:
    return f"{inbox.lake.store.uri}/{_OUTPUT[stage]}/{delivery.marker.batch_id}"


def deliveries(batches: Iterable[dict[str, Any]]) -> Iterable[Delivery]:
    """What came by XCom: the markers of a shard, or what the stage before returned."""
    for plain in batches:
        if "marker" in plain:
            yield Delivery.from_dict(plain)
        else:
            yield Delivery(Marker.from_dict(plain))


class ReportLink(BaseOperatorLink):
    """The button on the task's page that opens the report."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The link that the task has just made; empty where it wrote no report."""
        return operator.link if isinstance(operator, ReportOperator) else ""


class ReportOperator(_DatasetOperator):
    """Writes the report of a run and returns its URI, verdict and a link that opens it.

    The link of a report on S3 is good for ``lake.link_expires``, for anybody who has it. It is
    therefore in the task's XCom and behind the button, and not in a log or an event. A report on a
    disk opens as a page of Airflow, for those who may read the DAG.

    It runs when some shards failed, too, and reports what was received. It fails then, so that the
    run does, and its outlets are not updated; the button still opens the report.

    Args:
        dataset, datasets: Name of the dataset, and folder of its file.
        claimed: What ``ClaimOperator`` returned (templated).
    """

    template_fields: Sequence[str] = ("claimed",)
    operator_extra_links = (ReportLink(),)
    ui_color = "#f5efdd"

    def __init__(self, *, claimed: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.claimed = claimed
        self.link = ""

    @fails_for_good
    def execute(self, context: Context) -> dict[str, Any]:
        """Write the report.

        Raises:
            NotFinished: Batches are not, the others are reported.
        """
        dataset = find_dataset(self.dataset, self.datasets)
        claimed = [Marker.from_dict(plain) for plain in chain.from_iterable(self.claimed)]
        inbox, run = Inbox(Feed.of(dataset)), str(context["run_id"])
        receipts = decided(inbox, claimed)
        markers = still_there(inbox, claimed, receipts)
        if not markers:
            report_is_written(inbox.lake, run)
            raise AirflowSkipException(f"{self.dataset}: no marker of this run is there any more")
        left = unfinished(dataset, inbox, markers, receipts)
        _note_left(inbox, run, self.task_id, left)
        _forget_earlier(inbox, run, markers)
        own = run_link(context)
        report = write_run_report(dataset, inbox, run, markers, receipts, run_link=own)
        make_up_for_reports(dataset, inbox, run, markers)
        link = inbox.lake.store.link(report.key, dataset.lake.link_expires)
        self.link = link if link.startswith("http") else report_page(self.dag_id, report.key)
        self._log(inbox, report)
        where = self.link if self.link.startswith("http") else report.uri
        links = [Link("Report", where), *feed_link(self.dag_id)]
        tell(dataset, inbox, report.verdict, context, links)
        measure_run(inbox, report.verdict, receipts.values(), context)
        if left:
            raise NotFinished(left, len(markers), report.uri)
        plain = plain_report(report)
        update(self.outlets, context, plain)
        return {**plain, "link": self.link}

    def _log(self, inbox: Inbox, report: Report) -> None:
        """What came, what became of it, and where it is."""
        came = ", ".join(f"{count} {status}" for status, count in sorted(report.batches.items()))
        self.log.info(
            "%s: %s; receipts are in %s/receipts", self.dataset, came, inbox.lake.store.uri
        )
        for reason in report.verdict.reasons:
            self.log.warning("%s", printable(f"{self.dataset}: {reason.what}: {reason.remedy}"))
        self.log.info("%s %s", printable(report.verdict.sentence), report.uri)


class PublishOperator(BaseOperator):
    """Publishes a directory as a batch: data first, then the marker.

    Args:
        source: Directory with the batch's files (templated).
        destination: URI of the batch's folder in the landing zone (templated).
        marker: File name of the marker (templated).
        conn_id: Airflow connection with the rights to the destination (templated); empty for what
            the environment gives.
    """

    template_fields: Sequence[str] = ("source", "destination", "marker", "conn_id")
    ui_color = "#efe4f0"

    def __init__(
        self,
        *,
        source: str,
        destination: str,
        marker: str = "datapackage.json",
        conn_id: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.destination = destination
        self.marker = marker
        self.conn_id = conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish."""
        done = publish(Path(self.source), self.destination, self.marker, conn_id=self.conn_id)
        extra = asdict(done)
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = dict(extra)
        return extra
