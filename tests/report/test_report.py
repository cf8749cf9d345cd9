"""The report tells at a glance whether today is normal, asks for nothing and runs nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flagfall.lake.output import LATEST
from flagfall.lake.records import Evaluation, LeftOut, Predicted
from flagfall.report.due import slug
from flagfall.report.formatting import seconds, share, visible
from flagfall.report.page import write_report
from flagfall.verdict.words import cut
from tests.browser import Browser, BrowserContext, Dialog
from tests.stages.runs import LABELLED, NOW, PLAIN, SCORED, Run, dataset, receipt

HOSTILE = '"><script>alert(1)</script><img src="http://evil.example/x.png" onerror="alert(2)">'
BIDI = "\u202egnp.exe"
FORMULA = '=HYPERLINK("http://evil.example","click")'
WHERE = "Where it is: run, model, predictions, rejected rows"
VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, dataset())


@pytest.fixture
def normal(run: Run) -> Run:
    return _normal(run)


def _normal(run: Run) -> Run:
    run.before(29)
    run.take(receipt("2013-10-20"))
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A normal run whose report was written; for tests that only look at it."""
    run = _normal(Run(tmp_path_factory.mktemp("made"), dataset()))
    run.report()
    return run


@pytest.fixture
def latest(made: Run) -> Path:
    return made.lake_folder / LATEST


@pytest.fixture
def page(latest: Path) -> str:
    return latest.read_text(encoding="utf-8")


