"""What a model's numbers mean: its task, its classes, and the predictions that come of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import polars as pl

from flagfall.dataset.model import Scorer, Task
from flagfall.dataset.schema import PROBABILITY
from flagfall.scoring.engines.outputs import Outputs, Texts, probabilities
from flagfall.scoring.model_folder import Card

HALF = 0.5
ABNORMAL, NORMAL = "-1", "1"
"""What scikit-learn's detectors answer; their scores are low where a row is unusual."""

_ROUNDING = 1e-5
"""How far a probability may be above 1: exporters work with float32. It is then 1."""
_SUM = 1e-3
"""How far the probabilities of a row may be from 1 in all: they are float32, or rounded."""

_MANY = 20
"""Rows of which most have to be decided as their probabilities say."""


class NotUnderstood(Exception):
    """A model's answer does not fit its task; the message says why, and what to change."""


@dataclass(frozen=True)
class Reading:
    """How a model's outputs are read.

    Attributes:
        task: What it says of a row.
        classes: Names of its classes in the order of its probabilities; empty for other tasks.
        positive: Of a binary model, the class that the score is the probability of.
        is_named: Whether somebody named the classes: the model, its folder or the dataset file.
        threshold: From this score on a row is given the positive class, or flagged; ``None``: by
            the model's own decision.
        columns: What the model calls the columns of its scores; empty where it does not name them.
    """

    task: Task
    classes: tuple[str, ...] = ()
    positive: str = ""
    is_named: bool = False
    threshold: float | None = None
    logits: bool = False
    columns: tuple[str, ...] = ()

    def predictions(self, outputs: Outputs) -> pl.DataFrame:
        """The columns that predictions add to the key's.

        ``binary``: ``score``, the probability of the positive class (Float32), ``class``, 1 or 0
        (Int8). ``multiclass``: ``class`` (String), ``score``, its probability (Float32), and a
        column ``probability.<class>`` for each. ``regression``: ``value`` (Float64). ``anomaly``:
        ``score``, higher for the unusual (Float64), ``label``, 1 or 0 (Int8).

        Raises:
            NotUnderstood: The outputs do not fit the task.
        """
        if self.task == "binary":
            return self._binary(outputs)
        if self.task == "multiclass":
            return self._multiclass(outputs)
        if self.task == "regression":
            return pl.DataFrame({"value": self._single(outputs).astype(np.float64)})
        return self._anomaly(outputs)

    def _binary(self, outputs: Outputs) -> pl.DataFrame:
        shares = self._shares(outputs)
        if shares.shape[1] == 1:  # it is of the second class
            shares = np.hstack([1 - shares, shares])
        score = shares[:, self.classes.index(self.positive)]
        threshold = np.float32(HALF if self.threshold is None else self.threshold)
        score = np.ascontiguousarray(score, np.float32)
        return pl.DataFrame({"score": score, "class": (score >= threshold).astype(np.int8)})

    def _multiclass(self, outputs: Outputs) -> pl.DataFrame:
        shares = self._shares(outputs).astype(np.float32, copy=False)
        best = shares.argmax(axis=1)
        columns = {f"{PROBABILITY}{name}": shares[:, n] for n, name in enumerate(self.classes)}
        named = pl.Series("class", np.asarray(self.classes, dtype=np.str_)[best], pl.String())
        score = shares[np.arange(len(best)), best]
        return pl.DataFrame({"class": named, "score": score, **columns})

    def _shares(self, outputs: Outputs) -> np.ndarray[Any, Any]:
        """The probabilities, checked."""
        scores = self._in_order(outputs)
        scores = probabilities(scores) if self.logits else scores
        width = scores.shape[1]
        if width != len(self.classes) and not (width == 1 and self.task == "binary"):
            why = f"it returns {width} numbers a row, and has the classes {list(self.classes)}"
            raise NotUnderstood(f"{why}; correct model.classes or model.task")
        wrong = scores[~((scores >= 0) & (scores <= 1 + _ROUNDING))]  # NaN fails both comparisons
        if wrong.size:
            found = f"{wrong.size} of {scores.size} scores are no probabilities, such as {wrong[0]}"
            raise NotUnderstood(f"{found}; {_NO_SHARES}")
        if width > 1 and (off := np.abs(scores.sum(axis=1) - 1)).max() > _SUM:
            found = f"the probabilities of {int((off > _SUM).sum())} rows do not sum to 1"
            raise NotUnderstood(f"{found}; {_NO_SHARES}")
        _check_order(scores, outputs.labels, self.classes)
        return np.minimum(scores, 1)

    def _in_order(self, outputs: Outputs) -> np.ndarray[Any, Any]:
        """The scores, their columns in the order of the classes."""
        found, expected = outputs.classes, self.columns
        if found == expected:
            return outputs.scores
        if sorted(found) != sorted(expected):
            why = f"it returns the columns {list(found)}, and for other rows {list(expected)}"
            raise NotUnderstood(f"{why}; it has to return the same for any rows")
        return outputs.scores[:, [found.index(name) for name in expected]]

    def _single(self, outputs: Outputs) -> np.ndarray[Any, Any]:
        """The only column, checked."""
        if outputs.scores.shape[1] != 1:
            why = f"expected one number a row, got {outputs.scores.shape[1]}"
            raise NotUnderstood(f"{why}; correct model.task, or name the output in model.output")
        values = outputs.scores[:, 0]
        wrong = values[~np.isfinite(values)]
        if wrong.size:
            why = f"{wrong.size} of {values.size} values are no numbers, such as {wrong[0]}"
            raise NotUnderstood(f"{why}; give its features `missing`, or mend the model")
        return values

    def _anomaly(self, outputs: Outputs) -> pl.DataFrame:
        score, flagged = self._single(outputs).astype(np.float64), outputs.flagged
        if outputs.labels is not None:
            score, flagged = -score, outputs.labels == ABNORMAL
            if not is_detector(outputs.labels):
                found = sorted(set(outputs.labels.tolist()))[:5]
                raise NotUnderstood(f"expected -1 for the unusual and 1 for the rest, got {found}")
        if self.threshold is not None:
            flagged = score >= self.threshold
        if flagged is None:
            raise NotUnderstood("it returns scores and no decision; set model.threshold")
        return pl.DataFrame({"score": score, "label": flagged.astype(np.int8)})


