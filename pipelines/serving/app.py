"""The ASGI application, and what each path answers.

- SageMaker's container contract: ``GET /ping``, ``POST /invocations``
  (https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html); ``POST /explain`` beside it
- the Open Inference Protocol below ``/v2`` (see ``open_inference``)
- ``GET /metrics`` for Prometheus, ``GET /openapi.json``
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from time import perf_counter
from typing import Any

import orjson

from pipelines.serving.ids import NAME as PREDICTION_ID
from pipelines.serving.ids import new_id
from pipelines.serving.models.batching import MOST_ROWS, MOST_WAITING, Batcher
from pipelines.serving.models.bundle import BESIDE, Model
from pipelines.serving.models.engines import Answers
from pipelines.serving.models.rows import Rows
from pipelines.serving.operating.capture import Capture
from pipelines.serving.operating.metrics import Metrics
from pipelines.serving.operating.tracing import ATTRIBUTES, Tracing, attributes_of
from pipelines.serving.protocols import open_inference
from pipelines.serving.protocols.checks import MAX_BODY_BYTES, BadRequestError
from pipelines.serving.protocols.scoring import Entities, Lookup, looked_up, params_of, parse

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
MOST_BESIDE = 100  # explanations and look-ups at once; the next one is refused
_JSON, _BYTES = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")
_MORE = {
    413: [(b"connection", b"close")],  # the rest of the body is not read
    429: [(b"retry-after", b"1")],
}
_CLIENT_LEFT = 499
OTHERS = "requests"  # in an ASGI request's state: the requests that have begun
_DUMP = orjson.OPT_SERIALIZE_NUMPY
_METHODS = {
    "/invocations": "POST",
    "/explain": "POST",
    "/ping": "GET",
    "/metrics": "GET",
    "/openapi.json": "GET",
    "/v2": "GET",
    "/v2/health/live": "GET",
    "/v2/health/ready": "GET",
    "/v2/repository/index": "POST",
}
_log = logging.getLogger("groundplan.serving")


class Served:
    """A model with what belongs to it; closed once it is replaced and its last request is answered."""

    def __init__(self, model: Model, lookup: Lookup | None, metrics: Metrics) -> None:
        self.model, self.lookup = model, lookup
        self.batcher = Batcher(model, observe=metrics.called)
        self.headers = (b"x-groundplan-model-version", model.version.encode())
        self.requests, self.calls, self.replaced = 0, 0, False  # in the event loop, and in other threads

    @cached_property
    def openapi(self) -> bytes:
        """The document of ``/openapi.json``."""
        from pipelines.serving.protocols.openapi import describe

        return orjson.dumps(describe(self.model))

    def close_if_idle(self) -> None:
        """Stop the engine if nothing will call it any more."""
        if self.replaced and not self.requests and not self.calls:
            self.model.engine.close()


class _Request:
    """A request on its way.

    Attributes:
        route: Its path, without the names in it: how metrics are grouped.
        marks: Name, begin and end of each stage, in seconds of ``perf_counter``.
        rows: How many it has.
        age_s: Of the oldest feature that was looked up for it, in seconds.
        allowed: The path's method, where it is another one.
        prediction_id: Of its answer; empty where it predicts nothing.
    """

    __slots__ = (
        "age_s",
        "allowed",
        "alone",
        "began",
        "body",
        "headers",
        "marks",
        "method",
        "path",
        "prediction_id",
        "route",
        "rows",
    )

    def __init__(self, scope: dict[str, Any], began: float) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.began = began
        state = scope.get("state")
        self.alone = state is not None and len(state[OTHERS]) < 2
        self.route, self.body, self.rows, self.allowed = "other", b"", 0, ""
        self.age_s: float | None = None
        self.prediction_id = ""
        self.marks: list[tuple[str, float, float]] = []

    @property
    def content_type(self) -> str:
        return self.headers.get(b"content-type", b"application/json").decode("latin-1")


Reply = tuple[int, bytes, list[tuple[bytes, bytes]]]


class ModelServer:
    """Serves one model, or 503 while there is none.

    Args:
        lookup: Finds features by entity key, if the model has an entity.
        capture: Keeps requests and answers.
        unavailable: Why there is no model, if known.
        tracing: Tells of sampled requests.
    """

    def __init__(
        self,
        model: Model | None,
        lookup: Lookup | None = None,
        capture: Capture | None = None,
        unavailable: str = "",
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.capture, self.unavailable = capture, unavailable
        self.metrics, self.tracing = metrics or Metrics(), tracing or Tracing({})
        self._beside = 0
        self._swapping = threading.Lock()  # of what other threads take
        self._served: Served | None = None
        self.use(model, lookup)

    @property
    def model(self) -> Model | None:
        """The model that answers the next request."""
        return self._served.model if self._served else None

    def use(self, model: Model | None, lookup: Lookup | None = None) -> None:
        """Serve another model from the next request on; requests that have begun are answered by the one before.

        To be called where requests are answered (in the event loop), with a model that is loaded: see
        ``worker.prepared``.
        """
        made = Served(model, lookup, self.metrics) if model is not None else None
        with self._swapping:
            before, self._served = self._served, made
            if before is not None:
                before.replaced = True
        if before is not None:
            before.close_if_idle()

    @contextmanager
    def taken(self) -> Iterator[Served | None]:
        """The model for a call from another thread; it is not closed before the call has ended."""
        with self._swapping:
            served = self._served
            if served is not None:
                served.calls += 1
        try:
            yield served
        finally:
            if served is not None:
                with self._swapping:
                    served.calls -= 1
                served.close_if_idle()

    def gauges(self) -> dict[str, float]:
        """What is true now, for ``Metrics``."""
        served = self._served
        found = {"groundplan_workers": 1.0}
        if served is not None:
            found |= {
                "groundplan_requests_in_flight": float(served.requests + served.calls),
                "groundplan_requests_waiting": float(served.batcher.waiting),
                f"{served.model.name}\n{served.model.version}": 1.0,
            }
        return found

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request (ASGI 3)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        if scope["type"] != "http":
            return
        began, served = perf_counter(), self._served
        request = _Request(scope, began)
        trace = self.tracing.of(request.headers)
        if served is not None:
            served.requests += 1
        try:
            if request.path == "/invocations" and request.method == "POST" and served is not None:
                status, body, more = await self._invocations(served, request, receive)
            else:
                status, body, more = await self._reply(served, request, receive)
        except Exception as error:
            status, body = self._failed(error, (trace or self.tracing.told_anyway(request.headers)).ids)
            more = [_JSON, *_MORE.get(status, ())]
            if request.allowed:
                more.append((b"allow", b"GET, HEAD" if request.allowed == "GET" else request.allowed.encode()))
        finally:
            if served is not None:
                served.requests -= 1
                served.close_if_idle()
        more.append((b"content-length", str(len(body)).encode()))
        if served is not None:
            more.append(served.headers)
        await send({"type": "http.response.start", "status": status, "headers": more})
        await send({"type": "http.response.body", "body": body})
        seconds = perf_counter() - began
        version = served.model.version if served is not None else ""
        self.metrics.answered(request.route, status, version, seconds, request.marks)
        if trace is not None:
            told: dict[str, Any] = {"model_version": version, **({"rows": request.rows} if request.rows else {})}
            if request.prediction_id:
                told[PREDICTION_ID] = request.prediction_id
            self.tracing.tell(trace, request.route, status, began, request.marks, told)

    def quick(self, body: bytes, tell: Callable[[int, bytes, tuple[bytes, bytes]], None]) -> bool:
        """The same as a POST to ``/invocations`` with JSON, in the event loop and without a task, for what is requested
        most: a few rows in the model's types, for a model that answers at once.

        Args:
            tell: Called with the answer's status and body, and the header that names the version.

        Returns:
            Whether it is such a request; nothing has happened if not.
        """
        began, served, capture = perf_counter(), self._served, self.capture
        if served is None or not served.model.engine.quick or (capture is not None and capture.at_once):
            return False
        if self.tracing.share:  # some of these requests are told, which only the long way does
            return False
        rows = served.model.decode(body)
        if not rows or len(rows) > MOST_ROWS or served.batcher.waiting >= MOST_WAITING:
            return False
        decoded, model = perf_counter(), served.model
        served.requests += 1

        def answered(found: Answers | Exception) -> None:
            computed = perf_counter()
            if isinstance(found, Exception):
                status, content = self._failed(found, self.tracing.told_anyway({}).ids)
            else:
                answer = document(model, found)
                answer["model_version"], answer[PREDICTION_ID] = model.version, new_id()
                status, content = 200, orjson.dumps(answer, option=_DUMP)
                if capture is not None:
                    capture.add("application/json", body, content)
            try:
                tell(status, content, served.headers)
            finally:
                served.requests -= 1
                served.close_if_idle()
            ended = perf_counter()
            marks = (("decode", began, decoded), ("predict", decoded, computed), ("encode", computed, ended))
            self.metrics.answered("/invocations", status, model.version, ended - began, marks)

        served.batcher.submit(Rows(model.names, tuples=rows), len(rows), answered)
        return True

    def _failed(self, error: Exception, ids: dict[str, str]) -> tuple[int, bytes]:
        """Status and body; our own bugs are reported with the details in the log, and the server goes on."""
        if isinstance(error, BadRequestError):
            return error.status, orjson.dumps({"error": error.sentence})
        _log.error("request failed", exc_info=error, extra=ids)
        return 500, orjson.dumps({"error": "The model server failed on this request; its log says why."})

    async def start(self) -> None:
        """Called in the event loop before the first request."""

    async def stop(self) -> None:
        """Called after the last one."""

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _reply(self, served: Served | None, request: _Request, receive: Receive) -> Reply:
        """Any answer but that of the path that is requested most."""
        method = _METHODS.get(request.path)
        if method is None:
            return await self._of_models(served, request, receive)
        request.route = request.path
        _require(request, method)
        if method == "POST":
            request.body = await _read(request.headers, receive)
        if request.path in ("/invocations", "/explain"):
            there = _there(served, self.unavailable)
            return await self._explained(there, request, await self._rows(there, request))
        if request.path == "/metrics":
            text, kind = self.metrics.text(request.headers.get(b"accept", b"").decode("latin-1"))
            return 200, text, [(b"content-type", kind.encode())]
        if request.path == "/openapi.json":
            return 200, _there(served, self.unavailable).openapi, [_JSON]
        return 200 if served is not None or request.path != "/v2/health/ready" else 503, *self._about(served, request)

    def _about(self, served: Served | None, request: _Request) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        model = served.model if served is not None else None
        document: Any
        if request.path == "/ping":
            document = {"status": "ready", "model": model and model.name, "version": model and model.version}
        elif request.path == "/v2":
            document = open_inference.server_metadata()
        elif request.path == "/v2/repository/index":
            document = [] if model is None else [{"name": model.name, "version": model.version, "state": "READY"}]
        else:
            document = {"live": True} if request.path == "/v2/health/live" else {"ready": model is not None}
        return orjson.dumps(document), [_JSON]

    async def _invocations(self, served: Served, request: _Request, receive: Receive) -> Reply:
        request.route = "/invocations"
        request.body = await _read(request.headers, receive)
        rows = await self._rows(served, request)
        # SageMaker forwards only /invocations; a caller of its API requests an explanation with
        # CustomAttributes="explain".
        if ATTRIBUTES in request.headers and b"explain" in attributes_of(request.headers):
            return await self._explained(served, request, rows)
        began = perf_counter()
        found = await served.batcher.answers(rows, request.alone)
        answered = perf_counter()
        request.prediction_id = new_id()
        answer = document(served.model, found) | _told(served, request) | {PREDICTION_ID: request.prediction_id}
        body = orjson.dumps(answer, option=_DUMP)
        request.marks += [("predict", began, answered), ("encode", answered, perf_counter())]
        if self.capture is not None:
            self.capture.add(request.content_type, request.body, body)
            if self.capture.at_once:
                await self._in_thread(self.capture.flush)
        return 200, body, [_JSON]

    async def _rows(self, served: Served, request: _Request) -> Rows:
        began = perf_counter()
        rows = parse(served.model, request.content_type, request.body)
        decoded = perf_counter()
        request.marks.append(("decode", began, decoded))
        if isinstance(rows, Entities):  # the network takes milliseconds; the loop continues to answer others
            rows, request.age_s = await self._in_thread(looked_up, served.model, rows, served.lookup)
            if request.age_s is not None:
                self.metrics.feature_age.observe(request.age_s)
            request.marks.append(("features", decoded, perf_counter()))
        request.rows = len(rows)
        return rows

    async def _explained(self, served: Served, request: _Request, rows: Rows) -> Reply:
        from pipelines.serving.explaining.explain import explain

        began = perf_counter()
        found = await self._in_thread(explain, served.model, rows, params_of(request.content_type, request.body))
        request.marks.append(("explain", began, perf_counter()))
        answer = {"explanations": found, **_told(served, request)}
        return 200, orjson.dumps(answer, option=_DUMP), [_JSON]

    async def _of_models(self, served: Served | None, request: _Request, receive: Receive) -> Reply:
        """``/v2/models/NAME[/versions/VERSION][/ready|/infer]``."""
        parts = request.path.strip("/").split("/")
        if parts[:2] != ["v2", "models"] or len(parts) < 3:
            raise BadRequestError(f"{request.path[:100]} not found; use {', '.join(_METHODS)} or /v2/models/NAME.", 404)
        name, rest, version = parts[2], parts[3:], ""
        if rest[:1] == ["versions"] and len(rest) > 1:
            version, rest = rest[1], rest[2:]
        action = "/".join(rest)
        request.route = f"/v2/models/{action}".rstrip("/") if action in ("", "ready", "infer") else "other"
        if action not in ("", "ready", "infer"):
            raise BadRequestError(f"{request.path[:100]} not found; a model has /infer and /ready.", 404)
        method = "POST" if action == "infer" else "GET"
        _require(request, method)
        if method == "POST":
            request.body = await _read(request.headers, receive)
        named = self.named(served, name, version)
        if action == "":
            return 200, orjson.dumps(open_inference.model_metadata(named.model)), [_JSON]
        if action == "ready":
            return 200, orjson.dumps({"name": named.model.name, "ready": True}), [_JSON]
        return await self._inferred(named, request)

    def named(self, served: Served | None, name: str, version: str = "") -> Served:
        """The model that a client of the Open Inference Protocol names.

        Raises:
            BadRequestError: Another one is served (404), or none (503).
        """
        served = _there(served, self.unavailable)
        if name != served.model.name:
            raise BadRequestError(f"Unknown model {name[:60]!r}; {served.model.name!r} is served here.", 404)
        if version not in ("", served.model.version):
            raise BadRequestError(
                f"Unknown version {version[:60]!r} of {name!r}; {served.model.version!r} is served.", 404
            )
        return served

    async def _inferred(self, served: Served, request: _Request) -> Reply:
        from pipelines.serving.protocols.tensors import rows_of

        began = perf_counter()
        tensors, wanted = open_inference.parse(request.body, request.headers.get(open_inference.HEADER_LENGTH))
        rows = rows_of(served.model, tensors)
        request.rows = len(rows)
        decoded = perf_counter()
        found = await served.batcher.answers(rows, request.alone)
        answered = perf_counter()
        prediction_id = request.prediction_id = new_id()
        body, head = open_inference.answer(served.model, found, wanted, prediction_id)
        ended = perf_counter()
        request.marks += [("decode", began, decoded), ("predict", decoded, answered), ("encode", answered, ended)]
        self.keep_rows(served, rows, found, prediction_id)
        if head is None:
            return 200, body, [_JSON]
        return 200, body, [_BYTES, (open_inference.HEADER_LENGTH, head)]

    def keep_rows(self, served: Served, rows: Rows, found: Answers, prediction_id: str) -> None:
        """Capture a request whose body is not in one of the forms that monitors read."""
        if self.capture is not None:
            told = {"model_version": served.model.version, PREDICTION_ID: prediction_id}
            self.capture.add_rows(rows, lambda: {**document(served.model, found), **told})

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        if self._beside >= MOST_BESIDE:
            raise BadRequestError(f"{MOST_BESIDE} explanations or look-ups are waiting; try again in a second.", 429)
        self._beside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        finally:
            self._beside -= 1


def _require(request: _Request, method: str) -> None:
    if request.method != method and not (method == "GET" and request.method == "HEAD"):
        request.allowed = method
        raise BadRequestError(f"{request.path[:100]} requires {method}, not {request.method[:20]}.", 405)


def _told(served: Served, request: _Request) -> dict[str, Any]:
    """What an answer says about itself."""
    if request.age_s is None:
        return {"model_version": served.model.version}
    return {"model_version": served.model.version, "feature_age_seconds": round(request.age_s, 3)}


def _there(served: Served | None, unavailable: str) -> Served:
    if served is None:
        why = (
            f"No model version serves here: {unavailable}."
            if unavailable
            else "No model version has been deployed to this endpoint yet."
        )
        raise BadRequestError(why, 503)
    return served


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


async def _read(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """A request's body.

    Raises:
        BadRequestError: It is too long, or the client has gone.
    """
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise BadRequestError(f"The body has {int(length)} bytes; at most {MAX_BODY_BYTES} are accepted.", 413)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequestError("The client disconnected.", _CLIENT_LEFT)
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise BadRequestError(f"The body has more than {MAX_BODY_BYTES} bytes.", 413)
        if not message.get("more_body"):
            if headers.get(b"content-encoding", b"identity").lower() != b"identity":
                raise BadRequestError("Compressed bodies are not accepted; send it without Content-Encoding.", 415)
            return chunk if not chunks else b"".join([*chunks, chunk])
        chunks.append(chunk)
