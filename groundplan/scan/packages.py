"""Known vulnerabilities of packages: those that are locked (the image installs the same), those of models, by PyPA's
pip-audit; and of the image that a stack runs, by ECR's scan.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from groundplan.scan.findings import Checked, Flaw, missing
from spec.outputs import Outputs

LOCKS = ("requirements.lock", "requirements-tools.lock")
TIMEOUT_S = 600
_ECR = {"CRITICAL": "critical", "HIGH": "high", "MEDIUM": "medium"}
_SHOWN = 20  # of an image's findings, the most severe ones


def packages(root: Path, osv_url: str = "") -> Checked:
    """Look up every locked package.

    Args:
        osv_url: A mirror of https://api.osv.dev/v1/query that is asked instead of PyPI.
    """
    if (lacking := missing("packages", "pip_audit")) is not None:
        return lacking
    files = [root / name for name in LOCKS if (root / name).is_file()]
    files += sorted(root.glob("models/*/requirements*.txt"))
    flaws: dict[tuple[str, str], Flaw] = {}
    looked_up, unknown, failed = set[str](), set[str](), list[str]()
    for file in files:
        name = str(file.relative_to(root))
        answer = _audit(file, osv_url)
        if isinstance(answer, str):
            failed.append(f"{name}: {answer}")
            continue
        for package in answer:
            if "skip_reason" in package:
                unknown.add(package["name"])
                continue
            looked_up.add(package["name"])
            for found in package["vulns"]:
                version = f"{package['name']} {package['version']}"
                fixed = found.get("fix_versions") or []
                flaws[version, found["id"]] = Flaw(
                    "high",
                    f"{version} ({name})",
                    f"{found['id']}{''.join(f', {each}' for each in found.get('aliases', [])[:2])}",
                    f"lock {package['name']}>={fixed[-1]} (`make lock`)"
                    if fixed
                    else "no version is fixed: replace it",
                    f"https://osv.dev/vulnerability/{found['id']}",
                )
    listed = ", ".join(str(file.relative_to(root)) for file in files)
    did = f"{len(looked_up):,} packages of {listed}"
    if unknown:
        did = f"the service of vulnerabilities does not know {len(unknown):,} of {len(looked_up | unknown):,} packages"
    if failed:
        did = f"the service of vulnerabilities can't be asked ({failed[0]})"
    return Checked("packages", did, made=bool(looked_up) and not failed and not unknown, flaws=tuple(flaws.values()))


def _audit(file: Path, osv_url: str) -> list[dict[str, Any]] | str:
    """pip-audit's answer; a text where there is none."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(file), "--format", "json", "--progress-spinner", "off"]
    # Nothing is resolved or installed: what is locked is what is asked for.
    command += ["--disable-pip", *([] if "--hash=" in file.read_text(encoding="utf-8") else ["--no-deps"])]
    command += ["--vulnerability-service", "osv", "--osv-url", osv_url] if osv_url else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S} s"
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        return "no connection" if "Connection" in last or "Resolution" in last else last[:200]
    return found


def image(outputs: Outputs, local: bool) -> Checked:
    """What ECR's scan has found in the image that the stack runs."""
    if local:
        return Checked("image", "no image is built on this machine; it installs requirements.lock", made=True)
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    name, _, version = outputs.image_uri.partition("/")[2].replace("@", ":", 1).partition(":")
    which = {"imageDigest": version} if version.startswith("sha256:") else {"imageTag": version or "latest"}
    try:
        answer = boto3.client("ecr").describe_image_scan_findings(repositoryName=name, imageId=which)
    except (BotoCoreError, ClientError) as error:
        code = getattr(error, "response", {}).get("Error", {}).get("Code") or type(error).__name__
        return Checked("image", f"ECR does not tell what it found in {outputs.image_uri} ({code})", made=False)
    status = answer.get("imageScanStatus", {}).get("status", "")
    if status not in ("COMPLETE", "ACTIVE"):
        return Checked("image", f"ECR has not scanned {outputs.image_uri} ({status})", made=False)
    scan = answer["imageScanFindings"]
    found = [*scan.get("enhancedFindings", []), *scan.get("findings", [])]
    severe = sorted(
        (each for each in found if each.get("severity") in _ECR), key=lambda each: list(_ECR).index(each["severity"])
    )
    flaws = tuple(
        Flaw(
            _ECR[each["severity"]],
            outputs.image_uri,
            str(each.get("title") or each.get("name")),
            "build the image again on a newer base",
            str(each.get("uri") or each.get("packageVulnerabilityDetails", {}).get("sourceUrl") or ""),
        )
        for each in severe[:_SHOWN]
    )
    return Checked("image", f"ECR's scan of {outputs.image_uri}, {len(found)} findings", flaws=flaws)
