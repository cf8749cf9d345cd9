"""Train the model that says which grower a wine is from: ``python -m models.wine.train``.

It runs in the environment of ``make zoo``, and writes ``model.onnx`` beside itself. The other files
are made by ``flagfall model init`` (see ``README.md``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sandbox.examples import training_rows

FOLDER = Path(__file__).parent


def main() -> None:
    """Fit on two rows of three, and export."""
    rows = training_rows("wine")
    x = rows.drop("bottle", "grower").to_numpy().astype(np.float32)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, rows["grower"].to_numpy())
    (FOLDER / "model.onnx").write_bytes(to_onnx(fitted, x[:1]).SerializeToString())


if __name__ == "__main__":
    main()
