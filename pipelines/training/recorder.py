"""Observes a plain MLflow script from the outside: what it was trained on, which model it logged, which run it created.

The script is unaware of it. While it runs, these are wrapped: estimators' ``fit`` and ``partial_fit``,
``train_test_split``, and ``mlflow.models.Model.log``, through which every flavour's ``log_model`` and every autolog
goes. Their behaviour is unchanged; a logged model gets a signature, and a scikit-learn model its trusted types, where
the script sets neither.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

from pipelines.serving.models import boosters, networks
from pipelines.training.asking import Asked, Pyfunc, form_of
from pipelines.training.labelled import Labelled, as_labels, row_digests
from pipelines.training.trusted_types import TRUSTED_TYPES
from spec.errors import GroundplanError

# Each flavour's name of ``log_model``'s model argument.
_MODELS = ("sk_model", "xgb_model", "lgb_model", "cb_model", "pytorch_model", "python_model", "model")
MOST_CELLS = 50_000_000  # of a sparse matrix when made dense


@dataclass(frozen=True, eq=False)
class Logged:
    """One model that the script logged.

    Attributes:
        features, labels: What it was fitted on, arrays or pandas objects of n rows; None if its fit was not observed.
        columns: Names for the columns of a bare array, if the model's contract has as many features.
        run_id, run_name: Its MLflow run.
        artifact: Name that the script gave it.
        registered: Whether the script registers it.
        kept_apart: Rows that the script split off before the fit; None where they are not known.
        partly: Whether it was fitted before, too, on rows that are not known: it continues from a checkpoint.
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
    kept_apart: Labelled | None = None
    partly: bool = False

    @cached_property
    def asked(self) -> Asked:
        """The model, called in the form in which it was fitted; for a search its best one, which answers."""
        return Asked(getattr(self.model, "best_estimator_", self.model), form_of(self.features))

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.artifact} of run {self.run_name or self.run_id} ({type(self.model).__name__})"

    @cached_property
    def frame(self) -> Any:
        """The features as a DataFrame."""
        return as_frame(self.features, self.columns)

    def known(self, labels: Any) -> Any:
        """Labels of the dataset as returned by ``as_labels``; for one-hot labels the class, where the model answers
        with that.
        """
        found = as_labels(labels)
        if isinstance(self.model, networks.ShareNetwork) and networks.is_one_hot(found):
            return as_labels(found.to_numpy().argmax(axis=1))
        return found


