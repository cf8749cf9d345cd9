"""The pods that Kubernetes is asked for, as the Kubernetes provider's own code makes them."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, ClassVar
from uuid import uuid4

import pytest
import yaml
from airflow.executors.workloads import BundleInfo, ExecuteTask
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.providers.cncf.kubernetes.executors.kubernetes_executor import KubernetesExecutor
from airflow.providers.cncf.kubernetes.executors.kubernetes_executor_types import KubernetesJob
from airflow.providers.cncf.kubernetes.executors.kubernetes_executor_utils import (
    AirflowKubernetesScheduler,
)
from airflow.providers.cncf.kubernetes.kube_config import KubeConfig
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from kubernetes.client import ApiClient, ApiException, models
from kubernetes.utils.quantity import parse_quantity

from flagfall.dataset.loader import read_dataset
from flagfall.dataset.schema import Dataset
from flagfall.operators.pods import STARTS_PODS, executor_config
from flagfall.stages.scratch_size import SCRATCH_SIZE
from sandbox.kubernetes.validation import check
from sandbox.rehearsal import as_variables
from tests.deploy.chart import invalid
from tests.deploy.cluster import DEPLOY, POD_TEMPLATE, environment, values
from tests.feeds import make_toy

Pods = dict[str, models.V1Pod]
DAGS = DEPLOY.parent / "dags"
DOCS = DEPLOY.parent / "docs"
MODEL = """\
features: [{name: value}]
model: {path: models/toy}
"""
PROVIDER = "airflow.providers.cncf.kubernetes"
TASKS = (
    "claim",
    "ingest_data",
    "preprocess_data",
    "run_inference",
    "evaluate_results",
    "generate_report",
)
EVERY_TASK = pytest.mark.parametrize("task_id", TASKS)
RESOURCES = """\
resources:
  run_inference: {cpu: 2, memory: 4Gi}
  ingest_data: {cpu: 500m, memory: 1.5Gi}
"""


LAUNCHER = "resources: {run_inference: {cpu: 250m, memory: 512Mi}}\n"


@pytest.fixture
def toy(tmp_path: Path) -> Dataset:
    return make_toy(tmp_path, more=MODEL + RESOURCES).dataset


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """What the executor asks Kubernetes for, for every task of a DAG."""
    yield from _pods(tmp_path_factory.mktemp("toy"), MODEL + RESOURCES)


@pytest.fixture(scope="module")
def with_launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """The same, where inference is in a pod of its own."""
    engine = MODEL.replace("toy}", "toy, engine: pod, pod: {image: a}}")
    yield from _pods(tmp_path_factory.mktemp("toy"), engine + LAUNCHER)


def _pods(folder: Path, more: str) -> Iterator[Pods]:
    make_toy(folder, more=more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAGFALL_DATASETS", str(folder / "datasets"))
        use_values(patch)
        tasks = dag()
        yield {task_id: pod_of(tasks.get_task(task_id)) for task_id in TASKS}


def use_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's settings as the values make them, but with this folder's pod template."""
    config = values()["config"]["kubernetes_executor"]
    image = values()["images"]["airflow"]
    ours = {
        **config,
        "namespace": "flagfall",
        "pod_template_file": str(POD_TEMPLATE),
        "worker_container_repository": "registry.example/flagfall",
        "worker_container_tag": image["tag"],
    }
    for name, value in as_variables({"kubernetes_executor": ours}).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("status", [429, 503])
