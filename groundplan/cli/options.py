"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Stack = Annotated[str, typer.Option("--stack", "-s", help="Stack whose objectives are used (stacks/Pulumi.<stack>.yaml).")]
OutputsOption = Annotated[
    str, typer.Option(metavar="FILE", help="Outputs of a stack on AWS (file or s3:// address); your own credentials are used. Default: the local platform.")
]
ModelOption = Annotated[str, typer.Option("--name", metavar="MODEL", help="Name of the model, instead of the one that its folder or script gives it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
