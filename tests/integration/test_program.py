"""The program, applied: any client can see what it created, and applying it again changes nothing."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws
import pytest
import yaml

from groundplan.local.home import Home, State
from groundplan.local.moto.apply import Applied, apply
from groundplan.local.up import Summary
from spec.errors import GroundplanError
from spec.outputs import Outputs, read
from tests.steps import in_sagemaker, jobs_of


@pytest.fixture
def run(state: State, home: Home, tmp_path: Path) -> Any:
    """Apply the test's own program, in addition to the platform's."""

    def make(program: Any) -> Applied:
        services = state.services
        return apply(
            home.root,
            "local",
            services["aws"].url,
            services["kafka"].url,
            tmp_path / "state.json",
            tmp_path / "manifests",
            "test",
            program,
        )

    return make


@pytest.fixture
def deployed(outputs: Outputs, aws: Any) -> dict[str, Any]:
    found = aws("sagemaker").describe_pipeline(PipelineName=outputs.pipelines["diabetes-rf"])["PipelineDefinition"]
    definition: dict[str, Any] = json.loads(found)
    return definition


def test_ordinary_clients_see_what_the_program_made(outputs: Outputs, aws: Any, deployed: dict[str, Any]) -> None:
    buckets = {bucket["Name"] for bucket in aws("s3").list_buckets()["Buckets"]}
    assert set(outputs.buckets.values()) <= buckets
    for bucket in outputs.buckets.values():
        rule = aws("s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
        assert all(aws("s3").get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
        assert aws("s3").get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        assert "aws:SecureTransport" in aws("s3").get_bucket_policy(Bucket=bucket)["Policy"]
    for arn in outputs.key_arns.values():
        assert aws("kms").get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]
    endpoint = aws("sagemaker").describe_endpoint(EndpointName="groundplan-local-diabetes-rf")
    assert [variant["VariantName"] for variant in endpoint["ProductionVariants"]] == ["champion", "challenger"]
    assert {item["PipelineName"] for item in aws("sagemaker").list_pipelines()["PipelineSummaries"]} == {
        *outputs.pipelines.values(),
        *outputs.releases.values(),
    }
    budgets = {
        item["BudgetName"]: item["BudgetLimit"]["Amount"]
        for item in aws("budgets").describe_budgets(AccountId=outputs.account_id)["Budgets"]
    }
    assert budgets["groundplan-local-monthly"] == "1200.00" and float(budgets["groundplan-local-diabetes-rf"]) > 10
    assert (
        aws("eks").describe_cluster(name=outputs.cluster_name)["cluster"]["resourcesVpcConfig"]["endpointPublicAccess"]
        is False
    )
    assert (
        aws("athena").get_work_group(WorkGroup=outputs.catalog.workgroup)["WorkGroup"]["Configuration"][
            "BytesScannedCutoffPerQuery"
        ]
        == 10**11
    )
    assert aws("glue").get_table(DatabaseName=outputs.catalog.database, Name="diabetes_patients")["Table"][
        "StorageDescriptor"
    ]["Columns"]
    assert aws("cloudtrail").get_trail_status(Name="groundplan-local-trail")["IsLogging"]
    lock = aws("s3").get_object_lock_configuration(Bucket=outputs.buckets["audit"])["ObjectLockConfiguration"]
    assert lock["Rule"]["DefaultRetention"].items() >= {"Mode": "GOVERNANCE", "Days": 365}.items()
    schedule = aws("scheduler").get_schedule(Name="groundplan-local-retrain-diabetes-rf", GroupName="groundplan-local")
    assert schedule["ScheduleExpression"] == "cron(0 3 * * ? *)"
    for step in jobs_of(deployed):
        given = step["Arguments"]
        network = given.get("NetworkConfig") or given
        assert network["VpcConfig"]["Subnets"] == list(outputs.network.subnet_ids)
        machines = given.get("ResourceConfig") or given["ProcessingResources"]["ClusterConfig"]
        assert machines["VolumeKmsKeyId"] in outputs.key_arns.values()
    project = aws("codebuild").batch_get_projects(names=["groundplan-local-image"])["projects"][0]
    bucket, _, key = project["source"]["location"].partition("/")
    with zipfile.ZipFile(io.BytesIO(aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read())) as archive:
        assert {"pipelines/Dockerfile", "requirements.lock", "pipelines/serving/__main__.py"} <= set(archive.namelist())
    assert len(aws("sns").list_topics()["Topics"]) == 4
    assert aws("cloudwatch").get_dashboard(DashboardName="groundplan-local-platform")["DashboardBody"].startswith("{")
    assert aws("rds").describe_db_instances()["DBInstances"][0]["StorageEncrypted"]
    alarms = {alarm["AlarmName"] for alarm in aws("cloudwatch").describe_alarms()["MetricAlarms"]}
    assert set(outputs.alarms["diabetes-rf"].values()) <= alarms
    table = aws("dynamodb").describe_table(TableName=outputs.online_tables["diabetes_patients"])["Table"]
    assert table["SSEDescription"]["KMSMasterKeyArn"] == outputs.key_arns["internal"]
    assert (
        aws("glue").get_schema(SchemaId={"RegistryName": outputs.kafka.registry, "SchemaName": "diabetes-patients"})[
            "Compatibility"
        ]
        == "BACKWARD"
    )


def test_the_deployed_pipeline_holds_every_step_and_this_stacks_values(
    outputs: Outputs, deployed: dict[str, Any]
) -> None:
    from spec.steps import before_people_agree

    assert list(in_sagemaker(deployed)[1]) == [step.name for step in before_people_agree()]
    values = {item["Name"]: item.get("DefaultValue") for item in deployed["Parameters"]}
    assert (
        values["RoleArn"] == outputs.role_arns["pipeline"]
        and values["ModelFolder"].endswith("models/diabetes-rf")
        and values["TrackingUri"] is None
        and values["RunsUri"] == f"s3://{outputs.buckets['curated']}/runs/diabetes-rf"
        and values["CheckpointsUri"] == f"s3://{outputs.buckets['models']}/checkpoints/diabetes-rf"
    )


def test_a_training_is_placed_encrypted_and_continues_on_spot_capacity(deployed: dict[str, Any]) -> None:
    step = next(step for step in jobs_of(deployed) if step["Type"] == "Training")
    request = step["Arguments"]
    assert request["EnableManagedSpotTraining"] and request["EnableInterContainerTrafficEncryption"]
    assert request["StoppingCondition"]["MaxWaitTimeInSeconds"] >= request["StoppingCondition"]["MaxRuntimeInSeconds"]
    assert request["Environment"]["GROUNDPLAN_CHECKPOINTS"] == request["CheckpointConfig"]["LocalPath"]
    assert request["VpcConfig"]["Subnets"] and request["ResourceConfig"]["VolumeKmsKeyId"]
    assert request["OutputDataConfig"]["KmsKeyId"]


def test_requests_are_what_sagemaker_accepts(deployed: dict[str, Any]) -> None:
    """As botocore knows its API; expressions stand for texts."""
    import botocore.session
    from botocore.validate import ParamValidator

    service = botocore.session.Session().get_service_model("sagemaker")

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return (
                "s3://a-text-as-long-as-an-arn"
                if len(value) == 1 and next(iter(value)).startswith(("Get", "Std:"))
                else {key: filled(item) for key, item in value.items()}
            )
        return [filled(item) for item in value] if isinstance(value, list) else value

    seen = set()
    for step in jobs_of(deployed):
        seen.add(kind := step["Type"])
        request = {f"{kind}JobName": "job", **filled(step["Arguments"])}
        report = ParamValidator().validate(request, service.operation_model(f"Create{kind}Job").input_shape)
        assert not report.has_errors(), report.generate_report()
    assert seen == {"Processing", "Training"}


def test_the_topics_are_on_the_real_broker(outputs: Outputs, state: State) -> None:
    from confluent_kafka.admin import AdminClient

    found = AdminClient({"bootstrap.servers": state.services["kafka"].url}).list_topics(timeout=10).topics
    names = ("diabetes-patients", "flights", "planes", "weather")
    assert set(outputs.kafka.topics) == {*names, *(f"{name}.dlq" for name in names)} <= set(found)
    assert len(found["diabetes-patients"].partitions) == 2
    assert outputs.kafka.bootstrap_servers == state.services["kafka"].url


def test_the_outputs_are_read_alike_from_file_s3_and_pulumis_json(
    outputs: Outputs, home: Home, tmp_path: Path, inside: None
) -> None:
    assert read(f"s3://{outputs.buckets['curated']}/platform/outputs.json") == outputs
    whole = tmp_path / "stack.json"
    whole.write_text(json.dumps({"platform": json.loads(home.outputs_file.read_text()), "other": 1}), encoding="utf-8")
    assert read(str(whole)) == outputs


@pytest.mark.parametrize("text", ["", "{", '{"platform": {}}', "[]"])
def test_outputs_that_do_not_hold_to_the_contract_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "o.json").write_text(text, encoding="utf-8")
    with pytest.raises(GroundplanError, match="no platform outputs to read"):
        read(str(tmp_path / "o.json"))


def test_kubernetes_objects_are_written_as_manifests(home: Home) -> None:
    server = yaml.safe_load((home.manifests / "tracking-deployment-mlflow.yaml").read_text(encoding="utf-8"))
    variables = {item["name"]: item.get("value") for item in server["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (
        variables["MLFLOW_BACKEND_STORE_URI"].startswith("postgresql+rdssecret://")
        and "secret_arn=arn:aws:secretsmanager:" in variables["MLFLOW_BACKEND_STORE_URI"]
    )
    assert (home.manifests / "nodepool-cpu-spot.yaml").is_file() and (
        home.manifests / "0-namespace-models.yaml"
    ).is_file()


def test_an_object_that_kubernetes_would_refuse_is_refused_here_and_names_the_resource(run: Any) -> None:
    from pulumi_kubernetes.core.v1 import Namespace

    def program() -> None:
        Namespace("wrong", metadata={"name": "x", "labels": {"a": 1}})

    with pytest.raises(
        GroundplanError,
        match=(
            r"resource wrong \(kubernetes:core/v1:Namespace\): Kubernetes would refuse this Namespace:"
            r" metadata.labels.a"
        ),
    ):
        run(program)


def test_a_renamed_component_keeps_its_resources(run: Any) -> None:
    from components.data.lake import BucketArgs, SecureBucket
    from components.foundation.base import Scope
    from spec.zones import DataClass

    scope = Scope("renamed", "test", "us-east-1", "123456789012", "a@b.c", protect=True)
    arguments = BucketArgs(key_arn="arn:aws:kms:us-east-1:123456789012:key/0", data_class=DataClass.MODELS)

    def before() -> None:
        SecureBucket("old-name", scope, "things", arguments)

    def after() -> None:
        SecureBucket(
            "new-name", scope, "things", arguments, pulumi.ResourceOptions(aliases=[pulumi.Alias(name="old-name")])
        )

    assert {record.change for record in run(before).made} == {"created"}
    renamed = run(after)
    assert {record.change for record in renamed.made} == {"same"} and not renamed.deleted
    assert {record.name for record in renamed.made} == {"new-name"}


def test_applying_again_changes_nothing(platform: Summary, home: Home, state: State) -> None:
    services = state.services
    again = apply(
        home.root,
        "local",
        services["aws"].url,
        services["kafka"].url,
        home.resources_file,
        home.manifests,
        state.generation,
    )
    assert {record.change for record in again.made} == {"same"} and not again.deleted
    assert again.outputs == platform.applied.outputs


def test_parents_and_dependencies_are_kept(platform: Summary) -> None:
    by_name = {(record.type.split(":")[-1], record.name): record for record in platform.applied.records}
    policy, block = by_name["BucketPolicy", "lake-raw"], by_name["BucketPublicAccessBlock", "lake-raw"]
    assert policy.parent == block.parent == by_name["SecureBucket", "lake-raw"].urn
    assert by_name["SecureBucket", "lake-raw"].parent == by_name["Lake", "lake"].urn
    assert block.urn in policy.dependencies
    assert policy.urn.startswith(
        "urn:pulumi:local::groundplan::groundplan:platform:Lake$groundplan:platform:SecureBucket$aws:s3/bucketPolicy"
    )


def test_secrets_stay_secret_and_their_values_are_never_in_the_state(run: Any, tmp_path: Path) -> None:
    seen: list[Any] = []

    def program() -> None:
        parameter = pulumi_aws.sns.Topic(
            "secret-topic", name="secret-topic", display_name=pulumi.Output.secret("hush-hush")
        )
        pulumi.export("shown", parameter.display_name)
        seen.append(pulumi.Output.is_secret(parameter.display_name))

    applied = run(program)
    assert applied.outputs["shown"] == "hush-hush"
    assert (
        "hush-hush" not in (tmp_path / "state.json").read_text() and "[secret]" in (tmp_path / "state.json").read_text()
    )
    import asyncio

    assert asyncio.new_event_loop().run_until_complete(seen[0]) is True


def test_a_change_is_made_in_place_and_what_is_gone_is_deleted(run: Any, aws: Any) -> None:
    def program(threshold: float, extra: bool) -> Any:
        def body() -> None:
            pulumi_aws.cloudwatch.MetricAlarm(
                "a",
                name="test-a",
                namespace="T",
                metric_name="m",
                comparison_operator="GreaterThanThreshold",
                evaluation_periods=1,
                threshold=threshold,
                statistic="Average",
                period=60,
            )
            if extra:
                pulumi_aws.s3.Bucket("b", bucket="test-bucket-that-goes")

        return body

    run(program(1, True))
    changed = run(program(2, False))
    assert [(record.name, record.change) for record in changed.made] == [("a", "updated")]
    assert [record.name for record in changed.deleted] == ["b"]
    assert aws("cloudwatch").describe_alarms(AlarmNames=["test-a"])["MetricAlarms"][0]["Threshold"] == 2
    assert "test-bucket-that-goes" not in {bucket["Name"] for bucket in aws("s3").list_buckets()["Buckets"]}


def test_what_aws_would_refuse_is_refused_here_and_names_the_resource(run: Any) -> None:
    def program() -> None:
        pulumi_aws.sagemaker.Model(
            "wrong", name="under_score", execution_role_arn="arn:aws:iam::123456789012:role/serving"
        )

    with pytest.raises(GroundplanError) as raised:
        run(program)
    assert "resource wrong (aws:sagemaker/model:Model)" in str(raised.value) and "'under_score' does not match" in str(
        raised.value
    )


def test_a_failure_of_the_cloud_names_the_resource_and_later_resources_are_not_made(run: Any, aws: Any) -> None:
    def program() -> None:
        role = pulumi_aws.iam.RolePolicy(
            "lost", name="p", role="no-such-role", policy='{"Version": "2012-10-17", "Statement": []}'
        )
        pulumi_aws.sns.Topic("after", name="test-after", opts=pulumi.ResourceOptions(depends_on=[role]))

    with pytest.raises(GroundplanError, match=r"resource lost \(aws:iam/rolePolicy:RolePolicy\): NoSuchEntity"):
        run(program)
    assert not [topic for topic in aws("sns").list_topics()["Topics"] if topic["TopicArn"].endswith("test-after")]


def test_a_type_without_a_rule_is_recorded_not_faked(run: Any) -> None:
    def program() -> None:
        pulumi_aws.costexplorer.CostAllocationTag("watch", tag_key="Watch", status="Active")

    applied = run(program)
    assert [record.name for record in applied.recorded] == ["watch"] and not applied.made


def test_an_unknown_look_up_says_what_to_do(run: Any) -> None:
    def program() -> None:
        pulumi_aws.ec2.get_ami(owners=["amazon"])

    with pytest.raises(GroundplanError, match="can't answer the look-up aws:ec2/getAmi"):
        run(program)


def test_two_resources_of_one_name_are_refused(run: Any) -> None:
    def program() -> None:
        pulumi_aws.sns.Topic("twin", name="twin-a")
        pulumi_aws.sns.Topic("twin", name="twin-b")

    with pytest.raises(GroundplanError, match="two resources are both named 'twin'"):
        run(program)


def test_independent_resources_are_made_side_by_side(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from groundplan.local.moto import rules

    meeting = threading.Barrier(2, timeout=20)

    def make(cloud: Any, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        meeting.wait()  # breaks unless both are in here at once
        return inputs["bucket"], {}

    monkeypatch.setitem(rules.RULES, "aws:s3/bucket:Bucket", rules.Rule(make=make))

    def program() -> None:
        pulumi_aws.s3.Bucket("one", bucket="one")
        pulumi_aws.s3.Bucket("two", bucket="two")

    assert len(run(program).made) == 2


def test_the_compiled_pipeline_in_the_repository_is_current(root: Path) -> None:
    import subprocess
    import sys

    for name, more in (("pipeline", []), ("release", ["--release"])):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "pipelines.steps.workflow", *more],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        kept = (root / "infra" / "build" / f"{name}.json").read_text(encoding="utf-8")
        assert json.loads(done.stdout) == json.loads(kept), "run `make pipeline`"


@pytest.mark.parametrize(("path", "value"), [("owner", "new@example.com"), ("events.retention_days", 3)])
def test_a_change_that_would_lose_data_is_refused_and_nothing_is_lost(
    path: str, value: Any, home: Home, state: State, outputs: Outputs, aws: Any
) -> None:
    from tests.conftest import set_path

    file = home.root / "stacks" / "Pulumi.local.yaml"
    kept = file.read_text(encoding="utf-8")
    document = yaml.safe_load(kept)
    set_path(document["config"]["groundplan:objectives"], path, value)
    services = state.services
    try:
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        with pytest.raises(
            GroundplanError,
            match=r"changed, and the local cloud can't change that in place[\s\S]*groundplan down",
        ):
            apply(
                home.root,
                "local",
                services["aws"].url,
                services["kafka"].url,
                home.resources_file,
                home.manifests,
                state.generation,
            )
    finally:
        file.write_text(kept, encoding="utf-8")
    again = apply(
        home.root,
        "local",
        services["aws"].url,
        services["kafka"].url,
        home.resources_file,
        home.manifests,
        state.generation,
    )
    assert "created" not in {record.change for record in again.made} and not again.deleted
    assert set(outputs.buckets.values()) <= {bucket["Name"] for bucket in aws("s3").list_buckets()["Buckets"]}


def test_a_bigger_budget_and_a_stricter_latency_arrive(home: Home, state: State, outputs: Outputs, aws: Any) -> None:
    file = home.root / "stacks" / "Pulumi.local.yaml"
    kept = file.read_text(encoding="utf-8")
    services = state.services

    def change(text: str) -> None:
        file.write_text(text, encoding="utf-8")
        apply(
            home.root,
            "local",
            services["aws"].url,
            services["kafka"].url,
            home.resources_file,
            home.manifests,
            state.generation,
        )

    try:
        change(kept.replace("monthly_usd: 1200", "monthly_usd: 1300").replace("latency_ms: 100", "latency_ms: 50"))
        budgets = {
            item["BudgetName"]: item["BudgetLimit"]["Amount"]
            for item in aws("budgets").describe_budgets(AccountId=outputs.account_id)["Budgets"]
        }
        assert budgets["groundplan-local-monthly"] == "1300.00"
        alarm = aws("cloudwatch").describe_alarms(AlarmNames=[outputs.alarms["diabetes-rf"]["latency"]])[
            "MetricAlarms"
        ][0]
        assert alarm["Threshold"] == 50_000
    finally:
        change(kept)
