"""Whether a stack works: an event becomes a prediction, and requests are captured, counted and monitored."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from groundplan.local.home import Home
from groundplan.verification.evidence import Check, Report, checked
from groundplan.verification.stored import Client
from spec.outputs import Outputs

AREA, ASKED = "From an event to an answer", 100
_check = partial(checked, AREA)
CAPTURE_TIMEOUT_S, METRIC_TIMEOUT_S = 30.0, 30.0


def run(report: Report, home: Home, outputs: Outputs, client: Client, folder: Path, say: Callable[[str], None]) -> None:
    """Send an event, run the model's pipeline, and request its prediction, on the platform of this machine."""
    from groundplan.local.experiments import run_experiment
    from groundplan.local.inside import inside
    from pipelines.context import load_definition
    from pipelines.data.broker import producer, send
    from pipelines.data.message_keys import message_key

    loaded = load_definition(folder)
    if not loaded.contracts:
        report.checks.append(
            Check(AREA, "an event is sent", "not tried", "the model reads no events", "a model with a data contract")
        )
        return
    contract, key, sent = loaded.contracts[0], b"", dict[str, Any]()
    begun = time.monotonic()
    with report.looking(AREA, "an event is sent"):
        with inside(home):
            sent = _event(outputs, contract)
            named = str(message_key(contract, sent)).encode()
            begun = time.monotonic()
            send(
                producer(outputs),
                [{"topic": contract.topic, "value": json.dumps(sent).encode(), "key": named}],
                contract.topic,
            )
            key = named
        report.checks.append(
            Check(
                AREA,
                "an event is sent",
                "passed",
                f"key {key.decode()} to {contract.topic}",
                "acknowledged",
                time.monotonic() - begun,
            )
        )
        say(f"event {key.decode()} sent to {contract.topic}")
    if not key:
        return
    with report.looking(AREA, "the pipeline runs, and the endpoint answers"):
        try:
            found = run_experiment(home, folder, deploy=True, say=say)
            _pipeline(report, found, contract.topic, time.monotonic() - begun)
            _ask(report, outputs, client, loaded.model, found, sent[contract.keys[0]], begun)
        finally:
            with inside(home):
                send(producer(outputs), [{"topic": contract.topic, "value": None, "key": key}], contract.topic)
            report.left.append(
                f"the event {key.decode()} in the raw zone, which is locked; it is deleted by its key, so that the"
                " next dataset omits it"
            )
            report.left.append("a version in the registry, its run, and its entries in the audit log")


def _event(outputs: Outputs, contract: Any) -> dict[str, Any]:
    """An event like the first of the topic, for a new entity."""
    from pipelines.data.dead_letters import messages

    first = next((message.value() for message in messages(outputs, contract.topic) if message.value()), None)
    if first is None:
        from spec.errors import GroundplanError

        raise GroundplanError(
            f"the topic {contract.topic} is empty", fix="first send an event that matches its contract"
        )
    event: dict[str, Any] = json.loads(first)
    own = contract.keys[0]
    number = random.SystemRandom().randrange(10**8, 10**9)
    event[own] = number if isinstance(event[own], int) else f"verify-{number}"
    return event


def _pipeline(report: Report, found: dict[str, Any], topic: str, seconds: float) -> None:
    taken = found["ingest"]
    sums = taken["topics"][topic]
    adds_up = (
        sums["events"]
        == sums["rows"] + sums["deletions"] + sums["dead_letters"] + sums["quarantined"] + sums["discarded"]
    )
    report.checks.append(
        _check("it is in the raw zone", taken["new_events"] >= 1, f"{taken['new_events']} new events", "at least 1")
    )
    counted = (
        f"{sums['events']} sent, {sums['rows']} rows, {sums['deletions']} deletions, {sums['dead_letters']} dead"
        f" letters, {sums['quarantined']} in quarantine"
    )
    report.checks.append(_check("every event is accounted for", adds_up, counted, "sent = all others"))
    gate = found["quality"]
    report.checks.append(
        _check(
            "the quality gate passes the dataset",
            bool(gate["digest"]),
            f"{gate['expectations']} expectations, dataset {gate['digest'][:16]}",
            "a dataset",
        )
    )
    views = {name: view["online"]["items"] for name, view in found["features"]["views"].items()}
    said = ", ".join(f"{items} in {name}" for name, items in views.items())
    report.checks.append(_check("features are online", bool(views) and all(views.values()), said, "every entity"))
    report.checks.append(
        _check("a version is registered", bool(found["register"]["version"]), found["register"]["version"], "a version")
    )
    who = found["signoff"]["approvals"]
    report.checks.append(
        _check(
            "two people agree",
            len(set(who.values())) == 2,
            ", ".join(f"{role}: {name}" for role, name in who.items()),
            "two, in two roles",
        )
    )
    deployed = found["deploy"]
    report.checks.append(
        _check(
            "a canary decides",
            deployed["outcome"] in ("promoted", "not enough evidence"),
            f"{deployed['outcome']}: {deployed['verdict']}",
            "promoted, or left to a person",
        )
    )
    report.checks.append(Check(AREA, "from the event to the endpoint", "passed", f"{seconds:.0f} s", "", seconds))


