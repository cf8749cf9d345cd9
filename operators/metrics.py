"""What tasks send as metrics (see ``flagfall.triggers.metrics``); nothing where Airflow sends none.

None of it ever raises: a feed goes on without metrics.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from airflow.sdk.observability.stats import Stats

from flagfall.errors import StoreError
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt
from flagfall.logs import logger
from flagfall.triggers.metrics import Meter, Metric, is_on
from flagfall.verdict.reason import Word
from flagfall.verdict.verdict import Verdict
from flagfall.watch.heartbeat import last_heartbeat

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logger(__name__)

VERDICTS: dict[Word, int] = {"normal": 0, "unknown": 1, "attention": 2, "failed": 3}
"""What the gauge of the verdict is set to."""

_STATUSES = {
    "accepted": Metric.BATCHES_ACCEPTED,
    "rejected": Metric.BATCHES_REJECTED,
    "unchanged": Metric.BATCHES_UNCHANGED,
}


def measure_claim(feed: str, pending: int) -> None:
    """Send how much a claim found."""
    if is_on():
        Meter(feed, Stats).gauge(Metric.PENDING, pending)


def measure_run(
    inbox: Inbox, verdict: Verdict, receipts: Iterable[Receipt], context: Context
) -> None:
    """Send what became of a run.

    Args:
        inbox: The feed's inbox.
        verdict: On the feed, when the report was written.
        receipts: Of the run's deliveries. Those of earlier runs, which this one only finished, were
            sent by them.
        context: Of the run's last task.
    """
    if not is_on():
        return
    meter, since = Meter(verdict.dataset, Stats), context["dag_run"].start_date
    for receipt in receipts:
        if since is None or receipt.received_at >= since:
            _measure_receipt(meter, receipt, verdict)
    measure_verdict(inbox, verdict)
    try:
        meter.gauge(Metric.PENDING, len(inbox.pending()))
    except StoreError as error:
        log.warning("%s is not sent: %s", Metric.PENDING, error)


def _measure_receipt(meter: Meter, receipt: Receipt, verdict: Verdict) -> None:
    meter.count(_STATUSES[receipt.status], 1)
    meter.count(Metric.ROWS_ACCEPTED, receipt.rows if receipt.status == "accepted" else 0)
    meter.count(Metric.ROWS_REJECTED, receipt.rejected_rows)
    meter.time(Metric.MARKER_TO_RECEIPT, receipt.seconds)
    to_report = verdict.at - receipt.marker.landed_at
    meter.time(Metric.MARKER_TO_REPORT, to_report.total_seconds())


def measure_verdict(inbox: Inbox, verdict: Verdict) -> None:
    """Send how a feed stands, and how long ago its watcher gave a sign."""
    if not is_on():
        return
    meter = Meter(verdict.dataset, Stats)
    meter.gauge(Metric.VERDICT, VERDICTS[verdict.word])
    try:
        sign = last_heartbeat(inbox.lake.store)
    except StoreError as error:
        log.warning("%s is not sent: %s", Metric.WATCHER_AGE, error)
        return
    if sign is not None:
        meter.gauge(Metric.WATCHER_AGE, (verdict.at - sign.looked_at).total_seconds())
