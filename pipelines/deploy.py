"""Step: a canary through the endpoint's variant weights, a comparison on the same rows, then promotion or rollback."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from components.names import short_name
from infra.errors import GroundplanError
from infra.objectives import ModelObjectives
from infra.outputs import EndpointOutputs
from pipelines.audit import append
from pipelines.context import SAGEMAKER_NAME_LIMIT, Context, main
from pipelines.tracking import use_mlflow

if TYPE_CHECKING:  # loads NumPy
    from pipelines.serving.bundle import Model

CHAMPION, CHALLENGER = "champion", "challenger"
WANTED_CANARY_REQUESTS = 20  # answers of the challenger before the two are compared
MOST_REQUESTS = 2_000
SERVERLESS_MEMORY_MB = 2048
LOCAL_NVME = ("ml.g4dn.", "ml.g5.")  # encrypted in hardware; SageMaker refuses a key for them
SANDBOX_INSTANCE_TYPE = "ml.c5.large"
MAX_ROWS = 1_000  # held-out rows that both variants answer; they fit one request
MARGIN = 0.10  # the challenger may be this much worse, relative, before it counts as worse
IN_SERVICE_TIMEOUT_S = 1800
BAKING_SECONDS = 60  # how long the alarms watch before the rest of the traffic follows; one period of theirs


@dataclass
class Observed:
    """What the canary showed of one variant."""

    requests: int = 0
    errors: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # absolute error, or 1 for a wrong class, of each held-out row

    @property
    def p95_ms(self) -> float:
        """95th percentile of the latency, ms; 0 without answers."""
        ordered = sorted(self.latencies_ms)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0.0

    @property
    def loss(self) -> float:
        """Mean loss; 0 without answers."""
        return sum(self.losses) / len(self.losses) if self.losses else 0.0

    def summary(self) -> dict[str, float]:
        """For the result document."""
        return {"requests": self.requests, "errors": self.errors, "p95_ms": round(self.p95_ms, 2), "loss": round(self.loss, 6)}


def deploy(context: Context) -> dict[str, Any]:
    """Bring the registered version to the endpoint.

    Raises:
        GroundplanError: The canary was worse, and the endpoint is back on what it served before.
    """
    import pandas as pd

    mlflow = use_mlflow()
    approvals = context.result("signoff").get("approvals", {})  # no approval, no deployment
    experiment, registered = context.result("experiment"), context.result("register")
    version = registered["version"]
    hosting = Hosting(context)
    with TemporaryDirectory() as folder:
        path = Path(mlflow.artifacts.download_artifacts(run_id=experiment["run_id"], artifact_path="groundplan", dst_path=folder))
        if hosting.settings.topology != "realtime":
            outcome = _publish(context, hosting, path, version, experiment, approvals)
            mlflow.MlflowClient().set_registered_model_alias(context.model, "champion", registered["registry_version"])
            return outcome
        candidate = hosting.create_model(path / "candidate", version, approvals)
        files = unpacked(path / "candidate", version)
        serving_now = hosting.champion()
        before = serving_now or hosting.create_model(path / "baseline", "baseline")
        holdout = pd.read_parquet(path / "holdout.parquet").head(MAX_ROWS)
    share = hosting.settings.canary_percent / 100
    rows = holdout.drop(columns=["label", "prediction"], errors="ignore").to_dict(orient="records")
    back = ({CHAMPION: before, CHALLENGER: before}, {CHAMPION: 1.0, CHALLENGER: 0.0}, f"rollback-{version}")
    try:
        hosting.point({CHAMPION: before, CHALLENGER: candidate}, {CHAMPION: 1 - share, CHALLENGER: share}, label=f"canary-{version}")
        seen = _canary(hosting, rows, holdout["label"].tolist(), Loss.of(context.objectives(experiment["task"]), experiment["task"], holdout["label"]))
    except BaseException:  # whatever stopped the canary, no traffic may stay with a version that nobody compared
        hosting.point(*back)
        raise
    verdict = compare(seen[CHAMPION], seen[CHALLENGER], context.objectives(experiment["task"]))
    outcome = {
        "version": version,
        "topology": hosting.settings.topology,
        "endpoint": context.endpoint_name,
        "canary_percent": hosting.settings.canary_percent,
        "champion_before": "baseline" if serving_now is None else serving_now,
        "variants": {name: item.summary() for name, item in seen.items()},
        "verdict": verdict or "not worse than the champion",
        # Out-of-fold rows are the training rows: a champion of other data would be judged more harshly than the challenger.
        "judged_on": "rows the candidate was trained on" if "fold" in experiment["holdout"] else experiment["holdout"],
    }
    client = mlflow.MlflowClient()
    if verdict:
        hosting.point(*back)
        append(context, "pipeline", "rollback", **outcome)
        raise GroundplanError(
            f"{context.model} {version} was rolled back: {verdict}", where=context.endpoint_name, fix="the endpoint serves what it served before"
        )
    try:
        hosting.point({CHAMPION: candidate, CHALLENGER: candidate}, {CHAMPION: 1.0, CHALLENGER: 0.0}, label=f"promote-{version}")
    except BaseException:
        hosting.point(*back)  # an alarm has stopped it: the canary's share goes back, too
        raise
    hosting.predict(rows, CHAMPION)  # so that monitoring begins with more than a few rows
    _put_current(context, files)  # where every other way of serving reads it, should the objectives change
    client.set_registered_model_alias(context.model, "champion", registered["registry_version"])
    append(context, "pipeline", "promote", **outcome)
    return {**outcome, "outcome": "promoted"}


def _publish(context: Context, hosting: Hosting, path: Path, version: str, experiment: dict[str, Any], approvals: dict[str, str]) -> dict[str, Any]:
    """Where there is one version at a time: compare in this process, then put the new one where it is read.

    A serverless endpoint gets a configuration of its own; batch jobs, the cluster and devices read ``<model>/current/``, and Triton
    ``<model>/triton/`` (https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html).

    Raises:
        GroundplanError: The new version is worse than the one that is there; nothing was put.
    """
    import pandas as pd

    from pipelines.serving.bundle import load

    holdout = pd.read_parquet(path / "holdout.parquet").head(MAX_ROWS)
    before = path / "before"
    fetched = _fetch_current(context, before)
    candidate, champion = load(path / "candidate"), load(before if fetched else path / "baseline")
    assert candidate is not None and champion is not None
    loss = Loss.of(context.objectives(experiment["task"]), experiment["task"], holdout["label"])
    losses = {name: _losses(model, holdout, loss) for name, model in ((CHAMPION, champion), (CHALLENGER, candidate))}
    seen = {name: Observed(requests=len(found), losses=found) for name, found in losses.items()}
    verdict = compare(seen[CHAMPION], seen[CHALLENGER], context.objectives(experiment["task"]))
    outcome = {
        "version": version,
        "topology": hosting.settings.topology,
        "endpoint": hosting.settings.name,
        "canary_percent": 0,
        "champion_before": champion.version if fetched else "baseline",
        "variants": {name: item.summary() for name, item in seen.items()},
        "verdict": verdict or "not worse than the champion",
        "judged_on": experiment["holdout"],
    }
    if verdict:
        append(context, "pipeline", "rollback", **outcome)
        raise GroundplanError(f"{context.model} {version} was not published: {verdict}", where=context.model, fix="what served before goes on serving")
    files = unpacked(path / "candidate", version)
    if hosting.settings.topology == "serverless":
        hosting.point({CHAMPION: hosting.create_model(path / "candidate", version, approvals)}, {CHAMPION: 1.0}, label=f"publish-{version}")
        hosting.predict(holdout.drop(columns=["label", "prediction"], errors="ignore").to_dict(orient="records"), CHAMPION)
    _put_current(context, files)
    if hosting.settings.topology == "cluster-gpu":
        context.put("models", f"{context.model}/triton/{context.model}/1/model.onnx", files["model.onnx"])
    append(context, "pipeline", "promote", **outcome)
    return {**outcome, "outcome": "promoted"}


def _put_current(context: Context, files: dict[str, bytes]) -> None:
    for name, content in {**files, "model.tar.gz": package(files)}.items():
        context.put("models", f"{context.model}/current/{name}", content)


def _fetch_current(context: Context, folder: Path) -> bool:
    """Fetch the version that is published, if there is one."""
    folder.mkdir()
    prefix = f"{context.model}/current/"
    for key in context.keys("models", prefix):
        (folder / key.removeprefix(prefix)).write_bytes(context.get("models", key))
    return (folder / "model.onnx").is_file()


def _losses(model: Model, holdout: Any, loss: Loss) -> list[float]:
    rows = {name: holdout[name].tolist() for name in model.names}
    predicted = model.predict(model.tensors(rows))
    return [loss(guess, label) for guess, label in zip(predicted, holdout["label"].tolist(), strict=True)]


@dataclass(frozen=True)
class Loss:
    """How wrong one prediction is: the absolute error, or 1 for a wrong class.

    Attributes:
        weights: Of each class, where the objective counts every class alike (``balanced_accuracy``); their mean over the rows is 1.
    """

    task: str
    weights: dict[str, float]

    @classmethod
    def of(cls, objectives: ModelObjectives, task: str, labels: Any) -> Loss:
        """The loss that fits the model's quality objective."""
        if task == "regression" or objectives.quality.metric != "balanced_accuracy":
            return cls(task, {})
        counts = labels.astype(str).value_counts()
        return cls(task, {name: len(labels) / (len(counts) * count) for name, count in counts.items()})

    def __call__(self, predicted: Any, label: Any) -> float:
        """The loss of one row."""
        if self.task == "regression":
            return abs(float(predicted) - float(label))
        return self.weights.get(str(label), 1.0) if str(predicted) != str(label) else 0.0


