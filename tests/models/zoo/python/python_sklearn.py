"""A pipeline of scikit-learn, as joblib wrote it."""

from pathlib import Path

import joblib
import polars as pl

CLASSES = ["0", "1"]


def load(folder):
    return joblib.load(Path(folder) / "model.joblib")


def predict(model, rows):
    return model.predict_proba(rows.with_columns(pl.col(pl.String).fill_null("")))
