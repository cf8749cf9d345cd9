"""Replays of many batches: which ones a person means, and handing them out again.

First a plan, which changes nothing; then it is carried out. Each batch is handed out as a delivery
of its own, so all that holds of one replay holds of a thousand: it is pending until its receipt,
and supersedes what counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from functools import partial
from typing import cast, get_args

from flagfall.concurrency import in_parallel
from flagfall.dataset.feed import Feed
from flagfall.dataset.schema import Dataset
from flagfall.errors import ModelInvalid, NotThere
from flagfall.inbox.inbox import LEFT, NEWER, Inbox, ReplaySource
from flagfall.lake.receipts import batch_id_of, current_view
from flagfall.lake.records import Predicted, Receipt, Staged
from flagfall.lake.rejections import rejected_and_open
from flagfall.landing.marker import Marker
from flagfall.stores import EPOCH


@dataclass(frozen=True)
class Wish:
    """Which batches are to be replayed, and from where.

    Attributes:
        since: Batches of this day or later (UTC); ``None``: from the first.
        until: Batches of this day or earlier; ``None``: to the last.
        reason: Those that were rejected for it and are open; empty: those that count.
        source: ``staged``: from the rows in the lake; ``landing``: from the producer's files.
        model_version: The version that is to score them; those that it scored are left out. Empty:
            whatever scores them.

    Raises:
        NotThere: It ends before it begins, or asks for staged rows of rejected batches.
    """

    since: date | None = None
    until: date | None = None
    reason: str = ""
    source: ReplaySource = "landing"
    model_version: str = ""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.since and self.until and self.until < self.since:
            raise NotThere("day", f"from {self.since} until {self.until}", "exchange the two")
        if self.reason and self.source == "staged":
            hint = "a rejected batch has none; use --from landing"
            raise NotThere("staged rows of batches rejected for", self.reason, hint)

    @property
    def is_empty(self) -> bool:
        """Whether it names no batches: it says at most where rows are taken from."""
        return self == Wish(source=self.source)

    @classmethod
    def read(cls, given: Mapping[str, object]) -> Wish:
        """A wish as a person writes it: on the command line, in a form, for a run.

        Args:
            given: Text for ``since``, ``until``, ``reason``, ``from`` and ``model_version``; what
                is empty is left out.

        Raises:
            NotThere: A key or a value is none of a wish, or two of them exclude each other.
        """
        for key, value in given.items():
            if key not in KEYS or not isinstance(value, str):
                raise NotThere("part of a replay", f"{key}: {value}", f"known: {', '.join(KEYS)}")
        since, until, reason, source, version = (str(given.get(key, "")) for key in KEYS)
        if source not in ("", *get_args(ReplaySource)):
            raise NotThere("source of rows", source, "expected landing or staged")
        known = cast(ReplaySource, source or "landing")
        return cls(_day(since), _day(until), reason, known, version)

    def to_dict(self) -> dict[str, str]:
        """What ``read`` makes this wish of."""
        since, until = (str(day or "") for day in (self.since, self.until))
        values = (since, until, self.reason, self.source, self.model_version)
        return {key: value for key, value in zip(KEYS, values, strict=True) if value}


KEYS = ("since", "until", "reason", "from", "model_version")
"""What a person writes of a wish."""


@dataclass(frozen=True)
class Found:
    """A batch that is meant.

    Attributes:
        receipt: The delivery that is replayed.
        deliveries: All receipts of its marker.
        left_out: Why it is not replayed nevertheless; empty where it is.
    """

    receipt: Receipt
    deliveries: tuple[Receipt, ...]
    left_out: str = ""


@dataclass(frozen=True)
class Plan:
    """What a replay would do.

    Attributes:
        source: From where.
        batches: What would be handed out again, in the order in which it landed.
        left_out: What is meant and would not be.
    """

    source: ReplaySource
    batches: tuple[Found, ...]
    left_out: tuple[Found, ...]

    @property
    def why_left_out(self) -> Counter[str]:
        """Batches that are left out, by the reason."""
        return Counter(found.left_out for found in self.left_out)


def plan_replay(dataset: Dataset | None, inbox: Inbox, wish: Wish) -> Plan:
    """Find what is meant. Changes nothing.

    Args:
        dataset: The dataset; ``None`` where its file is not at hand, as on Airflow's API server.
            It is needed for a wish with a model version.
        inbox: Its inbox.
        wish: What is meant.

    Raises:
        NotThere: No batch was rejected for that reason, or the dataset has no model whose version
            could be asked for.
        ModelInvalid: The dataset's model is of another version.
    """
    _check_model(dataset, wish)
    meant = list(_meant(inbox, wish))
    pending = {batch_id_of(key) for key in inbox.receipts.filed(EPOCH.date()).replays}
    there = {m.key: m for m in inbox.landing.markers()} if wish.source == "landing" else {}
    judge = partial(_judged, inbox, wish, pending, there)
    judged = list(in_parallel(judge, meant))
    return Plan(
        wish.source,
        tuple(found for found in judged if not found.left_out),
        tuple(found for found in judged if found.left_out),
    )


def hand_out_again(inbox: Inbox, plan: Plan) -> list[Marker]:
    """Do what a plan says; what was handed out meanwhile is not handed out twice.

    Returns:
        The deliveries that are pending now.
    """

    def hand_out(found: Found) -> Marker:
        rows = _rows_from(found, plan.source)
        return inbox.hand_out(found.receipt.marker, found.deliveries, rows)

    return list(in_parallel(hand_out, plan.batches))


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise NotThere("day", text, "expected one such as 2013-11-05") from error


def _check_model(dataset: Dataset | None, wish: Wish) -> None:
    if wish.model_version and dataset is None:
        raise NotThere("dataset file here for version", wish.model_version, "use `flagfall replay`")
    if wish.model_version and dataset is not None:
        # Here, since the command line is not to load what only this needs.
        from flagfall.scoring.model import scorer_of
        from flagfall.scoring.model_folder import ModelFolder

        path = scorer_of(dataset).path
        version = ModelFolder(path).version
        if version != wish.model_version:
            why = f"is version {version}, and {wish.model_version} is to score; put that one there"
            raise ModelInvalid(path, why)


def _meant(inbox: Inbox, wish: Wish) -> Iterator[Found]:
    """What is in the range and counts, or was rejected for the reason and is open."""
    ranged = [of for of in _by_marker(inbox) if _is_in_range(inbox.feed, of, wish)]
    if not wish.reason:
        yield from (Found(one, of) for of in ranged for one in current_view(of))
        return
    rejected = [Found(one, of) for of in ranged for one in rejected_and_open(of)]
    found = [one for one in rejected if one.receipt.reason == wish.reason]
    if not found:
        reasons = sorted({one.receipt.reason for one in rejected})
        there = f"open are: {', '.join(reasons)}" if reasons else "no rejected batch is open"
        raise NotThere("open batch rejected for", wish.reason, there)
    yield from found


def _by_marker(inbox: Inbox) -> list[tuple[Receipt, ...]]:
    """All receipts, a group for each marker; both in the order of landing."""
    groups: defaultdict[str, list[Receipt]] = defaultdict(list)
    for receipt in inbox.receipts.since(EPOCH.date()):
        groups[receipt.marker.key].append(receipt)
    return [tuple(group) for group in groups.values()]


def _is_in_range(feed: Feed, deliveries: tuple[Receipt, ...], wish: Wish) -> bool:
    first = deliveries[0].marker
    if wish.since and feed.is_before(first, datetime.combine(wish.since, time.min, UTC)):
        return False
    return not (wish.until and feed.is_after(first, datetime.combine(wish.until, time.max, UTC)))


def _judged(
    inbox: Inbox, wish: Wish, pending: Collection[str], there: Mapping[str, Marker], found: Found
) -> Found:
    """The delivery that is replayed, or why none is."""
    if wish.model_version:
        predicted = inbox.lake.find(Predicted, found.receipt.batch_id)
        if predicted is not None and predicted.model_version == wish.model_version:
            return replace(found, left_out=f"version {wish.model_version} scored it")
    if wish.source == "staged":
        if not inbox.lake.has(Staged, found.receipt.batch_id):
            return replace(found, left_out="its staged rows are gone: use --from landing")
    else:
        found = _lying_there(inbox, there, found)
    again = inbox.next_replay(found.receipt.marker, found.deliveries)
    again = replace(again, staged_from=_rows_from(found, wish.source))
    is_pending = not found.left_out and again.batch_id in pending
    if is_pending and inbox.in_the_way(again) is not None:
        return replace(found, left_out="a replay of it is pending")
    return found


def _rows_from(found: Found, source: ReplaySource) -> str:
    """Batch id whose staged rows are taken; empty for the files in the landing zone."""
    return found.receipt.batch_id if source == "staged" else ""


def _lying_there(inbox: Inbox, there: Mapping[str, Marker], found: Found) -> Found:
    """The delivery that lies in the landing zone: perhaps a later one that brought nothing new."""
    now = there.get(found.receipt.marker.key)
    if now is None:
        return replace(found, left_out=LEFT)
    lying = inbox.lying_there(now, found.receipt, found.deliveries)
    return replace(found, left_out=NEWER) if lying is None else replace(found, receipt=lying)
