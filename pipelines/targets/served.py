"""What every bundle is made from: one version of a served model, with what is known about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.serving.models.bundle import files_of
from pipelines.serving.models.engines import Answers
from spec.errors import GroundplanError

Files = dict[str, bytes]


@dataclass(frozen=True)
class Served:
    """One version.

    Attributes:
        files: As the model server reads them: ``model.json``, ``background.json``, and the model's own.
        told: About its origin: ``run_id``, ``dataset_digest``, ``approved_by``, as far as they are known.
        made_at: When it is bundled, as ``now`` writes it: devices take nothing that was made before what they have.
    """

    files: Files
    version: str
    told: dict[str, Any] = field(default_factory=dict)
    made_at: str = ""

    @classmethod
    def of(cls, folder: Path, version: str, told: dict[str, Any] | None = None, made_at: str = "") -> Served:
        """The model in a folder."""
        return cls(files_of(folder, version), version, told or {}, made_at)

    @cached_property
    def described(self) -> dict[str, Any]:
        """``model.json``."""
        found: dict[str, Any] = json.loads(self.files["model.json"])
        return found

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.described.get("model", "model"))

    def graph(self, target: str) -> bytes:
        """Its ONNX file.

        Raises:
            GroundplanError: It is served in its own format.
        """
        if self.described.get("engine", "onnx") != "onnx":
            raise GroundplanError(
                f"{self.name} {self.version} is served in its own format ({self.described.get('flavor', 'none')})",
                where=f"target {target}",
                fix="only models that were exported to ONNX can run there",
            )
        return self.files["model.onnx"]


@dataclass(frozen=True)
class Stack:
    """Where a bundle will run, as far as it matters.

    Attributes:
        name: The project's and the stack's names.
    """

    name: str
    region: str
    role_arn: str
    image_uri: str
    bucket: str
    key_arn: str
    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    min_instances: int = 1
    max_instances: int = 20


Build = Callable[[Served, Stack], Files]


def now() -> str:
    """ISO 8601 in UTC, in whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def digests(files: Files) -> dict[str, dict[str, Any]]:
    """Of each file, its SHA-256 and its size in bytes."""
    return {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in sorted(files.items())
    }


def largest_difference(wanted: Answers, given: Answers) -> float:
    """Between two models' answers for the same rows: of probabilities or scores where they have them, of numbers
    relative to their spread, else the share of rows with another class.
    """
    import numpy as np

    if wanted.beside is not None and given.beside is not None:
        return _most(np.asarray(wanted.beside, float) - np.asarray(given.beside, float))
    try:
        one, two = (np.asarray(answers.predictions, dtype=float) for answers in (wanted, given))
    except (ValueError, TypeError):  # classes that are texts
        different = [mine != theirs for mine, theirs in zip(wanted.predictions, given.predictions, strict=True)]
        return sum(map(bool, different)) / max(len(different), 1)
    return _most(one - two) / max(float(np.ptp(one)), 1e-6)


def _most(differences: Any) -> float:
    import numpy as np

    return float(np.abs(differences).max(initial=0.0))
