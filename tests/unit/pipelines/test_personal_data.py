"""Personal data is found, and what only looks like it is not; every number in these lists is generated from a seed."""

from __future__ import annotations

import base64
import random
import time
import uuid
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.privacy.personal_data import CANDIDATES, CARD, EMAIL, IBAN, IDENTITIES, PHONE, kinds, undeclared
from spec.contracts import Contract
from spec.errors import UsageError
from tests import flights
from tests.contracts import contract_of, small

pytestmark = pytest.mark.slow  # megabytes of texts

COUNT = 2000
FALSE_SHARE = 0.001  # numbering plans change with the library


def digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices("0123456789", k=count))


def luhn(stem: str) -> str:
    from stdnum import luhn

    return stem + luhn.calc_check_digit(stem)


def gtin(stem: str) -> str:
    from stdnum import ean

    return stem + ean.calc_check_digit(stem)


def hexes(chance: random.Random, count: int) -> str:
    return chance.randbytes(count // 2).hex()


def stamp(chance: random.Random) -> int:
    return chance.randint(1_000_000_000, 1_999_999_999)


def iso(chance: random.Random) -> str:
    forms = ("%Y-%m-%dT%H:%M:%SZ", "%Y%m%d%H%M%S", "%Y-%m-%dT%H:%M:%S+0200", "%d.%m.%Y %H:%M", "%d.%m.-%d.%m.%Y")
    return time.strftime(chance.choice(forms), time.gmtime(stamp(chance)))


def place(chance: random.Random) -> str:
    north, east = chance.uniform(-90, 90), chance.uniform(-180, 180)
    return chance.choice(
        (
            f"{north:.6f},{east:.6f}",
            f"{north:.7f} {east:.7f}",
            f"{north:+.5f}{east:+010.5f}/",
            f"POINT({east!r} {north!r})",
            f"{north:+.9f}",
        )
    )


def source(chance: random.Random) -> str:
    name, host = (
        chance.choice(("core", "web-app", "lib_x")),
        chance.choice(("github.com", "gitlab.example.com", "git.example.org")),
    )
    return chance.choice(
        (
            f"git@{host}:team/{name}.git",
            f"git@{host}:{name}",
            f"ssh://git@{host}:2222/team/{name}",
            f"deploy@{host}:/srv/{name}",
            f"deploy@{host}:~/{name}",
            f"https://token:x-oauth-basic@{host}/team/{name}.git",
            f"postgresql://app:{hexes(chance, 8)}@{host}:5432/{name}",
            f"build@{host}:in/{name}.tar",
        )
    )


def version(chance: random.Random) -> str:
    one, two, three = chance.randint(0, 30), chance.randint(0, 30), chance.randint(0, 30)
    return chance.choice(
        (
            f"lodash@{one}.{two}.{three}",
            f"@types/node@{one}.{two}.{three}",
            f"react@{one}.{two}.{three}-canary.next",
            f"v{one}.{two}.{three}+build.{digits(chance, 8)}",
            f"example.com/x/y@v{one}.{two}.{three}",
            f"actions/checkout@v{one}",
            f"app@sha256:{hexes(chance, 64)}",
            f"icon@{one % 3 + 1}x.png",
            f"{one}.{two}.{three}.{digits(chance, 4)}",
        )
    )


def order(chance: random.Random) -> str:
    return chance.choice(
        (
            f"PO-{digits(chance, 4)}-{digits(chance, 4)}-{digits(chance, 4)}-{digits(chance, 4)}",
            f"INV{digits(chance, 12)}",
            f"1Z{hexes(chance, 8).upper()}{digits(chance, 8)}",
            digits(chance, 9),
            digits(chance, 11),
            f"{digits(chance, 8)}{chance.choice('ABCDEFGH')}",
            f"{digits(chance, 3)}-{digits(chance, 7)}-{digits(chance, 7)}",
            f"00{digits(chance, 18)}",
            f"{digits(chance, 6)}-{digits(chance, 4)}",
            f"LOT {digits(chance, 6)}/{digits(chance, 2)}",
        )
    )


INNOCENT: dict[str, Callable[[random.Random], str]] = {
    "EAN-13": lambda chance: gtin(digits(chance, 12)),
    "EAN-13 of Germany and Japan": lambda chance: gtin(chance.choice(("40", "42", "45", "49")) + digits(chance, 10)),
    "EAN-8": lambda chance: gtin(digits(chance, 7)),
    "GTIN-14": lambda chance: gtin(digits(chance, 13)),
    "ISBN-13": lambda chance: gtin("978" + digits(chance, 9)),
    "ISBN with hyphens": lambda chance: f"978-3-{digits(chance, 2)}-{digits(chance, 6)}-{digits(chance, 1)}",
    "milliseconds since 1970": lambda chance: f"{stamp(chance)}{digits(chance, 3)}",
    "microseconds since 1970": lambda chance: f"{stamp(chance)}{digits(chance, 6)}",
    "nanoseconds since 1970": lambda chance: f"{stamp(chance)}{digits(chance, 9)}",
    "ids of 64 bits": lambda chance: str(chance.getrandbits(63)),
    "IMEI": lambda chance: luhn(chance.choice(("35", "86", "01", "99")) + digits(chance, 12)),
    "UUID": lambda chance: str(uuid.UUID(int=chance.getrandbits(128))),
    "MD5": lambda chance: hexes(chance, 32),
    "MD5 in capitals": lambda chance: hexes(chance, 32).upper(),
    "SHA-1": lambda chance: hexes(chance, 40),
    "SHA-256": lambda chance: hexes(chance, 64),
    "keys of MongoDB": lambda chance: hexes(chance, 24),
    "base64": lambda chance: base64.b64encode(chance.randbytes(30)).decode(),
    "coordinates": place,
    "addresses of git, scp and databases": source,
    "versions": version,
    "times": iso,
    "orders": order,
    "networks": (
        lambda chance: ".".join(str(chance.randint(0, 255)) for _ in range(4)) + chance.choice(("", ":8080", "/24"))
    ),
    "prices and sizes": lambda chance: (
        f"{digits(chance, 2)} x {digits(chance, 3)} mm, {chance.random():.2f} EUR,"
        f" 0{digits(chance, 2)}-{digits(chance, 3)}"
    ),
    "decimals": lambda chance: repr(chance.random()),
    "lists of numbers": lambda chance: " ".join(str(chance.randint(0, 99_999)) for _ in range(12)),
    "years": lambda chance: " ".join(map(str, range(chance.randint(1900, 2000), 2013, 3))),
}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.doe@example.co.uk please", "e-mail"),
        ("DE89 3704 0044 0532 0130 00", "IBAN"),
        ("GB82WEST12345698765432", "IBAN"),
        ("4111 1111 1111 1111", "card number"),
        ("paid with 5500005555555559.", "card number"),
        ("+49 30 901820", "phone number"),
        ("(212) 555-0123", "phone number"),
        ("030 901820 11", "phone number"),
        ("BE68 5390 0754 7034 PAY NOW", "IBAN"),
        ("de89370400440532013000", "IBAN"),
        ("ca12 paid DE89 3704 0044 0532 0130 00", "IBAN"),  # behind what only begins like one
        ("card 4111 1111 1111 1111 12/27", "card number"),
        ("4111111111111111 123", "card number"),
        ("12 4111111111111111", "card number"),
        ("jo@müller.de", "e-mail"),
        ("212-555-0123", "phone number"),
        ("212.555.0123", "phone number"),
        ("0171-1234567", "phone number"),
        ("2013-01-01-UA-1545-EWR-0515", ""),
        ("4111 1111 1111 1112", ""),  # no valid check digit
        ("GB82 WEST 1234 5698 7654 33", ""),
        ("A320-214", ""),
        ("t5bd33fa6e53c3335e89b706f88ca5804", ""),
        ("10.0.0.1", ""),
        ("git@github.com:org/repo.git", ""),
        ("git@github.com", ""),
        ("rsync -a deploy@host.example.com:/srv/www .", ""),
        ("jane@example.com:8080 said", "e-mail"),
        ("img/icon@dark.svg", ""),
        ("M32.6982,35.008 31.354", ""),  # a path of SVG
        ("110bcd25-a55d-453a-8046-1297901ea002", ""),
        ("10.12.2013 - 24.12.2013", ""),
        ("+683 4000", "phone number"),
        ("write to jane@example.com: she knows", "e-mail"),
        ("sftp://jane@example.com/x", ""),
        ("https://example.com/u/jane@example.com", "e-mail"),
        ("5901234123457", ""),  # EAN-13
        ("1748503543012", ""),  # milliseconds
        ("490154203237518", ""),  # IMEI
        ("6011000990139424", "card number"),
        ("4222222222222", ""),  # a Visa of the nineties, and as likely an EAN
        ("0.4111111111111111", ""),
        ("PO-4111-1111-1111-1111", ""),
        ("123-456-7890", ""),  # no such area code
        ("+48.137154321", ""),  # a latitude
        ("Tel.+49 30 901820", "phone number"),
        ("0049 30 901820", "phone number"),
        ("00498712345678", ""),
        ("12345678Z", ""),  # one letter of 23 fits
    ],
)
def test_personal_data_is_told_from_what_looks_like_it(text: str, kind: str) -> None:
    assert kinds(text) == ((kind,) if kind else ())


