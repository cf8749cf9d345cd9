"""The stand-in as a whole: an API on loopback, its node, and the harm that can be done to both."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

from sandbox.kubernetes.api import Api
from sandbox.kubernetes.image import Image
from sandbox.kubernetes.kubelet import Kubelet
from sandbox.kubernetes.selectors import Object, selector
from sandbox.kubernetes.server import handler
from sandbox.kubernetes.store import Refused, Store


@dataclass
class Weather:
    """How the API is.

    Attributes:
        is_away: It closes every connection without an answer.
        delay: Seconds before each answer.
        is_busy: It answers 429 to everything.
        calm_since: By the monotonic clock; watches from before were cut off.
    """

    is_away: bool = False
    delay: float = 0.0
    is_busy: bool = False
    calm_since: float = 0.0

    def cut_watches(self) -> None:
        """End every watch."""
        self.calm_since = time.monotonic()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are no news."""


class Cluster:
    """A cluster of one node.

    Args:
        folder: For what pods write; made if need be.
        images: What each image stands for, by name.
        namespace: The one that there is.
        config_maps: Data of the config maps in it, by name.

    Attributes:
        weather: How the API is.
        asked: How many requests there were, by method and status.
    """

    def __init__(
        self,
        folder: Path,
        images: Mapping[str, Image],
        namespace: str = "flagfall",
        config_maps: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.namespace = namespace
        self.weather = Weather()
        self._folder = folder
        self._store = Store()
        self._kubelet = Kubelet(self._store, images, folder / "pods")
        self._server = _Server(("127.0.0.1", 0), handler(self._api(), self.weather))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._make("namespaces", "", namespace, {})
        for name, data in (config_maps or {}).items():
            self.put_config_map(name, data)

    def _api(self) -> Api:
        def goes_on(began: float) -> bool:
            return began > self.weather.calm_since and not self.weather.is_away

        return Api(self._store, self._kubelet, goes_on)

    def _make(self, kind: str, namespace: str, name: str, given: Object) -> None:
        self._store.create((kind, namespace, name), {"apiVersion": "v1", **given})

    def put_config_map(self, name: str, data: Mapping[str, str]) -> None:
        """Make a config map."""
        self._make("configmaps", self.namespace, name, {"kind": "ConfigMap", "data": dict(data)})

    @property
    def url(self) -> str:
        """Of the API."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def kubeconfig(self) -> Path:
        """A file by which clients find it."""
        file = self._folder / "kubeconfig.json"
        file.write_text(self._config())
        return file

    def _config(self) -> str:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        return json.dumps(config)

    def connection(self) -> str:
        """An Airflow connection that leads here, as JSON; it names no file, which a pod lacks."""
        extra = {"kube_config": self._config(), "namespace": self.namespace}
        return json.dumps({"conn_type": "kubernetes", "extra": extra})

    def pods(self, labels: str = "") -> list[Object]:
        """The pods that there are."""
        return self._store.listed("pods", self.namespace, selector(labels))[1]

    def past(self) -> dict[str, list[tuple[float, Object]]]:
        """Every change of each pod since the start, by name: when, and how it then was."""
        return self._store.past("pods")

    @property
    def peaks(self) -> Mapping[str, int]:
        """The most memory of each pod that has ended, in bytes, by name."""
        return self._kubelet.peaks

    def kill(self, name: str) -> None:
        """SIGKILL all that runs in a pod."""
        if container := self._kubelet.container(self._uid(name)):
            container.kill()

    def exhaust(self, name: str) -> None:
        """Have a pod take more memory than its limit."""
        if container := self._kubelet.container(self._uid(name)):
            container.exhaust()

    def evict(self, name: str) -> None:
        """End a pod as a node does that runs short of memory."""
        self._kubelet.evict(self._uid(name))

    def refuse(self, pods: int) -> None:
        """Have the node turn away so many pods that come next, before they begin."""
        self._kubelet.to_refuse += pods

    @property
    def to_refuse(self) -> int:
        """Pods that are still to be turned away."""
        return self._kubelet.to_refuse

    def delete(self, name: str, grace: int | None = None) -> None:
        """Delete a pod, as ``kubectl delete pod`` does."""
        self._kubelet.delete(("pods", self.namespace, name), grace)

    def _uid(self, name: str) -> str:
        return str(self._store.find(("pods", self.namespace, name))["metadata"]["uid"])

    @contextmanager
    def full(self) -> Iterator[None]:
        """No node has room for another pod meanwhile."""
        self._kubelet.is_full = True
        try:
            yield
        finally:
            self._kubelet.is_full = False

    @contextmanager
    def without_registry(self) -> Iterator[None]:
        """No image can be pulled meanwhile."""
        self._kubelet.registry_is_away = True
        try:
            yield
        finally:
            self._kubelet.registry_is_away = False

    def forget(self) -> None:
        """Drop the past and cut every watch: each gets 410 when it comes again."""
        self._store.forget()
        self.weather.cut_watches()

    def __enter__(self) -> Cluster:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._kubelet.stop()
        self.weather.cut_watches()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


__all__ = ["Cluster", "Refused", "Weather"]
