"""Pods for tests of the stand-in, and what becomes of them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from kubernetes.client import ApiException, CoreV1Api

from sandbox.kubernetes.selectors import Object
from tests.patience import SOON

NAMESPACE = "flagfall"
NAME = "a-pod"


def pod(
    script: str, image: str = "known", container: Object | None = None, **spec: Any
) -> dict[str, Any]:
    """A pod that runs a script.

    Args:
        script: For the shell.
        image: Of its container.
        container: More of its container.
        spec: More of its spec.
    """
    base = {
        "name": "base",
        "image": image,
        "command": ["/bin/sh", "-c"],
        "args": [script],
        "envFrom": [{"configMapRef": {"name": "ours"}}],
        "resources": {"limits": {"memory": "100Mi"}},
        "securityContext": {"readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
        **(container or {}),
    }
    volumes = [{"name": "scratch", "emptyDir": {}}]
    grace = {"terminationGracePeriodSeconds": 1}
    whole = {"containers": [base], "volumes": volumes, **grace, **spec}
    return {"metadata": {"name": NAME, "labels": {"app": "x"}}, "spec": whole}


def with_volume(script: str, mount: Object | None = None, **source: Any) -> dict[str, Any]:
    """A pod that runs a script and has a volume at ``/v``."""
    mounts = [{"name": "v", "mountPath": "/v", **(mount or {})}]
    return pod(script, container={"volumeMounts": mounts}, volumes=[{"name": "v", **source}])


def reaches(api: CoreV1Api, *phases: str) -> Object:
    """The pod as soon as it is in one of these phases."""
    give_up = time.monotonic() + SOON
    while time.monotonic() < give_up:
        found = api.read_namespaced_pod(NAME, NAMESPACE)
        if found.status.phase in phases:
            plain: Object = api.api_client.sanitize_for_serialization(found)
            return plain
        time.sleep(0.05)
    raise AssertionError(f"not {phases}: {found.status}")


def waits(api: CoreV1Api) -> Any:
    """The pod's container's state as soon as it says why it waits."""
    give_up = time.monotonic() + SOON
    while time.monotonic() < give_up:
        for status in api.read_namespaced_pod(NAME, NAMESPACE).status.container_statuses or []:
            return status.state.waiting
        time.sleep(0.05)
    raise AssertionError("it does not say why it waits")


def printed(api: CoreV1Api, **wanted: Any) -> bytes:
    """The pod's log."""
    answer = api.read_namespaced_pod_log(NAME, NAMESPACE, _preload_content=False, **wanted)
    return bytes(answer.data)


def prints(api: CoreV1Api, given: Object) -> str:
    """What a pod has printed when it has ended."""
    api.create_namespaced_pod(NAMESPACE, given)
    reaches(api, "Succeeded", "Failed")
    return printed(api).decode()


def ending(found: Object) -> tuple[int, str]:
    """Exit code and reason of a container that has ended."""
    ended = found["status"]["containerStatuses"][0]["state"]["terminated"]
    return ended["exitCode"], ended["reason"]


def refusal(refused: pytest.ExceptionInfo[ApiException]) -> tuple[int, str]:
    """The code of an answer, and its message."""
    assert refused.value.body is not None
    said = json.loads(refused.value.body)
    assert (said["kind"], said["status"]) == ("Status", "Failure")
    return said["code"], said["message"]
