"""The audit log: who did what to which model, when, from where and why.

One log for each environment, in its audit zone (``pipelines.audit.log``). What releases before it have written, a chain
of hashes for each model below ``log/``, becomes its first records.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any

from pipelines.audit import kms
from pipelines.audit.log import Log
from pipelines.audit.notes import Key, Signer
from pipelines.audit.stores import Bucket
from pipelines.audit.tree import leaf_hash
from pipelines.context import Context
from spec.errors import GroundplanError
from spec.outputs import LOCAL
from spec.versions import LOGGER
from spec.zones import LOG

ERASE = "erase"  # of a person's data, from files of a version
SHARE = "share"  # of a model's requests that a version which is tried gets, in percent
MOST_OF_A_TEXT = 4_000  # characters
_TEXTS = ("reason", "why", "verdict")
_CHAINS, _START = "log/", "0" * 64
_ENDED = ("promote", "hold", "rollback")


def now() -> str:
    """The current time in the format of decision records: ISO 8601, to the second, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def log_of(context: Context, key: Key | None = None) -> Log:
    """The environment's log; whoever may sign with its key adds records to its tree.

    Args:
        key: Its key, for somebody who knows it and does not ask KMS; they only read.
    """
    outputs = context.outputs
    origin = f"{outputs.project}-{outputs.stack}.{outputs.region}.{outputs.account_id}/audit"
    store = Bucket(context.s3, outputs.buckets["audit"], LOG)
    arn = outputs.signing_keys.get(LOGGER)
    if key is not None:
        return Log(store, origin, (key,))
    if arn is None:  # of a release before it
        return Log(store, origin, ())
    key = Key(origin, _public_key(arn, context.s3.meta.endpoint_url))
    return Log(store, origin, (key,), Signer(key, lambda message: _sign(arn, message)))


def append(context: Context, actor: str, action: str, **details: Any) -> str:
    """Add one record about the model and return its hash. Where others write at the same time, it follows theirs.

    Whoever may not sign the log's state leaves that to the next one who may.
    """
    log = log_of(context)
    _bring_over(context, log)
    role, origin = _caller(context)
    about = list(context.calls)
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "model": context.model,
        "run": context.run,
        "actor": actor,
        "role": role,
        "from": origin,
        "action": action,
        "details": _plain(_told(context, actor, details)),
        **({"calls": about} if about else {}),
    }
    content = _canonical(entry)
    log.append(content)
    del context.calls[: len(about)]
    if log.signer:
        with suppress(_MayNotSignError):
            log.integrate()
    return leaf_hash(content).hex()


@contextmanager
def refusals(context: Context, actor: str, **details: Any) -> Iterator[None]:
    """What is refused inside is on record, too."""
    try:
        yield
    except GroundplanError as error:
        append(context, actor, "refuse", why=error.what, **details)
        raise


def everything(context: Context) -> list[dict[str, Any]]:
    """Every record of the environment, with its number in the log and its hash.

    Raises:
        GroundplanError: The log was changed.
    """
    found: list[dict[str, Any]] = []
    brought = set[str]()
    for number, content in enumerate(log_of(context).records()):
        entry = json.loads(content)
        # Of two who brought an old line over at once, both have written it.
        if (old := (entry.get("brought_over") or {}).get("hash")) in brought:
            continue
        if old:
            brought.add(old)
        found.append({"sequence": number, **entry, "hash": leaf_hash(content).hex()})
    return found or _old_lines(context)


def entries(context: Context) -> list[dict[str, Any]]:
    """Every record about the model.

    Raises:
        GroundplanError: The log was changed.
    """
    return [entry for entry in everything(context) if entry["model"] == context.model]


def _bring_over(context: Context, log: Log) -> None:
    """Write the lines of an earlier release's chains into a log that has no record yet."""
    if log.store.read("entry/000000000000") is not None:
        return
    for line in _old_lines(context):
        kept = {key: value for key, value in line.items() if key not in ("sequence", "previous", "hash")}
        brought = {"sequence": line["sequence"], "hash": line["hash"]}
        log.append(_canonical({**kept, "brought_over": brought}))


def _old_lines(context: Context) -> list[dict[str, Any]]:
    """Every line of the chains that an earlier release has written, checked, in the order of their time.

    Raises:
        GroundplanError: A line was changed, inserted, or removed before the last one.
    """
    chains: dict[str, list[dict[str, Any]]] = {}
    for key in context.keys("audit", _CHAINS):
        chains.setdefault(key.split("/")[1], []).append(json.loads(context.get("audit", key)))
    for model, lines in chains.items():
        previous = _START
        for index, entry in enumerate(lines):
            body = {key: value for key, value in entry.items() if key != "hash"}
            if entry["sequence"] != index or entry["previous"] != previous or entry["hash"] != _line_hash(body):
                raise GroundplanError(
                    f"the audit log of {model} is broken at line {index}",
                    where=f"s3://{context.outputs.buckets['audit']}/{_CHAINS}{model}/",
                )
            previous = entry["hash"]
    return sorted(
        (line for lines in chains.values() for line in lines),
        key=lambda line: (line["time"], line["model"], line["sequence"]),
    )


