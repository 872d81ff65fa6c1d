"""The kind of a field and its allowed values, from the standard's logical and physical types."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, time
from decimal import ROUND_CEILING, Decimal, localcontext
from typing import Any

from spec.contracts.model import Kind, Limit, Limits, moment

MOST_LENGTH = 2**31 - 1
FLOAT_MAX = 1.7976931348623157e308
DIGITS = 38  # of a decimal, in Parquet and Athena as in Arrow
_KINDS: dict[str, Kind] = {
    "integer": "integer",
    "number": "number",
    "string": "string",
    "boolean": "boolean",
    "timestamp": "timestamp",
    "date": "date",
    "time": "time",
    "object": "object",
    "array": "array",
    "map": "json",
    "vector": "array",
}
_WHOLE = r"(tiny|small|medium|big|u|unsigned )?int(eger|\d*)\b|long\b|short\b|(small|big)?serial\b|byte\b"
# Physical types of the usual databases and formats, where the contract gives no logical one.
_PHYSICAL: tuple[tuple[str, Kind], ...] = (
    (r"array|list|repeated|.*\[\]", "array"),
    (r"nullable\((u?int\d+)\)", "integer"),
    (r"nullable\(float\d+\)", "number"),
    (r"long varchar|short text", "string"),
    (r"timestamp|datetime", "timestamp"),
    (r"date\b", "date"),
    (r"time\b", "time"),
    (r"bool|bit\b", "boolean"),
    (_WHOLE, "integer"),
    (r"dec|numeric|number|money", "decimal"),
    (r"double|float|real", "number"),
    (r"json|struct|record|object|map|variant|super", "json"),
)
_DECIMAL = re.compile(r"\s*(?:dec(?:imal)?|numeric|number)\s*\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\)", re.IGNORECASE)
_WIDTHS = {f"{sign}{bits}": bits for bits in (8, 16, 32, 64, 128) for sign in "iu"}
_ISO_FORMS = re.compile(r"(yyyy-MM-dd)?[T' ]*(HH:mm(:ss)?(\.S+)?)?\s*'?(Z|X{1,3}|x{1,3}|xxx|ZZZZZ|VV)?'?")
# Letters of Java's DateTimeFormatter by their counterparts in Python's strptime.
_FORMAT = {
    "yyyy": "%Y",
    "uuuu": "%Y",
    "yy": "%y",
    "MM": "%m",
    "M": "%m",
    "MMM": "%b",
    "MMMM": "%B",
    "dd": "%d",
    "d": "%d",
    "DDD": "%j",
    "HH": "%H",
    "H": "%H",
    "hh": "%I",
    "h": "%I",
    "mm": "%M",
    "m": "%M",
    "ss": "%S",
    "s": "%S",
    "a": "%p",
    "EEE": "%a",
    "EEEE": "%A",
    "Z": "%z",
    "ZZZZZ": "%z",
    "X": "%z",
    "XX": "%z",
    "XXX": "%z",
    "x": "%z",
    "xx": "%z",
    "xxx": "%z",
    **{"S" * count: "%f" for count in range(1, 7)},
}


class TypeFaultError(ValueError):
    """What is wrong with a type or its options; ``option`` is the one concerned."""

    def __init__(self, says: str, option: str = "", fix: str = "") -> None:
        self.option, self.fix = option, fix
        super().__init__(says)


def kind_of(item: dict[str, Any]) -> tuple[Kind, int, int]:
    """Kind of a property, and for decimals their digits and scale."""
    physical, logical = str(item.get("physicalType") or ""), item.get("logicalType")
    kind = (
        _KINDS[logical]
        if logical
        else next((kind for form, kind in _PHYSICAL if re.match(form, physical.strip(), re.IGNORECASE)), None)
    )
    if kind is None:
        kind = "string" if physical else "object" if item.get("properties") else "json"
    exact = _DECIMAL.match(physical)
    if exact and kind in ("number", "decimal"):
        digits, scale = int(exact[1]), int(exact[2] or 0)
        if not 0 < digits <= DIGITS or not 0 <= scale <= digits:
            raise TypeFaultError(
                f"a decimal has 1 to {DIGITS} digits, and at most as many after the decimal point; this is {physical}",
                "physicalType",
            )
        return "decimal", digits, scale
    if kind == "decimal":
        kind = "number"  # the number of digits is not given
    if kind == "number" and re.match(_WHOLE, physical.strip(), re.IGNORECASE):
        kind = "integer"
    if item.get("properties") and kind == "json":
        kind = "object"
    if kind == "object" and not item.get("properties"):
        kind = "json"
    if kind == "array" and not item.get("items") and logical != "vector":
        kind = "json"
    return kind, 0, 0


def limits_of(kind: Kind, item: dict[str, Any], given_kind: str, digits: int = 0, scale: int = 0) -> Limits:
    """The allowed values of a property; bounds that no value of the type reaches are ignored.

    Args:
        digits, scale: For a decimal.

    Raises:
        TypeFaultError: Bounds that are invalid, that contradict each other, or that no value of the type reaches.
    """
    options = item.get("logicalTypeOptions") or {}
    least, least_open = _bound(kind, options, "minimum", "exclusiveMinimum", max)
    most, most_open = _bound(kind, options, "maximum", "exclusiveMaximum", min)
    if kind == "integer" and (bits := _WIDTHS.get(str(options.get("format", "")))):
        signed = str(options["format"])[0] == "i"
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        least, least_open = (least, least_open) if least is not None and least > low else (low, False)  # type: ignore[operator]
        most, most_open = (most, most_open) if most is not None and most < high else (high, False)  # type: ignore[operator]
    if least is not None and most is not None and (least > most or (least == most and (least_open or most_open))):  # type: ignore[operator]
        raise TypeFaultError(f"the minimum {least} is above the maximum {most}: no value is allowed", "minimum")
    least, least_open, most, most_open = _reachable(kind, least, least_open, most, most_open, digits, scale)
    lengths = {"string": ("minLength", "maxLength"), "array": ("minItems", "maxItems")}.get(given_kind, ("", ""))
    shortest, longest = (int(options[name]) if name and options.get(name) is not None else None for name in lengths)
    if shortest is not None and longest is not None and shortest > longest:
        raise TypeFaultError(
            f"{lengths[0]} {shortest} is above {lengths[1]} {longest}: no value is allowed", lengths[0]
        )
    longest = None if longest is not None and longest >= MOST_LENGTH else longest
    values = [entry.get("value") if isinstance(entry, dict) else entry for entry in item.get("enum") or ()]
    allowed = tuple(_one_of_them(kind, value) for value in values) if kind not in ("object", "array", "json") else ()
    multiple = options.get("multipleOf") if kind in ("integer", "number") and options.get("multipleOf") != 1 else None
    pattern = options.get("pattern") if kind == "string" else None
    if pattern is not None:
        check_pattern(pattern)
    return Limits(least, most, least_open, most_open, multiple, shortest, longest, pattern, allowed)


def _reachable(
    kind: Kind, least: Limit | None, least_open: bool, most: Limit | None, most_open: bool, digits: int, scale: int
) -> tuple[Limit | None, bool, Limit | None, bool]:
    """Bounds as values of the type: 64-bit whole numbers, decimals with its digits, numbers that fit a float.

    Raises:
        TypeFaultError: No value lies within them.
    """
    ends: tuple[Any, Any, Any] | None = None  # least and most value of the type, and the step between two
    if kind == "integer":
        ends = -(2**63), 2**63 - 1, 1
    elif kind == "decimal":
        ends = (
            -(Decimal(10**digits - 1).scaleb(-scale)),
            Decimal(10**digits - 1).scaleb(-scale),
            Decimal(1).scaleb(-scale),
        )
    elif kind == "number":
        least, most = (None if isinstance(side, int) and abs(side) > FLOAT_MAX else side for side in (least, most))
    if ends is None:
        return least, least_open, most, most_open
    smallest, largest, step = ends
    with localcontext(prec=100):
        low: Any = None if least is None else _up(Decimal(str(least)), step, least_open)
        high: Any = None if most is None else -_up(-Decimal(str(most)), step, most_open)
    if (
        (low is not None and low > largest)
        or (high is not None and high < smallest)
        or (low is not None and high is not None and low > high)
    ):
        what = "whole number of 64 bits" if kind == "integer" else f"decimal of {digits} digits"
        raise TypeFaultError(f"no {what} lies within these bounds", "minimum")
    low, high = (None if low is None or low <= smallest else low), (None if high is None or high >= largest else high)
    number = int if kind == "integer" else Decimal
    return (None if low is None else number(low)), False, (None if high is None else number(high)), False


def _up(value: Decimal, step: Any, is_open: bool) -> Decimal:
    """The smallest multiple of a step that is not below a value; above it where the value itself is excluded."""
    found = (value / Decimal(step)).to_integral_value(ROUND_CEILING) * Decimal(step)
    return found + Decimal(step) if is_open and found == value else found


def _one_of_them(kind: Kind, value: Any) -> Any:
    """An allowed value in its type.

    Raises:
        TypeFaultError: It is of another type.
    """
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
    }
    if kind == "number":
        fits[kind] = isinstance(value, int | float) and not isinstance(value, bool)
    if not fits.get(kind, True):
        raise TypeFaultError(f"{value!r} is listed as allowed, but the type is {kind}", "enum")
    return value if kind in fits else _limit(kind, value, "enum")


def _bound(
    kind: Kind, options: dict[str, Any], closed: str, opened: str, tighter: Callable[..., Any]
) -> tuple[Limit | None, bool]:
    """One side's bound, and whether it is excluded; of an open and a closed bound the tighter."""
    bounds = {
        name: _limit(kind, options[name], name)
        for name in (closed, opened)
        if name in options and not isinstance(options[name], bool)
    }
    if options.get(opened) is True:  # before v3.1.0 it qualified the other bound
        return bounds.get(closed), closed in bounds
    if closed in bounds and opened in bounds:
        inner = tighter(bounds[closed], bounds[opened])
        return inner, inner == bounds[opened]
    return (bounds[opened], True) if opened in bounds else (bounds.get(closed), False)


