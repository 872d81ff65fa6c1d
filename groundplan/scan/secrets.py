"""Secrets in the tree: files that git tracks or would track, by Yelp's detect-secrets.

What was looked at and is none is in its baseline, which ``detect-secrets scan`` and ``detect-secrets audit`` write
(docs/review.md).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from groundplan.scan.findings import Checked, Flaw, missing

BASELINE = ".secrets.baseline"
_SKIPPED = (".lock", ".parquet", ".onnx", ".png", ".svg", ".ipynb.gz")
_CERTAIN = ("AWS Access Key", "Private Key", "GitHub Token", "GitLab Token", "Slack Token", "Stripe Access Key")
REFERENCE = "https://cwe.mitre.org/data/definitions/798.html"


def secrets(root: Path) -> Checked:
    """Look for secrets in a project's files."""
    if (lacking := missing("secrets", "detect_secrets")) is not None:
        return lacking
    from detect_secrets.core.secrets_collection import SecretsCollection
    from detect_secrets.settings import default_settings

    files, known = _files(root), _known(root)
    found = SecretsCollection(root=str(root))
    with default_settings():
        found.scan_files(*files, num_processors=2)
    flaws = [
        Flaw(
            "critical" if secret["type"] in _CERTAIN else "high",
            f"{file}:{secret['line_number']}",
            f"looks like a secret ({secret['type']})",
            f"if it is one, change it where it opens something, and remove it; if not, add it to {BASELINE}",
            REFERENCE,
        )
        for file, of in sorted(found.json().items())
        for secret in of
        if (file, secret["type"], secret["hashed_secret"]) not in known
    ]
    did = f"{len(files):,} files; {len(known):,} places are known to be none ({BASELINE})"
    return Checked("secrets", did, flaws=tuple(flaws))


def _files(root: Path) -> list[str]:
    """What is part of the project; without git everything that is not hidden."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and done.stdout:
        names = done.stdout.rstrip("\0").split("\0")
    else:
        paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        names = [str(path) for path in paths if not any(part.startswith(".") for part in path.parts)]
    return [name for name in names if not name.endswith(_SKIPPED) and name != BASELINE and (root / name).is_file()]


def _known(root: Path) -> set[tuple[str, str, str]]:
    """What the baseline says is no secret; what was confirmed as one is none of it."""
    path = root / BASELINE
    if not path.is_file():
        return set()
    results = json.loads(path.read_text(encoding="utf-8")).get("results", {})
    return {
        (file, secret["type"], secret["hashed_secret"])
        for file, of in results.items()
        for secret in of
        if secret.get("is_secret") is not True
    }
