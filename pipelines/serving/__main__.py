"""Starts the model server: ``python -m pipelines.serving`` is what the container image runs.

It reads these variables:

- SageMaker's: ``SAGEMAKER_BIND_TO_PORT`` (8080), ``SM_MODEL_DIR`` (/opt/ml/model)
- ``GROUNDPLAN_MODEL_SHA256``: digest of the folder's files as they were approved; others are not loaded
- ``GROUNDPLAN_PUBLISHED``: a package in S3 that is served instead of the folder, and replaced whenever it changes
- ``GROUNDPLAN_SIGNING_KEYS``: keys by signer, a JSON object; only what they have registered and approved is loaded
- ``GROUNDPLAN_PACKAGE``: where the folder's package is published, and what was signed about it
- ``GROUNDPLAN_UNAVAILABLE``: why there is no model
- ``GROUNDPLAN_WORKERS`` (one for each CPU): processes that answer, on the same port
- ``GROUNDPLAN_GRPC_PORT``: the Open Inference Protocol over gRPC, in addition
- ``GROUNDPLAN_CAPTURE``: where requests are kept; ``GROUNDPLAN_CAPTURE_SECONDS``: how often they are written
- ``GROUNDPLAN_NETWORK_ISOLATION`` (1): the container has neither network nor credentials
- ``GROUNDPLAN_MODEL_MEMORY_MB`` (8192): how much address space a model's own process may use
- ``GROUNDPLAN_READ_SECONDS`` (30): how long a client may take to send a request
- ``GROUNDPLAN_DRAIN_SECONDS`` (25): how long SIGTERM waits for requests that have begun
- ``GROUNDPLAN_LOG_FORMAT``: json, or text for people
- OpenTelemetry's ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``, ... (see ``tracing``)

Signals: SIGTERM answers what has begun and ends; SIGHUP replaces the workers one by one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from pathlib import Path
from tempfile import mkdtemp

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from pipelines.serving.connections import KEEP_ALIVE_S, Connection
from pipelines.serving.worker import HOST, METRICS_FOLDER, drain_s, end_with


def main() -> None:
    """Serve until told to stop, or until the parent process ends."""
    workers = int(os.environ.get("GROUNDPLAN_WORKERS") or cpus())
    if workers > 1:
        os.environ[METRICS_FOLDER] = mkdtemp(prefix="groundplan-metrics-")
        if parent := os.environ.get("GROUNDPLAN_PARENT"):
            threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    config = uvicorn.Config(
        "pipelines.serving.worker:application",
        factory=True,
        workers=workers,
        http=Connection,
        host=os.environ.get("GROUNDPLAN_HOST", HOST),
        port=int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_s(),
        timeout_worker_healthcheck=30,
        log_level="warning",
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=False,
    )
    if workers == 1:
        server = uvicorn.Server(config)
        server.run()
        if not server.started:
            sys.exit(STARTUP_FAILURE)
    else:
        Supervisor(config, [config.bind_socket()]).run()


class Supervisor(Multiprocess):
    """Starts the workers, and replaces those that end."""

    def terminate_all(self) -> None:
        """Stop listening first: nobody would accept who comes now."""
        for listening in self.sockets:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        super().terminate_all()


def cpus() -> int:
    """CPUs that this process may use: those of its cgroup where it is limited (cgroup v2), else the machine's."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no limit ("max"), or no cgroup
        return count


if __name__ == "__main__":
    main()
