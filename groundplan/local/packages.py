"""Bundles of a registered version, for where it runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from groundplan.local.experiments import on_stack
from groundplan.local.home import Home
from spec.errors import GroundplanError, UsageError
from spec.versions import check_version

if TYPE_CHECKING:
    from pipelines.context import Context
    from pipelines.targets.served import Served, Stack

README = "README.txt"


@dataclass(frozen=True)
class Packaged:
    """A bundle that was written.

    Attributes:
        files: Sizes in bytes, by name.
        steps: The commands that bring it to where it runs.
        signed: Whether its manifest is.
    """

    model: str
    version: str
    folder: Path
    files: dict[str, int]
    steps: list[str]
    signed: bool

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {**self.__dict__, "folder": str(self.folder)}


def run_package(
    home: Home,
    path: Path,
    target: str,
    *,
    name: str = "",
    version: str = "",
    to: str = "",
    sign: str = "",
    outputs: str = "",
) -> Packaged:
    """Write the bundle of one version.

    Args:
        name: The model's name, instead of its own.
        version: For example v1.2.0; by default the one that is served.
        to: The folder. By default ``build/MODEL/TARGET``.
        sign: A key, see ``pipelines.targets.signing``.
        outputs: Those of a stack on AWS; by default the local platform's.

    Raises:
        UsageError: There is no such target, or the folder contains something else.
        GroundplanError: There is no such version, or the model can't run there.
    """
    from pipelines.targets.bill import bill, environments
    from pipelines.targets.signing import signer
    from pipelines.targets.targets import ON_DEVICES, TARGETS, bundle, steps

    if target not in TARGETS:
        raise UsageError(f"no target {target!r}", where="--target", fix=f"one of: {', '.join(TARGETS)}")
    if sign and target not in ON_DEVICES:
        raise UsageError(
            f"{target} has no signature", where="--sign", fix=f"only devices check one: {', '.join(ON_DEVICES)}"
        )
    with on_stack(home, path, outputs, "person.package", name) as context:
        folder = Path(to) if to else home.root / "build" / context.model / target
        _check(folder)
        served, packages = _registered(context, version)
        stack = _stack(context.outputs, context.model)
        files = bundle(target, served, stack, signer(sign) if sign else None)
        files |= environments(packages)
        files |= bill(served.name, served.version, served.told["artifact_sha256"], packages, served.made_at, files)
        told = steps(target, served, stack)
    shutil.rmtree(folder, ignore_errors=True)
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    sizes = {file: len(content) for file, content in files.items()}
    return Packaged(served.name, served.version, folder, sizes, told, bool(sign))


def _check(folder: Path) -> None:
    """That nothing but an older bundle would be replaced."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / README).is_file()):
        raise UsageError("contains something other than a bundle", where=str(folder), fix="name an empty folder: --to")


def _registered(context: Context, version: str) -> tuple[Served, dict[str, str]]:
    """The artifact that two people have approved, as it was registered, and the packages that it was trained with."""
    from pipelines.audit.records import entries, refusals, served_in
    from pipelines.registry.decisions import agreed
    from pipelines.serving.models.bundle import unpack
    from pipelines.targets.served import Served, now

    served = served_in(entries(context))
    if not version and not served:
        raise GroundplanError(
            f"{context.model} has no version that is served", where="the model registry", fix="groundplan status"
        )
    wanted = check_version(version or served[-1])
    with refusals(context, "package", version=wanted):
        stored, decided = agreed(context, wanted)
    record = stored.record
    told = {
        "run_id": record.lineage["run_id"],
        "pipeline_run": record.lineage["pipeline_run"],
        "dataset_digest": record.dataset.digest,
        "training_digest": record.dataset.training_digest,
        "code_version": record.code["commit"],
        "artifact_sha256": record.artifact,
        "approved_by": {role: decision.by for role, decision in decided.items()},
    }
    with TemporaryDirectory() as folder:
        unpack(stored.artifact, Path(folder))
        return Served.of(Path(folder), wanted, told, now()), record.environment


def _stack(outputs: Any, model: str) -> Stack:
    from pipelines.targets.served import Stack

    endpoint = outputs.endpoints.get(model)
    return Stack(
        name=f"{outputs.project}-{outputs.stack}",
        region=outputs.region,
        role_arn=outputs.role_arns["serving"],
        image_uri=outputs.image_uri,
        bucket=outputs.buckets["models"],
        key_arn=outputs.key_arns.get("models", ""),
        min_instances=endpoint.min_instances if endpoint else 1,
        max_instances=endpoint.max_instances if endpoint else 20,
        subnet_ids=outputs.network.subnet_ids,
        security_group_ids=(outputs.network.security_group_id,),
    )
