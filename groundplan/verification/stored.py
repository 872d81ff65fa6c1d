"""What exists in an account, read back from AWS's APIs: encryption, access, retention, tags, endpoints, alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from groundplan.verification.evidence import Check, Report, checked
from policies.iam import Policies, Request, evaluate, read
from spec.outputs import Outputs
from spec.service_levels import GUARDS

Client = Callable[[str], Any]
AREA = "Stored and configured"
_check = partial(checked, AREA)
_TAGS = ("Project", "Environment", "Owner")
_LOCKED = ("raw", "audit")


def look(report: Report, outputs: Outputs, client: Client) -> None:
    """Add the findings to a report."""
    for zone in sorted(outputs.buckets):
        with report.looking(AREA, f"bucket {zone}"):
            report.checks += _bucket(zone, outputs, client("s3"))
    for view, table in sorted(outputs.online_tables.items()):
        with report.looking(AREA, f"online table {view}"):
            report.checks += _table(view, table, client("dynamodb"))
    for kind, arn in sorted(outputs.key_arns.items()):
        with report.looking(AREA, f"key {kind}"):
            turning = client("kms").get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]
            report.checks.append(
                _check(f"key {kind} is rotated", turning, f"rotation {'on' if turning else 'off'}", "on")
            )
    for name, arn in sorted(outputs.secret_arns.items()):
        with report.looking(AREA, f"secret {name}"):
            versions = client("secretsmanager").describe_secret(SecretId=arn).get("VersionIdsToStages") or {}
            report.checks.append(
                _check(f"secret {name} has a value", bool(versions), f"{len(versions)} versions", "at least 1")
            )
    for model, endpoint in sorted(outputs.endpoints.items()):
        if endpoint.name:
            with report.looking(AREA, f"endpoint of {model}"):
                report.checks += _endpoint(model, endpoint.name, client("sagemaker"))
    wanted = {name for of_model in outputs.alarms.values() for name in of_model.values()}
    for levels in outputs.service_levels.values():
        wanted |= {name for level in levels.values() for name in level.alarms.values()}
    guards = {name for of_model in outputs.alarms.values() for subject, name in of_model.items() if subject in GUARDS}
    alarms = sorted(wanted)
    with report.looking(AREA, "alarms"):
        pages = (
            client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmTypes=["CompositeAlarm", "MetricAlarm"])
        )
        there = {
            item["AlarmName"]: item
            for page in pages
            for kind in ("MetricAlarms", "CompositeAlarms")
            for item in page[kind]
        }
        silent = [name for name in alarms if name in there and name not in guards and not there[name]["AlarmActions"]]
        missing = [name for name in alarms if name not in there]
        said = f"{len(alarms) - len(missing)} of {len(alarms)} exist, {len(silent)} without an action"
        report.checks.append(
            _check("every alarm exists and has a recipient", not missing and not silent, said, "all of them")
        )


def _bucket(zone: str, outputs: Outputs, s3: Any) -> Iterator[Check]:
    bucket = outputs.buckets[zone]
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0][
        "ApplyServerSideEncryptionByDefault"
    ]
    own = rule.get("KMSMasterKeyID") in outputs.key_arns.values()
    yield _check(
        f"bucket {zone} is encrypted with a key of the stack",
        own,
        rule["SSEAlgorithm"] + ("" if own else ", another key"),
        "aws:kms, a key of the stack",
    )
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    yield _check(
        f"bucket {zone} is closed to the public", all(block.values()), f"{sum(block.values())} of 4 blocks", "all 4"
    )
    versions = s3.get_bucket_versioning(Bucket=bucket).get("Status", "off")
    yield _check(f"bucket {zone} keeps versions", versions == "Enabled", versions, "Enabled")
    tags = {item["Key"] for item in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}
    yield _check(f"bucket {zone} has its tags", {*_TAGS} <= tags, ", ".join(sorted(tags)), ", ".join(_TAGS))
    if zone in _LOCKED:
        lock = s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
        kept = lock["Rule"]["DefaultRetention"]
        yield _check(
            f"bucket {zone} is locked",
            lock["ObjectLockEnabled"] == "Enabled",
            f"{kept['Mode'].lower()}, {kept.get('Days', 0)} days",
            "every object, for some days",
        )


def _table(view: str, table: str, dynamodb: Any) -> Iterator[Check]:
    described = dynamodb.describe_table(TableName=table)["Table"]
    kept = described.get("SSEDescription", {})
    yield _check(
        f"online table {view} is encrypted", kept.get("SSEType") == "KMS", kept.get("SSEType", "AWS's own key"), "KMS"
    )
    tags = {item["Key"] for item in dynamodb.list_tags_of_resource(ResourceArn=described["TableArn"])["Tags"]}
    yield _check(
        f"online table {view} has its tags", {*_TAGS} <= tags, ", ".join(sorted(tags)) or "none", ", ".join(_TAGS)
    )


def _endpoint(model: str, name: str, sagemaker: Any) -> Iterator[Check]:
    described = sagemaker.describe_endpoint(EndpointName=name)
    yield _check(
        f"endpoint of {model} is in service",
        described["EndpointStatus"] == "InService",
        described["EndpointStatus"],
        "InService",
    )
    config = sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
    capture = (config.get("DataCaptureConfig") or {}).get("EnableCapture", False)
    yield _check(f"endpoint of {model} captures its requests", bool(capture), "on" if capture else "off", "on")


def refusals(report: Report, outputs: Outputs, client: Client, *, local: bool) -> None:
    """What must not be possible: tried on AWS, computed from the deployed policies on the local cloud."""
    area, bucket = "Refused", outputs.buckets["curated"]
    with report.looking(area, "access to the lake"):
        policy = read(client("s3").get_bucket_policy(Bucket=bucket)["Policy"], f"policy of {bucket}")
        of_ours = f"arn:aws:iam::{outputs.account_id}:role/any"
        everything = read(
            {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}, "every right"
        )
        cases = (
            ("anyone reads an object", "anonymous", (), {"aws:SecureTransport": "true"}),
            (
                "a role of the account with full access uses plain HTTP",
                of_ours,
                (everything,),
                {"aws:SecureTransport": "false"},
            ),
            ("a role of the account without permissions", of_ours, (), {"aws:SecureTransport": "true"}),
        )
        for what, who, own, context in cases:
            request = Request(
                "s3:GetObject", f"arn:aws:s3:::{bucket}/runs/any", who, context, resource_account=outputs.account_id
            )
            decision = evaluate(request, Policies(identity=own, resource=policy))
            state = "failed" if decision.outcome != "denied" else "evaluated"
            report.checks.append(Check(area, what, state, f"{decision.outcome}: {decision.reason}", "denied"))
    if local:
        return
    for what, scheme in (("anyone reads over HTTPS", "https"), ("anyone reads over plain HTTP", "http")):
        with report.looking(area, what):
            status = _status(f"{scheme}://{bucket}.s3.{outputs.region}.amazonaws.com/platform/outputs.json")
            report.checks.append(
                Check(area, what, "passed" if status == 403 else "failed", f"HTTP {status}", "HTTP 403")
            )


def _status(address: str) -> int:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310 (two schemes, both given above)
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
