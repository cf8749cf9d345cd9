"""The columns of a dataset: a Table Schema (https://datapackage.org/standard/table-schema/)."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Literal, Self

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from flagfall.dataset.contradictions import contradictions, lacking_in_patterns
from flagfall.dataset.values import (
    Bound,
    Misfit,
    Scalar,
    Section,
    each_once,
)


class Constraints(Section):
    """Table Schema constraints of one column; ``pattern`` must match the whole value."""

    required: bool = False
    minimum: Bound | None = None
    maximum: Bound | None = None
    enum: list[Scalar] | None = Field(default=None, min_length=1)
    pattern: str | None = None
    min_length: int | None = Field(default=None, alias="minLength", ge=0)
    max_length: int | None = Field(default=None, alias="maxLength", ge=0)

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if lacking := lacking_in_patterns(value):
            why = f"expected a regular expression without {lacking!r}, which is not matched here"
            raise ValueError(f"{why}, got {value!r}")
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"expected a regular expression, got {value!r}: {error}") from error
        return value


FieldType = Literal["string", "integer", "number", "boolean", "date", "datetime"]


_VALUES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "date": (date,),
    "datetime": (date,),
}


_APPLIES_TO = {
    "minimum": ("integer", "number", "date", "datetime"),
    "maximum": ("integer", "number", "date", "datetime"),
    "pattern": ("string",),
    "minLength": ("string",),
    "maxLength": ("string",),
}


def _is_of(value: object, column_type: str) -> bool:
    """Whether a constraint's value can be compared with values of a column of that type."""
    if isinstance(value, bool):
        return column_type == "boolean"
    if isinstance(value, datetime):
        return column_type == "datetime"
    return isinstance(value, _VALUES[column_type])


class Column(Section):
    """One column (a Table Schema field).

    Attributes:
        format: For ``date`` and ``datetime`` a strptime pattern; ``default`` is ISO 8601.
    """

    name: str
    type: FieldType
    format: str = "default"
    title: str = ""
    description: str = ""
    constraints: Constraints = Constraints()

    @model_validator(mode="after")
    def _constraints_fit(self) -> Self:
        given = self.constraints.model_dump(by_alias=True, exclude_none=True)
        for name, types in _APPLIES_TO.items():
            if name in given and self.type not in types:
                why = f"expected no {name}: it does not apply to a column of type {self.type}"
                raise Misfit(("constraints", name), why)
        for name in ("minimum", "maximum"):
            self._must_be_of_type(("constraints", name), given.get(name))
        for index, value in enumerate(given.get("enum", [])):
            self._must_be_of_type(("constraints", "enum", index), value)
        for where, why in contradictions(given):
            raise Misfit(("constraints", *where), why)
        return self

    @model_validator(mode="after")
    def _format_applies(self) -> Self:
        if self.format != "default" and self.type not in ("date", "datetime"):
            why = f"expected no format: a column of type {self.type} is read without one"
            raise Misfit(("format",), f"{why}, got {self.format!r}")
        if self.format != "default" and "%" not in self.format:
            why = f"expected a strptime pattern such as '%d.%m.%Y', got {self.format!r}"
            raise Misfit(("format",), why)
        return self

    def _must_be_of_type(self, location: tuple[int | str, ...], value: object) -> None:
        if value is not None and not _is_of(value, self.type):
            raise Misfit(location, f"expected a value of type {self.type}, got {value!r}")


class Table(Section):
    """The columns (a Table Schema).

    Attributes:
        fields: Columns that are read; others in the data are left out.
        primary_key: Columns that together name a row; no two rows of a batch share them.
        missing_values: Texts that mean "no value".
    """

    fields: tuple[Column, ...]
    primary_key: tuple[str, ...] = Field(default=(), alias="primaryKey")
    missing_values: tuple[str, ...] = Field(default=("",), alias="missingValues")

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        names = [column.name for column in self.fields]
        if not names:
            raise Misfit(("fields",), "expected at least one column")
        each_once("fields", names)
        for index, name in enumerate(self.primary_key):
            if name not in names:
                raise Misfit(("primaryKey", index), f"expected a column of fields, got {name!r}")
        return self
