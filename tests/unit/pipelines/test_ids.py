"""Ids of predictions, by RFC 9562."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

import pytest

from pipelines.serving.ids import new_id, time_of


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time() -> None:
    # The example of RFC 9562, appendix A.6.
    at = time_of("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert at == datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)
    before = time.time()
    ids = [new_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000 and {uuid.UUID(each).version for each in ids} == {7}
    assert {uuid.UUID(each).variant for each in ids} == {uuid.RFC_4122}
    assert all(before - 0.001 <= time_of(each).timestamp() <= time.time() for each in ids)


OLDER, ODD = "f09e74ad-49a4-4297-8852-798b24cdea37", "017f22e2-79b0-7cc3-18c4-dc0c0c07398f"  # version 4; variant 0


@pytest.mark.parametrize("text", ["", "17", OLDER, ODD])
def test_what_is_no_such_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no UUID of version 7"):
        time_of(text)
