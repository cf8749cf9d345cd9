"""The node of the stand-in: it starts every pod's container, and says what became of it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from sandbox.kubernetes.container import KILLED, Container
from sandbox.kubernetes.image import Image
from sandbox.kubernetes.selectors import Object
from sandbox.kubernetes.store import Key, Refused, Store, timestamp

NODE = "this-machine"
GRACE = 30
"""Seconds of a pod that does not say how long it may take to end."""
POLL = 0.1


class Kubelet:
    """Runs pods.

    Args:
        store: The objects.
        images: What each image stands for, by name.
        folder: For what pods write.

    Attributes:
        is_full: Pods that come wait in ``Pending``, as on a cluster without a free node.
        peaks: The most memory of each pod that has ended, in bytes, by name.
    """

    def __init__(self, store: Store, images: Mapping[str, Image], folder: Path) -> None:
        self.is_full = False
        self.registry_is_away = False
        self.peaks: dict[str, int] = {}
        self._store = store
        self._images = images
        self._folder = folder
        self._containers: dict[str, Container] = {}
        self._reasons: dict[str, tuple[str, str]] = {}
        self._threads: list[threading.Thread] = []
        self._is_stopping = False

    def run(self, key: Key, pod: Object) -> None:
        """Run a pod that was created."""
        thread = threading.Thread(target=self._live, args=(key, pod), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _live(self, key: Key, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        with suppress(Refused):  # deleted meanwhile
            self._wait(key, uid, lambda: self.is_full, _unscheduled)
            self._store.change(key, _scheduled)
            self._wait(key, uid, lambda: not self._has_image(pod), _without_image)
            self._run(key, pod)

    def _has_image(self, pod: Object) -> bool:
        name = pod["spec"]["containers"][0]["image"]
        return name in self._images and not self.registry_is_away

    def _wait(
        self, key: Key, uid: str, holds: Callable[[], bool], say: Callable[[Object], None]
    ) -> None:
        """Wait in ``Pending`` as long as something holds.

        Raises:
            Refused: The pod was deleted.
        """
        is_said = False
        while not self._is_stopping and holds():
            if self._store.find(key)["metadata"]["uid"] != uid:
                raise Refused(404, "NotFound", "deleted meanwhile")
            if not is_said:
                self._store.change(key, say)
                is_said = True
            time.sleep(POLL)

    def _run(self, key: Key, pod: Object) -> None:
        uid, began = pod["metadata"]["uid"], timestamp()
        if self._is_stopping:
            return
        folder = self._folder / uid
        folder.mkdir(parents=True)
        image = self._images[pod["spec"]["containers"][0]["image"]]
        try:
            container = Container(pod, image, self._config_maps(key[1]), folder)
        except (KeyError, OSError) as error:
            message = f"{type(error).__name__}: {error}"
            self._store.change(key, lambda found: _cannot_start(found, message))
            return
        self._containers[uid] = container
        self._store.change(key, lambda found: _running(found, began))
        code = container.wait()
        self.peaks[key[2]] = container.peak
        why, message = self._reasons.pop(uid, ("", ""))
        reason = "OOMKilled" if container.is_out_of_memory else "Error" if code else "Completed"
        ended = _ended(code, reason, began, container.log)
        with suppress(Refused):
            self._store.change(key, lambda found: _finish(found, ended, why, message))
        container.remove()

    def _config_maps(self, namespace: str) -> dict[str, dict[str, str]]:
        _, found = self._store.listed("configmaps", namespace, lambda _: True)
        return {one["metadata"]["name"]: one.get("data") or {} for one in found}

    def delete(self, key: Key, grace: int | None) -> Object:
        """Delete a pod: mark it, end it, remove it.

        Args:
            key: The pod.
            grace: Seconds that it has; ``None`` for what it says itself.
        """
        pod = self._store.find(key)
        seconds = (
            pod["spec"].get("terminationGracePeriodSeconds", GRACE) if grace is None else grace
        )
        if "deletionTimestamp" in pod["metadata"] and seconds > 0:
            return pod
        mark = {"deletionTimestamp": timestamp(), "deletionGracePeriodSeconds": seconds}
        marked = self._store.change(key, lambda found: found["metadata"].update(mark))
        thread = threading.Thread(target=self._end, args=(key, marked, seconds), daemon=True)
        self._threads.append(thread)
        thread.start()
        return marked

    def _end(self, key: Key, pod: Object, grace: float) -> None:
        container = self._containers.get(pod["metadata"]["uid"])
        if container is not None:
            container.end(grace)
            self._wait_for_end(key)
        with suppress(Refused):
            self._store.remove(key)
        shutil.rmtree(self._folder / pod["metadata"]["uid"], ignore_errors=True)

    def _wait_for_end(self, key: Key) -> None:
        """Wait until the pod's phase says that its container has ended."""
        with suppress(Refused):
            while self._store.find(key)["status"]["phase"] == "Running":
                time.sleep(POLL)

    def container(self, uid: str) -> Container | None:
        """The container of a pod, if it was started."""
        return self._containers.get(uid)

    def evict(self, uid: str) -> None:
        """End a pod as a node does that runs short of something."""
        self._reasons[uid] = "Evicted", "The node was low on resource: memory."
        self._containers[uid].kill()

    def log(self, key: Key) -> str:
        """What a pod has printed."""
        container = self._containers.get(self._store.find(key)["metadata"]["uid"])
        return container.log.read_text(errors="replace") if container else ""

    def stop(self) -> None:
        """End every pod."""
        self._is_stopping = True
        for container in list(self._containers.values()):
            container.kill()
        for thread in self._threads:
            thread.join(GRACE)


def _unscheduled(pod: Object) -> None:
    said = {"reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}
    pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", **said}]


def _scheduled(pod: Object) -> None:
    pod["spec"]["nodeName"] = NODE
    pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
    pod["status"]["startTime"] = timestamp()


def _without_image(pod: Object) -> None:
    image = pod["spec"]["containers"][0]["image"]
    said = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
    pod["status"]["containerStatuses"] = [_container_status(pod, {"waiting": said})]


def _cannot_start(pod: Object, message: str) -> None:
    said = {"reason": "CreateContainerConfigError", "message": message}
    pod["status"]["containerStatuses"] = [_container_status(pod, {"waiting": said})]


def _running(pod: Object, began: str) -> None:
    pod["status"]["phase"] = "Running"
    status = _container_status(pod, {"running": {"startedAt": began}})
    pod["status"]["containerStatuses"] = [{**status, "ready": True, "started": True}]


def _ended(code: int, reason: str, began: str, log: Path) -> Object:
    ended = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": timestamp()}
    if code and code != KILLED:
        ended["message"] = log.read_text(errors="replace")[-2048:]
    return ended


def _finish(pod: Object, ended: Object, why: str, message: str) -> None:
    status = pod["status"]
    status["phase"] = "Failed" if ended["exitCode"] or why else "Succeeded"
    status["containerStatuses"] = [_container_status(pod, {"terminated": ended})]
    if why:
        status |= {"reason": why, "message": message}


def _container_status(pod: Object, state: Object) -> Object:
    container = pod["spec"]["containers"][0]
    image = container["image"]
    own = {"name": container["name"], "image": image, "imageID": image}
    return {**own, "ready": False, "restartCount": 0, "state": state}
