"""Stores the state of stack dev as this program leaves it, for the next release's previews: ``python -m
tests.engine.keep_state``.

Run it before a release: the next ``pulumi up`` of users starts from the state that this release deployed.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from tests.engine.conftest import MISSING, running

PROJECT = "/project"  # where it is said to have been made
FILE = Path(__file__).parent / "released_state.json.gz"


def read() -> dict[str, Any]:
    """The stored state, as ``pulumi stack export`` writes it."""
    found: dict[str, Any] = json.loads(gzip.decompress(FILE.read_bytes()))
    return found


def main() -> None:
    """Bring the stack up on a local cloud, and write its state."""
    assert not MISSING, f"the Pulumi CLI is not on the PATH: no {', '.join(MISSING)}; see `make pulumi`"
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as cli:
        cli.stack("dev")
        cli.good("up", "-s", "dev", "--yes", "--skip-preview")
        FILE.write_bytes(
            gzip.compress(
                _without_this_machine(json.loads(cli.good("stack", "export", "-s", "dev")), str(cli.project)), mtime=0
            )
        )


def _without_this_machine(state: dict[str, Any], project: str) -> bytes:
    """Without its origin: folders, and lines of the program that an engine keeps for its messages."""
    for item in state["deployment"]["resources"]:
        for key in ("sourcePosition", "stackTrace"):
            item.pop(key, None)
    state["deployment"].pop("metadata", None)
    return json.dumps(state, sort_keys=True).replace(project, PROJECT).encode()


if __name__ == "__main__":
    main()