def compare(champion: Observed, challenger: Observed, objectives: ModelObjectives) -> str:
    """Why the challenger must not be promoted; empty if it may."""
    if challenger.requests == 0:
        return "the challenger answered no request"
    if challenger.errors / challenger.requests > champion.errors / max(1, champion.requests):
        return f"{challenger.errors} of {challenger.requests} requests failed (champion: {champion.errors} of {champion.requests})"
    if challenger.p95_ms > objectives.latency_ms:
        return f"p95 latency {challenger.p95_ms:.1f} ms is over the {objectives.latency_ms:g} ms of the objectives"
    if challenger.loss > champion.loss * (1 + MARGIN):
        return f"on the same {len(challenger.losses)} rows its error is {challenger.loss:.4g}, the champion's {champion.loss:.4g}"
    return ""


def _canary(hosting: Hosting, rows: list[dict[str, Any]], labels: list[Any], loss: Loss) -> dict[str, Observed]:
    """What live traffic shows of errors and latency, and what held-out rows show of quality.

    Rows go through the endpoint one by one, and SageMaker chooses the variant, until the challenger has answered enough of
    them. Then both variants answer all of them: on the few rows that 5 % of the traffic are, chance would decide.
    """
    seen = {CHAMPION: Observed(), CHALLENGER: Observed()}
    for number in range(MOST_REQUESTS):
        hosting.ask(rows[number % len(rows)], seen)
        if seen[CHALLENGER].requests >= WANTED_CANARY_REQUESTS:
            break
    for variant, observed in seen.items():
        for predicted, label in zip(hosting.predict(rows, variant), labels, strict=True):
            observed.losses.append(loss(predicted, label))
    return seen


