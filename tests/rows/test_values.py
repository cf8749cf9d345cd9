"""One table of values that runs through CSV, TSV, JSON lines and Parquet.

A value is read as it was written, or its row is rejected with a reason. Nothing changes on its way
in, except for what docs/dataset.md says of the types.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.rows.checking import Outcome, check, column, dataset, parquet


@dataclass(frozen=True)
class Bad:
    """The row is rejected, with this reason after the column's name."""

    reason: str


@dataclass(frozen=True)
class Case:
    """A value as producers write it, and what becomes of it.

    Attributes:
        expected: The value that the lake has, or ``Bad``.
        text: As CSV, TSV, a text in JSON and a text in Parquet have it.
        json: Other spellings in JSON.
        parquet: Values of Parquet's own types.
    """

    expected: Any
    text: Sequence[str] = ()
    json: Sequence[str] = ()
    parquet: Sequence[pl.Series] = ()


@dataclass(frozen=True)
class Kind:
    """A type with its format, and cases of it."""

    type: str
    cases: Sequence[Case]
    format: str = "default"

    def __str__(self) -> str:
        return self.type if self.format == "default" else f"{self.type} {self.format}"


def of(dtype: Any, *values: Any) -> list[pl.Series]:
    """Values of one type of Parquet."""
    return [pl.Series([value], dtype=dtype) for value in values]


def ticks(dtype: Any, *values: int) -> list[pl.Series]:
    """Dates and times that no literal can name."""
    return [pl.Series([value], dtype=pl.Int64).cast(dtype) for value in values]


DAY, NOON = date(2013, 1, 31), datetime(2013, 1, 31, 12, 0)
NS, US, MS = pl.Datetime("ns"), pl.Datetime("us"), pl.Datetime("ms")
NOON_NS = 1359633600 * 10**9
NO_INTEGER, NO_NUMBER, NOT_FINITE = (
    Bad("not an integer"),
    Bad("not a number"),
    Bad("not a finite number"),
)
NO_DATE, NO_DATETIME, NO_BOOLEAN = Bad("not a date"), Bad("not a datetime"), Bad("not a boolean")
NO_STRING = Bad("not a string")

INTEGERS = [
    Case(
        5,
        ["5", "+5", "005"],
        ["5", "5.0", "5e0", "0.5e1"],
        [
            *of(pl.Int8, 5),
            *of(pl.UInt64, 5),
            *of(pl.Int128, 5),
            *of(pl.Float64, 5.0),
            *of(pl.Float32, 5.0),
            *of(pl.Decimal(10, 2), Decimal("5.00")),
        ],
    ),
    Case(0, ["0", "-0"], ["0", "-0", "-0.0", "0e5"], [*of(pl.Float64, -0.0, 0.0)]),
    Case(1000, json=["1e3", "1.0e+3", "1000.0"], parquet=of(pl.Float64, 1e3)),
    Case(2**53 - 1, json=["9007199254740991.0"], parquet=of(pl.Float64, 2.0**53 - 1)),
    Case(1 - 2**53, json=["-9007199254740991.0"], parquet=of(pl.Float64, 1 - 2.0**53)),
    Case(2**24 - 1, parquet=of(pl.Float32, 2.0**24 - 1)),
    Case(2**53 + 1, ["9007199254740993"], ["9007199254740993"], of(pl.Int64, 2**53 + 1)),
    Case(2**63 - 1, ["9223372036854775807"], ["9223372036854775807"], of(pl.UInt64, 2**63 - 1)),
    Case(-(2**63), ["-9223372036854775808"], ["-9223372036854775808"], of(pl.Int64, -(2**63))),
    Case(10**18, parquet=of(pl.Decimal(38, 2), Decimal(10**18))),
    # A float of that size does not say which integer was meant.
    Case(
        NO_INTEGER,
        json=[
            "9007199254740992.0",
            "9007199254740993.0",
            "-9007199254740992.0",
            "1.2345678901234567e18",
            "1e300",
        ],
        parquet=[
            *of(pl.Float64, 2.0**53, -(2.0**53), 1.2345678901234567e18, 1e300),
            *of(pl.Float32, 2.0**24, -(2.0**24), 1e20),
        ],
    ),
    Case(NO_INTEGER, json=["0.99999999999999999999", "9007199254740990.9999", "5e-324", "1e-400"]),
    Case(
        NO_INTEGER,
        ["9223372036854775808", "-9223372036854775809", "9" * 300],
        ["9223372036854775808", "9" * 300],
        [*of(pl.UInt64, 2**63), *of(pl.Int128, 2**64), *of(pl.Decimal(38, 0), Decimal(10**30))],
    ),
    Case(
        NO_INTEGER,
        ["1.0", "1e3", "1.5", " 1", "1 ", "1_000", "1,000", "1 000", "1'000", "0x1", "1\u00a0",
         "٣", "\uff11", "½", "--1", "+", "-", "+-1", "true", "NaN", "inf", "NULL", "None", "#N/A"],
        ["1.5", "true", "false"],
        [*of(pl.Float64, 1.5, float("nan"), float("inf")), *of(pl.Float32, 0.5),
         *of(pl.Decimal(10, 2), Decimal("5.01"))],
    ),
]  # fmt: skip

