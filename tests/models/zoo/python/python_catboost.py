"""CatBoost with texts as they are, which it cannot export to ONNX."""

from pathlib import Path

import polars as pl
from catboost import CatBoostClassifier


def load(folder):
    return CatBoostClassifier().load_model(str(Path(folder) / "model.cbm"))


def predict(model, rows):
    filled = rows.with_columns(pl.col(pl.String).fill_null(""))
    probabilities = model.predict_proba(filled.select(model.feature_names_).to_pandas())
    return dict(zip(model.classes_, probabilities.T, strict=True))
