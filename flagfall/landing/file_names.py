"""What a file's name says: the format of its rows, what it is part of, or that it is no data.

Producers' tools write more than data into a folder, and some write their data under a name for the
time being. Names are all that can be known of a file without reading it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal
from urllib.parse import unquote

from flagfall.errors import BatchInvalid

DataFormat = Literal["csv", "tsv", "jsonl", "parquet"]

_ENDINGS: dict[str, DataFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
UNDERSTOOD = ".csv, .tsv, .jsonl, .ndjson and .json, also with .gz, and .parquet"
"""The endings that are understood, for messages."""

_PACKED = r"(?:\.(?:gz|gzip|zst|zstd|bz2|xz|zip|lz4|lzo|snappy|br|brotli|deflate|Z))"
_CODEC = r"(?:\.(?:snappy|gz|gzip|zstd|lz4|lzo|brotli))"
_FORMAT = r"\.(?:csv|tsv|jsonl|ndjson|json|parquet)"
_FORM = re.compile(rf"(?:{_CODEC}?{_FORMAT})?{_PACKED}*\Z", re.IGNORECASE)
_FORM_AT_START = re.compile(rf"{_FORMAT}(?:\.gz)?(?=[._-])", re.IGNORECASE)
_CONFLICT = re.compile(r"\.sync-conflict-[\w-]+| ?\([^()]*conflicted copy[^()]*\)", re.IGNORECASE)
"""What Syncthing, Dropbox and Nextcloud put into the name of a file's other version."""

_LITTER = re.compile(
    r"@eadir|#recycle|@recycle|\$recycle\.bin|@tmp|\.@__thumb|[#~.]snapshot|lost\+found|__macosx"
    r"|system volume information|\.spotlight-v100|\.trash.*|\.ipynb_checkpoints",
    re.IGNORECASE | re.DOTALL,
)
"""Folders that storage, desktops and sync tools leave behind, with all in them."""
_LITTER_FILES = re.compile(
    r"thumbs\.db|ehthumbs\.db|desktop\.ini|icon\r|.*:zone\.identifier|\.ds_store|\._.*|\.~lock\..*"
    r"|~\$.*|\.nfs.*|\.fuse_hidden.*|.*_\$folder\$|.*\.crc",
    re.IGNORECASE | re.DOTALL,
)
"""Files that they leave behind."""

_UPLOAD = re.compile(
    r"(?P<name>.+)(?:_\.gstmp|\.(?:filepart|partial|part|tmp|temp|crdownload|download|aria2"
    r"|uploading|inprogress|_copying_))",
    re.IGNORECASE | re.DOTALL,
)
"""Names that WinSCP, rclone, browsers and ``hdfs dfs -put`` give a file until it is complete."""
_RANDOM = re.compile(r"\.[0-9A-Za-z]{8}\Z")
"""What ``rclone`` puts before its ``.partial``."""

_ENDING = r"\.(?i:csv|tsv|jsonl|ndjson|json|parquet|gz)"
_COPY = re.compile(
    rf"\.(?P<rsync>.+{_ENDING})\.(?=[a-z]*[A-Z0-9])[0-9A-Za-z]{{6}}"
    rf"|(?P<aws>.+{_ENDING})\.(?=\d*[a-fA-F])[0-9a-fA-F]{{8}}",
    re.DOTALL,
)
"""The same of ``rsync`` and ``aws s3 cp``: random characters behind the name."""

_COPIES = r"(?:[._ -]*of[._ -]*\d+)?"
_NUMBER = r"(?:(?!(?:19|20)\d\d(?!\d))\d{1,5}|0\d{5,14})"
_SPARK = r"(?:-[0-9a-f-]{36})?(?:-c\d+)?"
_PART = re.compile(
    rf"[._ -]+(?:part|chunk|shard|slice|split|piece|p)[._ -]*\d+{_COPIES}{_SPARK}"
    rf"| ?\(\d{{1,5}}\)|\.{_NUMBER}{_COPIES}",
    re.IGNORECASE,
)
_NUMBERED = re.compile(rf"[_ -]+{_NUMBER}(?:_{_NUMBER})*{_COPIES}|0\d{{11}}", re.IGNORECASE)
"""The last is what BigQuery writes for the ``*`` of ``orders*.csv``; no time begins with 0."""

_OTHER_ENDING = re.compile(r"\.[A-Za-z]\w*")

_NULL = "__HIVE_DEFAULT_PARTITION__"


