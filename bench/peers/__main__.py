"""Loads each peer, and ours, with the same client: one row, the sample's forest, as scikit-learn's own and as ONNX.

Environments are created once, under ``.groundplan/peers``.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.serving import SECONDS, _environment, _forest, _on, measured, running
from groundplan.local.services import free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROUNDS, CONNECTIONS = 3, 8
_COMMON = ("scikit-learn", "joblib", "onnxruntime")


@dataclass(frozen=True)
class Peer:
    """A model server.

    Attributes:
        packages: Of its environment; none for the project's own.
        command: Given its environment's ``bin`` folder and a folder to work in.
        body: What one row looks like to it.
        grpc: Whether it answers the Open Inference Protocol over gRPC, too.
    """

    name: str
    packages: tuple[str, ...]
    path: str
    body: Callable[[list[float]], object]
    command: Callable[[Path, Path], list[str]]
    grpc: bool = False


def _mlserver(binaries: Path, folder: Path) -> list[str]:
    model = os.environ["MODEL"]
    runtime = "mlserver_sklearn.SKLearnModel" if model.endswith(".joblib") else "mlserver_forest.Forest"
    settings = {"name": "m", "implementation": runtime, "parameters": {"uri": model}}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    ports = {
        "http_port": int(os.environ["PORT"]),
        "grpc_port": int(os.environ["GRPC_PORT"]),
        "metrics_port": free_port(),
    }
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
    return [str(binaries / "mlserver"), "start", str(folder)]


def _mlflow(binaries: Path, folder: Path) -> list[str]:
    import joblib
    import mlflow

    forest = joblib.load(os.environ["MODEL"])
    more = {"pip_requirements": ["scikit-learn"], "serialization_format": "cloudpickle"}
    mlflow.sklearn.save_model(forest, str(folder / "model"), **more)
    serve = ["models", "serve", "--model-uri", str(folder / "model"), "--env-manager", "local"]
    return [str(binaries / "mlflow"), *serve, "--port", os.environ["PORT"], "--workers", "1"]


def _tensor(row: list[float]) -> object:
    return {"inputs": [{"name": "X", "shape": [1, len(row)], "datatype": "FP32", "data": [row]}]}


def _script(name: str) -> Callable[[Path, Path], list[str]]:
    return lambda binaries, folder: [str(binaries / "python"), str(HERE / name)]


def _bentoml(binaries: Path, folder: Path) -> list[str]:
    serve = ["serve", "bentoml_forest:Forest", "--working-dir", str(HERE)]
    return [str(binaries / "bentoml"), *serve, "--port", os.environ["PORT"]]


PEERS = (
    Peer("MLflow", (), "/invocations", lambda row: {"inputs": [row]}, _mlflow),
    Peer("BentoML", ("bentoml",), "/predict", lambda row: {"rows": [row]}, _bentoml),
    Peer("Ray Serve", ("ray[serve]",), "/", lambda row: {"rows": [row]}, _script("ray_forest.py")),
    Peer(
        "KServe",
        ("kserve",),
        "/v1/models/m:predict",
        lambda row: {"instances": [row]},
        _script("kserve_forest.py"),
        True,
    ),
    Peer("MLServer", ("mlserver", "mlserver-sklearn"), "/v2/models/m/infer", _tensor, _mlserver, True),
)


def main() -> None:
    with TemporaryDirectory() as temporary:
        model = _forest(Path(temporary))
        row = json.loads((Path(temporary) / "one.json").read_text())["dataframe_split"]["data"][0]
        grpc = str(free_port())
        ours_too = {**_environment(model), "GROUNDPLAN_GRPC_PORT": grpc}
        with running("ours", [sys.executable, "-m", "pipelines.serving"], ours_too) as url:
            named = json.loads((model / "model.json").read_text())["model"]
            for title, file in (("scikit-learn", model.parent / "forest.joblib"), ("ONNX", model / "model.onnx")):
                print(f"{title}, one row, {CONNECTIONS} connections", flush=True)
                ours = _median(f"{url}/invocations", Path(temporary) / "one.json")
                our_calls, best, best_calls = _calls(grpc, named, row), 0.0, 0.0
                for peer in PEERS:
                    if title == "ONNX" and peer.name == "MLflow":
                        continue  # it serves its own flavours
                    with _running(peer, file, Path(temporary)) as (address, calls_at):
                        body = Path(temporary) / "body.json"
                        body.write_text(json.dumps(peer.body(row)))
                        rate = _median(address + peer.path, body)
                        calls = _calls(calls_at, "m", row) if peer.grpc else 0.0
                    best, best_calls = max(best, rate), max(best_calls, calls)
                    more = f", gRPC {calls:8,.0f}" if calls else ""
                    print(f"  {peer.name:12} {rate:8,.0f} a second{more}", flush=True)
                print(
                    f"  {'ours':12} {ours:8,.0f} a second, {ours / best:.1f} of the best; gRPC {our_calls:8,.0f},"
                    f" {our_calls / best_calls:.1f} of the best\n",
                    flush=True,
                )


def _calls(port: str, model: str, row: list[float]) -> float:
    """Answers a second over gRPC."""
    command = [sys.executable, "-m", "bench.grpc_load", f"127.0.0.1:{port}", model, json.dumps(row)]
    command += [f"--calls={CONNECTIONS}", f"--seconds={SECONDS}"]
    found = [json.loads(subprocess.run(_on(1, command), capture_output=True, check=True).stdout) for _ in range(ROUNDS)]
    return float(statistics.median(item["rate"] for item in found))


def _median(url: str, body: Path) -> float:
    for _ in range(300):  # a server may listen before it has its model
        request = urllib.request.Request(url, body.read_bytes(), {"content-type": "application/json"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=20):
            break
        time.sleep(0.1)
    found = [measured(url, body, CONNECTIONS, SECONDS) for _ in range(ROUNDS)]
    failed = next((item["failure"] for item in found if item["failed"]), "")
    if failed:
        raise SystemExit(f"{url} failed: {failed}")
    return float(statistics.median(item["rate"] for item in found))


@contextmanager
def _running(peer: Peer, model: Path, temporary: Path) -> Iterator[tuple[str, str]]:
    binaries = _environment_of(peer)
    log = ROOT / ".groundplan" / "peers" / f"{peer.name.replace(' ', '-')}.log"
    folder = Path(temporary) / peer.name.replace(" ", "-") / model.suffix.strip(".")
    folder.mkdir(parents=True)
    port = free_port()
    more = {"PORT": str(port), "GRPC_PORT": str(free_port()), "MODEL": str(model)}
    more["PATH"] = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    before = dict(os.environ)
    os.environ.update(more)  # commands are made from them
    try:
        command = peer.command(binaries, folder)
    finally:
        os.environ.clear()
        os.environ.update(before)
    with running(peer.name, command, {"PYTHONPATH": str(HERE), **more}, port, log) as url:
        yield url, more["GRPC_PORT"]


def _environment_of(peer: Peer) -> Path:
    """The ``bin`` folder of a peer's environment."""
    if not peer.packages:
        return Path(sys.executable).parent
    folder = ROOT / ".groundplan" / "peers" / peer.packages[0].partition("[")[0]
    done = folder / ".installed"
    if not done.exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        packages = [*peer.packages, *_COMMON]
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *packages], check=True
        )
        done.touch()
    return folder / "bin"


if __name__ == "__main__":
    main()
