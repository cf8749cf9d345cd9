"""A booster of XGBoost, in its own JSON: gives the probability of the second class."""

from pathlib import Path

import xgboost

TASK = "binary"


def load(folder):
    return xgboost.Booster(model_file=str(Path(folder) / "model.json"))


def predict(model, rows):
    x = rows.select(model.feature_names).to_numpy()
    return model.predict(xgboost.DMatrix(x, feature_names=model.feature_names))