class Page(HTMLParser):
    """A page taken apart; fails where its tags are not closed as they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def plain(html: str) -> str:
    """What a person reads."""
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.S)).split())


def tiles(html: str) -> dict[str, str]:
    """Value and note of every key figure."""
    part = html.split('<dl class="tiles">')[1].split("</dl>")[0]
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", part)
    return {plain(label): plain(value) for label, value in found}


def unspaced(text: str) -> str:
    """Text without the spaces that ``plain`` puts around a date, which has a tag of its own."""
    return text.replace(" ", "")


def headings(html: str) -> list[str]:
    return [plain(text) for text in re.findall(r"<h2[^>]*>(.*?)</h2>", html)]


def rows(html: str) -> list[str]:
    """Rows of the first table, without its head."""
    table = html.split("</table>")[0]
    return [plain(row) for row in re.findall(r"<tr.*?</tr>", table, flags=re.S)[1:]]


# The verdict


def test_a_normal_day_says_so_first(page: str) -> None:
    assert 'class="band normal"' in page
    assert "<title>Normal on 2026-11-22: Flights out of New York</title>" in page
    assert "Sunday, 22 November 2026: normal" in plain(page)[:140]
    assert "Data of 2013-10-20: 1 batch accepted." in plain(page)[:220]


def test_a_rejected_batch_makes_the_band_red_and_is_told_with_its_reason(normal: Run) -> None:
    why = "flights.csv has 10 bytes, its manifest says 20"
    normal.take(receipt("2013-10-21", "rejected", reason="size-differs", message=why))
    page = normal.page()
    assert 'class="band attention"' in page
    assert "Sunday, 22 November 2026: needs attention" in plain(page)
    band = plain(page.split("</header>")[0])
    assert "2013-10-21 (size-differs) was rejected and not corrected since" in band
    assert why in band
    assert "Data of 2013-10-20 to 2013-10-21 (2 days): 2 batches, 1 accepted, 1 rejected." in band
    first, reason, second = rows(page)
    assert first.startswith("2013-10-21 rejected")
    assert reason == why
    assert second.startswith("2013-10-20 accepted")


def test_an_alert_is_the_verdict_and_marks_its_figure(run: Run) -> None:
    run.take(receipt("2013-10-20"), shift=0.0)
    report, page = run.report(), run.page()
    assert report.verdict.word == "attention"
    assert re.fullmatch(
        r"Needs attention: AUC 0\.\d\d is below 0\.60\.", report.verdict.sentence
    ), report.verdict.sentence
    assert re.search(r'<div class="tile alert"><dt>AUC</dt>', page)


def test_a_run_that_brought_nothing_new_is_neither_green_nor_red(run: Run) -> None:
    run.take(receipt("2013-10-20", "unchanged", message="the same files as before"))
    page = run.page()
    assert 'class="band quiet"' in page
    assert "Nothing new: 1 batch came again unchanged." in plain(page)


def test_files_that_were_left_out_are_named_with_the_batch(run: Run) -> None:
    left_out = LeftOut.of({"2013-10-20_new.csv": "its name is no part's"})
    run.take(receipt("2013-10-20").model_copy(update={"left_out": left_out}))
    page = run.page()
    assert "1 file was left out: " in plain(page)
    assert "2013-10-20_new.csv" in page


def test_a_run_without_deliveries_has_a_report(run: Run) -> None:
    page = run.page()
    assert "nothing has come in the last 30 days" in plain(page)
    assert headings(page) == ["What came", WHERE]


def test_a_corrected_batch_is_shown_as_such_and_counted_once(run: Run) -> None:
    early = NOW - timedelta(minutes=5)
    run.take(receipt("2013-10-20", "rejected", landed_at=early, message="cut short"))
    run.take(receipt("2013-10-20", version=1, turn=1))
    page = run.page()
    assert "22 November 2026: normal" in plain(page)
    assert "accepted in its place" in plain(page)
    assert tiles(page)["Rows accepted"].startswith("900")


# What was written


def test_the_report_is_a_file_of_its_own_and_the_latest(normal: Run) -> None:
    report = normal.report(run="manual__1")
    assert (report.verdict.word, report.verdict.reasons) == ("normal", ())
    written = (normal.lake_folder / report.key).read_bytes()
    assert written == (normal.lake_folder / LATEST).read_bytes()
    assert report.uri == f"{normal.lake_folder}/{report.key}"
    assert re.fullmatch(r"reports/manual__1\.[0-9a-f]{10}\.html", report.key)


def test_the_same_records_make_the_same_bytes(normal: Run) -> None:
    assert normal.page() == normal.page()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "", ".", "latest", "a\0b", "x" * 500, "é\udc80", "CON"]
)
def test_any_run_name_makes_a_safe_file_name(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_=-]{1,80}\.[0-9a-f]{10}", slug(name))


def test_run_names_that_differ_make_files_that_differ() -> None:
    names = ["a:b", "a+b", "a/b", "a-b", "x" * 200, "x" * 201]
    assert len({slug(name) for name in names}) == len(names)


def test_a_report_of_a_run_with_a_hostile_name_stays_in_its_folder(normal: Run) -> None:
    normal.report(run="../../../outside")
    assert {path.name for path in normal.root.iterdir()} == {"flights"}


# Figures


def test_key_figures_are_those_of_the_records(made: Run, page: str) -> None:
    [today] = made.receipts
    evaluation = made.evaluations[today.batch_id]
    found = tiles(page)
    assert found["Batches accepted"] == "1 0 rejected, 0 unchanged"
    assert found["Rows accepted"] == "900 30-day median 900 a day"
    assert found["Rows rejected"] == "9 1.0% of rows read"
    line = "alert below 0.6; 30-day median"
    assert found["AUC"] == f"{evaluation.auc:.2f} {line} {evaluation.auc:.2f}"
    real = evaluation.positives / evaluation.labelled
    mean = real + evaluation.calibration_gap
    gap = f"{evaluation.calibration_gap:+.2f}".replace("-", "−")
    note = f"alert beyond ±0.2; mean score {share(mean)}, really {share(real)}"
    assert found["Calibration gap"] == f"{gap} {note}"
    assert found["Outcome known"].endswith(f"{evaluation.labelled} of 900 scored rows")
    assert found["Largest drift"] == "8.0% of its alert line: departure, PSI 0.02"
    assert found["Marker to receipt"] == "1.5 s 30-day median 1.5 s"
    assert found["Marker to report"] == "8.0 s"


def test_times_of_many_batches_are_their_median_and_the_slowest(run: Run) -> None:
    for day, took in enumerate((1.0, 2.0, 6.0)):
        run.take(receipt(f"2013-10-0{day + 1}", took=took))
    found = tiles(run.page())
    assert found["Marker to receipt"] == "2.0 s median; slowest 6.0 s"
    assert found["Marker to report"] == "8.0 s median; slowest 8.0 s"


def test_the_auc_of_many_batches_says_that_it_is_pooled(run: Run) -> None:
    run.take(receipt("2013-10-20"), seed=1)
    run.take(receipt("2013-10-21"), seed=2)
    page = run.page()
    assert tiles(page)["AUC"].endswith("pooled over 2 batches")
    assert "Pooled over the 2 accepted batches of this run" in plain(page)


def test_rejected_rows_are_counted_by_rule_the_most_frequent_first(run: Run) -> None:
    run.take(receipt("2013-10-20", rejected_rows=5, reasons={"a: required": 1, "b: maximum": 4}))
    run.take(receipt("2013-10-21", rejected_rows=6, reasons={"a: required": 6}))
    page = run.page()
    section = page.split('id="rules"')[1].split("</section>")[0]
    assert [plain(row) for row in re.findall(r"<tr.*?</tr>", section, flags=re.S)[1:]] == [
        "a: required 7 0.4%",
        "b: maximum 4 0.2%",
    ]


def test_drift_shows_index_line_and_missing_share_of_each_feature(page: str) -> None:
    section = page.split('id="drift"')[1].split("</section>")[0]
    found = [plain(row) for row in re.findall(r"<tr.*?</tr>", section, flags=re.S)[1:]]
    assert found[0] == "departure 8.0% 0.02 0.25 1.0% 0%"
    assert found[-1] == "the model's score 2.0% 0.01 0.25"
    assert len(found) == 4


def test_pictures_say_in_words_what_they_show(made: Run, page: str) -> None:
    evaluation = made.evaluations[made.receipts[0].batch_id]
    titles = [unescape(title) for title in re.findall(r"<title id=.*?>(.*?)</title>", page)]
    assert len(titles) == 9
    assert f"AUC, is {evaluation.auc:.2f}; chance is 0.50." in titles[1]
    assert titles[3].startswith(f"AUC from {evaluation.auc:.2f} (2013-09-21) to ")


def test_a_bar_of_rejected_rows_shows_their_share_of_all_rows(run: Run) -> None:
    """3 of 968 looked like all of them: the bar was of the most frequent rule."""
    run.take(receipt("2013-10-20", rows=965, rejected_rows=3, reasons={"tailnum: required": 3}))
    section = run.page().split('id="rules"')[1].split("</section>")[0]
    assert 'style="width:0.3%"' in section
    assert "tailnum: required 3 0.3%" in plain(section)


def test_where_nobody_knows_how_many_rows_were_read_no_share_of_a_rule_is_shown(run: Run) -> None:
    run.take(receipt("2013-10-20", "rejected", rejected_rows=3, reasons={"tailnum: required": 3}))
    section = run.page().split('id="rules"')[1].split("</section>")[0]
    assert "width:" not in section
    assert "%" not in plain(section)


def test_what_the_model_did_comes_before_how_long_it_took(page: str) -> None:
    assert list(tiles(page)) == [
        "Batches accepted",
        "Rows accepted",
        "Rows rejected",
        "AUC",
        "Calibration gap",
        "Predicted positive",
        "Largest drift",
        "Outcome known",
        "Marker to receipt",
        "Marker to report",
    ]


def test_the_tiles_of_a_binary_model_name_their_lines(page: str) -> None:
    assert "alert below 0.6" in tiles(page)["AUC"]
    assert "alert beyond ±0.2" in tiles(page)["Calibration gap"]


def test_the_days_of_the_trend_are_those_that_batches_are_about(page: str) -> None:
    """On the pages in Airflow days are those on which batches landed; each says which."""
    said = "Of what landed in the last 30 days, by the day that a batch is about."
    assert said in plain(page)


def test_a_brier_score_that_has_a_threshold_has_a_figure_and_alerts_there(tmp_path: Path) -> None:
    run = Run(tmp_path, dataset(thresholds={"brier_max": 0.1}))
    for day, seed in (("2013-10-20", 1), ("2013-10-21", 2)):
        run.take(receipt(day), seed=seed)
    page = run.page()
    found = [run.evaluations[one.batch_id] for one in run.receipts]
    pooled = sum(e.brier * e.labelled for e in found) / sum(e.labelled for e in found)
    assert tiles(page)["Brier score"] == f"{pooled:.2f} alert above 0.1"
    assert '<div class="tile alert"><dt>Brier score</dt>' in page
    assert '<div class="tile alert"><dt>Calibration gap</dt>' not in page


# Drift


def _with_drift(run: Run, **changes: dict[str, object]) -> str:
    """The page of a run of one batch, with the drift of some features changed."""
    taken = run.take(receipt("2013-10-20"))
    found = run.evaluations[taken.batch_id]
    drift = tuple(one.model_copy(update=changes.get(one.feature, {})) for one in found.drift)
    changed = found.model_copy(update={"drift": drift})
    run.evaluations[taken.batch_id] = changed
    record = Path(run.lake.uri(type(found), taken.batch_id)) / "record.json"
    record.write_bytes(changed.to_json())
    return run.page()


def _drift_rows(page: str) -> list[str]:
    section = page.split('id="drift"')[1].split("</section>")[0]
    return [plain(row) for row in re.findall(r"<tr.*?</tr>", section, flags=re.S)]


def test_a_feature_that_is_called_score_is_not_mistaken_for_the_models(tmp_path: Path) -> None:
    feature = [{"name": "score", "expr": "delay"}]
    run = Run(tmp_path, dataset(features=feature))
    run.take(receipt("2013-10-20"), psi=0.9)
    page = run.page()
    _, feature_row, said = _drift_rows(page)
    assert feature_row.startswith("score 360%")
    assert said.startswith("the model's score 180%")
    assert "2 features have drifted: score, the model's score" in plain(page)


def test_missing_values_that_jump_are_marked_where_they_stand(run: Run) -> None:
    page = _with_drift(run, temp={"missing_share": 0.63, "reference_missing_share": 0.02})
    [marked] = [row for row in _drift_rows(page) if "▲" in row]
    assert marked.startswith("temp ")
    assert "63% (more than training explains) ▲ 2.0%" in marked
    assert "missing values of temp (63%, in training 2%)" in plain(page)


def test_categories_that_are_new_or_gone_stand_below_their_feature(run: Run) -> None:
    unknown = {"other_share": 0.2, "reference_other_share": 0.0}
    page = _with_drift(run, carrier={**unknown, "vanished": {"UA": 0.2}})
    note = "20% of rows have a value that training hardly had; no row has UA"
    rows = _drift_rows(page)
    place = rows.index(note)
    assert rows[place - 1].startswith("carrier ")


def test_features_far_from_their_line_are_folded_away_and_their_largest_named(
    tmp_path: Path,
) -> None:
    features = [{"name": f"f{place:02}", "expr": "delay"} for place in range(20)]
    run = Run(tmp_path, dataset(features=features))
    run.take(receipt("2013-10-20"), psi=1.0)
    page = run.page()
    first, folded = page.split('id="drift"')[1].split("<details>")[:2]
    assert [row.split()[0] for row in _drift_rows(f'id="drift"{first}')[1:8]] == [
        f"f{place:02}" for place in range(7)
    ]
    assert "13 more features, none above 50%" in plain(folded)
    assert len(re.findall("<tr", folded.split("</details>")[0])) == 14


def test_without_a_threshold_no_line_is_called_one_that_alerts(tmp_path: Path) -> None:
    run = Run(tmp_path, dataset(thresholds={"auc_min": 0.1}))
    run.before(5)
    run.take(receipt("2013-10-20"), psi=0.9)
    text = plain(run.page())
    assert "alert line" not in text.lower()
    assert "as a share of the customary line" in text
    assert "360% of its customary line: departure" in text


# Where things are


def test_the_page_says_which_model_made_what_and_where_it_is(run: Run) -> None:
    taken = run.take(receipt("2013-10-20"))
    link = "https://airflow.example/dags/flights_pipeline/runs/scheduled__1"
    report = write_report(
        *(run.dataset, run.lake, "scheduled__1", run.receipts, run.history, run.verdict),
        run_link=link,
    )
    page = (run.lake_folder / report.key).read_text(encoding="utf-8")
    text = plain(page.split(WHERE)[1])
    assert "Model version 2026.11" in text
    assert f"{run.lake_folder}/predictions/{taken.batch_id}" in unspaced(text)
    assert f"{run.lake_folder}/rejected/{taken.batch_id}/rows.jsonl" in unspaced(text)
    assert {found["href"] for found in Page(page).all("a")} == {link}


@pytest.mark.parametrize("link", ["", "javascript:alert(1)", "file:///etc/passwd"])
def test_a_link_that_is_no_address_of_airflow_is_left_out(run: Run, link: str) -> None:
    run.take(receipt("2013-10-20"))
    report = write_report(
        *(run.dataset, run.lake, "a run", run.receipts, run.history, run.verdict), run_link=link
    )
    assert Page((run.lake_folder / report.key).read_text(encoding="utf-8")).all("a") == []


def test_the_values_of_the_last_30_days_can_be_read_in_a_table(made: Run, page: str) -> None:
    table = page.split('class="wide-table"')[1].split("</table>")[0]
    head, first, *others = [plain(row) for row in re.findall(r"<tr.*?</tr>", table, flags=re.S)]
    auc = made.evaluations[made.receipts[0].batch_id].auc
    assert head == "Day AUC Mean score Really Largest drift Rows Rejected To receipt"
    assert first.startswith(f"2013-10-20 {auc:.2f} ")
    assert first.endswith(" 8.0% 900 1.0% 1.5 s")
    assert len(others) == 29


# Datasets that have less


def test_without_a_label_there_is_no_auc_and_no_calibration_curve(tmp_path: Path) -> None:
    run = Run(tmp_path, dataset(SCORED))
    run.before(5)
    run.take(receipt("2013-10-20"))
    page = run.page()
    assert "AUC" not in plain(page)
    assert list(tiles(page))[3:5] == ["Predicted positive", "Largest drift"]
    assert headings(page) == [
        "What came",
        "Why rows were rejected",
        "Scores",
        "Drift",
        "The last 30 days",
        WHERE,
        "How to read this page",
    ]


def test_without_a_model_there_are_rows_and_times_only(tmp_path: Path) -> None:
    run = Run(tmp_path, dataset(PLAIN))
    run.before(5)
    run.take(receipt("2013-10-20"))
    page = run.page()
    assert "22 November 2026: normal" in plain(page)
    assert headings(page) == ["What came", "Why rows were rejected", "The last 30 days", WHERE]
    assert len(re.findall("<svg", page)) == 3


def test_a_first_day_has_no_trend(run: Run) -> None:
    run.take(receipt("2013-10-20"))
    assert "The last 30 days" not in headings(run.page())


def test_a_batch_without_rows_has_a_report(run: Run) -> None:
    run.take(receipt("2013-10-20", rows=0, rejected_rows=0, reasons={}))
    page = run.page()
    assert "2013-10-20 has no rows (since 2026-11-22 06:00 UTC)" in plain(page)
    assert '<div class="tile alert"><dt>Rows accepted</dt>' in page
    assert "Scores" not in headings(page)


def test_a_batch_that_was_not_scored_has_a_report(run: Run) -> None:
    run.take(receipt("2013-10-20"), scored=False)
    page = run.page()
    assert "2013-10-20 was accepted and is not evaluated" in plain(page)
    assert rows(page)[1] == "Not scored."


def test_a_batch_that_was_scored_and_not_evaluated_is_not_said_to_be_unscored(run: Run) -> None:
    taken = run.take(receipt("2013-10-20"))
    shutil.rmtree(run.lake.uri(Evaluation, taken.batch_id))
    page = run.page()
    assert rows(page)[1] == "Scored, and not evaluated."
    assert "Not scored" not in plain(page)
    assert run.lake.uri(Predicted, taken.batch_id) in unspaced(plain(page))


# Size


def test_a_run_of_a_thousand_batches_stays_small_and_shows_the_rejected_first(
    run: Run,
) -> None:
    run.before(29)
    for number in range(990):
        run.take(receipt(f"2013-10-20T{number:04}-{'x' * 30}"), seed=number % 7)
    for number in range(10):
        why = "size differs " * 1000
        reasons = {f"column {rule}: required {'y' * 200}": rule for rule in range(500)}
        bad = receipt(f"bad{number}", "rejected", message=why, reasons=reasons)
        run.take(bad)
    page = run.page()
    assert len(page.encode()) < 400_000
    assert [row.split()[0] for row in rows(page)[:20:2]] == [f"bad{n}" for n in range(10)]
    assert "Not shown: 960 accepted, with 864,000 accepted rows." in plain(page)
    assert "489 rules with fewer rows" in plain(page)
    assert "and 980 more" in plain(page)


# Untrusted text


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which every text that somebody else writes is an attack, and very long."""
    features = [
        {"name": f"{HOSTILE}{BIDI}", "expr": "delay"},
        {"name": r"$\frac{1", "expr": "delay"},
    ]
    label = {"expr": "delay > 15", "title": f"{HOSTILE} {BIDI} {'w' * 400}"}
    title = f"{BIDI} {FORMULA} {HOSTILE} {'v' * 300}"
    run = Run(
        tmp_path_factory.mktemp("hostile"),
        dataset(LABELLED, features=features, label=label, title=title),
    )
    run.before(5)
    reasons = {f"{HOSTILE}: required": 3, BIDI: 2, "z" * 500: 1}
    remarks = {"warnings": {f"rule: {HOSTILE}": 2}, "unexpected": (f"{BIDI}{HOSTILE}",)}
    run.take(receipt(f"2013-10-20{HOSTILE}", reasons=reasons, **remarks), psi=2.0)
    message = f"{FORMULA} {BIDI} \x00\x1b[31m\udc80\u2066 {HOSTILE} {'u' * 300}"
    run.take(receipt(f"{BIDI}{'t' * 90}", "rejected", message=message))
    return run.lake_folder / run.report(run=f"{HOSTILE}{BIDI}").key


