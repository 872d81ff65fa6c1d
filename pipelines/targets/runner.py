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
import shutil
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

MANIFEST, SIGNATURE, KEY, PROGRAM = "manifest.json", "manifest.sig", "key.json", "predict.py"
_BESIDE = ".update-"
MOST_BYTES = 256 * 1024 * 1024
_MOST = float(np.finfo(np.float32).max)
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
        if not isinstance(rows, list):
            raise DeviceError("rows are a list of objects, one a row")
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
        if not isinstance(row, dict):
            raise DeviceError(f"row {place} is no object with a value for each column")
        if name not in row:
            raise DeviceError(f"row {place} has no column {name!r}")
        value = row[name]
        where = f"column {name!r}, row {place}"
        if value is None:
            if not column.get("nullable"):
                raise DeviceError(f"{where}: a value is missing, which the model never saw")
            found.append("" if kind in ("string", "timestamp") else float("nan"))
            continue
        if not _fits(kind, value):
            raise DeviceError(f"{where}: {str(value)[:60]!r} is no {_KINDS[kind]}")
        if column.get("categories") and value not in column["categories"]:
            raise DeviceError(f"{where}: the model does not know {str(value)[:60]!r}")
        found.append(value)
    return found


_KINDS = {
    "string": "text",
    "timestamp": "text",
    "boolean": "true or false",
    "long": "whole number of 64 bits",
    "double": "number in single precision",
}


def _fits(kind: str, value: Any) -> bool:
    if kind in ("string", "timestamp"):
        return isinstance(value, str)
    if kind == "boolean" or isinstance(value, bool):
        return kind == "boolean" and isinstance(value, bool)
    if kind == "long":
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole and -(2**63) <= value < 2**63
    return isinstance(value, (int, float)) and -_MOST <= value <= _MOST


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
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise DeviceError(f"{folder / MANIFEST} can't be read: {type(error).__name__}") from None
    manifest = checked(content, str(folder / MANIFEST))
    for name, said in manifest["files"].items():
        try:
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError:
            raise DeviceError(f"{folder / name} is missing") from None
        if found != said["sha256"]:
            raise DeviceError(f"{folder / name} is not the file that the manifest names")
    return manifest


def checked(content: bytes, where: str) -> dict[str, Any]:
    """A manifest, if it has what is used of it."""
    try:
        manifest = json.loads(content)
        texts = [manifest[key] for key in ("model", "version", "made_at", "format", "model_file", "task")]
        files, columns = manifest["files"], manifest["columns"]
        named = [*files, *(said["sha256"] for said in files.values()), *(one["name"] for one in columns)]
        known = all(one["type"] in _KINDS for one in columns) and manifest["format"] in ("ort", "litert")
        whole = {manifest["model_file"], PROGRAM} <= set(files) and "classes" in manifest and "output" in manifest
        plain = all(Path(name).name == name and name not in (MANIFEST, SIGNATURE, "") for name in files)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DeviceError(f"{where} is no manifest of a bundle") from None
    if not (known and whole and all(isinstance(one, str) for one in (*texts, *named))):
        raise DeviceError(f"{where} is no manifest of a bundle that this program can run")
    if not plain:
        raise DeviceError(f"{where} has a file outside of its folder")
    return dict(manifest)


def signed(manifest: bytes, signature: bytes, key: dict[str, Any]) -> bool:
    """Whether a signature (RSASSA-PKCS1-v1_5 with SHA-256, RFC 8017) is the key's.

    Args:
        key: Its public part as a JSON Web Key (RFC 7517): ``n`` and ``e``.
    """
    try:
        modulus, exponent = (int.from_bytes(base64.urlsafe_b64decode(key[part] + "=="), "big") for part in ("n", "e"))
    except (TypeError, KeyError, ValueError):
        raise DeviceError(f"{KEY} is no RSA key as a JSON Web Key") from None
    size = (modulus.bit_length() + 7) // 8
    told = _SHA256 + hashlib.sha256(manifest).digest()
    wanted = b"\0\1" + b"\xff" * (size - len(told) - 3) + b"\0" + told
    number = int.from_bytes(signature, "big")
    return (
        len(signature) == size and number < modulus and pow(number, exponent, modulus).to_bytes(size, "big") == wanted
    )


def update(folder: Path, source: str) -> str:
    """Replace the model of a folder by a newer one; returns what happened.

    The folder's own ``key.json`` decides whose signature is valid. Until every file has been checked and the new model
    has been loaded nothing changes; each file is then replaced as a whole, the manifest last. Where that was
    interrupted, or a file was damaged, the next update puts it right.

    Raises:
        DeviceError: Something is missing, or not signed by the key, or not made after what is here.
    """
    try:
        key = json.loads((folder / KEY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DeviceError(f"{folder / KEY} can't be read: without it, nobody's signature is valid") from None
    for left in folder.glob(f"{_BESIDE}*"):  # by an update that was interrupted
        shutil.rmtree(left, ignore_errors=True)
    before = _here(folder)
    manifest, signature = fetch(source, MANIFEST), fetch(source, SIGNATURE)
    try:
        valid = signed(manifest, base64.b64decode(signature), key)
    except ValueError:
        valid = False
    if not valid:
        raise DeviceError(f"{source} is not signed by this device's key")
    offered = checked(manifest, f"{MANIFEST} at {source}")
    if before and offered["model"] != before["model"]:
        raise DeviceError(f"{source} is the model {offered['model']}, this device has {before['model']}")
    if before and offered != before and offered["made_at"] <= before["made_at"]:
        raise DeviceError(f"{source} ({offered['version']}) was not made after what is here ({before['version']})")
    if offered == before and _whole(folder):
        return f"{before['version']} is the newest"
    with tempfile.TemporaryDirectory(dir=folder, prefix=_BESIDE) as beside:
        for name in offered["files"]:
            (Path(beside) / name).write_bytes(fetch(source, name))
        for name, content in ((SIGNATURE, signature), (MANIFEST, manifest)):
            (Path(beside) / name).write_bytes(content)
        Device(beside)
        for name in [*offered["files"], SIGNATURE, MANIFEST]:
            (Path(beside) / name).replace(folder / name)
    for name in set(before["files"] if before else ()) - set(offered["files"]) - {KEY}:
        (folder / name).unlink(missing_ok=True)
    return f"{before['version'] if before else 'what was here'} was replaced by {offered['version']}"


def _here(folder: Path) -> dict[str, Any]:
    """The manifest of what is here, whether or not its files are whole; nothing if there is none."""
    try:
        return checked((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
    except (OSError, DeviceError):
        return {}


def _whole(folder: Path) -> bool:
    try:
        return bool(read(folder))
    except DeviceError:
        return False


class _SameRules(urllib.request.HTTPRedirectHandler):
    """Where a server sends us on must be allowed, too."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        allowed(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def allowed(address: str) -> None:
    """Raise a DeviceError unless an address is an https one, or one of this machine."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
        raise DeviceError(f"{address}: only https addresses are read")


def fetch(source: str, name: str) -> bytes:
    """A file of a folder, or of an https address."""
    try:
        if "://" not in source:
            return (Path(source) / name).read_bytes()
        allowed(source)
        address = urllib.parse.urlsplit(source)
        whole = urllib.parse.urlunsplit(address._replace(path=f"{address.path.rstrip('/')}/{name}"))
        with urllib.request.build_opener(_SameRules).open(whole, timeout=60) as answer:
            content: bytes = answer.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
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
    except (ValueError, RecursionError):
        print("error: the rows can't be read: they must be JSON in UTF-8", file=sys.stderr)
        return 1
    except (DeviceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
