"""What users read in the terminal: the end of ``up``, ``status``, the results of an experiment, the design."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from groundplan import terminal
from groundplan.local.services import TITLES
from groundplan.local.up import Summary
from groundplan.local.web.addresses import front_end
from groundplan.terminal import table
from pipelines.privacy.personal_data import WAY_OUT
from spec.steps import STEPS

WORTH_TELLING = 0.02  # a loss of quality that may be worth it
Rows = Iterator[tuple[str, str]]

PSI_DRIFTED = 0.25  # the usual threshold for a different population


def print_summary(summary: Summary) -> None:
    """The end of ``groundplan up``."""
    console = terminal.console(markup=False)
    console.print()
    if summary.already_up:
        console.print(f"The platform was already up. Program: {_changes(summary)}.\n")
    shown = table("service", "address", title="Addresses")
    for service in summary.state.services.values():
        shown.add_row(TITLES[service.name] + ("" if service.owned else " (yours)"), service.url)
    if page := front_end(summary.applied.outputs["platform"], summary.state.services["router"].url):
        shown.add_row("Front end (API Gateway)", page["url"])
        shown.add_row("Its sign-in (Cognito)", page["openid_configuration"])
    console.print(shown)
    console.print()
    made, recorded = summary.applied.made, summary.applied.recorded
    manifests = [record for record in made if record.type.startswith("kubernetes:")]
    services = Counter(record.type.split(":")[1].split("/")[0] for record in made if record not in manifests)
    by_service = ", ".join(f"{number} {service}" for service, number in sorted(services.items()))
    _headed(console, "Program", f"{services.total()} resources created in the local cloud: {by_service}")
    console.print(
        f"        {len(manifests)} Kubernetes objects validated and written to"
        f" {summary.home.manifests.relative_to(summary.home.root)}"
    )
    kinds = Counter(record.type.split(":")[-1] for record in recorded)
    listed = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    console.print(f"        {len(recorded)} only recorded: {listed}" if recorded else "        nothing only recorded")
    console.print()
    for model, results in summary.results.items():
        if not results:
            _headed(
                console,
                "Model",
                f"{model}\nno version is in service: `groundplan audit show` tells what was tried\n",
            )
            continue
        print_results({"model": model, **results}, console)
        if summary.explanation[model]:
            _print_explanation(console, summary.explanation[model])
        console.print()
    for model, folder in summary.not_run:
        _headed(console, "Model", f"{model}\nnot run: {_why_not(summary, model, folder)}\n")
    if summary.timings:
        told = ", ".join(f"{title} {seconds:.1f} s" for title, seconds in summary.timings.items())
        _headed(console, "Where the time went", told)
    _print_next(console, summary)


def _headed(console: Console, head: str, text: str = "") -> None:
    console.print(Text.assemble((head, "bold"), " " if text else "", text))


def _why_not(summary: Summary, model: str, folder: str) -> str:
    stack = f"stacks/Pulumi.{summary.state.stack}.yaml"
    if model not in summary.applied.outputs["platform"]["models"]:
        return f"{stack} has no objectives for it; write them there, and run `groundplan up` again"
    if not folder:
        return f"{stack} names it, but models/ has no folder for it"
    return f".venv/bin/groundplan experiment {model} --deploy"


def _changes(summary: Summary) -> str:
    counts = Counter(record.change for record in summary.applied.made)
    parts = [
        f"{counts[kind]} {text}"
        for kind, text in (
            ("created", "created"),
            ("updated", "updated"),
            ("replaced", "replaced"),
            ("same", "unchanged"),
        )
        if counts[kind]
    ]
    if summary.applied.deleted:
        parts.append(f"{len(summary.applied.deleted)} deleted")
    return ", ".join(parts) or "nothing to do"


def print_results(found: dict[str, Any], console: Console | None = None) -> None:
    """The results of one run's steps."""
    console = console or terminal.console(markup=False)
    shown = table("", "")
    for step in STEPS:
        if result := found.get(step.name):
            for row in _SUMMARIES[step.name](result):
                shown.add_row(*row)
    _headed(console, "Model", found["model"])
    console.print(shown)


def _ingest(step: dict[str, Any]) -> Rows:
    yield "events", _events_line(step)
    if step.get("waiting"):
        yield "waiting", f"{step['waiting']}; once there are events, run `groundplan up` again"
    if step["quarantined"]:
        yield "quarantine", f"{step['quarantined']:,} events contain undeclared personal data; {WAY_OUT}"


