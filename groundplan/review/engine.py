"""Runs a program in preview semantics, and has policy packs judge each resource as it is registered."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import struct_pb2
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockCallArgs

from groundplan.engine.guest import Missing, Tolerant, in_project, raised, run_program
from groundplan.engine.offline import Offline
from groundplan.engine.own_environment import Guest
from groundplan.engine.preview import Previewed, PreviewMonitor
from groundplan.engine.program import SECRET, run
from groundplan.review import lookups, packs
from groundplan.review.default_tags import DefaultTags
from groundplan.review.errors import ReviewError
from groundplan.review.pack_process import PackProcess
from spec.errors import GroundplanError
from spec.names import HOME, PACKAGES

_OTHER_REVISIONS = {*PACKAGES, "models", "tests"} - {
    "groundplan"
}  # the program may be from another revision of this project


_WHERE_TO_INSTALL = "the virtualenv that its Pulumi.yaml names, or into this one"
_IDENTIFIERS = ("arn", "name", "bucket", "identifier", "clusterIdentifier")  # outputs by which others are found


class _ForPacks:
    """What policy packs are told of each resource, whichever monitor the program runs against."""

    def __init__(self, config: dict[str, str]) -> None:
        self._default_tags = DefaultTags(config)
        self._given: dict[str, struct_pb2.Struct] = {}
        self._providers: dict[str, Any] = {}  # explicit ones, by URN
        self._provider: dict[str, str] = {}  # of each resource that has one
        self.judged: list[Any] = []  # of the packs' protocol

    def note(self, urn: str, request: Any) -> None:
        """Before the answer changes the same message."""
        self._given[urn] = _for_packs(request.object)
        self._default_tags.add(urn, request, self._given[urn])
        if request.type == "pulumi:providers:aws":
            self._providers[urn] = packs.provider_of(urn, request.type, request.name, self._given[urn])
        elif request.custom and (provider := request.provider.rpartition("::")[0]) in self._providers:
            self._provider[urn] = provider

    def asked(self, found: Previewed, more: struct_pb2.Struct | None = None) -> Any:
        """The ``AnalyzeRequest`` of a resource; it is noted as one of the stack's.

        Args:
            more: What the stack's controls see beside the inputs.
        """
        given = self._given.pop(found.urn)
        asked = packs.request_of(found.urn, found.type, found.name, given, protect=found.protect)
        seen = asked
        if more is not None:
            whole = struct_pb2.Struct()
            whole.CopyFrom(more)
            whole.MergeFrom(given)
            seen = packs.request_of(found.urn, found.type, found.name, whole, protect=found.protect)
        provider = self._providers.get(self._provider.get(found.urn, ""))
        self.judged.append(packs.resource_of(seen, found.parent, list(found.dependencies), found.references, provider))
        return asked


class ReviewMonitor(PreviewMonitor):
    """A preview that answers look-ups, and passes each resource to the packs."""

    def __init__(self, root: Path, config: dict[str, str], region: str, opaque: str) -> None:
        super().__init__()
        self.mocks.call = self._look_up  # type: ignore[method-assign]
        self._region, self._opaque = region, opaque
        self.lookups: set[str] = set()
        self._root = root
        self.asked: list[Any] = []  # of the packs' protocol
        self.items: list[dict[str, Any]] = []
        self._sources: dict[str, str] = {}  # by URN; what a component makes later has its component's
        self.for_packs = _ForPacks(config)

    def _look_up(self, args: MockCallArgs) -> tuple[dict[str, Any], list[Any]]:
        self.lookups.add(args.token)
        return lookups.answer(args.token, dict(args.args), self._region, self._opaque), []

    def registering(self, urn: str, request: Any) -> None:
        """Keep it for the packs."""
        self.for_packs.note(urn, request)

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """Note the resource, and have it judged."""
        answer = super().RegisterResource(request)
        if request.type == "pulumi:pulumi:Stack":
            return answer
        found = self.found[answer.urn]
        self._sources[found.urn] = self._source(request) or self._sources.get(found.parent, "")
        self.items.append(
            {
                "urn": found.urn,
                "type": found.type,
                "name": found.name,
                "parent": found.parent,
                "custom": found.custom,
                "inputs": found.inputs,
                "source": self._sources[found.urn],
                "protect": found.protect,
                "remote": bool(request.remote),
                "dependencies": list(found.dependencies),
                "aliases": list(found.aliases),
                "ignore_changes": list(found.ignore_changes),
                "replace_on_changes": list(found.replace_on_changes),
                "retain_on_delete": found.retain_on_delete,
            }
        )
        asked = self.for_packs.asked(found)
        if found.custom:
            self.asked.append(asked)
        return answer

    def _source(self, request: Any) -> str:
        """The innermost frame inside the project."""
        for place in [frame.pc for frame in request.stackTrace.frames] or [request.sourcePosition]:  # of older SDKs
            path = place.uri.removeprefix("file://")
            if in_project(path, self._root):
                return f"{path.removeprefix(f'{self._root}/')}:{place.line}"
        return ""


def _for_packs(properties: struct_pb2.Struct) -> struct_pb2.Struct:
    """The inputs as the engine would send them: no secrets' values, unknown values by their sentinel."""
    if not any(mark in properties.SerializeToString() for mark in (rpc._special_sig_key.encode(),)):
        kept = struct_pb2.Struct()
        kept.CopyFrom(properties)
        return kept
    from google.protobuf import json_format

    made = struct_pb2.Struct()
    made.update(_opened(json_format.MessageToDict(properties)))
    return made


