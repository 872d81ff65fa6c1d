"""``groundplan provider``: a separate local cloud, and the providers on it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from groundplan.engine import provider_imports
from groundplan.local.environment import child_environment, client_variables
from groundplan.local.home import Home, Service
from groundplan.local.moto.rules import Cloud
from groundplan.local.moto.sending import sender
from groundplan.local.services import broker, free_port, healthy, log_tail, own_service
from spec.errors import GroundplanError
from spec.objectives import load

_START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Running:
    """Running providers.

    Attributes:
        variables: Environment variables for the shell in which ``pulumi`` is called.
        manifests: Where Kubernetes objects are written.
    """

    variables: dict[str, str]
    manifests: Path
    account: str


@contextmanager
def running(home: Home, stack: str, *, aws: str = "", kafka: str = "") -> Iterator[Running]:
    """Serve both providers until the block ends.

    Args:
        stack: The stack whose account the cloud acts as, and whose region it uses where the program names none.
        aws, kafka: Addresses of a local cloud that runs already; without them an empty one is started, which ends with
            the block.

    Raises:
        GroundplanError: A service did not come up.
        UsageError: The stack's file is invalid.
    """
    from groundplan.local.provider.aws import Aws
    from groundplan.local.provider.kubernetes import Kubernetes
    from groundplan.local.provider.server import serve

    provider_imports.install()
    config = load(home.root, stack)
    (home.folder / "provider").mkdir(parents=True, exist_ok=True)
    with ExitStack() as ending:
        # Belongs to this cloud only, and is removed with it: several may run in one checkout.
        folder = Path(
            ending.enter_context(tempfile.TemporaryDirectory(dir=home.folder / "provider", ignore_cleanup_errors=True))
        )
        services = {}
        if aws:
            services["aws"] = Service("aws", aws, owned=False)
        else:
            services["aws"] = own_service("aws", free_port())
            command = [sys.executable, "-m", "groundplan.local.moto.server", "--port", str(services["aws"].port)]
            ending.enter_context(
                _process(home, folder, services["aws"], command, {"MOTO_ACCOUNT_ID": config.account_id}, config.region)
            )
        if kafka:
            services["kafka"] = Service("kafka", kafka, owned=False)
        else:
            services["kafka"] = own_service("kafka", free_port())
            address = f"tcp://127.0.0.1:{services['kafka'].port}"
            command = [
                str(broker(home)),
                "broker",
                "--listener-url",
                address,
                "--advertised-listener-url",
                address,
                "--storage-engine",
                "memory://groundplan/",
            ]
            ending.enter_context(_process(home, folder, services["kafka"], command, {}, config.region))
        for service in services.values():
            _wait(service, folder)
        cloud = Cloud(
            config.region, config.account_id, sender(services["aws"].url), services["kafka"].url, lambda manifest: None
        )
        ports = {}
        for name, provider in (("aws", Aws(cloud)), ("kubernetes", Kubernetes(cloud, folder / "manifests"))):
            server, ports[name] = serve(provider)
            ending.callback(server.stop, None)
        variables = {
            "PULUMI_DEBUG_PROVIDERS": ",".join(f"{name}:{port}" for name, port in ports.items()),
            **client_variables(services, config.region),
        }
        yield Running(variables, folder / "manifests", config.account_id)


@contextmanager
def _process(
    home: Home, folder: Path, service: Service, command: list[str], extra: dict[str, str], region: str
) -> Iterator[None]:
    environment = {**child_environment(home, {}, region), **extra, "GROUNDPLAN_HOME": str(folder)}
    with (folder / f"{service.name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=home.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(service: Service, folder: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not healthy(service):
        if time.monotonic() > deadline:
            told = log_tail(folder / f"{service.name}.log") if service.owned else ""
            raise GroundplanError(
                f"{service.name} did not answer at {service.url} within {_START_TIMEOUT_S:g} s{told}",
                fix="check the address, or read its log",
            )
        time.sleep(0.1)


def exports(found: Running) -> str:
    """Lines for a shell."""
    import shlex

    return "\n".join(
        f"export {name}={shlex.quote(value)}"
        for name, value in found.variables.items()
        if name not in os.environ or os.environ[name] != value
    )