def _quality(step: dict[str, Any]) -> Rows:
    if "rows" not in step:  # it waits for events
        return
    doubles = f", {step['duplicates']:,} arrived twice" if step["duplicates"] else ""
    doubles += f", {step['deleted']:,} deleted by their key" if step.get("deleted") else ""
    yield (
        "data",
        f"{step['rows']:,} rows passed {step['expectations']} expectations{doubles}; version {step['digest'][:16]}",
    )


def _features(step: dict[str, Any]) -> Rows:
    if "views" not in step:
        return
    views = ", ".join(
        f"{item['entities']:,} entities x {len(item['features'])} features in {name}"
        for name, item in step["views"].items()
    )
    yield "features", f"{views} (Feast: S3 and DynamoDB)"


def _experiment(step: dict[str, Any]) -> Rows:
    if "run_id" not in step:
        return
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in step["metrics"].items())
    told = "; ".join(
        part for part in (metrics, f"{step['duration_s']:.1f} s", f"code {step['code_version'][:14]}") if part
    )
    yield "experiment", f"run {step['run_id']} ({told})"
    yield from _profile(step)
    if "not_served" in step:
        yield "no model", step["not_served"]
    if "choice" in step:
        yield from _choice_rows(step)
        yield (
            "dataset",
            (
                f"digest {step['dataset_digest'][:16]}, {step['rows']} rows trained, {step['holdout_rows']} held out"
                f" ({step['holdout']})"
            ),
        )


def _profile(step: dict[str, Any]) -> Rows:
    if "profile" not in step:
        return
    found = step["profile"]
    for each in found["slowest"]:
        yield "time", f"{each['share']:4.0%} {each['seconds']:6.2f} s  {each['where']}  {each['code']}"
    machine, told = found["machine"], "it was over before anything was measured"
    if "cpu_utilization_percentage" in machine:
        processors, memory = machine["cpu_utilization_percentage"], machine["system_memory_usage_megabytes"]
        told = (
            f"processors {processors['mean']:.0f}% on average, {processors['most']:.0f}% at most; memory in use"
            f" {memory['most']:,.0f} MB at most"
        )
    yield "machine", told
    yield "profile", f"mlflow artifacts download -r {step['run_id']} -a {found['artifacts']} -d profile"


def _evaluate(step: dict[str, Any]) -> Rows:
    if "metrics" not in step:
        return
    metrics = ", ".join(
        f"{name} {value:.4g} (baseline {step['baseline'].get(name, float('nan')):.4g})"
        for name, value in step["metrics"].items()
    )
    yield "evaluation", f"{metrics}; the baseline is {step['baseline_is']}"
    yield "business KPI", _kpi_line(step["kpi"])
    yield from (("speaks against", text) for text in step["against"])


def _register(step: dict[str, Any]) -> Rows:
    if "version" in step:
        yield "version", f"{step['version']} in the MLflow registry"


def _signoff(step: dict[str, Any]) -> Rows:
    if "approvals" not in step:
        return
    people = ", ".join(f"{role}: {who}" for role, who in step["approvals"].items())
    yield "sign-off", people + (" (test identities of the local stack)" if step["test_identities"] else "")


def _deploy(step: dict[str, Any]) -> Rows:
    if "variants" not in step:
        return
    parts = ", ".join(
        f"{name} {item['requests']} requests, {item['errors']} errors, p95 {item['p95_ms']:.1f} ms"
        for name, item in step["variants"].items()
        if item["requests"]
    )
    share = (
        f"canary {', '.join(str(percent) for percent in step['canary_steps'])} %"
        if step["canary_steps"]
        else "first version"
        if step["topology"] == "realtime"
        else "published"
    )
    unsure = step["outcome"] == "not enough evidence"
    why = f"because {step['reason']}, although {step['verdict']}" if step.get("reason") else step["verdict"]
    judged = f"judged on {step['judged_on']}{f' ({parts})' if parts else ''}"
    yield share, f"{step['outcome']}; {judged}" if unsure else f"{step['outcome']}: {why}; {judged}"
    if unsure:
        yield "", f"it is not known whether it is good enough: {step['verdict']}"
        yield "", "the previous version stays in service; groundplan promote deploys this one if you decide so"
    elsewhere = f"{step['host']}, through the cluster's gateway" if step.get("host") else ""
    yield "endpoint", step["endpoint"] or elsewhere or f"none: the model answers by {step['topology']}"