def _opened(value: Any) -> Any:
    """A secret is replaced by a placeholder, so that a policy sees that there is one; its value after a deployment is
    unknown.
    """
    if isinstance(value, dict):
        if rpc._special_sig_key not in value:
            return {key: _opened(item) for key, item in value.items()}
        if "assets" in value:
            return f"[{len(value['assets'])} files]"
        inner = value.get("value", rpc.UNKNOWN)
        if value[rpc._special_sig_key] == rpc._special_secret_sig:
            return rpc.UNKNOWN if inner == rpc.UNKNOWN else SECRET
        return _opened(inner)
    return [_opened(item) for item in value] if isinstance(value, list) else value


class _Runner:
    """Runs the program: in its project's own environment, or in this process where it has none.

    Args:
        guest: The process that has been started in the project's environment.

    Attributes:
        missing: Configuration keys that the program requires and that are not set.
        versions: Of the packages in the project's environment; empty where it ran with those here.
        without_sdk: Whether the project's environment has no Pulumi.
    """

    def __init__(self, request: dict[str, Any], offline: Offline, guest: Guest | None) -> None:
        self._request, self._offline, self._guest = request, offline, guest
        self._python = request["python"] if guest else ""
        self._missing: Missing | None = None
        self.missing: list[str] = []
        self.versions: dict[str, str] = {}
        self.without_sdk = False
        self.tolerated: list[str] = []

    def __call__(self, monitor: Any, *, tolerant: bool) -> None:
        """Run it against a monitor.

        Args:
            tolerant: See ``guest.Tolerant``.

        Raises:
            ReviewError: What it raised.
        """
        if self._python and not self._there(monitor, tolerant=tolerant):
            self._python, self.without_sdk = "", True
        if not self._python:
            self._here(monitor, tolerant=tolerant)

    def _there(self, monitor: Any, *, tolerant: bool) -> bool:
        if self._guest is None or tolerant:
            self._guest = Guest(self._request, self._python, enforced=self._offline.enforced, tolerant=tolerant)
        guest, self._guest = self._guest, None
        found = guest.run(monitor, self._request)
        if found.get("no_sdk"):
            return False
        self.missing, self.versions, self.tolerated = found["missing"], found["versions"], found["tolerated"]
        self._offline.tried += [address for address in found["tried"] if address not in self._offline.tried]
        if error := found["error"]:
            raise self._failed(error)
        return True

    def _here(self, monitor: Any, *, tolerant: bool) -> None:
        root, main, config = Path(self._request["root"]), Path(self._request["main"]), self._request["config"]
        if self._missing is None:
            self._missing = Missing()
            self._missing.install()
            self.missing = self._missing.keys
            _step_aside(root, main, built_on_this="groundplan:objectives" in config)
        stack, project = self._request["stack"], self._request["project"]
        tolerating = Tolerant(root)
        self.tolerated = tolerating.raised
        try:
            with tolerating if tolerant else contextlib.nullcontext():
                run(lambda: run_program(main), monitor, stack, config, preview=True, project=project)
        except GroundplanError:
            raise
        except BaseException as error:  # a program may also exit
            raise self._failed(raised(error, root, _WHERE_TO_INSTALL)) from None

    def _failed(self, found: dict[str, str]) -> ReviewError:
        if self._offline.tried:
            found["fix"] = f"a review has no network, and the program requested {', '.join(self._offline.tried)}"
        return ReviewError(found["what"], where=found["where"], fix=found["fix"])


