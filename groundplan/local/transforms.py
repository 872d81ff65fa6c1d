"""SageMaker's batch transform on one machine: reads a job's files from S3, asks the model's own server, writes the
answers.

https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform.html
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

MOST_PAYLOAD_MB = 6  # SageMaker's default
TIMEOUT_S = 600.0  # of one request
Ask = Callable[[list[tuple[bytes, bytes]], bytes], Awaitable[tuple[int, bytes]]]


class TransformError(Exception):
    """Why a job failed, as its ``FailureReason`` says it."""


async def transform(job: dict[str, Any], s3: Any, ask: Ask) -> int:
    """Answer every file of a job; returns how many requests there were. Nothing of a file is written before all of its
    records are answered.

    Args:
        job: As DescribeTransformJob has it.
        ask: Sends headers and a body to the model's server; returns status and answer.

    Raises:
        TransformError: There are no files, the server refuses a record, or the job asks for what is not played here.
    """
    source, target = job["TransformInput"], job["TransformOutput"]
    _check(job)
    bucket, _, prefix = source["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("s3://").partition("/")
    to, _, folder = target["S3OutputPath"].removeprefix("s3://").partition("/")
    above = prefix.rpartition("/")[0]
    headers = [
        (b"content-type", (source.get("ContentType") or "application/json").encode()),
        (b"accept", (target.get("Accept") or "application/json").encode()),
    ]
    keys = await asyncio.to_thread(_keys, s3, bucket, prefix)
    if not keys:
        raise TransformError(f"ClientError: no file is below s3://{bucket}/{prefix}")
    line = b"\n" if target.get("AssembleWith") == "Line" else b""
    asked = 0
    for key in keys:
        content = await asyncio.to_thread(_read, s3, bucket, key)
        if source.get("CompressionType") == "Gzip":
            try:
                content = gzip.decompress(content)
            except (OSError, EOFError, zlib.error):
                raise TransformError(f"ClientError: {key} is not compressed by Gzip") from None
        answers = []
        for number, record in enumerate(_records(content, job), 1):
            status, answer = await ask(headers, record)
            asked += 1
            if status != 200:
                said = answer.decode("utf-8", "replace")[:300]
                raise TransformError(f"ClientError: {key}, request {number}: the model answered {status}: {said}")
            answers.append(answer.rstrip(b"\n") if line else answer)
        written = line.join(answers) + (line if answers else b"")
        name = "/".join(part for part in (folder.rstrip("/"), key.removeprefix(f"{above}/")) if part)
        await asyncio.to_thread(s3.put_object, Bucket=to, Key=f"{name}.out", Body=written)
    return asked


def _keys(s3: Any, bucket: str, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", []) if not item["Key"].endswith("/")]


def _read(s3: Any, bucket: str, key: str) -> bytes:
    content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def _check(job: dict[str, Any]) -> None:
    source, processing = job["TransformInput"], job.get("DataProcessing") or {}
    for what, value, allowed in (
        ("S3DataType", source["DataSource"]["S3DataSource"]["S3DataType"], ("S3Prefix",)),
        ("SplitType", source.get("SplitType") or "None", ("None", "Line")),
        ("InputFilter", processing.get("InputFilter") or "$", ("$",)),
        ("OutputFilter", processing.get("OutputFilter") or "$", ("$",)),
        ("JoinSource", processing.get("JoinSource") or "None", ("None",)),
    ):
        if value not in allowed:
            raise TransformError(f"{what} {value} is not played on this machine; only {' and '.join(allowed)}")


def _most_bytes(job: dict[str, Any]) -> float:
    """Of one request; with 0, SageMaker has no limit."""
    given = job.get("MaxPayloadInMB")
    return float("inf") if given == 0 else (given or MOST_PAYLOAD_MB) * 1024 * 1024


def _records(content: bytes, job: dict[str, Any]) -> Iterator[bytes]:
    """The bodies of a file's requests: all of it, each line, or as many lines as fit."""
    if (job["TransformInput"].get("SplitType") or "None") == "None":
        yield content
        return
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    most = _most_bytes(job)
    if long := next((place for place, line in enumerate(lines, 1) if len(line) > most), 0):
        raise TransformError(f"ClientError: line {long} is longer than MaxPayloadInMB allows")
    if job.get("BatchStrategy") == "SingleRecord":
        yield from lines
        return
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        if waiting and size + len(line) + 1 > most:
            yield b"\n".join(waiting) + b"\n"
            waiting, size = [], 0
        waiting.append(line)
        size += len(line) + 1
    if waiting:
        yield b"\n".join(waiting) + b"\n"