def _limit(kind: Kind, given: Any, name: str) -> Limit:
    try:
        if kind in ("integer", "number", "decimal"):
            if isinstance(given, str):
                raise ValueError
            return Decimal(str(given)) if kind == "decimal" else given  # type: ignore[no-any-return]
        if kind == "timestamp":
            return moment(given)
        if kind == "date":
            return date.fromisoformat(str(given)[:10])
        if kind == "time":
            return time.fromisoformat(str(given))
    except (ValueError, ArithmeticError):
        what = {"timestamp": "time in ISO 8601", "date": "date (2024-12-31)", "time": "time of day (23:59:59)"}.get(
            kind, "number"
        )
        raise TypeFaultError(f"the bound {given!r} is not a valid {what}", name) from None
    raise TypeFaultError(f"a {kind} has no {name}", name)


# Characters and classes, each repeated less than a hundred times: what Python and RE2 read in the same way.
_SAME_IN_BOTH = re.compile(
    r"(?!.*(?:--|&&|~~))"  # Python announces to read them as operators on sets
    r"\^?(?:(?:[\w /:@#%&=<>,;!~'\"-]|\\[dwsDWS.]|\.|\[\^?[^\]\[\\]+\])(?:[*+?]|\{\d{1,2}(?:,\d{0,2})?\})?)*\$?",
    re.ASCII,
)


