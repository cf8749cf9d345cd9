"""Publishing a batch as a producer should: data first, then the marker, last and in one step.

The marker is a Data Package descriptor with the size and sha256 of every file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagfall.errors import BatchInvalid, MarkerPatternInvalid, NotAFile, NotThere
from flagfall.marker import is_text
from flagfall.stores import Store, open_store

DEFAULT_MARKER = "datapackage.json"


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        marker: URI of the marker.
        files: Number of data files.
        bytes: Their size together.
    """

    marker: str
    files: int
    bytes: int


def publish(
    source: Path,
    destination: str,
    marker: str = DEFAULT_MARKER,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Published:
    """Copy the files of a directory, then write their marker.

    Args:
        source: A directory; hidden files, ``_``-files and a marker in it are left out.
        destination: URI of the batch's folder in the landing zone.
        marker: File name of the marker.
        on_bytes: Told the size of each piece that has been copied.

    Raises:
        NotThere: ``source`` is no directory or has no files.
        MarkerPatternInvalid: ``marker`` is no file name.
        NotAFile: A link is among the files.
        BatchInvalid: A file's name is not UTF-8, or the destination is below the source.
    """
    store = open_store(destination)
    files = data_files(source, marker)
    _check_apart(source, store.uri)
    resources = [_copy(source, file, store, on_bytes) for file in files]
    descriptor = {"name": source.resolve().name.lower(), "resources": resources}
    store.put(marker, json.dumps(descriptor, indent=1).encode())
    total = sum(int(resource["bytes"]) for resource in resources)
    return Published(f"{store.uri}/{marker}", len(files), total)


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


def _copy(
    source: Path, file: Path, store: Store, on_bytes: Callable[[int], None]
) -> dict[str, Any]:
    """Copy one file and describe it."""
    key = file.relative_to(source).as_posix()
    copied = store.upload(file, key, on_bytes)
    return {"path": key, "bytes": copied.size, "hash": f"sha256:{copied.sha256}"}
