"""The type of a column, from its values: the first one by which ingest can read all of them.

What is certain is guessed, and nothing else. A number with leading zeros stays a text, since it is
a code. A day that may be a month stays one as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

import polars as pl

from flagfall.dataset.table import Column, FieldType
from flagfall.rows.casting import can_cast, cast_value
from flagfall.sample.reading import Found, type_of

_ALWAYS_MISSING = ("NULL", "null", "\\N", "N/A", "n/a", "#N/A", "NA", "NaN", "nan")
"""They mean "no value" in a column of texts, too."""

_MISSING_AMONG_OTHERS = (*_ALWAYS_MISSING, "None", "none", "-", "--", ".", "?", "missing", "nil")
"""They mean it where all other values are numbers, dates or booleans."""

_CODE = r"^[+-]?0\d+$|^\+\d+$"
"""Digits that would not be the same text again: leading zeros, or a plus."""

_LONG = r"^[+-]?\d{19,}$"
"""Digits that may be too many for an integer; as a number the last ones would be lost."""

_TWO_LETTERS = r"^[A-Z]{2}$"

_WORDS = (("yes", "no"), ("y", "n"), ("t", "f"), ("ja", "nein"), ("j", "n"), ("oui", "non"))
_WORDS_MORE = (("si", "no"), ("sí", "no"), ("on", "off"))

_DAYS = (
    *("%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y"),
    *("%B %d, %Y", "%d%b%Y"),
)
_TIMES = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%I:%M:%S %p", "%I:%M %p", "%H:%M:%S %z")
_BETWEEN = (" ", ", ", "T", ":")
_DATES = tuple(("date", form) for form in _DAYS)
_MOMENTS = tuple(
    ("datetime", f"{day}{between}{time}")
    for day, between, time in product((*_DAYS, "%Y-%m-%d", "%d/%b/%Y"), _BETWEEN, _TIMES)
)

_YEARS = (1900, 2100)
"""Eight digits are a date only if its year lies between them."""

_HEAD = 200
"""So many values rule most types out."""


@dataclass(frozen=True)
class Guess:
    """A column as the dataset file should have it.

    Attributes:
        column: Without constraints.
        note: What a person should look at; empty for nothing.
    """

    column: Column
    note: str = ""


@dataclass(frozen=True)
class Guesses:
    """The columns of a sample.

    Attributes:
        guesses: In the order of the columns.
        missing: The texts that mean "no value"; the empty one is always among them.
        left_out: Columns that no type fits, and why.
    """

    guesses: tuple[Guess, ...]
    missing: tuple[str, ...]
    left_out: dict[str, str]


def guess_all(columns: Sequence[Found], delimiter: str) -> Guesses:
    """The types of all columns. What one column shows, such as a decimal comma, holds for all."""
    missing = ("", *_missing(columns))
    given = [_without(column.values, missing) for column in columns]
    style = _Style.of(columns, given, delimiter)
    guesses, left_out = [], {}
    for column, values in zip(columns, given, strict=True):
        guess = _guess(column, values, style)
        if guess is None:
            left_out[column.name] = "its values are of several types; write them as one type"
        else:
            guesses.append(guess)
    return Guesses(tuple(guesses), missing, left_out)


def fits(column: Column, values: pl.Series) -> bool:
    """Whether ingest can read all values as the column's."""
    if not can_cast(column, values.dtype):
        return False
    return _fits(column, values.head(_HEAD)) and (len(values) <= _HEAD or _fits(column, values))


def _fits(column: Column, values: pl.Series) -> bool:
    cast = values.to_frame("x").select(cast_value(column, values.dtype, pl.col("x"))).to_series()
    return not cast.null_count() and (column.type != "number" or bool(cast.is_finite().all()))


# ----------------------------------------------------------------------------------- missing values


def _missing(columns: Sequence[Found]) -> list[str]:
    """Texts that mean "no value" in some column, in a fixed order."""
    found: set[str] = set()
    for column in columns:
        if column.values.dtype == pl.String():
            found |= _missing_in(column)
    return [text for text in _MISSING_AMONG_OTHERS if text in found]


