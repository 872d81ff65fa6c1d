"""``groundplan up``: services, program, models; reuses what is running, and stops what it started if it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from components.foundation.base import Scope
from groundplan.engine.program import project_name
from groundplan.local.home import Home, Service, State, write_private
from groundplan.local.jobs import Done, newest_result, results, run_steps
from groundplan.local.moto.apply import Applied, apply
from groundplan.local.moto.aws import Cloud, client
from groundplan.local.services import (
    OWN,
    TITLES,
    Supervisor,
    commands,
    free_port,
    healthy,
    own_service,
    require_free,
    start_supervisor,
    stop_all,
    supervisor_of,
    wait_healthy,
)
from groundplan.local.starter import Starter, starter
from groundplan.local.web.addresses import front_end
from spec.errors import GroundplanError, UsageError
from spec.model_folders import ModelFolder, folder_names, folders_of, options_of
from spec.objectives import StackConfig, load
from spec.outputs import Outputs, read
from spec.steps import STEPS, Step, steps_for

MIN_FREE_DISK_MB = 1000
START_TIMEOUT_S = 120.0


class Talk:
    """Progress reported to the caller: lines for what is done, and the progress of the rest. This one is silent."""

    def __call__(self, line: str) -> None:
        """Something is done."""

    def progress(self, text: str) -> None:
        """The progress of something; only the last text counts."""


class Filling(Protocol):
    """Puts what an earlier platform has stored where ``up`` has made room for it."""

    def files(self, home: Home) -> None:
        """Before the services: MLflow's database, and what ``up`` knows of models that run."""

    def bucket(self, cloud: Cloud, bucket: str) -> None:
        """One bucket's objects, with all of their versions in their order; before the broker, which keeps its log in
        one.
        """

    def stores(self, cloud: Cloud, outputs: Outputs, broker_bucket: str) -> None:
        """After the program: everything else that is stored."""


@dataclass
class Summary:
    """What ``up`` reports at the end."""

    home: Home
    state: State
    applied: Applied
    already_up: bool
    results: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  # by model and step
    explanation: dict[str, dict[str, Any]] = field(default_factory=dict)  # by model
    timings: dict[str, float] = field(default_factory=dict)
    not_run: list[tuple[str, str]] = field(
        default_factory=list
    )  # models without a serving version, and their folders' names


def bring_up(
    home: Home,
    stack: str,
    *,
    external: dict[str, str] | None = None,
    ports: dict[str, int] | None = None,
    models: tuple[str, ...] | None = None,
    options: Mapping[str, Mapping[str, str]] | None = None,
    validates: bool = False,
    filling: Filling | None = None,
    say: Talk = Talk(),  # noqa: B008 (it has no state)
) -> Summary:
    """Start what is not running, apply the program, run the stack's models that have not run.

    Args:
        external: Addresses of services the user already has, by service name; those are not started.
        ports: Wanted ports of own services, by name; others get a free one.
        models: Names of the models to run. Default: all that the stack names and that have a folder.
        options: Arguments of the models' sources, by model and name.
        validates: Whether the broker validates events against their contracts' schemas, and refuses the others when
            they are sent.
        filling: What an earlier platform has stored, to be put into an empty one.

    Raises:
        UsageError: An invalid stack file, flag or port; nothing was started.
        GroundplanError: A service, resource or step failed; what this call started is stopped again.
    """
    config = load(home.root, stack)
    chosen = _chosen(home.root, config, models, options or {})
    _check_disk(home.root)
    with home.lock():
        state = home.load()
        if state is not None and _alive(state):
            if state.stack != stack:
                raise UsageError(
                    f"stack {state.stack} is running here", where="--stack", fix="run `groundplan down` first"
                )
            _check_flags(state, external or {}, ports or {})
            if validates and not home.schemas.is_dir():
                raise UsageError(
                    "the running broker does not validate schemas",
                    where="--validate-at-broker",
                    fix="run `groundplan down` first",
                )
            supervisor = supervisor_of(state)
            if home.schemas.is_dir() and _write_schemas(home):
                supervisor.restart("kafka")  # it reads them once; its log is in S3
            return _run(home, config, state, supervisor, chosen, None, say, already_up=True)
        if state is not None:
            say("the platform was only partly running (its AWS process or its supervisor had died); starting over")
        stop_all(home, state)
        shutil.rmtree(home.run, ignore_errors=True)
        home.run.mkdir(parents=True)
        with _undone_on_failure(home):
            if validates:
                _write_schemas(home)
            if filling:
                filling.files(home)
            state, supervisor = _start_services(home, config, stack, external or {}, ports or {})
            return _run(home, config, state, supervisor, chosen, filling, say, already_up=False)


