"""The node of the stand-in: it starts every pod's container, and says what became of it."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sandbox.kubernetes.container import Container
from sandbox.kubernetes.environment import environment
from sandbox.kubernetes.image import Image
from sandbox.kubernetes.references import ADDRESS, NODE, References, Waiting
from sandbox.kubernetes.selectors import Object
from sandbox.kubernetes.store import Key, Refused, Store, timestamp
from sandbox.kubernetes.validation import bad_request
from sandbox.kubernetes.volumes import Mounts, make_mounts

Plan = tuple[Image, Mounts, dict[str, str], Path]
"""A container's image, volumes, variables and folder."""
GRACE = 30
"""Seconds of a pod that does not say how long it may take to end."""
POLL = 0.1
CANNOT_START = 128
"""Exit code of a container whose command cannot be started."""
CREATING = "ContainerCreating"
PULLED_EVERY = 10.0
"""Seconds from one attempt at an image to the next."""
SHOWN_FOR = 1.0
"""Seconds for which a pod says that an attempt failed; then it says that it waits for the next."""
REFUSED = "OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu"
OVERDUE = "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"


class Kubelet:
    """Runs pods.

    Args:
        store: The objects.
        images: What each image stands for, by name.
        folder: For what pods write.

    Attributes:
        is_full: Pods that come wait in ``Pending``, as on a cluster without a free node.
        to_refuse: Pods that the node turns away as they come, before their container starts.
        peaks: The most memory of each pod that has ended, in bytes, by name.
    """

    def __init__(self, store: Store, images: Mapping[str, Image], folder: Path) -> None:
        self.is_full = False
        self.to_refuse = 0
        self.registry_is_away = False
        self.peaks: dict[str, int] = {}
        self._store = store
        self._images = images
        self._folder = folder
        self._containers: dict[str, Container] = {}
        self._reasons: dict[str, tuple[str, str]] = {}
        self._asked_for: dict[str, float] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_stopping = False

    def run(self, key: Key, pod: Object) -> None:
        """Run a pod that was created."""
        thread = threading.Thread(target=self._live, args=(key, pod), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _live(self, key: Key, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        try:
            self._wait_for_a_node(key, uid)
            self._change(key, uid, _scheduled)
            if self._is_refused():
                self._change(key, uid, lambda found: _fail(found, *REFUSED))
                return
            seconds = pod["spec"].get("activeDeadlineSeconds")
            until = math.inf if seconds is None else time.monotonic() + seconds
            if plan := self._planned(key, pod, until):
                self._run(key, pod, plan, until)
        except Refused:  # deleted meanwhile
            pass
        except Exception as error:  # nobody sees what ends a thread: the pod says it
            message = f"the stand-in cannot run it: {type(error).__name__}: {error}"
            with suppress(Refused):
                self._change(key, uid, lambda found: _fail(found, "UnexpectedError", message))

    def _change(self, key: Key, uid: str, how: Callable[[Object], object]) -> None:
        """Change a pod.

        Raises:
            Refused: It was deleted.
        """

        def change(found: Object) -> None:
            if found["metadata"]["uid"] != uid:
                raise Refused(404, "NotFound", "deleted meanwhile")
            how(found)

        self._store.change(key, change)

    def _wait_for_a_node(self, key: Key, uid: str) -> None:
        """Wait as long as no node has room.

        Raises:
            Refused: The pod was deleted.
        """
        if self.is_full:
            self._change(key, uid, _unscheduled)
        while self.is_full and not self._is_stopping:
            if self._store.find(key)["metadata"]["uid"] != uid:
                return
            time.sleep(POLL)

    def _is_refused(self) -> bool:
        with self._lock:
            self.to_refuse -= (is_refused := self.to_refuse > 0)
        return is_refused

    def _planned(self, key: Key, pod: Object, until: float) -> Plan | None:
        """What a container needs, as soon as it is there; ``None`` if it is too late then.

        Raises:
            Refused: The pod was deleted.
        """
        uid, said = pod["metadata"]["uid"], ""
        while not self._is_stopping:
            try:
                return self._plan(pod)
            except Waiting as waiting:
                if str(waiting) != said:
                    said = str(waiting)
                    self._say(key, pod, waiting)
            if self._store.find(key)["metadata"]["uid"] != uid:
                return None
            if time.monotonic() > until:
                self._change(key, uid, lambda found: _fail(found, *OVERDUE))
                return None
            time.sleep(POLL)
        return None

    def _plan(self, pod: Object) -> Plan:
        references, container = References(self._store, pod), pod["spec"]["containers"][0]
        folder = self._folder / pod["metadata"]["uid"]
        folder.mkdir(parents=True, exist_ok=True)
        mounts = make_mounts(pod["spec"], references, folder / "volumes")
        image = self._images.get(container["image"])
        if image is None or self.registry_is_away:
            raise self._not_pulled(pod["metadata"]["uid"], container["image"])
        given = environment(container, references)
        if not (container.get("command") or container.get("args")):
            raise Waiting("no command specified", "CreateContainerError")
        return image, mounts, given, folder

    def _not_pulled(self, uid: str, image: str) -> Waiting:
        """Why a container has no image: an attempt failed, or the next one is to come."""
        now = time.monotonic()
        if (now - self._asked_for.setdefault(uid, now)) % PULLED_EVERY < SHOWN_FOR:
            return Waiting(f'failed to pull image "{image}": no answer', "ErrImagePull")
        return Waiting(f'Back-off pulling image "{image}"', "ImagePullBackOff")

    def _say(self, key: Key, pod: Object, waiting: Waiting) -> None:
        """Say why a pod waits: in its status, and as an event."""
        uid, reason = pod["metadata"]["uid"], waiting.reason
        self._change(key, uid, lambda found: _waits(found, waiting))
        about = {"kind": "Pod", "name": key[2], "namespace": key[1], "uid": uid}
        event = {
            "kind": "Event",
            "apiVersion": "v1",
            "involvedObject": {**about, "apiVersion": "v1"},
            "reason": "FailedMount" if reason == CREATING else "Failed",
            "message": str(waiting),
            "type": "Warning",
            "lastTimestamp": timestamp(),
        }
        self._store.create(("events", key[1], f"{key[2]}.{time.time_ns():x}"), event)

    def _run(self, key: Key, pod: Object, plan: Plan, until: float) -> None:
        uid, began = pod["metadata"]["uid"], timestamp()
        container = None if self._is_stopping else self._started(key, pod, plan, began)
        if container is None:
            return
        with self._deadline(uid, container, pod, until):
            code = container.wait()
        self.peaks[key[2]] = container.peak
        why, message = self._reasons.pop(uid, ("", ""))
        ended = _ended_as(container, code, began)
        with suppress(Refused):
            self._change(key, uid, lambda found: _finish(found, ended, why, message))
        container.remove()

    def _started(self, key: Key, pod: Object, plan: Plan, began: str) -> Container | None:
        """Start a pod's container; ``None`` if it cannot be started."""
        uid = pod["metadata"]["uid"]
        try:
            container = Container(pod, *plan)
        except (OSError, ValueError) as error:
            ended = _ended(CANNOT_START, "StartError", began, str(error))
            self._change(key, uid, lambda found: _finish(found, ended, "", ""))
            return None
        self._containers[uid] = container
        try:
            self._change(key, uid, lambda found: _running(found, began))
        except Refused:  # deleted meanwhile
            container.kill()
        return container

    @contextmanager
    def _deadline(
        self, uid: str, container: Container, pod: Object, until: float
    ) -> Iterator[None]:
        """End a container meanwhile when its time is over."""

        def end() -> None:
            self._reasons[uid] = OVERDUE
            container.end(_grace(pod))

        if until == math.inf:
            yield
            return
        timer = threading.Timer(max(0, until - time.monotonic()), end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def delete(self, key: Key, grace: int | None) -> Object:
        """Delete a pod: mark it, end it, remove it.

        Args:
            key: The pod.
            grace: Seconds that it has; ``None`` for what it says itself.
        """
        pod = self._store.find(key)
        seconds = _grace(pod) if grace is None else 1 if grace < 0 else grace
        if seconds >= pod["metadata"].get("deletionGracePeriodSeconds", math.inf):
            return pod
        mark = {"deletionTimestamp": timestamp(), "deletionGracePeriodSeconds": seconds}
        marked = self._store.change(key, lambda found: found["metadata"].update(mark))
        thread = threading.Thread(target=self._end, args=(key, marked, seconds), daemon=True)
        self._threads.append(thread)
        thread.start()
        return marked

    def _end(self, key: Key, pod: Object, grace: float) -> None:
        uid = pod["metadata"]["uid"]
        container = self._containers.get(uid)
        if container is not None:
            container.end(grace)
            self._wait_for_end(key)
        with suppress(Refused):
            self._change(key, uid, _never_began)
            self._store.remove(key)
        shutil.rmtree(self._folder / uid, ignore_errors=True)

    def _wait_for_end(self, key: Key) -> None:
        """Wait until the pod's phase says that its container has ended."""
        with suppress(Refused):
            while self._store.find(key)["status"]["phase"] == "Running":
                time.sleep(POLL)

    def container(self, uid: str) -> Container | None:
        """The container of a pod, if it was started."""
        return self._containers.get(uid)

    def log(self, key: Key, name: str | None) -> Path | None:
        """The log of a pod's container; ``None`` if there is none.

        Args:
            key: The pod.
            name: The container; ``None`` for the only one.

        Raises:
            Refused: There is no such container, or it waits.
        """
        pod = self._store.find(key)
        names = [one["name"] for one in pod["spec"]["containers"]]
        if name is None and len(names) > 1:
            raise bad_request(f"a container name must be specified, choose one of: {names}")
        if (name or names[0]) not in names:
            raise bad_request(f"container {name} is not valid for pod {key[2]}")
        container = self._containers.get(pod["metadata"]["uid"])
        if container is not None and name in (None, names[0]):
            return container.log
        if pod["status"]["phase"] == "Pending" and "nodeName" in pod["spec"]:
            what = f'container "{name or names[0]}" in pod "{key[2]}" is waiting to start'
            raise bad_request(f"{what}: {_why_waiting(pod)}")
        return None

    def is_over(self, key: Key) -> bool:
        """Whether a pod's container has ended, or the pod is gone."""
        try:
            return self._store.find(key)["status"]["phase"] in ("Succeeded", "Failed")
        except Refused:
            return True

    def evict(self, uid: str) -> None:
        """End a pod as a node does that runs short of something."""
        self._reasons[uid] = "Evicted", "The node was low on resource: memory."
        self._containers[uid].kill()

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


def _waits(pod: Object, waiting: Waiting) -> None:
    said = {"reason": waiting.reason}
    if waiting.reason != CREATING:  # Kubernetes says that in an event only
        said["message"] = str(waiting)
    pod["status"]["containerStatuses"] = [_container_status(pod, {"waiting": said})]


def _why_waiting(pod: Object) -> str:
    (status,) = pod["status"].get("containerStatuses") or [{"state": {}}]
    return str((status["state"].get("waiting") or {}).get("reason", CREATING))


def _fail(pod: Object, reason: str, message: str) -> None:
    pod["status"] |= {"phase": "Failed", "reason": reason, "message": message}


def _never_began(pod: Object) -> None:
    """What was to run on a node and did not, fails before it is gone."""
    if pod["status"]["phase"] == "Pending" and "nodeName" in pod["spec"]:
        pod["status"]["phase"] = "Failed"


def _grace(pod: Object) -> int:
    given = pod["spec"].get("terminationGracePeriodSeconds")
    return GRACE if given is None else int(given)


def _running(pod: Object, began: str) -> None:
    pod["status"] |= {"phase": "Running", "podIP": ADDRESS, "hostIP": ADDRESS}
    status = _container_status(pod, {"running": {"startedAt": began}})
    pod["status"]["containerStatuses"] = [{**status, "ready": True, "started": True}]


def _ended_as(container: Container, code: int, began: str) -> Object:
    if why := container.start_error():
        return _ended(CANNOT_START, "StartError", began, why)
    reason = "OOMKilled" if container.is_out_of_memory else "Error" if code else "Completed"
    return _ended(code, reason, began, container.message(code))


def _ended(code: int, reason: str, began: str, message: str) -> Object:
    ended = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": timestamp()}
    return {**ended, "message": message} if message else ended


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
