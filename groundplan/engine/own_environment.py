"""Runs a program in its project's own environment: its interpreter, its version of Pulumi's SDK, its packages.

The Pulumi CLI starts a program the same way: the program is a process that registers its resources with a resource
monitor over gRPC. The monitor here is the review's.

https://github.com/pulumi/pulumi/blob/master/proto/pulumi/resource.proto
"""

from __future__ import annotations

import contextvars
import faulthandler
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from spec.errors import GroundplanError
from spec.names import HOME

GUEST = Path(__file__).with_name("guest.py")


def interpreter(virtualenv: Path | None) -> str:
    """The interpreter of a project's environment; empty where it has none, or where it is this one."""
    if virtualenv is None or virtualenv.resolve() == Path(sys.prefix).resolve():
        return ""
    python = virtualenv / "bin" / "python"
    return str(python) if python.is_file() else ""


class Guest:
    """The program's process, which waits for a monitor.

    Args:
        request: Of the review.
        tolerant: See ``guest.Tolerant``.
    """

    def __init__(self, request: Mapping[str, Any], python: str, *, enforced: bool, tolerant: bool = False) -> None:
        self._answer, theirs = os.pipe()
        self._process = subprocess.Popen(
            [python, "-u", str(GUEST), str(theirs)],
            env=_environment(request, python),
            stdin=subprocess.PIPE,
            pass_fds=(theirs,),
            text=True,
        )
        os.close(theirs)
        self._write(
            json.dumps(
                {
                    **{key: request[key] for key in ("main", "root", "project", "stack", "config")},
                    "enforced": enforced,
                    "tolerant": tolerant,
                }
            )
        )

    def _where(self, _number: int, _frame: FrameType | None) -> None:
        """Have the program's process write where it is."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def run(self, monitor: Any, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run the program against a monitor; see ``guest._run`` for the answer.

        Raises:
            GroundplanError: What the monitor raised, or what the program logged as an error.
        """
        faulthandler.unregister(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, self._where)
        served = _Served(monitor, request)
        try:
            self._write(served.address)
            with os.fdopen(self._answer, encoding="utf-8") as answer:
                text = answer.read()
        finally:
            served.stop()
        if served.raised:
            raise served.raised[0]
        if not text:
            raise GroundplanError(
                f"the program's process ended with code {self._process.wait()}", where=str(request["root"])
            )
        found: dict[str, Any] = json.loads(text)
        if served.logged and not found.get("error"):
            raise GroundplanError(
                f"the program logged errors: {'; '.join(served.logged)}",
                where="pulumi.log.error",
                fix="fix them, and run it again",
            )
        return found


def _environment(request: Mapping[str, Any], python: str) -> dict[str, str]:
    """As in the project's activated environment, without what this process's own has added."""
    folder = Path(python).parent
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(HOME)]
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    return {
        **kept,
        **({"PYTHONPATH": os.pathsep.join(paths)} if paths else {}),
        "VIRTUAL_ENV": str(folder.parent),
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",
        "GROUNDPLAN_REVIEW": "1",
        "AWS_REGION": request["region"],
    }


class _Served:
    """A monitor, and the little of an engine that a program needs, at an address.

    Attributes:
        raised: What the monitor raised.
        logged: Errors that the program logged.
    """

    def __init__(self, monitor: Any, request: Mapping[str, Any]) -> None:
        import grpc
        from pulumi import runtime
        from pulumi.runtime.proto import engine_pb2_grpc, resource_pb2_grpc

        runtime.configure(runtime.Settings(project=request["project"], stack=request["stack"], dry_run=True))
        self.raised: list[GroundplanError] = []
        self.logged: list[str] = []
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._server = grpc.server(ThreadPoolExecutor(32), options=unlimited)
        resource_pb2_grpc.add_ResourceMonitorServicer_to_server(_monitor_service(monitor, self.raised), self._server)
        engine_pb2_grpc.add_EngineServicer_to_server(_engine_service(self.logged), self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.stop(None).wait()


def _monitor_service(monitor: Any, raised: list[GroundplanError]) -> Any:
    import grpc
    from pulumi.runtime.proto import resource_pb2, resource_pb2_grpc

    settings = contextvars.copy_context()  # gRPC's threads do not have this thread's

    class Service(resource_pb2_grpc.ResourceMonitorServicer):  # type: ignore[misc]
        """Passes each call to the monitor."""

    def passing(name: str) -> Any:
        def answer(_self: Any, request: Any, context: Any) -> Any:
            try:
                found = settings.copy().run(getattr(monitor, name), request)
            except Exception as error:
                if isinstance(error, GroundplanError):
                    raised.append(error)
                context.abort(grpc.StatusCode.UNKNOWN, str(error))
            if name == "SupportsFeature":  # the SDK's own stand-in answers with a type that can't be sent
                return resource_pb2.SupportsFeatureResponse(hasSupport=found.hasSupport)
            return found

        return answer

    for name in vars(resource_pb2_grpc.ResourceMonitorServicer):
        if name[0].isupper() and hasattr(monitor, name):
            setattr(Service, name, passing(name))
    return Service()


def _engine_service(logged: list[str]) -> Any:
    from google.protobuf import empty_pb2
    from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

    class Service(engine_pb2_grpc.EngineServicer):  # type: ignore[misc]
        """Keeps the errors that are logged, and which resource is the stack."""

        def __init__(self) -> None:
            self._root = ""

        def Log(self, request: Any, context: Any) -> Any:  # noqa: N802 (the gRPC method's name)
            if request.severity == engine_pb2.ERROR:
                logged.append(request.message)
            return empty_pb2.Empty()

        def GetRootResource(self, request: Any, context: Any) -> Any:  # noqa: N802
            return engine_pb2.GetRootResourceResponse(urn=self._root)

        def SetRootResource(self, request: Any, context: Any) -> Any:  # noqa: N802
            self._root = request.urn
            return engine_pb2.SetRootResourceResponse()

        def RequirePulumiVersion(self, request: Any, context: Any) -> Any:  # noqa: N802
            return engine_pb2.RequirePulumiVersionResponse()

    return Service()
