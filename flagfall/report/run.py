"""Writes the report of a run, and lists the deliveries that are not finished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from flagfall.concurrency import in_parallel
from flagfall.dataset.schema import Dataset
from flagfall.errors import NotThere
from flagfall.extras import require
from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import current_view
from flagfall.lake.records import Evaluation, Receipt
from flagfall.landing.marker import Marker
from flagfall.logs import logger
from flagfall.report.due import due_reports, report_is_written

log = logger(__name__)

HISTORY = timedelta(days=30)
"""How far back a report looks, by the day on which a marker landed."""


def decided(inbox: Inbox, markers: Sequence[Marker]) -> dict[str, Receipt]:
    """Return the receipts of the deliveries that have one, by batch id. Receipts never change."""
    found = in_parallel(inbox.receipts.find, markers)
    return {receipt.batch_id: receipt for receipt in found if receipt}


def report_run(
    dataset: Dataset,
    inbox: Inbox,
    run: str,
    markers: Sequence[Marker],
    receipts: Mapping[str, Receipt] | None = None,
    is_latest: bool = True,
) -> dict[str, Any]:
    """Write the report of a run. It covers the deliveries that have a receipt.

    Args:
        dataset: Their dataset.
        inbox: The dataset's inbox.
        run: Name of the run; any text.
        markers: Its deliveries.
        receipts: Their receipts (see ``decided``); ``None`` to look them up.
        is_latest: Whether the report replaces ``latest.html``.

    Returns:
        URI, key and verdict of the report, and counts, as plain values for XCom.

    Raises:
        NotThere: No delivery has a receipt.
    """
    require("report")
    from flagfall.report.page import write_report

    now = inbox.clock()
    known = decided(inbox, markers) if receipts is None else receipts
    own = [known[marker.batch_id] for marker in markers if marker.batch_id in known]
    if not own:
        names = ", ".join(marker.batch_id for marker in markers[:3])
        raise NotThere("receipt for batch", names, "run its ingest stage first")
    history = current_view(inbox.receipts.since((now - HISTORY).date(), known))
    report = write_report(dataset, inbox.lake, run, own, history, now, is_latest)
    report_is_written(inbox.lake, run)
    plain = asdict(report)
    counts = Counter(receipt.status for receipt in own)
    return {**plain, "reasons": list(report.reasons), "batches": dict(counts)}


def make_up_for_reports(
    dataset: Dataset, inbox: Inbox, run: str, reported: Iterable[Marker]
) -> None:
    """Write the reports of earlier runs whose report task was killed.

    Batches of such a run without a receipt are pending. The run that ingests them reports them.

    Args:
        dataset: The dataset. Its pipeline has one run at a time, so no other run is under way.
        inbox: The dataset's inbox.
        run: The run that calls this.
        reported: Markers in its own report.
    """
    done = {marker.batch_id for marker in reported}
    for due in list(due_reports(inbox.lake)):
        if due.run == run:
            continue
        log.warning("%s: the report of run %s is missing; it is written now", dataset.name, due.run)
        receipts = inbox.receipts.by_ids(set(due.batch_ids) - done)
        markers = [receipt.marker for receipt in receipts.values()]
        if markers:
            report_run(dataset, inbox, due.run, markers, receipts, is_latest=False)
        else:
            report_is_written(inbox.lake, due.run)


def still_there(
    inbox: Inbox, markers: Sequence[Marker], receipts: Mapping[str, Receipt]
) -> list[Marker]:
    """Return the markers that have a receipt or still exist; a removed marker is no delivery."""
    states = in_parallel(lambda m: m.batch_id in receipts or inbox.gone(m) is None, markers)
    return [marker for marker, there in zip(markers, states, strict=True) if there]


def unfinished(
    dataset: Dataset, inbox: Inbox, markers: Sequence[Marker], receipts: Mapping[str, Receipt]
) -> list[str]:
    """Return the batch ids without a receipt, and those accepted and not evaluated."""
    states = in_parallel(
        lambda marker: _is_finished(dataset, inbox, receipts.get(marker.batch_id)), markers
    )
    return [m.batch_id for m, finished in zip(markers, states, strict=True) if not finished]


def _is_finished(dataset: Dataset, inbox: Inbox, receipt: Receipt | None) -> bool:
    if receipt is None:
        return False
    if receipt.status != "accepted" or dataset.model is None:
        return True
    return inbox.lake.has(Evaluation, receipt.batch_id)
