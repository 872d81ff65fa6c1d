"""A version goes from one account to another: the same bytes, signed again, and agreed to again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from groundplan.local.home import Home
from pipelines.audit.records import append, entries, served_in
from pipelines.context import Context
from pipelines.registry.decisions import Person, decide
from pipelines.registry.releases import Shipment, receive, ship
from pipelines.registry.versions import ORIGIN, RECORD, Registry
from pipelines.serving.models.bundle import package, unpack
from pipelines.steps.monitor import monitor
from pipelines.steps.resume import resume, run_of, waiting
from spec.errors import GroundplanError
from spec.versions import REGISTRAR
from tests.graphs import shifted

OTHER = "222233334444"
CHI = Person("chi@example.com", "local")
Enter = Callable[[], Any]


@pytest.fixture
def other_account(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Enter:
    """``with other_account():`` the process has credentials of another account."""

    @contextmanager
    def enter() -> Iterator[None]:
        role = f"arn:aws:iam::{OTHER}:role/groundplan-prod-releaser"
        given = aws("sts").assume_role(RoleArn=role, RoleSessionName="chi@example.com")["Credentials"]
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", given["AccessKeyId"])
            patch.setenv("AWS_SECRET_ACCESS_KEY", given["SecretAccessKey"])
            patch.setenv("AWS_SESSION_TOKEN", given["SessionToken"])
            boto3.setup_default_session()
            try:
                yield
            finally:
                patch.undo()
                boto3.setup_default_session()

    return enter


@pytest.fixture
def target(other_account: Enter, home: Home) -> Callable[[Context], Context]:
    """The production environment of a model, in the other account: its buckets and its keys."""

    def make(source: Context) -> Context:
        with other_account():
            kms, s3 = boto3.client("kms"), boto3.client("s3")
            keys = {
                signer: kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["Arn"]
                for signer in (REGISTRAR, *source.outputs.approvals)
            }
            buckets = {
                zone: f"{source.model}-prod-{zone}-{OTHER}" for zone in ("models", "audit", "curated", "features")
            }
            for bucket in buckets.values():
                s3.create_bucket(Bucket=bucket)
        settings = source.outputs.endpoints[source.model].model_copy(update={"name": "", "topology": "batch"})
        known = {
            "stack": "prod",
            "account_id": OTHER,
            "buckets": buckets,
            "signing_keys": keys,
            "endpoints": {source.model: settings},
            "alarms": {},
        }
        return replace(source, outputs=source.outputs.model_copy(update=known), run="release")

    return make


def test_a_version_is_released_deployed_and_watched_in_another_account(
    publish: Any, target: Any, other_account: Enter
) -> None:
    staging = publish("batch")
    prod = target(staging)
    shipment = ship(staging, "v1.0.0")
    with other_account():
        assert boto3.client("sts").get_caller_identity()["Account"] == OTHER
        done = receive(prod, shipment, CHI)
        assert receive(prod, shipment, CHI)["artifact"] == done["artifact"], "again is the same"
        registry = Registry(prod)
        assert registry.get_file("v1.0.0", RECORD) == shipment.content, "byte for byte, with its lineage"
        origin = json.loads(registry.get_file("v1.0.0", ORIGIN) or b"")
        assert origin["stack"] == "local" and origin["approvals"]["operations"]["by"] == "operations@example.com"
        _, said = registry.signatures.verified(
            REGISTRAR,
            "https://in-toto.io/attestation/release/v0.1",
            registry.get_file("v1.0.0", "registration.dsse.json") or b"",
        )
        assert said["releasedFrom"]["account"] == "123456789012"
        assert waiting(prod) == "", "nobody has approved it here"
        with pytest.raises(GroundplanError, match="nobody approves or rejects their own model"):
            decide(prod, "v1.0.0", "operations", Person("author@example.com", "sso"), approved=True)
        for role, who in (("data-science", "ada@example.com"), ("operations", "ben@example.com")):
            decide(prod, "v1.0.0", role, Person(who, "sso"), approved=True)
        assert waiting(prod) == "v1.0.0"
        there = replace(prod, run=run_of(prod, "v1.0.0"))
        assert resume(there, "v1.0.0")["outcome"] == "promoted"
        assert served_in(entries(prod)) == ["v1.0.0"] and waiting(prod) == ""
        assert monitor(there)["version"] == "v1.0.0"
        assert json.loads(prod.get("models", f"{prod.model}/current/model.json"))["version"] == "v1.0.0"
        log = [entry["action"] for entry in entries(prod)]
        assert log.count("release") == 1 and log[-1] == "promote"
    assert [entry["action"] for entry in entries(staging)].count("release") == 0


def test_what_may_not_be_released_is_refused_and_on_record(publish: Any, target: Any, other_account: Enter) -> None:
    staging = publish("batch")
    prod = target(staging)
    second = publish("batch", "v2.0.0", deployed=False)
    with pytest.raises(GroundplanError, match=r"lacks the approval of"):
        ship(second, "v2.0.0")
    for role in staging.outputs.approvals:
        decide(second, "v2.0.0", role, Person(f"{role}@example.com", "local"), approved=True)
    with pytest.raises(GroundplanError, match=r"local serves v1\.0\.0, not v2\.0\.0"):
        ship(second, "v2.0.0")
    shipment = ship(staging, "v1.0.0")
    with pytest.raises(GroundplanError, match=r"local is where .* comes from"):
        receive(staging, shipment, CHI)
    strict = prod.outputs.models[prod.model]
    strict = strict.model_copy(update={"quality": strict.quality.model_copy(update={"worst": 0.001})})
    demanding = replace(prod, outputs=prod.outputs.model_copy(update={"models": {prod.model: strict}}))
    unknown = replace(prod, outputs=prod.outputs.model_copy(update={"models": {}}))
    with other_account():
        for context, says in (
            (demanding, "prod allows 0.001 at worst"),
            (unknown, "prod has no objectives for"),
        ):
            with pytest.raises(GroundplanError, match=says):
                receive(context, shipment, CHI)
        append(prod, "pipeline", "promote", version="v3.0.0")
        with pytest.raises(
            GroundplanError, match=r"prod serves v3\.0\.0, which is newer than v1\.0\.0: local is behind"
        ):
            receive(prod, shipment, CHI)
        assert Registry(prod).versions() == []
        refused = [entry["details"]["why"] for entry in entries(prod) if entry["action"] == "refuse"]
        assert len(refused) == 3


def test_what_was_changed_on_its_way_is_refused(
    publish: Any, target: Any, other_account: Enter, tmp_path: Path
) -> None:
    staging = publish("batch")
    prod, shipment = target(staging), ship(staging, "v1.0.0")
    folder = tmp_path / "changed"
    folder.mkdir()
    unpack(shipment.artifact, folder)
    shifted(5.0)(folder / "model.onnx")
    other = package({path.name: path.read_bytes() for path in folder.iterdir()})
    with other_account():
        with pytest.raises(GroundplanError, match="no longer answers as it did: 60 of 60 rows differ"):
            receive(prod, replace(shipment, artifact=other), CHI)
        with pytest.raises(GroundplanError, match="the model is not the one that"):
            receive(prod, replace(shipment, artifact=shipment.artifact + b"\0"), CHI)
        receive(prod, shipment, CHI)
        with pytest.raises(GroundplanError, match="prod has another"):
            receive(prod, _with_another_record(shipment), CHI)


def _with_another_record(shipment: Shipment) -> Shipment:
    record = shipment.record.model_copy(update={"author": "somebody@example.com"})
    return replace(shipment, record=record, content=record.model_dump_json(indent=1).encode())
