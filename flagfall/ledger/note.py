"""Writes down how a feed stands, after it was judged."""

from __future__ import annotations

from flagfall.dataset.schema import Dataset
from flagfall.errors import StoreError, printable
from flagfall.inbox.inbox import Inbox
from flagfall.ledger.board import Standing, put_on_board
from flagfall.ledger.ledger import (
    NO_REPORT,
    Reported,
    next_ledger,
    read_ledger,
    write_ledger,
)
from flagfall.logs import logger
from flagfall.verdict.facts import Facts
from flagfall.verdict.verdict import Verdict

log = logger(__name__)


def note_standing(
    dataset: Dataset,
    inbox: Inbox,
    facts: Facts,
    verdict: Verdict,
    reported: Reported = NO_REPORT,
) -> None:
    """Write the feed's ledger, and its standing on the board. Never raises for storage.

    Pages show it. A feed goes on without: the next look writes it.

    Args:
        dataset: The feed.
        inbox: Its inbox.
        facts: What is known of it.
        verdict: On them.
        reported: A report that was just written.
    """
    store, lake = inbox.lake.store, inbox.feed.lake
    try:
        ledger = next_ledger(read_ledger(store), facts, verdict, reported)
        write_ledger(store, ledger)
        put_on_board(lake, {dataset.name: Standing.of(ledger, facts.watcher)})
    except StoreError as error:
        why = f"{dataset.name}: the page in Airflow stays as it is: {error}"
        log.warning("%s", printable(why))
