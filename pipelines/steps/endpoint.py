"""A model's endpoint, through the ordinary SageMaker API: its models, its configurations, and requests to its
variants.
"""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pipelines.audit.calls import ENDPOINT_CALLS, note_calls
from pipelines.context import SAGEMAKER_NAME_LIMIT, Context
from pipelines.serving.models.bundle import digest_of
from spec.errors import GroundplanError
from spec.names import short_name
from spec.outputs import LOCAL, EndpointOutputs
from spec.service_levels import GUARDS
from spec.tracing import tracing_variables

CHAMPION, CHALLENGER = "champion", "challenger"
CANARY = "canary"  # purpose of requests that only the pipeline sends
SERVERLESS_MEMORY_MB = 2048
LOCAL_NVME = ("ml.g4dn.", "ml.g5.")  # encrypted in hardware; SageMaker refuses a key for them
SANDBOX_INSTANCE_TYPE = "ml.c5.large"
MOST_REQUEST_BYTES = 3 * 1024 * 1024  # half of what SageMaker accepts: rows differ in size
IN_SERVICE_TIMEOUT_S = 1800
MOST_OF_A_REASON = 900  # characters; SageMaker accepts 1,024 in a variable
PERIOD_S = 60  # of SageMaker's metrics
BAKING_SECONDS = 60  # how long the alarms observe the canary before the rest of the traffic follows; one alarm period


class Counts(NamedTuple):
    """Requests, and how many of them failed."""

    requests: int
    failed: int