def serve(request: dict[str, Any], started: list[PackProcess], offline: Offline, guest: Guest | None) -> dict[str, Any]:
    """Run the program; the answer contains its resources and what the packs report, or the error that stopped it."""
    runner = _Runner(request, offline, guest)
    try:
        asked = [packs.Pack(pack) for pack in started]
        os.environ["GROUNDPLAN_REVIEW"] = "1"
        os.environ["AWS_REGION"] = request["region"]  # the provider's own next place to look, and so the program's
        monitor, opaque = _first(request, runner)
        if runner.missing:
            return {"missing": runner.missing}
        tolerated = list(runner.tolerated)
        judging = [pack.judge(monitor.asked, monitor.for_packs.judged) for pack in asked]
        second = _Second(request, runner, opaque) if request.get("permissions") else None
        said = [pack.finish(whole) for pack, whole in zip(asked, judging, strict=True)]
        if second is None and any(item["undecided"] for item in said):
            second = _Second(request, runner, opaque)
        if second is not None and not second.error:
            for pack, item in zip(asked, said, strict=True):
                pack.again(item, second.asked, second.judged)
        return {
            "resources": monitor.items,
            "lookups": sorted(monitor.lookups),
            "not_run": list(monitor.not_run),
            "packs": said,
            "deployed": second.resources if second else [],
            "deployed_error": second.error if second else "",
            "tolerated": list(dict.fromkeys([*tolerated, *(runner.tolerated if second else ())])),
            "versions": runner.versions,
            "without_sdk": runner.without_sdk,
            "enforced": offline.enforced,
            "tried": offline.tried,
        }
    except GroundplanError as error:
        if runner.missing:
            return {"missing": runner.missing, "ended": error.where}
        return {"error": {"what": error.what, "where": error.where, "fix": error.fix}}


def _first(request: dict[str, Any], runner: _Runner) -> tuple[ReviewMonitor, str]:
    """The program as a preview runs it. Where it fails after a look-up, the answer, which is made up, may be why: it is
    run again with other ones, and what ``apply`` can't read of them is unknown.

    Raises:
        ReviewError: What the program raised the first time.
    """

    def run_with(opaque: str, *, tolerant: bool) -> ReviewMonitor:
        monitor = monitors[0] = ReviewMonitor(Path(request["root"]), request["config"], request["region"], opaque)
        runner(monitor, tolerant=tolerant)
        return monitor

    monitors: dict[int, ReviewMonitor] = {}
    try:
        return run_with(lookups.OPAQUE[0], tolerant=False), lookups.OPAQUE[0]
    except ReviewError as error:
        if runner.missing or not monitors[0].lookups:
            raise
        for opaque in lookups.OPAQUE:
            with contextlib.suppress(ReviewError):
                return run_with(opaque, tolerant=True), opaque
        raise error from None