def test_a_pod_that_kubernetes_refuses_for_now_is_asked_for_again(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's default fails the task at once."""
    use_values(monkeypatch)
    executor = KubernetesExecutor()
    executor.task_queue = Queue()
    job = KubernetesJob(TaskInstanceKey("d", "t", "r", 1, -1), [], None, None)
    executor._handle_pod_publish_error(job, ApiException(status=status, reason="busy"))
    assert executor.task_queue.get_nowait() is job


class Recorder(BaseHTTPRequestHandler):
    """An API server that knows no task, and notes who asked for which."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def do_PATCH(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        self.send_error(404)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def api_server() -> Iterator[str]:
    """Its address."""
    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        Recorder.asked.clear()
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/execution/"
        server.shutdown()
        thread.join()


def dag() -> Any:
    """The DAG as the scheduler has it: stored, and read again."""
    made: DAG = runpy.run_path(str(DAGS / "feeds.py"))["toy_pipeline"]
    return DagSerialization.from_dict(DagSerialization.to_dict(made))


def workload(task: Any) -> ExecuteTask:
    instance = TaskInstanceDTO(
        id=uuid4(),
        dag_version_id=uuid4(),
        dag_id="toy_pipeline",
        task_id=task.task_id,
        run_id="asset_triggered__1",
        try_number=1,
        map_index=3,
        pool_slots=1,
        queue="default",
        priority_weight=1,
        executor_config=task.executor_config,
    )
    return ExecuteTask(
        ti=instance,
        dag_rel_path=Path("feeds.py"),
        token="of-this-task",
        log_path="log",
        bundle_info=BundleInfo(name="dags-folder", version=None),
    )


def pod_of(task: Any) -> models.V1Pod:
    """What the executor asks Kubernetes for, when that task is to run."""
    work = workload(task)
    override = PodGenerator.from_obj(work.ti.executor_config or {})
    scheduler = AirflowKubernetesScheduler.__new__(AirflowKubernetesScheduler)  # needs no cluster
    scheduler.kube_config = KubeConfig()
    scheduler.namespace = scheduler.kube_config.kube_namespace
    scheduler.scheduler_job_id = "1"
    scheduler.supports_task_instance_uuid = False
    job = KubernetesJob(work.ti.key, [work], override, None)
    return scheduler._build_pod_request(job)


def sent(thing: Any) -> Any:
    """What goes over the wire."""
    return ApiClient().sanitize_for_serialization(thing)


class TestThePodOfEveryTask:
    @EVERY_TASK
    def test_it_runs_one_task_from_the_image_and_is_not_started_again(
        self, pods: Pods, task_id: str
    ) -> None:
        pod = pods[task_id]
        (container,) = pod.spec.containers
        assert container.name == "base"
        assert container.image == "registry.example/flagfall:0.1.0"
        assert container.args[:3] == ["python", "-m", "airflow.sdk.execution_time.execute_workload"]
        assert f'"task_id":"{task_id}"' in container.args[-1]
        assert pod.spec.restart_policy == "Never"
        assert pod.metadata.namespace == "flagfall"

    @EVERY_TASK
    def test_it_is_not_root_and_writes_nowhere_but_into_its_volumes(
        self, pods: Pods, task_id: str
    ) -> None:
        spec = pods[task_id].spec
        (container,) = spec.containers
        assert spec.security_context.run_as_non_root
        assert spec.security_context.run_as_user == 50000
        assert spec.security_context.seccomp_profile.type == "RuntimeDefault"
        assert container.security_context.read_only_root_filesystem
        assert container.security_context.allow_privilege_escalation is False
        assert container.security_context.capabilities.drop == ["ALL"]
        mounts = {mount.mount_path: mount.name for mount in container.volume_mounts}
        assert set(mounts) == {"/opt/airflow", "/tmp"}
        assert {v.name for v in spec.volumes if v.empty_dir.size_limit} == set(mounts.values())

    @EVERY_TASK
    def test_it_has_no_token_for_kubernetes_and_no_secret(self, pods: Pods, task_id: str) -> None:
        spec = pods[task_id].spec
        assert spec.automount_service_account_token is False
        assert spec.service_account_name == "flagfall-task"
        text = yaml.safe_dump(sent(spec))
        assert "secretKeyRef" not in text
        assert "secretRef" not in text
        assert [volume for volume in spec.volumes if volume.secret or volume.projected] == []

    @EVERY_TASK
    def test_it_has_time_to_stop_and_is_not_put_out_to_save_a_node(
        self, pods: Pods, task_id: str
    ) -> None:
        pod = pods[task_id]
        assert pod.spec.termination_grace_period_seconds == 60
        annotations = pod.metadata.annotations
        assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
        assert annotations["karpenter.sh/do-not-disrupt"] == "true"
        assert annotations["task_id"] == task_id

    @EVERY_TASK
    def test_kubernetes_takes_it(self, pods: Pods, task_id: str) -> None:
        check("Pod", sent(pods[task_id]))

    @EVERY_TASK
    def test_no_variable_stands_in_it_twice(self, pods: Pods, task_id: str) -> None:
        (container,) = pods[task_id].spec.containers
        names = [variable.name for variable in container.env]
        assert sorted(set(names)) == sorted(names)
        assert {"AIRFLOW__CORE__EXECUTOR", "POLARS_MAX_THREADS"} <= set(names)


class TestThePodThatStartsAPod:
    """With ``engine: pod`` the task of inference is the only one that talks to Kubernetes."""

    @EVERY_TASK
    def test_it_alone_has_a_token_and_may_go_out_to_kubernetes(
        self, with_launcher: Pods, task_id: str
    ) -> None:
        starts = task_id == "run_inference"
        pod = with_launcher[task_id]
        (selected,) = [
            p.spec.pod_selector.match_labels
            for p in map(deserialized, policies())
            if p.metadata.name == "flagfall-starts-pods"
        ]
        assert pod.spec.automount_service_account_token is starts
        assert (selected.items() <= pod.metadata.labels.items()) is starts

    def test_else_it_is_the_pod_of_any_task_and_as_large_as_the_dataset_says(
        self, with_launcher: Pods
    ) -> None:
        specs = [sent(with_launcher[name].spec) for name in ("run_inference", "preprocess_data")]
        for spec in specs:
            del spec["automountServiceAccountToken"]
            del spec["containers"][0]["args"]
        asked = specs[0]["containers"][0].pop("resources")
        del specs[1]["containers"][0]["resources"]
        assert asked == {
            "requests": {"cpu": "250m", "memory": "512Mi"},
            "limits": {"memory": "512Mi"},
        }
        assert specs[0] == specs[1]

    def test_the_triggerer_that_waits_for_it_has_the_same(self) -> None:
        triggerer = values(more=["values-engine-pod.yaml"])["triggerer"]
        assert triggerer["labels"] == STARTS_PODS
        assert triggerer["serviceAccount"]["automountServiceAccountToken"]
        assert triggerer["serviceAccount"]["name"] == "flagfall-triggerer"


def test_with_nothing_but_the_pods_environment_its_command_asks_the_api_to_start_its_task(
    pods: Pods, tmp_path: Path
) -> None:
    """No database, no Fernet key, no connection: only the token in its arguments."""
    (container,) = pods["run_inference"].spec.containers
    plain = {variable.name: variable.value for variable in container.env if variable.value}
    with api_server() as url:
        environment_of_the_pod = {
            **environment(),
            **plain,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "AIRFLOW_HOME": str(tmp_path / "home"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": url,
            "AIRFLOW__LOGGING__REMOTE_LOGGING": "False",
        }
        done = subprocess.run(
            [sys.executable, *container.args[1:]],
            env=environment_of_the_pod,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    task = json.loads(container.args[-1])["ti"]["id"]
    expected = (f"/execution/task-instances/{task}/run", "Bearer of-this-task")
    assert Recorder.asked == [expected], done.stdout + done.stderr
    assert done.returncode != 0


ASKED = {
    "claim": ("500m", "1Gi"),
    "ingest_data": ("500m", "1.5Gi"),
    "preprocess_data": ("500m", "1Gi"),
    "run_inference": ("2", "4Gi"),
    "evaluate_results": ("500m", "1Gi"),
    "generate_report": ("500m", "1Gi"),
}


class TestWhatATaskAsksFor:
    def test_it_is_the_templates_or_the_datasets(self, pods: Pods) -> None:
        asked = {name: pods[name].spec.containers[0].resources for name in ASKED}
        wanted = {name: {"cpu": cpu, "memory": memory} for name, (cpu, memory) in ASKED.items()}
        assert {name: resources.requests for name, resources in asked.items()} == wanted
        limits = {name: {"memory": memory} for name, (_, memory) in ASKED.items()}
        assert {name: resources.limits for name, resources in asked.items()} == limits

    def test_threads_follow_the_cpus_that_are_asked_for(self, pods: Pods) -> None:
        (container,) = pods["run_inference"].spec.containers
        (threads,) = [v for v in container.env if v.name == "POLARS_MAX_THREADS"]
        assert threads.value_from.resource_field_ref.resource == "requests.cpu"
        assert threads.value_from.resource_field_ref.divisor == "1"


class TestTheOverride:
    @pytest.mark.parametrize("cpu", ["1", "2", "0.5", "500m", "0.125"])
    @pytest.mark.parametrize("memory", ["512Mi", "4Gi", "1.5Gi", "2G", "1T"])
    def test_what_a_dataset_may_ask_for_kubernetes_understands(
        self, tmp_path: Path, cpu: str, memory: str
    ) -> None:
        more = f"{MODEL}resources: {{run_inference: {{cpu: {cpu}, memory: {memory}}}}}\n"
        dataset = make_toy(tmp_path, more=more).dataset
        pod = executor_config(dataset, "run_inference")["pod_override"]
        asked = pod.spec.containers[0].resources.requests
        assert parse_quantity(asked["cpu"]) == parse_quantity(cpu) > 0
        assert parse_quantity(asked["memory"]) == parse_quantity(memory) >= 512 << 20

    def test_a_task_that_asks_for_nothing_has_none(self, toy: Dataset) -> None:
        assert executor_config(toy, "claim") == {}

    def test_in_the_tasks_own_pod_there_is_none(
        self, toy: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert executor_config(toy, "run_inference")
        monkeypatch.setenv("AIRFLOW_IS_K8S_EXECUTOR_POD", "True")
        assert executor_config(toy, "run_inference") == {}

    @pytest.mark.parametrize(
        "absent", ["airflow.providers.cncf.kubernetes", "airflow.providers.cncf"]
    )
    def test_without_the_provider_there_is_none(
        self, toy: Dataset, monkeypatch: pytest.MonkeyPatch, absent: str
    ) -> None:
        monkeypatch.setattr(sys, "meta_path", [_Without(absent), *sys.meta_path])
        for name in [name for name in sys.modules if name.startswith("airflow.providers.cncf")]:
            monkeypatch.delitem(sys.modules, name)
        if absent != PROVIDER:
            monkeypatch.setattr("airflow.providers.__path__", [])
        assert executor_config(toy, "run_inference") == {}

    def test_the_example_in_the_docs_is_read_as_it_stands(self, tmp_path: Path) -> None:
        page = (DOCS / "dataset.md").read_text()
        example = page.partition("## Resources")[2].partition("```yaml\n")[2].partition("```")[0]
        dataset = make_toy(tmp_path, more=MODEL + example).dataset
        assert dataset.resources.run_inference


class _Without:
    """Finds one module nowhere."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == self.name:
            raise ModuleNotFoundError(name)


class TestTheFilesThemselves:
    """What Kubernetes does not know it would drop, or refuse."""

    def test_the_pod_template_has_no_field_that_kubernetes_does_not_know(self) -> None:
        read = PodGenerator.deserialize_model_file(str(POD_TEMPLATE))
        assert sent(read) == yaml.safe_load(POD_TEMPLATE.read_text())

    def test_neither_do_the_network_policies(self) -> None:
        for policy in policies():
            assert sent(deserialized(policy)) == policy

    @pytest.mark.parametrize("name", ["triggerer", "task", "inference"])
    def test_who_reads_what_strangers_wrote_cannot_reach_the_cloud_s_metadata(
        self, name: str
    ) -> None:
        policy = policy_of(name)
        assert set(policy.spec.policy_types) == {"Ingress", "Egress"}
        for rule in policy.spec.egress:
            assert rule.to
            assert rule.ports
            for block in [peer.ip_block for peer in rule.to if peer.ip_block]:
                wide = block.cidr == "0.0.0.0/0"
                assert not wide or "169.254.0.0/16" in block._except

    def test_only_the_triggerer_reaches_the_database(self) -> None:
        with_it = [p for p in policies() if 5432 in ports(deserialized(p))]
        assert [p["metadata"]["name"] for p in with_it] == ["flagfall-triggerer"]

    def test_tasks_reach_the_api_server_which_lets_them_in(self, pods: Pods) -> None:
        assert 8080 in ports(policy_of("task"))
        labels = pods["claim"].metadata.labels
        allowed = values()["apiServer"]["networkPolicy"]["ingress"]["from"]
        by_label = [peer["podSelector"]["matchLabels"] for peer in allowed if "podSelector" in peer]
        assert [wanted for wanted in by_label if wanted.items() <= labels.items()]

    def test_the_way_to_the_internet_leads_to_no_private_address(self) -> None:
        """Nor to a carrier's, 100.64.0.0/10, which EKS and others give to pods and nodes."""
        private = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
        wide = [block for block in ip_blocks() if block.cidr == "0.0.0.0/0"]
        assert len(wide) == 3
        for block in wide:
            assert set(block._except) == {*private, "169.254.0.0/16"}

    def test_what_not_everybody_has_can_be_let_through_and_is_told_of(self) -> None:
        text = (DEPLOY / "network_policy.yaml").read_text()
        opened = list(
            yaml.safe_load_all(re.sub("^    # (- to| +ports)", r"    \1", text, flags=re.M))
        )
        assert list(invalid(tuple(opened))) == []
        more = {
            after["metadata"]["name"]: ports(deserialized(after)) - ports(deserialized(before))
            for before, after in zip(policies(), opened, strict=True)
        }
        task, triggerer = more.pop("flagfall-task"), more.pop("flagfall-triggerer")
        assert (task, triggerer) == ({80, 8000, 587, 9125, 4318}, {80, 9125, 4318})
        assert more.pop("flagfall-inference") == {80}
        assert not any(more.values())
        page = (DOCS / "kubernetes.md").read_text()
        table = page.partition("## What a cluster must let through")[2].partition("\n## ")[0]
        assert [port for port in task if str(port) not in table] == []

    def test_the_policies_select_pods_by_labels_that_they_have(self, pods: Pods) -> None:
        wanted = policy_of("task").spec.pod_selector.match_labels
        assert wanted.items() <= pods["claim"].metadata.labels.items()


def policies() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "network_policy.yaml").read_text()))


