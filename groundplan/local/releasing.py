"""A version from one environment to another: which ones are meant, and whose credentials are used for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groundplan.engine.program import project_name
from groundplan.local.home import Home
from groundplan.local.inside import inside, running
from pipelines.context import Context, load_definition
from spec.errors import UsageError
from spec.names import bucket_name
from spec.objectives import load_config, parse, stack_names
from spec.outputs import LOCAL, read
from spec.versions import check_version
from spec.zones import OUTPUTS, Zone


def run_release(
    home: Home,
    path: Path,
    version: str,
    source: str,
    target: str,
    *,
    profiles: tuple[str, str],
    identity: str,
    name: str,
) -> dict[str, Any]:
    """Release a version; returns what was registered.

    Args:
        source, target: A stack's name, a file or ``s3://`` address of its outputs, or the folder of a checkout whose
            local platform runs.
        profiles: AWS profile for each; empty for the usual credentials.
    """
    from pipelines.registry.decisions import session_of
    from pipelines.registry.releases import receive, ship

    version = check_version(version)
    with environment(home, path, source, profiles[0], name, "--from") as context:
        shipment = ship(context, version)
    with environment(home, path, target, profiles[1], name, "--to") as context:
        return {"to": context.outputs.stack, **receive(context, shipment, session_of(context, identity))}


@contextmanager
def environment(home: Home, path: Path, where: str, profile: str, name: str, option: str) -> Iterator[Context]:
    """A context on one environment, and its credentials in use meanwhile.

    Raises:
        UsageError: There is none of this name, or no such profile.
    """
    if checkout := _checkout(home, where):
        with inside(checkout, "person.release"):
            outputs = read(str(checkout.outputs_file))
            yield Context(outputs, load_definition(path, name), "release", checkout.reports)
        return
    import boto3
    from botocore.exceptions import ProfileNotFound

    address, region = _address(home.root, where, option)
    try:
        boto3.setup_default_session(profile_name=profile or None, region_name=region)
    except ProfileNotFound:
        raise UsageError(
            f"there is no AWS profile {profile!r}",
            where=f"{option}-profile",
            fix="`aws configure list-profiles` lists them",
        ) from None
    try:
        outputs = read(address)
        boto3.setup_default_session(profile_name=profile or None, region_name=outputs.region)
        yield Context(outputs, load_definition(path, name), "release", home.reports)
    finally:
        boto3.setup_default_session()


def _checkout(home: Home, where: str) -> Home | None:
    """A running local platform; None where another environment is meant."""
    if where == LOCAL or Path(where).is_dir():
        found = home if where == LOCAL else Home(Path(where).resolve())
        running(found)
        return found
    return None


def _address(root: Path, where: str, option: str) -> tuple[str, str | None]:
    """Of a stack's outputs, and its region as far as it is known before they are read."""
    if where.startswith("s3://") or Path(where).is_file():
        return where, None
    stacks = stack_names(root)
    if where not in stacks:
        raise UsageError(
            f"there is no environment {where!r}",
            where=option,
            fix=f"one of {', '.join(stacks)}; a stack's outputs (a file or s3:// address); or the folder of a checkout",
        )
    config = parse(load_config(root, where), where=f"stacks/Pulumi.{where}.yaml")
    bucket = bucket_name(project_name(root), where, Zone.CURATED, config.account_id)
    return f"s3://{bucket}/{OUTPUTS}", config.region
