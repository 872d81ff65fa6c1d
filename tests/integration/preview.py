"""Runs the program in preview semantics, with a monitor that knows nothing but the inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks

from groundplan.cloud.apply import _run_file, run
from infra.objectives import load_config


class Unknowing(Mocks):
    """Echoes inputs; every id and ARN is unknown."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        unknown = dict.fromkeys(("arn", "keyId", "id", "endpoint", "repositoryUrl", "bootstrapBrokersSaslIam", "latestRevision"), rpc.UNKNOWN)
        return rpc.UNKNOWN, {**unknown, **args.inputs}

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"a look-up while previewing: {args.token}")


def preview(root: Path, stack: str) -> dict[str, Any]:
    """Resources of a stack, by URN."""
    monitor = MockMonitor(Unknowing())
    run(lambda: _run_file(root / "infra"), monitor, stack, load_config(root, stack), preview=True)
    return monitor.get_registered_resources()
