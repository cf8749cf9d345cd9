"""``flagfall model init`` and ``model check``: from a model's file to a folder that scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from flagfall.cli import deadline
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import read_dataset
from flagfall.errors import HOPELESS_EXIT
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Predicted
from flagfall.publish import publish
from flagfall.scoring.reference import Reference
from flagfall.stages.shard import Delivery, run_stage
from tests.cli.test_cli import CommandLine

LOANS = """\
title: Loans
landing: {uri: ROOT/landing, marker: "{day}/datapackage.json", settle: 0s}
lake: {uri: ROOT/lake}
schema:
  fields:
    - {name: id, type: integer, constraints: {required: true}}
    - {name: income, type: number, constraints: {minimum: 0}}
    - {name: purpose, type: string, constraints: {required: true}}
    - {name: defaulted, type: boolean}
  primaryKey: [id]
model: {path: ROOT/model, engine: python}
label: {expr: defaulted}
"""
RULES = """\
import polars as pl

TASK = "binary"


def load(folder):
    return 100.0


def predict(model, rows):
    return (1 / (1 + rows["income"].fill_null(0.0) / model)).to_numpy()
"""
TRAIN = "id,income,purpose,defaulted\n1,50,car,true\n2,200,house,false\n3,,car,\n4,900,boat,false\n"


class Project:
    """A folder with one dataset, a model and training data."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        monkeypatch.setenv("FLAGFALL_DATASETS", str(root / "datasets"))
        (root / "datasets").mkdir()
        self.write(LOANS)
        self.rules(RULES)
        self.train = root / "train.csv"
        self.train.write_text(TRAIN)

    def write(self, text: str) -> None:
        self.file = self.root / "datasets" / "loans.yaml"
        self.file.write_text(text.replace("ROOT", str(self.root)))

    def rules(self, text: str) -> None:
        (self.root / "model").mkdir(exist_ok=True)
        (self.root / "model" / "model.py").write_text(text)

    def card(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.root / "model" / "card.json").read_text())
        return found

    def score(self, text: str) -> tuple[Predicted, pl.DataFrame]:
        """Take a batch in and score it, by the stages themselves."""
        dataset = read_dataset(self.file)
        source = self.root / "producer"
        source.mkdir()
        (source / "rows.csv").write_text(text)
        publish(source, str(self.root / "landing" / "monday"))
        inbox = Inbox(Feed.of(dataset))
        (marker,) = inbox.pending()
        found = [Delivery(marker)]
        for stage in ("ingest", "preprocess", "infer", "evaluate"):
            found = run_stage(stage, dataset, inbox, found)
        record = inbox.lake.find(Predicted, marker.batch_id)
        assert record is not None
        (part,) = inbox.lake.parts(record, self.root)
        return record, pl.read_parquet(part)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


@pytest.fixture
def flagfall(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capsys)


def test_a_model_is_taken_in_checked_and_scores_a_batch(
    project: Project, flagfall: CommandLine
) -> None:
    ran = flagfall("model", "init", "loans", "--train", project.train)
    assert (ran.code, ran.err) == (
        0,
        "flagfall: left out: no drift is measured of: id, defaulted\n",
    )
    assert ran.out.endswith("4 training rows; wrote reference.json, card.json, README.md\n")
    card = project.card()
    assert card["task"] == "binary"
    assert str(card["version"]).startswith("sha256-")
    assert set(Reference.read(str(project.root / "model")).features) == {"income", "purpose"}

    assert "the probability of '1'" in flagfall("check", "loans", "--offline").out
    record, rows = project.score(TRAIN)
    assert (record.model_version, record.positives) == (card["version"], 2)
    assert record.model_sha256 == card["sha256"]
    assert len(record.dataset_sha256) == 64
    assert rows.columns == ["id", "score", "class", "model_version"]
    assert rows["score"].to_list() == pytest.approx([2 / 3, 1 / 3, 1, 0.1])


