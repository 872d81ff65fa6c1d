"""Ids of predictions: UUIDs of version 7 (RFC 9562), which begin with their time, so that one is found by it."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime

NAME = "prediction_id"
FLUSH_S = 60.0  # within which a server writes what it has answered
ERASED_ON = "erasedOn"  # in a captured event's metadata: when rows of a person were removed from it
_FORM = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_id(at_ms: int | None = None) -> str:
    """An id for what is answered now, or was at a time, in milliseconds since 1970."""
    number = (time.time_ns() // 1_000_000 if at_ms is None else at_ms) << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def time_of(prediction_id: str) -> datetime:
    """When it was given.

    Raises:
        ValueError: It is no such id.
    """
    match = _FORM.fullmatch(prediction_id.lower())
    if match is None:
        raise ValueError("no UUID of version 7")
    return datetime.fromtimestamp(int(match[1] + match[2], 16) / 1000, UTC)
