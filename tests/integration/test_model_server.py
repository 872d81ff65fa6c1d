"""The model server as its own processes, with the clients that people have."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import numpy as np
import pandas as pd
import psutil
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from sklearn.ensemble import RandomForestRegressor

from groundplan.local.services import free_port
from pipelines.serving.models.bundle import files_of
from tests.integration.test_hosting import eventually
from tests.models import write

COLUMNS = ["a", "b", "c"]
BODY = json.dumps({"dataframe_split": {"columns": COLUMNS, "data": [[0.1, 0.2, 0.3]]}}).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(80, 3)), columns=COLUMNS)
    labels = 3 * frame["a"] - frame["b"]
    made = tmp_path_factory.mktemp("made")
    write(made, RandomForestRegressor(10, random_state=0).fit(frame, labels), frame, "regression", labels, "m")
    served = tmp_path_factory.mktemp("served")
    for name, content in files_of(made / "candidate", "v1.0.0").items():
        (served / name).write_bytes(content)
    return served


class Running:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, grpc_port: int, log: Path) -> None:
        self.process, self.port, self.grpc_port, self.log = process, port, grpc_port, log
        self.url = f"http://127.0.0.1:{port}"

    @property
    def workers(self) -> list[psutil.Process]:
        """Processes that answer; the others only start them."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # it has just ended
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def get(self, path: str, **headers: str) -> bytes:
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            content: bytes = answer.read()
        return content

    def send(self, data: bytes, *, half_close: bool = False, until: int = 0) -> bytes:
        """Send bytes on a new connection: what comes back until it closes, or until there are so many answers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            found = b""
            while not until or found.count(b"HTTP/1.1 ") < until or not found.endswith(b"}"):
                part = connection.recv(65536)
                if not part:
                    break
                found += part
        return found


@contextlib.contextmanager
def running(folder: Path, tmp_path: Path, **more: str) -> Iterator[Running]:
    port, grpc_port, log = free_port(), free_port(), tmp_path / "server.log"
    environment = {
        **os.environ,
        "SM_MODEL_DIR": str(folder),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "GROUNDPLAN_GRPC_PORT": str(grpc_port),
        "GROUNDPLAN_HOST": "127.0.0.1",
        "GROUNDPLAN_WORKERS": "1",
        **more,
    }
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, "-m", "pipelines.serving"], env=environment, stdout=out, stderr=out)
    server = Running(process, port, grpc_port, log)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                server.get("/ping")
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(folder, tmp_path_factory.mktemp("one"), GROUNDPLAN_READ_SECONDS="1") as found:
        yield found


def post(body: bytes, *headers: str, path: str = "/invocations") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    if not any(line.startswith("content-type") for line in headers):
        lines.append("content-type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + body


def without_date(answer: bytes) -> tuple[bytes, set[bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    body = re.sub(rb'(?<="prediction_id":")[0-9a-f-]{36}', b"", body)  # each answer's own
    return status, {line for line in headers if not line.startswith(b"date:")}, body


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        b'{"instances": [[1, 2, 3], [4, 5, 6]]}',
        b'{"dataframe_records": [{"c": 1, "b": 2, "a": 3}]}',
        b'{"inputs": {"a": [1], "b": [2], "c": [3]}}',
        b'{"instances": []}',
        b'{"instances": [[1, 2]]}',
        b'{"instances": [[1, 2, null]]}',
        b'{"instances": [[1, 2, "x"]]}',
        b'{"instances": [[1, 2, 1e39]]}',
        b'{"instances": [[1, 2, 3]], "more": 1}',
        b"{",
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"instances": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        json.dumps({"instances": [[1, 2, 3]] * 400}).encode(),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_the_short_way_answers_as_the_long_one(server: Running, body: bytes, last: bool) -> None:
    """A header that needs the long way (a trace that is not sampled) changes nothing that the client sees."""
    more = ["connection: close"] if last else []
    long = post(body, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", *more)
    answers = [server.send(sent, until=0 if last else 1) for sent in (post(body, *more), long)]
    assert without_date(answers[0]) == without_date(answers[1])
    assert answers[0].count(b"HTTP/1.1 ") == 1 and (b"connection: close" in answers[0]) == last


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    bad, other = post(b"{"), post(b'{"instances": [[1, 2, 3], [4, 5, 6]]}')
    ping = b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"
    found = server.send(post(BODY) + bad + ping + other + post(BODY), until=5)
    statuses = [part[:3] for part in found.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"400", b"200", b"200", b"200"]
    counts = [part.count(b"predictions") for part in found.split(b"HTTP/1.1 ")[1:]]
    assert counts == [1, 0, 0, 1, 1]


def test_a_request_in_pieces_and_one_of_a_client_that_sends_no_more_are_answered(server: Running) -> None:
    request = post(BODY)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        for start in range(0, len(request), 40):
            connection.sendall(request[start : start + 40])
            time.sleep(0.005)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    for headers in ([], ["traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"]):
        assert server.send(post(BODY, *headers), half_close=True).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"POST /invocations HTTP/1.1\r\nhost",
        post(BODY)[:-5],
        post(BODY, path="/explain")[:-5],
        post(BODY) + b"POST /in",
    ],
)
def test_a_client_that_is_too_slow_is_told_and_others_are_not_affected(server: Running, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(start)
        assert server.send(post(BODY), until=1).startswith(b"HTTP/1.1 200")
        found = b""
        while part := slow.recv(65536):
            found += part
    assert b"408 Request Timeout" in found and found.endswith(b'did not arrive within 1 s."}')


def test_a_body_that_is_announced_as_too_long_is_refused_before_it_is_sent(server: Running) -> None:
    head = (
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 52428800\r\n\r\n"
    )
    found = server.send(head)
    assert found.startswith(b"HTTP/1.1 413") and b"at most 6291456 are accepted" in found


def test_an_offer_to_change_to_http_2_is_ignored(server: Running) -> None:
    """As curl --http2 makes it."""
    offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"]
    found = server.send(post(BODY, *offer) + post(BODY), until=2)
    assert found.count(b"HTTP/1.1 200") == 2 and found.count(b"predictions") == 2


def test_what_is_not_http_gets_an_error_like_any_other(server: Running) -> None:
    found = server.send(b"HELLO\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 400") and found.endswith(b'{"error":"The request is not valid HTTP."}')


def test_a_client_may_wait_until_it_is_told_to_continue(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head, body = post(BODY, "expect: 100-continue").split(b"\r\n\r\n", 1)
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_tritons_clients_work(server: Running) -> None:
    """Triton's own clients for Python, each in a process of its own."""
    code = """
import sys, numpy as np
kind, address = sys.argv[1:]
triton = __import__("tritonclient." + kind, fromlist=["x"])
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("m")
about = client.get_model_metadata("m")
inputs = about["inputs"] if kind == "http" else about.inputs
first = inputs[0]
assert (first["name"] if kind == "http" else first.name) == "X", first
rows = np.array([[0.1, 0.2, 0.3], [1, 2, 3]], dtype=np.float32)
answers = []
for binary in (True, False):
    given = triton.InferInput("X", [2, 3], "FP32")
    if kind == "http":
        given.set_data_from_numpy(rows, binary_data=binary)
        outputs = [triton.InferRequestedOutput("predictions", binary_data=binary)]
    else:
        given.set_data_from_numpy(rows)
        outputs = [triton.InferRequestedOutput("predictions")]
    answers.append(client.infer("m", [given], outputs=outputs, request_id="7").as_numpy("predictions"))
assert answers[0].shape == (2,) and (answers[0] == answers[1]).all(), answers
try:
    client.infer("other", [given])
except Exception as error:
    assert "'m' is served here" in str(error), error
else:
    raise AssertionError("no error")
wrong = triton.InferInput("X", [2, 2], "FP32")
wrong.set_data_from_numpy(rows[:, :2])
try:
    client.infer("m", [wrong])
except Exception as error:
    assert "expected [rows, 3], in the order a, b, c" in str(error), error
else:
    raise AssertionError("no error")
print(answers[0].tolist())
"""
    expected = json.loads(
        server.send(post(b'{"instances": [[0.1, 0.2, 0.3], [1, 2, 3]]}'), until=1).split(b"\r\n\r\n")[1]
    )
    for kind, port in (("http", server.port), ("grpc", server.grpc_port)):
        done = subprocess.run(
            [sys.executable, "-c", code, kind, f"127.0.0.1:{port}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == expected["predictions"]


def test_random_bytes_and_messages_over_grpc_get_a_status(server: Running) -> None:
    from tritonclient.grpc import service_pb2

    random = np.random.default_rng(0)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        codes = set()
        for _ in range(200):
            request = service_pb2.ModelInferRequest(model_name="m")
            for _ in range(random.integers(0, 3)):
                shape = random.integers(-2, 4, random.integers(0, 4)).tolist()
                datatype = str(random.choice(["FP32", "BYTES", "INT64", "BF16", "", "FP64"]))
                item = request.inputs.add(name=str(random.choice(["X", "a", "b"])), datatype=datatype, shape=shape)
                if random.random() < 0.5:
                    request.raw_input_contents.append(random.bytes(random.integers(0, 40)))
                else:
                    item.contents.fp32_contents.extend(random.normal(size=random.integers(0, 8)).tolist())
            for body in (request.SerializeToString(), random.bytes(random.integers(0, 60))):
                try:
                    infer(body, timeout=10)
                except grpc.RpcError as error:
                    codes.add(error.code())
        assert codes == {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert "request failed" not in server.log.read_text()
    assert server.send(post(BODY), until=1).startswith(b"HTTP/1.1 200")


async def _load(url: str, seconds: float, event: Callable[[], Any], clients: int = 16) -> tuple[int, list[str]]:
    """Requests one after the other from each client, while something happens; how many, and what failed."""
    failed: list[str] = []
    count = 0
    ends = time.monotonic() + seconds

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal count
        while time.monotonic() < ends:
            try:
                async with session.post(url, data=BODY, headers={"content-type": "application/json"}) as answer:
                    content = await answer.read()
                    if answer.status != 200 or b"predictions" not in content:
                        failed.append(f"{answer.status} {content[:80]!r}")
            except (aiohttp.ClientError, OSError) as error:
                failed.append(repr(error))
            count += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        load = [asyncio.create_task(client(session)) for _ in range(clients)]
        await asyncio.sleep(seconds / 4)
        await asyncio.to_thread(event)
        await asyncio.gather(*load)
    return count, failed


def _requests(server: Running) -> float:
    lines = server.get("/metrics").decode().splitlines()
    return sum(
        float(line.split()[-1])
        for line in lines
        if line.startswith('groundplan_requests_total{model_version="v1.0.0",route="/invocations",status="200"}')
    )


@pytest.mark.drill  # slow
def test_workers_share_a_port_and_may_be_killed_replaced_and_ended(folder: Path, tmp_path: Path) -> None:
    with running(folder, tmp_path, GROUNDPLAN_WORKERS="2") as server:
        eventually(lambda: len(server.workers) == 2, 60)
        invocations = server.url + "/invocations"

        count, failed = asyncio.run(_load(invocations, 2, lambda: None))
        assert not failed and count > 100
        time.sleep(1.5)  # workers tell each other once a second
        assert _requests(server) == count, "counts of both workers add up"

        before = {worker.pid for worker in server.workers}
        _, failed = asyncio.run(_load(invocations, 6, lambda: server.process.send_signal(signal.SIGHUP)))
        assert not failed, "replacing the workers loses nothing"
        eventually(lambda: not before & {worker.pid for worker in server.workers}, 60)  # once they have answered

        _, failed = asyncio.run(_load(invocations, 4, lambda: server.workers[0].send_signal(signal.SIGTERM)))
        assert not failed, "nor does ending one"
        eventually(lambda: len(server.workers) == 2, 60)

        _, failed = asyncio.run(_load(invocations, 4, lambda: server.workers[0].kill()))
        assert len(failed) <= 16, "killing one loses what was in flight on it"
        eventually(lambda: len(server.workers) == 2 and "groundplan_workers 2.0" in server.get("/metrics").decode(), 60)
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as idle:
            idle.sendall(post(BODY))
            assert idle.recv(65536).startswith(b"HTTP/1.1 200")
            server.process.terminate()
            time.sleep(1)  # the workers wait for clients that may have sent something
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_a_server_that_is_told_to_end_answers_what_it_has_begun(folder: Path, tmp_path: Path) -> None:
    with running(folder, tmp_path) as server:
        with contextlib.ExitStack() as opened:
            connections = [
                opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20)) for _ in range(8)
            ]
            for connection in connections:  # an answer shows that the server has taken the connection
                connection.sendall(post(BODY))
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            for connection in connections:
                connection.sendall(post(BODY, path="/explain"))
            server.process.terminate()
            assert [connection.recv(65536)[:12] for connection in connections] == [b"HTTP/1.1 200"] * 8
        assert server.process.wait(20) in (0, -signal.SIGTERM)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.spans += [span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


def test_sampled_requests_are_logged_with_their_trace_and_exported(folder: Path, tmp_path: Path) -> None:
    collector, port = Collector(), free_port()
    receiving = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, receiving)
    receiving.add_insecure_port(f"127.0.0.1:{port}")
    receiving.start()
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with running(
        folder,
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
        OTEL_TRACES_SAMPLER="parentbased_always_off",
    ) as server:
        for flags in ("00", "01"):
            server.send(post(BODY, f"traceparent: 00-{trace}-{parent}-{flags}"), until=1)
        server.send(post(BODY), until=1)
        server.send(post(BODY, "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01"), until=1)
    receiving.stop(0)
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    (told,) = [line for line in lines if line["logger"] == "groundplan.requests"]
    assert told["trace_id"] == trace and told["route"] == "/invocations" and told["rows"] == 1
    assert told["status"] == 200 and told["model_version"] == "v1.0.0" and told["duration_ms"] > 0
    (whole,) = [span for span in collector.spans if span.name == "POST /invocations"]
    assert whole.trace_id.hex() == trace and whole.parent_span_id.hex() == parent
    assert whole.span_id.hex() == told["span_id"]
    inside = [span for span in collector.spans if span is not whole]
    assert {span.name for span in inside} == {"decode", "predict", "encode"}
    for span in inside:
        assert span.parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= whole.end_time_unix_nano
    receiving.wait_for_termination(1)


def test_metrics_are_what_prometheus_reads(server: Running) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
    from prometheus_client.parser import text_string_to_metric_families

    server.send(post(BODY), until=1)
    found = {family.name: family for family in text_string_to_metric_families(server.get("/metrics").decode())}
    names = {
        "groundplan_requests", "groundplan_request_duration_seconds", "groundplan_stage_duration_seconds",
        "groundplan_call_requests", "groundplan_call_rows", "groundplan_requests_in_flight",
        "groundplan_requests_waiting", "groundplan_workers", "groundplan_model_info",
    }  # fmt: skip
    assert names <= set(found)
    (info,) = found["groundplan_model_info"].samples
    assert info.labels == {"model": "m", "version": "v1.0.0"} and info.value == 1
    text = server.get("/metrics", Accept="application/openmetrics-text; version=1.0.0").decode()
    assert names <= {family.name for family in open_metrics(text)}


@pytest.mark.parametrize("examples", [30, pytest.param(2_000, marks=pytest.mark.drill)])
def test_requests_made_from_the_openapi_document_get_what_it_says(
    server: Running, tmp_path: Path, examples: int
) -> None:
    """Right and wrong ones, by schemathesis; that what is valid is accepted can't be said of CSV and of bytes. Of more
    rows than the document allows, 413 is the rejection.
    """
    rejected = ["400", "404", "405", "406", "413", "415", "422", "5xx"]
    (tmp_path / "schemathesis.toml").write_text(f"[checks]\nnegative_data_rejection.expected-statuses = {rejected}\n")
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", f"{server.url}/openapi.json", "--no-color",
        "--max-examples", str(examples), "--exclude-checks", "positive_data_acceptance",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert '"request failed"' not in server.log.read_text()


def _nonsense(random: np.random.Generator) -> bytes:
    """A request that somebody who means harm, or nobody in particular, might send."""
    kinds = ["application/json", "text/csv", "application/x-npy", "application/vnd.apache.parquet", "x/y"]
    bodies = [
        BODY,
        random.bytes(int(random.integers(0, 300))),
        BODY[: int(random.integers(0, len(BODY)))],
        json.dumps({"instances": random.normal(size=(2, int(random.integers(0, 5)))).tolist()}).encode(),
        json.dumps({"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}).encode(),
        b'{"instances": ' + b"[" * int(random.integers(0, 3000)),
    ]
    paths = ["/invocations", "/v2/models/m/infer", "/v2/models/x/infer", "/nothing", "/ping"]
    body = bodies[int(random.integers(len(bodies)))]
    return post(body, f"content-type: {random.choice(kinds)}", path=str(random.choice(paths)))


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.drill)])
def test_nonsense_gets_no_5xx_and_leaves_nothing_behind(folder: Path, tmp_path: Path, count: int) -> None:
    random = np.random.default_rng(0)
    most = 20 << 20
    with running(folder, tmp_path) as server:
        process = psutil.Process(server.process.pid)
        sizes, statuses = [], set()
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
                reader = connection.makefile("rb")
                for _request in range(count // 5):
                    connection.sendall(_nonsense(random))
                    statuses.add(int(reader.readline().split()[1]))
                    length = 0
                    while (line := reader.readline()) != b"\r\n":
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                    reader.read(length)
            sizes.append(process.memory_info().rss)
        assert statuses == {200, 400, 404, 405, 415}
        assert sizes[-1] - sizes[1] < most, sizes
    assert '"request failed"' not in server.log.read_text()
