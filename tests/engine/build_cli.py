"""``make pulumi``: the Pulumi CLI and promtool from their published Go modules, for machines that have Go but neither.

It is written to ``.groundplan/pulumi/bin``, which ``make engine`` puts on its PATH. For deployments, install Pulumi's
own release instead (https://www.pulumi.com/docs/iac/download-install/).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / ".groundplan" / "pulumi"
VERSION = (ROOT / ".pulumi.version").read_text(encoding="utf-8").strip()
_MODULE = f"""module groundplan.local/pulumi

go 1.25

require (
	github.com/pulumi/pulumi/pkg/v3 v{VERSION}
	github.com/pulumi/pulumi/sdk/v3 v{VERSION}
)

// The CLI's own module replaces it, and what a dependency replaces is not followed.
replace github.com/atotto/clipboard => github.com/tgummerer/clipboard v0.0.0-20241001131231-d02d263e614e
"""
_IMPORT = """//go:build tools

package tools

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
"""


PROMETHEUS = "v0.307.3"
_PROMTOOL = f"""module groundplan.local/promtool

go 1.24

require github.com/prometheus/prometheus {PROMETHEUS}
"""


def main() -> int:
    """Build what is missing; returns 0 if it exists afterwards."""
    return _pulumi() or _promtool()


def _promtool() -> int:
    """Checks the cluster's rules. pulumi's own build has found Go, or nothing was to be built."""
    binary = FOLDER / "bin" / "promtool"
    if not binary.is_file() and shutil.which("go"):
        source, command = FOLDER / "promtool", "github.com/prometheus/prometheus/cmd/promtool"
        source.mkdir(parents=True, exist_ok=True)
        (source / "go.mod").write_text(_PROMTOOL, encoding="utf-8")
        (source / "tools.go").write_text(
            f'//go:build tools\n\npackage tools\n\nimport _ "{command}"\n', encoding="utf-8"
        )
        print(f"building promtool {PROMETHEUS} from its Go modules (once; some minutes)", flush=True)
        environment = {**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
        subprocess.run(
            ["go", "build", "-trimpath", "-o", str(binary), command], cwd=source, env=environment, check=True
        )
    print(f"{binary}: {'Prometheus ' + PROMETHEUS if binary.is_file() else 'not built: Go is not on the PATH'}")
    return 0


def _pulumi() -> int:
    binary = FOLDER / "bin" / "pulumi"
    if binary.is_file() and _version(binary) == VERSION and (FOLDER / "bin" / "pulumi-language-python").is_file():
        print(f"{binary}: Pulumi {VERSION}")
        return 0
    if not shutil.which("go"):
        print(
            "Go is not on the PATH: install the Pulumi CLI (https://www.pulumi.com/docs/iac/download-install/), or Go",
            file=sys.stderr,
        )
        return 1
    source, target = FOLDER / "source", FOLDER / "bin"
    for folder in (source, target):
        folder.mkdir(parents=True, exist_ok=True)
    (source / "go.mod").write_text(_MODULE, encoding="utf-8")
    (source / "tools.go").write_text(_IMPORT, encoding="utf-8")
    print(f"building Pulumi {VERSION} from its Go modules (once; some minutes)", flush=True)
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    flags = f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{VERSION}"
    subprocess.run(
        [
            "go",
            "build",
            "-trimpath",
            "-ldflags",
            flags,
            "-o",
            str(binary),
            "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
        ],
        cwd=source,
        env=environment,
        check=True,
    )
    listed = ["go", "list", "-m", "-f", "{{.Dir}}", "github.com/pulumi/pulumi/sdk/v3"]
    python = (
        Path(
            subprocess.run(
                listed, cwd=source, env=environment, check=True, capture_output=True, text=True
            ).stdout.strip()
        )
        / "python"
    )
    executor = target / "pulumi-language-python-exec"
    for file, name in (
        (python / "cmd" / executor.name, executor.name),
        (python / "dist" / "pulumi-resource-pulumi-python", "pulumi-resource-pulumi-python"),
    ):
        (target / name).unlink(missing_ok=True)
        shutil.copyfile(file, target / name)
        (target / name).chmod(0o755)
    host = target / "pulumi-language-python"
    host.write_text(
        f'#!/bin/sh\nPULUMI_LANGUAGE_PYTHON_EXEC="{executor}" PYTHONPATH="{ROOT}" exec "{sys.executable}" -m'
        ' tests.engine.language_host "$@"\n',
        encoding="utf-8",
    )
    host.chmod(0o755)
    print(f"{binary}: Pulumi {VERSION}")
    return 0


def _version(binary: Path) -> str:
    return (
        subprocess.run([binary, "version"], capture_output=True, text=True, check=False)
        .stdout.strip()
        .removeprefix("v")
    )


if __name__ == "__main__":
    sys.exit(main())
