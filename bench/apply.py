"""Applying the local stack, compared with the same AWS calls in a plain loop with boto3.

Both start with a fresh moto server. The loop replays what one application of the program sent, with the ids of its own
server in place of the recorded ones.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.pairs import compare

ROOT = Path(__file__).parent.parent
Call = tuple[str, str, dict[str, Any], dict[str, Any]]


def main() -> None:
    calls: list[Call] = []
    _apply(calls)
    compare(
        f"Applying stack local ({len(calls)} AWS calls)",
        ("groundplan", lambda: _apply([])),
        ("plain boto3 loop", lambda: _replay(calls)),
        5,
        "no more than 1.5",
    )


@contextmanager
def _server() -> Iterator[str]:
    from groundplan.local.services import free_port, healthy, own_service

    service = own_service("aws", free_port())
    process = subprocess.Popen(
        [sys.executable, "-m", "groundplan.local.moto.server", "--port", str(service.port)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not healthy(service):
            time.sleep(0.05)
        yield service.url
    finally:
        process.terminate()
        process.wait()


def _apply(calls: list[Call]) -> float:
    """Seconds that a separate process takes to apply the program, without its imports."""
    from groundplan.local.moto import apply, aws, rules, shapes
    from groundplan.local.moto.sending import sender

    # What a first application in a new process would have to load is loaded again.
    aws.session.cache_clear()
    shapes.input_shape.cache_clear()
    shapes.model.cache_clear()
    rules.RULES["aws:msk/topic:Topic"] = replace(
        rules.RULES["aws:msk/topic:Topic"], make=lambda cloud, inputs: (inputs["name"], {})
    )  # no AWS call

    def recording(endpoint: str) -> Any:
        send = sender(endpoint)

        def note(region: str, service: str, operation: str, request: Any) -> dict[str, Any]:
            answer = send(region, service, operation, request)
            calls.append((service, operation, dict(request), answer))
            return answer

        return note

    vars(apply)["sender"] = recording
    try:
        with _server() as url, TemporaryDirectory() as folder:
            started = time.perf_counter()
            apply.apply(
                ROOT, "local", url, "127.0.0.1:9092", Path(folder) / "state.json", Path(folder) / "manifests", "bench"
            )
            return time.perf_counter() - started
    finally:
        vars(apply)["sender"] = sender


def _replay(calls: list[Call]) -> float:
    import boto3
    from botocore import xform_name

    with _server() as url:
        started = time.perf_counter()
        session = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name="us-east-1")
        clients: dict[str, Any] = {}
        ids: dict[str, str] = {}
        for service, operation, request, recorded in calls:
            if service not in clients:
                clients[service] = session.client(service, endpoint_url=url)
            answer = getattr(clients[service], xform_name(operation))(**_with_ids(request, ids))
            _learn(recorded, answer, ids)
        return time.perf_counter() - started


def _with_ids(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _with_ids(item, ids) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_ids(item, ids) for item in value]
    if isinstance(value, str):
        for old, new in ids.items():
            value = value.replace(old, new)
    return value


def _learn(recorded: Any, answer: Any, ids: dict[str, str]) -> None:
    """Note which id of this server stands for which recorded one."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        for key in recorded.keys() & answer.keys() - {"ResponseMetadata"}:
            _learn(recorded[key], answer[key], ids)
    elif isinstance(recorded, list) and isinstance(answer, list):
        for old, new in zip(recorded, answer, strict=False):
            _learn(old, new, ids)
    elif isinstance(recorded, str) and isinstance(answer, str) and recorded != answer and len(recorded) > 7:
        ids[recorded] = answer