class _MayNotSignError(Exception):
    """The log's key refuses these credentials."""


def _sign(arn: str, message: bytes) -> bytes:
    import boto3
    from botocore.exceptions import ClientError

    try:
        return kms.sign(boto3.client("kms"), arn, message)
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDeniedException":
            raise
        raise _MayNotSignError from None


@cache
def _public_key(arn: str, endpoint: str) -> bytes:
    """A key's 32 bytes.

    Args:
        endpoint: Of the cloud that was asked.
    """
    import boto3

    return kms.public_key(boto3.client("kms").get_public_key(KeyId=arn))


def _caller(context: Context) -> tuple[str, str]:
    """The role in which it is done, and from where: the session that the cloud sees, and the job or machine."""
    server, run = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_RUN_ID")
    job = f"{server}/{os.environ.get('GITHUB_REPOSITORY')}/actions/runs/{run}" if server and run else ""
    machine = os.environ.get("CI_JOB_URL") or job or platform.node()
    if context.outputs.stack == LOCAL:  # where processes sign with keys that name them
        return os.environ.get("AWS_ACCESS_KEY_ID", "").removeprefix("groundplan."), machine
    arn = _arn(context.s3.meta.endpoint_url)
    return role_of(arn), f"{arn} at {machine}"


def role_of(arn: str) -> str:
    """The role of a session's ARN; of anybody else, their own name."""
    parts = arn.rpartition(":")[2].split("/")
    return parts[1] if parts[0] == "assumed-role" and len(parts) > 2 else parts[-1]


@cache
def _arn(endpoint: str) -> str:
    import boto3

    return str(boto3.client("sts").get_caller_identity()["Arn"])


def _told(context: Context, actor: str, details: dict[str, Any]) -> dict[str, Any]:
    """Details without personal data of others than those who act here: people write reasons, and errors name values."""
    from pipelines.privacy.redacting import redacted

    texts = {name: str(details[name]) for name in _TEXTS if details.get(name)}
    known: set[str] = set()
    if any("@" in text for text in texts.values()):
        with suppress(GroundplanError):  # a log that was changed is reported by whoever reads it
            known = {entry["actor"] for entry in everything(context)}
    return {**details, **{name: redacted(text, known | {actor}) for name, text in texts.items()}}


def _plain(value: Any) -> Any:
    """What JSON has: numbers that it lacks as texts, and long texts cut."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str) and len(value) > MOST_OF_A_TEXT:
        return f"{value[:MOST_OF_A_TEXT]}..."
    return value


def _canonical(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _line_hash(entry: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def serves(entry: dict[str, Any]) -> str:
    """The version that is served since an entry; empty where it says nothing about that."""
    name = {"promote": "version", "rollback": "to"}.get(entry["action"], "")
    return str(entry["details"].get(name) or "")


def served_in(log: list[dict[str, Any]]) -> list[str]:
    """The versions that were served, in their order; a version that came back is there twice."""
    return [version for entry in log if (version := serves(entry))]


def stack_of(log: list[dict[str, Any]]) -> list[str]:
    """The versions that were served and not taken back, in their order; the last one is served."""
    found: list[str] = []
    for entry in log:
        version = serves(entry)
        if entry["action"] == "rollback" and version in found:
            del found[found.index(version) + 1 :]
        elif version:
            found = [one for one in found if one != version] + [version]
    return found


def asked_for(log: list[dict[str, Any]]) -> str:
    """The version that a person has asked for last, unless it was tried since; empty if there is none."""
    for place in range(len(log) - 1, -1, -1):
        entry = log[place]
        if entry["action"] in ("insist", "ask"):
            version = str(entry["details"]["version"])
            ended = {each["details"].get("version") for each in log[place:] if each["action"] in _ENDED}
            return "" if version in ended else version
    return ""


def insisted(log: list[dict[str, Any]], version: str) -> str:
    """Why a person wants a version promoted although its canary had not enough evidence; empty if nobody has said so
    since it was last tried.
    """
    for entry in reversed(log):
        if entry["details"].get("version") == version and entry["action"] in ("insist", "hold", "rollback", "promote"):
            return str(entry["details"]["reason"]) if entry["action"] == "insist" else ""
    return ""
