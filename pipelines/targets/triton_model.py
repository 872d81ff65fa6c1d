"""Triton's Python backend: the ONNX file beside this one, with one call for all requests of a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton  # Triton puts it on the path of its own processes


class TritonPythonModel:
    """The interface: https://github.com/triton-inference-server/python_backend."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph."""
        config = json.loads(args["model_config"])
        self._inputs = [item["name"] for item in config["input"]]
        self._outputs = [item["name"] for item in config["output"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its own rows' part of one call."""
        given = [
            [self._text(triton.get_input_tensor_by_name(request, name).as_numpy()) for name in self._inputs]
            for request in requests
        ]
        joined = [np.concatenate(parts) for parts in zip(*given, strict=True)]
        try:
            found = self._session.run(self._outputs, dict(zip(self._inputs, joined, strict=True)))
        except Exception as error:  # a request's own fault, told to all of its batch
            failed = triton.TritonError(f"the model refused the batch: {type(error).__name__}")
            return [triton.InferenceResponse(error=failed) for _ in requests]
        ends = np.cumsum([len(parts[0]) for parts in given])[:-1]
        split = [np.split(output, ends) for output in found]
        return [self._response([parts[place] for parts in split]) for place in range(len(requests))]

    def _response(self, outputs: list[Any]) -> Any:
        named = zip(self._outputs, outputs, strict=True)
        return triton.InferenceResponse([triton.Tensor(name, self._bytes(values)) for name, values in named])

    @staticmethod
    def _text(values: Any) -> Any:
        """Triton passes texts as bytes; ONNX Runtime takes str."""
        return np.vectorize(bytes.decode, otypes=[object])(values) if values.dtype == object else values

    @staticmethod
    def _bytes(values: Any) -> Any:
        return np.vectorize(str.encode, otypes=[object])(values) if values.dtype == object else values
