"""The family of errors that a user can cause."""

from __future__ import annotations


class GroundplanError(Exception):
    """A failure that the user can fix; printed as one message, never as a traceback.

    Args:
        what: What is wrong and what was found, in one sentence.
        where: The file and key, resource, step or service concerned.
        fix: What to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  -> {self.fix}" if self.fix else text


class UsageError(GroundplanError):
    """Usage error: a bad argument, an invalid stack file, a missing file. Exit code 2."""

    exit_code = 2
