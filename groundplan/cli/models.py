"""Commands of a model's life: experiment, monitor, approve, audit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from groundplan.cli.options import (
    AsJson,
    ModelArgument,
    NameOption,
    OnlyModelArgument,
    OutputsOption,
    Stack,
    model_path,
)
from groundplan.cli.progress import progress
from spec.errors import UsageError

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
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Record where the script's time goes: flame graph, the machine's use, curves for TensorBoard; they are"
            " artifacts of its run, below `profile`.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Evaluate the model, and write what was found as Markdown: KPI, champion, baseline, slices,"
            " calibration, cost. Exit code 1 if its objectives would not let it be registered.",
        ),
    ] = None,
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

    wishes = Wishes(
        run_name,
        artifact,
        take_over,
        let_shrink,
        record_only=not deploy and report is None,
        profile=profile,
        script_arguments=tuple(arguments or ()),
    )
    home = find_home()
    if report is not None and report.is_dir():
        raise UsageError("is a folder", where=f"--report {report}", fix="name a file, such as report.md")
    with progress() as say:
        found = run_experiment(
            home,
            model_path(home.root, model),
            name=name,
            wishes=wishes,
            deploy=deploy,
            evaluate=report is not None,
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
    if report is not None:
        from groundplan.local.experiment_report import markdown
        from infra.design.price_book import load_prices
        from spec.outputs import read

        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(markdown(found, load_prices(read(str(home.outputs_file)).region)), encoding="utf-8")
        print(f"report        {report}", file=sys.stderr)
        if not all(found["evaluate"]["passed"].values()):
            raise typer.Exit(1)


@commands.command(rich_help_panel=PANEL)
def sweep(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model's name, a folder with experiment.py or MLproject, or any script."
        ),
    ],
    parameters: Annotated[
        list[str],
        typer.Option(
            "--parameter",
            "-p",
            metavar="NAME=VALUES",
            help="An argument of the script: LOW:HIGH (whole numbers if both are), LOW:HIGH:log, or ONE,OTHER. May be"
            " repeated.",
        ),
    ],
    metric: Annotated[str, typer.Option("--metric", metavar="NAME", help="A metric that the script logs.")],
    maximize: Annotated[
        bool, typer.Option("--maximize/--minimize", help="Whether more of the metric is better.")
    ] = False,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Most trials in all; those of an earlier sweep count.")
    ] = 30,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.01, help="Longest time; trials that still run are ended.")
    ] = None,
    usd: Annotated[
        float | None,
        typer.Option("--usd", min=0.0001, help="The same as a budget: what the time of all jobs costs on ml.m5.large."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Trials at a time.")] = 2,
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Search a script's parameters: trials side by side, each a nested MLflow run; what is worse than the median is
    ended early. The script takes the parameters as arguments (--NAME VALUE). The same command again continues.
    """
    from groundplan.local.home import find_home
    from groundplan.local.inside import running
    from groundplan.local.sweeping import Sweep, minutes_for, parameter
    from groundplan.local.sweeping import sweep as search

    home = find_home()
    state = running(home)
    limits = [each for each in (minutes, minutes_for(usd, jobs, state.region) if usd else None) if each is not None]
    wanted = Sweep(
        tuple(parameter(text) for text in parameters), metric, maximize, trials, min(limits, default=float("inf")), jobs
    )
    path = model_path(home.root, model)
    with progress() as say:
        found = search(home, state, path, wanted, name, (lambda line: None) if as_json else say)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    from groundplan.local.summary import print_sweep

    print_sweep(found, model)


@commands.command(rich_help_panel=PANEL)
def reproduce(
    run: Annotated[str, typer.Argument(metavar="RUN", help="An MLflow run, or MODEL@VERSION.")],
    as_json: AsJson = False,
) -> None:
    """Run an experiment again, from its commit and on its data, and compare the two. Exit code 1 if the model has
    learnt from other rows or parameters, or answers otherwise.
    """
    from groundplan.local.home import find_home
    from groundplan.local.inside import running
    from groundplan.local.reproducing import reproduce as repeat

    home = find_home()
    with progress() as say:
        found = repeat(home, running(home), run, (lambda line: None) if as_json else say)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.local.summary import print_reproduced

        print_reproduced(found)
    raise typer.Exit(0 if found["reproduced"] else 1)


