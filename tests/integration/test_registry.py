"""Versions and approvals in the local cloud: who may sign, what voids a signature, and what is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from pipelines.audit.records import ERASE, append, entries
from pipelines.context import Context, load_definition
from pipelines.registry.decisions import Person, agreed, decide, person_who_asks
from pipelines.registry.evaluation import fetch, packed
from pipelines.registry.mirror import APPROVED, PENDING, Mirror
from pipelines.registry.signing import sha256
from pipelines.registry.versions import Registry, TakenError
from pipelines.serving.models.bundle import digest_of, files_of, package
from pipelines.steps.register import register
from pipelines.steps.signoff import signoff
from pipelines.training.labelled import Labelled
from spec.errors import GroundplanError, UsageError
from spec.outputs import Outputs
from tests.models import write
from tests.versions import approved, record, stored

ADA, BEN = Person("ada@example.com", "local"), Person("ben@example.com", "local")


@pytest.fixture
def context(outputs: Outputs, tmp_path: Path, inside: None) -> Context:
    """A model of its own, with a folder of what is served."""
    script = tmp_path / f"registered-{time.time_ns() % 10**9}.py"
    script.write_text("")
    features = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"])
    definition = load_definition(script)
    write(
        tmp_path,
        LinearRegression().fit(features, features["a"]),
        features,
        "regression",
        features["a"],
        definition.model,
    )
    return Context(outputs, definition, "r1", tmp_path)


@pytest.fixture
def version(context: Context) -> str:
    return stored(context, context.reports / "candidate").version


def put(context: Context, version: str, name: str, content: bytes) -> None:
    Registry(context).put_file(version, name, content)


def test_two_people_agree_and_neither_is_the_author(context: Context, version: str) -> None:
    for role, person, says in (
        ("boss", ADA, "unknown role 'boss'"),
        ("operations", Person("author@example.com", "local"), "nobody approves or rejects their own model"),
    ):
        with pytest.raises(GroundplanError, match=says):
            decide(context, version, role, person, approved=True)
    decide(context, version, "operations", ADA, approved=True, reason="load test passed")
    with pytest.raises(GroundplanError, match="lacks the approval of data-science"):
        agreed(context, version)
    with pytest.raises(GroundplanError, match=r"already decided .* in another role"):
        decide(context, version, "data-science", ADA, approved=True)
    decide(context, version, "data-science", BEN, approved=True)
    found = agreed(context, version)[1]
    assert {role: (each.by, each.reason) for role, each in found.items()} == {
        "data-science": (BEN.name, ""),
        "operations": (ADA.name, "load test passed"),
    }
    log = [(entry["action"], entry["actor"]) for entry in entries(context)]
    assert log == [
        ("refuse", ADA.name),
        ("refuse", "author@example.com"),
        ("approve", ADA.name),
        ("refuse", ADA.name),
        ("approve", BEN.name),
    ]


def test_a_rejection_stands_until_its_role_decides_again(context: Context, version: str) -> None:
    with pytest.raises(UsageError, match="a rejection needs a reason"):
        decide(context, version, "operations", ADA, approved=False)
    decide(context, version, "data-science", BEN, approved=True)
    decide(context, version, "operations", ADA, approved=False, reason="too slow")
    with pytest.raises(GroundplanError, match=r"ada@example.com \(operations\) rejected .*: too slow"):
        agreed(context, version)
    decide(context, version, "operations", ADA, approved=True)
    assert agreed(context, version)[0].record.version == version


@pytest.mark.parametrize("name", ["model.tar.gz", "record.json"])
def test_what_was_changed_after_its_registration_is_refused(context: Context, version: str, name: str) -> None:
    approved(context, version)
    registry = Registry(context)
    original = registry.get_file(version, name)
    assert original is not None
    changed = original + b" " if name == "model.tar.gz" else original.replace(b'"mae": 1.5', b'"mae": 0.1')
    put(context, version, name, changed)
    for attempt in (
        lambda: agreed(context, version),
        lambda: decide(context, version, "operations", ADA, approved=True),
    ):
        with pytest.raises(
            GroundplanError, match=rf"was changed after it was registered: {name} is not what was signed"
        ):
            attempt()
    put(context, version, name, original)
    agreed(context, version)


def test_an_approval_is_void_once_the_version_is_another(context: Context, version: str) -> None:
    """Whoever holds the pipeline's key can sign another artifact; the approvals don't follow."""
    approved(context, version)
    registry = Registry(context)
    artifact = (registry.get_file(version, "model.tar.gz") or b"") + b" "
    content = registry.get_file(version, "record.json") or b""
    from pipelines.registry.signing import sha256
    from pipelines.registry.versions import REGISTERED
    from spec.versions import REGISTRAR

    digests = {"record.json": sha256(content), "model.tar.gz": sha256(artifact)}
    put(context, version, "model.tar.gz", artifact)
    put(context, version, "registration.dsse.json", registry.signatures.sign(REGISTRAR, REGISTERED, digests, {}))
    assert registry.stored(version).digests == digests
    with pytest.raises(GroundplanError, match=r"decided about something else than what .* is now, so it is void"):
        agreed(context, version)
    decide(context, version, "operations", ADA, approved=True)
    decide(context, version, "data-science", BEN, approved=True)
    agreed(context, version)


def test_a_decision_with_another_role_s_key_is_no_decision(context: Context, version: str) -> None:
    approved(context, version)
    envelope = context.get("models", f"approvals/operations/{context.model}/{version}.dsse.json")
    for content in (envelope, b"{}", envelope.replace(b'"payload": "', b'"payload": "AAAA')):
        context.put("models", f"approvals/data-science/{context.model}/{version}.dsse.json", content)
        with pytest.raises(GroundplanError, match=r"the decision of data-science about .* is not valid"):
            agreed(context, version)


def test_an_approval_that_was_withdrawn_can_t_be_put_back(context: Context, version: str) -> None:
    approved(context, version)
    key = f"approvals/operations/{context.model}/{version}.dsse.json"
    before = context.get("models", key)
    decide(context, version, "operations", ADA, approved=False, reason="an incident")
    context.put("models", key, before)
    with pytest.raises(GroundplanError, match=r"is not the newest decision of operations about .* in the audit log"):
        agreed(context, version)


def test_another_version_s_signed_files_are_not_this_version(context: Context, version: str) -> None:
    approved(context, version)
    registry = Registry(context)
    stored(context, context.reports / "candidate", "v1.1.0")
    for name in ("record.json", "model.tar.gz", "registration.dsse.json"):
        content = registry.get_file(version, name)
        assert content is not None
        put(context, "v1.1.0", name, content)
    with pytest.raises(GroundplanError, match=rf"the record of .* v1\.1\.0 is that of {context.model}@v1\.0\.0"):
        decide(context, "v1.1.0", "operations", ADA, approved=True)
    with pytest.raises(GroundplanError, match="is that of"):
        agreed(context, "v1.1.0")


def test_an_address_and_a_login_can_t_be_told_apart(context: Context, version: str) -> None:
    decide(context, version, "operations", Person("ada", "github:acme/models/actions/runs/7"), approved=True)
    decide(context, version, "data-science", ADA, approved=True)
    with pytest.raises(GroundplanError, match=r"can't be told apart: one is an address, the other a login"):
        agreed(context, version)


def test_a_package_is_made_only_of_what_was_approved(context: Context, version: str, home: Any) -> None:
    from groundplan.local.packages import run_package

    script, to = context.definition.script, str(context.reports / "bundle")
    with pytest.raises(GroundplanError, match="lacks the approval"):
        run_package(home, script, "lambda", version=version, to=to)
    approved(context, version)
    assert run_package(home, script, "lambda", version=version, to=to).version == version
    decide(context, version, "operations", ADA, approved=False, reason="an incident")
    with pytest.raises(GroundplanError, match=r"rejected .*: an incident"):
        run_package(home, script, "lambda", version=version, to=to)
    assert [each["action"] for each in entries(context) if each["actor"] == "package"] == ["refuse", "refuse"]


def test_a_version_without_a_signature_is_refused(context: Context) -> None:
    put(context, "v1.0.0", "record.json", record(model=context.model).model_dump_json(indent=1).encode())
    with pytest.raises(GroundplanError, match=r"v1\.0\.0 is not signed"):
        decide(context, "v1.0.0", "operations", ADA, approved=True)
    put(context, "v1.0.0", "record.json", b"{")
    with pytest.raises(GroundplanError, match=r"the record of .* can't be read"):
        agreed(context, "v1.0.0")
    with pytest.raises(UsageError, match=r"has no version v3\.0\.0"):
        agreed(context, "v3.0.0")


def test_a_version_is_given_once(context: Context, version: str) -> None:
    registry = Registry(context)
    with pytest.raises(TakenError, match="exists already"):
        registry.add(record(version, b"other", model=context.model), b"other")
    assert registry.stored(version).record.author == "author@example.com"


@pytest.fixture
def ran(context: Context) -> Iterator[Any]:
    """``ran(number, **changes)``: a run whose model was evaluated but not registered."""
    import mlflow

    client = mlflow.MlflowClient()
    mlflow.set_experiment("registered")

    def run(number: int, columns: tuple[str, ...] = ("a", "b"), **changes: Any) -> Context:
        features = pd.DataFrame(np.random.default_rng(number).normal(size=(60, 2)), columns=list("ab"))[list(columns)]
        folder = context.reports / f"run{number}"
        write(
            folder,
            LinearRegression().fit(features, features["a"]),
            features,
            "regression",
            features["a"],
            context.model,
        )
        for name in ("training", "holdout"):
            Labelled(features, features["a"]).save(folder, name)
        with mlflow.start_run() as started:
            info = mlflow.sklearn.log_model(
                LinearRegression().fit(features, features["a"]), name="model", pip_requirements=["scikit-learn"]
            )
            client.log_artifacts(started.info.run_id, str(folder), "groundplan")
            mlflow.log_param("depth", changes.pop("depth", 3))
        found = Context(context.outputs, context.definition, f"run{number}", context.reports)
        experiment = {
            "run_id": started.info.run_id,
            "model_uri": info.model_uri,
            "author": "author@example.com",
            "dataset": "s3://curated/x.parquet",
            "dataset_digest": f"d{number}",
            "training_digest": f"t{number}",
            "rows": 60,
            "code_version": "abc",
            "script_sha256": "0" * 64,
            "code_digest": "code",
            "data_source": "data",
            "environment": '{"python": "3.11"}',
            **changes,
        }
        kpi = {"name": "mae", "unit": "points", "lift": 1.0, "interval": [0, 2], "monthly_usd": 10.0}
        evaluation = {
            "metrics": {"mae": 1.0},
            "baseline": {"mae": 2.0},
            "kpi": {**kpi, "monthly_usd_interval": [0, 20]},
            "how": "rows the model has not seen",
        }
        found.write_result("experiment", experiment)
        found.write_result("evaluate", evaluation)
        return found

    yield run


def test_registrations_at_once_get_different_versions_and_a_repeated_one_its_own(ran: Any, context: Context) -> None:
    runs = [ran(number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(register, runs))
    assert sorted(each["version"] for each in made) == ["v1.0.0", "v1.0.1", "v1.0.2", "v1.0.3"]
    assert len({each["registry_version"] for each in made}) == 4
    assert len([entry for entry in entries(context) if entry["action"] == "register"]) == 4
    newest = max(zip(made, runs, strict=True), key=lambda pair: pair[0]["version"])
    for made_first, run in [*zip(made, runs, strict=True), newest]:
        again = register(run)
        assert (again["version"], again["registry_version"]) == (made_first["version"], made_first["registry_version"])
    assert len([entry for entry in entries(context) if entry["action"] == "register"]) == 4
    assert register(ran(5, depth=4))["version"] == "v1.1.0"
    assert register(ran(6, columns=("a",), depth=4))["version"] == "v2.0.0"


def test_a_version_is_copied_to_sagemaker_with_its_approval(ran: Any, context: Context, aws: Any) -> None:
    run = ran(1)
    run.write_result("register", made := register(run))
    described = aws("sagemaker").describe_model_package(ModelPackageName=made["model_package"])
    assert described["ModelApprovalStatus"] == PENDING
    assert described["CustomerMetadataProperties"]["ArtifactSha256"] == made["artifact"]
    address = described["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
    assert run.get_address(address) == Registry(run).stored("v1.0.0").artifact
    assert signoff(run)["test_identities"]
    described = aws("sagemaker").describe_model_package(ModelPackageName=made["model_package"])
    assert described["ModelApprovalStatus"] == APPROVED and "operator@test.local" in described["ApprovalDescription"]
    assert Mirror(run).add(Registry(run).record("v1.0.0"), "s3://x/") == made["model_package"], "there is one already"
    page = run.get("models", Registry(run).key("v1.0.0", "card.html")).decode()
    assert context.model in page and Path(made["card"]).read_text(encoding="utf-8") == page


def test_an_interrupted_registration_is_completed_even_after_another(ran: Any, context: Context) -> None:
    first, second = ran(1), ran(2)
    assert register(first)["version"] == "v1.0.0"
    registry = Registry(context)
    context.s3.delete_object(
        Bucket=context.outputs.buckets["models"], Key=registry.key("v1.0.0", "registration.dsse.json")
    )
    assert register(second)["version"] == "v1.0.1"
    assert register(first)["version"] == "v1.0.0" and registry.stored("v1.0.0")


def test_what_was_registered_is_not_replaced_by_a_changed_run(ran: Any, context: Context) -> None:
    import mlflow

    run = ran(1)
    register(run)
    before = Registry(context).stored("v1.0.0").digests
    run_id = run.result("experiment")["run_id"]
    mlflow.MlflowClient().log_text(run_id, "[]", "groundplan/candidate/more.json")
    with pytest.raises(GroundplanError, match=r"the model is not the one that .*@v1\.0\.0 was registered with"):
        register(run)
    assert Registry(context).stored("v1.0.0").digests == before


def test_a_broken_record_does_not_block_later_versions(ran: Any, context: Context) -> None:
    put(context, "v3.0.0", "record.json", b"{}")
    put(context, "v4.0.0", "note.txt", b"")
    assert register(ran(1))["version"] == "v3.1.0"
    with pytest.raises(GroundplanError, match=r"v3\.0\.0 can't be read"):
        agreed(context, "v3.0.0")


def test_a_metric_that_is_no_number_is_kept(ran: Any, context: Context) -> None:
    run = ran(1)
    evaluation = run.result("evaluate")
    run.write_result("evaluate", {**evaluation, "metrics": {"mae": 1.0, "roc_auc": float("nan")}})
    register(run)
    found = Registry(context).stored("v1.0.0").record.metrics
    assert found["mae"] == 1.0 and np.isnan(found["roc_auc"])


def test_a_run_without_metrics_is_not_registered(ran: Any, context: Context) -> None:
    run = ran(1)
    run.write_result("evaluate", {"metrics": {}, "kpi": {}})
    with pytest.raises(GroundplanError, match="has no metrics, so it can't be registered"):
        register(run)
    assert [entry["action"] for entry in entries(context)] == ["refuse"]


def test_people_are_whom_their_session_is_named_after(context: Context, aws: Any, monkeypatch: Any) -> None:
    assert person_who_asks(context, "Ada@Example.com") == ADA
    assert person_who_asks(context, "\uff21da@example.com") == ADA, "another spelling of the same letters"
    for who, says in (
        ("", "who decides is not said"),
        ("me", "'me' is not an e-mail address"),
        ("ada@exa\u200bmple.com", "is not an e-mail address"),
        ("\u0430da@example.com", "is not an e-mail address"),
    ):
        with pytest.raises(UsageError, match=says):
            person_who_asks(context, who)
    on_aws = Context(
        context.outputs.model_copy(update={"stack": "prod"}), context.definition, context.run, context.reports
    )
    with pytest.raises(UsageError, match="decisions are made in a role of the stack"):
        person_who_asks(on_aws)
    role = context.outputs.role_arns["operations"]

    def assume(session: str) -> None:
        given = aws("sts").assume_role(RoleArn=role, RoleSessionName=session)["Credentials"]
        for name, key in (
            ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
            ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
            ("AWS_SESSION_TOKEN", "SessionToken"),
        ):
            monkeypatch.setenv(name, given[key])
        monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it keeps the credentials of before

    for session, says in (("review", "this session stands for a review"), ("ben", "ben is not an e-mail address")):
        assume(session)
        with pytest.raises(UsageError, match=says):
            person_who_asks(on_aws)
    assume("ada@example.com")
    person = person_who_asks(on_aws)
    assert person.name == "ada@example.com" and person.through.endswith("operations/ada@example.com")
    with pytest.raises(UsageError, match=r"--identity says ben@example\.com, but the session is ada@example.com's"):
        person_who_asks(on_aws, "ben@example.com")


def test_a_key_s_policy_lets_nobody_sign_for_others(context: Context, aws: Any) -> None:
    for signer, roles in (("operations", ["operations"]), ("registry", ["pipeline", "cluster-pipeline", "releaser"])):
        text = aws("kms").get_key_policy(KeyId=context.outputs.signing_keys[signer], PolicyName="default")["Policy"]
        denied = next(each for each in json.loads(text)["Statement"] if each["Effect"] == "Deny")
        assert denied["Action"] == ["kms:Sign"]
        arns = denied["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]
        assert [arn.rpartition("/")[2] for arn in arns] == [f"groundplan-local-{role}" for role in roles]


def test_a_version_from_which_a_person_was_erased_stays_what_was_approved(context: Context) -> None:
    judged = packed(_judged(context))
    version = stored(context, context.reports / "candidate", judged=judged).version
    approved(context, version)
    registry = Registry(context)
    files = files_of(context.reports / "candidate", version)
    without = package({**files, "background.json": b'{"columns": ["a", "b"], "data": []}'})
    put(context, version, "model.tar.gz", without)
    put(context, version, "evaluation.tar.gz", b"without")
    with pytest.raises(GroundplanError, match=r"was changed after it was registered: model\.tar\.gz"):
        agreed(context, version)
    for name, content in (("model.tar.gz", without), ("evaluation.tar.gz", judged)):
        append(context, "pipeline", ERASE, version=version, files={name: sha256(content)})
    assert agreed(context, version)[0].artifact == without, "the approvals are about what was registered"
    with pytest.raises(GroundplanError, match=r"what .* was judged on was changed"):
        fetch(context, registry.record(version), context.reports / "fetched")
    put(context, version, "evaluation.tar.gz", judged)
    fetch(context, registry.record(version), context.reports / "again")
    assert digest_of(files) == digest_of({**files, "background.json": b"{}"}), "an endpoint goes on"
    assert digest_of(files) != digest_of({**files, "model.onnx": b""})


def _judged(context: Context) -> Path:
    features = pd.DataFrame({"a": [1.0, 2.0], "b": [0.0, 1.0]})
    for name in ("training", "holdout"):
        Labelled(features, features["a"]).save(context.reports, name)
    return context.reports
