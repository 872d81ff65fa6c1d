"""Several operators at once, each with faults of its own: nothing that was acknowledged is lost, nothing is there twice
or by half, and whoever comes after them is done at the first try.

``DRILL_SEED`` chooses the schedules, ``DRILL_SCHEDULES`` how many; a failure names the seed that repeats it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import psutil
import pytest
import yaml

from groundplan.local.home import Home, State
from groundplan.local.services import supervisor_of, wait_healthy
from pipelines.audit.log import verify
from pipelines.audit.records import everything, log_of
from pipelines.context import Context
from pipelines.data import broker, dead_letters
from pipelines.data.raw_zone import RawZone
from pipelines.registry.versions import Registry
from tests import flights
from tests.drills.faults import FlakyCloud, Plan, drawn
from tests.drills.workers import SMALL_RANGE, context_of, work
from tests.integration.test_ingest import BAD, make_topics, raw_count

pytestmark = pytest.mark.drill
SEED = int(os.environ.get("DRILL_SEED", "1"))
SCHEDULES = int(os.environ.get("DRILL_SCHEDULES", "200"))
PATIENCE_S = 90.0
CALM = Plan()
TASKS = ("ingest", *("append", "register") * 4, "append")


@dataclass
class Operators:
    """Starts workers, and reads what was acknowledged to them."""

    home: Home
    state: State
    folder: Path
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._forked = multiprocessing.get_context("forkserver")
        self._forked.set_forkserver_preload(["tests.drills.workers"])
        self._cloud = urlsplit(self.state.services["aws"].url)

    def run(
        self, task: str, given: dict[str, Any], plans: list[Plan], during: Callable[[], None] = lambda: None
    ) -> list[tuple[int, list[Any], str]]:
        """A worker for each plan, all at once: exit code, what was acknowledged, what it complained of."""
        started = []
        for number, plan in enumerate(plans):
            errors, environment, proxy = self.folder / uuid.uuid4().hex, dict(os.environ), None
            if plan.cloud:
                proxy = FlakyCloud((self._cloud.hostname or "", self._cloud.port or 0), plan.cloud, plan.seed)
                real = self.state.services["aws"].url
                environment = {key: value.replace(real, proxy.url) for key, value in environment.items()}
            told = {"errors": str(errors), "outputs": str(self.home.outputs_file), **given, "who": f"operator-{number}"}
            reader, writer = self._forked.Pipe(duplex=False)
            process = self._forked.Process(target=work, args=(task, told, environment, plan, writer))
            process.start()
            writer.close()
            started.append((process, reader, errors, proxy, plan))
        during()
        found = []
        for process, reader, errors, proxy, plan in started:
            process.join(PATIENCE_S)
            assert process.exitcode is not None, f"{task} hangs under {plan}"
            if proxy is not None:
                self.happened.update(proxy.happened)
                proxy.shutdown()
                proxy.server_close()
            self.happened["killed"] += process.exitcode == -signal.SIGKILL
            self.happened["gave up"] += process.exitcode == 3
            self.happened["done"] += process.exitcode == 0
            said = []
            with suppress(EOFError):
                while True:
                    said.append(json.loads(reader.recv_bytes()))
            found.append((process.exitcode, said, errors.read_text() if errors.exists() else ""))
        return found

    def calmly(self, task: str, given: dict[str, Any]) -> list[Any]:
        """One worker without faults, which must be done at once."""
        ((code, said, complaint),) = self.run(task, given, [CALM])
        assert code == 0, complaint
        return said


@pytest.fixture(scope="module")
def operators(home: Home, state: State, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operators]:
    made = Operators(home, state, tmp_path_factory.mktemp("operators"))
    yield made
    print(f"\nseed {SEED}: {dict(sorted(made.happened.items()))}")


def plans(chance: random.Random) -> list[list[Plan]]:
    """One to three rounds of one to three operators at once."""
    return [[drawn(chance) for _ in range(chance.choice((1, 1, 2, 3)))] for _ in range(chance.randint(1, 3))]


@pytest.mark.parametrize("number", range(SCHEDULES))
def test_nothing_acknowledged_is_lost_and_nothing_is_left_by_half(
    number: int,
    operators: Operators,
    state: State,
    aws: Any,
    inside: None,
    tmp_path: Path,
) -> None:
    seed = f"{SEED}/{number}"
    chance = random.Random(seed)
    task = TASKS[number % len(TASKS)]
    try:
        {"ingest": _ingestion, "append": _records, "register": _versions}[task](operators, state, aws, tmp_path, chance)
    except AssertionError as error:
        raise AssertionError(f"schedule {seed} ({task}): {error}") from error


def _ingestion(operators: Operators, state: State, aws: Any, folder: Path, chance: random.Random) -> None:
    topic = f"drill-{uuid.uuid4().hex[:8]}"
    model = folder / "flights"
    shutil.copytree(flights.FOLDER, model, ignore=shutil.ignore_patterns("sample", "__pycache__", "contracts"))
    (model / "contracts").mkdir()
    document = yaml.safe_load((flights.FOLDER / "contracts" / "flights.yaml").read_text(encoding="utf-8"))
    document["schema"][0]["physicalName"] = topic
    (model / "contracts" / "flights.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (model / "model.yaml").write_text(
        f"model: {topic}\nfeatures: features\nviews: {{v: {{key: flight_id, features: {{hour: integer}}}}}}\n",
        encoding="utf-8",
    )
    make_topics(topic)
    given = {"folder": str(model), "run": f"t{time.time_ns()}"}
    context = context_of(str(operators.home.outputs_file), str(model), given["run"], {})
    good = chance.sample(list(flights.payloads("flights")), chance.randint(2, 4 * SMALL_RANGE))
    payloads = good + [chance.choice(BAD) for _ in range(chance.randint(0, 6))]
    chance.shuffle(payloads)
    kept: list[bytes] = []
    producer = broker.producer(context.outputs)

    def told(error: Any, message: Any) -> None:
        if error is None:
            kept.append(message.value())

    def send(some: list[bytes]) -> None:
        for place, payload in enumerate(some):
            producer.produce(topic, payload, key=str(place), partition=place % 2, on_delivery=told)
            producer.poll(0)
        producer.flush(30)

    half = len(payloads) // 2
    send(payloads[:half])
    rounds = plans(chance)
    broken = chance.random() < 0.15  # the broker is killed while they work
    for place, at_once in enumerate(rounds):
        kill = broken and place == 0

        def during(kill: bool = kill) -> None:
            if kill:
                time.sleep(chance.uniform(0.05, 0.6))
                psutil.Process(supervisor_of(state).states()["kafka"]["pid"]).kill()
                operators.happened["broker killed"] += 1

        operators.run("ingest", given, at_once, during)
        if kill:
            wait_healthy(operators.home, supervisor_of(state), state.services["kafka"], 60)
    send(payloads[half:])
    assert len(kept) == len(payloads), "the broker acknowledged all"
    operators.calmly("ingest", {**given, "run": f"{given['run']}x"})
    zone = RawZone(context, context.definition.contracts[0])
    ids = zone.read()["flight_id"].to_pylist()
    assert Counter(ids) == Counter(orjson.loads(payload)["flight_id"] for payload in good), "each event once"
    letters = len(payloads) - len(good)
    found = list(dead_letters.read(context, topic))
    assert len(found) == letters and raw_count(context, f"{topic}.dlq") == letters, "each dead letter once"
    spans: dict[int, list[tuple[int, int]]] = {}
    for manifest in zone.manifests():
        spans.setdefault(manifest.partition, []).append((manifest.first, manifest.last))
    for each in spans.values():
        each.sort()
        assert each[0][0] == 0, f"the first events are missing: {each}"
        assert all(two[0] - one[1] in (0, 1) for one, two in pairwise(each)), f"gaps or overlaps: {each}"


def _records(operators: Operators, state: State, aws: Any, folder: Path, chance: random.Random) -> None:
    bucket = f"audit-{uuid.uuid4().hex[:12]}"
    aws("s3").create_bucket(Bucket=bucket)
    aws("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    script = folder / "audited.py"
    script.write_text("")
    given = {"folder": str(script), "run": "r1", "buckets": {"audit": bucket}}
    context = context_of(str(operators.home.outputs_file), str(script), "r1", {"audit": bucket})
    said: list[str] = []
    tokens: dict[str, int] = {}
    for at_once in plans(chance):
        token = uuid.uuid4().hex
        tokens[token] = chance.randint(1, 4)
        for _, told, _ in operators.run("append", {**given, "records": tokens[token], "token": token}, at_once):
            said += told
    last = uuid.uuid4().hex
    said += operators.calmly("append", {**given, "records": 1, "token": last})
    kept = everything(context)
    hashes = Counter(entry["hash"] for entry in kept)
    assert all(hashes[each] == 1 for each in said), "what was acknowledged is there, once"
    wanted = {(token, number) for token, count in tokens.items() for number in range(count)} | {(last, 0)}
    assert {(e["details"]["token"], e["details"]["number"]) for e in kept} <= wanted, "nothing else is there"
    by_whom = Counter((e["actor"], e["details"]["token"], e["details"]["number"]) for e in kept)
    assert set(by_whom.values()) == {1}, "who tries once is there once"
    assert [entry["sequence"] for entry in kept] == list(range(len(kept)))
    log = log_of(context)
    assert list(verify(log)) == []


def _versions(operators: Operators, state: State, aws: Any, folder: Path, chance: random.Random) -> None:
    script = folder / f"drill-{uuid.uuid4().hex[:8]}.py"
    script.write_text("")
    given = {"folder": str(script), "run": "r1", "version": "v1.0.0"}
    context = context_of(str(operators.home.outputs_file), str(script), "r1", {})
    won: set[str] = set()
    artifacts = ["one", "another"]
    for at_once in plans(chance):
        with ThreadPoolExecutor(2) as pool:  # two people register different models as the same version
            rivals = [
                pool.submit(operators.run, "register", {**given, "artifact": each}, at_once) for each in artifacts
            ]
        for rival in rivals:
            won |= {told["artifact"] for _, said, _ in rival.result() for told in said if "registered" in told}
        assert len(won) <= 1, "two were told that the version is theirs"
        _is_whole(context, won)
    for each in artifacts:  # and then each of them again, calmly
        won |= {
            told["artifact"]
            for told in operators.calmly("register", {**given, "artifact": each})
            if "registered" in told
        }
    assert len(won) == 1
    assert Registry(context).stored("v1.0.0").artifact.decode() in won


def _is_whole(context: Context, won: set[str]) -> None:
    """A version is there with everything, or can't be used."""
    from spec.errors import GroundplanError

    try:
        found = Registry(context).stored("v1.0.0").artifact.decode()
    except GroundplanError as error:
        assert not won, f"it was acknowledged, and is not usable: {error}"
        assert "was changed" not in str(error), error
    else:
        assert not won or won == {found}
