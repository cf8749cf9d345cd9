"""The image, without a container engine: the Dockerfile's steps are executed in a folder.

What cannot be is said in ``docker.NOT_RUN``: Debian's packages and the image's user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

from tests.deploy.docker import NOT_RUN, ROOT, Image, steps
from tests.packaging.test_notifiers import PROVIDERS
from tests.test_docs import blocks

DOCKERFILE = ROOT / "deploy/Dockerfile"
STEPS = list(steps(DOCKERFILE))
COPIED = [s for s in STEPS if s.name == "COPY" and not s.text.startswith("--from=")]
(MORE,) = blocks((ROOT / "docs/kubernetes.md").read_text(), "dockerfile")
SOURCES = sorted({source for step in COPIED for source in step.text.split()[:-1]})


def pinned(package: str, file: str = "requirements.txt") -> str:
    found = re.search(rf"^{package}==(\S+)", (ROOT / file).read_text(), re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with TemporaryDirectory(prefix="flagfall-image-") as folder:
        built = Image(Path(folder))
        built.build(DOCKERFILE)
        yield built


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """A place outside of the image for what is written."""
    return {"AIRFLOW_HOME": str(tmp_path / "home"), "FLAGFALL_DATA": str(tmp_path / "data")}


class TestAsItIsWritten:
    def test_python_packages_are_installed_by_hash_only(self) -> None:
        installs = [s.text for s in STEPS if s.name == "RUN" and "pip install" in s.text]
        assert len(installs) == 3
        for text in installs:
            assert "--require-hashes" in text or ("--no-index" in text and "/build/wheel/" in text)

    def test_what_is_installed_are_the_lock_files(self) -> None:
        text = DOCKERFILE.read_text()
        files = re.findall(r"--requirement (\S+)", text)
        locks = {"requirements.txt", "requirements/image.txt", "requirements/build.txt"}
        assert set(files) == locks

    def test_every_stage_begins_with_a_base_of_one_version(self) -> None:
        (argument,) = [s.text for s in STEPS if s.name == "ARG"]
        assert re.fullmatch(r"PYTHON=python:3\.\d+-slim", argument)
        assert {s.text.removesuffix(" AS build") for s in STEPS if s.name == "FROM"} == {
            "${PYTHON}"
        }

    def test_the_last_user_is_not_root(self) -> None:
        assert [s.text for s in STEPS if s.name == "USER"] == ["50000:50000"]
        names = [s.name for s in STEPS]
        assert "RUN" not in names[names.index("USER") :]

    def test_nothing_of_the_build_stage_but_the_environment_is_taken_over(self) -> None:
        taken = [s.text for s in STEPS if s.name == "COPY" and "--from=" in s.text]
        assert taken == ["--from=build /opt/venv /opt/venv"]

    def test_the_builder_is_sent_what_is_copied_and_nothing_else(self) -> None:
        lines = Path(f"{DOCKERFILE}.dockerignore").read_text().splitlines()
        assert lines[1] == "*"
        assert sorted(line[1:] for line in lines if line.startswith("!")) == SOURCES

    def test_make_and_the_image_install_with_the_same_uv(self) -> None:
        (version,) = re.findall(r"uv==(\S+)", (ROOT / "Makefile").read_text())
        assert pinned("uv", "requirements/build.txt") == version

    def test_the_image_has_the_pins_of_requirements_txt(self) -> None:
        """Where both files name a package, they name one version, so that none is moved."""
        names = re.findall(
            r"^([\w.-]+)==", (ROOT / "requirements/image.txt").read_text(), re.MULTILINE
        )
        both = [n for n in names if re.search(rf"^{n}==", requirements(), re.MULTILINE)]
        assert len(both) > 50
        assert [n for n in both if pinned(n) != pinned(n, "requirements/image.txt")] == []

    def test_what_the_docs_add_to_it_are_releases_that_the_tests_use(self) -> None:
        added = dict(re.findall(r"([\w-]+)==([\d.]+)", MORE))
        assert len(added) == 7
        tested = dict(provider.split("==") for provider in PROVIDERS)
        mine = {name: tested.get(name) or pinned(name, "requirements/dev.txt") for name in added}
        assert added == mine
        assert [
            name for name in added if re.search(rf"^{name}==", requirements(), re.MULTILINE)
        ] == []


def requirements() -> str:
    return (ROOT / "requirements.txt").read_text()


@pytest.mark.slow
@pytest.mark.release
class TestAsItIsBuilt:
    def test_all_steps_run_but_those_that_would_change_this_machine(self, image: Image) -> None:
        assert len(image.ran) == 5
        assert [command.split()[0] for command in image.left_out] == list(NOT_RUN)

    def test_airflow_runs_from_it(self, image: Image, home: dict[str, str]) -> None:
        assert image.run("/entrypoint airflow version", home).split() == [pinned("apache-airflow")]

    def test_flagfall_runs_from_it_with_its_datasets_and_models(
        self, image: Image, home: dict[str, str]
    ) -> None:
        assert "Usage: flagfall" in image.run("flagfall --help", home)
        assert image.run("flagfall check flights", home)

    @pytest.mark.parametrize(
        "module",
        [
            "airflow.providers.cncf.kubernetes.executors.kubernetes_executor",
            "airflow.providers.fab.auth_manager.fab_auth_manager",
            "asyncpg",
            "psycopg2",
        ],
    )
    def test_it_has_what_a_cluster_needs(
        self, image: Image, home: dict[str, str], module: str
    ) -> None:
        image.run(f"python -W ignore -c 'import {module}'", home)

    def test_its_dags_can_be_parsed_and_ask_for_pods(
        self, image: Image, home: dict[str, str], tmp_path: Path
    ) -> None:
        datasets = tmp_path / "datasets"
        datasets.mkdir()
        text = image.here("/opt/flagfall/datasets/flights.yaml").read_text()
        more = "resources: {run_inference: {cpu: 2, memory: 4Gi}}\n"
        (datasets / "flights.yaml").write_text(text + more)
        arrivals = image.here("/opt/flagfall/datasets/arrivals.yaml").read_text()
        (datasets / "arrivals.yaml").write_text(arrivals)
        show = (
            "import runpy; "
            "dag = runpy.run_path('/opt/flagfall/dags/feeds.py')['flights_pipeline']; "
            "print(dag.get_task('run_inference').executor_config['pod_override'].spec)"
        )
        settings = {**home, "FLAGFALL_DATASETS": str(datasets)}
        assert "4Gi" in image.run(f'python -W ignore -c "{show}"', settings)

    def test_no_test_is_in_it(self, image: Image) -> None:
        ours = {p.name for p in (image.root / "opt/flagfall").iterdir()}
        assert ours == {"dags", "datasets", "models", "deploy"}
        packages = site_packages(image)
        assert not (packages / "tests").exists()
        assert [p for p in (packages / "flagfall").rglob("*test*") if p.suffix == ".py"] == []
        installed = {p.name for p in packages.iterdir()}
        assert not {"dags", "operators", "plugin", "sandbox", "triggers"} & installed

    def test_what_built_it_is_not_in_it(self, image: Image) -> None:
        names = {p.name for p in (image.root / "opt/venv/bin").iterdir()}
        assert {"airflow", "flagfall"} <= names
        assert not names & {"uv", "hatchling", "pip"}

    def test_every_module_is_compiled(self, image: Image) -> None:
        modules = list(site_packages(image).rglob("*.py"))
        plain = [p for p in modules if not any((p.parent / "__pycache__").glob(f"{p.stem}.*.pyc"))]
        assert len(modules) > 10_000
        assert plain == []

    def test_nothing_is_written_into_it(self, image: Image, home: dict[str, str]) -> None:
        """So its root file system can be read-only."""
        before = times(image)
        image.run("airflow version", home)
        image.run("flagfall check flights", home)
        image.run("python -W ignore /opt/flagfall/dags/feeds.py", home)
        assert times(image) == before

    def test_the_pod_template_is_where_the_values_say(self, image: Image) -> None:
        values = yaml.safe_load((ROOT / "deploy/helm/values.yaml").read_text())
        named = values["config"]["kubernetes_executor"]["pod_template_file"]
        assert image.here(named).read_text() == (ROOT / "deploy/pod_template.yaml").read_text()
        assert values["config"]["core"]["dags_folder"] == "/opt/flagfall/dags"
        assert image.here(values["config"]["core"]["dags_folder"]).is_dir()

    def test_the_docs_add_packages_to_it_and_move_none(
        self, image: Image, home: dict[str, str], tmp_path: Path
    ) -> None:
        before = versions(image)
        (tmp_path / "Dockerfile").write_text(MORE)
        base, *rest = steps(tmp_path / "Dockerfile")
        assert (base.name, base.text) == ("FROM", "registry.example/flagfall:0.1.0")
        assert [step.name for step in rest] == ["USER", "RUN", "USER"]
        image.run(rest[1].text)
        after = versions(image)
        assert before.items() <= after.items()
        assert {"deltalake", "joblib", "scikit-learn"} <= set(after) - set(before)
        image.run("python -W ignore -c 'import deltalake, sklearn'", home)
        image.run("flagfall check flights", home)


def versions(image: Image) -> dict[str, str]:
    listed = image.run("pip --python /opt/venv/bin/python list --format freeze").split()
    return dict(line.split("==") for line in listed)


def site_packages(image: Image) -> Path:
    (found,) = (image.root / "opt/venv/lib").glob("python3.*/site-packages")
    return found


def times(image: Image) -> dict[str, int]:
    return {str(p): p.lstat().st_mtime_ns for p in (image.root / "opt").rglob("*")}
