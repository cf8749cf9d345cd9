"""Operators that run Flagfall's stages, and one that publishes a batch.

They pass references by XCom, never rows, and put what they did into ``extra`` of their outlets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import AssetAlias, BaseOperator, BaseOperatorLink

from flagfall.operators.tasks import DatasetOperator, TaskOperator

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

    from flagfall.stages.shard import Delivery

LABEL = "{{ task.label }}"
"""What Airflow shows for the number of a shard (``map_index_template``)."""


class ClaimOperator(DatasetOperator):
    """Asks the inbox what is pending and returns it in shards: lists of markers.

    The events that started the run are not looked at: they may be late, doubled or gone. A run that
    a person started with ``{"replay": …}`` first hands out again what that names (see
    ``work.claiming.to_replay``), and so claims it. Skips the run when nothing is pending. When more
    is pending than one run takes, it updates the landed asset itself, so that the next run is
    queued at once.

    Args:
        dataset, datasets: Name of the dataset, and folder of its file.
        landed: Name of the asset that schedules the pipeline.
        again: Alias in the task's outlets through which it is updated.
    """

    work: ClassVar[str] = "claiming.claim_pending"
    ui_color = "#dfe9f5"

    def __init__(self, *, landed: str, again: str, **kwargs: Any) -> None:
        super().__init__(outlets=[AssetAlias(again)], **kwargs)
        self.landed = landed
        self.again = again


class StageOperator(DatasetOperator):
    """Runs one stage on the batches of a shard and returns what became of them.

    Where it fails on some, it returns the others nevertheless, so that the next stage goes on with
    them if its trigger rule lets it.

    Args:
        dataset, datasets: Name of the dataset, and folder of its file.
        stage: ``ingest``, ``preprocess``, ``infer`` or ``evaluate``.
        batches: For ``ingest`` the markers of a shard, else what the stage before returned
            (templated); ``None`` where it died and returned nothing.
    """

    work: ClassVar[str] = "staging.run"
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
        from flagfall.operators.work.batches import deliveries, label

        return label(list(deliveries(self.batches or ())) if self.done is None else self.done)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What it read and wrote; asked by the provider of OpenLineage, where that is installed."""
        from flagfall.operators.lineage import lineage_of

        return lineage_of(self)


class ReportLink(BaseOperatorLink):
    """The button on the task's page that opens the report."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The link that the task has just made; empty where it wrote no report."""
        return str(getattr(operator, "link", ""))


class ReportOperator(DatasetOperator):
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

    work: ClassVar[str] = "reporting.write"
    template_fields: Sequence[str] = ("claimed",)
    operator_extra_links = (ReportLink(),)
    ui_color = "#f5efdd"

    def __init__(self, *, claimed: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.claimed = claimed
        self.link = ""


class PublishOperator(TaskOperator):
    """Publishes a directory as a batch: data first, then the marker.

    Args:
        source: Directory with the batch's files (templated).
        destination: URI of the batch's folder in the landing zone (templated).
        marker: File name of the marker (templated).
        conn_id: Airflow connection with the rights to the destination (templated); empty for what
            the environment gives.
    """

    work: ClassVar[str] = "publishing.run"
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
