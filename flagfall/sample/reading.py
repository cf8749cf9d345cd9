"""What the columns of a sample hold, before their types are known."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl
from pydantic_core import from_json

from flagfall.dataset.dialect import Dialect
from flagfall.dataset.table import Column, FieldType, Table
from flagfall.errors import SampleInvalid
from flagfall.landing.file_names import folder_values
from flagfall.landing.limits import Limits
from flagfall.rows import DataFile
from flagfall.rows.csv_rows import csv_rows
from flagfall.rows.parquet_names import column_names
from flagfall.rows.parquet_rows import check_parquet, parquet_rows, parquet_types
from flagfall.rows.parquet_sandbox import is_readable
from flagfall.rows.source import Block, Bounds, line_blocks, size_of
from flagfall.rows.whole_rows import whole_rows_cut
from flagfall.sample.files import Sample

Kind = Literal["text", "text in Parquet", "JSON values", "typed"]
"""Where values are from. It decides which types they may have."""

_STRICTEST: tuple[Kind, ...] = ("typed", "JSON values", "text in Parquet")

_NO_NAME = "it has no name"
_NESTED = "it holds objects or lists"
_PATTERN = "polars takes the name for a pattern; rename the column"


@dataclass
class Found:
    """A column of the sample.

    Attributes:
        kind: Where its values are from.
        values: Its different values that are not null: texts, except for ``typed``.
        only_texts: Whether every value was a text, and none a JSON number or boolean.
        is_everywhere: Whether every file has the column.
        in_header: Its name in the file; ``False`` where folders' names have it.
    """

    name: str
    kind: Kind
    values: pl.Series
    only_texts: bool = True
    is_everywhere: bool = True
    in_header: bool = True


@dataclass
class Columns:
    """The columns of a sample, in their order.

    Attributes:
        found: Those that a dataset can have.
        left_out: Others, by what they are called, and why.
    """

    found: list[Found] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def first_rows(blocks: Iterable[Block], sample: Sample) -> Iterator[Block]:
    """The first blocks of a file: as many as hold the rows or bytes that are looked at."""
    rows = size = 0
    for block in blocks:
        yield block
        rows += block.rows.height
        size += size_of(block.rows)
        if rows >= sample.rows_of_each or size >= sample.bytes_of_each:
            return


def columns_of(sample: Sample, dialect: Dialect) -> Columns:
    """The columns of all files, and the values that they hold.

    Raises:
        SampleInvalid: A file has no header, or a name twice.
        BatchInvalid: A file cannot be read.
    """
    columns = Columns()
    per_file = [_columns_of(sample, file, dialect, columns.left_out) for file in sample.files]
    names = dict.fromkeys(name for found in per_file for name in found)
    for name in names:
        same = [found[name] for found in per_file if name in found]
        columns.found.append(_together(same, is_everywhere=len(same) == len(per_file)))
    return columns


def _together(same: Sequence[Found], is_everywhere: bool) -> Found:
    """What the files have of one column."""
    frames = [one.values.to_frame("x") for one in same]
    values = pl.concat(frames, how="vertical_relaxed").to_series()
    kinds = [one.kind for one in same]
    return Found(
        same[0].name,
        next((kind for kind in _STRICTEST if kind in kinds), "text"),
        values.unique(maintain_order=True),
        all(one.only_texts for one in same),
        is_everywhere,
        all(one.in_header for one in same),
    )


def _columns_of(
    sample: Sample, file: DataFile, dialect: Dialect, left_out: dict[str, str]
) -> dict[str, Found]:
    """The columns of a file, and of its folders' names."""
    if sample.format == "parquet":
        found = _of_parquet(sample, file, left_out)
    elif sample.format == "jsonl":
        found = _of_json(sample, file, dialect, left_out)
    else:
        spoken = dialect.of_tsv() if sample.format == "tsv" else dialect
        found = _of_text(sample, file, spoken, left_out)
    for name, value in _folders(file).items():
        values = pl.Series([] if value is None else [value], dtype=pl.String)
        found.setdefault(name, Found(name, "text", values, in_header=False))
    return found


def _folders(file: DataFile) -> dict[str, str | None]:
    names = {folder.partition("=")[0] for folder in file.name.split("/")[:-1] if "=" in folder}
    return folder_values(file.name, names)


def _usable(names: Iterable[str], left_out: dict[str, str]) -> list[str]:
    """Names that a dataset's columns can have."""
    usable = []
    for place, name in enumerate(names, start=1):
        if not name:
            left_out[f"column {place}"] = _NO_NAME
        elif name == "*" or (name.startswith("^") and name.endswith("$")):
            left_out[name] = _PATTERN
        else:
            usable.append(name)
    return usable


# --------------------------------------------------------------------------------------------- text


def _of_text(
    sample: Sample, file: DataFile, dialect: Dialect, left_out: dict[str, str]
) -> dict[str, Found]:
    line, header = _header(file, dialect)
    if twice := [name for name, count in Counter(header).items() if count > 1 and name]:
        shown = ", ".join(map(repr, twice))
        why = f"line {line}: columns found twice: {shown}; name each once"
        raise SampleInvalid(file.name, why)
    names = _usable(header, left_out)
    if not names:
        why = f"line {line}: no column has a name; write the names of the columns there"
        raise SampleInvalid(file.name, why)
    table = Table(fields=tuple(Column(name=name, type="string") for name in names))
    blocks = first_rows(csv_rows(file, table, dialect, Bounds(Limits())), sample)
    texts = _different(names, blocks)
    return {name: Found(name, "text", texts[name]) for name in names}


