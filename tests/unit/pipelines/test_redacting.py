"""Personal data is taken out of what is only meant to be read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.privacy.redacting import redacted

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("KeyError: 'jane.roe@example.com'", "KeyError: '[e-mail]'"),
        ("jürgen@example.de und x@y.org", "[e-mail] und [e-mail]"),
        ("call +41 44 668 18 00, or +49 30 901820.", "call [phone number], or [phone number]."),
        ("pay CH93 0076 2011 6238 5295 7 or DE89370400440532013000!", "pay [IBAN] or [IBAN]!"),
        ("card 4111 1111 1111 1111 was refused", "card [card number] was refused"),
        ("Steuer-ID oder CPF 529.982.247-25?", "Steuer-ID oder CPF [Brazilian CPF]?"),
        ("ask ada@example.com", "ask ada@example.com"),
        ("run 20261130154529-822d took 4.9 s at s3://a-123456789012/x/version=dc8c79396e84c845", None),
        ("2026-11-30T15:45:44.123456+00:00 pid 4242, 0.123456789, git@github.com:a/b.git, mlflow@3.17.2", None),
        ("", None),
    ],
)
def test_each_kind_is_replaced_and_nothing_else(text: str, wanted: str | None) -> None:
    assert redacted(text, {"ada@example.com"}) == (text if wanted is None else wanted)


HEAD = "import os, signal, subprocess, sys, time\nfrom pipelines.privacy.redacting import redacted_output\n"


def ran(code: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEAD + code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **more
    )  # type: ignore[call-overload,no-any-return]


def test_prints_logs_libraries_and_processes_are_filtered() -> None:
    code = """
with redacted_output({"ada@example.com"}):
    print("jane@example.com and ada@example.com", flush=True)
    print("no end of line: jane@example.com", end="", file=sys.stderr)
    os.write(1, b"past Python: jane@example.com\\n")
    subprocess.run([sys.executable, "-c", "print('jane@example.com of a child')"])
print("afterwards jane@example.com")
"""
    done = ran(code)
    assert done.returncode == 0 and done.stderr == "no end of line: [e-mail]"
    assert done.stdout.splitlines() == [
        "[e-mail] and ada@example.com",
        "past Python: [e-mail]",
        "[e-mail] of a child",
        "afterwards jane@example.com",
    ]


def test_both_outputs_into_one_file_keep_their_order(tmp_path: Path) -> None:
    code = """
with redacted_output():
    for number in range(50):
        print(number, file=sys.stderr if number % 2 else sys.stdout, flush=True)
"""
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", HEAD + code], cwd=ROOT, stdout=log, stderr=log, timeout=60, check=True)
    assert (tmp_path / "log").read_text().split() == [str(number) for number in range(50)]


def test_the_last_words_of_a_process_that_crashes_are_written_and_filtered() -> None:
    code = """
with redacted_output():
    print("about jane@example.com", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = ran(code)
    assert done.returncode == -signal.SIGKILL and done.stdout == "about [e-mail]\n"
    error = ran("with redacted_output():\n    raise KeyError('jane@example.com')\n")
    assert error.returncode == 1


def test_what_is_said_after_the_group_was_told_to_end_is_written(tmp_path: Path) -> None:
    code = """
def ended(*_):
    raise SystemExit(143)
signal.signal(signal.SIGTERM, ended)
with redacted_output():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up after jane@example.com")
"""
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", HEAD + code], cwd=ROOT, stdout=log, start_new_session=True)
        while "begun" not in (tmp_path / "log").read_text():
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(30) == 143
    assert (tmp_path / "log").read_text() == "begun\ncleaned up after [e-mail]\n"
