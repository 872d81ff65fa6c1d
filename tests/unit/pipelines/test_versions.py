"""Versions and what is signed about them: numbers, signatures, revisions, slices, cards."""

from __future__ import annotations

import base64
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pytest
from moto import mock_aws

from groundplan.local.moto.server import sign_digests
from pipelines.registry.card import page
from pipelines.registry.signing import NotSignedError, Signatures
from pipelines.registry.versions import interface_of, next_version
from pipelines.training.code import code_digest, code_version
from pipelines.training.slices import large_enough, slices_of
from spec.errors import UsageError
from spec.model_folders import Card, Risk
from spec.revisions import revision_of
from spec.versions import Change, Slice, check_version
from tests.versions import DESCRIBED, record

RECIPE = record().recipe
NULLABLE = [{**column, "nullable": True} for column in DESCRIBED["columns"]]


@pytest.mark.parametrize(
    ("described", "recipe", "taken", "wanted"),
    [
        ({}, {}, ["v1.0.0"], ("v1.0.1", Change.PATCH)),
        ({}, {"parameters": "other"}, ["v1.0.0"], ("v1.1.0", Change.MINOR)),
        ({}, {"code": "other"}, ["v1.2.7"], ("v1.3.0", Change.MINOR)),
        ({}, {"data": "other"}, ["v1.0.0", "v0.9.0"], ("v1.1.0", Change.MINOR)),
        ({"columns": DESCRIBED["columns"][:1]}, {}, ["v1.9.0", "v1.10.3"], ("v2.0.0", Change.MAJOR)),
        ({"columns": DESCRIBED["columns"][::-1]}, {}, ["v1.0.0"], ("v2.0.0", Change.MAJOR)),
        ({"columns": [{**c, "type": "long"} for c in DESCRIBED["columns"]]}, {}, ["v1.0.0"], ("v2.0.0", Change.MAJOR)),
        ({"task": "classification", "classes": [0, 1]}, {"code": "x"}, ["v1.4.2"], ("v2.0.0", Change.MAJOR)),
        ({"targets": ["x", "y"]}, {}, ["v1.0.0"], ("v2.0.0", Change.MAJOR)),
        (
            {"columns": [{**c, "nullable": True} for c in DESCRIBED["columns"]]},
            {},
            ["v1.0.0"],
            ("v1.0.1", Change.PATCH),
        ),
        ({}, {}, ["v1.10.0", "v1.9.0", "not-one", "v1.02.0"], ("v1.10.1", Change.PATCH)),
    ],
)
def test_a_version_follows_what_has_changed(
    described: dict[str, Any], recipe: dict[str, str], taken: list[str], wanted: tuple[str, Change]
) -> None:
    assert next_version(record(), interface_of({**DESCRIBED, **described}), RECIPE | recipe, taken) == wanted


def test_the_first_version_is_the_first_and_one_after_an_unknown_one_is_not() -> None:
    assert next_version(None, interface_of(DESCRIBED), RECIPE, []) == ("v1.0.0", Change.FIRST)
    assert next_version(None, interface_of(DESCRIBED), RECIPE, ["v1.3.0"]) == ("v1.4.0", Change.MINOR)


def test_an_interface_that_was_stored_is_the_same_interface() -> None:
    described = {**DESCRIBED, "task": "classification", "classes": [True, np.int64(3), "x"]}
    before = record(interface=interface_of(described))
    after = type(before).model_validate_json(before.model_dump_json())
    assert next_version(after, interface_of(described), RECIPE, ["v1.0.0"])[1] is Change.PATCH


def test_a_version_is_written_with_or_without_its_v() -> None:
    assert check_version("1.2.0") == check_version("v1.2.0") == "v1.2.0"
    for text in ("1.2", "latest", "v01.0.0", "v1.0.0-rc1", ""):
        with pytest.raises(UsageError, match="is not a version"):
            check_version(text)


@pytest.fixture
def signatures(monkeypatch: pytest.MonkeyPatch) -> Iterator[Signatures]:
    from moto.kms.responses import KmsResponse
    from moto.kms.utils import ECDSAPrivateKey, RSAPrivateKey

    for kind, name in (
        (KmsResponse, "sign"),
        (KmsResponse, "verify"),
        (RSAPrivateKey, "_RSAPrivateKey__padding_and_hash_algorithm"),
        (ECDSAPrivateKey, "_ECDSAPrivateKey__hash_algorithm"),
    ):
        monkeypatch.setattr(kind, name, getattr(kind, name))  # restored afterwards
    sign_digests()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        kms = boto3.client("kms")
        keys = {
            name: kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["Arn"]
            for name in ("registry", "operations")
        }
        yield Signatures(keys)


