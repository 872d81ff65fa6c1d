"""The command line. Heavy libraries are imported by the commands that need them, never here."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from spec.errors import GroundplanError, UsageError

app = typer.Typer(
    name="groundplan",
    help="An MLOps platform on AWS, drawn from business objectives; whole on one laptop, too.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
Stack = Annotated[str, typer.Option("--stack", "-s", help="Stack whose objectives are used (stacks/Pulumi.<stack>.yaml).")]
OutputsOption = Annotated[
    str, typer.Option(metavar="FILE", help="Outputs of a stack on AWS (file or s3:// address); your own credentials are used. Default: the local platform.")
]
ModelOption = Annotated[str, typer.Option("--name", metavar="MODEL", help="Name of the model, instead of the one that its folder or script gives it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def main() -> None:
    """Entry point: errors that a user can mend become one message and an exit code (1 failure, 2 wrong use)."""
    try:
        app(standalone_mode=True)
    except GroundplanError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of our output went away
        sys.exit(1)


@app.command()
def up(
    stack: Stack = "local",
    once: Annotated[bool, typer.Option("--once", help="Stop everything again in the end.")] = False,
    examples: Annotated[str, typer.Option(help="Examples to run, separated by commas; `none` for none.")] = "diabetes,flights",
    months: Annotated[str, typer.Option(metavar="FIRST-LAST", help="Months of 2013 that the flights example streams, within 1-12.")] = "1-3",
    kafka: Annotated[str, typer.Option(metavar="HOST:PORT", help="Use this Kafka broker instead of starting one.")] = "",
    mlflow: Annotated[str, typer.Option(metavar="URL", help="Use this MLflow server instead of starting one.")] = "",
    validate_at_broker: Annotated[
        bool, typer.Option("--validate-at-broker", help="The broker refuses events that hold not to their contract's schema (MSK can't).")
    ] = False,
    port: Annotated[
        list[str] | None, typer.Option(metavar="SERVICE=PORT", help="Port of a service: aws, kafka, mlflow, router. Default: any free one.")
    ] = None,
) -> None:
    """Start the platform on this machine: services, the Pulumi program, the examples' pipelines."""
    from groundplan.local.home import find_home
    from groundplan.local.up import bring_up, tear_down

    home = find_home()
    external = {name: value for name, value in (("kafka", kafka), ("mlflow", mlflow)) if value}
    folders = tuple(f"examples/{name.strip()}" for name in examples.split(",") if name.strip() and name.strip() != "none")
    for folder in folders:
        if not (home.root / folder).is_dir():
            known = sorted(path.parent.name for path in home.root.glob("examples/*/experiment.py"))
            raise UsageError(f"no example {folder.removeprefix('examples/')!r}", where="--examples", fix=f"one of: {', '.join(known)}")
    if validate_at_broker and kafka:
        raise UsageError("a broker that runs already is not given schemas", where="--validate-at-broker", fix="leave away --kafka, or this")
    first, _, last = months.partition("-")
    if not (first.isdigit() and (last or first).isdigit() and 1 <= int(first) <= int(last or first) <= 12):
        raise UsageError(f"{months!r} is no month, nor months from first to last", where="--months", fix="for example --months 1-12")
    os.environ["GROUNDPLAN_MONTHS"] = months  # the example's source reads it
    with _progress() as say:
        summary = bring_up(home, stack, external=external, ports=_ports(port or []), examples=folders, validates=validate_at_broker, say=say)
    from groundplan.local.summary import print_summary

    try:
        print_summary(summary)
    finally:
        stopped = tear_down(home) if once else []
    if once:
        print(f"--once: stopped {len(stopped)} processes")


def _ports(options: list[str]) -> dict[str, int]:
    ports = {}
    for option in options:
        name, _, number = option.partition("=")
        if not number.isdigit() or not 0 < int(number) < 65536:
            raise UsageError(f"{option!r} is not SERVICE=PORT with a port from 1 to 65535", where="--port", fix="for example --port mlflow=5000")
        ports[name] = int(number)
    return ports


