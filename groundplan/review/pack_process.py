"""The process of one policy pack, started as the Pulumi CLI starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from groundplan.review.errors import ReviewError

# As the CLI's `python -m pulumi.policy`; like its parent process, it does not look for garbage among imported classes,
# and it ends with its parent.
_PACK = """
import gc, os, runpy, sys, threading
gc.disable()
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
runpy.run_module("pulumi.policy", run_name="__main__", alter_sys=True)
"""


class PackProcess(NamedTuple):
    """The process of one pack: it prints the port on which it can be called.

    Attributes:
        path: Folder with ``PulumiPolicy.yaml``.
        errors: What it writes to standard error.
    """

    path: Path
    process: subprocess.Popen[str]
    errors: IO[bytes]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        self.errors.close()


def start_pack(path: Path, request: Mapping[str, Any]) -> PackProcess:
    """Start a pack as the Pulumi CLI does.

    Raises:
        ReviewError: The folder contains no pack in Python.
    """
    import tempfile

    environment = {
        **os.environ,
        # The stack's configuration, which the engine also passes to a pack.
        "PULUMI_CONFIG": json.dumps(request["config"]),
        "PULUMI_PROJECT": request["project"],
        "PULUMI_STACK": request["stack"],
        "PULUMI_ORGANIZATION": "organization",
        "PULUMI_DRY_RUN": "true",
        "AWS_REGION": request.get("region") or os.environ.get("AWS_REGION", ""),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        # The review shows waived findings, and who approved them.
        "GROUNDPLAN_POLICY_WAIVERS": "0",
        # Our own pack then decodes each resource once; under the CLI the SDK is unchanged.
        "GROUNDPLAN_POLICY_QUICK": "1",
    }
    errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the pack)
    command = [_interpreter(path), "-c", _PACK, "127.0.0.1:0", str(path)]
    try:
        process = subprocess.Popen(
            command, cwd=path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    except OSError as error:
        raise ReviewError(
            f"its Python can't be run: {error}",
            where=str(path),
            fix="re-create the virtualenv that PulumiPolicy.yaml names",
        ) from None
    return PackProcess(path, process, errors)


def _interpreter(path: Path) -> str:
    """The pack's own virtualenv, if it names one that exists; else this one.

    Raises:
        ReviewError: There is no pack, or it is not in Python.
    """
    file = path / "PulumiPolicy.yaml"
    if not file.is_file():
        raise ReviewError(
            "is not a policy pack: it has no PulumiPolicy.yaml",
            where=str(path),
            fix="name a folder with PulumiPolicy.yaml",
        )
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReviewError(f"not readable as YAML: {' '.join(str(error).split())}", where=str(file)) from None
    if not isinstance(document, dict):
        raise ReviewError("does not contain a mapping", where=str(file), fix="write at least `runtime: python`")
    runtime = document.get("runtime")
    kind = runtime.get("name") if isinstance(runtime, dict) else runtime
    if kind != "python":
        raise ReviewError(f"is a pack in {kind}; only Python packs are supported", where=str(file))
    options = runtime.get("options") if isinstance(runtime, dict) else None
    options = options if isinstance(options, dict) else {}
    own = path / str(options.get("virtualenv", "")) / "bin" / "python"
    return str(own) if options.get("virtualenv") and own.is_file() else sys.executable
