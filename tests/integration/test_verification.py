"""What a verification reads back from the local cloud, and that it reports what is wrong there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groundplan.verification import stored
from groundplan.verification.command import write
from groundplan.verification.evidence import Check, Report, as_html
from spec.errors import GroundplanError, UsageError
from spec.outputs import Outputs


def report() -> Report:
    return Report("local", "2026-01-02T03:04:05Z", "the local cloud", "abc")


def looked(outputs: Outputs, aws: Any) -> Report:
    found = report()
    stored.look(found, outputs, aws)
    stored.refusals(found, outputs, aws, local=True)
    return found


def test_what_the_program_made_is_as_it_should_be(outputs: Outputs, aws: Any) -> None:
    found = looked(outputs, aws)
    empty = {
        "endpoint of diabetes-rf is in service",
        "endpoint of flights-late is in service",
    }  # no hosting runs beside these tests
    assert {check.what for check in found.checks if check.state == "failed"} <= empty
    assert len([check for check in found.checks if check.area == stored.AREA]) > 35
    assert {check.state for check in found.checks if check.area == "Refused"} == {"evaluated"}


def test_what_was_changed_behind_its_back_is_told(outputs: Outputs, aws: Any) -> None:
    bucket = outputs.buckets["curated"]
    tags, policy = (
        aws("s3").get_bucket_tagging(Bucket=bucket)["TagSet"],
        aws("s3").get_bucket_policy(Bucket=bucket)["Policy"],
    )
    block = aws("s3").get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    open_ = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{bucket}/*",
        },
    }
    try:
        aws("s3").put_public_access_block(
            Bucket=bucket, PublicAccessBlockConfiguration={**block, "BlockPublicPolicy": False}
        )
        aws("s3").put_bucket_policy(Bucket=bucket, Policy=json.dumps(open_))
        aws("s3").delete_bucket_tagging(Bucket=bucket)
        told = {check.what: check.found for check in looked(outputs, aws).checks if check.state == "failed"}
        assert told["bucket curated is closed to the public"] == "3 of 4 blocks"
        assert told["anyone reads an object"].startswith("allowed") and told[
            "a role of the account with full access uses plain HTTP"
        ].startswith("allowed")
        assert told["bucket curated"].startswith("ClientError"), (
            "a bucket without tags is an error of the API's, and the other checks went on"
        )
        assert not looked(outputs, aws).passed
    finally:
        aws("s3").put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
        aws("s3").put_bucket_policy(Bucket=bucket, Policy=policy)
        aws("s3").put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})


def test_an_error_is_a_failed_check_and_the_rest_goes_on() -> None:
    found = report()
    with found.looking("a", "first"):
        raise GroundplanError("it is not there", fix="look again")
    with found.looking("a", "second"):
        raise KeyError("x")
    found.checks.append(Check("a", "third", "passed", "yes"))
    assert [check.state for check in found.checks] == ["failed", "failed", "passed"] and "look again" in found.checks[
        0
    ].found
    assert found.verdict == "failed: 1 passed, 2 failed" and not report().passed, "nothing looked at is nothing shown"


def test_the_report_is_dated_and_safe(tmp_path: Path) -> None:
    found = report()
    found.checks.append(Check("area", "what <b>", "passed", "found & seen", "wanted", 1.25))
    found.left.append("a version")
    page, document = write(found, tmp_path / "reports")
    assert (
        page.name == "verify-local-2026-01-02.html"
        and "what &lt;b&gt;" in page.read_text(encoding="utf-8")
        and "a version" in as_html(found)
    )
    assert json.loads(document.read_text(encoding="utf-8"))["passed"] is True
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't be written"):
        write(found, tmp_path / "file")
