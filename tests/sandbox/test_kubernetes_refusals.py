"""What the stand-in refuses, as Kubernetes does."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiException, CoreV1Api

from sandbox.kubernetes import Cluster
from sandbox.kubernetes.store import Refused
from sandbox.kubernetes.validation import check
from tests.deploy.cluster import POD_TEMPLATE
from tests.sandbox.pods import NAME, NAMESPACE, pod, reaches, refusal

Pod = dict[str, Any]
BASE = "spec.containers[0]"


def metadata(**given: Any) -> Pod:
    found = pod("true")
    found["metadata"] |= given
    return found


def container(**given: Any) -> Pod:
    return pod("true", container=given)


def resources(**given: Any) -> Pod:
    return container(resources=given)


INVALID = [
    (metadata(name="Bad_Name"), 'metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123'),
    (metadata(name="ends-"), "metadata.name"),
    (metadata(name="x" * 254), "metadata.name"),
    (metadata(name=""), "metadata.name: Required value: name or generateName is required"),
    (metadata(labels={"a": "tail_"}), 'metadata.labels: Invalid value: "tail_": a valid label'),
    (metadata(labels={"a": "x" * 64}), "metadata.labels"),
    (metadata(labels={"a": "two words"}), "metadata.labels"),
    (metadata(labels={"_a": "x"}), "metadata.labels"),
    (metadata(labels={"Upper/a": "x"}), "metadata.labels"),
    (metadata(annotations={"two words": "x"}), "metadata.annotations: Invalid value"),
    ({"metadata": {"name": "a"}}, "spec.containers: Required value"),
    (pod("true", containers=[]), "spec.containers: Required value"),
    (pod("true", restartPolicy="Sometimes"), 'spec.restartPolicy: Unsupported value: "Sometimes"'),
    (pod("true", activeDeadlineSeconds=0), "spec.activeDeadlineSeconds: Invalid value: 0: must"),
    (pod("true", serviceAccountName="A_b"), 'spec.serviceAccountName: Invalid value: "A_b": a low'),
    (container(imagePullPolicy="Maybe"), f'{BASE}.imagePullPolicy: Unsupported value: "Maybe"'),
    (container(image=""), f"{BASE}.image: Required value"),
    (container(name="Base"), f"{BASE}.name"),
    (container(env=[{"value": "x"}]), f"{BASE}.env[0].name: Required value"),
    (
        container(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {}}}]),
        f'{BASE}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not',
    ),
    (
        container(volumeMounts=[{"name": "zz", "mountPath": "/zz"}]),
        f'{BASE}.volumeMounts[0].name: Not found: "zz"',
    ),
    (container(volumeMounts=[{"name": "scratch"}]), f"{BASE}.volumeMounts[0].mountPath: Required"),
    (
        container(volumeMounts=[{"name": "scratch", "mountPath": "/tmp"}] * 2),
        f'{BASE}.volumeMounts[1].mountPath: Invalid value: "/tmp": must be unique',
    ),
    (
        pod("true", volumes=[{"name": "scratch", "emptyDir": {}}] * 2),
        'spec.volumes[1].name: Duplicate value: "scratch"',
    ),
    (
        pod("true", volumes=[{"name": "scratch", "emptyDir": {}, "configMap": {"name": "x"}}]),
        "spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type",
    ),
    (
        pod("true", volumes=[{"name": "scratch", "emptyDir": {"sizeLimit": "-1Gi"}}]),
        "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource",
    ),
    (
        pod("true", containers=pod("true")["spec"]["containers"] * 2),
        'spec.containers[1].name: Duplicate value: "base"',
    ),
    (
        resources(requests={"memory": "2Gi"}, limits={"memory": "1024Mi"}),
        f'{BASE}.resources.requests: Invalid value: "2Gi": '
        "must be less than or equal to memory limit of 1024Mi",
    ),
    (resources(limits={"cpu": "-1"}), f"{BASE}.resources.limits[cpu]"),
    (
        resources(limits={"gpu": "1"}),
        f'{BASE}.resources.limits[gpu]: Invalid value: "gpu": must be a standard resource type or',
    ),
]
UNREADABLE = [
    resources(limits={"memory": "4 gigs"}),
    resources(requests={"cpu": "NaN"}),
    resources(limits={"memory": "1gi"}),
    pod("true", volumes=[{"name": "scratch", "emptyDir": {"sizeLimit": "much"}}]),
    metadata(labels={"a": 1}),
    metadata(annotations={"a": 1}),
    container(env=[{"name": "A", "value": 1}]),
    {"metadata": {"name": "a"}, "spec": ["no object"]},
]


@pytest.mark.parametrize(("given", "says"), INVALID, ids=[says for _, says in INVALID])
def test_an_invalid_pod_is_refused_and_the_field_is_named(given: Pod, says: str) -> None:
    with pytest.raises(Refused) as refused:
        check("Pod", given)
    assert refused.value.code == 422
    assert says in str(refused.value)
    assert refused.value.details is not None
    assert says.startswith(refused.value.details["causes"][0]["field"])


@pytest.mark.parametrize("given", UNREADABLE)
def test_a_value_that_is_none_is_a_bad_request(given: Pod) -> None:
    with pytest.raises(Refused) as refused:
        check("Pod", given)
    assert (refused.value.code, refused.value.reason) == (400, "BadRequest")


def test_the_pod_template_is_valid() -> None:
    check("Pod", yaml.safe_load(POD_TEMPLATE.read_text()))


def test_every_fault_is_in_the_answer_and_no_pod_is_made(api: CoreV1Api, cluster: Cluster) -> None:
    with pytest.raises(ApiException) as refused:
        api.create_namespaced_pod(NAMESPACE, container(image="", name="B"))
    said = json.loads(str(refused.value.body))
    assert (said["kind"], said["reason"], said["code"]) == ("Status", "Invalid", 422)
    assert said["message"].startswith(f'Pod "{NAME}" is invalid: [{BASE}.name: ')
    assert [one["field"] for one in said["details"]["causes"]] == [f"{BASE}.name", f"{BASE}.image"]
    assert cluster.pods() == []


@pytest.mark.parametrize(
    ("kind", "version"), [("Deployment", "v1"), ("Deployment", "apps/v1"), ("Pod", "v2")]
)
def test_what_is_no_pod_is_not_taken_for_one(api: CoreV1Api, kind: str, version: str) -> None:
    with pytest.raises(ApiException) as refused:
        api.create_namespaced_pod(NAMESPACE, {**pod("true"), "kind": kind, "apiVersion": version})
    says = f'{kind} in version "{version}" cannot be handled as a Pod'
    assert refusal(refused) == (400, says)


def test_an_object_that_was_read_is_not_created_again(api: CoreV1Api) -> None:
    with pytest.raises(ApiException) as refused:
        api.create_namespaced_pod(NAMESPACE, metadata(resourceVersion="5"))
    assert refusal(refused) == (500, "resourceVersion should not be set on objects to be created")


def test_what_is_no_json_is_a_bad_request_and_the_connection_stays(cluster: Cluster) -> None:
    connection = HTTPConnection(cluster.url.removeprefix("http://"))
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    for body, code in ((b"{", 400), (b"\xff", 400), (b'"text"', 415), (b"{}", 422)):
        connection.request("POST", path, body)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (code, code)
    connection.close()


def test_a_pod_of_another_namespace_is_refused(api: CoreV1Api) -> None:
    with pytest.raises(ApiException) as refused:
        api.create_namespaced_pod(NAMESPACE, metadata(namespace="other"))
    what = "the namespace of the provided object does not match the namespace sent on the request"
    assert refusal(refused) == (400, what)


def test_a_dry_run_changes_nothing(api: CoreV1Api, cluster: Cluster) -> None:
    assert api.create_namespaced_pod(NAMESPACE, pod("true"), dry_run="All").metadata.uid
    assert cluster.pods() == []
    api.create_namespaced_pod(NAMESPACE, pod("true"))
    before = reaches(api, "Succeeded")
    change = {"metadata": {"labels": {"app": "y"}}}
    patched = api.patch_namespaced_pod(NAME, NAMESPACE, change, dry_run="All")
    assert patched.metadata.labels == {"app": "y"}
    api.delete_namespaced_pod(NAME, NAMESPACE, dry_run="All")
    assert reaches(api, "Succeeded") == before


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"metadata": {"name": "other"}}, 400, "does not match the name on the URL (a-pod)"),
        ({"metadata": {"uid": "other"}}, 422, "metadata.uid: Invalid value"),
        ({"metadata": {"resourceVersion": "1"}}, 409, "Operation cannot be fulfilled on pods"),
        ({"metadata": {"labels": {"a": "tail_"}}}, 422, "metadata.labels: Invalid value"),
        ({"spec": {"restartPolicy": "Always"}}, 422, "spec: Forbidden: pod updates may not change"),
        ([{"op": "remove", "path": "/spec"}], 415, "merge patches only"),
    ],
)
def test_a_patch_of_what_may_not_change_is_refused(
    api: CoreV1Api, change: Any, code: int, says: str
) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("true", restartPolicy="Never"))
    before = reaches(api, "Succeeded")
    with pytest.raises(ApiException) as refused:
        api.patch_namespaced_pod(NAME, NAMESPACE, change)
    answered, message = refusal(refused)
    assert answered == code
    assert says in message
    assert reaches(api, "Succeeded") == before


def test_a_pod_that_was_read_can_be_sent_back_with_other_labels(api: CoreV1Api) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("true"))
    reaches(api, "Succeeded")
    read = api.read_namespaced_pod(NAME, NAMESPACE)
    read.metadata.labels["app"], read.status.phase = "y", "Running"
    patched = api.patch_namespaced_pod(NAME, NAMESPACE, read)
    assert (patched.metadata.labels["app"], patched.status.phase) == ("y", "Succeeded")


def _by_uid(found: Pod) -> Pod:
    return {"uid": "other"}


def _by_version(found: Pod) -> Pod:
    return {"uid": found["metadata"]["uid"], "resourceVersion": "1"}


@pytest.mark.parametrize("condition", [_by_uid, _by_version])
def test_a_pod_that_is_another_is_not_deleted(
    api: CoreV1Api, condition: Callable[[Pod], Pod]
) -> None:
    api.create_namespaced_pod(NAMESPACE, pod("true"))
    found = reaches(api, "Succeeded")
    with pytest.raises(ApiException) as refused:
        api.delete_namespaced_pod(NAME, NAMESPACE, body={"preconditions": condition(found)})
    assert refusal(refused)[0] == 409
    assert reaches(api, "Succeeded") == found
