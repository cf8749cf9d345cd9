"""From rows to the tensors that an ONNX model takes: one matrix, or a column for each input."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Tensor = npt.NDArray[Any]

_NUMBERS = {"float16": np.float16, "float": np.float32, "double": np.float64}
_WHOLE = {
    name: np.dtype(name)
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
}
_OTHERS = {"bool": np.dtype(np.bool_), "string": np.dtype(object)}


class NotTaken(Exception):
    """A model cannot be given such rows; the message says why, and what to change."""


@dataclass(frozen=True)
class Input:
    """An input of a model.

    Attributes:
        kind: Of its values, as ONNX calls it, such as ``float``.
        shape: Its dimensions; a name or ``None`` for one that may be any.
    """

    name: str
    kind: str
    shape: tuple[int | str | None, ...]

    @classmethod
    def of(cls, found: Any) -> Input:
        """From what onnxruntime tells."""
        kind = str(found.type).removeprefix("tensor(").removesuffix(")")
        return cls(str(found.name), kind, tuple(found.shape))

    def __str__(self) -> str:
        return f"{self.name}: {self.kind} {list(self.shape)}"


class Feeder:
    """Makes a model's tensors of rows.

    A model of one input that is wider than a column takes all features as one matrix, in their
    order. Else each input takes the feature of its name. Where there is one input and one feature,
    it takes that one, whatever the names are.

    Args:
        inputs: Of the model.

    Attributes:
        rows: How many rows the model takes at once; ``None`` for any number.
        names: The features that it takes; empty for all, as one matrix.

    Raises:
        NotTaken: Rows of a table cannot be put into such inputs.
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs
        for one in inputs:
            if one.kind not in _NUMBERS | _WHOLE | _OTHERS or len(one.shape) not in (1, 2):
                raise NotTaken(f"input {one}: expected [rows, columns] of numbers, texts or bools")
        sizes = {one.shape[0] for one in inputs if isinstance(one.shape[0], int)}
        if len(sizes) > 1 or 0 in sizes or not inputs:
            raise NotTaken(f"expected inputs for the same rows, got {self}")
        self.rows: int | None = sizes.pop() if sizes else None
        wide = [one for one in inputs if len(one.shape) == 2 and one.shape[1] != 1]
        if wide and len(inputs) > 1:
            raise NotTaken(f"expected one matrix, or inputs of one column each, got {self}")
        self.names = () if wide else tuple(one.name for one in inputs)

    def __str__(self) -> str:
        return ", ".join(map(str, self._inputs))

    def check(self, columns: Sequence[str]) -> None:
        """See that the rows have what the model takes.

        Raises:
            NotTaken: They have not.
        """
        if self.names and not self._is_only(columns):
            if lacking := [name for name in self.taken(columns) if name not in columns]:
                there = f"there are {list(columns)}"
                raise NotTaken(f"its inputs {lacking} are no features and no columns; {there}")
            return
        width = 1 if self.names else self._inputs[0].shape[1]
        if isinstance(width, int) and width != len(columns):
            why = f"it takes {width} inputs, the dataset has {len(columns)} features"
            raise NotTaken(f"{why}: {list(columns)}; name them in the model's order")

    def tensors(self, rows: pl.DataFrame) -> dict[str, Tensor]:
        """The model's inputs.

        Raises:
            NotTaken: A value cannot be one of them.
        """
        columns = self.taken(rows.columns)
        if self.names:
            pairs = zip(self._inputs, columns, strict=True)
            return {one.name: self._column(one, rows[name]) for one, name in pairs}
        (one,) = self._inputs
        return {one.name: self._matrix(one, rows)}

    def taken(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Those of the features that the model takes, in the order of its inputs.

        Exporters write ``_`` for what is no letter and no digit: the input ``net_price`` takes the
        column ``net price`` where there is one such column, and none of its own name.
        """
        if not self.names or self._is_only(columns):
            return tuple(columns)
        written = Counter(map(_as_exported, columns))
        named = {_as_exported(one): one for one in columns if written[_as_exported(one)] == 1}
        return tuple(name if name in columns else named.get(name, name) for name in self.names)

    def _is_only(self, columns: Sequence[str]) -> bool:
        """Whether there is one input and one feature, which need no names to find each other."""
        return len(self._inputs) == len(columns) == 1

    def _matrix(self, one: Input, rows: pl.DataFrame) -> Tensor:
        if one.kind in _NUMBERS and set(rows.dtypes) == {pl.Float32()}:
            return rows.to_numpy(order="c").astype(_NUMBERS[one.kind], copy=False)
        columns = [_values(one, column) for column in rows]
        return np.ascontiguousarray(np.stack(columns, axis=1))

    def _column(self, one: Input, column: pl.Series) -> Tensor:
        values = _values(one, column)
        return values.reshape(-1, 1) if len(one.shape) == 2 else values


def _as_exported(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _values(one: Input, column: pl.Series) -> Tensor:
    if one.kind in _NUMBERS:
        return _numbers(one, column).astype(_NUMBERS[one.kind])
    if one.kind == "string":
        return _texts(one, column)
    if column.null_count():
        why = f"has {column.null_count()} missing values, which {one.kind} cannot say"
        raise NotTaken(f"feature {column.name!r} {why}; give it `missing`, or require the column")
    if one.kind == "bool":
        if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
            why = f"is {column.dtype}, input {one} takes true or false"
            raise NotTaken(f"feature {column.name!r} {why}")
        return column.cast(pl.Boolean()).to_numpy()
    return _whole(one, column)


def _texts(one: Input, column: pl.Series) -> Tensor:
    """ONNX has no missing text; exporters make it the empty one."""
    if column.dtype not in (pl.String(), pl.Null()):
        why = f"feature {column.name!r} is {column.dtype}, input {one} takes texts, and nobody says"
        raise NotTaken(f"{why} how the model was given them: write an expr that gives the text")
    return column.cast(pl.String()).fill_null("").to_numpy().astype(object)


def _numbers(one: Input, column: pl.Series) -> Tensor:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise NotTaken(f"feature {column.name!r} is {column.dtype}, input {one} takes numbers")
    return column.cast(pl.Float64() if one.kind == "double" else pl.Float32()).to_numpy()


def _whole(one: Input, column: pl.Series) -> Tensor:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise NotTaken(f"feature {column.name!r} is {column.dtype}, input {one} takes integers")
    if column.dtype.is_float() and (broken := column.filter(column != column.floor())).len():
        why = f"has {broken.len()} values with a fraction, such as {broken[0]:g}, which {one.kind}"
        raise NotTaken(f"feature {column.name!r} {why} cannot say; round it in its expr")
    try:
        return column.cast(getattr(pl, one.kind.title().replace("Uint", "UInt"))()).to_numpy()
    except pl.exceptions.PolarsError as error:
        raise NotTaken(f"feature {column.name!r}: {str(error).splitlines()[0]}") from error
