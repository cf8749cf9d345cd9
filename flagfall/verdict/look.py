"""A look at a feed: the facts that its verdict is made of. It changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice, takewhile
from types import MappingProxyType

from flagfall.dataset.schema import Dataset
from flagfall.errors import StoreError
from flagfall.inbox.inbox import Inbox
from flagfall.inbox.shortcuts import Scope
from flagfall.lake.outcomes import last_late, learned_on, with_outcomes
from flagfall.lake.receipts import batch_id_of
from flagfall.lake.records import Evaluation, Receipt
from flagfall.lake.rejections import rejected_and_open
from flagfall.stores import Entry
from flagfall.verdict.dismissed import dismissed
from flagfall.verdict.facts import JUDGED, WINDOW, Facts, Overdue, Unfinished, judged
from flagfall.verdict.failures import failures
from flagfall.verdict.verdict import Verdict, judge
from flagfall.watch.heartbeat import WatcherState, last_heartbeat

DUES = 9_000
"""Times at which a batch was due that are looked back: 30 days, every five minutes."""
_NOTHING: Mapping[str, Evaluation] = MappingProxyType({})


def verdict_of(dataset: Dataset, inbox: Inbox) -> Verdict:
    """Look at a feed and judge it."""
    return judge(dataset, look(dataset, inbox))


def look(
    dataset: Dataset,
    inbox: Inbox,
    *,
    receipts: Sequence[Receipt] | None = None,
    over: Collection[str] = (),
    left: Collection[str] = (),
    known: Mapping[str, Evaluation] = _NOTHING,
    scope: Scope | None = None,
) -> Facts:
    """Gather what is known of a feed; where its storage cannot be reached, that.

    Args:
        dataset: The dataset.
        inbox: Its inbox.
        receipts: Those of the last 30 days, in the order of landing; ``None`` to read them.
        over: Batches that a run which is over has accepted: what it left is not finished.
        left: Batches that it claimed and did not decide: they are pending for too long at once.
        known: Evaluations that were read already, by batch id; also of batches that are ``over``
            and have none.
        scope: What a sweep looks at; ``None`` for what is due now.
    """
    facts = Facts(inbox.clock())
    try:
        facts = _of_lake(dataset, inbox, facts, receipts, over, known)
        return _of_landing_zone(dataset, inbox, facts, left, scope)
    except StoreError as error:
        return replace(facts, error=error)


def _of_lake(
    dataset: Dataset,
    inbox: Inbox,
    facts: Facts,
    receipts: Sequence[Receipt] | None,
    over: Collection[str],
    known: Mapping[str, Evaluation],
) -> Facts:
    store, since = inbox.lake.store, (facts.at - WINDOW).date()
    found = inbox.receipts.since(since) if receipts is None else receipts
    sign, damaged = last_heartbeat(store), inbox.receipts.damaged
    facts = replace(facts, receipts=tuple(found), watcher=sign, damaged=damaged)
    current = facts.current
    today = judged(current, facts.at)
    unread = _unread(dataset, today, known, over)
    looked_up = dict(zip(unread, inbox.lake.evaluations(unread.values()), strict=True))
    read = {name: one for name, one in looked_up.items() if one is not None}
    scored = {} if dataset.model is None else {**known, **read}
    evaluations = with_outcomes(dataset, inbox.lake, found, scored)
    left_so = dismissed(store) if rejected_and_open(facts.receipts) else frozenset[str]()
    facts = replace(facts, failures=failures(store), dismissed=left_so)
    return replace(
        facts,
        evaluations=evaluations,
        unscored=tuple(one.marker.label for name, one in unread.items() if name not in read),
        learned=_learned(dataset, inbox, facts.at, current, today),
        unfinished=tuple(_unfinished(dataset, inbox, facts, current, evaluations, over)),
    )


def _unread(
    dataset: Dataset,
    today: Sequence[Receipt],
    known: Mapping[str, Evaluation],
    over: Collection[str],
) -> dict[str, Receipt]:
    """The newest judged deliveries whose evaluation is to be looked up, by batch id."""
    if dataset.model is None:
        return {}
    wanted = (one for one in reversed(today) if one.batch_id not in known)
    return {one.batch_id: one for one in islice(wanted, JUDGED) if one.batch_id not in over}


def _learned(
    dataset: Dataset,
    inbox: Inbox,
    at: datetime,
    current: Sequence[Receipt],
    today: Sequence[Receipt],
) -> dict[str, Evaluation]:
    """What outcomes that came today say of deliveries that are not judged anyway."""
    if dataset.late_label is None:
        return {}
    store = inbox.lake.store
    wanted = learned_on(store, at.date()) - {receipt.batch_id for receipt in today}
    newest = [one for one in current if one.batch_id in wanted][-JUDGED:]
    late = last_late(store, newest).items()
    return {name: one.evaluation for name, one in late if one.at.date() == at.date()}


def _unfinished(
    dataset: Dataset,
    inbox: Inbox,
    facts: Facts,
    current: Iterable[Receipt],
    evaluations: Mapping[str, Evaluation],
    over: Collection[str],
) -> Iterator[Unfinished]:
    """What a run that is over left behind, and what has been waiting for ``redeliver_after``.

    A run that failed after it accepted a delivery has left it behind.
    """
    if dataset.model is None:
        return
    noted = {batch_id_of(entry.key) for entry in _noted(inbox)}
    before = _left_before(dataset, facts)
    for receipt in [*_older(inbox, facts, noted), *current]:
        name = receipt.batch_id
        is_left = name in over and name not in evaluations
        if is_left or (name in noted and receipt.received_at <= before):
            yield Unfinished(name, receipt.marker.label, receipt.received_at)


def _older(inbox: Inbox, facts: Facts, noted: Collection[str]) -> list[Receipt]:
    """Deliveries that count, are noted as not finished, and landed before the last 30 days."""
    unknown = set(noted) - {receipt.batch_id for receipt in facts.receipts}
    found = inbox.receipts.by_ids(unknown).values() if unknown else ()
    counted = (inbox.receipts.current(receipt.marker) for receipt in found)
    return [one for one in counted if one is not None and one.batch_id in unknown]


def _left_before(dataset: Dataset, facts: Facts) -> datetime:
    """What came until then and is not done yet waits for somebody."""
    long_ago = facts.at - dataset.watch.redeliver_after
    return max([long_ago, *(failure.at for failure in facts.failures)])


def _noted(inbox: Inbox) -> tuple[Entry, ...]:
    return inbox.receipts.filed(inbox.clock().date()).unfinished


def _of_landing_zone(
    dataset: Dataset, inbox: Inbox, facts: Facts, left: Collection[str], scope: Scope | None
) -> Facts:
    before = _left_before(dataset, facts)
    landed = tuple(inbox.pending(scope))
    pending = [marker for marker in landed if marker.landed_at <= before or marker.batch_id in left]
    overdue = tuple(late(dataset, inbox, facts.at, facts.receipts, facts.watcher))
    return replace(facts, landed=landed, pending=tuple(pending), late=overdue)


def late(
    dataset: Dataset,
    inbox: Inbox,
    now: datetime,
    receipts: Sequence[Receipt],
    watcher: WatcherState | None = None,
) -> list[Overdue]:
    """Markers that were due, and whose deadline has passed, that are not there; oldest first.

    The last one that was due, and those before it since the first batch of the last 30 days. Of a
    new feed, of which nothing has come so far, only what was due since it was first watched.
    """
    first_watched = watcher.first if watcher else None
    due = list(_due(dataset, now, receipts, first_watched))
    received = {receipt.marker.key for receipt in receipts}
    pattern, landing = inbox.landing.pattern, inbox.landing
    keys = {pattern.fill(dataset.arrival.fields_at(time)): time for time in due}
    missing = {key: time for key, time in keys.items() if key not in received}
    there = {entry.key for entry in landing.store.find(list(missing))} if missing else set()
    if dataset.landing.after_receipt != "keep":  # some have been taken in and cleared
        there |= {key for key in missing if inbox.receipts.has_any(key)}
    return [
        Overdue(key, f"{landing.uri}/{key}", time + dataset.arrival.deadline)
        for key, time in missing.items()
        if key not in there
    ]


def _due(
    dataset: Dataset,
    now: datetime,
    receipts: Sequence[Receipt],
    first_watched: datetime | None,
) -> list[datetime]:
    arrival = dataset.arrival
    if arrival.schedule is None:
        return []
    first = min((one.marker.landed_at for one in receipts), default=now)
    dues = islice(arrival.dues_before(now - arrival.deadline), DUES)
    last = next(dues)
    if not receipts and first_watched is not None and last < first_watched:
        return []
    return [last, *takewhile(lambda due: due >= first, dues)][::-1]
