"""Takes every good model of the zoo all the way and prints the table of docs/models.md."""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.models.conftest import ZOO
from tests.models.zoo_feed import Scored, all_models, score_whole

HEADS = (
    *("framework", "task", "exporter", "the model's inputs", "settings asked for"),
    *("models", "lines of Python", "rows scored", "largest difference", "seconds"),
)
FRAMEWORKS = {
    "sklearn": "scikit-learn",
    "lightgbm": "LightGBM",
    "xgboost": "XGBoost",
    "catboost": "CatBoost",
    "torch": "PyTorch",
    "python": "`model.py`",
}
Kind = tuple[str, str, str, str]


def kind(name: str, found: Scored) -> Kind:
    """Framework, task, exporter and inputs of a model."""
    exporter = found.about["exporter"] if "onnx" in found.about else "none: " + _loads(name)
    return FRAMEWORKS[name.partition("-")[0]], found.about["task"], exporter, _inputs(found)


def _loads(name: str) -> str:
    what = {"rules": "rules", "sklearn": "joblib", "isolation": "joblib"}
    last = name.partition("-")[2]
    return what.get(last, last)


def _inputs(found: Scored) -> str:
    puts = found.about.get("onnx", {}).get("inputs", [])
    kinds = sorted({kind.removeprefix("tensor(").rstrip(")") for _, kind, _ in puts})
    return f"{found.about['inputs']} of {', '.join(kinds)}" if kinds else "rows"


def as_markdown(models: dict[str, Scored]) -> str:
    """A line for each kind of model."""
    kinds: dict[Kind, list[Scored]] = defaultdict(list)
    for name, found in models.items():
        kinds[kind(name, found)].append(found)
    lines = [HEADS, ("---",) * 5 + ("--:",) * 5]
    lines += [(*of, *_cells(found)) for of, found in kinds.items()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cells(models: Sequence[Scored]) -> tuple[str, ...]:
    asked = sorted({key for found in models for key in found.asked})
    largest = max(found.largest for found in models)
    seconds = sorted(found.seconds for found in models)
    return (
        ", ".join(f"`{key}`" for key in asked),
        str(len(models)),
        str(max(found.lines for found in models)),
        f"{sum(found.rows for found in models):,}",
        f"{largest:.0e}" if largest else "0",
        f"{seconds[0]:.1f}" + (f" to {seconds[-1]:.1f}" if len(seconds) > 1 else ""),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them by default")
    parser.add_argument("--out", type=Path, help="write the table there, too")
    options = parser.parse_args()
    done: dict[str, Scored] = {}
    with tempfile.TemporaryDirectory() as root:
        for name in options.names or all_models(ZOO / "good"):
            done[name] = score_whole(ZOO / "good" / name, Path(root, name))
            print(f"{name}: {done[name].seconds:.1f} s", flush=True)
    text = as_markdown(done)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
