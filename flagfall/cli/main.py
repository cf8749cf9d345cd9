"""The command line: ``flagfall``."""

from __future__ import annotations

import logging
import os
import sys
from errno import ENOSPC
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated

import typer

from flagfall.cli.batches import dismiss_command, publish_command, stage
from flagfall.cli.check import check
from flagfall.cli.console import complain, err, out
from flagfall.cli.exit_codes import ExitCode, code_of
from flagfall.cli.init import init
from flagfall.cli.model import model_app
from flagfall.cli.replay import replay
from flagfall.cli.status import status_command
from flagfall.cli.tables import outcomes, predictions, rows, table
from flagfall.cli.upkeep import upkeep
from flagfall.cli.watch import watch
from flagfall.errors import FlagfallError, printable
from flagfall.stores.os_errors import named_error

app = typer.Typer(
    name="flagfall",
    help="From a marker file to a report. Datasets are described in datasets/<name>.yaml.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(is_asked: bool) -> None:
    if is_asked:
        out.print(f"flagfall {version('flagfall')}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the release."),
    ] = False,
) -> None:
    """From a marker file to a report. Datasets are described in datasets/<name>.yaml."""


app.command()(init)
app.command("publish")(publish_command)
app.command()(watch)
app.command("status")(status_command)
app.command()(replay)
app.command("dismiss")(dismiss_command)
app.command()(stage)
app.command()(rows)
app.command()(predictions)
app.command()(outcomes)
app.command()(table)
app.command()(upkeep)
app.command()(check)
app.add_typer(model_app, name="model")


class _Written(logging.Formatter):
    """Writes out what would steer a terminal, whoever logs it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return printable(super().format(record))


def main() -> None:
    """Run the command line; a user's mistake ends in one clear line, not in a traceback."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Written("flagfall: %(message)s"))
    handler.addFilter(lambda record: record.exc_info is None)  # the error itself is printed below
    logging.basicConfig(handlers=[handler])
    for stream in (sys.stdout, sys.stderr):  # names may have letters that it lacks
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except FlagfallError as error:
        complain(error)
        sys.exit(code_of([error]))
    except OSError as error:
        if error.errno != ENOSPC or error.filename is not None:
            complain(named := named_error(error))
            sys.exit(code_of([named]))
        err.print("flagfall: the output cannot be written: no space left on the device")
        os._exit(ExitCode.FAILED)  # Python would try once more, and fail
