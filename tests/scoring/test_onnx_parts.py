"""Trees by masks say what onnxruntime says, to the last bit, or they are not used."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from flagfall.scoring.engines import onnx_parts, onnx_trees, tree_masks
from flagfall.scoring.engines.onnx import OnnxEngine
from flagfall.scoring.engines.onnx_parts import faster_for_many
from flagfall.scoring.engines.onnx_session import KeptWhole, opened
from flagfall.scoring.engines.onnx_trees import take_out
from flagfall.scoring.engines.tree_masks import Leaf, Node, Trees
from tests.scoring.random_trees import (
    COLUMNS,
    Forest,
    rows,
    write,
    write_classifier,
    write_regressor,
)
from tests.tiny_onnx import write_model

Write = Callable[[Path], Forest]
FLIGHTS = Path(__file__).parents[2] / "models" / "flights_delay"
ALL_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE")


def forest(leaves: int, sums: int = 1, modes: tuple[str, ...] = ALL_MODES, seed: int = 0) -> Forest:
    """Twelve trees, each of which adds to one of the sums."""
    found = Forest(seed, modes)
    for tree in range(12):
        found.grow(tree, leaves, [tree % sums])
    return found


def two_classes(file: Path, **more: Any) -> Forest:
    trees = forest(31)
    given = {"post_transform": "LOGISTIC", "base_values": [0.25]} | more
    write_classifier(file, trees, [0, 1], **given)
    return trees


def classes(transform: str, *labels: str) -> Write:
    def write(file: Path) -> Forest:
        trees = forest(20, len(labels))
        write_classifier(file, trees, list(labels), post_transform=transform)
        return trees

    return write


def value(leaves: int, targets: int = 1) -> Write:
    def write(file: Path) -> Forest:
        trees = forest(leaves, targets, seed=leaves)
        write_regressor(file, trees, targets)
        return trees

    return write


def shares_of_leaves(file: Path) -> Forest:
    """As a random forest: each leaf adds to each class."""
    trees = Forest(3)
    for tree in range(5):
        trees.grow(tree, 40, [0, 1, 2])
    write_classifier(file, trees, ["a", "b", "c"], post_transform="NONE")
    return trees


def endless(lowest: float) -> Write:
    """As LightGBM writes ``missing or not``: all values are at most infinity."""

    def write(file: Path) -> Forest:
        trees = forest(20)
        odd = iter(trees.random.choice([lowest, 0.5], len(trees.nodes)))
        trees.nodes = [(*n[:4], next(odd), *n[5:]) for n in trees.nodes]  # type: ignore[misc]
        write_regressor(file, trees)
        return trees

    return write


def scaled(file: Path) -> Forest:
    """Behind a node of which nobody says what type it gives."""
    trees = forest(20)
    given = trees.attributes("class") | {"classlabels_strings": ["a", "b"]}
    given |= {"post_transform": "LOGISTIC"}
    names = (["scaled"], ["label", "scores"])
    ensemble = helper.make_node("TreeEnsembleClassifier", *names, domain="ai.onnx.ml", **given)
    ones = {"offset": [0.0] * COLUMNS, "scale": [1.0] * COLUMNS}
    scaler = helper.make_node("Scaler", ["x"], ["scaled"], domain="ai.onnx.ml", **ones)
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 2])]
    write(file, [scaler, ensemble], outputs)
    return trees


def overflowing(file: Path) -> Forest:
    """Some sums of two targets are infinite."""
    trees = forest(9, 2)
    trees.adds = [(*a[:3], 3e38 if a[1] % 3 == 0 else a[3]) for a in trees.adds]
    write_regressor(file, trees, 2)
    return trees


MODELS = {
    "values at most infinity": endless(np.inf),
    "behind a scaler": scaled,
    "sums that are infinite": overflowing,
    "two classes": two_classes,
    "three classes": classes("SOFTMAX", "a", "b", "c"),
    "a random forest": shares_of_leaves,
    **{f"{leaves} leaves": value(leaves) for leaves in (1, 2, 32, 33, 64, 65, 256)},
    "three targets": value(31, 3),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_say_what_the_whole_says(tmp_path: Path, name: str) -> None:
    file = tmp_path / "model.onnx"
    given = {"x": rows(MODELS[name](file))}
    whole = opened(file)
    parts = onnx_parts.Parts(take_out(file), whole)
    wanted = [put.name for put in whole.get_outputs()]
    for found, expected in zip(parts.run(wanted, given), whole.run(wanted, given), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


ROWS = np.random.default_rng(1).normal(size=(50, 5)).astype(np.float32)


def positive(file: Path) -> None:
    trees = forest(8)
    trees.adds = [(*place, abs(weight)) for *place, weight in trees.adds]  # type: ignore[misc]
    write_classifier(file, trees, [0, 1], post_transform="LOGISTIC")


def unequal(twice: bool) -> Write:
    """One leaf adds nothing, or twice to one output."""

    def write(file: Path) -> Forest:
        trees = forest(8)
        trees.adds = [*trees.adds, trees.adds[0]] if twice else trees.adds[1:]
        write_regressor(file, trees)
        return trees

    return write


def two_sums(file: Path) -> None:
    write_classifier(file, forest(8, 2), [0, 1], post_transform="SOFTMAX")


def large(file: Path) -> None:
    trees = Forest(0)
    for tree in range(1 + onnx_trees.MOST_IN_ALL // 256):
        trees.grow(tree, 256, [0])
    write_regressor(file, trees)


def elsewhere(file: Path) -> None:
    value(8)(file)
    model = onnx.load(file)
    tensor = numpy_helper.from_array(np.ones(5, np.float32), "ones")
    external_data_helper.set_external_data(tensor, location="more.data")
    model.graph.initializer.append(tensor)
    onnx.save(model, file)


REFUSED = {
    "NaN or the lowest infinity": endless(-np.inf),
    "NaN or the lowest": endless(np.nan),
    "the same outputs": unequal(twice=False),
    "two weights for one output": unequal(twice=True),
    "labels follow another rule": two_sums,
    "leaves, more than 200000": large,
    "lies in another file": elsewhere,
    "has 257 leaves": value(257),
    "the mode BRANCH_EQ": lambda file: write_regressor(file, forest(4, modes=("BRANCH_EQ",))),
    "not added up": lambda file: write_regressor(file, forest(4), aggregate_function="AVERAGE"),
    "another rule": positive,
    "another rule than": lambda file: two_classes(file, post_transform="NONE"),
    "LOGISTIC of its sums": classes("LOGISTIC", "a", "b", "c"),
    r"adds to \[0, 1\] of 3": lambda file: write_classifier(file, forest(4, 2), ["a", "b", "c"]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_masks_cannot_say_is_kept_whole(tmp_path: Path, why: str) -> None:
    REFUSED[why](tmp_path / "model.onnx")
    with pytest.raises(KeptWhole, match=why):
        take_out(tmp_path / "model.onnx")


class Counted:
    """A session that counts how often it is asked, on a clock that only it moves on."""

    now = 0.0

    def __init__(self, file: Path, seconds: float = 1.0) -> None:
        self.session, self.seconds, self.times = opened(file), seconds, 0

    def run(self, wanted: Any, inputs: Any) -> list[Any]:
        """Run the whole model."""
        self.times += 1
        Counted.now += self.seconds
        return list(self.session.run(wanted, inputs))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred rows are many, and fifty enough to compare."""
    monkeypatch.setattr(onnx_parts, "MANY", 100)
    monkeypatch.setattr(onnx_parts, "COMPARED", 50)
    monkeypatch.setattr(onnx_parts, "perf_counter", lambda: Counted.now)


