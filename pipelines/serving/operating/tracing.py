"""Traces: W3C's ``traceparent`` is read, and sampled requests become OpenTelemetry spans and log lines. A caller of
SageMaker's API passes it as ``CustomAttributes="traceparent=00-..."``.

https://www.w3.org/TR/trace-context/
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import logging
import random
import re
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_HEADER = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_XRAY = re.compile(r"https://xray\.([a-z0-9-]+)\.amazonaws\.com/v1/traces")
ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"  # of InvokeEndpoint
_log = logging.getLogger("groundplan.requests")


@dataclass
class Trace:
    """A request's place in a trace.

    Attributes:
        parent_id: Of the caller's span; empty where the trace begins here.
        sampled: Whether it is told.
    """

    trace_id: str
    parent_id: str
    sampled: bool
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def ids(self) -> dict[str, str]:
        """For a log line."""
        return {"trace_id": self.trace_id, "span_id": self.span_id}


class Tracing:
    """Decides which requests are told, and tells them.

    Args:
        environment: OpenTelemetry's variables. Without ``OTEL_EXPORTER_OTLP_ENDPOINT`` there are only log lines, and
            only of requests whose caller samples.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._exports = (
            bool(
                environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            )
            and environment.get("OTEL_SDK_DISABLED", "").lower() != "true"
        )
        sampler = environment.get("OTEL_TRACES_SAMPLER", "parentbased_always_on" if self._exports else "")
        share = environment.get("OTEL_TRACES_SAMPLER_ARG", "1")
        self._obeys_parent = not sampler or sampler.startswith("parentbased_")
        self.share = (
            float(share) if sampler.endswith("traceidratio") else float(sampler.endswith("always_on"))
        )  # of requests that decide for themselves
        # Importing takes a tenth of a second: not while requests wait.
        name = environment.get("OTEL_SERVICE_NAME", "groundplan-model")
        address = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
        self._exporter = _Spans(name, address) if self._exports else None

    def of(self, headers: Mapping[bytes, bytes]) -> Trace | None:
        """The trace of a request that is told; None for all others."""
        header = _header(headers)
        parent = None
        if header is not None:
            parent = _parent(header)
            if parent is not None and self._obeys_parent:
                return parent if parent.sampled else None
        if self.share and (self.share >= 1 or random.random() < self.share):  # noqa: S311 (no secret)
            return Trace(parent.trace_id, parent.parent_id, True) if parent else Trace(secrets.token_hex(16), "", True)
        return None

    def told_anyway(self, headers: Mapping[bytes, bytes]) -> Trace:
        """The trace of a request that failed: its line in the log has ids, sampled or not."""
        return _parent(_header(headers) or b"") or Trace(secrets.token_hex(16), "", False)

    def tell(
        self,
        trace: Trace,
        route: str,
        status: int,
        began: float,
        marks: Sequence[tuple[str, float, float]],
        more: Mapping[str, Any],
    ) -> None:
        """Log a request that has just been answered, and export its spans.

        Args:
            began: When, in seconds of ``time.perf_counter``.
            marks: Name, begin and end of its stages.
            more: What is told of it beside.
        """
        _log.info(
            "%s %d",
            route,
            status,
            extra={
                **trace.ids,
                "route": route,
                "status": status,
                "duration_ms": round((time.perf_counter() - began) * 1000, 3),
                **more,
            },
        )
        if self._exporter is not None:
            self._exporter.export(trace, route, status, began, marks, more)

    def close(self) -> None:
        """Export what is waiting."""
        if self._exporter is not None:
            self._exporter.close()


def attributes_of(headers: Mapping[bytes, bytes]) -> set[bytes]:
    """What a caller of SageMaker's API passes on to the model, in parts: ``explain;traceparent=00-...``."""
    return {part.strip() for part in headers.get(ATTRIBUTES, b"").split(b";")} - {b""}


