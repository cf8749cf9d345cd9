"""An Airflow as on Kubernetes: the KubernetesExecutor, with what ``deploy/`` ships, on a stand-in.

The components are processes, on PostgreSQL; every task is a pod of ``sandbox.kubernetes``, made
from ``deploy/pod_template.yaml``. Settings, replicas, image and config map are those of
``deploy/helm/values.yaml``. Other than there are: where S3 and Airflow's API are, and that a
connection comes from the environment of API server and triggerer, not from AWS Secrets Manager.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from kubernetes.utils.quantity import parse_quantity
from rich.table import Table

from sandbox import hostname as machine
from sandbox.airflow import SCHEDULER, TRIGGERER, LocalAirflow
from sandbox.kubernetes import Cluster, Image
from sandbox.kubernetes.memory import MemoryGroup
from sandbox.pods import lives, pods_table
from sandbox.postgres import Postgres

PROJECT = Path(__file__).resolve().parent.parent
DEPLOY = PROJECT / "deploy"
NAMESPACE = "flagfall"
MODEL_IMAGE = "flagfall-model:0.1.0"
"""The image for `engine: pod`. Its containers have a role for S3; here variables of boto3 have."""
ENVIRONMENT, TASK_SETTINGS = "flagfall-environment", "flagfall-settings"
"""The config maps of everybody and of tasks alone."""
HELD = ("scheduler", "triggerer", "dag-processor", "api-server")
"""Components that are held to the memory that the values give them."""
NAMES = {"dag-processor": "dagProcessor", "api-server": "apiServer"}
"""How the values call them, where it is not the same."""


def values() -> dict[str, Any]:
    """The Helm values of a cluster of 10 cores."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    return found


def environment_of_pods(given: Mapping[str, Any]) -> dict[str, str]:
    """The config map that every component and task has in its environment."""
    found: dict[str, str] = yaml.safe_load(given["extraConfigMaps"][ENVIRONMENT]["data"])
    return found


def settings_of_tasks(given: Mapping[str, Any]) -> dict[str, str]:
    """The config map of tasks alone, which in a cluster Helm makes of the values' ``config``."""
    config = given["config"]
    read = {
        "core": _picked(config["core"], "parallelism", "max_active_tasks_per_dag"),
        "api": _picked(config.get("api", {}), "base_url"),
        "metrics": config.get("metrics", {}),
    }
    return as_variables(read)


def _picked(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if name in options}


