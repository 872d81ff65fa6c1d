"""Step: compares what was served with the training data: drift, quality, and the alarms that follow from them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.audit.records import entries, served_in
from pipelines.context import Context, main
from pipelines.privacy.personal_data import kinds
from pipelines.registry import evaluation
from pipelines.registry.versions import Registry
from pipelines.serving.models.bundle import description, unpack
from pipelines.serving.operating.capture import request_of
from pipelines.steps.drift import LARGE_ENOUGH, ColumnDrift, compare_columns
from pipelines.training.labelled import Labelled, each_row, load_labelled
from pipelines.training.metrics import scores_of
from spec.errors import GroundplanError
from spec.objectives import HIGHER_IS_BETTER

CAPTURE_DELAY_S = 5.0
PSI_BINS, PSI_LEAST = 10, 1e-4
ENDPOINTS = ("realtime", "serverless", "cluster")  # each deployment sends them requests


class NothingCapturedError(GroundplanError):
    """Nobody has asked the model since it serves."""


def monitor(context: Context) -> dict[str, Any]:
    """Compare captured requests with the training data and publish drift and quality as CloudWatch metrics.

    Raises:
        GroundplanError: No version serves.
        NothingCapturedError: An endpoint has captured no requests.
    """
    import boto3

    history = served_in(entries(context))
    if not history:
        raise GroundplanError(
            f"no version of {context.model} is in service yet",
            where="registry",
            fix="groundplan experiment models/... --deploy",
        )
    version = history[-1]
    stored = Registry(context).stored(version)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "judged"
        evaluation.fetch(context, stored.record, path)
        training, holdout = load_labelled(path, "training"), load_labelled(path, "holdout")
        reference = training.features
        unpack(stored.artifact, Path(folder))
        described = description(Path(folder))
    task = described["task"]
    columns = list(reference.columns)
    known = context.outputs.endpoints.get(context.model)
    topology = known.topology if known else "realtime"
    read = in_batches if topology == "batch" else captured
    served = read(context, described["columns"], version)
    # A deployment that has just ended has sent requests, but an endpoint writes what it captured with a delay.
    until = time.monotonic() + CAPTURE_DELAY_S
    while not served.rows and topology in ENDPOINTS and time.monotonic() < until:
        time.sleep(0.5)
        served = read(context, described["columns"], version)
    if not served.rows and topology not in ENDPOINTS:  # there may have been no requests yet
        return {
            "version": version,
            "requests": 0,
            "drift_share": 0.0,
            "drifted_columns": [],
            "quality": {},
            "report": "",
            "alarms": alarm_states(context),
        }
    if not served.rows:
        raise NothingCapturedError(
            f"no requests were captured for {context.model} {version}",
            where=context.endpoint_name,
            fix="send some requests first",
        )
    current = served.frame(columns)
    found = compare_columns(reference, current)
    drifted = sorted(item.column for item in found if item.drifted)
    share = len(drifted) / len(found)
    page = write_page(reference, current, found, context.reports / f"{context.model}-drift.html")
    objectives = context.objectives(task)
    metric = objectives.quality.metric
    later = evaluation.outcomes(context, holdout, [training])
    labelled = [holdout] if later is None else [holdout, later]
    quality = _quality(current, served.predictions, labelled, columns, task, metric)
    metrics: dict[str, float] = {"drift_share": share} | ({metric: quality} if quality is not None else {})
    boto3.client("cloudwatch").put_metric_data(
        Namespace=context.outputs.metrics_namespace,
        MetricData=[
            {
                "MetricName": name,
                "Dimensions": [{"Name": "Model", "Value": context.model}],
                "Timestamp": datetime.now(UTC),
                "Value": value,
            }
            for name, value in metrics.items()
        ],
    )
    return {
        "version": version,
        "requests": len(served.rows),
        "drift_share": share,
        "drifted_columns": drifted,
        "columns": [asdict(item) for item in found],
        "quality": {metric: quality} if quality is not None else {},
        "allowed": {
            "drift_share": objectives.drift_share,
            metric: objectives.quality.worst,
            "higher_is_better": HIGHER_IS_BETTER[metric],
        },
        "report": str(page),
        "alarms": alarm_states(context),
        "by_month": by_month(context, reference, columns),
    }


def by_month(context: Context, reference: Any, columns: list[str]) -> list[dict[str, Any]]:
    """The incoming data, month by month, compared with the rows that the champion was trained on.

    Returns:
        For each month its rows, the mean of the outcome, and the largest population stability index of a feature with
        its name: the sum of ``(p - q) * ln(p / q)`` over ten bins of equal share in the reference. Empty where the
        model has no event times.
    """
    import io

    import numpy as np
    import pandas as pd

    if not context.definition.features:
        return []
    newest = max(context.keys("features", f"training/{context.model}/"))  # runs are named after their time
    frame = pd.read_parquet(io.BytesIO(context.get("features", newest)))
    columns = [
        name
        for name in columns
        if name in frame and pd.api.types.is_numeric_dtype(frame[name]) and reference[name].notna().any()
    ]
    frame[columns], reference = frame[columns].astype(float), reference[columns].astype(float)
    if not columns:
        return []
    months = frame["event_timestamp"].dt.strftime("%Y-%m").to_numpy()
    names, month_of = np.unique(months, return_inverse=True)
    psi = np.zeros((len(names), len(columns)))
    for place, column in enumerate(columns):
        edges = np.append(
            np.unique(np.nanquantile(reference[column], np.linspace(0, 1, PSI_BINS + 1)[1:-1])), np.inf
        )  # missing ones come last
        wanted = np.bincount(np.searchsorted(edges, reference[column], side="right"), minlength=len(edges) + 1) / len(
            reference
        )
        bins = np.searchsorted(edges, frame[column], side="right")
        counts = np.bincount(month_of * (len(edges) + 1) + bins, minlength=len(names) * (len(edges) + 1)).reshape(
            len(names), -1
        )
        shares = np.maximum(counts / counts.sum(axis=1, keepdims=True), PSI_LEAST)
        psi[:, place] = ((shares - np.maximum(wanted, PSI_LEAST)) * np.log(shares / np.maximum(wanted, PSI_LEAST))).sum(
            axis=1
        )
    outcomes = frame[context.definition.target].groupby(months).agg(["size", "mean"])
    return [
        {
            "month": str(name),
            "rows": int(outcomes.loc[name, "size"]),
            "outcome": round(float(outcomes.loc[name, "mean"]), 4),
            "psi": round(float(psi[index].max()), 4),
            "column": columns[int(psi[index].argmax())],
        }
        for index, name in enumerate(names)
    ]


@dataclass
class Served:
    """Rows that one version answered, each with its prediction."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)

    def add(self, request: dict[str, Any], predictions: list[Any], columns: list[dict[str, Any]]) -> None:
        """Rows of a request in one of MLflow's JSON forms; rows that were looked up by key are not in the capture."""
        named = [column["name"] for column in columns]
        if "dataframe_records" in request:
            rows = request["dataframe_records"]
        elif "dataframe_split" in request:
            names = request["dataframe_split"].get("columns", named)
            rows = [dict(zip(names, row, strict=True)) for row in request["dataframe_split"]["data"]]
        elif isinstance(given := request.get("instances", request.get("inputs")), list):
            rows = [row if isinstance(row, dict) else dict(zip(named, row, strict=True)) for row in given]
        elif isinstance(given, dict):
            rows = [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]
        else:
            return
        if len(rows) == len(predictions):
            self.rows += rows
            self.predictions += predictions

    def frame(self, columns: list[str]) -> Any:
        """The rows as a frame; a column that a row does not have is missing in it."""
        import pandas as pd

        return pd.DataFrame({name: pd.Series([row.get(name) for row in self.rows]) for name in columns})


