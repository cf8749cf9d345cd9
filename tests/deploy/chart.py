"""A Helm chart with our values: rendered by Helm, validated, and checked against what is ours.

    make chart CHART=airflow-1.22.0.tgz

The chart is the user's; nothing is fetched and no cluster is asked.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from helm_python import Chart, HelmError
from jsonschema import ValidationError
from kubernetes.utils.quantity import parse_quantity

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
OF_EVERY_POD = {
    "tolerations": "a task's pod goes elsewhere",
    "nodeSelector": "a task's pod goes elsewhere",
    "imagePullSecrets": "a task's pod gets no image",
}
"""Settings that components and tasks need alike, and what happens to a task without."""
SECRET_LIKE = re.compile(
    "(_KEY|_SECRET|_PASSWORD|_TOKEN|_SQL_ALCHEMY_CONN)$|^(AIRFLOW_CONN|FLAGFALL_TOKEN)_"
)
"""Names of variables whose values nobody may see."""

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
    return Rendered(objects, tuple(invalid(objects)) or tuple(_misfits(objects)))


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
            except kubernetes_validate.SchemaNotFoundError:
                yield f"{_name(one)}: Kubernetes {release}: {one['apiVersion']} is not known"
            except ValidationError as error:
                where = ".".join(map(str, error.absolute_path))
                yield f"{_name(one)}: Kubernetes {release}: {where}: {error.message}"


def _misfits(objects: tuple[Object, ...]) -> Iterator[str]:
    """Where a rendered object does not fit ours."""
    names = {(one["kind"], one["metadata"]["name"]) for one in objects}
    task = yaml.safe_load(POD_TEMPLATE.read_text())
    yield from (f"{_name(one)}: secrets are made by hand" for one in _of(objects, "Secret"))
    pods = [*((_name(one), _pod(one)) for one in objects if _pod(one)), (_name(task), task)]
    yield from _readable_secrets(objects)
    if len(pods) == 1:
        yield "the chart has no workload"
    for name, pod in pods:
        is_cleanup = name.startswith("CronJob")  # the chart gives it no extraEnvFrom
        yield from (f"{name}: {why}" for why in _of_pod(pod["spec"], names, is_cleanup))
        for key, why in OF_EVERY_POD.items():
            if pod["spec"].get(key) and pod["spec"].get(key) != task["spec"].get(key):
                yield f"{name}: its {key} are not in pod_template.yaml: {why}"
    for policy in _of(ours(), "NetworkPolicy"):
        yield from _unselected(policy, [pod for _, pod in pods])


def _readable_secrets(objects: tuple[Object, ...]) -> Iterator[str]:
    for one in _of(objects, "ConfigMap"):
        for key in filter(SECRET_LIKE.search, one.get("data") or {}):
            yield f"{_name(one)}: {key} looks like a secret: it belongs in a Secret"


def _of_pod(spec: Object, names: set[tuple[str, str]], is_cleanup: bool) -> Iterator[str]:
    account = spec.get("serviceAccountName", "default")
    if ("ServiceAccount", account) not in names:
        yield f"there is no service account {account!r}"
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        rights = {**(spec.get("securityContext") or {}), **(container.get("securityContext") or {})}
        found = [
            *_of_container(container, volumes),
            *_of_rights(rights),
            *_of_resources(container.get("resources") or {}),
        ]
        yield from (f"{container['name']}: {why}" for why in found)
        if not (container.get("envFrom") or is_cleanup):
            yield f"{container['name']}: it has not the environment of extraConfigMaps"
        for source in container.get("envFrom", []):
            name = source.get("configMapRef", {}).get("name")
            if name and ("ConfigMap", name) not in names:
                yield f"{container['name']}: there is no ConfigMap {name!r}"


def _of_container(container: Object, volumes: set[str]) -> Iterator[str]:
    mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
    for path in ("/opt/airflow", "/tmp"):
        if path not in mounts:
            yield f"nothing is mounted at {path}, and the root file system is read-only"
    for name in set(mounts.values()) - volumes:
        yield f"there is no volume {name!r}"


def _of_rights(rights: Object) -> Iterator[str]:
    """What a container may do; its own settings stand above the pod's."""
    capabilities = rights.get("capabilities") or {}
    if not rights.get("readOnlyRootFilesystem"):
        yield "its root file system can be written"
    if rights.get("runAsUser") == 0 or not rights.get("runAsNonRoot"):
        yield "it may run as root"
    if rights.get("privileged") or rights.get("allowPrivilegeEscalation") is not False:
        yield "it may gain privileges"
    if capabilities.get("add") or "ALL" not in (capabilities.get("drop") or ()):
        yield "it keeps capabilities"


def _of_resources(resources: Object) -> Iterator[str]:
    try:
        asked, most = (
            {what: parse_quantity(amount) for what, amount in (resources.get(kind) or {}).items()}
            for kind in ("requests", "limits")
        )
    except ValueError as error:
        yield f"its resources: {error}"
        return
    for what in asked:
        if asked[what] > most.get(what, asked[what]):
            yield f"it requests more {what} than its limit"


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
    print(f"ours: {len(ours())} objects, {len(wrong)} faults", *wrong, sep="\n")
    if wrong:
        return 1
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