@dataclass(frozen=True)
class _Chosen:
    """A model to run, and the given arguments of its source."""

    folder: ModelFolder
    options: dict[str, str]


def _chosen(
    root: Path, config: StackConfig, models: tuple[str, ...] | None, options: Mapping[str, Mapping[str, str]]
) -> list[_Chosen]:
    """The models to run, in the stack's order.

    Raises:
        UsageError: The stack has no such model, or the model no such option.
    """
    named = list(config.objectives.models)
    folders = {folder.model: folder for folder in folders_of(root, named)}
    for model in (*(models or ()), *options):
        if model not in folders:
            there = f"the stack's models with a folder: {', '.join(folders) or 'none'}"
            raise UsageError(
                f"stack {config.objectives.environment} runs no model {model!r}",
                where="--models" if model in (models or ()) else "--set",
                fix=there,
            )
    for model, given in options.items():
        options_of(folders[model].file, given, model)
    return [
        _Chosen(folders[model], dict(options.get(model, {})))
        for model in named
        if model in folders and (models is None or model in models)
    ]


def tear_down(home: Home) -> list[str]:
    """Stop everything and forget its state; logs stay.

    Returns:
        Names of the processes that were stopped.
    """
    with home.lock(), _unstoppable():
        stopped = stop_all(home, _load_or_none(home))
        shutil.rmtree(home.run, ignore_errors=True)
    return stopped


def _load_or_none(home: Home) -> State | None:
    try:
        return home.load()
    except GroundplanError:
        return None  # unreadable state: the sweep by environment still finds every process


@contextmanager
def _unstoppable() -> Iterator[None]:
    """A second Ctrl-C must not stop the stopping."""
    handlers = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _undone_on_failure(home: Home) -> Iterator[None]:
    """Stop everything if the body fails or the user interrupts it."""
    try:
        yield
    except BaseException:
        with _unstoppable():
            stop_all(home, _load_or_none(home))
            shutil.rmtree(home.run, ignore_errors=True)
        raise


def _check_disk(root: Path) -> None:
    free_mb = shutil.disk_usage(root).free // 2**20
    if free_mb < MIN_FREE_DISK_MB:
        raise GroundplanError(
            f"only {free_mb} MB are free; the platform needs {MIN_FREE_DISK_MB} MB",
            where=str(root),
            fix="free up some space, then run it again",
        )
    if not os.access(root, os.W_OK):
        raise GroundplanError(
            "the folder can't be written to", where=str(root), fix="move the project to a folder where you may write"
        )


def _alive(state: State) -> bool:
    return bool(supervisor_of(state).states().get("aws", {}).get("statename") == "RUNNING")


def _check_flags(state: State, external: dict[str, str], ports: dict[str, int]) -> None:
    """Refuse flags that a running platform does not follow."""
    for name, given in (*external.items(), *ports.items()):
        service = state.services.get(name)
        if service is None or given not in (service.url, service.port):
            raise UsageError(
                f"the platform is already running without {given}",
                where=f"--{name}",
                fix="run `groundplan down` first",
            )


def _write_schemas(home: Home) -> bool:
    """Write a JSON Schema for each contract's topic, in the form that the broker reads: of a message with its key and
    its value. Returns whether any has changed.
    """
    from groundplan.contracts.check import all_files
    from spec.contracts import load_contracts

    home.schemas.mkdir(parents=True, exist_ok=True)
    changed = False
    for contract in (contract for path in all_files(home.root) for contract in load_contracts(path)):
        schema = {"type": "object", "properties": {"value": contract.json_schema()}}
        file, text = home.schemas / f"{contract.topic}.json", json.dumps(schema, indent=1)
        changed |= not file.is_file() or file.read_text(encoding="utf-8") != text
        file.write_text(text, encoding="utf-8")
    return changed


