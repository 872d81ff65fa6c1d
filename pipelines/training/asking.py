"""The script's own model, called as the script would call it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.serving.models.engines import by_row
from pipelines.serving.models.model_process import given


@dataclass(frozen=True)
class Asked:
    """A fitted model, and the form in which it takes rows.

    Attributes:
        form: ``frame``; ``matrix`` [n, columns]; ``sparse``, a matrix of that kind; or ``vector`` [n] of the only
            column.
    """

    model: Any
    form: str = "frame"

    @property
    def name(self) -> str:
        """The kind of the estimator that predicts: for a pipeline the last step's."""
        last = last_step(self.model)
        inner = (getattr(last, name, None) for name in ("trained_booster", "trained_network", "python_model"))
        return type(next((item for item in inner if item is not None), last)).__name__

    @property
    def classes(self) -> list[Any]:
        """A classifier's classes as plain Python values, in the order of its probabilities; empty for a regressor.
        Of several targets a list for each.
        """
        found = getattr(self.model, "classes_", [])
        several = isinstance(found, list) and found and hasattr(found[0], "tolist") and found[0].ndim == 1
        return (
            [values.tolist() for values in found]
            if several
            else [value.item() if hasattr(value, "item") else value for value in found]
        )

    def has(self, method: str) -> bool:
        """Whether it has such a method."""
        return hasattr(self.model, method)

    def ask(self, method: str, frame: Any) -> Any:
        """A method's result for a frame's rows, as an array of shape [n] or [n, ...]."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return by_row(getattr(self.model, method)(given(self.form, frame)))

    def takes(self, frame: Any) -> bool:
        """Whether it predicts rows: no error, and no NaN, not even in a value from which the class is derived."""
        import pandas as pd

        methods = ("predict", *(method for method in ("predict_proba", "decision_function") if self.has(method)))
        try:
            return not any(bool(pd.isna(self.ask(method, frame)).any()) for method in methods)
        except Exception:  # each estimator fails in its own way
            return False

    def parts(self) -> Iterator[Any]:
        """The model and every estimator that it contains, each once."""
        waiting, seen = [self.model], set[int]()
        while waiting:
            item = waiting.pop()
            if isinstance(item, list | tuple):  # of steps, of transformers with their columns
                waiting += item
            elif hasattr(item, "get_params") and id(item) not in seen:
                seen.add(id(item))
                yield item
                waiting += vars(item).values()


class Pyfunc:
    """A model of MLflow's own kind (``mlflow.pyfunc.PythonModel``, or a function of rows) as one that has ``predict``.

    https://mlflow.org/docs/latest/ml/model/python_model/
    """

    def __init__(self, python_model: Any) -> None:
        self.python_model = python_model

    def predict(self, rows: Any) -> Any:
        """Its predictions for rows."""
        if not hasattr(self.python_model, "predict"):
            return self.python_model(rows)
        takes_context = "context" in inspect.signature(self.python_model.predict).parameters
        return self.python_model.predict(None, rows) if takes_context else self.python_model.predict(rows)


def form_of(features: Any) -> str:
    """The form of the data that a model was fitted on."""
    import numpy as np
    import pandas as pd

    if isinstance(features, pd.DataFrame):
        return "frame"
    if hasattr(features, "tocsr"):
        return "sparse"
    return "vector" if isinstance(features, pd.Series) or np.ndim(features) == 1 else "matrix"


def last_step(model: Any) -> Any:
    """The estimator that predicts: for a pipeline the last step's, for a search the best one's."""
    if hasattr(model, "steps"):
        return last_step(model.steps[-1][1])
    return last_step(model.best_estimator_) if hasattr(model, "best_estimator_") else model
