"""Neural networks of PyTorch and Keras, called like scikit-learn's estimators."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.serving.models.boosters import Note, shares_of

Formats = tuple[str, dict[str, bytes], dict[str, Any]]  # flavor, files, further entries of the description
_ROWS_ASKED = 1_000


class Network:
    """A network that predicts numbers from rows of numbers.

    Args:
        module: A ``torch.nn.Module`` (or one that TorchScript has compiled), or a Keras model, of one input of shape
            [n, columns].
        outputs: How many numbers it returns per row.
    """

    kind = "numbers"

    def __init__(self, module: Any, outputs: int = 1) -> None:
        self.trained_network = module
        self.outputs = outputs

    def told(self, rows: Any) -> Any:
        """The network's output, shape [n, outputs]."""
        return outputs_of(self.trained_network, rows)

    def predict(self, rows: Any) -> Any:
        """Its outputs."""
        return self.told(rows)


class ScoreNetwork(Network):
    """A network with an output for each of the classes 0, 1, ...; the largest one decides."""

    kind = "scores"

    @property
    def classes_(self) -> Any:
        """0, 1, ..."""
        import numpy as np

        return np.arange(self.outputs)

    def decision_function(self, rows: Any) -> Any:
        """The outputs, shape [n, classes]."""
        return self.told(rows)

    def predict(self, rows: Any) -> Any:
        """The class of the largest output."""
        return self.told(rows).argmax(axis=1)


class ShareNetwork(Network):
    """A network that gives the probabilities of the classes 0, 1, ...; one output is that of class 1."""

    kind = "probabilities"

    @property
    def classes_(self) -> Any:
        """0, 1, ..."""
        import numpy as np

        return np.arange(max(2, self.outputs))

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities, shape [n, classes]."""
        found = self.told(rows)
        return shares_of(found.ravel()) if self.outputs == 1 else found

    def predict(self, rows: Any) -> Any:
        """The most probable class."""
        return self.predict_proba(rows).argmax(axis=1)


class LabelNetwork(Network):
    """A network that returns, for each of several labels, the probability that a row has it."""

    kind = "labels"

    @property
    def classes_(self) -> Any:
        """0 or 1 for each label."""
        import numpy as np

        return [np.arange(2)] * self.outputs

    def predict_proba(self, rows: Any) -> Any:
        """Probabilities of each label, shape [n, labels]."""
        return self.told(rows)

    def predict(self, rows: Any) -> Any:
        """Which labels are more probable than not, shape [n, labels]."""
        return (self.told(rows) > 0.5).astype(int)


KINDS: dict[str, type[Network]] = {kind.kind: kind for kind in (Network, ScoreNetwork, ShareNetwork, LabelNetwork)}


def is_keras(module: Any) -> bool:
    """Whether it is a Keras model; one on PyTorch is a ``torch.nn.Module``, too."""
    return "keras" in sys.modules and isinstance(module, sys.modules["keras"].Model)


def is_network(model: Any) -> bool:
    """Whether it is a network of either library."""
    return is_keras(model) or ("torch" in sys.modules and isinstance(model, sys.modules["torch"].nn.Module))


def rows_of(rows: Any) -> Any:
    """Rows as an array of shape [n, columns] in single precision."""
    import numpy as np

    return np.ascontiguousarray(np.asarray(rows, dtype=np.float32))


def tensor_of(rows: Any) -> Any:
    """Rows as a tensor of the same."""
    import torch

    return torch.from_numpy(rows_of(rows))


def outputs_of(module: Any, rows: Any) -> Any:
    """A network's output for rows, shape [n, outputs]."""
    import numpy as np

    if is_keras(module):
        found = np.asarray(module.predict(rows_of(rows), verbose=0))
    else:
        import torch

        with torch.no_grad():
            found = module(tensor_of(rows)).numpy()
    return found.reshape(len(found), -1)


