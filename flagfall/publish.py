"""Publishing a batch as a producer should: data first, then the marker, last and in one step.

The marker is a Data Package descriptor with the size and sha256 of every file. Files that are there
already are left as they are, so what broke off is published again to complete it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from flagfall.errors import (
    BatchInvalid,
    MarkerPatternInvalid,
    NotAFile,
    NotThere,
    StoreRefused,
    StoreUnavailable,
)
from flagfall.landing.marker import is_text
from flagfall.stores import Fetched, Store, ignore_progress, open_store
from flagfall.stores.copying import digest_of

DEFAULT_MARKER = "datapackage.json"
AT_ONCE = 4
"""Files that are copied at the same time."""


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        marker: URI of the marker.
        files: Number of data files.
        bytes: Their size together.
        skipped: How many of them were there already.
    """

    marker: str
    files: int
    bytes: int
    skipped: int


@dataclass(frozen=True)
class _Copied:
    """A file that is at its destination.

    Attributes:
        key: Its path below the batch's folder.
        content: Its size and hash.
        skipped: Whether it was there already.
    """

    key: str
    content: Fetched
    skipped: bool


def publish(
    source: Path,
    destination: str,
    marker: str = DEFAULT_MARKER,
    on_bytes: Callable[[int], None] = ignore_progress,
    conn_id: str = "",
) -> Published:
    """Copy the files of a directory, then write their marker.

    When a file fails, no other is begun, and those under way end first.

    Args:
        source: A directory; hidden files, ``_``-files and a marker in it are left out.
        destination: URI of the batch's folder in the landing zone.
        marker: File name of the marker.
        on_bytes: Told the size of each piece that has been copied or was there already; called by
            several threads, one at a time.
        conn_id: Airflow connection with the rights to the destination; empty for what the
            environment gives.

    Raises:
        NotThere: ``source`` is no directory or has no files, or a file cannot be read.
        MarkerPatternInvalid: ``marker`` is no file name.
        NotAFile: A link is among the files.
        BatchInvalid: A file's name is not UTF-8, or the destination is below the source.
        StoreRefused: The destination takes no files.
        StoreUnavailable: The destination fails for now, or a file changed meanwhile.
    """
    store = open_store(destination, conn_id)
    files = data_files(source, marker)
    _check_apart(source, store.uri)
    copied = _copy_all(source, files, store, on_bytes)
    descriptor = {"name": source.resolve().name.lower(), "resources": list(map(_resource, copied))}
    store.put(marker, json.dumps(descriptor, indent=1).encode())
    total = sum(one.content.size for one in copied)
    skipped = sum(one.skipped for one in copied)
    return Published(f"{store.uri}/{marker}", len(copied), total, skipped)


def data_files(source: Path, marker: str = DEFAULT_MARKER) -> list[Path]:
    """The files that ``publish`` would copy, sorted.

    Raises:
        As ``publish``.
    """
    if "/" in marker or marker in ("", ".", ".."):
        raise MarkerPatternInvalid(marker, "expected the name of a file, without a folder")
    if not source.is_dir():
        raise NotThere("directory", str(source))
    try:
        files = sorted(_walk(source))
    except PermissionError as error:
        raise NotThere("readable directory", str(source), str(error)) from error
    files = [file for file in files if file.relative_to(source).as_posix() != marker]
    if not files:
        raise NotThere("data file in", str(source), "hidden files and _-files are left out")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith((".", "_")):
            continue
        if path.is_symlink():
            raise NotAFile(str(path), "a link; publish the file itself, links are not followed")
        if not is_text(path.name):
            raise BatchInvalid("name-not-text", f"{str(path)!r}: its name is not UTF-8; rename it")
        if path.is_dir():
            yield from _walk(path)
        elif path.is_file():
            yield path


def _check_apart(source: Path, destination: str) -> None:
    """A destination below the source would be published with it the next time."""
    if "://" not in destination and source.resolve() in Path(destination).resolve().parents:
        why = f"{destination} is inside {source}; publish to a folder outside of it"
        raise BatchInvalid("destination-inside-source", why)


def _copy_all(
    source: Path, files: Iterable[Path], store: Store, on_bytes: Callable[[int], None]
) -> list[_Copied]:
    """Copy files, a few at once; sorted by path."""
    interrupted = threading.Event()
    report = _one_at_a_time(on_bytes, interrupted)
    with ThreadPoolExecutor(AT_ONCE, "publish") as pool:
        try:
            found = _each(pool, files, lambda file: _copy(source, file, store, report))
            return sorted(found, key=lambda one: one.key.split("/"))
        except Exception:
            raise
        except BaseException:  # Ctrl-C, or a time limit of Airflow
            interrupted.set()
            raise


def _one_at_a_time(
    on_bytes: Callable[[int], None], interrupted: threading.Event
) -> Callable[[int], None]:
    """The same for several threads; ends the copy that calls it once they are to stop."""
    lock = threading.Lock()

    def report(count: int) -> None:
        if interrupted.is_set():
            raise _Interrupted
        with lock:
            on_bytes(count)

    return report


class _Interrupted(Exception):
    """Never seen outside: the thread that set the event raises the error that interrupted it."""


def _each(
    pool: ThreadPoolExecutor, files: Iterable[Path], do: Callable[[Path], _Copied]
) -> Iterator[_Copied]:
    """Do something with every file, a few at once; after the first error nothing more is begun."""
    waiting = iter(files)
    under_way = {pool.submit(do, file) for file in islice(waiting, AT_ONCE)}
    while under_way:
        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        yield from [future.result() for future in done]
        under_way |= {pool.submit(do, file) for file in islice(waiting, len(done))}


def _copy(source: Path, file: Path, store: Store, on_bytes: Callable[[int], None]) -> _Copied:
    """Copy one file unless it is there."""
    key = file.relative_to(source).as_posix()
    try:
        content = digest_of(file)
        if skipped := _is_there(store, key, content):
            on_bytes(content.size)
        elif store.upload(file, key, on_bytes) != content:
            raise StoreUnavailable(str(file), "changed while it was published; publish it again")
    except OSError as error:
        raise NotThere("readable file", str(file), str(error)) from error
    return _Copied(key, content, skipped)


def _is_there(store: Store, key: str, content: Fetched) -> bool:
    try:
        return store.holds(key, content)
    except StoreRefused:  # a producer's role may write but not look
        return False


def _resource(copied: _Copied) -> dict[str, Any]:
    content = copied.content
    return {"path": copied.key, "bytes": content.size, "hash": f"sha256:{content.sha256}"}
