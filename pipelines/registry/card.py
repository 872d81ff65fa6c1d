"""A version's model card, a page for people who decide about it (Mitchell and others 2019,
https://arxiv.org/abs/1810.03993).
"""

from __future__ import annotations

import json
from html import escape

from pipelines.pages import document, facts, table
from spec.objectives import HIGHER_IS_BETTER
from spec.versions import VersionRecord

_NOT_SAID = "<span class='bad'>not said</span>"


def page(record: VersionRecord) -> str:
    """One self-contained page."""
    card, title = record.card, escape(f"{record.model} {record.version}")
    kpi = record.kpi
    low, high = kpi.monthly_usd_interval
    known = [
        ("Intended use", escape(card.intended_use) or _NOT_SAID),
        ("Limits", "<br>".join(map(escape, card.limits)) or _NOT_SAID),
        ("Owner", escape(card.owner) or _NOT_SAID),
        ("Risk class (EU AI Act)", escape(card.risk or "") or _NOT_SAID),
        ("Author", escape(record.author) or "unknown"),
        ("Registered", f"{escape(record.registered_at)}: {escape(record.change)}"),
    ]
    worth = [
        (f"Gain in {escape(kpi.name)}", f"{kpi.lift:.4g} {escape(kpi.unit)} (95 % interval {_range(*kpi.interval)})"),
        (
            "Worth a month",
            f"{kpi.monthly_usd:,.0f} USD (95 % interval {low:,.0f} to {high:,.0f})"
            if kpi.monthly_usd or low or high
            else "not said: its objectives give a unit of the KPI no value",
        ),
    ]
    scores = [
        [escape(name), f"{value:.4g}", f"{record.baseline[name]:.4g}" if name in record.baseline else ""]
        for name, value in sorted(record.metrics.items())
    ]
    made = [
        ("Trained on", f"{record.dataset.rows:,} rows: {escape(record.dataset.place)}"),
        ("Dataset digest", _code(record.dataset.digest)),
        ("Code", f"{_code(record.code['commit'])}, script {_code(record.code['script_sha256'][:16])}"),
        ("MLflow run", _code(record.lineage["run_id"])),
        ("Pipeline run", _code(record.lineage["pipeline_run"])),
        ("Contracts", ", ".join(f"{escape(k)} {escape(v)}" for k, v in record.lineage["contracts"].items()) or "none"),
        ("Previous version", escape(record.lineage["previous"]) or "none"),
        ("Artifact (SHA-256)", _code(record.artifact)),
        ("Environment", ", ".join(f"{escape(k)} {escape(v)}" for k, v in record.environment.items())),
    ]
    outputs = record.interface.outputs
    columns = [[escape(name), escape(kind)] for name, kind in record.interface.inputs.items()]
    parts = [
        f"<h1>{title}</h1>",
        facts(known),
        "<h2>What it is worth</h2>",
        facts(worth),
        f"<h2>Quality</h2><p>Evaluated on: {escape(record.evaluated_on)}.</p>",
        table(("metric", "this version", "baseline"), scores),
        *_by_slice(record),
        "<h2>How it was made</h2>",
        facts(made),
        "<h2>Parameters</h2>",
        table(("name", "value"), [[escape(k), escape(v)] for k, v in sorted(record.parameters.items())]),
        "<h2>Inputs and outputs</h2>",
        f"<p>A {escape(outputs['task'])}; {_classes(outputs)}.</p>",
        table(("column", "type"), columns),
    ]
    return document(title, parts)


def _by_slice(record: VersionRecord) -> list[str]:
    """The slices, with the metric of the objectives that differs most between them first."""
    if not record.slices:
        return ["<h2>By slice</h2><p>No column divides the rows into parts that are large enough.</p>"]
    names = [name for name in record.metrics if name in HIGHER_IS_BETTER and name in record.slices[0].metrics]
    rows = []
    for column in dict.fromkeys(each.column for each in record.slices):
        parts = [each for each in record.slices if each.column == column]
        for each in parts:
            cells = []
            for name in names:
                values = [part.metrics[name] for part in parts if name in part.metrics]
                value = each.metrics.get(name)
                worst = min(values, default=None) if HIGHER_IS_BETTER[name] else max(values, default=None)
                mark = " class='bad'" if value == worst and len(set(values)) > 1 else ""
                cells.append(f"<span{mark}>{value:.4g}</span>" if value is not None else "")
            rows.append([escape(column), escape(each.value), f"{each.rows:,}", *cells])
    small = [name for name in record.card.slices if name not in {each.column for each in record.slices}]
    left = f" Not divided by {escape(', '.join(small))}: no such column, or too few rows." if small else ""
    return [
        f"<h2>By slice</h2><p class='dim'>The worst value of each column is marked.{left}</p>",
        table(("column", "value", "rows", *names), rows),
    ]


def _classes(outputs: dict[str, object]) -> str:
    classes, beside = outputs["classes"], outputs["beside"]
    told = f"classes {escape(json.dumps(classes))}" if classes else "a number for each row"
    return f"{told}, with the {escape(str(beside))} of each" if beside else told


def _range(low: float, high: float) -> str:
    return f"{low:.4g} to {high:.4g}"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
