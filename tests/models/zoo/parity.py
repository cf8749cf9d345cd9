"""Runs each model as it was written, and writes how far it is from its framework's predictions.

A reading of its own, which shares nothing with Flagfall's: what it finds is what is true.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl

from tests.models.zoo.folders import both, likeliest, valued

KINDS: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


def add_parity(folder: Path) -> None:
    """Add ``onnx`` or ``python`` to ``about.json``: what it is, and how far from its framework."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    rows = pl.read_parquet(folder / "train.parquet")
    expected = pl.read_parquet(folder / "expected.parquet")
    if (folder / "model.py").exists():
        module = _module(folder / "model.py")
        found = _of_python(module.predict(module.load(folder), rows), about)
        about["python"] = {"lines": _lines(folder / "model.py"), **_distance(found, expected)}
    else:
        session = _session(folder / "model.onnx")
        found = _predictions(session, about, rows)
        about["onnx"] = {**_signature(session, about, rows), **_distance(found, expected)}
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _session(file: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # declared shapes that are not so are warnings
    return onnxruntime.InferenceSession(str(file), options)


def _signature(session: Any, about: dict[str, Any], rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "inputs": [[one.name, one.type, one.shape] for one in session.get_inputs()],
        "outputs": [[one.name, one.type, one.shape] for one in session.get_outputs()],
        "gives": _given(session, about, rows),
        "producer": session.get_modelmeta().producer_name,
        "metadata": sorted(session.get_modelmeta().custom_metadata_map),
    }


def _module(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("model", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _lines(file: Path) -> int:
    """Lines of code: no blank ones, no docstring."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return sum(bool(line.strip()) and not line.startswith('"""') for line in lines)


def _of_python(found: Any, about: dict[str, Any]) -> pl.DataFrame:
    if about["task"] == "regression":
        return valued(found)
    if about["task"] == "anomaly":
        return pl.DataFrame(found)
    names = about["classes"]
    if isinstance(found, np.ndarray):
        return likeliest(names, both(found) if found.ndim == 1 else found)
    return likeliest(names, np.column_stack([np.asarray(found[name]) for name in names]))


def _given(session: Any, about: dict[str, Any], rows: pl.DataFrame) -> list[str]:
    """What comes out for eight rows, which is not always what the model says."""
    size = session.get_inputs()[0].shape[0]
    feed = next(_feeds(session, about, rows, size if isinstance(size, int) else 8))
    return [_kind(answer) for answer in session.run(None, feed)]


def _kind(answer: Any) -> str:
    if isinstance(answer, list):
        key, value = next(iter(answer[0].items()))
        return f"list of {len(answer)} {{{type(key).__name__}: {type(value).__name__}}}"
    return f"{answer.dtype} {list(answer.shape)}"


def _distance(found: pl.DataFrame, expected: pl.DataFrame) -> dict[str, float]:
    numbers = [name for name, kind in expected.schema.items() if kind == pl.Float64 or "." in name]
    gap = np.abs(found.select(numbers).to_numpy() - expected.select(numbers).to_numpy())
    same = [name for name in ("class", "label") if name in expected.columns]
    other = sum(int((found[name] != expected[name]).sum()) for name in same)
    return {
        "largest_difference": float(gap.max()),
        "rows": expected.height,
        "rows_further_than_a_millionth": int((gap.max(axis=1) > 1e-6).sum()),
        "rows_of_another_class": other,
    }


def _predictions(session: Any, about: dict[str, Any], rows: pl.DataFrame) -> pl.DataFrame:
    size = session.get_inputs()[0].shape[0]
    names = [one.name for one in session.get_outputs()]
    answers = [
        dict(zip(names, session.run(None, feed), strict=True))
        for feed in _feeds(session, about, rows, size if isinstance(size, int) else rows.height)
    ]
    if about["output"]:
        answers = [{"": answer[about["output"]]} for answer in answers]
    parts = [_read(answer, about) for answer in answers]
    return pl.concat(parts).head(rows.height)


def _feeds(
    session: Any, about: dict[str, Any], rows: pl.DataFrame, size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Batches of the size that the model takes; the last row fills the last one."""
    spare = pl.concat([rows, *[rows.tail(1)] * (-rows.height % size)])
    for part in spare.iter_slices(size):
        yield _feed(session, about, part)


def _feed(session: Any, about: dict[str, Any], rows: pl.DataFrame) -> dict[str, np.ndarray]:
    inputs = session.get_inputs()
    if about["inputs"] == "matrix":
        x = rows.select(about["features"]).to_numpy()
        return {inputs[0].name: x.astype(KINDS[inputs[0].type])}
    filled = rows.with_columns(pl.col(pl.String).fill_null(about["missing_text"] or ""))
    return {
        one.name: filled[one.name].to_numpy().astype(KINDS[one.type]).reshape(-1, 1)
        for one in inputs
    }


def _read(answer: dict[str, Any], about: dict[str, Any]) -> pl.DataFrame:
    if about["task"] == "regression":
        (values,) = answer.values()
        return pl.DataFrame({"value": values.reshape(-1).astype(np.float64)})
    if about["task"] == "anomaly":
        scores = -answer["scores"].reshape(-1).astype(np.float64)
        label = (answer["label"].reshape(-1) == -1).astype(np.int64)
        return pl.DataFrame({"score": scores, "label": label})
    numbers = _numbers(answer, about).astype(np.float64)
    kind = "distance" if about["task"] == "clustering" else "probability"
    columns = {f"{kind}.{name}": numbers[:, at] for at, name in enumerate(about["classes"])}
    return pl.DataFrame({"class": _chosen(answer, about, numbers)} | columns)


def _numbers(answer: dict[str, Any], about: dict[str, Any]) -> np.ndarray:
    *_, last = answer.values()
    if isinstance(last, list):
        return np.array([list(row.values()) for row in last])
    if len(answer) > 2:
        return np.column_stack(list(answer.values())[1:])
    if about["activation"] == "softmax":
        powers = np.exp(last - last.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    if about["activation"] == "sigmoid":
        last = 1 / (1 + np.exp(-last))
    flat = last.reshape(len(last), -1)
    return np.column_stack([1 - flat, flat]) if flat.shape[1] == 1 else flat


def _chosen(answer: dict[str, Any], about: dict[str, Any], numbers: np.ndarray) -> list[str]:
    first = next(iter(answer.values()))
    if len(answer) > 1:
        return [str(one) for one in np.asarray(first).reshape(-1)]
    return [about["classes"][at] for at in numbers.argmax(axis=1)]
