"""The steps of a run, read back from where they run."""

from __future__ import annotations

from typing import Any

Told = tuple[str, tuple[str, ...], int]  # module, its own arguments, how often it is started again
COMMON = ("--model-folder", "--run", "--reports", "--name")


def own(arguments: list[Any]) -> tuple[str, ...]:
    """Without what every step is given, each with a value."""
    values = {place + 1 for place, argument in enumerate(arguments) if argument in COMMON}
    return tuple(argument for place, argument in enumerate(arguments) if argument not in COMMON and place not in values)


def in_sagemaker(definition: dict[str, Any]) -> tuple[list[Told], dict[str, set[tuple[str, str]]]]:
    """Each job, and the conditions that each is behind."""
    found: list[Told] = []
    behind: dict[str, set[tuple[str, str]]] = {}

    def walk(steps: list[dict[str, Any]], conditions: set[tuple[str, str]]) -> None:
        for step in steps:
            arguments = step["Arguments"]
            if step["Type"] == "Condition":
                held = {
                    (
                        each["LeftValue"]["Std:JsonGet"]["PropertyFile"]["Get"].split(".")[1],
                        each["LeftValue"]["Std:JsonGet"]["Path"],
                    )
                    for each in arguments["Conditions"]
                    if each["Type"] == "Equals" and each["RightValue"] is True
                }
                walk(arguments["IfSteps"], conditions | held)
                assert [each["Type"] for each in arguments["ElseSteps"]] == ["Fail"]
                continue
            started = arguments.get("AppSpecification") or arguments["AlgorithmSpecification"]
            (retries,) = {policy["MaxAttempts"] for policy in step["RetryPolicies"]}
            found.append((started["ContainerEntrypoint"][2], own(started["ContainerArguments"]), retries))
            behind[step["Name"]] = conditions

    walk(definition["Steps"], set())
    return found, behind


def jobs_of(definition: dict[str, Any]) -> list[dict[str, Any]]:
    """Every job of a pipeline, those behind conditions included."""
    steps, found = list(definition["Steps"]), []
    while steps:
        step = steps.pop(0)
        steps += [*step["Arguments"].get("IfSteps", ()), *step["Arguments"].get("ElseSteps", ())]
        if step["Type"] in ("Processing", "Training"):
            found.append(step)
    return found
