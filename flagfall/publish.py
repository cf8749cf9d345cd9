"""Publishing a batch as a producer should: data first, then the marker, last and in one step.

The marker is a Data Package descriptor with the size and sha256 of every file. Files that are there
already are left as they are, so what broke off is published again to complete it.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from flagfall.landing.file_names import data_format, is_litter
from flagfall.landing.marker import is_text
from flagfall.landing.zone import LandingZone
from flagfall.stores import Fetched, Store, ignore_progress, open_store
from flagfall.stores.copying import digest_of
from flagfall.stores.places import is_file, is_folder

DEFAULT_MARKER = "datapackage.json"
AT_ONCE = 4
"""Files that are copied at the same time."""

HIDDEN_SHOWN = 3
HIDDEN_COUNTED = 10_000
"""Data files that are left out: so many are named, and no more are counted."""


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
class Place:
    """Where a batch is published.

    Attributes:
        folder: URI of its folder.
        marker: File name of its marker.
        conn_id: Airflow connection with the rights to it; empty for what the environment gives.
    """

    folder: str
    marker: str
    conn_id: str = ""


def place_of(
    source: Path,
    landing: LandingZone,
    folder: str = "",
    marker: str = "",
    fields: Sequence[str] = (),
) -> Place:
    """Where a feed waits for a batch.

    Args:
        source: The directory with its files.
        landing: The feed's landing zone.
        folder: URI of the batch's folder; empty where ``fields`` say it.
        marker: File name of the marker; empty for what the pattern says.
        fields: Values of the pattern's fields, such as ``date=2013-11-05``.

    Raises:
        NotThere: A field has no value, or the pattern has no such field.
        MarkerPatternInvalid: The feed would not take the marker for one.
        StoreRefused: No store knows the folder's kind of URI.
        BatchInvalid: That is the source itself: nobody wrote its data before its marker.
    """
    uri = open_store(folder).uri if folder else landing.uri
    key = _below(landing, uri, marker) if folder else _filled(landing, marker, fields)
    if landing.pattern.match(key) is None:
        why = f"{key!r} does not fit, so nobody would wait for it"
        raise MarkerPatternInvalid(landing.pattern.text, why)
    parent, _, name = key.rpartition("/")
    place = f"{landing.uri}/{parent}" if parent else landing.uri
    if "://" not in place and source.resolve() == Path(place).resolve():
        why = f"{place} is the source itself; publish from a folder outside of the landing zone"
        raise BatchInvalid("source-in-landing-zone", why)
    return Place(place, name, landing.place[1])


def _below(landing: LandingZone, uri: str, marker: str) -> str:
    """Key of a marker in a folder that was named."""
    if not f"{uri}/".startswith(f"{landing.uri}/"):
        why = f"{uri} is not below the landing zone {landing.uri}, so nobody would wait for it"
        raise MarkerPatternInvalid(landing.pattern.text, why)
    if not marker and not landing.pattern.owns_folder:
        raise NotThere("name for the marker", "", "give --marker, or --field instead of a folder")
    name = marker or landing.pattern.text.rpartition("/")[2]
    return f"{uri}/{name}".removeprefix(f"{landing.uri}/")


def _filled(landing: LandingZone, marker: str, fields: Sequence[str]) -> str:
    """Key of the marker that has these fields."""
    given = [pair.partition("=")[::2] for pair in fields]
    values, wanted = dict(given), landing.pattern.fields
    for name, value in given:
        if values[name] != value:
            raise NotThere("way to choose", value, f"give one value for the field {name!r}")
    if unknown := [name for name in values if name not in wanted]:
        raise NotThere(
            "field", unknown[0], f"the marker pattern has: {', '.join(wanted) or 'none'}"
        )
    if missing := [name for name in wanted if not values.get(name)]:
        raise NotThere("value for the marker's field", missing[0], f"--field {missing[0]}=VALUE")
    key = landing.pattern.fill(values)
    return f"{key.rpartition('/')[0]}/{marker}".lstrip("/") if marker else key


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
        NotAFile: A link, a pipe or the like is among the files.
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
    if not is_folder(source):
        raise NotThere("directory", str(source))
    try:
        files = sorted(_walk(source))
    except OSError as error:
        raise NotThere("readable directory", str(source), str(error)) from error
    files = [file for file in files if file.relative_to(source).as_posix() != marker]
    if not files:
        raise NotThere("data file in", str(source), "hidden files and _-files are left out")
    return files


def hidden_data(source: Path, marker: str = DEFAULT_MARKER) -> str:
    """One line that names the data files which ``publish`` leaves out; empty where there are none.

    Files without an ending of data, such as ``_SUCCESS``, are not named.
    """
    hidden = (name for name in _hidden_data(source) if name != marker)
    found = sorted(islice(hidden, HIDDEN_COUNTED))
    if not found:
        return ""
    more = len(found) - HIDDEN_SHOWN
    names = ", ".join(repr(name) for name in found[:HIDDEN_SHOWN])
    shown = f"{names} and {more:,} more" if more > 0 else names
    return f"left out, since their names or their folders' begin with '_' or '.': {shown}"


def _hidden_data(source: Path) -> Iterator[str]:
    for folder, _, names in os.walk(source):
        for name in names:
            path = Path(folder, name).relative_to(source)
            is_hidden = any(part.startswith((".", "_")) for part in path.parts)
            if is_hidden and data_format(name) and not is_litter(path.as_posix()):
                yield path.as_posix()


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith((".", "_")):
            continue
        if path.is_symlink():
            raise NotAFile(str(path), "a link; publish the file itself, links are not followed")
        if not is_text(path.name):
            raise BatchInvalid("name-not-text", f"{str(path)!r}: its name is not UTF-8; rename it")
        if is_folder(path):
            yield from _walk(path)
        elif is_file(path):
            yield path
        else:
            raise NotAFile(str(path), "a pipe, socket or device; publish a file with its data")


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
