"""Commands about the audit log: show it, verify it, take it away, and prove a record to somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from groundplan.cli.models import PANEL
from groundplan.cli.options import AsJson, OutputsOption
from spec.errors import UsageError

commands = typer.Typer()


class _Shows(TyperGroup):
    """Without a command, the records of a model are shown, or all."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


audit = typer.Typer(
    cls=_Shows, help="Show, verify, export and prove the audit log: who did what, when, from where, why."
)
commands.add_typer(audit, name="audit", rich_help_panel=PANEL)
RecordArgument = Annotated[
    str, typer.Argument(metavar="RECORD", help="A record's number, or at least 8 characters of its hash.")
]


@audit.command()
def show(
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Only records about this model.")] = "",
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Print the records of a model, or all: who registered, approved, promoted or rolled back what, and why."""
    from groundplan.local.auditing import records

    found = records(model, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for entry in found:
        print(
            f"{entry['sequence']:>6}  {entry['time'][:19]}  {'' if model else entry['model'] + '  '}"
            f"{entry['action']:<10} {entry['actor']:<26} {entry['details'].get('version', ''):<8}"
            f" {entry['hash'][:12]}  {_said(entry['details'])}".rstrip()
        )
    print(f"{len(found)} {'record' if len(found) == 1 else 'records'}; the log leads to its signed root")


@audit.command()
def verify(
    witness: Annotated[
        list[Path] | None,
        typer.Option("--witness", metavar="FILE", help="A checkpoint of the log that somebody else has kept."),
    ] = None,
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Check every record, hash and signature of the log. Exit code 1 if something was changed, removed, reordered or
    cut off; each finding says where.
    """
    from groundplan.local.auditing import check

    found = check([_text(file) for file in witness or ()], outputs)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print(f"{found['origin']}\n{found['records']} records, of which {found['size']} are in the tree that is signed")
        print(f"root {found['root']}")
        for each in found["findings"]:
            print(f"  wrong: {each['where']}: {each['says']}")
        print("nothing was changed" if not found["findings"] else f"{len(found['findings'])} findings")
    raise typer.Exit(1 if found["findings"] else 0)


@audit.command()
def export(
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A folder that does not exist yet.")],
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Write the whole log into a folder: records as JSON lines, and tiles, checkpoint and key in the form of
    https://c2sp.org/tlog-tiles, which other people's tools verify.
    """
    from groundplan.local.auditing import export as run

    found = run(to, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['folder']}: {found['records']} records in records.jsonl; the tree in checkpoint and tile/")
    print("any tool for https://c2sp.org/tlog-tiles verifies it with the key in log.vkey")


@audit.command()
def prove(
    record: RecordArgument,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="The proof. Default: RECORD.tlog-proof here.")
    ] = None,
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Write a proof that a record is in the log (https://c2sp.org/tlog-proof), the record beside it, and the log's
    key: whoever has these needs neither the log nor its cloud.
    """
    from groundplan.local.auditing import prove as run

    found = run(record, to, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['proof']}: record {found['number']} is one of {found['size']}\n  record {found['record']}")
    print(f"  check it: groundplan audit check {found['proof']} --record {found['record']} --key {found['key']}")


@audit.command()
def check(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="A .tlog-proof.")],
    record: Annotated[Path, typer.Option("--record", metavar="FILE", help="The record, byte by byte.")],
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="The log's key (NAME+ID+KEY), or a file with it.")],
) -> None:
    """Check a proof, without a platform or an account."""
    from pipelines.audit.log import check_proof
    from pipelines.audit.notes import Key, WrongNoteError
    from pipelines.audit.tree import WrongProofError

    text = _text(Path(key)) if Path(key).is_file() else key
    if not record.is_file():
        raise UsageError("there is no such file", where=str(record))
    try:
        state = check_proof(_text(proof), record.read_bytes(), [Key.parse(text)])
    except (WrongNoteError, WrongProofError) as error:
        print(f"not proven: {error}")
        raise typer.Exit(1) from None
    print(f"proven: the record is in {state.origin}, which had {state.size} records when that was signed")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't be read ({type(error).__name__})", where=str(file)) from None


def _said(details: dict[str, Any]) -> str:
    """Why something was done or refused, as far as the entry says."""
    why = details.get("reason") or details.get("why") or details.get("verdict") or ""
    return ": ".join(part for part in (str(details.get("role", "")), str(why)) if part)
