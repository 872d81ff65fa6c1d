"""Triton itself, as the wheel of nvidia-pytriton carries it: with its Python backend, on a CPU."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from groundplan.local.services import free_port
from pipelines.serving.models.bundle import load
from pipelines.serving.models.rows import Rows
from pipelines.targets.served import Served
from pipelines.targets.targets import bundle
from tests.unit.pipelines.test_bundles import MODELS, STACK
from tests.unit.pipelines.test_bundles import folder_of as folder_of

pytestmark = [pytest.mark.frameworks, pytest.mark.skipif(sys.platform != "linux", reason="the wheel is for Linux")]
ROOT = Path(__file__).parents[2]
POLL_S = 1


@pytest.fixture(scope="session")
def installation() -> Path:
    """An environment of its own, since the wheel requires an older NumPy; the folder of Triton in it."""
    folder = ROOT / ".groundplan" / "frameworks" / "triton"
    if not (folder / ".installed").exists():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        packages = ["nvidia-pytriton>=0.7", "onnxruntime>=1.22"]
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), *packages], check=True)
        (folder / ".installed").touch()
    return next(folder.glob("lib/python*/site-packages/pytriton/tritonserver"))


@contextmanager
def serving(installation: Path, repository: Path, backends: Path) -> Iterator[str]:
    """Triton over a repository that it looks at again and again; its address."""
    site, version = installation.parents[1], f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(installation / "backends", backends)
    stub = installation / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python")
    libraries = [*map(str, site.glob("*.libs")), *map(str, site.glob("nvidia/*/lib")), f"{sys.base_prefix}/lib"]
    http, grpc, metrics = (free_port() for _ in range(3))
    log = (repository.parent / "triton.log").open("wb")
    process = subprocess.Popen(
        [
            str(installation / "bin" / "tritonserver"),
            f"--model-repository={repository}",
            f"--backend-directory={backends}",
            "--model-control-mode=poll",
            f"--repository-poll-secs={POLL_S}",
            f"--http-port={http}",
            f"--grpc-port={grpc}",
            f"--metrics-port={metrics}",
            "--exit-timeout-secs=10",
        ],
        env={
            **os.environ,
            "LD_LIBRARY_PATH": ":".join(libraries),
            "PATH": f"{site.parents[2] / 'bin'}:{os.environ['PATH']}",  # where the embedded Python finds its packages
            "PYTHONPATH": str(site),
        },
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{http}/v2/health/ready")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()[-3000:]
                time.sleep(0.2)
        yield f"127.0.0.1:{http}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        log.close()


def written(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def twin(folder: Path, kind: str) -> dict[str, bytes]:
    """The Python backend's part of a bundle: the wheel has no ONNX Runtime backend."""
    files = bundle("triton", Served.of(folder, "v1.0.0"), STACK)
    return {name: content for name, content in files.items() if name.startswith(f"{kind}-python/")}


def asked(described: dict[str, Any], rows: Rows) -> list[Any]:
    """A request of Triton's own client."""
    kinds = {"float": (np.float32, "FP32"), "int64": (np.int64, "INT64"), "string": (object, "BYTES")}
    tensors = (
        {"X": (rows.matrix(), "FP32")}
        if described["layout"] == "matrix"
        else {
            column["input"]: (
                np.asarray(rows.columns[column["name"]], dtype=kinds[column["tensor"]][0]).reshape(-1, 1),
                kinds[column["tensor"]][1],
            )
            for column in described["columns"]
        }
    )
    inputs = []
    for name, (values, kind) in tensors.items():
        tensor = triton.InferInput(name, list(values.shape), kind)
        tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    return inputs


def test_the_twin_answers_what_the_server_answers(installation: Path, folder_of: Any, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    for kind in MODELS:
        written(repository, twin(folder_of(kind), kind))
    with serving(installation, repository, tmp_path / "backends") as address:
        client = triton.InferenceServerClient(address, concurrency=8)
        for kind, (_, frame, _, _) in MODELS.items():
            model = load(folder_of(kind))
            assert model is not None
            described = Served.of(folder_of(kind), "v1.0.0").described
            rows = Rows.of({name: frame[name].tolist() for name in model.names})
            wanted = model.engine.answers(rows)
            found = client.infer(f"{kind}-python", asked(described, rows))
            names = [output["name"] for output in found.get_response()["outputs"]]
            assert len(names) == (2 if model.output else 1)
            if wanted.beside is None:
                np.testing.assert_allclose(found.as_numpy(names[0]).ravel(), wanted.predictions, rtol=1e-5)
            else:
                given = found.as_numpy(names[1])
                given = given[:, -1] if model.output == "score" and given.ndim == 2 else given
                np.testing.assert_allclose(given, wanted.beside, rtol=1e-5)
            # Requests that wait are answered by one call, each with its own rows.
            each = [Rows.of({name: values[at : at + 1] for name, values in rows.columns.items()}) for at in range(40)]
            waiting = [client.async_infer(f"{kind}-python", asked(described, one)) for one in each]
            for at, one in enumerate(waiting):
                given = one.get_result().as_numpy(names[0]).ravel()[0]
                expected = found.as_numpy(names[0]).ravel()[at]
                assert given == expected or float(given) == pytest.approx(float(expected), rel=1e-5)


def test_a_newer_version_replaces_the_one_before_without_a_lost_request(
    installation: Path, folder_of: Any, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    files = twin(folder_of("forest"), "forest")
    written(repository, files)
    with serving(installation, repository, tmp_path / "backends") as address:
        described = Served.of(folder_of("forest"), "v1.0.0").described
        rows = Rows.of({name: MODELS["forest"][1][name].tolist()[:1] for name in MODELS["forest"][1]})
        versions: list[str] = []
        failures: list[str] = []
        done = threading.Event()

        def ask() -> None:
            client = triton.InferenceServerClient(address)
            while not done.is_set():
                try:
                    versions.append(
                        client.infer("forest-python", asked(described, rows)).get_response()["model_version"]
                    )
                except Exception as error:
                    failures.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        for number in (2, 3, 4):
            # A version becomes visible as a whole, as an object of S3 does.
            beside = tmp_path / str(number)
            written(beside, {name.rpartition("/")[2]: content for name, content in files.items() if "/1/" in name})
            beside.rename(repository / "forest-python" / str(number))
            deadline = time.monotonic() + 30
            while versions[-1] != str(number):
                assert time.monotonic() < deadline, "the new version was never served"
                time.sleep(0.1)
        done.set()
        for thread in threads:
            thread.join()
    assert not failures, failures[0]
    assert set(versions) == {"1", "2", "3", "4"} and len(versions) > 1_000
