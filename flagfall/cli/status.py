"""``flagfall status``: how feeds stand, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from flagfall.cli.batch_lines import plain_batches, say_batches
from flagfall.cli.console import (
    AnyDataset,
    AsJson,
    at_work,
    end,
    for_each,
    say,
    say_columns,
    say_json,
)
from flagfall.cli.exit_codes import ExitCode
from flagfall.cli.feed_status import Seen, Status, status
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.schema import Dataset
from flagfall.errors import NotThere
from flagfall.inbox.inbox import Inbox
from flagfall.lake.batch_names import batches_named
from flagfall.lake.records import Receipt
from flagfall.stores.backoff import LONGEST_BACKOFF
from flagfall.watch.heartbeat import WatcherState

FORM = 1
"""Version of the JSON: grows when a key changes its meaning or goes, not when one is added."""
SHOWN = 20


def status_command(
    dataset: AnyDataset = "",
    batch: Annotated[
        str, typer.Argument(help="Id or label of a batch: what became of each of its deliveries.")
    ] = "",
    as_json: AsJson = False,
    check: Annotated[
        bool, typer.Option("--check", help="End with 3 or 4 unless every feed is normal.")
    ] = False,
    last: Annotated[int, typer.Option(help="Batches to list; 0 for all.", min=0)] = SHOWN,
) -> None:
    """Show what landed, is pending, was accepted or rejected (30 days), is late, and who watches.

    Where the storage cannot be reached from here, it shows what the watcher said last.

    Example: flagfall status flights
    """
    if batch and check:
        raise typer.BadParameter("a feed has a verdict, one batch has none", param_hint="--check")
    if batch:
        _show_batch(Inbox(Feed.of(find_dataset(dataset))), batch, as_json)
        return
    found: list[Status] = []

    def look(one: Dataset) -> None:
        with at_work(f"looking at {one.name}"):
            found.append(status(one, Inbox(Feed.of(one))))

    failures = for_each(dataset, look)
    if as_json:
        for one in found:
            say_json(_plain(one, last))
    else:
        _show(found, last if dataset else None)
    end([*failures, *(one.error for one in found if one.error)])
    if check:
        raise typer.Exit(_checked(found))


def _show_batch(inbox: Inbox, batch: str, as_json: bool) -> None:
    """Every delivery of one batch's marker, whenever it landed."""
    found = batches_named([batch], inbox.receipts, inbox.pending)
    if batch not in found:
        raise NotThere("batch", batch, "`flagfall status DATASET` lists the last ones")
    marker, receipt = found[batch]
    receipts = inbox.receipts.deliveries(marker)
    deliveries = plain_batches([] if receipt else [marker], receipts)
    if as_json:
        for one in deliveries:
            say_json(one)
        return
    say_batches(deliveries, receipts)


def _checked(found: Sequence[Status]) -> ExitCode:
    """The worst verdict as an exit code."""
    words = {one.verdict.word for one in found if one.verdict}
    if words & {"failed", "attention"}:
        return ExitCode.ATTENTION
    return ExitCode.UNKNOWN if "unknown" in words else ExitCode.DONE


def _show(found: list[Status], last: int | None) -> None:
    if found:
        _show_overview(found)
    for one in found:
        _show_verdict(one)
    for line in (line for one in found for line in _attention(one)):
        say(line)
    for one in found if last is not None else ():
        _show_batches(one, last or 0)


def _show_verdict(found: Status) -> None:
    """The verdict, and under it each reason with what to do."""
    if found.verdict is None:
        return
    say(f"{found.dataset}: {found.verdict.sentence}")
    for reason in found.verdict.reasons:
        since = f" (since {_when(reason.since)})" if reason.since else ""
        say(f"  {reason.what}{since}: {reason.remedy}")


_COUNTED = ("landed", "pending", "accepted", "rejected", "unchanged", "unscored")


def _plain(found: Status, last: int) -> dict[str, Any]:
    """As ``docs/command-line.md`` lists it."""
    kept, seen = found.kept, found.seen
    oldest = seen.oldest_pending if seen else None
    batches = _batches(found)
    return {
        "form": FORM,
        "at": found.at.isoformat(),
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
        "idle": seen.idle or None if seen else None,
        "returned": list(seen.returned) if seen else None,
        "error": str(found.error) if found.error else None,
        "batches": batches[: last or None],
        "batches_not_listed": len(batches) - len(batches[: last or None]),
    }


def _batches(found: Status) -> list[dict[str, Any]]:
    """Pending and decided deliveries, the last one that landed first."""
    pending = found.seen.pending if found.seen else ()
    return plain_batches(pending, found.kept.receipts if found.kept else ())


def _plain_sign(sign: WatcherState, now: datetime) -> dict[str, Any]:
    """A watcher's last sign; its state is ``silent`` where the next one is overdue."""
    plain = sign.model_dump(mode="json", exclude={"every"})
    return {**plain, "state": "silent"} if sign.is_overdue(now) else plain


def _show_overview(found: list[Status]) -> None:
    heads = ("dataset", *_COUNTED)
    plain = [_plain(one, 1) for one in found]
    lines = [["?" if one[head] is None else str(one[head]) for head in heads] for one in plain]
    say_columns(heads, lines, right=len(_COUNTED))


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
    if seen.idle:
        yield f"IDLE: {seen.idle}"
    if seen.returned:
        yield _of_returned(seen.returned)


def _of_returned(uris: Sequence[str]) -> str:
    """Which markers lie there as they were before a delivery that counts, in words."""
    more = f"; so do {len(uris) - 1} more" if uris[1:] else ""
    why = "lies there as it was before a delivery that counts; to go back, write it again"
    return f"{uris[0]} {why}{more}"


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
    found = f"watched since {_when(sign.since)}, last sign {max(ago, 0):.0f} s ago ({who})"
    return f"{found}; NO HINTS, only sweeps: {sign.no_hints}" if sign.no_hints else found


def _show_batches(found: Status, last: int) -> None:
    batches = _batches(found)
    shown = batches[: last or None]
    say("")
    say(f"Last batches of {found.dataset}: {len(shown):,} of {len(batches):,} in 30 days")
    say_batches(shown, found.kept.receipts if found.kept else ())


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
