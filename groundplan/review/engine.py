"""Runs a program in preview semantics, and has policy packs judge each resource as it is registered."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import struct_pb2
from pulumi.runtime import rpc
from pulumi.runtime.mocks import MockCallArgs

from groundplan.engine.preview import Previewed, PreviewMonitor
from groundplan.engine.program import SECRET, causes, run
from groundplan.review import lookups, packs
from groundplan.review.default_tags import DefaultTags
from groundplan.review.offline import Offline
from groundplan.review.pack_process import PackProcess
from spec.errors import GroundplanError
from spec.names import HOME, PACKAGES

_OTHER_REVISIONS = {*PACKAGES, "models", "tests"} - {
    "groundplan"
}  # the program may be from another revision of this project


_IDENTIFIERS = ("arn", "name", "bucket", "identifier", "clusterIdentifier")  # outputs by which others are found


class _ForPacks:
    """What policy packs are told of each resource, whichever monitor the program runs against."""

    def __init__(self, config: dict[str, str]) -> None:
        self._default_tags = DefaultTags(config)
        self._given: dict[str, struct_pb2.Struct] = {}
        self.judged: list[Any] = []  # of the packs' protocol

    def note(self, urn: str, request: Any) -> None:
        """Before the answer changes the same message."""
        self._given[urn] = _for_packs(request.object)
        self._default_tags.add(urn, request, self._given[urn])

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
        self.judged.append(packs.resource_of(seen, found.parent, list(found.dependencies), found.references))
        return asked


class ReviewMonitor(PreviewMonitor):
    """A preview that answers look-ups, and passes each resource to the packs."""

    def __init__(self, root: Path, config: dict[str, str], region: str, asked: list[packs.Pack]) -> None:
        super().__init__()
        self.mocks.call = self._look_up  # type: ignore[method-assign]
        self._region = region
        self.lookups: set[str] = set()
        self._root, self._packs = root, asked
        self.items: list[dict[str, Any]] = []
        self._sources: dict[str, str] = {}  # by URN; what a component makes later has its component's
        self.for_packs = _ForPacks(config)

    def _look_up(self, args: MockCallArgs) -> tuple[dict[str, Any], list[Any]]:
        self.lookups.add(args.token)
        return lookups.answer(args.token, dict(args.args), self._region), []

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
            }
        )
        asked = self.for_packs.asked(found)
        if found.custom:
            for pack in self._packs:
                pack.ask(asked)
        return answer

    def _source(self, request: Any) -> str:
        """The innermost frame inside the project."""
        for frame in request.stackTrace.frames:
            path = frame.pc.uri.removeprefix("file://")
            if path.startswith(f"{self._root}/") and "site-packages" not in path:
                return f"{path.removeprefix(f'{self._root}/')}:{frame.pc.line}"
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


class _Missing:
    """All configuration keys that the program requires and that are not set."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def install(self) -> None:
        import pulumi

        stand_ins = {
            "_require": "1",  # also valid as a number, and as the name of a stack
            "_require_bool": False,
            "_require_int": 0,
            "_require_float": 0.0,
            "_require_object": {},
        }
        for name, value in stand_ins.items():
            original = getattr(pulumi.Config, name)

            def ask(config: Any, key: str, *more: Any, original: Any = original, value: Any = value) -> Any:
                try:
                    return original(config, key, *more)
                except pulumi.ConfigMissingError:
                    if config.full_key(key) not in self.keys:
                        self.keys.append(config.full_key(key))
                    return value

            setattr(pulumi.Config, name, ask)


def serve(request: dict[str, Any], started: list[PackProcess], offline: Offline) -> dict[str, Any]:
    """Run the program; the answer contains its resources and what the packs report, or the error that stopped it."""
    root, main = Path(request["root"]), Path(request["main"])
    missing = _Missing()
    try:
        asked = [packs.Pack(pack) for pack in started]
        region = request["config"].get("aws:region") or os.environ.get("AWS_REGION") or "us-east-1"
        os.environ["GROUNDPLAN_REVIEW"] = "1"
        os.environ["AWS_REGION"] = region  # the provider's own next place to look, and so the program's
        monitor = ReviewMonitor(root, request["config"], region, asked)
        missing.install()
        _step_aside(root, main, request.get("virtualenv"), built_on_this="groundplan:objectives" in request["config"])
        run(
            lambda: _program(main),
            monitor,
            request["stack"],
            request["config"],
            preview=True,
            project=request["project"],
        )
        if missing.keys:
            return {"missing": missing.keys}
        judging = [pack.judge(monitor.for_packs.judged) for pack in asked]
        place = request.get("permissions")
        second = _Second(request, main, region) if place else None
        said = [pack.finish(whole) for pack, whole in zip(asked, judging, strict=True)]
        if second is None and any(item["undecided"] for item in said):
            second = _Second(request, main, region)
        if second is not None and not second.error:
            for pack, item in zip(asked, said, strict=True):
                pack.again(item, second.asked, second.judged)
        return {
            "resources": monitor.items,
            "lookups": sorted(monitor.lookups),
            "packs": said,
            "deployed": second.resources if second else [],
            "deployed_error": second.error if second else "",
            "differences": _differences(request.get("virtualenv")),
            "enforced": offline.enforced,
            "tried": offline.tried,
        }
    except GroundplanError as error:
        found = {"what": error.what, "where": error.where, "fix": error.fix}
        return {"missing": missing.keys, "ended": error.where} if missing.keys else {"error": found}
    except BaseException as error:  # a program may also exit
        found = _raised(error, root)
        if offline.tried:
            found["fix"] = f"a review has no network, and the program requested {', '.join(offline.tried)}"
        return {"missing": missing.keys, "ended": found["where"]} if missing.keys else {"error": found}


