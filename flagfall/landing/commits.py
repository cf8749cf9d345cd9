"""Notes beside data files that say which of them count.

Databricks' committer (DBIO) writes ``_started_<id>`` when a job begins and ``_committed_<id>`` when
it ends, with the files that it added and those that it replaced. What a failed job left behind
stays in the folder. A table format keeps a log, which only its own reader understands.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from flagfall.errors import BatchInvalid

_NOTE = re.compile(r"_(?:started|committed)_\w+")
_LOGS = {
    "_delta_log": "Delta Lake",
    ".hoodie": "Hudi",
    ".hoodie_partition_metadata": "Hudi",
    "_spark_metadata": "Spark's streaming sink",
}
_ICEBERG = "metadata.json"

UNCOMMITTED = "no _committed_ file beside it names it: the job that wrote it failed, or still runs"
REPLACED = "a _committed_ file beside it says that it was replaced"


def is_commit_note(name: str) -> bool:
    """Whether a file is a note of Databricks' committer."""
    return _NOTE.fullmatch(name) is not None


def is_table_log(folders: Sequence[str], name: str) -> bool:
    """Whether a file is part of a table's log."""
    return bool(_table_format(folders, name))


def _table_format(folders: Sequence[str], name: str) -> str:
    if folders and folders[-1] == "metadata" and name.endswith(f".{_ICEBERG}"):
        return "Iceberg"
    return next((_LOGS[part] for part in (*folders, name) if part in _LOGS), "")


def table_log(uri: str, key: str) -> BatchInvalid:
    """The error for a batch whose files are a table's."""
    *folders, name = key.split("/")
    why = (
        f"{key}: the log of {_table_format(folders, name)}: it says which files of the table count"
    )
    remedy = "write the rows to a folder of their own as plain files, then the marker there"
    return BatchInvalid("table-log", f"{uri}: {why}, and is not read here; {remedy}")


def uncommitted(
    keys: Iterable[str], notes: Iterable[str], read: Callable[[str], bytes]
) -> dict[str, str]:
    """Files that do not count, with the reason.

    Args:
        keys: Data files.
        notes: Notes of the committer; each is about the files of its own folder.
        read: Reads a note.

    Raises:
        BatchInvalid: A note cannot be understood.
    """
    added: dict[str, set[str]] = defaultdict(set)
    removed: dict[str, set[str]] = defaultdict(set)
    for note in notes:
        folder, _, name = note.rpartition("/")
        added[folder].update(())
        if name.startswith("_committed_"):
            content = _content(note, read(note))
            added[folder].update(content["added"])
            removed[folder].update(content["removed"])
    found: dict[str, str] = {}
    for key in keys:
        folder, _, name = key.rpartition("/")
        if folder in added and name in removed[folder]:
            found[key] = REPLACED
        elif folder in added and name not in added[folder]:
            found[key] = UNCOMMITTED
    return found


def _content(key: str, note: bytes) -> dict[str, list[str]]:
    try:
        plain = json.loads(note)
    except (ValueError, RecursionError) as error:
        raise _not_understood(key) from error
    lists = (
        [plain.get(name, []) for name in ("added", "removed")] if isinstance(plain, dict) else []
    )
    if not lists or not all(isinstance(names, list) for names in lists):
        raise _not_understood(key)
    if not all(isinstance(name, str) for names in lists for name in names):
        raise _not_understood(key)
    return dict(zip(("added", "removed"), lists, strict=True))


def _not_understood(key: str) -> BatchInvalid:
    why = f"{key}: expected JSON with the lists 'added' and 'removed', as Databricks writes it"
    return BatchInvalid("manifest-invalid", f"{why}; run the job again")
