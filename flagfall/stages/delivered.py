"""What the lake of the feed that brings outcomes says of its deliveries, and what it cannot say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from flagfall.dataset.model import Label
from flagfall.errors import FlagfallError, StoreUnavailable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.outcome_deliveries import OutcomeDelivery, Window, outcome_deliveries
from flagfall.lake.outcomes import Looked
from flagfall.lake.receipts import InDoubt
from flagfall.lake.records import LateEvaluation, Receipt


@dataclass(frozen=True)
class Delivered:
    """What the lake of the feed that brings outcomes says of its deliveries.

    Attributes:
        deliveries: Those that may be of a batch, in the order in which they were delivered.
        in_doubt: Markers of which one cannot be read; none of these is among the deliveries.
        gone: Deliveries that outcomes were joined of and that have no receipt there, by the id of
            the batch: it is another lake, or somebody removed them.
    """

    deliveries: tuple[OutcomeDelivery, ...] = ()
    in_doubt: InDoubt = field(default_factory=InDoubt)
    gone: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def failures(self, uri: str) -> Iterator[FlagfallError]:
        """What a person has to know of it.

        Args:
            uri: The lake's.
        """
        yield from self.in_doubt.failures.values()
        if self.gone:
            batch_id, names = next(iter(self.gone.items()))
            yield _not_there(uri, f"{batch_id} has outcomes of {', '.join(names[:3])}, which are")


def _not_there(uri: str, what: str) -> StoreUnavailable:
    why = f"{what} not in it. Is it mounted? If the feed was renamed, move its lake along"
    return StoreUnavailable(uri, why)


def look_at_deliveries(
    label: Label, waiting: Sequence[Receipt], outcomes: Inbox, before: Looked
) -> Delivered:
    """Look at the lake of the outcomes.

    Args:
        label: How outcomes are joined.
        waiting: Batches that they may be of.
        outcomes: Inbox of the feed that brings them.
        before: What was known of these batches.

    Raises:
        StoreUnavailable: It is empty, although outcomes were joined before.
    """
    if not waiting:
        return Delivered()
    since = min(Window.of(one, label.within).since for one in waiting).date()
    receipts = outcomes.receipts.since(since)
    doubt = outcomes.receipts.in_doubt()
    there = {*(one.batch_id for one in receipts), *doubt.failures}
    if not there and any(one.deliveries for one in before.last.values()):
        raise _not_there(outcomes.lake.store.uri, "outcomes were joined of receipts that are")
    found = outcome_deliveries(receipts)
    gone = {name: list(_gone(one, since, there)) for name, one in before.last.items()}
    return Delivered(
        tuple(one for one in found if not doubt.has(one.receipt)),
        doubt,
        {name: names for name, names in gone.items() if names},
    )


def _gone(record: LateEvaluation, since: date, there: Collection[str]) -> Iterator[str]:
    """Deliveries since a day that an evaluation was made of and that are not there."""
    for source in record.sources:
        day, _, name = source.partition("~")
        if day >= since.isoformat() and name not in there:
            yield name