def captured(
    context: Context, columns: list[dict[str, Any]], version: str, variant: str = "", purpose: str = ""
) -> Served:
    """Rows that one version answered, from the endpoint's data capture.

    Args:
        columns: As in ``model.json``.
        variant: Only what this one has answered.
        purpose: What the requests were sent for; those of users, and of a deployment's end, have none.
    """
    served = Served()
    for key in context.keys("models", f"capture/{context.endpoint_name}/{f'{variant}/' if variant else ''}"):
        for line in context.get("models", key).splitlines():
            event = json.loads(line)["captureData"]
            if "endpointInput" not in event or "endpointOutput" not in event:
                continue
            try:
                request = request_of(event["endpointInput"], columns)
                answer = json.loads(event["endpointOutput"]["data"])
                if (
                    answer.get("model_version") == version
                    and "predictions" in answer
                    and (request.get("params") or {}).get("purpose", "") == purpose
                ):
                    served.add(request, answer["predictions"], columns)
            except (ValueError, AttributeError, TypeError):
                continue  # no request of ours
    return served


def in_batches(context: Context, columns: list[dict[str, Any]], version: str) -> Served:
    """Rows that batch jobs of one version answered: each line of an input file with the same line of its ``.out``
    file.
    """
    served, prefix = Served(), f"batch/{context.model}"
    for key in context.keys("features", f"{prefix}/out/"):
        asked = key.replace(f"{prefix}/out/", f"{prefix}/in/", 1).removesuffix(".out")
        try:
            requests, answers = (context.get("features", name).splitlines() for name in (asked, key))
        except context.s3.exceptions.NoSuchKey:
            continue  # its requests were deleted
        for request, answer in zip(requests, map(json.loads, answers), strict=False):
            if answer.get("model_version") == version:
                served.add(json.loads(request), answer["predictions"], columns)
    return served


