"""Labels that another feed brings: the label's expression over that feed's rows."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from flagfall.dataset.columns import polars_schema
from flagfall.dataset.expressions import (
    TIME_WITH_NUMBER,
    compares_time_with_number,
    looks_at_other_rows,
    parse_expression,
)
from flagfall.dataset.schema import Dataset
from flagfall.dataset.trials import why_it_never_works
from flagfall.scoring.features import label_expression
from flagfall.scoring.labels import LABEL, LabelInvalid, Says, as_labels

ORDER = "\0delivery"
"""Column with the place of an outcome's delivery among those that are joined; none of a feed is
called so."""


def check_late_label(dataset: Dataset, feed: Dataset, says: Says) -> None:
    """See on tables of outcomes whether the label can be what the model predicts.

    Args:
        dataset: The dataset whose rows are scored.
        feed: The one that brings the outcomes.
        says: What the model says of a row.

    Raises:
        FeatureInvalid: It cannot, its expression fails, or looks at other rows.
    """
    assert dataset.label is not None, "only for datasets with a label"
    empty = pl.LazyFrame(schema=polars_schema(feed))
    last_outcomes(dataset, says, [empty], empty.select(dataset.outcome_key))
    expression = parse_expression(dataset.label.expr)
    if compares_time_with_number(expression, empty.collect_schema()):
        raise LabelInvalid(dataset, TIME_WITH_NUMBER)
    if why := why_it_never_works(expression, empty.collect_schema()):
        raise LabelInvalid(dataset, f"it works for no row: {why}")
    if looks_at_other_rows(expression):
        why = "expected an expression of one row: outcomes come in pieces"
        raise LabelInvalid(dataset, why)


def last_outcomes(
    dataset: Dataset, says: Says, deliveries: Sequence[pl.LazyFrame], wanted: pl.LazyFrame
) -> pl.DataFrame:
    """The outcome of each row that one is known of: key columns, ``label``, place of its delivery.

    Memory follows the rows that are wanted, not those of the deliveries.

    Args:
        dataset: The dataset whose rows are scored.
        says: What the model says of a row.
        deliveries: Rows of outcomes; of one row the last delivery counts.
        wanted: Keys of predictions.

    Raises:
        FeatureInvalid: The expression fails on these rows, or its values cannot be what the model
            predicts.
    """
    key = list(dataset.outcome_key)
    try:
        label, ours = label_expression(dataset), wanted.collect(engine="streaming").lazy()
        places = (
            rows.join(ours, on=key, how="semi")  # first: rows of others may break the expression
            .with_columns(label, pl.lit(place, pl.Int32).alias(ORDER))
            .select(*key, LABEL, ORDER)
            for place, rows in enumerate(deliveries)
        )
        known = pl.concat(places).collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise LabelInvalid(dataset, str(error).splitlines()[0]) from error
    last = known.sort(ORDER).unique(key, keep="last").select(*key, LABEL, ORDER)
    return last.with_columns(as_labels(dataset, says, last[LABEL]).alias(LABEL))
