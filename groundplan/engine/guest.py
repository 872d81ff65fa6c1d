"""The side of a review that runs the program.

Where a project has an environment of its own, this file is run there, by the project's interpreter and with its version
of Pulumi's SDK, as the Pulumi CLI would; it registers its resources over Pulumi's own protocol (``own_environment``).
It must therefore run on every Python since 3.8, and needs nothing of this project but two files beside it. Elsewhere
its functions run in the review's own process.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules are not the program's

import asyncio
import contextlib
import faulthandler
import importlib.util
import inspect
import json
import logging
import os
import runpy
import signal
import threading
import traceback
from pathlib import Path
from typing import Any


class Missing:
    """All configuration keys that the program requires and that are not set."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def install(self) -> None:
        """Have the program go on without a value, so that all of them are found at once."""
        import pulumi

        stand_ins = {
            "_require": "1",  # also valid as a number, and as the name of a stack
            "_require_bool": False,
            "_require_int": 0,
            "_require_float": 0.0,
            "_require_object": {},
        }
        for name, value in stand_ins.items():
            original = getattr(pulumi.Config, name, None)
            if original is None:
                continue

            def ask(config: Any, key: str, *more: Any, original: Any = original, value: Any = value) -> Any:
                try:
                    return original(config, key, *more)
                except pulumi.ConfigMissingError:
                    if config.full_key(key) not in self.keys:
                        self.keys.append(config.full_key(key))
                    return value

            setattr(pulumi.Config, name, ask)


STAND_IN = '{"groundplan": "a value that only AWS knows"}'  # the text of a secret; as JSON it has every key


class _Anything(dict):  # type: ignore[type-arg]
    """What a program reads from a secret's text."""

    def __missing__(self, key: str) -> str:
        return _Value(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]


class _Value(str):
    """A text in it, which may also be read as an object in it."""

    def __getitem__(self, key: Any) -> str:
        return _Value(key) if isinstance(key, str) else super().__getitem__(key)


class Tolerant:
    """For values that are made up: where ``apply`` raises on one, its result is unknown, as if it had not run.

    Attributes:
        raised: Where, and what.
    """

    def __init__(self, root: Path) -> None:
        self.raised: list[str] = []
        self._root = root
        self._undo: list[Any] = []

    def __enter__(self) -> Tolerant:
        import pulumi

        output, apply, loads = pulumi.Output, pulumi.Output.apply, json.loads

        def tolerating(it: Any, func: Any, *more: Any, **named: Any) -> Any:
            def call(value: Any) -> Any:
                try:
                    found = func(value)
                except Exception as error:
                    self._note(error)
                    return output(set(), _told(None), _told(False), _told(False))
                if inspect.isawaitable(found) and not isinstance(found, output):
                    return self._awaited(output, found)
                return found

            return apply(it, call, *more, **named)

        def reading(text: Any, *more: Any, **named: Any) -> Any:
            return _Anything(loads(text)) if text == STAND_IN else loads(text, *more, **named)

        output.apply, json.loads = tolerating, reading  # type: ignore[method-assign, assignment]
        self._undo = [lambda: setattr(output, "apply", apply), lambda: setattr(json, "loads", loads)]
        return self

    def __exit__(self, *_: Any) -> None:
        for undo in self._undo:
            undo()

    def _note(self, error: Exception) -> None:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if in_project(frame.filename, self._root)
        ]
        place = f" at {frames[-1].filename[len(str(self._root)) + 1 :]}:{frames[-1].lineno}" if frames else ""
        said = f"{type(error).__name__}{place}"
        if said not in self.raised:
            self.raised.append(said)

    def _awaited(self, output: Any, found: Any) -> Any:
        done = asyncio.ensure_future(found)

        async def value() -> Any:
            try:
                return await done
            except Exception:
                return None

        async def known() -> bool:
            try:
                await done
            except Exception as error:
                self._note(error)
                return False
            return True

        return output(set(), value(), known(), _told(False))


async def _told(value: Any) -> Any:
    return value


def run_program(main: Path) -> None:
    """Run a folder with ``__main__.py``, or a file."""
    try:
        runpy.run_path(str(main), run_name="__main__")
    except BaseException as error:
        error.__dict__["_raised_at"] = error.__traceback__  # the SDK raises it again from its own code
        raise