def _header(file: DataFile, dialect: Dialect) -> tuple[int, list[str]]:
    """The line of the header, and its names."""
    bounds = Bounds(Limits())
    cut = whole_rows_cut(file, dialect, bounds.limits)
    for lines in line_blocks(file, bounds, dialect, cut):
        text = io.StringIO(lines.data.decode(), newline="")
        reader = csv.reader(text, delimiter=dialect.delimiter)
        begin = lines.line
        for fields in reader:
            if fields:
                return begin, fields
            begin = lines.line + reader.line_num
    raise SampleInvalid(file.name, "empty; take a file with a header and rows")


def _different(names: Iterable[str], blocks: Iterable[Block]) -> dict[str, pl.Series]:
    """The different values of each column, without nulls, in the order of the rows."""
    frames = [block.rows for block in blocks]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(names, pl.String()))
    return {one.name: one.drop_nulls().unique(maintain_order=True) for one in rows}


# ------------------------------------------------------------------------------------------ Parquet

_TRIED_BYTES = 256 << 20
"""A Parquet file that unpacks to no more is read by a process of its own first."""


def _of_parquet(sample: Sample, file: DataFile, left_out: dict[str, str]) -> dict[str, Found]:
    types = _parquet_types(file, left_out)
    kinds = {name: kind for name, dtype in types.items() if (kind := type_of(dtype))}
    left_out |= {
        name: f"no type of a dataset takes {str(dtype)[:60]}"
        for name, dtype in types.items()
        if name not in kinds
    }
    if not kinds:
        raise SampleInvalid(file.name, "no column that a dataset can have; write plain columns")
    table = Table(fields=tuple(Column(name=name, type=kind) for name, kind in kinds.items()))
    blocks = first_rows(parquet_rows(file, table, Bounds(Limits())), sample)
    values = _different(kinds, blocks)
    return {
        name: Found(name, "text in Parquet" if one.dtype == pl.String() else "typed", one)
        for name, one in values.items()
    }


def _parquet_types(file: DataFile, left_out: dict[str, str]) -> dict[str, pl.DataType]:
    """The types of columns with a usable name, of a file that is safe to read."""
    names = column_names(file.path)
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise SampleInvalid(file.name, f"columns found twice: {', '.join(twice)}; name each once")
    every = [Column(name=name, type="string") for name in _usable(names, left_out)]
    check_parquet(
        [file],
        Table(fields=tuple(every) or (Column(name="-", type="string"),)),
        Limits(batch_bytes=_TRIED_BYTES),
    )
    types = parquet_types(file)
    return {name: types[name] for name in _usable(types, left_out)}


def type_of(dtype: pl.DataType) -> FieldType | None:
    """The type of a dataset's column for one of Parquet; ``None`` where there is none."""
    if not is_readable(dtype):
        return None
    if dtype.is_integer():
        return "integer"
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Null):
        return "string"
    plain: dict[type[pl.DataType], FieldType] = {
        pl.Boolean: "boolean",
        pl.Date: "date",
        pl.Datetime: "datetime",
    }
    return plain.get(type(dtype))


# --------------------------------------------------------------------------------------- JSON lines


def _of_json(
    sample: Sample, file: DataFile, dialect: Dialect, left_out: dict[str, str]
) -> dict[str, Found]:
    values: dict[str, dict[Any, None]] = {}
    for row in _objects(sample, file, dialect):
        for name, value in row.items():
            values.setdefault(name, {})[_hashable(value)] = None
    nested = {name for name, found in values.items() if _Nested in map(type, found)}
    left_out |= dict.fromkeys(nested, _NESTED)
    names = _usable((name for name in values if name not in nested), left_out)
    if not names:
        why = "no line is a JSON object with plain values; write one object per line"
        raise SampleInvalid(file.name, why)
    return {name: _json_column(name, values[name]) for name in names}


def _objects(sample: Sample, file: DataFile, dialect: Dialect) -> Iterator[dict[str, Any]]:
    """The objects of the first lines; other lines are counted later, as ingest does."""
    rows = size = 0
    for lines in line_blocks(file, Bounds(Limits()), dialect.of_json()):
        for text in lines.data.splitlines():
            row = _object(text)
            if row is not None:
                yield row
            rows += bool(text.strip())
            if rows >= sample.rows_of_each:
                return
        size += len(lines.data)
        if size >= sample.bytes_of_each:
            return


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = from_json(text, allow_inf_nan=False)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class _Nested:
    """Stands for an object or a list."""


_NESTED_VALUE = _Nested()


def _hashable(value: Any) -> Any:
    """A value that is different from others of its type; ``1``, ``1.0`` and ``true`` are three."""
    if isinstance(value, dict | list):
        return _NESTED_VALUE
    return value if value is None or isinstance(value, str) else (type(value), value)


def _json_column(name: str, values: Iterable[Any]) -> Found:
    given = [value for value in values if value is not None]
    texts = [value if isinstance(value, str) else _as_text(value[1]) for value in given]
    only_texts = all(isinstance(value, str) for value in given)
    series = pl.Series(texts, dtype=pl.String).unique(maintain_order=True)
    return Found(name, "text" if only_texts else "JSON values", series, only_texts)


def _as_text(value: bool | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