class _Second:
    """The resources once more, as a deployment would know them: what only AWS can tell is made up, so that ``apply``
    runs and permissions can be evaluated.

    Attributes:
        error: Why there are none: a value that is made up is not always one that the program can go on with.
    """

    def __init__(self, request: dict[str, Any], runner: _Runner, opaque: str) -> None:
        place: dict[str, str] = request.get("permissions") or {"region": request["region"], "account": lookups.ACCOUNT}
        monitor = _monitor_of_stand_ins(request["config"], place, opaque)
        self.resources: list[dict[str, Any]] = []
        self.asked, self.judged, self.error = monitor.asked, monitor.for_packs.judged, ""
        try:
            runner(monitor, tolerant=True)
        except GroundplanError as error:
            self.error = error.what.removeprefix("the program raised ")
            return
        self.resources = [
            {
                "urn": item.urn,
                "type": item.type,
                "name": item.name,
                "inputs": item.inputs,
                "dependencies": list(item.dependencies),
            }
            for item in monitor.found.values()
            if item.custom
        ]


def _monitor_of_stand_ins(config: dict[str, str], place: dict[str, str], opaque: str) -> Any:
    from groundplan.review.permissions.deployed import DeployedMonitor

    class StandIns(DeployedMonitor):
        """Answers with made-up values, and keeps what packs could not decide without them."""

        def __init__(self) -> None:
            super().__init__(**place)
            self.mocks.call = self._look_up  # type: ignore[method-assign]
            self.for_packs, self.asked = _ForPacks(config), dict[str, Any]()

        def _look_up(self, args: MockCallArgs) -> tuple[dict[str, Any], list[Any]]:
            return lookups.answer(args.token, dict(args.args), place["region"], opaque), []

        def registering(self, urn: str, request: Any) -> None:
            """Keep it for the packs."""
            self.for_packs.note(urn, request)

        def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
            """Note the resource with what AWS might give."""
            answer = super().RegisterResource(request)
            if request.type != "pulumi:pulumi:Stack":
                known = struct_pb2.Struct()
                known.update({"id": answer.id} if answer.id else {})
                for key in _IDENTIFIERS:
                    if key in answer.object.fields:
                        known.fields[key].CopyFrom(answer.object.fields[key])
                self.asked[answer.urn] = self.for_packs.asked(self.found[answer.urn], known)
            return answer

    return StandIns()


def _step_aside(root: Path, main: Path, *, built_on_this: bool) -> None:
    """Make the program's own modules found first, as Pulumi's language host does, instead of those of this project.

    Args:
        built_on_this: The program is this platform's: of another revision, with its own modules, or of a project that
            uses those here.
    """
    folder = main if main.is_dir() else main.parent
    os.chdir(folder)
    if not built_on_this or any((root / name).exists() for name in PACKAGES):
        sys.path[:] = [entry for entry in sys.path if entry and (entry != str(HOME) or HOME.name.endswith("-packages"))]
        sys.meta_path[:] = [
            finder for finder in sys.meta_path if "groundplan" not in getattr(finder, "__module__", "")
        ]  # of an editable installation
        if HOME not in (root, folder):
            sys.meta_path.insert(0, _NotOurs())
        for name in [name for name in sys.modules if name.partition(".")[0] in _OTHER_REVISIONS]:
            del sys.modules[name]
    sys.path[:0] = [str(folder), str(root)]


class _NotOurs(MetaPathFinder):
    """Finds a program's packages that have the same names as ours: where groundplan is installed beside the program's
    dependencies, ours would be found, too, and before folders without ``__init__.py``.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of a package that is not ours.

        Raises:
            ModuleNotFoundError: Only ours exists.
        """
        if path is not None or fullname not in _OTHER_REVISIONS:
            return None
        found = PathFinder.find_spec(fullname, [entry for entry in sys.path if entry != str(HOME)], target)
        if found is None:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return found
