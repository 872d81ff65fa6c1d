"""Bundles for every target, made from the same version, and run as far as that is possible on one machine."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from groundplan.engine.kubernetes.manifests import faults
from groundplan.local.moto import shapes
from groundplan.local.moto.server import sign_digests
from pipelines.serving.app import document
from pipelines.serving.models.bundle import load
from pipelines.serving.models.rows import Rows
from pipelines.targets import runner
from pipelines.targets.served import Served, Stack
from pipelines.targets.signing import signer
from pipelines.targets.targets import TARGETS, bundle, steps
from spec.errors import GroundplanError, UsageError
from tests.lambda_runtime import invoked
from tests.models import write

RANDOM = np.random.default_rng(3)
FRAME = pd.DataFrame(RANDOM.normal(size=(200, 4)), columns=["a", "b", "c", "d"])
NUMBER, CLASS = 3 * FRAME["a"] + FRAME["b"], (FRAME["a"] + FRAME["c"] > 0).astype(int)
GAPS = FRAME.mask(RANDOM.random(FRAME.shape) < 0.1)
COLORS = FRAME.assign(color=RANDOM.choice(["red", "blue"], len(FRAME)))
BY_COLOR = make_pipeline(
    make_column_transformer((OneHotEncoder(), ["color"]), remainder="passthrough"), LogisticRegression()
)
MODELS: dict[str, tuple[Any, pd.DataFrame, pd.Series, str]] = {
    "forest": (RandomForestRegressor(10, random_state=0), FRAME, NUMBER, "regression"),
    "gaps": (HistGradientBoostingClassifier(max_iter=10), GAPS, CLASS.map({0: "no", 1: "yes"}), "classification"),
    "texts": (BY_COLOR, COLORS, CLASS, "classification"),
    "scores": (SGDClassifier(random_state=0), FRAME, CLASS.astype(bool), "classification"),
}
STACK = Stack(
    name="groundplan-dev",
    region="eu-central-1",
    role_arn="arn:aws:iam::123456789012:role/groundplan-dev-serving",
    image_uri="123456789012.dkr.ecr.eu-central-1.amazonaws.com/groundplan-dev-platform:abc",
    bucket="groundplan-dev-models-123456789012",
    key_arn="arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-4000-8000-000000000000",
    subnet_ids=("subnet-0a", "subnet-0b"),
    security_group_ids=("sg-0a",),
)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: Any) -> Any:
    @cache
    def made(kind: str) -> Path:
        estimator, frame, labels, task = MODELS[kind]
        folder: Path = tmp_path_factory.mktemp(kind)
        write(folder, estimator.fit(frame, labels), frame, task, labels, kind)
        return folder / "candidate"

    return made


@pytest.fixture
def served(folder_of: Any) -> Any:
    def of(kind: str = "forest", version: str = "v1.2.0", made_at: str = "2026-03-01T00:00:00Z") -> Served:
        return Served.of(folder_of(kind), version, {"run_id": "r"}, made_at)

    return of


def unpacked(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def records(kind: str, count: int = 20) -> list[dict[str, Any]]:
    frame = MODELS[kind][1].head(count)
    return [{key: None if value != value else value for key, value in row.items()} for row in frame.to_dict("records")]


def key_file(folder: Path, bits: int = 2048) -> str:
    path = folder / f"{bits}.pem"
    path.write_bytes(
        rsa.generate_private_key(65537, bits).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return str(path)


# Devices.


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        *((target, kind) for target in ("edge", "litert") for kind in ("forest", "gaps", "scores")),
        ("edge", "texts"),
    ],
)
def test_a_device_answers_what_the_server_answers(target: str, kind: str, served: Any, folder_of: Any, tmp_path: Path):
    folder = unpacked(bundle(target, served(kind), STACK), tmp_path)
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(records(kind)))
    # -I: nothing of this project is on the path but what is installed, and the runner imports none of it
    ran = subprocess.run(
        [sys.executable, "-I", str(folder / "predict.py"), str(rows)], capture_output=True, text=True, check=True
    )
    model = load(folder_of(kind))
    assert model is not None
    columns = {name: [row[name] for row in records(kind)] for name in model.names}
    wanted = document(model, model.answers(Rows.of(columns)))
    found = json.loads(ran.stdout)
    if model.task == "regression":
        assert [one["prediction"] for one in found] == pytest.approx(wanted["predictions"], rel=1e-4)
        return
    assert [one["prediction"] for one in found] == wanted["predictions"]
    key = "probabilities" if model.output == "probability" else "scores"
    given = [list(one[key].values()) if isinstance(one[key], dict) else one[key] for one in found]
    assert np.asarray(given) == pytest.approx(np.asarray(wanted[key]), abs=1e-5)


def test_the_runner_needs_neither_this_project_nor_a_library_beyond_the_two():
    source = Path(runner.__file__).read_text()
    used = {
        line.split()[1].split(".")[0]
        for line in map(str.strip, source.splitlines())
        if line.startswith(("import ", "from "))
    }
    assert used - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "ai_edge_litert"}


def test_the_manifest_names_origin_comparison_and_digests(served: Any):
    files = bundle("edge", served(), STACK)
    manifest = json.loads(files["manifest.json"])
    assert manifest["made_from"] == {"run_id": "r"} and manifest["version"] == "v1.2.0"
    assert manifest["compared"]["rows"] == 50 and manifest["compared"]["largest_difference"] < 1e-5
    assert set(manifest["files"]) == {"model.ort", "predict.py"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([1, 2, 3, 4], "row 0 is no object with a value for each column"),
        ({"a": 10**400, "b": 2, "c": 3, "d": 4}, "is no number in single precision"),
        ({"a": 1e39, "b": 2, "c": 3, "d": 4}, "'1e\\+39' is no number in single precision"),
        ({"a": True, "b": 2, "c": 3, "d": 4}, "'True' is no number in single precision"),
        ({"a": 1, "b": 2, "c": 3}, "row 0 has no column 'd'"),
        ({"a": "x", "b": 2, "c": 3, "d": 4}, "column 'a', row 0: 'x' is no number in single precision"),
        ({"a": None, "b": 2, "c": 3, "d": 4}, "column 'a', row 0: a value is missing, which the model never saw"),
        ({"a": float("inf"), "b": 2, "c": 3, "d": 4}, "column 'a', row 0: 'inf' is no number in single precision"),
    ],
)
def test_a_wrong_row_is_told(row: Any, says: str, served: Any, tmp_path: Path):
    device = runner.Device(unpacked(bundle("edge", served(), STACK), tmp_path))
    with pytest.raises(runner.DeviceError, match=says):
        device.predict([row])


def test_an_update_is_taken_only_if_the_devices_key_signed_it(served: Any, tmp_path: Path):
    key, other = signer(key_file(tmp_path, 2048)), signer(key_file(tmp_path, 3072))
    old, new = served(), served(version="v1.3.0", made_at="2026-04-01T00:00:00Z")
    here = unpacked(bundle("edge", old, STACK, key), tmp_path / "device")
    offers = {
        "good": bundle("edge", new, STACK, key),
        "other key": bundle("edge", new, STACK, other),
        "unsigned": bundle("edge", new, STACK),
        "other model": bundle("edge", served("gaps"), STACK, key),
    }
    offers["changed"] = {
        **offers["good"],
        "manifest.json": offers["good"]["manifest.json"].replace(b"v1.3.0", b"v9.9.9"),
    }
    offers["other file"] = {**offers["good"], "model.ort": offers["other model"]["model.ort"]}
    for name, files in offers.items():
        unpacked(files, tmp_path / name)

    def refused(offer: str, says: str) -> None:
        before = {path.name: path.read_bytes() for path in here.iterdir()}
        with pytest.raises(runner.DeviceError, match=says):
            runner.update(here, str(tmp_path / offer))
        assert {path.name: path.read_bytes() for path in here.iterdir()} == before

    refused("other key", "not signed by this device's key")
    refused("changed", "not signed by this device's key")
    refused("unsigned", "manifest.sig can't be read")
    refused("other model", "is the model gaps, this device has forest")
    refused("other file", "is not the file that the manifest names")
    refused("nowhere", "manifest.json can't be read from")
    with pytest.raises(runner.DeviceError, match="only https"):
        runner.update(here, "http://example.com/model")
    assert runner.update(here, str(tmp_path / "good")) == "v1.2.0 was replaced by v1.3.0"
    assert runner.Device(here).manifest["version"] == "v1.3.0"
    assert runner.update(here, str(tmp_path / "good")) == "v1.3.0 is the newest"
    unpacked(bundle("edge", old, STACK, key), tmp_path / "older")
    refused("older", "was not made after what is here")
    # Of the same second, too: nobody knows which one is newer.
    unpacked(bundle("edge", served(version="v1.2.9", made_at="2026-04-01T00:00:00Z"), STACK, key), tmp_path / "same")
    refused("same", "was not made after what is here")


def test_an_interrupted_update_is_put_right_by_the_next_one(served: Any, tmp_path: Path, monkeypatch: Any):
    key = signer(key_file(tmp_path))
    here = unpacked(bundle("edge", served(), STACK, key), tmp_path / "device")
    new = unpacked(bundle("edge", served("gaps"), STACK, key), tmp_path / "new")
    manifest = json.loads((new / "manifest.json").read_text()) | {"model": "forest", "made_at": "2030-01-01T00:00:00Z"}
    (new / "manifest.json").write_text(json.dumps(manifest))
    (new / "manifest.sig").write_bytes(base64.b64encode(key.sign((new / "manifest.json").read_bytes())))
    replace, done = Path.replace, []

    def interrupted(self: Path, target: Path) -> Path:
        done.append(target)
        if len(done) == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runner.update(here, str(new))
    monkeypatch.undo()
    (here / ".update-left").mkdir()
    assert runner.update(here, str(new)).endswith("was replaced by v1.2.0")
    assert runner.Device(here).manifest["made_at"].startswith("2030") and not list(here.glob(".update-*"))
    (here / "model.ort").write_bytes(b"damaged")
    assert runner.update(here, str(new)).endswith("was replaced by v1.2.0")
    (here / "manifest.json").unlink()
    assert runner.update(here, str(new)) == "what was here was replaced by v1.2.0"
    assert runner.Device(here).predict([]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {}},
        {"format": "tpu"},
        {"version": None},
        {"made_at": 7},
        {"files": {"../victim": {"sha256": "0" * 64}, "model.ort": {"sha256": "0"}, "predict.py": {"sha256": "0"}}},
        {"files": {"manifest.json": {"sha256": "0"}, "model.ort": {"sha256": "0"}, "predict.py": {"sha256": "0"}}},
        {"columns": [{"name": "a", "type": "colour"}]},
        None,
    ],
)
def test_a_signed_manifest_must_be_one_too(changes: Any, served: Any, tmp_path: Path):
    key = signer(key_file(tmp_path))
    here = unpacked(bundle("edge", served(), STACK, key), tmp_path / "device")
    new = unpacked(bundle("edge", served(made_at="2030-01-01T00:00:00Z"), STACK, key), tmp_path / "new")
    manifest = [] if changes is None else json.loads((new / "manifest.json").read_text()) | changes
    (new / "manifest.json").write_text(json.dumps(manifest))
    (new / "manifest.sig").write_bytes(base64.b64encode(key.sign((new / "manifest.json").read_bytes())))
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    with pytest.raises(runner.DeviceError, match=r"is no manifest of a bundle|outside of its folder"):
        runner.update(here, str(new))
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


@pytest.mark.parametrize("address", ["http://example.com/m", "file://localhost/etc", "ftp://127.0.0.1/m"])
def test_only_https_is_read(address: str):
    with pytest.raises(runner.DeviceError, match="only https"):
        runner.fetch(address, "manifest.json")


def test_a_redirect_must_be_allowed_too():
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2/manifest.json")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with _server(Elsewhere) as port, pytest.raises(runner.DeviceError, match="only https"):
        runner.fetch(f"http://127.0.0.1:{port}/m", "manifest.json")


def test_an_update_comes_from_an_address_too(served: Any, tmp_path: Path):
    key = signer(key_file(tmp_path))
    here = unpacked(bundle("edge", served(), STACK, key), tmp_path / "device")
    unpacked(bundle("edge", served(version="v2.0.0", made_at="2027-01-01T00:00:00Z"), STACK, key), tmp_path / "site")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

    with _server(lambda *given: Quiet(*given, directory=str(tmp_path))) as port:
        ran = subprocess.run(
            [sys.executable, "-I", str(here / "predict.py"), "--update", f"http://127.0.0.1:{port}/site"],
            capture_output=True,
            text=True,
        )
    assert ran.stdout == "v1.2.0 was replaced by v2.0.0\n", ran.stderr


def test_a_damaged_file_is_noticed(served: Any, tmp_path: Path):
    folder = unpacked(bundle("edge", served(), STACK), tmp_path)
    (folder / "model.ort").write_bytes((folder / "model.ort").read_bytes()[:-1])
    ran = subprocess.run([sys.executable, str(folder / "predict.py"), "--verify"], capture_output=True, text=True)
    assert ran.returncode == 1 and "model.ort is not the file that the manifest names" in ran.stderr


def test_a_signature_is_one_for_other_tools_too(served: Any, tmp_path: Path):
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    path = key_file(tmp_path, 3072)
    files = bundle("litert", served(), STACK, signer(path))
    public = serialization.load_pem_private_key(Path(path).read_bytes(), None).public_key()
    signature = base64.b64decode(files["manifest.sig"])
    public.verify(signature, files["manifest.json"], PKCS1v15(), SHA256())  # type: ignore[union-attr,call-arg,arg-type]
    key = json.loads(files["key.json"])
    assert runner.signed(files["manifest.json"], signature, key)
    for changed in (signature[:-1], b"\0" + signature, bytes(len(signature)), b"\xff" * len(signature), b""):
        assert not runner.signed(files["manifest.json"], changed, key)


def test_a_key_in_kms_signs(served: Any, tmp_path: Path, monkeypatch: Any):
    import boto3
    from moto import mock_aws
    from moto.kms.responses import KmsResponse
    from moto.kms.utils import ECDSAPrivateKey, RSAPrivateKey

    patched = (
        (KmsResponse, "sign"),
        (KmsResponse, "verify"),
        (RSAPrivateKey, "_RSAPrivateKey__padding_and_hash_algorithm"),
        (ECDSAPrivateKey, "_ECDSAPrivateKey__hash_algorithm"),
    )
    for kind, attribute in patched:
        monkeypatch.setattr(kind, attribute, getattr(kind, attribute))  # restored afterwards
    sign_digests()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        kms = boto3.client("kms")
        made = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_3072")["KeyMetadata"]["Arn"]
        files = bundle("edge", served(), STACK, signer(made))
    assert runner.signed(files["manifest.json"], base64.b64decode(files["manifest.sig"]), json.loads(files["key.json"]))


def test_what_is_no_key_is_refused(tmp_path: Path):
    (tmp_path / "text.pem").write_text("no key")
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "curve.pem").write_bytes(curve)
    for name, says in (
        ("missing.pem", "no such file"),
        ("text.pem", "is no private key in PEM"),
        ("curve.pem", "is no RSA key of at least 2048 bits"),
        (Path(key_file(tmp_path, 1024)).name, "is no RSA key of at least 2048 bits"),
    ):
        with pytest.raises(UsageError, match=says):
            signer(str(tmp_path / name))


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("sagemaker", "serverless", "batch")])
def test_a_model_in_its_own_format_is_refused_where_only_graphs_run(target: str, served: Any):
    found = served()
    native = {**found.described, "engine": "native", "flavor": "lightgbm"}
    changed = Served({**found.files, "model.json": json.dumps(native).encode()}, found.version)
    with pytest.raises(GroundplanError, match=r"served in its own format \(lightgbm\)"):
        bundle(target, changed, STACK)


# SageMaker.


@pytest.mark.parametrize("target", ["sagemaker", "serverless", "batch"])
def test_sagemaker_s_own_model_accepts_the_requests(target: str, served: Any, tmp_path: Path):
    files = bundle(target, served(), STACK)
    requests = {name: json.loads(content) for name, content in files.items() if name.startswith("create-")}
    for name, request in requests.items():
        operation = "".join(part.title() for part in name.removesuffix(".json").split("-"))
        assert shapes.check(shapes.input_shape("sagemaker", operation), request) == []
    assert any(f"{TARGETS[target].steps[-1].split()[2]}.json" == name for name in requests)
    named = requests["create-model.json"]["PrimaryContainer"]["ModelDataUrl"]
    assert any(named in step for step in steps(target, served(), STACK))
    assert ("VpcConfig" in requests["create-model.json"]) == (target != "serverless")


def test_a_model_that_runs_its_own_code_is_alone_or_refused(served: Any):
    found = served()
    native = {**found.described, "engine": "native", "flavor": "sklearn", "untrusted": True}
    changed = Served({**found.files, "model.json": json.dumps(native).encode()}, found.version)
    model = json.loads(bundle("sagemaker", changed, STACK)["create-model.json"])
    assert model["EnableNetworkIsolation"] is True
    assert model["PrimaryContainer"]["Environment"]["GROUNDPLAN_NETWORK_ISOLATION"] == "1"
    assert "EnableNetworkIsolation" not in json.loads(bundle("sagemaker", found, STACK)["create-model.json"])
    for target in ("serverless", "batch"):
        with pytest.raises(GroundplanError, match="is stored as a pickle"):
            bundle(target, changed, STACK)


# Kubernetes and Triton.


@pytest.mark.parametrize("name", ["inference-service.yaml", "canary.yaml"])
def test_kserve_s_manifests_are_valid_and_scale_by_cpu(name: str, served: Any):
    manifest = yaml.safe_load(bundle("kserve", served(), STACK)[name])
    assert faults(manifest) == []
    predictor = manifest["spec"]["predictor"]
    assert (predictor["scaleMetric"], predictor["scaleTarget"]) == ("cpu", 80)
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 20)
    assert predictor.get("canaryTrafficPercent") == (5 if name == "canary.yaml" else None)


@pytest.mark.parametrize("kind", MODELS)
def test_triton_s_configuration_fits_its_schema_and_the_graph(kind: str, served: Any):
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    found = served(kind)
    for folder, backend in ((kind, "onnxruntime"), (f"{kind}-python", "python")):
        files = bundle("triton", found, STACK)
        config = text_format.Parse(files[f"{folder}/config.pbtxt"].decode(), model_config_pb2.ModelConfig())
        assert (config.name, config.backend, config.max_batch_size) == (folder, backend, 1024)
        assert config.HasField("dynamic_batching")
        columns = found.described["columns"]
        assert len(config.input) == (1 if found.described["layout"] == "matrix" else len(columns))
        assert [output.name for output in config.output][:1] == ["label" if found.described["classes"] else "variable"]
        assert len(config.output) == (2 if found.described["output"] else 1)
        assert f"{folder}/1/model.onnx" in files


# Lambda.


@contextmanager
def _server(handler: Any) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(sys.platform != "linux", reason="Lambda's runtime interface client is for Linux")
def test_lambda_answers_through_its_own_runtime_client(served: Any, folder_of: Any, tmp_path: Path):
    found = served()
    described = {**found.described, "entity": {"key": "id", "tables": {"t": ["a", "b", "c", "d"]}}}
    found = Served({**found.files, "model.json": json.dumps(described).encode()}, found.version)
    folder = unpacked(bundle("lambda", found, STACK), tmp_path)
    row = [list(FRAME.iloc[0])]
    body = json.dumps({"instances": row})
    http = {"rawPath": "/invocations", "requestContext": {"http": {"method": "POST"}}}
    events = (
        {"instances": row},
        {"instances": [[1, 2]]},
        {**http, "headers": {"Content-Type": "application/json", "Content-Length": "999"}, "body": body},
        {
            **http,
            "headers": {"content-type": "text/csv"},
            "body": base64.b64encode(b"1,2,3,4").decode(),
            "isBase64Encoded": True,
        },
        {"httpMethod": "POST", "path": "/explain", "headers": {"content-type": "application/json"}, "body": body},
        {**http, "rawPath": "/nowhere", "headers": {}, "body": ""},
    )
    given = invoked(
        "pipelines.serving.lambda_handler.handler",
        events,
        {"PYTHONPATH": str(folder / "app"), "SM_MODEL_DIR": str(folder / "model")},
        folder / "app",
    )
    model = load(folder_of("forest"))
    assert model is not None
    wanted = model.answers(Rows.of({name: [value] for name, value in zip(model.names, row[0], strict=True)}))
    direct, refused, through, table, explained, unknown = given
    assert direct[0] == "response" and direct[1]["predictions"] == pytest.approx(wanted.predictions)
    assert refused[0] == "error" and "4 columns are expected" in refused[1]["errorMessage"]
    assert through[1]["statusCode"] == 200
    assert json.loads(through[1]["body"])["predictions"] == pytest.approx(wanted.predictions)
    assert table[1]["statusCode"] == 200 and len(json.loads(table[1]["body"])["predictions"]) == 1
    assert "TreeSHAP" in explained[1]["body"]
    assert unknown[1]["statusCode"] == 404


def test_what_lambda_installs_is_what_the_server_imports(served: Any):
    files = bundle("lambda", served(), STACK)
    names = {line.partition("=")[0].partition(">")[0] for line in files["requirements.txt"].decode().splitlines()}
    assert names == {"awslambdaric", "msgspec", "numpy", "onnx", "onnxruntime", "orjson", "prometheus-client"}
    function, trust = json.loads(files["function.json"]), json.loads(files["trust.json"])
    assert shapes.check(shapes.input_shape("lambda", "CreateFunction"), function) == []
    assert trust["Statement"][0]["Principal"] == {"Service": "lambda.amazonaws.com"}
    role = function["Role"].rpartition("/")[2]
    assert any(f"create-role --role-name {role} " in step for step in steps("lambda", served(), STACK))
