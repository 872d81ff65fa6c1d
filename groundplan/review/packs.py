"""Policy packs, called over Pulumi's own protocol (``analyzer.proto``) while the program runs.

https://github.com/pulumi/pulumi/blob/master/proto/pulumi/analyzer.proto
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from groundplan.review.errors import ReviewError
from groundplan.review.pack_process import PackProcess
from policies.settings import EACH_RESOURCE
from spec.names import HOME

START_TIMEOUT_S, ASK_TIMEOUT_S = 60.0, 300.0
MOST_UNDER_WAY = 200
OWN = "groundplan"  # the name of our pack, as policies/__main__.py has it
_LEVELS = {
    analyzer_pb2.MANDATORY: "mandatory",
    analyzer_pb2.REMEDIATE: "mandatory",
    analyzer_pb2.ADVISORY: "advisory",
    analyzer_pb2.DISABLED: "disabled",
}
_SEVERITIES = {
    analyzer_pb2.POLICY_SEVERITY_CRITICAL: "critical",
    analyzer_pb2.POLICY_SEVERITY_HIGH: "high",
    analyzer_pb2.POLICY_SEVERITY_MEDIUM: "medium",
}
_CANT = re.compile(r"can't run policy '([^']+)' from policy pack '[^']+' during preview: (.*)", re.DOTALL)

_OF_URN = re.compile(r"(\S.*?) of (urn:pulumi:.+?)(?:; | can't be known)")  # as policies/stack.py says it


class Pack:
    """A pack that is running or starting."""

    def __init__(self, started: PackProcess) -> None:
        self.path = started.path
        self._started = started
        # Ours judges all resources in one call; a call for each would take longer than the judging.
        self._ours = started.path == HOME / "policies"
        self._requests: list[Any] = []
        self._answers: list[tuple[str, Any]] = []

    def judge(self, requests: list[Any], resources: list[Any]) -> Any:
        """Have each resource and the whole stack judged; the answer is for ``finish``.

        Args:
            requests: ``AnalyzeRequest`` of each resource.
            resources: ``AnalyzerResource`` of the whole stack.

        Raises:
            ReviewError: It did not start.
        """
        self._connect()
        self._requests = requests
        if self._ours:
            return self._stack(resources, [(EACH_RESOURCE, "1")])
        self._answers = self._analyzed({request.urn: request for request in requests})
        return self._stack(resources)

    def _connect(self) -> None:
        assert self._started.process.stdout is not None
        port = self._started.process.stdout.readline().strip()
        if not port.isdigit():
            self._started.process.wait(START_TIMEOUT_S)
            self._started.errors.seek(0)
            said = self._started.errors.read().decode("utf-8", "replace")
            raise ReviewError(f"the policy pack does not start: {_last(said)}", where=_place(said) or str(self.path))
        # Kept: a channel that is no longer referenced cancels what was sent through it.
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        )
        self.stub = analyzer_pb2_grpc.AnalyzerStub(self._channel)
        self._info = self.stub.GetAnalyzerInfo.future(empty_pb2.Empty(), timeout=ASK_TIMEOUT_S)

    def finish(self, whole: Any) -> dict[str, Any]:
        """All the pack has to say: its policies, its findings, what it could not decide.

        Raises:
            ReviewError: One of its policies raised.
        """
        try:
            said = _diagnostics(self._answers)
            said += [(item.urn, item) for item in whole.result().diagnostics]
            if self._ours and EACH_RESOURCE not in dict(whole.trailing_metadata()):  # its SDK is a newer one
                said += _diagnostics(self._analyzed({request.urn: request for request in self._requests}))
            info = self._info.result()
        except grpc.RpcError as error:
            raise self._raised(error) from None
        own = info.name == OWN
        return {"pack": info.name, "policies": [_policy(item, own=own) for item in info.policies], **_told(said)}

    def again(self, said: dict[str, Any], requests: Mapping[str, Any], resources: list[Any]) -> None:
        """Decide what could not be decided, by values that stand in for those that only a deployment can tell.

        Args:
            said: What ``finish`` gave; findings are added, and what is decided now is no longer undecided.
            requests: ``AnalyzeRequest`` by URN, with stand-ins.
            resources: ``AnalyzerResource`` of the whole stack, with stand-ins.
        """
        wanted = {(item["policy"], item["urn"]) for item in said["undecided"]}
        if not wanted:
            return
        whole = self._stack(resources)
        try:
            answered = _diagnostics(self._analyzed({urn: requests[urn] for _, urn in wanted if urn in requests}))
            answered += [(item.urn, item) for item in whole.result().diagnostics]
        except grpc.RpcError:
            return  # a policy can't read a stand-in: what was undecided stays so
        found = _told(answered)
        still = {(item["policy"], item["urn"]) for item in found["undecided"]}
        said["undecided"] = [
            item
            for item in said["undecided"]
            if (item["policy"], item["urn"]) in still or (item["urn"] and item["urn"] not in requests)
        ]
        said["findings"] += [
            {**item, "stand_ins": True}
            for item in found["findings"]
            if (item["policy"], item["urn"]) in wanted or (item["policy"], "") in wanted
        ]

    def _analyzed(self, requests: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """The answers to come, by URN."""
        room = threading.Semaphore(MOST_UNDER_WAY)  # with thousands in flight at once, gRPC cancels some
        asked = []
        for urn, request in requests.items():
            room.acquire()
            answer = self.stub.Analyze.future(request, timeout=ASK_TIMEOUT_S)
            answer.add_done_callback(lambda _: room.release())
            asked.append((urn, answer))
        return asked

    def _stack(self, resources: list[Any], metadata: list[tuple[str, str]] | None = None) -> Any:
        request = analyzer_pb2.AnalyzeStackRequest(resources=resources)
        return self.stub.AnalyzeStack.future(request, timeout=ASK_TIMEOUT_S, metadata=metadata)

    def _raised(self, error: grpc.RpcError) -> ReviewError:
        text = error.details() or str(error.code())
        named = re.search(r"with policy '([^']+)'", text)
        what = f"the policy {named[1]} raised: {_last(text)}" if named else f"the policy pack failed: {_last(text)}"
        return ReviewError(what, where=_place(text) or str(self.path))


def _diagnostics(answers: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(urn, item) for urn, answer in answers for item in answer.result().diagnostics]


def _policy(item: Any, *, own: bool) -> dict[str, Any]:
    """What a pack says of a policy; ours adds its risk to the title, and the types that it looks at to the family."""
    title, _, risk = item.description.partition(". ") if own else (item.description, "", "")
    return {
        "id": item.name,
        "title": title,
        "risk": risk.rstrip("."),
        "types": list(item.tags[1:]) if own else [],
        "level": _LEVELS[item.enforcementLevel],
        "severity": _SEVERITIES.get(item.severity, "low"),
        "law": [part.strip() for part in item.framework.reference.split(",") if part.strip()],
        "remediation": item.remediation_steps,
        "url": item.url,
        "family": item.tags[0] if item.tags else "",
    }


def _told(said: list[tuple[str, Any]]) -> dict[str, Any]:
    findings, undecided = [], []
    for urn, item in said:
        if cant := _CANT.match(item.message):
            parts = [] if urn else _OF_URN.findall(cant[2])
            undecided += [{"policy": cant[1], "urn": of, "why": f"{what} can't be known"} for what, of in parts]
            if not parts:
                undecided.append({"policy": cant[1], "urn": urn, "why": cant[2].strip()})
            continue
        # The SDK puts the policy's description before its message.
        message = item.message.removeprefix(item.description).strip() or item.description
        findings.append(
            {
                "policy": item.policyName,
                "urn": item.urn or urn,
                "message": message,
                "level": _LEVELS[item.enforcementLevel],
            }
        )
    return {"findings": findings, "undecided": undecided}


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def _place(text: str) -> str:
    """``file:line`` of the last frame of a traceback that is not in an installed package."""
    frames = [
        (file, line)
        for file, line in re.findall(r'File "([^"]+)", line (\d+)', text)
        if "site-packages" not in file and not file.startswith("<")
    ]
    return ":".join(frames[-1]) if frames else ""


def request_of(urn: str, type_: str, name: str, properties: struct_pb2.Struct, *, protect: bool) -> Any:
    """An ``AnalyzeRequest``."""
    return analyzer_pb2.AnalyzeRequest(
        urn=urn,
        type=type_,
        name=name,
        properties=properties,
        options=analyzer_pb2.AnalyzerResourceOptions(protect=protect),
    )


def provider_of(urn: str, type_: str, name: str, properties: struct_pb2.Struct) -> Any:
    """An ``AnalyzerProviderResource``."""
    return analyzer_pb2.AnalyzerProviderResource(urn=urn, type=type_, name=name, properties=properties)


def resource_of(
    request: Any,
    parent: str,
    dependencies: list[str],
    by_input: Mapping[str, Sequence[str]],
    provider: Any = None,
) -> Any:
    """The ``AnalyzerResource`` of the same resource.

    Args:
        by_input: URNs that each input comes from.
        provider: ``AnalyzerProviderResource``, where it is not the default one.
    """
    return analyzer_pb2.AnalyzerResource(
        urn=request.urn,
        type=request.type,
        name=request.name,
        properties=request.properties,
        options=request.options,
        parent=parent,
        dependencies=dependencies,
        provider=provider,
        propertyDependencies={
            key: analyzer_pb2.AnalyzerPropertyDependencies(urns=urns) for key, urns in by_input.items()
        },
    )
