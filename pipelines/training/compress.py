"""A served model made smaller: candidates, each with its size, its times and its quality on rows that no fit has seen,
and the smallest of those that lose no more than the objective allows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.serving.explaining.exact import TreeInput
from pipelines.serving.explaining.trees import NotExactError
from pipelines.serving.models.bundle import Model, made
from pipelines.serving.models.engines import Onnx
from pipelines.serving.models.rows import Rows
from pipelines.training.ensembles import Ensemble, rewritten
from pipelines.training.labelled import Labelled, as_columns
from pipelines.training.metrics import score
from pipelines.training.parity import NEW_GAPS, Parity, Sample, Truth, compare
from spec.objectives import HIGHER_IS_BETTER, ModelObjectives

FULL, COMPACT = "as converted", "written compactly"
# Shares of the trees, and of the splits of each, that stay.
SMALLER = ((1.0, 0.5), (1.0, 0.25), (0.5, 0.5), (0.5, 0.25), (0.25, 0.25), (0.25, 0.12))
FIT_ROWS, TIMED_ROWS = 5_000, 1_000
_CALLS, _BATCHES, _ROUNDING = 200, 9, 1e-6
_LEAST_WEIGHTS = 256  # a tensor with fewer is not worth a conversion


@dataclass(frozen=True)
class Candidate:
    """One way to serve a model.

    Attributes:
        name: What was done.
        bytes: Size of its ONNX file.
        row_us: Time of a call for one row, in microseconds: a call of ONNX Runtime from Python takes about 4 of them.
        batch_ms: Time of a call for 1,000 rows, in milliseconds.
        metrics: On the rows that no fit has seen, by name.
        loses: Share by which the worse of its two metrics, that of the quality objective and that of the value, is
            worse than the full model's; negative where both are better.
        beyond: Whether it answers what neither the full model nor the labels have: a probability above 1, a negative
            price. Such a one is not served.
    """

    name: str
    bytes: int
    row_us: float
    batch_ms: float
    metrics: dict[str, float]
    loses: float
    beyond: bool = False


@dataclass(frozen=True)
class Compressed:
    """The table, and what is served.

    Attributes:
        files: Of the chosen one.
        table: Every candidate, the full model first.
        chosen: The name of one of them.
    """

    files: dict[str, bytes]
    table: list[Candidate]
    chosen: str


def compact(content: bytes, described: dict[str, Any], sample: Sample, truth: Truth) -> tuple[bytes, Parity] | None:
    """The same trees in ONNX's newer form, a third of the size, and the comparison with the model itself; None where
    there are none, or the form has no room for them.
    """
    nullable = {column["name"] for column in described["columns"] if column.get("nullable")}
    without = "" if nullable >= set(sample.new_gaps) else NEW_GAPS
    try:
        smaller = rewritten(content, _ensemble(content), labels=not described.get("most_probable"))
        parity = compare(made(described, {"model.onnx": smaller}), sample, truth, without=without)
    except Exception as error:  # what is not understood stays as it is
        if not isinstance(error, NotExactError):
            print(f"not written compactly: {type(error).__name__}: {error}")
        return None
    return (smaller, parity) if len(smaller) < len(content) else None


def compress(
    described: dict[str, Any],
    files: dict[str, bytes],
    converted: bytes,
    training: Labelled,
    holdout: Labelled,
    objectives: ModelObjectives,
) -> Compressed:
    """Try candidates, and choose.

    Args:
        files: As they would be served.
        converted: The ONNX file as the converter has written it.
        training: Rows that candidates may be fitted to.
        holdout: Rows that judge them.
    """
    rows = holdout.without_predictions()
    content, wanted = files["model.onnx"], objectives.quality
    names = [column["name"] for column in described["columns"]]
    timed = Rows.of(as_columns(rows.features[names].iloc[np.arange(TIMED_ROWS) % len(rows)], names))
    full = score(made(described, files), rows)

    judged = Rows.of(as_columns(rows.features[names], names))
    low, high = _range(made(described, files), judged)
    if described["task"] == "regression":
        low, high = min(low, float(training.labels.min())), max(high, float(training.labels.max()))

    def candidate(name: str, smaller: bytes) -> Candidate:
        model = made(described, {**files, "model.onnx": smaller})
        row_us, batch_ms = _times(model, timed)
        same = smaller in (content, converted)
        metrics = full if same else score(model, rows)
        loses = [_worse(metric, metrics, full) for metric in {wanted.metric, objectives.value.kpi}]
        least, most = _range(model, judged)
        beyond = not same and not low - _ROUNDING <= least <= most <= high + _ROUNDING
        return Candidate(name, len(smaller), row_us, batch_ms, metrics, max(loses), beyond)

    table = {FULL: (candidate(FULL, converted), converted)}
    if content != converted:
        table[COMPACT] = candidate(COMPACT, content), content
    for name, smaller in _smaller(converted, described, training):
        table[name] = candidate(name, smaller), smaller
    allowed = [
        (one.bytes, name)
        for name, (one, _) in table.items()
        if name in (FULL, COMPACT) or (0 < wanted.may_lose >= one.loses and not one.beyond and _good(one, objectives))
    ]
    chosen = min(allowed)[1]
    return Compressed({**files, "model.onnx": table[chosen][1]}, [one for one, _ in table.values()], chosen)


def _range(model: Model, rows: Rows) -> tuple[float, float]:
    """The smallest and the largest number that is served; of probabilities always 0 and 1, or what lies beyond."""
    found = model.answers(rows)
    values = np.asarray(found.predictions if model.task == "regression" else found.beside, dtype=float)
    ends = float(values.min()), float(values.max())
    return (min(ends[0], 0.0), max(ends[1], 1.0)) if model.output == "probability" else ends


def _good(one: Candidate, objectives: ModelObjectives) -> bool:
    wanted = objectives.quality
    found = one.metrics.get(wanted.metric, float("nan"))
    return found >= wanted.worst if HIGHER_IS_BETTER[wanted.metric] else found <= wanted.worst


def _worse(metric: str, found: dict[str, float], full: dict[str, float]) -> float:
    """Share by which a metric is worse; one that the model does not have is not looked at."""
    if metric not in full or metric not in found:
        return 0.0
    sign = -1 if HIGHER_IS_BETTER[metric] else 1
    return sign * (found[metric] - full[metric]) / max(abs(full[metric]), 1e-12)


def _smaller(converted: bytes, described: dict[str, Any], training: Labelled) -> Iterator[tuple[str, bytes]]:
    """Candidates that answer differently."""
    try:
        ensemble = _ensemble(converted)
    except NotExactError:
        yield from _weights(converted)
        return
    labels, rows = not described.get("most_probable"), _features(converted, described, training)
    reached = ensemble.leaves(rows)
    wanted = ensemble.values[reached].sum(axis=1) + ensemble.trees.base
    for trees, splits in SMALLER:
        some = f"{splits:.0%} of the splits"
        name = some if trees == 1 else f"{trees:.0%} of the trees, {some}"
        try:
            smaller = ensemble.pruned(reached, splits)
            if trees < 1:
                smaller = smaller.fewer(max(1, round(ensemble.count * trees)))
            yield name, rewritten(converted, smaller.weighed(rows, wanted, ensemble.count), labels=labels)
        except (NotExactError, RuntimeError) as error:  # NNLS may not converge
            print(f"{name}: {error}")


def _ensemble(content: bytes) -> Ensemble:
    import onnx

    nodes = [node for node in onnx.load_from_string(content).graph.node if node.op_type.startswith("TreeEnsemble")]
    if len(nodes) != 1:
        raise NotExactError("there is no tree ensemble, or more than one")
    return Ensemble.of(nodes[0])


def _features(converted: bytes, described: dict[str, Any], training: Labelled) -> npt.NDArray[np.float32]:
    """Training rows as the trees are given them: what happens to the columns before has happened; [rows, features]."""
    names = [column["name"] for column in described["columns"]]
    engine = made(described, {"model.onnx": converted}).engine
    assert isinstance(engine, Onnx)
    return TreeInput(engine)(Rows.of(as_columns(training.sample(FIT_ROWS).features[names], names)))


def _weights(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Of networks: weights in half precision, or in eight bits."""
    for name, change in (("weights in half precision", _half), ("weights in 8 bits", _int8)):
        smaller = change(content)
        if smaller is not None and len(smaller) < len(content):
            yield name, smaller


