"""Models that stay in their framework: a ``model.py`` and the file that it loads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import polars as pl
import torch
import xgboost
from catboost import CatBoostClassifier
from sklearn.ensemble import IsolationForest
from torch import nn

from tests.models.zoo import tables
from tests.models.zoo.folders import (
    About,
    both,
    classified,
    likeliest,
    model,
    save,
    unusual,
    valued,
)
from tests.models.zoo.with_boosters import CATS, EXTREME, QUIET
from tests.models.zoo.with_sklearn import credit_pipeline
from tests.models.zoo.with_torch import train

SOURCES = Path(__file__).with_name("python")


def _about(task: str, library: str, classes: list[str] | None = None) -> About:
    return About(task, library, inputs="rows", classes=classes or [])


def _save(folder: Path, table: tables.Table, expected: pl.DataFrame, about: About) -> None:
    shutil.copy(SOURCES / f"{folder.name.replace('-', '_')}.py", folder / "model.py")
    save(folder, table, expected, about)


@model
def python_sklearn(folder: Path) -> None:
    table = tables.credit()
    rows = table.rows.with_columns(pl.col(pl.String).fill_null(""))
    fitted = credit_pipeline().fit(rows, table.y)
    joblib.dump(fitted, folder / "model.joblib")
    expected = classified(["0", "1"], fitted.predict(rows), fitted.predict_proba(rows))
    _save(folder, table, expected, _about("binary", "joblib", ["0", "1"]))


@model
def python_lightgbm(folder: Path) -> None:
    table = tables.diabetes()
    rows = lightgbm.Dataset(table.x, table.y, feature_name=table.features)
    settings: dict[str, Any] = {"num_threads": 1, "deterministic": True, "verbose": -1}
    fitted = lightgbm.train(settings | {"objective": "regression"}, rows, num_boost_round=30)
    fitted.save_model(folder / "model.txt")
    _save(folder, table, valued(fitted.predict(table.x)), _about("regression", "lightgbm"))


@model
def python_xgboost(folder: Path) -> None:
    table = tables.cancer()
    rows = xgboost.DMatrix(table.x, table.y, feature_names=table.features)
    settings = {"objective": "binary:logistic", "nthread": 1, "max_depth": EXTREME["max_depth"]}
    fitted = xgboost.train(settings, rows, num_boost_round=30)
    fitted.save_model(folder / "model.json")
    expected = likeliest(["0", "1"], both(fitted.predict(rows)))
    _save(folder, table, expected, _about("binary", "xgboost", ["0", "1"]))


@model
def python_catboost(folder: Path) -> None:
    table = tables.credit().named("outcome", ["repaid", "defaulted"])
    rows = table.rows.with_columns(pl.col(pl.String).fill_null("")).select(table.features)
    texts = {"cat_features": ["purpose", "housing"]}
    fitted = CatBoostClassifier(**CATS, **QUIET, **texts).fit(rows.to_pandas(), table.y)
    fitted.save_model(str(folder / "model.cbm"))
    probabilities = fitted.predict_proba(rows.to_pandas())
    names = list(fitted.classes_)
    expected = classified(names, fitted.predict(rows.to_pandas()), probabilities)
    _save(folder, table, expected, _about("binary", "catboost", names))


@model
def python_torch(folder: Path) -> None:
    table = tables.wine()
    torch.set_num_threads(1)
    torch.manual_seed(14)
    net = nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 3))
    train(net, nn.CrossEntropyLoss(), table, torch.tensor(table.y), steps=30)
    torch.save(net.state_dict(), folder / "model.pt")
    with torch.no_grad():
        found = net(torch.tensor(table.x, dtype=torch.float32)).softmax(dim=1).numpy()
    names = ["0", "1", "2"]
    _save(folder, table, likeliest(names, found), _about("multiclass", "torch", names))


@model
def python_isolation(folder: Path) -> None:
    table = tables.wine()
    fitted = IsolationForest(n_estimators=50, contamination=0.1, random_state=0).fit(table.x)
    joblib.dump(fitted, folder / "model.joblib")
    expected = unusual(fitted.decision_function(table.x), fitted.predict(table.x))
    _save(folder, table, expected, _about("anomaly", "joblib"))


@model
def python_rules(folder: Path) -> None:
    table = tables.credit().named("outcome", ["repaid", "defaulted"])
    risk = [_risk(row) for row in table.rows.iter_rows(named=True)]
    expected = likeliest(["repaid", "defaulted"], both(risk))
    _save(folder, table, expected, _about("binary", "", ["repaid", "defaulted"]))


def _risk(row: dict[str, Any]) -> float:
    """The rule book once more, a row at a time."""
    heavy = row["income"] is None or row["amount"] > row["income"] * 0.5
    return 0.1 + 0.5 * heavy + 0.3 * (not row["employed"]) + 0.1 * (row["age"] < 21)
