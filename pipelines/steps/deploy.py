"""Step: a canary through the endpoint's variant weights, a comparison on the same rows, then promotion or rollback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.audit.records import append, entries, insisted, refusals, served_in
from pipelines.canary import judging
from pipelines.canary.evidence import Finding, Outcome
from pipelines.canary.judging import Answered, Judgement
from pipelines.canary.publishing import publish, serve_again
from pipelines.canary.rollout import Rollout, settle
from pipelines.canary.turn import Turn, turn
from pipelines.canary.users import of_known_outcome
from pipelines.context import GRAPH_ONLY, Context, main
from pipelines.registry import evaluation, in_mlflow
from pipelines.registry.decisions import agreed
from pipelines.registry.versions import ARTIFACT, Registry, Stored, other_answers
from pipelines.serving.models.bundle import Model, description, files_of, load, unpack
from pipelines.serving.models.rows import Rows
from pipelines.steps.endpoint import CHALLENGER, CHAMPION
from pipelines.steps.hosting import Hosting, hosting
from pipelines.steps.monitor import ENDPOINTS
from pipelines.training.labelled import Labelled, as_columns, load_labelled
from spec.errors import GroundplanError
from spec.objectives import ModelObjectives
from spec.versions import VersionRecord

MAX_ROWS = 5_000  # held-out rows that both variants answer
ON_OWN_ROWS = (
    "its own rows, and the champion on its own rows: it takes columns that this version does not have, or has on"
    " another scale, or answers with other classes"
)


def deploy(context: Context) -> dict[str, Any]:
    """Bring the registered version to the endpoint.

    The first version has no champion to be compared with; its baseline is called in this process and never answers
    requests.

    Raises:
        GroundplanError: The canary was worse, and the endpoint serves the previous version again; if there was none, it
            returns the reason. Or another version is being tried.
    """
    version = context.result("register")["version"]
    with refusals(context, "pipeline", version=version):
        stored, decided = agreed(context, version)  # no approval, no deployment
    approvals = {role: decision.by for role, decision in decided.items()}
    endpoint = hosting(context)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "judged"
        evaluation.fetch(context, stored.record, path)
        _put_candidate(path / "candidate", stored)
        with _turn(context, endpoint, version) as mine:
            check_topology(endpoint.settings.topology, path / "candidate", context.model)
            if endpoint.splits:
                outcome = _step_by_step(context, endpoint, mine, path, stored, approvals)
            else:
                outcome = _publish(context, endpoint, mine, path, stored, approvals)
    if outcome["outcome"] == "promoted":
        in_mlflow.serve(context, stored.record)
    return outcome


@contextmanager
def _turn(context: Context, endpoint: Hosting, version: str) -> Iterator[Turn]:
    """The turn to change what is served, after what an interrupted canary has left was taken back."""
    with ExitStack() as stack:
        with refusals(context, "pipeline", version=version):
            mine = stack.enter_context(turn(context, version))
        other = settle(endpoint, mine)
        if mine.left.get("publishing") and not mine.resumed and (served := served_in(entries(context))):
            serve_again(context, endpoint, served[-1])
            other = str(mine.left["version"])
        if other and not mine.resumed:
            append(context, "pipeline", "rollback", version=other, verdict="its deployment was interrupted")
        yield mine


def _step_by_step(
    context: Context,
    endpoint: Hosting,
    mine: Turn,
    path: Path,
    stored: Stored,
    approvals: dict[str, str],
) -> dict[str, Any]:
    """Where two versions can share the requests: a canary, then promotion or rollback."""
    record, version = stored.record, stored.record.version
    described = description(path / "candidate")
    files, baseline = files_of(path / "candidate", version), load(path / "baseline")
    candidate = endpoint.create_model(f"{stored.place}{ARTIFACT}", files, version, approvals)
    assert baseline is not None
    serving_now = endpoint.champion()
    if serving_now == candidate and (told := mine.left.get("outcome")):  # it was promoted, and then interrupted
        return _promoted(context, endpoint, mine, record, files, {**told, "endpoint_config": endpoint.config()})
    holdout, judged_on = _unseen(context, record, load_labelled(path, "holdout"), path / "champion")
    theirs = _rows_of_champion(context, record, holdout, path / "champion") if serving_now else None
    objectives, rival = context.objectives(record.task), "champion" if serving_now else "baseline"
    rows = (holdout if theirs is None else _filled(holdout, theirs)).records()

    def compare(of_challenger: list[Any], of_champion: list[Any]) -> list[Finding]:
        other = (
            Answered(holdout, _predictions(baseline, holdout))
            if serving_now is None
            else Answered(holdout if theirs is None else theirs, of_champion)
        )
        return _quality(context, other, Answered(holdout, of_challenger), objectives, record.task, baseline, rival)

    def labelled() -> Finding | None:
        learnt = [load_labelled(folder, "training") for folder in (path, path / "champion") if folder.exists()]
        known = evaluation.outcomes(context, holdout, learnt)
        found = known and of_known_outcome(context, endpoint, version, described["columns"], known)
        if not found:
            return None
        these, ours, others = found
        return judging.of_users(
            Answered(these, others),
            Answered(these, ours),
            objectives.quality.metric,
            task=record.task,
            classes=baseline.classes,
        )

    rollout = Rollout(
        context,
        endpoint,
        mine,
        version,
        candidate,
        serving_now,
        described["columns"],
        objectives,
        record.task,
        rows,
        labelled if theirs is None else lambda: None,
    )
    judged = rollout.judge(compare, theirs)
    outcome: dict[str, Any] = {
        "version": version,
        "topology": endpoint.settings.topology,
        "endpoint": "" if endpoint.host else context.endpoint_name,
        "host": endpoint.host,
        "canary_steps": list(endpoint.settings.canary_steps) if serving_now else [],
        "champion_before": "" if serving_now is None else serving_now,
        "variants": {rival if name == CHAMPION else name: item.summary() for name, item in rollout.seen.items()},
        "users": {
            name: sum(split.requests for split in splits)
            for name, splits in (
                (CHALLENGER, [split.ours for split in rollout.users]),
                (CHAMPION, [split.theirs for split in rollout.users if split.theirs]),
            )
        },
        "verdict": judged.says,
        "findings": judged.document(),
        "judged_on": judged_on if theirs is None else ON_OWN_ROWS,
    }
    insists = insisted(entries(context), version) if judged.outcome is Outcome.OPEN else ""
    if judged.outcome is Outcome.WORSE or (judged.outcome is Outcome.OPEN and serving_now is None):
        rollout.take_back(judged.says)
        append(context, "pipeline", "rollback", **outcome)
        stays = (
            "the previous version goes on serving"
            if serving_now
            else "the endpoint answers 503 with this reason, until a version is good enough"
        )
        raise GroundplanError(
            f"{context.model} {version} was rolled back: {judged.says}",
            where=endpoint.host or context.endpoint_name,
            fix=stays,
        )
    if judged.outcome is Outcome.OPEN and not insists:
        rollout.take_back("not enough evidence")
        append(context, "pipeline", "hold", **outcome)
        return {**outcome, "outcome": str(Outcome.OPEN)}
    outcome |= {"reason": insists} if insists else {}
    outcome["endpoint_config"] = rollout.promote(outcome)
    endpoint.predict(rows, CHAMPION)  # so that monitoring begins with more than a few rows
    return _promoted(context, endpoint, mine, record, files, outcome)


def _promoted(
    context: Context,
    endpoint: Hosting,
    mine: Turn,
    record: VersionRecord,
    files: dict[str, bytes],
    outcome: dict[str, Any],
) -> dict[str, Any]:
    """Publish the version's files and put its promotion on record, unless a person has taken it back meanwhile."""
    mine.keep()
    told = {"run_id": record.lineage["run_id"], "pipeline_run": context.run}
    publish(context, endpoint, record.version, files, told)
    mine.keep()
    append(context, "pipeline", "promote", **outcome)
    mine.settled = True
    return {**outcome, "outcome": "promoted"}


