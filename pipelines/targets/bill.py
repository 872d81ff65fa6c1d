"""What is in a bundle and what it needs: environments for pip and Conda, and a bill of materials (CycloneDX 1.6).

https://cyclonedx.org/docs/1.6/json/ . Everything comes from the version's signed record, so it is the same wherever it
is written.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pipelines.targets.served import Files

REQUIREMENTS, CONDA, BILL = "environment/requirements.txt", "environment/conda.yaml", "sbom.cdx.json"


def environments(packages: dict[str, str]) -> Files:
    """The environment in which a version was trained.

    Args:
        packages: Versions by name, with ``python``.
    """
    pinned = [f"{name}=={version}" for name, version in packages.items() if name != "python"]
    lines = [
        f"  - python={packages['python']}",
        "  - pip",
        "  - pip:",
        *(f"      - {each}" for each in pinned),
    ]
    conda = "\n".join(["channels:", "  - conda-forge", "dependencies:", *lines, ""])
    return {REQUIREMENTS: "\n".join([*pinned, ""]).encode(), CONDA: conda.encode()}


def bill(model: str, version: str, artifact: str, packages: dict[str, str], made_at: str, files: Files) -> Files:
    """A bill of materials.

    Args:
        artifact: SHA-256 of what was registered and approved.
        packages: Of the training environment.
        made_at: When the bundle was made, ISO 8601.
        files: The bundle's own, listed with their digests.
    """
    from cyclonedx.model import HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    from pipelines.registry.signing import sha256

    name = f"{model}@{version}"
    subject = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=model,
        version=version,
        bom_ref=name,
        hashes=[HashType.from_composite_str(f"sha256:{artifact}")],
        purl=PackageURL("mlflow", None, model, version),
    )
    libraries = [
        Component(
            type=ComponentType.LIBRARY,
            name=package,
            version=number,
            bom_ref=f"{package}@{number}",
            purl=PackageURL("pypi", None, package, number),
        )
        for package, number in packages.items()
        if package != "python"
    ]
    python = Component(
        type=ComponentType.PLATFORM, name="python", version=packages["python"], bom_ref=f"python@{packages['python']}"
    )
    contents = [
        Component(
            type=ComponentType.FILE,
            name=path,
            bom_ref=f"file:{path}",
            hashes=[HashType.from_composite_str(f"sha256:{sha256(content)}")],
        )
        for path, content in sorted(files.items())
    ]
    found = Bom(components=[python, *libraries, *contents], serial_number=uuid5(NAMESPACE_URL, f"{name}#{artifact}"))
    found.metadata.component = subject
    found.metadata.timestamp = datetime.fromisoformat(made_at.replace("Z", "+00:00"))
    found.register_dependency(subject, [python, *libraries, *contents])
    document: dict[str, Any] = json.loads(JsonV1Dot6(found).output_as_string())
    return {BILL: json.dumps(document, indent=1).encode()}
