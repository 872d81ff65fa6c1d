from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis  # noqa: F401 (its plug-in imports it while pytest ends, and CPython 3.11 can't parse that deep then)
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from groundplan.engine.kubernetes.manifests import Manifest
from groundplan.local.environment import child_environment
from groundplan.local.home import Home, State
from groundplan.local.moto.aws import client
from groundplan.local.moto.kserve import GROUP, KIND
from groundplan.local.moto.sending import keeper
from groundplan.local.up import Summary, bring_up, tear_down
from pipelines.context import Context, load_definition, sandbox_objectives
from pipelines.registry.evaluation import packed
from pipelines.steps.deploy import deploy
from pipelines.training.labelled import Labelled
from spec.objectives import ModelObjectives
from spec.outputs import EndpointOutputs, Outputs, read
from tests.models import write
from tests.platform import copy_project
from tests.versions import approved, stored

# Forgetting reads every object of the platform, and each file of tests leaves hundreds: these come first.
FIRST = ("test_forget.py", "test_several_objects.py", "test_quarantine.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each file stays together, and in its order."""
    items.sort(key=lambda item: item.path.name not in FIRST)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Summary]:
    """The services and the program, without a model."""
    home = Home(copy_project(tmp_path_factory.mktemp("platform") / "project"))
    try:
        yield bring_up(home, "local", models=())
    finally:
        tear_down(home)


@pytest.fixture(scope="session")
def home(platform: Summary) -> Home:
    return platform.home


@pytest.fixture(scope="session")
def state(platform: Summary) -> State:
    return platform.state


@pytest.fixture(scope="session")
def outputs(platform: Summary) -> Outputs:
    return read(str(platform.home.outputs_file))


@pytest.fixture
def aws(state: State) -> Any:
    """Clients of the local cloud by service name."""

    def make(service: str) -> Any:
        return client(service, state.services["router" if service == "sagemaker-runtime" else "aws"].url, state.region)

    return make


@pytest.fixture
def inside(home: Home, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's environment is that of a pipeline step."""
    for key, value in child_environment(home, state.services, state.region).items():
        monkeypatch.setenv(key, value)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(60, 2)), columns=["a", "b"])
    return frame.assign(label=3 * frame["a"] - frame["b"])


def on_cluster(state: State, outputs: Outputs, model: str, folder: Path) -> None:
    """Create a model's InferenceService, as the program does."""
    variables = {
        "GROUNDPLAN_PUBLISHED": f"s3://{outputs.buckets['models']}/{model}/current/model.tar.gz",
        "AWS_DEFAULT_REGION": outputs.region,
        "GROUNDPLAN_CAPTURE": f"s3://{outputs.buckets['models']}/capture/groundplan-local-{model}/cluster",
        "GROUNDPLAN_CAPTURE_SECONDS": "0.2",
    }
    container = {
        "name": "kserve-container",
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8080}},
    }
    document = {
        "apiVersion": GROUP,
        "kind": KIND,
        "metadata": {
            "name": model,
            "namespace": "models",
            "annotations": {"serving.kserve.io/enable-tag-routing": "true"},
        },
        "spec": {"predictor": {"minReplicas": 2, "containers": [container]}},
    }
    keeper(state.services["aws"].url, state.region, folder)(Manifest("", document))


@pytest.fixture
def publish(outputs: Outputs, state: State, tmp_path: Path, rows: pd.DataFrame, inside: None) -> Any:
    """``publish(topology, version, noise)`` trains, registers and deploys; the context of the run.

    ``objectives`` are other than the sandbox's, ``change`` changes the graph, ``frame`` has other rows; ``later`` those
    whose outcome is known since.
    """
    import mlflow

    script = tmp_path / f"published-{time.time_ns() % 10**9}.py"
    script.write_text("")
    client = mlflow.MlflowClient(state.services["mlflow"].url)
    random = np.random.default_rng(1)

    def run(
        topology: str,
        version: str = "v1.0.0",
        noise: float = 0.01,
        deployed: bool = True,
        objectives: dict[str, Any] | None = None,
        change: Callable[[Path], None] | None = None,
        frame: pd.DataFrame | None = None,
        later: pd.DataFrame | None = None,
    ) -> Context:
        data = rows if frame is None else frame
        example = replace(load_definition(script), target="label")
        settings = EndpointOutputs(name="", topology=topology, instance_type="", min_instances=1, max_instances=2)
        if topology == "cluster":
            settings = settings.model_copy(update={"canary_steps": (5, 25)})
            on_cluster(state, outputs, example.model, tmp_path / "manifests")
        if topology in ("serverless", "realtime"):
            settings = settings.model_copy(
                update={
                    "name": f"groundplan-local-{example.model}",
                    "instance_type": "ml.m5.large",
                    "canary_steps": (5, 25),
                }
            )
        known = sandbox_objectives("regression").model_dump() | (objectives or {})
        given = {
            "endpoints": {example.model: settings},
            "models": {example.model: ModelObjectives.model_validate(known)},
        }
        context = Context(outputs.model_copy(update=given), example, f"r{version}", tmp_path)
        features = data.drop(columns="label")
        model = LinearRegression().fit(features, data["label"] + random.normal(scale=noise, size=len(data)))
        write(tmp_path / version, model, features, "regression", data["label"], example.model)
        for name in ("training", "holdout"):
            Labelled(features, data["label"]).save(tmp_path / version, name)
        judged = packed(tmp_path / version)
        if change:
            change(tmp_path / version / "candidate" / "model.onnx")
        if version == "v1.0.0":
            client.create_registered_model(example.model)
        experiment = client.create_run("0")
        client.log_artifacts(experiment.info.run_id, str(tmp_path / version), "groundplan")
        registered = client.create_model_version(
            example.model,
            "s3://somewhere/model",
            experiment.info.run_id,
            tags={"version": version, "pipeline_run": context.run},
        )
        ran = {"run_id": experiment.info.run_id, "pipeline_run": context.run}
        lineage = {**ran, "contracts": {}, "views": [], "previous": ""}
        stored(context, tmp_path / version / "candidate", version, judged, lineage=lineage)
        if later is not None:
            known = io.BytesIO()
            pd.concat([data, later]).to_parquet(known)
            context.put("features", f"training/{example.model}/run=r/training.parquet", known.getvalue())
        for step, result in (
            (
                "experiment",
                {"run_id": experiment.info.run_id, "task": "regression", "holdout": "rows the model has not seen"},
            ),
            ("register", {"version": version, "registry_version": registered.version}),
        ):
            context.write_result(step, result)
        if deployed:
            approved(context, version)
            context.write_result("deploy", deploy(context))
        return context

    return run