def test_the_version_can_be_given_and_batches_named(
    project: Project, flagfall: CommandLine
) -> None:
    ran = flagfall(
        *("model", "init", "loans", "--train", project.train),
        *("--version", "7", "--batch", "purpose"),
    )
    assert ran.code == 0
    assert project.card()["version"] == "7"


def test_what_training_data_lose_is_told(project: Project, flagfall: CommandLine) -> None:
    project.train.write_text(
        "id,income,purpose,defaulted,age\n1,-5,car,,3\n2,7,,true,4\n3,1,car,,5\n"
    )
    ran = flagfall("model", "init", "loans", "--train", project.train)
    assert "2 rows that break a rule: income: below minimum 0 (1), purpose: required (1)" in ran.err
    assert "train.csv: columns that the dataset does not name: age" in ran.err
    assert "from 1 training rows" in ran.out


def test_constants_are_fitted_where_features_need_them_and_those_that_are_there_are_kept(
    project: Project, flagfall: CommandLine
) -> None:
    features = "features: [{name: income}, {name: purpose, encode: category}]\n"
    project.write(LOANS + features)
    ran = flagfall("model", "init", "loans", "--train", project.train)
    assert "wrote constants.json, reference.json" in ran.out
    file = project.root / "model" / "constants.json"
    fitted = json.loads(file.read_text())
    assert fitted["fill"] == {"income": 200}
    assert fitted["codes"] == {"purpose": {"boat": 0, "car": 1, "house": 2}}
    file.write_text(file.read_text().replace("200", "123"))
    out = flagfall("model", "init", "loans", "--train", project.train).out
    assert "kept constants.json, which was there: remove it to have it fitted again" in out
    assert "wrote reference.json" in out
    assert json.loads(file.read_text())["fill"] == {"income": 123}


def test_an_expression_that_fails_is_a_line_and_no_traceback(
    project: Project, flagfall: CommandLine
) -> None:
    project.write(LOANS + "features: [{name: income, expr: 'DATEDIFF(income)'}]\n")
    init = flagfall.refused("model", "init", "loans", "--train", project.train)
    assert "features: income: 'DATEDIFF(income)'" in init
    assert "features[0].expr: 'DATEDIFF(income)'" in flagfall.refused("check", "loans")


FLOWERS = """\
title: Flowers
landing: {uri: ROOT/landing, marker: "{day}/datapackage.json", settle: 0s}
lake: {uri: ROOT/lake}
schema:
  fields:
    - {name: id, type: integer, constraints: {required: true}}
    - {name: size, type: integer, constraints: {required: true, minimum: 0, maximum: 2}}
    - {name: kind, type: string, constraints: {enum: [aster, bell, clover]}}
  primaryKey: [id]
model: {path: ROOT/model, engine: python, classes: [CLASSES]}
label: {expr: kind}
"""
SIZES = """\
import numpy as np

TASK = "multiclass"


def load(folder): ...


def predict(model, rows):
    return np.eye(3)[rows["size"].to_numpy()]
"""


@pytest.mark.parametrize(
    ("classes", "is_right"),
    [
        ("aster, bell, clover", True),
        ("bell, clover, aster", False),
        ("bell, aster, clover", False),
    ],
)
def test_classes_in_another_order_than_the_training_rows_have_are_refused(
    project: Project, flagfall: CommandLine, classes: str, is_right: bool
) -> None:
    project.write(FLOWERS.replace("CLASSES", classes))
    project.rules(SIZES)
    kinds = ("aster", "bell", "clover")
    lines = [f"{n},{n % 3},{kinds[n % 3]}" for n in range(120)]
    project.train.write_text("\n".join(["id,size,kind", *lines]) + "\n")
    ran = flagfall("model", "init", "loans", "--train", project.train)
    assert (ran.code == 0) == is_right
    assert ("mostly given another class than they have: {'aster': '" in ran.err) != is_right


