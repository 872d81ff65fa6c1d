"""Local SageMaker hosting: variants and weights obeyed, failures reported as SageMaker does, containers restarted."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from botocore.exceptions import ClientError

from groundplan.local.home import Home
from pipelines.context import Context, ModelDefinition
from pipelines.serving.models.bundle import files_of, package
from pipelines.steps.endpoint import EndpointClient
from spec.outputs import Outputs
from tests.models import write

NAME = "groundplan-local-probe"


def eventually(check: Callable[[], Any], timeout_s: float = 20) -> Any:
    """The first true value of ``check``; fails when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := check()):
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.1)
    return value


def write_bundle(folder: Path, constant: float) -> Path:
    """A served model that always answers ``constant``."""
    from sklearn.linear_model import Ridge

    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1.0, 0.0, 1.0]})
    write(folder, Ridge(alpha=1e9).fit(frame, [constant] * 3), frame, "regression", [constant] * 3, "probe")
    return folder / "candidate"


def put_up(hosting: EndpointClient, folder: Path, version: str, stored: dict[str, bytes] | None = None) -> str:
    """A SageMaker model of a version that nobody has registered.

    Args:
        stored: What is found where its files should be.
    """
    key, files = f"probe/{time.time_ns()}/model.tar.gz", files_of(folder, version)
    address = hosting.context.put("models", key, package(stored or files))
    return hosting.create_model(address, files, version)


@pytest.fixture
def hosting(outputs: Outputs, tmp_path: Path, inside: None) -> EndpointClient:
    example = ModelDefinition(tmp_path, "probe", tmp_path / "experiment.py")
    return EndpointClient(Context(outputs, example, f"t{time.time_ns() % 10**9}", tmp_path))


@pytest.fixture
def two_models(hosting: EndpointClient, tmp_path: Path) -> tuple[str, str]:
    old, new = (
        put_up(hosting, write_bundle(tmp_path / name, value), name)
        for name, value in (("v1.0.0", 10.0), ("v1.1.0", 20.0))
    )
    hosting.point({"champion": old, "challenger": new}, {"champion": 0.8, "challenger": 0.2}, label="canary")
    return old, new


def invoke(aws: Any, body: Any = None, **more: Any) -> Any:
    payload = json.dumps({"instances": [[1, 1]]} if body is None else body) if not isinstance(body, str) else body
    return aws("sagemaker-runtime").invoke_endpoint(
        EndpointName=NAME, ContentType="application/json", Body=payload, **more
    )


def test_requests_follow_the_variants_weights_and_say_who_answered(two_models: Any, aws: Any) -> None:
    counts: Counter[str] = Counter()
    for _ in range(300):
        answer = invoke(aws)
        variant = answer["InvokedProductionVariant"]
        counts[variant] += 1
        assert json.loads(answer["Body"].read())["predictions"][0] == pytest.approx(
            {"champion": 10, "challenger": 20}[variant], abs=1e-3
        )
    assert 30 <= counts["challenger"] <= 95  # 0.2 of 300; outside once in a million runs
    aws("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=NAME,
        DesiredWeightsAndCapacities=[
            {"VariantName": "champion", "DesiredWeight": 0},
            {"VariantName": "challenger", "DesiredWeight": 1},
        ],
    )
    aws("sagemaker").get_waiter("endpoint_in_service").wait(EndpointName=NAME, WaiterConfig={"Delay": 1})
    eventually(lambda: {invoke(aws)["InvokedProductionVariant"] for _ in range(10)} == {"challenger"})
    assert invoke(aws, TargetVariant="champion")["InvokedProductionVariant"] == "champion"


def test_what_the_container_refuses_is_a_model_error_with_the_original_inside(two_models: Any, aws: Any) -> None:
    with pytest.raises(ClientError) as raised:
        invoke(aws, {"instances": [[1]]})
    answer = raised.value.response
    assert answer["Error"]["Code"] == "ModelError" and answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (
        answer["OriginalStatusCode"] == 400
        and "Row 0 has 1 values; 2 columns are expected." in answer["OriginalMessage"]
    )


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("nowhere", {}, "Endpoint nowhere of account 123456789012 not found"),
        (NAME, {"TargetVariant": "third"}, "Variant third"),
    ],
)
def test_an_unknown_endpoint_or_variant_is_a_validation_error(
    two_models: Any, aws: Any, name: str, more: dict[str, str], says: str
) -> None:
    with pytest.raises(ClientError, match=says) as raised:
        aws("sagemaker-runtime").invoke_endpoint(EndpointName=name, Body="{}", **more)
    assert raised.value.response["Error"]["Code"] in ("ValidationError", "ValidationException")


