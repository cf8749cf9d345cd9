"""What the exporters wrote, as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEADS = [
    "model",
    "task",
    "exporter",
    "files",
    "inputs",
    "outputs as declared",
    "what 8 rows give",
    "rows",
    "largest difference",
    "rows of another class",
]


def as_markdown(folder: Path) -> str:
    """A row for each model of the folder that has a ``model.onnx``."""
    found = sorted(path.parent for path in folder.glob("*/about.json"))
    known = {path: json.loads((path / "about.json").read_text("utf-8")) for path in found}
    rows = [_row(path, about) for path, about in known.items() if "onnx" in about]
    return "\n".join([_line(HEADS), _line(["---"] * len(HEADS)), *rows])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _row(folder: Path, about: dict[str, Any]) -> str:
    onnx = about["onnx"]
    files = " ".join(f"`{path.name}`" for path in sorted(folder.glob("model.*")))
    cells = [
        folder.name,
        about["task"] + (f" ({about['activation']} is left out)" if about["activation"] else ""),
        about["exporter"],
        files,
        _tensors(onnx["inputs"]),
        _tensors(onnx["outputs"]),
        "; ".join(onnx["gives"]),
        str(onnx["rows"]),
        f"{onnx['largest_difference']:.1e}",
        str(onnx["rows_of_another_class"]),
    ]
    return _line(cells)


def _tensors(tensors: list[list[Any]]) -> str:
    if len(tensors) > 4 and len({str(rest) for _, *rest in tensors}) == 1:
        _, kind, shape = tensors[0]
        return f"{len(tensors)} × `{kind}` {_shape(shape)}, named as the columns"
    return "<br>".join(f"`{name}` `{kind}` {_shape(shape)}" for name, kind, shape in tensors)


def _shape(shape: list[Any]) -> str:
    return "" if not shape else "[" + ", ".join(str(size or "None") for size in shape) + "]"
