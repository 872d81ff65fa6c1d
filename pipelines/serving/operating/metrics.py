"""What a server has done, in Prometheus' text format: each worker counts for itself, and whichever is asked adds up.

A request costs a few additions; what Prometheus' own client needs for each is a tenth of the time of a small answer.
"""

from __future__ import annotations

import json
import os
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1_000.0, 10_000.0)
AGES = (1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0, 2_592_000.0)
STAGES = (
    "decode",
    "features",
    "predict",
    "queue",
    "model",
    "explain",
    "encode",
)  # to predict is to queue and to call the model


class Histogram:
    """Counts of values by upper bound.

    Args:
        bounds: In ascending order; a value equal to one belongs to it.
    """

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Metrics:
    """One worker's counts.

    Args:
        folder: Where workers leave their counts for each other; None for the only one.
        gauges: What is true now, by name, when somebody asks.
    """

    def __init__(self, folder: Path | None = None, gauges: Callable[[], dict[str, float]] = dict) -> None:
        self._folder, self._gauges = folder, gauges
        self._started = time.time()
        self._lock, self._threads = threading.Lock(), None  # type: threading.Lock, Metrics | None
        self.requests: Counter[tuple[str, int, str]] = Counter()  # by route, status and model version
        self.durations: dict[str, Histogram] = {}  # by route
        self.stages = {stage: Histogram(SECONDS) for stage in STAGES}
        self.batch_requests, self.batch_rows = Histogram(COUNTS), Histogram(COUNTS)
        self.feature_age = Histogram(AGES)

    def of_threads(
        self, route: str, status: int, version: str, seconds: float, marks: Iterable[tuple[str, float, float]]
    ) -> None:
        """The same as ``answered``, from any thread: counted apart, since an addition is no single step."""
        with self._lock:
            self._apart().answered(route, status, version, seconds, marks)

    def called_in_thread(self, rows: int, seconds: float) -> None:
        """The same as ``called`` for one request, from any thread."""
        with self._lock:
            self._apart().called(rows, (0.0,), seconds)

    def _apart(self) -> Metrics:
        if self._threads is None:
            self._threads = Metrics()
        return self._threads

    def answered(
        self, route: str, status: int, version: str, seconds: float, marks: Iterable[tuple[str, float, float]] = ()
    ) -> None:
        """Count an answered request.

        Args:
            marks: Name, begin and end of its stages, in seconds.
        """
        self.requests[route, status, version] += 1
        if route not in self.durations:
            self.durations[route] = Histogram(SECONDS)
        self.durations[route].observe(seconds)
        for stage, began, ended in marks:
            self.stages[stage].observe(ended - began)

    def called(self, rows: int, waited_s: Sequence[float], seconds: float) -> None:
        """Count a call of the model, for the requests that waited."""
        self.batch_requests.observe(len(waited_s))
        self.batch_rows.observe(rows)
        self.stages["model"].observe(seconds)
        queue = self.stages["queue"]
        for waited in waited_s:
            queue.observe(waited)

    def share(self) -> None:
        """Leave the counts for the other workers."""
        if self._folder is None:
            return
        file = self._folder / f"{os.getpid()}-{int(self._started * 1000)}.json"
        new = file.with_suffix(".new")
        new.write_text(json.dumps(self._document()), encoding="utf-8")
        new.replace(file)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All workers' metrics, and the content type of the format that the request prefers."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(self._documents()))
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def _document(self) -> dict[str, Any]:
        found = {
            "requests": [[*key, count] for key, count in self.requests.items()],
            "histograms": [[*key, list(item.counts), item.total] for key, item in self._histograms()],
            "gauges": self._gauges(),
        }
        with self._lock:
            more = self._threads._document() if self._threads is not None else {}
        return {key: value + more[key] if key in more and key != "gauges" else value for key, value in found.items()}

    def _histograms(self) -> Iterator[tuple[tuple[str, str], Histogram]]:
        for route, histogram in self.durations.items():
            yield ("groundplan_request_duration_seconds", route), histogram
        for stage, histogram in self.stages.items():
            if any(histogram.counts):
                yield ("groundplan_stage_duration_seconds", stage), histogram
        yield ("groundplan_call_requests", ""), self.batch_requests
        yield ("groundplan_call_rows", ""), self.batch_rows
        yield ("groundplan_feature_age_seconds", ""), self.feature_age

    def _documents(self) -> list[dict[str, Any]]:
        """This worker's counts as they are now, the others' as they have left them; of one that has ended the counts
        stay, since a counter must never go back.
        """
        found = [self._document()]
        for file in sorted(self._folder.glob("*.json")) if self._folder is not None else ():
            pid = int(file.name.partition("-")[0])
            if pid != os.getpid():
                document = json.loads(file.read_text(encoding="utf-8"))
                found.append(document if _runs(pid) else {**document, "gauges": {}})
        return found


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_HISTOGRAMS = {
    "groundplan_request_duration_seconds": ("Time to answer a request, from its headers on.", "route", SECONDS),
    "groundplan_stage_duration_seconds": ("Time spent in each stage of a request.", "stage", SECONDS),
    "groundplan_call_requests": ("Requests that one call of the model answered.", "", COUNTS),
    "groundplan_call_rows": ("Rows that one call of the model answered.", "", COUNTS),
    "groundplan_feature_age_seconds": ("Age of the oldest feature that a request by key found.", "", AGES),
}
_GAUGES = {
    "groundplan_requests_in_flight": "Requests that are being answered.",
    "groundplan_requests_waiting": "Requests that wait for the model.",
    "groundplan_workers": "Workers that answer.",
}


class _Collected:
    """Documents of several workers as metrics."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self._documents = documents

    def collect(self) -> Iterator[Any]:
        """Metric families, for prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        requests: Counter[tuple[str, int, str]] = Counter()
        histograms: dict[tuple[str, str], tuple[list[int], float]] = {}
        gauges: Counter[str] = Counter()
        for document in self._documents:
            for route, status, version, count in document["requests"]:
                requests[route, status, version] += count
            for name, label, counts, total in document["histograms"]:
                known, sum_before = histograms.get((name, label), ([0] * len(counts), 0.0))
                histograms[name, label] = [a + b for a, b in zip(known, counts, strict=True)], sum_before + total
            gauges.update(document["gauges"])
        answered = CounterMetricFamily(
            "groundplan_requests", "Requests that were answered.", labels=["route", "status", "model_version"]
        )
        for (route, status, version), count in sorted(requests.items()):
            answered.add_metric([route, str(status), version], count)
        yield answered
        for name, (help_text, label, bounds) in _HISTOGRAMS.items():
            family = HistogramMetricFamily(name, help_text, labels=[label] if label else [])
            for (of, value), (counts, total) in sorted(histograms.items()):
                if of == name:
                    family.add_metric([value] if label else [], _cumulative(bounds, counts), total)
            yield family
        for name, help_text in _GAUGES.items():
            yield GaugeMetricFamily(name, help_text, value=gauges.pop(name, 0))
        serving = GaugeMetricFamily(
            "groundplan_model_info", "Workers that serve a version of the model.", labels=["model", "version"]
        )
        for name, count in sorted(gauges.items()):
            serving.add_metric(name.split("\n"), count)
        yield serving


def _cumulative(bounds: Sequence[float], counts: list[int]) -> list[tuple[str, float]]:
    found, total = [], 0
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
