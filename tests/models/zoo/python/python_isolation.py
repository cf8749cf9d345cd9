"""An isolation forest of scikit-learn: how unusual a row is, and whether that is too much."""

from pathlib import Path

import joblib
import polars as pl

TASK = "anomaly"


def load(folder):
    return joblib.load(Path(folder) / "model.joblib")


def predict(model, rows):
    scores = -model.decision_function(rows.drop("cultivar", strict=False).to_numpy())
    return pl.DataFrame({"score": scores, "label": (scores > 0).astype(int)})
