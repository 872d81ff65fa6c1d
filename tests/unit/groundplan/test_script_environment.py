"""A script's requirements are found wherever they are written, and installed in addition to the platform's packages,
not over them.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from groundplan.local.script_environment import needs_of, python_for
from spec.errors import GroundplanError, UsageError

pytestmark = pytest.mark.slow  # installs packages

BLOCK = (
    '# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n#   "tiny-of-ours",\n# ]\n# ///\nimport'
    " tiny_of_ours\n"
)


def wheel(folder: Path) -> Path:
    """A package of our own to install, without any index (PEP 427)."""
    file = folder / "tiny_of_ours-1.0-py3-none-any.whl"
    about = "tiny_of_ours-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("tiny_of_ours.py", 'VERSION = "1.0"\n')
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-of-ours\nVersion: 1.0\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return file


LOCKED = "# all\nnumpy>=2 # arrays\n\nscipy==1.0 \\\n  --hash=sha256:aa\n"


@pytest.mark.parametrize(
    ("files", "lines", "named"),
    [
        ({"train.py": BLOCK, "requirements.txt": "other"}, ("tiny-of-ours",), "train.py"),
        (
            {"train.py": "", "requirements.txt": LOCKED},
            ("numpy>=2", "scipy==1.0    --hash=sha256:aa"),
            "requirements.txt",
        ),
        (
            {"train.py": "", "python_env.yaml": "python: 3.11\ndependencies: [numpy, scipy>1]\n"},
            ("numpy", "scipy>1"),
            "python_env.yaml",
        ),
        (
            {"train.py": "", "conda.yaml": "dependencies:\n  - python=3.10\n  - pip: [mlflow, numpy]\n"},
            ("mlflow", "numpy"),
            "conda.yaml",
        ),
        (
            {"train.py": "", "pyproject.toml": '[project]\nname = "x"\ndependencies = ["numpy"]\n'},
            ("numpy",),
            "pyproject.toml",
        ),
    ],
)
def test_requirements_are_found_where_people_write_them(
    tmp_path: Path, files: dict[str, str], lines: tuple[str, ...], named: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = needs_of(tmp_path / "train.py")
    assert found is not None and found.lines == lines and Path(found.where).name == named


def test_a_script_that_asks_for_nothing_new_runs_in_the_platforms_environment(tmp_path: Path) -> None:
    script, kept = tmp_path / "train.py", tmp_path / "kept"
    script.write_text("")
    for text in (None, "", "numpy>=1\nscikit-learn\nmlflow; python_version > '3'\npywin32; sys_platform == 'win32'\n"):
        if text is not None:
            (tmp_path / "requirements.txt").write_text(text)
        assert python_for(script, kept) == sys.executable and not kept.exists()
    (tmp_path / "requirements.txt").unlink()
    (tmp_path / "pyproject.toml").write_text("[tool")
    with pytest.raises(UsageError, match=r"pyproject.toml: is not valid TOML"):
        python_for(script, kept)


def test_what_is_missing_is_installed_once_and_the_platforms_packages_stay_in_reach(tmp_path: Path) -> None:
    file, said = wheel(tmp_path), list[str]()
    (tmp_path / "train.py").write_text("")
    (tmp_path / "requirements.txt").write_text(f"tiny-of-ours @ {file.as_uri()}\nnumpy\n")
    python = python_for(tmp_path / "train.py", tmp_path / "kept", said.append)
    code = "import tiny_of_ours, numpy, pipelines.training.recorder; print(tiny_of_ours.VERSION, numpy.__file__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("1.0 ") and sys.prefix in done.stdout, "numpy is the platform's"
    assert python_for(tmp_path / "train.py", tmp_path / "kept", said.append) == python
    assert len(said) == 1 and "installing the requirements" in said[0] and "requirements.txt (once)" in said[0]


def test_what_can_not_be_installed_is_said_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    (tmp_path / "requirements.txt").write_text("--no-index\nno-such-package-of-anybody\n")
    with pytest.raises(
        GroundplanError,
        match=r"requirements.txt: the script's requirements can't be installed: Could not find a version",
    ):
        python_for(tmp_path / "train.py", tmp_path / "kept")
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".log"]
