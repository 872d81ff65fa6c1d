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
from typing import Any

from infra.errors import GroundplanError
from infra.objectives import ModelObjectives
from infra.outputs import EndpointOutputs
from pipelines.audit import append
from pipelines.context import Context, main
from pipelines.tracking import use_mlflow

CHAMPION, CHALLENGER = "champion", "challenger"
WANTED_CANARY_REQUESTS = 20  # answers of the challenger before the two are compared
MOST_REQUESTS = 2_000
MAX_BAKE_ROWS = 500  # held-out rows the promoted version answers at once, so that monitoring begins with all of them
MARGIN = 0.10  # the challenger may be this much worse, relative, before it counts as worse
IN_SERVICE_TIMEOUT_S = 1800


@dataclass
class Observed:
    """What the canary showed of one variant."""

    requests: int = 0
    errors: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)  # absolute error, or 1 for a wrong class; on the paired rows

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
    context.result("signoff")  # no approval, no deployment
    experiment, registered = context.result("experiment"), context.result("register")
    version = registered["version"]
    with TemporaryDirectory() as folder:
        path = Path(mlflow.artifacts.download_artifacts(run_id=experiment["run_id"], artifact_path="groundplan", dst_path=folder))
        hosting = Hosting(context)
        candidate = hosting.create_model(path / "candidate", version)
        files = unpacked(path / "candidate", version)
        serving_now = hosting.champion()
        before = serving_now or hosting.create_model(path / "baseline", "baseline")
        holdout = pd.read_parquet(path / "holdout.parquet")
    share = hosting.settings.canary_percent / 100
    hosting.point({CHAMPION: before, CHALLENGER: candidate}, {CHAMPION: 1 - share, CHALLENGER: share}, label=f"canary-{version}")
    seen = _canary(hosting, holdout, experiment["task"])
    verdict = compare(seen[CHAMPION], seen[CHALLENGER], context.objectives(experiment["task"]))
    outcome = {
        "version": version,
        "endpoint": context.endpoint_name,
        "canary_percent": hosting.settings.canary_percent,
        "champion_before": "baseline" if serving_now is None else serving_now,
        "variants": {name: item.summary() for name, item in seen.items()},
        "verdict": verdict or "not worse than the champion",
    }
    client = mlflow.MlflowClient()
    if verdict:
        hosting.point({CHAMPION: before, CHALLENGER: before}, {CHAMPION: 1.0, CHALLENGER: 0.0}, label=f"rollback-{version}")
        append(context, "pipeline", "rollback", **outcome)
        raise GroundplanError(
            f"{context.model} {version} was rolled back: {verdict}", where=context.endpoint_name, fix="the endpoint serves what it served before"
        )
    hosting.point({CHAMPION: candidate, CHALLENGER: candidate}, {CHAMPION: 1.0, CHALLENGER: 0.0}, label=f"promote-{version}")
    hosting.ask_all(holdout.head(MAX_BAKE_ROWS))
    for name, content in files.items():  # where the cluster's InferenceService reads it
        context.put("models", f"{context.model}/current/{name}", content)
    client.set_registered_model_alias(context.model, "champion", registered["registry_version"])
    append(context, "pipeline", "promote", **outcome)
    return {**outcome, "outcome": "promoted"}


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


