"""Inference in a pod: the request by the provider's own code, its command line as a process."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Asset
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import kube_config

from flagfall.dataset.loader import find_dataset, read_dataset
from flagfall.errors import HOPELESS, DatasetsInvalid, NotThere, PodRefused
from flagfall.lake.records import Predicted
from flagfall.operators import StageOperator, providers
from flagfall.operators.pod_inference import PodInferenceOperator
from flagfall.stages import STAGES
from flagfall.stages.shard import Delivery, run_stage
from sandbox.kubernetes import Cluster
from tests.canned_kubernetes import canned_kubernetes, ended_pods, go_into_a_pod, run_pod
from tests.feeds import S3Feed, ToyFeed
from tests.operators.test_stages import Events, Instance
from tests.patience import SOON
from tests.s3 import S3Server
from tests.scored import GOOD, POISON, make_scored_s3_toy, make_scored_toy

DAGS = Path(__file__).parents[2] / "dags"
ENGINE = "engine: pod, pod: {image: 'flagfall:1', service_account: scorer, cpu: 2, memory: 4Gi}"
LABEL = re.compile("([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
"""Values that Kubernetes takes for a label, of up to 63 characters."""


@pytest.fixture(autouse=True)
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


class TaskInstance(Instance):
    """As much of a task's instance as the provider looks at."""

    dag_id, task_id, map_index, try_number = "toy_pipeline", "run_inference", 0, 1

    def __init__(self) -> None:
        super().__init__()
        self.start_date = datetime.now(UTC)


@pytest.fixture
def context() -> dict[str, Any]:
    dag = SimpleNamespace(parent_dag=None)
    return {"ti": TaskInstance(), "run_id": "a-run", "dag": dag, "outlet_events": Events()}


def in_pod(feed: ToyFeed | S3Feed, engine: str = ENGINE) -> ToyFeed | S3Feed:
    """The same feed, with its model in a pod."""
    file = feed.root / "datasets" / "toy.yaml"
    file.write_text(file.read_text().replace("/model,", f"/model, {engine},"))
    return type(feed)(**{**vars(feed), "dataset": read_dataset(file)})


def prepared(feed: ToyFeed | S3Feed, *texts: str) -> list[dict[str, Any]]:
    """A shard, as far as inference."""
    markers = [feed.drop(f"2026-11-{day + 1:02d}", text) for day, text in enumerate(texts)]
    given = [Delivery(marker) for marker in markers]
    for stage in STAGES[:2]:
        given = run_stage(stage, feed.dataset, feed.inbox(), given)
    return [delivery.to_dict() for delivery in given]


def pipeline() -> DAG:
    found: DAG = runpy.run_path(str(DAGS / "feeds.py"))["toy_pipeline"]
    return found


def inference(batches: Any) -> PodInferenceOperator:
    """The task of the DAG, given what it would find in XCom."""
    task = pipeline().get_task("run_inference")
    assert isinstance(task, PodInferenceOperator)
    task.batches = batches
    return task


def request(task: PodInferenceOperator, context: Any) -> dict[str, Any]:
    """The pod, as it goes over the wire."""
    plain: dict[str, Any] = ApiClient().sanitize_for_serialization(
        task.build_pod_request_obj(context, dry_run=True)
    )
    return plain


def ids(batches: list[dict[str, Any]]) -> list[str]:
    return [Delivery.from_dict(plain).marker.batch_id for plain in batches]


def predictions(feed: ToyFeed | S3Feed, batches: list[dict[str, Any]]) -> list[Predicted | None]:
    return list(feed.inbox().lake.find_all(Predicted, ids(batches)))


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda connection: monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", connection)


@pytest.fixture
def cluster(tmp_path: Path, datasets: Path, connected: Any) -> Iterator[Cluster]:
    with canned_kubernetes(tmp_path, FLAGFALL_DATASETS=str(datasets)) as (found, connection):
        connected(connection)
        yield found


