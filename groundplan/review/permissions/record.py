"""The record of calls: what steps, servers and people's commands call in AWS, with names that fit every stack.

``calls.json`` beside this file has a line for each distinct call of the local runs. A name that differs between stacks
or runs is a placeholder there: ``{prefix}`` (project and stack), ``{account}``, ``{region}``,
``{key:models}`` (a KMS key by its class of data), ``{hive}`` (``{prefix}`` with underscores), ``{name}`` for what a run
or a model names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("calls.json")
# What AWS itself does on AWS: Kafka keeps its log, hosting its endpoints; of the latter only what it does with a
# model's role counts.
_BY_AWS = frozenset({"server.kafka", "server.kafka-front", "server.aws"})
# Endpoints of models that the stack does not name exist only locally: on AWS a stack creates its endpoints itself, and
# no step may create more.
_SANDBOX = frozenset({("sagemaker", "CreateEndpoint")})
# First parts of keys that the platform assigns; others are names of topics, views and models.
_OWN = frozenset(
    {
        "manifests",
        "decisions",
        "contracts",
        "quarantine",
        "people",
        "runs",
        "models",
        "forgotten",
        "training",
        "feast",
        "capture",
        "cloudtrail",
        "tlog",
        "log",
        "batch",
        "labels",
        "lineage",
        "monitoring",
        "erased",
        "evidence",
        "replays",
        "current",
        "registry",
        "approvals",
        "canaries",
        "checkpoints",
    }
)
_PUBLISHED = ("current", "served", "triton", "device")  # below a model's own folder
_RELEVANT = re.compile(r".*(Name|Arn|ARN|Id|Namespace|RequestItems)|Tags")
_S3 = re.compile(
    r"Bucket|Key|Prefix|VersionId|IfMatch|IfNoneMatch|CopySource|ACL|Delete|ServerSideEncryption|SSEKMSKeyId"
)


@dataclass(frozen=True, order=True)
class Call:
    """One call.

    Attributes:
        caller: ``step.ingest``, ``server.mlflow``, ``person.approve``.
        service: Name that the request is signed with.
        parameters: Those that decide what is allowed, as JSON text with sorted keys.
        missing: Whether the resource did not exist.
    """

    caller: str
    service: str
    operation: str
    parameters: str
    missing: bool = False

    def filled(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Its parameters with the names of a stack.

        Raises:
            KeyError: The stack has no such name, for example no key for that class of data.
        """
        found: dict[str, Any] = json.loads(re.sub(r"\{([a-z:-]+)\}", lambda match: values[match[1]], self.parameters))
        return found


@dataclass(frozen=True)
class Names:
    """Names of the stack on which calls were made."""

    project: str
    stack: str
    account: str
    region: str
    keys: Mapping[str, str]  # class of data by the id of its KMS key


def generalised(raw: Iterable[Mapping[str, Any]], names: Names) -> list[Call]:
    """Calls in the form of the record, each once, sorted."""
    found = set()
    for item in raw:
        caller, service = item["caller"], item["service"]
        if (
            caller in _BY_AWS
            or (caller == "server.router" and service != "s3")
            or (service, item["operation"]) in _SANDBOX
        ):
            continue
        wanted = _S3 if service == "s3" else _RELEVANT
        kept = {
            key: _value(key, value, service, names)
            for key, value in item["parameters"].items()
            if wanted.fullmatch(key)
        }
        found.add(Call(caller, service, item["operation"], json.dumps(kept, sort_keys=True), bool(item.get("missing"))))
    return sorted(found)


def _value(key: str, value: Any, service: str, names: Names) -> Any:
    if isinstance(value, list):
        return [
            json.loads(text)
            for text in sorted({json.dumps(_value(key, item, service, names), sort_keys=True) for item in value})
        ]
    if isinstance(value, dict):
        return {inner: _value(inner, item, service, names) for inner, item in value.items()}
    if not isinstance(value, str):
        return value
    if key in ("VersionId", "IfMatch"):
        return "1"
    if service == "s3" and key in ("Key", "Prefix"):
        first, slash, rest = value.partition("/")
        known = first if first in _OWN or not slash else "{name}"
        if known == "approvals":  # each role has its own folder there
            role, slash, rest = rest.partition("/")
            known = f"{known}/{role}"
        if known == "{name}" and rest.partition("/")[0] in _PUBLISHED:
            published, slash, rest = rest.partition("/")
            known = f"{known}/{published}"
        return (f"{known}/{'{name}' if rest else ''}" if slash else "{name}") if value else ""
    if key == "restApiId":
        return "{name}"
    if service == "glue" and key == "TableName":
        return re.sub(r"^(dataset|features)_.+", r"\1_{name}", value)
    text = value.replace(names.account, "{account}").replace(names.region, "{region}")
    text = re.sub(
        r"key/([0-9a-f-]{36})",
        lambda match: f"key/{{key:{names.keys[match[1]]}}}" if match[1] in names.keys else match[0],
        text,
    )
    text = re.sub(rf"{names.project}/{names.stack}/([\w-]+?)-\w{{6}}$", r"{project}/{stack}/\1-AbCdEf", text)
    text = text.replace(f"{names.project}/{names.stack}", "{project}/{stack}").replace(
        f"Groundplan/{names.stack}", "Groundplan/{stack}"
    )
    text = text.replace(f"{names.project}-{names.stack}", "{prefix}")
    text = text.replace(f"{names.project}-{names.stack}".replace("-", "_"), "{hive}") if service == "glue" else text
    text = re.sub(r"(\{prefix\}-online)\..+", r"\1.{name}", text)
    if service == "sagemaker" and ":role/" not in text:
        text = re.sub(r"\{prefix\}-[\w.-]+(/\d+$)?", lambda match: "{prefix}-{name}" + ("/1" if match[1] else ""), text)
    return text


def read(file: Path = FILE) -> list[Call]:
    """The record."""
    return [
        Call(
            item["caller"],
            item["service"],
            item["operation"],
            json.dumps(item.get("parameters", {}), sort_keys=True),
            item.get("missing", False),
        )
        for item in json.loads(file.read_text(encoding="utf-8"))["calls"]
    ]


def write(calls: Iterable[Call], file: Path = FILE) -> None:
    """Write the record, one line per call."""
    lines = []
    for call in sorted(set(calls)):
        item: dict[str, Any] = {
            "caller": call.caller,
            "service": call.service,
            "operation": call.operation,
            "parameters": json.loads(call.parameters),
        }
        if call.missing:
            item["missing"] = True
        lines.append(f"  {json.dumps(item)}")
    newline = ",\n"
    file.write_text(f'{{"calls": [\n{newline.join(lines)}\n]}}\n', encoding="utf-8")


def of_running(aws_url: str, router_url: str, kafka: Path, names: Names) -> list[Call]:
    """The calls that the running local platform has seen.

    Args:
        kafka: Where the Kafka broker's proxy records them.

    Raises:
        OSError: The platform does not answer.
    """
    import urllib.request

    raw: list[Any] = []
    for url in (aws_url, router_url):
        with urllib.request.urlopen(f"{url}/_groundplan/calls", timeout=10) as answer:  # noqa: S310 (loopback, as groundplan started it)
            raw += json.load(answer)
    raw += json.loads(kafka.read_text(encoding="utf-8")) if kafka.is_file() else []
    return generalised(raw, names)
