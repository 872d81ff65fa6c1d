"""A pytest plugin: your Pulumi program, reviewed by your policy pack, without a CLI, an account or the network.

    def test_a_bucket_without_encryption_is_found(pulumi_program):
        found = pulumi_program(\"\"\"
            import pulumi_aws as aws
            aws.s3.Bucket("b")
        \"\"\", packs=["policies"])
        assert ("s3-encrypted", "b") in found.violations

pytest finds it where groundplan is installed (docs/testing.md). It defines no tests of its own and loads nothing before
it is used.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from groundplan.review.model import Resource, Review

_PROJECT = "name: tried\nruntime: python\n"


@dataclass(frozen=True)
class Reviewed:
    """What a program would create, and what is wrong with it.

    Attributes:
        review: The complete review: resources, findings, grants, cost.
    """

    review: Review

    @property
    def violations(self) -> set[tuple[str, str]]:
        """Control and resource of every finding that is not waived; ``stack`` where it is about the whole stack."""
        return {(finding.policy, finding.resource) for finding in self.review.findings if not finding.waived}

    @property
    def blocking(self) -> set[tuple[str, str]]:
        """Those that would stop an update."""
        return {(finding.policy, finding.resource) for finding in self.review.blocking}

    def of_type(self, type_: str) -> list[Resource]:
        """Resources of a type, by its token (``aws:s3/bucket:Bucket``) or its last part (``Bucket``)."""
        return [item for item in self.review.resources if item.type == type_ or item.type.rpartition(":")[2] == type_]

    def one(self, type_: str, name: str = "") -> Resource:
        """The only resource of a type, or the one with this name where there are several.

        Raises:
            AssertionError: There is no such resource, or more than one.
        """
        found = [item for item in self.of_type(type_) if not name or item.name == name]
        there = ", ".join(f"{item.name} ({item.type})" for item in self.review.resources) or "nothing"
        assert len(found) == 1, (
            f"{len(found)} resources are {f'{name} of type ' if name else 'of type '}{type_};"
            f" the program creates {there}"
        )
        return found[0]


@pytest.fixture
def pulumi_program(tmp_path: Path) -> Callable[..., Reviewed]:
    """A function that reviews a program: ``pulumi_program(program, stack="", config={}, packs=(), files={})``.

    - ``program``: its source text, or a folder with ``Pulumi.yaml``; nothing in the folder is changed.
    - ``stack``: may be omitted where there is one, or none.
    - ``config``: overrides the stack file's: ``{"aws:region": "eu-central-1"}``; values may be dictionaries and lists.
    - ``packs``: folders with ``PulumiPolicy.yaml``; by default Groundplan's own pack.
    - ``files``: further files beside a program that is given as text, by name; ``Pulumi.yaml`` may be one.

    The program may create anything: values known only after deployment are unknown, as in a preview. It raises
    ``groundplan.review.errors.ReviewError`` where the program or a policy does.
    """

    def reviewed(
        program: str | Path,
        *,
        stack: str = "",
        config: Mapping[str, Any] | None = None,
        packs: Iterable[str | Path] = (),
        files: Mapping[str, str] | None = None,
    ) -> Reviewed:
        import json

        from groundplan.review.command import review

        folder = program if isinstance(program, Path) else _written(tmp_path / "program", program, files or {})
        given = tuple(
            f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in (config or {}).items()
        )
        return Reviewed(review(folder, stack, packs=tuple(Path(pack) for pack in packs), config=given))

    return reviewed


def _written(folder: Path, program: str, files: Mapping[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in {"Pulumi.yaml": _PROJECT, "__main__.py": program, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def events_of(folder: Path) -> list[dict[str, Any]]:
    """What the source in a model's folder yields, topic after topic.

    Raises:
        UsageError: The folder is invalid.
    """
    from pipelines.context import load_definition

    definition = load_definition(folder)
    source = definition.function(definition.source)
    return [event for contract in definition.contracts for event in source(contract.topic, **definition.options)]


def refused_events(folder: Path) -> list[str]:
    """Which events of a model's own source violate their contract: topic, place and what is wrong."""
    import orjson

    from pipelines.context import load_definition
    from pipelines.data.decode import Decoder

    definition, found = load_definition(folder), []
    source = definition.function(definition.source)
    for contract in definition.contracts:
        payloads = [orjson.dumps(event) for event in source(contract.topic, **definition.options)]
        found += [
            f"{contract.topic}, event {item.index + 1}: {item.detail}" for item in Decoder(contract).decode(payloads)[1]
        ]
    return found
