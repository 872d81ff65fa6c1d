"""Step: a canary through the endpoint's variant weights, a comparison on the same rows, then promotion or rollback."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.audit_chain import append
from pipelines.context import GRAPH_ONLY, SAGEMAKER_NAME_LIMIT, Context, main
from pipelines.serving.bundle import Model, load
from pipelines.serving.engines import class_name, class_names
from pipelines.tracking import use_mlflow
from pipelines.training.labelled import Labelled, as_columns, each_row, load_labelled
from spec.errors import GroundplanError
from spec.names import short_name
from spec.objectives import ModelObjectives
from spec.outputs import EndpointOutputs

CHAMPION, CHALLENGER = "champion", "challenger"
CANARY = "canary"  # purpose of requests that nobody but the pipeline asks
WANTED_CANARY_REQUESTS = 20  # answers of the challenger before the two are compared
MOST_REQUESTS = 2_000
SERVERLESS_MEMORY_MB = 2048
LOCAL_NVME = ("ml.g4dn.", "ml.g5.")  # encrypted in hardware; SageMaker refuses a key for them
SANDBOX_INSTANCE_TYPE = "ml.c5.large"
MAX_ROWS = 1_000  # held-out rows that both variants answer
MOST_REQUEST_BYTES = 3 * 1024 * 1024  # half of what SageMaker takes: rows differ in size
MARGIN = 0.10  # the challenger may be this much worse, relative, before it counts as worse
IN_SERVICE_TIMEOUT_S = 1800
MOST_OF_A_REASON = 900  # characters; SageMaker takes 1,024 in a variable
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

    The first version has no champion to be compared with; its baseline is asked in this process and never answers anybody.

    Raises:
        GroundplanError: The canary was worse, and the endpoint is back on what it served before; where that was nothing, it says why.
    """
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
        check_topology(hosting.settings.topology, path / "candidate", context.model)
        candidate = hosting.create_model(path / "candidate", version, approvals)
        files, baseline = unpacked(path / "candidate", version), load(path / "baseline")
        assert baseline is not None
        serving_now = hosting.champion()
        holdout = load_labelled(path, "holdout").sample(MAX_ROWS)
        theirs = _rows_of_champion(mlflow, context, holdout, Path(folder) / "champion") if serving_now else None
    share = hosting.settings.canary_percent / 100 if serving_now else 0.0
    objectives = context.objectives(experiment["task"])
    rows = _records(holdout if theirs is None else _filled(holdout, theirs))
    loss = Loss.of(objectives, experiment["task"], holdout.labels)
    before = serving_now or hosting.create_empty("none", f"{version} is being tried")

    def take_back(why: str) -> None:
        """No traffic may stay with a version that nobody compared, or that was found worse."""
        stays = serving_now or hosting.create_empty(f"without-{version}", f"{version} was rolled back: {why}")
        hosting.point({CHAMPION: stays, CHALLENGER: stays}, {CHAMPION: 1.0, CHALLENGER: 0.0}, f"rollback-{version}")

    try:
        hosting.point({CHAMPION: before, CHALLENGER: candidate}, {CHAMPION: 1 - share, CHALLENGER: share}, label=f"canary-{version}")
        seen = _canary(hosting, rows, each_row(holdout.labels), loss, alone=serving_now is None, theirs=theirs)
    except BaseException as error:
        take_back(f"its canary was interrupted ({type(error).__name__})")
        raise
    if serving_now is None:
        seen[CHAMPION] = Observed(losses=_losses(baseline, holdout, loss))
    rival = "champion" if serving_now else "baseline"
    verdict = compare(seen[CHAMPION], seen[CHALLENGER], objectives, rival)
    outcome = {
        "version": version,
        "topology": hosting.settings.topology,
        "endpoint": context.endpoint_name,
        "canary_percent": hosting.settings.canary_percent if serving_now else 0,
        "champion_before": "" if serving_now is None else serving_now,
        "variants": {rival if name == CHAMPION else name: item.summary() for name, item in seen.items()},
        "verdict": verdict or _verdict(seen, rival),
        "judged_on": _judged_on(experiment) if theirs is None else "rows of its own, and the champion on its own: it takes columns that this version has not",
    }
    client = mlflow.MlflowClient()
    if verdict:
        take_back(verdict)
        append(context, "pipeline", "rollback", **outcome)
        stays = "serves what it served before" if serving_now else "answers 503 with this reason, until a version is good enough"
        raise GroundplanError(f"{context.model} {version} was rolled back: {verdict}", where=context.endpoint_name, fix=f"the endpoint {stays}")
    try:
        hosting.point({CHAMPION: candidate, CHALLENGER: candidate}, {CHAMPION: 1.0, CHALLENGER: 0.0}, label=f"promote-{version}")
    except BaseException:
        take_back("its promotion was stopped")  # by an alarm: the canary's share goes back, too
        raise
    hosting.predict(rows, CHAMPION)  # so that monitoring begins with more than a few rows
    _put_current(context, files)  # where every other way of serving reads it, should the objectives change
    client.set_registered_model_alias(context.model, "champion", registered["registry_version"])
    append(context, "pipeline", "promote", **outcome)
    return {**outcome, "outcome": "promoted"}