def _scope(root: Path, config: StackConfig, stack: str) -> Scope:
    return Scope(project_name(root), stack, config.region, config.account_id, config.objectives.owner, protect=False)


def _start_services(
    home: Home, config: StackConfig, stack: str, external: dict[str, str], ports: dict[str, int]
) -> tuple[State, Supervisor]:
    for name in (*external, *ports):
        if name not in OWN:
            raise UsageError(f"unknown service {name!r}", where="--port", fix=f"one of: {', '.join(OWN)}")
    services = {}
    for name in OWN:
        if name in external:
            services[name] = Service(name, external[name].rstrip("/"), owned=False)
        else:
            services[name] = own_service(
                name, require_free(ports[name], f"--port {name}={ports[name]}") if name in ports else free_port()
            )
    scope = _scope(home.root, config, stack)
    buckets = {"mlflow": scope.bucket_name("mlflow"), "kafka": scope.bucket_name("kafka-storage")}
    # The broker keeps its log in S3, so it starts once the bucket exists.
    supervisor = start_supervisor(
        home, commands(home, services, config.region, buckets), services, config.region, waits=("kafka",)
    )
    state = State(
        stack, config.region, uuid.uuid4().hex, supervisor.pid, supervisor.port, supervisor.password, services
    )
    home.save(state)
    return state, supervisor


def _run(
    home: Home,
    config: StackConfig,
    state: State,
    supervisor: Supervisor,
    chosen: list[_Chosen],
    filling: Filling | None,
    say: Talk,
    *,
    already_up: bool,
) -> Summary:
    timings: dict[str, float] = {}
    clock = _Clock(timings, say)
    services = state.services
    cloud = Cloud(services["aws"].url, config.region)
    bucket = _scope(home.root, config, state.stack).bucket_name("kafka-storage")
    if not already_up:
        with clock.phase(f"{TITLES['aws']} at {services['aws'].url}"):
            wait_healthy(home, supervisor, services["aws"], START_TIMEOUT_S)
        if services["kafka"].owned:
            with clock.phase(f"{TITLES['kafka']} at {services['kafka'].url}"):
                cloud.client("s3").create_bucket(Bucket=bucket, **location(config.region))
                if filling:
                    filling.bucket(cloud, bucket)
                supervisor.start("kafka")
                wait_healthy(home, supervisor, services["kafka"], START_TIMEOUT_S)
        else:
            wait_healthy(home, supervisor, services["kafka"], 10)
    else:
        for service in services.values():
            if service.name != "mlflow" or healthy(service):
                wait_healthy(home, supervisor, service, 20)

    new = [item for item in chosen if not _marker(home, item.folder.model).is_file()]

    def fill() -> None:
        if filling:
            with clock.phase("what was stored"):
                filling.stores(cloud, read(str(home.outputs_file)), bucket)

    with starter(home, state, STEPS if new else ()) as forks:
        return _run_program(home, config, state, supervisor, chosen, clock, forks, fill, already_up=already_up)


def _run_program(
    home: Home,
    config: StackConfig,
    state: State,
    supervisor: Supervisor,
    chosen: list[_Chosen],
    clock: _Clock,
    forks: Starter | None,
    fill: Callable[[], None],
    *,
    already_up: bool,
) -> Summary:
    services, timings = state.services, clock.timings
    with clock.phase(f"Pulumi program of stack {state.stack}"):
        applied = apply(
            home.root,
            state.stack,
            services["aws"].url,
            services["kafka"].url,
            home.resources_file,
            home.manifests,
            state.generation,
        )
        write_private(home.outputs_file, json.dumps(applied.outputs["platform"], indent=1))
        _fill_secrets(services["aws"].url, config.region, applied)
    fill()
    write_private(home.kcat_file, f"bootstrap.servers={services['kafka'].url}\n")
    summary = Summary(home, state, applied, already_up, timings=timings)
    started = time.monotonic()

    def mlflow_ready(check: Callable[[], None] = lambda: None) -> None:
        wait_healthy(home, supervisor, services["mlflow"], START_TIMEOUT_S, check)
        timings.setdefault(TITLES["mlflow"], time.monotonic() - started)

    def router_ready(check: Callable[[], None] = lambda: None) -> None:
        wait_healthy(home, supervisor, services["router"], START_TIMEOUT_S, check)

    for item in chosen:
        _run_model(home, state, item, summary, clock, {"experiment": mlflow_ready, "deploy": router_ready}, forks)
    mlflow_ready()
    router_ready()
    summary.not_run = not_run(home, state, applied.outputs["platform"]["models"], summary)
    return summary