def _missing_in(column: Found) -> set[str]:
    present = set(_MISSING_AMONG_OTHERS) & set(column.values.to_list())
    others = _without(column.values, ("", *_MISSING_AMONG_OTHERS))
    if not present or (len(others) and _is_of_no_type(column, others)):
        sure = present & set(_ALWAYS_MISSING)
        return sure - {"NA"} if _all_match(_TWO_LETTERS, others) else sure
    return present if len(others) else present & set(_ALWAYS_MISSING)


def _is_of_no_type(column: Found, values: pl.Series) -> bool:
    guess = _guess(column, values, _Style())
    return guess is None or guess.column.type == "string"


def _without(values: pl.Series, missing: Sequence[str]) -> pl.Series:
    if values.dtype != pl.String():
        return values
    return values.filter(~values.is_in(list(missing)))


def _all_match(pattern: str, values: pl.Series) -> bool:
    return bool(values.str.contains(pattern).all())


# ----------------------------------------------------------------------------------- types of texts


@dataclass(frozen=True)
class _Style:
    """How numbers of text files are written.

    Attributes:
        comma: ``,`` stands before decimals.
        groups: ``,`` stands between groups of three digits.
    """

    comma: bool = False
    groups: bool = True

    @classmethod
    def of(cls, columns: Sequence[Found], given: Sequence[pl.Series], delimiter: str) -> _Style:
        """What the columns prove; where commas delimit fields, a comma in one is no decimal."""
        texts = [
            values
            for column, values in zip(columns, given, strict=True)
            if column.kind == "text" and len(values)
        ]
        comma = any(map(_has_decimal_comma, texts))
        proved = any(_fits_any(_GROUPED, values) and _proves_groups(values) for values in texts)
        return cls(comma, not comma and (proved or delimiter == ","))


_PLAIN: tuple[dict[str, Any], ...] = ({"type": "integer"}, {"type": "number"})
_GROUPED: tuple[dict[str, Any], ...] = (
    {"type": "integer", "groupChar": ","},
    {"type": "number", "groupChar": ","},
)
_OTHER_GROUPS: tuple[dict[str, Any], ...] = tuple(
    {"type": kind, "groupChar": group}
    for group in "' \u00a0\u202f"
    for kind in ("integer", "number")
)
_COMMA: tuple[dict[str, Any], ...] = (
    {"type": "number", "decimalChar": ","},
    {"type": "integer", "groupChar": "."},
    {"type": "number", "decimalChar": ",", "groupChar": "."},
    {"type": "number", "decimalChar": ",", "groupChar": " "},
    {"type": "number", "decimalChar": ",", "groupChar": "\u00a0"},
)


def _has_decimal_comma(values: pl.Series) -> bool:
    return (
        _fits_any(_COMMA, values)
        and not _fits_any((*_PLAIN, *_GROUPED), values)
        and bool(values.str.contains(",", literal=True).any())
    )


def _proves_groups(values: pl.Series) -> bool:
    return bool(values.str.contains(r",\d{3}[,.]").any())


def _fits_any(settings: Sequence[dict[str, Any]], values: pl.Series) -> bool:
    return any(fits(_column("x", one), values) for one in settings)


def _column(name: str, settings: dict[str, Any]) -> Column:
    return Column.model_validate({"name": name, **settings})


def _guess(found: Found, values: pl.Series, style: _Style) -> Guess | None:
    """The first type that fits; ``None`` where none does."""
    if found.kind == "typed":
        return Guess(_column(found.name, {"type": _type_of(values.dtype)}))
    if not len(values):
        return Guess(_column(found.name, {"type": "string"}), "no value in the sample")
    if note := _ambiguous(found, values, style):
        return Guess(_column(found.name, {"type": "string"}), note)
    for settings in _tried(found, values, style):
        column = _column(found.name, settings)
        if fits(column, values):
            return Guess(column, _note(column, values))
    return _text(found, values) if found.only_texts else None


def _text(found: Found, values: pl.Series) -> Guess:
    is_code = found.kind == "text" and _all_match(r"^[+-]?\d+$", values)
    note = "digits with leading zeros, a plus, or too many for an integer stay text"
    return Guess(_column(found.name, {"type": "string"}), note if is_code else "")


def _type_of(dtype: pl.DataType) -> FieldType:
    return type_of(dtype) or "string"


