"""``groundplan`` and ``python -m groundplan``."""

from __future__ import annotations

import atexit
import gc
import sys


def main() -> None:
    """Entry point."""
    if sys.argv[1:2] == ["review"] and "--help" not in sys.argv:
        gc.disable()  # it would scan the imported objects for garbage, again and again,
        atexit.register(gc.freeze)  # and once more at exit

        from groundplan.review.process import head_start

        head_start()  # before the command line is imported, which takes just as long
    from groundplan.cli.app import main as command_line

    command_line()


if __name__ == "__main__":
    main()
