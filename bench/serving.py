"""The model server beside an application that only calls ONNX Runtime, both under uvicorn and on one CPU; the forest of
the sample (100 trees, 10 columns). The client is on another CPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from groundplan.local.services import free_port

ROUNDS, SECONDS = 3, 3
CONNECTIONS = (1, 8, 64)
QUICK = ("--no-proxy-headers", "--no-server-header", "--ws", "none")  # as the router starts
BATCH = 1_000
Found = dict[str, Any]


def main() -> None:
    with TemporaryDirectory() as folder:
        model = _forest(Path(folder))
        one, batch = Path(folder) / "one.json", Path(folder) / "batch.json"
        with (
            running("empty", _uvicorn("empty")) as empty,
            running("bare", _uvicorn("bare", "--factory"), {"MODEL": str(model / "model.onnx")}) as bare,
            running("ours", _ours(), _environment(model)) as ours,
            running("router", _uvicorn("router", "--factory", "--lifespan", "on", *QUICK), _behind(ours)) as router,
        ):
            urls = {
                "empty answer": f"{empty}/invocations",
                "bare ONNX Runtime": f"{bare}/invocations",
                "model server": f"{ours}/invocations",
                "router + server": f"{router}/endpoints/bench/invocations",
            }
            for connections in CONNECTIONS:
                _rows(f"one row, {connections} connections", urls, one, connections)
            few = {name: urls[name] for name in ("bare ONNX Runtime", "model server")}
            _rows(f"{BATCH} rows, 1 connection", few, batch, 1)
            _explanations(model, f"{ours}/explain", one)


def _rows(title: str, urls: dict[str, str], body: Path, connections: int) -> None:
    found: dict[str, list[Found]] = {name: [] for name in urls}
    for _ in range(ROUNDS):
        for name, url in urls.items():
            found[name].append(measured(url, body, connections))
    bare = statistics.median(item["rate"] for item in found["bare ONNX Runtime"])
    print(title)
    for name, items in found.items():
        rate, p99 = (statistics.median(item[key] for item in items) for key in ("rate", "p99_ms"))
        failed = sum(item["failed"] for item in items)
        print(
            f"  {name:18} {rate:8,.0f} a second  {rate / bare:5.2f} of bare  p99 {p99:6.2f} ms"
            + (f"  {failed} FAILED: {items[0]['failure'][:80]}" if failed else "")
        )
    print()


def _explanations(model: Path, url: str, body: Path) -> None:
    """Beside shap's TreeExplainer on scikit-learn's model, called directly."""
    import joblib
    import numpy as np
    import shap

    forest, rows = joblib.load(model.parent / "forest.joblib"), np.load(model.parent / "rows.npy")
    explainer = shap.TreeExplainer(forest)
    explainer.shap_values(rows[:1])
    ratios, ours, theirs = [], [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for row in rows[:20]:
            explainer.shap_values(row[None, :])
        theirs.append((time.perf_counter() - began) / 20 * 1e3)
        ours.append(measured(url, body, 1)["p50_ms"])
        ratios.append(theirs[-1] / ours[-1])
    print("one explanation (exact, interventional; shap's is path-dependent)")
    print(f"  /explain           {statistics.median(ours):6.2f} ms, with HTTP")
    print(f"  shap.TreeExplainer {statistics.median(theirs):6.2f} ms, called directly")
    print(f"  ratio {statistics.median(ratios):.2f}; budget: at least 3\n")


def measured(url: str, body: Path, connections: int, seconds: float = SECONDS) -> Found:
    """One run of the client."""
    command = [
        sys.executable,
        "-m",
        "bench.load",
        url,
        str(body),
        f"--connections={connections}",
        f"--seconds={seconds}",
    ]
    found: Found = json.loads(subprocess.run(_on(1, command), capture_output=True, check=True).stdout)
    return found


@contextlib.contextmanager
def running(
    name: str, command: list[str], environment: dict[str, str] | None = None, port: int = 0, log: Path | None = None
) -> Iterator[str]:
    """A server that answers; its address.

    Args:
        port: Where it listens; else its command has ``PORT`` in place of it, or it reads SageMaker's variable.
        log: Where its output goes.
    """
    port = port or free_port()
    full = [part.replace("PORT", str(port)) for part in command]
    with (log or Path(os.devnull)).open("wb") as out:
        process = subprocess.Popen(
            _on(0, full),
            env={**os.environ, **(environment or {}), "SAGEMAKER_BIND_TO_PORT": str(port)},
            stdout=out if log else None,
            stderr=out if log else None,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                if _answers(url):
                    break
            if process.poll() is not None:
                raise SystemExit(f"{name} ended with exit code {process.returncode}")
            time.sleep(0.1)
        yield url
    finally:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.terminate()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _answers(url: str) -> bool:
    """Whether there is an HTTP server; what it says of a path that it does not have is no matter."""
    try:
        urllib.request.urlopen(f"{url}/ping", timeout=5).close()
    except urllib.error.HTTPError as error:
        return error.code < 500
    return True


def _uvicorn(application: str, *more: str) -> list[str]:
    options = ["--port", "PORT", "--log-level", "critical", "--no-access-log", *more]
    return [sys.executable, "-m", "uvicorn", f"bench.serving_peers:{application}", *options]


def _ours() -> list[str]:
    return [sys.executable, "-m", "pipelines.serving"]


def _environment(model: Path) -> dict[str, str]:
    return {"SM_MODEL_DIR": str(model), "GROUNDPLAN_HOST": "127.0.0.1", "GROUNDPLAN_WORKERS": "1"}


def _behind(url: str) -> dict[str, str]:
    return {
        "BEHIND": url.rpartition(":")[2],
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "GROUNDPLAN_HOME": "/nowhere",
    }


def _on(cpu: int, command: list[str]) -> list[str]:
    """The same on one CPU, where there are several and the machine has a command for that."""
    from shutil import which

    return ["taskset", "-c", str(cpu), *command] if which("taskset") and (os.cpu_count() or 1) > 1 else command


def _forest(folder: Path) -> Path:
    """A folder as the server is given it; request bodies beside it."""
    import joblib
    import numpy as np
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import RandomForestRegressor

    from pipelines.serving.models.bundle import files_of
    from tests.models import write

    frame, labels = load_diabetes(return_X_y=True, as_frame=True)
    forest = RandomForestRegressor(100, random_state=0).fit(frame, labels)
    write(folder / "made", forest, frame, "regression", labels, "diabetes")
    model = folder / "model"
    model.mkdir()
    for name, content in files_of(folder / "made" / "candidate", "v1.0.0").items():
        (model / name).write_bytes(content)
    joblib.dump(forest, folder / "forest.joblib")
    np.save(folder / "rows.npy", frame.to_numpy())
    rows = frame.to_numpy().tolist()
    for name, data in (("one", rows[:1]), ("batch", (rows * 3)[:BATCH])):
        body = {"dataframe_split": {"columns": list(frame.columns), "data": data}}
        (folder / f"{name}.json").write_text(json.dumps(body))
    return model