class Hosting:
    """The endpoint, through the ordinary SageMaker API."""

    def __init__(self, context: Context) -> None:
        import boto3
        from botocore.config import Config

        self.context = context
        self.name = context.endpoint_name
        self.sagemaker = boto3.client("sagemaker")
        self.runtime = boto3.client("sagemaker-runtime", config=Config(retries={"max_attempts": 0}))
        sandbox = next(iter(context.outputs.endpoints.values()))
        self.settings = context.outputs.endpoints.get(context.model) or EndpointOutputs(
            name=self.name,
            topology="realtime",
            instance_type=sandbox.instance_type or SANDBOX_INSTANCE_TYPE,
            min_instances=1,
            max_instances=1,
            canary_percent=5,
            image_uri=sandbox.image_uri,
        )

    def create_model(self, folder: Path, version: str, approvals: dict[str, str] | None = None) -> str:
        """Package a folder as ``model.tar.gz``, store it in the models zone and make a SageMaker model of it; its name.

        Args:
            approvals: Who has signed the version off, by role; tags of the model, where an auditor of the account finds them.
        """
        name = short_name(f"{self.name}-{version}-{self.context.run}", SAGEMAKER_NAME_LIMIT)
        address = self.context.put("models", f"{self.context.model}/{name}/model.tar.gz", package(unpacked(folder, version)), "application/gzip")
        environment = {"GROUNDPLAN_MODEL": self.context.model, "AWS_DEFAULT_REGION": self.context.outputs.region}
        if self.settings.topology == "serverless":
            # SageMaker captures only what real-time endpoints are asked; here the container does, at once, since it is frozen between requests.
            environment["GROUNDPLAN_CAPTURE"] = f"s3://{self.context.outputs.buckets['models']}/capture/{self.name}/{CHAMPION}"
            environment["GROUNDPLAN_CAPTURE_SECONDS"] = "0"
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=self.context.outputs.role_arns["serving"],
            PrimaryContainer={"Image": self.settings.image_uri, "ModelDataUrl": address, "Environment": environment},
            **({} if self.settings.topology == "serverless" else {"VpcConfig": self._network()}),
            Tags=[{"Key": "Model", "Value": self.context.model}, {"Key": "Version", "Value": version}, *_approval_tags(approvals or {})],
        )
        return name

    def champion(self) -> str | None:
        """Name of the SageMaker model that the champion serves; None if the endpoint is new or still empty."""
        from botocore.exceptions import ClientError

        try:
            endpoint = self.sagemaker.describe_endpoint(EndpointName=self.name)
        except ClientError as error:
            if "Could not find" in str(error):
                return None
            raise
        config = self.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
        name = next(v["ModelName"] for v in config["ProductionVariants"] if v["VariantName"] == CHAMPION)
        served = self.sagemaker.describe_model(ModelName=name)
        return name if served["PrimaryContainer"].get("ModelDataUrl") else None

    def point(self, models: dict[str, str], weights: dict[str, float], label: str) -> None:
        """Give the endpoint a new configuration and wait until it serves it.

        Raises:
            GroundplanError: The endpoint failed to come up.
        """
        from botocore.exceptions import ClientError, WaiterError

        config = short_name(f"{self.name}-{label}-{self.context.run}", SAGEMAKER_NAME_LIMIT)
        variants = [
            {"VariantName": variant, "ModelName": model, "InitialVariantWeight": weights[variant], **self._capacity(variant)}
            for variant, model in models.items()
        ]
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
        self.sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=variants, **more)
        try:
            self.sagemaker.update_endpoint(EndpointName=self.name, EndpointConfigName=config, **self._guardrails())
        except ClientError as error:
            if "Could not find" not in str(error):
                raise
            # A model that the stack does not name: a sandbox endpoint.
            self.sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName=config)
        delay = 0.25 if self.context.outputs.stack == "local" else 15
        try:
            self.sagemaker.get_waiter("endpoint_in_service").wait(
                EndpointName=self.name, WaiterConfig={"Delay": delay, "MaxAttempts": int((60 if delay < 1 else IN_SERVICE_TIMEOUT_S) / delay)}
            )
        except WaiterError as error:
            reason = self.sagemaker.describe_endpoint(EndpointName=self.name).get("FailureReason", str(error))
            raise GroundplanError(f"did not come into service: {reason}", where=self.name) from None
        serving = self.sagemaker.describe_endpoint(EndpointName=self.name)
        if serving["EndpointConfigName"] != config:  # SageMaker has taken the update back, and is in service again
            raise GroundplanError(f"an alarm took the update back: {serving.get('FailureReason', 'no reason given')}", where=self.name)

    def _guardrails(self) -> dict[str, Any]:
        """The canary and the alarms that take an update back. They belong to the update: the program sets them only on the first one.

        https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green-canary.html
        """
        alarms = self.context.outputs.alarms.get(self.context.model, {})
        if self.settings.topology != "realtime" or not self.settings.canary_percent:
            return {}
        routing = {"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": self.settings.canary_percent}, "WaitIntervalInSeconds": BAKING_SECONDS}
        update = {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": BAKING_SECONDS, "MaximumExecutionTimeoutInSeconds": IN_SERVICE_TIMEOUT_S}
        watched = [{"AlarmName": alarms[subject]} for subject in ("latency", "errors") if subject in alarms]
        return {"DeploymentConfig": {"BlueGreenUpdatePolicy": update, **({"AutoRollbackConfiguration": {"Alarms": watched}} if watched else {})}}

    def _network(self) -> dict[str, list[str]]:
        network = self.context.outputs.network
        return {"Subnets": list(network.subnet_ids), "SecurityGroupIds": [network.security_group_id]}

    def _capacity(self, variant: str) -> dict[str, Any]:
        if self.settings.topology == "serverless":
            return {"ServerlessConfig": {"MaxConcurrency": self.settings.max_instances, "MemorySizeInMB": SERVERLESS_MEMORY_MB}}
        return {
            "InstanceType": self.settings.instance_type,
            "InitialInstanceCount": self.settings.min_instances if variant == CHAMPION else 1,
        }

    def predict(self, rows: list[dict[str, Any]], variant: str) -> list[Any]:
        """Predictions of one variant.

        Raises:
            GroundplanError: It does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        body = _body(rows)
        try:
            answer = self.runtime.invoke_endpoint(EndpointName=self.name, ContentType="application/json", Body=body, TargetVariant=variant)
        except (ClientError, BotoCoreError) as error:
            raise GroundplanError(f"the {variant} does not answer: {error}", where=self.name) from None
        predictions: list[Any] = json.loads(answer["Body"].read())["predictions"]
        return predictions

    def ask(self, row: dict[str, Any], seen: dict[str, Observed]) -> None:
        """Send one row and note which variant answered, how fast, and whether it failed."""
        from botocore.exceptions import BotoCoreError, ClientError

        started = time.perf_counter()
        failed = False
        try:
            answer: dict[str, Any] = self.runtime.invoke_endpoint(EndpointName=self.name, ContentType="application/json", Body=_body([row]))
        except (ClientError, BotoCoreError) as error:
            answer, failed = getattr(error, "response", {}), True
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        # A failure that names no variant is held against the new one.
        observed = seen[headers.get("x-amzn-invoked-production-variant", CHALLENGER)]
        observed.requests += 1
        if failed:
            observed.errors += 1
        else:
            observed.latencies_ms.append((time.perf_counter() - started) * 1000)


def _body(rows: list[dict[str, Any]]) -> str:
    """Rows for either version: one takes what it knows of them."""
    return json.dumps({"dataframe_records": rows, "params": {"extra_columns": "ignore"}}, default=str)


def _approval_tags(approvals: dict[str, str]) -> list[dict[str, str]]:
    """``ApprovedByDataScience``, ``ApprovedByOperations``, as the policy pack asks for them."""
    return [{"Key": f"ApprovedBy{role.title().replace('-', '')}", "Value": who} for role, who in approvals.items()]


def unpacked(folder: Path, version: str) -> dict[str, bytes]:
    """Files of a served model by name, its description marked with its version."""
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    described["version"] = version
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} | {"model.json": json.dumps(described).encode()}


def package(files: dict[str, bytes]) -> bytes:
    """``model.tar.gz`` of a served model, the same bytes for the same content."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


if __name__ == "__main__":
    main("deploy", deploy)
