"""NVIDIA's Triton with a model in ONNX format, through pytriton; run by that server's Python.

python triton.py FOLDER NAME PORT WORKSPACE
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

OUTPUT = "probabilities"


def main(folder: str, name: str, port: str, workspace: str) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(Path(folder) / "model.onnx", options)
    (put,) = session.get_inputs()

    @batch  # type: ignore[untyped-decorator]
    def run(**given: np.ndarray) -> dict[str, np.ndarray]:
        return {OUTPUT: session.run([OUTPUT], given)[0]}

    config = TritonConfig(
        http_address="127.0.0.1", http_port=int(port), allow_grpc=False, allow_metrics=False
    )
    with Triton(config=config, workspace=Path(workspace) / "triton") as triton:
        triton.bind(
            model_name=name,
            infer_func=run,
            inputs=[Tensor(name=put.name, dtype=np.float32, shape=(put.shape[1],))],
            outputs=[Tensor(name=OUTPUT, dtype=np.float32, shape=(2,))],
            config=ModelConfig(max_batch_size=20_000),
        )
        triton.serve()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that Triton itself is ended, too
    main(*sys.argv[1:])
