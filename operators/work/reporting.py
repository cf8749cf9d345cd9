"""The last task of a run: its report, and what people are told."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.errors import NotFinished, printable
from flagfall.inbox.inbox import Inbox
from flagfall.landing.marker import Marker
from flagfall.operators.metrics import measure_run
from flagfall.operators.notices import run_link, tell
from flagfall.operators.page_links import feed_link, report_page
from flagfall.operators.work.batches import update
from flagfall.operators.work.failed_tasks import forget_earlier, note_left
from flagfall.report.due import report_is_written
from flagfall.report.run import (
    decided,
    make_up_for_reports,
    plain_report,
    still_there,
    unfinished,
    write_run_report,
)
from flagfall.verdict.message import Link

if TYPE_CHECKING:
    from airflow.sdk import Context

    from flagfall.operators.stages import ReportOperator
    from flagfall.report.page import Report


def write(operator: ReportOperator, context: Context) -> dict[str, Any]:
    """Write the report.

    Raises:
        NotFinished: Batches are not, the others are reported.
    """
    dataset = find_dataset(operator.dataset, operator.datasets)
    claimed = [Marker.from_dict(plain) for plain in chain.from_iterable(operator.claimed)]
    inbox, run = Inbox(Feed.of(dataset)), str(context["run_id"])
    receipts = decided(inbox, claimed)
    markers = still_there(inbox, claimed, receipts)
    if not markers:
        report_is_written(inbox.lake, run)
        raise AirflowSkipException(f"{operator.dataset}: no marker of this run is there any more")
    left = unfinished(dataset, inbox, markers, receipts)
    note_left(inbox, run, operator.task_id, left)
    forget_earlier(inbox, run, markers)
    own = run_link(context)
    report = write_run_report(dataset, inbox, run, markers, receipts, run_link=own)
    make_up_for_reports(dataset, inbox, run, markers)
    link = inbox.lake.store.link(report.key, dataset.lake.link_expires)
    operator.link = link if link.startswith("http") else report_page(operator.dag_id, report.key)
    _log(operator, inbox, report)
    where = operator.link if operator.link.startswith("http") else report.uri
    links = [Link("Report", where), *feed_link(operator.dag_id)]
    tell(dataset, inbox, report.verdict, context, links)
    measure_run(inbox, report.verdict, receipts.values(), context)
    if left:
        raise NotFinished(left, len(markers), report.uri)
    plain = plain_report(report)
    update(operator.outlets, context, plain)
    return {**plain, "link": operator.link}


def _log(operator: ReportOperator, inbox: Inbox, report: Report) -> None:
    """What came, what became of it, and where it is."""
    came = ", ".join(f"{count} {status}" for status, count in sorted(report.batches.items()))
    operator.log.info(
        "%s: %s; receipts are in %s/receipts", operator.dataset, came, inbox.lake.store.uri
    )
    for reason in report.verdict.reasons:
        operator.log.warning("%s", printable(f"{operator.dataset}: {reason.what}: {reason.remedy}"))
    operator.log.info("%s %s", printable(report.verdict.sentence), report.uri)
