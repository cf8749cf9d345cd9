"""A rule book: no library, no file."""

import polars as pl


def load(folder):
    return {"most of income": 0.5, "youngest": 21}


def predict(model, rows):
    print(f"{len(rows)} rows by the book")  # code that people have says something
    heavy = (pl.col("amount") > pl.col("income") * model["most of income"]).fill_null(True)
    risk = (
        0.1 + 0.5 * heavy + 0.3 * (~pl.col("employed")) + 0.1 * (pl.col("age") < model["youngest"])
    )
    return rows.select(repaid=1 - risk, defaulted=risk)