def check_pattern(pattern: str) -> None:
    """Check that RE2, which Arrow and DuckDB use, accepts the pattern.

    Raises:
        TypeFaultError: It does not.
    """
    if _SAME_IN_BOTH.fullmatch(pattern):
        try:
            re.compile(pattern)
            return  # without Arrow, whose import takes longer than reading every contract
        except re.error:
            pass
    import pyarrow as pa
    import pyarrow.compute as pc

    if re.search(r"(?<!\\)\{,\d+\}", pattern):  # for Python it counts from 0
        raise TypeFaultError(
            f"{pattern!r} has a count without a lower bound, which RE2 reads as text",
            "pattern",
            "write {0,3} instead of {,3}",
        )
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        why = (
            " (it has no lookahead, lookbehind or backreferences)" if re.search(r"\(\?<?[=!]|\\[1-9]", pattern) else ""
        )
        raise TypeFaultError(
            f"{pattern!r} is not valid RE2 syntax{why}",
            "pattern",
            "https://github.com/google/re2/wiki/Syntax",
        ) from None


def format_of(kind: Kind, item: dict[str, Any]) -> tuple[str, str]:
    """The format of a property's times (empty for ISO 8601), and the time zone of those without one (empty where each
    must state it).

    Raises:
        TypeFaultError: The format has letters that are not supported, or there is no such time zone.
    """
    options = item.get("logicalTypeOptions") or {}
    if kind not in ("timestamp", "date", "time"):
        return "", ""
    form, zone = str(options.get("format") or ""), ""
    if kind == "timestamp":
        # The standard: without a zone a time is in its default one, which is UTC where none is given.
        told = "defaultTimezone" in options or options.get("timezone") is False or (form and not _has_zone(form))
        zone = (
            "UTC"
            if "'Z'" in form
            else str(options.get("defaultTimezone") or "UTC")
            if told and options.get("timezone") is not True
            else ""
        )
        if zone:
            from zoneinfo import available_timezones

            if zone not in available_timezones():
                raise TypeFaultError(
                    f"{zone!r} is not a time zone of the IANA database", "defaultTimezone", "for example Europe/Berlin"
                )
    if form and not _ISO_FORMS.fullmatch(form):
        strptime_of(form)
        return form, zone
    return "", zone


def _has_zone(form: str) -> bool:
    return bool(re.search(r"[XxZzVO]", re.sub(r"'(?!Z')[^']*'", "", form)))


def strptime_of(form: str) -> str:
    """The format as Python's ``strptime`` reads it.

    Raises:
        TypeFaultError: It has letters without a counterpart.
    """
    found = ""
    for match in re.finditer(r"'([^']*)'|(([A-Za-z])\3*)|(.)", form, re.DOTALL):
        literal, letters, other = match[1], match[2], match[4]
        if letters and letters not in _FORMAT:
            raise TypeFaultError(
                f"the format {form!r} has {letters!r}, which is not supported",
                "format",
                "for example yyyy-MM-dd HH:mm:ss",
            )
        found += _FORMAT[letters] if letters else (literal if literal is not None else other).replace("%", "%%")
    return found