def test_the_request_names_image_command_rights_and_resources(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any]
) -> None:
    feed = in_pod(make_scored_toy(tmp_path))
    batches = prepared(feed, GOOD, GOOD)
    pod = request(inference(batches), context)
    (container,) = pod["spec"]["containers"]
    assert pod["metadata"]["namespace"] == "scoring"
    assert pod["spec"]["serviceAccountName"] == "scorer"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["metadata"]["labels"]["flagfall-dataset"] == "toy"  # what its network policy selects
    assert container["image"] == "flagfall:1"
    assert container["command"] == ["flagfall"]
    assert container["args"] == ["stage", "infer", "toy", *ids(batches)]
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"memory": "4Gi"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]


@pytest.mark.parametrize("name", ["tail_", "a__b", "a" * 63])
def test_kubernetes_takes_the_pod_of_every_name_that_a_dataset_may_have(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any], datasets: Path, name: str
) -> None:
    in_pod(make_scored_toy(tmp_path))
    (datasets / "toy.yaml").rename(datasets / f"{name}.yaml")
    pod = find_dataset(name).model.pod  # type: ignore[union-attr]
    task = PodInferenceOperator(task_id="t", dataset=name, batches=[], pod=pod)  # type: ignore[arg-type]
    wanted = request(task, context)["metadata"]
    values = wanted["labels"].values()
    assert [value for value in values if len(value) > 63 or not LABEL.fullmatch(value)] == []
    assert len(wanted["name"]) <= 63
    assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", wanted["name"])


def test_the_pod_gets_the_variables_that_its_dataset_file_takes_and_no_others(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = in_pod(make_scored_toy(tmp_path), ENGINE.replace("flagfall:1", "${IMAGE:-flagfall}"))
    file = feed.root / "datasets" / "toy.yaml"
    file.write_text(file.read_text().replace(f"uri: {tmp_path}/lake", "uri: '${LAKE}/lake'"))
    monkeypatch.setenv("LAKE", str(tmp_path))
    monkeypatch.setenv("SOME_SECRET", "s3cr3t")
    pod = request(inference([]), context)
    assert pod["spec"]["containers"][0]["image"] == "flagfall"
    assert pod["spec"]["containers"][0]["env"] == [{"name": "LAKE", "value": str(tmp_path)}]


def test_a_pod_may_take_the_whole_second_to_start_that_its_time_ends_in(tmp_path: Path) -> None:
    in_pod(make_scored_toy(tmp_path), "engine: pod, pod: {image: a, starts_within: 0.4s}")
    assert inference([]).startup_timeout_seconds == 1


def test_a_template_adds_what_the_dataset_does_not_say(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any]
) -> None:
    gpu = {"nvidia.com/gpu": "1"}
    own = {
        "name": "base",
        "volumeMounts": [{"name": "mine", "mountPath": "/tmp"}],
        "resources": {"requests": {**gpu, "cpu": "9"}, "limits": {**gpu, "cpu": "100m"}},
    }
    template = {
        "spec": {
            "nodeSelector": {"disk": "fast"},
            "containers": [own],
            "volumes": [{"name": "mine", "emptyDir": {}}],
        }
    }
    (tmp_path / "pod.yaml").write_text(json.dumps(template))
    in_pod(make_scored_toy(tmp_path), "engine: pod, pod: {image: a, template: pod.yaml}")
    pod = request(inference([]), context)
    (container,) = pod["spec"]["containers"]
    assert pod["spec"]["nodeSelector"] == {"disk": "fast"}
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["mine"]
    assert (container["image"], container["command"]) == ("a", ["flagfall"])
    assert container["resources"] == {
        "requests": {**gpu, "cpu": "500m", "memory": "1Gi"},
        "limits": {**gpu, "memory": "1Gi"},
    }


