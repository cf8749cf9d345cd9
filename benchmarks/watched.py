"""Run a command; print its seconds, and the peak memory of it and of its children, in MiB.

A script of its own that imports next to nothing: what is forked has the memory of who forks.
First argument: bytes of address space that the command may have; 0 for any.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

KILLED = "ended by signal"


def main(memory: int, command: list[str]) -> None:
    """Run it; end as it does."""
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    began = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps([seconds, peak]))
    if code < 0:
        print(f"{KILLED} {-code}", file=sys.stderr)
    sys.exit(1 if code else 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