@pytest.mark.usefixtures("soon")
def test_parts_that_are_no_faster_are_not_used(tmp_path: Path) -> None:
    value(31)(tmp_path / "model.onnx")
    whole = Counted(tmp_path / "model.onnx", seconds=0.0)
    session = faster_for_many(whole, tmp_path / "model.onnx")
    for _ in range(5):
        session.run(["value"], {"x": ROWS})
    assert whole.times == 5


@pytest.mark.usefixtures("soon")
def test_a_few_rows_are_not_enough_to_compare(tmp_path: Path) -> None:
    value(31)(tmp_path / "model.onnx")
    whole = Counted(tmp_path / "model.onnx")
    session = faster_for_many(whole, tmp_path / "model.onnx")
    for some in [ROWS[:49]] * 4 + [ROWS, ROWS]:
        session.run(["value"], {"x": some})
    assert whole.times == 5


@pytest.mark.parametrize("why", [EOFError(), SystemError("old numpy"), RecursionError()])
@pytest.mark.usefixtures("soon")
def test_whatever_goes_wrong_no_scoring_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: Exception
) -> None:
    def fail(*_: Any) -> Any:
        raise why

    value(31)(tmp_path / "model.onnx")
    monkeypatch.setattr(onnx_trees, "take_out", fail)
    whole = Counted(tmp_path / "model.onnx")
    session = faster_for_many(whole, tmp_path / "model.onnx")
    for _ in range(4):
        session.run(["value"], {"x": ROWS})
    assert whole.times == 4


