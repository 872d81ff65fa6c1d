from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from pipelines.data.decode import Decoder
from pipelines.data.masking import Masker
from pipelines.data.people import token
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
    assert (
        len(tokens) == len(clear)
        and not tokens & clear
        and all(item.startswith("t") and len(item) == 33 for item in tokens)
    )
    assert asked["tailnum"].null_count == sum(event["tailnum"] is None for event in flights.events("flights"))
    assert set(planes["tailnum"].to_pylist()) <= tokens
    assert asked.drop_columns("tailnum").equals(
        Decoder(flights.contract("flights")).decode(list(flights.payloads("flights")))[0].drop_columns("tailnum")
    )


def test_another_key_makes_other_tokens() -> None:
    assert token(KEY, "N14228") == token(KEY, "N14228") != token(b"other", "N14228")
    assert not set(masked("planes")["tailnum"].to_pylist()) & set(masked("planes", b"other")["tailnum"].to_pylist())
