"""SageMaker hosting on one machine: runs the containers' programs and answers the ``sagemaker-runtime`` API.

It reads endpoints, configurations and models from the SageMaker API (moto), runs one model server per model in use,
spreads requests by the variants' weights, captures them to S3 and reports the endpoint's state, as SageMaker does.
Below ``/_aws/`` it answers what web pages call (``groundplan.local.web``), and at the hosts of models on the cluster
as the cluster's gateway does (``groundplan.local.revisions``).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from groundplan.local.calls import caller_in
from groundplan.local.containers import REQUEST_TIMEOUT_S, START_TIMEOUT_S, Container, start, stop
from groundplan.local.revisions import Revisions
from groundplan.local.transforms import TIMEOUT_S, TransformError, transform
from groundplan.local.web.gateway import PREFIX as API_PREFIX
from groundplan.local.web.gateway import Gateway
from groundplan.local.web.sign_in import SignIn
from pipelines.serving.operating.capture import capture_event, write_events

POLL_S = 0.2
FLUSH_S = 1.0
MAX_BODY_BYTES = 6 * 1024 * 1024  # SageMaker's limit for a real-time request
# What a request need not have, at a tenth of its time.
QUICK: dict[str, Any] = {"access_log": False, "proxy_headers": False, "server_header": False, "ws": "none"}
_TARGET, _INVOKED = b"x-amzn-sagemaker-target-variant", b"x-amzn-invoked-production-variant"
_log = logging.getLogger("groundplan.local.hosting")
_FORWARDED = (b"content-type", b"accept", b"x-amzn-sagemaker-custom-attributes")


@dataclass(frozen=True)
class Variant:
    """A production variant: its share of the traffic and the SageMaker model behind it."""

    name: str
    weight: float
    model: str


@dataclass(frozen=True)
class HostedEndpoint:
    """An endpoint as it is routed now."""

    name: str
    config: str
    variants: tuple[Variant, ...]
    capture: str  # s3:// prefix, empty without data capture
    shadows: tuple[Variant, ...] = ()  # get a copy of requests; nobody gets their answers

    @property
    def every(self) -> tuple[Variant, ...]:
        """Whatever gets requests."""
        return self.variants + self.shadows

    def shadowed(self) -> list[Variant]:
        """The shadow variants that get a copy of a request: a share of them, by weight relative to the variants'."""
        whole = sum(variant.weight for variant in self.variants)
        return [one for one in self.shadows if whole and random.random() * whole < one.weight]  # noqa: S311 (no secret)

    @cached_property
    def by_name(self) -> dict[str, Variant]:
        """The variants by their names."""
        return {variant.name: variant for variant in self.variants}

    @cached_property
    def _cumulative(self) -> list[float]:
        return list(itertools.accumulate(variant.weight for variant in self.variants))

    def choose(self) -> Variant:
        """A variant, by weight."""
        if len(self.variants) == 1 or self._cumulative[-1] <= 0:
            return self.variants[0]
        return random.choices(self.variants, cum_weights=self._cumulative)[0]  # noqa: S311 (no secret)


class _Captured(NamedTuple):
    """A request that is written with the next ones."""

    endpoint: HostedEndpoint
    variant: str
    content_type: str
    request: bytes
    answer: bytes
    at: float  # seconds since 1970


@dataclass
class _Seen:
    """What a variant has answered since metrics were last written."""

    requests: int = 0
    latencies_us: list[float] = field(default_factory=list)
    errors_4xx: int = 0
    errors_5xx: int = 0


