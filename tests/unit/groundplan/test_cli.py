from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.platform import copy_project

pytestmark = pytest.mark.slow  # starts the command line

HEAVY = (
    "mlflow",
    "sklearn",
    "pandas",
    "numpy",
    "boto3",
    "pulumi",
    "shap",
    "feast",
    "evidently",
    "great_expectations",
    "sagemaker",
    "onnxruntime",
)


def groundplan(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), **env}
    return subprocess.run(
        [sys.executable, "-m", "groundplan", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """A folder that looks like a clone but has nothing running."""
    shutil.copy(root / "Pulumi.yaml", tmp_path)
    shutil.copytree(root / "stacks", tmp_path / "stacks")
    shutil.copytree(root / "models", tmp_path / "models")
    return tmp_path


def test_the_command_line_loads_no_heavy_library(root: Path) -> None:
    code = f"import sys, groundplan.cli.app; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_explain_and_status_load_no_machine_learning_library(root: Path) -> None:
    code = (
        "import sys; from groundplan.cli.app import app\n"
        "for words in (['explain'], ['explain', '--json'], ['status']):\n"
        "    try: app(words)\n"
        "    except SystemExit: pass\n"
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules and m not in ('boto3', 'pulumi')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("LOADED []")


def test_help_names_every_command(project: Path) -> None:
    done = groundplan("--help", cwd=project)
    assert done.returncode == 0
    for command in ("up", "down", "status", "env", "experiment", "monitor", "approve", "audit", "explain"):
        assert f" {command} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("up", "--stack", "nope"), 2, "unknown stack 'nope'"),
        (("up", "--models", "nope"), 2, "stack local runs no model 'nope'"),
        (("up", "--port", "mlflow"), 2, "expected SERVICE=PORT with a port from 1 to 65535, got 'mlflow'"),
        (("up", "--port", "mlflow=99999"), 2, "with a port from 1 to 65535"),
        (("up", "--port", "redis=1234"), 2, "unknown service 'redis'"),
        (("up", "--nonsense"), 2, "No such option"),
        (("env",), 1, "nothing is running"),
        (("monitor", "models/diabetes-rf"), 1, "the platform is not running"),
        (("experiment", "models/diabetes-rf"), 1, "the platform is not running"),
        (("explain", "--stack", "nope"), 2, "unknown stack 'nope'"),
    ],
)
def test_wrong_use_and_failure_have_their_exit_codes_and_one_message(
    project: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = groundplan(*arguments, cwd=project)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not (project / ".groundplan" / "run").exists()  # nothing half-made


def test_a_port_that_is_taken_is_named_and_nothing_is_started(project: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = groundplan("up", "--port", f"mlflow={port}", cwd=project)
    assert done.returncode == 2
    assert f"port {port} can't be used" in done.stderr and "choose another port" in done.stderr
    assert not (project / ".groundplan" / "run").exists()


def test_a_wrong_objective_stops_up_before_anything_starts(project: Path) -> None:
    file = project / "stacks" / "Pulumi.local.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("latency_ms: 100", "latency_ms: 0"), encoding="utf-8")
    done = groundplan("up", cwd=project)
    assert done.returncode == 2
    assert (
        "stacks/Pulumi.local.yaml: groundplan:objectives.models.diabetes-rf.latency_ms: 0 given; should be greater"
        " than 0" in done.stderr
    )
    assert not (project / ".groundplan" / "run").exists()


def test_no_free_disk_is_said_before_anything_starts(project: Path) -> None:
    code = (
        "import shutil, collections\n"
        "shutil.disk_usage = lambda path: collections.namedtuple('u', 'total used free')(1, 1, 5 * 2**20)\n"
        "import sys; sys.argv = ['groundplan', 'up']\nfrom groundplan.cli.app import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "only 5 MB are free; the platform needs 1000 MB" in done.stderr


def test_outside_a_project_it_says_so(tmp_path: Path) -> None:
    done = groundplan("status", cwd=tmp_path)
    assert done.returncode == 2 and "is not in a Groundplan project" in done.stderr


def test_down_and_status_where_nothing_runs(project: Path) -> None:
    assert groundplan("down", cwd=project).stdout.strip() == "nothing was running"
    status = groundplan("status", "--json", cwd=project)
    assert status.returncode == 1 and json.loads(status.stdout)["running"] is False


def test_explain_prints_decisions_costs_and_the_prices_date(project: Path) -> None:
    text = groundplan("explain", cwd=project).stdout
    assert "SageMaker real-time" in text and "not SageMaker serverless" in text and "as of 2026-07-20" in text
    plan = json.loads(groundplan("explain", "--json", cwd=project).stdout)
    assert plan["monthly_usd"] == pytest.approx(
        sum(decision["monthly_usd"] for decision in plan["decisions"]), abs=0.01
    )


def test_explain_says_what_would_change(project: Path) -> None:
    text = groundplan("explain", "-s", "prod", "--set", "models.diabetes-rf.latency_ms=20", cwd=project).stdout
    assert "SageMaker real-time" in text and "KServe on the cluster" in text and "USD a month" in text
    assert "network" not in text.split("\n\n")[1], "only what changes"
    found = json.loads(
        groundplan("explain", "-s", "prod", "--json", "--set", "availability=one-zone", cwd=project).stdout
    )
    assert found["set"]["monthly_usd"] < found["monthly_usd"]
    assert {"network: way out", "cluster"} <= {row["layer"] for row in found["set"]["differences"]}
    same = groundplan("explain", "--set", "budget.monthly_usd=5000", cwd=project).stdout
    assert "No decision changes." in same and "of 5,000.00 USD" in same


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("latency", "expected PATH=VALUE, got 'latency'"),
        ("models.diabetes-rf.latencyms=20", "did you mean `latency_ms`?"),
        ("models.diabetes-rf.latency_ms.x=20", "models.diabetes-rf.latency_ms has no objectives below it"),
        ("compliance=[gdpr", "is not a YAML value"),
        ("models.diabetes-rf.latency_ms=2", "nearest that works: models.diabetes-rf.latency_ms: 50"),
        ("budget.monthly_usd=10", "allow at least"),
    ],
)
def test_explain_names_a_wrong_change(project: Path, change: str, says: str) -> None:
    done = groundplan("explain", "--set", change, cwd=project)
    assert done.returncode == 2 and says in done.stderr


def test_render_writes_valid_manifests_and_leaves_other_files_alone(tmp_path: Path) -> None:
    project, out = copy_project(tmp_path / "project"), tmp_path / "out"
    out.mkdir()
    (out / "mine.yaml").write_text("a: 1\n", encoding="utf-8")
    done = groundplan("render", "--stack", "prod", "--out", str(out), cwd=project)
    assert done.returncode == 0, done.stderr
    assert "valid for Kubernetes 1.34" in done.stdout and "known after deployment: ec2nodeclass-cpu.yaml" in done.stdout
    first = {path.name: path.read_bytes() for path in out.rglob("*.yaml")}
    assert "mine.yaml" in first and "nodepool-gpu-spot.yaml" in first and "karpenter.yaml" in first
    (out / "nodepool-old.yaml").write_text(first["nodepool-cpu-spot.yaml"].decode(), encoding="utf-8")
    assert (
        json.loads(groundplan("render", "--stack", "prod", "--out", str(out), "--json", cwd=project).stdout)["faults"]
        == []
    )
    assert {path.name: path.read_bytes() for path in out.rglob("*.yaml")} == first, (
        "the same again, and the leftover gone"
    )
    assert groundplan("render", "--out", str(out / "mine.yaml"), cwd=project).returncode == 2


def test_prices_of_a_region_that_is_none_are_not_asked_for(project: Path, root: Path) -> None:
    shutil.copytree(root / "infra" / "design" / "prices", project / "infra" / "design" / "prices")
    before = (project / "infra" / "design" / "prices" / "us-east-1" / "services.csv").read_bytes()
    assert "'mars' is not an AWS region" in groundplan("prices", "refresh", "--region", "mars", cwd=project).stderr
    assert (project / "infra" / "design" / "prices" / "us-east-1" / "services.csv").read_bytes() == before