def test_what_others_wrote_is_text_and_never_markup(hostile: Path) -> None:
    page = hostile.read_text(encoding="utf-8")
    taken_apart = Page(page)
    assert {tag for tag, _ in taken_apart.tags}.isdisjoint({"script", "img", "iframe", "a"})
    assert not [name for _, found in taken_apart.tags for name in found if name.startswith("on")]
    assert "alert(1)</script>" in plain(page)
    assert FORMULA in plain(page)


def test_characters_that_turn_text_around_or_cannot_be_seen_are_shown_by_number(
    hostile: Path,
) -> None:
    page = hostile.read_text(encoding="utf-8")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b\ud800-\udfff]", page)
    assert "⟨U+202E⟩gnp.exe" in plain(page)
    assert "⟨U+0000⟩⟨U+001B⟩[31m⟨U+DC80⟩⟨U+2066⟩" in plain(page)


def test_visible_leaves_ordinary_text_of_any_language_alone() -> None:
    assert visible("Zürich 東京 عربي ✓") == "Zürich 東京 عربي ✓"
    assert visible("two\nlines\tand\r\ntabs") == "two lines and tabs"


def test_long_text_is_cut_and_shows_it() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcdef", 3) == "abc…"


# The page itself


@pytest.mark.parametrize("feed", [PLAIN, SCORED, LABELLED], ids=["plain", "scored", "labelled"])
def test_the_page_is_well_formed_and_its_ids_are_unique(tmp_path: Path, feed: dict) -> None:
    run = Run(tmp_path, dataset(feed))
    run.before(29)
    run.take(receipt("2013-10-20"))
    run.take(receipt("2013-10-21"))
    page = Page(run.page())
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    used = [found["href"] for found in page.all("use")]
    used += [
        f"#{i}" for _, found in page.tags for i in (found.get("aria-labelledby") or "").split()
    ]
    assert used
    assert {reference[1:] for reference in used} <= set(ids)


