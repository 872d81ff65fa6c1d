"""The study's patients as events, to fill the topic on one machine."""

from collections.abc import Iterator
from typing import Any


def patients(topic: str) -> Iterator[dict[str, Any]]:  # there is one
    """One event per patient: number, ten scaled measurements, progression after a year."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    for number, (row, target) in enumerate(zip(data.data, data.target, strict=True)):
        yield {
            "patient_id": number,
            **dict(zip(data.feature_names, map(float, row), strict=True)),
            "target": float(target),
        }
