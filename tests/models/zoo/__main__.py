"""Builds the zoo: ``python -m tests.models.zoo FOLDER [NAME…]``."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from tests.models.zoo import with_boosters, with_python, with_sklearn, with_torch
from tests.models.zoo.broken import build_broken
from tests.models.zoo.folders import MODELS
from tests.models.zoo.parity import add_parity
from tests.models.zoo.table import as_markdown

PARTS = (with_sklearn, with_boosters, with_torch, with_python)


def build(folder: Path, names: list[str]) -> None:
    """Write every model named, each into a folder of its name."""
    for name in names or sorted(MODELS):
        started = time.monotonic()
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
        MODELS[name](folder / name)
        add_parity(folder / name)
        print(f"{name}  {time.monotonic() - started:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all of them by default")
    parser.add_argument("--table", action="store_true", help="print what is there, as Markdown")
    parser.add_argument("--broken", action="store_true", help="write the broken models instead")
    options = parser.parse_args()
    if options.table:
        print(as_markdown(options.folder))
        return
    build_broken(options.folder, options.names) if options.broken else build(
        options.folder, options.names
    )


if __name__ == "__main__":
    main()
