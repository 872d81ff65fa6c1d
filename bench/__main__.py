"""``make bench`` runs every measurement; ``python -m bench NAME`` one of them.

Machines are noisy, so the compared programs run alternately (A B A B ...), and the medians and their ratio are printed.
"""

from __future__ import annotations

import argparse

from bench import (
    apply,
    audit,
    canaries,
    command_line,
    contracts,
    experiment,
    features,
    flights,
    monitoring,
    preview,
    register,
    review,
    serving,
    trace,
    up,
)

MEASUREMENTS = {
    "command-line": command_line.main,
    "preview": preview.main,
    "review": review.main,
    "apply": apply.main,
    "register": register.main,
    "audit": audit.main,
    "canaries": canaries.main,
    "contracts": contracts.main,
    "experiment": experiment.main,
    "features": features.main,
    "flights": flights.main,
    "monitoring": monitoring.main,
    "serving": serving.main,
    "trace": trace.main,
    "up": up.main,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []], help="what to measure; default: everything")
    for name in parser.parse_args().names or MEASUREMENTS:
        MEASUREMENTS[name]()


if __name__ == "__main__":
    main()
