"""Inference servers on loopback: MLServer and NVIDIA's Triton, in environments of their own.

``make servers`` makes the environments.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sandbox.airflow import answers, free_port
from tests.patience import SOON

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".flagfall"


@contextmanager
def mlserver(home: Path, model: Path) -> Iterator[str]:
    """MLServer with one model; gives its URL.

    Args:
        home: An empty folder for its settings and its log.
        model: Folder of the model; its name is the model's at the server.
    """
    port = free_port()
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),  # it cannot be left out
        "metrics_endpoint": None,
        "parallel_workers": 0,
    }
    served = {
        "name": model.name,
        "implementation": "onnx_runtime.OnnxModel",
        "parameters": {"uri": str(model)},
    }
    (home / "settings.json").write_text(json.dumps(settings))
    (home / "model-settings.json").write_text(json.dumps(served))
    command = [str(_environment("mlserver") / "bin/mlserver"), "start", str(home)]
    with _running(
        home, command, f"http://127.0.0.1:{port}", model.name, PYTHONPATH=str(HERE)
    ) as url:
        yield url


@contextmanager
def triton(home: Path, model: Path) -> Iterator[str]:
    """Triton with one model; gives its URL. Arguments as ``mlserver``'s."""
    port = free_port()
    python = _environment("triton") / "bin/python"
    asked = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    libraries = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    command = [str(python), str(HERE / "triton.py"), str(model), model.name, str(port), str(home)]
    # Its backend must run on the library of the Python whose modules it finds, not on the system's.
    more = {"LD_LIBRARY_PATH": libraries.stdout.strip()}
    with _running(home, command, f"http://127.0.0.1:{port}", model.name, **more) as url:
        yield url


SERVERS = {"mlserver": mlserver, "triton": triton}


def _environment(name: str) -> Path:
    folder = ENVIRONMENTS / name
    if not (folder / ".done").exists():
        why = f"{name} is not installed, or not whole; run `make servers`"
        if os.environ.get("FLAGFALL_REQUIRE_SERVERS") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return folder


@contextmanager
def _running(
    home: Path, command: Sequence[str], url: str, model: str, **environment: str
) -> Iterator[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    log = home / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env={**inherited, **environment},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        give_up = time.monotonic() + SOON
        while not answers(f"{url}/v2/models/{model}/ready"):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"no server; the end of its log:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield url
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and what it started, which is in its session."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
