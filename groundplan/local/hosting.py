"""SageMaker hosting on one machine: runs the containers' programs and answers the ``sagemaker-runtime`` API.

It reads endpoints, configurations and models from the SageMaker API (moto), runs one model server per model in use,
spreads requests by the variants' weights, captures them to S3 and reports the endpoint's state, as SageMaker does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from groundplan.local.calls import caller_in, caller_key
from pipelines.serving.capture import capture_event, write_events

POLL_S = 0.2
FLUSH_S = 1.0
MAX_BODY_BYTES = 6 * 1024 * 1024  # SageMaker's limit for a real-time request
START_TIMEOUT_S = 60.0
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

    def choose(self) -> Variant:
        """A variant, by weight."""
        weights = [variant.weight for variant in self.variants]
        return random.choices(self.variants, weights)[0] if sum(weights) > 0 else self.variants[0]  # noqa: S311 (no secret)


@dataclass
class Container:
    """A running model server."""

    model: str
    process: subprocess.Popen[bytes]
    port: int
    ready: bool = False
    started: float = field(default_factory=time.monotonic)


class Hosting:
    """State and loops of the service."""

    def __init__(self, region: str) -> None:
        import httpx

        from groundplan.local.moto.aws import client

        self.endpoint_url = os.environ["AWS_ENDPOINT_URL"]
        self.sagemaker = client("sagemaker", self.endpoint_url, region)
        self.s3 = client("s3", self.endpoint_url, region)
        self.cloudwatch = client("cloudwatch", self.endpoint_url, region)
        self.callers = set[tuple[str, str]]()
        self.http = httpx.AsyncClient(
            timeout=60, trust_env=False, limits=httpx.Limits(max_connections=200, max_keepalive_connections=50)
        )
        self.home = Path(os.environ["GROUNDPLAN_HOME"])
        self.endpoints: dict[str, HostedEndpoint] = {}
        self.containers: dict[str, Container] = {}
        self.failures: dict[str, str] = {}
        self._revision = -1
        self._captured: list[tuple[HostedEndpoint, str, dict[str, Any]]] = []
        self._metrics: list[dict[str, Any]] = []

    # Reconciling with SageMaker's API.

    async def reconcile_forever(self) -> None:
        """Follow the SageMaker API's revision; restart what has died."""
        while True:
            try:
                answer = await self.http.get(f"{self.endpoint_url}/_groundplan/revision")
                revision = int(answer.text)
                if revision != self._revision or any(
                    c.process.poll() is not None or not c.ready for c in self.containers.values()
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
        models = sorted({variant.model for endpoint in wanted.values() for variant in endpoint.variants})
        for name in [name for name, container in self.containers.items() if container.process.poll() is not None]:
            del self.containers[name]
        await asyncio.gather(
            *(self._ensure(model) for model in models if not (c := self.containers.get(model)) or not c.ready)
        )
        for name, endpoint in wanted.items():
            broken = [variant.model for variant in endpoint.variants if variant.model in self.failures]
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
        used = {variant.model for endpoint in self.endpoints.values() for variant in endpoint.variants}
        for name in set(self.containers) - used:
            _stop(self.containers.pop(name))

    def _describe(self) -> dict[str, HostedEndpoint]:
        found = {}
        for item in self.sagemaker.list_endpoints()["Endpoints"]:
            described = self.sagemaker.describe_endpoint(EndpointName=item["EndpointName"])
            config = self.sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
            models = {variant["VariantName"]: variant["ModelName"] for variant in config["ProductionVariants"]}
            variants = tuple(
                Variant(v["VariantName"], float(v.get("CurrentWeight") or 0), models[v["VariantName"]])
                for v in described["ProductionVariants"]
            )
            capture = config.get("DataCaptureConfig", {})
            target = capture.get("DestinationS3Uri", "") if capture.get("EnableCapture") else ""
            found[item["EndpointName"]] = HostedEndpoint(
                item["EndpointName"], described["EndpointConfigName"], variants, target
            )
        return found

    async def _ensure(self, model: str) -> None:
        self.failures.pop(model, None)
        try:
            container = self.containers.get(model)
            if container is None:
                container = self.containers[model] = await asyncio.to_thread(self._start, model)
            while not container.ready:
                if container.process.poll() is not None:
                    raise RuntimeError(
                        f"the model server stopped with exit code {container.process.returncode}: {self._tail(model)}"
                    )
                if time.monotonic() - container.started > START_TIMEOUT_S:
                    raise RuntimeError(
                        f"the model server did not answer /ping within {START_TIMEOUT_S:g} s: {self._tail(model)}"
                    )
                with contextlib.suppress(Exception):
                    container.ready = (
                        await self.http.get(f"http://127.0.0.1:{container.port}/ping")
                    ).status_code == 200
                if not container.ready:
                    await asyncio.sleep(0.05)
        except Exception as error:
            self.failures[model] = str(error)[:1000]
            if container := self.containers.pop(model, None):
                _stop(container)

    def _start(self, model: str) -> Container:
        from groundplan.local.services import free_port
        from pipelines.serving.bundle import unpack

        described = self.sagemaker.describe_model(ModelName=model)["PrimaryContainer"]
        folder = self.home / "run" / "models" / model
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if address := described.get("ModelDataUrl"):
            bucket, _, key = address.removeprefix("s3://").partition("/")
            unpack(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read(), folder)
        port = free_port()
        environment = {
            **os.environ,
            **described.get("Environment", {}),
            "AWS_ACCESS_KEY_ID": caller_key("server.model"),
            "SM_MODEL_DIR": str(folder),
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "GROUNDPLAN_HOST": "127.0.0.1",
            "GROUNDPLAN_PARENT": str(os.getpid()),
        }
        with self._log(model).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.serving"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return Container(model, process, port)

    def _log(self, model: str) -> Path:
        return self.home / "logs" / f"model-{model}.log"

    def _tail(self, model: str) -> str:
        from groundplan.local.services import log_tail

        return " ".join(log_tail(self._log(model), 3).split())

    # The sagemaker-runtime API.

    async def invoke(
        self, name: str, path: str, headers: dict[bytes, bytes], body: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Answer one InvokeEndpoint: status, headers, body."""
        import httpx

        endpoint = self.endpoints.get(name)
        if endpoint is None and self._revision < 0:  # clients retry a 503 by themselves
            return _error(
                503, "ServiceUnavailable", "The router has just started and is loading its endpoints; try again."
            )
        if endpoint is None:
            return _error(400, "ValidationError", f"Endpoint {name} of account 123456789012 not found.")
        target = headers.get(_TARGET, b"").decode("latin-1")
        if target:
            variant = next((item for item in endpoint.variants if item.name == target), None)
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
            return _error(503, "ServiceUnavailable", f"Variant {variant.name} of {name} is being restarted.", invoked)
        forwarded = {key.decode(): headers[key].decode("latin-1") for key in _FORWARDED if key in headers}
        started = time.perf_counter()
        try:
            answer = await self.http.post(f"http://127.0.0.1:{container.port}{path}", content=body, headers=forwarded)
        except httpx.HTTPError as error:
            container.ready = False
            self._count(endpoint, variant, started, 503)
            return _error(
                503,
                "ServiceUnavailable",
                f"Variant {variant.name} of {name} did not answer ({type(error).__name__}).",
                invoked,
            )
        self._count(endpoint, variant, started, answer.status_code)
        if answer.status_code != 200:
            # SageMaker reports what the container refuses as a ModelError, with the original inside.
            message = f'Received client error ({answer.status_code}) from {variant.name} with message "{answer.text}".'
            more = {
                "OriginalMessage": answer.text,
                "OriginalStatusCode": answer.status_code,
                "LogStreamArn": str(self._log(variant.model)),
            }
            return _error(424, "ModelError", message, invoked, more)
        kind = answer.headers.get("content-type", "application/json").encode()
        if endpoint.capture and path == "/invocations":
            kind_sent = headers.get(b"content-type", b"application/json").decode("latin-1")
            self._captured.append((endpoint, variant.name, capture_event(kind_sent, body, answer.content)))
        return 200, [(b"content-type", kind), invoked], answer.content

    def _count(self, endpoint: HostedEndpoint, variant: Variant, started: float, status: int) -> None:
        dimensions = [{"Name": "EndpointName", "Value": endpoint.name}, {"Name": "VariantName", "Value": variant.name}]
        values = {
            "Invocations": 1.0,
            "ModelLatency": (time.perf_counter() - started) * 1e6,
            "Invocation5XXErrors": float(status >= 500),
            "Invocation4XXErrors": float(400 <= status < 500),
        }
        self._metrics += [
            {"MetricName": metric, "Dimensions": dimensions, "Value": value} for metric, value in values.items()
        ]

    async def flush_forever(self) -> None:
        """Write captured requests and metrics once a second."""
        while True:
            await asyncio.sleep(FLUSH_S)
            # Swapped here, on the loop that fills them; the thread gets lists that nothing else uses.
            captured, self._captured = self._captured, []
            metrics, self._metrics = self._metrics, []
            await asyncio.to_thread(self.flush, captured, metrics)

    def flush(self, captured: list[tuple[HostedEndpoint, str, dict[str, Any]]], metrics: list[dict[str, Any]]) -> None:
        """Write what has accumulated; what can't be written is logged as lost."""
        grouped: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for endpoint, variant, event in captured:
            grouped.setdefault((endpoint.capture, endpoint.name, variant), []).append(event)
        for (address, name, variant), events in grouped.items():
            write_events(self.s3, f"{address.rstrip('/')}/{name}/{variant}", events)
        try:
            for start in range(0, len(metrics), 500):
                self.cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=metrics[start : start + 500])
        except Exception as error:
            _log.warning("metrics lost: %s: %s", type(error).__name__, error)

    def stop(self) -> None:
        """Stop every container and write what was captured."""
        for container in self.containers.values():
            _stop(container)
        self.flush(self._captured, self._metrics)

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
        headers.append((b"content-length", str(len(body)).encode()))
        headers.append((b"x-amzn-requestid", str(uuid.uuid4()).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        loops = [asyncio.create_task(self.reconcile_forever()), asyncio.create_task(self.flush_forever())]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for loop in loops:
            loop.cancel()
        await asyncio.to_thread(self.stop)
        await send({"type": "lifespan.shutdown.complete"})

    async def _route(self, scope: dict[str, Any], receive: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        parts = scope["path"].strip("/").split("/")
        json_type = [(b"content-type", b"application/json")]
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
            body = await _read(receive)
            if caller := caller_in(dict(scope["headers"]).get(b"authorization", b"").decode("latin-1"))[0]:
                self.callers.add((caller, unquote(parts[1])))
            return await self.invoke(unquote(parts[1]), f"/{parts[2]}", dict(scope["headers"]), body)
        return _error(
            404, "UnknownOperationException", "Use POST /endpoints/NAME/invocations or POST /endpoints/NAME/explain."
        )


def _stop(container: Container) -> None:
    container.process.terminate()
    try:
        container.process.wait(5)
    except subprocess.TimeoutExpired:
        container.process.kill()
        container.process.wait()


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
        Hosting(arguments.region),
        host="127.0.0.1",
        port=arguments.port,
        log_level="warning",
        access_log=False,
        lifespan="on",
    )


if __name__ == "__main__":
    main()
