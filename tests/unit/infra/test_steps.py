"""Steps are declared once: the same ones in a SageMaker Pipeline, as a CronJob, in a function, on one machine."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from groundplan.engine.kubernetes.manifests import collect
from pipelines.context import check_conditions
from pipelines.steps import on_lambda
from spec.errors import GroundplanError
from spec.steps import RELEASE, Step, before_people_agree
from tests.conftest import ROOT
from tests.steps import Told, in_sagemaker, own
from tests.unit.infra.test_program import of_type, previewed


def declared(step: Step) -> Told:
    return step.module, step.scheduled, step.retries


@dataclass
class Judged:
    """A context with the result of one step."""

    step: str
    passed: dict[str, bool]
    model = "m"

    def result(self, name: str) -> dict[str, Any]:
        assert name == self.step
        return {"passed": self.passed, "because": "why"}


def compiled(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "infra" / "build" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def in_cluster(stack: str, purpose: str) -> tuple[list[Told], dict[str, Any]]:
    job = next(
        item.document["spec"]["jobTemplate"]["spec"]
        for item in collect(previewed(stack))[0]
        if item.document["kind"] == "CronJob" and item.document["metadata"]["name"].startswith(purpose)
    )
    pod = job["template"]["spec"]
    containers = [container["command"] for container in (*pod.get("initContainers", ()), *pod["containers"])]
    return [(command[2], own(command[3:]), job["backoffLimit"]) for command in containers], job


def test_the_three_have_the_same_steps() -> None:
    wanted = [declared(step) for step in before_people_agree()]
    assert in_sagemaker(compiled("pipeline"))[0] == wanted
    assert in_cluster("prod", "retrain")[0] == wanted


def test_a_function_and_one_machine_run_them_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[list[str]] = []

    def killed(command: list[str], **_: Any) -> Any:
        commands.append(command)
        return subprocess.CompletedProcess(command, -9 if commands.count(command) <= 2 else 0, stdout="")

    monkeypatch.setattr(on_lambda.subprocess, "run", killed)  # type: ignore[attr-defined]
    on_lambda.train("models/m", "r", tmp_path)
    each = list(dict.fromkeys((command[2], own(command[3:]), commands.count(command) - 1) for command in commands))
    assert each == [declared(step) for step in before_people_agree()]


def test_conditions_are_those_that_the_steps_check_themselves() -> None:
    _, behind = in_sagemaker(compiled("pipeline"))
    for step in before_people_agree():
        assert behind[step.name] == {(each.step, f"passed.{each.name}") for each in step.conditions}
        for condition in step.conditions:
            passed = {each.name: each is not condition for each in step.conditions}
            with pytest.raises(GroundplanError, match="why"):
                check_conditions(Judged(condition.step, passed), step.name)  # type: ignore[arg-type]


def test_a_pod_is_started_again_where_its_machine_failed_and_not_where_a_step_refuses() -> None:
    _, job = in_cluster("prod", "retrain")
    disrupted, refused = job["podFailurePolicy"]["rules"]
    assert disrupted["action"] == "Ignore" and disrupted["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert refused["action"] == "FailJob" and refused["onExitCodes"] == {"operator": "In", "values": [1, 2]}
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # or Kubernetes refuses the policy


def test_what_serves_is_monitored_every_day_and_drift_is_answered_everywhere() -> None:
    assert in_cluster("prod", "monitor")[0] == [(RELEASE.module, ("--monitor",), 0)]
    assert in_cluster("prod", "resume")[0] == [(RELEASE.module, ("--retrain",), 0)]
    (step,) = compiled("release")["Steps"]
    assert own(step["Arguments"]["AppSpecification"]["ContainerArguments"]) == ("--monitor",)
    rules = [item.inputs for item in of_type(previewed("staging"), "EventRule") if item.name.startswith("triggers")]
    assert {rule["description"].partition(" ")[0] for rule in rules} == {"Retrains", "Takes"}