def test_the_page_refers_to_nothing_outside(page: str) -> None:
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert policy in unescape(page)
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+[^\s\"'<]*", page))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert "@import" not in page
    assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", page))


def test_tables_and_pictures_can_be_read_without_seeing_them(page: str) -> None:
    seen = Page(page)
    assert all(cell["scope"] in ("col", "row") for cell in seen.all("th"))
    assert {svg["role"] for svg in seen.all("svg")} == {"img"}
    assert seen.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in seen.tags if re.fullmatch("h[1-6]", tag)][:3] == ["h1", "h2", "h2"]


def test_pictures_have_no_colours_but_the_pages(page: str) -> None:
    styles = " ".join(re.findall(r'style="([^"]*)"', page))
    assert not re.search("#[0-9a-f]{3}", styles)
    assert "font-family" not in styles


def _schemes() -> list[dict[str, str]]:
    template = Path(__file__).parents[2] / "flagfall/report/report.html.j2"
    blocks = re.findall(r":root \{(.*?)\}", template.read_text(encoding="utf-8"), flags=re.S)
    light, dark = (dict(re.findall(r"(--[\w-]+): (#\w{6})", block)) for block in blocks)
    return [light, {**light, **dark}]


def _luminance(colour: str) -> float:
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(text: str, ground: str) -> float:
    low, high = sorted((_luminance(text), _luminance(ground)))
    return (high + 0.05) / (low + 0.05)