def as_variables(config: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Airflow's settings as environment variables."""
    return {
        f"AIRFLOW__{section.upper()}__{option.upper()}": str(value)
        for section, options in config.items()
        for option, value in options.items()
    }


def image(
    datasets: Path, more: Mapping[str, str] | None = None, shared: Mapping[str, Path] | None = None
) -> Image:
    """What ``deploy/Dockerfile`` would make, with another folder of datasets.

    Args:
        datasets: The dataset files.
        more: More variables.
        shared: Folders that pods may write, by where they have them.
    """
    inside = Path("/opt/flagfall")
    folders = {name: PROJECT / name for name in ("dags", "models", "deploy")}
    environment = {
        "AIRFLOW_HOME": "/opt/airflow",
        "AIRFLOW__CORE__DAGS_FOLDER": str(inside / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "FLAGFALL_DATASETS": str(inside / "datasets"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return Image(
        {str(inside / name): path for name, path in {**folders, "datasets": datasets}.items()},
        {**environment, **(more or {})},
        str(inside),
        shared or {},
    )


def role(connection: str) -> dict[str, str]:
    """Variables by which boto3 reaches what an Airflow connection leads to."""
    given = json.loads(connection)
    return {
        "AWS_ACCESS_KEY_ID": given["login"],
        "AWS_SECRET_ACCESS_KEY": given["password"],
        "AWS_DEFAULT_REGION": given["extra"]["region_name"],
        "AWS_ENDPOINT_URL": given["extra"]["endpoint_url"],
    }


class LocalKubernetes(LocalAirflow):
    """Airflow's components on PostgreSQL, with the KubernetesExecutor on a stand-in.

    Args:
        home: Its folder; made if need be.
        settings: Where datasets and data are, and the connection to S3.
        in_pods: More variables of the image.
        shared: Folders that pods may write, by where they have them.

    Attributes:
        cluster: The stand-in.
    """

    def __init__(
        self,
        home: Path,
        settings: Mapping[str, str],
        in_pods: Mapping[str, str] | None = None,
        shared: Mapping[str, Path] | None = None,
    ) -> None:
        self._stack = ExitStack()
        self._postgres = Postgres()
        self._values = values()
        self._groups: dict[str, MemoryGroup] = {}
        images = self._images(settings, in_pods or {}, shared)
        self.cluster = Cluster(home.absolute() / "cluster", images, NAMESPACE)
        super().__init__(home, PROJECT / "dags", {**self._shipped(settings), **settings})
        self._give_pods(settings)
        for number in range(2, self._values["triggerer"]["replicas"] + 1):
            self.components[f"triggerer-{number}"] = TRIGGERER
        for number in range(2, self._values["scheduler"]["replicas"] + 1):
            self.components[f"scheduler-{number}"] = SCHEDULER

    def _images(
        self,
        settings: Mapping[str, str],
        in_pods: Mapping[str, str],
        shared: Mapping[str, Path] | None,
    ) -> dict[str, Image]:
        """The image of tasks, and that of `engine: pod`, by name."""
        tag = f"{self._values['images']['airflow']['repository']}:{self._image_tag}"
        own = role(settings[f"AIRFLOW_CONN_{settings['FLAGFALL_CONN_ID'].upper()}"])
        datasets = Path(settings["FLAGFALL_DATASETS"])
        return {
            tag: image(datasets, in_pods, shared),
            MODEL_IMAGE: image(datasets, {**in_pods, **own}, shared),
        }

    @property
    def _image_tag(self) -> str:
        return str(self._values["images"]["airflow"]["tag"])

    def _shipped(self, settings: Mapping[str, str]) -> dict[str, str]:
        """The values' settings, with what is other here."""
        config: dict[str, dict[str, Any]] = {**self._values["config"]}
        config.pop("secrets")  # AWS Secrets Manager
        executor = "AIRFLOW__KUBERNETES_EXECUTOR__"
        return {
            **as_variables(config),
            **self._logs_to(settings),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__CORE__EXECUTOR": str(self._values["executor"]),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "sandbox.hostname.name",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._postgres.url,
            f"{executor}CONFIG_FILE": str(self.cluster.kubeconfig()),
            f"{executor}IN_CLUSTER": "False",
            f"{executor}NAMESPACE": NAMESPACE,
            f"{executor}POD_TEMPLATE_FILE": str(DEPLOY / "pod_template.yaml"),
            f"{executor}WORKER_CONTAINER_REPOSITORY": self._values["images"]["airflow"][
                "repository"
            ],
            f"{executor}WORKER_CONTAINER_TAG": self._image_tag,
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": self.cluster.connection(),
            "PYTHONPATH": os.pathsep.join(filter(None, [settings.get("PYTHONPATH"), str(PROJECT)])),
        }

    def _logs_to(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Logs go to S3, as the values say, by the connection that there is."""
        given = environment_of_pods(self._values)
        folder = f"{settings['FLAGFALL_DATA']}/logs"
        logging = {name: text for name, text in given.items() if "__LOGGING__" in name}
        here = {
            "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": folder,
            "AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID": settings["FLAGFALL_CONN_ID"],
        }
        return {**logging, **here}

    def _give_pods(self, settings: Mapping[str, str]) -> None:
        """Make the config maps of ``values.yaml``; they have no secret, and so none is added."""
        here = {
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            **{key: text for key, text in settings.items() if key.startswith("FLAGFALL_")},
        }
        here.pop("FLAGFALL_DATASETS")  # the image has them
        given = {**environment_of_pods(self._values), **self._logs_to(settings), **here}
        self.cluster.put_config_map(ENVIRONMENT, given)
        self.cluster.put_config_map(TASK_SETTINGS, settings_of_tasks(self._values))

    def query(self, sql: str, *given: object) -> list[dict[str, Any]]:
        """Rows of Airflow's own database."""
        return self._postgres.query(sql, *given)

    def environment_of(self, name: str) -> dict[str, str]:
        """A component knows its own name."""
        return {**self.environment, machine.VARIABLE: name}

    def start(self) -> None:
        """Start PostgreSQL, the cluster and the components."""
        self._stack.enter_context(self._postgres)
        self._stack.enter_context(self.cluster)
        super().start()

    def launch(self, name: str) -> None:
        """Start a component, held to the memory that the values give it."""
        super().launch(name)
        kind = name.rstrip("-0123456789")
        limit = self._values[NAMES.get(kind, kind)]["resources"]["limits"]["memory"]
        if name not in self._groups:
            group = MemoryGroup.make(f"{os.getpid()}-{name}", _bytes(limit))
            if group is None:
                return
            self._groups[name] = group
        self._groups[name].add(self._processes[name].pid)

    def memory(self) -> dict[str, tuple[int, int]]:
        """For each component that is held, the most that it took, and its limit, in bytes."""
        found = {}
        for name, group in self._groups.items():
            kind = name.rstrip("-0123456789")
            limit = self._values[NAMES.get(kind, kind)]["resources"]["limits"]["memory"]
            found[name] = (group.peak, _bytes(limit))
        return found

    def tables(self) -> Iterable[Table]:
        """The pods of each task, and the memory of each component."""
        return pods_table(list(lives(self.cluster)), self.memory())

    def stop(self) -> None:
        """End every component, the pods and PostgreSQL."""
        super().stop()
        self._stack.close()
        for group in self._groups.values():
            group.remove()
        self._groups.clear()


def _bytes(quantity: str) -> int:
    return int(parse_quantity(quantity))
