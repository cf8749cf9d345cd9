"""``flagfall watch``: markers as they land."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Annotated

import typer

from flagfall.cli.console import AsJson, err, nobody_reads
from flagfall.cli.exit_codes import ExitCode
from flagfall.errors import printable
from flagfall.landing.marker import Marker
from flagfall.landing.zone import LandingAddress, LandingZone
from flagfall.stores.places import is_made
from flagfall.watch.loop import arrivals


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
            help="URL of a queue that hears of new objects; not one that a triggerer listens to,"
            " which would hear less."
        ),
    ] = "",
) -> None:
    """Print markers as they land, those that are there already first. Needs no Airflow.

    Example: flagfall watch .flagfall/data/landing/flights --marker 'date={date}/datapackage.json'
    """
    try:
        landing = LandingZone(LandingAddress(uri=uri, marker=marker, sqs_queue=sqs_queue))
        if not _is_there(landing):
            warning = f"{landing.uri} is not there yet; it is watched as soon as it is made"
            err.print(f"flagfall: {printable(warning)}", soft_wrap=True)
        asyncio.run(_watch(landing, sweep_every, as_json, count))
    except BrokenPipeError:
        nobody_reads()
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _is_there(landing: LandingZone) -> bool:
    """Whether a landing zone is; of a bucket nobody knows before something is in it."""
    return landing.store.metered or is_made(landing.uri)


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
    return f"{marker.landed_at:%Y-%m-%d %H:%M:%S.%f}  {printable(marker.uri)}"
