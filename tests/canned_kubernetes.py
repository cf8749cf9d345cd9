"""As much of a Kubernetes API as runs a pod's container, as a process of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

START = "2026-11-22T12:00:00Z"


def run_container(pod: dict[str, Any], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the container of a pod: its exact command line, with its variables alone.

    Args:
        pod: As it goes over the wire.
        environment: What the image and the cluster add.
    """
    (container,) = pod["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container.get("env") or []}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [*container["command"], *container["args"]],
        env={"PATH": path, "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **environment, **given},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@dataclass
class Cluster:
    """What it was asked for.

    Attributes:
        environment: What the cluster adds to a container's variables.
        pods: Those that were created, by name, as they ended.
        deleted: Names of those that were deleted again.
    """

    environment: dict[str, str]
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)

    def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        ran = run_container(pod, **self.environment)
        phase = "Failed" if ran.returncode else "Succeeded"
        ended = {"exitCode": ran.returncode, "message": ran.stderr, "finishedAt": START}
        status = {"name": "base", "image": "x", "imageID": "x", "ready": False, "restartCount": 0}
        pod["status"] = {
            "phase": phase,
            "startTime": START,
            "containerStatuses": [{**status, "state": {"terminated": ended}}],
        }
        pod["log"] = ran.stdout + ran.stderr
        self.pods[pod["metadata"]["name"]] = pod
        return pod

    def get(self, path: str) -> dict[str, Any] | str:
        tail = path.partition("/pods/")[2].split("/")
        if tail == [""] or "events" in path:
            return {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []}
        pod = self.pods[tail[0]]
        return str(pod["log"]) if tail[1:] == ["log"] else pod


@contextmanager
def canned_kubernetes(folder: Path, **environment: str) -> Iterator[tuple[Cluster, str]]:
    """A cluster, and an Airflow connection to it as JSON; its configuration is in ``folder``."""
    cluster = Cluster(environment)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(cluster.get(urlsplit(self.path).path))

        def do_POST(self) -> None:
            self._answer(cluster.create(self._body()))

        def do_PATCH(self) -> None:
            self._answer(cluster.get(urlsplit(self.path).path), self._body())

        def do_DELETE(self) -> None:
            cluster.deleted.append(urlsplit(self.path).path.rpartition("/")[2])
            self._answer({"kind": "Status", "apiVersion": "v1", "status": "Success"}, self._body())

        def _body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")

        def _answer(self, said: Any, _: object = None) -> None:
            is_text = isinstance(said, str)
            body = said.encode() if is_text else json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain" if is_text else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield cluster, _connection(folder, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _connection(folder: Path, url: str) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    }
    file = folder / "kubeconfig.json"
    file.write_text(json.dumps(config))
    extra = {"kube_config_path": str(file), "namespace": "scoring"}
    return json.dumps({"conn_type": "kubernetes", "extra": extra})
