"""One process of the model server: it loads the model, answers, and ends without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pipelines.registry.approved import keys_from_environment
from pipelines.serving.app import ModelServer
from pipelines.serving.ids import FLUSH_S
from pipelines.serving.models.bundle import Model, load
from pipelines.serving.models.rows import Rows
from pipelines.serving.online import OnlineFeatures
from pipelines.serving.operating.capture import Capture
from pipelines.serving.operating.logs import configure
from pipelines.serving.operating.metrics import Metrics
from pipelines.serving.operating.tracing import Tracing
from pipelines.serving.published import EVERY_S, Published, check_folder

SHARE_S = 1.0
HOST = "0.0.0.0"  # noqa: S104 (a container's port is its own)
METRICS_FOLDER = "GROUNDPLAN_METRICS_FOLDER"  # set where there are several workers
_log = logging.getLogger("groundplan.serving")


class Worker(ModelServer):
    """A process that answers."""

    def __init__(self) -> None:
        folder = os.environ.get(METRICS_FOLDER)
        super().__init__(
            None,
            capture=_capture(os.environ.get("GROUNDPLAN_CAPTURE", "")),
            unavailable=os.environ.get("GROUNDPLAN_UNAVAILABLE", ""),
            metrics=Metrics(Path(folder) if folder else None, self.gauges),
            tracing=Tracing(os.environ),
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._grpc: Any = None
        self._watch: threading.Event | None = None

    async def start(self) -> None:
        """Load the model, then listen: what is not ready gets no requests."""
        loop = asyncio.get_running_loop()
        if published := os.environ.get("GROUNDPLAN_PUBLISHED"):
            import boto3

            def replaced(model: Model | None) -> None:
                loop.call_soon_threadsafe(self.use, model, prepared(model))
                _get_ready_to_explain(model)

            watched = Published(published, boto3.client("s3"), keys_from_environment())
            every_s = float(os.environ.get("GROUNDPLAN_PUBLISHED_SECONDS", EVERY_S))
            self._watch = await loop.run_in_executor(None, watched.watch, replaced, every_s)
            await asyncio.sleep(0)  # what has been published already is used now
        else:
            folder = Path(os.environ.get("SM_MODEL_DIR", "/opt/ml/model"))
            if (signatures := keys_from_environment()) and (folder / "model.json").is_file():
                import boto3

                check_folder(folder, boto3.client("s3"), os.environ["GROUNDPLAN_PACKAGE"], signatures)
            model = load(folder, os.environ.get("GROUNDPLAN_MODEL_SHA256", ""))
            self.use(model, prepared(model))
        if port := os.environ.get("GROUNDPLAN_GRPC_PORT"):
            from pipelines.serving.protocols.grpc_service import serve

            self._grpc = serve(self, f"{os.environ.get('GROUNDPLAN_HOST', HOST)}:{int(port)}")
        self._tasks.append(loop.create_task(self._share()))
        _get_ready_to_explain(self.model)
        # What has been loaded stays: looking for garbage in it, again and again, takes tens of milliseconds.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)

    async def stop(self) -> None:
        """End what was started, and write what is waiting to be written."""
        if self._watch is not None:
            self._watch.set()
        if self._grpc is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._grpc.stop(drain_s()).wait)
        for task in self._tasks:
            task.cancel()
        self.metrics.share()
        self.tracing.close()
        if self.capture is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.capture.flush)
        self.use(None)

    async def _share(self) -> None:
        while True:
            self.metrics.share()
            await asyncio.sleep(SHARE_S)


def application() -> Worker:
    """What uvicorn runs in each worker."""
    configure(os.environ.get("GROUNDPLAN_LOG_FORMAT", "json"))
    parent = os.environ.get("GROUNDPLAN_PARENT")
    if METRICS_FOLDER in os.environ:
        parent = str(os.getppid())
    if parent:
        threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    return Worker()


def prepared(model: Model | None) -> OnlineFeatures | None:
    """Load a model and call it once, so that the first request finds it warm.

    Returns:
        Its features by key, if it has an entity.
    """
    if model is None:
        return None
    model.engine.start()
    try:
        if model.background:
            model.answers(Rows.of({name: values[:1] for name, values in model.background.items()}))
    except Exception:  # requests report it
        _log.exception("the first call of %s %s failed", model.name, model.version)
    return OnlineFeatures(model) if model.entity else None


def _get_ready_to_explain(model: Model | None) -> None:
    """Read the model's trees before somebody waits for it, in a thread that requests overtake."""

    def read(model: Model) -> None:
        from pipelines.serving.explaining.explain import exactly

        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # of this thread only
        with contextlib.suppress(Exception):  # a request reports it
            exactly(model)

    if model is not None:
        threading.Thread(target=read, args=(model,), daemon=True).start()


def drain_s() -> int:
    """How long requests that have begun are waited for."""
    return int(os.environ.get("GROUNDPLAN_DRAIN_SECONDS", "25"))


def _capture(address: str) -> Capture | None:
    if not address:
        return None
    import boto3

    return Capture(address, boto3.client("s3"), float(os.environ.get("GROUNDPLAN_CAPTURE_SECONDS", FLUSH_S)))


def end_with(parent: int) -> None:
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)
