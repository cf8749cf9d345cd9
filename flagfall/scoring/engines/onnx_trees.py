"""An ONNX model without its trees: what comes before them, the trees, and what comes after.

A linear model of the sums stands where the trees stood, and changes none of them. So labels and
probabilities are made of sums by onnxruntime, as they were before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.helper import get_attribute_value, make_node, make_tensor_value_info
from onnx.shape_inference import infer_shapes
from onnx.utils import Extractor

from flagfall.scoring.engines.onnx_session import KeptWhole
from flagfall.scoring.engines.tree_masks import Leaf, Node, Tree, Trees

MOST_LEAVES = 256
"""Of a tree. With more, to walk down it is faster than to ask all of its nodes."""

MOST_IN_ALL = 200_000
"""Leaves of all trees. More take longer to be made masks than most tasks would gain."""

_ML = "ai.onnx.ml"
_LINEAR = {"TreeEnsembleClassifier": "LinearClassifier", "TreeEnsembleRegressor": "LinearRegressor"}
_ADDED = {"TreeEnsembleClassifier": "class", "TreeEnsembleRegressor": "target"}
_TRANSFORMS = {"class": (b"NONE", b"SOFTMAX"), "target": (b"NONE",)}
_LABELS = {"classlabels_int64s": "classlabels_ints", "classlabels_strings": "classlabels_strings"}
_NODES = ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids")
_BELOW = (b"BRANCH_LT", b"BRANCH_GTE")
_ABOVE = (b"BRANCH_GT", b"BRANCH_GTE")


@dataclass(frozen=True)
class Taken:
    """A model, in parts.

    Attributes:
        head: Model from the inputs to the rows that the trees are asked of; ``None``: they come in
            as they are.
        rows: Name of the output of ``head``, or of the input.
        trees: The trees.
        tail: Model from the sums to the outputs.
        sums: Name of its input.
        shares: Name of its input with the softmax of the sums; empty where it wants none.
    """

    head: bytes | None
    rows: str
    trees: Trees
    tail: bytes
    sums: str
    shares: str


def take_out(file: Path) -> Taken:
    """The parts of a model.

    Raises:
        KeptWhole: It has no trees, several ensembles, or trees that masks cannot have.
    """
    loaded = onnx.load(file, load_external_data=False)
    _ensemble(loaded)  # before anything that takes time with a large model
    if any(one.data_location == onnx.TensorProto.EXTERNAL for one in loaded.graph.initializer):
        raise KeptWhole("a part of it lies in another file")
    model = infer_shapes(loaded)
    ensemble = _ensemble(model)
    given = {one.name: get_attribute_value(one) for one in ensemble.attribute}
    added = _ADDED[ensemble.op_type]
    sums = _sums(given, added)
    base = tuple(given.get("base_values", ())) or (0.0,) * sums
    if len(base) != sums or given.get("aggregate_function", b"SUM") != b"SUM":
        raise KeptWhole("its trees are not added up, one sum for each output")
    trees = Trees(_Ensemble(given, added).trees(), base)
    shares = ensemble.output[1] if given.get("post_transform") == b"SOFTMAX" else ""
    (rows,) = ensemble.input
    linear = _linear(ensemble, given, base, shares)
    tail = _tail(model, ensemble, linear, shares)
    return Taken(_head(model, rows), rows, trees, tail, linear.input[0], shares)


def _ensemble(model: Any) -> Any:
    found = [one for one in model.graph.node if one.op_type.startswith("TreeEnsemble")]
    if len(found) != 1 or found[0].op_type not in _LINEAR:
        raise KeptWhole(f"it has {len(found)} ensembles, or one of another form")
    return found[0]


def _sums(given: Mapping[str, Any], added: str) -> int:
    """How many sums there are: one a class or target, or one that decides between two classes."""
    numbers = sorted(set(given[f"{added}_ids"]))
    labels = next((given[name] for name in _LABELS if given.get(name)), ())
    if added == "class" and len(labels) == 2:
        weights = given.get("class_weights", (0.0,))
        is_known = given.get("post_transform") == b"LOGISTIC" and min(weights) < 0
        if len(numbers) != 1 or not is_known:
            raise KeptWhole("its labels follow another rule than those of a linear model")
        return 1
    if (transform := given.get("post_transform", b"NONE")) not in _TRANSFORMS[added]:
        raise KeptWhole(f"{transform.decode()} of its sums has other roundings in a linear model")
    expected = len(labels) if added == "class" else given.get("n_targets", 1)
    if numbers != list(range(expected)):
        raise KeptWhole(f"it adds to {numbers} of {expected} sums")
    return len(numbers)


class _Ensemble:
    """Trees as an ensemble's attributes have them."""

    def __init__(self, given: Mapping[str, Any], added: str) -> None:
        wanted = [f"nodes_{name}" for name in _NODES]
        if lacking := [name for name in (*wanted, f"{added}_weights") if not given.get(name)]:
            raise KeptWhole(f"it has no {lacking}, so its numbers are float64")
        missing = given.get("nodes_missing_value_tracks_true") or [0] * len(given["nodes_modes"])
        columns = [*(given[name] for name in wanted), missing]
        self._nodes = {(tree, node): rest for tree, node, *rest in zip(*columns, strict=True)}
        self._adds: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        only = len(set(given[f"{added}_ids"])) == 1
        names = ("treeids", "nodeids", "ids", "weights")
        for tree, node, number, weight in zip(*(given[f"{added}_{n}"] for n in names), strict=True):
            if number in self._adds[tree, node]:
                raise KeptWhole("a leaf of it has two weights for one output")
            self._adds[tree, node][0 if only else number] = weight

    def trees(self) -> list[Tree]:
        """The trees, each from its first node, in their order."""
        roots: dict[int, int] = {}
        for tree, node in self._nodes:
            roots.setdefault(tree, node)
        self._check()
        return [self._grown(tree, node) for tree, node in roots.items()]

    def _check(self) -> None:
        ends = [place for place, (mode, *_) in self._nodes.items() if mode == b"LEAF"]
        if (most := max(Counter(tree for tree, _ in ends).values())) > MOST_LEAVES:
            raise KeptWhole(f"a tree of it has {most} leaves, more than {MOST_LEAVES}")
        if len(ends) > MOST_IN_ALL:
            raise KeptWhole(f"it has {len(ends)} leaves, more than {MOST_IN_ALL}")
        added_to = {(tree, tuple(sorted(self._adds[tree, node]))) for tree, node in ends}
        if len(added_to) > len({tree for tree, _ in ends}) or any(not to for _, to in added_to):
            # onnxruntime leaves out an output to which nothing was added for a row, base and all.
            raise KeptWhole("not every leaf of a tree adds to the same outputs")

    def _grown(self, tree: int, node: int) -> Tree:
        mode, column, value, yes, no, missing_yes = self._nodes[tree, node]
        if mode == b"LEAF":
            return Leaf(self._adds[tree, node])
        if mode not in (b"BRANCH_LEQ", *_BELOW, *_ABOVE):
            raise KeptWhole(f"its nodes have the mode {mode.decode()}")
        if not value > -np.inf:
            raise KeptWhole("a node of it compares with NaN or the lowest infinity")
        if mode in _BELOW:
            with np.errstate(over="ignore"):  # below the lowest number there is an infinity
                value = np.nextafter(np.float32(value), np.float32(-np.inf))
        left, right = self._grown(tree, yes), self._grown(tree, no)
        if mode in _ABOVE:
            return Node(column, float(value), not missing_yes, right, left)
        return Node(column, float(value), bool(missing_yes), left, right)