def _marker(home: Home, model: str) -> Path:
    """The file that marks a model as brought up."""
    return home.run / "models" / f"{model}.json"


def location(region: str) -> dict[str, Any]:
    """Where a bucket is created; S3 takes no name for its first region."""
    return {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}


def _fill_secrets(endpoint: str, region: str, applied: Applied) -> None:
    """Give each empty secret a random value, as its owner would; the value is sent to Secrets Manager and nowhere
    else.
    """
    manager = client("secretsmanager", endpoint, region)
    for arn in applied.outputs["platform"]["secret_arns"].values():
        if not manager.describe_secret(SecretId=arn).get("VersionIdsToStages"):
            value = manager.get_random_password(PasswordLength=48, ExcludePunctuation=True)["RandomPassword"]
            manager.put_secret_value(SecretId=arn, SecretString=value)


def _run_model(
    home: Home,
    state: State,
    item: _Chosen,
    summary: Summary,
    clock: _Clock,
    before: dict[str, Callable[[Callable[[], None]], None]],
    forks: Starter | None,
) -> None:
    model = item.folder.model
    steps = steps_for(contract=bool(item.folder.contracts), joined=bool(item.folder.file.features))
    marker = _marker(home, model)
    if marker.is_file():
        before["experiment"](lambda: None)  # the registry says which version serves
        found = summary.results[model] = now_serving(home, state, model, steps)
        summary.explanation[model] = explain_one(state, item.folder, found) if "deploy" in found else {}
        clock.say(
            f"{model}: already running, serves {found['register']['version']}"
            if "register" in found
            else f"{model}: no version is in service"
        )
        return
    run, arguments = new_run(), ("--options", json.dumps(item.options)) if item.options else ()
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        explanation: list[Future[dict[str, Any]]] = []

        def done(step: Done) -> None:
            clock.done(f"{model}: {step.step.title}", step.seconds)
            if step.step.name == "deploy":  # monitoring takes as long as loading SHAP does; there are two cores
                explanation.append(
                    pool.submit(explain_one, state, item.folder, results(home, state, model, run, steps))
                )

        def progress(step: Step, text: str) -> None:
            clock.say.progress(f"{model}: {step.name}: {text}")

        run_steps(
            home,
            state,
            steps,
            item.folder.path,
            run,
            arguments,
            before=before,
            starter=forks,
            on_done=done,
            on_progress=progress,
        )
        found = results(home, state, model, run, steps)
        summary.explanation[model] = explanation[0].result() if explanation else {}
    summary.timings[f"model {model}"] = time.monotonic() - started
    summary.results[model] = found
    if "deploy" in found:  # otherwise it waits for events, and the next `up` looks again
        write_private(marker, json.dumps({"run": run}))


def champion_tags(state: State, model: str) -> dict[str, str]:
    """Tags of the version that serves, from the registry; empty where none does.

    Raises:
        GroundplanError: The registry does not answer.
    """
    import httpx

    address = f"{state.services['mlflow'].url}/api/2.0/mlflow/registered-models/alias"
    answer = httpx.get(address, params={"name": model, "alias": "champion"}, timeout=30, trust_env=False)
    if answer.status_code == 404:
        return {}
    if answer.status_code != 200:
        raise GroundplanError(
            f"MLflow answered {answer.status_code} to the request for the version in service",
            where=address,
            fix="see `groundplan status`, and run it again",
        )
    return {item["key"]: item["value"] for item in answer.json()["model_version"]["tags"]}


