"""Models that cannot work, each for one reason, which its ``about.json`` tells."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

from tests.models.zoo import tables
from tests.models.zoo.folders import MODELS

Harm = Callable[[Path], None]
BROKEN: dict[str, tuple[str, str, Harm]] = {}


def broken(base: str, problem: str) -> Callable[[Harm], Harm]:
    """A function that breaks a copy of a good model's folder; its name is the broken model's."""

    def add(harm: Harm) -> Harm:
        BROKEN[harm.__name__.strip("_").replace("_", "-")] = (base, problem, harm)
        return harm

    return add


def build_broken(folder: Path, names: list[str] | None = None) -> None:
    """Write every broken model, or those named, each into a folder of its name."""
    for name in names or BROKEN:
        base, problem, harm = BROKEN[name]
        shutil.rmtree(folder / name, ignore_errors=True)
        with tempfile.TemporaryDirectory() as place:
            good = Path(place, base)
            good.mkdir()
            MODELS[base](good)
            shutil.copytree(good, folder / name)
        harm(folder / name)
        _tell(folder / name, base, problem)


def _tell(folder: Path, base: str, problem: str) -> None:
    """Nothing is expected of it but its problem."""
    (folder / "expected.parquet").unlink()
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    about |= {"base": base, "problem": problem}
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


# Files


@broken("sklearn-binary", "model.onnx ends in its middle")
def _truncated(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])


@broken("sklearn-binary", "model.onnx is empty")
def _empty(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"")


@broken("sklearn-binary", "model.onnx is a pointer of Git LFS")
def _pointer(folder: Path) -> None:
    spec = "version https://git-lfs.github.com/spec/v1"
    text = f"{spec}\noid sha256:{'0' * 64}\nsize 123456\n"
    (folder / "model.onnx").write_text(text, encoding="utf-8")


@broken("torch-binary-any-batch", "model.onnx.data, where its weights are, is missing")
def _no_external_data(folder: Path) -> None:
    (folder / "model.onnx.data").unlink()


@broken("torch-binary-any-batch", "model.onnx.data ends in its middle")
def _short_external_data(folder: Path) -> None:
    content = (folder / "model.onnx.data").read_bytes()
    (folder / "model.onnx.data").write_bytes(content[: len(content) // 2])


@broken("python-sklearn", "model.joblib, which model.py loads, is missing")
def _python_no_file(folder: Path) -> None:
    (folder / "model.joblib").unlink()


# Graphs


def _write(folder: Path, model: onnx.ModelProto) -> None:
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _write_graph(folder: Path, nodes: list[onnx.NodeProto], width: int, outputs: int) -> None:
    """A graph from ``x`` [n, width] to ``y`` [n, outputs]."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])
    graph = helper.make_graph(nodes, "team", [x], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.team", 1)]
    _write(folder, helper.make_model(graph, opset_imports=opsets, ir_version=8))


def _mean(source: str, target: str, axis: int) -> onnx.NodeProto:
    return helper.make_node("ReduceMean", [source], [target], axes=[axis], keepdims=1)


@broken("sklearn-binary", "takes 29 features, the dataset has 30")
def _other_width(folder: Path) -> None:
    table = tables.cancer()
    fitted = LogisticRegression(max_iter=5000).fit(table.x[:, :29], table.y)
    _write(folder, convert_sklearn(fitted, initial_types=[("input", FloatTensorType([None, 29]))]))


@broken("sklearn-linear", "every value is NaN")
def _nan(folder: Path) -> None:
    nothing = helper.make_node("Sub", ["x", "x"], ["zero"])
    undefined = helper.make_node("Div", ["zero", "zero"], ["nan"])
    _write_graph(folder, [nothing, undefined, _mean("nan", "y", 1)], 10, 1)


@broken("sklearn-linear", "a row's value depends on the other rows of its batch")
def _batch(folder: Path) -> None:
    centred = helper.make_node("Sub", ["x", "middle"], ["centred"])
    _write_graph(folder, [_mean("x", "middle", 0), centred, _mean("centred", "y", 1)], 10, 1)


@broken("sklearn-linear", "gives ten values a row, a regression is one")
def _many_values(folder: Path) -> None:
    _write_graph(folder, [helper.make_node("Identity", ["x"], ["y"])], 10, 10)


@broken("sklearn-linear", "needs an operator that ONNX Runtime does not have")
def _unknown_operator(folder: Path) -> None:
    node = helper.make_node("Secret", ["x"], ["y"], domain="com.team")
    _write_graph(folder, [node], 10, 1)


@broken("sklearn-binary", "gives scores below 0 and above 1 where probabilities belong")
def _no_probabilities(folder: Path) -> None:
    table = tables.cancer()
    fitted = LogisticRegression(max_iter=5000).fit(table.x, table.y)
    options = {id(fitted): {"raw_scores": True, "zipmap": False}}
    _write(folder, to_onnx(fitted, table.x[:1].astype(np.float32), options=options))


@broken("sklearn-binary-double", "ONNX Runtime has no ZipMap of doubles, skl2onnx's default here")
def _double_zipmap(folder: Path) -> None:
    table = tables.cancer()
    fitted = LogisticRegression(max_iter=5000).fit(table.x, table.y)
    _write(folder, to_onnx(fitted, table.x[:1]))


@broken("sklearn-columns", "two inputs, yearly_income and years, are no columns of the dataset")
def _unknown_columns(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    new = {"income": "yearly_income", "age": "years"}
    for one in model.graph.input:
        one.name = new.get(one.name, one.name)
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
    _write(folder, model)


@broken("sklearn-columns", "the input purpose takes numbers, the column has texts")
def _other_types(folder: Path) -> None:
    x = helper.make_tensor_value_info("purpose", TensorProto.FLOAT, [None, 1])
    y = helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(
        [helper.make_node("Sigmoid", ["purpose"], ["probability"])], "team", [x], [y]
    )
    _write(
        folder, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    )


@broken("sklearn-binary-text", "the labels are M and B, the model's classes malignant and benign")
def _other_classes(folder: Path) -> None:
    rows = pl.read_parquet(folder / "train.parquet")
    short = pl.col("diagnosis").replace({"malignant": "M", "benign": "B"})
    rows.with_columns(short).write_parquet(folder / "train.parquet")


@broken("sklearn-binary-text", "the labels are numbers from 0 to 100, the model has two classes")
def _numbers_as_labels(folder: Path) -> None:
    rows = pl.read_parquet(folder / "train.parquet")
    percent = pl.int_range(pl.len()) % 101
    rows.with_columns(diagnosis=percent).write_parquet(folder / "train.parquet")


# Code

LOAD = "def load(folder):\n    return None\n\n\n"


def _code(folder: Path, body: str, head: str = "") -> None:
    """A ``model.py`` whose ``predict`` has this body."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    top = f'{head}\n\nTASK = "{about["task"]}"\n\n\n'.lstrip()
    predict = f"def predict(model, rows):\n    {body}\n"
    (folder / "model.py").write_text(top + LOAD + predict, encoding="utf-8")


@broken("python-lightgbm", "model.py is no Python")
def _python_syntax(folder: Path) -> None:
    (folder / "model.py").write_text(
        "def predict(model, rows)\n    return rows\n", encoding="utf-8"
    )


@broken("python-lightgbm", "model.py has no predict")
def _python_no_predict(folder: Path) -> None:
    (folder / "model.py").write_text(LOAD.rstrip() + "\n", encoding="utf-8")


@broken("python-lightgbm", "model.py imports a module that is not installed")
def _python_import(folder: Path) -> None:
    _code(folder, "return team_features.score(rows)", "import team_features")


@broken("python-lightgbm", "load raises an error")
def _python_load(folder: Path) -> None:
    text = "def load(folder):\n    raise ValueError('the weights are of version 3')\n\n\n"
    text += "def predict(model, rows):\n    return rows['bmi'].to_numpy()\n"
    (folder / "model.py").write_text(text, encoding="utf-8")


@broken("python-lightgbm", "predict takes a column, income, that the rows do not have")
def _python_column(folder: Path) -> None:
    _code(folder, "return rows['income'].to_numpy()")


@broken("python-lightgbm", "predict gives one value less than there are rows")
def _python_length(folder: Path) -> None:
    _code(folder, "return rows['bmi'].to_numpy()[1:]")


@broken("python-lightgbm", "predict gives texts, a regression is a number")
def _python_texts(folder: Path) -> None:
    _code(folder, "return np.array(['high'] * len(rows))", "import numpy as np")


@broken("python-lightgbm", "predict gives nothing: its return is forgotten")
def _python_none(folder: Path) -> None:
    _code(folder, "rows['bmi'].to_numpy()")


@broken("python-lightgbm", "every second value is NaN")
def _python_nan(folder: Path) -> None:
    head = "import numpy as np"
    _code(folder, "return np.where(np.arange(len(rows)) % 2, np.nan, rows['bmi'].to_numpy())", head)


@broken("python-xgboost", "predict gives numbers far above 1 for a classifier")
def _python_no_probabilities(folder: Path) -> None:
    _code(folder, "return rows['mean_radius'].to_numpy()")


@broken("python-catboost", "predict names a class, maybe, that is no label")
def _python_other_classes(folder: Path) -> None:
    half = "np.full(len(rows), 0.5)"
    _code(folder, f"return {{'repaid': {half}, 'maybe': {half}}}", "import numpy as np")


@broken("python-lightgbm", "predict ends the process with code 3")
def _python_exit(folder: Path) -> None:
    _code(folder, "os._exit(3)", "import os")


@broken("python-lightgbm", "predict reads memory that is not there: the process dies of SIGSEGV")
def _python_segfault(folder: Path) -> None:
    _code(folder, "return ctypes.string_at(0)", "import ctypes")


@broken("python-lightgbm", "predict never ends")
def _python_endless(folder: Path) -> None:
    _code(folder, "threading.Event().wait()", "import threading")


@broken("python-lightgbm", "a row's value depends on the other rows of its batch")
def _python_batch(folder: Path) -> None:
    _code(folder, "return (rows['bmi'] - rows['bmi'].mean()).to_numpy()")
