"""Which packages a model depends on: those that affect it, and everything that they require."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

_MODELS = ("scikit-learn", "numpy", "pandas", "skl2onnx", "onnxruntime")


def environment(script: Path | None = None) -> dict[str, str]:
    """Versions of Python, of the model libraries in use, of what the script asks for in a ``requirements.txt`` beside
    it, and of all that these require; MLflow without what it requires, since that only records.
    """
    from pipelines.training.native_export import used

    found = used()
    asked = script.parent / "requirements.txt" if script else None
    names = (*_MODELS, *found, *(_named(asked.read_text(encoding="utf-8")) if asked and asked.is_file() else ()))
    return {
        "python": platform.python_version(),
        "mlflow": metadata.version("mlflow"),
        **dict(sorted({**found, **with_requirements(names)}.items())),
    }


def with_requirements(names: Iterable[str]) -> dict[str, str]:
    """Installed versions of packages and of all that they require here, by normalized name (PEP 503)."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    waiting = [(name, frozenset[str]()) for name in names]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        key = (str(canonicalize_name(name)), extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # optional, or bundled with another one
            continue
        found[key[0]] = package.version
        for text in package.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append((needed.name, frozenset(needed.extras)))
    return found


def _named(requirements: str) -> list[str]:
    """Names in a requirements file; options, addresses and other files are left out."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for line in requirements.splitlines():
        text = line.partition("#")[0].partition(" --")[0].strip()
        try:
            found.append(Requirement(text).name)
        except InvalidRequirement:
            continue
    return found
