"""The stand-in for Kubernetes, by Kubernetes' own client."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config
from kubernetes.watch import Watch

from sandbox.kubernetes import Cluster, Image
from sandbox.kubernetes.image import can_mount
from sandbox.kubernetes.memory import MemoryGroup
from sandbox.kubernetes.selectors import Object, selector
from tests.patience import SOON

NAMESPACE = "flagfall"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    image = Image({"/opt/image": Path(__file__).parent}, {"OF_IMAGE": "1"}, "/opt/image")
    with Cluster(tmp_path, {"known": image}, config_maps={"ours": {"OF_MAP": "2"}}) as started:
        yield started


@pytest.fixture
def api(cluster: Cluster) -> CoreV1Api:
    return CoreV1Api(new_client_from_config(str(cluster.kubeconfig())))


def pod(script: str, image: str = "known", name: str = "a-pod") -> Object:
    container = {
        "name": "base",
        "image": image,
        "command": ["/bin/sh", "-c"],
        "args": [script],
        "envFrom": [{"configMapRef": {"name": "ours"}}],
        "resources": {"limits": {"memory": "100Mi"}},
        "securityContext": {"readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    }
    volumes = [{"name": "scratch", "emptyDir": {}}]
    spec = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    return {"metadata": {"name": name, "labels": {"app": "x"}}, "spec": spec}


def reaches(api: CoreV1Api, *phases: str) -> Object:
    """The pod as soon as it is in one of these phases."""
    give_up = time.monotonic() + SOON
    while time.monotonic() < give_up:
        found = api.read_namespaced_pod("a-pod", NAMESPACE)
        if found.status.phase in phases:
            plain: Object = api.api_client.sanitize_for_serialization(found)
            return plain
        time.sleep(0.05)
    raise AssertionError(f"not {phases}: {found.status}")


def printed(api: CoreV1Api) -> bytes:
    answer = api.read_namespaced_pod_log("a-pod", NAMESPACE, _preload_content=False)
    return bytes(answer.data)


def ending(found: Object) -> tuple[int, str]:
    ended = found["status"]["containerStatuses"][0]["state"]["terminated"]
    return ended["exitCode"], ended["reason"]


def test_a_container_has_the_variables_of_its_image_and_its_config_map(api: CoreV1Api) -> None:
    api.create_namespaced_pod(NAMESPACE, pod('echo "$OF_IMAGE$OF_MAP$HOME"'))
    reaches(api, "Succeeded")
    assert printed(api) == b"12\n"


@pytest.mark.skipif(not can_mount(), reason="only root may mount")
def test_a_container_writes_to_its_volumes_only(api: CoreV1Api) -> None:
    script = "touch /tmp/one && ! touch /one && ! touch /opt/image/one && ! touch /usr/one"
    api.create_namespaced_pod(NAMESPACE, pod(script))
    assert ending(reaches(api, "Succeeded", "Failed")) == (0, "Completed")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a cgroup")
def test_a_pod_above_its_limit_is_out_of_memory(api: CoreV1Api, tmp_path: Path) -> None:
    group = MemoryGroup.make("probe", 2**20)
    if group is None:
        pytest.skip("this machine lets nobody make a cgroup")
    group.remove()
    api.create_namespaced_pod(NAMESPACE, pod("python -c 'bytearray(2**29)'; sleep 60"))
    assert ending(reaches(api, "Failed")) == (137, "OOMKilled")


def test_a_pod_that_is_deleted_may_end_itself_until_its_grace_is_over(
    api: CoreV1Api, cluster: Cluster
) -> None:
    script = "trap '' TERM; echo ready; while true; do sleep 0.1; done"
    api.create_namespaced_pod(NAMESPACE, pod(script))
    reaches(api, "Running")
    while printed(api) != b"ready\n":
        time.sleep(0.05)
    began = time.monotonic()
    api.delete_namespaced_pod("a-pod", NAMESPACE)
    while cluster.pods():
        assert time.monotonic() - began < SOON
        time.sleep(0.05)
    assert time.monotonic() - began >= 1
    _, last = cluster.past()["a-pod"][-1]
    assert ending(last) == (137, "Error")


def test_a_pod_of_an_unknown_image_waits(api: CoreV1Api, cluster: Cluster) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("true", image="unknown"))
    give_up = time.monotonic() + SOON
    while not (found := cluster.pods()[0]["status"].get("containerStatuses")):
        assert time.monotonic() < give_up
    assert found[0]["state"]["waiting"]["reason"] == "ImagePullBackOff"


def test_a_watch_from_a_version_that_is_forgotten_is_told_so(
    api: CoreV1Api, cluster: Cluster
) -> None:
    version = api.list_namespaced_pod(NAMESPACE).metadata.resource_version
    cluster.forget()
    with pytest.raises(Exception, match="too old resource version"):
        list(Watch().stream(api.list_namespaced_pod, NAMESPACE, resource_version=version))


def test_a_pod_whose_label_no_longer_fits_is_deleted_for_a_watch(api: CoreV1Api) -> None:
    """So a scheduler learns that another one has adopted its pod."""
    api.create_namespaced_pod(NAMESPACE, pod("sleep 60"))
    version = reaches(api, "Running")["metadata"]["resourceVersion"]
    api.patch_namespaced_pod("a-pod", NAMESPACE, {"metadata": {"labels": {"app": "y"}}})
    watch = Watch().stream(
        api.list_namespaced_pod, NAMESPACE, label_selector="app=x", resource_version=version
    )
    event = next(iter(watch))
    assert event["type"] == "DELETED"
    assert event["object"].metadata.deletion_timestamp is None


@pytest.mark.parametrize(
    ("labels", "fits"),
    [
        ("", True),
        ("a=1,b!=1", True),
        ("a==2", False),
        ("a", True),
        ("!a", False),
        ("c!=1", True),
        ("a in (1, 3)", True),
        ("a notin (1, 3),b=2", False),
    ],
)
def test_label_selectors(labels: str, fits: bool) -> None:
    assert selector(labels)({"metadata": {"labels": {"a": "1", "b": "2"}}}) == fits
