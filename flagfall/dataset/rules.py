"""What a schema asks of a whole row and of a whole batch, beyond single values."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from flagfall.dataset.values import Misfit, Section, Share

Severity = Literal["warn", "reject"]
"""The receipt names it, or the batch is rejected."""


class Rule(Section):
    """A rule over the values of one row. A row for which it is null passes, as with SQL's CHECK.

    Attributes:
        name: What a producer reads where a row breaks it.
        expr: SQL expression over the columns (polars' dialect), true or false.
        severity: What a row that breaks it causes: rows are counted in the receipt, the row is
            rejected, or the batch is.
    """

    name: str = Field(min_length=1, max_length=80)
    expr: str
    severity: Literal["warn", "drop", "reject"] = "drop"


class RowCount(Section):
    """How many rows a batch has, good and bad ones; ``None`` for any number."""

    minimum: int = Field(default=0, ge=0)
    maximum: int | None = Field(default=None, ge=0)
    severity: Severity = "reject"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.maximum is not None and self.maximum < self.minimum:
            raise Misfit(("maximum",), f"expected {self.minimum} or more, got {self.maximum}")
        return self


class Missing(Section):
    """How many accepted rows of a batch may lack a value.

    Attributes:
        maximum: Largest share of them.
    """

    maximum: Share
    severity: Severity = "reject"
