"""Runs a Pulumi program in this process, against a monitor in place of the engine."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import logging
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pulumi.runtime.proto import source_pb2
from pulumi.runtime.settings import get_project, get_stack

from groundplan.engine import provider_imports
from groundplan.engine.guest import causes
from spec.errors import GroundplanError, UsageError

# Inputs that may be structures, which AWS's provider converts to JSON text.
DOCUMENTS = ("policy", "assumeRolePolicy")
# Computed values inside given structures: the provider adds them to its answer.
COMPUTED_INSIDE = {"aws:eks/cluster:Cluster": {"vpcConfig": ("clusterSecurityGroupId", "vpcId")}}
SECRET = "[secret]"  # noqa: S105 (its placeholder)


def project_name(root: Path) -> str:
    """Name of the Pulumi project in a folder, with which the names of its resources begin.

    Raises:
        UsageError: There is no project, or it has no name.
    """
    import yaml

    file = root / "Pulumi.yaml"
    try:
        name = yaml.safe_load(file.read_text(encoding="utf-8"))["name"]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError):
        raise UsageError("does not name a project", where=str(file), fix="it needs `name:` and `runtime:`") from None
    return str(name)


def run(
    program: Callable[[], None],
    monitor: Any,
    stack: str,
    config: Mapping[str, Any],
    *,
    project: str,
    preview: bool = False,
) -> dict[str, Any]:
    """Run a Pulumi program against a monitor and return its stack outputs, resolved.

    Args:
        project: Name of the Pulumi project.

    Raises:
        GroundplanError: What the program or the monitor raised; other errors are passed on unchanged.
    """
    import pulumi
    from pulumi.runtime import resource, settings
    from pulumi.runtime.stack import run_pulumi_func

    logging.getLogger("pulumi").setLevel(logging.CRITICAL)
    # A failed run leaves unfinished work behind, tied to an event loop that no longer exists.
    settings.SETTINGS.rpc_manager.clear()
    settings.SETTINGS.outputs.clear()
    settings.set_root_resource(None)  # type: ignore[arg-type]
    pulumi.runtime.set_all_config(
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    )
    resource._get_stack_trace = _stack_trace
    said = _Errors()
    provider_imports.install()

    async def whole() -> None:
        """Run the program and wait for its outputs: the SDK's own wait restarts with all remaining outputs after each
        one.
        """
        program()
        outputs = settings.SETTINGS.outputs
        while outputs:
            pending = list(outputs)
            outputs.clear()
            done, unfinished = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
            outputs.update(unfinished)
            if unfinished or any(task.cancelled() or task.exception() for task in done):
                outputs.update(done)
                return  # the SDK finds the failure and reports it

    async def main() -> dict[str, Any]:
        # A failure is raised; asyncio would report again every output that waited for it.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        pulumi.runtime.set_mocks(
            monitor.mocks, project=project, stack=stack, preview=preview, monitor=monitor, logger=said.logger
        )
        await run_pulumi_func(whole)
        root = settings.get_root_resource()
        exported = getattr(root, "outputs", {})
        return await pulumi.Output.all(**exported).future(with_unknowns=preview) or {}

    # Thousands of classes are created while the provider's package is imported; looking for garbage among them took a
    # third of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        # asyncio.run also ends what a failure has left unfinished: coroutines that only the garbage collector would
        # find have crashed CPython 3.11.
        outputs = asyncio.run(main())
        if said.errors:  # like the engine, which continues to the end and then reports the failure
            raise GroundplanError(
                f"the program logged errors: {'; '.join(said.errors)}",
                where="pulumi.log.error",
                fix="fix them, and run it again",
            )
        return outputs
    except Exception as error:
        for cause in causes(error):
            if isinstance(cause, GroundplanError):
                raise cause from None
        raise
    finally:
        if collecting:
            gc.enable()


class _Errors(logging.Handler):
    """Errors that a program logs with ``pulumi.log``."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []
        self.logger = logging.Logger("groundplan.pulumi", logging.ERROR)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.errors.append(record.getMessage())


def run_file(folder: Path) -> None:
    """Run a folder with ``__main__.py``."""
    runpy.run_path(str(folder), run_name="__main__")


def engine_urn(parent: str, type_: str, name: str) -> str:
    """A resource's URN: it contains every parent's type except the stack's."""
    chain = parent.split("::")[2] if parent else "pulumi:pulumi:Stack"
    qualified = type_ if chain == "pulumi:pulumi:Stack" else f"{chain}${type_}"
    return f"urn:pulumi:{get_stack()}::{get_project()}::{qualified}::{name}"


def _stack_trace() -> source_pb2.StackTrace:
    """Where a resource is created. The SDK's own way reads every file of the call stack again for every resource: a
    sixth of a preview.
    """
    frame, frames = sys._getframe(1), list[tuple[str, int]]()
    constructors = 0
    # The third constructor from within is the resource's own class, and what called it is the program.
    while frame is not None and constructors < 3:
        constructors += frame.f_code.co_name == "__init__"
        frame = frame.f_back  # type: ignore[assignment]
    while frame is not None:
        frames.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment]
    return source_pb2.StackTrace(frames=[_stack_frame(*place) for place in frames])


@functools.lru_cache(maxsize=10_000)
def _stack_frame(filename: str, line: int) -> source_pb2.StackFrame:
    path = Path(filename)
    return (
        source_pb2.StackFrame(pc=source_pb2.SourcePosition(uri=path.as_uri(), line=line))
        if path.is_absolute()
        else source_pb2.StackFrame()
    )
