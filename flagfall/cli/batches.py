"""``flagfall publish``, ``dismiss`` and ``stage``: what is done to single batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from flagfall.cli.console import DatasetName, at_work, dataset_names, err, say, say_json
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.errors import NotThere, printable
from flagfall.inbox.inbox import Inbox
from flagfall.lake.batch_names import batch_named, batches_named
from flagfall.lake.rejections import rejected_and_open
from flagfall.landing.zone import landing_zone
from flagfall.publish import DEFAULT_MARKER, Place, data_files, hidden_data, place_of, publish
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
    if left_out := hidden_data(source, place.marker):
        say(left_out)


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


def dismiss_command(
    dataset: DatasetName,
    batch: Annotated[
        str, typer.Argument(help="Batch id, as `flagfall status DATASET` shows it, or label.")
    ],
    why: Annotated[str, typer.Option(help="For others: why it is to stay rejected.")] = "",
) -> None:
    """Leave a rejected batch rejected: it is not open any more, and no reason of the verdict.

    Where its marker is written again, or the batch is replayed, the new receipt counts.

    Example: flagfall dismiss flights 2013-11-05.0123456789abcdef --why "the airport was closed"
    """
    inbox = Inbox(Feed.of(find_dataset(dataset)))
    receipt = batch_named(batch, inbox.receipts)
    if receipt is None or receipt.status != "rejected":
        hint = f"`flagfall status {dataset}` shows which are rejected"
        raise NotThere("rejected and uncorrected batch", batch, hint)
    if receipt not in rejected_and_open(inbox.receipts.deliveries(receipt.marker)):
        hint = "another delivery counts instead, so nothing of it is open"
        raise NotThere("uncorrected batch", batch, hint)
    dismiss(inbox.lake.store, receipt.batch_id, why, inbox.clock())
    say(f"{receipt.batch_id} stays rejected")


def stage(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(STAGES)}, report.")],
    dataset: DatasetName,
    batches: Annotated[
        list[str], typer.Argument(help="Batch ids or labels; for ingest pending ones.")
    ],
) -> None:
    """Run one stage on some batches, as a container does, and print what became of them as JSON.

    Example: flagfall stage ingest flights 2013-11-05
    """
    if name not in (*STAGES, "report"):
        raise NotThere("stage", name, f"there are: {', '.join(STAGES)}, report")
    found = find_dataset(dataset)
    inbox = Inbox(Feed.of(found))
    deliveries = list(_named(inbox, batches))
    if name == "report":
        markers = [delivery.marker for delivery in deliveries]
        say_json(report_run(found, inbox, markers[0].batch_id, markers))
        return
    with at_work(f"{name} of {plural(len(deliveries), 'batch', 'batches')}"):
        done = run_stage(name, found, inbox, deliveries)
    say_json([_with_reason(inbox, one) for one in done])


def _with_reason(inbox: Inbox, delivery: Delivery) -> dict[str, Any]:
    """What became of a batch; of a rejected one also why, which standard error says in words."""
    plain = delivery.to_dict()
    receipt = inbox.receipts.find(delivery.marker) if delivery.status == "rejected" else None
    if receipt is None:
        return plain
    line = f"{receipt.batch_id} was rejected ({receipt.reason}): {receipt.message}"
    err.print(f"flagfall: {printable(line)}", soft_wrap=True)
    return {**plain, "reason": receipt.reason, "message": receipt.message}


def _named(inbox: Inbox, batches: Sequence[str]) -> Iterator[Delivery]:
    """Batches by ids and labels. The landing zone is not looked at where all are ids of receipts.

    Raises:
        NotThere: There is no such batch.
        Ambiguous: Several have this label.
    """
    found = batches_named(batches, inbox.receipts, inbox.pending)
    for batch in batches:
        if batch not in found:
            hint = "`flagfall status DATASET` lists pending and received ones"
            raise NotThere("batch", batch, hint)
        marker, receipt = found[batch]
        yield Delivery(marker).received(receipt) if receipt else Delivery(marker)