NUMBERS = [
    Case(
        1.5,
        ["1.5", "+1.5", "01.50", "15e-1", "15E-1", ".15e1"],
        ["1.5", "15e-1", "1.50"],
        [*of(pl.Float32, 1.5), *of(pl.Float64, 1.5), *of(pl.Decimal(10, 2), Decimal("1.50"))],
    ),
    Case(0.1, ["0.1"], ["0.1", "1e-1"], of(pl.Float64, 0.1)),
    Case(5.0, ["5", "5."], ["5"], [*of(pl.Int64, 5), *of(pl.UInt8, 5)]),
    Case(0.0, ["0", "-0", "-0.0", "1e-400"], ["0", "-0.0", "1e-400"], of(pl.Float64, -0.0)),
    Case(1.7976931348623157e308, ["1.7976931348623157e308"], ["1.7976931348623157e308"]),
    Case(float(2**64), ["18446744073709551616"], ["18446744073709551616"]),
    Case(
        NOT_FINITE,
        ["NaN", "nan", "-nan", "inf", "-inf", "Infinity", "+Infinity", "1e400", "-1e400"],
        ["1e400", "-1e400"],
        [*of(pl.Float64, float("nan"), float("inf")), *of(pl.Float32, float("-inf"))],
    ),
    Case(
        NO_NUMBER,
        ["x", " 1", "1 ", "1_000", "1,5", "1.000,5", "1,000.5", "1 000", "0x1p3", "1e", "e1", ".",
         "true", "1.5.5", "1;5", "5%", "$5", "٣", "\uff11", "1d", "1f", "1.5e1.5", "NULL"],
        ["true"],
    ),
]  # fmt: skip

BOOLEANS = [
    Case(True, ["true", "True", "TRUE", "1"], ["true", "1"], of(pl.Boolean, True)),
    Case(False, ["false", "False", "FALSE", "0"], ["false", "0"], of(pl.Boolean, False)),
    Case(
        NO_BOOLEAN,
        ["yes", "no", "t", "f", "tRUE", "Y", "on", "2", "-1", " true", "true ", "1.0", "NULL"],
        ["2", "1.0", "0.0", "-1"],
    ),
]  # fmt: skip

DATES = [
    Case(
        DAY,
        ["2013-01-31"],
        parquet=[
            *of(pl.Date, DAY),
            *of(NS, datetime(2013, 1, 31)),
            *of(MS, datetime(2013, 1, 31)),
        ],
    ),
    Case(date(2012, 2, 29), ["2012-02-29"], parquet=of(pl.Date, date(2012, 2, 29))),
    Case(date(1, 1, 1), ["0001-01-01"], parquet=of(pl.Date, date(1, 1, 1))),
    Case(date(9999, 12, 31), ["9999-12-31"], parquet=of(pl.Date, date(9999, 12, 31))),
    Case(
        NO_DATE,
        ["2013-02-29", "1900-02-29", "2013-1-1", "2013-13-01", "2013-00-01", "2013-01-32",
         "0000-01-01", "10000-01-01", "-0001-01-01", "+2013-01-1", "13-01-31", "31.01.2013",
         "2013-01-31T00:00:00", "2013-01-31Z", " 2013-01-31", "2013-01-31 ", "20130131", "2013-W05",
         "201\uff13-01-31", "15736", "NULL"],
        ["20130131", "15736"],
        [
            *ticks(pl.Date, 2**31 - 1, -(2**31), 2932897, -719163),
            *of(US, NOON),
            *ticks(NS, 1, -1),
            *of(pl.Datetime("us", "America/New_York"), datetime(2013, 1, 31, 5, 1, tzinfo=UTC)),
        ],
    ),
]  # fmt: skip