def _half(content: bytes) -> bytes | None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(content)
    casts = []
    for item in model.graph.initializer:
        values = numpy_helper.to_array(item)
        if (
            values.dtype != np.float32
            or values.size < _LEAST_WEIGHTS
            or np.abs(values).max() > np.finfo(np.float16).max
        ):
            continue
        name = f"{item.name}_half"
        casts.append(helper.make_node("Cast", [name], [item.name], to=TensorProto.FLOAT))
        item.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name))
    if not casts:
        return None
    every = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(every)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _int8(content: bytes) -> bytes | None:
    """https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, dynamic."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not any(node.op_type in ("MatMul", "Gemm") for node in onnx.load_from_string(content).graph.node):
        return None
    with TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        before.write_bytes(content)
        quantize_dynamic(before, after, weight_type=QuantType.QInt8)
        return after.read_bytes()


def _times(model: Model, rows: Rows) -> tuple[float, float]:
    """Of a call for one row in microseconds, and of one for all rows in milliseconds."""
    engine = model.engine
    assert isinstance(engine, Onnx)
    engine.start()
    every = engine.tensors(rows)
    one = {name: values[:1] for name, values in every.items()}

    def timed(calls: int, tensors: Any) -> float:
        taken = []
        for _ in range(calls):
            began = time.perf_counter()
            engine.run(tensors)
            taken.append(time.perf_counter() - began)
        return median(taken)

    return timed(_CALLS, one) * 1e6, timed(_BATCHES, every) * 1e3