def test_a_killed_model_server_is_restarted_and_the_other_variant_goes_on(
    two_models: Any, aws: Any, home: Home
) -> None:
    def serves(process: psutil.Process) -> bool:
        try:
            return process.cmdline()[-2:] == ["-m", "pipelines.serving"] and process.environ().get(
                "SM_MODEL_DIR", ""
            ).endswith(two_models[0])
        except psutil.Error:  # it ended meanwhile
            return False

    next(filter(serves, psutil.process_iter())).kill()
    assert invoke(aws, TargetVariant="challenger")["InvokedProductionVariant"] == "challenger"

    def answers() -> bool:
        try:
            return bool(invoke(aws, TargetVariant="champion")["InvokedProductionVariant"] == "champion")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ServiceUnavailable"
            return False

    eventually(answers)


def test_an_endpoint_whose_model_can_not_start_fails_and_the_old_one_goes_on_serving(
    two_models: Any, hosting: EndpointClient, aws: Any, tmp_path: Path
) -> None:
    from spec.errors import GroundplanError

    broken = write_bundle(tmp_path / "broken", 1.0)
    (broken / "model.onnx").write_bytes(b"not a model")
    name = put_up(hosting, broken, "v9.9.9")
    with pytest.raises(GroundplanError, match=r"did not come into service: the model server stopped"):
        hosting.point({"champion": name, "challenger": name}, {"champion": 1, "challenger": 0}, label="broken")
    assert aws("sagemaker").describe_endpoint(EndpointName=NAME)["EndpointStatus"] == "Failed"
    assert invoke(aws, TargetVariant="champion")["InvokedProductionVariant"] == "champion"


def test_a_server_loads_nothing_but_what_was_approved(
    two_models: Any, hosting: EndpointClient, aws: Any, tmp_path: Path
) -> None:
    from spec.errors import GroundplanError

    approved, other = (write_bundle(tmp_path / name, value) for name, value in (("approved", 1.0), ("other", 2.0)))
    more = {**files_of(approved, "v8.0.0"), "sitecustomize.py": b"print()"}
    for version, stored in (("v8.0.0", files_of(other, "v8.0.0")), ("v8.0.1", more)):
        name = put_up(hosting, approved, version, stored)
        with pytest.raises(GroundplanError, match="the model's files are not those that were approved"):
            hosting.point({"champion": name, "challenger": name}, {"champion": 1, "challenger": 0}, label="other")
    assert invoke(aws, TargetVariant="champion")["InvokedProductionVariant"] == "champion"


def test_requests_are_captured_in_sagemakers_format(two_models: Any, aws: Any, outputs: Outputs) -> None:
    invoke(aws, {"instances": [[7, 7]]}, TargetVariant="champion")

    def found() -> list[dict[str, Any]]:
        events = []
        for item in (
            aws("s3")
            .list_objects_v2(Bucket=outputs.buckets["models"], Prefix=f"capture/{NAME}/champion/")
            .get("Contents", [])
        ):
            body = aws("s3").get_object(Bucket=outputs.buckets["models"], Key=item["Key"])["Body"].read()
            events += [json.loads(line) for line in body.splitlines()]
        return [event for event in events if event["captureData"]["endpointInput"]["data"] == '{"instances": [[7, 7]]}']

    event = eventually(found)[0]
    assert event["captureData"]["endpointOutput"]["encoding"] == "JSON" and event["eventMetadata"]["eventId"]
    # By its dimension: a page holds 500 metrics, and other endpoints have theirs.
    named = [{"Name": "EndpointName", "Value": NAME}]
    assert eventually(
        lambda: aws("cloudwatch").list_metrics(Namespace="AWS/SageMaker", MetricName="ModelLatency", Dimensions=named)[
            "Metrics"
        ]
    )