def deserialized(policy: dict[str, Any]) -> models.V1NetworkPolicy:
    client: Any = ApiClient()
    return client._ApiClient__deserialize(policy, models.V1NetworkPolicy)


def policy_of(name: str) -> models.V1NetworkPolicy:
    (found,) = [p for p in policies() if p["metadata"]["name"] == f"flagfall-{name}"]
    return deserialized(found)


def ip_blocks() -> list[models.V1IPBlock]:
    rules = [rule for policy in policies() for rule in deserialized(policy).spec.egress]
    peers = [peer for rule in rules for peer in rule.to]
    return [peer.ip_block for peer in peers if peer.ip_block]


def ports(policy: models.V1NetworkPolicy) -> set[int]:
    return {port.port for rule in policy.spec.egress for port in rule.ports}


@pytest.mark.parametrize(
    ("more", "imported"), [(MODEL, "[]"), (MODEL + RESOURCES, "['kubernetes']")]
)
def test_only_resources_have_the_kubernetes_client_imported(
    tmp_path: Path, more: str, imported: str
) -> None:
    """It takes two seconds."""
    make_toy(tmp_path, more=more)
    code = (
        "import runpy, sys\n"
        f"runpy.run_path({str(DAGS / 'feeds.py')!r})\n"
        "print([name for name in sys.modules if name == 'kubernetes'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "FLAGFALL_DATASETS": str(tmp_path / "datasets")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == imported


def test_a_task_knows_the_size_of_its_scratch_volume() -> None:
    spec = yaml.safe_load(POD_TEMPLATE.read_text())["spec"]
    (scratch,) = (v["emptyDir"]["sizeLimit"] for v in spec["volumes"] if v["name"] == "scratch")
    environment = {one["name"]: one.get("value") for one in spec["containers"][0]["env"]}
    assert environment[SCRATCH_SIZE] == scratch


def test_the_shipped_datasets_can_be_read() -> None:
    assert read_dataset(DEPLOY.parent / "datasets/flights.yaml").resources.run_inference is None