def _ask(
    report: Report, outputs: Outputs, client: Client, model: str, found: dict[str, Any], entity: Any, begun: float
) -> None:
    name, own = found["deploy"]["endpoint"], next(iter(found["features"]["views"].values()))["key"]
    answers_at(report, outputs, client, model, name, {"entities": {own: [entity]}}, begun)


def answers_at(
    report: Report,
    outputs: Outputs,
    client: Client,
    model: str,
    name: str,
    body: dict[str, Any],
    begun: float | None = None,
) -> None:
    """Call an endpoint, and compare its answers with the model's objectives."""
    runtime, s3, bucket = client("sagemaker-runtime"), client("s3"), outputs.buckets["models"]
    request = {"EndpointName": name, "ContentType": "application/json", "Body": json.dumps(body)}

    def captured() -> int:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"capture/{name}/")
        return sum(len(page.get("Contents", ())) for page in pages)

    before = captured()
    first = json.loads(runtime.invoke_endpoint(**request)["Body"].read())
    fresh = time.monotonic() - begun if begun is not None else 0.0
    report.checks.append(
        _check(
            "the endpoint predicts for its key",
            bool(first.get("predictions")),
            f"{first.get('predictions')}, version {first.get('model_version')}",
            "a prediction",
        )
    )
    if begun is not None:
        within = outputs.models[model].retraining.within_minutes
        wanted = f"at most {within:g} minutes" if within else "no objective"
        report.checks.append(
            _check(
                "freshness: from the event to its prediction",
                not within or fresh <= 60 * within,
                f"{fresh:.0f} s",
                wanted,
            )
        )
    explained = json.loads(runtime.invoke_endpoint(**request, CustomAttributes="explain")["Body"].read())[
        "explanations"
    ][0]
    effects, base = explained["shap_values"], explained["base_value"]
    whole = base + sum(effects.values())
    holds = bool(effects) and abs(whole - explained["prediction"]) < 1e-3 * max(1.0, abs(whole))
    said = f"{len(effects)} effects; with the base {base:.4g} they add up to {whole:.4g}"
    report.checks.append(
        _check("it explains the answer", holds, said, f"the prediction, {explained['prediction']:.4g}")
    )
    times = []
    for _ in range(ASKED):
        started = time.perf_counter()
        runtime.invoke_endpoint(**request)["Body"].read()
        times.append(1000 * (time.perf_counter() - started))
    p95, limit = sorted(times)[int(0.95 * ASKED) - 1], outputs.models[model].latency_ms
    report.checks.append(
        _check(
            "latency at the client",
            p95 <= limit,
            f"p95 {p95:.1f} ms of {ASKED} requests",
            f"at most {limit:g} ms",
        )
    )
    report.checks.append(
        _seen("requests and answers are captured", lambda: captured() - before, "new objects", CAPTURE_TIMEOUT_S)
    )
    report.checks.append(
        _seen(
            "requests are counted",
            lambda: _invocations(client("cloudwatch"), name),
            "requests in the metric Invocations",
            METRIC_TIMEOUT_S,
        )
    )
    with report.looking(AREA, "an alarm changes"):
        report.checks.append(alarm_of(client("cloudwatch"), outputs.alarms[model]))


def _seen(what: str, count: Callable[[], float], of: str, timeout_s: float) -> Check:
    """Check repeatedly: captures and metrics appear after a while."""
    started = time.monotonic()
    while not (found := count()) and time.monotonic() - started < timeout_s:
        time.sleep(0.5)
    return Check(
        AREA, what, "passed" if found else "failed", f"{found:g} {of}", "at least 1", time.monotonic() - started
    )


def _invocations(cloudwatch: Any, endpoint: str) -> float:
    from datetime import UTC, datetime, timedelta

    now, of = datetime.now(UTC), {"EndpointName": endpoint, "VariantName": "champion"}
    points = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[{"Name": name, "Value": value} for name, value in of.items()],
        StartTime=now - timedelta(minutes=15),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


def alarm_of(cloudwatch: Any, alarms: dict[str, str]) -> Check:
    """Set one alarm off, check its state, and reset it."""
    kind, name = next(iter(sorted(alarms.items())))

    def state() -> str:
        return str(cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"])

    before = state()
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="groundplan verify tries it")
    try:
        during = state()
    finally:
        cloudwatch.set_alarm_state(AlarmName=name, StateValue=before, StateReason="groundplan verify puts it back")
    return Check(
        AREA,
        "an alarm goes off and recovers",
        "passed" if during == "ALARM" and state() == before else "failed",
        f"{kind}: {before}, {during}, {state()}",
        "ALARM, and back",
    )
