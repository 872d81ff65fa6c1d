from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundplan.local.kafka import groups
from groundplan.local.kafka.front import Calls, _Link, readable

KEYS = [(18, 0, 4), (3, 0, 12), (0, 0, 11)]
TAGS = b"\x02" + b"\x01\x08" + b"\xff" * 8 + b"\x03\x01\x00"


def answer(correlation: int, tags: bytes) -> bytes:
    keys = b"".join(struct.pack(">hhh", *key) + b"\0" for key in KEYS)
    return struct.pack(">ih", correlation, 0) + bytes([len(KEYS) + 1]) + keys + struct.pack(">i", 0) + tags


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def request(key: int, version: int, correlation: int) -> bytes:
    return framed(struct.pack(">hhih", key, version, correlation, 1) + b"x" + b"\0" * 12)


def test_tagged_fields_go_and_the_rest_stays() -> None:
    assert readable(answer(7, TAGS), 3) == readable(answer(7, b"\0"), 4) == answer(7, b"\0")


def test_an_answer_of_another_form_is_left_alone() -> None:
    old = struct.pack(">ih", 7, 35) + struct.pack(">i", 1) + struct.pack(">hhh", 18, 0, 4)
    assert readable(old, 3) == old


def test_no_newer_fetch_is_offered_than_the_front_reads() -> None:
    keys, offered = ((1, 0, 16), (0, 0, 11)), ((1, 0, 11), (0, 0, 11))

    def old(of: tuple[tuple[int, int, int], ...]) -> bytes:
        return (
            struct.pack(">ihi", 7, 0, len(of))
            + b"".join(struct.pack(">hhh", *key) for key in of)
            + struct.pack(">i", 0)
        )

    def new(of: tuple[tuple[int, int, int], ...]) -> bytes:
        return (
            struct.pack(">ih", 7, 0)
            + bytes([len(of) + 1])
            + b"".join(struct.pack(">hhh", *key) + b"\0" for key in of)
            + struct.pack(">i", 0)
            + b"\0"
        )

    assert readable(old(keys), 2) == old(offered) and readable(new(keys), 3) == new(offered)


@given(st.binary(max_size=80))
def test_no_answer_makes_it_stumble(body: bytes) -> None:
    for version in (0, 3):
        assert len(readable(b"\0\0\0\7\0\0" + body, version)) <= len(body) + 7


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.binary(max_size=60))
def test_only_the_first_answer_changes_however_the_bytes_arrive(cuts: list[int], later: bytes) -> None:
    async def through() -> bytes:
        link, stream = _Link(), framed(answer(7, TAGS)) + framed(struct.pack(">i", 8) + later)
        assert link.requests(request(18, 3, 7) + request(3, 12, 8)) == request(18, 3, 7) + request(3, 12, 8)
        for cut in cuts:
            link.answers(stream[:cut])
            stream = stream[cut:]
            await asyncio.sleep(0)
        link.answers(stream)
        while link._work is not None:
            await asyncio.sleep(0)
        return b"".join(link.client.waiting)

    assert asyncio.run(through()) == framed(answer(7, b"\0")) + framed(struct.pack(">i", 8) + later)


def metadata(version: int, wish: bool) -> bytes:
    """A Metadata request for one topic ``t``, as the protocol has it."""
    flexible = version >= 9
    header = struct.pack(">hhih", 3, version, 9, 1) + b"x" + (b"\0" if flexible else b"")
    topic = (b"\0" * 16 if version >= 10 else b"") + b"\x02t\0" if flexible else struct.pack(">h", 1) + b"t"
    body = (b"\x02" if flexible else struct.pack(">i", 1)) + topic + (bytes([wish]) if version >= 4 else b"")
    body += b"\0" if 8 <= version <= 10 else b""
    return framed(header + body + (b"\0" if version >= 8 else b"") + (b"\0" if flexible else b""))


@given(
    st.lists(
        st.tuples(st.sampled_from((0, 1, 3, *range(4, 14), -1)), st.booleans(), st.binary(max_size=60)), max_size=6
    ),
    st.lists(st.integers(1, 50)),
)
def test_requests_pass_unchanged_but_for_the_wish_to_make_topics(
    sent: list[tuple[int, bool, bytes]], cuts: list[int]
) -> None:
    """Version -1 stands for a request of another kind."""
    other = struct.pack(">hhi", 0, 9, 5)
    stream = b"".join(framed(other + body) if version < 0 else metadata(version, wish) for version, wish, body in sent)
    wanted = b"".join(
        framed(other + body) if version < 0 else metadata(version, wish and version < 4) for version, wish, body in sent
    )
    link, out = _Link(), b""
    for cut in cuts:
        out += link.requests(stream[:cut])
        stream = stream[cut:]
    assert out + link.requests(stream) == wanted


