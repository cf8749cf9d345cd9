"""ONNX models of one operator, written by hand: the ``onnx`` package is not among our requirements.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FLOAT = 1
IR_VERSION, OPSET = 8, 13


def write_model(
    folder: Path,
    width: int,
    outputs: Mapping[str, str],
    version: str | None = None,
    rows: int | None = None,
) -> None:
    """Write ``model.onnx``.

    Args:
        folder: The model's folder.
        width: Columns of the one input, a float32 tensor ``x`` [n, width].
        outputs: Operator that makes each output out of ``x``, such as ``{"scores": "Identity"}``.
        version: Metadata property ``version``; none if ``None``.
        rows: Rows that the input must have; ``None`` for any number.
    """
    nodes = [_text(1, "x") + _text(2, name) + _text(4, op) for name, op in outputs.items()]
    graph = b"".join(_bytes(1, node) for node in nodes) + _text(2, "tiny")
    height = _dim_name("n") if rows is None else _dim_size(rows)
    graph += _bytes(11, _value("x", height + _dim_size(width)))
    graph += b"".join(_bytes(12, _value(name, None)) for name in outputs)
    model = _number(1, IR_VERSION) + _bytes(8, _number(2, OPSET)) + _bytes(7, graph)
    if version is not None:
        model += _bytes(14, _text(1, "version") + _text(2, version))
    (folder / "model.onnx").write_bytes(model)


def _value(name: str, shape: bytes | None) -> bytes:
    tensor = _number(1, FLOAT) + (_bytes(2, shape) if shape is not None else b"")
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _dim_name(name: str) -> bytes:
    return _bytes(1, _text(2, name))


def _dim_size(size: int) -> bytes:
    return _bytes(1, _number(1, size))


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3, value])


def _bytes(field: int, value: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _length(len(value)) + value


def _length(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _length(value >> 7)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
