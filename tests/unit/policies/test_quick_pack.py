"""The pack in a review gives the same results as under the engine, and only a review changes it."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pulumi_policy
import pulumi_policy.policy as sdk
import pytest
from google.protobuf import struct_pb2
from pulumi.runtime.proto import analyzer_pb2

from groundplan.review import pack_process, packs
from policies import quick
from policies.pack import policies
from policies.settings import EACH_RESOURCE, SWITCH
from tests.conftest import ROOT

SECRET = ("aws:secretsmanager/secret:Secret", "s", {"name": "s"})
ROTATION = ("aws:secretsmanager/secretRotation:SecretRotation", "s", {"secretId": "s"})
BUCKET = ("aws:s3/bucket:Bucket", "b", {"bucket": "b"})
LOGS = ("aws:cloudwatch/logGroup:LogGroup", "l", {"name": "/l"})
STACKS = {
    "one secret": [SECRET],
    "a bucket": [BUCKET, LOGS],
    "both": [SECRET, BUCKET, LOGS],
    "one that rotates": [SECRET, ROTATION],
    "nothing": [],
}


@pytest.fixture(autouse=True)
def as_it_came(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test replaces in the SDK is restored."""
    before = dict(vars(sdk))
    yield
    vars(sdk).clear()
    vars(sdk).update(before)


def requests(resources: list[Any]) -> list[Any]:
    made = []
    for kind, name, inputs in resources:
        properties = struct_pb2.Struct()
        properties.update(inputs)
        made.append(packs.request_of(f"urn:pulumi:x::y::{kind}::{name}", kind, name, properties, protect=False))
    return made


def said(resources: list[Any]) -> tuple[list[str], list[str]]:
    """Findings about each resource, and about the stack, with the SDK in its current state."""
    servicer = sdk._PolicyAnalyzerServicer("p", "1", policies(), sdk.EnforcementLevel.ADVISORY)
    single = [servicer.Analyze(request, None) for request in requests(resources)]
    whole = servicer.AnalyzeStack(
        analyzer_pb2.AnalyzeStackRequest(
            resources=[packs.resource_of(item, "", [], {}) for item in requests(resources)]
        ),
        None,
    )
    both = [item for answer in single for item in answer.diagnostics], whole.diagnostics
    return tuple(
        [f"{item.policyName} {item.enforcementLevel} {item.urn}: {item.message}" for item in found] for found in both
    )  # type: ignore[return-value]


@pytest.mark.parametrize("resources", STACKS.values(), ids=STACKS)
def test_a_quick_pack_says_the_same(resources: list[Any]) -> None:
    plain = said(resources)
    quick.quicken()
    assert said(resources) == plain
    assert bool(resources) == bool(plain[0]) and (plain[1] or not resources or resources == STACKS["one that rotates"])


class Call:
    """A gRPC call that asks for each resource, too."""

    def __init__(self) -> None:
        self.answered: tuple[tuple[str, str], ...] = ()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ((EACH_RESOURCE, "1"),)

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.answered = metadata


@pytest.mark.parametrize("resources", STACKS.values(), ids=STACKS)
def test_one_call_says_what_a_call_for_each_resource_and_one_for_the_stack_say(resources: list[Any]) -> None:
    quick.quicken()
    servicer = sdk._PolicyAnalyzerServicer("p", "1", policies(), sdk.EnforcementLevel.ADVISORY)
    made, call = [packs.resource_of(item, "", [], {}) for item in requests(resources)], Call()
    single = [(item.urn, found) for item in requests(resources) for found in servicer.Analyze(item, None).diagnostics]
    stack = servicer.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=made), None).diagnostics
    expected = [(found.urn or urn, found.policyName, found.message) for urn, found in single]
    expected += [(found.urn, found.policyName, found.message) for found in stack]
    whole = servicer.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=made), call).diagnostics
    assert sorted((found.urn, found.policyName, found.message) for found in whole) == sorted(expected)
    assert dict(call.answered) == {EACH_RESOURCE: "1"}


OBJECTS = {
    "a namespace": ["core/v1:Namespace"],
    "one with its policy": ["core/v1:Namespace", "networking.k8s.io/v1:NetworkPolicy"],
    "one with its quota": ["core/v1:Namespace", "core/v1:ResourceQuota"],
    "a deployment": ["apps/v1:Deployment", "core/v1:Namespace"],
}


@pytest.mark.parametrize("quickly", [False, True])
@pytest.mark.parametrize("kinds", OBJECTS.values(), ids=OBJECTS)
def test_what_a_preview_knows_nothing_of_is_undecided_not_wrong(
    kinds: list[str], quickly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if quickly:
        quick.quicken()
    # As the engine sends objects of a cluster that does not exist yet.
    objects = [(f"kubernetes:{kind}", "n", {}) for kind in kinds]
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    previewed = said([*objects, SECRET])[1]
    assert any("can't run policy 'k8s-namespace-closed'" in text for text in previewed)
    assert all("can't run policy" in text for text in previewed if "k8s-" in text), previewed
    assert any("secret-rotates" in text and "can't run" not in text for text in previewed), "what is known is judged"
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)
    assert any(text.startswith("k8s-namespace-closed") and "can't run" not in text for text in said(objects)[1]), (
        "a deployment knows everything"
    )


def test_the_sdk_has_every_name_that_is_replaced() -> None:
    assert quick.absent() == [], "a review is several times slower until policies/quick.py follows the SDK"
    quick.quicken()
    assert all(
        vars(sdk)[name].__module__ == "policies.quick" for name in ("StackValidationArgs", "_PolicyAnalyzerServicer")
    )


