"""The ASGI application: ``GET /ping``, ``POST /invocations`` (SageMaker's container contract) and ``POST /explain``.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from pipelines.serving.models.batching import Batcher
from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import Answers
from pipelines.serving.operating.capture import Capture
from pipelines.serving.protocols.scoring import MAX_BODY_BYTES, BadRequestError, Entities, Lookup, looked_up, parse

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_JSON, _RETRY = (b"content-type", b"application/json"), (b"retry-after", b"1")
BESIDE = {"probability": "probabilities", "score": "scores"}
_log = logging.getLogger("groundplan.serving")


class _Served:
    """A model with what belongs to it; closed once it is replaced and its last request is answered."""

    def __init__(self, model: Model, lookup: Lookup | None) -> None:
        self.model, self.lookup, self.batcher = model, lookup, Batcher(model)
        self.headers = (b"x-groundplan-model-version", model.version.encode())
        self.requests, self.replaced = 0, False

    def close_if_idle(self) -> None:
        if self.replaced and not self.requests:
            self.model.engine.close()


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
        self._served: _Served | None = None
        self.use(model, lookup)

    @property
    def model(self) -> Model | None:
        """The model that answers the next request."""
        return self._served.model if self._served else None

    def use(self, model: Model | None, lookup: Lookup | None = None) -> None:
        """Serve another model from the next request on; requests that have begun are answered by the one before."""
        made = None
        if model is not None:
            model.engine.start()  # loading comes before, not with the first request
            made = _Served(model, lookup)
        before, self._served = self._served, made
        if before is not None:
            before.replaced = True
            before.close_if_idle()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request (ASGI 3)."""
        if scope["type"] != "http":
            return
        served, sent = self._served, b""
        headers = [_JSON]
        if served is not None:
            served.requests += 1
            headers.append(served.headers)
        try:
            if scope["method"] == "POST":
                sent = await _read(receive)
            status, document = await self._answer(served, scope, sent)
        except BadRequestError as error:
            status, document = error.status, {"error": error.sentence}
            if status == 429:
                headers.append(_RETRY)
        except Exception:  # our own bug: report it, keep serving, put the details in the log
            _log.exception("request failed")
            status, document = 500, {"error": "The model server failed on this request; its log says why."}
        finally:
            if served is not None:
                served.requests -= 1
                served.close_if_idle()
        body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        headers.append((b"content-length", str(len(body)).encode()))
        if self.capture is not None and status == 200 and scope["path"] == "/invocations" and "predictions" in document:
            await self._keep(self.capture, scope, sent, body)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _keep(self, capture: Capture, scope: dict[str, Any], sent: bytes, answer: bytes) -> None:
        capture.add(_content_type(dict(scope["headers"])), sent, answer)
        if capture.at_once:
            await asyncio.get_running_loop().run_in_executor(None, capture.flush)

    async def _answer(self, served: _Served | None, scope: dict[str, Any], body: bytes) -> tuple[int, dict[str, Any]]:
        method, path = scope["method"], scope["path"]
        if path == "/ping":
            return 200, {
                "status": "ready",
                "model": served.model.name if served else None,
                "version": served.model.version if served else None,
            }
        if path not in ("/invocations", "/explain"):
            raise BadRequestError(f"{path[:100]} not found; use /ping, /invocations or /explain.", 404)
        if method != "POST":
            raise BadRequestError(f"{path} requires POST, not {method}.", 405)
        if served is None:
            why = (
                f"No model version serves here: {self.unavailable}."
                if self.unavailable
                else "No model version has been deployed to this endpoint yet."
            )
            raise BadRequestError(why, 503)
        headers = dict(scope["headers"])
        model = served.model
        rows = parse(model, _content_type(headers), body)
        if isinstance(rows, Entities):  # the network takes milliseconds; the loop continues to answer others
            rows = await _beside(looked_up, model, rows, served.lookup)
        # SageMaker forwards only /invocations; a caller of its API requests an explanation with
        # CustomAttributes="explain".
        if path == "/explain" or headers.get(b"x-amzn-sagemaker-custom-attributes") == b"explain":
            from pipelines.serving.explaining.explain import explain

            found = await _beside(explain, model, rows)
            return 200, {"explanations": found, "model_version": model.version}
        return 200, {**document(model, await served.batcher.answers(rows)), "model_version": model.version}


def document(model: Model, found: Answers) -> dict[str, Any]:
    """The answer of ``/invocations``: predictions; for a classifier its classes, and its probabilities or scores, if it
    has them.

    For several targets each row has a list of predictions, in the order of ``targets``; where each has two classes,
    probabilities and scores are the second's.
    """
    answer: dict[str, Any] = {"predictions": found.predictions, **({"targets": model.targets} if model.targets else {})}
    if model.task == "classification":
        answer["classes"] = model.classes
        if found.beside is not None:
            answer[BESIDE[model.output]] = found.beside.tolist()
    return answer


async def _beside(work: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


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
