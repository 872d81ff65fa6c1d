"""Personal data out of what is only meant to be read: logs, messages, pages.

A script prints what it likes, and an exception names the value that it failed on. What the detectors of
``personal_data`` recognise is replaced by its kind before it is written anywhere.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from pipelines.privacy import personal_data as detectors

WAIT_S = 0.5  # for the end of a line, before its beginning is written
LONGEST_LINE = 65_536  # bytes
DRAIN_S = 10.0  # for the last lines, where another process still holds the output open


def redacted(text: str, known: Collection[str] = ()) -> str:
    """A text with ``[e-mail]``, ``[IBAN]``, ``[card number]``, ``[phone number]`` and so on in place of each finding.

    Args:
        known: E-mail addresses that may stay: of people whom the platform itself names, such as owners.
    """
    plain = text if text.isascii() else text.replace("\u00a0", " ").replace("\u202f", " ")
    spans = sorted(_spans(plain, known), key=lambda span: (span[0], -span[1]))
    if not spans:
        return text
    parts, end = [], 0
    for start, stop, kind in spans:
        if start >= end:
            parts += [text[end:start], f"[{kind}]"]
            end = stop
        end = max(end, stop)
    return "".join([*parts, text[end:]])


def _spans(text: str, known: Collection[str]) -> Iterator[tuple[int, int, str]]:
    """Begin, end and kind of each finding."""
    if "@" in text:
        for found in detectors.emails(text):
            address = found.group().lstrip("'.+-")  # a quote before it
            if address not in known:
                yield found.end() - len(address), found.end(), detectors.EMAIL
    if sum(map(str.isdigit, text)) >= detectors.E164_DIGITS[0]:
        yield from detectors.numbers(text)


@contextmanager
def redacted_output(known: Collection[str] = ()) -> Iterator[None]:
    """Everything that this process, its libraries and the processes it starts write to standard output and error is
    redacted, line by line.

    A process of its own does that, so that the last words of one that crashes are not lost.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    same = os.fstat(1) == os.fstat(2)
    pipes = [os.pipe()] if same else [os.pipe(), os.pipe()]
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            for _, write in pipes:
                os.close(write)
            _copy({read: kept[place] for place, (read, _) in enumerate(pipes)}, known)
        os._exit(0)
    for place, descriptor in enumerate((1, 2)):
        os.dup2(pipes[0 if same else place][1], descriptor)
    for read, write in pipes:
        os.close(read)
        os.close(write)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in zip((1, 2), kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        _wait(child)


def _wait(child: int) -> None:
    """Until the last line is written."""
    import signal
    import time

    until = time.monotonic() + DRAIN_S
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return
        time.sleep(0.005)


def _copy(ways: dict[int, int], known: Collection[str]) -> None:
    """Copy lines from each descriptor to another, until all of them are closed."""
    import signal

    # Whoever ends the step ends its group; what it says about that must still be written.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pending = dict.fromkeys(ways, b"")
    while ways:
        ready, _, _ = select.select(list(ways), [], [], WAIT_S)
        for source in ready or list(ways):
            if ready:
                chunk = os.read(source, LONGEST_LINE)
                pending[source] += chunk
            else:
                chunk = b" "  # nothing more has come: write what there is
            whole, newline, rest = pending[source].rpartition(b"\n")
            if not chunk or not ready or len(rest) > LONGEST_LINE:
                whole, newline, rest = pending[source], b"", b""
            if whole or newline:
                _write(ways[source], redacted((whole + newline).decode("utf-8", "replace"), known).encode())
            pending[source] = rest
            if not chunk:
                del ways[source]


def _write(target: int, content: bytes) -> None:
    while content:
        content = content[os.write(target, content) :]