def _header(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The ``traceparent``; SageMaker forwards no such header, so it may be an attribute."""
    given = headers.get(b"traceparent")
    if given is None and ATTRIBUTES in headers:
        given = next((part[12:] for part in attributes_of(headers) if part.startswith(b"traceparent=")), None)
    return given


def _parent(header: bytes) -> Trace | None:
    """The caller's span; None where the header is invalid, which must be treated as if it were missing."""
    found = _HEADER.fullmatch(header)
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5]):
        return None
    trace_id, parent_id = found[2].decode(), found[3].decode()
    if not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return Trace(trace_id, parent_id, bool(int(found[4], 16) & _SAMPLED))


def exporter_to(address: str) -> Any:
    """What sends spans: to X-Ray by HTTP, signed with the process' own credentials; else by gRPC, as OpenTelemetry's
    variables say.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html
    """
    found = _XRAY.fullmatch(address)
    if found is None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp

    return OverHttp(endpoint=address, session=signed("xray", found[1]))


def signed(service: str, region: str) -> Any:
    """A session of ``requests`` that signs what it sends (Signature Version 4); credentials are renewed as they end."""
    import boto3
    import requests
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    credentials = boto3.Session().get_credentials()

    def sign(request: Any) -> Any:
        whole = AWSRequest(request.method, request.url, data=request.body, headers={})
        SigV4Auth(credentials, service, region).add_auth(whole)  # type: ignore[no-untyped-call]
        request.headers.update(dict(whole.headers.items()))
        return request

    session = requests.Session()
    session.auth = sign
    return session


class _Spans:
    """Spans of requests that are already answered: what is not sampled costs nothing."""

    def __init__(self, name: str, address: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        self._ids, self._one_at_a_time = _Given(), threading.Lock()
        given: Any = self._ids
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create({"service.name": name}), id_generator=given
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter_to(address)))
        self._tracer = self._provider.get_tracer("groundplan.serving")

    def export(
        self,
        trace: Trace,
        route: str,
        status: int,
        began: float,
        marks: Sequence[tuple[str, float, float]],
        more: Mapping[str, Any],
    ) -> None:
        """Export the span of a request, and those of its stages."""
        from opentelemetry import trace as api

        ended = time.time_ns()
        at = ended - int(time.perf_counter() * 1e9)  # perf_counter's zero, in nanoseconds since 1970
        context = None
        if trace.parent_id:
            remote = api.SpanContext(
                int(trace.trace_id, 16), int(trace.parent_id, 16), is_remote=True, trace_flags=api.TraceFlags(_SAMPLED)
            )
            context = api.set_span_in_context(api.NonRecordingSpan(remote))
        attributes = {
            "http.route": route,
            "http.response.status_code": status,
            **{f"groundplan.{name}": value for name, value in more.items()},
        }
        with self._one_at_a_time:
            self._ids.next = (int(trace.trace_id, 16), int(trace.span_id, 16))
            span = self._tracer.start_span(
                f"POST {route}",
                context=context,
                kind=api.SpanKind.SERVER,
                start_time=at + int(began * 1e9),
                attributes=attributes,
            )
        inside = api.set_span_in_context(span)
        for name, began, stopped in marks:
            self._tracer.start_span(name, context=inside, start_time=at + int(began * 1e9)).end(at + int(stopped * 1e9))
        if status >= 500:
            span.set_status(api.StatusCode.ERROR)
        span.end(ended)

    def close(self) -> None:
        self._provider.shutdown()


class _Given:
    """Ids that have been logged already for the next span, else random ones (OpenTelemetry's ``IdGenerator``)."""

    def __init__(self) -> None:
        self.next: tuple[int, int] | None = None

    def generate_trace_id(self) -> int:
        """Of a trace that begins here."""
        return self.next[0] if self.next else secrets.randbits(128)

    def generate_span_id(self) -> int:
        """Of the next span."""
        given, self.next = self.next, None
        return given[1] if given else secrets.randbits(64)
