"""Options that several commands share."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from spec.errors import UsageError

Stack = Annotated[
    str, typer.Option("--stack", "-s", help="Stack whose objectives are used (stacks/Pulumi.<stack>.yaml).")
]
OutputsOption = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help=(
            "Outputs of a stack on AWS (file or s3:// address); your own credentials are used. Default: the local"
            " platform."
        ),
    ),
]
NameOption = Annotated[
    str,
    typer.Option("--name", metavar="MODEL", help="Name of the model, instead of the one from its folder or script."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, its folder, or a script.")]
OnlyModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="[MODEL]", help="A model's name, its folder, or a script. Default: the only one.", show_default=False
    ),
]
TopicModelOption = Annotated[
    str,
    typer.Option(
        "--model", metavar="MODEL", help="A model's name or folder. Default: every model that reads the topic."
    ),
]
TopicOption = Annotated[str, typer.Option(metavar="TOPIC", help="One topic. Default: all.")]


def moments(text: str, option: str) -> tuple[datetime, datetime]:
    """A time as a user writes it, as its beginning and end: a day is long, every other time is a moment.

    Args:
        text: ISO 8601, in UTC where it names no zone; or how long ago: 30m, 2h, 7d.

    Raises:
        UsageError: It is none of these.
    """
    if match := re.fullmatch(r"(\d{1,6})([mhd])", text.strip()):
        unit = {"m": "minutes", "h": "hours", "d": "days"}[match[2]]
        at = datetime.now(UTC) - timedelta(**{unit: int(match[1])})
        return at, at
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{text!r} is no time", where=option, fix="write 2026-03-31, 2026-03-31T14:30 (UTC), or how long ago: 2h"
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at, at + timedelta(days=1) if re.fullmatch(r"\d{4}-?\d\d-?\d\d", text.strip()) else at


def model_path(root: Path, text: str) -> Path:
    """The folder or script that the user means.

    Args:
        text: A path, the name of a model of the project, or nothing for its only one.

    Raises:
        UsageError: There is no such model, or there are several and none was chosen.
    """
    if text and Path(text).exists():
        return Path(text)
    from spec.model_folders import folder_names

    known = folder_names(root)
    if text in known:
        return root / "models" / known[text]
    if not text and len(known) == 1:
        return root / "models" / next(iter(known.values()))
    what = f"no model, folder or script {text!r}" if text else "there are several models"
    raise UsageError(
        what,
        where="MODEL",
        fix=f"one of: {', '.join(known)}" if known else "write models/NAME/experiment.py, or name a script",
    )


def topics_read(root: Path, model: str, topic: str) -> list[tuple[Path, str]]:
    """Topics, each with the folder of a model that reads it.

    Args:
        model: Name or folder of a single model; empty for all.
        topic: A single topic; empty for all.

    Raises:
        UsageError: No model reads such a topic.
    """
    from spec.model_folders import load_contracts, model_folders

    if model:
        path = model_path(root, model)
        found = {contract.topic: path for contract in load_contracts(path)}
    else:
        found = {
            contract.topic: folder.path for folder in reversed(model_folders(root)) for contract in folder.contracts
        }
    if topic and topic not in found:
        raise UsageError(
            f"no contract describes topic {topic!r}", where="TOPIC", fix=f"one of: {', '.join(sorted(found)) or 'none'}"
        )
    return [(path, name) for name, path in sorted(found.items()) if topic in ("", name)]
