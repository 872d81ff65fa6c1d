"""Which fields a contract says to be about a person, in the spellings that are in use."""

from __future__ import annotations

import re
from typing import Any

_WORDS = {"personal", "pii", "phi", "spi", "gdpr"}
_TOGETHER = ({"personally", "identifiable"}, {"sensitive", "personal"}, {"data", "subject"})
_NOT = {"no", "non", "not", "none", "false", "without", "free"}
_PROPERTIES = {"pii", "ispii", "containspii", "haspii", "personal", "ispersonal", "personaldata", "containspersonaldata", "gdpr", "gdprrelevant"}
_NEAR = ("personal", "pii")
_OTHER = {"person", "persons", "persona", "personnel", "personalized", "personalization", "api", "pi", "pit"}


def said(item: dict[str, Any]) -> str:
    """The words of a property or an object that say it is personal; empty if none does."""
    for name in ("classification", "tags"):
        for text in _texts(item.get(name)):
            if _says(text):
                return f"{name}: {text}"
    for custom in item.get("customProperties") or ():
        if re.sub(r"[^a-z]", "", str(custom.get("property", "")).lower()) in _PROPERTIES and _true(custom.get("value")):
            return f"customProperties: {custom['property']}"
    if item.get("encryptedName"):
        return "encryptedName"
    return ""


def slip(item: dict[str, Any]) -> tuple[str, str]:
    """A tag that masks nothing because of a slip, and what was meant; empty texts if there is none."""
    import difflib

    for tag in _texts(item.get("tags")):
        if not _says(tag) and not set(re.findall(r"[a-z]+", tag.lower())) & (_NOT | _OTHER) and (near := difflib.get_close_matches(tag.lower(), _NEAR, 1, 0.8)):
            return tag, near[0]
    return "", ""


def _texts(value: Any) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else [str(value)] if value is not None else []


def _says(text: str) -> bool:
    words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()))
    return not words & _NOT and (bool(words & _WORDS) or any(pair <= words for pair in _TOGETHER))


def _true(value: Any) -> bool:
    return value is True or str(value).strip().lower() not in ("", "false", "no", "none", "0", "null")