def columns_of(task: Task, classes: Sequence[str] = ()) -> dict[str, pl.DataType]:
    """The columns of ``Reading.predictions``."""
    shares = {f"{PROBABILITY}{name}": pl.Float32() for name in classes}
    found: dict[Task, dict[str, pl.DataType]] = {
        "binary": {"score": pl.Float32(), "class": pl.Int8()},
        "multiclass": {"class": pl.String(), "score": pl.Float32(), **shares},
        "regression": {"value": pl.Float64()},
        "anomaly": {"score": pl.Float64(), "label": pl.Int8()},
    }
    return found[task]


_NO_SHARES = "export it with probabilities, or set model.logits or another model.task"


def is_detector(labels: Texts) -> bool:
    """Whether labels are those of scikit-learn's detectors: -1 for the unusual, else 1."""
    return bool(np.isin(labels, (ABNORMAL, NORMAL)).all())


def _check_order(scores: np.ndarray[Any, Any], labels: Texts | None, names: Sequence[str]) -> None:
    """See that the model's own decision is the class with the highest probability, mostly."""
    if labels is None or scores.shape[1] == 1:
        return
    best = np.asarray(names)[scores.argmax(axis=1)]
    if strange := sorted(set(labels.tolist()) - set(names)):
        why = f"it answers with the classes {strange[:5]}, which are not among {list(names)}"
        raise NotUnderstood(f"{why}; correct model.classes")
    differs = best != labels
    if len(labels) < _MANY:  # a few near the middle may be decided otherwise
        column = {name: number for number, name in enumerate(names)}
        own = scores[np.arange(len(labels)), [column[label] for label in labels.tolist()]]
        differs &= scores.max(axis=1) - own > HALF
    if differs.mean() > HALF:
        why = f"its probabilities are not in the order of the classes {list(names)}"
        raise NotUnderstood(f"{why}: its own decisions differ; correct model.classes")