def test_an_endpoint_without_a_version_says_so(aws: Any, outputs: Outputs) -> None:
    with pytest.raises(ClientError) as raised:
        aws("sagemaker-runtime").invoke_endpoint(
            EndpointName=outputs.endpoints["diabetes-rf"].name, Body='{"instances": [[1]]}'
        )
    assert (
        raised.value.response["OriginalStatusCode"] == 503
        and "No model version has been deployed" in raised.value.response["OriginalMessage"]
    )


def test_a_shadow_variant_gets_copies_that_nobody_waits_for(
    hosting: EndpointClient, two_models: tuple[str, str], aws: Any
) -> None:
    old, new = two_models
    sagemaker = aws("sagemaker")
    config = sagemaker.describe_endpoint_config(
        EndpointConfigName=sagemaker.describe_endpoint(EndpointName=NAME)["EndpointConfigName"]
    )
    variant = {
        **config["ProductionVariants"][0],
        "VariantName": "champion",
        "ModelName": old,
        "InitialVariantWeight": 1,
    }
    shadow = {**variant, "VariantName": "shadow", "ModelName": new, "InitialVariantWeight": 0.5}
    name = f"shadowed-{time.time_ns() % 10**9}"
    sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant],
        ShadowProductionVariants=[shadow],
        DataCaptureConfig=config["DataCaptureConfig"],
    )
    assert sagemaker.describe_endpoint_config(EndpointConfigName=name)["ShadowProductionVariants"] == [shadow]
    sagemaker.update_endpoint(EndpointName=NAME, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME, WaiterConfig={"Delay": 1})
    (described,) = sagemaker.describe_endpoint(EndpointName=NAME)["ShadowProductionVariants"]
    assert described["VariantName"] == "shadow" and described["CurrentWeight"] == 0.5
    eventually(lambda: invoke(aws)["InvokedProductionVariant"] == "champion")
    for _ in range(100):
        answer = invoke(aws)
        assert answer["InvokedProductionVariant"] == "champion"
        assert json.loads(answer["Body"].read())["predictions"][0] == pytest.approx(10, abs=1e-3)
    bucket, _, prefix = config["DataCaptureConfig"]["DestinationS3Uri"].removeprefix("s3://").partition("/")

    def copies() -> int:
        listed = aws("s3").list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/{NAME}/shadow/".lstrip("/"))
        return sum(
            len(aws("s3").get_object(Bucket=bucket, Key=item["Key"])["Body"].read().splitlines())
            for item in listed.get("Contents", [])
        )

    assert (
        25 <= eventually(lambda: (found := copies()) >= 25 and found) <= 76
    )  # half of them; outside once in a million runs
    # A shadow that can't be reached is nobody's problem but its own.
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[-2:] == ["-m", "pipelines.serving"] and process.environ().get(
                "SM_MODEL_DIR", ""
            ).endswith(new):
                process.kill()
    for _ in range(20):
        assert invoke(aws)["InvokedProductionVariant"] == "champion"
    with pytest.raises(ClientError, match="Variant shadow"):
        invoke(aws, TargetVariant="shadow")


def stack_of(outputs: Outputs, name: str) -> Any:
    from pipelines.targets.served import Stack

    return Stack(
        name=name,
        region=outputs.region,
        role_arn=outputs.role_arns["serving"],
        image_uri=outputs.image_uri,
        bucket=outputs.buckets["models"],
        key_arn=outputs.key_arns["models"],
        subnet_ids=outputs.network.subnet_ids,
        security_group_ids=(outputs.network.security_group_id,),
    )


def created(files: dict[str, bytes], aws: Any, *kinds: str) -> list[Any]:
    """The bundle's requests, of which the first, the model, is sent."""
    requests = [json.loads(files[f"create-{kind}.json"]) for kind in ("model", *kinds)]
    bucket, _, key = requests[0]["PrimaryContainer"]["ModelDataUrl"].removeprefix("s3://").partition("/")
    aws("s3").put_object(Bucket=bucket, Key=key, Body=files["model.tar.gz"])
    aws("sagemaker").create_model(**requests[0])
    return requests[1:]


