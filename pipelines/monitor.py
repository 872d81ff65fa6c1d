"""Step: what was served, held against the training data: drift, quality, and the alarms that follow from them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.errors import GroundplanError
from pipelines.context import Context, main
from pipelines.evaluate import HIGHER_IS_BETTER
from pipelines.tracking import use_mlflow

PSI_BINS, PSI_LEAST = 10, 1e-4
ENDPOINTS = ("realtime", "serverless")  # each deployment asks them


def monitor(context: Context) -> dict[str, Any]:
    """Compare captured requests with the training data and publish drift and quality as CloudWatch metrics.

    Raises:
        GroundplanError: No version serves, or nothing was captured.
    """
    import boto3
    import pandas as pd

    mlflow = use_mlflow()
    client = mlflow.MlflowClient()
    try:
        champion = client.get_model_version_by_alias(context.model, "champion")
    except mlflow.MlflowException:
        raise GroundplanError(f"no version of {context.model} serves yet", where="registry", fix="groundplan experiment examples/... --deploy") from None
    with TemporaryDirectory() as folder:
        path = Path(mlflow.artifacts.download_artifacts(run_id=champion.run_id, artifact_path="groundplan", dst_path=folder))
        reference, holdout = pd.read_parquet(path / "training.parquet"), pd.read_parquet(path / "holdout.parquet")
        task = json.loads((path / "candidate" / "model.json").read_text())["task"]
    columns = list(reference.columns.drop("label"))
    known = context.outputs.endpoints.get(context.model)
    topology = known.topology if known else "realtime"
    served = (in_batches if topology == "batch" else captured)(context, columns, champion.tags["version"])
    if served.empty and topology not in ENDPOINTS:  # nobody need have asked yet
        return {
            "version": champion.tags["version"], "requests": 0, "distinct_rows": 0, "drift_share": 0.0, "drifted_columns": [], "quality": {}, "report": "",
            "alarms": alarm_states(context),
        }  # fmt: skip
    if served.empty:
        raise GroundplanError(
            f"no requests were captured for {context.model} {champion.tags['version']}", where=context.endpoint_name, fix="send some requests first"
        )
    current = served[columns].drop_duplicates()
    page = context.reports / f"{context.model}-drift.html"
    share, drifted = drift(reference[columns], current, page)
    objectives = context.objectives(task)
    metric = objectives.quality.metric
    quality = _quality(served, holdout, columns, metric)
    metrics: dict[str, float] = {"drift_share": share} | ({metric: quality} if quality is not None else {})
    boto3.client("cloudwatch").put_metric_data(
        Namespace=context.outputs.metrics_namespace,
        MetricData=[
            {"MetricName": name, "Dimensions": [{"Name": "Model", "Value": context.model}], "Timestamp": datetime.now(UTC), "Value": value}
            for name, value in metrics.items()
        ],
    )
    return {
        "version": champion.tags["version"],
        "requests": len(served),
        "distinct_rows": len(current),
        "drift_share": share,
        "drifted_columns": drifted,
        "quality": {metric: quality} if quality is not None else {},
        "allowed": {"drift_share": objectives.drift_share, metric: objectives.quality.worst, "higher_is_better": HIGHER_IS_BETTER[metric]},
        "report": str(page),
        "alarms": alarm_states(context),
        "by_month": by_month(context, reference, columns),
    }


def by_month(context: Context, reference: Any, columns: list[str]) -> list[dict[str, Any]]:
    """The data that came in, month by month, against the rows that the champion was trained on.

    Returns:
        For each month its rows, the mean of the outcome, and the largest population stability index of a feature with its name: the sum of
        ``(p - q) * ln(p / q)`` over ten bins of equal share in the reference. Empty where the example has no event times.
    """
    import io

    import numpy as np
    import pandas as pd

    if not context.example.features:
        return []
    newest = max(context.keys("features", f"training/{context.model}/"))  # runs are named after their time
    frame = pd.read_parquet(io.BytesIO(context.get("features", newest)))
    columns = [name for name in columns if name in frame and pd.api.types.is_numeric_dtype(frame[name])]
    if not columns:
        return []
    months = frame["event_timestamp"].dt.strftime("%Y-%m").to_numpy()
    names, month_of = np.unique(months, return_inverse=True)
    psi = np.zeros((len(names), len(columns)))
    for place, column in enumerate(columns):
        edges = np.unique(np.quantile(reference[column], np.linspace(0, 1, PSI_BINS + 1)[1:-1]))
        wanted = np.bincount(np.searchsorted(edges, reference[column], side="right"), minlength=len(edges) + 1) / len(reference)
        bins = np.searchsorted(edges, frame[column], side="right")
        counts = np.bincount(month_of * (len(edges) + 1) + bins, minlength=len(names) * (len(edges) + 1)).reshape(len(names), -1)
        shares = np.maximum(counts / counts.sum(axis=1, keepdims=True), PSI_LEAST)
        psi[:, place] = ((shares - np.maximum(wanted, PSI_LEAST)) * np.log(shares / np.maximum(wanted, PSI_LEAST))).sum(axis=1)
    outcomes = frame[context.example.target].groupby(months).agg(["size", "mean"])
    return [
        {
            "month": str(name), "rows": int(outcomes.loc[name, "size"]), "outcome": round(float(outcomes.loc[name, "mean"]), 4),
            "psi": round(float(psi[index].max()), 4), "column": columns[int(psi[index].argmax())],
        }
        for index, name in enumerate(names)
    ]  # fmt: skip


def captured(context: Context, columns: list[str], version: str) -> Any:
    """Rows that one version answered, from the endpoint's data capture: the features and ``prediction``."""
    import base64

    import pandas as pd

    rows: list[dict[str, Any]] = []
    bucket = context.outputs.buckets["models"]
    for page in context.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"capture/{context.endpoint_name}/"):
        for item in page.get("Contents", []):
            for line in context.s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read().splitlines():
                event = json.loads(line)["captureData"]
                if "endpointInput" not in event or "endpointOutput" not in event:
                    continue
                body, answer = (event[key]["data"] for key in ("endpointInput", "endpointOutput"))
                if event["endpointInput"]["encoding"] == "BASE64":
                    body = base64.b64decode(body).decode()
                try:
                    answer = json.loads(answer)
                    if answer.get("model_version") == version and "predictions" in answer:
                        rows += _rows(json.loads(body), answer["predictions"], columns)
                except (ValueError, KeyError):
                    continue  # a request in CSV, which names no columns to compare
    return pd.DataFrame(rows, columns=[*columns, "prediction"])


