"""What tasks say of the batches of a shard: to the next task, to events, and to Airflow's pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.sdk.bases.xcom import BaseXCom

from flagfall.inbox.inbox import Inbox
from flagfall.landing.marker import Marker
from flagfall.stages.shard import Delivery
from flagfall.verdict.words import listed

if TYPE_CHECKING:
    from airflow.sdk import Context

SHOWN = 10
"""URIs that an asset event names; the rest is in the lake."""


def label(shown: Sequence[Delivery]) -> str:
    """Names of the batches of a shard, each with what became of it."""
    names = (f"{one.marker.label}{_OUTCOMES.get(one.status or '', '')}" for one in shown)
    return listed(list(names))


_OUTCOMES = {"rejected": ": REJECTED", "unchanged": ": unchanged"}


def update(outlets: Iterable[Any], context: Context, extra: dict[str, Any]) -> None:
    """Put what a task did into the events of its assets."""
    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra = dict(extra)


def summary(inbox: Inbox, stage: str, done: Sequence[Delivery]) -> dict[str, Any]:
    """What a stage did to a shard, for an event."""
    accepted = [delivery for delivery in done if delivery.status == "accepted"]
    return {
        "batches": len(accepted),
        "rejected_batches": sum(d.status == "rejected" for d in done),
        "rows": sum(d.rows for d in accepted),
        "rejected_rows": sum(d.rejected_rows for d in done),
        "uris": [_uri(inbox, stage, d) for d in accepted[:SHOWN]],
    }


def leave(context: Context, done: Sequence[Delivery]) -> None:
    """Leave what was done for the next stage, as if it had been returned."""
    plain = [delivery.to_dict() for delivery in done]
    context["ti"].xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=plain)


OUTPUT = {
    "ingest": "staged",
    "preprocess": "features",
    "infer": "predictions",
    "evaluate": "evaluations",
}
"""Folder of the lake that a stage writes to."""


def _uri(inbox: Inbox, stage: str, delivery: Delivery) -> str:
    return f"{inbox.lake.store.uri}/{OUTPUT[stage]}/{delivery.marker.batch_id}"


def deliveries(batches: Iterable[dict[str, Any]]) -> Iterable[Delivery]:
    """What came by XCom: the markers of a shard, or what the stage before returned."""
    for plain in batches:
        if "marker" in plain:
            yield Delivery.from_dict(plain)
        else:
            yield Delivery(Marker.from_dict(plain))
