"""Finds personal data in fields that are not tagged as personal, and distinguishes it from similar codes.

Check digits and numbering plans are checked by python-stdnum and phonenumbers. A bare number whose only evidence is one
check digit (nine or eleven digits) is never reported: a tenth of all numbers would be. The time is linear in the length
of the text: each pattern starts at a boundary and has a bounded length, and a library sees at most ``WINDOW``
characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Any

from spec.contracts import Contract, Field

if TYPE_CHECKING:
    import pyarrow as pa

WAY_OUT = (  # of the quarantine; every message about it ends with this
    "if the field contains no personal data, declare that in the contract (`customProperties: [{property: notPersonal,"
    " value: REASON}]`) and run `groundplan quarantine release`; if it does, tag it `personal` or stop sending it, and"
    " run `groundplan quarantine discard`"
)
EMAIL, IBAN, CARD, PHONE = "e-mail", "IBAN", "card number", "phone number"
WINDOW = 48  # characters: E.164 allows 15 digits and ISO 13616 34 characters; the rest is room for separators
E164_DIGITS = (7, 15)  # with the country's
IBAN_LENGTH = (15, 34)

# RFC 5321: at most 64 octets before the @, labels of at most 63 after it.
_EMAIL = re.compile(
    r"(?:(?<![\w.+'-])|(?<=[^\x00-\x7f])(?=[\x00-\x7f]))"  # scripts without spaces end where ASCII begins
    r"[\w.+'-]{1,64}@((?:[\w-]{1,63}\.){1,8}(?:[^\W\d_]{2,24}|xn--[a-z0-9-]{2,59}))(?![a-zA-Z0-9_-])"
)
_ACCOUNTS = ("git", "hg", "svn", "bzr")  # of repositories, not of people
_REMOTE_PATH = re.compile(r":(?:[/~.]|\d+/|[\w.-]{1,100}/|[\w.-]{1,100}\.git\b)")  # scp's form, host:path
_USER_INFO = re.compile(r"[^\s/@]*")  # RFC 3986, section 3.2.1, between :// and @
# A version as in name@1.2.3-rc.one, a file as in logo@2x.png: no domain ends like this
# (https://data.iana.org/TLD/tlds-alpha-by-domain.txt).
_NO_HOST = re.compile(
    r"[vV]?\d+\.\d+\..*|.*\.(?:png|jpe?g|gif|svg|webp|ico|pdf|js|jsx|ts|tsx|css|html?|json|ya?ml|xml|txt|csv|tgz|gz|tar|whl|jar)",
    re.IGNORECASE,
)

_PLUS = re.compile(r"(?<![\w+])\+[\d ()/.-]{7,31}", re.ASCII)
_ABROAD = re.compile(r"(?<![\w.+-])00(?=[1-9]\d{0,2}[ /-])[\d ()/.-]{7,30}", re.ASCII)
_NORTH_AMERICA = re.compile(
    r"(?<![\w.+-])(?:\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4})(?![\w-]|\.\d)", re.ASCII
)
_TRUNK = re.compile(r"(?<![\w.+-])0\d{1,4}(?:[ /]\d[\d ]{5,10}\d|-\d{6,8})(?![\w-]|\.\d)", re.ASCII)
_TRUNK_REGIONS = ("DE", "AT", "CH", "GB")  # where national numbers are written with a 0 and a separate area code
_GROUP = re.compile(r"\D*\d+")
_DECIMAL = re.compile(r"\+\d+\.\d+(?:-\d+\.\d+)?\D*")  # ISO 6709's form of places

# In a look-ahead: the real account may begin at a later group of a match.
_ACCOUNT = re.compile(
    r"(?<![^\W_])(?=([A-Z]{2}\d{2}(?:[A-Z0-9]| (?=[A-Z0-9])){11,44}))[A-Z]{2}", re.IGNORECASE | re.ASCII
)
_NUMBERS = re.compile(r"\d+(?:[ -]\d+)*", re.ASCII)
LONGEST_LIST = 8  # groups of digits; more than that is a list of numbers
# ISO/IEC 7812: issuers, and the lengths of their numbers. Those of 13 digits (Visa's until the nineties) are EAN codes
# today.
_ISSUERS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("4", "4", (16, 19)),  # Visa
    ("51", "55", (16,)),
    ("2221", "2720", (16,)),  # Mastercard
    ("34", "34", (15,)),
    ("37", "37", (15,)),  # American Express
    ("300", "305", (14, 16)),
    ("3095", "3095", (14, 16)),
    ("36", "36", (14, 16)),
    ("38", "39", (14, 16)),  # Diners Club
    ("6011", "6011", (16, 19)),
    ("644", "649", (16, 19)),
    ("65", "65", (16, 19)),  # Discover
    ("3528", "3589", (16, 19)),  # JCB
    ("62", "62", (16, 17, 18, 19)),
    ("81", "81", (16, 19)),  # UnionPay, RuPay
    ("5018", "5018", (16, 18, 19)),
    ("5020", "5020", (16, 18, 19)),
    ("5038", "5038", (16, 18, 19)),
    ("5893", "5893", (16, 18, 19)),  # Maestro
    ("6304", "6304", (16, 18, 19)),
    ("6759", "6763", (16, 18, 19)),
    ("2200", "2204", (16, 19)),
    ("9792", "9792", (16,)),  # Mir, Troy
)
_BARE_CARD = (14, 16)  # digits; longer numbers without spaces are mostly database ids
_CARD_GROUPS = (
    (4, 4, 4, 4),
    (4, 6, 5),
    (4, 6, 4),
    (4, 4, 4, 4, 1),
    (4, 4, 4, 4, 2),
    (4, 4, 4, 4, 3),
    (4, 4, 4, 3),
    (4, 4, 4, 2),
)


@dataclass(frozen=True)
class Identity:
    """A national identity number with a distinctive form, so that its check digits are not the only evidence.

    Attributes:
        module: Module of python-stdnum.
        form: In RE2's syntax, with a fixed number of groups.
    """

    name: str
    module: str
    form: str


IDENTITIES = (
    Identity("US social security number", "us.ssn", r"\d{3}-\d{2}-\d{4}"),
    Identity("Brazilian CPF", "br.cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
    Identity(
        "Italian codice fiscale",
        "it.codicefiscale",
        r"[A-Z]{6}[0-9L-NP-V]{2}[A-EHLMPRST][0-9L-NP-V]{2}[A-Z][0-9L-NP-V]{3}[A-Z]",
    ),
    Identity("Spanish DNI", "es.dni", r"\d{8}-[A-HJ-NP-TV-Z]"),
    Identity("Spanish NIE", "es.nie", r"[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]"),
    Identity(
        "French NIR",
        "fr.nir",
        r"[12]\d{2}(?:0[1-9]|1[0-2])\d[\dAB]\d{8}|[12] \d{2} (?:0[1-9]|1[0-2]) \d[\dAB] \d{3} \d{3} \d{2}",
    ),
    Identity("Belgian national number", "be.nn", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}"),
    Identity("Swiss AHV number", "ch.ssn", r"756\.\d{4}\.\d{4}\.\d{2}"),
    Identity("Chinese resident identity number", "cn.ric", r"[1-9]\d{5}(?:19|20)\d{9}[0-9X]"),
    Identity("Mexican CURP", "mx.curp", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d"),
)
# A filter over the distinct values of a column, run by RE2, which is linear; ``kinds`` checks what passes.
CANDIDATES = "|".join(
    (
        r"[\pL\pN_.+'-]@[\pL\pN_-]",
        r"\+[\d ()/.-]{7}",
        r"(?:^|[^\w.+-])00[1-9]\d{0,2}[ /-]",
        r"\(\d{3}\) ?\d{3}-\d{4}",
        r"(?:^|[^\w.+-])0\d{1,4}(?:[ /]\d[\d ]{5}|-\d{6})",
        r"\b\d{3}[-.]\d{3}[-.]\d{4}\b",
        r"(?:\d[ -]?){14}",
        r"(?i:\b[A-Z]{2}\d{2}[A-Z0-9 ]{11})",
        *(item.form for item in IDENTITIES),
    )
)


def kinds(text: str) -> tuple[str, ...]:
    """Kinds of personal data that a text contains: e-mail (RFC 5321), IBAN (ISO 13616), card number (ISO/IEC 7812),
    phone number (ITU-T E.164), identity numbers.

    Lengths, check digits, issuers and numbering plans are checked. The time is linear in the length of the text.
    """
    text = text if text.isascii() else text.replace("\u00a0", " ").replace("\u202f", " ")
    tests: tuple[tuple[str, Callable[[str], bool]], ...] = (
        (EMAIL, _has_email),
        (IBAN, _has_iban),
        (CARD, _has_card),
        (PHONE, _has_phone),
    )
    return (*(kind for kind, holds in tests if holds(text)), *_identities(text))


def undeclared(table: pa.Table, contract: Contract) -> dict[tuple[str, ...], list[int]]:
    """Indexes of rows with personal data in texts that are neither tagged as personal nor declared free of it, by
    findings (``field: kind``).

    Texts inside objects and lists, and JSON that is kept as text, are also checked.

    The result for a row depends on that row alone, so it does not matter where ranges begin and end.
    """
    found: dict[int, tuple[str, ...]] = {}
    for item in contract.fields:
        for path, texts, rows in _texts(item, table[item.name].combine_chunks(), item.name, None):
            for place, reasons in _rows_of(texts, path):
                row = place if rows is None else rows[place]
                found[row] = tuple(dict.fromkeys((*found.get(row, ()), *reasons)))
    grouped: dict[tuple[str, ...], list[int]] = {}
    for place in sorted(found):
        grouped.setdefault(found[place], []).append(place)
    return grouped


def _texts(
    item: Field, values: pa.Array, path: str, rows: list[int] | None
) -> Iterator[tuple[str, pa.Array, list[int] | None]]:
    """The undeclared texts of a field and of its parts: their path, their values, and the row of each value (None: one
    value per row).
    """
    import pyarrow.compute as pc

    if item.fields:
        for place, part in enumerate(item.fields):
            yield from _texts(part, pc.struct_field(values, place), f"{path}.{part.name}", rows)
    elif item.item is not None:
        parents = pc.list_parent_indices(values).to_pylist()
        yield from _texts(
            item.item,
            pc.list_flatten(values),
            f"{path}[]",
            parents if rows is None else [rows[place] for place in parents],
        )
    elif item.kind in ("string", "json") and not item.personal and not item.not_personal:
        yield path, values, rows


def _rows_of(column: pa.Array, name: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Indexes of a column's rows with findings, and the findings. Each distinct value is scanned once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    distinct = pc.unique(column)
    candidates = distinct.filter(pc.fill_null(pc.match_substring_regex(distinct, CANDIDATES), False)).to_pylist()
    values = {value: tuple(f"{name}: {kind}" for kind in said) for value in candidates if (said := kinds(value))}
    if values:
        reasons = list(values.values())
        which = pc.index_in(column, value_set=pa.array(values, type=distinct.type)).to_pylist()
        yield from ((place, reasons[index]) for place, index in enumerate(which) if index is not None)


def emails(text: str) -> Iterator[re.Match[str]]:
    """Addresses of people."""
    return (found for found in _EMAIL.finditer(text) if _is_persons(text, found))


def numbers(text: str) -> Iterator[tuple[int, int, str]]:
    """Begin, end and kind of accounts, cards, telephone and identity numbers; a card's with the digits around it."""
    for found in _ACCOUNT.finditer(text):
        for run in _ended(text, found):
            if _is_iban(run):
                yield found.start(1), _end_of(text, found.start(1), len(run)), IBAN
    for found in _NUMBERS.finditer(text):
        if any(_is_card(number) for number in _card_numbers(text, found)):
            yield *found.span(), CARD
    for place, number, region in _phone_candidates(text):
        if _is_phone(number, region):
            yield place.start(), place.start() + len(place.group().rstrip(" /.-(")), PHONE
    if _any_identity().search(text):
        for item in IDENTITIES:
            form, is_valid = _identity_check(item)
            for found in form.finditer(text):
                if _holds(is_valid, found.group()):
                    yield *found.span(), item.name