@contextmanager
def _progress() -> Iterator[Any]:
    """Lines for what is done, and a spinner on a terminal; plain lines where output is piped. Asked to end, the command cleans up as after Ctrl-C."""
    from rich.console import Console

    from groundplan.local.up import Talk

    console = Console(highlight=False, soft_wrap=True)
    status = console.status("working; Ctrl-C stops everything") if console.is_terminal else None

    class ToConsole(Talk):
        def __call__(self, line: str) -> None:
            text = f"[green]done[/green] {line.replace('[', chr(92) + '[')}" if console.is_terminal else f"done {line}"
            console.print(text, markup=console.is_terminal)

        def progress(self, text: str) -> None:
            if status:
                status.update(f"{text.replace('[', chr(92) + '[')}; Ctrl-C stops everything")

    def interrupt(number: int, _: Any) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        with status or nullcontext():
            yield ToConsole()
    except KeyboardInterrupt:
        print("interrupted; what this command started is stopped", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command()
def provider(
    stack: Stack = "local",
    aws: Annotated[
        str, typer.Option("--aws-endpoint", metavar="URL", help="AWS API of a local cloud that runs already. Default: an empty one is started.")
    ] = "",
    kafka: Annotated[str, typer.Option(metavar="HOST:PORT", help="Kafka broker that runs already. Default: an empty one is started.")] = "",
    as_json: AsJson = False,
) -> None:
    """Serve the local cloud as Pulumi's providers of AWS and Kubernetes, for the real `pulumi`; until Ctrl-C."""
    import threading

    from groundplan.local.home import find_home
    from groundplan.local.provider.running import exports, running

    def interrupt(number: int, _: Any) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        with running(find_home(), stack, aws=aws, kafka=kafka) as found:
            if as_json:
                print(json.dumps({"variables": found.variables, "manifests": str(found.manifests), "account": found.account}), flush=True)
            else:
                print(f"# plays account {found.account}, with nothing in it; in another shell, in the project's folder:\n{exports(found)}")
                print(f"pulumi up -s {stack} --policy-pack policies\n# Ctrl-C ends it, and the cloud with it", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("the local cloud is gone; `pulumi refresh` tells a stack so", file=sys.stderr)


@app.command()
def down() -> None:
    """Stop every process of the platform on this machine and forget its state; logs stay."""
    from groundplan.local.home import find_home
    from groundplan.local.up import tear_down

    stopped = tear_down(find_home())
    print(f"stopped {len(stopped)} processes" if stopped else "nothing was running")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show services, addresses, and what the program made or only recorded. Exit code 1 if something is not healthy."""
    from groundplan.local.home import find_home
    from groundplan.local.up import status as collect

    found = collect(find_home())
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.local.summary import print_status

        print_status(found)
    raise typer.Exit(0 if found["running"] else 1)


@app.command()
def env(as_json: AsJson = False) -> None:
    """Print what ordinary clients (aws, boto3, mlflow, kcat) read:  eval "$(groundplan env)"."""
    from groundplan.local.environment import client_variables, shadowing, without_proxy
    from groundplan.local.home import find_home

    home = find_home()
    state = home.load()
    if state is None:
        raise GroundplanError("nothing is running", fix="run `groundplan up` first")
    variables = client_variables(state.services, state.region) | without_proxy(os.environ) | {"KCAT_CONFIG": str(home.kcat_file)}
    if as_json:
        print(json.dumps(variables, indent=1))
        return
    for name in shadowing(os.environ):
        print(f"unset {name}")
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


@app.command()
def experiment(
    path: Annotated[Path, typer.Argument(help="Folder with experiment.py, or any MLflow script or notebook.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[-- ARGUMENTS]", help="The script's own, behind two dashes.", show_default=False)] = None,
    deploy: Annotated[bool, typer.Option("--deploy", help="Go on to the registry, sign-off, canary and endpoint.")] = False,
    name: ModelOption = "",
    run_name: Annotated[str, typer.Option("--run", metavar="NAME", help="Where the script logs several models: that of this MLflow run.")] = "",
    artifact: Annotated[str, typer.Option(metavar="NAME", help="Where the script logs several models: the one that log_model was given this name for.")] = "",
    take_over: Annotated[bool, typer.Option("--take-over", help="Go on with a model that another script has made until now.")] = False,
    let_shrink: Annotated[bool, typer.Option("--let-shrink", help="An online store may lose more than half of its rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run an ordinary MLflow script as a job, recorded and versioned; with --deploy bring its model to an endpoint.

    The model's name is that of --name, else of example.yaml, else the one under which the script registers its model, else that of its
    MLflow experiment, else the file's. Of several logged models the registered one is taken, else the best by the objective's metric.
    """
    from groundplan.local.experiments import run_experiment
    from groundplan.local.home import find_home
    from pipelines.context import Wishes

    wishes = Wishes(run_name, artifact, take_over, let_shrink, not deploy, tuple(arguments or ()))
    with _progress() as say:
        found = run_experiment(find_home(), path, name=name, wishes=wishes, deploy=deploy, say=(lambda line: None) if as_json else say)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.local.summary import print_results

        print_results(found)


@app.command()
def monitor(
    path: Annotated[Path, typer.Argument(help="The example whose endpoint is looked at.")] = Path("examples/diabetes"),
    name: ModelOption = "",
    as_json: AsJson = False,
) -> None:
    """Compare what an endpoint was asked with its training data: drift page, metrics, alarms. Exit code 1 on an alarm."""
    from groundplan.local.experiments import run_monitor
    from groundplan.local.home import find_home

    found = run_monitor(find_home(), path, name)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.local.summary import print_monitor

        print_monitor(found)
    raise typer.Exit(1 if "ALARM" in found["alarms"].values() else 0)


@app.command()
def approve(
    path: Annotated[Path, typer.Argument(help="The example whose model is approved.")],
    version: Annotated[str, typer.Argument(help="Version in the registry, for example v1.1.0.")],
    role: Annotated[str, typer.Option(help="data-science or operations.")],
    identity: Annotated[str, typer.Option(help="Your e-mail address.")],
    name: ModelOption = "",
) -> None:
    """Record one approval of a version: in the registry and in the audit log."""
    from groundplan.local.experiments import run_approve
    from groundplan.local.home import find_home

    run_approve(find_home(), path, version, role, identity, name)
    print(f"{identity} approved {version} for {role}")


@app.command()
def audit(
    path: Annotated[Path, typer.Argument(help="The example whose model's log is read.")] = Path("examples/diabetes"),
    name: ModelOption = "",
    as_json: AsJson = False,
) -> None:
    """Check and print a model's audit log: who registered, approved, promoted or rolled back what."""
    from groundplan.local.experiments import run_audit
    from groundplan.local.home import find_home

    found = run_audit(find_home(), path, name)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for entry in found:
        print(f"{entry['time']}  {entry['action']:<10} {entry['actor']:<26} {entry['details'].get('version', '')}  {entry['hash'][:12]}")
    print(f"{len(found)} lines, the chain of hashes holds")


@app.command()
def forget(
    subject: Annotated[str, typer.Argument(help="The personal value as it came in, for example a tail number; only its token is kept.")],
    identity: Annotated[str, typer.Option(help="Your e-mail address; it stands in the audit log.")],
    path: Annotated[Path, typer.Option("--example", help="The example whose data is searched.")] = Path("examples/flights"),
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Delete one person's data (GDPR Art. 17) from datasets, features, training sets and the online store, with evidence."""
    from groundplan.local.experiments import run_forget
    from groundplan.local.home import find_home

    found = run_forget(find_home(), path, subject, identity, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    if found["erased_on"]:
        print(f"erased on {found['erased_on'][:10]}; searched again")
    elif not found["rows"] and not any(found["entities"].values()):
        print("warning: nothing here ever held this value; it must be written exactly as it came in", file=sys.stderr)
    print(f"person {found['person']}: {found['rows']:,} rows taken out of {len(found['objects'])} objects, {found['online_items']} online items deleted")
    for address, rows in found["objects"].items():
        print(f"  {rows:>7,} rows  {address}")
    if found["dead_letters"]:
        print(f"{found['dead_letters']} dead letters taken out of sight; where the broker deletes none, their bytes stay until their retention ends")
    if found["models"]:
        print(f"trained on data that held them: {', '.join(found['models'])}; legal and the data scientists decide whether to train again")
    print(f"a search afterwards found {found['left']} objects; evidence: {found['evidence']}")


dlq = typer.Typer(help="Dead letters: events that hold not to their contract.", no_args_is_help=True)
app.add_typer(dlq, name="dlq")
ExampleOption = Annotated[Path, typer.Option("--example", help="The example whose topics are meant.")]
TopicOption = Annotated[str, typer.Option(help="One topic. Default: all of the example's.")]


@dlq.command("list")
def dlq_list(example: ExampleOption = Path("examples/flights"), topic: TopicOption = "", outputs: OutputsOption = "", as_json: AsJson = False) -> None:
    """Print the dead letters with why they were refused and where they stood. Exit code 1 if there are any."""
    import base64

    from groundplan.local.experiments import run_dead_letters
    from groundplan.local.home import find_home

    found = run_dead_letters(find_home(), example, topic, outputs)
    if as_json:
        print(
            json.dumps(
                [
                    {
                        **vars(letter),
                        "headers": [[name, None if value is None else value.decode("utf-8", "replace")] for name, value in letter.headers],
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
    raise typer.Exit(1 if found else 0)


@dlq.command("replay")
def dlq_replay(
    example: ExampleOption = Path("examples/flights"),
    topic: TopicOption = "",
    reason: Annotated[str, typer.Option(help="Only those refused for this reason, for example 'out of bounds'.")] = "",
    outputs: OutputsOption = "",
) -> None:
    """Send dead letters to their topics again, each once, once the contract or the events' sender is mended."""
    from groundplan.local.experiments import run_replay
    from groundplan.local.home import find_home

    for name, (sent, kept) in run_replay(find_home(), example, topic, reason, outputs).items():
        print(f"{name}: {sent} events sent again" + (f"; {kept} still hold not to the contract, and the broker would refuse them" if kept else ""))


quarantine = typer.Typer(help="Quarantine: events with personal data in fields that no contract declares as personal.", no_args_is_help=True)
app.add_typer(quarantine, name="quarantine")
HeldTopic = Annotated[str, typer.Argument(help="The topic whose events are meant.")]
DeciderOption = Annotated[str, typer.Option("--identity", help="Your e-mail address; it stands in the audit log.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, in at least 10 characters; it stands in the audit log.")]


@quarantine.command("list")
def quarantine_list(example: ExampleOption = Path("examples/flights"), topic: TopicOption = "", outputs: OutputsOption = "", as_json: AsJson = False) -> None:
    """Print the events that wait for a decision: how many, what was found in which field, since when. Exit code 1 if there are any."""
    from groundplan.local.experiments import run_quarantine
    from groundplan.local.home import find_home

    found = run_quarantine(find_home(), example, topic, outputs)
    if as_json:
        documents = []
        for item in found:
            pairs = [why.rpartition(": ") for why in item.found]
            documents.append(
                {
                    "topic": item.topic, "rows": item.rows, "found": [{"field": field, "kind": kind} for field, _, kind in pairs],
                    "since": item.since, "erased": item.erased, "files": [file.key for file in item.files],
                }
            )  # fmt: skip
        print(json.dumps(documents, indent=1))
    else:
        from groundplan.local.summary import print_quarantine

        print_quarantine(found)
    raise typer.Exit(1 if found else 0)


@quarantine.command("release")
def quarantine_release(
    topic: HeldTopic,
    identity: DeciderOption,
    reason: ReasonOption,
    field: Annotated[list[str] | None, typer.Option(help="Only events whose findings are all in this field; may be repeated.")] = None,
    example: ExampleOption = Path("examples/flights"),
    outputs: OutputsOption = "",
) -> None:
    """Make quarantined events readable as they are. They are part of the next dataset version."""
    from groundplan.local.experiments import run_decide
    from groundplan.local.home import find_home

    found = run_decide(find_home(), example, "release", topic, field or [], identity, reason, outputs)
    print(f"{topic}: {found['rows']:,} events released; {found['left']:,} still wait")


@quarantine.command("discard")
def quarantine_discard(
    topic: HeldTopic,
    identity: DeciderOption,
    reason: ReasonOption,
    field: Annotated[list[str] | None, typer.Option(help="Only events with a finding in this field; may be repeated.")] = None,
    example: ExampleOption = Path("examples/flights"),
    outputs: OutputsOption = "",
) -> None:
    """Never read quarantined events, and delete their objects in all versions. Run it again later to delete objects that are locked now."""
    from groundplan.local.experiments import run_decide
    from groundplan.local.home import find_home

    found = run_decide(find_home(), example, "discard", topic, field or [], identity, reason, outputs)
    print(f"{topic}: {found['rows']:,} events discarded, {found['deleted']} objects deleted; {found['left']:,} events still wait")
    if found["locked"]:
        print(f"{found['locked']} objects are locked until their retention ends; they are never read, and this command deletes them then")


contract = typer.Typer(help="Data contracts.", no_args_is_help=True)
app.add_typer(contract, name="contract")


@contract.command("check")
def contract_check(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files, and folders that are searched. Default: the contracts of all models.", show_default=False)
    ] = None,
    against: Annotated[str, typer.Option(metavar="REV", help="Git revision to compare with. Default: HEAD for the models' contracts, nothing for paths.")] = "",
    output: Annotated[str, typer.Option("--format", help="text, json or sarif.")] = "text",
    as_json: AsJson = False,
) -> None:
    """Hold data contracts (ODCS 3) to their standard, to what the platform can run, and to their compatibility mode against another git revision.

    All faults of all files are told, and what a contract says and nothing here enforces. Exit code 1 if something must be mended.
    """
    from groundplan.contracts import check as contracts
    from groundplan.local.home import find_home
    from spec.errors import UsageError

    if output not in ("text", "json", "sarif"):
        raise UsageError(f"{output!r} is no format", where="--format", fix="text, json or sarif")
    given = [path.resolve() for path in paths or ()]
    found = contracts.check(find_home().root if not given else Path.cwd(), against or ("" if given else "HEAD"), given)
    print((contracts.as_json if as_json or output == "json" else contracts.as_sarif if output == "sarif" else contracts.as_text)(found))
    raise typer.Exit(1 if any(item.bad for item in found) else 0)


@contract.command("import")
def contract_import(
    file: Annotated[Path | None, typer.Argument(help="CSV, Parquet, JSON lines, Avro or JSON Schema, or a datacontract.com file.", show_default=False)] = None,
    topic: Annotated[str, typer.Option(help="Take a sample of a topic's events instead of a file.")] = "",
    name: Annotated[str, typer.Option(help="Name of the table. Default: the file's or the schema's.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write it there, where nothing is yet. Default: print it.", show_default=False)] = None,
    outputs: OutputsOption = "",
) -> None:
    """Make a first data contract (ODCS) of what is there. It is a draft: what a sample shows is not what its owner promises."""
    from groundplan.contracts import importing as made
    from groundplan.contracts.check import as_text, check
    from groundplan.local.home import find_home
    from spec.errors import UsageError

    if (file is None) == (not topic):
        raise UsageError("needs one thing to make a contract of", where="groundplan contract import", fix="name a file, or give --topic")
    if out is not None and out.exists():
        raise UsageError("is there already", where=str(out), fix="name another file, or remove it first")
    if file is not None:
        document = made.contract_from(file, name)
    else:
        from groundplan.local.experiments import sample_of

        document = made.contract_of_events(topic, sample_of(find_home(), topic, made.MOST_EVENTS, outputs))
    text = made.as_yaml(document)
    if out is None:
        print(text, end="")
        return
    out.write_text(text, encoding="utf-8")
    print(f"wrote {out}; what it promises is for its owner to say")
    print(as_text(check(Path.cwd(), "", [out.resolve()])))


@contract.command("catalogue")
def contract_catalogue() -> None:
    """Print the page of all data that comes in (docs/data.md is its output)."""
    from groundplan.contracts.catalogue import catalogue
    from groundplan.local.home import find_home

    print(catalogue(find_home().root), end="")


@app.command()
def explain(
    stack: Stack = "local",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change an objective and print what that changes, e.g. models.NAME.latency_ms=20.")
    ] = None,
    alternatives: Annotated[bool, typer.Option("--all", help="Print every alternative that was turned down, not only the telling ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what the objectives lead to: each decision, why, what it costs, and what was turned down."""
    from groundplan.cli.explain import explain as explained
    from groundplan.cli.explain import print_explained
    from groundplan.local.home import find_home

    found = explained(find_home().root, stack, tuple(changes or ()))
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        print_explained(found, alternatives=alternatives)


@app.command()
def destroy(
    stack: Stack = "local",
    plan: Annotated[bool, typer.Option("--plan", help="What goes, what is protected and why, what stays for how long, and what that costs.")] = False,
    left: Annotated[
        bool, typer.Option("--leftovers", help="After a destroy: what still has the stack's tags, by your credentials. Exit code 1 if anything has.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what `pulumi destroy` takes away, and what it leaves. It destroys nothing itself."""
    from groundplan.local.home import find_home

    root = find_home().root
    if plan == left:
        raise UsageError("say which", where="groundplan destroy", fix="--plan before, --leftovers after; `pulumi destroy -s STACK` does it")
    if left:
        _leftovers(root, stack, as_json=as_json)
        return
    from groundplan.review.removal import print_removal, removal
    from infra.design.price_book import load_prices

    found = removal(root, stack, load_prices())
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        print_removal(found)


def _leftovers(root: Path, stack: str, *, as_json: bool) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    from groundplan.review.removal import leftovers
    from spec.objectives import load_config

    try:
        found = leftovers(str(load_config(root, stack).get("aws:region", "")), stack)
    except (BotoCoreError, ClientError) as error:
        raise GroundplanError(f"the account can't be asked: {error}", where="AWS credentials", fix="log in to the stack's account") from None
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(found) if found else f"nothing has the tags of stack {stack}")
    raise typer.Exit(1 if found else 0)


@app.command()
def render(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; manifests that an earlier run left there are replaced.")],
    stack: Stack = "local",
    as_json: AsJson = False,
) -> None:
    """Write every Kubernetes manifest of a stack, validated against Kubernetes and the custom resources it uses. Exit code 1 if one is wrong."""
    from groundplan.engine.kubernetes.manifests import render as rendered
    from groundplan.local.home import find_home

    found = rendered(find_home().root, stack, out)
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        print(f"{len(found.manifests)} manifests and the values of {len(found.charts)} charts in {out}, valid for Kubernetes {found.kubernetes_version}")
        for path in found.unknown:
            print(f"  known after deployment: {path}")
        for fault in found.faults:
            print(f"  wrong: {fault}", file=sys.stderr)
    raise typer.Exit(1 if found.faults else 0)


@app.command()
def review(
    path: Annotated[Path | None, typer.Argument(help="Folder of any Pulumi project in Python. Default: this project.")] = None,
    stack: Annotated[str, typer.Option(help="Stack to review; needed where there are several.")] = "",
    against: Annotated[str, typer.Option(metavar="REV", help="Compare with another git revision, e.g. origin/main.")] = "",
    config: Annotated[
        list[str] | None, typer.Option("--config", metavar="KEY=VALUE", help="Configuration, before the stack file's. May be given again.")
    ] = None,
    pack: Annotated[list[Path] | None, typer.Option("--policy-pack", help="Policy pack to ask instead of the project's. May be given again.")] = None,
    output: Annotated[str, typer.Option("--format", help="text, markdown, sarif, html or json.")] = "text",
    out: Annotated[Path | None, typer.Option("--out", help="File to write instead of standard output.")] = None,
) -> None:
    """Judge what a program would make, offline: policies, permissions, manifests, cost. Exit code 1 on a mandatory finding or over budget."""
    from groundplan.local.home import find_home
    from groundplan.review.command import review as reviewed
    from groundplan.review.formats import FORMATS, RENDERERS, print_text

    if output not in FORMATS:
        raise UsageError(f"unknown format {output!r}", where="--format", fix=f"one of: {', '.join(FORMATS)}")
    if out and output == "text":
        raise UsageError("text goes to the terminal only", where="--out", fix="name a --format: markdown, sarif, html or json")
    found = reviewed(path or find_home().root, stack, packs=tuple(pack or ()), config=tuple(config or ()), against=against)
    if output == "text":
        print_text(found)
    elif out:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(RENDERERS[output](found), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"can't be written: {error.strerror}", where=str(out), fix="name another --out") from None
    else:
        print(RENDERERS[output](found), end="")
    raise typer.Exit(0 if found.passed else 1)


@app.command()
def preflight(stack: Stack = "prod", as_json: AsJson = False) -> None:
    """Look whether this machine and the account have what a stack needs: CLI, state, roles, zones, types, quotas. Exit code 1 if something is missing."""
    from dataclasses import asdict

    from groundplan.account.needs import needs
    from groundplan.account.preflight import preflight as looked
    from groundplan.engine.program import PROJECT
    from groundplan.local.home import find_home
    from groundplan.review.permissions.deployed import deployed
    from spec.objectives import load

    root = find_home().root
    config = load(root, stack)
    found = looked(root, PROJECT, stack, config.account_id, config.region, needs(deployed(root, stack)), _account(config.region))
    if as_json:
        print(json.dumps([asdict(item) for item in found], indent=1))
    else:
        for item in found:
            print(f"{item.state:8} {item.what}: {item.says}{chr(10) + '         -> ' + item.fix if item.fix else ''}")
        counts = [f"{count} {state}" for state in ("ok", "missing", "unknown") if (count := sum(item.state == state for item in found))]
        print(", ".join(counts))
    raise typer.Exit(1 if any(item.state == "missing" for item in found) else 0)


def _account(region: str) -> Any:
    """Makes boto3 clients with the caller's own credentials."""
    from functools import cache

    @cache
    def client(service: str) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(service, region_name=region, config=Config(retries={"max_attempts": 3}, connect_timeout=10, read_timeout=30))

    return client


@app.command()
def bootstrap(
    repository: Annotated[str, typer.Option(metavar="OWNER/NAME", help="GitHub repository whose workflows may deploy.")],
    stack: Stack = "prod",
    yes: Annotated[bool, typer.Option("--yes", help="Make what is missing. Without it the plan is shown and nothing is made.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make what an account needs once: bucket and key of the state, GitHub's identity, the roles that deploy and look for drift. Shows the plan first."""
    from groundplan.account.needs import needs
    from groundplan.account.plan import names_of, steps
    from groundplan.account.preflight import identity
    from groundplan.engine.program import PROJECT
    from groundplan.local.home import find_home
    from groundplan.review.permissions.deployed import deployed
    from spec.objectives import load

    root = find_home().root
    config = load(root, stack)
    client = _account(config.region)
    if (who := identity(config.account_id, client)).state != "ok":
        raise UsageError(who.says, where="credentials", fix=who.fix)
    stacks = [
        other
        for other in ("dev", "staging", "prod")
        if (root / "stacks" / f"Pulumi.{other}.yaml").is_file() and load(root, other).account_id == config.account_id
    ]
    plan = steps(PROJECT, config.account_id, config.region, repository, stacks or [stack], needs(deployed(root, stack)).services, client)
    done = []
    for step in plan:
        there = step.there()
        if not there and yes:
            step.make()
        done.append({"what": step.what, "why": step.why, "state": "there" if there else "made" if yes else "to make"})
        if not as_json:
            print(f"{done[-1]['state']:8} {step.what}: {step.why}")
    names = names_of(PROJECT, config.account_id, config.region)
    login = f"pulumi login s3://{names.bucket}"
    create = f"pulumi stack init {stack} --secrets-provider 'awskms://{names.alias}?region={config.region}'"
    if as_json:
        print(json.dumps({"steps": done, "login": login, "stack": create}, indent=1))
    elif yes:
        print(f"then: {login}\n      {create}")
    elif any(item["state"] == "to make" for item in done):
        print("nothing was made; with --yes it is")


@app.command()
def verify(
    example: Annotated[Path, typer.Argument(help="The example that goes from an event to an answer.")] = Path("examples/diabetes"),
    outputs: OutputsOption = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="Look only: no event, no version, no request, no alarm.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the report. Default: the platform's reports.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show that a stack works and holds what it promises: one dated report, HTML and JSON. Exit code 1 if something does not."""
    from groundplan.local.home import find_home
    from groundplan.verification.command import print_report
    from groundplan.verification.command import verify as verified
    from groundplan.verification.command import write as written
    from groundplan.verification.evidence import as_json as document

    home = find_home()
    with _progress() as say:
        found = verified(home, example, outputs, read_only=read_only, say=(lambda line: None) if as_json else say)
    files = written(found, out or home.reports)
    if as_json:
        print(document(found), end="")
    else:
        print_report(found)
        print(f"report: {', '.join(map(str, files))}")
    raise typer.Exit(0 if found.passed else 1)


@app.command()
def permissions(
    stack: Stack = "prod",
    service_control: Annotated[
        list[Path] | None, typer.Option("--service-control", metavar="FILE", help="Policy of your organization, a level each. May be given again.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Add the calls that the running local platform has seen to groundplan/review/permissions/calls.json.")
    ] = False,
    seen: Annotated[
        bool, typer.Option("--seen", help="Name the calls of the running local platform that are not on record. Exit code 1 if there are any.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hold every call that the platform makes to the policies of a stack. Exit code 1 if AWS would refuse one, or a role may do what it should not."""
    from groundplan.local.home import find_home
    from groundplan.review.permissions.record import read, write
    from groundplan.review.permissions.report import new_calls, of_platform, of_project, print_permissions

    home = find_home()
    if record or seen:
        calls = new_calls(home.root, of_platform(home))
        if record and calls:
            write(home.root, [*read(home.root), *calls])
        word = "added" if record else "not on record"
        for call in calls:
            print(f"{word}: {call.caller} {call.service} {call.operation} {call.parameters}{' (missing)' if call.missing else ''}")
        print(f"{len(calls)} calls are new")
        raise typer.Exit(1 if seen and calls else 0)
    found = of_project(home.root, stack, service_control or ())
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        print_permissions(found)
    raise typer.Exit(1 if found.refused or found.faults else 0)


@app.command()
def compliance(
    framework: Annotated[str, typer.Option(help="gdpr, hipaa, sox or soc2.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")],
    stack: Stack = "prod",
    as_json: AsJson = False,
) -> None:
    """Write the evidence for a framework as HTML and CSV: controls, resources, waivers, and what people must do. Exit code 1 if a rule fails."""
    from dataclasses import asdict

    from groundplan.local.home import find_home
    from groundplan.review.command import review as reviewed
    from groundplan.review.compliance import framework_named, write
    from policies.settings import read_settings
    from spec.objectives import load_config

    chosen, root = framework_named(framework), find_home().root
    config = load_config(root, stack)
    settings = read_settings(config.get("groundplan:objectives"), config.get("groundplan:waivers"), stack)
    rows, files = write(out, reviewed(root, stack), settings, chosen)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1, default=str))
    else:
        for row in rows:
            print(f"{row.reference:26} {row.state:17} {len(row.controls):3} controls, {len(row.satisfied):3} resources{'; ' + row.who if row.people else ''}")
        print(f"written: {', '.join(map(str, files))}")
    raise typer.Exit(1 if any(row.state == "failing" for row in rows) else 0)


prices = typer.Typer(help="The price book that designs are drawn with.", no_args_is_help=True)
app.add_typer(prices, name="prices")


@prices.command("refresh")
def refresh_prices(
    region: Annotated[str, typer.Option(help="Region whose list prices are read.")] = "us-east-1",
    out: Annotated[Path | None, typer.Option(help="Folder of the price book. Default: infra/design/prices of this project.")] = None,
) -> None:
    """Rebuild the price book through the AWS Price List API (needs credentials that may call pricing:GetProducts)."""
    from datetime import UTC, datetime

    from groundplan.local.home import find_home
    from infra.design.price_list import refresh

    report = refresh(out or find_home().root / "infra" / "prices", region, datetime.now(UTC).date())
    print(f"{report.changed} prices changed, {report.same} are as they were, as of {report.as_of} in {region}")
    for item in report.kept:
        print(f"  kept (the API names no single price): {item}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of stack files, for editors (stacks/objectives.schema.json is its output)."""
    from spec.objectives import stack_schema

    print(json.dumps(stack_schema(), indent=1))


if __name__ == "__main__":
    main()
