"""The program of every stack, previewed: what it would create, with every computed value unknown."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from components.foundation.clock import Hours, clock
from groundplan.engine.kubernetes.manifests import HELM_RELEASE, collect, faults
from groundplan.engine.preview import SECRET, UNKNOWN, Previewed, preview
from spec.errors import UsageError
from spec.objectives import load_config
from tests import conftest, provider_types, resource_names
from tests.conftest import ROOT, set_path

pytestmark = pytest.mark.slow  # previews stacks

STACKS = ("local", "dev", "staging", "prod")


@cache
def previewed(stack: str) -> tuple[Previewed, ...]:
    """Resources of a stack as it is in the repository."""
    return tuple(preview(ROOT, stack))


@cache
def everything() -> tuple[Previewed, ...]:
    """Resources of a stack with every option."""
    return tuple(preview(ROOT, "prod", config=conftest.everything()))


def changed(stack: str, **paths: Any) -> list[Previewed]:
    config = load_config(ROOT, stack)
    for path, value in paths.items():
        set_path(config["groundplan:objectives"], path.replace("__", "."), value)
    return preview(ROOT, stack, config=config)


def of_type(resources: Any, suffix: str) -> list[Previewed]:
    return [item for item in resources if item.custom and item.type.endswith(f":{suffix}")]


ALL: dict[str, Callable[[], tuple[Previewed, ...]]] = {
    **{stack: lambda stack=stack: previewed(stack) for stack in STACKS},
    "everything": everything,
}


@pytest.fixture(params=ALL)
def resources(request: pytest.FixtureRequest) -> tuple[Previewed, ...]:
    return ALL[request.param]()


def test_every_stack_previews_with_unknown_values(resources: tuple[Previewed, ...]) -> None:
    assert len(resources) > 250
    assert any(UNKNOWN in json.dumps(item.inputs) for item in resources), "a preview does not know a key's ARN"


@pytest.mark.parametrize("stack", ALL)
def test_names_are_those_on_record(stack: str) -> None:
    found, recorded = resource_names.names(ALL[stack]()), resource_names.recorded(stack)
    assert found == recorded, "if intended, run `make docs`; the change shows what would be deleted and created"


def test_a_stack_gets_the_data_of_the_models_that_it_names_and_no_other() -> None:
    def topics(stack: str) -> set[str]:
        return {item.inputs["name"] for item in of_type(previewed(stack), "Topic") if item.type.startswith("aws:msk")}

    flights = {"flights", "planes", "weather"}
    assert topics("prod") == {"diabetes-patients", "diabetes-patients.dlq"}
    assert topics("local") == {*topics("prod"), *flights, *(f"{name}.dlq" for name in flights)}
    for stack, named in (("prod", False), ("local", True)):
        text = json.dumps(
            [(item.name, item.inputs) for item in previewed(stack) if not item.type.startswith("pulumi:")]
        )
        assert ("flights" in text) is named, "in tables, feature views, alarms and schedules neither"


def test_inputs_hold_to_the_providers_types(resources: tuple[Previewed, ...]) -> None:
    wrong = [
        f"{item.name}: {fault}"
        for item in resources
        if item.type.startswith("aws:")
        for fault in provider_types.faults(item.type, item.inputs)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_check_of_types_finds_what_is_wrong() -> None:
    assert provider_types.faults("aws:s3/bucket:Bucket", {"bukket": "x"})[0].startswith("Bucket.bukket is no property")
    assert provider_types.faults("aws:eks/cluster:Cluster", {"roleArn": "r", "vpcConfig": {}}) == [
        "Cluster.vpcConfig.subnetIds is missing"
    ]


def test_manifests_are_valid(resources: tuple[Previewed, ...]) -> None:
    manifests, charts = collect(resources)
    wrong = [f"{item.file_name}: {fault}" for item in manifests for fault in faults(item.document, ours=True)]
    assert not wrong, "\n".join(wrong)
    assert len(manifests) > 30
    installed = {chart.document["name"] for chart in charts}
    written = any(
        item.type == "pulumi:providers:kubernetes" and "renderYamlToDirectory" in item.inputs for item in resources
    )
    assert not installed if written else installed >= {"karpenter", "monitoring"}, (
        "where objects are only written, Helm would look for a cluster"
    )
    names = [item.file_name for item in (*manifests, *charts)]
    assert len(set(names)) == len(names), "two objects would be written to one file"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "spec": {"finalizer": []}}, "finalizer"),
        ({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x"}, "spec": {"schedule": 5}}, "schedule"),
        (
            {"apiVersion": "v2", "kind": "Thing", "metadata": {"name": "x"}},
            "v2 Thing is neither part of Kubernetes 1.34 nor a known custom resource",
        ),
        (
            {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "x"}, "spec": {"weight": 500}},
            "spec.template: Field required",
        ),
        (
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": {"name": "X_"},
                "spec": {"groups": []},
            },
            "metadata.name",
        ),
    ],
)
def test_a_wrong_manifest_is_named(document: dict[str, Any], says: str) -> None:
    assert any(says in fault for fault in faults(document, ours=True)), faults(document, ours=True)


def test_a_wrong_pod_inside_an_inference_service_is_named() -> None:
    document = next(item.document for item in collect(everything())[0] if item.document["metadata"]["name"] == "quick")
    assert not faults(document, ours=True)
    document = json.loads(json.dumps(document))
    document["spec"]["predictor"]["containers"][0]["imagePullPolice"] = "Always"
    assert "imagePullPolice" in faults(document, ours=True)[0]


def test_every_resource_has_a_component_above_it_and_components_are_registered(
    resources: tuple[Previewed, ...],
) -> None:
    components = {item.urn for item in resources if not item.custom}
    assert all(item.parent in components for item in resources if item.custom)


def test_nothing_in_components_reads_configuration_or_calls_a_cloud() -> None:
    for path in sorted((ROOT / "components").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {
            node.id for node in ast.walk(tree) if isinstance(node, ast.Name)
        }
        if (
            path.name == "built_image.py" or path.parent.name == "plugin"
        ):  # a provider, which the engine calls; the interface to other programs
            continue
        assert not names & {"Config", "get_stack", "get_project", "boto3", "environ", "invoke"}, path
        assert not any(name.startswith("get_") and name != "get_type_hints" for name in names), f"{path}: a look-up"


def test_every_component_has_arguments_and_a_docstring() -> None:
    for path in sorted((ROOT / "components").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(
                isinstance(base, ast.Name) and base.id == "Component" for base in node.bases
            ):
                assert ast.get_docstring(node), f"{path}: {node.name}"


def test_nothing_comes_in_from_outside(resources: tuple[Previewed, ...]) -> None:
    for rule in of_type(resources, "SecurityGroupIngressRule"):
        assert "cidrIpv4" not in rule.inputs and rule.inputs["referencedSecurityGroupId"]
    cluster = of_type(resources, "Cluster")
    eks = next(item for item in cluster if item.type.startswith("aws:eks"))
    assert eks.inputs["vpcConfig"]["endpointPrivateAccess"] and not eks.inputs["vpcConfig"]["endpointPublicAccess"]
    assert not any(item.inputs.get("mapPublicIpOnLaunch") for item in of_type(resources, "Subnet"))
    assert all(not item.inputs["publiclyAccessible"] for item in of_type(resources, "Instance"))


def test_what_holds_data_in_production_is_protected() -> None:
    kinds = ("Bucket", "Key", "Table", "Instance", "Secret", "Vault", "Topic")
    for item in previewed("prod"):
        if item.type.split(":")[-1] in kinds and not item.type.startswith("aws:sns"):
            assert item.protect and item.retain_on_delete, item.name
        if item.type == "aws:rds/instance:Instance":
            assert item.inputs["deletionProtection"] and not item.inputs["skipFinalSnapshot"] and item.inputs["multiAz"]
        if item.type in ("aws:dynamodb/table:Table", "aws:eks/cluster:Cluster"):
            assert item.inputs.get("deletionProtectionEnabled", item.inputs.get("deletionProtection")) is True
    assert not any(item.protect for item in previewed("dev"))


def test_production_keeps_what_the_law_asks_for() -> None:
    locks = {
        item.name: item.inputs["rule"]["defaultRetention"]
        for item in of_type(previewed("prod"), "BucketObjectLockConfiguration")
    }
    assert locks == {
        "lake-raw": {"mode": "GOVERNANCE", "days": 365},
        "lake-audit": {"mode": "COMPLIANCE", "days": 2555},
    }
    rules = {item.name: item.inputs["rules"] for item in of_type(previewed("prod"), "BucketLifecycleConfiguration")}
    assert rules["lake-raw"][2]["expiration"] == {"days": 366}
    assert [move["storageClass"] for move in rules["lake-raw"][1]["transitions"]] == ["STANDARD_IA", "GLACIER_IR"]


def test_endpoints_in_production_have_a_canary_and_rollback_alarms() -> None:
    endpoint = of_type(previewed("prod"), "Endpoint")[0].inputs
    traffic = endpoint["deploymentConfig"]["blueGreenUpdatePolicy"]["trafficRoutingConfiguration"]
    assert traffic["type"] == "CANARY" and traffic["canarySize"] == {"type": "CAPACITY_PERCENT", "value": 5}
    alarms = {item["alarmName"] for item in endpoint["deploymentConfig"]["autoRollbackConfiguration"]["alarms"]}
    assert alarms == {"groundplan-prod-diabetes-rf-latency", "groundplan-prod-diabetes-rf-errors"}
    assert alarms <= {item.inputs["name"] for item in of_type(previewed("prod"), "MetricAlarm")}
    configuration = of_type(previewed("prod"), "EndpointConfiguration")[0].inputs
    assert configuration["dataCaptureConfig"]["enableCapture"]


def test_each_way_of_serving_makes_what_it_needs() -> None:
    found = everything()
    names = {(item.type.split(":")[-1], item.name) for item in found}
    assert {
        ("Endpoint", "endpoint-real-time"),
        ("Endpoint", "endpoint-lazy"),
        ("Schedule", "batch-batch"),
        ("RoleAlias", "edge-edge"),
    } <= names
    serverless = next(item for item in of_type(found, "EndpointConfiguration") if item.name == "endpoint-lazy").inputs[
        "productionVariants"
    ]
    assert len(serverless) == 1 and serverless[0]["serverlessConfig"]["maxConcurrency"] == 10
    assert ("Target", "endpoint-lazy") not in names, "a serverless endpoint scales itself"
    services = {
        item.document["metadata"]["name"]: item.document["spec"]
        for item in collect(found)[0]
        if item.document["kind"] == "InferenceService"
    }
    assert set(services) == {"gpu", "quick"}
    assert (
        services["gpu"]["predictor"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        and "explainer" in services["gpu"]
    )
    assert "--model-control-mode=poll" in services["gpu"]["predictor"]["containers"][0]["command"]
    variables = {item["name"]: item["value"] for item in services["quick"]["predictor"]["containers"][0]["env"]}
    assert variables["GROUNDPLAN_PUBLISHED"].endswith("/quick/current/model.tar.gz")
    # The pipeline changes it, and the program leaves it: by its place, which is the second.
    assert list(variables)[:2] == ["GROUNDPLAN_SIGNING_KEYS", "GROUNDPLAN_PUBLISHED"]
    entries = {item.name: item.inputs.get("kubernetesGroups") for item in of_type(found, "AccessEntry")}
    assert {name for name, groups in entries.items() if groups} == {
        "cluster-operations",
        "cluster-pipeline",
        "cluster-cluster-pipeline",
    }
    bound = [item.document for item in collect(found)[0] if item.document["kind"] == "RoleBinding"]
    assert {item["metadata"]["namespace"] for item in bound} == {"models", "istio-system"}
    assert not [item for item in of_type(previewed("prod"), "AccessEntry") if item.inputs.get("kubernetesGroups")]
    assert {chart.document["name"] for chart in collect(found)[1]} >= {"kserve", "knative-operator"}
    assert not [item for item in previewed("prod") if item.type == HELM_RELEASE and "kserve" in item.name]


def test_a_standby_region_has_keys_buckets_and_a_vault_and_lies_under_the_same_law() -> None:
    there = [item for item in everything() if item.inputs.get("region") == "eu-west-1"]
    kinds = {item.type.split(":")[-1] for item in there}
    assert {"ReplicaKey", "Bucket", "Vault", "BucketPublicAccessBlock"} <= kinds
    assert len(of_type(everything(), "BucketReplicationConfig")) == 4
    replicas = [item.name for item in there if item.type.endswith("ReplicaKey")]
    assert {"signing-registry-standby", "signing-operations-standby", "signing-data-science-standby"} <= set(replicas)
    keys = {item.name: item.inputs for item in of_type(everything(), "Key")}
    assert all(keys[f"signing-{signer}"]["multiRegion"] for signer in ("registry", "operations", "data-science"))
    secret = of_type(everything(), "Secret")[0].inputs
    assert secret["replicas"][0]["region"] == "eu-west-1", "tokens of new events must join with those of old ones"
    table = of_type(everything(), "Table")[0].inputs
    assert table["replicas"][0]["regionName"] == "eu-west-1" and table["streamEnabled"]
    assert not [item for item in previewed("prod") if item.inputs.get("region") and item.type.startswith("aws:")]


def test_what_can_not_be_made_again_is_backed_up_as_often_as_the_objectives_say() -> None:
    def rule(items: Any) -> Any:
        return of_type(items, "Plan")[0].inputs["rules"][0]

    assert rule(previewed("prod"))["schedule"] == "cron(0 0,12 * * ? *)", "24 hours: it starts within one, so 12"
    assert rule(changed("prod", recovery={"rpo_hours": 4}))["schedule"] == "cron(0 0,3,6,9,12,15,18,21 * * ? *)"
    assert rule(changed("prod", recovery={"rpo_hours": 2}))["schedule"] == "cron(0 * * * ? *)"
    selected = of_type(previewed("prod"), "Selection")[0].inputs["resources"]
    buckets = {arn.split(":::")[1] for arn in selected if ":s3:::" in arn}
    assert (
        len(buckets) == 5 and {"groundplan-prod-audit-333344445555", "groundplan-prod-models-333344445555"} <= buckets
    )
    with pytest.raises(UsageError, match=r"recovery\.rpo_hours"):
        changed("prod", recovery={"rpo_hours": 1})


def test_an_environment_that_sleeps_stops_nodes_before_the_database_and_starts_them_after_it() -> None:
    schedules = {item.name: item.inputs["scheduleExpression"] for item in of_type(previewed("dev"), "Schedule")}
    assert (
        schedules["schedules-nodes-off"] == "cron(0 20 ? * MON-FRI *)"
        and schedules["schedules-database-off"] == "cron(15 20 ? * MON-FRI *)"
    )
    assert (
        schedules["schedules-database-on"] == "cron(0 7 ? * MON-FRI *)"
        and schedules["schedules-nodes-on"] == "cron(15 7 ? * MON-FRI *)"
    )
    jobs = {
        item.document["metadata"]["name"]: item.document["spec"]
        for item in collect(previewed("dev"))[0]
        if item.document["kind"] == "CronJob"
    }
    assert (jobs["sleep"]["schedule"], jobs["wake"]["schedule"]) == ("30 19 * * 1-5", "30 7 * * 1-5") and jobs["sleep"][
        "timeZone"
    ] == "Europe/Berlin"
    assert not [item for item in of_type(everything(), "Schedule") if "nodes" in item.name], (
        "a model that answers from the cluster keeps it awake"
    )
    late = {
        item.name: item.inputs["scheduleExpression"]
        for item in of_type(changed("dev", office_hours__end=24), "Schedule")
    }
    assert late["schedules-nodes-off"] == "cron(0 0 ? * TUE-SAT *)", "midnight belongs to the next day"
    assert not [item for item in of_type(previewed("prod"), "Schedule") if "nodes" in item.name]


def test_feature_groups_stand_in_for_tables_where_they_are_asked_for() -> None:
    found = changed("dev", feature_store="sagemaker")
    group = of_type(found, "FeatureGroup")[0].inputs
    assert group["recordIdentifierFeatureName"] == "patient_id" and group["onlineStoreConfig"]["enableOnlineStore"]
    assert {"featureName": "event_time", "featureType": "String"} in group["featureDefinitions"]
    assert not of_type(found, "Table")


def test_what_an_account_has_only_once_is_left_to_its_owner() -> None:
    once = ("Detector", "Recorder", "Account", "CostAllocationTag")
    assert all(of_type(changed("prod", budget__activate_tags=True), kind) for kind in once)
    assert not any(of_type(changed("prod", owns_account=False, budget__activate_tags=True), kind) for kind in once)
    assert not of_type(previewed("prod"), "CostAllocationTag"), "AWS has no tags on the first day"


def test_stakeholders_are_told_what_concerns_them() -> None:
    topics = {item.name: item.inputs["endpoint"] for item in of_type(previewed("prod"), "TopicSubscription")}
    assert topics == {
        f"monitoring-{who}": f"{who}@example.com" for who in ("operations", "product", "legal", "finance")
    }
    alarms = {item.name for item in of_type(previewed("prod"), "MetricAlarm")}
    assert {f"monitoring-diabetes-rf-{subject}" for subject in ("latency", "errors", "quality", "drift")} <= alarms
    assert {"monitoring-stream-lag-diabetes-patients", "monitoring-stream-refused"} <= alarms
    apart = next(
        item.inputs
        for item in of_type(previewed("prod"), "MetricAlarm")
        if item.name == "monitoring-stream-quarantined"
    )
    assert (apart["namespace"], apart["metricName"], apart["statistic"], apart["threshold"]) == (
        "Groundplan/prod",
        "quarantined_events",
        "Sum",
        0,
    )
    assert apart["evaluationPeriods"] == 1 and len(apart["alarmActions"]) == 2, "operations and legal"
    assert {item.name for item in of_type(previewed("prod"), "Budget")} == {"cost", "cost-diabetes-rf"}


def test_scientists_have_roles_of_their_own_and_idle_notebooks_stop() -> None:
    found = previewed("prod")
    assert {item.inputs["userProfileName"] for item in of_type(found, "UserProfile")} == {"ada", "ben", "chi"}
    domain = of_type(found, "Domain")[0].inputs
    for app in ("jupyterLabAppSettings", "codeEditorAppSettings"):
        idle = domain["defaultUserSettings"][app]["appLifecycleManagement"]["idleSettings"]
        assert idle == {"lifecycleManagement": "ENABLED", "idleTimeoutInMinutes": 60}
    assert domain["appNetworkAccessType"] == "VpcOnly"
    spaces = {item.inputs["spaceName"]: item.inputs for item in of_type(found, "Space")}
    assert spaces.keys() == {f"{who}-{app}" for who in ("ada", "ben", "chi") for app in ("jupyterlab", "codeeditor")}
    assert spaces["ada-codeeditor"]["ownershipSettings"] == {"ownerUserProfileName": "ada"}
    assert {each["spaceSharingSettings"]["sharingType"] for each in spaces.values()} == {"Private"}
    assert {item.inputs["studioLifecycleConfigAppType"] for item in of_type(found, "StudioLifecycleConfig")} == {
        "JupyterLab",
        "CodeEditor",
    }
    assert not of_type(previewed("staging"), "Domain")


def test_pools_prefer_spot_and_gpus_fall_back_to_on_demand() -> None:
    pools = {
        item.document["metadata"]["name"]: item.document["spec"]
        for item in collect(previewed("prod"))[0]
        if item.document["kind"] == "NodePool"
    }
    assert set(pools) == {"cpu-spot", "gpu-spot", "gpu-on-demand"}
    assert pools["gpu-spot"]["weight"] > pools["gpu-on-demand"]["weight"]
    assert all(pool["disruption"]["budgets"][0] == {"nodes": "10%"} for pool in pools.values())
    assert pools["gpu-spot"]["template"]["spec"]["taints"] == [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]
    assert {
        item.document["metadata"]["name"]
        for item in collect(previewed("staging"))[0]
        if item.document["kind"] == "NodePool"
    } == {"cpu-spot"}


def test_pods_are_restricted_and_namespaces_closed(resources: tuple[Previewed, ...]) -> None:
    documents = [item.document for item in collect(resources)[0]]
    namespaces = {
        item["metadata"]["name"]: item["metadata"]["labels"] for item in documents if item["kind"] == "Namespace"
    }
    levels = {name: labels["pod-security.kubernetes.io/enforce"] for name, labels in namespaces.items()}
    assert levels == {
        "tracking": "restricted",
        "pipelines": "restricted",
        "models": "restricted",
        "monitoring": "privileged",
    }
    denied = {
        item["metadata"]["namespace"]
        for item in documents
        if item["kind"] == "NetworkPolicy" and item["metadata"]["name"] == "default-deny"
    }
    assert (
        denied
        == set(namespaces)
        == {item["metadata"]["namespace"] for item in documents if item["kind"] == "ResourceQuota"}
    )
    scaler = next(item["spec"] for item in documents if item["kind"] == "HorizontalPodAutoscaler")
    assert scaler["maxReplicas"] == 20 and scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 80


def test_the_page_of_resource_types_is_current() -> None:
    from groundplan.local.moto.table import page

    assert (ROOT / "docs" / "resource-types.md").read_text(encoding="utf-8") == page(ROOT), "run `make docs`"


def test_retraining_within_minutes_runs_on_the_cluster() -> None:
    jobs = {
        item.document["metadata"]["name"]: item.document["spec"]
        for item in collect(previewed("prod"))[0]
        if item.document["kind"] == "CronJob"
    }
    pod = jobs["retrain-diabetes-rf"]["jobTemplate"]["spec"]["template"]["spec"]
    order = [container["command"][2] for container in (*pod["initContainers"], *pod["containers"])]
    assert order == [
        f"pipelines.steps.{step}" for step in ("ingest", "quality", "features", "experiment", "evaluate", "register")
    ]
    resume = jobs["resume-diabetes-rf"]["jobTemplate"]["spec"]["template"]["spec"]
    assert "initContainers" not in resume and resume["containers"][0]["command"][2] == "pipelines.steps.resume"
    assert not of_type(previewed("prod"), "Pipeline") and of_type(previewed("staging"), "Pipeline")


@pytest.mark.parametrize(
    ("every_hours", "always", "office"),
    [
        (0.5, "0,30 * * * *", "0,30 9,10,11,12,13,14,15,16 * * MON-FRI"),
        (0.01, "* * * * *", "* 9,10,11,12,13,14,15,16 * * MON-FRI"),
        (1, "0 * * * *", "0 9,10,11,12,13,14,15,16 * * MON-FRI"),
        (5, "0 0,4,8,12,16,20 * * *", "0 9,13 * * MON-FRI"),
        (24, "0 3 * * *", "0 9 * * MON-FRI"),
        (100, "0 3 * * *", "0 9 * * MON-FRI"),
        (168, "0 3 * * MON", "0 9 * * MON"),
        (800, "0 3 1 * *", "0 9 1 * *"),
    ],
)
def test_clocks_come_at_least_as_often_as_asked_and_only_while_work_has_hours(
    every_hours: float, always: str, office: str
) -> None:
    assert clock(every_hours).crontab == always
    assert clock(every_hours, Hours(8, 17, "Europe/Berlin")).crontab == office


def test_a_database_that_sleeps_is_backed_up_and_kept_up_by_day() -> None:
    berlin, auckland = Hours(7, 20, "Europe/Berlin"), Hours(8, 18, "Pacific/Auckland")
    assert (berlin.backup_window, berlin.maintenance_window) == ("07:00-07:30", "wed:07:31-wed:08:01")
    assert (auckland.backup_window, auckland.maintenance_window) == ("20:00-20:30", "tue:20:31-tue:21:01")
    database = next(item.inputs for item in of_type(previewed("dev"), "Instance") if item.type.startswith("aws:rds"))
    assert (
        database["backupWindow"] == "07:00-07:30"
        and "backupWindow" not in of_type(previewed("prod"), "Instance")[0].inputs
    )
    plan = of_type(previewed("dev"), "Plan")[0].inputs["rules"][0]
    assert plan["schedule"] == "cron(0 8 ? * MON-FRI *)" and plan["scheduleExpressionTimezone"] == "Europe/Berlin"


def test_eventbridge_asks_for_one_of_the_two_days() -> None:
    assert clock(5).expression == "cron(0 0,4,8,12,16,20 * * ? *)" and clock(168).expression == "cron(0 3 ? * MON *)"
    assert clock(800, Hours(23, 24, "UTC")).expression == "cron(0 23 1 * ? *)", "hours of one hour"


def test_the_image_is_built_in_the_account_before_anything_runs_it(resources: tuple[Previewed, ...]) -> None:
    built = next(item for item in resources if item.type == "pulumi-python:dynamic/groundplan:BuiltImage")
    project = next(item for item in of_type(resources, "Project") if item.name == "image").inputs
    assert built.inputs["uri"].rpartition(":")[2] in project["source"]["location"], (
        "the archive and the image have one name"
    )
    assert built.inputs["__provider"] == SECRET
    users = [item for item in resources if built.urn in item.dependencies]
    kinds = {item.type.rpartition(":")[2] for item in users}
    assert "Deployment" in kinds and kinds & {"Model", "InferenceService", "Pipeline"}
    deployment = next(
        item.document
        for item in collect(resources)[0]
        if item.document["kind"] == "Deployment" and item.document["metadata"]["name"] == "mlflow"
    )
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == built.inputs["uri"], (
        "a review sees which image runs"
    )


def test_jobs_of_pipelines_run_in_the_private_network_with_encrypted_volumes() -> None:
    definition = of_type(previewed("staging"), "Pipeline")[0].inputs["pipelineDefinition"]
    assert definition == UNKNOWN, "subnets are unknown before a deployment"
    egress = {
        item.inputs["fromPort"]
        for item in of_type(previewed("staging"), "SecurityGroupEgressRule")
        if "cidrIpv4" in item.inputs
    }
    assert egress == {443, 5000}, "the tracking server's load balancer"


def test_every_model_has_alarms_on_quality_and_drift_and_one_that_answers_has_its_requests_kept() -> None:
    alarms = {item.name for item in of_type(everything(), "MetricAlarm")}
    for model in ("real-time", "gpu", "batch", "edge", "quick", "lazy"):
        assert {f"monitoring-{model}-{subject}" for subject in ("quality", "drift")} <= alarms
    quick = next(item.document for item in collect(everything())[0] if item.document["metadata"]["name"] == "quick")
    kept = {item["name"]: item["value"] for item in quick["spec"]["predictor"]["containers"][0]["env"]}[
        "GROUNDPLAN_CAPTURE"
    ]
    assert kept == "s3://groundplan-prod-models-333344445555/capture/groundplan-prod-quick/cluster"


def test_where_a_workflow_deploys_there_is_a_runner_inside_and_drift_may_read_the_cluster() -> None:
    project = next(item.inputs for item in of_type(everything(), "Project") if item.name == "runner")
    assert (
        project["vpcConfig"]["subnets"]
        and project["source"]["auth"]["type"] == "CODECONNECTIONS"
        and "privilegedMode" not in project["environment"]
    )
    (webhook,) = of_type(everything(), "Webhook")
    assert webhook.inputs["filterGroups"] == [
        {
            "filters": [
                {"type": "EVENT", "pattern": "WORKFLOW_JOB_QUEUED"},
                {"type": "WORKFLOW_NAME", "pattern": "^(deploy|drift)$"},
            ]
        }
    ]
    (role,) = [
        json.loads(item.inputs["policy"]) if isinstance(item.inputs["policy"], str) else item.inputs["policy"]
        for item in of_type(everything(), "RolePolicy")
        if item.name == "runner"
    ]
    services = {action.partition(":")[0] for statement in role["Statement"] for action in statement["Action"]}
    assert services == {"logs", "codeconnections", "ec2"}, "the job brings its own rights"
    names = {item.name: item.inputs for item in of_type(everything(), "AccessPolicyAssociation")}
    assert names["cluster-drift"]["policyArn"].endswith("/AmazonEKSAdminViewPolicy")
    assert not of_type(previewed("prod"), "Webhook") and "cluster-drift" not in {
        item.name for item in previewed("prod")
    }
