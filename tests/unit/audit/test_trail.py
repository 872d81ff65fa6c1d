"""What the log says beside what CloudTrail says; events in the form of AWS's own examples."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.audit.trail import compare
from spec.outputs import Outputs

SINCE, NOW = datetime(2022, 3, 1, tzinfo=UTC), datetime(2022, 3, 8, tzinfo=UTC)
KEYS = {name: f"arn:aws:kms:us-west-2:111122223333:key/{name}" for name in ("registry", "operations", "log", "audit")}
REQUEST = "8d0b35e0-46cf-48b9-be99-bf2ebc9ab9fb"


def signed(key: str, **more: Any) -> dict[str, Any]:
    """https://docs.aws.amazon.com/kms/latest/developerguide/ct-sign.html, with another key."""
    return {
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "EX_PRINCIPAL_ID",
            "arn": "arn:aws:iam::111122223333:user/Alice",
            "accountId": "111122223333",
            "accessKeyId": "EXAMPLE_KEY_ID",
            "userName": "Alice",
        },
        "eventTime": "2022-03-07T22:36:44Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": "Sign",
        "awsRegion": "us-west-2",
        "sourceIPAddress": "192.0.2.0",
        "userAgent": "AWS Internal",
        "requestParameters": {"messageType": "RAW", "keyId": key, "signingAlgorithm": "ECDSA_SHA_256"},
        "responseElements": None,
        "requestID": "8d0b35e0-46cf-48b9-be99-bf2ebc9ab9fb",
        "eventID": "107b3cac-b125-4556-9702-12a2b9afcff7",
        "readOnly": True,
        "resources": [{"accountId": "111122223333", "type": "AWS::KMS::Key", "ARN": key}],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": "111122223333",
        "eventCategory": "Management",
        **more,
    }


def updated(**more: Any) -> dict[str, Any]:
    """An endpoint's update, in the same form."""
    return signed("", eventSource="sagemaker.amazonaws.com", eventName="UpdateEndpoint", resources=None) | {
        "requestParameters": {"endpointName": "shop-prod-churn", "endpointConfigName": "shop-prod-churn-promote-v1"},
        **more,
    }


def outputs(stack: str = "prod") -> Outputs:
    return Outputs.model_construct(
        project="shop",
        stack=stack,
        signing_keys={name: KEYS[name] for name in ("registry", "operations", "log")},
        key_arns={"audit": KEYS["audit"]},
        buckets={"audit": "shop-prod-audit"},
    )


def record(request: str = REQUEST, at: str = "2022-03-07T22:36:44+00:00", **more: Any) -> dict[str, Any]:
    calls = [{"call": "Sign", "id": request, "at": at}]
    return {"sequence": 7, "time": at, "actor": "alice@shop.example", "action": "approve", "calls": calls, **more}


def says(*events: dict[str, Any], records: tuple[dict[str, Any], ...] = ()) -> list[str]:
    numbered = [{**event, "eventID": f"{number}-{event['eventID']}"} for number, event in enumerate(events)]
    return [f"{each.kind}: {each.says}" for each in compare(records, numbered, outputs(), SINCE, NOW).findings]


def test_what_both_have_is_no_finding() -> None:
    found = compare([record(role="Alice")], [signed(KEYS["operations"])], outputs(), SINCE, NOW)
    assert (found.events, found.matched, found.later, found.findings) == (1, 1, 0, ())
    assert compare([record()], [], outputs(), SINCE, NOW).events == 0, "nothing was delivered"


@pytest.mark.parametrize("named", ["operations", KEYS["operations"], "alias/shop-prod-signing-operations"])
def test_a_signature_past_the_log_is_found_however_its_key_is_named(named: str) -> None:
    event = signed(KEYS["operations"], requestParameters={"keyId": named})
    (found,) = compare([], [event], outputs(), SINCE, NOW).findings
    assert found.kind == "trail" and found.by == "arn:aws:iam::111122223333:user/Alice" and found.request == REQUEST
    assert found.says.startswith("Sign of ") and "from 192.0.2.0, and no record is about that" in found.says


def test_signatures_of_others_and_of_the_log_itself_are_not_its_business() -> None:
    assert says(signed("arn:aws:kms:us-west-2:111122223333:key/other"), signed(KEYS["log"])) == []
    assert says(signed(KEYS["registry"], errorCode="AccessDenied")) == [], "refused, so nothing was signed"


def test_a_change_of_an_endpoint_past_the_log_is_found() -> None:
    assert len(says(updated(), updated(eventName="DeleteEndpoint"))) == 2
    assert says(updated(requestParameters={"endpointName": "other-endpoint"})) == []
    empty = {"endpointName": "shop-prod-churn", "endpointConfigName": "shop-prod-churn-empty"}
    assert says(updated(eventName="CreateEndpoint", requestParameters=empty)) == [], "that is the program"
    assert len(says(updated(eventName="CreateEndpoint"))) == 1


def test_a_record_without_its_call_is_found_once_the_trail_must_have_it() -> None:
    events = (signed(KEYS["log"], eventTime="2022-03-02T00:00:00Z"),)
    assert says(*events, records=(record("none"),)) == [
        "log: record 7 (approve) is about a call of Sign that the trail does not have"
    ]
    assert says(*events, records=(record("none", "2022-03-01T23:00:00+00:00"),)) == [], "before the trail begins"
    new = compare([record("none", "2022-03-07T23:50:00+00:00")], events, outputs(), SINCE, NOW)
    assert new.findings == () and new.later == 1
    local = compare([record("none", "2022-03-07T23:50:00+00:00")], events, outputs("local"), SINCE, NOW)
    assert len(local.findings) == 1, "there it is delivered at once"


def test_parts_of_seconds_which_the_trail_does_not_have_hide_nothing() -> None:
    since = datetime(2022, 3, 7, 22, 36, 44, 999_999, tzinfo=UTC)
    late = record("none", "2022-03-07T22:36:44.100000+00:00")
    found = compare([late], [signed(KEYS["operations"])], outputs(), since, NOW)
    assert sorted(each.kind for each in found.findings) == ["log", "trail"]


def test_another_role_than_the_record_says_is_found() -> None:
    assert says(signed(KEYS["operations"]), records=(record(role="shop-prod-operations"),)) == [
        "role: record 7 says that shop-prod-operations has called, and the trail says Alice"
    ]


@pytest.mark.parametrize(
    ("source", "name", "given"),
    [
        ("cloudtrail", "StopLogging", {"name": "shop-prod-trail"}),
        ("kms", "ScheduleKeyDeletion", {"keyId": KEYS["audit"]}),
        ("s3", "DeleteObject", {"bucketName": "shop-prod-audit", "key": "tlog/checkpoint"}),
    ],
)
def test_calls_that_take_evidence_away_are_found(source: str, name: str, given: dict[str, Any]) -> None:
    event = updated(eventSource=f"{source}.amazonaws.com", eventName=name, requestParameters=given)
    (found,) = says(event)
    assert found.startswith(f"evidence: {name} of ") and found.endswith("which takes evidence away")
    other = {"keyId": "other", "bucketName": "other"}
    assert source == "cloudtrail" or says({**event, "requestParameters": other}) == []