class _Second:
    """The resources once more, as a deployment would know them: what only AWS can tell is made up, so that ``apply``
    runs and permissions can be evaluated.

    Attributes:
        error: Why there are none: a value that is made up is not always one that the program can go on with.
    """

    def __init__(self, request: dict[str, Any], main: Path, region: str) -> None:
        place: dict[str, str] = request.get("permissions") or {"region": region, "account": lookups.ACCOUNT}
        monitor = _monitor_of_stand_ins(request["config"], place)
        self.resources: list[dict[str, Any]] = []
        self.asked, self.judged, self.error = monitor.asked, monitor.for_packs.judged, ""
        try:
            run(
                lambda: _program(main),
                monitor,
                request["stack"],
                request["config"],
                project=request["project"],
            )
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
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


def _monitor_of_stand_ins(config: dict[str, str], place: dict[str, str]) -> Any:
    from groundplan.review.permissions.deployed import DeployedMonitor

    class StandIns(DeployedMonitor):
        """Answers with made-up values, and keeps what packs could not decide without them."""

        def __init__(self) -> None:
            super().__init__(**place)
            self.mocks.call = self._look_up  # type: ignore[method-assign]
            self.for_packs, self.asked = _ForPacks(config), dict[str, Any]()

        def _look_up(self, args: MockCallArgs) -> tuple[dict[str, Any], list[Any]]:
            return lookups.answer(args.token, dict(args.args), place["region"]), []

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


def _program(main: Path) -> None:
    import runpy

    try:
        runpy.run_path(str(main), run_name="__main__")
    except BaseException as error:
        error.__dict__["_raised_at"] = error.__traceback__  # the SDK raises it again from its own code
        raise


def _step_aside(root: Path, main: Path, virtualenv: str | None, *, built_on_this: bool) -> None:
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
    ours = list(sys.path)
    if virtualenv and Path(virtualenv).is_dir():
        import site

        for packages in Path(virtualenv).glob("lib/python3.*/site-packages"):
            site.addsitedir(str(packages))
    # The project's packages go before those here: a provider of another version has other inputs.
    sys.path[:] = [str(folder), str(root), *(entry for entry in sys.path if entry not in ours), *ours]


def _differences(virtualenv: str | None) -> list[str]:
    """How the project's own environment differs from the one that it is reviewed in."""
    found = []
    for packages in Path(virtualenv).glob("lib/python3.*/site-packages") if virtualenv else ():
        python = packages.parent.name.removeprefix("python")
        if python != f"{sys.version_info.major}.{sys.version_info.minor}":
            found.append(f"Python {python}, reviewed with {sys.version_info.major}.{sys.version_info.minor}")
        from importlib.metadata import version

        theirs = [item.stem.removeprefix("pulumi-") for item in packages.glob("pulumi-[0-9]*.dist-info")]
        found += [f"Pulumi's SDK {one}, reviewed with {ours}" for one in theirs if one != (ours := version("pulumi"))]
    return found


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


def _raised(error: BaseException, root: Path) -> dict[str, str]:
    place, shown = "", error
    for cause in causes(error):
        frames = [
            frame
            for frame in traceback.extract_tb(cause.__dict__.get("_raised_at", cause.__traceback__))
            if frame.filename.startswith(f"{root}/") and "site-packages" not in frame.filename
        ]
        if frames:
            place, shown = f"{frames[-1].filename}:{frames[-1].lineno}", cause
            break
    fix = ""
    if isinstance(shown, ModuleNotFoundError):
        fix = (
            "install what the program needs into the virtualenv that its Pulumi.yaml names, or into this one: pip"
            f" install {str(shown.name).replace('_', '-')}"
        )
    return {"what": f"the program raised {type(shown).__name__}: {shown}", "where": place or str(root), "fix": fix}
