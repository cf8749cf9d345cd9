"""The stand-in for Kubernetes, by Kubernetes' own client."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from kubernetes.client import ApiException, CoreV1Api
from kubernetes.watch import Watch

from sandbox.kubernetes import Cluster
from sandbox.kubernetes.image import can_mount
from sandbox.kubernetes.memory import MemoryGroup
from sandbox.kubernetes.selectors import selector
from tests.patience import SOON
from tests.sandbox.pods import NAMESPACE, ending, pod, printed, reaches, refusal, waits


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


def test_a_second_delete_can_shorten_the_grace(api: CoreV1Api, cluster: Cluster) -> None:
    script = "trap '' TERM; echo ready; while true; do sleep 0.1; done"
    api.create_namespaced_pod(NAMESPACE, pod(script, terminationGracePeriodSeconds=10 * SOON))
    reaches(api, "Running")
    while printed(api) != b"ready\n":
        time.sleep(0.05)
    api.delete_namespaced_pod("a-pod", NAMESPACE)
    api.delete_namespaced_pod("a-pod", NAMESPACE, grace_period_seconds=0)
    give_up = time.monotonic() + SOON
    while cluster.pods():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_pod_of_an_unknown_image_is_asked_for_again(api: CoreV1Api) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("true", image="unknown"))
    assert waits(api).reason == "ErrImagePull"
    while waits(api).reason == "ErrImagePull":
        time.sleep(0.05)
    assert waits(api).reason == "ImagePullBackOff"


def test_a_pod_that_its_node_refuses_fails_before_it_begins(
    api: CoreV1Api, cluster: Cluster
) -> None:
    cluster.refuse(1)
    api.create_namespaced_pod(NAMESPACE, pod("true"))
    reaches(api, "Failed")
    status = api.read_namespaced_pod("a-pod", NAMESPACE).status
    assert (status.reason, status.container_statuses) == ("OutOfcpu", None)
    assert cluster.to_refuse == 0


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


@pytest.mark.parametrize("labels", ["a in (1", "a=b c", "=x", "!", "a!", "a in 1"])
def test_a_label_selector_that_cannot_be_read_is_refused(api: CoreV1Api, labels: str) -> None:
    with pytest.raises(ApiException) as refused:
        api.list_namespaced_pod(NAMESPACE, label_selector=labels)
    assert refusal(refused) == (400, f"unable to parse requirement: {labels}")


@pytest.mark.parametrize(
    "wanted",
    [{"resource_version": "abc"}, {"timeout_seconds": "abc"}, {"field_selector": "status.phase"}],
)
def test_a_watch_that_cannot_be_read_is_refused(api: CoreV1Api, wanted: dict[str, str]) -> None:
    with pytest.raises(ApiException) as refused:
        api.list_namespaced_pod(NAMESPACE, watch=True, **wanted)
    assert refusal(refused)[0] == 400


def test_only_a_newline_ends_a_line_of_a_log(api: CoreV1Api) -> None:
    whole = "a\rb\nc\N{NEXT LINE}d\nlast".encode()
    api.create_namespaced_pod(NAMESPACE, pod("printf 'a\\rb\\nc\\302\\205d\\nlast'"))
    reaches(api, "Succeeded")
    assert printed(api) == whole
    assert printed(api, tail_lines=2) == whole[4:]
    assert printed(api, tail_lines=9) == whole
    assert printed(api, tail_lines=0) == b""


def test_a_log_is_followed_to_its_end(api: CoreV1Api) -> None:
    script = "echo one; echo two; while ! [ -e /tmp/end ]; do sleep 0.1; done; echo three"
    api.create_namespaced_pod(NAMESPACE, pod(f"(sleep 1; touch /tmp/end) & {script}"))
    reaches(api, "Running")
    while printed(api) != b"one\ntwo\n":
        time.sleep(0.05)
    assert printed(api, follow=True, tail_lines=1) == b"two\nthree\n"
    assert api.read_namespaced_pod("a-pod", NAMESPACE).status.phase == "Succeeded"


WAITS = 'container "base" in pod "a-pod" is waiting to start'


def test_a_container_that_waits_has_no_log(api: CoreV1Api) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("true", image="unknown"))
    waits(api)
    with pytest.raises(ApiException) as refused:
        printed(api)
    status, why = refusal(refused)
    assert (status, why.rpartition(": ")[0]) == (400, WAITS)
    with pytest.raises(ApiException) as refused:
        printed(api, container="other")
    assert refusal(refused) == (400, "container other is not valid for pod a-pod")
