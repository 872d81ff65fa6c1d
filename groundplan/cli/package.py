"""The command that bundles a model for where it runs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from groundplan.cli.models import PANEL
from groundplan.cli.options import AsJson, ModelArgument, NameOption, OutputsOption, model_path

commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
def package(
    model: ModelArgument,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            metavar="TARGET",
            help="sagemaker, serverless, batch, kserve, triton, lambda, edge or litert.",
        ),
    ],
    version: Annotated[
        str, typer.Option(metavar="VERSION", help="Version in the registry. Default: the one that is served.")
    ] = "",
    to: Annotated[str, typer.Option(metavar="FOLDER", help="Where to. Default: build/MODEL/TARGET.")] = "",
    sign: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="For devices: sign with this RSA key, a file in PEM, or a KMS key's ARN or alias/NAME.",
        ),
    ] = "",
    outputs: OutputsOption = "",
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Write everything that a registered version needs to run somewhere, and say how to bring it there.

    Every target is made from the same version: from SageMaker, KServe, Triton and Lambda to devices with ONNX Runtime
    or LiteRT, whose answers are compared with the version's own first.
    """
    from groundplan.local.home import find_home
    from groundplan.local.packages import run_package

    home = find_home()
    found = run_package(
        home, model_path(home.root, model), target, name=name, version=version, to=to, sign=sign, outputs=outputs
    )
    if as_json:
        print(json.dumps(found.document(), indent=1))
        return
    shown = [file for file in found.files if not file.startswith("app/")]
    print(f"{found.model} {found.version} in {found.folder}")
    for file in shown:
        print(f"  {found.files[file]:>11,} bytes  {file}")
    if more := len(found.files) - len(shown):
        print(
            f"  {sum(found.files.values()) - sum(found.files[file] for file in shown):>11,} bytes  app/, {more} files"
        )
    if target in ("edge", "litert") and not found.signed:
        print("not signed, so devices can't take it as an update (--sign)")
    print("next, in that folder")
    for step in found.steps:
        print(f"  {step}")
