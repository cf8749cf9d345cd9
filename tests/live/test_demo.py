from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.browser import open_browser

PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
SOME = 2
"""Days of the demo where all five show no more: the damaged one is among them."""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox.demo", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_behind(folder: Path) -> list[str]:
    """Processes that belong to the demo in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            home = process.environ().get("AIRFLOW_HOME", "")
            is_in_it = process.cwd() == str(folder)
        except psutil.Error:
            continue
        if is_in_it or home.startswith(str(folder)):
            found.append(str(process))
    return found


def test_the_demo_can_be_interrupted_and_run_again_at_once_and_leaves_no_process(
    tmp_path: Path,
) -> None:
    interrupted = start(tmp_path)
    assert interrupted.stdout is not None
    for line in interrupted.stdout:
        if "Airflow is up" in line:
            break
    assert left_behind(tmp_path)
    interrupted.send_signal(signal.SIGINT)
    interrupted.communicate(timeout=60)
    assert interrupted.returncode != 0
    assert left_behind(tmp_path) == []

    again = start(tmp_path, f"--days={SOME}")
    said, _ = again.communicate(timeout=800)
    assert again.returncode == 0, said
    assert left_behind(tmp_path) == []
    check_what_was_said(said, days=SOME)


@pytest.mark.release
def test_the_demo_runs_to_its_end_and_its_report_fits_on_two_pages(tmp_path: Path) -> None:
    demo = start(tmp_path)
    said, _ = demo.communicate(timeout=800)
    assert demo.returncode == 0, said
    check_what_was_said(said)
    assert pages_of_paper(tmp_path / ".flagfall/demo/data/lake/flights/reports/latest.html") == 2


def pages_of_paper(report: Path) -> int:
    with open_browser() as browser:
        page = browser.new_page()
        page.goto(report.as_uri())
        paper = page.pdf(prefer_css_page_size=True, print_background=True)
    return len(re.findall(rb"/Type\s*/Page[^s]", paper))


@pytest.mark.release
@pytest.mark.parametrize("how", ["--store=s3", "--executor=celery"])
def test_the_demo_runs_on_s3_and_on_celery_too_and_leaves_no_process(
    tmp_path: Path, how: str
) -> None:
    demo = start(tmp_path, how, f"--days={SOME}")
    said, _ = demo.communicate(timeout=800)
    assert demo.returncode == 0, said
    assert left_behind(tmp_path) == []
    check_what_was_said(said, days=SOME)
    logs = [path.read_text(errors="replace") for path in (tmp_path / ".flagfall").rglob("*.log")]
    assert not any("X-Amz-Signature" in text for text in logs)


def check_what_was_said(said: str, days: int = 5) -> None:
    """All evenings were accepted, the damaged one turned away before, and all outcomes joined."""
    assert len(re.findall(r": accepted after", said)) == days
    assert len(re.findall(r"\(damaged\): rejected after", said)) == 1
    table = said.partition("scored the evening before")[2]
    known = re.findall(r"^ ?(2013-12-1\d) .* (\d+) +0\.\d{3} \(0\.\d\d\) *$", table, re.MULTILINE)
    assert sorted(day for day, _ in known) == [f"2013-12-{day}" for day in range(11, 11 + days)]
    assert min(int(rows) for _, rows in known) > 500
    report = re.search(r"report: (\S+)", said)
    assert report is not None
    page = Path(report[1]).read_text()
    assert "<svg" in page
    assert "Outcomes known" in page
    assert "late since" not in page, "its days are long past; nothing of it is due today"


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    first = start(tmp_path)
    lock = tmp_path / ".flagfall" / "demo"
    while not lock.exists():
        assert first.poll() is None
    second = start(tmp_path)
    said, _ = second.communicate(timeout=60)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert second.returncode == 1
    assert "another demo is running" in said
    assert left_behind(tmp_path) == []