def read_outputs(
    scorer: Scorer,
    card: Card | None,
    outputs: Outputs,
    task: Task | None = None,
    classes: tuple[str, ...] = (),
) -> Reading:
    """How a model's outputs are to be read, from what is known of it and from the first of them.

    Args:
        scorer: What the dataset file says; it goes before all else.
        card: What ``card.json`` says; ``None`` without one.
        outputs: What the model says of some rows.
        task: What the model itself says, outside of its outputs.
        classes: The same.

    Raises:
        NotUnderstood: The task or the classes cannot be known.
    """
    own = outputs.classes or classes
    if own != scorer.classes and set(own) & set(scorer.classes):
        why = f"model.classes is {list(scorer.classes)}, and the model names them {list(own)}"
        raise NotUnderstood(f"{why}, in this order; correct model.classes, or leave it out")
    columns = outputs.classes
    if columns and card and not scorer.classes and sorted(columns) == sorted(card.classes):
        own = columns = card.classes
    given = scorer.classes or own or (card.classes if card else ())
    found = scorer.task or _known(task) or (card.task if card else None)
    found = found or task_of(outputs, given, scorer)
    if found is None:
        raise NotUnderstood(f"the model does not tell its task; {ASK}")
    threshold = None if found in ("multiclass", "regression") else scorer.threshold
    if found in ("regression", "anomaly"):
        return Reading(found, threshold=threshold)
    named = given or _unnamed(outputs)
    positive = scorer.positive_class or (named[1] if found == "binary" else "")
    if found == "binary" and (len(named) != 2 or positive not in named):
        why = f"a binary model has two classes, one of them positive; found {list(named)}"
        raise NotUnderstood(f"{why}, positive {positive!r}; correct model.positive_class or task")
    return Reading(found, named, positive, bool(given), threshold, scorer.logits, columns)


ASK = f"set model.task to one of {', '.join(get_args(Task))}"


def _known(task: str | None) -> Task | None:
    if task is not None and task not in get_args(Task):
        raise NotUnderstood(f"TASK is {task!r}, expected one of {', '.join(get_args(Task))}")
    return task  # type: ignore[return-value]  # it is one of them


def task_of(outputs: Outputs, classes: Sequence[str], scorer: Scorer) -> Task | None:
    """The task that a model's outputs tell; ``None`` where they may be of several."""
    width, labels = outputs.scores.shape[1], outputs.labels
    if classes:
        return "binary" if len(classes) == 2 else "multiclass"
    if width > 1:
        return "binary" if width == 2 else "multiclass"
    if scorer.positive_class or scorer.logits:
        return "binary"
    is_anomaly = outputs.flagged is not None or (labels is not None and is_detector(labels))
    return "anomaly" if is_anomaly else None


def _unnamed(outputs: Outputs) -> tuple[str, ...]:
    """The numbers of the columns, unless the model's own decisions have other names."""
    names = tuple(map(str, range(max(outputs.scores.shape[1], 2))))
    if outputs.labels is not None and not set(outputs.labels.tolist()) <= set(names):
        found = sorted(set(outputs.labels.tolist()))[:5]
        why = f"the model does not say which probability is of which class ({found} …)"
        raise NotUnderstood(f"{why}; list them in model.classes, or run `flagfall model init`")
    return names


def classes_of(outputs: Outputs) -> tuple[str, ...]:
    """Name of each column, from the model's own decisions on many rows; empty where not known."""
    if outputs.classes or outputs.labels is None or outputs.scores.shape[1] == 1:
        return outputs.classes
    best = outputs.scores.argmax(axis=1)
    names = [outputs.labels[best == column] for column in range(outputs.scores.shape[1])]
    if any(not len(found) for found in names):
        return ()
    commonest = tuple(max(set(found.tolist()), key=found.tolist().count) for found in names)
    return commonest if len(set(commonest)) == len(commonest) else ()