def metric_of(endpoint: str, variant: str, name: str) -> dict[str, Any]:
    """What SageMaker counts of an endpoint's variant, as CloudWatch names it."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    return {"Namespace": "AWS/SageMaker", "MetricName": name, "Dimensions": dimensions}


@dataclass(frozen=True)
class Answer:
    """The result of one request.

    Attributes:
        variant: Which variant answered; empty where a failure names none.
    """

    variant: str
    latency_ms: float
    failed: bool = False


class EndpointClient:
    """The endpoint, through the ordinary SageMaker API."""

    def __init__(self, context: Context) -> None:
        import boto3
        from botocore.config import Config

        self.context = context
        self.name = context.endpoint_name
        self.sagemaker, self.cloudwatch = boto3.client("sagemaker"), boto3.client("cloudwatch")
        note_calls(self.sagemaker, ENDPOINT_CALLS, context.calls)
        self.runtime = boto3.client("sagemaker-runtime", config=Config(retries={"max_attempts": 0}))
        self.settings = context.outputs.endpoints.get(context.model) or EndpointOutputs(
            name=self.name,
            topology="realtime",
            instance_type=SANDBOX_INSTANCE_TYPE,
            min_instances=1,
            max_instances=1,
            canary_steps=(5, 25),
        )

    @property
    def local(self) -> bool:
        """Whether it is played on one machine, where everything happens within a second."""
        return self.context.outputs.stack == LOCAL

    @property
    def splits(self) -> bool:
        """Whether two versions can share the requests."""
        return self.settings.topology == "realtime"

    @property
    def host(self) -> str:
        """Where the cluster's gateway answers for it: not here."""
        return ""

    def capture_of(self, variant: str) -> str:
        """Folder of what a variant has answered."""
        return variant

    def create_model(
        self, address: str, files: dict[str, bytes], version: str, approvals: dict[str, str] | None = None
    ) -> str:
        """Create a SageMaker model from a version's artifact; returns its name.

        A SageMaker model never changes, but the object that it names could: its container loads nothing but these
        files.

        Args:
            address: Of its ``model.tar.gz``, as it was registered.
            files: What is in it.
            approvals: Who has signed the version off, by role; they become tags of the model, for auditors of the
                account.
        """
        name = short_name(f"{self.name}-{version}-{self.context.run}", SAGEMAKER_NAME_LIMIT)
        described = json.loads(files["model.json"])
        environment = {
            "GROUNDPLAN_MODEL": self.context.model,
            "AWS_DEFAULT_REGION": self.context.outputs.region,
            "GROUNDPLAN_MODEL_SHA256": digest_of(files),
        }
        if self.settings.topology == "serverless":
            # SageMaker captures only requests to real-time endpoints; here the container does it, immediately, since it
            # is frozen between requests.
            environment["GROUNDPLAN_CAPTURE"] = (
                f"s3://{self.context.outputs.buckets['models']}/capture/{self.name}/{CHAMPION}"
            )
            environment["GROUNDPLAN_CAPTURE_SECONDS"] = "0"
        alone = described.get("engine", "onnx") == "native" and self.settings.topology == "realtime"
        if alone and not self.local:
            environment["GROUNDPLAN_NETWORK_ISOLATION"] = "1"
        elif not self.local:
            objectives = self.context.outputs.models.get(self.context.model)
            share = objectives.traced if objectives else 0.0
            environment |= tracing_variables(self.context.model, self.context.outputs.region, share)
        self._create(
            name,
            {"ModelDataUrl": address, "Environment": environment},
            version,
            _approval_tags(approvals or {}),
            alone=alone,
        )
        return name

    def create_empty(self, label: str, why: str) -> str:
        """Create a SageMaker model that answers 503 with the reason; returns its name."""
        name = short_name(f"{self.name}-{label}-{self.context.run}", SAGEMAKER_NAME_LIMIT)
        environment = {
            "GROUNDPLAN_MODEL": self.context.model,
            "GROUNDPLAN_UNAVAILABLE": why[:MOST_OF_A_REASON],
            "AWS_DEFAULT_REGION": self.context.outputs.region,
        }
        self._create(name, {"Environment": environment}, "none", [])
        return name

    def _create(
        self, name: str, container: dict[str, Any], version: str, tags: list[dict[str, str]], *, alone: bool = False
    ) -> None:
        from botocore.exceptions import ClientError

        try:
            self.sagemaker.create_model(
                ModelName=name,
                ExecutionRoleArn=self.context.outputs.role_arns["serving"],
                PrimaryContainer={"Image": self.context.outputs.image_uri, **container},
                **({} if self.settings.topology == "serverless" else {"VpcConfig": self._network()}),
                # The model's own code, if it has any, has neither network nor the role's credentials
                EnableNetworkIsolation=alone,
                Tags=[{"Key": "Model", "Value": self.context.model}, {"Key": "Version", "Value": version}, *tags],
            )
        except ClientError as error:
            # Its name says version and run, so what an earlier attempt of this run has created is the same.
            if "already existing" not in str(error):
                raise

    def config(self) -> str:
        """Name of the configuration that the endpoint serves; empty if there is no endpoint."""
        from botocore.exceptions import ClientError

        try:
            return str(self.sagemaker.describe_endpoint(EndpointName=self.name)["EndpointConfigName"])
        except ClientError as error:
            if "Could not find" in str(error):
                return ""
            raise

    def champion(self) -> str | None:
        """Name of the SageMaker model that the champion serves; None if the endpoint is new or still empty."""
        if not (named := self.config()):
            return None
        config = self.sagemaker.describe_endpoint_config(EndpointConfigName=named)
        name = next(v["ModelName"] for v in config["ProductionVariants"] if v["VariantName"] == CHAMPION)
        served = self.sagemaker.describe_model(ModelName=name)
        return name if served["PrimaryContainer"].get("ModelDataUrl") else None

    def point(
        self, models: dict[str, str], weights: dict[str, float], label: str, *, shadow: str = "", guarded: bool = True
    ) -> str:
        """Give the endpoint a new configuration and wait until it serves it; returns the configuration's name.

        Args:
            shadow: Model that gets a copy of every request, and whose answers nobody gets.
            guarded: Whether alarms may take the update back.

        Raises:
            GroundplanError: The endpoint failed to come up, or an alarm took the update back.
        """
        # A run may try the same version again; a configuration never changes.
        config = short_name(f"{self.name}-{label}-{self.context.run}-{secrets.token_hex(2)}", SAGEMAKER_NAME_LIMIT)
        variants, shadows = (
            [
                {
                    "VariantName": variant,
                    "ModelName": model,
                    "InitialVariantWeight": weights.get(variant, 1.0),
                    **self._capacity(variant),
                }
                for variant, model in these.items()
            ]
            for these in (models, {CHALLENGER: shadow} if shadow else {})
        )
        capture = {
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{self.context.outputs.buckets['models']}/capture",
            "KmsKeyId": self.context.outputs.key_arns["models"],
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"], "CsvContentTypes": ["text/csv"]},
        }
        more: dict[str, Any] = {} if self.settings.topology == "serverless" else {"DataCaptureConfig": capture}
        if not self.settings.instance_type.startswith(LOCAL_NVME):
            more["KmsKeyId"] = self.context.outputs.key_arns["models"]
        if shadows:
            more["ShadowProductionVariants"] = shadows
        self.sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=variants, **more)
        self.use(config, guarded=guarded)
        return config

    def shift(self, percent: int) -> None:
        """Give the challenger a share of the traffic, without replacing an instance.

        https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateEndpointWeightsAndCapacities.html

        Raises:
            GroundplanError: The endpoint did not come into service again.
        """
        from botocore.exceptions import WaiterError

        self._wait(until_it_exists=False)
        weights = {CHAMPION: 1 - percent / 100, CHALLENGER: percent / 100}
        self.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=self.name,
            DesiredWeightsAndCapacities=[
                {"VariantName": variant, "DesiredWeight": weight} for variant, weight in weights.items()
            ],
        )
        try:
            self._wait()
        except WaiterError:
            raise GroundplanError("did not come into service with other weights", where=self.name) from None

    def use(self, config: str, *, guarded: bool = True) -> None:
        """Have the endpoint serve a configuration, and wait until it does.

        Args:
            guarded: Whether alarms may take the update back. What is taken back must not be: the bad version has set
                them off.

        Raises:
            GroundplanError: The endpoint failed to come up, or an alarm took the update back.
        """
        from botocore.exceptions import ClientError, WaiterError

        # An interrupted update continues, and SageMaker accepts no second one meanwhile.
        self._wait(until_it_exists=False)
        try:
            self.sagemaker.update_endpoint(
                EndpointName=self.name,
                EndpointConfigName=config,
                **self._guardrails(guarded=guarded),
                **self._as_many_instances(),
            )
        except ClientError as error:
            if "Could not find" not in str(error):
                raise
            if "configuration" in str(error):
                raise GroundplanError(
                    f"there is no configuration {config} (any more), so it can't be served again",
                    where=self.name,
                    fix=f"deploy the version again: groundplan promote {self.context.definition.asked_for} VERSION",
                ) from None
            # A model that the stack does not name: a sandbox endpoint.
            self.sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName=config)
        try:
            self._wait()
        except WaiterError as error:
            reason = self.sagemaker.describe_endpoint(EndpointName=self.name).get("FailureReason", str(error))
            raise GroundplanError(f"did not come into service: {reason}", where=self.name) from None
        serving = self.sagemaker.describe_endpoint(EndpointName=self.name)
        if serving["EndpointConfigName"] != config:  # SageMaker has rolled the update back, and is in service again
            raise GroundplanError(
                f"an alarm rolled the update back: {serving.get('FailureReason', 'no reason given')}", where=self.name
            )

    def _wait(self, *, until_it_exists: bool = True) -> None:
        """Wait until no update is in progress and the endpoint is in service."""
        from botocore.exceptions import ClientError, WaiterError

        delay = 0.25 if self.local else 15
        waiter = self.sagemaker.get_waiter("endpoint_in_service")
        try:
            if not until_it_exists and self.sagemaker.describe_endpoint(EndpointName=self.name)[
                "EndpointStatus"
            ] not in (
                "Creating",
                "Updating",
                "RollingBack",
            ):
                return
            waiter.wait(
                EndpointName=self.name,
                WaiterConfig={"Delay": delay, "MaxAttempts": int((60 if delay < 1 else IN_SERVICE_TIMEOUT_S) / delay)},
            )
        except (ClientError, WaiterError):
            if until_it_exists:
                raise

    def _guardrails(self, *, guarded: bool) -> dict[str, Any]:
        """The canary and the alarms that roll an update back. They belong to the update: the program sets them only on
        the first one.

        https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green-canary.html
        """
        alarms = self.context.outputs.alarms.get(self.context.model, {})
        if self.settings.topology != "realtime" or not self.settings.canary_steps:
            return {}
        if not guarded:
            routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
            return {"DeploymentConfig": {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}}
        routing = {
            "Type": "CANARY",
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": self.settings.canary_steps[0]},
            "WaitIntervalInSeconds": BAKING_SECONDS,
        }
        update = {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": BAKING_SECONDS,
            "MaximumExecutionTimeoutInSeconds": IN_SERVICE_TIMEOUT_S,
        }
        watched = [{"AlarmName": alarms[subject]} for subject in GUARDS if subject in alarms]
        return {
            "DeploymentConfig": {
                "BlueGreenUpdatePolicy": update,
                **({"AutoRollbackConfiguration": {"Alarms": watched}} if watched else {}),
            }
        }

    def _as_many_instances(self) -> dict[str, Any]:
        """Variants keep the instances that autoscaling has started; their weights are the new configuration's."""
        if self.settings.topology != "realtime":
            return {}
        others = [{"VariantPropertyType": kind} for kind in ("DesiredWeight", "DataCaptureConfig")]
        return {"RetainAllVariantProperties": True, "ExcludeRetainedVariantProperties": others}

    def _network(self) -> dict[str, list[str]]:
        network = self.context.outputs.network
        return {"Subnets": list(network.subnet_ids), "SecurityGroupIds": [network.security_group_id]}

    def _capacity(self, variant: str) -> dict[str, Any]:
        if self.settings.topology == "serverless":
            return {
                "ServerlessConfig": {
                    "MaxConcurrency": self.settings.max_instances,
                    "MemorySizeInMB": SERVERLESS_MEMORY_MB,
                }
            }
        return {
            "InstanceType": self.settings.instance_type,
            "InitialInstanceCount": self.settings.min_instances if variant == CHAMPION else 1,
        }

    def requests_from_now(self) -> Callable[[], dict[str, Counts]]:
        """A function that counts users' requests to each variant since now, and those that failed.

        It waits until the next period of the metrics begins, so that nothing from before is counted; the local router
        reports each second.
        """
        period = 1 if self.local else PERIOD_S
        begin = math.floor(time.time() / period) * period + (2 if self.local else 1) * period
        time.sleep(max(0.0, begin - time.time()))
        since = datetime.fromtimestamp(begin, UTC)

        def counted() -> dict[str, Counts]:
            series = [(v, metric) for v in (CHALLENGER, CHAMPION) for metric in ("Invocations", "Invocation5XXErrors")]
            answer = self.cloudwatch.get_metric_data(
                MetricDataQueries=[
                    {"Id": f"m{place}", "MetricStat": self._statistic(*one)} for place, one in enumerate(series)
                ],
                StartTime=since,
                EndTime=datetime.now(UTC) + timedelta(seconds=PERIOD_S),
            )
            found = {item["Id"]: int(sum(item["Values"])) for item in answer["MetricDataResults"]}
            numbers = [found.get(f"m{place}", 0) for place in range(len(series))]
            return {CHALLENGER: Counts(*numbers[:2]), CHAMPION: Counts(*numbers[2:])}

        return counted

    def _statistic(self, variant: str, metric: str) -> dict[str, Any]:
        return {"Metric": metric_of(self.name, variant, metric), "Period": PERIOD_S, "Stat": "Sum"}

    def predict(self, rows: list[dict[str, Any]], variant: str, purpose: str = "") -> list[Any]:
        """Predictions of one variant.

        Raises:
            GroundplanError: It does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        found: list[Any] = []
        for part in parts(rows):
            try:
                answer = self.runtime.invoke_endpoint(
                    EndpointName=self.name,
                    ContentType="application/json",
                    Body=request_body(part, purpose),
                    TargetVariant=variant,
                )
            except (ClientError, BotoCoreError) as error:
                raise GroundplanError(f"the {variant} does not answer: {_said(error)}", where=self.name) from None
            found += json.loads(answer["Body"].read())["predictions"]
        return found

    def reply(self, body: str) -> Any:
        """The predictions that a request is answered with; a refusal is a reply, too: its status at "refused"."""
        from botocore.exceptions import ClientError

        try:
            answer = self.runtime.invoke_endpoint(EndpointName=self.name, ContentType="application/json", Body=body)
        except ClientError as error:
            return {"refused": error.response.get("OriginalStatusCode", 0)}
        return json.loads(answer["Body"].read())["predictions"]

    def ask(self, row: dict[str, Any], variant: str = "") -> Answer:
        """Send one row, to a variant or to the one that SageMaker chooses."""
        from botocore.exceptions import BotoCoreError, ClientError

        target = {"TargetVariant": variant} if variant else {}
        started, failed = time.perf_counter(), False
        try:
            answer: dict[str, Any] = self.runtime.invoke_endpoint(
                EndpointName=self.name, ContentType="application/json", Body=request_body([row], CANARY), **target
            )
        except (ClientError, BotoCoreError) as error:
            answer, failed = getattr(error, "response", {}), True
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return Answer(
            headers.get("x-amzn-invoked-production-variant", ""), (time.perf_counter() - started) * 1000, failed
        )


def parts(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in requests below the size that SageMaker accepts."""
    size = max((len(request_body([row])) for row in rows[:20]), default=1)
    most = max(1, MOST_REQUEST_BYTES // size)
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


def _said(error: Exception) -> str:
    """A model server's own message, without what SageMaker adds around it."""
    original = getattr(error, "response", {}).get("OriginalMessage", "")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(original)["error"])
    return original or str(error)


def request_body(rows: list[dict[str, Any]], purpose: str = "") -> str:
    """Rows for either version: each uses the columns it needs. Monitoring leaves out a canary's requests."""
    params = {"extra_columns": "ignore"} | ({"purpose": purpose} if purpose else {})
    return json.dumps({"dataframe_records": rows, "params": params}, default=str)


def _approval_tags(approvals: dict[str, str]) -> list[dict[str, str]]:
    """``ApprovedByDataScience``, ``ApprovedByOperations``, as the policy pack requires them."""
    return [{"Key": f"ApprovedBy{role.title().replace('-', '')}", "Value": who} for role, who in approvals.items()]
