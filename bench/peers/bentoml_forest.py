"""BentoML: a service (https://docs.bentoml.com/en/latest/get-started/hello-world.html)."""

import bentoml
import forest
import numpy as np


@bentoml.service(workers=1)
class Forest:
    def __init__(self) -> None:
        self.predict_rows = forest.load()

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.predict_rows(rows)
