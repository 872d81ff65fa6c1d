from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from pipelines.decode import Decoder
from pipelines.masking import Masker, personal_kind
from pipelines.people import token
from tests import flights

KEY = b"a key of at least thirty-two bytes"


def tokens(key: bytes = KEY) -> Callable[[list[str]], dict[str, str]]:
    return lambda values: {value: token(key, value) for value in values}


def masked(topic: str, key: bytes = KEY) -> pa.Table:
    contract = flights.contract(topic)
    return Masker(contract, tokens(key)).mask(Decoder(contract).decode(list(flights.payloads(topic)))[0])


def test_personal_fields_become_tokens_that_still_join() -> None:
    asked, planes = masked("flights"), masked("planes")
    clear = {event["tailnum"] for event in flights.events("flights") if event["tailnum"]}
    tokens = set(asked["tailnum"].drop_null().to_pylist())
    assert len(tokens) == len(clear) and not tokens & clear and all(item.startswith("t") and len(item) == 33 for item in tokens)
    assert asked["tailnum"].null_count == sum(event["tailnum"] is None for event in flights.events("flights"))
    assert set(planes["tailnum"].to_pylist()) <= tokens
    assert asked.drop_columns("tailnum").equals(Decoder(flights.contract("flights")).decode(list(flights.payloads("flights")))[0].drop_columns("tailnum"))


def test_another_key_makes_other_tokens() -> None:
    assert token(KEY, "N14228") == token(KEY, "N14228") != token(b"other", "N14228")
    assert not set(masked("planes")["tailnum"].to_pylist()) & set(masked("planes", b"other")["tailnum"].to_pylist())


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
    ],
)
def test_personal_data_is_told_from_what_looks_like_it(text: str, kind: str) -> None:
    assert personal_kind(text) == kind


def test_undeclared_personal_data_is_named_without_its_value() -> None:
    contract = flights.contract("planes")
    table = masked("planes")
    models = ["A320-214"] * (table.num_rows - 1) + ["mail joe@example.com"]
    dirty = table.set_column(table.schema.get_field_index("model"), "model", pa.array(models))
    assert Masker(contract, tokens()).undeclared(dirty) == ["model: e-mail"] and Masker(contract, tokens()).undeclared(table) == []
    assert Masker(flights.contract("flights"), tokens()).undeclared(masked("flights")) == []