KIND = "urn:test:v1"


def test_what_was_signed_is_read_back_and_nothing_else(signatures: Signatures) -> None:
    envelope = signatures.sign("operations", KIND, {"file": "00ff"}, {"reason": "good"})
    assert signatures.verified("operations", KIND, envelope) == ({"file": "00ff"}, {"reason": "good"})
    found = json.loads(envelope)
    payload = json.loads(base64.b64decode(found["payload"]))

    def with_payload(**changes: Any) -> bytes:
        text = base64.b64encode(json.dumps({**payload, **changes}, sort_keys=True).encode()).decode()
        return json.dumps({**found, "payload": text}).encode()

    for changed, says in (
        (with_payload(predicate={"reason": "bad"}), "not signed with the key of operations"),
        (with_payload(subject=[{"name": "file", "digest": {"sha256": "00fe"}}]), "not signed with the key"),
        (with_payload(predicateType="urn:other"), "of another kind"),
        (json.dumps({**found, "payloadType": "text/plain"}).encode(), "of another kind"),
        (json.dumps({**found, "signatures": []}).encode(), "not signed with the key"),
        (json.dumps({**found, "signatures": [{"sig": "AAAA"}]}).encode(), "not signed with the key"),
        (json.dumps({**found, "payload": "%"}).encode(), "can't be read"),
        (b"[]", "can't be read"),
        (b"\xff", "can't be read"),
        (b"", "can't be read"),
    ):
        with pytest.raises(NotSignedError, match=says):
            signatures.verified("operations", KIND, changed)
    with pytest.raises(NotSignedError, match="not signed with the key of registry"):
        signatures.verified("registry", KIND, envelope)