def write_page(reference: Any, current: Any, found: list[ColumnDrift], page: Path) -> Path:
    """Evidently's page of the columns, with this module's verdicts; a column that is completely missing on one side, or
    has personal data, is not drawn.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from evidently.presets import DataDriftPreset

    verdicts = {
        item.column: item
        for item in found
        if reference[item.column].notna().any()
        and current[item.column].notna().any()
        and not _personal(reference[item.column], current[item.column])
    }
    page.parent.mkdir(parents=True, exist_ok=True)
    if not verdicts:
        page.write_text("<p>Nothing to compare: every column is missing on one side.</p>", encoding="utf-8")
        return page
    methods: dict[str, Any] = {}
    for kind, title in _TITLES.items():
        test = StatTest(f"groundplan_{kind}", title, [ColumnType.Numerical, ColumnType.Categorical], LARGE_ENOUGH)
        register_stattest(
            test, lambda _reference, now, _type, _threshold: (verdicts[now.name].effect, verdicts[now.name].drifted)
        )
        methods |= {name: test for name, item in verdicts.items() if item.kind == kind}
    numbers = [name for name in verdicts if reference[name].dtype.kind in "iuf"]
    others = [name for name in verdicts if name not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=others)
    kinds = dict.fromkeys(numbers, float) | dict.fromkeys(others, str)
    sides = [
        Dataset.from_pandas(frame[list(verdicts)].reset_index(drop=True).astype(kinds), data_definition=definition)
        for frame in (current, reference)
    ]
    Report([DataDriftPreset(per_column_method=methods)]).run(*sides).save_html(str(page))
    return page


def _personal(*columns: Any) -> bool:
    """Whether texts of a column are personal data, which no page shows: people may send it in any field."""
    texts = [column.dropna().unique()[:MOST_TEXTS] for column in columns if column.dtype.kind not in "iufb"]
    return any(kinds(str(value)) for values in texts for value in values)


MOST_TEXTS = 10_000  # of a column, looked at for personal data
_TITLES = {
    "numbers": "largest distance of the cumulative distributions",
    "categories": "total variation distance",
    "missing": "difference in the share of missing values",
    "identifiers": "not compared: nearly every value is unique",
}


def _quality(
    current: Any, predictions: list[Any], labelled: list[Labelled], columns: list[str], task: str, metric: str
) -> float | None:
    """The metric on captured rows whose outcome is known by now, each distinct row once; None where none is known."""
    import numpy as np

    first = labelled[0].features
    kinds: dict[str, type] = {name: float if first[name].dtype.kind in "iufb" else str for name in columns}
    known = {
        digest: label
        for rows in labelled
        for digest, label in zip(_digests(rows.features[columns], kinds), each_row(rows.labels), strict=True)
    }
    asked = dict(zip(_digests(current, kinds), predictions, strict=True))
    both = [row for row in asked if row in known]
    if not both:
        return None
    labels, predicted = (np.array([side[row] for row in both]) for side in (known, asked))
    return scores_of(task, [], labels, predicted).get(metric)


def _digests(frame: Any, kinds: dict[str, type]) -> list[int]:
    """One number per row, the same for the same values."""
    import pandas as pd

    texts = [name for name, kind in kinds.items() if kind is str]
    alike = frame.assign(
        **{name: pd.to_numeric(frame[name], errors="coerce").astype(float) for name in kinds if name not in texts}
    )
    alike = alike.assign(**{name: alike[name].map(str) for name in texts})
    return [int(value) for value in pd.util.hash_pandas_object(alike[list(kinds)], index=False)]


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
