"""Models of scikit-learn, exported by skl2onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common import data_types as types
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import OneClassSVM

from tests.models.zoo import tables
from tests.models.zoo.folders import About, classified, model, save, unusual, valued
from tests.models.zoo.tables import Table

EXPORTER = "skl2onnx"


def _logistic(table: Table) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(table.x, table.y)


def _write(folder: Path, onnx: Any) -> None:
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())


def _floats(table: Table, rows: int | None = None) -> list[tuple[str, Any]]:
    return [("input", types.FloatTensorType([rows, len(table.features)]))]


def _save_classes(folder: Path, table: Table, fitted: Any, **about: Any) -> None:
    numbers = int if fitted.classes_.dtype == bool else str  # a bool is exported as 0 or 1
    names = [str(numbers(one)) for one in fitted.classes_]
    x = about.pop("x", table.x)
    chosen = [numbers(one) for one in fitted.predict(x)]
    expected = classified(names, chosen, fitted.predict_proba(x))
    task = "binary" if len(names) == 2 else "multiclass"
    save(folder, table, expected, About(task, EXPORTER, classes=names, **about))


@model
def sklearn_binary(folder: Path) -> None:
    table = tables.cancer()
    fitted = _logistic(table)
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table)))
    _save_classes(folder, table, fitted)


@model
def sklearn_binary_text(folder: Path) -> None:
    table = tables.cancer().named("diagnosis", ["malignant", "benign"])
    fitted = _logistic(table)
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table)))
    _save_classes(folder, table, fitted)


@model
def sklearn_binary_bool(folder: Path) -> None:
    table = tables.cancer()
    table = table.labelled(table.rows["benign"].cast(pl.Boolean))
    fitted = _logistic(table)
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table)))
    _save_classes(folder, table, fitted)


@model
def sklearn_binary_signed(folder: Path) -> None:
    table = tables.cancer()
    table = table.labelled(table.rows["benign"] * 2 - 1)
    fitted = _logistic(table)
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table)))
    _save_classes(folder, table, fitted)


@model
def sklearn_binary_double(folder: Path) -> None:
    table = tables.cancer()
    fitted = _logistic(table)
    # The default, a ZipMap of doubles, is no model that ONNX Runtime loads: see `broken`.
    _write(folder, to_onnx(fitted, table.x[:1], options={"zipmap": False}))
    _save_classes(folder, table, fitted)


@model
def sklearn_binary_of_one_row(folder: Path) -> None:
    table = tables.cancer()
    fitted = _logistic(table)
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table, rows=1)))
    _save_classes(folder, table, fitted)


@model
def sklearn_binary_of_eight_rows(folder: Path) -> None:
    table = tables.cancer()
    fitted = _logistic(table)
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table, rows=8)))
    _save_classes(folder, table, fitted)


@model
def sklearn_text_classes(folder: Path) -> None:
    table = tables.iris().named("species", ["setosa", "versicolor", "virginica"])
    fitted = _logistic(table)
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table)))
    _save_classes(folder, table, fitted)


def _forest(folder: Path, zipmap: bool | str) -> None:
    table = tables.wine()
    fitted = RandomForestClassifier(50, random_state=0).fit(table.x, table.y)
    options = {} if zipmap is True else {"options": {id(fitted): {"zipmap": zipmap}}}
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table), **options))
    _save_classes(folder, table, fitted)


@model
def sklearn_forest(folder: Path) -> None:
    _forest(folder, zipmap=True)


@model
def sklearn_forest_matrix(folder: Path) -> None:
    _forest(folder, zipmap=False)


@model
def sklearn_forest_columns(folder: Path) -> None:
    _forest(folder, zipmap="columns")


@model
def sklearn_integers(folder: Path) -> None:
    table = tables.digits()
    fitted = LogisticRegression(max_iter=50, tol=0.1).fit(table.x, table.y)
    _write(folder, to_onnx(fitted, table.x[:1]))
    _save_classes(folder, table, fitted)


def credit_pipeline() -> Any:
    """Encoders for texts, numbers and a bool, before a logistic regression."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = ColumnTransformer(
        [
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["purpose", "housing"]),
            ("floats", numbers, ["income", "amount"]),
            ("integers", StandardScaler(), ["age", "loans"]),
            ("flags", "passthrough", ["employed"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=500))


