"""``flagfall publish``, ``replay``, ``dismiss`` and ``stage``: what is done to single batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from flagfall.cli.console import DatasetName, at_work, dataset_names, err, say
from flagfall.cli.feed_status import rejected_for
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.errors import NotThere, printable
from flagfall.inbox.inbox import Inbox
from flagfall.landing.zone import landing_zone
from flagfall.publish import DEFAULT_MARKER, Place, data_files, place_of, publish
from flagfall.report.run import report_run
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from flagfall.verdict.dismissed import dismiss
from flagfall.verdict.words import plural


def publish_command(
    source: Annotated[Path, typer.Argument(help="Directory with the batch's data files.")],
    destination: Annotated[
        str, typer.Argument(help="URI of the batch's folder; not needed with --dataset.")
    ] = "",
    marker: Annotated[
        str, typer.Option(help=f"File name of the marker; {DEFAULT_MARKER} if left out.")
    ] = "",
    dataset: Annotated[
        str,
        typer.Option(
            help="The feed that waits for it: it knows place and marker.",
            autocompletion=dataset_names,
        ),
    ] = "",
    field: Annotated[
        list[str] | None,
        typer.Option(help="Field of the feed's marker pattern, as date=2013-11-05."),
    ] = None,
) -> None:
    """Copy a batch to the landing zone: data first, then the marker, last and in one step.

    What is there already is skipped: run it again to complete what broke off. With --dataset it
    goes where that feed waits for it, or is refused.

    Example: flagfall publish ./2013-11-05 .flagfall/data/landing/flights/date=2013-11-05
    """
    place = _place(source, destination, marker, dataset, field or [])
    total = sum(file.stat().st_size for file in data_files(source, place.marker))
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("publishing", total=total)
        done = publish(
            *(source, place.folder, place.marker),
            lambda count: progress.advance(task, count),
            place.conn_id,
        )
    line = f"{done.files} files, {done.bytes:,} bytes, {done.marker}"
    say(line + (f", {done.skipped:,} already there" if done.skipped else ""))


def _place(
    source: Path, destination: str, marker: str, dataset: str, fields: Sequence[str]
) -> Place:
    """Where a batch goes."""
    if dataset:
        if destination and fields:
            raise NotThere("use for", f"--field {fields[0]}", "the destination says it already")
        landing = landing_zone(Feed.of(find_dataset(dataset)).landing)
        return place_of(source, landing, destination, marker, fields)
    if fields:
        raise NotThere("pattern for --field", fields[0], "give --dataset, whose marker has fields")
    if not destination:
        raise typer.BadParameter("give one, or --dataset", param_hint="destination")
    return Place(destination, marker or DEFAULT_MARKER)


def replay(
    dataset: DatasetName,
    batch: Annotated[
        str, typer.Argument(help="Batch id, as `flagfall status DATASET` shows it.")
    ] = "",
    reason: Annotated[
        str, typer.Option(help="All that count as rejected for this reason, of 30 days.")
    ] = "",
) -> None:
    """Hand a batch that has a receipt out again, as after a change of the dataset file or model.

    With --reason all that were rejected for it, as after a mistake in the rights of a role.

    Example: flagfall replay flights 2013-11-05.0123456789abcdef
    """
    inbox = Inbox(Feed.of(find_dataset(dataset)))
    if bool(batch) == bool(reason):
        raise NotThere("batch", batch, "give either a batch id or --reason")
    for batch_id in rejected_for(inbox, reason) if reason else [batch]:
        again = inbox.replay(batch_id)
        say(f"{again.batch_id} is pending")


def dismiss_command(
    dataset: DatasetName,
    batch: Annotated[str, typer.Argument(help="Batch id, as `flagfall status DATASET` shows it.")],
    why: Annotated[str, typer.Option(help="For others: why it is to stay rejected.")] = "",
) -> None:
    """Leave a rejected batch rejected: it is not open any more, and no reason of the verdict.

    Where its marker is written again, or the batch is replayed, the new receipt counts.

    Example: flagfall dismiss flights 2013-11-05.0123456789abcdef --why "the airport was closed"
    """
    inbox = Inbox(Feed.of(find_dataset(dataset)))
    receipt = inbox.receipts.by_id(batch)
    if receipt is None or receipt.status != "rejected":
        raise NotThere("rejected batch", batch, f"`flagfall status {dataset}` lists them")
    dismiss(inbox.lake.store, batch, why, inbox.clock())
    say(f"{batch} stays rejected")


def stage(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(STAGES)}, report.")],
    dataset: DatasetName,
    batches: Annotated[list[str], typer.Argument(help="Batch ids; for ingest of pending ones.")],
) -> None:
    """Run one stage on some batches, as a container does, and print what became of them as JSON.

    Example: flagfall stage ingest flights 2013-11-05.0123456789abcdef
    """
    if name not in (*STAGES, "report"):
        raise NotThere("stage", name, f"there are: {', '.join(STAGES)}, report")
    found = find_dataset(dataset)
    inbox = Inbox(Feed.of(found))
    deliveries = list(_by_ids(inbox, batches))
    if name == "report":
        markers = [delivery.marker for delivery in deliveries]
        print(json.dumps(report_run(found, inbox, batches[0], markers)))
        return
    with at_work(f"{name} of {plural(len(deliveries), 'batch', 'batches')}"):
        done = run_stage(name, found, inbox, deliveries)
    print(json.dumps([_with_reason(inbox, one) for one in done]))


def _with_reason(inbox: Inbox, delivery: Delivery) -> dict[str, Any]:
    """What became of a batch; of a rejected one also why, which standard error says in words."""
    plain = delivery.to_dict()
    receipt = inbox.receipts.find(delivery.marker) if delivery.status == "rejected" else None
    if receipt is None:
        return plain
    line = f"{receipt.batch_id} was rejected ({receipt.reason}): {receipt.message}"
    err.print(f"flagfall: {printable(line)}", soft_wrap=True)
    return {**plain, "reason": receipt.reason, "message": receipt.message}


def _by_ids(inbox: Inbox, batches: Sequence[str]) -> Iterator[Delivery]:
    """Batches by their ids. The landing zone is only looked at for those without a receipt."""
    receipts = inbox.receipts.by_ids(batches)
    is_received = receipts.keys() >= set(batches)
    pending = {} if is_received else {marker.batch_id: marker for marker in inbox.pending()}
    for batch in batches:
        if batch in receipts:
            yield Delivery(receipts[batch].marker).received(receipts[batch])
        elif batch in pending:
            yield Delivery(pending[batch])
        else:
            hint = "`flagfall status DATASET` lists pending and received ones"
            raise NotThere("batch", batch, hint)
