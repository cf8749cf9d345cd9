"""The pages as a reader has them: every block is tried, and the site is built."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from airflow.utils.file import might_contain_dag

from flagfall.cli.main import app
from flagfall.dataset.loader import read_dataset
from tests.feeds import TOY
from tests.test_docs import ROOT, blocks

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
NOT_A_DATASET = "security.md"
"""Its YAML is values of the Helm chart."""


MODEL = "features: [{name: value}]\nmodel: {path: models/toy}\n"
COLUMNS = [{"name": "sched_dep_time", "type": "integer"}, {"name": "arr_delay", "type": "number"}]


def fragments() -> list[Any]:
    pages = [ROOT / "README.md", *(page for page in PAGES if page.name != NOT_A_DATASET)]
    found = [(page.name, block) for page in pages for block in blocks(page.read_text(), "yaml")]
    return [pytest.param(block, id=f"{name}-{n}") for n, (name, block) in enumerate(found)]


@pytest.mark.parametrize("fragment", fragments())
def test_every_piece_of_a_dataset_file_is_read_as_it_stands(fragment: str, tmp_path: Path) -> None:
    """Where it is not a whole file, in a feed that has the rest."""
    shown = yaml.safe_load(fragment)
    more = "" if "schema" in shown else MODEL
    rest = yaml.safe_load(TOY.format(root=tmp_path, marker="_SUCCESS", more=more))
    columns = [{"name": feature["name"], "type": "string"} for feature in shown.get("features", ())]
    for column in [*columns, *COLUMNS]:
        rest["schema"]["fields"].append(column)
    others = {key: value for key, value in rest.items() if key not in shown}
    (tmp_path / "toy.yaml").write_text(f"{fragment}\n{yaml.safe_dump(others)}")
    assert read_dataset(tmp_path / "toy.yaml").name == "toy"


@pytest.mark.parametrize("page", ["README.md", "docs/install.md"])
def test_the_dag_files_are_read_by_airflow(page: str, tmp_path: Path) -> None:
    """Airflow skips a file without the words "airflow" and "dag", and says nothing."""
    files = [block for block in blocks((ROOT / page).read_text(), "python") if "/path/to" in block]
    for n, block in enumerate(block for block in files if "flagfall.dags" in block):
        (tmp_path / f"feeds_{n}.py").write_text(block)
        assert might_contain_dag(str(tmp_path / f"feeds_{n}.py"), safe_mode=True)


def commands_of(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with its name, also ``model init``."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{name} ")
        else:
            yield f"{above}{name}", command


def test_the_page_of_the_command_line_has_every_command_and_option() -> None:
    rows = re.findall(
        r"^\| `flagfall ((?:model )?\w+) ?(.*?)` \|(.*)$",
        (DOCS / "command-line.md").read_text(),
        re.M,
    )
    shown = {name: {*re.findall(r"--[\w-]+", rest)} for name, _, rest in rows}
    commands = dict(commands_of(typer.main.get_command(app)))
    options = {
        name: {o for one in command.params for o in one.opts if o.startswith("--")}
        for name, command in commands.items()
    }
    assert shown == options
    for name, arguments, _ in rows:
        wanted = [one for one in commands[name].params if one.param_type_name == "argument"]
        assert len(arguments.split()) == len(wanted), name


def test_the_price_of_waiting_adds_up() -> None:
    """120 sweeps of 30 s, of which one is full; 1,000 objects a page; $0.005 for 1,000 requests."""
    page = (DOCS / "s3.md").read_text()
    small, full, records = (3600 // 30 - 1) * (1 + 1), 100_000 // 1_000 + 1, (2 + 1) * (60 // 5)
    requests = small + full + records
    assert f"119 × 2 = {small} |" in page
    assert f"| {full} |" in page
    assert f"| **{requests}** |" in page
    dollars = requests / 1_000 * 0.005
    assert f"${dollars:.4f} an hour, ${dollars * 24 * 30:.2f} a month" in page
    rare = (6 - 1) * (1 + 1) + full + 60 // 5 + 2 * 6
    assert f"({rare} requests an hour)" in page


@pytest.fixture(scope="session")
def sphinx() -> Path:
    """The site's generator, in an environment of its own."""
    subprocess.run(["make", ".flagfall/docs/.done"], cwd=ROOT, check=True)
    return ROOT / ".flagfall/docs/bin/sphinx-build"


def build(sphinx: Path, docs: Path, site: Path) -> str:
    """What ``make docs`` does; gives what it says where it fails."""
    command = [sphinx, "--quiet", "--fail-on-warning", "--keep-going", docs, site]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A site of two pages, built as ours is."""
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(DOCS / "conf.py", docs)
    for folder in ("_static", "_templates"):
        shutil.copytree(DOCS / folder, docs / folder)
    (docs / "index.md").write_text("# Home\n\n```{toctree}\npage\n```\n")
    (docs / "page.md").write_text("# Page\n\n## Part\n\n[part](#part), [home](index.md#home)\n")
    return docs


@pytest.fixture(scope="session")
def site(sphinx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    site = tmp_path_factory.mktemp("site")
    assert build(sphinx, DOCS, site) == ""
    return site


@pytest.mark.slow
class TestSite:
    def test_make_docs_builds_it(self) -> None:
        subprocess.run(["make", "docs"], cwd=ROOT, check=True)
        assert (ROOT / ".flagfall/site/search.html").exists()

    def test_it_has_every_page_and_a_search(self, site: Path) -> None:
        assert [page for page in PAGES if not (site / f"{page.stem}.html").exists()] == []
        assert "sqs_queue" in (site / "searchindex.js").read_text()

    def test_its_pictures_are_there(self, site: Path) -> None:
        for page in PAGES:
            shown = re.findall(r'<img [^>]*src="([^"]+)"', (site / f"{page.stem}.html").read_text())
            assert len(shown) >= page.read_text().count("![")
            assert [source for source in shown if not (site / source).exists()] == []

    def test_it_loads_nothing_from_the_internet(self, site: Path) -> None:
        loads = re.compile(
            r'<(?:script|img|iframe)[^>]*src="(?:https?:)?//|<link[^>]*href="(?:https?:)?//'
        )
        assert [p.name for p in site.glob("*.html") if loads.search(p.read_text())] == []
        outside = re.compile(r"(?:url\(|@import )[\"']?(?:https?:)?//")
        assert [p.name for p in site.rglob("*.css") if outside.search(p.read_text())] == []

    def test_a_small_site_without_a_fault_is_built(
        self, sphinx: Path, small: Path, tmp_path: Path
    ) -> None:
        assert build(sphinx, small, tmp_path / "site") == ""

    @pytest.mark.parametrize(
        ("fault", "complaint"),
        [
            ("[no page](nothing.md)", "nothing.md"),
            ("[no part of a page](index.md#nothing)", "nothing"),
            ("[no part of this page](#nothing)", "nothing"),
            ("[no file](../deploy/nothing.yaml)", "nothing.yaml"),
            ("![no picture](nothing.png)", "nothing.png"),
        ],
    )
    def test_a_link_that_leads_nowhere_fails(
        self, sphinx: Path, small: Path, tmp_path: Path, fault: str, complaint: str
    ) -> None:
        (small / "page.md").write_text(f"# Page\n\n{fault}\n")
        assert complaint in build(sphinx, small, tmp_path / "site")

    def test_a_page_that_is_not_in_the_list_fails(
        self, sphinx: Path, small: Path, tmp_path: Path
    ) -> None:
        (small / "other.md").write_text("# Other\n")
        assert "other.md" in build(sphinx, small, tmp_path / "site")
