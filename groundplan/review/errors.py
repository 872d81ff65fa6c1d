"""Errors that prevent a review."""

from __future__ import annotations

from spec.errors import GroundplanError


class ReviewError(GroundplanError):
    """The program raised, a pack can't be read, a policy raised: there is no review, and so nothing has passed. Exit
    code 2.
    """

    exit_code = 2
