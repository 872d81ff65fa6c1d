"""PyTorch modules, asked as scikit-learn's estimators are."""

from __future__ import annotations

import io
from typing import Any


class Network:
    """A module that predicts numbers from rows of numbers."""

    def __init__(self, module: Any) -> None:
        self.trained_network = module.eval()

    def predict(self, rows: Any) -> Any:
        """Its outputs, shape [n, outputs]."""
        return outputs_of(self.trained_network, rows)


class ClassNetwork(Network):
    """A module with an output for each of the classes 0, 1, ...; the largest one tells."""

    def __init__(self, module: Any, classes: int) -> None:
        import numpy as np

        super().__init__(module)
        self.classes_ = np.arange(classes)

    def decision_function(self, rows: Any) -> Any:
        """The outputs, shape [n, classes]: scores, since a module does not say whether they are probabilities."""
        return super().predict(rows)

    def predict(self, rows: Any) -> Any:
        """The class of the largest output."""
        return self.decision_function(rows).argmax(axis=1)


def rows_of(rows: Any) -> Any:
    """Rows as an array of shape [n, columns] in single precision."""
    import numpy as np

    return np.ascontiguousarray(np.asarray(rows, dtype=np.float32))


def tensor_of(rows: Any) -> Any:
    """Rows as a tensor of the same."""
    import torch

    return torch.from_numpy(rows_of(rows))


def outputs_of(module: Any, rows: Any) -> Any:
    """What a module gives for rows, shape [n, outputs]."""
    import torch

    with torch.no_grad():
        found = module(tensor_of(rows)).numpy()
    return found.reshape(len(found), -1)


def as_estimator(module: Any, features: Any, labels: Any) -> Any:
    """A module as an estimator: a classifier where it has as many outputs as there are whole numbers among the labels."""
    import numpy as np

    network = Network(module)
    if features is None or labels is None:
        return network
    outputs, known = network.predict(features[:2]).shape[1], np.asarray(labels)
    whole = known.dtype.kind in "iub" and known.ndim == 1
    return ClassNetwork(module, outputs) if outputs > 1 and whole and known.min() >= 0 and known.max() < outputs else network


def stored(network: Network, rows: Any) -> bytes:
    """The module as ``torch.export`` stores it (``.pt2``): a graph and its weights, no code.

    https://docs.pytorch.org/docs/stable/export.html
    """
    import torch

    example = tensor_of(rows[:3])
    program = torch.export.export(network.trained_network, (example,), dynamic_shapes=({0: torch.export.Dim("rows", min=1)},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()
