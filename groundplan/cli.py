"""The command line. Heavy libraries are imported by the commands that need them, never here."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.errors import GroundplanError, UsageError

app = typer.Typer(
    name="groundplan",
    help="An MLOps platform on AWS, drawn from business objectives; whole on one laptop, too.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
Stack = Annotated[str, typer.Option("--stack", "-s", help="Stack whose objectives are used (stacks/Pulumi.<stack>.yaml).")]
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
    examples: Annotated[str, typer.Option(help="Examples to run, separated by commas; `none` for none.")] = "diabetes",
    kafka: Annotated[str, typer.Option(metavar="HOST:PORT", help="Use this Kafka broker instead of starting one.")] = "",
    mlflow: Annotated[str, typer.Option(metavar="URL", help="Use this MLflow server instead of starting one.")] = "",
    port: Annotated[
        list[str] | None, typer.Option(metavar="SERVICE=PORT", help="Port of a service: aws, kafka, mlflow, router. Default: any free one.")
    ] = None,
) -> None:
    """Start the platform on this machine: services, the Pulumi program, the examples' pipelines."""
    from groundplan.home import find_home
    from groundplan.up import bring_up, tear_down

    home = find_home()
    external = {name: value for name, value in (("kafka", kafka), ("mlflow", mlflow)) if value}
    folders = tuple(f"examples/{name.strip()}" for name in examples.split(",") if name.strip() and name.strip() != "none")
    for folder in folders:
        if not (home.root / folder).is_dir():
            known = sorted(path.parent.name for path in home.root.glob("examples/*/experiment.py"))
            raise UsageError(f"no example {folder.removeprefix('examples/')!r}", where="--examples", fix=f"one of: {', '.join(known)}")
    with _progress() as say:
        summary = bring_up(home, stack, external=external, ports=_ports(port or []), examples=folders, say=say)
    from groundplan.summary import print_summary

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
    """Lines for what is done, and a spinner on a terminal; plain lines where output is piped."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(f"[green]done[/green] {line.replace('[', chr(92) + '[')}" if console.is_terminal else f"done {line}", markup=console.is_terminal)

    try:
        with console.status("working; Ctrl-C stops everything") if console.is_terminal else nullcontext():
            yield say
    except KeyboardInterrupt:
        print("interrupted; what this command started is stopped", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command()
def down() -> None:
    """Stop every process of the platform on this machine and forget its state; logs stay."""
    from groundplan.home import find_home
    from groundplan.up import tear_down

    stopped = tear_down(find_home())
    print(f"stopped {len(stopped)} processes" if stopped else "nothing was running")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show services, addresses, and what the program made or only recorded. Exit code 1 if something is not healthy."""
    from groundplan.home import find_home
    from groundplan.up import status as collect

    found = collect(find_home())
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.summary import print_status

        print_status(found)
    raise typer.Exit(0 if found["running"] else 1)


@app.command()
def env(as_json: AsJson = False) -> None:
    """Print what ordinary clients (aws, boto3, mlflow, kcat) read:  eval "$(groundplan env)"."""
    from groundplan.environment import client_variables, shadowing, without_proxy
    from groundplan.home import find_home

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
    path: Annotated[Path, typer.Argument(help="Folder with experiment.py, or any MLflow script.")],
    deploy: Annotated[bool, typer.Option("--deploy", help="Go on to the registry, sign-off, canary and endpoint.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run an ordinary MLflow script as a job, recorded and versioned; with --deploy bring its model to an endpoint."""
    from groundplan.experiments import run_experiment
    from groundplan.home import find_home

    with _progress() as say:
        found = run_experiment(find_home(), path, deploy=deploy, say=(lambda line: None) if as_json else say)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.summary import print_results

        print_results(found)


@app.command()
def monitor(
    path: Annotated[Path, typer.Argument(help="The example whose endpoint is looked at.")] = Path("examples/diabetes"),
    as_json: AsJson = False,
) -> None:
    """Compare what an endpoint was asked with its training data: drift page, metrics, alarms. Exit code 1 on an alarm."""
    from groundplan.experiments import run_monitor
    from groundplan.home import find_home

    found = run_monitor(find_home(), path)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.summary import print_monitor

        print_monitor(found)
    raise typer.Exit(1 if "ALARM" in found["alarms"].values() else 0)


@app.command()
def approve(
    path: Annotated[Path, typer.Argument(help="The example whose model is approved.")],
    version: Annotated[str, typer.Argument(help="Version in the registry, for example v1.1.0.")],
    role: Annotated[str, typer.Option(help="data-science or operations.")],
    identity: Annotated[str, typer.Option(help="Your e-mail address.")],
) -> None:
    """Record one approval of a version: in the registry and in the audit log."""
    from groundplan.experiments import run_approve
    from groundplan.home import find_home

    run_approve(find_home(), path, version, role, identity)
    print(f"{identity} approved {version} for {role}")


@app.command()
def audit(
    path: Annotated[Path, typer.Argument(help="The example whose model's log is read.")] = Path("examples/diabetes"),
    as_json: AsJson = False,
) -> None:
    """Check and print a model's audit log: who registered, approved, promoted or rolled back what."""
    from groundplan.experiments import run_audit
    from groundplan.home import find_home

    found = run_audit(find_home(), path)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for entry in found:
        print(f"{entry['time']}  {entry['action']:<10} {entry['actor']:<26} {entry['details'].get('version', '')}  {entry['hash'][:12]}")
    print(f"{len(found)} lines, the chain of hashes holds")


@app.command()
def explain(stack: Stack = "local", as_json: AsJson = False) -> None:
    """Print what the objectives lead to: each decision, why, what it costs, and what was turned down."""
    from dataclasses import asdict

    from groundplan.home import find_home
    from infra.design import design
    from infra.objectives import load
    from infra.prices import load_prices

    prices = load_prices()
    objectives = load(find_home().root, stack).objectives
    plan = design(objectives, prices)
    if as_json:
        print(json.dumps({**asdict(plan), "monthly_usd": plan.monthly_usd, "prices_as_of": prices.as_of, "prices_region": prices.region}, indent=1))
    else:
        from groundplan.summary import print_design

        print_design(stack, plan, objectives.budget.monthly_usd, prices)


if __name__ == "__main__":
    main()
