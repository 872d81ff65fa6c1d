"""Starts the model server: ``python -m pipelines.serving`` is what the container image runs.

Reads SageMaker's variables: ``SAGEMAKER_BIND_TO_PORT`` (8080), ``SM_MODEL_DIR`` (/opt/ml/model). ``GROUNDPLAN_CAPTURE``
is where requests are kept, ``GROUNDPLAN_CAPTURE_SECONDS`` how often they are written (see ``Capture``).
``GROUNDPLAN_PUBLISHED`` names a package in S3 that is served instead of the folder, and reloaded whenever it changes.
``GROUNDPLAN_UNAVAILABLE`` says why there is no model. ``GROUNDPLAN_NETWORK_ISOLATION`` (1) says that the container has
neither network nor credentials, ``GROUNDPLAN_MODEL_MEMORY_MB`` (8192) how much address space a model's own process may
use, ``GROUNDPLAN_WARM_AFTER_S`` (15; 0 for never) when a warm-up explanation is computed: the first one loads and
compiles for seconds.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from pathlib import Path

import uvicorn

from pipelines.serving.app import ModelServer
from pipelines.serving.models.bundle import Model, load
from pipelines.serving.models.rows import Rows
from pipelines.serving.online import OnlineFeatures
from pipelines.serving.operating.capture import FLUSH_S, Capture
from pipelines.serving.published import Published

WARM_AFTER_S = "15"  # a canary's requests come first


def main() -> None:
    """Serve until told to stop, or until the parent process ends."""
    if parent := os.environ.get("GROUNDPLAN_PARENT"):
        threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    capture = _capture(os.environ.get("GROUNDPLAN_CAPTURE", ""))
    server = ModelServer(None, capture=capture, unavailable=os.environ.get("GROUNDPLAN_UNAVAILABLE", ""))
    if published := os.environ.get("GROUNDPLAN_PUBLISHED"):
        import boto3

        Published(published, boto3.client("s3")).watch(lambda model: server.use(model, _lookup(model)))
    else:
        model = load(Path(os.environ.get("SM_MODEL_DIR", "/opt/ml/model")))
        server.use(model, _lookup(model))
    if after_s := float(os.environ.get("GROUNDPLAN_WARM_AFTER_S", WARM_AFTER_S)):
        warming = threading.Timer(after_s, _warm, (server,))
        warming.daemon = True
        warming.start()
    # What has been loaded stays: looking for garbage in it, again and again, takes tens of milliseconds.
    gc.collect()
    gc.freeze()
    uvicorn.run(
        server,
        host=os.environ.get("GROUNDPLAN_HOST", "0.0.0.0"),  # noqa: S104 (a container's port is its own)
        port=int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")),
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
    if capture is not None:
        capture.flush()


def _warm(server: ModelServer) -> None:
    """Compute a warm-up explanation, so that the first caller need not wait for the libraries; real requests have
    priority.
    """
    if server.model is None:
        return
    from pipelines.serving.explaining.explain import explain

    with contextlib.suppress(Exception):  # a real request reports the error
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # of this thread only
        explain(server.model, Rows.of({name: values[:1] for name, values in server.model.background.items()}))


def _lookup(model: Model | None) -> OnlineFeatures | None:
    return OnlineFeatures(model) if model is not None and model.entity else None


def _capture(address: str) -> Capture | None:
    if not address:
        return None
    import boto3

    return Capture(address, boto3.client("s3"), float(os.environ.get("GROUNDPLAN_CAPTURE_SECONDS", FLUSH_S)))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    main()
