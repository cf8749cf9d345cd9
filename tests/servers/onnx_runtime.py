"""A runtime for MLServer that runs a model in ONNX format; it is loaded by that server."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor

OUTPUT = "probabilities"


class OnnxModel(MLModel):  # type: ignore[misc]
    """``model.onnx`` of the folder that the model's settings name, on one thread."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = Path(self.settings.parameters.uri) / "model.onnx"
        self._session = onnxruntime.InferenceSession(path, options)
        (put,) = self._session.get_inputs()
        self.inputs = [MetadataTensor(name=put.name, datatype="FP32", shape=[-1, put.shape[1]])]
        self.outputs = [MetadataTensor(name=OUTPUT, datatype="FP32", shape=[-1, 2])]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {put.name: NumpyCodec.decode_input(put) for put in payload.inputs}
        (scores,) = self._session.run([OUTPUT], given)
        outputs = [NumpyCodec.encode_output(OUTPUT, scores)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
