"""Train the flights model as its ``train.py`` does, and keep it as LightGBM writes it.

For ``analyst.py``, who has the model as it was trained; ONNX is what Flagfall needs.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import polars as pl
from analyst_rules import CONSTANTS, MODEL

from flagfall.dataset.loader import find_dataset
from flagfall.scoring.features import Constants
from models.flights_delay import train
from sandbox.flights import all_flights


def main() -> None:
    """Write the model and its constants into the folder that is given."""
    folder, dataset = Path(sys.argv[1]), find_dataset("flights")
    flights = train.usable(dataset, all_flights())
    early = flights.filter(pl.col("date").dt.month() <= train.LAST_TRAINING_MONTH)
    learned = train.known(dataset, early)
    constants = Constants.read(str(train.FOLDER))
    booster = train.train(train.inputs(dataset, constants, learned), learned["label"])
    booster.save_model(folder / MODEL)
    shutil.copy(train.FOLDER / CONSTANTS, folder / CONSTANTS)


if __name__ == "__main__":
    main()
