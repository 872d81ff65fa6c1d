"""What the model server is measured beside, each an ASGI application for the same uvicorn: ``empty`` answers without a
model, ``bare`` calls ONNX Runtime and checks nothing; ``router`` is the local router before one model server.

Environment: ``MODEL`` (an ONNX file), ``BEHIND`` (the port of the model server).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

_JSON = (b"content-type", b"application/json")


async def empty(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    await receive()
    await _send(send, b"{}")


def bare() -> Any:
    import numpy as np
    import onnxruntime
    import orjson

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(Path(os.environ["MODEL"]).read_bytes(), options)
    name, outputs = session.get_inputs()[0].name, [session.get_outputs()[0].name]

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        rows = np.array(orjson.loads(body)["dataframe_split"]["data"], dtype=np.float32)
        await _send(send, orjson.dumps({"predictions": session.run(outputs, {name: rows})[0].ravel().tolist()}))

    return application


def router() -> Any:
    """The router with one endpoint, which it need not look for."""
    from groundplan.local.containers import Container
    from groundplan.local.hosting import HostedEndpoint, Hosting, Variant

    class Fixed(Hosting):
        async def reconcile_forever(self) -> None:
            self._revision = 1

        async def flush_forever(self) -> None:
            return

        def flush(self, captured: Any, seen: Any) -> None:
            return

    found = Fixed("us-east-1", 0)
    found.endpoints["bench"] = HostedEndpoint("bench", "bench", (Variant("champion", 1.0, "m"),), "")
    process = subprocess.Popen(["true"])
    found.containers["m"] = Container("m", process, int(os.environ["BEHIND"]), Path(os.devnull), ready=True)
    return found


async def _send(send: Any, body: bytes) -> None:
    headers = [_JSON, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
