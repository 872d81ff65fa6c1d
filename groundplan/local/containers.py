"""Model servers of the local platform: one process each, started and ended as a container would be."""

from __future__ import annotations

import json
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
LAST_LINES, MOST_OF_A_LINE, MOST_OF_A_LOG = 3, 240, 20_000  # of what a server has said last
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
    """The last lines of a log, as one; of what is logged as JSON its message, or the end of its traceback."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - MOST_OF_A_LOG))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    words = "\n".join(_in_words(line) for line in lines if line.strip()).splitlines()
    return " ".join(part for line in words[-LAST_LINES:] for part in line[:MOST_OF_A_LINE].split())


def _in_words(line: str) -> str:
    try:
        told = json.loads(line)
        return str(told.get("exception") or told["message"]).strip()
    except (ValueError, KeyError, AttributeError):
        return line


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
