"""Watches a plain MLflow script from the outside: what it was trained on, which model it logged, which run it made.

The script knows nothing of it. Three public functions are wrapped while it runs: scikit-learn estimators' ``fit``,
``train_test_split``, and ``mlflow.sklearn.log_model``, whose defaults become the platform's (trusted types, pinned
requirements, signature).
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipelines.trusted_types import TRUSTED_TYPES


@dataclass
class Recorder:
    """What was seen.

    Attributes:
        model, run_id, model_uri: Of the last ``log_model``.
        features, labels: What that model was fitted on; arrays or pandas objects of n rows.
        all_features, all_labels: What ``train_test_split`` was last given: the whole dataset.
        more: Every feature of the dataset, in the rows of ``all_features``, where the platform knows them.
        columns: Names for the columns of a bare array, if the example's contract has as many features.
    """

    columns: tuple[str, ...] = ()
    model: Any = None
    run_id: str = ""
    model_uri: str = ""
    all_features: Any = None
    all_labels: Any = None
    more: Any = None
    _fitted: Any = field(default_factory=weakref.WeakKeyDictionary)
    _depth: int = 0
    _lock: Any = field(default_factory=threading.RLock)

    @property
    def features(self) -> Any:
        """Training features of the logged model, or None if its fit was not seen."""
        return self._fitted.get(self.model, (None, None))[0]

    @property
    def labels(self) -> Any:
        """Training labels of the logged model."""
        return self._fitted.get(self.model, (None, None))[1]

    def install(self) -> None:
        """Wrap the functions, before the script imports them."""
        import sklearn.base
        import sklearn.model_selection

        recorder = self
        base: Any = sklearn.base.BaseEstimator
        original = base.__init_subclass__.__func__

        def init_subclass(cls: Any, **kwargs: Any) -> None:
            original(cls, **kwargs)
            if "fit" in cls.__dict__:
                cls.fit = recorder._watched(cls.__dict__["fit"])

        for known in _subclasses(base):
            if "fit" in known.__dict__:
                known.fit = recorder._watched(known.__dict__["fit"])
        base.__init_subclass__ = classmethod(init_subclass)  # type: ignore[arg-type]

        split = sklearn.model_selection.train_test_split

        @functools.wraps(split)
        def train_test_split(*arrays: Any, **options: Any) -> Any:
            if len(arrays) >= 2 and recorder._depth == 0:  # not that of an estimator, which keeps rows for early stopping
                recorder.all_features, recorder.all_labels = arrays[0], arrays[1]
            return split(*arrays, **options)

        sklearn.model_selection.train_test_split = train_test_split
        self._wrap_log_model()

    def _watched(self, fit: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fit)
        def watched(estimator: Any, *args: Any, **kwargs: Any) -> Any:
            with self._lock:
                outermost = self._depth == 0
                self._depth += 1
            try:
                result = fit(estimator, *args, **kwargs)
            finally:
                with self._lock:
                    self._depth -= 1
            if outermost:
                features = args[0] if args else kwargs.get("X")
                labels = args[1] if len(args) > 1 else kwargs.get("y")
                self._fitted[estimator] = (features, labels)
            return result

        return watched

    def _wrap_log_model(self) -> None:
        import mlflow
        import mlflow.sklearn

        log_model = mlflow.sklearn.log_model

        @functools.wraps(log_model)
        def platform_log_model(sk_model: Any, *args: Any, **kwargs: Any) -> Any:
            self.model = sk_model
            if kwargs.get("serialization_format") in (None, "skops"):
                kwargs.setdefault("skops_trusted_types", list(TRUSTED_TYPES))
                # Guessing requirements loads the model in a new process and takes 10 s; these are what it needs.
                kwargs.setdefault("pip_requirements", mlflow.sklearn.get_default_pip_requirements(include_skops=True))
            if kwargs.get("signature") is None and self.features is not None:
                sample = as_frame(self.features, self.columns).head(100)
                kwargs["signature"] = mlflow.models.infer_signature(sample, sk_model.predict(self.features[:100]))
            info = log_model(sk_model, *args, **kwargs)
            self.run_id, self.model_uri = info.run_id, info.model_uri
            return info

        mlflow.sklearn.log_model = platform_log_model


def _subclasses(cls: Any) -> set[Any]:
    direct: list[Any] = cls.__subclasses__()
    return {found for sub in direct for found in (sub, *_subclasses(sub))}


def as_frame(features: Any, columns: tuple[str, ...] = ()) -> Any:
    """Features as a DataFrame; a bare array gets the contract's names if they fit, else x0, x1, ..."""
    import numpy as np
    import pandas as pd

    if isinstance(features, pd.DataFrame):
        return features.rename(columns=str)
    array = np.asarray(features)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    names = columns if len(columns) == array.shape[1] else tuple(f"x{i}" for i in range(array.shape[1]))
    return pd.DataFrame(array, columns=list(names)).infer_objects()