def test_a_file_that_changed_since_is_an_error(project: Project, flagfall: CommandLine) -> None:
    flagfall("model", "init", "loans", "--train", project.train)
    project.rules(RULES.replace("100.0", "101.0"))
    said = flagfall.refused("check", "loans", "--offline")
    assert "its files are not those that card.json" in said
    assert "run `flagfall model init` again" in said


def test_a_model_that_does_not_tell_its_task_is_asked_for(
    project: Project, flagfall: CommandLine
) -> None:
    project.rules(RULES.replace("TASK", "NOTHING"))
    for command in (("model", "init", "loans", "--train", project.train), ("check", "loans")):
        said = flagfall.refused(*command)
        assert "set model.task to one of binary, multiclass, regression, anomaly" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--train", "nowhere.csv"), "no training data 'nowhere.csv'"),
        (("--train", "TRAIN", "--batch", "day"), "no column 'day'; there are: id, income"),
        (("--train", "TRAIN", "--onnx", "TRAIN"), "model.engine is python; set it to onnx"),
        (("--train", "TRAIN", "--python", "gone.py"), "no file 'gone.py'"),
        (("--train", "EMPTY"), "no row that is accepted in"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    project: Project, flagfall: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    (project.root / "empty.csv").write_text("id,income,purpose,defaulted\n")
    paths = {"TRAIN": str(project.train), "EMPTY": str(project.root / "empty.csv")}
    given = [paths.get(argument, argument) for argument in arguments]
    assert said in flagfall.refused("model", "init", "loans", *given)


def test_the_challengers_folder_is_made_and_checked_the_same_way(
    project: Project, flagfall: CommandLine
) -> None:
    init = ("model", "init", "loans", "--challenger", "--train", project.train)
    assert "its file has no model.challenger" in flagfall.refused(*init)
    project.write(LOANS.replace("engine: python}", "engine: python, challenger: ROOT/other}"))
    (project.root / "other").mkdir()
    other = project.root / "other.py"
    other.write_text(RULES.replace("100.0", "200.0"))
    assert flagfall(*init, "--python", other).code == 0
    assert (project.root / "other" / "reference.json").exists()
    assert not (project.root / "model" / "card.json").exists()
    assert "; challenger sha256-" in flagfall("check", "loans", "--offline").out
    (project.root / "other" / "card.json").unlink()
    for text, said in (
        (RULES.replace("binary", "regression"), "expected a model of task binary, got one of reg"),
        (RULES.replace("TASK", "NOTHING"), "the model does not tell its task"),
    ):
        (project.root / "other" / "model.py").write_text(text)
        told = flagfall.refused("check", "loans", "--offline")
        assert "model.challenger: " in told
        assert said in told


def test_check_gives_the_teams_evaluation_the_rows_that_a_batch_has(
    project: Project, flagfall: CommandLine
) -> None:
    """Without a key, staged rows also have their file and row."""
    project.write(LOANS.replace("  primaryKey: [id]\n", "") + "evaluate: {python: figures.py}\n")
    code = "assert rows.columns == ['id', 'income', 'purpose', 'defaulted']\n    return {}"
    (project.root / "figures.py").write_text(f"def evaluate(rows, predictions):\n    {code}\n")
    assert flagfall("check", "loans", "--offline").code == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("{'a': predictions['score'].mean()}", ""),
        ("{'a': rows['nope'].sum()}", "figures.py: evaluate(): line 2: ColumnNotFoundError"),
        ("3", "returned int, not names and their numbers"),
    ],
)
def test_check_calls_the_teams_own_evaluation(
    project: Project, flagfall: CommandLine, code: str, said: str
) -> None:
    project.write(LOANS + "evaluate: {python: figures.py}\n")
    figures = project.root / "figures.py"
    figures.write_text(f"def evaluate(rows, predictions):\n    return {code}\n")
    ran = flagfall("check", "loans", "--offline")
    assert (ran.code, said in ran.err) == (HOPELESS_EXIT if said else 0, True)


