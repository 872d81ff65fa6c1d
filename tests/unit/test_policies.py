from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from policies import cost, encryption, exposure, identity  # noqa: F401
from policies.control import CONTROLS, control

TAGS = {"Project": "p", "Environment": "e", "Owner": "o"}


def document(action: Any, resource: Any, effect: str = "Allow") -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": action, "Resource": resource}]})


def encrypted_with(**default: str) -> dict[str, Any]:
    return {"rules": [{"applyServerSideEncryptionByDefault": default}]}


# control, a resource that passes, resources that fail
CASES: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    ("kms-key-rotates", {"enableKeyRotation": True}, [{}, {"enableKeyRotation": False}]),
    ("kms-key-rotates", {"customerMasterKeySpec": "RSA_2048"}, [{"customerMasterKeySpec": "SYMMETRIC_DEFAULT"}]),
    ("s3-encrypted-with-own-key", encrypted_with(sseAlgorithm="aws:kms", kmsMasterKeyId="k"),
     [encrypted_with(sseAlgorithm="AES256"), encrypted_with(sseAlgorithm="aws:kms")]),
    ("rds-encrypted", {"storageEncrypted": True}, [{}, {"storageEncrypted": False}]),
    ("dynamodb-encrypted-with-own-key", {"serverSideEncryption": {"enabled": True, "kmsKeyArn": "k"}}, [{}, {"serverSideEncryption": {"enabled": True}}]),
    ("msk-tls-only", {"encryptionInfo": {"encryptionInTransit": {"clientBroker": "TLS", "inCluster": True}}},
     [{"encryptionInfo": {"encryptionInTransit": {"clientBroker": "TLS_PLAINTEXT"}}}, {"encryptionInfo": {"encryptionInTransit": {"inCluster": False}}}]),
    ("s3-no-public-access", dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True),
     [{}, {"blockPublicAcls": True}]),
    ("rds-private", {}, [{"publiclyAccessible": True}]),
    ("no-open-ingress", {"cidrIpv4": "10.0.0.0/8"}, [{"cidrIpv4": "0.0.0.0/0"}, {"cidrIpv6": "::/0"}, {"ingress": [{"cidrBlocks": ["0.0.0.0/0"]}]}]),
    ("iam-no-wildcards", {"policy": document("s3:*", "arn:aws:s3:::b")}, [{"policy": document("*", "*")}, {"policy": document(["s3:Get", "kms:*"], ["*"])}]),
    ("iam-no-wildcards", {"policy": document("*", "*", "Deny")}, [{"policy": json.loads(document("s3:*", "*"))}]),
    ("tagged", {"tags": TAGS}, [{}, {"tags": {"Project": "p"}}, {"tags": {**TAGS, "Owner": ""}}]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "good", "bad"), CASES, ids=[case[0] for case in CASES])
def test_a_control_passes_the_good_and_finds_the_bad(name: str, good: dict[str, Any], bad: list[dict[str, Any]]) -> None:
    check = CONTROLS[name].check
    assert list(check(good)) == []
    for resource in bad:
        assert list(check(resource)), resource


def test_every_control_is_tested_and_complete() -> None:
    assert {case[0] for case in CASES} == set(CONTROLS)
    for item in CONTROLS.values():
        assert item.title and item.types and item.frameworks and item.remediation and item.url.startswith("https://")
        assert item.severity in ("critical", "high", "medium", "low")


def test_two_controls_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two controls are named tagged"):
        control("tagged", "", severity="low", frameworks=(), remediation="", url="")(lambda props: [])


def test_the_pack_is_an_ordinary_policy_pack(root: Any) -> None:
    """Started as the Pulumi CLI starts it, and asked over its own gRPC protocol."""
    import os
    import subprocess
    import sys

    import grpc
    from google.protobuf import empty_pb2, struct_pb2
    from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}  # the CLI sets it: the port is printed into a pipe
    process = subprocess.Popen([sys.executable, "-m", "pulumi.policy", "0", "policies"], cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        stub = analyzer_pb2_grpc.AnalyzerStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
        assert {item.name for item in stub.GetAnalyzerInfo(empty_pb2.Empty(), timeout=30).policies} == set(CONTROLS)
        properties = struct_pb2.Struct()
        properties.update({"publiclyAccessible": True, "storageEncrypted": True, "tags": TAGS})
        request = analyzer_pb2.AnalyzeRequest(
            type="aws:rds/instance:Instance", name="db", urn="urn:pulumi:s::p::aws:rds/instance:Instance::db", properties=properties
        )
        found = stub.Analyze(request, timeout=30).diagnostics
        assert [item.policyName for item in found] == ["rds-private"] and "can be reached from the internet" in found[0].message
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("stack", ["local", "dev", "staging", "prod"])
def test_the_platform_itself_passes_every_control(stack: str, root: Path) -> None:
    """Judged on what the program registers in a preview, where computed values are unknown."""
    from groundplan.preview import UNKNOWN, preview

    found = []
    for resource in preview(root, stack):
        for item in CONTROLS.values():
            if resource.type in item.types and not (item.id == "iam-no-wildcards" and resource.inputs.get("policy", UNKNOWN) == UNKNOWN):
                found += [(item.id, resource.name, fault) for fault in item.check(resource.inputs)]
    assert not found
