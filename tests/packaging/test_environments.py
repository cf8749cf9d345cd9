"""A wheel in fresh environments, with and without its extras, doing real work in each."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.feeds import make_s3_toy, make_toy
from tests.packaging.test_distributions import ROOT, built
from tests.s3 import CREDENTIALS, S3Server
from tests.scored import GOOD, make_scored_toy

pytestmark = pytest.mark.slow

UV = Path(sys.executable).with_name("uv")
MINE = """\
from airflow.sdk import DAG
from operators.hello import HelloOperator

with DAG("mine", schedule=None):
    HelloOperator(task_id="hello")
"""
HELLO = """\
from airflow.sdk import BaseOperator

class HelloOperator(BaseOperator):
    def execute(self, context):
        return "hello"
"""
FEEDS = """\
from flagfall.dags import pipelines  # Airflow reads no file without the words airflow and dag
globals().update(pipelines({folder!r}))
"""
SHOW_DAGS = """\
import warnings; warnings.simplefilter("ignore")
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({folder!r})
print(sorted(bag.dags), dict(bag.import_errors))
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with Flagfall in it, and a folder to work in."""

    root: Path

    def run(self, *command: str, ends: int = 0, **variables: str) -> str:
        """What a command of the environment prints."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
        ran = subprocess.run(
            [str(self.root / "bin" / command[0]), *command[1:]],
            cwd=self.root,
            env={**inherited, "AIRFLOW_HOME": str(self.root / "airflow"), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == ends, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, "wheel", tmp_path_factory.mktemp("wheel") / "dist")


def install(root: Path, *what: str) -> Environment:
    """A fresh environment with the versions of ``requirements.txt``."""
    pins = root / "pins.txt"
    root.mkdir(parents=True)
    pins.write_text(
        "".join(
            line.split(" \\")[0] + "\n"
            for line in (ROOT / "requirements.txt").read_text().splitlines()
            if line and line[0].isalnum()
        )
    )
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, root / "env"], check=True)
    python = root / "env" / "bin" / "python"
    command = [UV, "pip", "install", "-q", "--python", python, "--constraint", pins, *what]
    subprocess.run(command, check=True)
    return Environment(root / "env")


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return install(tmp_path_factory.mktemp("bare") / "it", str(wheel))