def data_format(name: str, otherwise: DataFormat | None = None) -> DataFormat | None:
    """The format of a file's rows.

    Args:
        name: Its name or key.
        otherwise: The format of a file whose name does not say (``landing.format``).

    Returns:
        ``None`` where it is not known.
    """
    plain = name.lower().removesuffix(".gz")
    ending = plain[plain.rfind(".") :] if "." in plain.rpartition("/")[2] else ""
    if ending == ".parquet" and plain != name.lower():
        return otherwise
    return _ENDINGS.get(ending, otherwise)


def is_called_like_data(name: str) -> bool:
    """Whether a name is one of data and of no marker; a Data Package's ends with ``.json``."""
    return data_format(name) is not None and not name.lower().endswith(".json")


def is_packed(name: str) -> bool:
    """Whether the bytes of a text file are gzip."""
    return name.lower().endswith(".gz")


def without_form(name: str) -> str:
    """A name without what says in which form, or which version, its rows are written."""
    plain = _CONFLICT.sub("", name)
    found = _FORM.search(plain)
    return plain[: found.start()] if found else plain


def form_at_start(text: str) -> str:
    """The endings with which a text begins: ``.csv.gz`` of ``.csv.gz.done``."""
    found = _FORM_AT_START.match(text)
    return found[0] if found else ""


def is_litter(path: str) -> bool:
    """Whether a file is no data, but what a tool leaves behind."""
    *folders, name = path.split("/")
    parts = (*folders, name)
    return (
        not name or _LITTER_FILES.fullmatch(name) is not None or any(map(_LITTER.fullmatch, parts))
    )


def finished_name(name: str, otherwise: DataFormat | None = None) -> str:
    """What a file that is being written still will be called; empty where it is not.

    Args:
        name: Without folders.
        otherwise: As for ``data_format``: the files of such a feed may well end with ``.part``,
            such as dask's ``0.part``, which says no form.
    """
    if otherwise and name.lower().endswith(".part"):
        finished = name[: -len(".part")]
        if without_form(finished) == finished:
            return ""
    if found := _COPY.fullmatch(name):
        return found["rsync"] or found["aws"]
    if (found := _UPLOAD.fullmatch(name)) is None:
        return ""
    plain = _RANDOM.sub("", found["name"])
    return (plain if data_format(plain) else found["name"]).lstrip(".")


def is_part(stem: str, name: str, is_folder: bool = False) -> bool:
    """Whether a file or folder of this name is the one that is called ``stem``, or a part of it.

    It is decided by the two names alone, so that it does not depend on what else is there: after
    the stem there is nothing, a number, or a word such as ``part`` and a number; and the endings,
    of a folder only those of data: ``orders.eu`` is another folder than ``orders``.
    A number alone must follow a dot where the stem ends with a digit: ``2013-05-01`` is a day and
    no part of ``2013-05``.
    """
    if not name.startswith(stem):
        return False
    end = name[len(stem) :]
    rest = without_form(end)
    has_ending = not is_folder and rest == end and _OTHER_ENDING.fullmatch(end)
    if not rest or _PART.fullmatch(rest) or has_ending:
        return True
    return not stem[-1:].isdigit() and _NUMBERED.fullmatch(rest) is not None


def is_like(stem: str, name: str) -> bool:
    """Whether a file that is no part of ``stem`` could be meant as one.

    ``data2`` could, for ``data``; ``monday`` is another word than ``mon``, and ``10`` than ``1``.
    """
    last, following = stem[-1:], name[len(stem) : len(stem) + 1]
    same_word = (last.isdigit() and following.isdigit()) or (last.isalpha() and following.isalpha())
    return name.startswith(stem) and not same_word


def folder_values(key: str, columns: Collection[str]) -> dict[str, str | None]:
    """What ``name=value`` folders of a key say, as Hive, Spark, DuckDB and pyarrow write them.

    Args:
        key: A file's.
        columns: The names that count; other folders are only folders.

    Returns:
        Values by column; ``None`` for what these write for null.

    Raises:
        BatchInvalid: A value is not UTF-8, or two folders say different things.
    """
    found: dict[str, str | None] = {}
    for folder in key.split("/")[:-1]:
        encoded, is_one, text = folder.partition("=")
        name = unquote(encoded)
        if not is_one or name not in columns:
            continue
        value = None if text == _NULL else _decoded(key, text)
        if found.setdefault(name, value) != value:
            raise BatchInvalid("columns", f"{key}: its folders give {name!r} two values; write one")
    return found


def _decoded(key: str, text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        why = f"{key}: the folder's value {text!r} is not UTF-8; write it so, percent-encoded"
        raise BatchInvalid("encoding", why) from error
