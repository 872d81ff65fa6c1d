"""``groundplan contract check`` of 100 contracts, compared with the standard's JSON Schema alone by the ``jsonschema``
package.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from bench.pairs import compare

CONTRACTS, FIELDS, ROUNDS = 100, 30, 3
_SCHEMA_ALONE = """
import json, pathlib, sys, jsonschema, yaml
schema = json.loads(pathlib.Path("spec/contracts/odcs/v3.1.0.json").read_text())
validator = jsonschema.Draft201909Validator(schema)
for path in pathlib.Path(sys.argv[1]).iterdir():
    assert not list(validator.iter_errors(yaml.load(path.read_text(), yaml.CSafeLoader)))
"""


def main() -> None:
    with TemporaryDirectory() as folder:
        for number in range(CONTRACTS):
            (Path(folder) / f"c{number}.odcs.yaml").write_text(
                yaml.safe_dump(_contract(number), sort_keys=False), encoding="utf-8"
            )
        ours = [str(Path(sys.executable).parent / "groundplan"), "contract", "check", folder]
        compare(
            f"Checking {CONTRACTS} contracts of {FIELDS} fields",
            ("groundplan contract check", lambda: _seconds(ours)),
            ("the JSON Schema alone, by jsonschema", lambda: _seconds([sys.executable, "-c", _SCHEMA_ALONE, folder])),
            ROUNDS,
            "under 2 s",
        )


def _contract(number: int) -> dict[str, object]:
    kinds = ("string", "integer", "number", "boolean", "timestamp", "date")
    form = {"pattern": f"^[A-Z]{{{number % 5 + 1}}}"}
    fields: list[dict[str, object]] = [
        {"name": "id", "logicalType": "string", "primaryKey": True, "logicalTypeOptions": form}
    ]
    fields += [
        {"name": f"f{place}", "logicalType": kinds[place % len(kinds)], "description": "what it means"}
        for place in range(FIELDS - 1)
    ]
    rule = {"type": "sql", "query": "SELECT count(*) FROM {object} WHERE f1 < 0", "mustBe": 0}
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": f"c{number}",
        "name": f"c{number}",
        "version": "1.0.0",
        "status": "active",
        "schema": [
            {
                "name": f"c{number}",
                "physicalName": f"c{number}",
                "properties": fields,
                "quality": [rule] if number % 3 == 0 else [],
            }
        ],
    }


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
