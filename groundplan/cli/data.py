"""Commands about events and the people in them, and about outcomes: forget, labels, dlq, quarantine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from groundplan.cli.options import (
    AsJson,
    ModelArgument,
    NameOption,
    OutputsOption,
    TopicModelOption,
    TopicOption,
    model_path,
    topics_read,
)
from spec.errors import UsageError

PANEL = "Data"
commands = typer.Typer()


def _with_personal_data(root: Path, model: str) -> Path:
    if model:
        return model_path(root, model)
    from spec.model_folders import model_folders

    found = [folder for folder in model_folders(root) if any(contract.personal for contract in folder.contracts)]
    if len(found) == 1:
        return found[0].path
    names = ", ".join(folder.model for folder in found)
    raise UsageError(
        f"contracts with personal fields have {'the models ' + names if found else 'no model'}",
        where="--model",
        fix="name one",
    )


@commands.command(rich_help_panel=PANEL)
def forget(
    subject: Annotated[
        str,
        typer.Argument(
            help="The personal value exactly as received, for example a tail number; only its token is kept."
        ),
    ],
    identity: Annotated[str, typer.Option(help="Your e-mail address, for the audit log.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A model's name or folder. Default: the one whose contracts have personal fields.",
        ),
    ] = "",
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Delete one person's data (GDPR Art. 17) from datasets, features, training sets and the online store, with
    evidence.
    """
    from groundplan.local.experiments import run_forget
    from groundplan.local.home import find_home

    home = find_home()
    found = run_forget(home, _with_personal_data(home.root, model), subject, identity, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    if found["erased_on"]:
        print(f"erased on {found['erased_on'][:10]}; searched again")
    elif not found["rows"] and not any(found["entities"].values()):
        print("warning: no data here ever contained this value; write it exactly as it was received", file=sys.stderr)
    print(
        f"person {found['person']}: {found['rows']:,} rows removed from {len(found['objects'])} objects,"
        f" {found['online_items']} online items deleted"
    )
    for address, rows in found["objects"].items():
        print(f"  {rows:>7,} rows  {address}")
    if found["dead_letters"]:
        print(
            f"{found['dead_letters']} dead letters hidden; where the broker can't delete them, their bytes stay until"
            " their retention ends"
        )
    if found["models"]:
        print(
            f"trained on data that contained them: {', '.join(found['models'])}; legal and the data scientists must"
            " decide whether to retrain them"
        )
    print(f"a search afterwards found {found['left']} objects; evidence: {found['evidence']}")


@commands.command(rich_help_panel=PANEL)
def labels(
    model: ModelArgument,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=(
                "CSV, JSON lines or Parquet with prediction_id and label, and row where a request had several;"
                " or ground truth as SageMaker takes it."
            ),
        ),
    ],
    name: NameOption = "",
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Tell how predictions turned out, by the prediction_id in each answer; monitoring then knows the model's quality.

    Stored completely or not at all; a later label of the same prediction replaces the earlier one.
    """
    from groundplan.local.home import find_home
    from groundplan.local.labelling import run_labels

    home = find_home()
    stored = run_labels(home, model_path(home.root, model), file, name, outputs)
    if as_json:
        print(json.dumps(asdict(stored), indent=1))
        return
    empty = f"; {stored.empty:,} without a label left out" if stored.empty else ""
    number = f"{stored.outcomes:,} outcome{'' if stored.outcomes == 1 else 's'}"
    print(f"{number} of predictions from {stored.begin} to {stored.end}{empty}")
    if stored.captured < stored.looked_for:
        missing = f"{stored.looked_for - stored.captured} of {stored.looked_for}"
        print(
            f"warning: {missing} predictions that were looked for are not captured (yet); answers are written within"
            " minutes, and an outcome without its prediction counts nothing",
            file=sys.stderr,
        )
    print("`groundplan monitor` counts them")


dlq = typer.Typer(help="Dead letters: events that violate their contract.", no_args_is_help=True)
commands.add_typer(dlq, name="dlq", rich_help_panel=PANEL)


@dlq.command("list")
def dlq_list(
    model: TopicModelOption = "", topic: TopicOption = "", outputs: OutputsOption = "", as_json: AsJson = False
) -> None:
    """List the dead letters: why each was rejected, and where it is."""
    import base64

    from groundplan.local.experiments import run_dead_letters
    from groundplan.local.home import find_home

    home = find_home()
    found = [
        letter
        for path, name in topics_read(home.root, model, topic)
        for letter in run_dead_letters(home, path, name, outputs)
    ]
    if as_json:
        print(
            json.dumps(
                [
                    {
                        **vars(letter),
                        "headers": [
                            [name, None if value is None else value.decode("utf-8", "replace")]
                            for name, value in letter.headers
                        ],
                        "key": letter.key.decode("utf-8", "replace"),
                        "value": letter.value.decode("utf-8", "replace"),
                        "value_base64": base64.b64encode(letter.value).decode(),
                    }
                    for letter in found
                ],
                indent=1,
            )
        )
    else:
        from groundplan.local.summary import print_dead_letters

        print_dead_letters(found)


@dlq.command("replay")
def dlq_replay(
    model: TopicModelOption = "",
    topic: TopicOption = "",
    reason: Annotated[str, typer.Option(help="Only those rejected for this reason, for example 'out of bounds'.")] = "",
    outputs: OutputsOption = "",
) -> None:
    """Send dead letters to their topics again, each once, after the contract or the sender of the events was fixed."""
    from groundplan.local.experiments import run_replay
    from groundplan.local.home import find_home

    home = find_home()
    for path, name in topics_read(home.root, model, topic):
        found = run_replay(home, path, name, reason, outputs)
        earlier = f"; {found.before} sent before" if found.before else ""
        print(f"{name}: {found.sent} of {found.letters} sent{earlier}" if found.letters else f"{name}: no dead letters")
        for text in found.refused:
            print(f"  kept back: {text}")


quarantine = typer.Typer(
    help="Quarantine: events with personal data in fields that no contract declares as personal.", no_args_is_help=True
)
commands.add_typer(quarantine, name="quarantine", rich_help_panel=PANEL)
HeldTopic = Annotated[str, typer.Argument(help="Topic of the events.")]
DeciderOption = Annotated[str, typer.Option("--identity", help="Your e-mail address, for the audit log.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="The reason, for the audit log; at least 10 characters.")]


@quarantine.command("list")
def quarantine_list(
    model: TopicModelOption = "", topic: TopicOption = "", outputs: OutputsOption = "", as_json: AsJson = False
) -> None:
    """List the events that await a decision: how many, what was found in which field, since when."""
    from groundplan.local.experiments import run_quarantine
    from groundplan.local.home import find_home

    home = find_home()
    found = [
        item
        for path, name in topics_read(home.root, model, topic)
        for item in run_quarantine(home, path, name, outputs)
    ]
    if as_json:
        documents = []
        for item in found:
            pairs = [why.rpartition(": ") for why in item.found]
            documents.append(
                {
                    "topic": item.topic,
                    "rows": item.rows,
                    "found": [{"field": field, "kind": kind} for field, _, kind in pairs],
                    "since": item.since,
                    "erased": item.erased,
                    "files": [file.key for file in item.files],
                }
            )
        print(json.dumps(documents, indent=1))
    else:
        from groundplan.local.summary import print_quarantine

        print_quarantine(found)


@quarantine.command("release")
def quarantine_release(
    topic: HeldTopic,
    identity: DeciderOption,
    reason: ReasonOption,
    field: Annotated[
        list[str] | None, typer.Option(help="Only events whose findings are all in this field; may be repeated.")
    ] = None,
    model: TopicModelOption = "",
    outputs: OutputsOption = "",
) -> None:
    """Release quarantined events unchanged; the next dataset version includes them."""
    from groundplan.local.experiments import run_decide
    from groundplan.local.home import find_home

    home = find_home()
    ((path, _),) = topics_read(home.root, model, topic)
    found = run_decide(home, path, "release", topic, field or [], identity, reason, outputs)
    print(f"{topic}: {found['rows']:,} events released; {found['left']:,} still await a decision")


@quarantine.command("discard")
def quarantine_discard(
    topic: HeldTopic,
    identity: DeciderOption,
    reason: ReasonOption,
    field: Annotated[
        list[str] | None, typer.Option(help="Only events with a finding in this field; may be repeated.")
    ] = None,
    model: TopicModelOption = "",
    outputs: OutputsOption = "",
) -> None:
    """Discard quarantined events: they are never read, and their objects are deleted in all versions. Run it again
    later to delete objects that are locked now.
    """
    from groundplan.local.experiments import run_decide
    from groundplan.local.home import find_home

    home = find_home()
    ((path, _),) = topics_read(home.root, model, topic)
    found = run_decide(home, path, "discard", topic, field or [], identity, reason, outputs)
    print(
        f"{topic}: {found['rows']:,} events discarded, {found['deleted']} objects deleted; {found['left']:,} events"
        " still await a decision"
    )
    if found["locked"]:
        print(
            f"{found['locked']} objects are locked until their retention ends; they are never read; run this command"
            " again after that to delete them"
        )
