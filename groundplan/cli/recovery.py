"""Commands that keep what the platform on this machine has stored, and bring it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from groundplan.cli.options import AsJson
from groundplan.cli.platform import PANEL
from groundplan.cli.progress import progress

commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
def backup(
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where it is written. Default: a name with the time, in .groundplan/backups/."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what the platform on this machine has stored into one file that only you can read: events, data, features,
    models, registry, audit log, MLflow's database, keys and secrets.
    """
    from groundplan.local.backup import back_up
    from groundplan.local.home import find_home

    found = back_up(find_home(), to)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(
        f"{found['file']}: {found['objects']} objects of {found['buckets']} buckets, {found['items']} items of tables,"
        f" {found['keys']} signing keys, {found['answers']} answers of endpoints; {found['bytes'] / 2**20:.1f} MB"
    )
    _print_left_out(found)
    print(
        f"it can sign in the name of the platform: keep it as you keep a key\nrestore it: groundplan restore"
        f" {found['file']} --identity you@example.com"
    )


@commands.command(rich_help_panel=PANEL)
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `groundplan backup`.")],
    identity: Annotated[str, typer.Option(metavar="EMAIL", help="Who restores it; kept in the models' audit logs.")],
    as_json: AsJson = False,
) -> None:
    """Build an empty platform on this machine, put a backup into it, serve the same versions, and ask them what was
    asked when it was taken. Exit code 1 if an answer differs or an objective (`recovery`) is missed.
    """
    from groundplan.local.home import find_home
    from groundplan.local.restoring import restore as run

    if as_json:
        found = run(find_home(), file, identity)
        print(json.dumps(found, indent=1))
    else:
        with progress() as say:
            found = run(find_home(), file, identity, say)
        _print_restored(found)
    raise typer.Exit(0 if found["meets"] and not found["different"] else 1)


def _print_restored(found: dict[str, Any]) -> None:
    for model, what in found["different"].items():
        print(f"{model}: {what}")
    if not found["different"]:
        print(f"the same {found['answers']} requests are answered as before the backup")
    _print_left_out(found)
    print(
        f"lost: what was written in the {_time(found['lost_s'])} since {found['taken_at'][:19]}Z"
        f" (objective: {found['rpo_hours']} h at most)\n"
        f"time: {_time(found['seconds'])} (objective: {found['rto_hours']} h at most)"
    )
    if found["lost_s"] > 0:
        print("whoever was forgotten since then must be forgotten again: groundplan forget")


def _print_left_out(found: dict[str, Any]) -> None:
    for name in found["not_backed_up"]:
        print(f"not in it: {name}, which is yours (`groundplan up --{name}`)")


def _time(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
