"""Commands about what there is and what happened: the catalogue, what served when and why, lineage, one prediction."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from groundplan.cli.models import PANEL
from groundplan.cli.options import AsJson, ModelArgument, OutputsOption, moments
from pipelines.lineage.places import APPROVALS, CONTRACT, DEPLOYMENT, POSITIONS
from spec.errors import UsageError

commands = typer.Typer()
_CAUSES = {
    "share": "tried",
    "promote": "promoted",
    "rollback": "taken back",
    "hold": "not promoted",
    "restore": "restored",
}


@commands.command(rich_help_panel=PANEL)
def history(
    model: ModelArgument,
    at: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="What served then: 2026-03-31 (the whole day), 2026-03-31T14:30 (UTC), or 2h, 7d ago."
        ),
    ] = "",
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Also count the captured predictions of each period (reads them all).")
    ] = False,
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Print what served when, with which share, why, who asked for it and who had agreed; read from the audit log."""
    from groundplan.local.history import history as run

    found = run(model, outputs, moments(at, "--at") if at else None, predictions=predictions or bool(at))
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for period in found["periods"]:
        print(f"{_time(period['begin'])} to {_time(period['end']) if period['end'] else 'now':<19}  {_shares(period)}")
        for line in _about(period):
            print(f"    {line}")
    print(f"captured requests and answers: {found['captured']}")


def _time(text: str) -> str:
    return text[:19]


def _shares(period: dict[str, Any]) -> str:
    served = ", ".join(f"{version} {percent} %" for version, percent in period["shares"].items()) or "no version"
    return served + (f"; {period['shadow']} as a shadow" if period["shadow"] else "")


def _about(period: dict[str, Any]) -> list[str]:
    cause = _CAUSES.get(period["cause"], period["cause"])
    found = [f"{cause} by {period['by']}" + (f": {period['why']}" if period["why"] else "")]
    if period["asked"]:
        found.append(f"asked for by {period['asked']}")
    for version, people in period["agreed"].items():
        found.append(f"{version} was approved by " + ", ".join(f"{who} ({role})" for role, who in people.items()))
    for version, told in period.get("predictions", {}).items():
        first = f", first {told['first'][0]}" if told["first"] else ""
        found.append(f"{version or 'no version'} made {told['answers']} captured predictions{first}")
    records = ", ".join(map(str, period["records"]))
    return [*found, f"run {period['run']}; audit log: {records}"]


@commands.command(rich_help_panel=PANEL)
def lineage(
    version: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="For example diabetes-rf@v1.0.0.")],
    dot: Annotated[
        bool, typer.Option("--dot", help="Print it for Graphviz: ... --dot | dot -Tsvg > lineage.svg")
    ] = False,
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Print where a version came from and what became of it: events, datasets, features, the run, approvals,
    deployments; from the OpenLineage events that each step leaves.
    """
    from groundplan.local.tracing import lineage as run

    graph, own, told = run(version, outputs)
    if dot:
        print(graph.dot())
        return
    if as_json:
        print(json.dumps({**told, **graph.document()}, indent=1))
        return
    for line in _of_version(told):
        print(line)
    shown = set[str]()
    for line in _tree(graph, own, 0, shown):
        print(line)
    after = [ran for ran in graph.runs.values() if own in graph.reads[ran.run_id]]
    for ran in sorted(after, key=lambda ran: ran.at):
        print(f"then    {ran.step} {ran.at[:19]}{_said(ran.facets)}")


@commands.command(rich_help_panel=PANEL)
def trace(
    prediction_id: Annotated[
        str, typer.Argument(metavar="PREDICTION_ID", help="As an answer says it (`prediction_id`).")
    ],
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Print the whole story of one prediction: the request, the version and its share, who had agreed, the run, the
    features, the datasets, the events' positions, the contracts; and whether a person's rows were erased since.
    """
    from groundplan.local.tracing import trace as run

    found = run(prediction_id, outputs)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for line in _story(found):
        print(line)


def _tree(graph: Any, place: Any, depth: int, shown: set[str]) -> list[str]:
    """A dataset, the runs that wrote it, and what they had read."""
    about, indent = graph.datasets[place], "  " * depth
    lines = [f"{indent}{place}{_facts(about)}"]
    for ran in graph.writers(place):
        again = ran.run_id in shown
        lines.append(f"{indent}  by {ran.step} {ran.at[:19]}, run {ran.pipeline_run}{' (see above)' if again else ''}")
        if not again:
            shown.add(ran.run_id)
            for other in graph.reads[ran.run_id]:
                lines += _tree(graph, other, depth + 2, shown)
    return lines


def _facts(about: dict[str, Any]) -> str:
    """What is known about a dataset, in a few words."""
    found = []
    if contract := about.get(CONTRACT):
        found.append(f"contract {contract['id']} {contract['version']}")
    if positions := about.get(POSITIONS):
        found.append(_positions(positions["partitions"]))
    if checks := about.get("dataQualityAssertions", {}).get("assertions"):
        found.append(f"{sum(each['success'] for each in checks)} of {len(checks)} expectations hold")
    if (rows := about.get("outputStatistics", {}).get("rowCount")) is not None:
        found.append(f"{rows:,} rows")
    return f"  ({'; '.join(found)})" if found else ""


def _positions(partitions: list[dict[str, int]]) -> str:
    return ", ".join(
        f"partition {each['partition']}: offsets {each['first']} to {each['last']} ({each['events']} events)"
        for each in partitions
    )


def _said(facets: dict[str, Any]) -> str:
    if told := facets.get(DEPLOYMENT):
        return f": {told['outcome']}: {told['verdict']}"
    if told := facets.get(APPROVALS):
        return f": approved by {' and '.join(told['roles'])}"
    return ""


