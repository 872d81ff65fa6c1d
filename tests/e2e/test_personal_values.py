"""Personal values go through the whole platform, in events, requests, a script's prints, errors and people's reasons,
and are found nowhere but where they belong: in the topics, in quarantine, and in captured requests.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pyarrow.parquet as pq
import pytest

from tests.platform import assert_ok, copy_project, groundplan

SEED, PHONE = "@private.example", "+41 44 668 18 00"  # every seeded address ends like this
SEEDS = (SEED, PHONE)
PRINTS = f"""
print("first guest: printed.seed{SEED}, {PHONE}")
print(data.assign(contact="frame.seed{SEED}").head())
import logging, subprocess, sys
logging.getLogger("guests").warning("logged.seed{SEED}")
subprocess.run([sys.executable, "-c", "print('child.seed{SEED}')"])
"""
FAILS = f"""
raise KeyError("raised.seed{SEED}")
"""
# One that its contract refuses, one with an unknown field, and one with what no contract declares.
ODD = [
    {"guest_id": 900, "email": "x", "city": "y", "nights": f"bad.seed{SEED}", "spent": 1.0},
    {"guest_id": 901, f"key.seed{SEED}": 1},
    {"guest_id": 902, "email": f"x.seed{SEED}", "city": f"hidden.seed{SEED} or {PHONE}", "nights": 2, "spent": 180.0},
]
# Where they belong: what was sent, as it was sent.
THEIRS = ("kafka-storage", "raw/quarantine/", "models/capture/")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = copy_project(tmp_path_factory.mktemp("personal") / "clone")
    draw = random.Random(0)
    rows = ["guest_id,email,city,nights,spent"]
    for number in range(300):
        nights = draw.randint(1, 14)
        city = draw.choice(["Bern", "Basel", "Genf"])
        rows.append(f"{number},guest{number}.seed{SEED},{city},{nights},{nights * 90 + draw.gauss(0, 20):.2f}")
    (folder / "guests.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    try:
        assert_ok(groundplan(folder, "add", "model", "guests", "--from", "guests.csv", "--target", "spent"), folder)
        model = folder / "models" / "guests"
        source, script = model / "source.py", model / "experiment.py"
        before = "        for row in read:\n"
        source.write_text(source.read_text().replace(before, f"        yield from {ODD!r}\n{before}"))
        text = script.read_text().replace('data[["email", "city", "nights"]]', 'data[["city", "nights"]]')
        script.write_text(text.replace("features = data[", f"{PRINTS}\nfeatures = data["))
        done = groundplan(folder, "up", "--models", "guests")
        (folder / "up.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
        assert_ok(done, folder)
        yield folder
    finally:
        groundplan(folder, "down")


@pytest.fixture(scope="module")
def shell(project: Path) -> dict[str, str]:
    lines = assert_ok(groundplan(project, "env"), project).stdout.splitlines()
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))


def client(shell: dict[str, str], service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=shell["AWS_ENDPOINT_URL"].strip("'\""),
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


@pytest.mark.drill  # a platform of its own
def test_personal_values_are_nowhere_but_where_they_belong(project: Path, shell: dict[str, str]) -> None:
    said = [(project / "up.txt").read_text(encoding="utf-8")]
    assert "1 quarantined" in said[0] or "1 in quarantine" in said[0], said[0]

    def run(*arguments: str) -> str:
        done = groundplan(project, *arguments)
        said.append(done.stdout + done.stderr)
        return done.stdout + done.stderr

    router = json.loads((project / ".groundplan" / "run" / "platform.json").read_text())["services"]["router"]["url"]
    address = f"{router}/endpoints/groundplan-local-guests/invocations"
    rows = [[f"request{number}.seed{SEED}", number % 14 + 1] for number in range(60)]
    answers = [
        httpx.post(address, json={"dataframe_split": {"columns": ["city", "nights"], "data": rows}}),
        httpx.post(address, json={"instances": [{"city": "Bern", "nights": f"typed.seed{SEED}"}]}),
        httpx.post(address, json={f"form.seed{SEED}": 1}),
        httpx.post(address, content=f"broken.seed{SEED}", headers={"content-type": "application/json"}),
        httpx.get(f"{router}/endpoints/groundplan-local-guests/path.seed{SEED}"),
    ]
    assert [answer.status_code < 300 for answer in answers] == [True, False, False, False, False]
    run("monitor", "guests")
    run("trace", answers[0].json()["prediction_id"][:-1] + "0")  # another one: this one's story shows the request
    reason = f"called by reason.seed{SEED}, {PHONE}"
    run("reject", "guests", "v1.0.0", "--role", "operations", "--identity", "ben@example.com", "--reason", reason)
    assert "[e-mail]" in run("audit", "show", "guests") and "ben@example.com" in said[-1]
    script = project / "models" / "guests" / "experiment.py"
    whole = script.read_text()
    script.write_text(whole.replace("with mlflow.start_run():", f"{FAILS}\nwith mlflow.start_run():"))
    assert "KeyError: '[e-mail]'" in run("experiment", "guests")
    script.write_text(whole)
    for arguments in (
        ("status",),
        ("history", "guests", "--at", "0m"),
        ("lineage", "guests@v1.0.0"),
        ("catalogue", "guests", "--full"),
        ("audit", "verify"),
        ("audit", "compare"),
    ):
        run(*arguments)
    refused = run("dlq", "list", "--topic", "guests")
    assert "nights must be a whole number" in refused and "is not in the contract" in refused

    found = [f"command {number}: {text}" for number, text in enumerate(said) if holds(text.encode())]
    found += [str(file.relative_to(project)) for file in files(project / ".groundplan") if holds(content(file))]
    found += [place for place, body in objects(shell) if holds(body)]
    found += [json.dumps(metric) for metric in metrics(shell) if holds(json.dumps(metric, default=str).encode())]
    assert found == []
    kept = {place.split("/")[0] for place, body in objects(shell, everything=True) if holds(body)}
    assert {"kafka-storage", "raw", "models"} <= kept, "the search finds them where they are"


def holds(body: bytes) -> bool:
    return any(seed.encode() in body for seed in SEEDS)


def files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file() and file.stat().st_size < 200_000_000)


def content(file: Path) -> bytes:
    body = file.read_bytes()
    if body.startswith(b"SQLite format 3"):
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            return "\n".join(database.iterdump()).encode()
    return unpacked(file.name, body)


def objects(shell: dict[str, str], *, everything: bool = False) -> Iterator[tuple[str, bytes]]:
    """Every object of every bucket, unpacked, by the bucket's purpose and its key."""
    s3 = client(shell, "s3")
    for bucket in s3.list_buckets()["Buckets"]:
        purpose = bucket["Name"].removeprefix("groundplan-local-").removesuffix("-123456789012")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
            for item in page.get("Contents", ()):
                place = f"{purpose}/{item['Key']}"
                if everything or not place.startswith(THEIRS):
                    yield (
                        place,
                        unpacked(item["Key"], s3.get_object(Bucket=bucket["Name"], Key=item["Key"])["Body"].read()),
                    )


def metrics(shell: dict[str, str]) -> list[dict[str, Any]]:
    return list(client(shell, "cloudwatch").list_metrics()["Metrics"])


def unpacked(name: str, body: bytes) -> bytes:
    """A file's content as text can be found in it."""
    if name.endswith(".parquet"):
        return pq.read_table(io.BytesIO(body)).to_pandas().to_csv().encode()
    if name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            inside = [(member.name, archive.extractfile(member)) for member in archive.getmembers()]
            return b"\n".join(unpacked(name, file.read()) for name, file in inside if file)
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
