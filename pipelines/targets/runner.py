"""Runs the model beside this file, on a device: needs Python 3.10 or newer, numpy, and onnxruntime or ai-edge-litert.

    python predict.py rows.json                   # a list of objects, one a row; - reads them from the standard input
    python predict.py --update FOLDER-OR-ADDRESS  # replaces the model by a newer one with a valid signature
    python predict.py --verify                    # checks every file

In a program: ``Device(folder).predict([{"age": 41, ...}])``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

MANIFEST, SIGNATURE, KEY = "manifest.json", "manifest.sig", "key.json"
MOST_BYTES = 256 * 1024 * 1024
_EQUAL_DIGITS = 6  # of probabilities in single precision
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")  # DigestInfo, RFC 8017, 9.2


class DeviceError(Exception):
    """What is wrong, in a sentence."""


class Device:
    """A model in a folder.

    Raises:
        DeviceError: A file is missing or is not the one that the manifest names.
    """

    def __init__(self, folder: str | Path = Path(__file__).parent) -> None:
        self.folder = Path(folder)
        self.manifest = read(self.folder)
        self._run = {"ort": _onnx, "litert": _litert}[self.manifest["format"]](self.folder, self.manifest)

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer for each row: ``prediction``, and ``probabilities`` (by class) or ``scores`` where it has them.

        Raises:
            DeviceError: A row lacks a column, or has a value of another type.
        """
        if not rows:
            return []
        columns = {column["name"]: _column(column, rows) for column in self.manifest["columns"]}
        predictions, beside = self._run(columns)
        classes, output = self.manifest["classes"], self.manifest["output"]
        answers = [{"prediction": value} for value in self._chosen(predictions, beside)]
        if beside is not None:
            name = {"probability": "probabilities", "score": "scores"}[output]
            for answer, values in zip(answers, beside.tolist(), strict=True):
                whole = isinstance(values, list) and len(values) == len(classes)
                answer[name] = (
                    {str(one): value for one, value in zip(classes, values, strict=True)} if whole else values
                )
        return answers

    def _chosen(self, predictions: Any, beside: Any) -> list[Any]:
        classes = self.manifest["classes"]
        if not classes:
            return np.asarray(predictions, dtype=float).ravel().tolist()
        if self.manifest["most_probable"] or predictions is None:
            if beside.ndim == 1:
                return [classes[int(score > 0)] for score in beside]
            return [classes[place] for place in np.round(beside, _EQUAL_DIGITS).argmax(axis=1)]
        originals = {value: value for value in classes}
        return [originals.get(value, value) for value in np.asarray(predictions).ravel().tolist()]


def _column(column: dict[str, Any], rows: list[dict[str, Any]]) -> list[Any]:
    name, kind = column["name"], column["type"]
    found = []
    for place, row in enumerate(rows):
        if name not in row:
            raise DeviceError(f"row {place} has no column {name!r}")
        value = row[name]
        if value is None:
            if not column.get("nullable"):
                raise DeviceError(f"column {name!r}, row {place}: a value is missing, which the model never saw")
            value = "" if kind in ("string", "timestamp") else float("nan")
        elif kind in ("string", "timestamp"):
            if not isinstance(value, str):
                raise DeviceError(f"column {name!r}, row {place}: {value!r} is no text")
        elif not isinstance(value, (int, float)) or not np.isfinite(value):
            raise DeviceError(f"column {name!r}, row {place}: {value!r} is no number")
        if column.get("categories") and row[name] is not None and row[name] not in column["categories"]:
            raise DeviceError(f"column {name!r}, row {place}: the model does not know {value!r}")
        found.append(value)
    return found


def _onnx(folder: Path, manifest: dict[str, Any]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(folder / manifest["model_file"]), options, providers=["CPUExecutionProvider"]
    )
    inputs = {item.name for item in session.get_inputs()}
    outputs = [item.name for item in session.get_outputs()][: 2 if manifest["output"] else 1]
    kinds = {"float": np.float32, "int64": np.int64, "string": object}

    def run(columns: dict[str, list[Any]]) -> Any:
        if manifest["layout"] == "matrix":
            tensors = {"X": np.array(list(columns.values()), dtype=np.float32).T}
        else:
            tensors = {
                one["input"]: np.asarray(columns[one["name"]], dtype=kinds[one["tensor"]]).reshape(-1, 1)
                for one in manifest["columns"]
                if one["input"] in inputs
            }
        found = session.run(outputs, tensors)
        return found[0], _beside(manifest, found[-1]) if manifest["output"] else None

    return run


def _litert(folder: Path, manifest: dict[str, Any]) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / manifest["model_file"]), num_threads=1)
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    shape = None

    def run(columns: dict[str, list[Any]]) -> Any:
        nonlocal shape
        matrix = np.ascontiguousarray(np.array(list(columns.values()), dtype=np.float32).T)
        if matrix.shape != shape:
            interpreter.resize_tensor_input(source, matrix.shape)
            interpreter.allocate_tensors()
            shape = matrix.shape
        interpreter.set_tensor(source, matrix)
        interpreter.invoke()
        found = interpreter.get_tensor(target)
        return (None, _beside(manifest, found)) if manifest["output"] else (found, None)

    return run


