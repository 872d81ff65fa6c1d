"""Commands about one model on the running platform: experiment, monitor, approve, audit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from groundplan.local.home import Home
from groundplan.local.inside import elsewhere, inside, running
from groundplan.local.jobs import results, run_steps
from groundplan.local.starter import starter
from groundplan.local.up import new_run
from pipelines.context import Context, ModelDefinition, Wishes, load_definition
from spec.contracts import Contract
from spec.errors import GroundplanError, UsageError
from spec.outputs import read
from spec.steps import Step, steps_for
from spec.versions import Decision, check_version

_DEPLOYMENT = {"evaluate", "register", "signoff", "features", "deploy"}


def run_experiment(
    home: Home,
    path: Path,
    *,
    name: str = "",
    wishes: Wishes = Wishes(),  # noqa: B008 (frozen)
    deploy: bool,
    evaluate: bool = False,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run the steps up to the experiment, or up to the endpoint.

    Args:
        name: The model's name, instead of its own.
        evaluate: Whether the model is also evaluated where it is not deployed.

    Raises:
        StepError: A step failed.
        UsageError: There is no such script.
    """
    state, definition = running(home), load_definition(path, name)
    steps = _steps(definition, deploy=deploy, evaluate=evaluate)
    run = new_run()
    arguments = ("--name", definition.model, *wishes.arguments())
    with starter(home, state, steps) as forks:
        run_steps(
            home,
            state,
            steps,
            path.resolve(),
            run,
            arguments,
            starter=forks,
            on_done=lambda done: say(done.line),
        )
    return {"model": definition.model, "run": run, **results(home, state, definition.model, run, steps)}


def _steps(definition: ModelDefinition, *, deploy: bool, evaluate: bool = False) -> tuple[Step, ...]:
    """Up to the experiment, its evaluation, or the endpoint."""
    left_out = {"monitor"} | (set() if deploy else _DEPLOYMENT - ({"evaluate"} if evaluate else set()))
    if definition.features:
        left_out -= {"features"}  # its training set is joined by that step
    return tuple(
        step
        for step in steps_for(contract=bool(definition.contracts), joined=bool(definition.features))
        if step.name not in left_out
    )


def run_monitor(home: Home, path: Path, name: str = "", say: Callable[[str], None] = print) -> dict[str, Any]:
    """Run the monitoring step on what has been captured so far, and what an alarm has started: a version that has
    degraded is taken back, a drifted one trained again.
    """
    from groundplan.local.executions import run_started
    from pipelines.canary.degraded import roll_back

    state, definition = running(home), load_definition(path, name)
    steps = tuple(step for step in steps_for(contract=False) if step.name == "monitor")
    run = new_run()
    run_steps(
        home, state, tuple(replace(step, needs=()) for step in steps), path.resolve(), run, ("--name", definition.model)
    )
    found: dict[str, Any] = results(home, state, definition.model, run, steps)["monitor"]
    with on_stack(home, path, "", "step.resume", name) as context:
        if said := roll_back(context):
            found["rolled_back"] = said
    if (retrained := run_started(home, state, definition, path, say)) is not None:
        found["retraining"] = retrained
    return found


def run_decision(
    home: Home,
    path: Path,
    version: str,
    role: str,
    *,
    approved: bool,
    identity: str = "",
    reason: str = "",
    review: str = "",
    name: str = "",
    outputs: str = "",
) -> Decision:
    """Approve or reject a version.

    Args:
        identity: The person's e-mail address, on one machine.
        review: Name of the deployment environment in which people have reviewed this CI job, instead of a person at a
            terminal.
    """
    from pipelines.registry.decisions import decide, person_who_asks
    from pipelines.registry.mirror import Mirror
    from pipelines.registry.reviews import reviewer
    from pipelines.registry.versions import Registry

    variables = dict(os.environ)
    version = check_version(version)
    with on_stack(home, path, outputs, f"person.approve-{role}", name) as context:
        if review:
            commit = Registry(context).record(version).code["commit"]
            person, comment = reviewer(review, role, commit, variables)
            reason = reason or comment
        else:
            person = person_who_asks(context, identity)
        decided = decide(context, version, role, person, approved=approved, reason=reason)
        said = f"{role}: {person.name}{f' ({decided.reason})' if decided.reason else ''}"
        Mirror(context).decided(version, _status(context, version, approved=approved), said)
        return decided


def run_promote(
    home: Home,
    path: Path,
    version: str,
    reason: str,
    identity: str,
    say: Callable[[str], None],
    name: str = "",
    outputs: str = "",
) -> dict[str, Any]:
    """Deploy an approved version, with a reason also with less evidence than the canary wants; what is shown to be
    worse stays out.

    On AWS the model's release does it; ``execution`` is empty where the cluster's job will.
    """
    from pipelines.audit.records import append, refusals
    from pipelines.registry.decisions import agreed, person_who_asks
    from pipelines.steps.resume import begin, run_of

    version = check_version(version)
    with on_stack(home, path, outputs, "person.promote", name) as context:
        person = person_who_asks(context, identity)
        with refusals(context, person.name, version=version):
            agreed(context, version)
        told = {"reason": reason.strip()} if reason.strip() else {}
        append(context, person.name, "insist" if told else "ask", version=version, **told)
        if outputs:
            return {"model": context.model, "version": version, "execution": _start_release(context)}
        context = replace(context, run=run_of(context, version))
    with inside(home, "step.signoff"):
        begin(context, version)
    model, run = context.model, context.run
    state, wanted = running(home), {step.name: replace(step, needs=()) for step in steps_for(contract=False)}
    steps = (wanted["signoff"], replace(wanted["deploy"], needs=("signoff",)))
    run_steps(home, state, steps, path.resolve(), run, ("--name", model), on_done=lambda done: say(done.step.title))
    return {"model": model, "run": run, **results(home, state, model, run, steps)}