@pytest.mark.parametrize("name", INNOCENT)
def test_codes_of_things_are_not_taken_for_people(name: str) -> None:
    chance = random.Random(name)
    accused = {text: found for text in (INNOCENT[name](chance) for _ in range(COUNT)) if (found := kinds(text))}
    assert len(accused) <= COUNT * FALSE_SHARE, list(accused.items())[:5]


REGIONS = tuple(
    "DE AT CH FR GB IE NL BE LU ES PT IT PL CZ SE NO DK FI GR TR US CA MX BR AR IN JP KR CN AU NZ ZA NG EG IL AE SA SG".split()  # noqa: SIM905 (shorter)
)
ISSUERS = {
    "Visa": (("4",), 16),
    "Mastercard": (("51", "53", "55", "2221", "2500", "2720"), 16),
    "American Express": (("34", "37"), 15),
    "Discover": (("6011", "644", "65"), 16),
    "JCB": (("3528", "3589"), 16),
    "UnionPay": (("62",), 16),
    "Maestro": (("5018", "6759", "6304"), 16),
    "Mir": (("2200", "2204"), 16),
    "Diners Club": (("300", "305", "36", "38"), 14),
}
# Bank accounts without their check digits: letters (A), digits (9), either (X).
ACCOUNTS = {
    "DE": "9" * 18,
    "AT": "9" * 16,
    "CH": "9" * 5 + "X" * 12,
    "FR": "9" * 10 + "X" * 11 + "99",
    "GB": "AAAA" + "9" * 14,
    "IE": "AAAA" + "9" * 14,
    "NL": "AAAA" + "9" * 10,
    "BE": "9" * 12,
    "ES": "9" * 20,
    "PT": "9" * 21,
    "IT": "A" + "9" * 10 + "X" * 12,
    "PL": "9" * 24,
    "SE": "9" * 20,
    "NO": "9" * 11,
    "DK": "9" * 14,
    "FI": "9" * 14,
    "MT": "AAAA" + "9" * 5 + "X" * 18,
    "SA": "99" + "X" * 18,
}
IDENTITY_NUMBERS = {
    "US social security number": "536-90-4399",
    "Brazilian CPF": "390.533.447-05",
    "Italian codice fiscale": "RCCMNL83S18D969H",
    "Spanish DNI": "54362315-K",
    "Spanish NIE": "X2482300W",
    "French NIR": "2 95 10 99 126 111 93",
    "Belgian national number": "85.07.30-033.28",
    "Swiss AHV number": "756.9217.0769.85",
    "Chinese resident identity number": "360426199101010071",
    "Mexican CURP": "BOXW310820HNERXN09",
}