def test_a_models_file_is_copied_with_the_weights_beside_it(
    project: Project, flagfall: CommandLine
) -> None:
    (project.root / "model" / "model.py").unlink()
    given = project.root / "rules.py"
    given.write_text(RULES)
    (project.root / "rules.py.data").write_text("weights")
    flagfall("model", "init", "loans", "--train", project.train, "--python", given)
    assert (project.root / "model" / "model.py").read_text() == RULES
    assert (project.root / "model" / "rules.py.data").read_text() == "weights"


def test_check_compares_with_what_the_framework_says(
    project: Project, flagfall: CommandLine
) -> None:
    expected = project.root / "scores.csv"
    expected.write_text("id,probability.1\n4,0.1\n3,1\n2,0.33333\n1,0.66667\n")
    command = ("model", "check", "loans", "--train", project.train, "--expect", expected)
    ran = flagfall(*command)
    assert ran.code == 0
    assert "training data: 4 rows scored" in ran.out
    assert "as expected: 4 rows, columns probability.1: the largest difference is 3" in ran.out
    assert "rows/s" in ran.out
    for text, said in (
        (
            "score\n0.66667\n0.33333\n1\n0.3\n",
            "difference is 0.2, other classes in 0",
        ),
        ("class\n1\n1\n1\n0\n", "other classes in 1 rows; expected"),
        ("score\n0.5\n", "expected 4 rows, as many as are accepted"),
        ("points\n0.5\n1\n1\n1\n", "expected some of ['score', 'class'"),
    ):
        expected.write_text(text)
        ran = flagfall(*command)
        assert (ran.code, said in ran.err) == (HOPELESS_EXIT, True), ran.err


def test_a_score_that_depends_on_the_rows_beside_it_is_refused(
    project: Project, flagfall: CommandLine
) -> None:
    project.rules(RULES.replace("/ model)", "/ model / rows.height)"))
    assert "a row's score must not depend on others" in flagfall.refused("check", "loans")


def test_a_detector_in_python_decides_itself(project: Project, flagfall: CommandLine) -> None:
    code = "return {'score': rows['income'].fill_null(0), 'label': rows['income'] > 100}"
    project.rules(
        RULES.replace("binary", "anomaly").partition("    return (1")[0] + f"    {code}\n"
    )
    ran = flagfall("model", "init", "loans", "--train", project.train)
    assert (ran.code, project.card()["task"]) == (0, "anomaly")


def test_a_label_of_the_training_rows_that_the_model_cannot_say_is_an_error(
    project: Project, flagfall: CommandLine
) -> None:
    code = "CLASSES = ['house', 'ship']"
    project.rules(RULES.replace("TASK =", f"{code}\nTASK ="))
    project.write(LOANS.replace("expr: defaulted", "expr: purpose"))
    said = flagfall.refused("model", "init", "loans", "--train", project.train)
    assert "it has the values ['boat', 'car'], and the model's classes are" in said
    assert "correct the label or model.classes" in said


@pytest.mark.parametrize("classes", ["[no, yes]", "[yes, maybe]"])
def test_classes_in_another_order_than_the_models_own_are_refused(
    project: Project, flagfall: CommandLine, classes: str
) -> None:
    code = "return {'yes': [0.4] * len(rows), 'no': [0.6] * len(rows)}"
    project.rules(RULES.partition("    return (1")[0] + f"    {code}\n")
    quoted = classes.replace("no", "'no'").replace("yes", "'yes'")
    project.write(LOANS.replace("engine: python", f"engine: python, classes: {quoted}"))
    said = flagfall.refused("model", "init", "loans", "--train", project.train)
    assert "the model names them ['yes', 'no'], in this order; correct model.classes" in said


