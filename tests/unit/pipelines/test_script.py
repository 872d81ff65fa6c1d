"""A script runs as Python would run it, and errors in it are reported with its own line. All in one process:
MLflow takes seconds to import.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # starts processes

NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {},
    "cells": [
        {"cell_type": "markdown", "source": ["# A study\n"]},
        {
            "cell_type": "code",
            "source": ["%matplotlib inline\n", "!pip install x\n", "a = 1\n", "if a:\n", "    %time\n", "display(a)\n"],
        },
        {"cell_type": "code", "source": "%%bash\nls"},
        {"cell_type": "code", "source": "print('sum', a + 1)"},
    ],
}
FILES: dict[str, dict[str, str]] = {
    "neighbours": {
        "train.py": (
            "import pipelines, spec, sys\nassert spec.NAME == 'mine' and 'groundplan' not in sys.modules\n"
            "print(pipelines.NAME, open('data.csv').read(), sys.argv[1:], __name__)"
        ),
        "pipelines.py": "NAME = 'mine'",
        "spec.py": "NAME = 'mine'",
        "data.csv": "1,2",
    },
    "its own classes": {
        "train.py": (
            "import pickle, multiprocessing\nclass Own:\n    pass\ndef double(x):\n    return 2 *"
            " x\nprint(type(pickle.loads(pickle.dumps(Own()))).__name__)\nif __name__ == '__main__':\n    with"
            " multiprocessing.Pool(2) as pool:\n        print(pool.map(double, [1, 2]))"
        ),
    },
    "a store of its own": {
        "train.py": (
            "import mlflow\nmlflow.set_tracking_uri('sqlite:///own.db')\nassert mlflow.get_tracking_uri() !="
            " 'sqlite:///own.db'"
        )
    },
    "a good end": {"train.py": "import sys\nprint('all done')\nsys.exit(0)"},
    "a notebook": {"train.ipynb": json.dumps(NOTEBOOK)},
    "a fault": {
        "train.py": "import helper\n\nhelper.work()",
        "helper.py": "def work():\n    raise ValueError('no rows\\nand more')",
    },
    "a bad end": {"train.py": "import sys\nsys.exit('no data')"},
    "arguments that are missing": {
        "train.py": (
            "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--data',"
            " required=True)\nparser.parse_args()"
        )
    },
    "a module that is missing": {"train.py": "import numpy\nimport no_such_module_of_anybody.part"},
    "no Python": {"train.py": "a = (\n"},
    "no notebook": {"train.ipynb": "[1, 2"},
    "no text": {"train.py": "\udcff"},
}
ENDS = {
    "neighbours": "mine 1,2 ['--alpha', '1'] __main__",
    "its own classes": "Own\n[2, 4]",
    "a store of its own": (
        "the script names its own tracking store (sqlite:///own.db): its runs go to the platform's instead"
    ),
    "a good end": "all done",
    "a notebook": (
        "left out of the notebook: !pip install x\nleft out of the notebook: %time\nleft out of the notebook:"
        " %%bash\n1\nsum 2"
    ),
    "a fault": "helper.py:2: the script raised ValueError: no rows",
    "a bad end": "train.py:2: the script ended: no data",
    "arguments that are missing": "-> pass its arguments after two dashes: groundplan experiment SCRIPT -- ARGUMENTS",
    "a module that is missing": (
        "train.py:2: no module named 'no_such_module_of_anybody'\n"
        "  -> add no_such_module_of_anybody to a requirements.txt beside the script"
    ),
    "no Python": "train.py:1: is not valid Python: '(' was never closed",
    "no notebook": "train.ipynb: does not match its file extension",
    "no text": "train.py: does not match its file extension",
}
DRIVER = """
import contextlib, io, json, os, sys
from pathlib import Path
import mlflow
from spec.errors import GroundplanError
from pipelines.training.script import run_script
import pipelines.training.recorder
ours, before = sys.modules["pipelines"], os.getcwd()
found = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            run_script(next(folder.glob("train.*")), ("--alpha", "1") if folder.name == "neighbours" else ())
        except GroundplanError as error:
            print(error)
    found[folder.name] = out.getvalue()
    assert sys.modules["pipelines"] is ours and os.getcwd() == before and str(folder) not in sys.path, folder
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("scripts")
    for name, files in FILES.items():
        (folder / name).mkdir()
        for file, text in files.items():
            (folder / name / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER, str(folder)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", FILES)
def test_a_script_ends_as_it_should(said: Any, name: str) -> None:
    assert ENDS[name] in said[name]