def credit_rows(table: Table) -> pd.DataFrame:
    """The features as a team's own script has them: a missing text is an empty one."""
    filled = table.rows.select(table.features).with_columns(pl.col(pl.String).fill_null(""))
    rows = {name: filled[name].to_numpy() for name in filled.columns}
    return pd.DataFrame(rows).astype({"purpose": object, "housing": object})


TENSORS = {
    pl.String: types.StringTensorType,
    pl.Float64: types.FloatTensorType,
    pl.Int64: types.Int64TensorType,
    pl.Boolean: types.BooleanTensorType,
}


def _named(table: Table) -> list[tuple[str, Any]]:
    kinds = table.rows.schema
    return [(name, TENSORS[type(kinds[name])]([None, 1])) for name in table.features]


def _columns(folder: Path, table: Table, **about: Any) -> None:
    rows = credit_rows(table)
    fitted = credit_pipeline().fit(rows, table.y)
    _write(folder, convert_sklearn(fitted, initial_types=_named(table)))
    _save_classes(folder, table, fitted, inputs="columns", missing_text="", x=rows, **about)


@model
def sklearn_columns(folder: Path) -> None:
    _columns(folder, tables.credit())


@model
def sklearn_columns_text(folder: Path) -> None:
    _columns(folder, tables.credit().named("outcome", ["repaid", "defaulted"]))


@model
def sklearn_isolation(folder: Path) -> None:
    table = tables.wine()
    fitted = IsolationForest(n_estimators=50, contamination=0.1, random_state=0).fit(table.x)
    opset = {"": 21, "ai.onnx.ml": 3}  # skl2onnx asks for it by name
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table), target_opset=opset))
    expected = unusual(fitted.decision_function(table.x), fitted.predict(table.x))
    save(folder, table, expected, About("anomaly", EXPORTER))


@model
def sklearn_one_class(folder: Path) -> None:
    table = tables.iris()
    fitted = OneClassSVM(nu=0.1, gamma="auto").fit(table.x)
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table)))
    expected = unusual(fitted.decision_function(table.x), fitted.predict(table.x))
    save(folder, table, expected, About("anomaly", EXPORTER))


@model
def sklearn_clusters(folder: Path) -> None:
    table = tables.iris()
    fitted = KMeans(3, n_init=1, random_state=0).fit(table.x)
    _write(folder, convert_sklearn(fitted, initial_types=_floats(table)))
    names = ["0", "1", "2"]
    distances = classified(names, fitted.predict(table.x), fitted.transform(table.x))
    expected = distances.rename({f"probability.{name}": f"distance.{name}" for name in names})
    save(folder, table, expected, About("clustering", EXPORTER, classes=names))


def _regression(folder: Path, fitted: Any, double: bool = False) -> None:
    table = tables.diabetes()
    fitted.fit(table.x, table.y)
    kind = types.DoubleTensorType if double else types.FloatTensorType
    inputs = [("input", kind([None, len(table.features)]))]
    _write(folder, convert_sklearn(fitted, initial_types=inputs))
    save(folder, table, valued(fitted.predict(table.x)), About("regression", EXPORTER))


@model
def sklearn_linear(folder: Path) -> None:
    _regression(folder, LinearRegression())


@model
def sklearn_linear_double(folder: Path) -> None:
    _regression(folder, LinearRegression(), double=True)


@model
def sklearn_boosted(folder: Path) -> None:
    _regression(folder, GradientBoostingRegressor(random_state=0))


@model
def sklearn_regression_columns(folder: Path) -> None:
    table = tables.diabetes()
    rows = pd.DataFrame({name: table.rows[name].to_numpy() for name in table.features})
    fitted = make_pipeline(StandardScaler(), LinearRegression()).fit(rows, table.y)
    _write(folder, to_onnx(fitted, rows[:1].astype(np.float32)))
    about = About("regression", EXPORTER, inputs="columns")
    save(folder, table, valued(fitted.predict(rows)), about)
