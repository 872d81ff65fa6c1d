"""What each step reads and writes, from its result: datasets with OpenLineage's names and facets.

Names follow https://openlineage.io/docs/spec/naming; what that page does not know is named after its ARN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    InputDatasetFacet,
    JobFacet,
    OutputDatasetFacet,
    RunFacet,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    output_statistics_output_dataset,
    ownership_dataset,
    schema_dataset,
    source_code_location_job,
)

from pipelines.lineage import facets
from pipelines.lineage.places import (
    APPROVALS,
    CONTRACT,
    DEPLOYMENT,
    EVALUATION,
    FEATURES,
    MODEL,
    MONITORING,
    POSITIONS,
    Place,
)
from spec.contracts import Contract

if TYPE_CHECKING:
    from pipelines.context import Context


@dataclass
class Told:
    """What is told of one run of a step."""

    inputs: list[InputDataset] = field(default_factory=list)
    outputs: list[OutputDataset] = field(default_factory=list)
    run: dict[str, RunFacet] = field(default_factory=dict)
    job: dict[str, JobFacet] = field(default_factory=dict)

    def read(
        self, place: Place, about: Mapping[str, DatasetFacet], more: Mapping[str, InputDatasetFacet] | None = None
    ) -> None:
        """It has read a dataset."""
        self.inputs.append(InputDataset(place.namespace, place.name, dict(more or {}), facets=dict(about)))

    def wrote(
        self, place: Place, about: Mapping[str, DatasetFacet], more: Mapping[str, OutputDatasetFacet] | None = None
    ) -> None:
        """It has written a dataset."""
        self.outputs.append(OutputDataset(place.namespace, place.name, dict(more or {}), facets=dict(about)))


def topic_of(context: Context, topic: str) -> Place:
    """A Kafka topic."""
    return Place(f"kafka://{context.outputs.kafka.bootstrap_servers.split(',')[0]}", topic)


def object_at(address: str) -> Place:
    """An object, or what lies below a prefix, by its ``s3://`` address."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return Place(f"s3://{bucket}", key.rstrip("/") or "/")


def raw_of(context: Context, topic: str) -> Place:
    """A topic's events in the raw zone."""
    return object_at(f"s3://{context.outputs.buckets['raw']}/{topic}")


def version_of(context: Context, version: str) -> Place:
    """A version in the registry."""
    return object_at(f"s3://{context.outputs.buckets['models']}/registry/{context.model}/{version}")


def run_of(context: Context, run_id: str) -> Place:
    """The model of an MLflow run."""
    return Place(f"mlflow://{context.outputs.project}-{context.outputs.stack}", f"runs/{run_id}/model")


def table_of(context: Context, table: str) -> Place:
    """A table of DynamoDB."""
    return Place(f"arn:aws:dynamodb:{context.outputs.region}:{context.outputs.account_id}", f"table/{table}")


def endpoint_of(context: Context) -> Place:
    """The model's endpoint."""
    return Place(
        f"arn:aws:sagemaker:{context.outputs.region}:{context.outputs.account_id}", f"endpoint/{context.endpoint_name}"
    )


def told(step: str, context: Context, result: dict[str, Any]) -> Told:
    """What a step has read and written."""
    found = Told()
    if step in _STEPS and not result.get("waiting"):
        _STEPS[step](found, context, result)
    return found


def _ingest(found: Told, context: Context, result: dict[str, Any]) -> None:
    for contract in context.definition.contracts:
        counts = result["topics"].get(contract.topic)
        if counts is None:
            continue
        found.read(topic_of(context, contract.topic), _of_contract(contract))
        found.wrote(
            raw_of(context, contract.topic),
            _of_contract(contract),
            {
                "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                    rowCount=counts["rows"], fileCount=counts["files"]
                )
            },
        )


def _quality(found: Told, context: Context, result: dict[str, Any]) -> None:
    for contract in context.definition.contracts:
        dataset = result["datasets"][contract.view]
        checks = [
            data_quality_assertions_dataset.Assertion(
                assertion=check["expectation"], success=check["success"], column=check["column"] or None
            )
            for check in dataset["checks"]
        ]
        read = {POSITIONS: facets.PositionsDatasetFacet(dataset["positions"])}
        found.read(
            raw_of(context, contract.topic),
            {**_of_contract(contract), **read},
            {"dataQualityAssertions": data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(checks)},
        )
        found.wrote(
            object_at(dataset["dataset"]),
            {**_of_contract(contract), "version": _version(dataset["digest"])},
            _rows(dataset["rows"]),
        )


