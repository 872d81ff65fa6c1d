"""The model that every peer serves: ``MODEL`` is a scikit-learn forest (.joblib) or its ONNX file."""

import os
from pathlib import Path


def load():
    """A function from rows of shape [n, columns] to predictions of shape [n]."""
    path = Path(os.environ["MODEL"])
    if path.suffix == ".joblib":
        import joblib

        return joblib.load(path).predict
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options)
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
    return lambda rows: session.run([output], {name: np.asarray(rows, dtype=np.float32)})[0].ravel()