def fours(text: str) -> str:
    return " ".join(text[place : place + 4] for place in range(0, len(text), 4))


def card(chance: random.Random, name: str) -> str:
    prefixes, length = ISSUERS[name]
    prefix = chance.choice(prefixes)
    return luhn(prefix + digits(chance, length - len(prefix) - 1))


def account(chance: random.Random, country: str) -> str:
    from stdnum import iban

    alphabet = {"A": "ABCDEFGHJKLMNPQRSTUVWXYZ", "9": "0123456789", "X": "0123456789ABCDEFGHJKLMNP"}
    stem = "".join(chance.choice(alphabet[kind]) for kind in ACCOUNTS[country])
    return country + iban.calc_check_digits(f"{country}00{stem}") + stem


def address(chance: random.Random) -> str:
    name, more = (
        chance.choice(("jane", "jürgen", "o'neil", "li.wei", "x_1", "noreply")),
        chance.choice(("", "+shop", ".doe-smith", "99")),
    )
    host = chance.choice(
        ("example.com", "mail.example.co.uk", "müller.example", "a-b.example.museum", "example.xn--p1ai")
    )
    texts = (
        "{}",
        "mail {}.",
        "<{}>",
        "mailto:{}?subject=x",
        "a,{};b",
        '{{"to":"{}"}}',
        "https://example.com/?mail={}",
        "{}: hello",
        "联系{}谢谢",
    )
    return chance.choice(texts).format(f"{name}{more}@{host}")