def _monitor(step: dict[str, Any]) -> Rows:
    if "alarms" in step:
        yield "monitoring", _monitor_line(step)


def _kpi_line(kpi: dict[str, Any]) -> str:
    low, high = kpi["interval"]
    gain = (
        f"{abs(kpi['lift']):.4g} {kpi['unit']} {'better' if kpi['lift'] >= 0 else 'worse'} than the baseline (95 %"
        f" interval {low:.4g} to {high:.4g})"
    )
    if not kpi["monthly_usd"]:
        return gain  # its worth is not set
    return (
        f"{gain}, worth {kpi['monthly_usd']:,.0f} USD a month ({kpi['monthly_usd_interval'][0]:,.0f} to"
        f" {kpi['monthly_usd_interval'][1]:,.0f})"
    )


def _choice_rows(step: dict[str, Any]) -> list[tuple[str, str]]:
    """Which model was used, and how closely the served model matches it."""
    rows, choice = [], step["choice"]
    if choice["others"]:
        others = "; ".join(
            item["name"] + "".join(f" {key} {value:.4g}" for key, value in item.items() if key != "name")
            for item in choice["others"]
        )
        rows.append(("model", f"{choice['name']}, {choice['why']}; not used: {others}"))
    compared = ", ".join(f"{count} {kind}" for kind, count in step["parity"]["rows"].items())
    differences = ", ".join(f"{name} {value:.2g}" for name, value in step["parity"]["differences"].items())
    how = step.get("served_as", "onnx")
    total = sum(step["parity"]["rows"].values())
    title = "as ONNX" if how == "onnx" else f"as {how}"
    rows.append(
        (title, f"compared with the model itself on {total} rows ({compared}); largest difference: {differences}")
    )
    if step.get("why_native"):
        rows.append(("", f"in a separate process, not as ONNX: {step['why_native']}"))
    if step["no_probability"]:
        rows.append(("", f"no probabilities are served: {step['no_probability']}"))
    if found := step.get("compression"):
        rows.append(("size", _compressed(found)))
    return rows


def _compressed(found: dict[str, Any]) -> str:
    """The chosen candidate beside the full model."""
    full = found["table"][0]
    chosen = next(one for one in found["table"] if one["name"] == found["chosen"])
    better = f"{abs(chosen['loses']):.2%} {'worse' if chosen['loses'] > 0 else 'better'}"
    quality = "the same answers" if not chosen["loses"] else f"{better} on rows it has not seen"
    return (
        f"{chosen['name']}: {chosen['bytes'] / 1e3:,.1f} kB of {full['bytes'] / 1e3:,.1f} kB, {chosen['batch_ms']:.1f}"
        f" ms of {full['batch_ms']:.1f} ms for 1,000 rows; {quality}{_could_be(found, chosen)}"
    )


def _could_be(found: dict[str, Any], chosen: dict[str, Any]) -> str:
    """What 2 % of the quality would buy, where nothing may be lost."""
    some = [
        one
        for one in found["table"]
        if one["loses"] <= WORTH_TELLING and not one["beyond"] and one["bytes"] < chosen["bytes"] / 2
    ]
    if chosen["loses"] or not some:
        return ""
    least = min(some, key=lambda one: one["bytes"])
    size, time = f"{least['bytes'] / 1e3:,.1f} kB", f"{least['batch_ms']:.1f} ms"
    return f" (with quality.may_lose {WORTH_TELLING}: {size}, {time}; {least['name']})"


def _letters(count: int) -> str:
    return "dead letter" if count == 1 else "dead letters"


def _events_line(step: dict[str, Any]) -> str:
    """In = raw + dead letters + quarantined, by topic."""
    parts = []
    for topic, counts in step["topics"].items():
        kept = (
            f" + {counts['quarantined']:,} quarantined ({', '.join(counts['quarantined_for'])})"
            if counts["quarantined"]
            else ""
        )
        kept += f" + {counts['discarded']:,} discarded" if counts.get("discarded") else ""
        kept += (
            f" + {counts['deletions']:,} deletion{'s' if counts['deletions'] > 1 else ''}"
            if counts.get("deletions")
            else ""
        )
        parts.append(
            f"{topic} {counts['events']:,} = {counts['rows']:,} raw + {counts['dead_letters']:,}"
            f" {_letters(counts['dead_letters'])}{kept}"
        )
    rate = f"; {step['events_per_second']:,} a second, lag {step['lag']}" if step["new_events"] else ""
    return f"{'; '.join(parts)}{rate}"


