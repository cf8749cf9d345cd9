"""Networks of PyTorch, exported by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.models.zoo import tables
from tests.models.zoo.folders import About, both, likeliest, model, save, valued
from tests.models.zoo.tables import Table

EXPORTER = "torch.onnx.export"


class Scaled(nn.Module):
    """Takes columns as they are: scales them itself."""

    def __init__(self, x: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(x.mean(axis=0), dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(x.std(axis=0), dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.spread


def network(table: Table, outputs: int) -> nn.Sequential:
    """Two layers, not trained yet."""
    torch.set_num_threads(1)
    torch.manual_seed(14)
    width = len(table.features)
    return nn.Sequential(Scaled(table.x), nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, outputs))


def train(net: nn.Module, loss: Any, table: Table, y: torch.Tensor, steps: int) -> nn.Module:
    """So many steps, each on all rows."""
    x = torch.tensor(table.x, dtype=torch.float32)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
    return net.eval()


def outputs(net: nn.Module, table: Table) -> np.ndarray:
    """What the network itself gives for every row."""
    with torch.no_grad():
        return net(torch.tensor(table.x, dtype=torch.float32)).numpy()


def trained_on_cancer(table: Table) -> nn.Module:
    """Gives one logit a row."""
    y = torch.tensor(table.y, dtype=torch.float32).reshape(-1, 1)
    return train(network(table, 1), nn.BCEWithLogitsLoss(), table, y, steps=60)


def trained_on_wine(table: Table) -> nn.Module:
    """Gives three logits a row."""
    return train(network(table, 3), nn.CrossEntropyLoss(), table, torch.tensor(table.y), steps=30)


def trained_on_diabetes(table: Table) -> nn.Module:
    """Gives one value a row."""
    y = torch.tensor(table.y, dtype=torch.float32).reshape(-1, 1)
    return train(network(table, 1), nn.HuberLoss(), table, y, steps=600)


def _export(folder: Path, net: nn.Module, table: Table, rows: int, **settings: Any) -> None:
    example = torch.tensor(table.x[:rows], dtype=torch.float32)
    torch.onnx.export(net, (example,), str(folder / "model.onnx"), verbose=False, **settings)


ANY_BATCH: dict[str, Any] = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}


def _binary(folder: Path, rows: int, activation: str = "", **settings: Any) -> None:
    table = tables.cancer()
    net = trained_on_cancer(table)
    whole = nn.Sequential(net, nn.Sigmoid()).eval()
    _export(folder, net if activation else whole, table, rows, **settings)
    expected = likeliest(["0", "1"], both(outputs(whole, table)))
    about = About("binary", EXPORTER, classes=["0", "1"], activation=activation)
    save(folder, table, expected, about)


@model
def torch_binary(folder: Path) -> None:
    _binary(folder, rows=1)


@model
def torch_binary_of_eight_rows(folder: Path) -> None:
    _binary(folder, rows=8)


@model
def torch_binary_any_batch(folder: Path) -> None:
    _binary(folder, rows=2, **ANY_BATCH)


@model
def torch_binary_logit(folder: Path) -> None:
    _binary(folder, rows=2, activation="sigmoid", **ANY_BATCH)


@model
def torch_binary_one_file(folder: Path) -> None:
    _binary(folder, rows=2, external_data=False, **ANY_BATCH)


@model
def torch_binary_old_exporter(folder: Path) -> None:
    names: dict[str, Any] = {"input_names": ["input"], "output_names": ["output"]}
    _binary(folder, rows=2, dynamo=False, dynamic_axes={"input": {0: "batch"}}, **names)


class WithEmbedding(nn.Module):
    """Gives what the first layer made, too."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.first, self.last = net[:3], net[3:]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.first(x)
        return torch.sigmoid(self.last(hidden)), hidden


@model
def torch_two_outputs(folder: Path) -> None:
    table = tables.cancer()
    net = trained_on_cancer(table)
    names: dict[str, Any] = {"output_names": ["probability", "embedding"]}
    _export(folder, WithEmbedding(net).eval(), table, 2, **names, **ANY_BATCH)
    expected = likeliest(["0", "1"], both(outputs(nn.Sequential(net, nn.Sigmoid()), table)))
    about = About("binary", EXPORTER, classes=["0", "1"], output="probability")
    save(folder, table, expected, about)


@model
def torch_binary_flat(folder: Path) -> None:
    table = tables.cancer()
    net = nn.Sequential(trained_on_cancer(table), nn.Sigmoid(), nn.Flatten(0)).eval()
    _export(folder, net, table, 2, **ANY_BATCH)
    expected = likeliest(["0", "1"], both(outputs(net, table)))
    save(folder, table, expected, About("binary", EXPORTER, classes=["0", "1"]))


@model
def torch_binary_two_logits(folder: Path) -> None:
    table = tables.cancer()
    net = train(network(table, 2), nn.CrossEntropyLoss(), table, torch.tensor(table.y), steps=60)
    _export(folder, net, table, 2, **ANY_BATCH)
    expected = likeliest(["0", "1"], outputs(nn.Sequential(net, nn.Softmax(dim=1)), table))
    about = About("binary", EXPORTER, classes=["0", "1"], activation="softmax")
    save(folder, table, expected, about)


@model
def torch_multiclass_softmax(folder: Path) -> None:
    table = tables.wine()
    net = nn.Sequential(trained_on_wine(table), nn.Softmax(dim=1)).eval()
    _export(folder, net, table, 2, **ANY_BATCH)
    names = ["0", "1", "2"]
    about = About("multiclass", EXPORTER, classes=names)
    save(folder, table, likeliest(names, outputs(net, table)), about)


@model
def torch_multiclass(folder: Path) -> None:
    table = tables.wine()
    net = trained_on_wine(table)
    _export(folder, net, table, 2, **ANY_BATCH)
    names = ["0", "1", "2"]
    expected = likeliest(names, outputs(nn.Sequential(net, nn.Softmax(dim=1)), table))
    about = About("multiclass", EXPORTER, classes=names, activation="softmax")
    save(folder, table, expected, about)


@model
def torch_regression(folder: Path) -> None:
    table = tables.diabetes()
    net = trained_on_diabetes(table)
    _export(folder, net, table, 2, **ANY_BATCH)
    save(folder, table, valued(outputs(net, table)), About("regression", EXPORTER))
