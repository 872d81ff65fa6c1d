"""What an experiment has found, as a comment on the change that it tries (Markdown)."""

from __future__ import annotations

import re
from typing import Any

from infra.design.price_book import PriceBook
from pipelines.steps.workflow import INSTANCE_TYPE
from spec.objectives import HIGHER_IS_BETTER

SLICES_SHOWN = 12


def markdown(found: dict[str, Any], prices: PriceBook) -> str:
    """The report of ``groundplan experiment --report``.

    Args:
        found: ``model``, ``run``, and the results of the steps ``experiment`` and ``evaluate``.
    """
    experiment, evaluated = found["experiment"], found["evaluate"]
    kpi, champion = evaluated["kpi"], evaluated.get("champion") or {}
    good = all(evaluated["passed"].values())
    parts = [
        f"## {found['model']}: {_headline(kpi)}",
        "" if good else f"**It would not be registered:** {evaluated['because']}.\n",
        _against(evaluated, champion),
        f"Evaluated on {evaluated['rows']:,} rows: {evaluated['how']}.",
        _chosen(experiment.get("choice")),
    ]
    if evaluated["against"]:
        parts.append("**Speaks against it**\n" + "".join(f"\n- {each}" for each in evaluated["against"]))
    parts += [
        _slices(evaluated, kpi["name"]),
        _groups(evaluated["groups"]),
        _calibration(evaluated["calibration"]),
        _made(found, experiment, prices),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(kpi: dict[str, Any]) -> str:
    low, high = kpi["interval"]
    side = "better" if kpi["lift"] >= 0 else "worse"
    gain = (
        f"{abs(kpi['lift']):.4g} {kpi['unit']} {side} than the naive baseline (95 % interval {low:.4g} to {high:.4g})"
    )
    if not kpi["monthly_usd"]:
        return gain
    least, most = kpi["monthly_usd_interval"]
    return f"{gain}, worth {kpi['monthly_usd']:,.0f} USD a month ({least:,.0f} to {most:,.0f})"


def _against(evaluated: dict[str, Any], champion: dict[str, Any]) -> str:
    metrics, base, kpi = evaluated["metrics"], evaluated["baseline"], evaluated["kpi"]["name"]
    theirs, ours = champion.get("metrics", {}), champion.get("ours", {})
    columns = ["metric", "this run", "naive baseline"]
    columns += [champion["version"], "this run, same rows"] if theirs else []
    rows = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, value in metrics.items():
        cells = [f"**{name}** (KPI)" if name == kpi else name, f"{value:.4g}", _number(base.get(name))]
        if theirs:
            better = name in theirs and name in ours and _better(name, ours[name], theirs[name])
            cells += [_number(theirs.get(name)), f"{_number(ours.get(name))}{' better' if better else ''}"]
        rows.append(f"| {' | '.join(cells)} |")
    said = f"The baseline is {evaluated['baseline_is']}."
    if theirs:
        said += (
            f" {champion['version']} serves now; the two are compared on {champion['rows']:,} rows: {champion['how']}."
        )
    elif champion.get("why"):
        said += f" Not compared with {champion['version']}: {champion['why']}."
    else:
        said += " No version serves yet."
    return "\n".join([*rows, "", said])


def _slices(evaluated: dict[str, Any], kpi: str) -> str:
    """The slices in which the KPI is worst; else those with the worst of the first metric."""
    slices = [each for each in evaluated["slices"] if each["metrics"]]
    if not slices:
        return "No column divides the rows into parts that are large enough to be judged by themselves."
    name = kpi if all(kpi in each["metrics"] for each in slices) else next(iter(slices[0]["metrics"]))
    worst = sorted(slices, key=lambda each: each["metrics"].get(name, 0.0), reverse=not HIGHER_IS_BETTER[name])
    rows = [f"| slice | rows | {name} |", "|---|---|---|"]
    rows += [
        f"| {_cell(each['column'])} {_cell(each['value'])} | {each['rows']:,} | {_number(each['metrics'].get(name))} |"
        for each in worst[:SLICES_SHOWN]
    ]
    more = f", {SLICES_SHOWN} of {len(worst)}" if len(worst) > SLICES_SHOWN else ""
    return f"<details><summary>By slice, the worst first{more}</summary>\n\n" + "\n".join(rows) + "\n\n</details>"


def _groups(groups: list[dict[str, Any]]) -> str:
    """Groups that are treated most differently, by the metrics of SageMaker Clarify."""
    compared = [each for each in groups if "DPPL" in each.get("post_training", {})]
    if not compared:
        return ""
    worst = sorted(compared, key=lambda each: -abs(each["post_training"]["DPPL"]))
    names = ("DPPL", "DI", "AD", "RD")
    rows = [f"| group | rows | DPL of the training labels | {' | '.join(names)} |", "|---|---|---|---|---|---|---|"]
    for each in worst[:SLICES_SHOWN]:
        told = [each["pre_training"].get("DPL"), *(each["post_training"].get(name) for name in names)]
        cells = [f"{_cell(each['column'])} {_cell(each['value'])}", f"{each['rows']:,}", *map(_number, told)]
        rows.append(f"| {' | '.join(cells)} |")
    more = f", {SLICES_SHOWN} of {len(worst)}" if len(worst) > SLICES_SHOWN else ""
    title = f"Groups, the most different first{more} (metrics of SageMaker Clarify; 0 is equal, of DI 1 is)"
    return f"<details><summary>{title}</summary>\n\n" + "\n".join(rows) + "\n\n</details>"


def _calibration(found: dict[str, Any]) -> str:
    if "bins" not in found:
        return f"Calibration is not known: {found['why']}."
    rows = ["| rows | said | came true |", "|---|---|---|"]
    rows += [f"| {each['rows']:,} | {each['said']:.4g} | {each['seen']:.4g} |" for each in found["bins"]]
    brier = f", Brier score {found['brier']:.4g}" if "brier" in found else ""
    title = f"Calibration of {_cell(found['of'])}: off by {found['error']:.3g} on average{brier}"
    return f"<details><summary>{title}</summary>\n\n" + "\n".join(rows) + "\n\n</details>"


def _made(found: dict[str, Any], experiment: dict[str, Any], prices: PriceBook) -> str:
    hourly = prices.services["sagemaker", INSTANCE_TYPE]
    usd = hourly * experiment["duration_s"] / 3600
    cost = f"{usd:.2g} USD" if usd >= 0.001 else "less than 0.001 USD"
    return (
        f"The script ran {experiment['duration_s']:.0f} s; that long on {INSTANCE_TYPE} costs {cost} ({hourly:g} USD an"
        f" hour, list price of {prices.as_of}). Run `{found['run']}` (MLflow `{experiment['run_id']}`), code"
        f" {_code(experiment['code_version'])}, dataset `{experiment['dataset_digest'][:12]}`."
    )


def _chosen(choice: dict[str, Any] | None) -> str:
    """Which of several models this is about."""
    if not choice or not choice["others"]:
        return ""
    others = ", ".join(str(each["name"]) for each in choice["others"])
    return _cell(f"The script logged several models; this is {choice['name']}, {choice['why']}. The others: {others}.")


def _cell(text: object) -> str:
    """A text that stays a text in a table of Markdown."""
    plain = str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([|`*_\\])", r"\\\1", " ".join(plain.split()))


def _code(version: str) -> str:
    return f"`{version[:12]}`" if re.match(r"[0-9a-f]{40}", version) else version


def _better(name: str, ours: float, theirs: float) -> bool:
    return ours > theirs if HIGHER_IS_BETTER[name] else ours < theirs


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