def test_its_command_line_writes_predictions_on_s3(
    tmp_path: Path,
    s3: S3Server,
    bucket: str,
    datasets: Path,
    cluster: Cluster,
    context: dict[str, Any],
) -> None:
    """As a process that has the pod's variables, and the cluster's way to S3."""
    feed = in_pod(make_scored_s3_toy(tmp_path, bucket))
    batches = prepared(feed, GOOD, GOOD)
    pod = request(inference(batches), context)
    variables = {"FLAGFALL_DATASETS": str(datasets), **s3.environment()}
    with canned_kubernetes(tmp_path / "scoring", tmp_path, **variables) as (other, _):
        phase, log = run_pod(other, pod)
    assert phase == "Succeeded", log
    assert json.loads(log.splitlines()[-1]) == batches
    assert [found.rows for found in predictions(feed, batches) if found] == [2, 2]


def assert_all_deleted(cluster: Cluster) -> None:
    """There was a pod, and none is left; to end takes a moment."""
    assert ended_pods(cluster)
    give_up = time.monotonic() + SOON
    while cluster.pods() and time.monotonic() < give_up:
        time.sleep(0.05)
    assert cluster.pods() == []


async def run_through(task: PodInferenceOperator, context: Any) -> None:
    """The task on its worker, its trigger on the triggerer, and the task on a worker again."""
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    assert deferred.value.method_name == "trigger_reentry"
    event = await anext(deferred.value.trigger.run())
    task.trigger_reentry(context, event.payload)


async def test_a_pod_leaves_what_the_ordinary_stage_returns(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any]
) -> None:
    feed = in_pod(make_scored_toy(tmp_path))
    batches = prepared(feed, GOOD, "id,value\nx,y\n", GOOD)
    await run_through(inference(batches), context)
    assert [found.rows if found else None for found in predictions(feed, batches)] == [2, None, 2]
    assert_all_deleted(cluster)
    plain = StageOperator(task_id="s", dataset="toy", stage="infer", batches=batches)
    told = {"outlet_events": Events()}
    plain.outlets = [Asset("toy_predictions")]
    assert context["ti"].left["return_value"] == plain.execute(told)  # type: ignore[arg-type]
    (mine,), (theirs,) = (found["outlet_events"].values() for found in (context, told))
    assert mine.extra == theirs.extra
    assert mine.extra["batches"] == 2


@pytest.mark.parametrize("extra", [None, {}, {"in_cluster": True}], ids=str)
async def test_in_a_pod_with_a_token_task_and_trigger_need_no_connection(
    tmp_path: Path,
    cluster: Cluster,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    extra: dict[str, Any] | None,
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_KUBERNETES_DEFAULT")
    if extra is not None:
        connection = json.dumps({"conn_type": "kubernetes", "extra": extra})
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", connection)
    go_into_a_pod(cluster, tmp_path, monkeypatch)
    feed = in_pod(make_scored_toy(tmp_path), ENGINE.replace("{", "{namespace: scoring, "))
    batches = prepared(feed, GOOD)
    await run_through(inference(batches), context)
    assert context["ti"].left["return_value"] == batches


async def test_outside_of_a_cluster_a_kubeconfig_is_enough(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_KUBERNETES_DEFAULT")
    monkeypatch.setattr(Configuration, "_default", None)  # which the client overwrites
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(cluster.kubeconfig()))
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig()))
    feed = in_pod(make_scored_toy(tmp_path), ENGINE.replace("{", "{namespace: scoring, "))
    batches = prepared(feed, GOOD)
    await run_through(inference(batches), context)
    assert context["ti"].left["return_value"] == batches


async def test_a_connection_that_leads_elsewhere_counts_in_a_pod_too(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod's own token would lead to a Kubernetes that is not there."""
    with canned_kubernetes(tmp_path / "other") as (own, _):
        go_into_a_pod(own, tmp_path, monkeypatch)
    batches = prepared(in_pod(make_scored_toy(tmp_path)), GOOD)
    await run_through(inference(batches), context)
    assert context["ti"].left["return_value"] == batches


@pytest.mark.invariant(5)
async def test_where_a_pod_fails_on_one_batch_the_others_go_on(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any]
) -> None:
    feed = in_pod(make_scored_toy(tmp_path))
    batches = prepared(feed, GOOD, POISON, GOOD)
    with pytest.raises(PodRefused, match=r"infer in a pod: (.|\n)*scores are no probabilities"):
        await run_through(inference(batches), context)
    assert context["ti"].left["return_value"] == [batches[0], batches[2]]
    assert_all_deleted(cluster)