def in_batches(context: Context, columns: list[str], version: str) -> Any:
    """Rows that batch jobs of one version answered: each line of an input file with the same line of its ``.out`` file."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    bucket, prefix = context.outputs.buckets["features"], f"batch/{context.model}"
    for page in context.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/out/"):
        for item in page.get("Contents", []):
            asked = item["Key"].replace(f"{prefix}/out/", f"{prefix}/in/", 1).removesuffix(".out")
            try:
                requests, answers = (context.get("features", key).splitlines() for key in (asked, item["Key"]))
            except context.s3.exceptions.NoSuchKey:
                continue  # its requests were cleared away
            for request, answer in zip(requests, map(json.loads, answers), strict=False):
                if answer.get("model_version") == version:
                    rows += _rows(json.loads(request), answer["predictions"], columns)
    return pd.DataFrame(rows, columns=[*columns, "prediction"])


def _rows(request: dict[str, Any], predictions: list[Any], columns: list[str]) -> list[dict[str, Any]]:
    """Rows of a request in one of MLflow's JSON forms; rows that were looked up by key are not in the capture."""
    if "dataframe_records" in request:
        features = request["dataframe_records"]
    elif "dataframe_split" in request:
        names = request["dataframe_split"].get("columns", columns)
        features = [dict(zip(names, row, strict=True)) for row in request["dataframe_split"]["data"]]
    elif isinstance(rows := request.get("instances", request.get("inputs")), list):
        features = [row if isinstance(row, dict) else dict(zip(columns, row, strict=True)) for row in rows]
    else:
        return []
    return [{**{name: row[name] for name in columns}, "prediction": value} for row, value in zip(features, predictions, strict=True)]


def drift(reference: Any, current: Any, page: Path) -> tuple[float, list[str]]:
    """Share of columns that have drifted and their names (Evidently's default test for each column); writes its page."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [name for name in reference.columns if reference[name].dtype.kind in "ifb"]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=[name for name in reference.columns if name not in numbers])
    wrap = [
        Dataset.from_pandas(frame.reset_index(drop=True).astype(dict.fromkeys(numbers, float)), data_definition=definition) for frame in (current, reference)
    ]
    snapshot = Report([DataDriftPreset()]).run(wrap[0], wrap[1])
    page.parent.mkdir(parents=True, exist_ok=True)
    snapshot.save_html(str(page))
    share, drifted = 0.0, []
    for item in snapshot.dict()["metrics"]:
        config = item["config"]
        if config["type"].endswith("DriftedColumnsCount"):
            share = float(item["value"]["share"])
        elif config["type"].endswith("ValueDrift"):
            test = config.get("method", "")
            below = "p_value" in test or "p-value" in test
            if (item["value"] < config["threshold"]) if below else (item["value"] >= config["threshold"]):
                drifted.append(config["column"])
    return share, sorted(drifted)


def _quality(served: Any, holdout: Any, columns: list[str], metric: str) -> float | None:
    """The metric on captured rows whose outcome is known by now; None where none is."""
    labelled = served.drop_duplicates(columns, keep="last").merge(holdout[[*columns, "label"]].drop_duplicates(columns), on=columns, how="inner")
    if labelled.empty:
        return None
    if metric in ("mae", "rmse"):
        errors = (labelled["prediction"].astype(float) - labelled["label"].astype(float)).abs()
        return float(errors.mean() if metric == "mae" else (errors**2).mean() ** 0.5)
    if metric in ("accuracy", "balanced_accuracy"):
        right = labelled["prediction"].astype(str) == labelled["label"].astype(str)
        return float(right.mean() if metric == "accuracy" else right.groupby(labelled["label"].astype(str)).mean().mean())
    return None


def alarm_states(context: Context) -> dict[str, str]:
    """State of each of the model's alarms: OK, ALARM or INSUFFICIENT_DATA."""
    import boto3

    names = context.outputs.alarms.get(context.model, {})
    if not names:
        return {}
    found = boto3.client("cloudwatch").describe_alarms(AlarmNames=list(names.values()))["MetricAlarms"]
    states = {alarm["AlarmName"]: alarm["StateValue"] for alarm in found}
    return {subject: states[name] for subject, name in names.items() if name in states}


if __name__ == "__main__":
    main("monitor", monitor)
