"""The page of what a version's monitoring found, for people who answer for it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from pipelines import pages
from pipelines.monitoring.bias import POST_TRAINING, PRE_TRAINING

_SHOWN = ("DPPL", "DI", "AD", "RD", "SD", "DAR", "DRR", "DCAcc", "DCR", "TE", "CDDPL")


def write(model: str, found: dict[str, Any], path: Path) -> Path:
    """Write one self-contained page."""
    title = f"{escape(model)} {escape(found['version'])}: monitoring"
    parts = [
        f"<h1>{title}</h1>",
        f"<p class='dim'>{found['requests']:,} predictions from {_minute(found['window']['begin'])} to"
        f" {_minute(found['window']['end'])} UTC.</p>",
        *(f"<p class='bad'>{escape(note)}</p>" for note in found["notes"]),
        *_answering(found),
        "<h2>Quality</h2>",
        *_quality(found),
        "<h2>What it is asked</h2>",
        *_drift(found),
        "<h2>Groups</h2>",
        *_facets(found),
        "<h2>Day by day</h2>",
        *_days(found),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(pages.document(title, parts), encoding="utf-8")
    return path


def _answering(found: dict[str, Any]) -> list[str]:
    parts = []
    if answered := found["answering"]:
        parts.append(f"{answered['requests']:,} requests, {answered['error_share']:.2%} of them failed")
        if answered["latency_ms"] is not None:
            parts.append(f"answered within {answered['latency_ms']:.1f} ms on average")
    if found["usd_per_thousand"] is not None:
        parts.append(f"{found['usd_per_thousand']:,.2f} USD per thousand predictions, by the design")
    if found["earned_per_thousand"] is not None:
        parts.append(f"{found['earned_per_thousand']:,.2f} USD earned by a thousand, by the known outcomes")
    if found["feature_age_hours"] is not None:
        parts.append(f"features filled {found['feature_age_hours']:.1f} hours ago")
    return [f"<p>{escape('; '.join(parts))}.</p>"] if parts else []


def _quality(found: dict[str, Any]) -> list[str]:
    estimated, realised = found["estimated"], found["realised"]
    names = [*realised["metrics"], *(name for name in estimated["metrics"] if name not in realised["metrics"])]
    rows = []
    for name in names:
        told = estimated["metrics"].get(name)
        allowed = f"{found['allowed'][name]:.4g}" if name in found["allowed"] else ""
        outcome = f"{realised['metrics'][name]:.4g}" if name in realised["metrics"] else ""
        mark = " class='bad'" if name in realised["concept_drift"] else ""
        guess = f"{told['value']:.4g} ({told['low']:.4g} to {told['high']:.4g})" if told else ""
        rows.append([escape(name), f"<span{mark}>{outcome}</span>", guess, allowed])
    parts = [
        pages.table(
            ("metric", f"of {realised['rows']:,} known outcomes", "estimated, 95 % interval", "worst allowed"), rows
        )
    ]
    if realised["concept_drift"]:
        names_of = ", ".join(map(escape, realised["concept_drift"]))
        parts.append(
            f"<p class='bad'>Concept drift: {names_of} of the rows with known outcomes is outside of what was"
            " expected of the same rows. Outcomes depend on the features otherwise than they did.</p>"
        )
    if why := estimated.get("why"):
        parts.append(f"<p class='dim'>Quality without outcomes is not estimated: {escape(why)}.</p>")
    else:
        parts.append(f"<p class='dim'>Estimated from {escape(estimated['method'])}. {escape(found['blind'])}</p>")
    return parts


def _drift(found: dict[str, Any]) -> list[str]:
    rows = []
    answers = [{**each, "column": f"its {each['column']}"} for each in found["answers"]]
    both = [*answers, *found["columns"]]
    for item in sorted(both, key=lambda item: (not item["drifted"], -item["effect"])):
        told = ("", "") if item["note"] else (f"{item['effect']:.3f}", f"{item['p_value']:.2g}")
        effect = f"<span class='bad'>{told[0]}</span>" if item["drifted"] else told[0]
        rows.append([escape(item["column"]), escape(item["note"] or item["method"]), effect, told[1]])
    compared = escape(found["season"] or "all rows that it was trained on")
    odd = found["unexpected"]
    parts = [
        f"<p>{found['drift_share']:.0%} of the columns have drifted (marked);"
        f" {found['allowed']['drift_share']:.0%} may."
        f" Compared with {compared}."
        f" <a href='{escape(Path(found['drawing']).name)}'>Their distributions</a>.</p>",
        pages.table(("column", "measured by", "difference", "p-value"), rows),
        f"<p>{found['unexpected_share']:.2%} of the values are some that it was not trained on.</p>",
    ]
    if odd:
        cells = [
            [escape(each["column"]), f"{each['outside']:,}", f"{each['new']:,}", f"{each['missing']:,}"] for each in odd
        ]
        parts.append(pages.table(("column", "outside of its range", "new categories", "missing"), cells))
    return parts


def _facets(found: dict[str, Any]) -> list[str]:
    compared = [item for item in found.get("facets", []) if item.get("post_training")]
    if not compared:
        return ["<p>No column divides the rows into groups that are large enough to compare.</p>"]
    names = [name for name in _SHOWN if any(name in item["post_training"] for item in compared)]
    rows = [
        [
            escape(item["column"]),
            escape(item["value"]),
            f"{item['rows']:,}",
            f"{item['pre_training']['DPL']:.3f}" if "DPL" in item["pre_training"] else "",
            *(f"{item['post_training'][name]:.3f}" if name in item["post_training"] else "" for name in names),
        ]
        for item in compared
    ]
    says = "; ".join(f"{name}: {(POST_TRAINING | PRE_TRAINING)[name]}" for name in ("DPL", *names))
    entropy = compared[0]["post_training"].get("GE")
    overall = [] if entropy is None else [f"<p>GE, {POST_TRAINING['GE']} of all outcomes: {entropy:.3f}.</p>"]
    return [
        "<p class='dim'>Each group beside all others, by the metrics of SageMaker Clarify; 0 is equal, of DI 1 is."
        f" {escape(says)}.</p>",
        pages.table(("column", "value", "rows", "DPL (training)", *names), rows),
        *overall,
    ]


def _days(found: dict[str, Any]) -> list[str]:
    metric = next((name for name in found["allowed"] if name not in ("drift_share", "higher_is_better")), "")
    rows = []
    for each in found["days"]:
        told, realised = each["estimated"].get(metric), each["realised"]
        rows.append(
            [
                each["day"],
                f"{each['rows']:,}",
                f"{told['value']:.4g} ({told['low']:.4g} to {told['high']:.4g})" if told else "",
                f"{realised['metrics'][metric]:.4g}" if metric in realised["metrics"] else "",
                f"{realised['rows']:,}",
            ]
        )
    return [pages.table(("day", "predictions", f"{metric}, estimated", "as it turned out", "outcomes known"), rows)]


def _minute(text: str) -> str:
    return escape(text[:16].replace("T", " "))
