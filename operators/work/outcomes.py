"""The tasks of the DAG ``<name>_outcomes``: evaluate what outcomes say, and report it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import AirflowSkipException

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.outcomes import outcome_feed
from flagfall.errors import printable
from flagfall.inbox.inbox import Inbox
from flagfall.landing.marker import Marker
from flagfall.operators.notices import run_link, tell
from flagfall.operators.page_links import feed_link, report_page
from flagfall.operators.work.batches import update
from flagfall.report.run import decided, plain_report, write_run_report
from flagfall.stages.outcomes import learn
from flagfall.stages.shard import foremost
from flagfall.verdict.message import Link

if TYPE_CHECKING:
    from airflow.sdk import Context

    from flagfall.operators.outcomes import OutcomesOperator, OutcomesReportOperator

NAME = "outcomes "
"""Begins the name of a run's report: the pipeline's own runs have the same names."""


def evaluate(operator: OutcomesOperator, context: Context) -> list[dict[str, Any]]:
    """Look what outcomes have come.

    Raises:
        FlagfallError: What failed, when all have been tried.
    """
    dataset = find_dataset(operator.dataset, operator.datasets)
    feed = outcome_feed(dataset, operator.datasets)
    inbox, outcomes = Inbox(Feed.of(dataset)), Inbox(Feed.of(feed))
    learned = learn(dataset, inbox, feed, outcomes, run=context["run_id"])
    markers = [receipt.marker.to_dict() for receipt in learned.batches]
    rows = sum(receipt.rows for receipt in learned.batches)
    update(operator.outlets, context, {"batches": len(markers), "rows": rows})
    if learned.failures:
        context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=markers)
        raise foremost(learned.failures)
    if not markers:
        raise AirflowSkipException(f"{operator.dataset}: no outcome is new")
    operator.log.info("%s: %d batches were evaluated again", operator.dataset, len(markers))
    return markers


def report(operator: OutcomesReportOperator, context: Context) -> dict[str, Any]:
    """Write the report."""
    markers = [Marker.from_dict(plain) for plain in operator.batches or ()]
    if not markers:
        raise AirflowSkipException(f"{operator.dataset}: no outcome is new")
    dataset = find_dataset(operator.dataset, operator.datasets)
    inbox, run = Inbox(Feed.of(dataset)), f"{NAME}{context['run_id']}"
    receipts = decided(inbox, markers)
    own = run_link(context)
    written = write_run_report(dataset, inbox, run, markers, receipts, run_link=own)
    page = f"{operator.dataset}_pipeline"  # the feed's pages are those of its pipeline
    link = inbox.lake.store.link(written.key, dataset.lake.link_expires)
    operator.link = link if link.startswith("http") else report_page(page, written.key)
    where = operator.link if operator.link.startswith("http") else written.uri
    tell(dataset, inbox, written.verdict, context, [Link("Report", where), *feed_link(page)])
    operator.log.info("%s %s", printable(written.verdict.sentence), written.uri)
    return {**plain_report(written), "link": operator.link}
