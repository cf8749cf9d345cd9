"""A sensor that waits for one marker and holds no worker slot meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException
from airflow.triggers.base import StartTriggerArgs

from flagfall.landing.marker import MarkerPattern
from flagfall.landing.zone import LandingAddress, LandingZone
from flagfall.operators.airflow_release import STARTS_FROM_TRIGGER

if TYPE_CHECKING:
    from airflow.sdk import Context

TRIGGER = "flagfall.triggers.markers.MarkerTrigger"
"""Imported on the triggerer; here only by a task that has to be deferred from a worker."""


class MarkerLate(AirflowSensorTimeout):
    """The marker did not come in time. Never retried: the deadline has passed."""

    def __init__(self, where: str, deadline: str) -> None:
        until = f"by {deadline}" if deadline else "in time"
        super().__init__(
            f"the marker {where} did not come {until}. Ask its producer; when it comes all the"
            " same, the event feed takes it in."
        )


class MarkerSensor(BaseSensorOperator):
    """Waits for the marker of one partition; replaces ``FileSensor`` and ``S3KeySensor``.

    It starts on the triggerer, without a worker, and needs one for a moment when the marker has
    come. Where Airflow does not start a task from its trigger (a mapped task, Airflow 3.2), it is
    deferred from a worker. What it returns, and puts into ``extra`` of its outlets, is the
    partition, the marker's URI and the batch id.

    Args:
        landing: URI of the landing zone (templated).
        marker: Pattern of the marker below it, such as ``date={date}/_SUCCESS``.
        partition: Values of the pattern's fields (templated).
        deadline: How long after the run was due the marker may come; or a time, ISO 8601, in UTC
            where it has no offset (templated). ``None``: Airflow's ``timeout`` alone.
        settle: A marker that cannot be read as one is waited for while it is younger.
        sweep_every: Longest time between two looks; a hint comes earlier.
        conn_id: Airflow connection for an S3 landing zone (templated); empty for what the
            environment gives.
        sqs_queue: URL of an SQS queue that hears of new objects (templated); empty for none.
        start_from_trigger: Whether to start without a worker.
        soft_fail: Whether the task is skipped where the marker is late. It fails all the same where
            nobody can know: no such bucket, no rights, storage that does not answer.

    Raises:
        MarkerPatternInvalid: The pattern cannot be used.
    """

    template_fields: Sequence[str] = ("landing", "partition", "deadline", "conn_id", "sqs_queue")
    ui_color = "#e8f0e4"

    def __init__(
        self,
        *,
        landing: str,
        marker: str,
        partition: dict[str, str],
        deadline: timedelta | str | None = None,
        settle: timedelta = timedelta(seconds=10),
        sweep_every: timedelta = timedelta(seconds=30),
        conn_id: str = "",
        sqs_queue: str = "",
        start_from_trigger: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.landing = landing
        self.marker = MarkerPattern(marker).text
        self.partition = partition
        self.deadline = _as_template(deadline)
        self.settle = settle.total_seconds()
        self.sweep_every = sweep_every.total_seconds()
        self.conn_id = conn_id
        self.sqs_queue = sqs_queue
        self.start_from_trigger = start_from_trigger and STARTS_FROM_TRIGGER
        if self.start_from_trigger:
            self.start_trigger_args = StartTriggerArgs(
                trigger_cls=TRIGGER,
                trigger_kwargs=self._trigger_arguments(),
                next_method="on_event",
                timeout=timedelta(seconds=self.timeout),
            )

    def _trigger_arguments(self) -> dict[str, Any]:
        return {
            "landing": self.landing,
            "marker": self.marker,
            "partition": self.partition,
            "deadline": self.deadline,
            "settle": self.settle,
            "sweep_every": self.sweep_every,
            "conn_id": self.conn_id,
            "sqs_queue": self.sqs_queue,
        }

    def execute(self, context: Context) -> Any:
        """Defer at once; only where the task was not started from its trigger."""
        from flagfall.triggers.markers import MarkerTrigger

        self.defer(
            trigger=MarkerTrigger(**self._trigger_arguments()),
            method_name="on_event",
            timeout=timedelta(seconds=self.timeout),
        )

    def on_event(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """End the wait.

        Raises:
            MarkerLate: The deadline has passed.
        """
        if "late" in event:
            raise MarkerLate(event["late"], event["deadline"])
        found = {
            "partition": {**event["marker"]["fields"], **self.partition},
            "marker": event["marker"]["uri"],
            "batch_id": event["batch_id"],
        }
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = dict(found)
        return found

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """As Airflow does; but ``soft_fail`` skips only where the marker is late.

        Airflow would skip for everything: a bucket that does not exist would look like a day on
        which nothing came. A time-out of the trigger itself is late, too, and names the marker.
        """
        soft_fail, self.soft_fail = self.soft_fail, False
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout as timeout:
            late = timeout if isinstance(timeout, MarkerLate) else MarkerLate(self._where(), "")
            if soft_fail:
                raise AirflowSkipException(f"skipped, as soft_fail says: {late}") from timeout
            raise late from timeout.__cause__
        finally:
            self.soft_fail = soft_fail

    def _where(self) -> str:
        """URI of the marker."""
        zone = LandingZone(LandingAddress(uri=self.landing, marker=self.marker))
        return f"{zone.uri}/{zone.pattern.fill(self.partition)}"


def _as_template(deadline: timedelta | str | None) -> str:
    """A deadline as Jinja that gives ISO 8601; relative ones count from when the run was due."""
    if isinstance(deadline, timedelta):
        seconds = deadline.total_seconds()
        return f"{{{{ (dag_run.run_after + macros.timedelta(seconds={seconds})).isoformat() }}}}"
    return deadline or ""
