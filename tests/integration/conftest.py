from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis  # noqa: F401 (its plug-in imports it while pytest ends, and CPython 3.11 can't parse that deep then)
import pytest

from groundplan.local.environment import child_environment
from groundplan.local.home import Home, State
from groundplan.local.moto.aws import client
from groundplan.local.up import Summary, bring_up, tear_down
from spec.outputs import Outputs, read
from tests.platform import copy_project


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Summary]:
    """The services and the program, without a model."""
    home = Home(copy_project(tmp_path_factory.mktemp("platform") / "project"))
    try:
        yield bring_up(home, "local", models=())
    finally:
        tear_down(home)


@pytest.fixture(scope="session")
def home(platform: Summary) -> Home:
    return platform.home


@pytest.fixture(scope="session")
def state(platform: Summary) -> State:
    return platform.state


@pytest.fixture(scope="session")
def outputs(platform: Summary) -> Outputs:
    return read(str(platform.home.outputs_file))


@pytest.fixture
def aws(state: State) -> Any:
    """Clients of the local cloud by service name."""

    def make(service: str) -> Any:
        return client(service, state.services["router" if service == "sagemaker-runtime" else "aws"].url, state.region)

    return make


@pytest.fixture
def inside(home: Home, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's environment is that of a pipeline step."""
    for key, value in child_environment(home, state.services, state.region).items():
        monkeypatch.setenv(key, value)