async def test_a_pod_that_failed_on_what_may_heal_is_tried_again(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any]
) -> None:
    task = inference(prepared(in_pod(make_scored_toy(tmp_path)), GOOD))
    task.cmds = ["false"]
    with pytest.raises(AirflowException, match="returned a failure") as failed:
        await run_through(task, context)
    assert not isinstance(failed.value, HOPELESS)


async def test_a_pod_that_wrote_elsewhere_is_found_out(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any]
) -> None:
    """Or wrote nothing: its image has an older file, say."""
    feed = in_pod(make_scored_toy(tmp_path))
    batches = prepared(feed, GOOD)
    task = inference(batches)
    task.cmds = ["echo"]
    with pytest.raises(NotThere, match=r"no predictions of batch .*; the pod ended well: have"):
        await run_through(task, context)
    assert context["ti"].left["return_value"] == []


async def test_a_pod_goes_on_where_its_trigger_moves_to_another_triggerer(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any]
) -> None:
    """A triggerer that was slow for four seconds calls ``on_kill`` of what it has lost."""
    task = inference(prepared(in_pod(make_scored_toy(tmp_path)), GOOD))
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    trigger = deferred.value.trigger
    await trigger.on_kill()
    assert not any("deletionTimestamp" in pod["metadata"] for pod in cluster.pods())
    event = await anext(trigger.run())
    task.trigger_reentry(context, event.payload)
    assert len(context["ti"].left["return_value"]) == 1


@pytest.mark.parametrize("cmds", [["flagfall"], ["false"]], ids=["done", "not done"])
async def test_a_pod_that_is_gone_has_done_what_the_lake_has_of_it(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any], cmds: list[str]
) -> None:
    task = inference(prepared(in_pod(make_scored_toy(tmp_path)), GOOD))
    task.cmds = cmds
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    event = await anext(deferred.value.trigger.run())
    for pod in cluster.pods():
        cluster.delete(pod["metadata"]["name"], 0)
    assert_all_deleted(cluster)
    gone = {**event.payload, "status": "error"}
    if cmds == ["flagfall"]:
        task.trigger_reentry(context, gone)
        assert len(context["ti"].left["return_value"]) == 1
    else:
        with pytest.raises(AirflowException, match="not found after resuming"):
            task.trigger_reentry(context, gone)
        assert context["ti"].left["return_value"] == []


def test_a_shard_of_which_nothing_was_accepted_needs_no_pod(
    tmp_path: Path, cluster: Cluster, context: dict[str, Any]
) -> None:
    feed = in_pod(make_scored_toy(tmp_path))
    batches = prepared(feed, "id,value\nx,y\n")
    inference(batches).execute(context)
    assert context["ti"].left["return_value"] == batches
    assert ended_pods(cluster) == {}


def test_without_the_provider_the_dataset_is_an_import_error_and_stops_no_other_feed(
    tmp_path: Path, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pod(make_scored_toy(tmp_path))
    other = (datasets / "toy.yaml").read_text().replace(f" {ENGINE},", "")
    (datasets / "other.yaml").write_text(other)

    def missing(name: str) -> str:
        raise providers.PackageNotFoundError(name)

    monkeypatch.setattr(providers, "version", missing)
    found = runpy.run_path(str(DAGS / "feeds.py"))
    assert "other_pipeline" in found
    assert "toy_pipeline" not in found
    with pytest.raises(DatasetsInvalid) as failed:
        runpy.run_path(str(DAGS / "dataset_errors.py"))
    assert "model.engine: 'pod' needs apache-airflow-providers-cncf-kubernetes" in str(
        failed.value.problems[0]
    )


def test_the_provider_is_loaded_only_for_datasets_that_ask_for_it(tmp_path: Path) -> None:
    make_scored_toy(tmp_path)
    code = (
        f"import runpy, sys; runpy.run_path({str(DAGS / 'feeds.py')!r});"
        "print('kubernetes' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=DAGS.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == "False"