TEXTS_ON_GROUNDS = [
    *((text, ground) for text in ("ink", "muted", "alert") for ground in ("paper", "tile")),
    *((text, "alert-soft") for text in ("ink", "muted", "alert")),
    ("accent", "paper"),
    ("accent", "soft"),
    ("muted", "soft"),
    *(("on-band", f"{band}-band") for band in ("normal", "attention", "quiet")),
]


@pytest.mark.parametrize("scheme", _schemes(), ids=["light", "dark"])
def test_text_has_enough_contrast(scheme: dict[str, str]) -> None:
    """At least 4.5 to 1, as WCAG 2.2 asks of text (1.4.3)."""
    found = {pair: _contrast(*(scheme[f"--{name}"] for name in pair)) for pair in TEXTS_ON_GROUNDS}
    assert {pair: contrast for pair, contrast in found.items() if contrast < 4.5} == {}


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.0004, "<0.1%"),
        (0.0123, "1.2%"),
        (0.1, "10%"),
        (0.0996, "10%"),
        (0.9949, "99%"),
        (0.9952, "99.5%"),
        (0.99999, "99.9%"),
    ],
)
def test_a_share_is_rounded_but_never_to_all_or_nothing(part: float, shown: str) -> None:
    assert share(part) == shown


@pytest.mark.parametrize(
    ("time", "shown"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (90, "1.5 min"), (7200, "2.0 h"), (864_000, "10.0 days")],
)
def test_a_time_span_is_in_the_unit_that_suits_it(time: float, shown: str) -> None:
    assert seconds(time) == shown


