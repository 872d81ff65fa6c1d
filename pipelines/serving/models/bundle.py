"""A served model: its file, its description, and its inputs; loaded without running any of the model's code in this
process.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import posixpath
import tarfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.serving.models.engines import Answers, Constant, Engine, Onnx
from pipelines.serving.models.rows import Columns, Rows
from pipelines.serving.protocols.typed_json import Decode, decoder

BACKGROUND = "background.json"
BESIDE = {"probability": "probabilities", "score": "scores"}  # what is served in addition to classes, by `output`


@dataclass(frozen=True)
class Model:
    """The engine that answers, and the columns it accepts.

    Attributes:
        columns: ``name`` and ``type`` (long, double, boolean, string, timestamp) of each column, in order; ``nullable``
            where a value may be missing, ``categories`` where the model accepts no other values.
        classes: A classifier's classes, in the order of its probabilities or scores; of several targets a list for
            each.
        targets: What each value of a prediction is; empty where a prediction is one value.
        output: What is served in addition to a classifier's classes: ``probability``, ``score`` (scikit-learn's
            ``decision_function``), or nothing.
        entity: ``key``, and ``tables`` of the online store with the features each holds, if features can be looked up.
        background: Training rows that explanations compare with, as columns.
        units: Of columns, and under the empty name of the prediction, where the data's contracts have them.
        class_names: What people call each class, by its text.
        example: A row that is nobody's: medians, and texts that are frequent.
    """

    engine: Engine
    columns: list[dict[str, Any]]
    task: str
    name: str = ""
    version: str = ""
    classes: list[Any] = field(default_factory=list)
    entity: dict[str, Any] = field(default_factory=dict)
    background: Columns = field(default_factory=dict)
    output: str = ""
    targets: list[str] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)
    class_names: dict[str, str] = field(default_factory=dict)
    example: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def names(self) -> list[str]:
        """Column names, in order."""
        return [column["name"] for column in self.columns]

    @cached_property
    def decode(self) -> Decode:
        """Decodes the usual JSON bodies into rows of this model."""
        return decoder(self.columns)

    def answers(self, rows: Rows) -> Answers:
        """Predictions of n rows, and what is served with them; classes in their original type (ONNX has only integers
        and texts).
        """
        found = self.engine.answers(rows)
        if not self.classes:
            return found
        beside = found.beside if self.output else None
        if self.targets:
            each = self._originals
            return Answers(
                [
                    [names.get(value, value) for names, value in zip(each, row, strict=True)]
                    for row in found.predictions
                ],
                beside,
            )
        names = self._originals
        return Answers([names.get(value, value) for value in found.predictions], beside)

    @cached_property
    def _originals(self) -> Any:
        return [_originals(classes) for classes in self.classes] if self.targets else _originals(self.classes)


def _originals(classes: list[Any]) -> dict[Any, Any]:
    """Classes by themselves: equal values have equal hashes, so that 1.0 becomes True."""
    return {value: value for value in classes}


def unpack(package: bytes, folder: Path) -> None:
    """Unpack a model's package (``model.tar.gz``) into a folder, and nowhere else.

    A package contains only plain files at its top level, so nothing else is extracted: no link, no device, no name that
    leads elsewhere. (``tarfile`` has a filter for that only from Python 3.11.4 on.)

    Raises:
        ValueError: It contains something else.
    """
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        for member in archive:
            name = posixpath.normpath(member.name)  # ``tar czf model.tar.gz .`` writes ./model.onnx
            source = archive.extractfile(member) if member.isfile() else None
            if source is not None and "/" not in name and name != "..":
                (folder / name).write_bytes(source.read())
            elif name != ".":
                raise ValueError(f"the package contains {member.name!r}, which is not a plain file at its top level")


def description(folder: Path) -> dict[str, Any]:
    """``model.json`` of a served model."""
    found: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return found


def files_of(folder: Path, version: str) -> dict[str, bytes]:
    """Files of a served model by name, its description marked with its version."""
    described = description(folder)
    described["version"] = version
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} | {
        "model.json": json.dumps(described).encode()
    }


def package(files: dict[str, bytes]) -> bytes:
    """``model.tar.gz`` of a served model, the same bytes for the same content."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def digest_of(files: dict[str, bytes]) -> str:
    """One SHA-256 for the files of a served model, whatever they were packed in.

    ``background.json`` doesn't count: people's rows may be erased from it (GDPR Art. 17), and predictions don't use it.
    """
    decisive = sorted((name, content) for name, content in files.items() if name != BACKGROUND)
    lines = (f"{name}\0{hashlib.sha256(content).hexdigest()}\n" for name, content in decisive)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def load(folder: Path, digest: str = "") -> Model | None:
    """The model in ``folder`` (SageMaker unpacks ``model.tar.gz`` to /opt/ml/model), or None if it is empty.

    Args:
        digest: ``digest_of`` its files, as they were approved; nothing of it is read if it is another one.

    Raises:
        ValueError: The files are others.
    """
    if digest:
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} if folder.is_dir() else {}
        if digest_of(found) != digest:
            raise ValueError("the model's files are not those that were approved; it is not loaded")
    if not (folder / "model.json").is_file():
        return None
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    columns = kept_rows((folder / "background.json").read_bytes())
    return made(
        described,
        {
            path.name: path.read_bytes()
            for path in folder.iterdir()
            if path.name not in ("model.json", "background.json")
        },
        columns,
    )


def kept_rows(background: bytes) -> Columns:
    """The training rows of ``background.json``, as columns."""
    found = json.loads(background)
    return {name: [row[place] for row in found["data"]] for place, name in enumerate(found["columns"])}


def made(described: dict[str, Any], files: dict[str, bytes], background: Columns | None = None) -> Model:
    """A model from its description (``model.json``) and its other files."""
    return Model(
        engine=_engine(described, files),
        columns=described["columns"],
        task=described["task"],
        output=described.get("output", ""),
        name=described.get("model", ""),
        version=described.get("version", ""),
        classes=described["classes"],
        targets=described.get("targets", []),
        entity=described.get("entity", {}),
        background=background or {},
        units=described.get("units", {}),
        class_names=described.get("class_names", {}),
        example=described.get("example", {}),
    )


def _engine(described: dict[str, Any], files: dict[str, bytes]) -> Engine:
    kind = described.get("engine", "onnx")
    if kind == "constant":
        return Constant(described["prediction"], tuple(described["shares"]))
    if kind == "native":
        from pipelines.serving.models.native import Native

        return Native(described, files)
    return Onnx(
        files["model.onnx"],
        described["columns"],
        described["layout"],
        described["classes"],
        described.get("output", ""),
        described.get("most_probable", False),
    )
