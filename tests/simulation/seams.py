"""Where the real code meets the simulation: a few names that are replaced while it runs."""

from __future__ import annotations

import random
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from flagfall import concurrency, rows, stores
from flagfall.errors import BatchInvalid
from flagfall.inbox import shortcuts
from flagfall.stores import scratch
from tests.simulation.schedule import Schedule

MODULES = (
    "flagfall.inbox.claim",
    "flagfall.stages.ingest",
    "flagfall.stages.shard",
    "flagfall.watch.loop",
    "flagfall.lake.receipts",
    "flagfall.publish",
)
_checked: dict[Any, Any] = {}
_check_files = rows.check_files


def _in_turn(function: Callable[[Any], Any], arguments: Iterable[Any]) -> Iterator[Any]:
    """What ``in_parallel`` does, one after the other."""
    return map(function, arguments)


class _InTurn:
    """A pool of no threads."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> _InTurn:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    map = staticmethod(map)


def _remembered(files: Any, dataset: Any, folder: Path) -> Any:
    """What ``check_files`` does: the same bytes for the same files, so they are kept."""
    key = (dataset.landing.marker, *((file.name, file.path.read_bytes()) for file in files))
    if key not in _checked:
        _checked[key] = _checked_now(files, dataset, folder)
    checked, written = _checked[key]
    if isinstance(checked, BatchInvalid):
        raise BatchInvalid(checked.reason, str(checked))
    for name, data in written.items():
        (folder / name).write_bytes(data)
    return _checked_in(folder, checked)


def _checked_now(files: Any, dataset: Any, folder: Path) -> Any:
    try:
        checked = _check_files(files, dataset, folder)
    except BatchInvalid as invalid:
        return invalid, {}
    kept = [*checked.files, *filter(None, [checked.rejected])]
    return checked, {path.name: path.read_bytes() for path in kept}


def _checked_in(folder: Path, checked: Any) -> Any:
    """The same rows, in another folder."""
    rejected = checked.rejected and folder / checked.rejected.name
    return replace(
        checked, files=tuple(folder / path.name for path in checked.files), rejected=rejected
    )


@contextmanager
def seams(schedule: Schedule, open_store: Callable[..., Any], folder: Path) -> Iterator[None]:
    """Have the real code run on a simulation.

    Args:
        schedule: Gives the time, and chance.
        open_store: Gives the stores.
        folder: For scratch files.
    """
    for module in MODULES:
        import_module(module)
    random.seed(schedule.random.random())
    clock = SimpleNamespace(
        monotonic=schedule.monotonic,
        time=lambda: schedule.time().timestamp(),
        time_ns=lambda: int(schedule.time().timestamp() * 1e9),
        sleep=schedule.wait,
        perf_counter=schedule.monotonic,
    )

    @contextmanager
    def scratch_folder(root: Path | None) -> Iterator[Path]:
        with TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as made:
            yield Path(made)

    put_in = {
        id(stores.open_store): open_store,
        id(concurrency.in_parallel): _in_turn,
        id(concurrency.ThreadPoolExecutor): _InTurn,
        id(shortcuts.utcnow): schedule.time,
        id(scratch.scratch_folder): scratch_folder,
        id(_check_files): _remembered,
        id(uuid.uuid4): lambda: uuid.UUID(int=random.getrandbits(128)),
        id(sys.modules["time"]): clock,
    }
    before = list(_replaced(put_in))
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _replaced(put_in: dict[int, Any]) -> Iterator[tuple[Any, str, Any]]:
    """Put names of ``flagfall`` in the place of others; gives what was there."""
    for path, module in list(sys.modules.items()):
        if not path.startswith("flagfall.") or path == "flagfall.concurrency":
            continue
        for name, value in list(vars(module).items()):
            if id(value) in put_in:
                yield module, name, value
                setattr(module, name, put_in[id(value)])


@contextmanager
def scratch_of_oracle() -> Iterator[Path]:
    """A folder for what the oracle reads."""
    with TemporaryDirectory(prefix="flagfall-oracle-") as folder:
        yield Path(folder)
