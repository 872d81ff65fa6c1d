"""Watches a plain MLflow script from the outside: what it was trained on, which model it logged, which run it made.

The script knows nothing of it. Three public functions are wrapped while it runs: scikit-learn estimators' ``fit``,
``train_test_split``, and ``mlflow.sklearn.log_model``, whose defaults become the platform's (trusted types, pinned
requirements, signature).
"""

from __future__ import annotations

import copy
import functools
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from pipelines.trusted_types import TRUSTED_TYPES


@dataclass(frozen=True, eq=False)
class Logged:
    """One model that the script logged.

    Attributes:
        features, labels: What it was fitted on, arrays or pandas objects of n rows; None if its fit was not seen.
        columns: Names for the columns of a bare array, if the example's contract has as many features.
        run_id, run_name: Of its MLflow run.
        artifact: Name that the script gave it.
        registered: Whether the script registers it.
    """

    model: Any
    features: Any
    labels: Any
    columns: tuple[str, ...] = ()
    run_id: str = ""
    run_name: str = ""
    uri: str = ""
    artifact: str = ""
    registered: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.artifact} of run {self.run_name or self.run_id} ({type(self.model).__name__})"

    @cached_property
    def frame(self) -> Any:
        """The features as a DataFrame."""
        return as_frame(self.features, self.columns)


@dataclass
class Recorder:
    """What was seen.

    Attributes:
        logged: Every model that the script logged, in order.
        splits: What ``train_test_split`` was given, each time: features and labels of the whole dataset.
        more: Every feature of the dataset, in the rows of the platform's own training set, where there is one.
        columns: Names for the columns of a bare array, if the example's contract has as many features.
    """

    columns: tuple[str, ...] = ()
    logged: list[Logged] = field(default_factory=list)
    splits: list[tuple[Any, Any]] = field(default_factory=list)
    more: Any = None
    _fitted: Any = field(default_factory=weakref.WeakKeyDictionary)
    _depth: int = 0
    _lock: Any = field(default_factory=threading.RLock)

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
                recorder.splits.append((_as_it_is(arrays[0]), _as_it_is(arrays[1])))
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
                self._fitted[estimator] = (_as_it_is(features), _as_it_is(labels))
            return result

        return watched

    def _wrap_log_model(self) -> None:
        import mlflow
        import mlflow.sklearn

        log_model = mlflow.sklearn.log_model

        @functools.wraps(log_model)
        def platform_log_model(sk_model: Any, *args: Any, **kwargs: Any) -> Any:
            features, labels = self._fitted.get(sk_model, (None, None))
            if kwargs.get("serialization_format") in (None, "skops"):
                kwargs.setdefault("skops_trusted_types", list(TRUSTED_TYPES))
                # Guessing requirements loads the model in a new process and takes 10 s; these are what it needs.
                kwargs.setdefault("pip_requirements", mlflow.sklearn.get_default_pip_requirements(include_skops=True))
            if kwargs.get("signature") is None and features is not None and hasattr(sk_model, "predict"):
                sample = as_frame(features, self.columns).head(100)
                kwargs["signature"] = mlflow.models.infer_signature(sample, sk_model.predict(features[:100]))
            info = log_model(sk_model, *args, **kwargs)
            artifact = kwargs.get("name") or kwargs.get("artifact_path") or (args[0] if args else "") or "model"
            registered = bool(kwargs.get("registered_model_name"))
            run = mlflow.active_run()
            run_name = run.info.run_name if run is not None and run.info.run_id == info.run_id else ""
            # A script may fit the same object again and log it again.
            self.logged.append(Logged(copy.deepcopy(sk_model), features, labels, self.columns, info.run_id, run_name, info.model_uri, artifact, registered))
            return info

        mlflow.sklearn.log_model = platform_log_model
        register_model = mlflow.register_model

        @functools.wraps(register_model)
        def platform_register_model(model_uri: str, *args: Any, **kwargs: Any) -> Any:
            found = register_model(model_uri, *args, **kwargs)
            self.logged = [replace(item, registered=True) if _is_of(model_uri, item) else item for item in self.logged]
            return found

        mlflow.register_model = platform_register_model


def _is_of(uri: str, item: Logged) -> bool:
    """Whether an address names the model: its own, or ``runs:/RUN/NAME``."""
    return uri in (item.uri, f"runs:/{item.run_id}/{item.artifact}")


def _as_it_is(data: Any) -> Any:
    """Data as it is now: scripts write into frames and arrays that they have fitted on."""
    import numpy as np
    import pandas as pd

    return data.copy() if isinstance(data, pd.DataFrame | pd.Series | np.ndarray) else copy.copy(data)


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
