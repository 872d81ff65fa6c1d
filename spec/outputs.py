"""What the platform offers to the code that runs on it: the one contract between program and pipelines.

The program exports it as the stack output ``platform``; pipelines read it from the local cloud's file, from
``pulumi stack output --json`` or from S3, always through ``read``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from spec.errors import UsageError
from spec.objectives import ModelObjectives
from spec.regions import ANYWHERE

LOCAL = "local"  # the stack of one machine, where people are whoever they say they are


class _Contract(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kafka(_Contract):
    """Bootstrap servers (empty where nothing is streamed), Glue registry, topic names with their dead-letter topics."""

    bootstrap_servers: str = ""
    registry: str = ""
    topics: tuple[str, ...] = ()


class EndpointOutputs(_Contract):
    """How one model is served.

    Attributes:
        name: SageMaker endpoint; empty where the model is served elsewhere.
        topology: realtime, serverless, batch, cluster, cluster-gpu or edge.
        max_instances: For serverless, the most concurrent requests.
        canary_steps: Percent of the traffic that a new version gets, step by step, before it gets all of it; empty
            where there is one version at a time.
        signing_key: Alias of the KMS key that signs what devices run; empty where there are none.
        monthly_usd: What the design says that the model costs a month.
    """

    name: str
    topology: str
    instance_type: str
    min_instances: int
    max_instances: int
    canary_steps: tuple[int, ...] = ()
    signing_key: str = ""
    monthly_usd: float = 0.0


class FrontEndOutputs(_Contract):
    """What a web page needs to call models: the interface's address, and OpenID Connect's client.

    Attributes:
        openid_configuration: Address of the sign-in's description.
        sign_in: Address of the sign-in's pages.
    """

    url: str
    openid_configuration: str
    user_pool_id: str
    client_id: str
    sign_in: str


class CatalogOutputs(_Contract):
    """Glue database of the lake, and the Athena workgroup that may read it."""

    database: str
    workgroup: str


class NetworkOutputs(_Contract):
    """Where containers run: private subnets and the services' security group."""

    subnet_ids: tuple[str, ...]
    security_group_id: str


class ServiceLevelOutputs(_Contract):
    """How a service level is counted, and what watches it.

    Attributes:
        says: What a good event is.
        target: Share of good events, 0 to 1, over ``days``.
        metrics: Queries of days for CloudWatch's GetMetricData; none where Managed Prometheus counts.
        events, failed: Ids of those that are added up to all events, and to the bad ones.
        alarms: Those that notify, by urgency.
    """

    says: str
    target: float
    days: int
    metrics: tuple[dict[str, Any], ...] = ()
    events: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    alarms: dict[str, str] = {}


class Outputs(_Contract):
    """Names and addresses of everything that a pipeline uses, and its objectives.

    Attributes:
        lineage_url: Address of an OpenLineage endpoint; empty for none.
        prometheus: Address of the workspace with the cluster's metrics.
        pipelines: SageMaker Pipelines that train, by model.
        releases: SageMaker Pipelines that deploy what two people have approved, by model; on the cluster it is a
            CronJob.
    """

    project: str
    stack: str
    region: str
    account_id: str
    buckets: dict[str, str]
    key_arns: dict[str, str]
    role_arns: dict[str, str]
    secret_arns: dict[str, str]
    network: NetworkOutputs
    cluster_name: str
    prometheus: str = ""
    image_uri: str
    catalog: CatalogOutputs
    kafka: Kafka
    online_tables: dict[str, str]
    online_table_prefix: str
    endpoints: dict[str, EndpointOutputs]
    front_end: FrontEndOutputs | None = None
    pipelines: dict[str, str]
    releases: dict[str, str] = {}
    alarms: dict[str, dict[str, str]]
    service_levels: dict[str, dict[str, ServiceLevelOutputs]] = {}
    metrics_namespace: str
    alert_topics: dict[str, str]
    budget_name: str
    approvals: tuple[str, ...]
    signing_keys: dict[str, str]
    untrusted_models: bool
    residency: str = ANYWHERE
    lineage_url: str = ""
    models: dict[str, ModelObjectives]


def read(source: str) -> Outputs:
    """Read the contract from a JSON file or an ``s3://`` address.

    Accepts the contract itself and the whole of ``pulumi stack output --json``.

    Raises:
        UsageError: It does not exist, or violates the contract.
    """
    try:
        text = _read_s3(source) if source.startswith("s3://") else Path(source).read_text(encoding="utf-8")
        document: Any = json.loads(text)
        return Outputs.model_validate(document.get("platform", document))
    except Exception as error:  # a file, a bucket, JSON, the contract: if any fails, there are no outputs
        says, fix = _why(error)
        raise UsageError(f"no platform outputs to read: {says}", where=source, fix=fix) from None


_APPLY = "apply the program first (`groundplan up`, or `pulumi up`)"


def _why(error: Exception) -> tuple[str, str]:
    """Why outputs can't be read, in words, and what to do."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()), _APPLY
    kind = type(error).__name__
    if kind in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "UnauthorizedSSOTokenError"):
        return "there are no AWS credentials", "log in, or name a profile (AWS_PROFILE)"
    code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
    if code in ("NoSuchBucket", "NoSuchKey", "404"):
        return "there is no such object", _APPLY
    if code in ("AccessDenied", "403"):
        return "your credentials may not read it", "use a role of the stack; docs/permissions.md lists them"
    if code:
        return f"AWS refuses ({code})", "log in again, or name another profile (AWS_PROFILE)"
    return (f"there is no such file ({kind})" if isinstance(error, FileNotFoundError) else str(error)), _APPLY


def _read_s3(address: str) -> str:
    import boto3

    bucket, _, key = address.removeprefix("s3://").partition("/")
    body: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body.decode()
