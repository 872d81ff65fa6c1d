"""docs/own-model.md as a reader would type it: from an empty folder and a CSV file to an endpoint, a second version,
and a review.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.platform import processes_of

INSTALL = "make .venv/.installed\n"


def _environment_that_is_there(project: Path) -> None:
    """What `make .venv/.installed` would install, linked."""
    (project / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith(".installed"):
            (project / ".venv" / path.name).symlink_to(path)
    (project / ".venv" / ".installed").touch()


@pytest.mark.drill  # a platform, two deployments and a review of each stack
def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", (ROOT / "docs" / "own-model.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 6 and INSTALL in blocks[0]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    folder, project, said = tmp_path, tmp_path / "acme", ""
    try:
        for block in blocks:
            text = block.replace(INSTALL, "")
            done = subprocess.run(
                ["bash", "-ec", text],
                cwd=folder,
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
                timeout=400,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            said += done.stdout
            if folder != project:
                folder = project
                _environment_that_is_there(project)
        assert not processes_of(project)
    finally:
        if (project / ".venv").is_dir():
            subprocess.run([".venv/bin/groundplan", "down"], cwd=project, capture_output=True)
    assert "569 = 569 raw + 0 dead letters" in said
    assert '"predictions"' in said, "the endpoint answers an ordinary client"
    assert re.search(r"v1\.0\.1 in the MLflow registry", said) and "call it       curl -s" in said
    assert re.search(r"(promote|rollback) +pipeline +v1\.0\.1", said), "the audit log has the second version"
    assert "acme, stack local" in said and "passed" in said
