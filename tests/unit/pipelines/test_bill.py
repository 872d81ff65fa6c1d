"""Environments and bills of materials of bundles."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from pipelines.targets.bill import BILL, CONDA, REQUIREMENTS, bill, environments
from pipelines.training.packages import environment, with_requirements

PACKAGES = {"python": "3.11.7", "mlflow": "3.17.2", "numpy": "2.4.6", "ruamel.yaml": "0.18.6"}
FILES = {"model.onnx": b"graph", "a folder/ä.txt": b""}
DIGEST = "ab" * 32


def test_pip_and_conda_name_the_same_versions() -> None:
    found = environments(PACKAGES)
    pinned = found[REQUIREMENTS].decode().split()
    assert pinned == ["mlflow==3.17.2", "numpy==2.4.6", "ruamel.yaml==0.18.6"]
    conda = yaml.safe_load(found[CONDA])
    assert conda["dependencies"][0] == "python=3.11.7" and conda["dependencies"][-1] == {"pip": pinned}


def test_a_bill_of_materials_is_valid_and_names_model_packages_and_files() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = bill("late-flights", "v1.2.0", DIGEST, PACKAGES, "2026-11-30T08:00:00Z", FILES)[BILL].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = json.loads(text)
    subject = found["metadata"]["component"]
    assert (subject["type"], subject["name"], subject["version"]) == (
        "machine-learning-model",
        "late-flights",
        "v1.2.0",
    )
    assert subject["hashes"] == [{"alg": "SHA-256", "content": DIGEST}]
    listed = {component["name"]: component for component in found["components"]}
    assert listed["numpy"]["purl"] == "pkg:pypi/numpy@2.4.6" and "python" in listed and FILES.keys() <= listed.keys()
    (tree,) = [each for each in found["dependencies"] if each["ref"] == "late-flights@v1.2.0"]
    assert len(tree["dependsOn"]) == len(found["components"])
    again = bill("late-flights", "v1.2.0", DIGEST, PACKAGES, "2026-11-30T08:00:00Z", FILES)[BILL].decode()
    assert again == text, "the same bundle has the same bill"


def test_what_packages_require_is_listed_too() -> None:
    found = with_requirements(["scikit-learn"])
    assert {"scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl"} <= found.keys()
    assert found["scipy"] == metadata.version("scipy") and "pytest" not in found, "no extras that nobody asked for"
    assert with_requirements(["no-such-package-anywhere"]) == {}


def test_an_extra_brings_its_own() -> None:
    """``moto[server]``, which this project asks for, brings Flask; nobody asks here for what the tests need."""
    ours = with_requirements(["groundplan"])
    assert "flask" in ours and "ai-edge-litert" not in ours and "pytest" not in ours


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("statsmodels  # a comment\n", None),
        ("-r other.txt\n--index-url https://example.com\nhttpx>=0.2 ; python_version > '3'\n", "httpx"),
        ("Pillow==1 --hash=sha256:00\n", "pillow"),
        ("./local\ngit+https://example.com/x\n\n", None),
    ],
)
def test_what_a_script_asks_for_is_part_of_its_environment(tmp_path: Path, text: str, name: str | None) -> None:
    script = tmp_path / "experiment.py"
    before = environment(script)
    (tmp_path / "requirements.txt").write_text(text)
    found = environment(script)
    assert before.items() <= found.items() and {"python", "mlflow", "scikit-learn"} <= before.keys()
    assert name is None or found[name] == metadata.version(name)
