"""Where the local platform keeps its state: one folder, ``.groundplan/`` in the project, and nothing outside it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spec.errors import GroundplanError, UsageError


@dataclass(frozen=True)
class Service:
    """A service of the platform: where it listens, and whether the platform runs it or a flag named it."""

    name: str
    url: str
    port: int = 0
    owned: bool = True


@dataclass(frozen=True)
class State:
    """What is running.

    Attributes:
        generation: Identifies this run of the local cloud, from ``up`` to ``down``.
        supervisor_port, supervisor_password: Where supervisord answers; only this user can read the file.
    """

    stack: str
    region: str
    generation: str
    supervisor_pid: int
    supervisor_port: int
    supervisor_password: str
    services: dict[str, Service] = field(default_factory=dict)


@dataclass(frozen=True)
class Home:
    """Paths of one checkout's local platform."""

    root: Path

    @property
    def folder(self) -> Path:
        """All state."""
        return self.root / ".groundplan"

    @property
    def logs(self) -> Path:
        """A log per service and per step; kept by ``down``."""
        return self.folder / "logs"

    @property
    def environments(self) -> Path:
        """Python environments of scripts that need more packages than the platform has; kept by ``down``."""
        return self.folder / "environments"

    @property
    def backups(self) -> Path:
        """Backups of the platform that ran here; kept by ``down``."""
        return self.folder / "backups"

    @property
    def run(self) -> Path:
        """What exists from ``up`` to ``down``: databases, model folders, state files."""
        return self.folder / "run"

    @property
    def state_file(self) -> Path:
        """What is running."""
        return self.run / "platform.json"

    @property
    def resources_file(self) -> Path:
        """What the program created."""
        return self.run / "resources.json"

    @property
    def outputs_file(self) -> Path:
        """The outputs contract, as pipelines read it."""
        return self.run / "outputs.json"

    @property
    def database(self) -> Path:
        """MLflow's database."""
        return self.run / "mlflow.db"

    @property
    def manifests(self) -> Path:
        """Rendered Kubernetes objects."""
        return self.run / "manifests"

    @property
    def kafka_calls(self) -> Path:
        """Which requests the platform's own clients send to Kafka."""
        return self.run / "kafka-calls.json"

    @property
    def kcat_file(self) -> Path:
        """Configuration of kcat, which reads the broker's address from no variable."""
        return self.run / "kcat.conf"

    @property
    def schemas(self) -> Path:
        """The contracts' schemas that the broker validates events against; absent if it does not validate."""
        return self.run / "schemas"

    @property
    def reports(self) -> Path:
        """Pages for people: quality gate, drift."""
        return self.run / "reports"

    def load(self) -> State | None:
        """The recorded state, or None if nothing was started."""
        try:
            document = json.loads(self.state_file.read_text(encoding="utf-8"))
            services = {name: Service(**item) for name, item in document.pop("services").items()}
            return State(services=services, **document)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise GroundplanError(
                f"not readable: {error!r}", where=str(self.state_file), fix="run `groundplan down`"
            ) from None

    def save(self, state: State) -> None:
        """Record what is running."""
        write_private(self.state_file, json.dumps(asdict(state), indent=1))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the checkout while it changes; a second `up` or `down` is refused immediately.

        Raises:
            GroundplanError: Another command is changing this platform.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise GroundplanError(
                    "another groundplan command is changing this platform",
                    where=str(self.folder),
                    fix="wait until it has ended",
                ) from None
            yield


def find_home(start: Path | None = None) -> Home:
    """The project that ``start`` (the working folder) is in.

    Raises:
        UsageError: It is not in a project.
    """
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / "Pulumi.yaml").is_file() and (candidate / "stacks").is_dir():
            return Home(candidate)
    raise UsageError(
        f"{folder} is not in a Groundplan project (no Pulumi.yaml with stacks/ here or above)",
        fix="change into the project's folder",
    )


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 (a descriptor with its mode)
        file.write(text)
    temporary.replace(path)