def _note(column: Column, values: pl.Series) -> str:
    has_offsets = values.dtype == pl.String() and values.str.contains(r"(Z|[+-]\d\d:?\d\d)$").all()
    if column.type == "datetime" and not has_offsets:
        return "times without an offset are read as UTC"
    return ""


def _tried(found: Found, values: pl.Series, style: _Style) -> Iterator[dict[str, Any]]:
    """Types in the order in which they are tried."""
    if found.kind != "JSON values":
        yield from _of_times(values)
    if found.kind == "text in Parquet":
        return
    if found.kind == "JSON values" or not _are_codes(values):
        yield from _numbers(found, style)
    yield {"type": "boolean"}
    yield from _words(values)


def _are_codes(values: pl.Series) -> bool:
    """Whether values are digits, and no numbers to calculate with."""
    if values.str.contains(_CODE).any():
        return True
    return bool(values.str.contains(_LONG).any()) and not _fits_any(_PLAIN[:1], values)


def _numbers(found: Found, style: _Style) -> Iterator[dict[str, Any]]:
    if found.kind == "text" and style.comma:
        yield {"type": "integer"}
        yield from _COMMA
        yield {"type": "number"}
        return
    yield from _PLAIN
    if found.kind == "text":
        yield from _GROUPED if style.groups else ()
        yield from _OTHER_GROUPS


def _of_times(values: pl.Series) -> Iterator[dict[str, Any]]:
    yield {"type": "date"}
    yield {"type": "datetime"}
    if _SOME_TIME.search(values[0]):
        for kind, form in (*_DATES, *_MOMENTS):
            if _is_like(form, values[0]) and (form != "%Y%m%d" or _are_days(values)):
                yield {"type": kind, "format": form}


_SOME_TIME = re.compile(r"^\d{8}|\d\D+\d+\D+\d|[A-Za-z]{3}.*\d{4}")
"""Digits in three groups, eight of them, or the name of a month."""


def _is_like(form: str, text: str) -> bool:
    """Whether Python reads a text so, which is faster to see than by polars."""
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _are_days(values: pl.Series) -> bool:
    """Whether eight digits each begin with a year of these times."""
    if not _all_match(r"^\d{8}$", values):
        return False
    years = values.str.head(4).cast(pl.Int64())
    return bool(years.is_between(*_YEARS).all())


def _words(values: pl.Series) -> Iterator[dict[str, Any]]:
    """Words for true and false, where both are there, as they are written."""
    if len(values) > 4:
        return
    texts = sorted(values.to_list())
    for yes, no in (*_WORDS, *_WORDS_MORE):
        true = [text for text in texts if text.lower() == yes]
        false = [text for text in texts if text.lower() == no]
        if true and false and len(true) + len(false) == len(texts):
            yield {"type": "boolean", "trueValues": true, "falseValues": false}


def _ambiguous(found: Found, values: pl.Series, style: _Style) -> str:
    """Why values that could be of two types stay texts; empty where they could not."""
    if found.kind == "JSON values":
        return ""
    first = values[0]
    if _all_match(r"^\d\d?[-/]\d\d?[-/]\d", values):
        for days, months in _DAY_OR_MONTH:
            if _fits_both(days, months, values):
                return f"{first}: day or month first? If a date, set format: {days} or {months}"
    if found.kind == "text" and not (style.comma or style.groups) and _may_be_groups(values):
        return f"{first}: thousands or decimals? Set type: integer and groupChar, or decimalChar"
    return ""


_DAY_OR_MONTH = (
    ("%d/%m/%Y", "%m/%d/%Y"),
    ("%d-%m-%Y", "%m-%d-%Y"),
    ("%d/%m/%y", "%m/%d/%y"),
    *(
        (f"%d/%m/%Y{between}{time}", f"%m/%d/%Y{between}{time}")
        for between, time in product((" ", ", "), _TIMES)
    ),
)


def _fits_both(one: str, other: str, values: pl.Series) -> bool:
    kind = "datetime" if ":" in one else "date"
    return all(fits(_column("x", {"type": kind, "format": form}), values) for form in (one, other))


def _may_be_groups(values: pl.Series) -> bool:
    return _fits_any(_GROUPED[:1], values) and bool(values.str.contains(",", literal=True).any())
