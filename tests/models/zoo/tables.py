"""The tables that the models learn from: what scikit-learn ships, and one that is made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from sklearn import datasets


@dataclass(frozen=True)
class Table:
    """Rows as a dataset has them.

    Args:
        rows: Every column: what a model takes, the label, and what is neither.
        label: The label's column; empty if there is none.
        features: The columns that a model takes, in its order.
    """

    rows: pl.DataFrame
    label: str
    features: list[str] = field(default_factory=list)

    @property
    def x(self) -> np.ndarray:
        return self.rows.select(self.features).to_numpy()

    @property
    def y(self) -> np.ndarray:
        return self.rows[self.label].to_numpy()

    def labelled(self, label: pl.Series) -> Table:
        """The same rows with another label."""
        rows = self.rows.drop(self.label).with_columns(label)
        return Table(rows, label.name, self.features)

    def named(self, name: str, texts: list[str]) -> Table:
        """The same rows, with a text for each number of the label."""
        return self.labelled(pl.Series(name, [texts[number] for number in self.y]))


def cancer() -> Table:
    """569 rows, 30 floats, a label 0 or 1."""
    return _shipped(datasets.load_breast_cancer(), "benign")


def iris() -> Table:
    """150 rows, 4 floats, three classes."""
    return _shipped(datasets.load_iris(), "species")


def wine() -> Table:
    """178 rows, 13 floats, three classes."""
    return _shipped(datasets.load_wine(), "cultivar")


def digits() -> Table:
    """1797 rows, 64 whole numbers from 0 to 16, ten classes."""
    table = _shipped(datasets.load_digits(), "digit")
    whole = table.rows.with_columns(pl.col(table.features).cast(pl.Int64))
    return Table(whole, table.label, table.features)


def diabetes() -> Table:
    """442 rows, 10 floats, a value from 25 to 346."""
    return _shipped(datasets.load_diabetes(scaled=False), "progression")


def credit(size: int = 1000) -> Table:
    """Made: texts, whole numbers, floats and a bool, some missing; a label 0 or 1."""
    random = np.random.default_rng(14)
    income = np.round(random.lognormal(10.3, 0.5, size), 2)
    amount = np.round(random.gamma(2.0, 4000.0, size), 2)
    age = random.integers(19, 78, size)
    loans = random.poisson(1.2, size)
    employed = random.random(size) < 0.8
    purpose = random.choice(["car", "furniture", "education", "business"], size)
    housing = random.choice(["own", "rent", "free"], size, p=[0.6, 0.3, 0.1])
    odds = 2 * amount / income + 0.5 * loans - 1.3 * employed + 0.9 * (purpose == "business")
    defaulted = random.random(size) < 1 / (1 + np.exp(2.0 - odds))
    rows = pl.DataFrame(
        {
            "application": np.arange(1, size + 1),
            "purpose": _with_gaps(purpose, random.random(size) < 0.05),
            "housing": housing,
            "income": _with_gaps(income, random.random(size) < 0.08),
            "amount": amount,
            "age": age,
            "loans": loans,
            "employed": employed,
            "defaulted": defaulted.astype(np.int64),
        }
    )
    return Table(rows, "defaulted", rows.columns[1:-1])


def _with_gaps(values: np.ndarray, missing: np.ndarray) -> pl.Series:
    return pl.Series([None if gone else value for value, gone in zip(values, missing, strict=True)])


def _shipped(bunch: datasets.Bunch, label: str) -> Table:
    names = [_name(text) for text in bunch["feature_names"]]
    rows = pl.DataFrame(bunch["data"], schema=names)
    return Table(rows.with_columns(pl.Series(label, bunch["target"])), label, names)


def _name(text: str) -> str:
    return text.replace(" (cm)", "").replace(" ", "_").replace("/", "_")
