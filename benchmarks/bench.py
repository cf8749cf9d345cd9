"""``make bench``: every part, one after the other, and two pages out of it all.

``docs/benchmarks.md`` shows what was measured, ``docs/scaling.md`` what follows from it.
``make bench ARGS="sweeps parse"`` runs some parts again, ``ARGS=page`` only writes the pages.
The tables lie beside them as JSON, so that anyone can compute with them.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import drawing
import jinja2
import psutil
import sizing
from table import FOLDER, Table, kept

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGES = HERE / "pages"
DOCS = ROOT / "docs"
TABLES = "benchmarks"
"""The folder beside the page that holds its tables and plots."""
BENCHMARKS, SCALING = "benchmarks", "scaling"
"""The pages."""
RUNS = "runs.json"
"""The file in it that tells where and when each part was run."""
PARTS = (
    "latency",
    "slots",
    "waits",
    "sweeps",
    "many_feeds",
    "bursts",
    "per_batch",
    "data_plane",
    "trees",
    "parse",
    "s3_requests",
    "history",
    "page_reads",
    "commits",
    "cluster",
    "inference_servers",
    "nights",
)


def machine() -> dict[str, Any]:
    """What tells a reader whether his own figures should be alike."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "airflow": version("apache-airflow"),
        "standard": version("apache-airflow-providers-standard"),
        "amazon": version("apache-airflow-providers-amazon"),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return ", ".join(sorted(names)) or platform.machine()


def run(part: str, docs: Path) -> None:
    """Run a part; its tables take the place of those that were there.

    Raises:
        SystemExit: It failed; what was there stays.
    """
    began, start = datetime.now(UTC), time.monotonic()
    draft = docs / TABLES / f".{part}"
    print(f"== {part}, {began:%H:%M} UTC", flush=True)
    done = subprocess.run(
        [sys.executable, HERE / f"{part}.py"], env={**os.environ, FOLDER: str(draft)}, check=False
    )
    if done.returncode:
        raise SystemExit(f"{part} failed; run it alone: python benchmarks/{part}.py")
    for old in (docs / TABLES).glob(f"{part}*"):
        old.unlink()
    for new in draft.iterdir():
        new.rename(docs / TABLES / new.name)
    draft.rmdir()
    minutes = (time.monotonic() - start) / 60
    _note(docs, part, {**machine(), "date": f"{began:%Y-%m-%d}", "minutes": round(minutes, 1)})


def _note(docs: Path, part: str, what: dict[str, Any]) -> None:
    """Note where and when a part was run."""
    runs = {**_runs(docs), part: what}
    ordered = {name: runs[name] for name in PARTS if name in runs}
    (docs / TABLES / RUNS).write_text(json.dumps(ordered, indent=1) + "\n")


def _runs(docs: Path) -> dict[str, Any]:
    file = docs / TABLES / RUNS
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def tables(docs: Path) -> dict[str, Table]:
    """All tables that were kept, by name."""
    files = sorted(path for path in (docs / TABLES).glob("*.json") if path.name != RUNS)
    return {path.stem: kept(path) for path in files}


def render(docs: Path, page: str) -> str:
    """A page: of every part that has been run, its section; or what follows from them."""
    found, runs = tables(docs), _runs(docs)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals |= {
        "table": lambda name: found[name].markdown(),
        "column": lambda name, of: found[name].column(of),
        "value": lambda name, of, **where: found[name].value(of, **where),
        "plot": lambda name: "\n".join(
            f"![{plot.title}]({TABLES}/{file})"
            for plot, file in zip(found[name].plots, drawing.names(found[name]), strict=True)
        ),
        "runs": runs,
    }
    if page == SCALING:
        environment.globals |= sizing.for_page(found, runs)
    return environment.get_template(f"{page}.md.j2").render(parts=runs)


def pages(docs: Path) -> list[str]:
    """The pages for which enough has been run."""
    return [BENCHMARKS, *([SCALING] if _runs(docs).keys() >= sizing.PARTS else [])]


def write_pages(docs: Path) -> None:
    """Write the pages and draw their plots."""
    for table in tables(docs).values():
        drawing.draw(table, docs / TABLES)
    for page in pages(docs):
        (docs / f"{page}.md").write_text(render(docs, page))


def main(parts: list[str], docs: Path = DOCS) -> None:
    """Run the parts that are named, or all; then write the pages."""
    if unknown := set(parts) - {*PARTS, "page"}:
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}; parts: {', '.join(PARTS)}")
    for part in [part for part in PARTS if part in parts or not parts]:
        run(part, docs)
        write_pages(docs)
    if "page" in parts:
        write_pages(docs)


if __name__ == "__main__":
    main(sys.argv[1:])