def _judged_on(experiment: dict[str, Any]) -> str:
    # Out-of-fold rows are the training rows: a champion of other data would be judged more harshly than the challenger.
    return (
        "rows the candidate was trained on, which flatters it"
        if "fold" in experiment["holdout"] or "trained on" in experiment["holdout"]
        else str(experiment["holdout"])
    )


def _rows_of_champion(mlflow: Any, context: Context, holdout: Labelled, folder: Path) -> Labelled | None:
    """The champion's own held-out rows, where it takes columns that the new version's rows don't have; else None."""
    try:
        known = mlflow.MlflowClient().get_model_version_by_alias(context.model, "champion")
    except mlflow.MlflowException:  # it was deployed past the registry
        return None
    if set(json.loads(known.tags.get("columns", "[]"))) <= set(holdout.features.columns):
        return None
    names = ("holdout.parquet", "holdout-answers.parquet")
    files = [mlflow.artifacts.download_artifacts(run_id=known.run_id, artifact_path=f"groundplan/{name}", dst_path=folder) for name in names]
    return load_labelled(Path(files[0]).parent, "holdout").sample(MAX_ROWS)


def _filled(rows: Labelled, theirs: Labelled) -> Labelled:
    """Rows that the champion answers, too: for columns that they don't have they get values of its own rows."""
    import numpy as np

    more = theirs.features[[name for name in theirs.features.columns if name not in rows.features.columns]]
    taken = more.iloc[np.arange(len(rows)) % len(more)].set_index(rows.features.index)
    return Labelled(rows.features.join(taken), rows.labels)


def _described(folder: Path) -> dict[str, Any]:
    """``model.json`` of a served model."""
    found: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return found


def check_topology(topology: str, folder: Path, model: str) -> None:
    """A model in its own format is served where its process can be, and runs code of its own only where nothing else is in reach.

    Raises:
        GroundplanError: It can't be served by this topology.
    """
    described = _described(folder)
    if described.get("engine", "onnx") != "native":
        return
    if topology in GRAPH_ONLY or (described.get("untrusted") and topology != "realtime"):
        what = "is stored as a pickle" if described.get("untrusted") else f"is served in its own format ({described['flavor']})"
        raise GroundplanError(
            f"{model} {what}, and {topology} takes {'ONNX' if topology in GRAPH_ONLY else 'formats that are only data'}",
            where=f"groundplan:objectives.models.{model}", fix="change the objectives that ask for it (`groundplan explain`), or the model",
        )  # fmt: skip


def _verdict(seen: dict[str, Observed], rival: str) -> str:
    """What the comparison came to, where nothing stands against the challenger."""
    ours, theirs = seen[CHALLENGER].loss, seen[CHAMPION].loss
    how = f"its error is {ours:.4g}, the {rival}'s {theirs:.4g}"
    known = "" if rival == "champion" else "; there was no champion to compare it with"
    verdict = "not worse than" if ours > theirs else "as good as" if ours == theirs else "better than"
    return f"{verdict} the {rival}: {how} on {len(seen[CHALLENGER].losses)} rows{known}"