def _end_of(text: str, start: int, length: int) -> int:
    """Where so many characters end, spaces not counted."""
    place = start
    while length:
        length -= text[place] != " "
        place += 1
    return place


def _has_email(text: str) -> bool:
    return "@" in text and any(True for _ in emails(text))


def _is_persons(text: str, found: re.Match[str]) -> bool:
    """Whether it is an address rather than an account on a host (git, scp, a URL), a version or a file name."""
    account = found.group().partition("@")[0].lower()
    if account in _ACCOUNTS or _NO_HOST.fullmatch(found[1]) or _REMOTE_PATH.match(text, found.end()):
        return False
    before = text[max(0, found.start() - WINDOW) : found.start()]
    _, scheme, rest = before.rpartition("://")
    return not (scheme and _USER_INFO.fullmatch(rest))


def _has_iban(text: str) -> bool:
    return any(_is_iban(run) for found in _ACCOUNT.finditer(text) for run in _ended(text, found))


def _is_iban(run: str) -> bool:
    from stdnum import iban

    plausible = IBAN_LENGTH[0] <= len(run) <= IBAN_LENGTH[1] and _mod_97(run)
    return plausible and bool(iban.is_valid(run, check_country=False))


def _ended(text: str, found: re.Match[str]) -> Iterator[str]:
    """The account numbers that a match may contain, without spaces: an account ends where a group ends."""
    groups = found[1].split(" ")
    if _glues(text[found.end(1) : found.end(1) + 1]):
        groups = groups[:-1]
    return takewhile(lambda run: len(run) <= IBAN_LENGTH[1], accumulate(groups))


