"""The command line: ``flagfall``."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from flagfall.cli.cost import Cost
from flagfall.cli.status import Seen, Status, rejected_for, status
from flagfall.dataset.loader import datasets_folder, find_dataset, usable_datasets
from flagfall.dataset.schema import Dataset
from flagfall.errors import HOPELESS, HOPELESS_EXIT, FlagfallError, NotThere
from flagfall.inbox.inbox import Feed, Inbox
from flagfall.landing.marker import Marker
from flagfall.landing.zone import LandingZone
from flagfall.publish import DEFAULT_MARKER, data_files, publish
from flagfall.report.run import report_run
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from flagfall.watch.heartbeat import Health
from flagfall.watch.loop import arrivals
from flagfall.watch.shared_poll import LONGEST_BACKOFF

app = typer.Typer(
    name="flagfall",
    help="From a marker file to a report. Datasets are described in datasets/<name>.yaml.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console(markup=False)  # names come from producers
err = Console(markup=False, highlight=False, stderr=True)

DatasetName = Annotated[str, typer.Argument(help="Name of a file in datasets/, without .yaml.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


def main() -> None:
    """Run the command line; what a person did wrong ends in one clear line, not in a traceback."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.exc_info is None)  # what is raised too is told below
    logging.basicConfig(format="flagfall: %(message)s", handlers=[handler])
    try:
        app()
    except FlagfallError as error:
        _complain(error)
        sys.exit(HOPELESS_EXIT if isinstance(error, HOPELESS) else 1)


def _complain(error: FlagfallError) -> None:
    lines = map(_shown, str(error).splitlines())
    err.print("flagfall: " + "\n".join(lines), soft_wrap=True)


def _shown(text: str) -> str:
    """Text that may come from a producer, with what would steer a terminal written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _for_each(name: str, do: Callable[[Dataset], None]) -> list[FlagfallError]:
    """Do something with one dataset, or with all of them; one that fails does not stop the others.

    Returns:
        What went wrong.

    Raises:
        NotThere: There is none.
    """
    usable, broken = ([find_dataset(name)], []) if name else usable_datasets()
    if not usable and not broken:
        raise NotThere("dataset in", str(datasets_folder()), "a feed is one file <name>.yaml there")
    failures: list[FlagfallError] = [*broken]
    for dataset in usable:
        try:
            do(dataset)
        except FlagfallError as error:
            failures.append(error)
    return failures


def _end(failures: list[FlagfallError]) -> None:
    for failure in failures:
        _complain(failure)
    if failures:
        raise typer.Exit(1)


@app.command("publish")
def publish_command(
    source: Annotated[Path, typer.Argument(help="Directory with the batch's data files.")],
    destination: Annotated[str, typer.Argument(help="URI of the batch's folder.")],
    marker: Annotated[str, typer.Option(help="File name of the marker.")] = DEFAULT_MARKER,
) -> None:
    """Copy a batch to the landing zone: data first, then the marker, last and in one step.

    What is there already is skipped: run it again to complete what broke off.

    Example: flagfall publish ./2013-11-05 .flagfall/data/landing/flights/date=2013-11-05
    """
    total = sum(file.stat().st_size for file in data_files(source, marker))
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("publishing", total=total)
        done = publish(source, destination, marker, lambda count: progress.advance(task, count))
    line = f"{done.files} files, {done.bytes:,} bytes, {done.marker}"
    line += f", {done.skipped:,} already there" if done.skipped else ""
    out.print(_shown(line), highlight=False, soft_wrap=True)


@app.command()
def watch(
    uri: Annotated[
        str, typer.Argument(help="The landing zone: a directory or s3://bucket/prefix.")
    ],
    marker: Annotated[str, typer.Option(help="Pattern such as 'date={date}/_SUCCESS'.")],
    as_json: AsJson = False,
    sweep_every: Annotated[float, typer.Option(help="Seconds between sweeps.", min=0.1)] = 30.0,
    count: Annotated[int, typer.Option(help="End after so many; 0: never.", min=0)] = 0,
    sqs_queue: Annotated[
        str,
        typer.Option(
            help="URL of a queue that tells of new objects; not one that a triggerer listens to,"
            " which would hear less."
        ),
    ] = "",
) -> None:
    """Print markers as they land, those that are there already first. Needs no Airflow.

    Example: flagfall watch .flagfall/data/landing/flights --marker 'date={date}/datapackage.json'
    """
    try:
        landing = LandingZone(uri, marker, sqs_queue=sqs_queue)
        asyncio.run(_watch(landing, sweep_every, as_json, count))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _watch(landing: LandingZone, sweep_every: float, as_json: bool, count: int) -> None:
    shown = 0
    async with aclosing(arrivals(landing, sweep_every)) as found:
        async for markers in found:
            for marker in markers:
                print(_arrival(marker, as_json), flush=True)
                shown += 1
                if shown == count:
                    return


def _arrival(marker: Marker, as_json: bool) -> str:
    if as_json:
        return json.dumps({**marker.to_dict(), "batch_id": marker.batch_id})
    return f"{marker.landed_at:%Y-%m-%d %H:%M:%S.%f}  {_shown(marker.uri)}"


@app.command("status")
def status_command(
    dataset: Annotated[str, typer.Argument(help="A dataset; all of them if left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what landed, is pending, was accepted or rejected (30 days), is late, and who watches.

    Where the storage cannot be reached from here, it shows what the watcher said last.

    Example: flagfall status flights
    """
    found: list[Status] = []
    failures = _for_each(dataset, lambda one: found.append(status(one, Inbox(Feed.of(one)))))
    if as_json:
        for one in found:
            print(json.dumps(_plain(one)))
    else:
        _show(found, with_deliveries=bool(dataset))
    _end([*failures, *(one.error for one in found if one.error)])