def _monitor_line(step: dict[str, Any]) -> str:
    quality = ", ".join(f"{name} {value:.4g}" for name, value in step["quality"].items())
    alarms = ", ".join(subject for subject, state in step["alarms"].items() if state == "ALARM")
    return (
        f"{step['requests']:,} rows served, {step['drift_share']:.0%} of the columns drifted,"
        f" {quality or 'no outcomes known'}; alarms: {alarms or 'none'}"
    )


def _print_explanation(console: Console, found: dict[str, Any]) -> None:
    total = found["base_value"] + sum(found["shap_values"].values())
    ranked = sorted(found["shap_values"].items(), key=lambda item: -abs(item[1]))
    digits = 1 if found["explains"] == "prediction" else 3
    effects = ", ".join(f"{name} {value:+.{digits}f}" for name, value in ranked[:5])
    answer = found["answer"] + "".join(
        f", {name} {found[name]:.2f}" for name in ("probability", "score") if name in found
    )
    console.print()
    told = f"{found['request']} -> {answer}, answered by {found['variant']} {found['model_version']}"
    _headed(console, "One prediction", told)
    console.print(
        f"        why: base {found['base_value']:.{digits}f}; {effects}; all {len(ranked)} effects add up to"
        f" {total:.{digits}f}"
    )
    for reason in found.get("reasons", []):
        console.print(f"        {reason}")


def sample_call(found: dict[str, Any], router: str) -> str:
    """A request for curl that the endpoint of a run answers; empty where there is no endpoint or no example.

    Args:
        found: Results of the run's steps.
        router: Address of the endpoint router.
    """
    deployed, features = found.get("deploy") or {}, found.get("features") or {}
    endpoint, host = deployed.get("endpoint"), deployed.get("host")
    example = (found.get("experiment") or {}).get("example")
    if (endpoint or host) and features.get("sample_key") is not None:
        body: dict[str, Any] = {"entities": {next(iter(features["views"].values()))["key"]: [features["sample_key"]]}}
    elif (endpoint or host) and example:
        body = {"dataframe_records": [example]}
    else:
        return ""
    told = shlex.quote(json.dumps(body))
    address = f"{router}/endpoints/{endpoint}/invocations" if endpoint else f"-H 'host: {host}' {router}/invocations"
    return f"curl -s -H 'content-type: application/json' -d {told} {address}"


def _print_next(console: Console, summary: Summary) -> None:
    console.print()
    _headed(console, "Try next")
    lines = (
        []
        if summary.applied.outputs["platform"]["models"]
        else [".venv/bin/groundplan add model NAME --from FILE.csv --target COLUMN"]
    )
    lines += [
        ".venv/bin/groundplan shell                  # where mlflow is on the PATH, and aws, boto3 and kcat talk to"
        " this platform"
    ]
    router = summary.state.services["router"].url
    lines += [call for found in summary.results.values() if (call := sample_call(found, router))][:1]
    lines.append(".venv/bin/groundplan status")
    lines += [f".venv/bin/groundplan monitor {model}" for model in list(summary.results)[:1]]
    lines.append("make down")
    for line in lines:
        console.print(f"  {line}")


