"""The text of a dataset file, with comments that say what the sample has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
import yaml

from flagfall.dataset.dialect import Dialect
from flagfall.errors import printable
from flagfall.sample.files import Sample
from flagfall.sample.keys import Keys
from flagfall.sample.typed import Typed
from flagfall.sample.types import Guess

ENUM_VALUES = 12
"""A text of no more different values may be one of a list."""

_ROWS_PER_VALUE = 5
"""Fewer rows for each different value show no list."""

_GUESSED = ("windows-1252", "iso-8859-1")

_PLAIN = re.compile(r"[^\W\d]\w*(?:[ -]\w+)*")
_OTHERS_READ_AS_BOOLEAN = {"y", "n", "Y", "N"}


@dataclass(frozen=True)
class Draft:
    """What a dataset file says.

    Attributes:
        name: Of the dataset.
        guesses: Its columns.
        optional: Names of columns that some files lack.
        left_out: Columns that the file does not name, and why.
    """

    name: str
    sample: Sample
    dialect: Dialect
    guesses: tuple[Guess, ...]
    missing: tuple[str, ...]
    optional: frozenset[str]
    left_out: dict[str, str]


def scalar(value: Any) -> str:
    """A value as YAML: in quotes where it would be read as another one."""
    if not isinstance(value, str):
        return _unquoted(value)
    is_plain = _PLAIN.fullmatch(value) and value not in _OTHERS_READ_AS_BOOLEAN
    if is_plain and yaml.safe_load(value) == value:
        return value
    quoted = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=float("inf"))
    return str(quoted).rstrip("\n")


def _unquoted(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def listed(values: Iterable[Any]) -> str:
    """Values as a YAML list on one line."""
    return f"[{', '.join(map(scalar, values))}]"


def mapping(pairs: dict[str, Any]) -> str:
    """Keys and values as a YAML mapping on one line."""
    return f"{{{', '.join(f'{key}: {_value(value)}' for key, value in pairs.items())}}}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return mapping(value)
    return listed(value) if isinstance(value, list | tuple) else scalar(value)


def text_before_reading(draft: Draft) -> str:
    """The dataset file without constraints and key, to read the sample with."""
    fields = [_field(draft, guess) for guess in draft.guesses]
    return "\n".join([*_head(draft), "schema:", "  fields:", *fields, *_end(draft)])


def dataset_text(draft: Draft, typed: Typed, keys: Keys) -> str:
    """The dataset file."""
    lines = [
        *_about(draft, typed),
        *_head(draft),
        "",
        "schema:",
        "  # Below a column: what the sample has. If it will hold tomorrow as well, add it to the",
        "  # column's constraints: {required: true, minimum: 0}. `required` says that every row of",
        "  # the sample has a value: remove it where one may be missing.",
        "  fields:",
        *(line for guess in draft.guesses for line in _described(draft, guess, typed)),
        *_left_out(draft),
        *_key(typed, keys),
        *_end(draft),
    ]
    return "\n".join(lines) + "\n"


def _about(draft: Draft, typed: Typed) -> Iterator[str]:
    of_all = "all" if typed.is_whole else "the first"
    rows = typed.rows.height + typed.rejected_rows
    source = printable(draft.sample.path.name)
    yield f"# Written by `flagfall init` from {of_all} {rows:,} rows of {source}."
    yield "# docs/dataset.md explains every key, docs/add-a-feed.md the next steps."
    for reason, count in list(typed.rejected.items())[:5]:
        yield f"# {count:,} of {rows:,} rows are bad rows: {printable(reason)}"


def _head(draft: Draft) -> Iterator[str]:
    root = "${FLAGFALL_DATA:-.flagfall/data}"
    yield f"title: {scalar(draft.name.replace('_', ' ').capitalize())}"
    yield "landing:"
    yield f"  uri: {root}/landing/{draft.name}  # or s3://bucket/prefix"
    marker = f"{{batch}}/{draft.sample.marker}"
    yield f'  marker: "{marker}"  # {{batch}} is the name of a batch\'s folder'
    yield "lake:"
    yield f"  uri: {root}/lake"


def _end(draft: Draft) -> Iterator[str]:
    yield f"  missingValues: {listed(draft.missing)}"
    said = draft.dialect.model_dump(by_alias=True, exclude_unset=True)
    if said:
        yield f"dialect: {mapping(said)}"
    if draft.dialect.skip_rows:
        yield "# The lines that `skipRows` leaves out look like titles before the header."
    if draft.dialect.encoding in _GUESSED:
        yield "# The encoding is not certain: check that accented letters are right."


def _field(draft: Draft, guess: Guess, is_required: bool = False) -> str:
    said = guess.column.model_dump(by_alias=True, exclude_unset=True)
    if guess.column.name in draft.optional:
        said["optional"] = True
    elif is_required:
        said["constraints"] = {"required": True}
    return f"    - {mapping(said)}"


def _described(draft: Draft, guess: Guess, typed: Typed) -> Iterator[str]:
    values = typed.rows[guess.column.name]
    yield _field(draft, guess, is_required=not values.null_count())
    is_optional = guess.column.name in draft.optional
    for comment in filter(None, (guess.note, _seen(values, is_optional))):
        yield f"      # {printable(comment)}"


def _seen(values: pl.Series, is_optional: bool) -> str:
    lacks = "some files lack it" if is_optional else _missing(values)
    return "; ".join(filter(None, (lacks, _range(values) or _enum(values))))


def _missing(values: pl.Series) -> str:
    missing = values.null_count()
    if not missing:
        return ""
    return f"{missing:,} of {len(values):,} rows have none"


def _range(values: pl.Series) -> str:
    is_ordered = values.dtype.is_numeric() or values.dtype.is_temporal()
    if not is_ordered or values.null_count() == len(values):
        return ""
    return f"minimum: {_value(values.min())}, maximum: {_value(values.max())}"


def _enum(values: pl.Series) -> str:
    given = values.drop_nulls()
    different = given.n_unique()
    if values.dtype != pl.String() or not 1 < different <= ENUM_VALUES:
        return ""
    if len(given) < _ROWS_PER_VALUE * different:
        return ""
    return f"enum: {listed(given.unique().sort())}"


def _left_out(draft: Draft) -> Iterator[str]:
    for name, why in draft.left_out.items():
        yield f"    # left out: {printable(scalar(name))}: {printable(why)}"


def _key(typed: Typed, keys: Keys) -> Iterator[str]:
    also = ", too" if keys.best else " of the sample"
    if keys.best:
        yield f"  primaryKey: {listed(keys.best)}  # unique in {typed.rows.height:,} rows"
    for names in keys.others:
        shown = printable(listed(names))
        yield f"  # primaryKey: {shown}  # unique in {typed.rows.height:,} rows{also}"


def names_of(guesses: Sequence[Guess]) -> list[str]:
    """The columns' names."""
    return [guess.column.name for guess in guesses]
