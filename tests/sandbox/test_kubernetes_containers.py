"""What a container of the stand-in gets, and how it ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import CoreV1Api

from sandbox.kubernetes import Cluster, kubelet
from sandbox.kubernetes.environment import expanded
from sandbox.kubernetes.image import can_mount
from tests.sandbox.pods import (
    NAME,
    NAMESPACE,
    ending,
    pod,
    printed,
    prints,
    reaches,
    waits,
    with_volume,
)

AS_ROOT = pytest.mark.skipif(not can_mount(), reason="only root may mount")


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("$(A)-$(A)", "x-x"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$A $ ${A} $(A", "$A $ ${A} $(A"),
    ],
)
def test_variables_in_a_text(text: str, means: str) -> None:
    assert expanded(text, {"A": "x"}) == means


def test_a_container_needs_no_volume(api: CoreV1Api) -> None:
    assert prints(api, pod("echo hi", container={"volumeMounts": []}, volumes=[])) == "hi\n"


def test_command_arguments_and_variables_refer_to_variables(api: CoreV1Api) -> None:
    env = [{"name": "A", "value": "x"}, {"name": "B", "value": "$(A)$(OF_MAP)$(LATER)"}]
    command = {"command": ["$(ECHO)"], "args": ["$(B)", "$(OF_IMAGE)"]}
    echo = [{"name": "ECHO", "value": "/bin/echo"}, {"name": "LATER", "value": "y"}]
    given = pod("", container={"env": [*env, *echo], **command})
    assert prints(api, given) == "x2$(LATER) $(OF_IMAGE)\n"


def test_variables_come_from_config_maps_and_secrets(api: CoreV1Api) -> None:
    api.create_namespaced_secret(
        NAMESPACE, {"metadata": {"name": "hidden"}, "data": {"KEY": "c2VjcmV0"}}
    )
    absent = {"name": "absent", "optional": True}
    sources = [
        {"prefix": "P_", "configMapRef": {"name": "ours"}},
        {"secretRef": {"name": "hidden"}},
        {"configMapRef": absent},
        {"secretRef": absent},
    ]
    env = [
        {"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "KEY"}}},
        {"name": "TWO", "valueFrom": {"configMapKeyRef": {"name": "ours", "key": "OF_MAP"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {**absent, "key": "x"}}},
    ]
    script = 'echo "$P_OF_MAP $KEY $ONE $TWO ${NONE-none} ${OF_MAP-none}"'
    given = pod(script, container={"envFrom": sources, "env": env})
    assert prints(api, given) == "2 secret secret 2 none none\n"


def test_a_container_knows_its_pod_and_its_resources(api: CoreV1Api) -> None:
    fields = ("metadata.name", "metadata.namespace", "status.podIP", "metadata.labels['app']")
    resources = ("limits.memory", "requests.memory", "limits.cpu")
    given = [{"fieldRef": {"fieldPath": path}} for path in fields]
    given += [{"resourceFieldRef": {"resource": name}} for name in resources]
    env = [{"name": f"V{number}", "valueFrom": one} for number, one in enumerate(given)]
    found = prints(api, pod("echo $V0 $V1 $V2 $V3 $V4 $V5 $V6", container={"env": env}))
    memory = str(100 * 2**20)
    expected = [NAME, NAMESPACE, "127.0.0.1", "x", memory, memory, str(os.cpu_count())]
    assert found.split() == expected


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"fieldRef": {"fieldPath": "status.other"}}, "fieldRef status.other"),
        ({"resourceFieldRef": {"resource": "limits.other"}}, "resourceFieldRef limits.other"),
        ({"fileKeyRef": {"key": "x", "path": "x", "volumeName": "scratch"}}, "fileKeyRef"),
        ({"configMapKeyRef": {"name": "absent", "key": "x"}}, 'configmap "absent" not found'),
        ({"configMapKeyRef": {"name": "ours", "key": "x"}}, "couldn't find key x in configmap"),
    ],
)
def test_a_variable_that_cannot_be_had_is_named(
    api: CoreV1Api, source: dict[str, Any], says: str
) -> None:
    given = pod("true", container={"env": [{"name": "A", "valueFrom": source}]})
    api.create_namespaced_pod(NAMESPACE, given)
    waiting = waits(api)
    assert waiting.reason == "CreateContainerConfigError"
    assert says in waiting.message


def test_a_container_starts_when_what_it_refers_to_is_there(
    api: CoreV1Api, cluster: Cluster
) -> None:
    source = [{"configMapRef": {"name": "late"}}]
    api.create_namespaced_pod(NAMESPACE, pod("echo $LATE", container={"envFrom": source}))
    assert waits(api).message == 'configmap "late" not found'
    cluster.put_config_map("late", {"LATE": "now"})
    reaches(api, "Succeeded")
    assert printed(api) == b"now\n"


SOURCES = [
    {"configMap": {"name": "ours"}},
    {"configMap": {"name": "ours", "items": [{"key": "OF_MAP", "path": "OF_MAP"}]}},
    {"projected": {"sources": [{"configMap": {"name": "ours"}}]}},
]


@AS_ROOT
@pytest.mark.parametrize("source", SOURCES)
def test_a_config_map_is_a_volume_of_files(api: CoreV1Api, source: dict[str, Any]) -> None:
    script = "ls /v; cat /v/OF_MAP; echo; touch /v/new 2>/dev/null || echo read-only"
    assert prints(api, with_volume(script, **source)) == "OF_MAP\n2\nread-only\n"


@AS_ROOT
def test_a_key_of_a_config_map_can_be_mounted_as_a_file(api: CoreV1Api) -> None:
    mount = {"mountPath": "/etc-of-pod/map.txt", "subPath": "OF_MAP"}
    given = with_volume("cat /etc-of-pod/map.txt", mount, configMap={"name": "ours"})
    assert prints(api, given) == "2"


@AS_ROOT
def test_a_volume_can_be_mounted_read_only(api: CoreV1Api) -> None:
    given = with_volume("touch /v/new 2>/dev/null || echo no", {"readOnly": True}, emptyDir={})
    assert prints(api, given) == "no\n"


@pytest.mark.parametrize(
    "source",
    [
        {"secret": {"secretName": "late"}},
        {"projected": {"sources": [{"secret": {"name": "late"}}]}},
    ],
)
def test_a_pod_waits_for_its_volume_and_an_event_says_so(
    api: CoreV1Api, source: dict[str, Any]
) -> None:
    api.create_namespaced_pod(NAMESPACE, with_volume("true", **source))
    assert waits(api).reason == "ContainerCreating"
    about = f"involvedObject.name={NAME}"
    (event,) = api.list_namespaced_event(NAMESPACE, field_selector=about).items
    assert event.reason == "FailedMount"
    assert event.message == 'MountVolume.SetUp failed for volume "v" : secret "late" not found'
    api.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "late"}, "data": {}})
    reaches(api, "Succeeded")


def test_an_optional_volume_may_be_empty(api: CoreV1Api) -> None:
    source = {"secretName": "absent", "optional": True}
    api.create_namespaced_pod(NAMESPACE, with_volume("true", secret=source))
    reaches(api, "Succeeded")


@pytest.mark.parametrize(
    ("kind", "given"),
    [("hostPath", {"path": "/etc"}), ("persistentVolumeClaim", {"claimName": "x"})],
)
def test_a_volume_that_the_stand_in_has_not_is_refused(
    api: CoreV1Api, kind: str, given: dict[str, str]
) -> None:
    api.create_namespaced_pod(NAMESPACE, with_volume("true", **{kind: given}))
    waiting = waits(api)
    assert waiting.reason == "CreateContainerError"
    assert waiting.message == f"the stand-in has no {kind} volumes"


def message(found: dict[str, Any]) -> str:
    ended = found["status"]["containerStatuses"][0]["state"]["terminated"]
    return str(ended.get("message", ""))


@AS_ROOT
@pytest.mark.parametrize("path", ["/dev/termination-log", "/tmp/said"])
def test_what_a_container_leaves_behind_is_its_message(api: CoreV1Api, path: str) -> None:
    was = Path("/dev/termination-log").exists()
    given = {"terminationMessagePath": path, "terminationMessagePolicy": "FallbackToLogsOnError"}
    script = f"echo logged; echo bye >{path}; exit 3"
    api.create_namespaced_pod(NAMESPACE, pod(script, container=given))
    assert message(reaches(api, "Failed")) == "bye\n"
    assert Path("/dev/termination-log").exists() == was


@pytest.mark.parametrize(
    ("policy", "code", "says"),
    [
        ("File", 3, ""),
        ("FallbackToLogsOnError", 0, ""),
        ("FallbackToLogsOnError", 3, "logged\n"),
    ],
)
def test_the_log_is_the_message_only_where_that_is_asked_for(
    api: CoreV1Api, policy: str, code: int, says: str
) -> None:
    given = pod(f"echo logged; exit {code}", container={"terminationMessagePolicy": policy})
    api.create_namespaced_pod(NAMESPACE, given)
    assert message(reaches(api, "Succeeded", "Failed")) == says


def test_a_command_that_is_not_there_is_a_start_error(api: CoreV1Api) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("", container={"command": ["/no/such"]}))
    found = reaches(api, "Failed")
    assert ending(found) == (128, "StartError")
    assert "/no/such" in message(found)
    assert printed(api) == b""


def test_a_script_without_its_program_is_no_start_error(api: CoreV1Api) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("exec /no/such"))
    assert ending(reaches(api, "Failed")) == (127, "Error")


@pytest.mark.parametrize("image", ["known", "unknown"])
def test_a_pod_is_ended_at_its_deadline(api: CoreV1Api, image: str) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("sleep 600", image, activeDeadlineSeconds=1))
    assert reaches(api, "Failed")["status"]["reason"] == "DeadlineExceeded"


def test_what_the_stand_in_cannot_do_fails_the_pod(
    api: CoreV1Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(kubelet, "Container", cannot)
    api.create_namespaced_pod(NAMESPACE, pod("true"))
    status = reaches(api, "Failed")["status"]
    assert status["message"] == "the stand-in cannot run it: RuntimeError: no such thing"
