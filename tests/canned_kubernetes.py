"""A Kubernetes for tests of one operator: the sandbox's stand-in, with one namespace."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kubernetes_asyncio.config.incluster_config as of_triggerer
import pytest
from kubernetes.client import Configuration, CoreV1Api
from kubernetes.config import incluster_config as of_task
from kubernetes.config import new_client_from_config

from sandbox.kubernetes import Cluster, Image
from sandbox.kubernetes.selectors import Object
from tests.certificates import write_certificate
from tests.patience import SOON

NAMESPACE = "scoring"
IMAGE = "flagfall:1"


@contextmanager
def canned_kubernetes(
    folder: Path, seen: Path | None = None, **environment: str
) -> Iterator[tuple[Cluster, str]]:
    """A cluster that knows the image ``flagfall:1``, and an Airflow connection to it as JSON.

    Args:
        folder: For its configuration.
        seen: What pods may read and write; ``None``: ``folder``.
        environment: The image's variables.
    """
    image = Image(environment=environment, shared={str(seen or folder): seen or folder})
    with Cluster(folder / "cluster", {IMAGE: image}, NAMESPACE) as cluster:
        yield cluster, cluster.connection()


def go_into_a_pod(cluster: Cluster, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have this process find what a pod with a token for that cluster has, which now speaks TLS."""
    write_certificate(folder)
    (folder / "token").write_text("of-a-service-account")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server = cluster._server
    server.socket = context.wrap_socket(server.socket, server_side=True)
    patch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    patch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))
    patch.setattr(Configuration, "_default", None)  # which the client overwrites
    for client in (of_task, of_triggerer):
        patch.setattr(client, "SERVICE_TOKEN_FILENAME", str(folder / "token"))
        patch.setattr(client, "SERVICE_CERT_FILENAME", str(folder / "ca.pem"))


def run_pod(cluster: Cluster, pod: Object) -> tuple[str, str]:
    """Run a pod to its end: its phase, and what it printed."""
    api = CoreV1Api(new_client_from_config(str(cluster.kubeconfig())))
    name = api.create_namespaced_pod(NAMESPACE, pod).metadata.name
    give_up = time.monotonic() + SOON
    while (phase := _phase(api, name)) in ("Pending", "Running") and time.monotonic() < give_up:
        time.sleep(0.1)
    log = api.read_namespaced_pod_log(name, NAMESPACE, _preload_content=False).data
    return phase, log.decode()


def _phase(api: CoreV1Api, name: str) -> str:
    return str(api.read_namespaced_pod(name, NAMESPACE).status.phase)


def ended_pods(cluster: Cluster) -> dict[str, Object]:
    """Every pod that there was, by name, as it last was."""
    return {name: states[-1][1] for name, states in cluster.past().items()}