@pytest.mark.parametrize("region", REGIONS)
def test_phone_numbers_are_found_as_they_are_dialled_from_abroad(region: str) -> None:
    import phonenumbers
    from phonenumbers import PhoneNumberFormat as Form
    from phonenumbers import PhoneNumberType as Kind

    for kind in (Kind.FIXED_LINE, Kind.MOBILE):
        number = phonenumbers.example_number_for_type(region, kind)
        for form in (Form.E164, Form.INTERNATIONAL, Form.RFC3966):
            text = phonenumbers.format_number(number, form)
            assert kinds(text) == kinds(f"call {text}, please") == (PHONE,), text


@pytest.mark.parametrize("country", ACCOUNTS)
def test_bank_accounts_are_found_in_any_writing(country: str) -> None:
    chance = random.Random(country)
    for number in (account(chance, country) for _ in range(20)):
        for text in (
            number,
            fours(number),
            number.lower(),
            f"to {fours(number)} please",
            f"IBAN:{number}.",
            fours(number).replace(" ", "\u00a0"),
        ):
            assert IBAN in kinds(text), text


@pytest.mark.parametrize("issuer", ISSUERS)
def test_cards_are_found_by_issuer_length_and_check_digit(issuer: str) -> None:
    chance = random.Random(issuer)
    numbers = [card(chance, issuer) for _ in range(200)]
    # A tenth of the numbers of 14 digits are valid codes of trade units, too.
    assert sum(CARD in kinds(f"paid with {number}.") for number in numbers) >= (170 if issuer == "Diners Club" else 200)
    wrong = [number[:-1] + str((int(number[-1]) + 1) % 10) for number in numbers]
    for number in numbers:
        grouped = f"{number[:4]} {number[4:10]} {number[10:]}" if len(number) < 16 else fours(number)
        assert CARD in kinds(grouped) and CARD in kinds(grouped.replace(" ", "-")), grouped
    assert not any(CARD in kinds(number) or CARD in kinds(fours(number)) for number in wrong)


def test_addresses_are_found_wherever_they_stand() -> None:
    chance = random.Random(1)
    missed = [text for text in (address(chance) for _ in range(COUNT)) if EMAIL not in kinds(text)]
    assert not missed, missed[:5]


@pytest.mark.parametrize("item", IDENTITIES, ids=lambda item: item.name)
def test_identity_numbers_are_found_by_form_and_check_digits(item: object) -> None:
    name = item.name  # type: ignore[attr-defined]
    number = IDENTITY_NUMBERS[name]
    assert kinds(number) == kinds(f"id: {number};") == (name,)
    assert kinds(f"{number}7") == kinds(f"x-{number}") == (), "a part of a longer code"


def test_all_kinds_of_a_text_are_told() -> None:
    assert kinds("jane@example.com, +49 30 901820, DE89370400440532013000, 4111111111111111") == (
        EMAIL,
        IBAN,
        CARD,
        PHONE,
    )
    assert kinds("") == kinds("late, 200 kg, 12.5 %") == ()