def test_an_envelope_is_checked_by_another_implementation(signatures: Signatures) -> None:
    """The protocol's own signing text, written down here as its specification has it; and in-toto's field names."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    found = json.loads(signatures.sign("registry", KIND, {"b": "01", "a": "02"}, {}))
    payload = base64.b64decode(found["payload"])
    public = load_der_public_key(boto3.client("kms").get_public_key(KeyId=signatures.keys["registry"])["PublicKey"])
    text = b" ".join([b"DSSEv1", b"28", b"application/vnd.in-toto+json", str(len(payload)).encode(), payload])
    public.verify(base64.b64decode(found["signatures"][0]["sig"]), text, ECDSA(SHA256()))  # type: ignore[union-attr,call-arg,arg-type]
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [
        {"name": "a", "digest": {"sha256": "02"}},
        {"name": "b", "digest": {"sha256": "01"}},
    ]


def test_a_revision_is_the_last_change_of_the_folder_itself(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "experiment.py").write_text("x = 1\n")
    assert revision_of(tmp_path / "one")["commit"] == "", "no repository"
    git("init", "-q")
    git("config", "user.name", "Ben")
    git("config", "user.email", "Ben@example.com")
    git("add", "one")
    git("-c", "user.email=Ada@Example.com", "commit", "-qm", "one")
    first = git("rev-parse", "HEAD")
    git("add", "two")
    git("commit", "-qm", "two")
    assert revision_of(tmp_path / "one") == {"commit": first, "author": "ada@example.com"}
    assert revision_of(tmp_path / "two" / "experiment.py")["author"] == "ben@example.com"
    (tmp_path / "one" / "experiment.py").write_text("x = 2\n")
    second = git("rev-parse", "HEAD")
    assert revision_of(tmp_path / "one") == {"commit": f"{second}-dirty", "author": "ben@example.com"}
    (tmp_path / "one" / "more.py").write_text("")
    assert revision_of(tmp_path / "two" / "experiment.py")["commit"] == second, "only its own changes count"


def test_code_in_an_image_has_the_revision_that_was_built(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    script = tmp_path / "one" / "experiment.py"
    script.write_text("x = 1\n")
    assert code_version(script)["commit"] == "not committed"
    built = {"one": {"commit": "abc", "author": "ada@example.com"}}
    (tmp_path / "revisions.json").write_text(json.dumps(built))
    assert code_version(script) | {"sha256": ""} == {"commit": "abc", "author": "ada@example.com", "sha256": ""}


def test_the_digest_of_code_follows_what_is_used(tmp_path: Path) -> None:
    script, helper = tmp_path / "experiment.py", tmp_path / "helper.py"
    script.write_text("x = 1\n")
    helper.write_text("y = 1\n")
    first = code_digest(script)
    helper.write_text("y = 2\n")
    assert code_digest(script) == first, "nobody has imported it"
    assert code_digest(script, (helper,)) != first
    (tmp_path / "requirements.txt").write_text("numpy==2\n")
    assert code_digest(script) != first


def test_a_module_from_elsewhere_and_a_notebook_s_code_count_but_not_its_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "lib" / "features_of_ours.py"
    elsewhere.parent.mkdir()
    elsewhere.write_text("z = 1\n")
    monkeypatch.syspath_prepend(str(elsewhere.parent))
    importlib.import_module("features_of_ours")
    notebook = tmp_path / "nb" / "train.ipynb"
    notebook.parent.mkdir()

    def digest(source: str, output: str) -> str:
        cell = {"cell_type": "code", "source": [source], "outputs": [output]}
        notebook.write_text(json.dumps({"cells": [cell]}))
        return code_digest(notebook)

    first = digest("x = 1", "1")
    assert digest("x = 1", "2") == first != digest("x = 2", "1")
    elsewhere.write_text("z = 2\n")
    assert digest("x = 1", "1") != first
    monkeypatch.delitem(sys.modules, "features_of_ours")


def test_slices_are_the_parts_that_rows_fall_into() -> None:
    frame = pd.DataFrame(
        {
            "sex": ["m", "f"] * 50,
            "age": np.arange(100.0),
            "constant": 1,
            "flag": [True] * 60 + [None] * 40,
            "many": [f"c{number}" for number in range(100)],
        }
    )
    assert list(slices_of(frame)) == ["sex"], "two values; the others have one, or too many"
    found = slices_of(frame, ("age", "sex", "missing", "many", "flag"))
    assert list(found) == ["age", "sex", "many"]
    assert {value: len(places) for column, value, places in large_enough(found, 20) if column == "age"} == {
        "below 24.75": 25,
        "24.75 to 49.5": 25,
        "49.5 to 74.25": 25,
        "74.25 and more": 25,
    }
    assert set(found["many"]) >= {"others"}
    gaps = slices_of(pd.DataFrame({"age": [None, *np.arange(99.0)]}), ("age",))["age"]
    assert gaps[0] == "missing" and len(set(gaps)) == 5


def test_a_copy_in_sagemaker_has_only_characters_that_it_allows() -> None:
    import regex
    from botocore.session import get_session

    from pipelines.registry.mirror import _allowed

    model = get_session().get_service_model("sagemaker")
    shape = model.operation_model("CreateModelPackage").input_shape.members["CustomerMetadataProperties"].value
    pattern = regex.compile(shape.metadata["pattern"])
    told = [*(change.value for change in Change), "the script's own", "x" * 300, "K\u00f6ln \u6771\u4eac", "a\tb{c}"]
    assert all(pattern.fullmatch(_allowed(text)) and len(_allowed(text)) <= 256 for text in told)
    assert _allowed("K\u00f6ln 1.5") == "K\u00f6ln 1.5"


def test_a_card_says_what_is_known_and_what_is_not() -> None:
    empty = page(record())
    assert empty.count("not said") == 4 and "author@example.com" in empty
    card = Card(intended_use="<b>None</b>", limits=("Not for people",), owner="o@example.com", risk=Risk.HIGH)
    parts = tuple(
        Slice(column="sex", value=value, rows=50, metrics={"mae": mae, "rmse": 2.0})
        for value, mae in (("f", 1.0), ("m", 2.5))
    )
    full = page(record(card=card, slices=parts))
    assert "not said" not in full and "&lt;b&gt;None" in full and "<b>None" not in full
    assert "<span class='bad'>2.5</span>" in full and "<span class='bad'>1</span>" not in full
    assert full.count("<span class='bad'>2</span>") == 0, "equal values are not the worst"