def _start_release(context: Context) -> str:
    import boto3

    if not (release := context.outputs.releases.get(context.model)):
        return ""
    started = boto3.client("sagemaker").start_pipeline_execution(PipelineName=release)
    return str(started["PipelineExecutionArn"])


def run_rollback(home: Home, path: Path, to: str, reason: str, identity: str, name: str = "", outputs: str = "") -> Any:
    """Serve an earlier version again; returns the two versions, and the seconds that it took."""
    import time

    from pipelines.canary.rollback import rollback
    from pipelines.registry import in_mlflow
    from pipelines.registry.decisions import person_who_asks
    from pipelines.registry.versions import Registry

    with on_stack(home, path, outputs, "person.rollback", name) as context:
        person = person_who_asks(context, identity)
        started = time.perf_counter()
        was, now = rollback(context, person, reason, check_version(to) if to else "")
        seconds = time.perf_counter() - started
        if os.environ.get("MLFLOW_TRACKING_URI") and now:
            in_mlflow.serve(context, Registry(context).record(now))
        return was, now, seconds


def _status(context: Context, version: str, *, approved: bool) -> str:
    """The approval status of a version after a decision, in SageMaker's words."""
    from pipelines.registry.decisions import agreed
    from pipelines.registry.mirror import APPROVED, PENDING, REJECTED

    if not approved:
        return REJECTED
    try:
        agreed(context, version)
    except GroundplanError:
        return PENDING
    return APPROVED


def run_forget(home: Home, path: Path, subject: str, identity: str, outputs: str = "") -> dict[str, Any]:
    """Forget one person; returns the evidence."""
    from pipelines.registry.decisions import check_identity
    from pipelines.steps.forget import forget

    check_identity(identity)
    if outputs and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UsageError(
            "without MLflow it is unknown which models were trained on the person's data",
            where="MLFLOW_TRACKING_URI",
            fix="set it to the stack's server",
        )
    with on_stack(home, path, outputs, "person.forget") as context:
        return forget(context, subject, identity)


def run_dead_letters(home: Home, path: Path, topic: str, outputs: str = "") -> list[Any]:
    """Dead letters of one topic that a model reads."""
    from pipelines.data import dead_letters

    with on_stack(home, path, outputs, "person.dead-letters") as context:
        return list(dead_letters.shown(context, topic))


def run_replay(home: Home, path: Path, topic: str, reason: str, outputs: str = "") -> Any:
    """Send a topic's dead letters to it again; returns the result."""
    from pipelines.data import dead_letters

    with on_stack(home, path, outputs, "person.replay") as context:
        return dead_letters.replay(context, topic, reason)


def run_quarantine(home: Home, path: Path, topic: str, outputs: str = "") -> list[Any]:
    """What waits in quarantine of one topic that a model reads."""
    from pipelines.data import quarantine

    with on_stack(home, path, outputs, "person.quarantine") as context:
        return list(quarantine.held(context, _contract(context, topic)))


def run_decide(
    home: Home, path: Path, decision: str, topic: str, fields: list[str], identity: str, reason: str, outputs: str = ""
) -> dict[str, Any]:
    """Release or discard what waits in a topic's quarantine; returns the result."""
    from pipelines.data import quarantine
    from pipelines.registry.decisions import check_identity

    check_identity(identity)
    with on_stack(home, path, outputs, "person.decide") as context:
        decide = {"release": quarantine.release, "discard": quarantine.discard}[decision]
        return decide(context, _contract(context, topic), fields, identity, reason)


def _contract(context: Context, topic: str) -> Contract:
    return next(contract for contract in context.definition.contracts if contract.topic == topic)


def sample_of(home: Home, topic: str, most: int, outputs: str = "") -> list[bytes]:
    """The first events of any topic of the running platform, or of the stack whose outputs are named."""
    from pipelines.data.dead_letters import messages

    with inside(home) if not outputs else nullcontext():
        found = read(outputs or str(home.outputs_file))
        return [message.value() for message in islice(messages(found, topic), most) if message.value()]


def run_measure(home: Home, path: Path) -> dict[str, Any]:
    """Retrain a model as a function of AWS Lambda does, and say what that took.

    Raises:
        GroundplanError: A step failed, or has nothing to do.
    """
    from pipelines.steps.on_lambda import TrainingError, train

    with inside(home, "step.measure"):
        try:
            found = train(str(path), new_run(), home.reports, say=lambda text: None, reuse=False)
        except TrainingError as error:
            raise GroundplanError(str(error), where=str(path)) from None
    if "waiting" in found:
        raise GroundplanError(f"there is nothing to train on yet: {found['waiting']}", where=str(path))
    return found


def _context(home: Home, path: Path, name: str = "") -> Context:
    return Context(read(str(home.outputs_file)), load_definition(path, name), new_run(), home.reports)


@contextmanager
def on_stack(home: Home, path: Path, outputs: str, caller: str, name: str = "") -> Iterator[Context]:
    """A context on the running local platform; or on the stack whose outputs are named, with the caller's
    credentials.
    """
    if not outputs:
        with inside(home, caller):
            yield _context(home, path, name)
        return
    yield Context(elsewhere(outputs), load_definition(path, name), new_run(), home.reports)
