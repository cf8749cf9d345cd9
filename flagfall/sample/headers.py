"""Whether the first row of a text file has names, and is no row of values."""

from __future__ import annotations

import re

import polars as pl

from flagfall.dataset.dialect import Dialect
from flagfall.errors import SampleInvalid
from flagfall.sample.files import Sample
from flagfall.sample.reading import Columns
from flagfall.sample.types import Guesses, fits

_YEAR = re.compile(r"(?:19|20)\d\d")


def check_header(sample: Sample, columns: Columns, guesses: Guesses, dialect: Dialect) -> None:
    """See that names are names.

    They are not where each column of numbers, dates or booleans has one that is a value of it, and
    half of the columns are such columns. Years may be names: a table may have a column for each.

    Raises:
        SampleInvalid: The first row has values.
    """
    if sample.format not in ("csv", "tsv"):
        return
    in_header = {found.name for found in columns.found if found.in_header}
    typed = [
        guess.column
        for guess in guesses.guesses
        if guess.column.type != "string" and guess.column.name in in_header
    ]
    if 2 * len(typed) < len(in_header) or all(_YEAR.fullmatch(one.name) for one in typed):
        return
    if all(fits(column, pl.Series([column.name])) for column in typed):
        place = f"{sample.files[0].name}: line {dialect.skip_rows + 1}"
        why = f"values ({typed[0].name}, …) stand where the names of the columns are expected"
        raise SampleInvalid(place, f"{why}; write a first line with a name for each column")