DATETIMES = [
    Case(
        NOON,
        ["2013-01-31T12:00:00", "2013-01-31 12:00:00", "2013-01-31T12:00", "2013-01-31T12:00:00Z",
         "2013-01-31T12:00Z", "2013-01-31T13:30:00+01:30", "2013-01-31T13:00:00+0100",
         "2013-01-31 07:00:00-05", "2013-01-31T12:00:00.0", "2013-01-31T12:00:00.0000000",
         "2013-01-31T12:00:00.000000000"],
        parquet=[
            *of(NS, NOON), *of(US, NOON), *of(MS, NOON),
            *of(pl.Datetime("ms", "America/New_York"), NOON.replace(tzinfo=UTC)),
        ],
    ),
    Case(datetime(2013, 1, 31, 12, 0, 0, 1), ["2013-01-31T12:00:00.000001"],
         parquet=ticks(NS, NOON_NS + 1000)),
    Case(datetime(2013, 1, 31, 12, 0, 0, 123456),
         ["2013-01-31T12:00:00.123456", "2013-01-31T12:00:00.1234560",
          "2013-01-31T12:00:00.123456000Z"],
         parquet=ticks(NS, NOON_NS + 123456000)),
    Case(datetime(1, 1, 1), ["0001-01-01T00:00:00"], parquet=of(US, datetime(1, 1, 1))),
    Case(datetime(9999, 12, 31, 23, 59, 59, 999999), ["9999-12-31T23:59:59.999999"],
         parquet=of(US, datetime(9999, 12, 31, 23, 59, 59, 999999))),
    # The lake keeps microseconds: what is finer is not cut.
    Case(
        NO_DATETIME,
        ["2013-01-31T12:00:00.123456789", "2013-01-31T12:00:00.0000001",
         "2013-01-31T12:00:00.000000001Z", "2013-01-31 12:00:00.1234560001"],
        parquet=[*ticks(NS, NOON_NS + 1, NOON_NS - 1, NOON_NS + 123456789, -1),
                 *ticks(pl.Datetime("ns", "Europe/Berlin"), NOON_NS + 1)],
    ),
    Case(
        NO_DATETIME,
        ["2013-01-31", "2013-01-31T24:00:00", "2013-01-31T12:60:00", "2013-01-31T12:00:60",
         "2016-12-31T23:59:60Z", "2013-02-29T12:00:00", "0000-12-31T12:00:00",
         "10000-01-01T00:00:00", "9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01",
         "2013-01-31T12", "2013-01-31T12:00:00 UTC", "2013-01-31T12:00:00 +01:00",
         "2013-01-31T12:00:00[Europe/Berlin]", "2013-01-31T12:00:00+25:00",
         "2013-01-31T12:00:00+01:60", "2013-01-31T12:00:00,5", "2013-01-31T12:00:00.",
         "2013-01-31T12:00:00z", "2013-01-31t12:00:00", " 2013-01-31T12:00:00", "1359633600",
         "20130131T120000", "201\uff13-01-31T12:00:00", "NULL"],
        ["1359633600", "1359633600.5"],
        ticks(MS, 2**63 - 1, -(2**63) + 1),
    ),
]  # fmt: skip

STRINGS = [
    *(
        Case(text, [text], parquet=[*of(pl.Categorical, text), *of(pl.Enum([text]), text)])
        for text in ("NULL", "None", "NaN", " x ", "5", "007", "1e3", "true", "Zoë 😀", "e\u0301",
                     "\u00a0", "\u200b", "=1+1", "\\N", "\\", "a\\tb", "'x'",
                     "\u2028", "\x85", "\x0b")
    ),
    Case("\x7f\x01", ["\x7f\x01"], ['"\\u007f\\u0001"']),
    Case(NO_STRING, json=["5", "5.0", "true"]),
]  # fmt: skip

SHORT_YEARS = [
    Case(date(2068, 12, 31), ["31.12.68"]),
    Case(date(1969, 1, 1), ["01.01.69", "1.1.69"]),
    Case(date(1969, 12, 31), ["31.12.69"]),
    Case(date(1970, 1, 1), ["01.01.70"]),
    Case(date(1999, 12, 31), ["31.12.99"]),
    Case(date(2000, 2, 29), ["29.02.00"]),
    Case(date(2013, 1, 31), ["31.01.13"]),
    Case(Bad("not a date as %d.%m.%y"), ["31.01.2013", "31.01.1", "29.02.69", "29.02.13"]),
]

SHORT_YEARS_AND_ZONES = [
    Case(datetime(1968, 12, 31, 23, 30), ["690101 00:30 +0100"]),
    Case(datetime(2069, 1, 1, 0, 30), ["681231 23:30 -0100"]),
    Case(datetime(1969, 12, 31, 10), ["691231 10:00 +0000"]),
    Case(datetime(2068, 2, 29, 10), ["680229 10:00 +0000"]),
]

SHORT_YEARS_WITH_WEEKDAYS = [
    Case(date(1969, 1, 1), ["Wed 01/Jan/69"]),
    Case(date(2013, 1, 31), ["Thu 31/Jan/13"]),
]

