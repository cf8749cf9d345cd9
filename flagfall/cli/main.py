"""The command line: ``flagfall``."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from flagfall.cli.batches import dismiss_command, publish_command, replay, stage
from flagfall.cli.check import check
from flagfall.cli.console import complain, out
from flagfall.cli.exit_codes import code_of
from flagfall.cli.init import init
from flagfall.cli.model import model_app
from flagfall.cli.status import status_command
from flagfall.cli.watch import watch
from flagfall.errors import FlagfallError, printable

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
    try:
        app()
    except FlagfallError as error:
        complain(error)
        sys.exit(code_of([error]))
