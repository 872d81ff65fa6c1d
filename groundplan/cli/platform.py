"""Commands that start, stop and show the platform on this machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from groundplan.cli.options import AsJson, Stack
from groundplan.cli.progress import progress
from groundplan.local.home import Home
from spec.errors import GroundplanError, UsageError

PANEL = "The platform on this machine"
commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
def up(
    stack: Stack = "local",
    once: Annotated[bool, typer.Option("--once", help="Stop everything at the end.")] = False,
    models: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Models of the stack to run; `none` for none. Default: all.",
        ),
    ] = "",
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="MODEL.OPTION=VALUE", help="An option that a model's folder declares for its events."
        ),
    ] = None,
    kafka: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Use this Kafka broker instead of starting one.")
    ] = "",
    mlflow: Annotated[str, typer.Option(metavar="URL", help="Use this MLflow server instead of starting one.")] = "",
    validate_at_broker: Annotated[
        bool,
        typer.Option(
            "--validate-at-broker",
            help="The local broker refuses events that violate their contract's schema (MSK can't).",
        ),
    ] = False,
    port: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SERVICE=PORT", help="Port of a service: aws, kafka, mlflow, router. Default: any free one."
        ),
    ] = None,
) -> None:
    """Start the platform on this machine: services, the Pulumi program, the pipelines of the stack's models."""
    from groundplan.local.home import find_home
    from groundplan.local.up import bring_up, tear_down

    home = find_home()
    external = {name: value for name, value in (("kafka", kafka), ("mlflow", mlflow)) if value}
    if validate_at_broker and kafka:
        raise UsageError(
            "needs the broker that groundplan starts", where="--validate-at-broker", fix="drop --kafka, or this flag"
        )
    chosen = (
        None
        if not models
        else tuple(name.strip() for name in models.split(",") if name.strip() and name.strip() != "none")
    )
    with progress() as say:
        summary = bring_up(
            home,
            stack,
            external=external,
            ports=_ports(port or []),
            models=chosen,
            options=_options(options or []),
            validates=validate_at_broker,
            say=say,
        )
    from groundplan.local.summary import print_summary

    try:
        print_summary(summary)
    finally:
        stopped = tear_down(home) if once else []
    if once:
        print(f"--once: stopped {len(stopped)} processes")


def _options(texts: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        address, equals, value = text.partition("=")
        model, dot, name = address.partition(".")
        if not (equals and dot and model and name):
            raise UsageError(
                f"expected MODEL.OPTION=VALUE, got {text!r}",
                where="--set",
                fix="the model's name, a dot, and what its model.yaml lists under `options`",
            )
        found.setdefault(model, {})[name] = value
    return found


def _ports(options: list[str]) -> dict[str, int]:
    ports = {}
    for option in options:
        name, _, number = option.partition("=")
        if not number.isdigit() or not 0 < int(number) < 65536:
            raise UsageError(
                f"expected SERVICE=PORT with a port from 1 to 65535, got {option!r}",
                where="--port",
                fix="for example --port mlflow=5000",
            )
        ports[name] = int(number)
    return ports


@commands.command(rich_help_panel=PANEL)
def down() -> None:
    """Stop every process of the platform on this machine and delete its state; logs stay."""
    from groundplan.local.home import find_home
    from groundplan.local.up import tear_down

    stopped = tear_down(find_home())
    print(f"stopped {len(stopped)} processes" if stopped else "nothing was running")


@commands.command(rich_help_panel=PANEL)
def status(
    resources: Annotated[
        bool, typer.Option("--resources", help="List every resource that the program created or only recorded.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show services and their addresses, and how many resources there are. Exit code 1 if something is not healthy."""
    from groundplan.local.home import find_home
    from groundplan.local.up import status as collect

    found = collect(find_home())
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.local.summary import print_status

        print_status(found, resources=resources)
    raise typer.Exit(0 if found["running"] else 1)


@commands.command(rich_help_panel=PANEL)
def env(as_json: AsJson = False) -> None:
    """Print what ordinary clients (aws, boto3, mlflow, kcat) read:  eval "$(groundplan env)"."""
    from groundplan.local.environment import shadowing

    variables = _variables()
    if as_json:
        print(json.dumps(variables, indent=1))
        return
    for name in shadowing(os.environ):
        print(f"unset {name}")
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def _variables() -> dict[str, str]:
    """The environment variables that ordinary clients read.

    Raises:
        GroundplanError: Nothing is running.
    """
    from groundplan.local.environment import client_variables, without_proxy
    from groundplan.local.home import find_home

    home = find_home()
    state = home.load()
    if state is None:
        raise GroundplanError("nothing is running", fix="run `groundplan up` first")
    return (
        client_variables(state.services, state.region)
        | without_proxy(os.environ)
        | {"KCAT_CONFIG": str(home.kcat_file)}
        | ({"GROUNDPLAN_OUTPUTS": _outputs_address(home)} if home.outputs_file.is_file() else {})
    )


def _outputs_address(home: Home) -> str:
    """Where notebooks read the stack's outputs, here as on AWS."""
    from spec.zones import OUTPUTS

    curated = json.loads(home.outputs_file.read_text(encoding="utf-8"))["buckets"]["curated"]
    return f"s3://{curated}/{OUTPUTS}"


@commands.command(rich_help_panel=PANEL)
def shell(
    command: Annotated[
        str,
        typer.Option(
            "--command", "-c", metavar="TEXT", help="Run this command and exit. Default: an interactive shell."
        ),
    ] = "",
) -> None:
    """Open your shell with mlflow, groundplan and Python of the project on the PATH, and aws, boto3 and kcat talking
    to this platform.
    """
    from groundplan.local.environment import shadowing

    hidden = set(shadowing(os.environ))
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | _variables()
    environment["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), environment.get("PATH", os.defpath)))
    program = environment.get("SHELL") or "/bin/sh"
    os.execvpe(program, [program, *(("-c", command) if command else ())], environment)  # noqa: S606 (the user's own shell)


@commands.command(rich_help_panel=PANEL)
def provider(
    stack: Stack = "local",
    aws: Annotated[
        str,
        typer.Option(
            "--aws-endpoint",
            metavar="URL",
            help="AWS API of a local cloud that is already running. Default: start an empty one.",
        ),
    ] = "",
    kafka: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Kafka broker that is already running. Default: start an empty one."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Serve the local cloud as Pulumi's AWS and Kubernetes providers, for the real `pulumi`, until Ctrl-C."""
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
                print(
                    json.dumps(
                        {"variables": found.variables, "manifests": str(found.manifests), "account": found.account}
                    ),
                    flush=True,
                )
            else:
                print(
                    f"# acts as account {found.account}, which is empty; in another shell, in the project's"
                    f" folder:\n{exports(found)}"
                )
                print(f"pulumi up -s {stack} --policy-pack policies\n# Ctrl-C stops it and the cloud", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("the local cloud has stopped; `pulumi refresh` updates a stack's state", file=sys.stderr)
