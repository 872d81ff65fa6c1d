"""Which fields a contract declares as personal, in the spellings that are in use.

In doubt a field is masked: a token can be explained, a leaked address can't be taken back.
"""

from __future__ import annotations

import re
from typing import Any

_WORDS = {
    "personal",
    "pii",
    "piis",
    "spii",
    "phi",
    "spi",
    "gdpr",
    "personaldata",
    "personalinformation",
    "piidata",
    "personalidentifiable",
}
_TOGETHER = (
    {"personally", "identifiable"},
    {"personally", "identifying"},
    {"sensitive", "personal"},
    {"data", "subject"},
)
_BEFORE = {"no", "non", "not", "without"}  # right before the word they negate it: non-pii, not personal
_AFTER = {"no", "none", "false", "free", "0"}  # also as all that follows it: pii: false, pii-free
_PROPERTY = re.compile(
    r"(?:x|is|has|contains)?(?:pii|personal(?:data|information)?|gdpr(?:relevant)?)(?:data)?(?:flag|category|type|class)?"
)
_JUDGED = {
    "classification",
    "dataclassification",
    "sensitivity",
    "privacy",
    "dataprivacy",
    "confidentiality",
}  # whose value says it
_NEAR = ("personal", "pii")
_OTHER = {
    "person",
    "persons",
    "persona",
    "personas",
    "personnel",
    "personality",
    "personalized",
    "personalization",
    "impersonal",
    "interpersonal",
    "api",
    "pi",
    "pit",
}


def said(item: dict[str, Any]) -> str:
    """The words of a property or an object that declare it personal; empty if there are none."""
    for name in ("classification", "tags"):
        for text in _texts(item.get(name)):
            if _says(text):
                return f"{name}: {text}"
    for custom in item.get("customProperties") or ():
        name, value = re.sub(r"[^a-z]", "", str(custom.get("property", "")).lower()), custom.get("value")
        if (_PROPERTY.fullmatch(name) and _true(value)) or (
            name in _JUDGED and any(_says(text) for text in _texts(value))
        ):
            return f"customProperties: {custom['property']}"
    if item.get("encryptedName"):
        return "encryptedName"
    return ""


def slip(item: dict[str, Any]) -> tuple[str, str]:
    """A tag or a classification that masks nothing because of a typo, and what was meant; empty texts if there is
    none.
    """
    import difflib

    for text in (*_texts(item.get("tags")), *_texts(item.get("classification"))):
        words = _split(text)
        if (
            len(words) == 1
            and not _says(text)
            and words[0] not in _OTHER
            and (near := difflib.get_close_matches(words[0], _NEAR, 1, 0.8))
        ):
            return text, near[0]
    return "", ""


def _texts(value: Any) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else [str(value)] if value is not None else []


def _split(text: str) -> list[str]:
    """Its words, in lower case: also those of camelCase, and initials with points (P.I.I.)."""
    text = re.sub(r"\b(?:[A-Za-z]\.){2,}", lambda match: match[0].replace(".", "") + " ", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return re.findall(r"[a-z]+|0", text.lower())


def _says(text: str) -> bool:
    words = _split(text)
    if "".join(words) in _WORDS:
        return True
    for pair in _TOGETHER:
        if pair <= set(words) and not _turned(words, min(map(words.index, pair))):
            return True
    return any(word in _WORDS and not _turned(words, place) for place, word in enumerate(words))


def _turned(words: list[str], place: int) -> bool:
    """Whether the words around it negate it."""
    return (place > 0 and words[place - 1] in _BEFORE) or (
        bool(words[place + 1 :]) and set(words[place + 1 :]) <= _AFTER
    )


def _true(value: Any) -> bool:
    return value is True or str(value).strip().lower() not in ("", "false", "no", "none", "0", "null")
