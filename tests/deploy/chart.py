"""A Helm chart with our values: rendered by Helm, validated, and checked against what is ours.

    make chart CHART=airflow-1.22.0.tgz

The chart is the user's; nothing is fetched and no cluster is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from helm_python import Chart, HelmError
from jsonschema import ValidationError

from tests.deploy.cluster import DEPLOY, POD_TEMPLATE, values

RELEASE = "flagfall"
KUBERNETES = ("1.30", "1.37")
"""The oldest and the newest release whose objects are known to the validator."""
FILES: dict[str, dict[str, Any]] = {
    "values.yaml": values(10),
    "values-100-cores.yaml": values(100),
    "values-1000-cores.yaml": values(1000),
    "values-engine-pod.yaml": values(10, ["values-engine-pod.yaml"]),
}
"""Every values file, over values.yaml."""
PLACED_BY = ("tolerations", "nodeSelector")
"""What puts a pod on a node, and has to be said to components and tasks alike."""

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What a chart makes of a values file.

    Attributes:
        objects: All of Kubernetes' objects.
        faults: What is wrong with them, a sentence each.
    """

    objects: tuple[Object, ...]
    faults: tuple[str, ...]


def render(chart: Path, given: dict[str, Any]) -> Rendered:
    """Render, validate and check.

    Raises:
        HelmError: The chart cannot be read, or does not take the values.
    """
    texts = Chart.load(chart).render(given, name=RELEASE, namespace=RELEASE)
    files = [text for name, text in sorted(texts.items()) if name.endswith((".yaml", ".yml"))]
    objects = tuple(one for text in files for one in yaml.safe_load_all(text) if one)
    found = [*invalid(objects), *_misfits(objects)]
    return Rendered(objects, tuple(found))


def ours() -> tuple[Object, ...]:
    """The objects that are not the chart's: network policies and the pod of a task."""
    files = (DEPLOY / "network_policy.yaml", POD_TEMPLATE)
    return tuple(one for file in files for one in yaml.safe_load_all(file.read_text()))


def invalid(objects: tuple[Object, ...]) -> Iterator[str]:
    """What Kubernetes would refuse, unknown fields among it."""
    for one in objects:
        for release in KUBERNETES:
            try:
                kubernetes_validate.validate(one, release, strict=True)
            except ValidationError as error:
                where = ".".join(map(str, error.absolute_path))
                yield f"{_name(one)}: Kubernetes {release}: {where}: {error.message}"


def _misfits(objects: tuple[Object, ...]) -> Iterator[str]:
    """Where a rendered object does not fit ours."""
    names = {(one["kind"], one["metadata"]["name"]) for one in objects}
    task = yaml.safe_load(POD_TEMPLATE.read_text())
    yield from (f"{_name(one)}: secrets are made by hand" for one in _of(objects, "Secret"))
    pods = [*((_name(one), _pod(one)) for one in objects if _pod(one)), (_name(task), task)]
    if len(pods) == 1:
        yield "the chart has no workload"
    for name, pod in pods:
        is_cleanup = name.startswith("CronJob")  # the chart gives it no extraEnvFrom
        yield from (f"{name}: {why}" for why in _of_pod(pod["spec"], names, is_cleanup))
        for key in PLACED_BY:
            if pod["spec"].get(key) and pod["spec"].get(key) != task["spec"].get(key):
                yield f"{name}: its {key} are not in pod_template.yaml: a task's pod goes elsewhere"
    for policy in _of(ours(), "NetworkPolicy"):
        yield from _unselected(policy, [pod for _, pod in pods])


def _of_pod(spec: Object, names: set[tuple[str, str]], is_cleanup: bool) -> Iterator[str]:
    account = spec.get("serviceAccountName", "default")
    if ("ServiceAccount", account) not in names:
        yield f"there is no service account {account!r}"
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from (f"{container['name']}: {why}" for why in _of_container(container, volumes))
        if not (container.get("envFrom") or is_cleanup):
            yield f"{container['name']}: it has not the environment of extraConfigMaps"
        for source in container.get("envFrom", []):
            name = source["configMapRef"]["name"]
            if ("ConfigMap", name) not in names:
                yield f"{container['name']}: there is no ConfigMap {name!r}"


def _of_container(container: Object, volumes: set[str]) -> Iterator[str]:
    mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
    for path in ("/opt/airflow", "/tmp"):
        if path not in mounts:
            yield f"nothing is mounted at {path}, and the root file system is read-only"
    for name in set(mounts.values()) - volumes:
        yield f"there is no volume {name!r}"
    if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
        yield "its root file system can be written"


def _unselected(policy: Object, pods: list[Any]) -> Iterator[str]:
    """A policy by labels of the release that selects no pod binds nobody."""
    wanted = policy["spec"]["podSelector"].get("matchLabels", {})
    labels = [pod["metadata"].get("labels", {}) for pod in pods]
    if "release" in wanted and not any(wanted.items() <= one.items() for one in labels):
        yield f"{_name(policy)}: no pod has the labels {wanted}"


def _pod(one: Object) -> Any:
    spec = one.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return spec.get("template") if isinstance(spec, dict) else None


def _of(objects: tuple[Object, ...], kind: str) -> Iterator[Object]:
    return (one for one in objects if one["kind"] == kind)


def _name(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


def main(chart: Path) -> int:
    """Print a line for each values file, and what is wrong; return the exit code."""
    wrong = list(invalid(ours()))
    print(f"ours: {len(ours())} objects, {len(wrong)} faults")
    for name, given in FILES.items():
        try:
            rendered = render(chart, given)
        except HelmError as error:
            print(f"{name}: {error}")
            return 1
        print(f"{name}: {len(rendered.objects)} objects, {len(rendered.faults)} faults")
        wrong += [f"{name}: {fault}" for fault in rendered.faults]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
