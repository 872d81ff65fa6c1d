"""The ingest step in a separate process, with small ranges; dies at a given point, as a killed process would.

``python -m tests.ingest_runner DIE [ARGUMENTS OF THE STEP]``: DIE is ``never``, ``put:N`` (before the Nth object is
put), ``letters`` (after the dead letters were sent), or ``random:SEED`` (before some put).
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any

from pipelines.context import main
from pipelines.data.raw_zone import RawZone
from pipelines.steps import ingest

RANGE_EVENTS, BATCH_EVENTS = 500, 200


def run(die: str) -> None:
    """Run the step with what is told for its death."""
    ingest.RANGE_EVENTS, ingest.BATCH_EVENTS = RANGE_EVENTS, BATCH_EVENTS
    kind, _, value = die.partition(":")
    at = {"put": lambda: int(value), "random": lambda: random.Random(int(value)).randint(1, 30)}.get(kind, lambda: 0)()
    puts = 0
    put, letters = RawZone._put, ingest._Ingestion._send_dead_letters

    def counted(zone: Any, *arguments: Any) -> None:
        nonlocal puts
        puts += 1
        if puts == at:
            os._exit(9)
        put(zone, *arguments)

    def sent(ingestion: Any, partition: Any) -> None:
        letters(ingestion, partition)
        if kind == "letters" and partition.refused:
            os._exit(9)

    RawZone._put, ingest._Ingestion._send_dead_letters = counted, sent  # type: ignore[method-assign]
    main("ingest", ingest.ingest)


if __name__ == "__main__":
    run(sys.argv.pop(1))