def _beside(manifest: dict[str, Any], found: Any) -> Any:
    found = np.asarray(found)
    two = manifest["output"] == "score" and len(manifest["classes"]) == 2 and found.ndim == 2
    return found[:, -1] if two else found


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, whose files have been compared with it."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeviceError(f"{folder / MANIFEST} can't be read: {type(error).__name__}") from None
    for name, said in manifest["files"].items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError:
            raise DeviceError(f"{folder / name} is missing") from None
        if found != said["sha256"]:
            raise DeviceError(f"{folder / name} is not the file that the manifest names")
    return manifest


def signed(manifest: bytes, signature: bytes, key: dict[str, Any]) -> bool:
    """Whether a signature (RSASSA-PKCS1-v1_5 with SHA-256, RFC 8017) is the key's.

    Args:
        key: Its public part as a JSON Web Key (RFC 7517): ``n`` and ``e``.
    """
    modulus, exponent = (int.from_bytes(base64.urlsafe_b64decode(key[part] + "=="), "big") for part in ("n", "e"))
    size = (modulus.bit_length() + 7) // 8
    told = _SHA256 + hashlib.sha256(manifest).digest()
    wanted = b"\0\1" + b"\xff" * (size - len(told) - 3) + b"\0" + told
    number = int.from_bytes(signature, "big")
    return (
        len(signature) == size and number < modulus and pow(number, exponent, modulus).to_bytes(size, "big") == wanted
    )


def update(folder: Path, source: str) -> str:
    """Replace the model of a folder by a newer one; returns what happened.

    The folder's own ``key.json`` decides whose signature is valid. Until every file has been checked nothing changes,
    and each file is then replaced as a whole, the manifest last.

    Raises:
        DeviceError: Something is missing, or not signed by the key, or older than what is here.
    """
    if not (folder / KEY).is_file():
        raise DeviceError(f"{folder / KEY} is missing: without it, nobody's signature is valid")
    key, before = json.loads((folder / KEY).read_text(encoding="utf-8")), read(folder)
    manifest, signature = fetch(source, MANIFEST), fetch(source, SIGNATURE)
    if not signed(manifest, base64.b64decode(signature), key):
        raise DeviceError(f"{source} is not signed by this device's key")
    offered = json.loads(manifest)
    if offered["model"] != before["model"]:
        raise DeviceError(f"{source} is the model {offered['model']}, this device has {before['model']}")
    if offered["made_at"] < before["made_at"]:
        raise DeviceError(f"{source} ({offered['version']}) was made before what is here ({before['version']})")
    if offered == before:
        return f"{before['version']} is the newest"
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        for name in offered["files"]:
            if Path(name).name != name:
                raise DeviceError(f"{source} has a file {name!r} outside of its folder")
            (Path(beside) / name).write_bytes(fetch(source, name))
        for name, content in ((SIGNATURE, signature), (MANIFEST, manifest)):
            (Path(beside) / name).write_bytes(content)
        read(Path(beside))
        for name in [*offered["files"], SIGNATURE, MANIFEST]:
            (Path(beside) / name).replace(folder / name)
    for name in set(before["files"]) - set(offered["files"]):
        (folder / name).unlink(missing_ok=True)
    return f"{before['version']} was replaced by {offered['version']}"


def fetch(source: str, name: str) -> bytes:
    """A file of a folder, or of an https address."""
    try:
        if "://" not in source:
            return (Path(source) / name).read_bytes()
        address = urllib.parse.urlsplit(source)
        if address.scheme != "https" and address.hostname not in ("127.0.0.1", "localhost"):
            raise DeviceError(f"{source}: only https addresses are read")
        whole = urllib.parse.urlunsplit(address._replace(path=f"{address.path.rstrip('/')}/{name}"))
        with urllib.request.urlopen(whole, timeout=60) as answer:  # noqa: S310 (the scheme has been checked)
            content: bytes = answer.read(MOST_BYTES + 1)
    except OSError as error:
        raise DeviceError(f"{name} can't be read from {source}: {error}") from None
    if len(content) > MOST_BYTES:
        raise DeviceError(f"{name} at {source} is larger than {MOST_BYTES // 1024**2} MB")
    return content


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("rows", nargs="?", help="JSON: a list of objects, one a row; - for the standard input")
    parser.add_argument("--update", metavar="FROM", help="a folder, or an https address, with a newer model")
    parser.add_argument("--verify", action="store_true", help="check every file")
    given = parser.parse_args(arguments)
    folder = Path(__file__).resolve().parent
    try:
        if given.update:
            print(update(folder, given.update))
        elif given.verify:
            found = read(folder)
            print(f"{found['model']} {found['version']}: {len(found['files'])} files are as the manifest says")
        elif given.rows:
            text = sys.stdin.read() if given.rows == "-" else Path(given.rows).read_text(encoding="utf-8")
            print(json.dumps(Device(folder).predict(json.loads(text)), indent=1))
        else:
            parser.print_help()
    except (DeviceError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
