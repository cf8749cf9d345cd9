"""Reasons of what is open: it stays so until somebody, or the next run, has dealt with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from flagfall.dataset.schema import Dataset
from flagfall.lake.records import Receipt
from flagfall.lake.rejections import rejected_and_open
from flagfall.verdict.facts import Facts, Overdue
from flagfall.verdict.reason import Kind, Reason
from flagfall.verdict.words import cut, listed, minute, plural

FIRST_SIGN = timedelta(minutes=10)
"""A watcher that is there has given its first sign by then."""


def open_reasons(dataset: Dataset, facts: Facts) -> Iterator[Reason]:
    """What is open of a feed."""
    yield from _unreachable(dataset, facts)
    yield from _unwatched(dataset, facts)
    yield from _failed_tasks(dataset, facts)
    yield from _unfinished(dataset, facts)
    yield from _pending(dataset, facts)
    yield from _damaged(facts)
    yield from _rejected(dataset, facts)
    yield from _late(facts.late)


def _unreachable(dataset: Dataset, facts: Facts) -> Iterator[Reason]:
    if facts.error is not None:
        yield Reason(
            kind="unreachable",
            what=f"the storage cannot be reached from here: {facts.error}",
            where=(facts.error.uri,),
            since=None,
            remedy="mend the storage or its rights; nothing is lost meanwhile",
            keys=(f"unreachable/{facts.error.uri}",),
        )


def _unwatched(dataset: Dataset, facts: Facts) -> Iterator[Reason]:
    sign = facts.watcher
    if sign is None:
        yield from _never_watched(dataset, facts)
        return
    who = f"process {sign.pid} on {sign.host}"
    if sign.is_overdue(facts.at):
        yield Reason(
            kind="unwatched",
            what=f"nobody watches: no sign since {minute(sign.looked_at)} ({who})",
            where=(sign.host,),
            since=sign.looked_at,
            remedy=f"start a triggerer and unpause {dataset.name}_pipeline",
            keys=(f"unwatched/{sign.looked_at.isoformat()}",),
        )
    elif sign.state == "unreachable":
        yield Reason(
            kind="unreachable",
            what=f"the watcher does not reach the storage since {minute(sign.since)}: {sign.why}",
            where=(sign.host,),
            since=sign.since,
            remedy="mend what it names; it tries again at least once a minute",
            keys=(f"unreachable/{sign.since.isoformat()}",),
        )


def _never_watched(dataset: Dataset, facts: Facts) -> Iterator[Reason]:
    """A feed that was just described has no sign yet; one in which something waits has had time."""
    if any(marker.landed_at <= facts.at - FIRST_SIGN for marker in facts.landed):
        yield Reason(
            kind="unwatched",
            what="nobody watches, and nobody ever has",
            where=(),
            since=None,
            remedy=f"start a triggerer and unpause {dataset.name}_pipeline",
            keys=("unwatched/never",),
        )


def _failed_tasks(dataset: Dataset, facts: Facts) -> Iterator[Reason]:
    if not facts.failures:
        return
    first, *more = facts.failures
    others = f"; so did {plural(len(more), 'more task', 'more tasks')}" if more else ""
    yield Reason(
        kind="task",
        what=f"{first.task} failed{others}",
        where=tuple(failure.run for failure in facts.failures),
        since=first.at,
        remedy=f"mend the cause and clear the task, or `flagfall replay {dataset.name} BATCH`",
        details=tuple(f"{one.task} of run {one.run}: {one.why}" for one in facts.failures),
        keys=tuple(failure.key for failure in facts.failures),
    )


def _unfinished(dataset: Dataset, facts: Facts) -> Iterator[Reason]:
    if found := facts.unfinished:
        names = [one.label for one in found]
        one = f"{cut(names[0])} was accepted and is not evaluated"
        many = f"{len(found):,} accepted batches are not evaluated: {listed(names)}"
        yield _of_batches(
            "unfinished",
            one if len(found) == 1 else many,
            names,
            min(one.since for one in found),
            f"mend what failed; tried again every {dataset.watch.redeliver_after} by itself",
            [one.batch_id for one in found],
        )


def _pending(dataset: Dataset, facts: Facts) -> Iterator[Reason]:
    if found := facts.pending:
        names = [marker.label for marker in found]
        one = f"{cut(names[0])} has landed and was not taken in"
        many = f"{len(found):,} batches have landed and were not taken in: {listed(names)}"
        yield _of_batches(
            "pending",
            one if len(found) == 1 else many,
            names,
            min(marker.landed_at for marker in found),
            f"look at the runs of {dataset.name}_pipeline; is it unpaused, and a triggerer up?",
            ["any"],
        )


def _damaged(facts: Facts) -> Iterator[Reason]:
    if found := facts.damaged:
        names = [uri.rpartition("/")[2] for uri in found]
        one = f"the receipt {cut(names[0])} is damaged"
        yield Reason(
            kind="damaged",
            what=one
            if len(found) == 1
            else f"{len(found):,} receipts are damaged: {listed(names)}",
            where=tuple(found),
            since=None,
            remedy="restore it from a backup, or remove it to have its batch taken in again",
            keys=tuple(f"damaged/{name}" for name in names),
        )


def _rejected(dataset: Dataset, facts: Facts) -> Iterator[Reason]:
    rejected = rejected_and_open(facts.receipts)
    if found := [one for one in rejected if one.batch_id not in facts.dismissed]:
        names = [_with_reason(receipt) for receipt in found]
        one = f"{names[0]} was rejected and not corrected since"
        many = f"{len(found):,} batches were rejected and not corrected since: {listed(names)}"
        yield Reason(
            kind="rejected",
            what=one if len(found) == 1 else many,
            where=tuple(receipt.marker.label for receipt in found),
            since=min(receipt.received_at for receipt in found),
            remedy=(
                "have the producer write the batch and its marker again, or mend the dataset file"
                f" and `flagfall replay {dataset.name} {found[0].batch_id}`"
            ),
            details=tuple(f"{one.marker.label}: {one.message}" for one in found),
            keys=tuple(f"rejected/{receipt.batch_id}" for receipt in found),
            ends=tuple(f"the rejection of {name}" for name in names),
        )


def _with_reason(receipt: Receipt) -> str:
    name = cut(receipt.marker.label)
    return f"{name} ({receipt.reason})" if receipt.reason else name


def _late(late: Sequence[Overdue]) -> Iterator[Reason]:
    if late:
        names = [overdue.key for overdue in late]
        one = f"{cut(names[0])} is late since {minute(late[0].deadline)}"
        yield Reason(
            kind="late",
            what=one if len(late) == 1 else f"{len(late):,} batches are late: {listed(names)}",
            where=tuple(overdue.uri for overdue in late),
            since=late[0].deadline,
            remedy="ask the producer; when the marker comes, it is taken in by itself",
            keys=tuple(f"late/{overdue.key}" for overdue in late),
            ends=tuple(f"{cut(name)} is not late any more" for name in names),
        )


def _of_batches(
    kind: Kind,
    what: str,
    labels: Sequence[str],
    since: datetime,
    remedy: str,
    batch_ids: Iterable[str],
) -> Reason:
    keys = tuple(f"{kind}/{batch_id}" for batch_id in batch_ids)
    return Reason(kind, what, tuple(labels), since, remedy, keys=keys)
