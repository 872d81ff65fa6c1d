"""A model that is not an ONNX graph, in its own process: the server calls it over a socket, and loads none of its
code.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipelines.serving.models import isolation
from pipelines.serving.models.engines import Answers, Engine
from pipelines.serving.models.model_process import receive, send
from pipelines.serving.models.rows import Rows

LOAD_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 30.0  # SageMaker gives a request 60 s


# A model with code of its own may, for example, compare the rows of a request with each other.
ROW_BY_ROW = ("xgboost", "lightgbm", "catboost", "skops")


class NativeError(Exception):
    """The model's process failed, or must not be started."""


class Native(Engine):
    """The engine of such a model.

    Args:
        described: ``model.json``.
        files: The model's other files by name.
    """

    quick = False

    def __init__(self, described: dict[str, Any], files: dict[str, bytes]) -> None:
        self._described, self._files = described, files
        self.kind = str(described.get("flavor", "native"))
        self.row_by_row = described.get("flavor") in ROW_BY_ROW
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Start the process, and wait until the model is loaded.

        Raises:
            NativeError: It can't be loaded, or runs its own code and can't be sandboxed here.
        """
        with self._lock:
            if self._channel is None:
                self._start()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def answers(self, rows: Rows) -> Answers:
        """Call the process; one that does not answer in time is killed, and restarted by the next request.

        Raises:
            NativeError: The model raised, died or took too long.
        """
        with self._lock:
            if self._channel is None:
                self._start()
            found = self._ask({"columns": rows.lists}, ANSWER_TIMEOUT_S)
        return Answers(found["predictions"], np.asarray(found["beside"], dtype=float) if "beside" in found else None)

    def _start(self) -> None:
        self._end()
        why_not = isolation.why_not()
        if why_not and self._described.get("untrusted") and not _alone():
            raise NativeError(
                f"the model may run any code when it is loaded, but its process can't be sandboxed here: {why_not}"
            )
        self._folder = TemporaryDirectory(prefix="groundplan-model-")
        files, root = Path(self._folder.name) / "files", Path(self._folder.name) / "root"
        files.mkdir()
        root.mkdir()
        for name, content in {**self._files, "model.json": json.dumps(self._described).encode()}.items():
            (files / name).write_bytes(content)
        self._channel, theirs = socket.socketpair()
        with theirs:
            python = self._described.get("python", "")
            argv = [
                python if python and Path(python).exists() else sys.executable,
                "-m",
                "pipelines.serving.models.model_process",
                str(theirs.fileno()),
                str(files),
            ]
            command = (
                argv
                if why_not
                else isolation.command(
                    argv, str(root), [str(files), *filter(os.path.isdir, self._described.get("read", []))]
                )
            )
            self._process = subprocess.Popen(
                command,
                env=isolation.environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._ask(None, LOAD_TIMEOUT_S)

    def _ask(self, message: dict[str, Any] | None, timeout_s: float) -> dict[str, Any]:
        assert self._channel is not None
        self._channel.settimeout(timeout_s)
        try:
            if message is not None:
                send(self._channel, message)
            found = receive(self._channel)
        except TimeoutError:
            self._end()
            raise NativeError(f"the model did not answer within {timeout_s:g} s, and its process was killed") from None
        except (OSError, ValueError) as error:
            self._end()
            raise NativeError(f"the connection to the model's process was lost: {error}") from None
        if found is None:
            code = self._end()
            raise NativeError(f"the model's process ended with exit code {code}")
        if "error" in found:
            raise NativeError(f"the model raised {str(found['error'])[:500]}")
        return found

    def _end(self) -> int | None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        code = None
        if self._process is not None:
            try:
                code = self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        return code


def _alone() -> bool:
    """Whether the whole container has neither network nor credentials: SageMaker's network isolation."""
    return os.environ.get("GROUNDPLAN_NETWORK_ISOLATION") == "1"