@dataclass
class Recorder:
    """What was observed.

    Attributes:
        logged: Every model that the script logged, in order.
        splits: The input of each ``train_test_split``: features and labels of the whole dataset.
        parts: Which rows of it were returned: the positions of the larger part, and of the rest.
        more: Every feature of the dataset, in the rows of the platform's own training set, where there is one.
        columns: Names for the columns of a bare array, if the model's contract has as many features.
    """

    columns: tuple[str, ...] = ()
    logged: list[Logged] = field(default_factory=list)
    splits: list[tuple[Any, Any]] = field(default_factory=list)
    parts: list[tuple[Any, Any]] = field(default_factory=list)
    more: Any = None
    _fitted: dict[int, tuple[Any, Any]] = field(
        default_factory=dict
    )  # by identity: some models are equal to others, or not hashable
    _kept: list[Any] = field(default_factory=list)
    _learnt: dict[int, int] = field(default_factory=dict)  # rows of all calls of partial_fit
    _batches: dict[int, set[str]] = field(default_factory=dict)
    _resumed: set[int] = field(default_factory=set)  # fitted before the script began, on rows that nobody knows
    _depth: int = 0
    _lock: Any = field(default_factory=threading.RLock)

    def install(self) -> None:
        """Wrap the functions, before the script imports them."""
        import sklearn.base
        import sklearn.model_selection

        base: Any = sklearn.base.BaseEstimator
        original = base.__init_subclass__.__func__
        watch = self._watch

        def init_subclass(cls: Any, **kwargs: Any) -> None:
            original(cls, **kwargs)
            watch(cls)

        for known in _subclasses(base):
            watch(known)
        base.__init_subclass__ = classmethod(init_subclass)  # type: ignore[arg-type]

        split, recorder = sklearn.model_selection.train_test_split, self

        @functools.wraps(split)
        def train_test_split(*arrays: Any, **options: Any) -> Any:
            if len(arrays) < 2 or recorder._depth > 0:  # an estimator's own split sets rows aside for early stopping
                return split(*arrays, **options)
            whole = (_as_it_is(arrays[0]), _as_it_is(arrays[1]))
            try:
                *parts, larger, rest = split(*arrays, range(_rows(arrays[0])), **options)
            except (TypeError, ValueError):
                return split(*arrays, **options)  # fails in the same way as without the recorder
            recorder.splits.append(whole)
            recorder.parts.append((larger, rest))
            return parts

        sklearn.model_selection.train_test_split = train_test_split
        boosters.watch(self.fitted, watch)
        networks.watch(self.fitted)
        self._wrap_log()

    def _watch(self, cls: Any) -> None:
        for name in ("fit", "partial_fit"):
            if name not in cls.__dict__:
                continue
            found, note = cls.__dict__[name], _Noting(self, name)
            if hasattr(found, "fn") and hasattr(found, "check"):  # it exists with some arguments of the estimator only
                from sklearn.utils.metaestimators import available_if

                setattr(cls, name, available_if(found.check)(_watched(found.fn, note)))
            else:
                setattr(cls, name, _watched(found, note))

    @contextmanager
    def noting(self, method: str, estimator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
        """Around a fit: of nested ones only the outermost counts, also for the best estimator of a search."""
        with self._lock:
            outermost = self._depth == 0
            self._depth += 1
        continues = outermost and id(estimator) not in self._fitted and _goes_on(method, estimator)
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
        if not outermost:
            return
        if continues:
            self._resumed.add(id(estimator))
        elif id(estimator) not in self._fitted:
            self._resumed.discard(id(estimator))  # another estimator's number
        features = _as_it_is(args[0] if args else kwargs.get("X"))
        labels = _as_it_is(args[1] if len(args) > 1 else kwargs.get("y"))
        if method == "partial_fit":
            features, labels = self._with_earlier(estimator, features, labels)
        else:
            self._learnt.pop(id(estimator), None)
            self._batches.pop(id(estimator), None)
        self._fitted_on(estimator, features, labels)
        if (best := getattr(estimator, "best_estimator_", None)) is not None:
            self._fitted_on(best, features, labels)

    def _with_earlier(self, estimator: Any, features: Any, labels: Any) -> tuple[Any, Any]:
        """The rows of all calls of ``partial_fit``; a batch that comes in every epoch counts once."""
        import joblib

        before = self._fitted.get(id(estimator), (None, None))
        if before[0] is None:  # its number may have been another estimator's
            self._batches[id(estimator)], self._learnt[id(estimator)] = set(), 0
        batches, batch = self._batches.setdefault(id(estimator), set()), joblib.hash((features, labels))
        self._learnt[id(estimator)] = self._learnt.get(id(estimator), 0) + _rows(features)
        if batch in batches:
            return before
        batches.add(batch)
        return _joined(before[0], features), _joined(before[1], labels)

    def _kept_apart(self, estimator: int, features: Any, labels: Any) -> tuple[Any, Any, Labelled] | None:
        """The part of the script's outermost split that all rows of a fit come from, and the rest; None where there is
        no such split, or where the model may have been fitted on the rest, too.
        """
        fitted = _row_keys(features, labels)
        if fitted is None:
            return None
        for (whole, answers), (larger, rest) in zip(self.splits, self.parts, strict=True):
            parts = [(_taken(whole, places), _taken(answers, places)) for places in (larger, rest)]
            kept, apart = (_row_keys(*part) for part in parts)
            if kept is None or apart is None or not set(fitted) <= set(kept):
                continue
            # Where every row of the rest has a twin among those of the fit, only their numbers tell.
            if set(apart) <= set(fitted):
                if estimator in self._resumed:
                    continue
                if estimator in self._learnt:
                    learnt = self._learnt[estimator]
                    if learnt % len(kept) or not learnt % (len(kept) + len(apart)):
                        continue
                elif not Counter([*kept, *apart]) - Counter(fitted):
                    continue
            held = Labelled(as_frame(parts[1][0], self.columns).reset_index(drop=True), as_labels(parts[1][1]))
            if estimator in self._learnt or estimator in self._resumed:
                return *parts[0], held
            return features, labels, held
        return None

    def fitted(self, model: Any, features: Any, labels: Any) -> None:
        """A model was fitted by a function."""
        self._fitted_on(model, _as_it_is(features), _as_it_is(labels))

    def _fitted_on(self, model: Any, features: Any, labels: Any) -> None:
        if id(model) not in self._fitted:
            try:
                weakref.finalize(model, self._fitted.pop, id(model), None).atexit = False
            except TypeError:  # it can't be weakly referenced, so it is kept
                self._kept.append(model)
        self._fitted[id(model)] = (features, labels)

    def _wrap_log(self) -> None:
        import mlflow
        from mlflow.models import Model

        log = Model.log.__func__  # type: ignore[attr-defined]

        @functools.wraps(log)
        def platform_log(cls: Any, artifact_path: Any = None, flavor: Any = None, *args: Any, **kwargs: Any) -> Any:
            model = next((kwargs[name] for name in _MODELS if kwargs.get(name) is not None), None)
            seen = self._seen(model)
            kwargs |= self._defaults(model, seen.features, flavor, kwargs)
            info = _logged(functools.partial(log, cls, artifact_path, flavor, *args), kwargs)
            if model is not None and not isinstance(model, str):
                model = Pyfunc(model) if kwargs.get("python_model") is model else model
                run = mlflow.active_run()
                run_name = run.info.run_name if run is not None and run.info.run_id == info.run_id else ""
                artifact = kwargs.get("name") or artifact_path or "model"
                registered = bool(kwargs.get("registered_model_name") or (args and args[0]))
                kept = replace(
                    seen,
                    model=_as_estimator(_copied(model), seen),
                    run_id=info.run_id,
                    run_name=run_name,
                    uri=info.model_uri,
                    artifact=artifact,
                    registered=registered,
                )
                self.logged.append(kept)
            return info

        Model.log = classmethod(platform_log)  # type: ignore[assignment]
        register_model = mlflow.register_model

        @functools.wraps(register_model)
        def platform_register_model(model_uri: str, *args: Any, **kwargs: Any) -> Any:
            found = register_model(model_uri, *args, **kwargs)
            self.logged = [replace(item, registered=True) if _is_of(model_uri, item) else item for item in self.logged]
            return found

        mlflow.register_model = platform_register_model

    def _seen(self, model: Any) -> Logged:
        """What is known about a model's training: its own fit; else, where it has no such method, the script's only
        split.
        """
        features, labels = self._fitted.get(id(model), (None, None))
        if features is None and len(self.parts) == 1 and not hasattr(type(model), "get_params"):
            (features, labels), (larger, rest) = self.splits[0], self.parts[0]
            apart = Labelled(
                as_frame(_taken(features, rest), self.columns).reset_index(drop=True), as_labels(_taken(labels, rest))
            )
            return Logged(model, _taken(features, larger), _taken(labels, larger), self.columns, kept_apart=apart)
        if features is not None and (found := self._kept_apart(id(model), features, labels)) is not None:
            learnt, answers, apart = found
            return Logged(model, learnt, answers, self.columns, kept_apart=apart)
        return Logged(model, features, labels, self.columns, partly=id(model) in self._resumed)

    def _defaults(self, model: Any, features: Any, flavor: Any, given: dict[str, Any]) -> dict[str, Any]:
        """Defaults where the script sets nothing."""
        import mlflow.sklearn

        found: dict[str, Any] = {}
        if flavor is mlflow.sklearn:
            if given.get("serialization_format") in (None, "skops") and given.get("skops_trusted_types") is None:
                found["skops_trusted_types"] = list(TRUSTED_TYPES)
            if not any(given.get(name) for name in ("pip_requirements", "conda_env")):
                # Guessing requirements loads the model in a new process and takes 10 s; these are what it needs.
                skops = given.get("serialization_format") in (None, "skops")
                needed = mlflow.sklearn.get_default_pip_requirements(include_cloudpickle=not skops, include_skops=skops)
                found |= {
                    "pip_requirements": [*needed, *(given.get("extra_pip_requirements") or ())],
                    "extra_pip_requirements": None,
                }
        elif hasattr(flavor, "get_default_pip_requirements") and not any(given.get(name) for name in _REQUIREMENTS):
            found["pip_requirements"] = flavor.get_default_pip_requirements()
        if getattr(flavor, "__name__", "") == "mlflow.pytorch" and given.get("serialization_format") in (None, "pt2"):
            if given.get("input_example") is None and features is not None:
                found["input_example"] = networks.rows_of(features[:2])  # MLflow's own format requires it
        elif networks.is_network(model):
            pass  # MLflow requires tensors there, but also works without
        elif (
            given.get("signature") is None
            and given.get("input_example") is None
            and features is not None
            and hasattr(model, "predict")
        ):
            with contextlib.suppress(
                Exception
            ):  # a signature is only a description; a model without one can also be served
                sample = as_frame(features[:100], self.columns)
                found["signature"] = mlflow.models.infer_signature(sample, model.predict(features[:100]))
        return found


def _as_estimator(model: Any, seen: Logged) -> Any:
    if networks.is_network(model):
        return networks.as_estimator(model, seen.features, seen.labels)
    return boosters.as_estimator(model)


_REQUIREMENTS = ("pip_requirements", "extra_pip_requirements", "conda_env")


def _logged(log: Callable[..., Any], given: dict[str, Any]) -> Any:
    """Log a model; one with unreviewed types goes to MLflow as a pickle, unless the script requests another format."""
    from mlflow.exceptions import MlflowException

    try:
        return log(**given)
    except MlflowException as error:
        if (
            "untrusted types" not in str(error)
            or given.get("serialization_format") != "skops"
            or given["skops_trusted_types"] != list(TRUSTED_TYPES)
        ):
            raise
    print("the model contains types that skops does not know: MLflow stores it as a pickle")
    return log(**{**given, "serialization_format": "cloudpickle", "skops_trusted_types": None})


def _watched(fit: Callable[..., Any], note: Any) -> Callable[..., Any]:
    # The script's own class is sent to other processes with its code, including this function: it must only contain
    # what can be sent.
    @functools.wraps(fit)
    def watched(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        with note((estimator, args, kwargs)):
            return fit(estimator, *args, **kwargs)

    return watched


class _Noting:
    """Reports a fit to the recorder; in another process, where there is no recorder, it does nothing."""

    def __init__(self, recorder: Recorder, method: str) -> None:
        self._recorder, self._method = recorder, method

    def __call__(self, fit: tuple[Any, tuple[Any, ...], dict[str, Any]]) -> Any:
        return self._recorder.noting(self._method, *fit)

    def __reduce__(self) -> Any:
        return attrgetter("nullcontext"), (contextlib,)


def _goes_on(method: str, estimator: Any) -> bool:
    """Whether a call continues what a fitted estimator has learnt before."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if method != "partial_fit" and not getattr(estimator, "warm_start", False):
        return False
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


def _copied(model: Any) -> Any:
    """A script may fit the same object again and log it again."""
    try:
        return copy.deepcopy(model)
    except Exception:  # locks and handles can't be copied
        return model


def _joined(before: Any, after: Any) -> Any:
    """The combined input of several calls of ``partial_fit``."""
    import numpy as np
    import pandas as pd

    if before is None or after is None:
        return before if after is None else after
    if isinstance(after, pd.DataFrame | pd.Series):
        return pd.concat([before, after], ignore_index=True)
    return np.concatenate([np.asarray(before), np.asarray(after)])


def _row_keys(features: Any, labels: Any) -> list[int] | None:
    """A number for each row with its label; None where rows are no table of values."""
    import numpy as np
    import pandas as pd

    try:
        table = pd.DataFrame(features if isinstance(features, pd.DataFrame) else np.asarray(features))
        table = table.reset_index(drop=True)
        table.columns = [f"c{place}" for place in range(table.shape[1])]
        if labels is not None:
            answers = pd.DataFrame(np.asarray(labels))
            answers.columns = [f"y{place}" for place in range(answers.shape[1])]
            table = table.join(answers)
        return [int(key) for key in row_digests(table, list(table.columns))]
    except (TypeError, ValueError):
        return None


def _is_of(uri: str, item: Logged) -> bool:
    """Whether an address names the model: its own, or ``runs:/RUN/NAME``."""
    return uri in (item.uri, f"runs:/{item.run_id}/{item.artifact}")


def _rows(data: Any) -> int:
    return int(data.shape[0]) if hasattr(data, "shape") else len(data)


def _taken(data: Any, places: Any) -> Any:
    """Rows of a frame, an array, a sparse matrix or a list."""
    if hasattr(data, "iloc"):
        return data.iloc[places]
    return data[places] if hasattr(data, "shape") else [data[place] for place in places]


def _as_it_is(data: Any) -> Any:
    """A copy of the data: scripts write into frames and arrays that they have fitted on."""
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
    if isinstance(features, pd.Series):
        return features.to_frame("x0" if features.name is None else str(features.name))
    if hasattr(features, "toarray"):
        if features.shape[0] * features.shape[1] > MOST_CELLS:
            raise GroundplanError(
                f"the model was fitted on a sparse matrix of {features.shape[0]} rows and {features.shape[1]} columns,"
                " but a request names each column",
                where="the logged model",
                fix="log a pipeline that begins with the texts: make_pipeline(TfidfVectorizer(), ...)",
            )
        features = features.toarray()
    array = np.asarray(features)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    names = columns if len(columns) == array.shape[1] else tuple(f"x{i}" for i in range(array.shape[1]))
    return pd.DataFrame(array, columns=list(names)).infer_objects()