@commands.command(rich_help_panel=PANEL)
def measure(
    model: ModelArgument,
    write: Annotated[
        bool, typer.Option("--write", help="Record time and memory in the stack's file, for the design.")
    ] = False,
    stack: Stack = "local",
    as_json: AsJson = False,
) -> None:
    """Retrain a model on this platform as a function (AWS Lambda) would, and say how long it takes and how much memory
    it needs. The new version waits for its sign-off, as any.
    """
    from groundplan.local.experiments import run_measure
    from groundplan.local.home import find_home
    from spec.model_folders import model_folders
    from spec.objectives.reading import stack_file
    from spec.objectives.writing import record

    home = find_home()
    path = model_path(home.root, model)
    name = next((folder.model for folder in model_folders(home.root) if folder.path == path.resolve()), path.name)
    file = stack_file(home.root, stack)
    found = run_measure(home, path)
    minutes = sum(found["seconds"].values()) / 60
    if write:
        measured = {"run_minutes": minutes, "run_gb": found["memory_gb"]}
        record(file, ("models", name, "retraining"), measured, "groundplan measure")
    if as_json:
        print(json.dumps({**found, "minutes": round(minutes, 3)}, indent=1))
        return
    for step, seconds in found["seconds"].items():
        print(f"{step:<13} {seconds:7.1f} s")
    print(f"{'a run':<13} {60 * minutes:7.1f} s, and at most {found['memory_gb']:g} GB in one process")
    if write:
        print(f"recorded      models.{name}.retraining in {file.name}; groundplan explain shows what follows")


@commands.command(rich_help_panel=PANEL)
def monitor(
    model: OnlyModelArgument = "",
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Compare the requests to an endpoint with its training data: drift page, metrics, alarms; and do what they start:
    a new version that has degraded is taken back, a drifted one trained again. Exit code 1 on an alarm.
    """
    from groundplan.local.experiments import run_monitor
    from groundplan.local.home import find_home

    home = find_home()
    found = run_monitor(home, model_path(home.root, model), name, (lambda line: None) if as_json else print)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        from groundplan.local.summary import print_monitor

        print_monitor(found)
    raise typer.Exit(1 if "ALARM" in found["alarms"].values() else 0)


VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Version in the registry, such as v1.1.0.")]
RoleOption = Annotated[str, typer.Option("--role", metavar="ROLE", help="data-science or operations.")]
IdentityOption = Annotated[
    str,
    typer.Option(
        "--identity",
        metavar="ADDRESS",
        help="Your e-mail address, on one machine; on AWS you are whom your session is named after.",
    ),
]
ReviewOption = Annotated[
    str,
    typer.Option(
        "--review",
        metavar="ENVIRONMENT",
        help="In a CI job: whoever has approved its deployment to this environment of GitHub or GitLab decides.",
    ),
]


@commands.command(rich_help_panel=PANEL)
def approve(
    model: ModelArgument,
    version: VersionArgument,
    role: RoleOption,
    identity: IdentityOption = "",
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the approval.")] = "",
    review: ReviewOption = "",
    outputs: OutputsOption = "",
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Approve a version in one role: signed, bound to what was registered, and on record.

    The author of a version can't approve it, and nobody can in both roles. An approval is void as soon as the version's
    artifact or record changes.
    """
    _decide(model, version, role, identity, reason, review, outputs, name, as_json=as_json, approved=True)


@commands.command(rich_help_panel=PANEL)
def reject(
    model: ModelArgument,
    version: VersionArgument,
    role: RoleOption,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="What must change.")],
    identity: IdentityOption = "",
    outputs: OutputsOption = "",
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Reject a version in one role, with the reason; it can't be deployed until the role approves it."""
    _decide(model, version, role, identity, reason, "", outputs, name, as_json=as_json, approved=False)


