"""A Python language host for the CLI where Pulumi's own is not available: a small subset of it.

``make pulumi`` puts it on the PATH as ``pulumi-language-python``: Pulumi's host is not a separate Go module that could
be built, and programs don't start without one. It starts a program and a policy pack as
Pulumi's host does: with the project's virtual environment, with the program's folder first on ``sys.path`` and as the
working folder. (https://github.com/pulumi/pulumi/blob/master/proto/pulumi/language.proto)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import analyzer_pb2, language_pb2, language_pb2_grpc, plugin_pb2

_ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_SHOWN = 32  # the exit code of a program that has reported its error itself


def _python(info: Any) -> str:
    """The project's interpreter."""
    environment = json_format.MessageToDict(info.options).get("virtualenv", "")
    return str(Path(info.root_directory) / environment / "bin" / "python") if environment else sys.executable


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    def __init__(self, engine: str) -> None:
        self._engine = engine

    def Handshake(self, request: Any, context: Any) -> Any:
        self._engine = request.engine_address or self._engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version="3.0.0")

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:
        return language_pb2.GetRequiredPluginsResponse()

    def Run(self, request: Any, context: Any) -> Any:
        folder = str(Path(request.info.program_directory) / request.info.entry_point)
        given = {
            "monitor": request.monitor_address,
            "engine": self._engine,
            "project": request.project,
            "stack": request.stack,
            "pwd": request.pwd,
            "dry_run": str(request.dryRun).lower(),
            "parallel": str(request.parallel),
            "organization": request.organization,
            "root_directory": request.info.root_directory,
        }
        executor = Path(os.environ["PULUMI_LANGUAGE_PYTHON_EXEC"])
        command = [
            _python(request.info),
            "-u",
            str(executor),
            *(part for key, value in given.items() for part in (f"--{key}", value)),
            folder,
            *request.args,
        ]
        environment = {
            **os.environ,
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
            "PULUMI_RUNTIME_VIRTUALENV": str(Path(_python(request.info)).parent.parent),
        }
        code = subprocess.run(command, cwd=request.pwd, env=environment, check=False).returncode
        return language_pb2.RunResponse(
            bail=code == _SHOWN, error="" if code in (0, _SHOWN) else f"the program exited with {code}"
        )

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:
        python, folder = _python(request.info), request.info.program_directory
        environment = {**os.environ, **dict(item.split("=", 1) for item in request.env if "=" in item)}
        if request.kind == "analyzer":
            pack = _Pack([python, "-u", "-m", "pulumi.policy", *request.args, folder], folder, environment)
            context.add_callback(pack.end)
            yield language_pb2.RunPluginResponse(stdout=f"{pack.port}\n".encode())
            yield language_pb2.RunPluginResponse(exitcode=pack.wait())
            return
        process = subprocess.Popen(
            [python, "-u", folder, *request.args],
            cwd=request.pwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
        )
        context.add_callback(process.kill)
        assert process.stdout is not None
        for line in process.stdout:
            yield language_pb2.RunPluginResponse(stdout=line)
        yield language_pb2.RunPluginResponse(exitcode=process.wait())

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()


class _Pack(grpc.GenericRpcHandler):
    """A policy pack, started once the engine has sent the stack's configuration: packs read it from their
    environment, from the first line on.
    """

    def __init__(self, command: list[str], folder: str, environment: dict[str, str]) -> None:
        self._start = lambda more: subprocess.Popen(
            command, cwd=folder, env={**environment, **more}, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
        )
        self._ended = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._channel: grpc.Channel | None = None
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=_ANY_SIZE)
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, handler_call_details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._forward(handler_call_details.method, request, context)
        )

    def _forward(self, method: str, request: bytes, context: Any) -> bytes:
        if method.endswith("/Handshake"):
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "older than that")
        if self._channel is None:
            told = (
                analyzer_pb2.AnalyzerStackConfigureRequest.FromString(request)
                if method.endswith("/ConfigureStack")
                else None
            )
            self._process = self._start(_configuration(told) if told else {})
            assert self._process.stdout is not None
            self._channel = grpc.insecure_channel(
                f"127.0.0.1:{self._process.stdout.readline().strip()}", options=_ANY_SIZE
            )
        try:
            return bytes(self._channel.unary_unary(method)(request, wait_for_ready=True))
        except grpc.RpcError as error:
            return context.abort(error.code(), error.details())

    def end(self) -> None:
        if self._process:
            self._process.kill()
        self._server.stop(None)
        self._ended.set()

    def wait(self) -> int:
        self._ended.wait()
        return 0


def _configuration(told: Any) -> dict[str, str]:
    return {
        "PULUMI_ORGANIZATION": told.organization, "PULUMI_PROJECT": told.project, "PULUMI_STACK": told.stack,
        "PULUMI_DRY_RUN": str(told.dry_run).lower(), "PULUMI_CONFIG": json.dumps(dict(told.config)),
    }  # fmt: skip


def main() -> None:
    """Serve until the engine ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine's own Ctrl-C reaches the whole group
    server = grpc.server(futures.ThreadPoolExecutor(8), options=_ANY_SIZE)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageHost(sys.argv[-1]), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