def now_serving(home: Home, state: State, model: str, steps: tuple[Step, ...]) -> dict[str, dict[str, Any]]:
    """Results of the run that produced the model's champion, and the newest of monitoring; empty where no version
    serves.
    """
    tags = champion_tags(state, model)
    return (
        results(home, state, model, tags["pipeline_run"], steps) | newest_result(home, state, model, "monitor")
        if tags
        else {}
    )


def not_run(home: Home, state: State, named: Iterable[str], summary: Summary) -> list[tuple[str, str]]:
    """Models of the stack and of ``models/`` that have no serving version and that this call has not run, each with
    its folder's name, if any.
    """
    folders = folder_names(home.root)
    models = dict.fromkeys((*named, *folders))
    return [
        (model, folders.get(model, ""))
        for model in models
        if model not in summary.results and not champion_tags(state, model)
    ]


def new_run() -> str:
    """A name for a run of the pipeline: time and four random characters; sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d%H%M%S}-{uuid.uuid4().hex[:4]}"


def explain_one(state: State, folder: ModelFolder, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Ask the endpoint for one entity's prediction by key and for why; empty where there are no features or no
    endpoint.
    """
    features = found.get("features")
    if not features or not found["deploy"]["endpoint"] or features["sample_key"] is None:
        return {}
    key = next(iter(features["views"].values()))["key"]
    runtime = client("sagemaker-runtime", state.services["router"].url, state.region)
    body = json.dumps({"entities": {key: [features["sample_key"]]}})
    common = {"EndpointName": found["deploy"]["endpoint"], "ContentType": "application/json", "Body": body}
    predicted = runtime.invoke_endpoint(**common)
    explained = runtime.invoke_endpoint(**common, CustomAttributes="explain")
    answer = json.loads(predicted["Body"].read())
    explanation = json.loads(explained["Body"].read())["explanations"][0]
    prediction = answer["predictions"][0]
    return {
        "request": body,
        "endpoint": found["deploy"]["endpoint"],
        "variant": predicted["InvokedProductionVariant"],
        "answer": folder.file.answer(prediction) if explanation["explains"] != "prediction" else f"{prediction:.1f}",
        **answer,
        **explanation,
    }


class _Clock:
    """Reports each phase when it is done, and records how long it took."""

    def __init__(self, timings: dict[str, float], say: Talk) -> None:
        self.timings, self.say = timings, say

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.done(title, time.monotonic() - started)
        self.timings[title.partition(" at http")[0].partition(" at 127")[0]] = time.monotonic() - started

    def done(self, title: str, seconds: float) -> None:
        self.say(f"{title}  [{seconds:.1f} s]")


def status(home: Home) -> dict[str, Any]:
    """What is running and what was created, for users and programs."""
    state = home.load()
    if state is None:
        return {"running": False, "services": {}, "applied": [], "recorded": []}
    processes = supervisor_of(state).states()
    services = {}
    for name, service in state.services.items():
        process = processes.get(name, {})
        services[name] = {
            "title": TITLES[name],
            "url": service.url,
            "state": (
                "healthy"
                if healthy(service)
                else (process.get("statename", "stopped").lower() if service.owned else "unreachable")
            ),
            "pid": process.get("pid") or None,
            "owned": service.owned,
            "uptime_s": int(process["now"] - process["start"]) if process.get("pid") else None,
            "log": str(home.logs / f"{name}.log") if service.owned else None,
        }
    records = (
        json.loads(home.resources_file.read_text(encoding="utf-8"))["resources"]
        if home.resources_file.is_file()
        else []
    )
    platform = json.loads(home.outputs_file.read_text(encoding="utf-8")) if home.outputs_file.is_file() else {}
    listed = [{"name": r["name"], "type": r["type"], "id": r["id"], "urn": r["urn"]} for r in records if r["id"]]
    applied = {r["urn"] for r in records if r["applied"]}
    return {
        "running": bool(processes) and all(item["state"] == "healthy" for item in services.values()),
        "stack": state.stack,
        "services": services,
        "front_end": front_end(platform, state.services["router"].url),
        "applied": [item for item in listed if item["urn"] in applied],
        "recorded": [item for item in listed if item["urn"] not in applied],
    }