@pytest.mark.parametrize("target", ["sagemaker", "serverless"])
def test_a_bundle_is_served_after_the_requests_that_it_contains(
    target: str, outputs: Outputs, aws: Any, tmp_path: Path
) -> None:
    from pipelines.targets.served import Served
    from pipelines.targets.targets import bundle

    served = Served.of(write_bundle(tmp_path, 7.0), "v1.0.0")
    files = bundle(target, served, stack_of(outputs, f"bundle-{target}"))
    config, endpoint = created(files, aws, "endpoint-config", "endpoint")
    sagemaker = aws("sagemaker")
    sagemaker.create_endpoint_config(**config)
    sagemaker.create_endpoint(**endpoint)
    try:
        sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName=endpoint["EndpointName"], WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
        answer = aws("sagemaker-runtime").invoke_endpoint(
            EndpointName=endpoint["EndpointName"],
            ContentType="application/json",
            Body=json.dumps({"instances": [[1, 1]]}),
        )
        assert json.loads(answer["Body"].read())["predictions"] == [pytest.approx(7, abs=1e-3)]
    finally:
        sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])


def transformed(job: dict[str, Any], aws: Any, **changes: Any) -> Any:
    """A transform job that has ended."""
    name = f"{job['TransformJobName']}-{time.time_ns() % 10**9}"
    aws("sagemaker").create_transform_job(**{**job, **changes, "TransformJobName": name})

    def ended() -> Any:
        found = aws("sagemaker").describe_transform_job(TransformJobName=name)
        return found if found["TransformJobStatus"] != "InProgress" else None

    return eventually(ended, 60)


def test_a_transform_job_answers_files_as_sagemaker_does(outputs: Outputs, aws: Any, tmp_path: Path) -> None:
    from pipelines.targets.served import Served
    from pipelines.targets.targets import bundle

    files = bundle("batch", Served.of(write_bundle(tmp_path, 7.0), "v1.0.0"), stack_of(outputs, "bundle-batch"))
    (job,) = created(files, aws, "transform-job")
    s3, bucket = aws("s3"), outputs.buckets["models"]

    def put(name: str, content: str) -> None:
        s3.put_object(Bucket=bucket, Key=f"batch/probe/in/{name}", Body=content.encode())

    def out(name: str) -> str:
        return str(s3.get_object(Bucket=bucket, Key=f"batch/probe/out/{name}.out")["Body"].read().decode())

    rows = [json.dumps({"instances": [[row, 1]]}) for row in range(3)]
    put("monday.jsonl", "\n".join(rows) + "\n")
    put("more/tuesday.jsonl", rows[0])
    assert transformed(job, aws)["TransformJobStatus"] == "Completed"
    answers = [json.loads(line) for line in out("monday.jsonl").splitlines()]
    assert [answer["predictions"] for answer in answers] == [[pytest.approx(7, abs=1e-3)]] * 3
    assert len(out("more/tuesday.jsonl").splitlines()) == 1
    # Lines of a table, as many in one request as fit.
    s3.put_object(Bucket=bucket, Key="batch/probe/table/week.csv", Body=b"1,1\n2,2\n3,3\n")
    source = {
        **job["TransformInput"],
        "ContentType": "text/csv",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/batch/probe/table/"}},
    }
    found = transformed(job, aws, TransformInput=source, BatchStrategy="MultiRecord")
    assert found["TransformJobStatus"] == "Completed", found
    assert len(json.loads(out("week.csv"))["predictions"]) == 3
    # A record that the model refuses fails the job, and says which.
    put("broken.jsonl", rows[0] + "\n{}\n")
    found = transformed(job, aws)
    assert found["TransformJobStatus"] == "Failed"
    assert "batch/probe/in/broken.jsonl, request 2: the model answered 400" in found["FailureReason"]
    nothing = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/batch/nobody/"}}
    found = transformed(job, aws, TransformInput={**job["TransformInput"], "DataSource": nothing})
    assert "no file is below" in found["FailureReason"]
    found = transformed(job, aws, TransformInput={**job["TransformInput"], "SplitType": "RecordIO"})
    assert found["FailureReason"] == "SplitType RecordIO is not played on this machine; only None and Line"
