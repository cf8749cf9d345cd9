"""Metrics of feeds, through Airflow's own ``Stats``: StatsD, Datadog or OpenTelemetry.

``docs/metrics.md`` lists them. Each carries its feed as the tag ``feed``. StatsD has no tags unless
``[metrics] statsd_influxdb_enabled`` is set: there the feed is the end of the name, as gauges of
two feeds would overwrite each other.

Airflow has two copies of ``Stats``: a task's process sets one up, a triggerer the other.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any

from airflow.sdk.configuration import conf

from flagfall.logs import logger

log = logger(__name__)


class Metric(StrEnum):
    """Names of all metrics, as ``Stats`` is given them."""

    LANDED = "flagfall.landed"
    PENDING = "flagfall.pending"
    BATCHES_ACCEPTED = "flagfall.batches.accepted"
    BATCHES_REJECTED = "flagfall.batches.rejected"
    BATCHES_UNCHANGED = "flagfall.batches.unchanged"
    ROWS_ACCEPTED = "flagfall.rows.accepted"
    ROWS_REJECTED = "flagfall.rows.rejected"
    MARKER_TO_RECEIPT = "flagfall.marker_to_receipt"
    MARKER_TO_REPORT = "flagfall.marker_to_report"
    VERDICT = "flagfall.verdict"
    WATCHER_AGE = "flagfall.watcher_age"


def is_on() -> bool:
    """Whether Airflow sends metrics anywhere."""
    return any(
        conf.getboolean("metrics", name, fallback=False)
        for name in ("statsd_on", "statsd_datadog_enabled", "otel_on")
    )


class Meter:
    """Sends metrics of one feed.

    Args:
        feed: Its name.
        stats: Airflow's ``Stats`` of this process.
    """

    def __init__(self, feed: str, stats: Any) -> None:
        self._feed = feed
        self._stats = stats
        self._has_tags = _has_tags()

    def count(self, metric: Metric, number: int) -> None:
        """Add to a counter."""
        if number:
            self._send("incr", metric, number)

    def gauge(self, metric: Metric, value: float) -> None:
        """Set a gauge."""
        self._send("gauge", metric, value)

    def time(self, metric: Metric, seconds: float) -> None:
        """Record a time span."""
        self._send("timing", metric, timedelta(seconds=seconds))

    def _send(self, how: str, metric: Metric, value: float | timedelta) -> None:
        try:
            getattr(self._stats, how)(self._name(metric), value, tags=self._tags)
        except Exception:  # a backend of Airflow's is anybody's code
            log.exception("%s: %s was not sent", self._feed, metric.value)

    def _name(self, metric: Metric) -> str:
        return metric.value if self._has_tags else f"{metric.value}.{self._feed}"

    @property
    def _tags(self) -> dict[str, str]:
        return {"feed": self._feed} if self._has_tags else {}


def _has_tags() -> bool:
    """As Airflow chooses: Datadog, else StatsD, else OpenTelemetry."""
    if conf.getboolean("metrics", "statsd_datadog_enabled", fallback=False):
        return True
    if conf.getboolean("metrics", "statsd_on", fallback=False):
        return bool(conf.getboolean("metrics", "statsd_influxdb_enabled", fallback=False))
    return True
