"""Commands that start, stop and show the platform on this machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from typing import Annotated, Any

import typer

from groundplan.cli.options import AsJson, Stack
from groundplan.cli.progress import progress
from spec.errors import GroundplanError, UsageError

PANEL = "The platform on this machine"
commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
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
    with progress() as say:
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


@commands.command(rich_help_panel=PANEL)
def down() -> None:
    """Stop every process of the platform on this machine and forget its state; logs stay."""
    from groundplan.local.home import find_home
    from groundplan.local.up import tear_down

    stopped = tear_down(find_home())
    print(f"stopped {len(stopped)} processes" if stopped else "nothing was running")


@commands.command(rich_help_panel=PANEL)
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


@commands.command(rich_help_panel=PANEL)
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


@commands.command(rich_help_panel=PANEL)
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
