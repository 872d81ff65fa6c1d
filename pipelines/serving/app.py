"""The ASGI application: ``GET /ping``, ``POST /invocations`` (SageMaker's container contract) and ``POST /explain``.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from pipelines.serving.bundle import Model
from pipelines.serving.capture import Capture
from pipelines.serving.engines import Columns
from pipelines.serving.requests import MAX_BODY_BYTES, BadRequestError, Lookup, parse

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_JSON = (b"content-type", b"application/json")
BESIDE = {"probability": "probabilities", "score": "scores"}
_log = logging.getLogger("groundplan.serving")


class ModelServer:
    """Serves one model, or 503 while there is none.

    Args:
        lookup: Finds features by entity key, if the model has an entity.
        capture: Keeps requests and answers.
        unavailable: Why there is no model, if known.
    """

    def __init__(
        self, model: Model | None, lookup: Lookup | None = None, capture: Capture | None = None, unavailable: str = ""
    ) -> None:
        self.capture, self.unavailable = capture, unavailable
        self.model: Model | None = None
        self.use(model, lookup)

    def use(self, model: Model | None, lookup: Lookup | None = None) -> None:
        """Serve another model from the next request on."""
        if model is not None:
            model.engine.start()  # loading comes before, not with the first request
        before, self.model, self.lookup = self.model, model, lookup
        if before is not None:
            before.engine.close()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request (ASGI 3)."""
        if scope["type"] != "http":
            return
        sent = b""
        try:
            if scope["method"] == "POST":
                sent = await _read(receive)
            status, document = await self._answer(scope, sent)
        except BadRequestError as error:
            status, document = error.status, {"error": error.sentence}
        except Exception:  # our own bug: report it, keep serving, put the details in the log
            _log.exception("request failed")
            status, document = 500, {"error": "The model server failed on this request; its log says why."}
        body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [_JSON, (b"content-length", str(len(body)).encode())]
        if self.model is not None:
            headers.append((b"x-groundplan-model-version", self.model.version.encode()))
        if self.capture is not None and status == 200 and scope["path"] == "/invocations" and "predictions" in document:
            await self._keep(self.capture, scope, sent, body)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _keep(self, capture: Capture, scope: dict[str, Any], sent: bytes, answer: bytes) -> None:
        capture.add(_content_type(dict(scope["headers"])), sent, answer)
        if capture.at_once:
            await asyncio.get_running_loop().run_in_executor(None, capture.flush)

    async def _answer(self, scope: dict[str, Any], body: bytes) -> tuple[int, dict[str, Any]]:
        method, path = scope["method"], scope["path"]
        if path == "/ping":
            return 200, {
                "status": "ready",
                "model": self.model.name if self.model else None,
                "version": self.model.version if self.model else None,
            }
        if path not in ("/invocations", "/explain"):
            raise BadRequestError(f"{path[:100]} not found; use /ping, /invocations or /explain.", 404)
        if method != "POST":
            raise BadRequestError(f"{path} requires POST, not {method}.", 405)
        headers = dict(scope["headers"])
        if self.model is None:
            why = (
                f"No model version serves here: {self.unavailable}."
                if self.unavailable
                else "No model version has been deployed to this endpoint yet."
            )
            raise BadRequestError(why, 503)
        content_type = _content_type(headers)
        # SageMaker forwards only /invocations; a caller of its API requests an explanation with
        # CustomAttributes="explain".
        explaining = path == "/explain" or headers.get(b"x-amzn-sagemaker-custom-attributes") == b"explain"
        if b'"entities"' in body or explaining or not self.model.engine.quick:
            # Network, SHAP and the model's own process take milliseconds to seconds; the loop continues to answer
            # others.
            return 200, await asyncio.get_running_loop().run_in_executor(
                None, self._work, self.model, content_type, body, explaining
            )
        return 200, self._work(self.model, content_type, body, explaining)

    def _work(self, model: Model, content_type: str, body: bytes, explaining: bool) -> dict[str, Any]:
        columns = parse(model, content_type, body, self.lookup)
        if explaining:
            from pipelines.serving.explain import explain

            return {"explanations": explain(model, columns), "model_version": model.version}
        return {**predict(model, columns), "model_version": model.version}


def predict(model: Model, columns: Columns) -> dict[str, Any]:
    """The answer of ``/invocations``: predictions; for a classifier its classes, and its probabilities or scores, if it
    has them.

    For several targets each row has a list of predictions, in the order of ``targets``; where each has two classes,
    probabilities and scores are the second's.
    """
    found = model.answers(columns)
    answer: dict[str, Any] = {"predictions": found.predictions, **({"targets": model.targets} if model.targets else {})}
    if model.task == "classification":
        answer["classes"] = model.classes
        if found.beside is not None:
            answer[BESIDE[model.output]] = found.beside.tolist()
    return answer


def _content_type(headers: dict[bytes, bytes]) -> str:
    return headers.get(b"content-type", b"application/json").decode("latin-1")


async def _read(receive: Receive) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequestError("The client disconnected.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BadRequestError(f"The body has more than {MAX_BODY_BYTES} bytes.", 413)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
