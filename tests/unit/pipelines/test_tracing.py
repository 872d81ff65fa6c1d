"""Where a request's trace comes from."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pipelines.serving.operating.tracing import ATTRIBUTES, Tracing, attributes_of, exporter_to, signed
from spec.tracing import tracing_variables

ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{ID}-b7ad6b7169203331-01".encode()


@pytest.mark.parametrize(
    "headers",
    [
        {b"traceparent": PARENT},
        {ATTRIBUTES: b"traceparent=" + PARENT},  # SageMaker forwards nothing else of its caller's
        {ATTRIBUTES: b"explain; traceparent=" + PARENT + b";tenant=a"},
        {b"traceparent": PARENT, ATTRIBUTES: b"traceparent=00-" + b"1" * 32 + b"-b7ad6b7169203331-01"},
    ],
)
def test_the_caller_s_trace_is_continued(headers: dict[bytes, bytes]) -> None:
    found = Tracing({}).of(headers)
    assert found is not None and found.trace_id == ID


@pytest.mark.parametrize("text", [b"", b"explain", b"traceparent=", b"traceparent=00-zz-01", b"x=traceparent"])
def test_what_is_none_is_none(text: bytes) -> None:
    assert Tracing({}).of({ATTRIBUTES: text}) is None


def test_attributes_are_told_apart() -> None:
    assert attributes_of({ATTRIBUTES: b" explain ;a=b;; "}) == {b"explain", b"a=b"}
    assert attributes_of({}) == set()


def test_spans_reach_xray_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real receiver takes the request apart; what it gets is what AWS's own signer makes of the same request."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    received: list[tuple[dict[str, str], bytes]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/v1/traces"
        provider = TracerProvider()
        exporter = OTLPSpanExporter(endpoint=address, session=signed("xray", "eu-central-1"))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.get_tracer("t").start_span("POST /invocations").end()
    finally:
        server.shutdown()
    ((headers, body),) = received
    (spans,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert spans.scope_spans[0].spans[0].name == "POST /invocations"
    request = AWSRequest("POST", address, data=body, headers={"X-Amz-Date": headers["x-amz-date"]})
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), "xray", "eu-central-1")  # type: ignore[no-untyped-call]
    wanted = signer.signature(  # type: ignore[no-untyped-call]
        signer.string_to_sign(request, signer.canonical_request(request)),  # type: ignore[no-untyped-call]
        request,
    )
    assert headers["authorization"].endswith(f"Signature={wanted}")
    assert "/eu-central-1/xray/aws4_request" in headers["authorization"]


@pytest.mark.parametrize(
    ("address", "module"),
    [
        ("https://xray.eu-central-1.amazonaws.com/v1/traces", "opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        ("http://collector:4317", "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"),
        ("https://xray.example.com/v1/traces", "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"),
    ],
)
def test_only_xray_gets_credentials(address: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert type(exporter_to(address)).__module__.startswith(module)


def test_what_is_not_traced_has_no_variables() -> None:
    assert tracing_variables("risk", "eu-central-1", 0) == {}
    found = tracing_variables("risk", "eu-central-1", 0.05)
    assert found["OTEL_TRACES_SAMPLER"] == "parentbased_traceidratio" and found["OTEL_TRACES_SAMPLER_ARG"] == "0.05"
