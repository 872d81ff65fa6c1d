"""A platform is backed up while it is in use, lost, and restored into an empty one that must answer the same."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.platform import assert_ok, copy_project, groundplan, processes_of

pytestmark = pytest.mark.drill  # two platforms and two deployments

ENDPOINT = "groundplan-local-diabetes-rf"
MODELS = "groundplan-local-models-123456789012"
CURATED = "groundplan-local-curated-123456789012"


@dataclass(frozen=True)
class Lost:
    """What was there before, and the answer to ``restore``."""

    project: Path
    backup: Path
    before: dict[str, Any]
    after: dict[str, Any]
    told: dict[str, Any]


def clients(project: Path) -> dict[str, Any]:
    import boto3

    variables = json.loads(assert_ok(groundplan(project, "env", "--json"), project).stdout)
    session = boto3.Session("testing", "testing", region_name=variables["AWS_REGION"])
    made = {
        name: session.client(name, endpoint_url=variables["AWS_ENDPOINT_URL"])
        for name in ("s3", "dynamodb", "sagemaker", "secretsmanager", "kms")
    }
    runtime = session.client("sagemaker-runtime", endpoint_url=variables["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"])
    return {**made, "runtime": runtime, "variables": variables}


def answer(found: dict[str, Any], patient: int) -> Any:
    body = json.dumps({"entities": {"patient_id": [patient]}})
    answered = found["runtime"].invoke_endpoint(EndpointName=ENDPOINT, ContentType="application/json", Body=body)
    return json.loads(answered["Body"].read())["predictions"]


def stored(found: dict[str, Any]) -> dict[str, Any]:
    """What ordinary clients see of the platform."""
    from mlflow import MlflowClient

    s3, sagemaker = found["s3"], found["sagemaker"]
    objects = {}
    for bucket in (item["Name"] for item in s3.list_buckets()["Buckets"]):
        versions = s3.list_object_versions(Bucket=bucket)
        assert not versions["IsTruncated"]
        objects[bucket] = sorted((one["Key"], one["ETag"]) for one in versions.get("Versions", []))
    tables = found["dynamodb"].list_tables()["TableNames"]
    mlflow = MlflowClient(found["variables"]["MLFLOW_TRACKING_URI"])
    groups = [
        each["ModelPackageGroupName"] for each in sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
    ]
    return {
        "objects": objects,
        "items": {table: found["dynamodb"].scan(TableName=table)["Items"] for table in tables},
        "packages": [
            (package["ModelPackageDescription"], package["ModelApprovalStatus"])
            for group in groups
            for package in sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
        ],
        "runs": sorted(
            run.info.run_id
            for experiment in mlflow.search_experiments()
            for run in mlflow.search_runs([experiment.experiment_id])
        ),
        "champion": mlflow.get_model_version_by_alias("diabetes-rf", "champion").tags["version"],
        "masking_key": hashlib.sha256(
            found["secretsmanager"].get_secret_value(SecretId="groundplan/local/masking-key")["SecretString"].encode()
        ).hexdigest(),
        "signs": {
            alias["AliasName"]: found["kms"].get_public_key(KeyId=alias["AliasName"])["PublicKey"]
            for alias in found["kms"].list_aliases()["Aliases"]
            if "signing" in alias["AliasName"]
        },
        "answers": [answer(found, patient) for patient in range(1, 40)],
    }


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    """The platform with two versions, backed up while somebody writes, and restored without what came later."""
    folder = tmp_path_factory.mktemp("restore")
    project = copy_project(folder / "a clone")
    try:
        assert_ok(groundplan(project, "up", "--models", "diabetes-rf"), project)
        assert_ok(groundplan(project, "experiment", "diabetes-rf", "--deploy"), project)
        found = clients(project)
        leave_a_canary(found)
        own_things(found)
        before = stored(found)
        backup = folder / "backup.zip"
        stop, writer = threading.Event(), threading.Thread(target=lambda: write(found["s3"], stop), daemon=True)
        writer.start()
        assert_ok(groundplan(project, "backup", "--to", str(backup)), project)
        stop.set()
        writer.join()
        rejected = groundplan(
            project, "reject", "diabetes-rf", "v1.0.0", "--role", "operations", "--reason", "later",
            "--identity", "later@example.com",
        )  # fmt: skip
        assert_ok(rejected, project)
        assert_ok(groundplan(project, "down"), project)
        shutil.rmtree(project / ".groundplan")
        done = groundplan(project, "restore", str(backup), "--identity", "ops@example.com", "--json")
        told = json.loads(assert_ok(done, project).stdout)
        yield Lost(project, backup, before, stored(clients(project)), told)
        assert_ok(groundplan(project, "down"), project)
        assert processes_of(project) == []
    finally:
        groundplan(project, "down")


def own_things(found: dict[str, Any]) -> None:
    """What no program has created, and objects with everything that S3 keeps about them."""
    s3, dynamodb = found["s3"], found["dynamodb"]
    s3.create_bucket(Bucket="somebody-s-own")
    s3.put_object(Bucket="somebody-s-own", Key="ä b+%/", Body=b"")
    told = {
        "CacheControl": "max-age=9",
        "ContentDisposition": "attachment",
        "ContentLanguage": "de",
        "Metadata": {"a": "b"},
    }
    s3.put_object(Bucket=CURATED, Key="own/told", Body=b"x", StorageClass="STANDARD_IA", Tagging="k=v", **told)
    for number in range(3):
        s3.put_object(Bucket=CURATED, Key="own/again", Body=str(number).encode())
        if number < 2:
            s3.delete_object(Bucket=CURATED, Key="own/again")
    dynamodb.create_table(
        TableName="somebody-s-own",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("id", "by")],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-whom",
                "KeySchema": [{"AttributeName": "by", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    item = {"id": {"S": "1"}, "by": {"S": "x"}, "raw": {"B": b"\x00\xff"}, "set": {"NS": ["1", "2"]}}
    dynamodb.put_item(TableName="somebody-s-own", Item=item)


def leave_a_canary(found: dict[str, Any]) -> None:
    """As a deployment leaves it that is killed half-way."""
    serving = found["sagemaker"].describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"]
    left = {"version": "v1.0.2", "run": "killed", "owner": "x", "since": "", "ended": False, "before": serving}
    found["s3"].put_object(Bucket=MODELS, Key="canaries/diabetes-rf.json", Body=json.dumps(left).encode())


def write(s3: Any, stop: threading.Event) -> None:
    """Two objects that belong together: the second always follows the first."""
    number = 0
    while not stop.is_set():
        number += 1
        for name in ("first", "second"):
            s3.put_object(Bucket=CURATED, Key=f"pair/{name}", Body=str(number).encode())


def without(found: dict[str, Any], *prefixes: str) -> dict[str, Any]:
    """Stored objects but those that ``restore`` itself, or the writer, has added."""
    return {
        bucket: [each for each in objects if not each[0].startswith(prefixes)]
        for bucket, objects in found["objects"].items()
    }


def test_everything_stored_is_there_again(lost: Lost) -> None:
    for what in ("items", "packages", "runs", "champion", "masking_key", "signs"):
        assert lost.after[what] == lost.before[what] and lost.before[what], what
    ours = ("canaries/", "pair/", "capture/", "tlog/", "platform/", "diabetes-rf/current/")
    assert without(lost.after, *ours) == without(lost.before, *ours)
    outputs = clients(lost.project)["s3"].get_object(Bucket=CURATED, Key="platform/outputs.json")["Body"].read()
    here = json.loads((lost.project / ".groundplan" / "run" / "outputs.json").read_text(encoding="utf-8"))
    assert json.loads(outputs)["key_arns"] == here["key_arns"], "what the program writes is the new environment's"
    assert any(key.startswith("clusters/") for _, listed in lost.before["objects"].items() for key, _ in listed)


def test_what_somebody_has_added_is_there_as_well(lost: Lost) -> None:
    found = clients(lost.project)
    s3, dynamodb = found["s3"], found["dynamodb"]
    told = s3.head_object(Bucket=CURATED, Key="own/told")
    assert (told["CacheControl"], told["ContentDisposition"], told["ContentLanguage"]) == (
        "max-age=9",
        "attachment",
        "de",
    )
    assert told["Metadata"] == {"a": "b"} and told["StorageClass"] == "STANDARD_IA"
    assert s3.get_object_tagging(Bucket=CURATED, Key="own/told")["TagSet"] == [{"Key": "k", "Value": "v"}]
    history = s3.list_object_versions(Bucket=CURATED, Prefix="own/again")
    assert len(history["Versions"]) == 3 and len(history["DeleteMarkers"]) == 2
    assert s3.get_object(Bucket=CURATED, Key="own/again")["Body"].read() == b"2"
    asked = dynamodb.query(
        TableName="somebody-s-own",
        IndexName="by-whom",
        KeyConditionExpression="#by = :x",
        ExpressionAttributeNames={"#by": "by"},
        ExpressionAttributeValues={":x": {"S": "x"}},
    )
    assert [bytes(item["raw"]["B"]) for item in asked["Items"]] == [b"\x00\xff"]


def test_the_endpoint_answers_the_same(lost: Lost) -> None:
    assert lost.after["answers"] == lost.before["answers"]
    assert lost.told["answers"] >= 2 and lost.told["different"] == {} and lost.told["meets"] is True
    assert lost.told["rpo_hours"] == 24 and 0 < lost.told["lost_s"] < 3600 and lost.told["rto_hours"] == 8


def test_a_backup_is_of_one_moment(lost: Lost) -> None:
    s3 = clients(lost.project)["s3"]
    first, second = (
        int(s3.get_object(Bucket=CURATED, Key=f"pair/{name}")["Body"].read()) for name in ("first", "second")
    )
    assert first in (second, second + 1) and second > 0
    versions = s3.list_object_versions(Bucket=CURATED, Prefix="pair/first")["Versions"]
    assert [
        s3.get_object(Bucket=CURATED, Key="pair/first", VersionId=one["VersionId"])["Body"].read() for one in versions
    ] == [str(number).encode() for number in range(first, 0, -1)], "every version, in its order"


def test_the_audit_log_goes_on_and_says_who_restored_it(lost: Lost) -> None:
    text = assert_ok(groundplan(lost.project, "audit", "diabetes-rf"), lost.project).stdout
    assert re.search(r"restore +ops@example\.com +v1\.0\.\d .* from the backup of 2", text)
    assert "later@example.com" not in text, "what came after the backup is lost, and restore says so"
    assert re.search(r"rollback +ops@example\.com +v1\.0\.2 .* its canary was interrupted", text)
    assert "the log leads to its signed root" in text


def test_what_was_approved_still_is(lost: Lost) -> None:
    """Signatures are checked with keys that the new environment has made, but for their material."""
    earlier = [key for key, _ in lost.before["objects"][MODELS] if "v1.0.1/record" in key]
    assert earlier
    done = groundplan(
        lost.project, "rollback", "diabetes-rf", "--to", "v1.0.0", "--reason", "drill", "--identity", "ops@example.com"
    )
    assert_ok(done, lost.project)
    assert "v1.0.0 is served again" in done.stdout


def test_events_are_read_on_from_where_they_were(lost: Lost) -> None:
    done = assert_ok(groundplan(lost.project, "experiment", "diabetes-rf"), lost.project)
    assert re.search(r"diabetes-patients 0 = 0 raw \+ 0 dead letters|442 = 442 raw", done.stdout), done.stdout


def test_up_finds_it_running(lost: Lost) -> None:
    text = assert_ok(groundplan(lost.project, "up", "--models", "diabetes-rf"), lost.project).stdout
    assert "already running" in text


def test_nothing_is_restored_over_a_running_platform(lost: Lost) -> None:
    done = groundplan(lost.project, "restore", str(lost.backup), "--identity", "ops@example.com")
    assert done.returncode == 2 and "only restored into an empty one" in done.stderr
    again = groundplan(lost.project, "backup", "--to", str(lost.backup))
    assert again.returncode == 2 and "exists already" in again.stderr


def test_only_its_owner_reads_it(lost: Lost) -> None:
    assert lost.backup.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(lost.backup) as archive:
        told = json.loads(archive.read("backup.json"))
    assert told["stack"] == "local" and len(told["sha256"]) == len(archive.namelist()) - 1
