from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from flagfall.cli.exit_codes import ExitCode
from flagfall.cli.main import app, main
from flagfall.errors import HOPELESS_EXIT
from flagfall.landing.marker import Marker
from flagfall.watch.heartbeat import WatcherState
from tests.broken_disk import break_below
from tests.feeds import TOY, Clock, ToyFeed, make_toy
from tests.inbox.test_inbox import accept
from tests.s3 import S3Server
from tests.scored import make_scored_toy
from tests.tiny_onnx import write_model

MODEL = """\
features: [{name: value}]
model: {path: no-such-model}
"""

POD = """\
spec:
  containers: [{name: base, volumeMounts: [{name: s, mountPath: /tmp}]}]
  volumes: [{name: s, emptyDir: {}}]
"""
"""A template that ``model.pod`` can be put on top of."""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as one JSON object per line."""
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """Runs ``flagfall`` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["flagfall", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    def refused(self, *arguments: object) -> str:
        """What is said about something that a person did wrong: one line."""
        ran = self(*arguments)
        assert (ran.code, ran.out) == (HOPELESS_EXIT, "")
        assert ran.err.startswith("flagfall: ")
        assert ran.err.count("\n") == 1
        return ran.err


@pytest.fixture
def flagfall(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    monkeypatch.setenv("FLAGFALL_DATASETS", str(tmp_path / "datasets"))
    return CommandLine(monkeypatch, capsys)


def publish(flagfall: CommandLine, toy: ToyFeed, day: str, text: str = "id,value\n1,2\n") -> Ran:
    source = toy.root / "source" / day
    source.mkdir(parents=True, exist_ok=True)
    (source / "rows.csv").write_text(text)
    return flagfall("publish", source, toy.folder(day))


def shell(*arguments: object, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flagfall", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


PATTERN = "date={date}/datapackage.json"


class TestPublishAndWatch:
    def test_what_is_published_is_seen_by_watch(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        published = publish(flagfall, toy, "2026-11-01")
        marker = toy.folder("2026-11-01") / "datapackage.json"
        assert (published.code, published.out) == (0, f"1 files, 13 bytes, {marker}\n")
        watched = flagfall("watch", toy.landing, "--marker", PATTERN, "--json", "--count", 1)
        assert watched.code == 0
        (seen,) = watched.lines
        assert seen["uri"] == str(marker)
        assert seen["fields"] == {"date": "2026-11-01"}
        assert seen["batch_id"] == toy.marker("2026-11-01").batch_id

    def test_publish_names_data_that_it_leaves_out(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        source = toy.root / "made"
        names = ("_b.csv", ".c.json", "_d/e.parquet", "f/.g/h.csv.gz", "_SUCCESS", ".DS_Store")
        for name in ("a.csv", *names):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text("id,value\n1,2\n")
        said = flagfall("publish", source, toy.folder("2026-11-01")).out.splitlines()
        assert said[0].startswith("1 files, 13 bytes, ")
        assert said[1:] == [
            "left out, since their names or their folders' begin with '_' or '.':"
            " '.c.json', '_b.csv', '_d/e.parquet' and 1 more"
        ]

    def test_publish_says_how_much_was_there_already(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        publish(flagfall, toy, "2026-11-01")
        marker = toy.folder("2026-11-01") / "datapackage.json"
        again = publish(flagfall, toy, "2026-11-01")
        assert again.out == f"1 files, 13 bytes, {marker}, 1 already there\n"

    def test_a_batch_is_published_to_s3(
        self, flagfall: CommandLine, toy: ToyFeed, s3: S3Server, bucket: str
    ) -> None:
        (toy.root / "made").mkdir()
        (toy.root / "made" / "rows.csv").write_text("id,value\n1,2\n")
        folder = f"s3://{bucket}/in/date=1"
        published = flagfall("publish", toy.root / "made", folder, "--marker", "_SUCCESS")
        assert (published.code, published.err) == (0, "")
        assert published.out == f"1 files, 13 bytes, {folder}/_SUCCESS\n"
        assert s3.client().head_object(Bucket=bucket, Key="in/date=1/rows.csv")

    def test_without_json_a_line_is_for_people(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        publish(flagfall, toy, "2026-11-01")
        watched = flagfall("watch", toy.landing, "--marker", PATTERN, "--count", 1)
        marker = toy.marker("2026-11-01")
        assert watched.out == f"{marker.landed_at:%Y-%m-%d %H:%M:%S.%f}  {marker.uri}\n"

    def test_watch_prints_what_lands_later_and_ends_quietly_on_ctrl_c(self, toy: ToyFeed) -> None:
        arguments = ("watch", toy.landing, "--marker", PATTERN, "--json", "--sweep-every", 0.2)
        with shell(*arguments) as watching:
            assert watching.stdout is not None
            assert watching.stderr is not None
            for day in ("2026-11-01", "2026-11-02"):
                marker = toy.drop(day)
                assert json.loads(watching.stdout.readline())["uri"] == marker.uri
            watching.send_signal(signal.SIGINT)
            assert watching.stderr.read() == ""
        assert watching.returncode == 130

    def test_a_name_cannot_steer_the_terminal(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        name = "\x1b[2J[red]"
        (toy.landing / f"date={name}").mkdir(parents=True)
        (toy.landing / f"date={name}" / "datapackage.json").touch()
        watched = flagfall("watch", toy.landing, "--marker", PATTERN, "--count", 1)
        assert "\x1b" not in watched.out
        assert "date=\\x1b[2J[red]/" in watched.out

    def test_a_name_cannot_steer_the_terminal_by_a_warning(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        name = "\x1b]0;x\x07\n2026-11-28 ERROR\u202e"
        (toy.landing / f"date={name}").mkdir(parents=True)
        (toy.landing / f"date={name}" / "datapackage.json").symlink_to("/etc/hostname")
        with shell("status", "toy") as running:
            _, err = running.communicate()
        assert r"\x1b]0;x" in err
        assert all(line.isprintable() for line in err.splitlines())
        assert "\n2026" not in err

    def test_brackets_in_a_path_are_shown_as_they_are(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        published = publish(flagfall, toy, "[/red]")
        assert published.code == 0
        assert "date=[/red]/datapackage.json" in published.out

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["publish", "absent", "out"], "no directory 'absent'"),
            (["publish", ".", "gs://bucket/x"], "gs://bucket/x: no store for gs://"),
            (["publish", ".", "s3:/bucket/x"], "write s3://bucket/x"),
            (["publish", ".", "out", "--marker", "../x"], "expected the name of a file"),
            (["watch", "gs://bucket", "--marker", "_SUCCESS"], "no store for gs://"),
            (["watch", ".", "--marker", "../_SUCCESS"], "marker pattern '../_SUCCESS'"),
            (["watch", ".", "--marker", "{date/_SUCCESS"], "a brace is not closed"),
            (["watch", "file.csv", "--marker", "_SUCCESS"], "check the URI in the dataset file"),
        ],
    )
    def test_a_mistake_is_one_line_that_says_what_is_wrong(
        self,
        flagfall: CommandLine,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
        says: str,
    ) -> None:
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "file.csv").touch()
        monkeypatch.chdir(tmp_path / "here")
        assert says in flagfall.refused(*arguments)


class TestPublishToAFeed:
    @pytest.fixture
    def source(self, toy: ToyFeed) -> Path:
        folder = toy.root / "made"
        folder.mkdir()
        (folder / "rows.csv").write_text("id,value\n1,2\n")
        return folder

    def test_the_feed_knows_where_its_batch_goes(
        self, flagfall: CommandLine, toy: ToyFeed, source: Path
    ) -> None:
        ran = flagfall("publish", source, "--dataset", "toy", "--field", "date=2026-11-01")
        assert (ran.code, ran.err) == (0, "")
        (marker,) = toy.inbox().pending()
        assert marker.fields == {"date": "2026-11-01"}
        assert ran.out.endswith(f", {marker.uri}\n")

    def test_a_folder_of_the_feed_may_be_named_instead(
        self, flagfall: CommandLine, toy: ToyFeed, source: Path
    ) -> None:
        ran = flagfall("publish", source, toy.folder("2026-11-01"), "--dataset", "toy")
        assert ran.code == 0
        assert [marker.fields["date"] for marker in toy.inbox().pending()] == ["2026-11-01"]

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["{root}/landing/day=1"], "does not fit, so nobody would wait for it"),
            (["{root}/landing/date=1", "--marker", "_SUCCESS"], "so nobody would wait for it"),
            (["{root}/elsewhere/date=1"], "is not below the landing zone"),
            (["{root}/landing2/date=1"], "is not below the landing zone"),
            ([], "no value for the marker's field 'date'; --field date=VALUE"),
            (["--field", "day=1"], "no field 'day'; the marker pattern has: date"),
            (["--field", "date=1", "--field", "date=2"], "one value for the field 'date'"),
            (["--field", "date=a/b"], "'/' in the value of date"),
            (["--field", "date=1", "--marker", "_SUCCESS"], "nobody would wait"),
            (["{root}/landing/date=1", "--field", "date=1"], "the destination says it already"),
        ],
    )
    def test_what_nobody_waits_for_is_refused_and_not_copied(
        self,
        flagfall: CommandLine,
        toy: ToyFeed,
        source: Path,
        arguments: list[str],
        says: str,
    ) -> None:
        given = [one.format(root=toy.root) for one in arguments]
        assert says in flagfall.refused("publish", source, *given, "--dataset", "toy")
        assert not toy.landing.exists()

    def test_a_folder_of_the_landing_zone_is_no_source(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        folder = toy.folder("2026-11-01")
        folder.mkdir(parents=True)
        (folder / "rows.csv").write_text("id,value\n1,2\n")
        link = toy.root / "link"
        link.symlink_to(folder)
        for source in (folder, link):
            said = flagfall.refused(
                *("publish", source, "--dataset", "toy", "--field", "date=2026-11-01")
            )
            assert "is the source itself" in said
        assert os.listdir(folder) == ["rows.csv"]

    def test_a_field_needs_a_feed(self, flagfall: CommandLine, source: Path) -> None:
        assert "give --dataset" in flagfall.refused("publish", source, "x", "--field", "date=1")


class TestWatchOfNothing:
    def test_a_folder_that_is_not_there_is_said_and_watched_once_it_is(self, toy: ToyFeed) -> None:
        line = f"flagfall: {toy.landing} is not there yet; it is watched as soon as it is made\n"
        arguments = ("watch", toy.landing, "--marker", PATTERN, "--count", 1)
        with shell(*arguments, "--sweep-every", 0.2) as watching:
            assert watching.stderr is not None
            giving_up = threading.Timer(
                40, watching.kill
            )  # else it would wait for ever, in silence
            giving_up.start()
            told = watching.stderr.readline()
            marker = toy.drop("2026-11-01")
            found, _ = watching.communicate()
            giving_up.cancel()
        assert (told, watching.returncode) == (line, 0)
        assert marker.uri in found


class TestPlacesThatCannotBeRead:
    """One clear line, and never a traceback: a folder that is closed, a mount that is dead."""

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOTCONN, errno.ESTALE])
    @pytest.mark.parametrize(
        "arguments",
        [
            ("watch", "dead/landing", "--marker", "{day}/_S"),
            ("init", "other", "--from", "dead/sample"),
            ("publish", "dead/source", "landing/x"),
            ("publish", "source", "dead/x"),
        ],
        ids=" ".join,
    )
    def test_a_command_says_what_is_wrong_there(
        self,
        flagfall: CommandLine,
        toy: ToyFeed,
        monkeypatch: pytest.MonkeyPatch,
        arguments: tuple[str, ...],
        number: int,
    ) -> None:
        (toy.root / "source").mkdir()
        (toy.root / "source" / "a.csv").write_text("id\n1\n")
        monkeypatch.chdir(toy.root)
        break_below(monkeypatch, toy.root / "dead", number)
        ran = flagfall(*arguments)
        assert ran.code == (65 if number == errno.EACCES else 1)
        assert re.fullmatch(r"flagfall: \S*dead/\S+: .*(read it|mount).*\n", ran.err)

    def test_the_folder_of_datasets_is_named(
        self, flagfall: CommandLine, toy: ToyFeed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        break_below(monkeypatch, toy.root / "datasets", errno.EACCES)
        assert f"{toy.root}/datasets: permission denied" in flagfall.refused("check")


class TestStatus:
    def counts(self, flagfall: CommandLine, *arguments: str) -> dict[str, Any]:
        (line,) = flagfall("status", *arguments, "--json").lines
        return line

    def test_an_empty_feed_is_all_zeros_and_looking_changes_nothing(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        found = self.counts(flagfall)
        assert datetime.fromisoformat(found.pop("at")) <= datetime.now(UTC)
        assert found == {
            "form": 1,
            "dataset": "toy",
            "verdict": "unknown",
            "sentence": "Not known: nothing has come in the last 30 days.",
            "reasons": [],
            "landed": 0,
            "pending": 0,
            "accepted": 0,
            "rejected": 0,
            "unchanged": 0,
            "unscored": 0,
            "left_out": 0,
            "oldest_pending": None,
            "late": None,
            "watch": None,
            "idle": f"nothing is in {toy.landing}: is that the place, and is it mounted?",
            "returned": [],
            "error": None,
            "batches": [],
            "batches_not_listed": 0,
        }
        assert sorted(os.listdir(toy.root)) == ["datasets"]

    def test_a_feed_is_counted(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        markers = [toy.drop(f"2026-11-{day:02d}") for day in range(1, 6)]
        accept(toy.inbox(), markers[0])
        accept(toy.inbox(), markers[1])
        toy.inbox().reject(markers[2], "size-differs", "too short")
        found = self.counts(flagfall, "toy")
        expected = {"landed": 5, "pending": 2, "accepted": 2, "rejected": 1, "unscored": 0}
        assert {key: found[key] for key in expected} == expected
        assert found["oldest_pending"] == markers[3].landed_at.isoformat()

    def test_the_table_names_every_delivery_and_why_it_was_rejected(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        waiting, bad = toy.drop("2026-11-01"), toy.drop("2026-11-02")
        toy.inbox().reject(bad, "size-differs", "cut short")
        shown = flagfall("status", "toy")
        assert shown.code == 0
        assert "toy: the oldest pending marker landed" in shown.out
        for text in ("pending", "rejected", "cut", "short", waiting.label, bad.label):
            assert text in shown.out

    def test_files_that_were_left_out_are_shown_with_the_reason(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        for day in ("2026-11-01", "2026-11-02"):
            toy.drop(day)
            (toy.folder(day) / "more.csv").touch()
            marker = toy.marker(day)
            flagfall("stage", "ingest", "toy", marker.batch_id)
        assert self.counts(flagfall, "toy")["left_out"] == 2
        out = flagfall("status", "toy").out
        line = "1 file was left out: 'date=2026-11-02/more.csv' (the marker does not name it)"
        assert f"toy: {marker.batch_id}: {line}; so for 1 more" in out

    def test_a_delivery_that_lies_there_again_as_it_was_is_said_until_it_counts(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        """A folder above it was renamed: nothing of it has changed."""
        day, aside = "2026-11-01", toy.root / "aside"

        def ingest(marker: Marker) -> None:
            assert flagfall("stage", "ingest", "toy", marker.batch_id).code == 0

        ingest(first := toy.drop(day))
        toy.landing.rename(aside)
        ingest(toy.drop(day, "id,value\n7,7\n"))
        assert self.counts(flagfall, "toy")["returned"] == []
        toy.landing.rename(toy.root / "bad")
        aside.rename(toy.landing)
        assert self.counts(flagfall, "toy")["returned"] == [first.uri]
        assert f"{first.uri} lies there as it was" in flagfall("status", "toy").out
        assert flagfall("replay", "toy", first.batch_id).code == 0
        (again,) = toy.inbox().pending()
        ingest(again)
        assert self.counts(flagfall, "toy")["returned"] == []

    @pytest.mark.invariant(7)
    def test_a_message_with_markup_or_escapes_is_shown_and_not_obeyed(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        message = "[/b][red]\x1b[2J"
        toy.inbox().reject(toy.drop("2026-11-01"), "size-differs", message)
        shown = flagfall("status", "toy")
        assert shown.code == 0
        assert "\x1b" not in shown.out
        assert "[/b][red]" in shown.out.replace("│", "").replace("\n", "").replace(" ", "")

    @pytest.mark.invariant(7)
    def test_the_table_names_columns_that_the_dataset_does_not(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        marker = toy.drop("2026-11-01", "id,value,\x1b[2Jzebra\n1,2,3\n")
        assert flagfall("stage", "ingest", "toy", marker.batch_id).code == 0
        shown = flagfall("status", "toy")
        assert "\x1b" not in shown.out
        assert "zebra" in shown.out.replace("│", "").replace("\n", "").replace(" ", "")

    def test_batches_are_lines_that_neither_a_narrow_terminal_nor_a_pipe_breaks(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        good, bad = toy.drop("2026-11-01"), toy.drop(f"2026-11-02-{'x' * 50}")
        accept(toy.inbox(), good)
        toy.inbox().reject(bad, "size-differs", f"rows.csv {'is too short ' * 20}")
        waiting = toy.drop("2026-11-03")
        for columns in ("40", "80", "300"):
            with shell("status", "toy", env={**os.environ, "COLUMNS": columns}) as running:
                out, _ = running.communicate()
            found = out.split("Last batches of toy: 3 of 3 in 30 days\n")[1].splitlines()
            ids = [line.split()[-1] for line in found if not line.startswith(" ")]
            assert set(ids) == {"batch", good.batch_id, bad.batch_id, waiting.batch_id}
            (why,) = [line for line in found if line.startswith("    ")]
            assert why.startswith("    size-differs: rows.csv is too short is too short")

    def test_json_has_every_batch_and_why_it_is_as_it_is(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        good, bad = toy.drop("2026-11-01"), toy.drop("2026-11-02")
        accepted = accept(toy.inbox(), good)
        toy.inbox().reject(bad, "size-differs", "cut short")
        waiting = toy.drop("2026-11-03")
        batches = {one["batch_id"]: one for one in self.counts(flagfall, "toy")["batches"]}
        assert batches[waiting.batch_id] == {
            "batch_id": waiting.batch_id,
            "marker": waiting.uri,
            "landed_at": waiting.landed_at.isoformat(),
            "status": "pending",
            "replaced": False,
            "received_at": None,
            "rows": None,
            "rejected_rows": None,
            "reason": None,
            "message": None,
            "rules": {},
        }
        taken = batches[good.batch_id]
        assert (taken["status"], taken["rows"]) == ("accepted", accepted.rows)
        refused = batches[bad.batch_id]
        assert (refused["status"], refused["reason"]) == ("rejected", "size-differs")
        assert refused["message"] == "cut short"

    def test_a_delivery_that_does_not_count_any_more_is_marked(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        toy.inbox().reject(toy.drop("2026-11-01"), "size-differs", "cut short")
        first = accept(toy.inbox(), toy.drop("2026-11-01", "id,value\n1,2\n"))
        last = accept(toy.inbox(), toy.drop("2026-11-01", "id,value\n1,3\n"))
        listed = flagfall("status", "toy", "2026-11-01").out.splitlines()
        words = {line.split()[-1]: line.split()[0] for line in listed if not line.startswith(" ")}
        assert words.pop("batch") == "status"
        assert (words.pop(first.batch_id), words.pop(last.batch_id)) == ("replaced", "accepted")
        assert list(words.values()) == ["replaced"]

    def test_so_many_batches_as_asked_for_are_listed_the_last_ones_first(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        markers = [toy.drop(f"2026-11-{day:02d}") for day in range(1, 6)]
        found = self.counts(flagfall, "toy", "--last", "2")
        assert [one["batch_id"] for one in found["batches"]] == [
            marker.batch_id for marker in sorted(markers, key=lambda m: m.landed_at)[:2:-1]
        ]
        assert found["batches_not_listed"] == 3
        assert len(self.counts(flagfall, "toy", "--last", "0")["batches"]) == 5

    def test_check_ends_with_a_code_that_says_how_the_feeds_stand(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        assert flagfall("status", "--check").code == ExitCode.UNKNOWN
        flagfall("stage", "ingest", "toy", toy.drop("2026-11-01").batch_id)
        assert flagfall("status", "--check").code == ExitCode.DONE
        toy.inbox().reject(toy.drop("2026-11-02"), "size-differs", "cut short")
        assert flagfall("status", "--check").code == ExitCode.ATTENTION
        assert flagfall("status", "--check", "--json").code == ExitCode.ATTENTION
        assert flagfall("status").code == ExitCode.DONE
        (toy.root / "lake").rename(toy.root / "away")
        (toy.root / "lake").touch()
        assert flagfall("status", "--check").code == ExitCode.HOPELESS

    def test_a_watcher_without_hints_is_said_with_the_limit_to_raise(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        why = "OS file watch limit reached; raise fs.inotify.max_user_watches"
        sign = self.sign(toy, "watching", timedelta(0))
        told = sign.model_copy(update={"no_hints": why})
        toy.inbox().lake.store.put("watch.json", told.model_dump_json().encode())
        assert (
            f"(process 7 on triggerer-0); NO HINTS, only sweeps: {why}\n" in flagfall("status").out
        )
        assert self.counts(flagfall)["watch"]["no_hints"] == why

    def test_a_watcher_with_nothing_to_find_is_said(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        assert (
            f"toy: IDLE: nothing is in {toy.landing}: is that the place" in flagfall("status").out
        )
        (toy.landing / "day=1").mkdir(parents=True)
        (toy.landing / "day=1" / "datapackage.json").touch()
        line = f"toy: IDLE: nothing in {toy.landing} fits the marker '{PATTERN}'\n"
        assert line in flagfall("status").out
        toy.drop("2026-11-01")
        assert "IDLE" not in flagfall("status").out

    def test_accepted_batches_without_an_evaluation_are_unscored(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        toy = make_toy(tmp_path, more=MODEL)
        flagfall("stage", "ingest", "toy", toy.drop("2026-11-01").batch_id)
        assert self.counts(flagfall)["unscored"] == 1

    @pytest.mark.parametrize("there", [False, True])
    def test_a_batch_that_was_due_is_late_until_it_is_there(
        self, flagfall: CommandLine, tmp_path: Path, there: bool
    ) -> None:
        arrival = '{schedule: "0 0 * * *", lag: 1d, deadline: 0s, partition: {date: "%Y-%m-%d"}}'
        toy = make_toy(tmp_path, more=f"arrival: {arrival}")
        yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
        if there:
            toy.drop(yesterday)
        where = f"{toy.landing}/date={yesterday}/datapackage.json"
        assert self.counts(flagfall)["late"] == (None if there else where)
        assert (f"toy: late: {where}" in flagfall("status").out) is not there

    @pytest.mark.invariant(5)
    def test_a_broken_dataset_file_does_not_hide_the_others(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        (toy.root / "datasets" / "broken.yaml").write_text("title: 5")
        (toy.root / "datasets" / "zzz.yaml").write_text(
            TOY.format(root=toy.root / "datasets" / "toy.yaml", marker="_SUCCESS", more="")
        )
        ran = flagfall("status", "--json")
        assert [(line["dataset"], line["landed"]) for line in ran.lines] == [
            ("toy", 0),
            ("zzz", None),
        ]
        assert ran.code == 65
        assert "broken.yaml: line 1: title: expected text" in ran.err
        assert "check the URI in the dataset file" in ran.err

    def sign(self, toy: ToyFeed, state: str, ago: timedelta, why: str = "") -> WatcherState:
        """What a watcher has left in the lake."""
        when = datetime.now(UTC) - ago
        sign = WatcherState.model_validate(
            {
                "state": state,
                "since": when - timedelta(hours=1),
                "looked_at": when,
                "why": why,
                "every": 300.0,
                "host": "triggerer-0",
                "pid": 7,
                "first": when - timedelta(days=9),
            }
        )
        toy.inbox().lake.store.put("watch.json", sign.model_dump_json().encode())
        return sign

    def test_who_watches_is_said(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        sign = self.sign(toy, "watching", timedelta(seconds=40))
        assert sign.first is not None
        told = self.counts(flagfall)["watch"]
        assert told == {
            "state": "watching",
            "since": sign.since.isoformat().replace("+00:00", "Z"),
            "why": "",
            "looked_at": sign.looked_at.isoformat().replace("+00:00", "Z"),
            "host": "triggerer-0",
            "pid": 7,
            "no_hints": "",
            "first": sign.first.isoformat().replace("+00:00", "Z"),
        }
        shown = flagfall("status").out
        assert re.search(
            rf"toy: watched since {sign.since:%Y-%m-%d %H:%M:%S}, last sign 4\d s ago"
            r" \(process 7 on triggerer-0\)\n",
            shown,
        )

    @pytest.mark.invariant(6)
    def test_a_watcher_that_cannot_look_is_said_with_its_reason(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        sign = self.sign(toy, "unreachable", timedelta(seconds=5), "s3://x: access denied\x1b[2J")
        shown = flagfall("status")
        assert shown.code == 0, "this look worked"
        assert (
            f"toy: NOT REACHED by the watcher since {sign.since:%Y-%m-%d %H:%M:%S}, it tries at"
            " least every 60 s (process 7 on triggerer-0): s3://x: access denied\\x1b[2J\n"
        ) in shown.out
        assert self.counts(flagfall)["watch"]["state"] == "unreachable"

    @pytest.mark.parametrize("state", ["watching", "unreachable"])
    def test_a_watcher_that_is_gone_is_said(
        self, flagfall: CommandLine, toy: ToyFeed, state: str
    ) -> None:
        sign = self.sign(toy, state, timedelta(minutes=12))
        assert (
            f"toy: NOBODY WATCHES: no sign since {sign.looked_at:%Y-%m-%d %H:%M:%S} (process 7 on"
            " triggerer-0): it takes a triggerer, toy_pipeline unpaused, and storage that answers\n"
        ) in flagfall("status").out
        assert self.counts(flagfall)["watch"]["state"] == "silent"

    def test_that_nobody_has_ever_watched_is_said(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        nobody = "toy: NOBODY WATCHES, and nobody ever has: it takes a triggerer"
        assert nobody in flagfall("status").out

    def test_a_landing_zone_out_of_reach_hides_neither_the_lake_nor_the_watcher(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        accept(toy.inbox(), toy.drop("2026-11-01"))
        self.sign(toy, "unreachable", timedelta(0), f"{toy.landing}: away")
        toy.landing.rename(toy.root / "moved")
        toy.landing.touch()
        ran = flagfall("status", "toy", "--json")
        (told,) = ran.lines
        assert ran.code == 65
        assert (told["landed"], told["pending"], told["accepted"]) == (None, None, 1)
        assert told["watch"]["why"] == f"{toy.landing}: away"
        assert told["error"].startswith(f"{toy.landing}: a part of the path is not a directory")
        assert ran.err == f"flagfall: {told['error']}\n"
        shown = flagfall("status", "toy")
        assert (shown.code, shown.err) == (65, ran.err)
        assert re.search(r"^toy +\? +\? +1 ", shown.out, re.MULTILINE)
        assert "toy: NOT REACHED by the watcher since" in shown.out
        assert "accepted" in shown.out

    def test_a_lake_out_of_reach_is_one_clear_line(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        (toy.root / "lake").touch()
        ran = flagfall("status", "toy")
        assert (ran.code, ran.err.count("\n")) == (65, 1)
        assert "check the URI in the dataset file" in ran.err
        assert "NOBODY" not in ran.out

    def test_no_dataset_at_all_is_said(self, flagfall: CommandLine, tmp_path: Path) -> None:
        assert "a feed is one file <name>.yaml there" in flagfall.refused("status")

    @pytest.mark.parametrize("command", ["status toi", "replay toi x", "stage ingest toi x"])
    def test_an_unknown_dataset_is_answered_with_those_that_there_are(
        self, flagfall: CommandLine, toy: ToyFeed, command: str
    ) -> None:
        said = flagfall.refused(*command.split())
        assert "no dataset 'toi'" in said
        assert "has: toy" in said

    def test_places_come_from_the_environment(
        self, flagfall: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FLAGFALL_DATA", str(tmp_path / "data"))
        (tmp_path / "datasets").mkdir()
        (tmp_path / "datasets" / "toy.yaml").write_text(
            "title: Toy\n"
            "landing:\n  uri: ${FLAGFALL_DATA:-.data}/landing\n  marker: date={date}/_SUCCESS\n"
            "lake:\n  uri: ${FLAGFALL_DATA:-.data}/lake\n"
            "schema:\n  fields: [{name: id, type: integer}]\n"
        )
        (tmp_path / "data/landing/date=1").mkdir(parents=True)
        (tmp_path / "data/landing/date=1/_SUCCESS").touch()
        assert self.counts(flagfall)["landed"] == 1


class TestReplay:
    def test_a_received_batch_is_pending_again(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        marker = toy.drop("2026-11-01")
        accept(toy.inbox(), marker)
        ran = flagfall("replay", "toy", marker.batch_id)
        (again,) = toy.inbox().pending()
        assert (ran.code, ran.out) == (0, f"{again.batch_id} is pending, from landing\n")
        assert again.batch_id != marker.batch_id

    def test_a_batch_that_never_was_says_where_to_look(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        assert "`flagfall status` lists the last ones" in flagfall.refused("replay", "toy", "x.0")

    def test_a_batch_without_a_receipt_cannot_be_replayed(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        assert "no receipt" in flagfall.refused("replay", "toy", toy.drop("2026-11-01").batch_id)

    def test_a_range_without_batches_says_which_days_it_is_of(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        accept(toy.inbox(), toy.drop("2013-11-01"))
        asked = ("replay", "toy", "--since", "2013-11-01", "--until")
        said = flagfall(*asked, "2013-11-02").out
        assert "0 batches from landing\ndays are those on which batches landed (UTC)" in said
        assert "days are" not in flagfall(*asked, "2099-11-02").out

    def test_a_rejection_that_is_to_stay_is_dismissed_and_no_reason_any_more(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        marker, good = toy.drop("2026-11-01"), toy.drop("2026-11-02")
        toy.inbox().reject(marker, "no-data", "why")
        accept(toy.inbox(), good)
        assert "2026-11-01 (no-data) was rejected" in flagfall("status", "toy").out
        said = flagfall("dismiss", "toy", marker.batch_id, "--why", "closed").out
        assert f"{marker.batch_id} stays rejected" in said
        assert "was rejected" not in flagfall("status", "toy").out
        for batch in (good.batch_id, "x.0"):
            said = flagfall.refused("dismiss", "toy", batch)
            assert f"no rejected and uncorrected batch '{batch}'" in said

    def test_all_that_were_rejected_for_a_reason_are_handed_out_again(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        inbox = toy.inbox()
        markers = [toy.drop(f"2026-11-0{n}") for n in range(1, 5)]
        for marker, reason in zip(
            markers, ["not-readable", "no-data", "not-readable"], strict=False
        ):
            inbox.reject(marker, reason, "why")
        again = toy.drop("2026-11-01")  # rejected before, accepted now: not to be done again
        accept(toy.inbox(), again)
        shown = flagfall("replay", "toy", "--reason", "not-readable")
        assert shown.out.startswith("1 batch from landing, in 1 run or more")
        assert "nothing is done yet: --yes" in shown.out
        assert toy.inbox().lake.store.stat("receipts/replays") is None
        assert flagfall("replay", "toy", "--reason", "not-readable", "--yes").code == 0
        pending = {(marker.fields["date"], marker.replay) for marker in toy.inbox().pending()}
        assert pending == {("2026-11-03", 1), ("2026-11-04", 0)}

    def test_a_reason_that_there_is_not_is_answered_with_those_that_there_are(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        toy.inbox().reject(toy.drop("2026-11-01"), "no-data", "why")
        said = flagfall.refused("replay", "toy", "--reason", "not-readible")
        assert "no open batch rejected for 'not-readible'; open are: no-data" in said

    def test_a_range_is_shown_first_and_handed_out_with_yes(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        for day in (1, 2, 3):
            flagfall("stage", "ingest", "toy", toy.drop(f"2026-11-0{day}").batch_id)
        shutil.rmtree(toy.landing)
        command = ("replay", "toy", "--since", "2020-01-01", "--from", "staged")
        shown = flagfall(*command).out.splitlines()
        assert shown[0] == "3 batches from staged, in 1 run or more; what is new goes first"
        assert shown[1].endswith("(accepted, 2 rows)")
        assert toy.inbox().pending() == []
        assert "pending: 3 batches" in flagfall(*command, "--yes").out
        assert len(toy.inbox().pending()) == 3
        assert "3 left out: a replay of it is pending" in flagfall(*command, "--yes").out
        from_landing = flagfall("replay", "toy", "--since", "2020-01-01").out
        assert "3 left out: it left the landing zone: use --from staged" in from_landing

    def test_one_batch_is_taken_from_staged_rows(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        marker = toy.drop("2026-11-01")
        refused = ("replay", "toy", marker.batch_id, "--from", "staged")
        toy.inbox().reject(marker, "no-data", "why")
        assert "no staged rows of batch" in flagfall.refused(*refused)
        flagfall("stage", "ingest", "toy", toy.drop("2026-11-02").batch_id)
        assert flagfall("replay", "toy", "2026-11-02", "--from", "staged").code == 0
        (again,) = toy.inbox().pending()
        assert again.staged_from.startswith("2026-11-02.")

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--since", "11/05"], "no day '11/05'; expected one such as 2013-11-05"),
            (["--since", "2026-11-02", "--until", "2026-11-01"], "exchange the two"),
            (["--reason", "no-data", "--from", "staged"], "a rejected batch has none; use --from"),
            (["--model-version", "2"], "no model of dataset 'toy'"),
        ],
    )
    def test_a_wish_that_cannot_be_is_one_clear_line(
        self, flagfall: CommandLine, toy: ToyFeed, arguments: list[str], says: str
    ) -> None:
        assert says in flagfall.refused("replay", "toy", *arguments)

    @pytest.mark.parametrize(
        ("arguments", "given"),
        [([], "neither a batch"), (["a.0", "--since", "2026-11-01"], "both a batch")],
    )
    def test_it_wants_a_batch_or_a_range(
        self, flagfall: CommandLine, toy: ToyFeed, arguments: list[str], given: str
    ) -> None:
        ran = flagfall("replay", "toy", *arguments)
        said = " ".join(ran.err.replace("│", " ").split())
        assert ran.code == ExitCode.MISSPELT
        assert given in said
        assert "give either a batch, or --since, --until, --reason or --model-version" in said

    def test_one_batch_that_left_the_landing_zone_is_refused_as_many_are(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        flagfall("stage", "ingest", "toy", toy.drop("2026-11-01").batch_id)
        shutil.rmtree(toy.folder("2026-11-01"))
        said = flagfall.refused("replay", "toy", "2026-11-01")
        assert "it left the landing zone: use --from staged" in said
        assert toy.inbox().pending() == []
        assert flagfall("replay", "toy", "2026-11-01", "--from", "staged").code == 0


class TestALabelNamesABatch:
    DAY = "2026-11-01"

    def test_that_has_one_delivery(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        first = toy.drop(self.DAY)
        ((staged,),) = flagfall("stage", "ingest", "toy", self.DAY).lines
        assert (staged["status"], staged["marker"]["key"]) == ("accepted", first.key)
        assert flagfall("replay", "toy", self.DAY).out.startswith(f"{self.DAY}.")
        assert [marker.replay for marker in toy.inbox().pending()] == [1]

    def test_of_which_the_delivery_that_counts_is_meant(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        accept(toy.inbox(), toy.drop(self.DAY))
        second = toy.drop(self.DAY, "id,value\n1,2\n")
        accept(toy.inbox(), second)
        flagfall("replay", "toy", self.DAY)
        (again,) = toy.inbox().pending()
        assert (again.version, again.replay) == (second.version, 1)

    def test_also_where_a_replay_of_it_was_rejected(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        first = toy.drop(self.DAY)
        flagfall("stage", "ingest", "toy", first.batch_id)
        again = replace(first, replay=1)
        toy.inbox().reject(again, "marker-removed", "it was away", turn=1)
        listed = flagfall("status", "toy", self.DAY)
        assert [line.split()[0] for line in listed.out.splitlines() if self.DAY in line][-2:] == [
            "accepted",
            "rejected",
        ]
        assert "nothing of it is open" in flagfall.refused("dismiss", "toy", again.batch_id)
        assert flagfall("replay", "toy", self.DAY).code == 0

    def test_unless_a_later_one_was_rejected(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        first = toy.drop(self.DAY)
        accept(toy.inbox(), first)
        flagfall("stage", "ingest", "toy", toy.drop(self.DAY, "nonsense\n").batch_id)
        second = toy.marker(self.DAY)
        said = flagfall.refused("replay", "toy", self.DAY)
        assert f"'{self.DAY}' names 2 batches: {first.batch_id} (accepted)," in said
        assert f"{second.batch_id} (rejected); give the id of one of them" in said
        assert flagfall("replay", "toy", first.batch_id).code == 0

    def test_unless_a_correction_is_pending_that_a_stage_could_take_in(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        first = toy.drop(self.DAY)
        accept(toy.inbox(), first)
        second = toy.drop(self.DAY, "id,value\n1,2\n")
        said = flagfall.refused("stage", "ingest", "toy", self.DAY)
        assert f"{first.batch_id} (accepted), {second.batch_id} (pending)" in said

    def test_unless_two_markers_have_it(self, flagfall: CommandLine, tmp_path: Path) -> None:
        toy = make_toy(tmp_path, marker="{part}.ready")
        for key in ("a-b/c", "a/b-c"):
            path = toy.landing / f"date={key}.ready"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / "datasets/toy.yaml").write_text(
            TOY.format(root=tmp_path, marker="{part}.ready", more="")
        )
        one, two = sorted(marker.batch_id for marker in toy.inbox().pending())
        assert (one[:5], two[:5]) == ("a-b-c", "a-b-c")
        said = flagfall.refused("stage", "ingest", "toy", "a-b-c")
        assert one in said
        assert two in said

    def test_that_is_longer_than_an_id_shows(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        names = ["a" * 70 + end for end in "xy"]
        for name in names:
            accept(toy.inbox(), toy.drop(name))
        flagfall("replay", "toy", names[1])
        assert [marker.label for marker in toy.inbox().pending()] == [names[1]]

    def test_and_status_shows_all_its_deliveries(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        accept(toy.inbox(), toy.drop(self.DAY))
        accept(toy.inbox(), toy.drop("2026-11-02"))
        flagfall("stage", "ingest", "toy", toy.drop(self.DAY, "nonsense\n").batch_id)
        ids = [r.batch_id for r in toy.inbox().receipts.deliveries(toy.marker(self.DAY))]
        found = flagfall("status", "toy", ids[1], "--json").lines
        assert [one["status"] for one in found] == ["rejected", "accepted"]
        shown = flagfall("status", "toy", ids[0]).out
        assert ("accepted" in shown, "rejected" in shown) == (True, True)
        assert "date=2026-11-02" not in shown
        assert "no batch '1999'" in flagfall.refused("status", "toy", "1999")


class TestUpkeep:
    def test_it_shows_what_would_go_and_drops_it_with_yes(
        self, flagfall: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toy = make_toy(tmp_path, keep="staged: 1d", after_receipt="delete")
        flagfall("stage", "ingest", "toy", toy.drop("2026-11-01").batch_id)
        clock = Clock()
        clock.advance(timedelta(days=9))
        monkeypatch.setattr("flagfall.inbox.inbox.Inbox.__init__.__defaults__", (clock,))
        lake, landing = flagfall("upkeep", "toy").out.splitlines()
        assert lake.startswith("would go: staged rows of 1 batches, older than 1d: 2 objects, ")
        assert landing.startswith("would go: 1 batches in the landing zone (delete): 1 files and")
        assert len(toy.snapshot()) == 2
        assert flagfall("upkeep", "toy", "--yes").out.startswith("gone: staged rows of 1 batches")
        assert toy.snapshot() == {}

    def test_a_dataset_that_keeps_all_says_so(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        assert "neither lake.keep nor landing.after_receipt" in flagfall.refused("upkeep", "toy")


class TestStage:
    def test_an_unknown_stage_is_answered_with_those_that_there_are(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        marker = toy.drop("2026-11-01")
        said = flagfall.refused("stage", "ingets", "toy", marker.batch_id)
        assert "no stage 'ingets'; there are: ingest, preprocess, infer, evaluate, report" in said

    def test_an_unknown_batch_says_where_to_look(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        said = flagfall.refused("stage", "ingest", "toy", "x.0")
        assert "no batch 'x.0'; `flagfall status DATASET` lists" in said

    def test_ingest_takes_a_pending_batch_in_once(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        marker = toy.drop("2026-11-01")
        ran = [flagfall("stage", "ingest", "toy", marker.batch_id) for _ in range(2)]
        assert [one.code for one in ran] == [0, 0]
        assert ran[0].out == ran[1].out
        ((delivery,),) = ran[0].lines
        assert (delivery["status"], delivery["rows"]) == ("accepted", 2)
        assert toy.inbox().pending() == []

    @pytest.mark.invariant(5)
    def test_a_bad_batch_is_a_rejected_receipt_and_no_error(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        marker = toy.drop("2026-11-01")
        (toy.folder("2026-11-01") / "rows.csv").write_text("cut sho")
        ran = flagfall("stage", "ingest", "toy", marker.batch_id)
        ((delivery,),) = ran.lines
        assert (ran.code, delivery["status"]) == (0, "rejected")
        assert delivery["reason"] == "size-differs"
        assert "rows.csv" in delivery["message"]
        assert ran.err.startswith(f"flagfall: {marker.batch_id} was rejected (size-differs): ")

    def test_several_batches_are_one_command(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        """Received ones and pending ones, in the order in which they are given."""
        ids = [toy.drop(f"2026-11-0{day}").batch_id for day in (1, 2, 3)]
        flagfall("stage", "ingest", "toy", ids[1])
        (deliveries,) = flagfall("stage", "ingest", "toy", *reversed(ids)).lines
        assert [one["marker"]["fields"]["date"][-1] for one in deliveries] == ["3", "2", "1"]
        assert toy.inbox().pending() == []

    def test_report_says_where_the_page_is(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        marker = toy.drop("2026-11-01")
        flagfall("stage", "ingest", "toy", marker.batch_id)
        ran = flagfall("stage", "report", "toy", marker.batch_id)
        assert ran.code == 0
        assert Path(ran.lines[0]["uri"]).read_text().lower().startswith("<!doctype html>")

    def test_report_needs_a_receipt(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        marker = toy.drop("2026-11-01")
        assert "run its ingest stage first" in flagfall.refused(
            "stage", "report", "toy", marker.batch_id
        )

    def test_a_stage_that_fails_is_told_once_and_without_a_traceback(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        toy = make_toy(tmp_path, more=MODEL)
        marker = toy.drop("2026-11-01")
        assert flagfall("stage", "ingest", "toy", marker.batch_id).code == 0
        with shell("stage", "preprocess", "toy", marker.batch_id) as running:
            out, err = running.communicate()
        assert (running.returncode, out) == (HOPELESS_EXIT, "")
        assert err.startswith("flagfall: model ")
        assert err.count("\n") == 1


class TestCheck:
    def test_a_dataset_without_a_model_is_fine(self, flagfall: CommandLine, toy: ToyFeed) -> None:
        assert flagfall("check").out == "toy: fine; 2 columns, no model\n"

    def test_a_model_that_does_not_score_two_rows_at_once_is_refused(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        make_scored_toy(tmp_path)
        says = "the probability of '1' (the other class is '0')"
        assert flagfall("check").out == f"toy: fine; 2 columns, 1 features, model 1: {says}\n"
        write_model(tmp_path / "model", 1, {"scores": "ReduceMean"})
        ran = flagfall("check")
        assert ran.code == 65
        assert "'scores': expected shape [24, classes], [24, 1] or [24], got [1, 1]" in ran.err

    def test_a_lake_that_cannot_be_written_is_told_and_left_alone_offline(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        make_toy(tmp_path)
        (tmp_path / "lake").write_text("no directory")
        ran = flagfall("check")
        assert (ran.code, ran.out) == (65, "")
        assert "lake" in ran.err
        assert flagfall("check", "--offline").out == "toy: fine; 2 columns, no model\n"

    def test_a_landing_zone_that_is_not_there_yet_is_said(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        ran = flagfall("check")
        assert ran.code == 0
        assert ran.err == f"flagfall: toy: the landing zone {toy.landing} is not there yet\n"
        toy.landing.mkdir()
        assert flagfall("check").err == ""

    def test_a_landing_zone_that_is_a_file_is_refused(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        toy.landing.touch()
        ran = flagfall("check")
        assert ran.code == 65
        assert "is not a directory; check the URI in the dataset file" in ran.err

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOTCONN, errno.ESTALE])
    @pytest.mark.parametrize(("key", "line"), [("landing", 2), ("lake", 3)])
    def test_a_place_that_answers_with_an_error_stops_no_other_dataset(
        self,
        flagfall: CommandLine,
        toy: ToyFeed,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        key: str,
        line: int,
    ) -> None:
        toy.landing.mkdir()
        file = toy.root / "datasets" / "toy.yaml"
        dead = toy.root / "dead"
        text = file.read_text().replace(f"{toy.root}/{key}", f"{dead}/{key}")
        (other := file.with_name("a.yaml")).write_text(text)
        break_below(monkeypatch, dead, number)
        ran = flagfall("check")
        assert ran.out == "toy: fine; 2 columns, no model\n"
        assert ran.err.startswith(f"flagfall: {other}: line {line}: {key}.uri: {dead}/{key}")
        assert ran.code == (65 if number == errno.EACCES else 1)

    def test_a_landing_zone_below_a_file_is_refused(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        file = toy.root / "datasets" / "toy.yaml"
        file.write_text(file.read_text().replace(str(toy.landing), f"{file}/landing"))
        assert "line 2: landing.uri: " in flagfall.refused("check")

    def test_a_lake_with_a_name_that_is_too_long_is_refused(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        file = toy.root / "datasets" / "toy.yaml"
        file.write_text(file.read_text().replace(f"{toy.root}/lake", f"{toy.root}/{'x' * 300}"))
        assert "shorten it" in flagfall.refused("check")

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            ("features:\n  - {name: x, expr: 'id *'}", "line 11: features[0].expr: 'id *': "),
            ("features:\n  - {name: x, expr: id + nope}", "line 11: features[0].expr: "),
        ],
    )
    def test_what_features_lack_is_said_with_its_line(
        self, flagfall: CommandLine, tmp_path: Path, more: str, says: str
    ) -> None:
        make_toy(tmp_path, more=more)
        assert f"{tmp_path}/datasets/toy.yaml: {says}" in flagfall.refused("check", "--offline")

    def test_a_notifier_that_cannot_be_imported_is_told(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        make_toy(tmp_path, more="notify: [{notifier: no.such.Notifier}]")
        ran = flagfall("check")
        assert ran.code == 65
        problem = "notify[0].notifier: 'no.such.Notifier' cannot be imported"
        assert re.search(rf"toy\.yaml: line \d+: {re.escape(problem)}", ran.err)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (None, "expected a pod in YAML, there is no file "),
            ("a: [", "expected a pod in YAML, "),
            ("just text", "expected a pod in YAML, "),
            ("{kind: Deployment}", "expected a pod in YAML, got kind: Deployment in "),
            ("{apiVersion: apps/v1, kind: Pod}", "expected a pod in YAML, got apiVersion: apps/v1"),
            ("spec: {}", "expected a pod in YAML, got no volume at /tmp in the first container"),
            (POD.replace("/tmp", "/scratch"), "expected a pod in YAML, got no volume at /tmp"),
            (POD.replace("name: s,", "name: t,", 1), "expected a pod in YAML, got no volume at"),
            (POD.replace("/tmp", "/tmp, readOnly: true"), "expected a pod in YAML, got no volume"),
            (
                POD.replace("{}", "{sizeLimit: 4 gigs}"),
                "expected a pod in YAML, got spec.volumes[0].emptyDir.sizeLimit: 4 gigs instead",
            ),
            (
                POD.replace("base,", "base, resources: {limits: {nvidia.com/gpu: one}},"),
                "expected a pod in YAML, got spec.containers[0].resources.limits.nvidia.com/gpu: o",
            ),
        ],
    )
    def test_a_template_that_is_no_pod_is_told(
        self, flagfall: CommandLine, tmp_path: Path, text: str | None, says: str
    ) -> None:
        file = make_scored_toy(tmp_path).root / "datasets" / "toy.yaml"
        pod = "engine: pod, pod: {image: a, template: pod.yaml}"
        file.write_text(file.read_text().replace("task: binary", f"task: binary, {pod}"))
        if text is not None:
            (tmp_path / "pod.yaml").write_text(text)
        ran = flagfall("check")
        assert (ran.code, ran.err.count("\n")) == (65, 1)
        assert re.search(rf"toy\.yaml: line \d+: model\.pod\.template: {re.escape(says)}", ran.err)
        (tmp_path / "pod.yaml").write_text(POD.replace("{}", "{sizeLimit: 1.5Gi}"))
        assert flagfall("check").code == 0

    def test_what_does_not_fit_is_told_for_every_dataset(
        self, flagfall: CommandLine, tmp_path: Path
    ) -> None:
        make_toy(tmp_path, more=MODEL)
        folder = tmp_path / "datasets"
        (folder / "good.yaml").write_text(TOY.format(root=tmp_path, marker="_SUCCESS", more=""))
        bad = MODEL.replace("{name: value}", "{name: v, expr: nix + 1}")
        (folder / "bad.yaml").write_text(TOY.format(root=tmp_path, marker="_SUCCESS", more=bad))
        ran = flagfall("check")
        assert ran.code == 65
        assert ran.out == "good: fine; 2 columns, no model\n"
        assert "bad.yaml: line 10: features[0].expr: 'nix + 1'" in ran.err
        assert re.search(r"toy\.yaml: line \d+: model: model ", ran.err)
        assert "no-such-model: constants.json is missing" in ran.err

    def test_a_rule_that_cannot_be_is_named_and_reads_no_file(
        self, flagfall: CommandLine, toy: ToyFeed
    ) -> None:
        path = toy.root / "datasets/toy.yaml"
        expr = "value IN (FROM read_csv('/etc/passwd'))"
        rule = f'  rules: [{{name: a, expr: "{expr}"}}]\n'
        path.write_text(path.read_text().replace("  primaryKey", f"{rule}  primaryKey"))
        said = flagfall.refused("check", "toy")
        assert re.search(r"line \d+: schema\.rules\[0\]\.expr: expected an SQL", said)
        assert "root:" not in said


COMMANDS = [c.callback.__name__.removesuffix("_command") for c in app.registered_commands]


class TestHelp:
    def test_without_a_command_the_commands_are_listed(self, flagfall: CommandLine) -> None:
        ran = flagfall()
        for command in COMMANDS:
            assert command in ran.out + ran.err

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_says_what_it_does(self, flagfall: CommandLine, name: str) -> None:
        ran = flagfall(name, "--help")
        assert ran.code == 0
        assert f"Usage: flagfall {name}" in ran.out
        assert f"Example: flagfall {name}" in ran.out

    @pytest.mark.parametrize(
        "arguments",
        [["nonsense"], ["watch", "."], ["publish", "."], ["status", "--nonsense"]],
        ids=" ".join,
    )
    def test_a_slip_in_the_command_is_exit_code_2_and_shows_the_usage(
        self, flagfall: CommandLine, arguments: list[str]
    ) -> None:
        ran = flagfall(*arguments)
        assert ran.code == 2
        assert "Usage: flagfall" in ran.err

    @pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
    def test_h_is_help(self, flagfall: CommandLine, command: list[str]) -> None:
        assert flagfall(*command, "-h") == flagfall(*command, "--help")

    @pytest.mark.parametrize(
        ("typed", "completed"),
        [
            ("flagfall sta", ["stage", "status"]),
            ("flagfall status to", ["toy"]),
            ("flagfall check ", ["toy"]),
            ("flagfall publish . --dataset t", ["toy"]),
            ("flagfall status --ch", ["--check"]),
        ],
    )
    def test_bash_completes_commands_options_and_names_of_datasets(
        self, toy: ToyFeed, typed: str, completed: list[str]
    ) -> None:
        words = typed.split(" ")
        script = f"""
            set -e
            eval "$(flagfall --show-completion bash)"
            COMP_WORDS=({" ".join(word or "''" for word in words)}); COMP_CWORD={len(words) - 1}
            _flagfall_completion flagfall
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "FLAGFALL_DATASETS": str(toy.root / "datasets")}
        ran = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert sorted(ran.stdout.split()) == completed

    def test_it_says_which_release_it_is(self, flagfall: CommandLine) -> None:
        ran = flagfall("--version")
        assert (ran.code, ran.out) == (0, f"flagfall {version('flagfall')}\n")

    def test_it_is_installed_as_a_command(self) -> None:
        command = Path(sys.executable).with_name("flagfall")
        ran = subprocess.run([command, "status", "--help"], capture_output=True, check=True)
        assert b"Usage: flagfall status" in ran.stdout