def _linear(ensemble: Any, given: Mapping[str, Any], base: Sequence[float], shares: str) -> Any:
    kept: dict[str, Any] = {new: given[old] for old, new in _LABELS.items() if given.get(old)}
    outputs = list(ensemble.output)
    if shares:
        outputs[1] = f"{shares}_of_no_use"
    else:
        kept["post_transform"] = given.get("post_transform", b"NONE")
    if ensemble.op_type == "TreeEnsembleRegressor":
        kept["targets"] = len(base)
    ones = np.eye(len(base), dtype=np.float32).ravel().tolist()
    name = _LINEAR[ensemble.op_type]
    inputs = [f"{outputs[0]}_of_sums"]
    return make_node(
        name, inputs, outputs, domain=_ML, coefficients=ones, intercepts=list(base), **kept
    )


def _head(model: Any, rows: str) -> bytes | None:
    known = (*model.graph.input, *model.graph.value_info)
    kinds = {put.name: put.type.tensor_type.elem_type for put in known}
    if rows not in kinds:  # as after a scaler; where it is another type, the head is no model
        put = make_tensor_value_info(rows, onnx.TensorProto.FLOAT, None)
        model.graph.value_info.append(put)
    elif kinds[rows] != onnx.TensorProto.FLOAT:
        raise KeptWhole("its trees are not asked of float32")
    inputs = [put.name for put in model.graph.input]
    return None if rows in inputs else _extracted(model, inputs, [rows])


def _tail(model: Any, ensemble: Any, linear: Any, shares: str) -> bytes:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.node[list(model.graph.node).index(ensemble)].CopyFrom(linear)
    inputs = [linear.input[0], *filter(None, [shares])]
    for name in inputs:
        put = make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, None])
        changed.graph.input.append(put)
    return _extracted(changed, inputs, [put.name for put in model.graph.output])


def _extracted(model: Any, inputs: list[str], outputs: list[str]) -> bytes:
    """The part of a model between these tensors."""
    try:
        found = Extractor(model).extract_model(inputs, outputs)
    except ValueError as error:
        raise KeptWhole(str(error)) from error
    found.ir_version = model.ir_version
    content: bytes = found.SerializeToString()
    return content
