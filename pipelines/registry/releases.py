"""A version goes from one environment to another, with another account: the same bytes, verified again, with a new
registration that says where they came from.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.audit.records import append, entries, refusals, served_in
from pipelines.context import Context
from pipelines.registry.card import page
from pipelines.registry.decisions import Person, agreed
from pipelines.registry.evaluation import EXPECTED, answered, same, unfold
from pipelines.registry.mirror import Mirror
from pipelines.registry.signing import sha256
from pipelines.registry.versions import CARD, EVALUATION, ORIGIN, RECORD, REGISTRATION, Registry, TakenError
from pipelines.serving.models.bundle import description, load, unpack
from pipelines.training.labelled import load_labelled
from spec.errors import GroundplanError
from spec.regions import ANYWHERE, regions_of
from spec.versions import VersionRecord, numbers


@dataclass(frozen=True)
class Shipment:
    """A version as one environment has it, verified with that environment's keys.

    Attributes:
        content: The record's bytes: they stay the same, and so does their digest.
        told: From where it comes, who has approved it there, and the signed statements about that.
    """

    record: VersionRecord
    content: bytes
    artifact: bytes
    evaluation: bytes
    told: dict[str, Any] = field(default_factory=dict)


def ship(context: Context, version: str) -> Shipment:
    """Read a version that an environment serves.

    Raises:
        GroundplanError: It is not what was registered there, was not approved, or is not what it serves.
    """
    outputs, registry = context.outputs, Registry(context)
    stored, decided = agreed(context, version)
    served = served_in(entries(context))
    if not served or served[-1] != version:
        says = f"serves {served[-1]}" if served else "serves no version yet"
        raise GroundplanError(
            f"{outputs.stack} {says}, not {version}",
            where=context.model,
            fix=f"deploy it there first: groundplan promote {context.definition.asked_for} {version}",
        )
    evaluation = registry.get_file(version, EVALUATION)
    if evaluation is None or sha256(evaluation) != stored.record.evaluation:
        raise GroundplanError(
            f"what {stored.record.name} was judged on is not kept as it was, so it can't be judged again elsewhere",
            where=registry.address(version, EVALUATION),
            fix="register a new version: run the pipeline",
        )
    if sha256(stored.artifact) != stored.record.artifact:
        raise GroundplanError(
            f"a person's data was erased from {stored.record.name} since it was registered",
            where=stored.place,
            fix="register a new version: run the pipeline",
        )
    content, registration = registry.get_file(version, RECORD), registry.get_file(version, REGISTRATION)
    assert content is not None and registration is not None
    told = {
        "project": outputs.project,
        "stack": outputs.stack,
        "account": outputs.account_id,
        "region": outputs.region,
        "residency": outputs.residency,
        "registration": json.loads(registration),
        "registrar": registry.signatures.public_key(),
        "approvals": {role: each.model_dump(mode="json") for role, each in decided.items()},
    }
    return Shipment(stored.record, content, stored.artifact, evaluation, told)


def receive(context: Context, shipment: Shipment, person: Person) -> dict[str, Any]:
    """Register a version that another environment serves; it is deployed once two people have approved it here, too.

    Raises:
        GroundplanError: This environment serves a newer version, has another one of this number, or does not allow it;
            or it no longer answers as it did.
    """
    record, outputs, registry = shipment.record, context.outputs, Registry(context)
    source = {name: shipment.told[name] for name in ("project", "stack", "account", "region")}
    with refusals(context, person.name, version=record.version, source=source):
        _check_order(context, shipment)
        _check_allowed(context, shipment)
        _check_answers(shipment)
        try:
            registry.add(
                record,
                shipment.artifact,
                shipment.evaluation,
                content=shipment.content,
                released_from=source,
            )
        except TakenError:
            raise GroundplanError(
                f"{outputs.stack} has another {record.name}",
                where=registry.address(record.version),
                fix="release the next version",
            ) from None
    registry.put_file(record.version, ORIGIN, json.dumps(shipment.told, indent=1).encode())
    registry.put_file(record.version, CARD, page(record).encode())
    package_arn = Mirror(context).add(record, registry.address(record.version))
    approved_by = {role: each["by"] for role, each in shipment.told["approvals"].items()}
    told = {"version": record.version, "artifact": record.artifact, "source": source, "approved_there": approved_by}
    if not any(_is(entry, "release", told) for entry in entries(context)):
        append(context, person.name, "release", **told)
    return {
        **told,
        "record": registry.address(record.version, RECORD),
        "record_sha256": sha256(shipment.content),
        "model_package": package_arn,
        "approvals_needed": list(outputs.approvals),
    }


def _is(entry: dict[str, Any], action: str, details: dict[str, Any]) -> bool:
    return bool(entry["action"] == action and details.items() <= entry["details"].items())


def _check_order(context: Context, shipment: Shipment) -> None:
    record, outputs, source = shipment.record, context.outputs, shipment.told
    if Registry(context).signatures.public_key() == source["registrar"]:
        raise GroundplanError(
            f"{outputs.stack} is where {record.name} comes from", where="--to", fix="name another environment"
        )
    served = served_in(entries(context))
    if served and (numbers(served[-1]) or ()) > (numbers(record.version) or ()):
        raise GroundplanError(
            f"{outputs.stack} serves {served[-1]}, which is newer than {record.version}: {source['stack']} is behind",
            where=context.model,
            fix=f"to serve an earlier version again, take it back: groundplan rollback {context.definition.asked_for}",
        )


def _check_allowed(context: Context, shipment: Shipment) -> None:
    """What this environment's objectives and resources ask of a model."""
    from pipelines.steps.deploy import check_topology
    from pipelines.steps.endpoint import EndpointClient

    record, outputs = shipment.record, context.outputs
    if not (objectives := outputs.models.get(context.model)):
        raise GroundplanError(
            f"{outputs.stack} has no objectives for {context.model}",
            where=f"groundplan:objectives.models.{context.model}",
            fix=f"add them to stacks/Pulumi.{outputs.stack}.yaml, and apply the program",
        )
    allowed = shipment.told["residency"]
    if allowed != ANYWHERE and outputs.region not in regions_of(allowed):
        raise GroundplanError(
            f"{record.name} comes with rows that must stay in {allowed}, and {outputs.stack} is in {outputs.region}",
            where="groundplan:objectives.residency",
            fix=f"train it in {outputs.stack}",
        )
    quality = objectives.quality
    found = record.metrics.get(quality.metric, math.nan)
    if not quality.allows(found):
        raise GroundplanError(
            f"{quality.metric} of {record.name} is {found:.4g}; {outputs.stack} allows {quality.worst:g} at worst",
            where=f"groundplan:objectives.models.{context.model}.quality",
            fix="release a better version, or change the objective together with product",
        )
    if missing := [view for view in record.lineage.get("views", []) if view not in outputs.online_tables]:
        raise GroundplanError(
            f"{record.name} looks features up in {', '.join(missing)}, which {outputs.stack} does not have",
            where="online store",
            fix="deploy the model's folder there first (`pulumi up`), so that its tables exist",
        )
    with TemporaryDirectory() as folder:
        unpack(shipment.artifact, Path(folder))
        if description(Path(folder)).get("untrusted") and not outputs.untrusted_models:
            raise GroundplanError(
                f"{record.name} is stored as a pickle, which {outputs.stack} does not allow",
                where="groundplan:objectives.untrusted_models",
                fix="store the model in another format, and register it again",
            )
        check_topology(EndpointClient(context).settings.topology, Path(folder), context.model)


def _check_answers(shipment: Shipment) -> None:
    """It answers here, with these packages, what it answered when it was registered."""
    record = shipment.record
    with TemporaryDirectory() as folder:
        model, judged = Path(folder) / "model", Path(folder) / "judged"
        model.mkdir()
        unpack(shipment.artifact, model)
        unfold(shipment.evaluation, judged)
        candidate, holdout = load(model), load_labelled(judged, "holdout")
        known = json.loads((judged / EXPECTED).read_text(encoding="utf-8"))
    assert candidate is not None
    found = answered(candidate, holdout)
    apart = [place for place, (one, other) in enumerate(zip(found, known, strict=True)) if not same(one, other)]
    if apart:
        raise GroundplanError(
            f"{record.name} no longer answers as it did: {len(apart)} of {len(known)} rows differ, the first is"
            f" {found[apart[0]]}, and was {known[apart[0]]} when it was registered",
            where="parity",
            fix="use the package versions that it was registered with (its record has them), or register it again",
        )
