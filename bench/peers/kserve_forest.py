"""KServe: a custom predictor (https://kserve.github.io/website/docs/model-serving/predictive-inference/frameworks/custom-predictor)."""

import os

import forest
import kserve
import numpy as np


class Forest(kserve.Model):
    def __init__(self) -> None:
        super().__init__("m")
        self.predict_rows = forest.load()
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        if isinstance(payload, kserve.InferRequest):
            found = self.predict_rows(payload.inputs[0].as_numpy())
            output = kserve.InferOutput("predictions", [len(found)], "FP64", found.tolist())
            return kserve.InferResponse(payload.id or "1", "m", [output])
        return {"predictions": self.predict_rows(np.array(payload["instances"])).tolist()}


if __name__ == "__main__":
    server = kserve.ModelServer(
        http_port=int(os.environ["PORT"]), grpc_port=int(os.environ["GRPC_PORT"]), workers=1, access_log_format=None
    )
    server.start([Forest()])
