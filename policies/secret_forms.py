"""What a secret looks like: by the name of what holds it, by the form of the value, inside of texts and scripts."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "[secret]"  # what a review has in place of the value of a secret
# The last word, or the last two, of a name that holds a secret.
_WORDS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "secretkey",
          "credential", "credentials")  # fmt: skip
_SHORT = ("pass", "pwd", "creds")
_PAIRS = frozenset(f"{word}_key" for word in ("api", "access", "private", "secret", "auth", "account"))
_BEHIND = frozenset(("value", "plain", "plaintext", "literal"))
# Numbers, switches, and what people write where a program wants a value and there is none.
_NONE_AT_ALL = re.compile(
    r"[\d.]+|true|false|yes|no|on|off|enabled|disabled|none|null|nil|empty|unused|dummy|placeholder|n/?a"
    r"|not[-_ ]?(needed|used|required|set)|-",
    re.IGNORECASE,
)
_ELSEWHERE = ("arn:", "/", "$", "{{", "`", "<", "%", "ssm:", "secretsmanager:", "vault:", "env:", "file:")
# Keys of AWS, GitHub, GitLab, Slack, Stripe, Google, OpenAI, SendGrid, npm; private keys, tokens (JWT), and passwords
# in addresses.
_VALUES = re.compile(
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----|\bgh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22,}"
    r"|\bglpat-[\w-]{20,}|\bxox[abprs]-[0-9A-Za-z-]{10,}|hooks\.slack\.com/services/T\w+/B\w+/\w+|\b[sr]k_live_\w{16,}"
    r"|\bAIza[\w-]{35}|\bsk-(?:proj-|ant-)?[\w-]{20,}|\bSG\.[\w-]{16,}\.[\w-]{16,}|\bnpm_[A-Za-z0-9]{36}"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+|://[^/:@\s]+:[^/@\s${}<>]+@"
)
_ASSIGNED = re.compile(r"(?<![\w$])-{0,2}([A-Za-z_][\w-]*)\s?[=:]\s?[\"']?([^\s\"'`$<>;,]+)")
_OPTION = re.compile(r"--(?:[\w-]*-)?(?:password|secret|token|api-key)[ =][\"']?([^\s\"'`$<>-][^\s\"'`$<>]*)")
_MYSQL = re.compile(r"\bmysql\w*\b[^\n]*\s-p([^\s\"'`$<>]+)")
_CHPASSWD = re.compile(r"echo\s+[\"']?[\w-]+:([^\s\"'`$|]+)[\"']?\s*\|\s*(?:sudo\s+)?chpasswd")
_CLOUD_CONFIG = re.compile(r"^chpasswd:.*?^\s+(?:-\s*)?[\w-]+:(?!\s)([^\s`$]+)", re.MULTILINE | re.DOTALL)


def names_a_secret(name: str) -> bool:
    """Whether a name ends with what it holds: ``DB_PASSWORD`` does, ``PASSWORD_LENGTH`` and ``SECRET_ARN`` don't."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    lowered = [word.lower() for word in words]
    while len(lowered) > 1 and (lowered[-1] in _BEHIND or lowered[-1].isdigit()):
        lowered.pop()
    if not lowered:
        return False
    return lowered[-1].endswith(_WORDS) or lowered[-1] in _SHORT or "_".join(lowered[-2:]) in _PAIRS


def looks_secret(name: str, value: Any) -> bool:
    """Whether a variable seems to contain a secret's value: by its name, or by the form of the value."""
    if not isinstance(value, str) or not value or _NONE_AT_ALL.fullmatch(value):
        return False
    if _VALUES.search(value) or (names_a_secret(name) and _is_value(value, name)):
        return True
    if value.lstrip().startswith(("{", "[")):
        try:
            return any(looks_secret(key, inner) for key, inner in _inside(json.loads(value)))
        except (ValueError, RecursionError):
            return False
    return False


def _is_value(value: str, name: str) -> bool:
    """Neither a reference to where it is, nor its own name."""
    return not value.startswith(_ELSEWHERE) and value.lower() != name.lower()


def _inside(document: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(document, Mapping):
        for name, value in document.items():
            yield from _inside(value, str(name))
    elif isinstance(document, list):
        for value in document:
            yield from _inside(value, key)
    else:
        yield key, document


def script_has_secret(text: str) -> bool:
    """Whether a script, or cloud-init's configuration, contains a secret: assigned, given to a command, or by its
    form. It may be in base64, as AWS's API wants it.
    """
    text = decoded(text)
    if _VALUES.search(text):
        return True
    if any(names_a_secret(name) and _plain(value, name) for name, value in _ASSIGNED.findall(text)):
        return True
    given = [*_OPTION.findall(text), *_MYSQL.findall(text), *_CHPASSWD.findall(text), *_CLOUD_CONFIG.findall(text)]
    return any(_plain(value, "") for value in given)


def _plain(value: str, name: str) -> bool:
    return not _NONE_AT_ALL.fullmatch(value) and _is_value(value, name) and value not in ("R", "RANDOM", "|", ">")


def decoded(text: str) -> str:
    """A text that is in base64 as what it stands for."""
    compact = "".join(text.split())
    if len(compact) < 16 or not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", compact):
        return text
    try:
        return base64.b64decode(compact, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return text