def print_status(found: dict[str, Any], *, resources: bool) -> None:
    """``groundplan status``; with each resource on request."""
    console = terminal.console(markup=False)
    if not found["services"]:
        console.print("nothing is running; `groundplan up` starts the platform")
        return
    shown = table("service", "state", "address", "pid", "up for", title=f"Stack {found['stack']}")
    for service in found["services"].values():
        uptime = f"{service['uptime_s']} s" if service["uptime_s"] is not None else ""
        shown.add_row(
            service["title"] + ("" if service["owned"] else " (yours)"),
            service["state"],
            service["url"],
            str(service["pid"] or ""),
            uptime,
        )
    console.print(shown)
    if page := found["front_end"]:
        console.print(f"\nFront end {page['url']}; its sign-in: {page['openid_configuration']}", soft_wrap=True)
    written = sum(item["type"].startswith("kubernetes:") for item in found["applied"])
    counts = (
        f"{len(found['applied']) - written} resources created in the local cloud, {written} Kubernetes objects written,"
        f" {len(found['recorded'])} only recorded"
    )
    console.print(f"\nProgram {counts}" + ("" if resources else "; `groundplan status --resources` lists them"))
    if not resources:
        return
    for kind, title in (
        ("applied", "Created in the local cloud"),
        ("recorded", "Only recorded (the local cloud can't create these)"),
    ):
        console.print()
        shown = table("type", "name", "id", title=f"{title}: {len(found[kind])}")
        for item in sorted(found[kind], key=lambda item: (item["type"], item["name"])):
            shown.add_row(item["type"], item["name"], item["id"])
        console.print(shown)


def print_dead_letters(letters: list[Any]) -> None:
    """``groundplan dlq list``."""
    from rich.markup import escape

    from pipelines.privacy.redacting import redacted

    console = terminal.console()
    if not letters:
        console.print("no dead letters")
        return
    shown = table("topic", "partition", "offset", "reason", "detail", "event")
    for letter in letters:
        text = redacted(letter.value.decode("utf-8", "backslashreplace"))
        stood = ("not sent", "") if letter.partition < 0 else (str(letter.partition), str(letter.offset))
        shown.add_row(
            letter.topic,
            *stood,
            letter.reason,
            escape(letter.detail),
            escape(text[:80] + ("..." if len(text) > 80 else "")),
        )
    console.print(shown)
    console.print(
        f"\n{len(letters)} {_letters(len(letters))}: "
        + ", ".join(f"{count} {reason}" for reason, count in Counter(item.reason for item in letters).most_common())
    )


def print_quarantine(found: list[Any]) -> None:
    """``groundplan quarantine list``."""
    from rich.markup import escape

    console = terminal.console()
    if not found:
        console.print("nothing is in quarantine")
        return
    shown = table("topic", "events", "found", "since")
    for item in found:
        erased = f" (and {item.erased:,} of forgotten people)" if item.erased else ""
        shown.add_row(item.topic, f"{item.rows:,}{erased}", escape(", ".join(item.found)), item.since)
    console.print(shown)
    console.print(f"\n{sum(item.rows for item in found):,} events await a decision: {WAY_OUT}", markup=False)


def print_monitor(found: dict[str, Any]) -> None:
    """``groundplan monitor``."""
    console = terminal.console(markup=False)
    console.print(f"{found['version']}: {_monitor_line(found)}")
    for note in found["notes"]:
        console.print(note)
    if found["drifted_columns"]:
        console.print(f"drifted: {', '.join(found['drifted_columns'])}")
    if found["requests"]:
        _print_quality(console, found)
        _print_beside(console, found)
    if found["report"]:
        console.print(f"page: {found['report']}")
    if by_month := found.get("by_month"):
        shown = table(
            "month",
            "rows",
            "mean outcome",
            "largest PSI",
            "of",
            title="Data by month, compared with the training data",
        )
        for month in by_month:
            mark = " drifted" if month["psi"] > PSI_DRIFTED else ""
            shown.add_row(
                month["month"],
                f"{month['rows']:,}",
                f"{month['outcome']:.3f}" if month["outcome"] is not None else "",
                f"{month['psi']:.2f}{mark}",
                month["column"],
            )
        console.print()
        console.print(shown)
    if said := found.get("rolled_back"):
        console.print(said)
    if retrained := found.get("retraining"):
        console.print(_retrained(retrained))


def _print_quality(console: Console, found: dict[str, Any]) -> None:
    """Metrics as they turned out, and as they are expected to."""
    realised, estimated = found["realised"], found["estimated"]
    if names := list(dict.fromkeys([*found["quality"], *realised["metrics"], *estimated["metrics"]])):
        shown = table("metric", f"of {realised['rows']:,} outcomes", "estimated (95 % interval)", "worst allowed")
        for name in names:
            told = estimated["metrics"].get(name)
            shown.add_row(
                name,
                f"{realised['metrics'][name]:.4g}" if name in realised["metrics"] else "",
                f"{told['value']:.4g} ({told['low']:.4g} to {told['high']:.4g})" if told else "",
                f"{found['allowed'][name]:.4g}" if name in found["allowed"] else "",
            )
        console.print(shown)
    for name, told in realised["concept_drift"].items():
        console.print(
            f"concept drift: {name} of these outcomes is {told['outcome']:.4g}, and {told['low']:.4g} to"
            f" {told['high']:.4g} was expected of the same rows"
        )
    if why := estimated.get("why"):
        console.print(f"not estimated without outcomes: {why}")
    else:
        console.print("an estimate is blind to concept drift; outcomes show it: groundplan labels")