def as_estimator(module: Any, features: Any, labels: Any) -> Any:
    """A network as an estimator, by its output for its training rows.

    A classifier is one whose outputs are probabilities: several that add up to 1, or that end in a sigmoid where the
    labels are 0 and 1; else one with as many outputs as there are whole numbers among the labels. Any other predicts
    numbers.
    """
    import numpy as np

    if not is_keras(module):
        module.eval()
    if features is None or labels is None:
        return Network(module)
    try:
        found = outputs_of(module, features[:_ROWS_ASKED])
    except Exception as error:  # it takes something other than rows of numbers; serving it reports what that means
        print(f"the network could not be called: {type(error).__name__}: {error}")
        return Network(module)
    outputs, known = found.shape[1], np.asarray(labels)
    known = known.ravel() if known.ndim > 1 and known.shape[1] == 1 else known
    zero_or_one = known.dtype.kind in "iubf" and bool(np.isin(known, (0, 1)).all())
    whole = known.dtype.kind in "iub" and known.ndim == 1 and known.min() >= 0 and known.max() < max(2, outputs)
    if (
        outputs > 1
        and (whole or is_one_hot(known))
        and (found >= 0).all()
        and np.allclose(found.sum(axis=1), 1, atol=1e-4)
    ):
        return ShareNetwork(module, outputs)
    if zero_or_one and _ends_in_sigmoid(module):
        if known.ndim == 1 and outputs == 1:
            return ShareNetwork(module, 1)
        if known.ndim == 2 and known.shape[1] == outputs:
            return LabelNetwork(module, outputs)
    return ScoreNetwork(module, outputs) if outputs > 1 and whole else Network(module, outputs)


def is_one_hot(labels: Any) -> bool:
    """Whether labels of shape [n, classes] have exactly one 1 in each row, and 0 elsewhere."""
    import numpy as np

    array = np.asarray(labels)
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "iubf":
        return False
    return bool(np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all())


def _ends_in_sigmoid(module: Any) -> bool:
    if is_keras(module):
        last = module.layers[-1] if module.layers else None
        return "sigmoid" in (getattr(getattr(last, "activation", None), "__name__", ""), getattr(last, "name", "")[:7])
    return type(list(module.modules())[-1]).__name__ == "Sigmoid"


def watch(note: Note) -> None:
    """Note what a Keras model is fitted on, as soon as the script imports Keras. (PyTorch has no ``fit``.)"""
    import wrapt

    def keras(module: Any) -> None:
        owner = next(cls for cls in module.Model.__mro__ if "fit" in cls.__dict__)
        owner.fit = _noted(owner.fit, note)

    wrapt.register_post_import_hook(keras, "keras")


def _noted(fit: Callable[..., Any], note: Note) -> Callable[..., Any]:
    @functools.wraps(fit)
    def watched(model: Any, *args: Any, **kwargs: Any) -> Any:
        found = fit(model, *args, **kwargs)
        given = dict(zip(("x", "y"), args, strict=False)) | kwargs
        if given.get("x") is not None and given.get("y") is not None:  # Keras datasets contain both
            note(model, given["x"], given["y"])
        return found

    return watched


def stored(network: Network, rows: Any) -> Formats | None:
    """The network in a format without Python code; None where its library has none for it.

    Keras has ``.keras`` (https://keras.io/guides/serialization_and_saving/), PyTorch ``torch.export``
    (https://docs.pytorch.org/docs/stable/export.html), a graph and its weights, and TorchScript, a separate
    language, for networks that are not graphs.
    """
    module, more = network.trained_network, {"network": network.kind, "outputs": network.outputs}
    if is_keras(module):
        own = {
            type(layer)
            for layer in (module, *module._flatten_layers())
            if not type(layer).__module__.startswith("keras.")
        }
        if own:
            print(f"stored by Keras: it has custom layers, {', '.join(sorted(kind.__name__ for kind in own))}")
            return None
        return (
            "keras",
            {"model.keras": _written(module.save, "model.keras")},
            {**more, "backend": sys.modules["keras"].config.backend()},
        )
    import torch

    if not isinstance(module, torch.jit.ScriptModule):
        try:
            program = torch.export.export(
                module, (tensor_of(rows[:3]),), dynamic_shapes=({0: torch.export.Dim("rows", min=1)},)
            )
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
            return "torch", {"model.pt2": buffer.getvalue()}, more
        except Exception as error:  # control flow that depends on the rows has no graph
            print(f"stored by torch.export: {type(error).__name__}: {error}")
    try:
        compiled = module if isinstance(module, torch.jit.ScriptModule) else torch.jit.script(module)
        return "torchscript", {"model.ts": _written(compiled.save, "model.ts")}, more
    except Exception as error:
        print(f"stored as TorchScript: {type(error).__name__}: {error}")
        return None


def _written(save: Callable[[str], Any], name: str) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        save(str(path))
        return path.read_bytes()


def loaded(folder: Path, described: dict[str, Any]) -> Network:
    """A network from the files that ``stored`` has created."""
    if described["flavor"] == "keras":
        os.environ["KERAS_BACKEND"] = described["backend"]
        import keras

        module = keras.models.load_model(folder / "model.keras", compile=False, safe_mode=True)
    else:
        import torch

        torch.set_num_threads(1)
        module = (
            torch.export.load(folder / "model.pt2").module()
            if described["flavor"] == "torch"
            else torch.jit.load(folder / "model.ts").eval()
        )
    return KINDS[described["network"]](module, described["outputs"])
