"""XGBoost's, LightGBM's and CatBoost's own training APIs, observed and called like scikit-learn's.

``xgboost.train`` and ``lightgbm.train`` take their rows in their own objects and return a ``Booster``, whose
``predict`` returns the objective's output: for a classification the probabilities.
"""

from __future__ import annotations

import functools
import json
import weakref
from collections.abc import Callable
from typing import Any

Note = Callable[[Any, Any, Any], None]  # model, features, labels


class Booster:
    """A booster that predicts numbers, as an estimator."""

    def __init__(self, booster: Any) -> None:
        self.trained_booster = booster

    def predict(self, rows: Any) -> Any:
        """What the booster predicts."""
        if type(self.trained_booster).__module__.startswith("xgboost"):
            import xgboost

            return self.trained_booster.predict(xgboost.DMatrix(rows, enable_categorical=True))
        return self.trained_booster.predict(rows)


class ClassBooster(Booster):
    """A booster that gives the probabilities of classes 0, 1, ..."""

    def __init__(self, booster: Any, classes: int) -> None:
        import numpy as np

        super().__init__(booster)
        self.classes_ = np.arange(classes)

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities, shape [n, classes]."""
        return shares_of(super().predict(rows))

    def predict(self, rows: Any) -> Any:
        """The most probable class."""
        return self.predict_proba(rows).argmax(axis=1)


def shares_of(output: Any) -> Any:
    """A booster's output as probabilities of each class, shape [n, classes]; for two classes it only returns the
    second's.
    """
    import numpy as np

    found = np.asarray(output)
    return np.vstack([1 - found, found]).T if found.ndim == 1 else found


def as_estimator(model: Any) -> Any:
    """A booster as an estimator; any other model unchanged."""
    if type(model).__name__ != "Booster":
        return model
    if type(model).__module__.startswith("xgboost"):
        learner = json.loads(model.save_config())["learner"]
        name, classes = learner["objective"]["name"], int(learner["learner_model_param"]["num_class"])
        wanted = {"binary:logistic": 2, "multi:softprob": classes}
    elif type(model).__module__.startswith("lightgbm"):
        name, classes = str(model.params.get("objective", "")), model.num_model_per_iteration()
        wanted = {"binary": 2, "multiclass": classes, "softmax": classes}
    else:
        return model
    return ClassBooster(model, wanted[name]) if name in wanted else Booster(model)


def watch(note: Note, watch_class: Callable[[Any], None]) -> None:
    """Note what a booster is trained on, as soon as the script imports one of the libraries.

    Args:
        watch_class: Watches the ``fit`` of an estimator's class.
    """
    import wrapt

    wrapt.register_post_import_hook(lambda module: _watch_train(module, "DMatrix", note), "xgboost")
    wrapt.register_post_import_hook(lambda module: _watch_train(module, "Dataset", note), "lightgbm")

    def catboost(module: Any) -> None:
        for name in ("CatBoost", "CatBoostClassifier", "CatBoostRegressor"):
            watch_class(getattr(module, name))

    wrapt.register_post_import_hook(catboost, "catboost")


def _watch_train(module: Any, rows: str, note: Note) -> None:
    given: Any = weakref.WeakKeyDictionary()
    kind = getattr(module, rows)
    make, train = kind.__init__, module.train

    @functools.wraps(make)
    def remembered(self: Any, data: Any, label: Any = None, *args: Any, **kwargs: Any) -> None:
        make(self, data, label, *args, **kwargs)
        if label is not None:
            given[self] = (data, label)

    @functools.wraps(train)
    def watched(params: Any, rows: Any, *args: Any, **kwargs: Any) -> Any:
        booster = train(params, rows, *args, **kwargs)
        if rows in given:
            note(booster, *given[rows])
        return booster

    kind.__init__ = remembered
    module.train = watched
