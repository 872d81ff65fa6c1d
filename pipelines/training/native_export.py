"""Fitted models in their own format, for a separate process (``serving.native``): data wherever there is such a
format.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.serving.models import networks
from pipelines.serving.models.bundle import made
from pipelines.serving.models.model_process import given
from pipelines.serving.models.native import NativeError
from pipelines.training.asking import Asked
from pipelines.training.parity import DifferError, Parity, Sample, Truth, compare
from pipelines.training.trusted_types import TRUSTED_TYPES
from spec.errors import GroundplanError

Stored = tuple[str, dict[str, bytes], dict[str, Any]]  # flavor, files, further entries of the description
ALLOW = (
    "allow it by `untrusted_models: true` in the stack's objectives: it is loaded in a process without credentials and"
    " network"
)


def store(
    asked: Asked, frame: Any, columns: list[dict[str, Any]], sample: Sample, truth: Truth, why: str, *, untrusted: bool
) -> tuple[dict[str, bytes], dict[str, Any], Parity]:
    """Store a model in its own format, load it as it will be served, and compare.

    Args:
        why: Why it is not an ONNX graph.
        untrusted: Whether it may be pickled where there is no format that is only data.

    Returns:
        Files, description and comparison.

    Raises:
        GroundplanError: It can't be served, or its answers differ.
    """
    flavor, files, more = _stored(asked, frame, why, untrusted=untrusted)
    described = {
        "engine": "native",
        "flavor": flavor,
        "form": asked.form,
        "task": truth.task,
        "classes": truth.classes,
        "output": truth.outputs[0],
        "needs": used(),
        **_environment(),
        **({"targets": truth.targets} if truth.targets else {}),
        "columns": [{**column, **_pandas(frame[name])} for column, name in zip(columns, frame.columns, strict=True)],
        **more,
    }
    model = made(described, files)
    try:
        return files, described, compare(model, sample, truth)
    except (NativeError, DifferError) as error:
        raise GroundplanError(
            f"{asked.name} can't be served: not as ONNX ({why}), and not as {flavor} ({error})",
            where="the logged model",
            fix="check that its predict is deterministic and needs nothing besides the model",
        ) from error
    finally:
        model.engine.close()


def used() -> dict[str, str]:
    """Versions of the model libraries that the script has imported, besides scikit-learn."""
    found = (
        (name, getattr(sys.modules.get(name), "__version__", ""))
        for name in ("xgboost", "lightgbm", "catboost", "torch", "keras", "tensorflow")
    )
    return {name: version for name, version in found if version}


def _environment() -> dict[str, Any]:
    """Where the script's own packages are, if it has a separate environment; on AWS the image must have them."""
    return {"python": sys.executable, "read": [sys.prefix]} if (Path(sys.prefix) / "complete").is_file() else {}


def _pandas(series: Any) -> dict[str, Any]:
    """What is needed to rebuild a column: its type, its categories, and how it writes a missing value."""
    import pandas as pd

    found: dict[str, Any] = {"pandas": str(series.dtype)}
    if isinstance(series.dtype, pd.CategoricalDtype):
        return {"pandas": "category", "levels": series.cat.categories.tolist(), "ordered": bool(series.cat.ordered)}
    if series.dtype == object and not any(value is None for value in series):
        found["missing"] = "nan"
    return found


def _stored(asked: Asked, frame: Any, why: str, *, untrusted: bool) -> Stored:
    if hasattr(asked.model, "trained_network") and (network := networks.stored(asked.model, given(asked.form, frame))):
        return network
    model = getattr(asked.model, "trained_booster", asked.model)
    if own := _OWN.get(type(model).__module__.partition(".")[0]):
        found = own(model)
        if found is not None:
            return found
    content, types = _skops(model)
    unknown = [name for name in types if name not in TRUSTED_TYPES]
    if content and not unknown:
        return "skops", {"model.skops": content}, {"trusted": types}
    if not untrusted:
        told = [name for name in unknown if not name.startswith(("pipelines.", "mlflow."))] or unknown
        holds = f"it contains {', '.join(told[:5])}, which is not reviewed" if unknown else "skops can't store it"
        raise GroundplanError(
            f"{asked.name} can't be served: not as ONNX ({why}), and not in a data-only format ({holds})",
            where="the logged model",
            fix=ALLOW,
        )
    return "pickle", {"model.pkl": _pickled(model)}, {"untrusted": True}


def _skops(model: Any) -> tuple[bytes, list[str]]:
    """The model as skops stores it, and the types in it that skops does not trust by default; nothing where skops can't
    store it.
    """
    import skops.io

    try:
        content = skops.io.dumps(model)
        return content, list(skops.io.get_untrusted_types(data=content))
    except Exception as error:  # because of functions, locks, generators, and whatever else a model may contain
        print(f"stored by skops: {type(error).__name__}: {error}")
        return b"", []


def _pickled(model: Any) -> bytes:
    """The model with the code of the script and of the modules beside it, which exist nowhere else."""
    import cloudpickle

    buffer, beside = io.BytesIO(), [module for module in list(sys.modules.values()) if _is_beside(module)]
    for module in beside:
        cloudpickle.register_pickle_by_value(module)
    try:
        cloudpickle.dump(model, buffer)
    finally:
        for module in beside:
            cloudpickle.unregister_pickle_by_value(module)
    return buffer.getvalue()


def _is_beside(module: Any) -> bool:
    file, script = getattr(module, "__file__", None), getattr(sys.modules.get("__main__"), "__file__", None)
    if not file or not script or module is sys.modules["__main__"]:
        return False
    return Path(file).is_relative_to(Path(script).parent) and "site-packages" not in Path(file).parts


def _xgboost(model: Any) -> Stored | None:
    if type(model).__name__ not in ("XGBClassifier", "XGBRegressor", "Booster"):
        return None
    booster = model if type(model).__name__ == "Booster" else model.get_booster()
    return "xgboost", {"model.ubj": bytes(booster.save_raw("ubj"))}, {}


def _lightgbm(model: Any) -> Stored | None:
    if type(model).__name__ not in ("LGBMClassifier", "LGBMRegressor", "Booster"):
        return None
    booster = model if type(model).__name__ == "Booster" else model.booster_
    return "lightgbm", {"model.txt": booster.model_to_string().encode()}, {}


def _catboost(model: Any) -> Stored | None:
    if type(model).__name__ not in ("CatBoostClassifier", "CatBoostRegressor"):
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.cbm"
        model.save_model(str(path))
        return "catboost", {"model.cbm": path.read_bytes()}, {}


_OWN: dict[str, Callable[[Any], Stored | None]] = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost}