def test_classes_may_get_other_names(project: Project, flagfall: CommandLine) -> None:
    code = "return {'0': [0.4] * len(rows), '1': [0.6] * len(rows)}"
    project.rules(RULES.partition("    return (1")[0] + f"    {code}\n")
    project.write(LOANS.replace("engine: python", "engine: python, classes: [bad, good]"))
    assert flagfall("model", "init", "loans", "--train", project.train).code == 0
    assert project.card()["classes"] == ["bad", "good"]


def test_a_class_at_the_very_threshold_may_differ(project: Project, flagfall: CommandLine) -> None:
    expected = project.root / "scores.csv"
    project.write(LOANS.replace("engine: python", "engine: python, threshold: 0.1"))
    expected.write_text("score,class\n0.66667,1\n0.33333,1\n1,1\n0.1,0\n")
    command = ("model", "check", "loans", "--train", project.train, "--expect", expected)
    assert "other classes in 0 rows" in flagfall(*command).out


def test_a_model_that_never_answers_ends_a_check(
    project: Project, flagfall: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "ANSWER_WITHIN", 0.5)
    head = RULES.partition("    return (1")[0]
    project.rules(head + "    import threading; threading.Event().wait()\n")
    for command in (("check", "loans"), ("model", "init", "loans", "--train", project.train)):
        said = flagfall.refused(*command)
        assert "model.py: line 11: TimeoutError: no answer after 0.5 s" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "model.onnx is empty; export it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "model.onnx is a pointer of Git LFS, not the file; run `git lfs pull`",
        ),
        (b"no model", "model.onnx cannot be loaded"),
    ],
)
def test_a_file_that_is_no_model_is_called_what_it_is(
    project: Project, flagfall: CommandLine, content: bytes, said: str
) -> None:
    project.write(LOANS.replace(", engine: python", ""))
    (project.root / "model" / "model.onnx").write_bytes(content)
    assert said in flagfall.refused("check", "loans", "--offline")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('no')", "model.py: line 11: ValueError: no"),
        ("return rows['income'].to_numpy()", "no probabilities"),
        ("return [0.5]", "predict() returned 1 rows for 24"),
        ("return ['a'] * len(rows)", "expected numbers"),
        ("return None", "no table of numbers"),
        ("return rows.height * [[0.2, 0.3, 0.5]]", "a binary model has two classes"),
    ],
)
def test_check_finds_what_fails_at_the_first_batch(
    project: Project, flagfall: CommandLine, code: str, said: str
) -> None:
    head = RULES.partition("    return (1")[0]
    project.rules(head + f"    {code}\n")
    assert said in flagfall.refused("check", "loans", "--offline")


def test_a_model_whose_process_dies_tells_its_last_words(
    project: Project, flagfall: CommandLine
) -> None:
    project.write(LOANS.replace("python}", f"python, interpreter: {sys.executable}}}"))
    head = RULES.partition("    return (1")[0]
    project.rules(head + "    import os\n    print('no memory', flush=True)\n    os._exit(3)\n")
    ran = flagfall("check", "loans", "--offline")
    assert ran.code == 1  # another try may help
    assert "its process ended with exit code 3; its last words: no memory" in ran.err


LABELS = [
    ("purpose", "nobody named the model's classes"),
    ("income", "its values are Float64, and a binary model's label is true or false"),
    ("purpose = 1", "cannot compare"),
]


@pytest.mark.parametrize(("expr", "said"), LABELS, ids=[expr for expr, _ in LABELS])
def test_check_refuses_a_label_that_cannot_be_the_models(
    project: Project, flagfall: CommandLine, expr: str, said: str
) -> None:
    project.write(LOANS.replace("{expr: defaulted}", f"{{expr: {expr}}}"))
    assert said in flagfall.refused("check", "loans", "--offline")


def test_check_refuses_a_threshold_of_another_task(project: Project, flagfall: CommandLine) -> None:
    project.write(LOANS + "thresholds: {rmse_max: 3}\n")
    told = flagfall.refused("check", "loans", "--offline")
    assert "thresholds.rmse_max: expected none: it is for task: regression" in told


