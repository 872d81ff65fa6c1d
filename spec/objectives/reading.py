"""Stack files: read, and checked as a whole."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spec.errors import UsageError
from spec.objectives.messages import messages
from spec.objectives.model import Availability, StackConfig
from spec.objectives.planned import PLANNED, planned_in
from spec.regions import REGIONS, regions_of


def stack_names(root: Path) -> list[str]:
    """Names of the stacks that have a file."""
    files = (root / "stacks").glob("Pulumi.*.yaml")
    return sorted(file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in files)


def stack_file(root: Path, stack: str) -> Path:
    """Path of a stack's file.

    Raises:
        UsageError: There is no such stack; the message lists those that exist.
    """
    path = root / "stacks" / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        raise UsageError(
            f"unknown stack {stack!r}: {path.relative_to(root)} does not exist",
            fix=f"use one of: {', '.join(stack_names(root)) or '(none found)'}; or write that file",
        )
    return path


def load_config(root: Path, stack: str) -> dict[str, Any]:
    """The stack file's ``config`` map, unchecked.

    Raises:
        UsageError: No such stack, or the file is not valid YAML with a ``config`` map.
    """
    import yaml

    class OnceEach(yaml.SafeLoader):
        """YAML's own loader silently takes the last of two equal keys."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value]
            if twice := [name for name in names if names.count(name) > 1]:
                raise yaml.constructor.ConstructorError(None, None, f"`{twice[0]}` appears twice", node.start_mark)
            return super().construct_mapping(node, deep)

    path = stack_file(root, stack)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), OnceEach)  # noqa: S506 (a safe loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"not readable as YAML: {' '.join(str(error).split())}", where=f"stacks/{path.name}"
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("config"), dict):
        raise UsageError(
            "has no `config:` map", where=f"stacks/{path.name}", fix="see stacks/Pulumi.local.yaml for the form"
        )
    config: dict[str, Any] = document["config"]
    return config


def load(root: Path, stack: str) -> StackConfig:
    """Read and check one stack's file.

    Raises:
        UsageError: Anything wrong with the file; one message names every wrong key.
    """
    return parse(
        load_config(root, stack),
        where=f"stacks/Pulumi.{stack}.yaml",
        planned=bool(os.environ.get("GROUNDPLAN_PLANNED")),
    )


def parse(config: dict[str, Any], *, where: str, planned: bool = False) -> StackConfig:
    """Check a stack's configuration map (keys as in the stack file).

    Args:
        planned: Accept planned, unfinished objectives, for those who work on them.

    Raises:
        UsageError: A value is missing, unknown or out of bounds.
    """
    for key in ("aws:region", "aws:allowedAccountIds", "groundplan:objectives"):
        if key not in config:
            raise UsageError(f"`{key}` is missing", where=where, fix="see stacks/Pulumi.local.yaml for the form")
    region, accounts = config["aws:region"], config["aws:allowedAccountIds"]
    _check_region(region, where)
    if not isinstance(accounts, list) or len(accounts) != 1:
        raise UsageError(
            f"must be a list of exactly one account id, found {accounts!r}", where=f"{where}: aws:allowedAccountIds"
        )
    try:
        stack = StackConfig.model_validate(
            {"region": region, "account_id": accounts[0], "objectives": config["groundplan:objectives"]}
        )
    except ValidationError as error:
        raise UsageError("\n".join(messages(error, where))) from None
    _check_residency(stack, where)
    _check_connection(stack, where)
    wanted = stack.objectives.model_dump(mode="json")
    for row in () if planned else PLANNED:
        for place, value in planned_in(wanted, row.path):
            if value == row.value:
                raise UsageError(row.why, where=f"{where}: groundplan:objectives.{place}", fix=f"use {row.instead}")
    return stack


def _check_connection(stack: StackConfig, where: str) -> None:
    source = stack.objectives.deploys_from
    if source is not None and (account := source.connection.split(":")[4]) != stack.account_id:
        raise UsageError(
            f"the connection belongs to account {account}, but the stack's account is {stack.account_id}",
            where=f"{where}: groundplan:objectives.deploys_from.connection",
            fix="create one in the stack's account: in the console, Developer Tools, Settings, Connections",
        )


def _check_residency(stack: StackConfig, where: str) -> None:
    wanted = stack.objectives
    if stack.region not in regions_of(wanted.residency):
        raise UsageError(
            f"{stack.region} is in jurisdiction {REGIONS[stack.region].jurisdiction!r}, but"
            f" groundplan:objectives.residency is {wanted.residency!r}",
            where=f"{where}: aws:region",
            fix=f"use one of: {', '.join(regions_of(wanted.residency))}",
        )
    if wanted.availability is Availability.TWO_REGIONS and not REGIONS[stack.region].standby:
        able = [name for name in regions_of(wanted.residency) if REGIONS[name].standby]
        raise UsageError(
            "two-regions needs a second region, and AWS has none in jurisdiction"
            f" {REGIONS[stack.region].jurisdiction!r}"
            f" besides {stack.region}",
            where=f"{where}: groundplan:objectives.availability",
            fix=f"use multi-zone{', or one of these regions: ' + ', '.join(able) if able else ''}",
        )


def _check_region(region: object, where: str) -> None:
    if region not in REGIONS:
        near = difflib.get_close_matches(str(region), REGIONS, n=1)
        raise UsageError(
            f"{region!r} is not an AWS region",
            where=f"{where}: aws:region",
            fix=f"did you mean {near[0]}?" if near else "for example us-east-1 or eu-central-1",
        )
