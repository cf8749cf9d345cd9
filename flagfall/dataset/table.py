"""The columns of a dataset: a Table Schema (https://datapackage.org/standard/table-schema/)."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Literal, Self
from warnings import catch_warnings, simplefilter

from pydantic import (
    AfterValidator,
    Field,
    field_validator,
    model_validator,
)

from flagfall.dataset.contradictions import contradictions, lacking_in_patterns, vanishing
from flagfall.dataset.rules import Missing, RowCount, Rule
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
            with catch_warnings():  # such as [[:alpha:]], which polars takes for something else
                simplefilter("error", FutureWarning)
                re.compile(value)
        except (re.error, FutureWarning) as error:
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


_BEYOND = {"integer": 2**63, "number": 2**127}
"""The first integer that values of a type are not compared with: polars has no longer ones."""


def _short(value: int) -> str:
    """Its digits; Python does not write very many."""
    return str(value) if abs(value) < 10**100 else "one of more than 100 digits"


TRUE_VALUES = ("true", "True", "TRUE", "1")
FALSE_VALUES = ("false", "False", "FALSE", "0")
"""Defaults of Table Schema."""


def _number_character(value: str) -> str:
    if len(value) != 1 or value.isalnum() or value in "+-\0\r\n":
        raise ValueError(f"expected one character that is in no number itself, got {value!r}")
    return value


NumberCharacter = Annotated[str, AfterValidator(_number_character)]

_WORDS_OF = {
    "decimal_char": ("number",),
    "group_char": ("number", "integer"),
    "true_values": ("boolean",),
    "false_values": ("boolean",),
}
"""Settings of how a value is written, and the types that they apply to."""


class Column(Section):
    """One column (a Table Schema field).

    Attributes:
        format: For ``date`` and ``datetime`` a strptime pattern; ``default`` is ISO 8601.
        optional: A file may leave the column out. Then its values are missing.
        missing: How many values of a batch may be; ``None`` for any number.
        decimal_char: Between the digits before and after the decimal point, for ``number``.
        group_char: Between groups of three digits, for ``number`` and ``integer``; empty for none.
        true_values: Texts that mean true, for ``boolean``. So for ``false_values``.
    """

    name: str
    type: FieldType
    format: str = "default"
    title: str = ""
    description: str = ""
    optional: bool = False
    missing: Missing | None = None
    decimal_char: NumberCharacter = Field(default=".", alias="decimalChar")
    group_char: NumberCharacter | None = Field(default=None, alias="groupChar")
    true_values: tuple[str, ...] = Field(default=TRUE_VALUES, alias="trueValues", min_length=1)
    false_values: tuple[str, ...] = Field(default=FALSE_VALUES, alias="falseValues", min_length=1)
    constraints: Constraints = Constraints()

    @field_validator("name")
    @classmethod
    def _name_is_no_pattern(cls, value: str) -> str:
        """polars, also in SQL expressions, would read other columns than the one of that name."""
        if value == "*" or (value.startswith("^") and value.endswith("$")):
            raise ValueError(f"expected a name that polars takes for no pattern, got {value!r}")
        return value

    @model_validator(mode="after")
    def _words_fit(self) -> Self:
        given = {
            Column.model_fields[name].alias or name: types
            for name, types in _WORDS_OF.items()
            if name in self.model_fields_set
        }
        for name, types in given.items():
            if self.type not in types:
                why = f"expected no {name}: it does not apply to a column of type {self.type}"
                raise Misfit((name,), why)
        if self.type == "number" and self.group_char == self.decimal_char:
            why = f"expected another character than decimalChar, got {self.group_char!r}"
            raise Misfit(("groupChar",), why)
        if both := set(self.true_values) & set(self.false_values):
            why = f"expected other words than those of trueValues, got {sorted(both)}"
            raise Misfit(("falseValues",), why)
        return self

    @model_validator(mode="after")
    def _missing_values_fit(self) -> Self:
        if self.optional and self.constraints.required:
            why = "expected false: no row of a file without the column would have a value"
            raise Misfit(("constraints", "required"), why)
        if self.missing and self.optional:
            raise Misfit(("missing",), "expected none: a file may leave all values out")
        if self.missing and self.constraints.required:
            raise Misfit(("missing",), "expected none: rows without a value are rejected")
        return self

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

    @property
    def number_characters(self) -> dict[str, str]:
        """What stands within its numbers, by the key that says so; nothing of other types."""
        decimal = {"decimalChar": self.decimal_char} if self.type == "number" else {}
        return {**decimal, **({"groupChar": self.group_char} if self.group_char else {})}

    def _must_be_of_type(self, location: tuple[int | str, ...], value: object) -> None:
        if value is not None and not _is_of(value, self.type):
            raise Misfit(location, f"expected a value of type {self.type}, got {value!r}")
        beyond = _BEYOND.get(self.type, 2)  # true is an integer of Python
        if isinstance(value, int) and not -beyond <= value < beyond:
            wanted = {"number": "a number with a point, such as 1.0e42"}
            why = f"expected {wanted.get(self.type, 'an integer of 64 bits')}, got {_short(value)}"
            raise Misfit(location, why)


class Table(Section):
    """The columns (a Table Schema).

    Attributes:
        fields: Columns that are read; others in the data are left out.
        primary_key: Columns that together name a row; no two rows of a batch share them.
        missing_values: Texts that mean "no value".
        unexpected: What columns of a file cause that are not in ``fields``: nothing, their names
            in the receipt, or the rejection of the batch.
        rules: Rules over the values of one row.
        rows: How many rows a batch has.
    """

    fields: tuple[Column, ...]
    primary_key: tuple[str, ...] = Field(default=(), alias="primaryKey")
    missing_values: tuple[str, ...] = Field(default=("",), alias="missingValues")
    unexpected: Literal["ignore", "warn", "reject"] = "warn"
    rules: tuple[Rule, ...] = ()
    rows: RowCount = RowCount()

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        names = [column.name for column in self.fields]
        if not names:
            raise Misfit(("fields",), "expected at least one column")
        each_once("fields", names)
        each_once("rules", [rule.name for rule in self.rules])
        for index, name in enumerate(self.primary_key):
            if name not in names:
                raise Misfit(("primaryKey", index), f"expected a column of fields, got {name!r}")
            if name in self.primary_key[:index]:
                why = f"expected every column once, got {name!r} twice"
                raise Misfit(("primaryKey", index), why)
        self._optional_columns_fit()
        return self

    @model_validator(mode="after")
    def _no_value_vanishes(self) -> Self:
        for index, column in enumerate(self.fields):
            for where, why in vanishing(column, self.missing_values):
                raise Misfit(("fields", index, *where), why)
        return self

    def _optional_columns_fit(self) -> None:
        needed = self.needed
        if not needed:
            raise Misfit(("fields",), "expected at least one column that is not optional")
        for index, name in enumerate(self.primary_key):
            if name not in needed:
                why = f"expected a column that is not optional, got {name!r}"
                raise Misfit(("primaryKey", index), why)

    @property
    def needed(self) -> list[str]:
        """Columns that every file must have."""
        return [column.name for column in self.fields if not column.optional]