@commands.command(rich_help_panel=PANEL)
def promote(
    model: ModelArgument,
    version: VersionArgument,
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="TEXT",
            help="Why it may serve although its canary had not enough evidence; kept in the audit log.",
        ),
    ] = "",
    identity: IdentityOption = "",
    outputs: OutputsOption = "",
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Deploy an approved version; with a reason, one for which the canary had not enough evidence.

    It is compared once more, and one that is shown to be worse is still rolled back.
    """
    from groundplan.local.experiments import run_promote
    from groundplan.local.home import find_home

    home = find_home()
    with progress() as say:
        quiet = (lambda line: None) if as_json else say
        found = run_promote(home, model_path(home.root, model), version, reason, identity, quiet, name, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
    elif outputs:
        by = f"execution {found['execution']}" if found["execution"] else "the cluster's job, within ten minutes"
        print(f"{found['version']} will be deployed by {by}")
    else:
        from groundplan.local.summary import print_results

        print_results(found)


@commands.command(rich_help_panel=PANEL)
def release(
    version: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="Such as diabetes-rf@v1.2.0.")],
    source: Annotated[str, typer.Option("--from", metavar="ENVIRONMENT", help="Where it is served.")],
    target: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="ENVIRONMENT",
            help=(
                "Where it goes. Both are a stack's name, its outputs (a file or s3:// address), or the folder of a"
                " checkout whose local platform runs."
            ),
        ),
    ],
    from_profile: Annotated[
        str, typer.Option("--from-profile", metavar="NAME", help="AWS profile to read with. Default: the usual one.")
    ] = "",
    to_profile: Annotated[
        str, typer.Option("--to-profile", metavar="NAME", help="AWS profile to register with. Default: the usual one.")
    ] = "",
    identity: IdentityOption = "",
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Bring a version that one environment serves to another one, byte for byte; two people approve it there, too.

    Signatures and approvals are verified with the first environment's keys, what the model answers is compared with
    what it answered when it was registered, and the second environment's objectives must allow it.
    """
    from groundplan.local.home import find_home
    from groundplan.local.releasing import run_release

    home = find_home()
    model, at, number = version.rpartition("@")
    if not at or not model:
        raise UsageError(
            f"{version!r} names no version of a model", where="MODEL@VERSION", fix="write it as diabetes-rf@v1.2.0"
        )
    path = model_path(home.root, model)
    found = run_release(
        home, path, number, source, target, profiles=(from_profile, to_profile), identity=identity, name=name
    )
    if as_json:
        print(json.dumps(found, indent=1))
        return
    there = ", ".join(f"{role}: {who}" for role, who in found["approved_there"].items())
    print(f"{model} {found['version']} of {found['source']['stack']} is registered in {found['to']}")
    print(f"  sha256 {found['artifact']}, approved in {found['source']['stack']} by {there}")
    needed = " and ".join(found["approvals_needed"])
    print(f"  next: {needed} approve it there: groundplan approve {model} {found['version']}")


@commands.command(rich_help_panel=PANEL)
def rollback(
    model: ModelArgument,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="What is wrong; kept in the audit log.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="VERSION", help="An earlier version. Default: the one that was served before."),
    ] = "",
    identity: IdentityOption = "",
    outputs: OutputsOption = "",
    name: NameOption = "",
    as_json: AsJson = False,
) -> None:
    """Have a model's endpoint serve an earlier version again, at once."""
    from groundplan.local.experiments import run_rollback
    from groundplan.local.home import find_home

    home = find_home()
    was, now, seconds = run_rollback(home, model_path(home.root, model), to, reason, identity, name, outputs)
    if as_json:
        print(json.dumps({"from": was, "to": now, "seconds": round(seconds, 3)}, indent=1))
    else:
        print(f"{now or 'no version'} is served again, instead of {was}  [{seconds:.1f} s]")


def _decide(
    model: str,
    version: str,
    role: str,
    identity: str,
    reason: str,
    review: str,
    outputs: str,
    name: str,
    *,
    as_json: bool,
    approved: bool,
) -> None:
    from groundplan.local.experiments import run_decision
    from groundplan.local.home import find_home

    home = find_home()
    decided = run_decision(
        home,
        model_path(home.root, model),
        version,
        role,
        approved=approved,
        identity=identity,
        reason=reason,
        review=review,
        name=name,
        outputs=outputs,
    )
    if as_json:
        print(decided.model_dump_json(indent=1))
    else:
        from spec.versions import check_version

        print(f"{decided.by} {'approved' if approved else 'rejected'} {check_version(version)} for {role}")