def test_what_is_no_kafka_passes_through() -> None:
    link = _Link()
    assert link.requests(b"\0\0\0\1GET / HTTP/1.1") == b"\0\0\0\1GET / HTTP/1.1" and link.requests(b"more") == b"more"
    link.answers(b"any")
    assert link.client.waiting == [b"any"]


def asks(client: str, key: int, version: int, body: bytes = b"\0" * 8) -> bytes:
    return framed(struct.pack(">hhi", key, version, 1) + struct.pack(">h", len(client)) + client.encode() + body)


def test_requests_of_clients_that_name_themselves_are_noted_once_however_they_come(tmp_path: Path) -> None:
    link = _Link(calls=Calls(tmp_path / "calls"))
    sent = [
        asks("groundplan.step.ingest", 1, 11),
        asks("groundplan.step.ingest", 1, 11),
        asks("groundplan.step.ingest", 12, 3),
        asks("rdkafka", 0, 7),
        asks("groundplan.person.replay", 22, 1, b"\xff\xff" + b"\0" * 14),
        asks("groundplan.person.replay", 22, 4, b"\0\0" + b"\0" * 16),
        asks("groundplan.other", 22, 4, b"\0\3tx" + b"\0" * 16),
        asks("groundplan.other", 77, 0),
    ]
    data = b"".join(sent)
    passed = b"".join(link.requests(data[start : start + 60]) for start in range(0, len(data), 60))
    assert passed == data
    found = json.loads((tmp_path / "calls").read_text())
    assert {(item["caller"], item["operation"]) for item in found} <= {
        ("step.ingest", "Fetch"),
        ("step.ingest", "Heartbeat"),
        ("person.replay", "InitProducerId"),
        ("other", "InitProducerId in a transaction"),
        ("other", "request 77"),
    }
    whole = _Link(calls=Calls(tmp_path / "whole"))
    whole.requests(data)
    assert [f"{item['caller']}: {item['operation']}" for item in json.loads((tmp_path / "whole").read_text())] == [
        "other: InitProducerId in a transaction",
        "other: request 77",
        "person.replay: InitProducerId",
        "step.ingest: Fetch",
        "step.ingest: Heartbeat",
    ]


def leaving(version: int, group: str, client: bytes | None = b"me") -> bytes:
    head = struct.pack(">hhi", groups.LEAVE_GROUP, version, 9)
    head += struct.pack(">h", -1) if client is None else struct.pack(">h", len(client)) + client
    name = group.encode()
    if version < groups.FIRST_COMPACT:
        return framed(head + struct.pack(">h", len(name)) + name + struct.pack(">h", 1) + b"m")
    size = len(name) + 1
    length = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return framed(head + b"\0" + length + name + b"\x02\x02m\0\0\0\0")


@pytest.mark.parametrize("version", range(6))
@pytest.mark.parametrize("group", ["g", "gruppe-übung", "g" * 200])
@pytest.mark.parametrize("client", [None, b"", b"rdkafka"])
def test_the_group_that_a_member_leaves_is_read_in_every_version(
    version: int, group: str, client: bytes | None
) -> None:
    assert groups.group_of(leaving(version, group, client), version) == group


def test_a_request_of_another_form_names_no_group() -> None:
    assert groups.group_of(framed(b"\0\x0d\0\x03\0\0\0\x09"), 3) == ""


def test_only_a_leader_that_is_no_member_is_forgotten() -> None:
    def group(state: object, *members: str) -> dict[str, object]:
        return {"generation_id": 4, "members": {name: {} for name in members}, "state": state}

    left = group({"Forming": {"protocol_name": "range", "leader": "gone"}}, "b")
    assert groups.orphaned(left) == group({"Forming": {"protocol_name": "range", "leader": None}}, "b")
    for kept in (
        group({"Forming": {"protocol_name": "range", "leader": "b"}}, "b"),
        group({"Forming": {"protocol_name": None, "leader": None}}),
        group({"Formed": {"leader": "gone", "assignments": {}}}, "b"),
        {},
    ):
        assert groups.orphaned(kept) is None
