"""``python -m groundplan``."""

from groundplan.cli import main

main()
