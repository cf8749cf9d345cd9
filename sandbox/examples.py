"""Data of the examples in ``datasets/examples/``: two public tables that scikit-learn ships.

Both are small. Every third row is held out: models are trained on the others, and the batch that is
scored is made of these.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

HELD_OUT = 3
"""One row in so many."""


def wine() -> pl.DataFrame:
    """178 wines, what a laboratory measured of each, and from which of three growers it is."""
    from sklearn.datasets import load_wine

    found = load_wine()
    names = [name.replace("/", "_") for name in found["feature_names"]]
    growers = [str(found["target_names"][number]) for number in found["target"]]
    return _numbered("bottle", pl.DataFrame(found["data"], schema=names), "grower", growers)


def diabetes() -> pl.DataFrame:
    """442 patients, ten measurements of each, and how far the disease was a year later."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes(scaled=False)
    rows = pl.DataFrame(found["data"], schema=found["feature_names"])
    whole = rows.with_columns(pl.col("age", "sex").cast(pl.Int64()))
    return _numbered("patient", whole, "progression", found["target"].tolist())


def _numbered(key: str, rows: pl.DataFrame, label: str, values: Sequence[object]) -> pl.DataFrame:
    return rows.with_row_index(key, 1).with_columns(
        pl.col(key).cast(pl.Int64()), pl.Series(label, values)
    )


EXAMPLES: dict[str, Callable[[], pl.DataFrame]] = {"wine": wine, "diabetes": diabetes}


def training_rows(name: str) -> pl.DataFrame:
    """The rows of an example that its model is trained on."""
    return EXAMPLES[name]().filter(pl.int_range(pl.len()) % HELD_OUT != 0)


def held_out_rows(name: str) -> pl.DataFrame:
    """The others."""
    return EXAMPLES[name]().filter(pl.int_range(pl.len()) % HELD_OUT == 0)


def write_example(name: str, folder: Path) -> None:
    """Write ``train.csv`` and ``batch.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    training_rows(name).write_csv(folder / "train.csv")
    held_out_rows(name).write_csv(folder / "batch.csv")


def main() -> None:
    """Write the files of one example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=EXAMPLES)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    write_example(given.name, given.folder)


if __name__ == "__main__":
    main()
