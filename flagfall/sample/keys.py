"""Columns that may be a primary key: together they are different in every row of the sample."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod

import polars as pl

MOST_COLUMNS = 3
"""Columns of a key that is looked for."""

_MOST_CANDIDATES = 12
"""Columns that are combined: each more costs a sixth more time."""

_FEW_ROWS = 50
"""In fewer rows, columns are unique by chance."""

_MOST_KEYS = 5
_LONGEST_CODE = 64

_KEY_NAME = re.compile(
    r"(?i)(^|[_ .-])(id|ids|key|code|uuid|guid|nr|no|num|number|sku|isbn|iban|ref|hash|pk)$"
    r"|[a-z](Id|ID|Key|Code|Nr|No)$"
)

_SURE, _LIKELY, _BY_CHANCE = range(3)


@dataclass(frozen=True)
class Keys:
    """Sets of columns that are unique in the sample.

    Attributes:
        best: The one that the dataset file sets; empty where none is certain enough.
        others: Further ones, the best first.
    """

    best: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]


def find_keys(rows: pl.DataFrame, columns: Sequence[str]) -> Keys:
    """The smallest sets of columns that are unique, those with names of keys first.

    Args:
        rows: The sample.
        columns: Those that every file has.
    """
    if rows.height < 2:
        return Keys((), ())
    ranks = {name: _rank(name, rows[name]) for name in columns if _may_be_key(rows[name])}
    likely = sorted(ranks, key=lambda name: ranks[name])[:_MOST_CANDIDATES]
    candidates = [name for name in columns if name in likely]
    found = next(filter(None, (list(_unique(rows, candidates, n)) for n in _SIZES)), [])
    found.sort(key=lambda names: sum(ranks[name] for name in names))
    is_sure = bool(found) and _is_sure(rows, found[0], ranks)
    best, others = (found[0], found[1:]) if is_sure else ((), found)
    return Keys(best, tuple(others[:_MOST_KEYS]))


_SIZES = range(1, MOST_COLUMNS + 1)


def _may_be_key(values: pl.Series) -> bool:
    if values.null_count() or values.dtype in (pl.Float64(), pl.Boolean()):
        return False
    if values.dtype != pl.String():
        return True
    return int(values.str.len_chars().max() or 0) <= _LONGEST_CODE  # type: ignore[arg-type]


def _rank(name: str, values: pl.Series) -> int:
    """How likely it is that a column is in a key: a measurement is unique by chance."""
    if _KEY_NAME.search(name):
        return _SURE
    is_text = values.dtype == pl.String()
    if values.dtype.is_temporal() or (is_text and not values.str.contains(r"\s").any()):
        return _LIKELY
    return _BY_CHANCE


def _unique(rows: pl.DataFrame, candidates: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    different = {name: rows[name].n_unique() for name in candidates}
    for names in combinations(candidates, size):
        if prod(different[name] for name in names) < rows.height:
            continue
        if rows.select(names).n_unique() == rows.height:
            yield names


def _is_sure(rows: pl.DataFrame, names: Sequence[str], ranks: dict[str, int]) -> bool:
    """Whether tomorrow's rows will be different in these columns, too."""
    if all(ranks[name] == _SURE for name in names):
        return True
    if any(ranks[name] == _BY_CHANCE for name in names) or rows.height < _FEW_ROWS:
        return False
    says_when = any(rows[name].dtype.is_temporal() for name in names)
    return len(names) == 1 or says_when or any(ranks[name] == _SURE for name in names)
