"""AWS Lambda's side of a function: its runtime API, to which the real runtime client of a function speaks.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any


class _Lambda(BaseHTTPRequestHandler):
    events: Queue[Any]
    answers: Queue[Any]
    seconds: float

    def do_GET(self) -> None:
        event = json.dumps(self.events.get()).encode()
        self.send_response(200)
        for name, value in (
            ("Lambda-Runtime-Aws-Request-Id", "8476a536"),
            ("Lambda-Runtime-Deadline-Ms", str(int((time.time() + self.seconds) * 1000))),
            ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:f"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(event))),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answers.put((self.path.rpartition("/")[2], body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


def invoked(
    handler: str, events: Iterable[Any], environment: Mapping[str, str], folder: Path, seconds: float = 30
) -> list[tuple[str, Any]]:
    """A function's answers: ``response`` or ``error``, and the body.

    Args:
        environment: The function's variables.
        folder: Where it starts.
        seconds: How long each call may take.
    """
    given, answers = Queue[Any](), Queue[Any]()
    for event in (asked := list(events)):
        given.put(event)
    kind = type("Handler", (_Lambda,), {"events": given, "answers": answers, "seconds": seconds})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            cwd=folder,
            env={
                **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
                **environment,
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_address[1]}",
                "AWS_LAMBDA_FUNCTION_NAME": "f",
                "AWS_LAMBDA_FUNCTION_VERSION": "1",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
                "AWS_LAMBDA_LOG_GROUP_NAME": "g",
                "AWS_LAMBDA_LOG_STREAM_NAME": "s",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            return [answers.get(timeout=seconds + 30) for _ in asked]
        finally:
            process.kill()
            process.wait()
            server.shutdown()
