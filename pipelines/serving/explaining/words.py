"""Reasons as sentences, for people who do not read SHAP values."""

from __future__ import annotations

from statistics import median
from typing import Any

from pipelines.serving.models.bundle import Model
from pipelines.serving.models.engines import class_name

MOST = 3
_SMALL = 0.01  # of the largest effect: not worth a sentence


def reasons(model: Model, row: dict[str, Any], item: dict[str, Any]) -> list[str]:
    """The columns with the largest effects, each with its value, what is usual, and its effect.

    Args:
        row: The row's values, by column.
        item: Its explanation, with ``explains`` and ``shap_values`` of one target.
    """
    effects: dict[str, float] = item["shap_values"]
    largest = max(map(abs, effects.values()), default=0.0)
    ranked = sorted(effects.items(), key=lambda pair: -abs(pair[1]))[:MOST]
    units = model.units
    return [
        f"{name} {_value(row[name], units.get(name, ''))}{_usual(model.background[name], units.get(name, ''))}"
        f" {_effect(model, item, effect)}."
        for name, effect in ranked
        if effect and abs(effect) >= _SMALL * largest
    ]


def _value(value: Any, unit: str) -> str:
    if value is None:
        return "(missing)"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{_number(value)}{unit and ' ' + unit}" if isinstance(value, int | float) else repr(value)


def _number(value: float) -> str:
    """As people write it: four digits that count, and all of those before the point."""
    if isinstance(value, int) or abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _usual(background: list[Any], unit: str) -> str:
    """The training rows' median, or their most frequent text."""
    known = [value for value in background if value is not None]
    if not known:
        return ""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return f" (median {_value(median(known), unit)})"
    common = max(sorted(set(known), key=str), key=known.count)
    return f" (most often {_value(common, '')})"


def _effect(model: Model, item: dict[str, Any], effect: float) -> str:
    explains, size = item["explains"], _number(abs(effect))
    if explains == "class":  # there is only whether it is predicted
        return f"speaks {'for' if effect > 0 else 'against'} {_named(model, item['prediction'])}"
    verb = "raises" if effect > 0 else "lowers"
    if explains == "prediction":
        unit = model.units.get("", "")
        return f"{verb} the prediction by {size}{unit and ' ' + unit}"
    if explains == "probability":
        points = f"{100 * abs(effect):.3g} percentage points"
        return f"{verb} the probability of {_named(model, item['prediction'])} by {points}"
    of = model.classes[1] if len(model.classes) == 2 else item["prediction"]
    return f"{verb} the score of {_named(model, of)} by {size}"


def _named(model: Model, value: Any) -> str:
    """A class as people call it: classes of a label are numbers or texts."""
    return repr(model.class_names.get(class_name(value), value))
