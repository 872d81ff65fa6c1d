"""Commands about the audit log: show it, verify it, take it away, and prove a record to somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from groundplan.cli.models import PANEL
from groundplan.cli.options import AsJson, OutputsOption, moments
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
        list[str] | None,
        typer.Option(
            "--witness", metavar="PLACE", help="A witness' folder or s3:// address, or a checkpoint that was kept."
        ),
    ] = None,
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Check every record, hash and signature of the log. Exit code 1 if something was changed, removed, reordered or
    cut off; each finding says where.
    """
    from groundplan.local.auditing import check

    found = check(witness or [], outputs)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print(f"{found['origin']}\n{found['records']} records, of which {found['size']} are in the tree that is signed")
        print(f"root {found['root']}")
        for each in found["witnesses"]:
            who = each["witness"] or each["place"]
            states = f"{each['states']} {'state' if each['states'] == 1 else 'states'}"
            print(f"compared with {states} that {who} has kept")
        for each in found["findings"]:
            print(f"  wrong: {each['where']}: {each['says']}")
        print("nothing was changed" if not found["findings"] else f"{len(found['findings'])} findings")
    raise typer.Exit(1 if found["findings"] else 0)


@audit.command()
def witness(
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="The witness' own: ARN of a KMS key, or a file (PEM); Ed25519.")
    ],
    keep: Annotated[
        str, typer.Option("--keep", metavar="PLACE", help="The witness' own store: a folder or an s3:// address.")
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="The witness' name in its signatures.")] = "witness",
    log_key: Annotated[
        str,
        typer.Option(metavar="KEY", help="The log's key, or a file with it. Default: the one that is kept, or KMS's."),
    ] = "",
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Countersign the log's state, if it continues what was countersigned before, and keep it: for somebody with an
    account and a key of their own, on a schedule. Then nobody can rewrite the log, not even with its key.
    """
    from groundplan.local.auditing import witness as run

    found = run(key, name, keep, log_key, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    since = f"continues the {found['before']} that were seen before" if found["before"] else "seen for the first time"
    print(f"{found['origin']}: {found['size']} records, {since}\ncountersigned and kept in {found['kept']}")
    print(f"the witness' key: {found['key']}")


@audit.command()
def compare(
    since: Annotated[
        str, typer.Option(metavar="TIME", help="From when on: 2026-03-31, 2026-03-31T14:30 (UTC), or 2h, 7d ago.")
    ] = "7d",
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Compare the log with CloudTrail: a change of an endpoint or a signature without a record, a record without its
    call, another role than the record says, and calls that take evidence away. Exit code 1 if there is one.
    """
    from dataclasses import asdict

    from groundplan.local.auditing import compare as run

    found = run(moments(since, "--since")[0], outputs)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
    elif not found.events:
        print("the trail has delivered nothing yet")
    else:
        print(f"from {found.since} to {found.until}: {found.events} events of the trail")
        print(f"{found.matched} calls are in both" + (f"; {found.later} are too new for the trail" * bool(found.later)))
        for each in found.findings:
            print(f"  {each.at[:19]}  {each.by}\n      {each.says}")
        print(f"{len(found.findings)} findings" if found.findings else "neither says anything that the other does not")
    raise typer.Exit(1 if found.findings else 0)


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
    witness: Annotated[
        str, typer.Option(metavar="PLACE", help="A witness' store: the proof leads to what it has countersigned.")
    ] = "",
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Write a proof that a record is in the log (https://c2sp.org/tlog-proof), the record beside it, and the log's
    key: whoever has these needs neither the log nor its cloud.
    """
    from groundplan.local.auditing import prove as run

    found = run(record, to, witness, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['proof']}: record {found['number']} is one of {found['size']}\n  record {found['record']}")
    more = f" --witness-key {found['witness_key']}" if "witness_key" in found else ""
    print(f"  check it: groundplan audit check {found['proof']} --record {found['record']} --key {found['key']}{more}")


@audit.command()
def check(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="A .tlog-proof.")],
    record: Annotated[Path, typer.Option("--record", metavar="FILE", help="The record, byte by byte.")],
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="The log's key (NAME+ID+KEY), or a file with it.")],
    witness_key: Annotated[
        str, typer.Option(metavar="KEY", help="The key of a witness who must have countersigned it.")
    ] = "",
) -> None:
    """Check a proof, without a platform or an account."""
    from groundplan.local.auditing import key_of, text_of
    from pipelines.audit.log import check_proof
    from pipelines.audit.notes import WrongNoteError
    from pipelines.audit.tree import WrongProofError

    known, cosigner = key_of(key, "--key"), key_of(witness_key, "--witness-key") if witness_key else None
    if not record.is_file():
        raise UsageError("there is no such file", where=str(record))
    try:
        state = check_proof(text_of(proof), record.read_bytes(), [known], cosigner)
    except (WrongNoteError, WrongProofError) as error:
        print(f"not proven: {error}")
        raise typer.Exit(1) from None
    by = f" and countersigned by {cosigner.name}" if cosigner else ""
    print(f"proven: the record is in {state.origin}, which had {state.size} records when that was signed{by}")


def _said(details: dict[str, Any]) -> str:
    """Why something was done or refused, as far as the entry says."""
    why = details.get("reason") or details.get("why") or details.get("verdict") or ""
    return ": ".join(part for part in (str(details.get("role", "")), str(why)) if part)
