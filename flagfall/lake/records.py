"""What the lake remembers of each batch: small, frozen, JSON, one record per stage.

A record is written last, with create-if-absent, so that its existence means "this stage is done for
this delivery", and its parts are complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from flagfall.dataset.model import Task
from flagfall.landing.marker import Marker, is_text

DRIFT_OF = "drift of "
"""Begins an alert on drift; the feature's name follows."""
HISTOGRAM_BINS = 100
"""Bins of equal width over scores from 0 to 1."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)


class _Stored(_Record):
    """A record with a file of its own. Fields that a reader does not know are ignored.

    Attributes:
        form: Raised when a reader of today would misread what is written.
    """

    form: int = 1

    def to_json(self) -> bytes:
        """The record as UTF-8 JSON, indented for people."""
        return self.model_dump_json(indent=1).encode()


def _marker(value: Any) -> Any:
    return Marker.from_dict(value) if isinstance(value, dict) else value


MarkerJson = Annotated[Marker, BeforeValidator(_marker), PlainSerializer(Marker.to_dict)]


class SourceFile(_Record):
    """A data file as it was read.

    Attributes:
        path: Below the landing zone.
        bytes: Size as read.
        sha256: Hex digest of the bytes as read.
    """

    path: str
    bytes: int
    sha256: str


LEFT_OUT_NAMES = 20
LEFT_OUT_BYTES = 4096
"""Names of files that a record keeps, and their bytes."""


class LeftOut(_Record):
    """Files that look like the batch's and do not count.

    Attributes:
        files: How many, counted up to 10,000.
        names: The first of them, below the landing zone, each with the reason.
    """

    files: int = 0
    names: dict[str, str] = {}

    @classmethod
    def of(cls, found: Mapping[str, str]) -> LeftOut:
        """As many names as a record keeps; one that is not UTF-8 as Python writes it."""
        names, left = {}, LEFT_OUT_BYTES
        for key in sorted(found)[:LEFT_OUT_NAMES]:
            name = key if is_text(key) else ascii(key)
            left -= len(name.encode()) + len(found[key])
            if left < 0:
                break
            names[name] = found[key]
        return cls(files=len(found), names=names)

    def sentence(self, shown: int = 3) -> str:
        """In words, with the first names; empty where none is left out."""
        if not self.files:
            return ""
        some = list(self.names.items())[:shown]
        more = self.files - len(some)
        parts = [f"{name!r} ({why})" for name, why in some] + ([f"{more:,} more"] if more else [])
        files = "1 file was" if self.files == 1 else f"{self.files:,} files were"
        return f"{files} left out: {'; '.join(parts)}"


class Part(_Record):
    """One Parquet file of a stage's output; ``name`` is below the stage's folder for the batch."""

    name: str
    rows: int


class Staged(_Stored):
    """What ingest made of a batch.

    Attributes:
        files: The producer's files.
        parts: Typed rows.
        rows: Rows in ``parts``.
        rejected_rows: Rows kept apart because they break a rule.
        reasons: Rejected rows by rule, such as ``{"tailnum: required": 3}``; a row may break
        several.
        listing: Hash of the names and versions of ``files``; empty where not known.
        left_out: Files that look like the batch's and are not.
        warnings: Rows by what is remarkable about them, although they are accepted.
        unexpected: Columns of the files that the dataset does not name: 20 at most, then ``and
            more``, each cut to 60 printable characters.
        turn: Number of the last turn of its marker that was known when it was begun; ``None`` in
            records of older releases.
    """

    batch_id: str
    turn: int | None = None
    files: tuple[SourceFile, ...]
    listing: str = ""
    parts: tuple[Part, ...]
    rows: int
    rejected_rows: int
    reasons: dict[str, int]
    left_out: LeftOut = LeftOut()
    warnings: dict[str, int] = {}
    unexpected: tuple[str, ...] = ()

    @property
    def content(self) -> dict[str, str]:
        """Identifies the content: sha256 by file."""
        return {file.path: file.sha256 for file in self.files}


class Featured(_Stored):
    """What preprocess made of a batch: the model's inputs, with the key columns.

    Attributes:
        features: Names of the inputs, in the model's order; empty in records of older releases.
    """

    batch_id: str
    parts: tuple[Part, ...]
    rows: int
    features: tuple[str, ...] = ()
    model_version: str


class Predicted(_Stored):
    """What the model said of a batch.

    Attributes:
        task: What it says of a row.
        classes: Of a classifier, in the order of its probabilities.
        positive: Of a binary classifier, the class whose probability is the score.
        named: Whether somebody named the classes, so that labels can be compared with them.
        threshold: From this score on a row is positive, or flagged; ``None``: 0.5, or the model's
            own decision.
        positives: Rows of class 1, or flagged.
        by_class: Rows by class, of a multiclass model.
        mean_score: Mean of score or value; ``None`` for a batch without rows.
        model_sha256: Hash of the files that made the predictions (see ``ModelFolder.sha256``).
        dataset_sha256: Hash of the dataset file.
    """

    batch_id: str
    parts: tuple[Part, ...]
    rows: int
    task: Task = "binary"
    classes: tuple[str, ...] = ()
    positive: str = ""
    named: bool = False
    threshold: float | None = None
    positives: int = 0
    by_class: dict[str, int] = {}
    mean_score: float | None
    model_version: str
    model_sha256: str = ""
    dataset_sha256: str = ""


_NO_SCORES = (0,) * HISTOGRAM_BINS


class Scores(_Record):
    """Scores counted in ``HISTOGRAM_BINS`` bins, by what really happened."""

    unlabelled: tuple[int, ...] = _NO_SCORES
    negative: tuple[int, ...] = _NO_SCORES
    positive: tuple[int, ...] = _NO_SCORES


class ValueBins(_Record):
    """Rows counted by a value, in bins of equal width.

    The width is a power of two, and edges are its multiples. So bins of several batches can be
    added up, whatever their ranges. The outer bins also hold what lies beyond.

    Attributes:
        width: Of a bin.
        first: Number of the first bin: bin i begins at ``(first + i) * width``.
        sums: By what was added up, a number for each bin: ``rows`` and more.
    """

    width: float
    first: int
    sums: dict[str, tuple[float, ...]]


class ClassCounts(_Record):
    """Rows of one class.

    Attributes:
        predicted: Rows that were given it.
        real: Rows that really are of it. So far as it is known: as for the next two.
        given: Rows that were given it.
        right: Rows that were given it and are of it.
    """

    predicted: int = 0
    real: int = 0
    given: int = 0
    right: int = 0


class Multiclass(_Record):
    """How well a multiclass model did.

    Attributes:
        log_loss: Mean of −ln of the probability of the real class; ``None`` without labels. So for
            the next two.
        accuracy: Share of labelled rows of which the class is right.
        macro_f1: F1 score, averaged over the classes that occur.
        counts: By class, those that occur.
        shown: Classes of ``confusion``, the most frequent ones.
        confusion: Labelled rows: a line for each real class of ``shown``, in it a number for each
            class that was given.
    """

    log_loss: float | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    counts: dict[str, ClassCounts] = {}
    shown: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()


class Regression(_Record):
    """How far values were from what really came. An error is the prediction minus the real value.

    Attributes:
        mae: Mean absolute error; ``None`` without labels. So for all but the last two.
        rmse: Root of the mean squared error.
        r2: 1 − squared errors / squared distances of the real values from their mean; ``None``
            also where all real values are the same.
        bias: Mean error: above 0 the model predicts too much.
        real_mean: Mean of the real values.
        real_spread: Their standard deviation (of the labelled rows, not an estimate).
        mean: Mean prediction; ``None`` without rows.
        bins: By prediction: ``rows``, ``known`` (labelled ones), and sums of ``error`` and
            ``square`` over these; ``None`` without rows.
    """

    mae: float | None = None
    rmse: float | None = None
    r2: float | None = None
    bias: float | None = None
    real_mean: float | None = None
    real_spread: float | None = None
    mean: float | None = None
    bins: ValueBins | None = None


class Anomaly(_Record):
    """What an anomaly model flagged.

    Attributes:
        flagged: Rows that it flagged.
        known: Flagged rows whose label is known.
        right: Flagged rows that are really unusual.
        auc: As of a binary model. ``None`` unless both kinds of rows are there.
        precision: Share of flagged rows that are unusual; ``None`` where none is flagged.
        recall: Share of unusual rows that are flagged; ``None`` where none is unusual.
        bins: By score: ``rows``, ``flagged``, ``known``, ``positive`` (really unusual); ``None``
            without rows.
    """

    flagged: int = 0
    known: int = 0
    right: int = 0
    auc: float | None = None
    precision: float | None = None
    recall: float | None = None
    bins: ValueBins | None = None


class Drift(_Record):
    """How far one feature (or ``score``) has moved from the reference.

    Attributes:
        psi: Population stability index; 0 is the same distribution.
        missing_share: Share of rows without a value.
        reference_missing_share: The same, at training.
        usual: Largest PSI of a training batch against all of them; ``None`` where not known.
        noise: About the PSI that chance alone makes with so many rows.
        kind: What it is the drift of: a feature, the model's score or value, or its class.
        other_share: Of a category, share of rows with a text that training had rarely, or never;
            ``None`` of others.
        reference_other_share: The same, at training.
        vanished: Categories of training that no row has, with their share then.
    """

    feature: str
    psi: float
    missing_share: float
    reference_missing_share: float
    usual: float | None = None
    noise: float = 0.0
    kind: Literal["feature", "score", "class"] = "feature"
    other_share: float | None = None
    reference_other_share: float | None = None
    vanished: dict[str, float] = {}


class Look(_Record):
    """What was known of a batch when outcomes of another feed were joined to it.

    Attributes:
        at: When (UTC).
        labelled: Rows whose outcome was known.
        quality: As ``Evaluation.quality``.
    """

    at: datetime
    labelled: int
    quality: float | None = None


class Evaluation(_Stored):
    """How well a batch went.

    Attributes:
        task: What its model says of a row. The next seven are of a binary one.
        labelled: Rows whose label is known; of every task.
        positives: Labelled rows that are positive.
        auc: Area under the ROC curve; ``None`` unless both classes are there. So for the next two.
        average_precision: Area under precision over recall.
        brier: Mean squared difference of score and outcome; ``None`` without labels.
        calibration_gap: Mean score minus share of positives, over labelled rows.
        expected_auc: What all scores let one expect, labelled or not; ``None`` in records of older
            releases.
        scores: Enough for a distribution, a ROC curve and a calibration plot over many batches.
        multiclass: Figures of a multiclass model; ``None`` of others. So for the next two.
        own: Figures of the team's own function; ``None`` stands for one without a value.
        drift: One entry per feature of the model's reference, then of a multiclass model one of its
            class, and last one of its score. None at all without a reference.
        alerts: One sentence per threshold that was passed; empty means normal.
        outcomes: Deliveries of another feed that outcomes were taken of; ``None`` where the batch's
            own columns have them.
        looks: At these outcomes, in their order.
    """

    batch_id: str
    rows: int
    task: Task = "binary"
    labelled: int
    positives: int = 0
    auc: float | None = None
    average_precision: float | None = None
    brier: float | None = None
    calibration_gap: float | None = None
    expected_auc: float | None = None
    scores: Scores = Scores()
    multiclass: Multiclass | None = None
    regression: Regression | None = None
    anomaly: Anomaly | None = None
    own: dict[str, float | None] = {}
    drift: tuple[Drift, ...]
    alerts: tuple[str, ...]
    model_version: str
    outcomes: int | None = None
    looks: tuple[Look, ...] = ()

    @property
    def quality(self) -> float | None:
        """The first figure of its task: AUC, accuracy or mean absolute error."""
        if self.multiclass is not None:
            return self.multiclass.accuracy
        if self.regression is not None:
            return self.regression.mae
        return self.auc if self.anomaly is None else self.anomaly.auc


LOOKS_KEPT = 60
"""Earlier looks that an evaluation remembers."""


class LateEvaluation(_Stored):
    """How well a batch was scored, by the outcomes that another feed has brought so far.

    Attributes:
        number: Counts the evaluations of the batch from 1; the last one counts.
        made_of: Hash of the label's expression and of the ids of the deliveries that outcomes were
            taken of, in their order.
        deliveries: How many these are.
        at: When outcomes were joined (UTC).
        evaluation: By these outcomes; without drift.
        parts: The outcomes, with the key columns; none in records of older releases.
        earlier: What the evaluations before it knew, the last of each day; none in records of older
            releases.
        run: The run that evaluated it; empty where that has no name.
        sources: ``<day>~<batch id>`` of the deliveries, with the day on which each landed (UTC);
            none in records of older releases.
    """

    batch_id: str
    number: int
    made_of: str
    deliveries: int
    at: datetime
    evaluation: Evaluation
    parts: tuple[Part, ...] = ()
    earlier: tuple[Look, ...] = ()
    run: str = ""
    sources: tuple[str, ...] = ()

    @property
    def looks(self) -> tuple[Look, ...]:
        """What was known, look by look."""
        known = self.evaluation
        last = Look(at=self.at, labelled=known.labelled, quality=known.quality)
        return (*self.earlier, last)[-LOOKS_KEPT:]

    def on(self, scored: Evaluation) -> Evaluation:
        """What is known of the batch: what was seen when it was scored, and these outcomes."""
        alerts = dict.fromkeys((*scored.alerts, *self.evaluation.alerts))
        kept = {"own": scored.own, "drift": scored.drift, "alerts": tuple(alerts)}
        late = {"outcomes": self.deliveries, "looks": self.looks}
        return self.evaluation.model_copy(update={**kept, **late})


class Apart(_Record):
    """A row of which two models say different things.

    Attributes:
        key: What names it, as text.
        ours: Score or value of the dataset's model.
        theirs: The same of its challenger.
        our_class: Of several classes, the one that the model gives; empty for other tasks.
        their_class: The same of its challenger.
    """

    key: dict[str, str]
    ours: float
    theirs: float
    our_class: str = ""
    their_class: str = ""


class Challenged(_Stored):
    """What a dataset's challenger said of a batch, beside its model.

    Attributes:
        parts: Its predictions, in the rows' order; none where it failed.
        error: Why it failed; empty where it did not.
        evaluation: How well it did.
        other_class: Rows that it gives another class or label; ``None`` for values.
        mean_difference: Mean size of the difference of score or value, of several classes of the
            probabilities (half the sum of the differences); ``None`` without rows.
        furthest: The rows with the largest differences.
    """

    batch_id: str
    parts: tuple[Part, ...] = ()
    rows: int = 0
    error: str = ""
    evaluation: Evaluation | None = None
    other_class: int | None = None
    mean_difference: float | None = None
    furthest: tuple[Apart, ...] = ()
    model_version: str = ""
    model_sha256: str = ""


Status = Literal["accepted", "rejected", "unchanged"]


def listing_of(versions: Mapping[str, str]) -> str:
    """Hash of the versions of a batch's files, by key (see ``Receipt``)."""
    return hashlib.sha256(json.dumps(sorted(versions.items())).encode()).hexdigest()