def _mod_97(number: str) -> bool:
    """ISO 7064, MOD 97-10; a cheap check that rejects 99 of 100 candidates."""
    return int("".join(str(int(char, 36)) for char in number[4:] + number[:4])) % 97 == 1


def _has_card(text: str) -> bool:
    return any(_is_card(number) for found in _NUMBERS.finditer(text) for number in _card_numbers(text, found))


def _card_numbers(text: str, found: re.Match[str]) -> Iterator[str]:
    """Digits written as on a card: without separators, or in a card's groups. Parts of longer codes (``a-1234``,
    ``0.1234``) are left out.
    """
    before, after = text[max(0, found.start() - 1) : found.start()], text[found.end() : found.end() + 2]
    parts = re.split("([ -])", found.group())
    # What separates the groups: a space or nothing is a boundary, a hyphen only between groups of a card.
    groups, marks = (
        parts[::2],
        [
            before if before == "." or _glues(before) else " ",
            *parts[1::2],
            after[:1] if _glues(after) else " ",
        ],
    )
    for place, group in enumerate(groups):
        if (
            _BARE_CARD[0] <= len(group) <= _BARE_CARD[1]
            and marks[place] == marks[place + 1] == " "
            and not _is_gtin(group)
        ):
            yield group
    if len(groups) <= LONGEST_LIST:
        yield from _grouped(groups, marks)