def _show(found: list[Status], with_deliveries: bool) -> None:
    if found:
        out.print(_overview(found))
    for line in (line for one in found for line in _attention(one)):
        out.print(_shown(line), highlight=False, soft_wrap=True)
    for one in found if with_deliveries else ():
        out.print(_deliveries(one))


_COUNTED = ("landed", "pending", "accepted", "rejected", "unchanged", "unscored")


def _plain(found: Status) -> dict[str, Any]:
    kept, seen = found.kept, found.seen
    oldest = seen.oldest_pending if seen else None
    cost = (seen and seen.cost) or Cost(0.0, 0.0)
    return {
        "dataset": found.dataset,
        "landed": seen.landed if seen else None,
        "pending": len(seen.pending) if seen else None,
        **{name: kept.counts[name] if kept else None for name in _COUNTED[2:5]},
        "unscored": kept.unscored if kept else None,
        "oldest_pending": oldest.isoformat() if oldest else None,
        "late": seen.late if seen else None,
        "requests_an_hour": cost.requests_an_hour if seen else None,
        "dollars_an_hour": cost.dollars_an_hour if seen else None,
        "watch": _plain_sign(kept.watcher, found.at) if kept and kept.watcher else None,
        "error": str(found.error) if found.error else None,
    }


def _plain_sign(sign: Health, now: datetime) -> dict[str, Any]:
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
    if found.kept:
        yield f"{found.dataset}: {_of_watcher(found.dataset, found.kept.watcher, found.at)}"


def _of_landing_zone(seen: Seen) -> Iterator[str]:
    if seen.oldest_pending:
        yield f"the oldest pending marker landed {_when(seen.oldest_pending)}"
    if seen.late:
        yield f"late: {seen.late}"
    if seen.cost:
        requests, dollars = seen.cost.requests_an_hour, seen.cost.dollars_an_hour
        yield (
            f"waiting costs {requests:,.0f} requests to S3 an hour: ${dollars:.4f}"
            f" an hour, ${seen.cost.dollars_a_month:,.2f} a month"
        )


def _of_watcher(dataset: str, sign: Health | None, now: datetime) -> str:
    """Who watches, in words."""
    remedy = f"it takes a triggerer, {dataset}_pipeline unpaused, and storage that answers"
    if sign is None:
        return f"NOBODY WATCHES, nor ever has: {remedy}"
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
            _shown(receipt.message),
        )
    for column in table.columns:
        column.overflow = "fold"
    return table


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


@app.command()
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
        out.print(f"{again.batch_id} is pending", highlight=False, soft_wrap=True)


@app.command()
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
    done = run_stage(name, found, inbox, deliveries)
    print(json.dumps([one.to_dict() for one in done]))


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


@app.command()
def check(
    dataset: Annotated[str, typer.Argument(help="A dataset; all of them if left out.")] = "",
) -> None:
    """Check dataset files: keys, feature expressions, and that the model fits.

    Example: flagfall check flights
    """
    from flagfall.cli.check import check_dataset  # polars, only where it is needed

    def tell(one: Dataset) -> None:
        out.print(f"{one.name}: {check_dataset(one)}", highlight=False, soft_wrap=True)

    _end(_for_each(dataset, tell))