class Receipt(_Stored):
    """That a delivery was taken in, or turned away, or brought nothing new. Written once.

    Attributes:
        reason: A short stable word; empty when accepted.
        message: The reason in words for the producer; empty when accepted.
        warnings: As in ``Staged``. So for ``unexpected``.
        content: sha256 by data file; empty where the files could not be read.
        listing: Hash of its data files' names and versions, on a disk; empty where not known. The
            same ones need not be read again.
        turn: Counts what was accepted or found unchanged at this marker, from 1; the accepted one
            with the last turn is the one that counts. Of a rejected one: the last before it.
        left_out: Files that look like the batch's and are not.
        supersedes: Batch id of the accepted delivery of the same marker that this one replaces
            (or, when unchanged, repeats).
        received_at: When this receipt was written (UTC).
    """

    batch_id: str
    marker: MarkerJson
    status: Status
    reason: str = ""
    message: str = ""
    rows: int = 0
    rejected_rows: int = 0
    reasons: dict[str, int] = {}
    warnings: dict[str, int] = {}
    unexpected: tuple[str, ...] = ()
    bytes: int = 0
    content: dict[str, str] = {}
    listing: str = ""
    turn: int = 0
    left_out: LeftOut = LeftOut()
    supersedes: str | None = None
    received_at: datetime

    @property
    def seconds(self) -> float:
        """From the marker's landing to this receipt."""
        return (self.received_at.astimezone(UTC) - self.marker.landed_at).total_seconds()

    @property
    def remarks(self) -> str:
        """What a person should know of rows that were accepted; empty where there is nothing."""
        found = [
            f"{text} ({rows:,} row{'' if rows == 1 else 's'})"
            for text, rows in self.warnings.items()
        ]
        if self.unexpected:
            names = ", ".join(f"'{name}'" for name in self.unexpected)
            found.append(f"columns that the dataset does not name: {names}")
        return "; ".join(found)
