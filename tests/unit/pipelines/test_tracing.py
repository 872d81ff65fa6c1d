"""Where a request's trace comes from."""

from __future__ import annotations

import pytest

from pipelines.serving.operating.tracing import ATTRIBUTES, Tracing, attributes_of

ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{ID}-b7ad6b7169203331-01".encode()


@pytest.mark.parametrize(
    "headers",
    [
        {b"traceparent": PARENT},
        {ATTRIBUTES: b"traceparent=" + PARENT},  # SageMaker forwards nothing else of its caller's
        {ATTRIBUTES: b"explain; traceparent=" + PARENT + b";tenant=a"},
        {b"traceparent": PARENT, ATTRIBUTES: b"traceparent=00-" + b"1" * 32 + b"-b7ad6b7169203331-01"},
    ],
)
def test_the_caller_s_trace_is_continued(headers: dict[bytes, bytes]) -> None:
    found = Tracing({}).of(headers)
    assert found is not None and found.trace_id == ID


@pytest.mark.parametrize("text", [b"", b"explain", b"traceparent=", b"traceparent=00-zz-01", b"x=traceparent"])
def test_what_is_none_is_none(text: bytes) -> None:
    assert Tracing({}).of({ATTRIBUTES: text}) is None


def test_attributes_are_told_apart() -> None:
    assert attributes_of({ATTRIBUTES: b" explain ;a=b;; "}) == {b"explain", b"a=b"}
    assert attributes_of({}) == set()