# In a real browser


class Seen:
    """A page in a browser, and what it tried."""

    def __init__(self, context: BrowserContext, path: Path) -> None:
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.messages: list[str] = []
        self.page = context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on(
            "dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss())
        )
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.goto(path.as_uri())

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def overflow(self) -> list[str]:
        """What stands out of the page to the right, less what can be scrolled on its own."""
        return self.page.evaluate(
            """() => [...document.querySelectorAll('body *')]
                .filter(e => e.getBoundingClientRect().right > innerWidth + 1
                             && getComputedStyle(e).clipPath === 'none'
                             && !e.closest('[tabindex="0"]'))
                .map(e => e.tagName + '.' + e.getAttribute('class'))"""
        )


@pytest.fixture
def phone(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 360, "height": 740}) as context:
        yield context


@pytest.fixture
def desk(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context


def test_in_a_browser_nothing_is_asked_for_and_nothing_runs(
    desk: BrowserContext, hostile: Path
) -> None:
    seen = Seen(desk, hostile)
    assert seen.requests == [hostile.as_uri()]
    assert seen.dialogs == []
    assert seen.messages == []
    assert seen.page.locator("script, img, iframe, object, embed").count() == 0
    assert HOSTILE[:40] in seen.page.locator("h1, p, td, th").all_inner_texts().__str__()


def test_the_policy_stops_a_script_and_a_picture_that_got_in(
    desk: BrowserContext, page: str, tmp_path: Path
) -> None:
    """The second wall: even if escaping failed one day, nothing would run or be fetched."""
    path = tmp_path / "attacked.html"
    attack = "<script>alert(1)</script><img src='http://127.0.0.1:9/x.png'></main>"
    path.write_text(page.replace("</main>", attack), encoding="utf-8")
    seen = Seen(desk, path)
    assert seen.dialogs == []
    assert all("violates" in message for message in seen.messages)
    assert len(seen.messages) == 2


@pytest.mark.parametrize("which", ["latest", "hostile"])
def test_on_a_phone_nothing_stands_out_to_the_side(
    phone: BrowserContext, which: str, request: pytest.FixtureRequest
) -> None:
    seen = Seen(phone, request.getfixturevalue(which))
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 360
    assert seen.overflow() == []


def test_on_a_phone_text_in_pictures_is_large_enough_to_read(
    phone: BrowserContext, latest: Path
) -> None:
    seen = Seen(phone, latest)
    heights = seen.page.evaluate(
        "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(heights) > 9


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of which much has to be said, of a model with 15 features."""
    features = [{"name": f"feature_{place:02}", "expr": "delay"} for place in range(15)]
    thresholds = {"auc_min": 0.6, "brier_max": 0.1, "psi_max": 0.25, "calibration_max": 0.2}
    feed = dataset(features=features, thresholds=thresholds)
    run = Run(tmp_path_factory.mktemp("busy"), feed)
    run.before(29)
    why = "flights.csv has 10 bytes, its manifest says 20"
    run.take(receipt("2013-10-20"), psi=0.3)
    run.take(receipt("2013-10-21", "rejected", reason="size-differs", message=why))
    return run.lake_folder / run.report().key


def test_on_a_phone_a_busy_day_is_short_and_every_figure_can_be_reached(
    browser: Browser, busy: Path
) -> None:
    with browser.new_context(viewport={"width": 390, "height": 844}) as context:
        page = Seen(context, busy).page
        assert page.evaluate("document.documentElement.scrollHeight") < 3000
        wide = page.locator(".figures").evaluate_all(
            """found => found.map(
                e => [e.scrollWidth > e.clientWidth, getComputedStyle(e).overflowX])"""
        )
        assert wide == [[True, "auto"], [True, "auto"]]
        hidden = """[...document.querySelectorAll('td')].filter(
            e => e.textContent.trim() && !e.closest('details') && !e.checkVisibility())"""
        assert page.evaluate(f"{hidden}.length") == 0


def test_on_paper_a_busy_day_takes_two_pages(browser: Browser, busy: Path) -> None:
    with browser.new_context() as context:
        paper = Seen(context, busy).page.pdf(prefer_css_page_size=True, print_background=True)
    assert len(re.findall(rb"/Type\s*/Page[^s]", paper)) == 2


def test_on_paper_nothing_is_cut_off(browser: Browser, latest: Path) -> None:
    """A4 less its margins is 184 mm wide: 695 CSS pixels."""
    with browser.new_context(viewport={"width": 695, "height": 1000}) as context:
        seen = Seen(context, latest)
        seen.page.emulate_media(media="print", color_scheme="dark")
        assert seen.overflow() == []
        ground = "getComputedStyle(document.body).backgroundColor"
        assert seen.page.evaluate(ground) == "rgb(255, 255, 255)"


def test_dark_and_light_follow_the_reader(browser: Browser, latest: Path) -> None:
    found = []
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme) as context:
            seen = Seen(context, latest)
            text = "getComputedStyle(document.querySelector('svg text')).fill"
            ground = "getComputedStyle(document.body).backgroundColor"
            found.append((seen.page.evaluate(ground), seen.page.evaluate(text)))
    assert found == [
        ("rgb(255, 255, 255)", "rgb(85, 96, 111)"),
        ("rgb(18, 22, 28)", "rgb(166, 176, 190)"),
    ]
