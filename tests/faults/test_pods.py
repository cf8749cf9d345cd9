"""The rehearsal: the demo on the KubernetesExecutor, and then harm to the same Airflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from sandbox.demo import BUCKET, DAYS, PIPELINE, S3Producer, console, shown
from sandbox.rehearsal import MODEL_IMAGE
from tests.faults.pods import (
    HARM,
    IN_POD,
    HarmedPods,
    PodsWorld,
    harm_pods,
    harmed_pods,
    rounds,
    wait_until_watched,
    world_of,
    write_datasets,
)
from tests.faults.test_campaign import check
from tests.live.test_demo import SOME, check_what_was_said, left_behind
from tests.public_api import PublicApi

pytestmark = pytest.mark.slow
HARMED = ("dawn", "dusk")


@dataclass(frozen=True)
class Rehearsal:
    """A demo that has been shown; its Airflow goes on with more feeds.

    Attributes:
        said: What it printed.
        feeds: By name, those that no demo has.
    """

    said: str
    pods: HarmedPods
    feeds: Mapping[str, PodsWorld]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("pods")
    names = (*HARMED, IN_POD)

    def pods(home: Path, settings: Mapping[str, str]) -> HarmedPods:
        write_datasets(home / "datasets", names)
        return harmed_pods(home, settings)

    with ExitStack() as stack:
        with console.capture() as said:
            demo = stack.enter_context(shown("s3", pods, folder, DAYS[:SOME]))
        assert isinstance(demo.producer, S3Producer)
        assert isinstance(demo.airflow, HarmedPods)
        wait_until_watched(demo.airflow, 2 + len(names))
        s3 = demo.producer.server
        worlds = {name: world_of(demo.airflow, s3, demo.home, name) for name in names}
        yield Rehearsal(said.get(), demo.airflow, worlds)
    assert left_behind(folder) == []


def test_harm_is_done_200_times_in_the_long_campaign() -> None:
    assert sum(times for _, times in rounds()) == 200
    assert {what for what, _ in rounds()} == set(HARM)


def test_the_demo_runs_in_pods(rehearsal: Rehearsal) -> None:
    check_what_was_said(rehearsal.said, days=SOME)
    assert "Pods of each task" in rehearsal.said


def test_the_log_of_a_task_is_read_from_s3_when_its_pod_is_gone(rehearsal: Rehearsal) -> None:
    pods = rehearsal.pods
    pods.wait_until(lambda: not pods.cluster.pods(f"dag_id={PIPELINE}"), "a pod is still there")
    assert not list((pods.home / "logs").glob(f"dag_id={PIPELINE}*"))
    ingested = f"""select run_id, map_index, try_number from task_instance
        where dag_id = '{PIPELINE}' and task_id = 'ingest_data' and state = 'success'"""
    for task in pods.query(ingested):
        run = f"dags/{PIPELINE}/dagRuns/{quote(task['run_id'], safe='')}"
        log = f"taskInstances/ingest_data/logs/{task['try_number']}?map_index={task['map_index']}"
        said = str(PublicApi(pods).call("GET", f"{run}/{log}")["content"])
        assert f"s3://{BUCKET}/logs/dag_id={PIPELINE}/" in said
        assert "2013-12-1" in said, "what the stage logged of its batch"


@pytest.mark.invariant(3)
def test_a_model_in_a_pod_of_its_own_goes_from_landing_to_report(rehearsal: Rehearsal) -> None:
    world = rehearsal.feeds[IN_POD]
    verdict = world.judge(world.producer.drop(2))
    assert verdict.is_clean, verdict
    assert "reports/latest.html" in world.files.keys("reports")
    past = [states[-1][1] for states in world.cluster.past().values()]
    models = [pod for pod in past if pod["spec"]["containers"][0]["image"] == MODEL_IMAGE]
    assert [pod["status"]["phase"] for pod in models] == ["Succeeded"]
    assert len(world.ended(f"{world.dag_id}.run_inference")) == 2, "one starts it, one goes on"


@pytest.mark.release
@pytest.mark.parametrize("what", ["images not pulled for 20 s", "pods refused by their node"])
def test_a_pod_that_never_began_costs_no_try_and_harms_no_successor(
    rehearsal: Rehearsal, what: str
) -> None:
    world = rehearsal.feeds[HARMED[0]]
    tries = f"""select task_id, try_number from task_instance
        where dag_id = '{world.dag_id}' and try_number > 1"""
    before = world.airflow.query(tries)
    (line, _) = harm_pods([world], [(what, 1)])
    check(line)
    assert world.airflow.query(tries) == before


@pytest.mark.invariant(1)
@pytest.mark.invariant(3)
@pytest.mark.release
def test_nothing_is_lost_and_nothing_twice(rehearsal: Rehearsal) -> None:
    harms = ["pod out of memory", "watch expired (410)"]
    harms += ["kill of the scheduler with a pod under way"]
    worlds = [rehearsal.feeds[name] for name in HARMED]
    for line in harm_pods(worlds, [(what, 1) for what in harms]):
        check(line)
