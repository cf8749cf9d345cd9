"""The table of executors."""

from __future__ import annotations

from rich.console import Console

from sandbox.executors import Run, table


def test_a_row_has_what_was_counted_and_no_pods_where_there_are_none() -> None:
    runs = [
        Run("local", 44, None, 4.04, 12.5, 96.4, 201.6),
        Run("kubernetes", 44, 44, 9.96, 41.2, 300.0, 512.4),
    ]
    console = Console(width=100)
    with console.capture() as said:
        console.print(table(runs))
    local, kubernetes = said.get().splitlines()[-3:-1]
    assert local.split() == ["local", "44", "-", "4.0", "s", "12.5", "s", "96", "s", "202", "s"]
    assert kubernetes.split()[:3] == ["kubernetes", "44", "44"]