def _records(rows: Labelled) -> list[dict[str, Any]]:
    """Rows as a request has them; a missing value is null."""
    columns = as_columns(rows.features, list(rows.features.columns))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _publish(context: Context, hosting: Hosting, path: Path, version: str, experiment: dict[str, Any], approvals: dict[str, str]) -> dict[str, Any]:
    """Where there is one version at a time: compare in this process, then put the new one where it is read.

    A serverless endpoint gets a configuration of its own; batch jobs, the cluster and devices read ``<model>/current/``, and Triton
    ``<model>/triton/`` (https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_repository.html).

    Raises:
        GroundplanError: The new version is worse than the one that is there; nothing was put.
    """
    holdout = load_labelled(path, "holdout").sample(MAX_ROWS)
    before = path / "before"
    fetched = _fetch_current(context, before)
    check_topology(hosting.settings.topology, path / "candidate", context.model)
    candidate, champion = load(path / "candidate"), load(before if fetched else path / "baseline")
    assert candidate is not None and champion is not None
    objectives, rival = context.objectives(experiment["task"]), "champion" if fetched else "baseline"
    loss = Loss.of(objectives, experiment["task"], holdout.labels)
    losses = {name: _losses(model, holdout, loss) for name, model in ((CHAMPION, champion), (CHALLENGER, candidate))}
    seen = {name: Observed(requests=len(found), losses=found) for name, found in losses.items()}
    verdict = compare(seen[CHAMPION], seen[CHALLENGER], objectives, rival)
    outcome = {
        "version": version,
        "topology": hosting.settings.topology,
        "endpoint": hosting.settings.name,
        "canary_percent": 0,
        "champion_before": champion.version if fetched else "",
        "variants": {rival if name == CHAMPION else name: item.summary() for name, item in seen.items()},
        "verdict": verdict or _verdict(seen, rival),
        "judged_on": _judged_on(experiment),
    }
    if verdict:
        append(context, "pipeline", "rollback", **outcome)
        stays = "what served before goes on serving" if fetched else "nothing serves yet"
        raise GroundplanError(f"{context.model} {version} was not published: {verdict}", where=context.model, fix=stays)
    files = unpacked(path / "candidate", version)
    if hosting.settings.topology == "serverless":
        hosting.point({CHAMPION: hosting.create_model(path / "candidate", version, approvals)}, {CHAMPION: 1.0}, label=f"publish-{version}")
        hosting.predict(_records(holdout), CHAMPION)
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
    return (folder / "model.json").is_file()


def _losses(model: Model, rows: Labelled, loss: Loss) -> list[float]:
    predicted = model.answers(as_columns(rows.features, model.names)).predictions
    return [loss(guess, label) for guess, label in zip(predicted, each_row(rows.labels), strict=True)]


@dataclass(frozen=True)
class Loss:
    """How wrong one prediction is: the absolute error, or 1 for a wrong class; of several targets the mean over them.

    Attributes:
        weights: Of each class, where the objective counts every class alike (``balanced_accuracy``); their mean over the rows is 1.
        scales: Of each of several targets that are numbers, which may be of different sizes: its standard deviation.
    """

    task: str
    weights: dict[str, float]
    scales: tuple[float, ...] = ()

    @classmethod
    def of(cls, objectives: ModelObjectives, task: str, labels: Any) -> Loss:
        """The loss that fits the model's quality objective."""
        if hasattr(labels, "columns"):
            return cls(task, {}, tuple(labels.astype(float).std(ddof=0).replace(0, 1)) if task == "regression" else (1.0,) * len(labels.columns))
        if task == "regression" or objectives.quality.metric != "balanced_accuracy":
            return cls(task, {})
        counts = Counter(class_names(labels).tolist())
        return cls(task, {name: len(labels) / (len(counts) * count) for name, count in counts.items()})

    def __call__(self, predicted: Any, label: Any) -> float:
        """The loss of one row."""
        if isinstance(label, list):
            one = Loss(self.task, {})
            parts = [one(guess, known) / scale for guess, known, scale in zip(predicted, label, self.scales, strict=True)]
            return sum(parts) / len(parts)
        if self.task == "regression":
            return abs(float(predicted) - float(label))
        return self.weights.get(class_name(label), 1.0) if class_name(predicted) != class_name(label) else 0.0