class Hosting:
    """State and loops of the service."""

    def __init__(self, region: str, port: int) -> None:
        from groundplan.local.moto.aws import client

        self.endpoint_url = os.environ["AWS_ENDPOINT_URL"]
        self.sagemaker = client("sagemaker", self.endpoint_url, region)
        self.s3 = client("s3", self.endpoint_url, region)
        self.cloudwatch = client("cloudwatch", self.endpoint_url, region)
        self._web = cache(lambda service: client(service, self.endpoint_url, region))
        self.gateway = Gateway(self._web, self.invoke, self._token_keys)
        self.sign_in = SignIn(self._web, lambda pool: f"{self.endpoint_url}/{pool}/.well-known/jwks.json")
        self.callers = set[tuple[str, str]]()
        self.http: Any = None  # made in the loop that uses it
        self.home = Path(os.environ["GROUNDPLAN_HOME"])
        self.revisions = Revisions(
            self.endpoint_url, port, lambda name, variables: start(name, variables, self._log(name)), self._retire
        )
        self.endpoints: dict[str, HostedEndpoint] = {}
        self.containers: dict[str, Container] = {}
        self.failures: dict[str, str] = {}
        self._revision = -1
        self._captured: list[_Captured] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._jobs: dict[str, str] = {}  # the model of each transform job that runs
        self._job_ended = False

    # Reconciling with SageMaker's API.

    async def reconcile_forever(self) -> None:
        """Follow the SageMaker API's revision; restart what has died."""
        while True:
            try:
                found = (await self.http.get(f"{self.endpoint_url}/_groundplan/revision")).text.split()
                revision = int(found[0])
                await self.revisions.follow(int(found[1]))
                ended, self._job_ended = self._job_ended, False
                if (
                    ended
                    or revision != self._revision
                    or any(c.process.poll() is not None or not c.ready for c in self.containers.values())
                ):
                    await self.reconcile()
                    self._revision = revision
            except Exception as error:  # the loop must keep running; errors are logged and retried
                _log.warning("reconcile: %s: %s", type(error).__name__, error)
                await asyncio.sleep(1)
            await asyncio.sleep(POLL_S)

    async def reconcile(self) -> None:
        """Start the containers that the endpoints need, route to them when they are ready, stop the others."""
        wanted = await asyncio.to_thread(self._describe)
        models = sorted({variant.model for endpoint in wanted.values() for variant in endpoint.every})
        for name in [name for name, container in self.containers.items() if container.process.poll() is not None]:
            del self.containers[name]
        await asyncio.gather(
            *(self._ensure(model) for model in models if not (c := self.containers.get(model)) or not c.ready)
        )
        for name, endpoint in wanted.items():
            broken = [variant.model for variant in endpoint.every if variant.model in self.failures]
            if not broken:
                self.endpoints[name] = endpoint
            status = {
                "EndpointConfigName": endpoint.config,
                "EndpointStatus": "Failed" if broken else "InService",
                "FailureReason": self.failures[broken[0]] if broken else None,
            }
            await self.http.post(f"{self.endpoint_url}/_groundplan/endpoints/{name}", json=status)
        for name in set(self.endpoints) - set(wanted):
            del self.endpoints[name]
        for job in await asyncio.to_thread(self._new_jobs):
            self._jobs[job["TransformJobName"]] = job["ModelName"]
            self._later(self._transform(job))
        used = {variant.model for endpoint in self.endpoints.values() for variant in endpoint.every}
        used |= set(self._jobs.values())
        for name in set(self.containers) - used:  # it answers what it has begun, while others answer what comes next
            self._retire(self.containers.pop(name))

    def _describe(self) -> dict[str, HostedEndpoint]:
        found = {}
        for item in self.sagemaker.list_endpoints()["Endpoints"]:
            described = self.sagemaker.describe_endpoint(EndpointName=item["EndpointName"])
            config = self.sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
            variants, shadows = (
                tuple(_variants(config.get(kind) or [], described.get(kind) or []))
                for kind in ("ProductionVariants", "ShadowProductionVariants")
            )
            capture = config.get("DataCaptureConfig", {})
            target = capture.get("DestinationS3Uri", "") if capture.get("EnableCapture") else ""
            found[item["EndpointName"]] = HostedEndpoint(
                item["EndpointName"], described["EndpointConfigName"], variants, target, shadows
            )
        return found

    def _new_jobs(self) -> list[dict[str, Any]]:
        found = self.sagemaker.list_transform_jobs(StatusEquals="InProgress")["TransformJobSummaries"]
        names = [item["TransformJobName"] for item in found if item["TransformJobName"] not in self._jobs]
        return [self.sagemaker.describe_transform_job(TransformJobName=name) for name in names]

    async def _transform(self, job: dict[str, Any]) -> None:
        """Play a transform job, with the model's own server."""
        name, model = job["TransformJobName"], job["ModelName"]
        state = {"TransformJobStatus": "Completed", "FailureReason": ""}
        try:
            if not (container := self.containers.get(model)) or not container.ready:
                await self._ensure(model)
            if model in self.failures:
                raise TransformError(f"AlgorithmError: {self.failures[model]}")
            pool = self.containers[model].pool

            async def ask(headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[int, bytes]:
                status, _, answer = await pool.post("/invocations", headers, body, TIMEOUT_S)
                return status, answer

            await transform(job, self.s3, ask)
        except TransformError as error:
            state = {"TransformJobStatus": "Failed", "FailureReason": str(error)[:1024]}
        except Exception as error:
            _log.exception("transform job %s", name)
            state = {"TransformJobStatus": "Failed", "FailureReason": f"InternalServerError: {type(error).__name__}"}
        await self.http.post(f"{self.endpoint_url}/_groundplan/transform-jobs/{name}", json=state)
        del self._jobs[name]
        self._job_ended = True  # its server may stop

    async def _ensure(self, model: str) -> None:
        self.failures.pop(model, None)
        try:
            container = self.containers.get(model)
            if container is None:
                container = self.containers[model] = await asyncio.to_thread(self._start, model)
            while not container.ready:
                if container.process.poll() is not None:
                    raise RuntimeError(
                        f"the model server stopped with exit code {container.process.returncode}: {container.said()}"
                    )
                if time.monotonic() - container.started > START_TIMEOUT_S:
                    raise RuntimeError(
                        f"the model server did not answer /ping within {START_TIMEOUT_S:g} s: {container.said()}"
                    )
                with contextlib.suppress(Exception):
                    answer = await self.http.get(f"http://127.0.0.1:{container.port}/ping")
                    container.ready = answer.status_code == 200
                if not container.ready:
                    await asyncio.sleep(0.05)
        except Exception as error:
            self.failures[model] = str(error)[:1000]
            if container := self.containers.pop(model, None):
                self._retire(container)

    def _start(self, model: str) -> Container:
        from pipelines.serving.models.bundle import unpack

        described = self.sagemaker.describe_model(ModelName=model)["PrimaryContainer"]
        folder = self.home / "run" / "models" / model
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if address := described.get("ModelDataUrl"):
            bucket, _, key = address.removeprefix("s3://").partition("/")
            unpack(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read(), folder)
        return start(model, {**described.get("Environment", {}), "SM_MODEL_DIR": str(folder)}, self._log(model))

    def _retire(self, container: Container) -> None:
        container.pool.close()
        self._later(asyncio.to_thread(stop, [container]))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _log(self, model: str) -> Path:
        return self.home / "logs" / f"model-{model}.log"

    # The sagemaker-runtime API.

    async def invoke(
        self, name: str, path: str, headers: dict[bytes, bytes], body: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Answer one InvokeEndpoint: status, headers, body."""
        endpoint = self.endpoints.get(name)
        if endpoint is None and self._revision < 0:  # clients retry a 503 by themselves
            return _error(
                503, "ServiceUnavailable", "The router has just started and is loading its endpoints; try again."
            )
        if endpoint is None:
            return _error(400, "ValidationError", f"Endpoint {name} of account 123456789012 not found.")
        if target := headers.get(_TARGET, b"").decode("latin-1"):
            variant = endpoint.by_name.get(target)
            if variant is None:
                return _error(
                    400,
                    "ValidationError",
                    f"Variant {target} of endpoint {name} not found; it has"
                    f" {', '.join(v.name for v in endpoint.variants)}.",
                )
        else:
            variant = endpoint.choose()
        invoked = (_INVOKED, variant.name.encode())
        container = self.containers.get(variant.model)
        if container is None or not container.ready:
            self._count(endpoint, variant, None, 503)
            return _error(503, "ServiceUnavailable", f"Variant {variant.name} of {name} is being restarted.", invoked)
        forwarded = [(key, headers[key]) for key in _FORWARDED if key in headers]
        for shadow in endpoint.shadowed() if endpoint.shadows else ():
            self._later(self._copy(endpoint, shadow, path, forwarded, body))
        started = time.perf_counter()
        try:
            status, kind, content = await container.pool.post(path, forwarded, body, REQUEST_TIMEOUT_S)
        except (ConnectionError, TimeoutError) as error:
            # One that takes too long for a request may still answer others.
            container.ready = isinstance(error, TimeoutError)
            self._count(endpoint, variant, started, 503)
            return _error(
                503,
                "ServiceUnavailable",
                f"Variant {variant.name} of {name} did not answer: {error}.",
                invoked,
            )
        self._count(endpoint, variant, started, status)
        if status != 200:
            # SageMaker reports what the container refuses as a ModelError, with the original inside.
            text = content.decode("utf-8", "replace")
            message = f'Received client error ({status}) from {variant.name} with message "{text}".'
            more = {
                "OriginalMessage": text,
                "OriginalStatusCode": status,
                "LogStreamArn": str(self._log(variant.model)),
            }
            return _error(424, "ModelError", message, invoked, more)
        self._capture(endpoint, variant, path, forwarded, body, content)
        return 200, [(b"content-type", kind or b"application/json"), invoked], content

    async def _copy(
        self, endpoint: HostedEndpoint, variant: Variant, path: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Send a shadow variant what another one answers."""
        container, started = self.containers.get(variant.model), time.perf_counter()
        if container is None or not container.ready:
            return
        try:
            status, _, content = await container.pool.post(path, headers, body, REQUEST_TIMEOUT_S)
        except (ConnectionError, TimeoutError):
            container.ready = False
            status, content = 503, b""
        self._count(endpoint, variant, started, status)
        if status == 200:
            self._capture(endpoint, variant, path, headers, body, content)

    def _capture(
        self,
        endpoint: HostedEndpoint,
        variant: Variant,
        path: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        content: bytes,
    ) -> None:
        if endpoint.capture and path == "/invocations":
            kind = dict(headers).get(b"content-type", b"application/json").decode("latin-1")
            self._captured.append(_Captured(endpoint, variant.name, kind, body, content, time.time()))

    async def _openapi(self, name: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """What the endpoint's model accepts; SageMaker has no such path."""
        endpoint = self.endpoints.get(name)
        container = self.containers.get(endpoint.variants[0].model) if endpoint else None
        if container is None or not container.ready:
            return _error(404, "ValidationError", f"Endpoint {name} was not found, or is not ready.")
        answer = await self.http.get(f"http://127.0.0.1:{container.port}/openapi.json")
        return answer.status_code, [(b"content-type", b"application/json")], answer.content

    async def _token_keys(self, pool: str) -> dict[str, Any]:
        answer = await self.http.get(f"{self.endpoint_url}/{pool}/.well-known/jwks.json")
        found: dict[str, Any] = answer.json()
        return found

    def _count(self, endpoint: HostedEndpoint, variant: Variant, started: float | None, status: int) -> None:
        """``started``: when the model was asked; None where it could not be."""
        seen = self._seen.setdefault((endpoint.name, variant.name), _Seen())
        seen.requests += 1
        if started is not None:
            seen.latencies_us.append((time.perf_counter() - started) * 1e6)
        seen.errors_5xx += status >= 500
        seen.errors_4xx += 400 <= status < 500

    async def flush_forever(self) -> None:
        """Write captured requests and metrics once a second."""
        while True:
            await asyncio.sleep(FLUSH_S)
            # Swapped here, on the loop that fills them; the thread gets what nothing else uses.
            captured, self._captured = self._captured, []
            seen, self._seen = self._seen, {}
            await asyncio.to_thread(self.flush, captured, seen)
            if self.revisions.answered:
                with contextlib.suppress(Exception):  # the next one has the same counts
                    await self.http.post(
                        f"{self.endpoint_url}/_groundplan/samples/requests", content=self.revisions.samples()
                    )

    def flush(self, captured: list[_Captured], seen: dict[tuple[str, str], _Seen]) -> None:
        """Write what has accumulated; what can't be written is logged as lost."""
        grouped: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for item in captured:
            event = capture_event(item.content_type, item.request, item.answer, item.at)
            grouped.setdefault((item.endpoint.capture, item.endpoint.name, item.variant), []).append(event)
        for (address, name, variant), events in grouped.items():
            write_events(self.s3, f"{address.rstrip('/')}/{name}/{variant}", events)
        metrics = [metric for key, of in seen.items() for metric in _metrics(*key, of)]
        try:
            for start in range(0, len(metrics), 500):
                self.cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=metrics[start : start + 500])
        except Exception as error:
            _log.warning("metrics lost: %s: %s", type(error).__name__, error)

    def stop(self) -> None:
        """Stop every container and write what was captured."""
        stop([*self.containers.values(), *self.revisions.containers.values()])
        self.flush(self._captured, self._seen)

    # ASGI.

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """One HTTP request, or the application's start and end."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        status, headers, body = await self._route(scope, receive)
        own = [(b"content-length", b"%d" % len(body)), (b"x-amzn-requestid", b"%032x" % random.getrandbits(128))]
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *own]})
        await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Any, send: Any) -> None:
        import httpx

        await receive()
        self.http = self.revisions.http = httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S, trust_env=False)
        loops = [asyncio.create_task(self.reconcile_forever()), asyncio.create_task(self.flush_forever())]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for loop in loops:
            loop.cancel()
        await self.http.aclose()
        await asyncio.to_thread(self.stop)
        await send({"type": "lifespan.shutdown.complete"})

    async def _route(self, scope: dict[str, Any], receive: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        parts = scope["path"].strip("/").split("/")
        json_type = [(b"content-type", b"application/json")]
        if self.revisions.has(host := _host(scope)):
            return await self.revisions.answer(scope, host, await _read(receive))
        if scope["path"].startswith("/_aws/"):
            played = self.gateway if scope["path"].startswith(API_PREFIX) else self.sign_in
            return await played.answer(scope, await _read(receive))
        if scope["path"] == "/ping":
            return 200, json_type, b"{}"
        if scope["path"] == "/_groundplan/calls":
            asked = {"service": "sagemaker", "operation": "InvokeEndpoint"}
            calls = [
                {"caller": caller, "parameters": {"EndpointName": endpoint}, **asked}
                for caller, endpoint in sorted(self.callers)
            ]
            return 200, json_type, json.dumps(calls).encode()
        if scope["path"] == "/":
            listing = {
                e.name: {
                    "config": e.config,
                    "variants": {v.name: {"weight": v.weight, "model": v.model} for v in e.variants},
                }
                for e in self.endpoints.values()
            }
            return 200, json_type, json.dumps(listing).encode()
        if (
            scope["method"] == "POST"
            and len(parts) == 3
            and parts[0] == "endpoints"
            and parts[2] in ("invocations", "explain")
        ):
            body, headers, name = await _read(receive), dict(scope["headers"]), parts[1]
            if caller := caller_in(headers.get(b"authorization", b"").decode("latin-1"))[0]:
                self.callers.add((caller, name))
            return await self.invoke(name, f"/{parts[2]}", headers, body)
        if scope["method"] == "GET" and parts[:1] == ["endpoints"] and parts[2:] == ["openapi.json"]:
            return await self._openapi(parts[1])
        return _error(
            404, "UnknownOperationException", "Use POST /endpoints/NAME/invocations or POST /endpoints/NAME/explain."
        )


def _variants(configured: list[dict[str, Any]], described: list[dict[str, Any]]) -> Iterator[Variant]:
    models = {variant["VariantName"]: variant["ModelName"] for variant in configured}
    for variant in described:
        name = variant["VariantName"]
        yield Variant(name, float(variant.get("CurrentWeight") or 0), models[name])


MOST_VALUES = 150  # of one datum of PutMetricData


def _metrics(endpoint: str, variant: str, seen: _Seen) -> Iterator[dict[str, Any]]:
    """A second's metrics of a variant, as statistics; latencies with their distribution, of which CloudWatch takes 150
    values at most.
    """
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    count = seen.requests
    of_each = {
        "Invocations": (1.0, 1.0, float(count)),
        "Invocation5XXErrors": (float(seen.errors_5xx == count), float(seen.errors_5xx > 0), float(seen.errors_5xx)),
        "Invocation4XXErrors": (float(seen.errors_4xx == count), float(seen.errors_4xx > 0), float(seen.errors_4xx)),
    }
    for digits in (3, 2, 1):
        rounded = Counter(float(f"{latency:.{digits}g}") for latency in seen.latencies_us)
        if len(rounded) <= MOST_VALUES:
            break
    if rounded:
        yield {
            "MetricName": "ModelLatency",
            "Dimensions": dimensions,
            "Values": list(rounded),
            "Counts": [float(times) for times in rounded.values()],
        }
    for metric, (least, most, total) in of_each.items():
        statistics = {"SampleCount": float(count), "Sum": total, "Minimum": least, "Maximum": most}
        yield {"MetricName": metric, "Dimensions": dimensions, "StatisticValues": statistics}


def _host(scope: dict[str, Any]) -> str:
    """The host that a request names, without its port."""
    return (
        next((value for name, value in scope["headers"] if name == b"host"), b"").partition(b":")[0].decode("latin-1")
    )


def _error(
    status: int, code: str, message: str, invoked: tuple[bytes, bytes] | None = None, more: dict[str, Any] | None = None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    headers = [(b"content-type", b"application/json"), (b"x-amzn-errortype", code.encode())]
    return (
        status,
        headers + ([invoked] if invoked else []),
        json.dumps({"ErrorCode": code, "Message": message, **(more or {})}).encode(),
    )


async def _read(receive: Any) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if size <= MAX_BODY_BYTES + 1:  # one byte too many is enough for the model server to refuse it
            chunks.append(message.get("body", b"")[: MAX_BODY_BYTES + 1])
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return b"".join(chunks) if size <= MAX_BODY_BYTES else b" " * (MAX_BODY_BYTES + 1)


def main() -> None:
    """Serve until told to stop."""
    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--region", required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        Hosting(arguments.region, arguments.port),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        lifespan="on",
        **QUICK,
    )


if __name__ == "__main__":
    main()
