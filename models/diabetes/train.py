"""Train the model that says how far a disease will be: ``python -m models.diabetes.train``.

It runs in the environment of ``make zoo``, and writes ``model.onnx`` beside itself. The other files
are made by ``flagfall model init`` (see ``README.md``). The exported pipeline has an input for each
column, so the dataset file declares no features.
"""

from __future__ import annotations

from pathlib import Path

from skl2onnx import to_onnx
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sandbox.examples import training_rows

FOLDER = Path(__file__).parent
NUMBERS = ["age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


def main() -> None:
    """Fit on two rows of three, and export."""
    rows = training_rows("diabetes")
    x = rows.select("sex", *NUMBERS).to_pandas().astype(dict.fromkeys(NUMBERS, "float32"))
    columns = make_column_transformer((OneHotEncoder(), ["sex"]), (StandardScaler(), NUMBERS))
    fitted = make_pipeline(columns, Ridge()).fit(x, rows["progression"].to_numpy())
    (FOLDER / "model.onnx").write_bytes(to_onnx(fitted, x[:1]).SerializeToString())


if __name__ == "__main__":
    main()
