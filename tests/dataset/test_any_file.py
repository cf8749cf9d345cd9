"""Whatever a file of the folder is, it ends in words, and stops no feed beside it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from flagfall.dataset.loader import dataset_files, find_dataset, read_dataset, usable_datasets
from flagfall.dataset.outcomes import joined_to
from flagfall.errors import DatasetInvalid

GOOD = """\
title: A toy feed
landing: {uri: landing, marker: "{day}/_SUCCESS"}
lake: {uri: lake}
schema:
  fields:
    - {name: id, type: integer}
"""
"""It has 6 lines."""


def folder_of(root: Path, more: str = "") -> Path:
    """A folder with a dataset ``good``, and one whose file goes on with ``more``."""
    folder = root / "datasets"
    folder.mkdir(exist_ok=True)
    (folder / "good.yaml").write_text(GOOD)
    if more:
        (folder / "bad.yaml").write_text(GOOD + more)
    return folder


def said_of(root: Path, more: str) -> DatasetInvalid:
    """What is said of the file that goes on with ``more``; the other is used."""
    usable, broken = usable_datasets(folder_of(root, more))
    assert [dataset.name for dataset in usable] == ["good"]
    (found,) = broken
    assert found.path.endswith("bad.yaml")
    return found


@pytest.mark.invariant(5)
@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("holidays:\n  2024-02-30: Karneval", 8),
        ("2024-02-30: x", 7),
        ("0b_: x", 7),
        ("0x_: x", 7),
        ("2024-13-01: x", 7),
        ("2024-01-01 25:00:00: x", 7),
        ("? !!null 2024-02-30\n: x", 7),
        ("? !!timestamp 01.02.2024\n: x", 7),
        ("? !!bool maybe\n: x", 7),
        ("? !!set {a}\n: x", 7),
        ("? !!omap [a: 1]\n: x", 7),
        ("title2: !!timestamp 01.02.2024", 7),
        ("title2: !!bool maybe", 7),
        ("title2: !!int ''", 7),
        ("title2: !!float x", 7),
        ("title2: !!int [1]", 7),
        ("title2: !!binary ü", 7),
        ("title2: !own x", 7),
        ("title2: 0b_", 7),
        ("title2: 2024-01-01 00:00:00+99:00", 7),
        ("<<: x", 7),
        ("x: &x {<<: *x}", 7),
        ("? [[a]]\n: x", 7),
    ],
)
def test_what_yaml_can_make_nothing_of_is_named_with_its_line(
    tmp_path: Path, more: str, line: int
) -> None:
    problems = said_of(tmp_path, more).problems
    assert line in {problem.line for problem in problems}
    assert not any("NoneType" in problem.message for problem in problems)


def test_text_that_looks_like_a_value_is_said_to_need_quotes(tmp_path: Path) -> None:
    for more in ("owner: 2024-02-30", "owner: 0b_", "owner: !!timestamp 01.02.2024"):
        assert "in quotes if it is text" in str(said_of(tmp_path, more))


@pytest.mark.parametrize("more", ["owner: =", "description: {=: x}", "notify: [=]"])
def test_an_equals_sign_is_a_text(tmp_path: Path, more: str) -> None:
    folder = folder_of(tmp_path, more)
    if more == "owner: =":
        assert read_dataset(folder / "bad.yaml").owner == "="
    else:
        (problem,) = said_of(tmp_path, more).problems
        assert problem.line == 7


def test_a_delimiter_may_be_an_equals_sign(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "dialect: {delimiter: =}")
    assert read_dataset(folder / "bad.yaml").dialect.delimiter == "="


def test_a_fault_of_our_own_stops_one_feed_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flagfall.dataset.loader as loader

    validate = loader.Dataset.model_validate

    def broken(raw: dict[str, object]) -> object:
        if raw["name"] == "bad":
            raise AttributeError("a fault")
        return validate(raw)

    monkeypatch.setattr(loader.Dataset, "model_validate", broken)
    assert "AttributeError: a fault" in str(said_of(tmp_path, "owner: x"))


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "loop"])
@pytest.mark.timeout(20)
def test_what_is_no_file_is_left_out_with_a_word(tmp_path: Path, kind: str) -> None:
    folder = folder_of(tmp_path)
    odd = folder / "odd.yaml"
    made = socket.socket(socket.AF_UNIX)
    with made:
        {
            "fifo": lambda: os.mkfifo(odd),
            "socket": lambda: made.bind(str(odd)),
            "folder": odd.mkdir,
            "loop": lambda: odd.symlink_to(odd),
        }[kind]()
        usable, (broken,) = usable_datasets(folder)
        assert [dataset.name for dataset in usable] == ["good"]
        assert "odd.yaml: expected a file that can be read" in str(broken)
        assert joined_to(usable[0], folder) == []


class TestAFolderThatMayNotBeListed:
    def closed(self, root: Path) -> Path:
        folder = folder_of(root)
        folder.chmod(0o311)
        return folder

    def test_it_is_an_error_and_no_folder_without_datasets(self, plain_user: Path) -> None:
        folder = self.closed(plain_user)
        for act in (dataset_files, usable_datasets, lambda at: find_dataset("good", at)):
            with pytest.raises(DatasetInvalid, match="listed: Permission denied"):
                act(folder)

    def test_so_is_one_whose_parent_may_not_be_entered(self, plain_user: Path) -> None:
        inner = folder_of(plain_user)
        plain_user.chmod(0)
        with pytest.raises(DatasetInvalid, match="Permission denied"):
            dataset_files(inner)
        plain_user.chmod(0o700)

    def test_so_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "datasets").write_text("")
        with pytest.raises(DatasetInvalid, match="Not a directory"):
            dataset_files(tmp_path / "datasets")


@pytest.mark.parametrize(
    ("more", "key", "says"),
    [
        ("thresholds: {rejected_share: 0,05}", "thresholds.05", "write 0.05 for 0,05"),
        ("limits: {files: 1,000}", "limits.000", "1000 for thousands"),
        ("thresholds: {rejected_share: 0,05, psi_max: 1}", "thresholds.05", "write 0.05"),
        ("thresholds:\n  rejected_share: 0,05", "thresholds.rejected_share", "write 0.05 if"),
        ("limits:\n  files: 1,000", "limits.files", "write 1000 if"),
        ("notify:", "notify", "leave it out, or give it a value"),
        ("arrival:", "arrival", "leave it out, or give it a value"),
        ("owner:", "owner", "leave it out, or give it a value"),
        ("owner: ~", "owner", "YAML reads ~ as None: put it in quotes"),
    ],
)
def test_the_remedy_is_one_that_helps(tmp_path: Path, more: str, key: str, says: str) -> None:
    (problem,) = said_of(tmp_path, more).problems
    assert problem.key == key
    assert says in problem.message
    assert ("in quotes" in problem.message) == ("in quotes" in says)


@pytest.mark.parametrize(
    "classes", ["[no, yes]", "[y, 1_000]", "[0x10, b]", "[Off, b]", "[a, ~]", "[1.0, 2.0]"]
)
def test_a_class_is_the_text_that_is_written(tmp_path: Path, classes: str) -> None:
    invalid = said_of(tmp_path, f"model: {{path: m, classes: {classes}}}")
    assert all(problem.line == 7 for problem in invalid.problems)
    assert "in quotes" in str(invalid)


@pytest.mark.parametrize("classes", ["[010, b]", "[1:30, b]"])
def test_a_class_that_is_an_octal_number_is_named_once(tmp_path: Path, classes: str) -> None:
    (problem,) = said_of(tmp_path, f"model: {{path: m, classes: {classes}}}").problems
    assert problem.key == "model.classes[0]"


@pytest.mark.parametrize("positive", ["no", "1_000", "~"])
def test_so_is_the_positive_class(tmp_path: Path, positive: str) -> None:
    (problem,) = said_of(tmp_path, f"model: {{path: m, positive_class: {positive}}}").problems
    assert (problem.key, problem.line) == ("model.positive_class", 7)
    assert "in quotes" in problem.message


@pytest.mark.parametrize(
    "classes", ["[true, false]", "[True, False]", "[1, 0]", "['no', 'yes']", "[a, b]"]
)
def test_a_class_that_yaml_reads_as_people_do_needs_no_quotes(tmp_path: Path, classes: str) -> None:
    model = f"model: {{path: m, classes: {classes}}}"
    scorer = read_dataset(folder_of(tmp_path, model) / "bad.yaml").model
    assert scorer is not None
    assert str(list(scorer.classes)).replace("'", "") == classes.replace("'", "").replace(
        "T", "t"
    ).replace("F", "f")


BOMB = "a0: &a0 [xxxxxxxxxx]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
"""A list of 10^11 texts."""
PLACES = (
    "title2: *a11",
    "owner: *a11",
    "arrival: {lag: *a11}",
    "thresholds: {psi_max: *a11}",
    "features: {python: *a11}",
    "lake2: {keep: *a11}",
    "model: {path: m, classes: *a11}",
    "model: {path: m, engine: pod, pod: {image: a, cpu: *a11}}",
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.timeout(60)
def test_a_message_is_short_whatever_a_value_is(tmp_path: Path, place: str) -> None:
    invalid = said_of(tmp_path, f"{BOMB}{place}\n")
    assert max(map(len, str(invalid).split("\n"))) < 2_000


@pytest.mark.timeout(60)
def test_nor_does_a_list_of_lists_at_the_top_take_long(tmp_path: Path) -> None:
    lines = BOMB.replace("a0:", "-", 1)
    folder = folder_of(tmp_path)
    (folder / "bad.yaml").write_text(
        "".join(f"- &{line.partition('&')[2]}\n" for line in lines.splitlines())
    )
    with pytest.raises(DatasetInvalid) as caught:
        read_dataset(folder / "bad.yaml")
    assert len(str(caught.value)) < 2_000


def test_a_number_of_very_many_digits_is_refused_in_words(tmp_path: Path) -> None:
    for place in ("owner: ", "limits: {files: ", "arrival: {lag: "):
        more = f"{place}0x{'f' * 9_000}{'}' if '{' in place else ''}"
        assert len(str(said_of(tmp_path, more))) < 2_000


@pytest.mark.parametrize(
    "uri", ["s3://key:se/cret@bucket/x", "s3a://key:se/cret@b/x", "s3:/k:cret@b"]
)
@pytest.mark.parametrize("key", ["landing.uri", "lake.uri", "model.path", "model.server.url"])
def test_a_password_in_an_address_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, key: str
) -> None:
    monkeypatch.setenv("TOY_PLACE", uri)
    for value in (uri, "${TOY_PLACE}"):
        folder = folder_of(tmp_path)
        text = {
            "landing.uri": GOOD.replace("uri: landing", f"uri: '{value}'"),
            "lake.uri": GOOD.replace("uri: lake", f"uri: '{value}'"),
            "model.path": f"{GOOD}model: {{path: '{value}'}}",
            "model.server.url": GOOD
            + f"model: {{path: m, engine: open-inference, server: {{url: '{value}'}}}}",
        }[key]
        (folder / "bad.yaml").write_text(text)
        with pytest.raises(DatasetInvalid) as caught:
            read_dataset(folder / "bad.yaml")
        assert key in str(caught.value)
        assert "cret" not in str(caught.value)


def test_a_path_of_a_variable_is_shown_with_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_PLACE", "~/models")
    assert "got '~/models' of '${TOY_PLACE}'" in str(
        said_of(tmp_path, "model: {path: '${TOY_PLACE}'}")
    )


@pytest.mark.timeout(60)
def test_mappings_that_are_merged_into_very_large_ones_are_refused(tmp_path: Path) -> None:
    lines = "".join(
        f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
    )
    invalid = said_of(tmp_path, f"m0: &m0 {{{', '.join(f'k{n}: 1' for n in range(10))}}}\n{lines}")
    assert "too many keys" in str(invalid)
    assert invalid.problems[0].line is not None
