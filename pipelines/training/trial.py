"""One trial of a sweep: the script alone; ``python -m pipelines.training.trial SCRIPT FOLDER ARGUMENTS`` (JSON).

What a version needs (held-out rows, parity, the served form) is left to the experiment with the best arguments.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipelines.tracking import use_mlflow
from pipelines.training.script import run_script
from spec.errors import GroundplanError


def main() -> None:
    """Exit 0 or 1; the last line of a failure says why."""
    script, folder, arguments = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    use_mlflow()
    try:
        run_script(script, tuple(arguments), Path(folder) if folder else None)
    except GroundplanError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
