"""Writes the report of a run, and lists the deliveries that are not finished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flagfall.concurrency import in_parallel
from flagfall.dataset.schema import Dataset
from flagfall.errors import NotThere, StoreError, printable
from flagfall.extras import require
from flagfall.inbox.inbox import Inbox
from flagfall.lake.receipts import current_view
from flagfall.lake.records import Evaluation, Receipt
from flagfall.lake.rolling_up import roll_up
from flagfall.landing.marker import Marker
from flagfall.ledger.ledger import Reported
from flagfall.ledger.note import note_standing
from flagfall.logs import logger
from flagfall.report.due import due_reports, report_is_written
from flagfall.verdict.facts import WINDOW, Facts
from flagfall.verdict.look import look
from flagfall.verdict.verdict import judge

if TYPE_CHECKING:
    from flagfall.report.page import Report

log = logger(__name__)


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
    """As ``write_run_report``, as plain values for XCom and JSON.

    Raises:
        NotThere: No delivery has a receipt.
    """
    receipts = decided(inbox, markers) if receipts is None else receipts
    if not receipts:
        names = ", ".join(marker.batch_id for marker in markers[:3])
        raise NotThere("receipt for batch", names, "run its ingest stage first")
    return plain_report(write_run_report(dataset, inbox, run, markers, receipts, is_latest))


def plain_report(report: Report) -> dict[str, Any]:
    """URI and key of a report, its verdict (``Verdict.to_dict``), and batches by status."""
    place = {"uri": report.uri, "key": report.key, "batches": dict(report.batches)}
    return {**report.verdict.to_dict(), **place}


def write_run_report(
    dataset: Dataset,
    inbox: Inbox,
    run: str,
    markers: Sequence[Marker],
    receipts: Mapping[str, Receipt] | None = None,
    is_latest: bool = True,
    run_link: str = "",
) -> Report:
    """Write the report of a run. It covers the deliveries that have a receipt.

    Args:
        dataset: Their dataset.
        inbox: The dataset's inbox.
        run: Name of the run; any text.
        markers: Its deliveries.
        receipts: Their receipts (see ``decided``); ``None`` to look them up.
        is_latest: Whether the report replaces ``latest.html``.
        run_link: Where the run itself can be seen; empty where nobody knows.
    """
    require("report")
    from flagfall.report.page import write_report

    known = decided(inbox, markers) if receipts is None else receipts
    own = [known[marker.batch_id] for marker in markers if marker.batch_id in known]
    found = inbox.receipts.since((inbox.clock() - WINDOW).date(), known)
    facts = _facts(dataset, inbox, markers, found, own)
    verdict = judge(dataset, facts)
    view = current_view(found)
    read = facts.evaluations
    report = write_report(dataset, inbox.lake, run, own, view, verdict, is_latest, run_link, read)
    covered = frozenset(receipt.batch_id for receipt in own)
    note_standing(dataset, inbox, facts, verdict, Reported(run, report.key, covered, is_latest))
    report_is_written(inbox.lake, run)
    _roll_up(dataset, inbox, found)
    return report


def _roll_up(dataset: Dataset, inbox: Inbox, receipts: Sequence[Receipt]) -> None:
    """Have the next report read less. Without, it reads more: storage that fails stops nothing."""
    today, versions = inbox.clock().date(), inbox.receipts.versions
    try:
        roll_up(
            inbox.lake,
            receipts,
            versions,
            today,
            with_evaluations=dataset.model is not None,
            with_outcomes=dataset.late_label is not None,
        )
    except StoreError as error:
        log.warning("%s: days are not rolled up: %s", dataset.name, printable(str(error)))


def _facts(
    dataset: Dataset,
    inbox: Inbox,
    markers: Sequence[Marker],
    receipts: Sequence[Receipt],
    own: Sequence[Receipt],
) -> Facts:
    """What is known of a feed after a run; what the run accepted and left is not finished."""
    accepted = [one.batch_id for one in own if one.status == "accepted" and dataset.model]
    read = zip(accepted, inbox.lake.find_all(Evaluation, accepted), strict=True)
    known = {batch_id: one for batch_id, one in read if one is not None}
    left = {marker.batch_id for marker in markers} - {receipt.batch_id for receipt in own}
    return look(dataset, inbox, receipts=receipts, over=set(accepted), left=left, known=known)


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