def _grouped(groups: list[str], marks: list[str]) -> Iterator[str]:
    lengths = tuple(map(len, groups))
    for first in range(len(groups)):
        for form in _CARD_GROUPS:
            last = first + len(form)
            inner = set(marks[first + 1 : last])
            if lengths[first:last] == form and len(inner) == 1 and marks[first] == marks[last] == " ":
                yield "".join(groups[first:last])


def _glues(around: str) -> bool:
    """Whether the number continues there, as part of a word or a decimal."""
    mark, then = around[:1], around[1:2]
    return mark.isascii() and (mark.isalnum() or mark in ("_", "-", "+") or (mark == "." and then.isdigit()))


def _is_card(number: str) -> bool:
    from stdnum import luhn

    issued = any(low <= number[: len(low)] <= high and len(number) in lengths for low, high, lengths in _ISSUERS)
    return issued and luhn.is_valid(number)


def _is_gtin(number: str) -> bool:
    """GS1: codes of trade units have 14 digits, and some begin like cards of Diners Club."""
    from stdnum import ean

    return len(number) == 14 and ean.is_valid(number)


def _has_phone(text: str) -> bool:
    return any(_is_phone(number, region) for _, number, region in _phone_candidates(text))


def _phone_candidates(text: str) -> Iterator[tuple[re.Match[str], str, str | None]]:
    """Where, the number, and the region whose plan it follows; None where it names its country."""
    for found in _PLUS.finditer(text):
        if not _DECIMAL.fullmatch(found.group()):
            yield found, found.group(), None
    for found in _ABROAD.finditer(text):
        yield found, "+" + found.group()[2:], None
    for found in _NORTH_AMERICA.finditer(text):
        yield found, found.group(), "US"
    for found in _TRUNK.finditer(text):
        for region in _TRUNK_REGIONS:
            yield found, found.group(), region


@lru_cache(maxsize=1024)  # long texts contain repetitions
def _is_phone(candidate: str, region: str | None) -> bool:
    from phonenumbers import Leniency, PhoneNumberMatcher

    number, count = "", 0
    for group in _GROUP.findall(candidate):
        digits = sum(map(str.isdigit, group))
        if number and count + digits > E164_DIGITS[1]:
            break
        number, count = number + group, count + digits
    return count >= E164_DIGITS[0] and any(
        True for _ in PhoneNumberMatcher(number, region, leniency=Leniency.VALID, max_tries=4)
    )


def _identities(text: str) -> Iterator[str]:
    if not _any_identity().search(text):
        return
    for item in IDENTITIES:
        form, is_valid = _identity_check(item)
        if any(_holds(is_valid, found.group()) for found in form.finditer(text)):
            yield item.name


def _holds(is_valid: Callable[[str], bool], number: str) -> bool:
    """Whether a number is valid. A library that fails on one (python-stdnum 2.2 on some Chinese counties) must not
    block a topic permanently.
    """
    try:
        return is_valid(number)
    except Exception:
        return False


@cache
def _any_identity() -> re.Pattern[str]:
    """One search instead of ten for texts that contain none."""
    return re.compile(rf"(?<![\w.+-])(?:{'|'.join(item.form for item in IDENTITIES)})", re.ASCII)


@cache
def _identity_check(item: Identity) -> tuple[re.Pattern[str], Any]:
    from importlib import import_module

    return (
        re.compile(rf"(?<![\w.+-])(?:{item.form})(?![\w-]|\.\d)", re.ASCII),
        import_module(f"stdnum.{item.module}").is_valid,
    )
