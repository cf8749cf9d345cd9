"""A booster of LightGBM, in its own text format."""

from pathlib import Path

import lightgbm

TASK = "regression"


def load(folder):
    return lightgbm.Booster(model_file=Path(folder) / "model.txt")


def predict(model, rows):
    return model.predict(rows.select(model.feature_name()).to_numpy())