@pytest.fixture(scope="module")
def scoring(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return install(tmp_path_factory.mktemp("scoring") / "it", f"{wheel}[onnx,report,s3]")


@pytest.fixture(scope="module")
def everything(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return install(tmp_path_factory.mktemp("all") / "it", f"{wheel}[all]")


class TestWithoutExtras:
    def test_there_is_no_airflow(self, bare: Environment) -> None:
        found = bare.run(
            "python", "-c", "import importlib.util as u; print(u.find_spec('airflow'))"
        )
        assert found == "None\n"

    def test_a_batch_is_published_watched_and_taken_in(
        self, bare: Environment, tmp_path: Path
    ) -> None:
        toy = make_toy(tmp_path)
        marker = toy.drop("2026-11-01")
        where = {"FLAGFALL_DATASETS": str(tmp_path / "datasets")}
        source, folder = str(tmp_path / "producer/2026-11-01"), str(toy.folder("2026-11-02"))
        assert "1 files" in bare.run("flagfall", "publish", source, folder)
        pattern = toy.dataset.landing.marker
        watched = bare.run(
            "flagfall", "watch", str(toy.landing), "--marker", pattern, "--count", "2"
        )
        assert "date=2026-11-02" in watched
        assert "toy: fine" in bare.run("flagfall", "check", "toy", **where)
        taken = bare.run("flagfall", "stage", "ingest", "toy", marker.batch_id, **where)
        assert '"status": "accepted"' in taken
        assert "accepted" in bare.run("flagfall", "status", "toy", **where)

    @pytest.mark.parametrize(
        ("code", "extra"),
        [
            ("from flagfall.dags import pipelines", "airflow"),
            ("from flagfall.operators import MarkerSensor", "airflow"),
            ("from flagfall.triggers import MarkerFeedTrigger", "airflow"),
        ],
    )
    def test_what_needs_airflow_names_the_extra(
        self, bare: Environment, code: str, extra: str
    ) -> None:
        assert f"pip install 'flagfall[{extra}]'" in bare.run("python", "-c", code, ends=1)

    def test_a_bucket_names_the_extra(self, bare: Environment, tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_text("id\n1\n")
        said = bare.run("flagfall", "publish", str(tmp_path), "s3://bucket/x", ends=65)
        assert "pip install 'flagfall[s3]'" in said
        assert "Traceback" not in said

    def test_a_model_and_a_report_name_their_extras(
        self, bare: Environment, tmp_path: Path
    ) -> None:
        toy = make_scored_toy(tmp_path)
        batch = toy.drop("2026-11-01", GOOD).batch_id
        where = {"FLAGFALL_DATASETS": str(tmp_path / "datasets")}
        bare.run("flagfall", "stage", "ingest", "toy", batch, **where)
        bare.run("flagfall", "stage", "preprocess", "toy", batch, **where)
        said = bare.run("flagfall", "check", "toy", ends=65, **where)
        assert "pip install 'flagfall[onnx]'" in said
        said = bare.run("flagfall", "stage", "report", "toy", batch, ends=65, **where)
        assert "pip install 'flagfall[report]'" in said


class TestWithModelReportAndS3:
    def test_a_batch_goes_from_marker_to_report(self, scoring: Environment, tmp_path: Path) -> None:
        toy = make_scored_toy(tmp_path)
        batch = toy.drop("2026-11-01", GOOD).batch_id
        where = {"FLAGFALL_DATASETS": str(tmp_path / "datasets")}
        for stage in ("ingest", "preprocess", "infer", "evaluate", "report"):
            scoring.run("flagfall", "stage", stage, "toy", batch, **where)
        assert list((tmp_path / "lake/toy/reports").glob("*.html"))

    def test_a_batch_is_published_to_a_bucket_and_taken_in(
        self, scoring: Environment, tmp_path: Path, s3: S3Server
    ) -> None:
        bucket = s3.make_bucket("packaging")
        make_s3_toy(tmp_path, bucket)
        (tmp_path / "day").mkdir()
        (tmp_path / "day/rows.csv").write_text(GOOD)
        where = {
            "FLAGFALL_DATASETS": str(tmp_path / "datasets"),
            "AWS_ENDPOINT_URL": s3.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            **CREDENTIALS,
        }
        source, place = str(tmp_path / "day"), f"s3://{bucket}/landing/date=2026-11-01"
        scoring.run("flagfall", "publish", source, place, **where)
        assert "pending" in scoring.run("flagfall", "status", "toy", **where)


class TestInAnAirflowOfOnesOwn:
    @pytest.fixture
    def dags(self, tmp_path: Path) -> Path:
        """A DAG folder with an ``operators`` package of the user's own, and two lines of ours."""
        make_toy(tmp_path / "feeds")
        folder = tmp_path / "dags"
        (folder / "operators").mkdir(parents=True)
        (folder / "operators" / "__init__.py").touch()
        (folder / "operators" / "hello.py").write_text(HELLO)
        (folder / "mine.py").write_text(MINE)
        datasets = str(tmp_path / "feeds" / "datasets")
        (folder / "feeds.py").write_text(FEEDS.format(folder=datasets))
        return folder

    def test_it_harms_no_package_of_the_same_name(
        self, everything: Environment, dags: Path
    ) -> None:
        found = everything.run(
            "python", "-c", SHOW_DAGS.format(folder=str(dags)), PYTHONPATH=str(dags)
        )
        assert found.splitlines()[-1] == "['flagfall_watchman', 'mine', 'toy_pipeline'] {}"

    def test_airflow_lists_the_provider(self, everything: Environment) -> None:
        assert "flagfall" in everything.run("airflow", "providers", "list")


def test_an_editable_install_of_a_clone_works(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    environment = install(tmp_path / "it", "--editable", str(clone))
    code = "import flagfall.stores, flagfall; print(flagfall.__file__)"
    assert environment.run("python", "-c", code).strip() == str(clone / "flagfall/__init__.py")
    toy = make_toy(tmp_path / "feed")
    toy.drop("2026-11-01")
    where = {"FLAGFALL_DATASETS": str(tmp_path / "feed" / "datasets")}
    assert "pending" in environment.run("flagfall", "status", "toy", **where)