GONE = [
    "json_format",
    "deserialize_properties",
    "unknown_checking_proxy",
    "StackValidationArgs",
    "_PolicyAnalyzerServicer",
]
GONE += [
    "_PolicyAnalyzerServicer.Analyze",
    "_PolicyAnalyzerServicer.AnalyzeStack",
    "_PolicyAnalyzerServicer._get_resource_options",
]


@pytest.mark.parametrize("name", GONE)
def test_a_name_that_is_gone_is_told_and_nothing_is_replaced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, _, method = name.rpartition(".")
    if method in ("Analyze", "AnalyzeStack"):  # the protocol's own class has them, too
        kept = {
            key: value
            for key, value in vars(sdk._PolicyAnalyzerServicer).items()
            if key not in (method, "__dict__", "__weakref__")
        }
        monkeypatch.setattr(sdk, owner, type("_PolicyAnalyzerServicer", (), kept))
    else:
        monkeypatch.delattr(getattr(sdk, owner) if owner else sdk, method)
    before = dict(vars(sdk))
    assert name in quick.absent()
    quick.quicken()
    assert vars(sdk) == before


class _ReadsFirst(sdk._PolicyAnalyzerServicer):
    def AnalyzeStack(self, request: Any, context: Any) -> Any:
        assert len(list(request.resources)) == len(list(request.resources))
        return super().AnalyzeStack(request, context)


class _OwnArguments(sdk._PolicyAnalyzerServicer):
    """Gives each policy what it has just read, past the name in the module."""

    arguments = sdk.StackValidationArgs

    def AnalyzeStack(self, request: Any, context: Any) -> Any:
        response = analyzer_pb2.AnalyzeResponse()
        for policy in self._PolicyAnalyzerServicer__policies:
            if (
                not isinstance(policy, sdk.StackValidationPolicy)
                or self._get_enforcement_level(policy) == sdk.EnforcementLevel.DISABLED
            ):
                continue
            report = self._create_report_violation(
                response, policy.name, policy.description, self._get_enforcement_level(policy), policy.severity
            )
            policy.validate(self._made(list(request.resources)), report)
        return response

    def _made(self, resources: list[Any]) -> Any:
        made = [
            sdk.PolicyResource(
                r.type,
                sdk.unknown_checking_proxy(sdk.deserialize_properties(sdk.json_format.MessageToDict(r.properties))),
                r.urn,
                r.name,
                self._get_resource_options(r),
                None,
                None,
                [],
                {},
            )
            for r in resources
        ]
        return self.arguments(made)


class _ReadsTwice(_OwnArguments):
    """Gives each policy what it has read a second time."""

    def _made(self, resources: list[Any]) -> Any:
        super()._made(resources)
        self.arguments = sdk.StackValidationArgs  # as the module has it now
        return super()._made(resources)


@pytest.mark.parametrize(
    "resources", [stack for stack in STACKS.values() if stack], ids=[name for name, stack in STACKS.items() if stack]
)
@pytest.mark.parametrize("another", [_ReadsFirst, _OwnArguments, _ReadsTwice])
def test_a_stack_is_judged_however_often_the_sdk_reads_its_resources(
    another: Any, resources: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = said(resources)
    monkeypatch.setattr(sdk, "_PolicyAnalyzerServicer", another)
    quick.quicken()
    assert said(resources)[1] == plain[1]


def test_objects_of_a_stack_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    class Counted(sdk.PolicyResource):
        def __init__(self, *args: Any) -> None:
            made.append(args[3])
            super().__init__(*args)

    monkeypatch.setattr(sdk, "PolicyResource", Counted)
    quick.quicken()
    said(STACKS["both"])
    assert made == [
        "s",
        "b",
        "l",
    ], "the SDK now makes a stack's objects another way: a review is slower than it need be"


@pytest.mark.parametrize(
    ("value", "replaced"), [(None, False), ("", False), ("0", False), ("true", False), ("1", True)]
)
def test_only_the_switch_makes_the_pack_quick(
    value: str | None, replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(pulumi_policy, "PolicyPack", lambda **more: started.append(more))
    monkeypatch.delenv(SWITCH, raising=False)
    if value is not None:
        monkeypatch.setenv(SWITCH, value)
    before = sdk._PolicyAnalyzerServicer
    runpy.run_path(str(ROOT / "policies"), run_name="__main__")
    assert started and (sdk._PolicyAnalyzerServicer is not before) == replaced


def test_a_review_switches_it_on(tmp_path: Path) -> None:
    (tmp_path / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (tmp_path / "__main__.py").write_text(f"import os; print(os.environ.get({SWITCH!r}))\n")
    started = pack_process.start_pack(tmp_path, {"config": {}, "project": "p", "stack": "s"})
    try:
        assert started.process.stdout is not None and json.loads(started.process.stdout.readline()) == 1
    finally:
        started.stop()


@pytest.mark.parametrize("switch", ["1", "0"], ids=["quick", "as under the engine"])
def test_a_review_gets_every_answer_from_a_pack_that_could_not_be_made_quick(
    switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = pack_process.subprocess.Popen
    monkeypatch.setattr(
        pack_process.subprocess,
        "Popen",
        lambda command, env, **more: popen(command, env={**env, SWITCH: switch}, **more),
    )
    started = pack_process.start_pack(ROOT / "policies", {"config": {}, "project": "p", "stack": "s"})
    try:
        pack, made = packs.Pack(started), requests(STACKS["both"])
        found = pack.finish(pack.judge(made, [packs.resource_of(item, "", [], {}) for item in made]))["findings"]
    finally:
        started.stop()
    about = {(item["policy"], item["urn"].rpartition("::")[2]) for item in found}
    assert {("s3-versioned", "b"), ("secret-rotates", "s")} <= about
    assert len(found) == len({(item["policy"], item["urn"]) for item in found}) > 2
