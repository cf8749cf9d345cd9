"""ONNX models of random trees, of each form that exporters write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

COLUMNS = 5


class Forest:
    """Attributes of an ensemble, which grows tree by tree."""

    def __init__(self, seed: int, modes: Sequence[str] = ("BRANCH_LEQ",)) -> None:
        self.random = np.random.default_rng(seed)
        self.modes = modes
        self.nodes: list[tuple[int, int, str, int, float, int, int, int]] = []
        self.adds: list[tuple[int, int, int, float]] = []

    def grow(self, tree: int, leaves: int, numbers: Sequence[int]) -> None:
        """Add a tree of so many leaves, which add to these sums."""
        self._grow(tree, [0], leaves, numbers)

    def _grow(self, tree: int, free: list[int], leaves: int, numbers: Sequence[int]) -> int:
        node = free[0]
        free[0] += 1
        if leaves == 1:
            self.nodes.append((tree, node, "LEAF", 0, 0.0, 0, 0, 0))
            self.adds += [(tree, node, one, float(self.random.normal())) for one in numbers]
            return node
        place = len(self.nodes)
        self.nodes.append((tree, node, "", 0, 0.0, 0, 0, 0))
        left = int(self.random.integers(1, leaves))
        yes = self._grow(tree, free, left, numbers)
        no = self._grow(tree, free, leaves - left, numbers)
        column, missing = int(self.random.integers(COLUMNS)), int(self.random.integers(2))
        value = float(np.float32(self.random.normal()))
        self.nodes[place] = (
            tree, node, str(self.random.choice(self.modes)), column, value, yes, no, missing
        )  # fmt: skip
        return node

    def attributes(self, added: str) -> dict[str, Any]:
        """Of ``class`` or ``target``."""
        nodes = ("treeids", "nodeids", "modes", "featureids", "values")
        more = ("truenodeids", "falsenodeids", "missing_value_tracks_true")
        keys = [f"nodes_{name}" for name in nodes + more]
        found = zip(keys, zip(*self.nodes, strict=True), strict=True)
        names = [f"{added}_{name}" for name in ("treeids", "nodeids", "ids", "weights")]
        return dict(found) | dict(zip(names, zip(*self.adds, strict=True), strict=True))

    def thresholds(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """All that values are compared with."""
        return np.array([node[4] for node in self.nodes], np.float32)


def rows(forest: Forest, count: int = 3_000) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows with values on, just above and just below thresholds, missing and infinite ones."""
    values = forest.random.choice(forest.thresholds(), (count, COLUMNS))
    steps = forest.random.choice([-np.inf, 0, np.inf], values.shape).astype(np.float32)
    found = np.where(steps == 0, values, np.nextafter(values, steps))
    odd = forest.random.random(found.shape)
    found[odd < 0.05] = np.nan
    found[(odd > 0.05) & (odd < 0.07)] = np.inf
    found[(odd > 0.07) & (odd < 0.09)] = -np.inf
    return found.astype(np.float32)


def write_classifier(file: Path, forest: Forest, labels: Sequence[Any], **more: Any) -> None:
    """A classifier with these labels."""
    kind = "strings" if isinstance(labels[0], str) else "int64s"
    given = forest.attributes("class") | {f"classlabels_{kind}": labels} | more
    node = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", **given
    )
    label = TensorProto.STRING if kind == "strings" else TensorProto.INT64
    outputs = [
        helper.make_tensor_value_info("label", label, [None]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, len(labels)]),
    ]
    write(file, [node], outputs)


def write_regressor(file: Path, forest: Forest, targets: int = 1, **more: Any) -> None:
    """A regressor with so many values a row, behind a node that is no tree."""
    given = forest.attributes("target") | {"n_targets": targets} | more
    node = helper.make_node(
        "TreeEnsembleRegressor", ["flipped"], ["value"], domain="ai.onnx.ml", **given
    )
    flip = helper.make_node("Neg", ["x"], ["flipped"])
    output = helper.make_tensor_value_info("value", TensorProto.FLOAT, [None, targets])
    write(file, [flip, node], [output])


def write(file: Path, nodes: Sequence[Any], outputs: Sequence[Any]) -> None:
    """A model of these nodes; its input is the matrix ``x``."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, COLUMNS])]
    graph = helper.make_graph(list(nodes), "trees", inputs, list(outputs))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), file)