YEAR_DAYS = [
    Case(date(1969, 12, 31), ["69365"]),
    Case(date(2068, 12, 31), ["68366"]),
    Case(Bad("not a date as %y%j"), ["69366", "68000"]),
]

KINDS = [
    Kind("integer", INTEGERS),
    Kind("number", NUMBERS),
    Kind("boolean", BOOLEANS),
    Kind("date", DATES),
    Kind("datetime", DATETIMES),
    Kind("string", STRINGS),
    Kind("date", SHORT_YEARS, "%d.%m.%y"),
    Kind("datetime", SHORT_YEARS_AND_ZONES, "%y%m%d %H:%M %z"),
    Kind("date", SHORT_YEARS_WITH_WEEKDAYS, "%a %d/%b/%y"),
    Kind("date", YEAR_DAYS, "%y%j"),
]

Files = dict[str, str | bytes]
Written = tuple[Files, list[tuple[str, Any]]]
"""A file, and for each of its rows what was written and what is expected."""


def _texts(kind: Kind) -> list[tuple[str, Any]]:
    return [(text, case.expected) for case in kind.cases for text in case.text]


def as_csv(kind: Kind) -> Written:
    rows = _texts(kind)
    lines = "".join(
        '{},"{}"\n'.format(number, text.replace('"', '""')) for number, (text, _) in enumerate(rows)
    )
    return {"a.csv": f"n,x\n{lines}"}, rows


def as_plain_csv(kind: Kind) -> Written:
    rows = [row for row in _texts(kind) if "," not in row[0]]
    lines = "".join(f"{number},{text}\r\n" for number, (text, _) in enumerate(rows))
    return {"a.csv": f"n,x\r\n{lines}"}, rows


def as_tsv(kind: Kind) -> Written:
    rows = _texts(kind)
    lines = "".join(f"{number}\t{text}\n" for number, (text, _) in enumerate(rows))
    return {"a.tsv": f"n\tx\n{lines}"}, rows


def as_json(kind: Kind) -> Written:
    texts = [(json.dumps(text), expected) for text, expected in _texts(kind)]
    rows = texts + [(text, case.expected) for case in kind.cases for text in case.json]
    return {"a.jsonl": _json_lines(rows)}, rows


def as_json_alone(kind: Kind) -> Written:
    """Only numbers, which are read in another way than texts."""
    rows = [(text, case.expected) for case in kind.cases for text in case.json]
    files: Files = {f"{n}.jsonl": _json_lines([row], n) for n, row in enumerate(rows)}
    return files, rows


def _json_lines(rows: Sequence[tuple[str, Any]], first: int = 0) -> str:
    return "".join(f'{{"n": {n}, "x": {text}}}\n' for n, (text, _) in enumerate(rows, first))


def as_parquet(kind: Kind) -> Written:
    native = [(values, case.expected) for case in kind.cases for values in case.parquet]
    files: Files = {
        f"{number}.parquet": parquet(pl.DataFrame({"n": [number], "x": values}))
        for number, (values, _) in enumerate(native)
    }
    texts, first = _texts(kind), len(native)
    numbers = range(first, first + len(texts))
    files["texts.parquet"] = parquet(pl.DataFrame({"n": numbers, "x": [text for text, _ in texts]}))
    return files, [
        (f"{values.dtype} {values.to_physical()[0]!r}", e) for values, e in native
    ] + texts


def _found(outcome: Outcome) -> dict[int, Any]:
    found: dict[int, Any] = dict(outcome.rows)
    for row in outcome.rejected:
        number = int((row["row"] or json.loads(row["text"]))["n"])
        assert number not in found
        assert len(row["reasons"]) == 1
        found[number] = Bad(row["reasons"][0].removeprefix("x: "))
    return found


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    "write", [as_csv, as_plain_csv, as_tsv, as_json, as_json_alone, as_parquet]
)
def test_a_value_is_read_as_it_was_written_or_its_row_is_rejected(
    tmp_path: Path, kind: Kind, write: Callable[[Kind], Written]
) -> None:
    files, rows = write(kind)
    if not rows:
        pytest.skip("no such spelling")
    wanted = dataset(
        column("n", "integer"), column("x", kind.type, kind.format), missing=["MISSING"]
    )
    found = _found(check(tmp_path, wanted, files))
    seen = {f"{n}: {text}": found.get(n) for n, (text, _) in enumerate(rows)}
    hoped = {f"{n}: {text}": expected for n, (text, expected) in enumerate(rows)}
    assert {n: value for n, value in seen.items() if value != hoped[n]} == {}
    assert seen == hoped
