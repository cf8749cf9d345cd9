"""Takes every good model of the zoo all the way and prints the table: ``python -m``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.models.conftest import ZOO
from tests.models.zoo_feed import Scored, all_models, score_whole

HEADS = (
    *("model", "task", "exporter", "inputs", "settings asked for"),
    *("lines of Python", "rows", "largest difference", "seconds"),
)
HEAD = f"| {' | '.join(HEADS)} |\n| {' | '.join(['---'] * 5 + ['--:'] * 4)} |\n"


def row(name: str, found: Scored) -> str:
    """One model."""
    cells = (
        name,
        found.about["task"],
        found.about["exporter"] or "none",
        _inputs(found),
        ", ".join(f"`{key}`" for key in found.asked),
        str(found.lines),
        f"{found.rows:,}",
        f"{found.largest:.0e}" if found.largest else "0",
        f"{found.seconds:.1f}",
    )
    return "| " + " | ".join(cells) + " |\n"


def _inputs(found: Scored) -> str:
    kinds = sorted({kind.removeprefix("tensor(").rstrip(")") for kind in _kinds(found)})
    if not kinds:
        return "rows"
    return f"{found.about['inputs']} of {', '.join(kinds)}"


def _kinds(found: Scored) -> Iterator[str]:
    for _, kind, _shape in found.about.get("onnx", {}).get("inputs", []):
        yield kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them by default")
    parser.add_argument("--out", type=Path, help="write the table there, too")
    options = parser.parse_args()
    good, text = ZOO / "good", HEAD
    with tempfile.TemporaryDirectory() as root:
        for name in options.names or all_models(good):
            text += row(name, score_whole(good / name, Path(root, name)))
            print(text.splitlines()[-1], flush=True)
            if options.out:
                options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
