"""This process's place: inside the running platform, or before a stack whose outputs are named."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groundplan.local.environment import child_environment
from groundplan.local.home import Home, State
from pipelines.context import Context, ModelDefinition
from spec.errors import GroundplanError
from spec.outputs import Outputs, read


def running(home: Home) -> State:
    """The state of the running platform.

    Raises:
        GroundplanError: Nothing is running.
    """
    state = home.load()
    if state is None or not home.outputs_file.is_file():
        raise GroundplanError("the platform is not running", fix="run `groundplan up` first")
    return state


def elsewhere(outputs: str) -> Outputs:
    """The outputs of a stack that does not run here; what follows asks its region."""
    found = read(outputs)
    os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"] = found.region
    return found


def bare(outputs: Outputs, model: str) -> Context:
    """The context of a model of which only the name is known: its script may be elsewhere."""
    return Context(outputs, ModelDefinition(Path(), model, Path()), "restore", Path())


@contextmanager
def inside(home: Home, caller: str = "") -> Iterator[State]:
    """This process's environment becomes that of the local cloud's own processes."""
    state = running(home)
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(child_environment(home, state.services, state.region, caller))
    _forget_session()
    try:
        yield state
    finally:
        os.environ.clear()
        os.environ.update(before)
        _forget_session()


def _forget_session() -> None:
    """boto3's own session keeps the credentials that it has found first."""
    if "boto3" in sys.modules:
        sys.modules["boto3"].__dict__["DEFAULT_SESSION"] = None