def _print_beside(console: Console, found: dict[str, Any]) -> None:
    """Odd values, the group that differs most, what it costs, and how old the features are."""
    parts = [f"{found['unexpected_share']:.2%} of the values are new to it"] if found["unexpected"] else []
    if answered := found["answering"]:
        mean = f", {answered['latency_ms']:.1f} ms on average" if answered["latency_ms"] is not None else ""
        parts.append(f"{answered['requests']:,} requests, {answered['error_share']:.2%} failed{mean}")
    groups = [item for item in found["facets"] if "DPPL" in item.get("post_training", {})]
    if groups:
        worst = max(groups, key=lambda item: abs(item["post_training"]["DPPL"]))
        value = worst["post_training"]["DPPL"]
        parts.append(f"largest difference between groups: DPPL {value:.2f} ({worst['column']}={worst['value']})")
    if found["usd_per_thousand"] is not None:
        parts.append(f"{found['usd_per_thousand']:,.2f} USD per thousand predictions")
    if found["earned_per_thousand"] is not None:
        parts.append(f"{found['earned_per_thousand']:,.2f} USD earned by a thousand")
    if found["feature_age_hours"] is not None:
        parts.append(f"features filled {found['feature_age_hours']:.1f} hours ago")
    if parts:
        console.print("; ".join(parts))


def print_reproduced(found: dict[str, Any]) -> None:
    """``groundplan reproduce``."""
    console = terminal.console(markup=False)
    shown = table("", "then", "now", "")
    for each in found["compared"]:
        then, now = (
            ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else value
            for value in (each["then"], each["now"])
        )
        if each["same"] and isinstance(each["then"], dict):
            now = ""  # said once
        shown.add_row(each["what"], _plain_value(then), _plain_value(now), "same" if each["same"] else "differs")
    console.print(shown)
    verdict = "reproduced" if found["reproduced"] else "not reproduced"
    console.print(f"{verdict}: run {found['run']} again as {found['again']}")


def print_sweep(found: dict[str, Any], model: str) -> None:
    """``groundplan sweep``."""
    console = terminal.console(markup=False)
    names = list(found["best"]["parameters"])
    shown = table(found["metric"], *names, "run")
    for each in found["leaders"]:
        values = [_plain_value(each["parameters"].get(name, "")) for name in names]
        shown.add_row(_plain_value(each["value"]), *values, each["run_id"])
    console.print(shown)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(found["trials"].items()))
    console.print(f"{sum(found['trials'].values())} trials: {counts}; nested under run {found['run_id']}")
    arguments = " ".join(f"--{name} {value}" for name, value in found["best"]["parameters"].items())
    console.print(f"the best one as a version: groundplan experiment {model} --deploy -- {arguments}")


def _plain_value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _retrained(found: dict[str, Any]) -> str:
    """What a retraining has brought, and what follows."""
    waits = [step["waiting"] for step in found.values() if isinstance(step, dict) and "waiting" in step]
    if waits:
        return f"retraining: {waits[0]}"
    registered, experiment = found["register"], found["experiment"]
    version = registered["version"]
    if earlier := experiment.get("reused_from"):
        return f"retraining: the rows and the code are those of {earlier}, so it is still {version}"
    return (
        f"retrained: {version} ({registered['change']}) waits for two approvals:"
        f" groundplan approve {experiment['model']} {version} --role data-science"
    )


# What each step produces, as rows for users; by the step's name (``spec.steps``).
_SUMMARIES: dict[str, Callable[[dict[str, Any]], Rows]] = {
    "ingest": _ingest,
    "quality": _quality,
    "features": _features,
    "experiment": _experiment,
    "evaluate": _evaluate,
    "register": _register,
    "signoff": _signoff,
    "deploy": _deploy,
    "monitor": _monitor,
}
