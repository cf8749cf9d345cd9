"""LightGBM and XGBoost, exported by onnxmltools; CatBoost, by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import onnxmltools
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import to_onnx, update_registered_converter
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.models.zoo import tables
from tests.models.zoo.folders import About, both, classified, likeliest, model, save, valued
from tests.models.zoo.tables import Table

LIGHT = {"n_estimators": 30, "n_jobs": 1, "deterministic": True, "verbose": -1, "seed": 0}
EXTREME = {"n_estimators": 30, "max_depth": 4, "n_jobs": 1, "random_state": 0}
CATS = {"iterations": 30, "thread_count": 1, "random_seed": 0, "verbose": False}
QUIET = {"allow_writing_files": False}
TOOLS = "onnxmltools"


def _floats(table: Table) -> list[tuple[str, Any]]:
    return [("input", FloatTensorType([None, len(table.features)]))]


def _export(folder: Path, convert: Any, fitted: Any, table: Table) -> None:
    onnx = convert(fitted, initial_types=_floats(table))
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())


def _save_classes(folder: Path, table: Table, fitted: Any, exporter: str) -> None:
    names = [str(one) for one in fitted.classes_]
    chosen = fitted.predict(table.x).reshape(-1)
    task = "binary" if len(names) == 2 else "multiclass"
    expected = classified(names, chosen, fitted.predict_proba(table.x))
    save(folder, table, expected, About(task, exporter, classes=names))


def _numbers_of_credit() -> Table:
    table = tables.credit()
    return Table(table.rows, table.label, ["income", "amount", "age", "loans"])


def _lightgbm(folder: Path, table: Table) -> None:
    fitted = lightgbm.LGBMClassifier(**LIGHT).fit(table.x, table.y)
    _export(folder, onnxmltools.convert_lightgbm, fitted, table)
    _save_classes(folder, table, fitted, TOOLS)


@model
def lightgbm_binary(folder: Path) -> None:
    _lightgbm(folder, tables.cancer())


@model
def lightgbm_binary_text(folder: Path) -> None:
    _lightgbm(folder, tables.cancer().named("diagnosis", ["malignant", "benign"]))


@model
def lightgbm_missing(folder: Path) -> None:
    _lightgbm(folder, _numbers_of_credit())


@model
def lightgbm_in_a_pipeline(folder: Path) -> None:
    table = tables.wine()
    update_registered_converter(
        lightgbm.LGBMClassifier,
        "LightGBM",
        calculate_linear_classifier_output_shapes,
        convert_lightgbm,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    fitted = make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(**LIGHT))
    fitted.fit(table.x.astype(np.float32), table.y)
    opset = {"": 15, "ai.onnx.ml": 2}
    onnx = to_onnx(fitted, table.x[:1].astype(np.float32), target_opset=opset)
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    _save_classes(folder, table, fitted, "skl2onnx")


@model
def lightgbm_multiclass(folder: Path) -> None:
    _lightgbm(folder, tables.wine())


@model
def lightgbm_regression(folder: Path) -> None:
    table = tables.diabetes()
    fitted = lightgbm.LGBMRegressor(**LIGHT).fit(table.x, table.y)
    _export(folder, onnxmltools.convert_lightgbm, fitted, table)
    save(folder, table, valued(fitted.predict(table.x)), About("regression", TOOLS))


@model
def lightgbm_booster(folder: Path) -> None:
    table = tables.cancer()
    settings = {"objective": "binary", "num_threads": 1, "deterministic": True, "verbose": -1}
    fitted = lightgbm.train(settings, lightgbm.Dataset(table.x, table.y), num_boost_round=30)
    _export(folder, onnxmltools.convert_lightgbm, fitted, table)
    expected = likeliest(["0", "1"], both(fitted.predict(table.x)))
    save(folder, table, expected, About("binary", TOOLS, classes=["0", "1"]))


def _xgboost(folder: Path, table: Table) -> None:
    fitted = xgboost.XGBClassifier(**EXTREME).fit(table.x, table.y)
    _export(folder, onnxmltools.convert_xgboost, fitted, table)
    _save_classes(folder, table, fitted, TOOLS)


@model
def xgboost_binary(folder: Path) -> None:
    _xgboost(folder, tables.cancer())


@model
def xgboost_missing(folder: Path) -> None:
    _xgboost(folder, _numbers_of_credit())


@model
def xgboost_multiclass(folder: Path) -> None:
    _xgboost(folder, tables.wine())


@model
def xgboost_regression(folder: Path) -> None:
    table = tables.diabetes()
    fitted = xgboost.XGBRegressor(**EXTREME).fit(table.x, table.y)
    _export(folder, onnxmltools.convert_xgboost, fitted, table)
    save(folder, table, valued(fitted.predict(table.x)), About("regression", TOOLS))


def _catboost(folder: Path, table: Table) -> None:
    fitted = catboost.CatBoostClassifier(**CATS, **QUIET).fit(table.x, table.y)
    fitted.save_model(str(folder / "model.onnx"), format="onnx")
    _save_classes(folder, table, fitted, "catboost")


@model
def catboost_binary(folder: Path) -> None:
    _catboost(folder, tables.cancer())


@model
def catboost_binary_text(folder: Path) -> None:
    _catboost(folder, tables.cancer().named("diagnosis", ["malignant", "benign"]))


@model
def catboost_multiclass(folder: Path) -> None:
    _catboost(folder, tables.wine())


@model
def catboost_multiclass_text(folder: Path) -> None:
    _catboost(folder, tables.iris().named("species", ["setosa", "versicolor", "virginica"]))


@model
def catboost_regression(folder: Path) -> None:
    table = tables.diabetes()
    fitted = catboost.CatBoostRegressor(**CATS, **QUIET).fit(table.x, table.y)
    fitted.save_model(str(folder / "model.onnx"), format="onnx")
    save(folder, table, valued(fitted.predict(table.x)), About("regression", "catboost"))
