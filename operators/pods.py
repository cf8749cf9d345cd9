"""The pod of a task, where Airflow makes one for every task (KubernetesExecutor).

Importing the Kubernetes client takes two seconds, so it is done only where a dataset asks for
``resources`` or for a pod of its own, and somebody looks at them.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from flagfall.dataset.schema import Dataset
from flagfall.dataset.tasks import TaskResources

STARTS_PODS = {"flagfall-starts-pods": "yes"}
"""The label by which ``deploy/network_policy.yaml`` lets a pod out to the Kubernetes API."""
_IN_A_POD = "AIRFLOW_IS_K8S_EXECUTOR_POD"
"""Set by the executor in the pods that it makes."""


def executor_config(dataset: Dataset, task_id: str) -> dict[str, Any]:
    """The task's ``executor_config``: an override of the pod template with what it needs besides.

    That is what the dataset asks for and, for the task that starts a pod (``engine: pod``), a token
    for Kubernetes. Empty where there is neither, where Airflow has no Kubernetes provider (the task
    then runs with what there is), and in the task's own pod, which exists already. Executors that
    make no pods pay it no heed.
    """
    wanted: TaskResources | None = getattr(dataset.resources, task_id)
    starts_pods = task_id == "run_inference" and dataset.model and dataset.model.pod
    if not (wanted or starts_pods) or _IN_A_POD in os.environ or not _has_provider():
        return {}
    from kubernetes.client import V1ObjectMeta, V1Pod, V1PodSpec

    spec = V1PodSpec(containers=[_container(wanted)] if wanted else [])
    if not starts_pods:
        return {"pod_override": V1Pod(spec=spec)}
    spec.automount_service_account_token = True
    return {"pod_override": V1Pod(metadata=V1ObjectMeta(labels=STARTS_PODS), spec=spec)}


def _has_provider() -> bool:
    try:
        return find_spec("airflow.providers.cncf.kubernetes") is not None
    except ModuleNotFoundError:  # no provider of that family
        return False


def _container(wanted: TaskResources) -> Any:
    """What differs from the template's container: what the task asks for.

    Memory is asked for as it is limited. Memory that was lent cannot be taken back: a pod above its
    request is the first that its node ends when memory runs short, whoever took it. So a task gets
    what it asked for, always, and only its own growth can end it. CPUs have no limit: who uses
    idle ones takes nothing from anybody.
    """
    from kubernetes.client import V1Container, V1ResourceRequirements

    resources = V1ResourceRequirements(
        requests={"cpu": wanted.cpu, "memory": wanted.memory}, limits={"memory": wanted.memory}
    )
    return V1Container(name="base", resources=resources)
