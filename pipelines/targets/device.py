"""Bundles for devices: a model, a manifest, its signature, and a program of one file that runs and updates it."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipelines.serving.models.bundle import BESIDE, kept_rows, made
from pipelines.serving.models.engines import Answers
from pipelines.serving.models.rows import Rows
from pipelines.targets import runner
from pipelines.targets.litert import NotConvertibleError, convert
from pipelines.targets.served import Files, Served, digests, largest_difference
from spec.errors import GroundplanError

MOST_DIFFERENT = 1e-3  # between the answers of a bundle and those of the version that it was made from
_TOLD = ("model", "task", "classes", "output", "layout", "columns")


class Signer(Protocol):
    """Signs with RSASSA-PKCS1-v1_5 and SHA-256, which a device can check without a library."""

    def sign(self, content: bytes) -> bytes:
        """The signature."""

    def public_key(self) -> dict[str, str]:
        """The key's public part, a JSON Web Key."""


def ort(served: Served, signer: Signer | None = None) -> Files:
    """For ONNX Runtime, in its own format, which its small builds for phones and controllers read, too."""
    return _bundle(served, "ort", "model.ort", _in_ort_format(served.graph("edge")), signer)


def litert(served: Served, signer: Signer | None = None) -> Files:
    """For LiteRT (TensorFlow Lite).

    Raises:
        GroundplanError: The model has something that LiteRT has not, or ai-edge-litert is not installed.
    """
    graph = served.graph("litert")
    try:
        content = convert(served.described, graph)
    except NotConvertibleError as error:
        raise GroundplanError(f"{served.name} can't be a LiteRT file: {error}", where="target litert") from None
    except ImportError:
        raise GroundplanError(
            "ai-edge-litert is not installed",
            where="target litert",
            fix="install it beside groundplan: pip install 'ai-edge-litert>=2.1'",
        ) from None
    return _bundle(served, "litert", "model.tflite", content, signer)


def _bundle(served: Served, form: str, file: str, content: bytes, signer: Signer | None) -> Files:
    files = {file: content, "predict.py": Path(runner.__file__).read_bytes()}
    manifest = {
        **{key: served.described.get(key) for key in _TOLD},
        "most_probable": served.described.get("most_probable", False),
        "version": served.version,
        "made_at": served.made_at,
        "format": form,
        "model_file": file,
        "made_from": served.told,
        "files": digests(files),
    }
    manifest["compared"] = compared(served, manifest, files)
    told = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False).encode()
    bundle = {**files, runner.MANIFEST: told}
    if signer is not None:
        bundle[runner.SIGNATURE] = base64.b64encode(signer.sign(told))
        bundle[runner.KEY] = json.dumps(signer.public_key()).encode()
    return bundle


def compared(served: Served, manifest: dict[str, Any], files: Files) -> dict[str, Any]:
    """How much a bundle's answers differ from the version's own, on the training rows that are kept with it.

    Raises:
        GroundplanError: They differ by more than rounding.
    """
    rows = kept_rows(served.files["background.json"])
    count = len(next(iter(rows.values()), []))
    model = made(served.described, served.files)
    columns = {name: rows[name] for name in model.names}
    wanted = model.answers(Rows.of(columns))
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {**files, runner.MANIFEST: json.dumps(manifest).encode()}.items():
            (Path(folder) / name).write_bytes(content)
        found = runner.Device(folder).predict(
            [{name: values[place] for name, values in columns.items()} for place in range(count)]
        )
    beside = None
    if wanted.beside is not None and found:
        key = BESIDE[manifest["output"]]
        values = [list(one[key].values()) if isinstance(one[key], dict) else one[key] for one in found]
        beside = np.asarray(values).reshape(np.shape(wanted.beside))
    given = Answers([one["prediction"] for one in found], beside)
    difference = largest_difference(wanted, given)
    if served.described["task"] == "classification":
        difference = max(difference, largest_difference(Answers(wanted.predictions), Answers(given.predictions)))
    if not difference <= MOST_DIFFERENT:  # a NaN is a difference
        raise GroundplanError(
            f"the bundle's answers differ from those of {served.name} {served.version} by up to {difference:.2g}",
            where=f"format {manifest['format']}",
        )
    return {"rows": count, "largest_difference": difference}


def _in_ort_format(content: bytes) -> bytes:
    """https://onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # What is optimised for this machine may not run on another.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ort"
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", "ORT")
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()