def raised(error: BaseException, root: Path, into: str) -> dict[str, str]:
    """What the program raised, where, and what to do.

    Args:
        root: The project's folder.
        into: Where a package that it misses is to be installed.
    """
    place, shown = "", error
    for cause in causes(error):
        frames = [
            frame
            for frame in traceback.extract_tb(cause.__dict__.get("_raised_at", cause.__traceback__))
            if in_project(frame.filename, root)
        ]
        if frames:
            place, shown = f"{frames[-1].filename}:{frames[-1].lineno}", cause
            break
    fix = ""
    if isinstance(shown, ModuleNotFoundError):
        fix = f"install what the program needs into {into}: pip install {str(shown.name).replace('_', '-')}"
    return {"what": f"the program raised {type(shown).__name__}: {shown}", "where": place or str(root), "fix": fix}


def in_project(file: str, root: Path) -> bool:
    """Whether a file is the project's own, and not of a package that is installed below its folder."""
    return file.startswith(f"{root}/") and "site-packages" not in file


def causes(error: BaseException) -> list[BaseException]:
    """An error and its causes, each once: the SDK raises some of its errors from one another."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


# What the project's own interpreter runs.


def _main(answer: int) -> None:
    """A request from standard input; the answer to a file descriptor. What the program prints goes to standard error,
    and it ends with the process that asked.
    """
    faulthandler.register(signal.SIGUSR1)
    request = json.loads(sys.stdin.readline())
    found = _run(request)
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        json.dump(found, file)
    os._exit(0)  # what a program has started must not keep the review waiting


def _run(request: dict[str, Any]) -> dict[str, Any]:
    """The configuration that is missing, what the program raised, addresses that it tried to reach, and its versions;
    ``no_sdk`` where the environment has no Pulumi.
    """
    offline = _beside("offline").Offline(enforced=request["enforced"])
    try:
        import pulumi
    except ImportError:
        return {"no_sdk": True}
    main, root = Path(request["main"]), Path(request["root"])
    missing, error, tolerant = Missing(), None, Tolerant(root)
    missing.install()
    # Waits for the monitor's address, so that the SDK is imported while the monitor starts.
    address = sys.stdin.readline().strip()
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    if not address:
        os._exit(1)
    for key, value in request["config"].items():
        pulumi.runtime.set_config(key, value)
    folder = main if main.is_dir() else main.parent
    os.chdir(folder)
    sys.path[:0] = [str(folder), str(root)]
    _configure(pulumi, request, address)
    _place_in(root)
    try:
        for name in ("asyncio", "pulumi"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(lambda loop, context: None)
        with tolerant if request["tolerant"] else contextlib.nullcontext():
            loop.run_until_complete(pulumi.runtime.run_in_stack(lambda: run_program(main)))
    except BaseException as found:  # a program may also exit
        error = raised(found, root, f"{sys.prefix}")
    return {
        "missing": missing.keys,
        "error": error,
        "tried": offline.tried,
        "tolerated": tolerant.raised,
        "versions": _versions(),
    }


def _configure(pulumi: Any, request: dict[str, Any], address: str) -> None:
    wanted = {
        "monitor": address,
        "engine": address,
        "project": request["project"],
        "stack": request["stack"],
        "parallel": 32,
        "dry_run": True,
        "organization": "organization",
        "root_directory": request["root"],
    }
    known = inspect.signature(pulumi.runtime.Settings.__init__).parameters  # older ones have no organization
    pulumi.runtime.configure(pulumi.runtime.Settings(**{key: wanted[key] for key in wanted if key in known}))


def _place_in(root: Path) -> None:
    """Have older SDKs tell the line of the program that creates a resource: a fixed number of frames further out, they
    tell one of the provider's package.
    """
    from pulumi.runtime import resource as module

    resource: Any = module
    if hasattr(resource, "_get_stack_trace") or not hasattr(resource, "_get_source_position"):
        return
    from pulumi.runtime.proto import source_pb2

    def position(*_: Any) -> Any:
        frame = sys._getframe(1)
        while frame is not None:
            file = frame.f_code.co_filename
            if in_project(file, root):
                return source_pb2.SourcePosition(uri=Path(file).as_uri(), line=frame.f_lineno)
            frame = frame.f_back  # type: ignore[assignment]
        return None

    resource._get_source_position = position


def _versions() -> dict[str, str]:
    """Of Python, Pulumi's SDK and AWS's provider."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"Python": "{}.{}".format(*sys.version_info)}
    for name in ("pulumi", "pulumi-aws"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _beside(name: str) -> Any:
    """A module of this folder, by its path: this project is not installed here."""
    place = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_groundplan_{name}", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    _main(int(sys.argv[1]))