def _canary(hosting: Hosting, holdout: Any, task: str) -> dict[str, Observed]:
    """Send held-out rows through the endpoint until the challenger has answered enough of them.

    Each row the challenger answered is also put to the champion, so that both are judged on the same rows.
    """
    features = holdout.drop(columns=["label", "prediction"], errors="ignore")
    rows, labels = features.to_dict(orient="records"), holdout["label"].tolist()
    seen = {CHAMPION: Observed(), CHALLENGER: Observed()}
    # SageMaker chooses the variant; a few more requests than the share asks for make the wanted count near certain.
    for number in range(MOST_REQUESTS):
        index = number % len(rows)
        variant = hosting.ask(rows[index], labels[index], task, seen)
        if variant == CHALLENGER:
            hosting.ask(rows[index], labels[index], task, seen, target=CHAMPION, paired=True)
            if seen[CHALLENGER].requests >= WANTED_CANARY_REQUESTS:
                break
    # The champion's loss counts on the paired rows only.
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
            name=self.name, instance_type=sandbox.instance_type, min_instances=1, canary_percent=5, image_uri=sandbox.image_uri
        )

    def create_model(self, folder: Path, version: str) -> str:
        """Package a folder as ``model.tar.gz``, store it in the models zone and make a SageMaker model of it; its name."""
        name = f"{self.name}-{version.replace('.', '-')}-{self.context.run}"[:63].rstrip("-")
        address = self.context.put("models", f"{self.context.model}/{name}/model.tar.gz", package(unpacked(folder, version)), "application/gzip")
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=self.context.outputs.role_arns["serving"],
            PrimaryContainer={"Image": self.settings.image_uri, "ModelDataUrl": address, "Environment": {"GROUNDPLAN_MODEL": self.context.model}},
            Tags=[{"Key": "Model", "Value": self.context.model}, {"Key": "Version", "Value": version}],
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

        config = f"{self.name}-{label.replace('.', '-')}-{self.context.run}"[:63].rstrip("-")
        variants = [
            {
                "VariantName": variant,
                "ModelName": model,
                "InstanceType": self.settings.instance_type,
                "InitialInstanceCount": self.settings.min_instances if variant == CHAMPION else 1,
                "InitialVariantWeight": weights[variant],
            }
            for variant, model in models.items()
        ]
        capture = {
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": f"s3://{self.context.outputs.buckets['models']}/capture",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"], "CsvContentTypes": ["text/csv"]},
        }
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=config, ProductionVariants=variants, DataCaptureConfig=capture, KmsKeyId=self.context.outputs.key_arns["models"]
        )
        try:
            self.sagemaker.update_endpoint(EndpointName=self.name, EndpointConfigName=config)
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

    def ask_all(self, holdout: Any) -> None:
        """Send held-out rows in one request to the promoted version.

        Raises:
            GroundplanError: It does not answer them.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        rows = holdout.drop(columns=["label", "prediction"], errors="ignore").to_dict(orient="records")
        try:
            self.runtime.invoke_endpoint(EndpointName=self.name, ContentType="application/json", Body=json.dumps({"dataframe_records": rows}, default=str))
        except (ClientError, BotoCoreError) as error:
            raise GroundplanError(f"the promoted version does not answer: {error}", where=self.name) from None

    def ask(self, row: dict[str, Any], label: Any, task: str, seen: dict[str, Observed], target: str | None = None, paired: bool = False) -> str:
        """Send one row and note what came back; returns the variant that answered."""
        from botocore.exceptions import BotoCoreError, ClientError

        options = {"TargetVariant": target} if target else {}
        started = time.perf_counter()
        try:
            answer = self.runtime.invoke_endpoint(
                EndpointName=self.name, ContentType="application/json", Body=json.dumps({"dataframe_records": [row]}, default=str), **options
            )
        except (ClientError, BotoCoreError) as error:
            response = getattr(error, "response", {})
            variant = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amzn-invoked-production-variant", target or CHALLENGER)
            seen[variant].requests += 1
            seen[variant].errors += 1
            return str(variant)
        elapsed = (time.perf_counter() - started) * 1000
        variant = answer["InvokedProductionVariant"]
        predicted = json.loads(answer["Body"].read())["predictions"][0]
        observed = seen[variant]
        observed.requests += 1
        observed.latencies_ms.append(elapsed)
        if variant == CHALLENGER or paired:
            observed.losses.append(abs(float(predicted) - float(label)) if task == "regression" else float(str(predicted) != str(label)))
        return str(variant)


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
