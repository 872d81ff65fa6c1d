"""Policy packs, called over Pulumi's own protocol (``analyzer.proto``) while the program runs.

https://github.com/pulumi/pulumi/blob/master/proto/pulumi/analyzer.proto
"""

from __future__ import annotations

import queue
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
        self.answers: list[tuple[Any, Any]] = []  # request, future
        # Ours judges all resources in one call; a call for each would take longer than the judging.
        self._ours = started.path == HOME / "policies"
        self._later: list[Any] = []
        self._queue: queue.Queue[Any] = queue.Queue()
        self._problem: ReviewError | None = None
        self._started = started
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Wait for the pack's port, then send what has accumulated and everything that follows."""
        assert self._started.process.stdout is not None
        port = self._started.process.stdout.readline().strip()
        if not port.isdigit():
            self._started.process.wait(START_TIMEOUT_S)
            self._started.errors.seek(0)
            said = self._started.errors.read().decode("utf-8", "replace")
            self._problem = ReviewError(
                f"the policy pack does not start: {_last(said)}", where=_place(said) or str(self.path)
            )
            return
        # Kept: a channel that is no longer referenced cancels what was sent through it.
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        )
        self.stub = analyzer_pb2_grpc.AnalyzerStub(self._channel)
        self._info = self.stub.GetAnalyzerInfo.future(empty_pb2.Empty(), timeout=ASK_TIMEOUT_S)
        # With thousands in flight at once, gRPC cancels some.
        room = threading.Semaphore(MOST_UNDER_WAY)
        while (request := self._queue.get()) is not None:
            room.acquire()
            answer = self.stub.Analyze.future(request, timeout=ASK_TIMEOUT_S)
            answer.add_done_callback(lambda _: room.release())
            self.answers.append((request, answer))

    def ask(self, request: Any) -> None:
        """Have one resource judged; ``finish`` returns the answer."""
        if self._ours:
            self._later.append(request)
        else:
            self._queue.put(request)

    def judge(self, resources: list[Any]) -> Any:
        """Have the whole stack judged, once all of its resources have been; the answer is for ``finish``.

        Args:
            resources: ``AnalyzerResource`` of the whole stack.

        Raises:
            ReviewError: It did not start.
        """
        self._queue.put(None)
        self._thread.join(START_TIMEOUT_S + ASK_TIMEOUT_S)
        if self._problem:
            raise self._problem
        return self._stack(resources, [(EACH_RESOURCE, "1")] if self._ours else [])

    def finish(self, whole: Any) -> dict[str, Any]:
        """All the pack has to say: its policies, its findings, what it could not decide.

        Raises:
            ReviewError: One of its policies raised.
        """
        try:
            said = [(request.urn, item) for request, future in self.answers for item in future.result().diagnostics]
            said += [(item.urn, item) for item in whole.result().diagnostics]
            if self._ours and EACH_RESOURCE not in dict(whole.trailing_metadata()):  # its SDK is a newer one
                said += self._judged({request.urn: request for request in self._later})
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
            answered = self._judged({urn: requests[urn] for _, urn in wanted if urn in requests})
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

    def _judged(self, requests: Mapping[str, Any]) -> list[tuple[str, Any]]:
        asked = [(urn, self.stub.Analyze.future(item, timeout=ASK_TIMEOUT_S)) for urn, item in requests.items()]
        return [(urn, item) for urn, future in asked for item in future.result().diagnostics]

    def _stack(self, resources: list[Any], metadata: list[tuple[str, str]] | None = None) -> Any:
        request = analyzer_pb2.AnalyzeStackRequest(resources=resources)
        return self.stub.AnalyzeStack.future(request, timeout=ASK_TIMEOUT_S, metadata=metadata)

    def _raised(self, error: grpc.RpcError) -> ReviewError:
        text = error.details() or str(error.code())
        named = re.search(r"with policy '([^']+)'", text)
        what = f"the policy {named[1]} raised: {_last(text)}" if named else f"the policy pack failed: {_last(text)}"
        return ReviewError(what, where=_place(text) or str(self.path))


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


def resource_of(request: Any, parent: str, dependencies: list[str], by_input: Mapping[str, Sequence[str]]) -> Any:
    """The ``AnalyzerResource`` of the same resource.

    Args:
        by_input: URNs that each input comes from.
    """
    return analyzer_pb2.AnalyzerResource(
        urn=request.urn,
        type=request.type,
        name=request.name,
        properties=request.properties,
        options=request.options,
        parent=parent,
        dependencies=dependencies,
        propertyDependencies={
            key: analyzer_pb2.AnalyzerPropertyDependencies(urns=urns) for key, urns in by_input.items()
        },
    )
