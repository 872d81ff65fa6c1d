"""Model servers of the local platform: one process each, started and ended as a container would be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from groundplan.local.calls import caller_key
from groundplan.local.upstream import Pool

START_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 60.0  # SageMaker's own
DRAIN_S = 5  # for requests that a server has begun when it is replaced


@dataclass
class Container:
    """A running model server.

    Attributes:
        model: What it serves: a SageMaker model, or a revision.
        was_ready: Whether it has ever answered.
    """

    model: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    ready: bool = False
    was_ready: bool = False
    started: float = field(default_factory=time.monotonic)

    @cached_property
    def pool(self) -> Pool:
        """Connections to it."""
        return Pool(self.port)

    def said(self) -> str:
        """The last lines of its log."""
        return tail(self.log)


def tail(log: Path) -> str:
    """The last lines of a log, as one."""
    from groundplan.local.services import log_tail

    return " ".join(log_tail(log, 3).split())


def start(model: str, variables: Mapping[str, str], log: Path) -> Container:
    """Start a model server."""
    from groundplan.local.services import free_port

    port = free_port()
    environment = {
        **os.environ,
        **variables,
        "AWS_ACCESS_KEY_ID": caller_key("server.model"),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "GROUNDPLAN_HOST": "127.0.0.1",
        "GROUNDPLAN_PARENT": str(os.getpid()),
        "GROUNDPLAN_WORKERS": "1",  # a laptop has other things to do
        "GROUNDPLAN_DRAIN_SECONDS": str(DRAIN_S),
    }
    with log.open("ab") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.serving"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    return Container(model, process, port, log)


def stop(containers: Iterable[Container]) -> None:
    """Let servers answer what they have begun, then end them."""
    ending = list(containers)
    for container in ending:
        container.process.terminate()
    until = time.monotonic() + DRAIN_S + 1
    for container in ending:
        try:
            container.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            container.process.kill()
            container.process.wait()