def _features(found: Told, context: Context, result: dict[str, Any]) -> None:
    quality = context.result("quality")
    for dataset in quality["datasets"].values():
        found.read(object_at(dataset["dataset"]), {"version": _version(dataset["digest"])})
    for name, view in result["views"].items():
        about = {FEATURES: facets.FeaturesDatasetFacet(name, view["key"], view["features"], view["entities"])}
        found.wrote(object_at(view["offline"]), about, _rows(view["entities"]))
        found.wrote(table_of(context, view["table"]), about, _rows(view["online"]["items"]))
    if result["training_set"]:
        found.wrote(object_at(result["training_set"]), {})


def _experiment(found: Told, context: Context, result: dict[str, Any]) -> None:
    version = {"version": _version(result["dataset_digest"])} if result.get("dataset_digest") else {}
    for address in str(result.get("dataset") or "").split(", "):
        if address.startswith("s3://"):
            found.read(object_at(address), version)
        elif address:
            found.read(Place("file", address), version)
    if context.definition.features:  # its script reads what that step has joined
        found.read(object_at(context.result("features")["training_set"]), {})
    found.wrote(run_of(context, result["run_id"]), {})
    if len(commit := str(result.get("code_version", ""))) == 40 and context.definition.project is None:
        found.job["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
            type="git", url=f"git:{commit}", version=commit, path=context.definition.script.name
        )


def _evaluate(found: Told, context: Context, result: dict[str, Any]) -> None:
    found.read(run_of(context, context.result("experiment")["run_id"]), {})
    kpi = {name: value for name, value in result.get("kpi", {}).items() if name in ("name", "unit", "lift", "interval")}
    found.run[EVALUATION] = facets.EvaluationRunFacet(
        _finite(result.get("metrics", {})),
        _finite(result.get("baseline", {})),
        kpi,
        result["passed"],
        result.get("rows", 0),
        result.get("how", ""),
    )


def _register(found: Told, context: Context, result: dict[str, Any]) -> None:
    experiment, card = context.result("experiment"), context.definition.card
    found.read(run_of(context, experiment["run_id"]), {})
    owner = ownership_dataset.OwnershipDatasetFacet([ownership_dataset.Owner(card.owner, "owner")])
    found.wrote(
        version_of(context, result["version"]),
        {
            "version": _version(result["version"]),
            **({"ownership": owner} if card.owner else {}),
            MODEL: facets.ModelDatasetFacet(
                context.model,
                result["version"],
                result["artifact"],
                experiment["run_id"],
                experiment["training_digest"],
                result["change"],
                card.owner,
                str(card.risk),
            ),
        },
    )


def _signoff(found: Told, context: Context, result: dict[str, Any]) -> None:
    version = context.result("register")["version"]
    found.read(version_of(context, version), {})
    found.run[APPROVALS] = facets.ApprovalsRunFacet(version, sorted(result["approvals"]))


def _deploy(found: Told, context: Context, result: dict[str, Any]) -> None:
    found.read(version_of(context, result["version"]), {})
    if result["outcome"] == "promoted":
        found.wrote(endpoint_of(context), {"version": _version(result["version"])})
    found.run[DEPLOYMENT] = facets.DeploymentRunFacet(
        result["version"], str(result["outcome"]), result["topology"], result["verdict"]
    )


def _monitor(found: Told, context: Context, result: dict[str, Any]) -> None:
    if not result.get("version"):
        return
    found.read(endpoint_of(context), {"version": _version(result["version"])})
    found.run[MONITORING] = facets.MonitoringRunFacet(
        result["version"], result["requests"], result["drift_share"], _finite(result.get("quality") or {})
    )


_STEPS: dict[str, Callable[[Told, Context, dict[str, Any]], None]] = {
    "ingest": _ingest,
    "quality": _quality,
    "features": _features,
    "experiment": _experiment,
    "evaluate": _evaluate,
    "register": _register,
    "signoff": _signoff,
    "deploy": _deploy,
    "monitor": _monitor,
}


def _of_contract(contract: Contract) -> dict[str, DatasetFacet]:
    """The columns and the contract; never a value."""
    columns = [
        schema_dataset.SchemaDatasetFacetFields(name=item.name, type=item.stored, description=item.description or None)
        for item in contract.fields
    ]
    found: dict[str, DatasetFacet] = {
        "schema": schema_dataset.SchemaDatasetFacet(fields=columns),
        CONTRACT: facets.ContractDatasetFacet(
            contract.id,
            contract.version,
            hashlib.sha256(contract.source.encode()).hexdigest(),
            contract.status,
            [".".join(path) for path, item in contract.leaves() if item.personal],
        ),
    }
    if contract.owner:
        found["ownership"] = ownership_dataset.OwnershipDatasetFacet([ownership_dataset.Owner(contract.owner, "owner")])
    return found


def _version(text: str) -> dataset_version_dataset.DatasetVersionDatasetFacet:
    return dataset_version_dataset.DatasetVersionDatasetFacet(text)


def _rows(count: int) -> dict[str, OutputDatasetFacet]:
    return {"outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=count)}


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    """What JSON has."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and abs(value) < float("inf")
    }
