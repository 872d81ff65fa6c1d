"""Runs a script as ``python SCRIPT ARGS`` would: in its folder, as ``__main__``, able to import its neighbours,
whatever their names.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spec.errors import GroundplanError
from spec.names import PACKAGES

CELL = "# cell "


def run_script(script: Path, arguments: tuple[str, ...] = (), folder: Path | None = None) -> None:
    """Run a script or a notebook. What it defines stays in ``sys.modules["__main__"]``: its models may have their own
    classes.

    Args:
        folder: Where it is run. Default: its own.

    Raises:
        GroundplanError: It failed; the message says where in the script.
    """
    code = _code(script)
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=str(script), __builtins__=__builtins__)
    if script.suffix == ".ipynb":
        module.__dict__["display"] = print
    sys.modules["__main__"] = module
    sys.argv = [str(script), *arguments]
    before = Path.cwd()
    os.chdir(folder or script.parent)
    with _neighbours(script.parent), _tracking():
        try:
            exec(code, module.__dict__)  # noqa: S102 (the user's own script, which they have asked to run)
        except SystemExit as stop:
            if stop.code not in (None, 0):
                raise _failed(script, stop) from None
        except (Exception, KeyboardInterrupt) as error:
            raise _failed(script, error) from error
        finally:
            failed = sys.exc_info()[1] is not None
            _end_runs(failed=failed)
            sys.stdout.flush()
            os.chdir(before)


def _end_runs(*, failed: bool) -> None:
    """End a run that the script has left open."""
    import mlflow

    while mlflow.active_run() is not None:
        mlflow.end_run("FAILED" if failed else "FINISHED")


def _failed(script: Path, error: BaseException) -> GroundplanError:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(script.parent) and _is_own(frame.filename)
    ]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(script)
    if isinstance(error, SystemExit):
        said = f": {error.code}" if isinstance(error.code, str) else f" with exit code {error.code}"
        needs = (
            ""
            if isinstance(error.code, str) or error.code != 2
            else "pass its arguments after two dashes: groundplan experiment SCRIPT -- ARGUMENTS"
        )
        return GroundplanError(f"the script ended{said}", where=where, fix=needs)
    if isinstance(error, ModuleNotFoundError) and error.name:
        fix = f"add {error.name.partition('.')[0]} to a requirements.txt beside the script; it will be installed for it"
        return GroundplanError(f"no module named {error.name!r}", where=where, fix=fix)
    lines = str(error).strip().splitlines() or [""]
    return GroundplanError(
        f"the script raised {type(error).__name__}{f': {lines[0]}' if lines[0] else ''}", where=where
    )


def _is_own(file: str) -> bool:
    return "site-packages" not in Path(file).parts


def _code(script: Path) -> types.CodeType:
    """The code of a script; for a notebook that of its cells, each line at its own place, without notebook syntax.

    Raises:
        GroundplanError: It is not Python, or not a notebook.
    """
    try:
        text = script.read_text(encoding="utf-8-sig")
        if script.suffix == ".ipynb":
            text, left = cells(json.loads(text))
            for line in left:
                print(f"left out of the notebook: {line}")
        return compile(text, str(script), "exec")
    except SyntaxError as error:
        raise GroundplanError(f"is not valid Python: {error.msg}", where=f"{script}:{error.lineno or 1}") from None
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError):
        raise GroundplanError(
            "does not match its file extension",
            where=str(script),
            fix="use a UTF-8 script, or a complete notebook",
        ) from None


def cells(notebook: dict[str, Any]) -> tuple[str, list[str]]:
    """Code of a notebook (https://nbformat.readthedocs.io), each cell below a comment with its number; and the magics
    and shell commands that are left out.
    """
    left, lines = list[str](), list[str]()
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"]) if isinstance(cell["source"], list) else str(cell["source"])
        lines.append(f"{CELL}{number}")
        if source.lstrip().startswith("%%"):
            left.append(source.lstrip().splitlines()[0])
            continue
        for line in source.splitlines():
            bare = line.lstrip()
            if bare.startswith(("%", "!", "?")) or bare.rstrip().endswith("?"):
                left.append(bare)
                lines.append(f"{line[: len(line) - len(bare)]}pass  # {bare}")
            else:
                lines.append(line)
    return "\n".join([*lines, ""]), left


@contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Modules beside the script come first, even if they have the name of one of the platform's packages."""
    sys.path.insert(0, str(folder))
    taken = [name for name in PACKAGES if (folder / f"{name}.py").is_file() or (folder / name).is_dir()]
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in taken}
    for name in hidden:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in taken]:
            del sys.modules[name]
        sys.modules.update(hidden)
        sys.path.remove(str(folder))


@contextmanager
def _tracking() -> Iterator[None]:
    """The run goes to the platform's tracking server, wherever the script would send it."""
    import mlflow

    ours = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(ours)  # set explicitly, it overrides a variable that the script sets
    found = (mlflow.set_tracking_uri, mlflow.set_registry_uri)

    def elsewhere(uri: Any) -> None:
        if str(uri) != ours:
            print(
                f"the script names its own tracking store ({uri}): its runs go to the platform's instead",
                flush=True,
            )

    mlflow.set_tracking_uri = mlflow.set_registry_uri = elsewhere
    try:
        yield
    finally:
        mlflow.set_tracking_uri, mlflow.set_registry_uri = found