def _of_version(told: dict[str, Any]) -> list[str]:
    version, run, dataset = told["version"], told["run"], told["dataset"]
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in version["metrics"].items())
    people = "; ".join(
        f"{each['who']} ({each['role']}) {'approved' if each['decided'] == 'approve' else 'rejected'}"
        f" {each['at'][:19]}" + (f": {each['reason']}" if each["reason"] else "")
        for each in told["people"]
    )
    rows = f"{dataset['rows']:,} rows of {dataset['place']}, sha256 {dataset['digest'][:16]}"
    return [
        f"version   {version['name']}: {version['change']}, registered {version['registered_at'][:19]}; {metrics}",
        f"          artifact sha256 {version['artifact'][:16]}; risk {version['risk']}"
        + (f"; owner {version['owner']}" if version["owner"] else ""),
        f"people    {people or 'nobody has decided about it'}",
        f"run       {run['pipeline_run']}, MLflow {run['mlflow_run']}; code {run['code'].get('commit', '')}",
        f"trained   {rows}",
        *(f"erased    rows of a person, on {date}" for date in dataset["erased"]),
    ]


def _story(found: dict[str, Any]) -> list[str]:
    told, served = found["prediction"], found["served"]
    predictions = json.dumps(told["answer"].get("predictions"))
    lines = [
        f"prediction {told['id']} of {told['model']} {told['version']}, {told['at'][:23]}",
        f"asked     {_cut(told['request'])}",
        f"answered  {_cut(predictions)}, by {told['variant']}",
        f"captured  {told['captured']}",
    ]
    if told["erased_on"]:
        lines.append(f"erased    rows of a person were removed from it; erased on {told['erased_on']}")
    if served:
        until = f" until {_time(served['until'])}" if served["until"] else ""
        cause = _CAUSES.get(served["cause"], served["cause"])
        lines += [
            f"served    with {served['share']} % of the requests since {_time(served['since'])}{until}",
            f"          {cause} by {served['by']}: {served['why']}",
        ]
    if "version" in found:
        lines += _of_version(found)
    for view in found.get("features", ()):
        how = "looked up" if view["looked_up"] else "view"
        lines.append(
            f"features  {how} {view['view']} by {view['key']}: {', '.join(view['features'])};"
            f" filled {_time(view['filled_at'])} by run {view['filled_by_run']}"
        )
    lines += [
        f"dataset   {each['place']}, version {each['version'][:16]}"
        + (f", {each['rows']:,} rows" if each["rows"] is not None else "")
        for each in found.get("datasets", ())
    ]
    lines += [f"events    {each['topic']}: {_positions(each['partitions'])}" for each in found.get("events", ())]
    lines += [
        f"contract  {each['id']} {each['version']}, sha256 {each['sha256'][:16]}"
        + (f", owner {each['owner']}" if each["owner"] else "")
        for each in found.get("contracts", ())
    ]
    return [*lines, *(f"missing   {text}" for text in found["missing"])]


def _cut(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


@commands.command(rich_help_panel=PANEL)
def catalogue(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="Must be in it: of a name, an owner, a tag, a column."),
    ] = None,
    kind: Annotated[str, typer.Option(metavar="KIND", help="Only dataset, features or model.")] = "",
    full: Annotated[bool, typer.Option("--full", help="Everything about each; default for a single one.")] = False,
    outputs: OutputsOption = "",
    as_json: AsJson = False,
) -> None:
    """Find datasets, features and models: owner, contract, tags, freshness, consumers, and the last run's quality."""
    from dataclasses import asdict

    from groundplan.local.catalogue import KINDS
    from groundplan.local.catalogue import catalogue as run

    if kind not in ("", *KINDS):
        raise UsageError(f"there is no kind {kind!r}", where="--kind", fix=f"one of: {', '.join(KINDS)}")
    found = run(words or [], kind, outputs)
    if as_json:
        print(json.dumps([asdict(entry) for entry in found], indent=1))
        return
    if not found:
        print("nothing has all of these words" if words else "the project has no models yet")
        return
    if full or len(found) == 1:
        for entry in found:
            for line in _full(asdict(entry)):
                print(line)
        return
    shown = [("KIND", "NAME", "OWNER", "WRITTEN", "VERSION", "QUALITY"), *(_row(asdict(entry)) for entry in found)]
    widths = [max(len(row[place]) for row in shown) for place in range(len(shown[0]))]
    for row in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    fresh = f"{_ago(entry['age_s'])} ago{', late' if entry['late'] else ''}" if entry["at"] else "never"
    return entry["kind"], entry["name"], entry["owner"] or "no owner", fresh, entry["version"][:16], entry["quality"]


def _full(entry: dict[str, Any]) -> list[str]:
    promise = {True: ", later than its contract promises", False: ", as its contract promises", None: ""}[entry["late"]]
    known = {
        "about": entry["about"],
        "owner": entry["owner"] or "not named",
        "contract": entry["contract"],
        "tags": ", ".join(entry["tags"]),
        "fresh": f"{_ago(entry['age_s'])} ago ({_time(entry['at'])}){promise}" if entry["at"] else "never written",
        "quality": entry["quality"],
        "rows": f"{entry['rows']:,}" if entry["rows"] is not None else "",
        "version": entry["version"],
        "consumers": ", ".join(entry["consumers"]),
        "table": entry["table"],
        "columns": ", ".join(f"{name} {kind}" for name, kind in entry["columns"].items()),
        "declared": entry["path"],
    }
    return [f"{entry['kind']} {entry['name']}", *(f"  {name:<10} {text}" for name, text in known.items() if text)]


def _ago(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
