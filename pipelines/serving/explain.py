"""Why a prediction came out as it did: SHAP values over the served ONNX model itself, whatever kind of model it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.serving.bundle import Model
from pipelines.serving.requests import BadRequestError, Columns

MAX_EXPLAINED_ROWS = 20


def explain(model: Model, columns: Columns) -> list[dict[str, Any]]:
    """SHAP values of each row (Lundberg and Lee, 2017; permutation estimate against training rows).

    Returns:
        Per row: ``prediction``, ``base_value`` (the mean over the background rows) and ``shap_values`` by column, which
        add up to prediction minus base value. For a classifier they explain the probability of the predicted class.

    Raises:
        BadRequestError: More rows than are explained at once.
    """
    import shap

    rows = len(next(iter(columns.values())))
    if rows > MAX_EXPLAINED_ROWS:
        raise BadRequestError(f"{rows} rows were sent; at most {MAX_EXPLAINED_ROWS} are explained at once.", 413)
    coded = _Coding(model, columns)
    tensors = model.tensors(columns)
    predictions = model.predict(tensors)
    if model.task == "classification":
        names = [str(value) for value in model.classes]
        picked = [names.index(str(value)) for value in predictions]
    else:
        picked = [0] * rows

    results: list[dict[str, Any]] = []
    masker = shap.maskers.Independent(coded.background, max_samples=len(coded.background))
    for row in range(rows):

        def output(matrix: Any, column: int = picked[row]) -> Any:
            decoded = model.tensors(coded.decode(matrix))
            if model.task == "classification":
                return model.probabilities(decoded)[:, column].astype(float)
            return np.asarray(model.predict(decoded), dtype=float)

        explainer = shap.explainers.Permutation(output, masker, seed=0)
        width = len(model.columns)
        found = explainer(coded.rows[row : row + 1], max_evals=10 * (2 * width + 1), silent=True)
        item = {
            "prediction": predictions[row],
            "base_value": float(np.ravel(found.base_values)[0]),
            "shap_values": dict(zip(model.names, map(float, found.values[0]), strict=True)),
        }
        if model.task == "classification":
            item["probability"] = float(output(coded.rows[row : row + 1])[0])
        results.append(item)
    return results


class _Coding:
    """Columns as one matrix of numbers, as SHAP wants them; texts become numbers of their distinct values and come back."""

    def __init__(self, model: Model, columns: Columns) -> None:
        self.model = model
        self.levels = {
            column["name"]: sorted({*model.background[column["name"]], *columns[column["name"]]}) for column in model.columns if column["type"] == "string"
        }
        self.background, self.rows = self._encode(model.background), self._encode(columns)

    def _encode(self, columns: Columns) -> Any:
        coded = [
            [self.levels[name].index(value) for value in columns[name]] if name in self.levels else [float(value) for value in columns[name]]
            for name in self.model.names
        ]
        return np.array(coded, dtype=float).T

    def decode(self, matrix: Any) -> Columns:
        """Columns of values from a matrix of shape [n, columns]."""
        return {
            name: [self.levels[name][int(code)] for code in matrix[:, index]] if name in self.levels else matrix[:, index]
            for index, name in enumerate(self.model.names)
        }