def compare(champion: Observed, challenger: Observed, objectives: ModelObjectives, rival: str = "champion") -> str:
    """Why the challenger must not be promoted; empty if it may.

    Args:
        rival: What it is compared with: the ``champion``, or the ``baseline`` where none serves yet.
    """
    if challenger.requests == 0:
        return "the challenger answered no request"
    if challenger.errors / challenger.requests > champion.errors / max(1, champion.requests):
        other = f" ({rival}: {champion.errors} of {champion.requests})" if champion.requests else ""
        return f"{challenger.errors} of {challenger.requests} requests failed{other}"
    if challenger.p95_ms > objectives.latency_ms:
        return f"p95 latency {challenger.p95_ms:.1f} ms is over the {objectives.latency_ms:g} ms of the objectives"
    if not challenger.loss <= champion.loss * (1 + MARGIN):  # a loss that is no number is worse, too
        return f"on the same {len(challenger.losses)} rows its error is {challenger.loss:.4g}, the {rival}'s {champion.loss:.4g}"
    return ""


def _canary(hosting: Hosting, rows: list[dict[str, Any]], labels: list[Any], loss: Loss, *, alone: bool, theirs: Labelled | None = None) -> dict[str, Observed]:
    """What live traffic shows of errors and latency, and what held-out rows show of quality.

    Rows go through the endpoint one by one, and SageMaker chooses the variant, until the challenger has answered enough of
    them. Then both variants answer all of them: on the few rows that 5 % of the traffic are, chance would decide.

    Args:
        alone: There is no champion: every request is for the challenger.
        theirs: Rows that the champion is judged on, where it takes other columns.
    """
    seen = {CHAMPION: Observed(), CHALLENGER: Observed()}
    for number in range(MOST_REQUESTS):
        hosting.ask(rows[number % len(rows)], seen, CHALLENGER if alone else "")
        if seen[CHALLENGER].requests >= WANTED_CANARY_REQUESTS:
            break
    for variant, observed in seen.items():
        if (variant == CHAMPION and alone) or (variant == CHALLENGER and observed.errors == observed.requests):
            continue  # it answers nothing; how many failed is what there is to say
        own = variant == CHAMPION and theirs is not None
        asked, wanted = (_records(theirs), each_row(theirs.labels)) if own and theirs is not None else (rows, labels)
        for predicted, label in zip(hosting.predict(asked, variant, CANARY), wanted, strict=True):
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
        described = _described(folder)
        alone = described.get("engine", "onnx") == "native" and self.settings.topology == "realtime"
        if alone and self.context.outputs.stack != "local":
            environment["GROUNDPLAN_NETWORK_ISOLATION"] = "1"
        self._create(name, {"ModelDataUrl": address, "Environment": environment}, version, _approval_tags(approvals or {}), alone=alone)
        return name

    def create_empty(self, label: str, why: str) -> str:
        """Make a SageMaker model that answers 503 and says why nothing serves; its name."""
        name = short_name(f"{self.name}-{label}-{self.context.run}", SAGEMAKER_NAME_LIMIT)
        environment = {
            "GROUNDPLAN_MODEL": self.context.model,
            "GROUNDPLAN_UNAVAILABLE": why[:MOST_OF_A_REASON],
            "AWS_DEFAULT_REGION": self.context.outputs.region,
        }
        self._create(name, {"Environment": environment}, "none", [])
        return name

    def _create(self, name: str, container: dict[str, Any], version: str, tags: list[dict[str, str]], *, alone: bool = False) -> None:
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=self.context.outputs.role_arns["serving"],
            PrimaryContainer={"Image": self.settings.image_uri, **container},
            **({} if self.settings.topology == "serverless" else {"VpcConfig": self._network()}),
            EnableNetworkIsolation=alone,  # the model's own code, if it has any, has neither network nor the role's credentials
            Tags=[{"Key": "Model", "Value": self.context.model}, {"Key": "Version", "Value": version}, *tags],
        )

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
        self._wait(until_it_exists=False)  # an update that was interrupted goes on, and SageMaker takes no second one meanwhile
        try:
            self.sagemaker.update_endpoint(EndpointName=self.name, EndpointConfigName=config, **self._guardrails())
        except ClientError as error:
            if "Could not find" not in str(error):
                raise
            # A model that the stack does not name: a sandbox endpoint.
            self.sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName=config)
        try:
            self._wait()
        except WaiterError as error:
            reason = self.sagemaker.describe_endpoint(EndpointName=self.name).get("FailureReason", str(error))
            raise GroundplanError(f"did not come into service: {reason}", where=self.name) from None
        serving = self.sagemaker.describe_endpoint(EndpointName=self.name)
        if serving["EndpointConfigName"] != config:  # SageMaker has taken the update back, and is in service again
            raise GroundplanError(f"an alarm took the update back: {serving.get('FailureReason', 'no reason given')}", where=self.name)

    def _wait(self, *, until_it_exists: bool = True) -> None:
        """Until no update is under way and the endpoint is in service."""
        from botocore.exceptions import ClientError, WaiterError

        delay = 0.25 if self.context.outputs.stack == "local" else 15
        waiter = self.sagemaker.get_waiter("endpoint_in_service")
        try:
            if not until_it_exists and self.sagemaker.describe_endpoint(EndpointName=self.name)["EndpointStatus"] not in (
                "Creating",
                "Updating",
                "RollingBack",
            ):
                return
            waiter.wait(EndpointName=self.name, WaiterConfig={"Delay": delay, "MaxAttempts": int((60 if delay < 1 else IN_SERVICE_TIMEOUT_S) / delay)})
        except (ClientError, WaiterError):
            if until_it_exists:
                raise

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

    def predict(self, rows: list[dict[str, Any]], variant: str, purpose: str = "") -> list[Any]:
        """Predictions of one variant.

        Raises:
            GroundplanError: It does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        found: list[Any] = []
        for part in _parts(rows):
            try:
                answer = self.runtime.invoke_endpoint(EndpointName=self.name, ContentType="application/json", Body=_body(part, purpose), TargetVariant=variant)
            except (ClientError, BotoCoreError) as error:
                raise GroundplanError(f"the {variant} does not answer: {_said(error)}", where=self.name) from None
            found += json.loads(answer["Body"].read())["predictions"]
        return found

    def ask(self, row: dict[str, Any], seen: dict[str, Observed], variant: str = "") -> None:
        """Send one row, to a variant or to the one that SageMaker chooses, and note which one answered, how fast, and whether it failed."""
        from botocore.exceptions import BotoCoreError, ClientError

        target = {"TargetVariant": variant} if variant else {}
        started = time.perf_counter()
        failed = False
        try:
            answer: dict[str, Any] = self.runtime.invoke_endpoint(EndpointName=self.name, ContentType="application/json", Body=_body([row], CANARY), **target)
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


def _parts(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows in requests below the size that SageMaker takes."""
    size = max((len(_body([row])) for row in rows[:20]), default=1)
    most = max(1, MOST_REQUEST_BYTES // size)
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


def _said(error: Exception) -> str:
    """What a model server said itself, without what SageMaker puts around it."""
    original = getattr(error, "response", {}).get("OriginalMessage", "")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(original)["error"])
    return original or str(error)


def _body(rows: list[dict[str, Any]], purpose: str = "") -> str:
    """Rows for either version: one takes what it knows of them. Monitoring leaves out what a canary asked."""
    params = {"extra_columns": "ignore"} | ({"purpose": purpose} if purpose else {})
    return json.dumps({"dataframe_records": rows, "params": params}, default=str)


def _approval_tags(approvals: dict[str, str]) -> list[dict[str, str]]:
    """``ApprovedByDataScience``, ``ApprovedByOperations``, as the policy pack asks for them."""
    return [{"Key": f"ApprovedBy{role.title().replace('-', '')}", "Value": who} for role, who in approvals.items()]


def unpacked(folder: Path, version: str) -> dict[str, bytes]:
    """Files of a served model by name, its description marked with its version."""
    described = _described(folder)
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
