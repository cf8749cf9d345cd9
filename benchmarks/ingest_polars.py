"""What ingest does, by polars alone: a file's hash, typed rows that keep all rules, each key once.

It writes what ``ingest_data`` writes, Parquet with zstd, and none of what ingest says about the
rows that it leaves out.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from analyst_polars import clean
from analyst_rules import Times


def main() -> None:
    """Take a file in, and say in JSON how long each part took."""
    source, target = map(Path, sys.argv[1:3])
    times = Times()
    with times.of("hash"), source.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    with times.of("read and clean"):
        flights = clean(source)
    with times.of("write"):
        flights.write_parquet(target, compression="zstd")
    print(json.dumps({**times.seconds, "rows": flights.height}))


if __name__ == "__main__":
    main()