def test_a_model_that_knows_no_made_up_text_says_how_it_is_tried_with_real_ones(
    project: Project, flagfall: CommandLine
) -> None:
    known = '    [{"car": 1, "house": 2, "boat": 3}[one] for one in rows["purpose"]]\n'
    project.rules(RULES.replace("    return (1", f"{known}    return (1"))
    said = flagfall.refused("check", "loans", "--offline")
    assert "KeyError: 'text 0'; it was tried with rows made up for purpose: run" in said
    assert flagfall("model", "init", "loans", "--train", project.train).code == 0
    assert flagfall("check", "loans", "--offline").code == 0


def test_hopeless_mistakes_end_with_their_own_code(project: Project, flagfall: CommandLine) -> None:
    assert flagfall("model", "init", "loans", "--train", "nowhere").code == HOPELESS_EXIT


def test_what_fails_leaves_no_constants_for_the_next_try(
    project: Project, flagfall: CommandLine
) -> None:
    project.write(
        LOANS.replace("expr: defaulted", "expr: purpose") + "features: [{name: income}]\n"
    )
    flagfall.refused("model", "init", "loans", "--train", project.train)
    assert not (project.root / "model" / "constants.json").exists()


def test_an_expected_row_that_is_missing_is_a_difference(
    project: Project, flagfall: CommandLine
) -> None:
    expected = project.root / "scores.csv"
    expected.write_text("id,class\n1,1\n2,0\n3,1\n")
    command = ("model", "check", "loans", "--train", project.train, "--expect", expected)
    assert "other classes in 1 rows; expected" in flagfall(*command).err


def test_features_of_a_function_that_sorts_rows_are_refused(
    project: Project, flagfall: CommandLine
) -> None:
    code = "def features(rows):\n    return rows.select('income').sort('income')\n"
    (project.root / "features.py").write_text(code)
    project.write(LOANS + "features: {python: ROOT/features.py}\n")
    said = flagfall.refused("check", "loans", "--offline")
    assert "must not depend on others" in said


def test_a_column_of_large_integers_can_be_checked(project: Project, flagfall: CommandLine) -> None:
    large = "{type: integer, name: big, constraints: {minimum: 0, maximum: 9223372036854775807}}"
    project.write(
        LOANS.replace("    - {name: defaulted", f"    - {large}\n    - {{name: defaulted")
    )
    assert flagfall("check", "loans", "--offline").code == 0


def test_texts_that_were_made_up_are_no_matter_where_there_are_training_rows(
    project: Project, flagfall: CommandLine
) -> None:
    code = "import polars as pl\ndef features(rows):\n"
    code += "    return rows.select('income', n=pl.col('purpose').str.slice(1).cast(pl.Int64))\n"
    (project.root / "features.py").write_text(code)
    project.write(LOANS + "features: {python: ROOT/features.py}\n")
    project.train.write_text("id,income,purpose,defaulted\n1,50,a1,true\n2,200,b2,false\n")
    said = flagfall.refused("check", "loans", "--offline")
    assert "it was tried with rows made up for purpose" in said
    assert flagfall("model", "check", "loans", "--train", project.train).code == 0


def test_features_that_changed_ask_for_new_constants(
    project: Project, flagfall: CommandLine
) -> None:
    project.write(LOANS + "features: [{name: income}]\n")
    flagfall("model", "init", "loans", "--train", project.train)
    project.write(LOANS + "features: [{name: income}, {name: id}]\n")
    for command in (("check", "loans"), ("model", "init", "loans", "--train", project.train)):
        assert "delete constants.json and run `flagfall model init`" in flagfall.refused(*command)
    (project.root / "model" / "constants.json").unlink()
    assert flagfall("model", "init", "loans", "--train", project.train).code == 0
