"""Commands of a model's life: experiment, monitor, approve, audit."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from groundplan.cli.options import AsJson, ModelArgument, NameOption, OnlyModelArgument, model_path
from groundplan.cli.progress import progress

PANEL = "Models"
commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
def experiment(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model's name, a folder with experiment.py or MLproject, or any MLflow script or notebook.",
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGUMENTS]", help="Arguments of the script, after two dashes.", show_default=False),
    ] = None,
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Continue with registry, sign-off, canary and endpoint.")
    ] = False,
    name: NameOption = "",
    run_name: Annotated[
        str,
        typer.Option(
            "--run", metavar="NAME", help="If the script logs several models: use the one of this MLflow run."
        ),
    ] = "",
    artifact: Annotated[
        str,
        typer.Option(metavar="NAME", help="If the script logs several models: use the one logged under this name."),
    ] = "",
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take over a model that another script has produced until now.")
    ] = False,
    let_shrink: Annotated[
        bool, typer.Option("--let-shrink", help="Allow an online store to lose more than half of its rows.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run an ordinary MLflow script as a job, recorded and versioned; with --deploy, take its model to an endpoint.

    The model's name comes from --name, else from model.yaml, else from the name under which the script registers its
    model, else from its MLflow experiment, else from the file's name. Of several logged models the registered one is
    used, else the best by the objective's metric.
    """
    from groundplan.local.experiments import run_experiment
    from groundplan.local.home import find_home
    from pipelines.context import Wishes

    wishes = Wishes(run_name, artifact, take_over, let_shrink, not deploy, tuple(arguments or ()))
    home = find_home()
    with progress() as say:
        found = run_experiment(
            home,
            model_path(home.root, model),
            name=name,
            wishes=wishes,
            deploy=deploy,
            say=(lambda line: None) if as_json else say,
        )
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.local.summary import print_results, sample_call

        print_results(found)
        state = home.load()
        if state is not None and (call := sample_call(found, state.services["router"].url)):
            print(f"\ncall it       {call}")


@commands.command(rich_help_panel=PANEL)
def monitor(
    model: OnlyModelArgument = "",
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Compare the requests to an endpoint with its training data: drift page, metrics, alarms. Exit code 1 on an
    alarm.
    """
    from groundplan.local.experiments import run_monitor
    from groundplan.local.home import find_home

    home = find_home()
    found = run_monitor(home, model_path(home.root, model), name)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.local.summary import print_monitor

        print_monitor(found)
    raise typer.Exit(1 if "ALARM" in found["alarms"].values() else 0)


@commands.command(rich_help_panel=PANEL)
def approve(
    model: ModelArgument,
    version: Annotated[str, typer.Argument(help="Version in the registry, for example v1.1.0.")],
    role: Annotated[str, typer.Option(help="data-science or operations.")],
    identity: Annotated[str, typer.Option(help="Your e-mail address.")],
    name: NameOption = "",
) -> None:
    """Record one approval of a version: in the registry and in the audit log."""
    from groundplan.local.experiments import run_approve
    from groundplan.local.home import find_home

    home = find_home()
    run_approve(home, model_path(home.root, model), version, role, identity, name)
    print(f"{identity} approved {version} for {role}")


@commands.command(rich_help_panel=PANEL)
def audit(
    model: OnlyModelArgument = "",
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Check and print a model's audit log: who registered, approved, promoted or rolled back what."""
    from groundplan.local.experiments import run_audit
    from groundplan.local.home import find_home

    home = find_home()
    found = run_audit(home, model_path(home.root, model), name)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for entry in found:
        print(
            f"{entry['time']}  {entry['action']:<10} {entry['actor']:<26} {entry['details'].get('version', '')} "
            f" {entry['hash'][:12]}"
        )
    print(f"{len(found)} lines, the hash chain is intact")