def test_what_is_found_passes_the_filter_over_columns() -> None:
    chance = random.Random(2)
    texts = (
        [address(chance) for _ in range(50)]
        + [card(chance, name) for name in ISSUERS]
        + [account(chance, country) for country in ACCOUNTS]
    )
    texts += [
        *IDENTITY_NUMBERS.values(),
        "+4930901820",
        "(212) 555-0123",
        "030 901820 11",
        "212.555.0123",
        "0171-1234567",
        "0049 30 901820",
    ]
    texts += [fours(text) for text in texts if text.isalnum()]
    found = [text for text in texts if kinds(text)]
    assert len(found) > 80 and all(pc.match_substring_regex(pa.array(found), CANDIDATES).to_pylist())


def test_the_flights_and_planes_accuse_nobody() -> None:
    for topic in ("flights", "planes", "weather"):
        texts = {value for event in flights.events(topic) for value in event.values() if isinstance(value, str)}
        assert texts and not [text for text in texts if kinds(text)]


LONG: dict[str, Callable[[random.Random, int], str]] = {
    "hexadecimal": lambda chance, size: hexes(chance, size),
    "capitals": lambda chance, size: hexes(chance, size).upper(),
    "digits": digits,
    "digits apart": lambda chance, size: "1 " * (size // 2),
    "digits with hyphens": lambda chance, size: "1-" * (size // 2),
    "spaces": lambda chance, size: " " * size,
    "at signs": lambda chance, size: "@" * size,
    "addresses without an end": lambda chance, size: "a.a@a." * (size // 6),
    "letters": lambda chance, size: "a" * size,
    "letters of two scripts": lambda chance, size: "aü" * (size // 2),
    "base64": lambda chance, size: base64.b64encode(chance.randbytes(size * 3 // 4)).decode(),
    "plus signs": lambda chance, size: "+1" * (size // 2),
    "numbers that are no phone": lambda chance, size: "+1 234567 " * (size // 10),
    "numbers of no account": lambda chance, size: "DE12 " * (size // 5),
    "schemes": lambda chance, size: "a://" * (size // 4),
}


@pytest.mark.parametrize("name", LONG)
def test_the_time_grows_with_the_text_and_no_faster(name: str) -> None:
    def seconds(size: int) -> float:
        text, taken = LONG[name](random.Random(1), size), []
        for _ in range(3):
            begun = time.process_time()
            assert kinds(text) == ()
            taken.append(time.process_time() - begun)
        return min(taken)

    kinds("jane@example.com +4930901820 536-90-4399")  # what is imported on the way is no part of it
    assert seconds(160_000) < 8 * seconds(40_000) + 0.01, (
        "four times the text; were it quadratic, sixteen times the time"
    )


def test_a_megabyte_of_anything_is_scanned_to_its_end() -> None:
    for fill in (hexes(random.Random(1), 1_000_000), "1 " * 500_000, "@" * 1_000_000, "a" * 1_000_000):
        assert kinds(fill) == () and kinds(f"{fill}; jane@example.com") == (EMAIL,)


def test_libraries_are_shown_windows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import phonenumbers
    from stdnum import iban, luhn

    shown: list[int] = []
    whole, valid, check = phonenumbers.PhoneNumberMatcher, iban.is_valid, luhn.is_valid
    monkeypatch.setattr(
        phonenumbers, "PhoneNumberMatcher", lambda text, *a, **k: shown.append(len(text)) or whole(text, *a, **k)
    )
    monkeypatch.setattr(iban, "is_valid", lambda text, **k: shown.append(len(text)) or valid(text, **k))
    monkeypatch.setattr(luhn, "is_valid", lambda text, **k: shown.append(len(text)) or check(text, **k))
    for name, make in LONG.items():
        shown.clear()
        size = 100_000
        kinds(make(random.Random(1), size))
        assert max(shown, default=0) <= 48 and sum(shown) <= 8 * size, name


def contract_with(**custom: object) -> Contract:
    fields = [
        {"name": "id", "logicalType": "string", "primaryKey": True},
        {"name": "guest", "logicalType": "string", "tags": ["personal"]},
        {"name": "note", "logicalType": "string"}
        | (
            {"customProperties": [{"property": key, "value": value} for key, value in custom.items()]} if custom else {}
        ),
        {"name": "more", "logicalType": "string"},
    ]
    return contract_of(small(*fields), "c.yaml")


def test_only_rows_that_hold_something_are_told_with_all_that_they_hold() -> None:
    table = pa.table(
        {
            "id": ["1", "2", "3", "4", "5"],
            "guest": ["jane@example.com", None, "x", "y", "z"],
            "note": [
                "late",
                "ask joe@example.com",
                None,
                "ask joe@example.com or +49 30 901820",
                "ask joe@example.com",
            ],
            "more": ["", "", "4111111111111111", None, "4111111111111111"],
        }
    )
    assert undeclared(table, contract_with()) == {
        ("note: e-mail",): [1],
        ("more: card number",): [2],
        ("note: e-mail", "note: phone number"): [3],
        ("note: e-mail", "more: card number"): [4],
    }
    assert undeclared(table.slice(0, 1), contract_with()) == {}, "a tagged field is masked, not set apart"
    declared = contract_with(notPersonal="addresses of our own shops")
    assert undeclared(table, declared) == {("more: card number",): [2, 4]}


def test_a_declaration_says_why_and_excludes_the_tag() -> None:
    assert contract_with(notPersonal="codes of products").fields[2].not_personal == "codes of products"
    for value in ("no", "", True, "         x"):
        with pytest.raises(
            UsageError, match=r"c.yaml:\d+: c.note.customProperties.notPersonal: notPersonal must give the reason"
        ):
            contract_with(notPersonal=value)
    with pytest.raises(UsageError, match="did you mean notPersonal"):
        contract_with(notpersonal="codes of products")
    item = {
        "name": "x",
        "logicalType": "string",
        "tags": ["personal"],
        "customProperties": [{"property": "notPersonal", "value": "codes of products"}],
    }
    with pytest.raises(UsageError, match=r"is declared both personal \(tags: personal\) and not personal"):
        contract_of(small(item))


def test_texts_inside_of_objects_lists_and_json_are_looked_at() -> None:
    parts = [{"name": "note", "logicalType": "string"}, {"name": "to", "logicalType": "string", "tags": ["pii"]}]
    contract = contract_of(
        small(
            {"name": "id", "logicalType": "string", "primaryKey": True},
            {"name": "one", "logicalType": "object", "properties": parts},
            {"name": "many", "logicalType": "array", "items": {"logicalType": "object", "properties": parts}},
            {"name": "any", "logicalType": "object"},
        )
    )
    mail = "joe@example.com"
    rows = [
        {"id": "1", "one": {"note": "x", "to": mail}, "many": [{"note": "y", "to": mail}], "any": "{}"},
        {"id": "2", "one": {"note": mail, "to": None}, "many": None, "any": None},
        {
            "id": "3",
            "one": None,
            "many": [{"note": "x", "to": None}, {"note": mail, "to": None}, {"note": mail, "to": None}],
            "any": "[]",
        },
        {"id": "4", "one": None, "many": [], "any": '{"mail":"joe@example.com"}'},
    ]
    found = undeclared(pa.Table.from_pylist(rows), contract)
    assert found == {("one.note: e-mail",): [1], ("many[].note: e-mail",): [2], ("any: e-mail",): [3]}


def test_no_number_makes_the_search_stumble() -> None:
    """Numbers in the form of each identity, most of them invalid."""
    chance = random.Random(7)
    for _ in range(20_000):
        born = f"{chance.randint(1900, 2099)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
        found = kinds(f"{chance.randint(100000, 999999)}{born}{digits(chance, 3)}{chance.choice('0123456789X')}")
        assert all(found)
    for form in ("{}-{}-{}", "{}.{}.{}-{}", "756.{}.{}.{}", "{} {} {} {}"):
        for _ in range(2000):
            assert all(kinds(form.format(*(digits(chance, chance.randint(2, 4)) for _ in range(4)))))
