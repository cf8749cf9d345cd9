from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, Asset
from airflow.sdk.exceptions import (
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferred,
)

from flagfall.errors import MarkerPatternInvalid
from flagfall.operators import MarkerSensor
from flagfall.operators.sensors import MarkerLate
from flagfall.triggers import MarkerTrigger

MARKER = {
    "uri": "/landing/date=2026-11-01/_SUCCESS",
    "key": "date=2026-11-01/_SUCCESS",
    "fields": {"date": "2026-11-01"},
}
LATE = {"late": MARKER["uri"], "deadline": "2026-11-01T08:00:00+00:00"}


def sensor(**changed: Any) -> MarkerSensor:
    arguments: dict[str, Any] = {
        "task_id": "wait",
        "landing": "/landing",
        "marker": "date={date}/_SUCCESS",
        "partition": {"date": "2026-11-01"},
    }
    return MarkerSensor(**{**arguments, **changed})


class Outlet:
    extra: dict[str, Any]


def test_it_starts_on_the_triggerer_without_a_worker() -> None:
    waiting = sensor()
    started = waiting.start_trigger_args
    assert waiting.start_from_trigger
    assert started is not None
    assert started.trigger_cls == "flagfall.triggers.markers.MarkerTrigger"
    MarkerTrigger(**(started.trigger_kwargs or {}))  # its arguments are those of the trigger


def test_where_it_starts_on_a_worker_it_defers_with_the_same_trigger() -> None:
    waiting = sensor(start_from_trigger=False)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute({})
    started = sensor().start_trigger_args
    assert started is not None
    assert deferred.value.trigger.serialize()[1] == started.trigger_kwargs
    assert deferred.value.method_name == started.next_method


def test_the_deadline_counts_from_when_the_run_was_due() -> None:
    assert sensor(deadline=timedelta(hours=2)).deadline == (
        "{{ (dag_run.run_after + macros.timedelta(seconds=7200.0)).isoformat() }}"
    )


def test_the_marker_goes_into_the_event_of_its_outlets() -> None:
    landed, outlet = Asset("toy_landed"), Outlet()
    waiting = sensor(outlets=[landed])
    context: Any = {"outlet_events": {landed: outlet}}
    found = waiting.on_event(context, {"marker": MARKER, "batch_id": "b.1"})
    assert found == {
        "partition": {"date": "2026-11-01"},
        "marker": MARKER["uri"],
        "batch_id": "b.1",
    }
    assert outlet.extra == found


def test_the_partition_is_the_one_that_was_asked_for() -> None:
    """A pattern such as ``{region}-{date}`` is read with the longest first field."""
    asked = {"region": "eu", "date": "2026-11-01"}
    marker = {**MARKER, "fields": {"region": "eu-2026-11", "date": "01"}}
    waiting = sensor(marker="{region}-{date}.ready", partition=asked)
    found = waiting.on_event({"outlet_events": {}}, {"marker": marker, "batch_id": "b.1"})
    assert found["partition"] == asked


def test_a_late_marker_fails_with_its_name_and_is_never_retried() -> None:
    with pytest.raises(MarkerLate, match=r"/landing/date=2026-11-01/_SUCCESS .* by 2026-11-01T08"):
        sensor().resume_execution("on_event", {"event": LATE}, {})
    assert issubclass(MarkerLate, AirflowSensorTimeout)


def test_with_soft_fail_a_late_marker_skips() -> None:
    with pytest.raises(AirflowSkipException):
        sensor(soft_fail=True).resume_execution("on_event", {"event": LATE}, {})


@pytest.mark.parametrize("error", ["Trigger failure", "Unknown"])
def test_with_soft_fail_what_is_not_late_fails_all_the_same(error: str) -> None:
    """Such as a bucket that does not exist, or a trigger that crashed."""
    crash = {"error": error, "traceback": ["flagfall.errors.StoreRefused: no such bucket"]}
    for soft_fail in (False, True):
        with pytest.raises(TaskDeferralError):
            sensor(soft_fail=soft_fail).resume_execution("__fail__", crash, {})


def test_with_soft_fail_a_mistake_in_the_event_fails() -> None:
    with pytest.raises(KeyError):
        sensor(soft_fail=True).resume_execution("on_event", {"event": {}}, {})


def test_with_soft_fail_a_time_out_of_the_trigger_skips_and_names_the_marker() -> None:
    waiting = sensor(soft_fail=True)
    with pytest.raises(AirflowSkipException, match=r"/landing/date=2026-11-01/_SUCCESS"):
        waiting.resume_execution("__fail__", {"error": "Trigger timeout"}, {})
    assert waiting.soft_fail


def test_a_pattern_that_cannot_be_used_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(MarkerPatternInvalid, match="Jinja is not rendered here"):
        sensor(marker="date={{ ds }}/_SUCCESS")


def test_a_time_out_of_the_trigger_names_the_marker_too() -> None:
    with pytest.raises(MarkerLate, match=r"/landing/date=2026-11-01/_SUCCESS"):
        sensor().resume_execution("__fail__", {"error": "Trigger timeout"}, {})


def test_a_mapped_sensor_defers_from_a_worker_each_with_its_own_partition() -> None:
    with DAG("mapped", schedule=None):
        mapped = MarkerSensor.partial(
            task_id="wait", landing="/landing", marker="date={date}/_SUCCESS"
        ).expand(partition=[{"date": "2026-11-01"}, {"date": "2026-11-02"}])
    assert not mapped.start_from_trigger  # type: ignore[attr-defined]  # a mapped operator
    with pytest.raises(TaskDeferred) as deferred:
        sensor(partition={"date": "2026-11-02"}).execute({})
    assert deferred.value.trigger.partition == {"date": "2026-11-02"}