def _predictions(model: Model, rows: Labelled) -> list[Any]:
    """By a model that is called in this process."""
    return list(model.answers(Rows.of(as_columns(rows.features, model.names))).predictions)


def _quality(
    context: Context,
    theirs: Answered,
    ours: Answered,
    objectives: ModelObjectives,
    task: str,
    known: Model,
    rival: str,
) -> list[Finding]:
    """Args:
    known: A model with the classes of both.
    """
    return judging.quality(
        theirs,
        ours,
        objectives,
        context.definition.card.slices,
        task=task,
        classes=known.classes,
        rival=rival,
    )


def _put_candidate(folder: Path, stored: Stored) -> None:
    """Replace the run's copy of the model by the artifact that was registered and approved."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    unpack(stored.artifact, folder)


def _unseen(context: Context, record: VersionRecord, rows: Labelled, folder: Path) -> tuple[Labelled, str]:
    """Held-out rows that the champion was not trained on either, and how they were chosen."""
    how, served = _judged_on(record), served_in(entries(context))
    if not served or how != record.evaluated_on:  # the new version has seen them, too
        return rows.sample(MAX_ROWS), how
    kept, chosen = evaluation.unseen_by(context, Registry(context).record(served[-1]), rows, folder, how)
    return kept.sample(MAX_ROWS), chosen


def _judged_on(record: VersionRecord) -> str:
    # Out-of-fold rows are the training rows: a champion trained on other data would be judged more harshly than the
    # challenger.
    how = record.evaluated_on
    return "rows the candidate was trained on, which flatters it" if "fold" in how or "trained on" in how else how


def _rows_of_champion(context: Context, record: VersionRecord, holdout: Labelled, folder: Path) -> Labelled | None:
    """The champion's own held-out rows, where it takes columns that the new version's rows don't have, or have on
    another scale, or answers with other classes than their labels; else None.
    """
    served = served_in(entries(context))
    if not served:  # it was deployed past the registry
        return None
    known = Registry(context).record(served[-1])
    takes = set(known.interface.inputs) <= set(holdout.features.columns)
    alike = takes and not other_answers(known.interface, record.interface)
    if alike and not known.evaluation:  # registered by a release that left it with MLflow
        return None
    if not folder.exists():  # what it was trained on was not needed before
        evaluation.fetch(context, known, folder)
    theirs = load_labelled(folder, "holdout").sample(MAX_ROWS)
    return None if alike and not evaluation.other_scale(theirs, holdout) else theirs


def _filled(rows: Labelled, theirs: Labelled) -> Labelled:
    """Rows that the champion can also answer: missing columns are filled with values of its own rows."""
    import numpy as np

    more = theirs.features[[name for name in theirs.features.columns if name not in rows.features.columns]]
    taken = more.iloc[np.arange(len(rows)) % len(more)].set_index(rows.features.index)
    return Labelled(rows.features.join(taken), rows.labels)


def check_topology(topology: str, folder: Path, model: str) -> None:
    """Check that a model in its own format can be served: where its process can run, and custom code only where nothing
    else is within reach.

    Raises:
        GroundplanError: It can't be served by this topology.
    """
    described = description(folder)
    if described.get("engine", "onnx") != "native":
        return
    if topology in GRAPH_ONLY or (described.get("untrusted") and topology != "realtime"):
        what = (
            "is stored as a pickle"
            if described.get("untrusted")
            else f"is served in its own format ({described['flavor']})"
        )
        raise GroundplanError(
            f"{model} {what}, and {topology} accepts only {'ONNX' if topology in GRAPH_ONLY else 'pure data formats'}",
            where=f"groundplan:objectives.models.{model}",
            fix="change the objectives that require it (`groundplan explain`), or the model",
        )


def _publish(
    context: Context,
    endpoint: Hosting,
    mine: Turn,
    path: Path,
    stored: Stored,
    approvals: dict[str, str],
) -> dict[str, Any]:
    """Where there is one version at a time, or none yet on the cluster: compare in this process, then publish the new
    one.

    A serverless endpoint gets a new configuration, and KServe a new revision.

    Raises:
        GroundplanError: The new version is worse than the current one; nothing was published.
    """
    record, version = stored.record, stored.record.version
    holdout, judged_on = _unseen(context, record, load_labelled(path, "holdout"), path / "champion")
    before = path / "before"
    fetched = _fetch_current(context, before)
    candidate, champion = load(path / "candidate"), load(before if fetched else path / "baseline")
    assert candidate is not None and champion is not None
    objectives, rival = context.objectives(record.task), "champion" if fetched else "baseline"
    own = _rows_of_champion(context, record, holdout, path / "champion") if fetched else None
    if own is not None:
        judged_on = ON_OWN_ROWS
    ours = Answered(holdout, _predictions(candidate, holdout))
    rows = holdout if own is None else own
    theirs = Answered(rows, _predictions(champion, rows))
    judged = Judgement(tuple(_quality(context, theirs, ours, objectives, record.task, candidate, rival)))
    outcome: dict[str, Any] = {
        "version": version,
        "topology": endpoint.settings.topology,
        "endpoint": endpoint.settings.name,
        "host": endpoint.host,
        "canary_steps": [],
        "champion_before": champion.version if fetched else "",
        "variants": {},
        "verdict": judged.says,
        "findings": judged.document(),
        "judged_on": judged_on,
    }
    if judged.outcome is Outcome.WORSE:
        append(context, "pipeline", "rollback", **outcome)
        stays = "the previous version stays in service" if fetched else "no version is in service yet"
        raise GroundplanError(
            f"{context.model} {version} was not published: {judged.says}", where=context.model, fix=stays
        )
    insists = insisted(entries(context), version) if judged.outcome is Outcome.OPEN else ""
    if judged.outcome is Outcome.OPEN and not insists:
        append(context, "pipeline", "hold", **outcome)
        return {**outcome, "outcome": str(Outcome.OPEN)}
    files = files_of(path / "candidate", version)
    answers = endpoint.settings.topology in ENDPOINTS
    mine.keep(publishing=True, before=endpoint.config() if answers else "")
    mine.settled = False
    if answers:
        outcome["endpoint_config"] = endpoint.point(
            {CHAMPION: endpoint.create_model(Registry(context).address(version, ARTIFACT), files, version, approvals)},
            {CHAMPION: 1.0},
            label=f"publish-{version}",
        )
        endpoint.predict(holdout.records(), CHAMPION)
    outcome |= {"reason": insists} if insists else {}
    return _promoted(context, endpoint, mine, record, files, outcome)


def _fetch_current(context: Context, folder: Path) -> bool:
    """Fetch the version that is published, if there is one."""
    folder.mkdir()
    prefix = f"{context.model}/current/"
    for key in context.keys("models", prefix):
        (folder / key.removeprefix(prefix)).write_bytes(context.get("models", key))
    return (folder / "model.json").is_file()


if __name__ == "__main__":
    main("deploy", deploy)
