"""``flagfall status``: how feeds stand, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from flagfall.cli.console import AsJson, end, for_each, out
from flagfall.cli.feed_status import Seen, Status, status
from flagfall.dataset.feed import Feed
from flagfall.errors import printable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Receipt
from flagfall.stores.backoff import LONGEST_BACKOFF
from flagfall.watch.heartbeat import WatcherState


def status_command(
    dataset: Annotated[str, typer.Argument(help="A dataset; all of them if left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what landed, is pending, was accepted or rejected (30 days), is late, and who watches.

    Where the storage cannot be reached from here, it shows what the watcher said last.

    Example: flagfall status flights
    """
    found: list[Status] = []
    failures = for_each(dataset, lambda one: found.append(status(one, Inbox(Feed.of(one)))))
    if as_json:
        for one in found:
            print(json.dumps(_plain(one)))
    else:
        _show(found, with_deliveries=bool(dataset))
    end([*failures, *(one.error for one in found if one.error)])


def _show(found: list[Status], with_deliveries: bool) -> None:
    if found:
        out.print(_overview(found))
    for one in found:
        _show_verdict(one)
    for line in (line for one in found for line in _attention(one)):
        out.print(printable(line), highlight=False, soft_wrap=True)
    for one in found if with_deliveries else ():
        out.print(_deliveries(one))


def _show_verdict(found: Status) -> None:
    """The verdict, and under it each reason with what to do."""
    if found.verdict is None:
        return
    verdict = found.verdict
    out.print(printable(f"{found.dataset}: {verdict.sentence}"), highlight=False, soft_wrap=True)
    for reason in verdict.reasons:
        since = f" (since {_when(reason.since)})" if reason.since else ""
        line = printable(f"  {reason.what}{since}: {reason.remedy}")
        out.print(line, highlight=False, soft_wrap=True, markup=False)


_COUNTED = ("landed", "pending", "accepted", "rejected", "unchanged", "unscored")


def _plain(found: Status) -> dict[str, Any]:
    kept, seen = found.kept, found.seen
    oldest = seen.oldest_pending if seen else None
    return {
        "dataset": found.dataset,
        "verdict": found.verdict.word if found.verdict else None,
        "sentence": found.verdict.sentence if found.verdict else None,
        "reasons": [one.to_dict() for one in found.verdict.reasons] if found.verdict else [],
        "landed": seen.landed if seen else None,
        "pending": len(seen.pending) if seen else None,
        **{name: kept.counts[name] if kept else None for name in _COUNTED[2:5]},
        "unscored": kept.unscored if kept else None,
        "left_out": sum(r.left_out.files for r in kept.left_out) if kept else None,
        "oldest_pending": oldest.isoformat() if oldest else None,
        "late": seen.late if seen else None,
        "watch": _plain_sign(kept.watcher, found.at) if kept and kept.watcher else None,
        "error": str(found.error) if found.error else None,
    }


def _plain_sign(sign: WatcherState, now: datetime) -> dict[str, Any]:
    """A watcher's last sign; its state is ``silent`` where the next one is overdue."""
    plain = sign.model_dump(mode="json", exclude={"every"})
    return {**plain, "state": "silent"} if sign.is_overdue(now) else plain


def _overview(found: list[Status]) -> Table:
    table = Table()
    for head in ("dataset", *_COUNTED):
        table.add_column(head, justify="left" if head == "dataset" else "right")
    for one in found:
        plain = _plain(one)
        counts = (plain[head] for head in _COUNTED)
        table.add_row(one.dataset, *("?" if count is None else str(count) for count in counts))
    return table


def _attention(found: Status) -> Iterator[str]:
    if found.seen:
        yield from (f"{found.dataset}: {line}" for line in _of_landing_zone(found.seen))
    if found.kept and (left_out := found.kept.left_out):
        yield f"{found.dataset}: {_of_left_out(left_out)}"
    if found.kept:
        yield f"{found.dataset}: {_of_watcher(found.dataset, found.kept.watcher, found.at)}"


def _of_landing_zone(seen: Seen) -> Iterator[str]:
    if seen.oldest_pending:
        yield f"the oldest pending marker landed {_when(seen.oldest_pending)}"
    if seen.late:
        yield f"late: {seen.late}"


def _of_left_out(receipts: Sequence[Receipt]) -> str:
    """Which files look like a batch's and do not count, in words."""
    last, more = receipts[-1], len(receipts) - 1
    others = f"; so for {more} more" if more else ""
    return f"{last.batch_id}: {last.left_out.sentence()}{others}"


def _of_watcher(dataset: str, sign: WatcherState | None, now: datetime) -> str:
    """Who watches, in words."""
    remedy = f"it takes a triggerer, {dataset}_pipeline unpaused, and storage that answers"
    if sign is None:
        return f"NOBODY WATCHES, and nobody ever has: {remedy}"
    who = f"process {sign.pid} on {sign.host}"
    if sign.is_overdue(now):
        return f"NOBODY WATCHES: no sign since {_when(sign.looked_at)} ({who}): {remedy}"
    if sign.state == "unreachable":
        return (
            f"NOT REACHED by the watcher since {_when(sign.since)}, it tries at least every"
            f" {LONGEST_BACKOFF:.0f} s ({who}): {sign.why}"
        )
    ago = (now - sign.looked_at).total_seconds()
    return f"watched since {_when(sign.since)}, last sign {max(ago, 0):.0f} s ago ({who})"


def _deliveries(found: Status, shown: int = 20) -> Table:
    table = Table("batch", "status", "rows", "rejected", "landed", "why", title="Last deliveries")
    for marker in found.seen.pending[:shown] if found.seen else ():
        table.add_row(marker.batch_id, "pending", "", "", _when(marker.landed_at), "")
    for receipt in reversed(found.kept.receipts[-shown:] if found.kept else ()):
        table.add_row(
            receipt.batch_id,
            receipt.status,
            str(receipt.rows),
            str(receipt.rejected_rows),
            _when(receipt.marker.landed_at),
            printable("; ".join(filter(None, _why(receipt)))),
        )
    for column in table.columns:
        column.overflow = "fold"
    return table


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _why(receipt: Receipt) -> tuple[str, ...]:
    return receipt.message, receipt.remarks, receipt.left_out.sentence()