@pytest.mark.usefixtures("soon")
def test_the_parts_take_over_once_many_rows_have_come(tmp_path: Path) -> None:
    value(31)(tmp_path / "model.onnx")
    whole = Counted(tmp_path / "model.onnx")
    session = faster_for_many(whole, tmp_path / "model.onnx")
    said = [session.run(["value"], {"x": ROWS})[0] for _ in range(5)]
    assert whole.times == 2
    assert all((one == said[0]).all() for one in said)


@pytest.mark.usefixtures("soon")
def test_parts_that_say_something_else_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    value(31)(tmp_path / "model.onnx")
    right = Trees.add_up
    monkeypatch.setattr(Trees, "add_up", lambda self, rows: np.nextafter(right(self, rows), 9))
    whole = Counted(tmp_path / "model.onnx")
    session = faster_for_many(whole, tmp_path / "model.onnx")
    for _ in range(5):
        session.run(["value"], {"x": ROWS})
    assert whole.times == 5
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.usefixtures("soon")
def test_a_disk_that_is_full_stops_no_scoring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")  # numba keeps what it compiled

    value(31)(tmp_path / "model.onnx")
    monkeypatch.setattr(Trees, "add_up", full)
    whole = Counted(tmp_path / "model.onnx")
    session = faster_for_many(whole, tmp_path / "model.onnx")
    for _ in range(4):
        session.run(["value"], {"x": ROWS})
    assert whole.times == 4
    assert "No space left on device" in caplog.text


def test_what_one_process_compiled_the_next_one_loads(tmp_path: Path) -> None:
    code = (
        "import numpy; from flagfall.scoring.engines import tree_masks as masks;"
        "masks.Trees([masks.Leaf({0: 1.0})], [0.0]).add_up(numpy.zeros((9, 1), numpy.float32));"
        "print(sum(masks._add_up.stats.cache_hits.values()))"
    )
    there = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    said = [subprocess.check_output(command, env=there, text=True) for _ in range(2)]
    assert said == ["0\n", "1\n"]


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same() -> None:
    made: dict[str, Any] = {}
    exec("def double(values):\n    values *= 2", made)  # of no file, so that numba has no place
    tree_masks._compiled(made["double"])(rows := np.ones(3))
    assert rows.tolist() == [2, 2, 2]


def test_a_node_that_asks_for_a_column_that_is_not_there_reads_no_other_memory() -> None:
    tree = Node(5, 0.0, False, Leaf({0: 1.0}), Leaf({0: 2.0}))
    with pytest.raises(ValueError, match="5 columns, and nodes ask for 6"):
        Trees([tree], [0.0]).add_up(ROWS)


@pytest.mark.usefixtures("soon")
def test_libraries_that_do_not_load_are_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    value(31)(tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "flagfall.scoring.engines.onnx_trees", None)
    whole = Counted(tmp_path / "model.onnx")
    session = faster_for_many(whole, tmp_path / "model.onnx")
    for _ in range(4):
        session.run(["value"], {"x": ROWS})
    assert whole.times == 4
    assert "onnxruntime walks down its trees: ModuleNotFoundError" in caplog.text


@pytest.mark.usefixtures("soon")
def test_a_model_without_trees_stays_with_onnxruntime(tmp_path: Path) -> None:
    write_model(tmp_path, 5, {"scores": "Identity"})
    session = faster_for_many(whole := Counted(tmp_path / "model.onnx"), tmp_path / "model.onnx")
    (name,) = [put.name for put in whole.session.get_inputs()]
    for _ in range(4):
        session.run(["scores"], {name: ROWS})
    assert whole.times == 4


@pytest.mark.usefixtures("soon")
def test_the_shipped_model_scores_the_same_by_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = count(1)
    monkeypatch.setattr(onnx_parts, "perf_counter", lambda: -1 / next(readings))  # ever sooner
    random = np.random.default_rng(5)
    columns = {f"c{i}": random.normal(size=20_000).astype(np.float32) * 50 for i in range(14)}
    flights = pl.DataFrame(columns)
    engine = OnnxEngine(str(FLIGHTS), "1.0.0")
    before = engine.predict(flights)
    assert isinstance(engine._running._best, onnx_parts.Parts)  # type: ignore[attr-defined]
    after = engine.predict(flights)
    assert (after.scores == before.scores).all()
    assert after.labels is not None
    assert before.labels is not None
    assert (after.labels == before.labels).all()
