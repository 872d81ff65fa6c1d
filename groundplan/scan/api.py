"""Requests made from the interface's OpenAPI document that it must refuse, by schemathesis: wrong data, methods that
don't exist, no token or a wrong one. What it may accept is not sent, so that a scan leaves no predictions behind.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from groundplan.scan.findings import Checked, Flaw, missing

EXAMPLES, TIMEOUT_S = 25, 900
RATE = "20/s"  # what a firewall's rate rule and the models' own limits allow
_SEVERITY = {"ignored_auth": "critical", "not_a_server_error": "high"}
# What a wrong request may be answered with; 429 is the limit of the models or of the firewall.
_REFUSED = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "429", "503"]
_NOT_SERVED = "503"  # the model has no version yet, or is being deployed
_FIXES = {
    "ignored_auth": "require the sign-in on this path",
    "not_a_server_error": "refuse the request before it reaches what fails on it",
    "negative_data_rejection": "check the request, and answer 4xx",
    "unsupported_method": "refuse methods that the document does not have",
}
_ROWS = {
    "type": "object",
    "required": ["dataframe_records"],
    "properties": {"dataframe_records": {"type": "array", "minItems": 1, "items": {"type": "object"}}},
}
REFERENCE = "https://owasp.org/API-Security/editions/2023/en/0x11-t10/"


def api(document: dict[str, Any], url: str, token: str, seed: int) -> Checked:
    """Send them.

    Args:
        document: OpenAPI 3, without what only API Gateway understands.
        token: An ID token of the sign-in; empty to be refused at the door.
    """
    if (lacking := missing("api", "schemathesis")) is not None:
        return lacking
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
        allowed = {"negative_data_rejection": _REFUSED, "not_a_server_error": ["2xx", "3xx", "4xx", _NOT_SERVED]}
        config = "".join(f"{name}.expected-statuses = {json.dumps(codes)}\n" for name, codes in allowed.items())
        (home / "schemathesis.toml").write_text(f"[checks]\n{config}", encoding="utf-8")
        command = [
            str(Path(sys.executable).parent / "schemathesis"), "run", "openapi.json", "--url", url, "--no-color",
            "--mode", "negative", "--max-examples", str(EXAMPLES), "--rate-limit", RATE, "--seed", str(seed),
            "--checks", "not_a_server_error,negative_data_rejection,unsupported_method,ignored_auth",
            "--continue-on-failure", "--report", "ndjson", "--report-ndjson-path", "report.ndjson",
        ]  # fmt: skip
        command += ["--header", f"Authorization: {token}"] if token else []
        try:
            done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return Checked("api", f"was not done after {TIMEOUT_S} s", made=False)
        report = home / "report.ndjson"
        lines = report.read_text(encoding="utf-8").splitlines() if report.is_file() else []
    sent, flaws = _read([json.loads(line) for line in lines])
    if not sent:
        last = (done.stdout.strip().splitlines() or ["it printed nothing"])[-1]
        return Checked("api", f"{url} answered nothing ({last[:200]})", made=False)
    who = "with a token" if token else "without a token"
    return Checked("api", f"{sent:,} requests {who} to {url}, seed {seed}", flaws=tuple(flaws))


def _read(events: list[dict[str, Any]]) -> tuple[int, list[Flaw]]:
    """How many requests were sent, and what failed: once for each operation and check."""
    sent, flaws = 0, dict[tuple[str, str], Flaw]()
    for event in events:
        recorder = event.get("ScenarioFinished", {}).get("recorder", {})
        sent += sum(bool(each.get("response")) for each in recorder.get("interactions", {}).values())
        for checks in recorder.get("checks", {}).values():
            for check in checks:
                if check["status"] != "failure":
                    continue
                told = check.get("failure_info", {}).get("failure", {})
                operation, name = told.get("operation") or recorder.get("label", ""), check["name"]
                says = " ".join(f"{told.get('title', name)}. {told.get('message', '')}".split())
                flaws[operation, name] = Flaw(
                    _SEVERITY.get(name, "medium"), operation, says[:300].rstrip(". "), _FIXES[name], REFERENCE
                )
    return sent, list(flaws.values())


def with_bodies(document: dict[str, Any]) -> dict[str, Any]:
    """An interface's exported document without what only API Gateway understands, and with the form of requests, which
    it leaves to the models.
    """
    plain: dict[str, Any] = _without_extensions(document)
    for operations in plain.get("paths", {}).values():
        if "post" in operations and "requestBody" not in operations["post"]:
            operations["post"]["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": _ROWS}},
            }
    return plain


def _without_extensions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_extensions(each) for key, each in value.items() if not key.startswith("x-amazon")}
    return [_without_extensions(each) for each in value] if isinstance(value, list) else value
