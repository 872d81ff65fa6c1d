"""MLServer: a custom runtime for the ONNX file (https://mlserver.readthedocs.io/en/latest/user-guide/custom.html)."""

import forest
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Forest(MLModel):
    async def load(self) -> bool:
        self.predict_rows = forest.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        output = NumpyCodec.encode_output("predictions", self.predict_rows(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])
