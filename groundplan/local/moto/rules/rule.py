"""One rule per Pulumi resource type: which AWS call really creates it, and what it returns.

A type without a rule is recorded, never faked. ``Rule`` is data wherever the API and Pulumi differ only in spelling
(``shapes.to_request`` handles that); a function is used where they differ in form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Cloud:
    """What a rule may use.

    Attributes:
        send: ``send(region, service, operation, request)`` checks and sends one AWS request, and returns the answer.
        kafka_bootstrap: The local broker.
        manifests: Keeps one Kubernetes object.
        applies: Whether objects have a status. In process none has one where the program only has them written; under
            the engine all have one, since its previews treat what a state lacks as unknown, and would see a change in
            everything that depends on it.
    """

    region: str
    account_id: str
    send: Callable[[str, str, str, Mapping[str, Any]], dict[str, Any]]
    kafka_bootstrap: str
    manifests: Callable[[Any], object]
    applies: bool = True

    def call(self, service: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request in this region."""
        return self.send(self.region, service, operation, request)

    def at(self, region: str) -> Cloud:
        """The same cloud in another region."""
        return replace(self, region=region)

    def arn(self, service: str, resource: str) -> str:
        """ARN of a resource of this account in this region."""
        return f"arn:aws:{service}:{self.region}:{self.account_id}:{resource}"


Made = tuple[str, dict[str, Any]]  # physical id, outputs beyond the echoed inputs


@dataclass(frozen=True)
class Rule:
    """How one resource type is created.

    Attributes:
        operation: The API operation, for example ``CreateKey``.
        rename: Pulumi input -> API parameter; a dot makes a nested one; None drops what has no meaning here.
        adapt: Inputs in the API's structure, where Pulumi's differs by more than names.
        fixed: Parameters that are always the same.
        tag_type: EC2 only: the resource type its tags are specified for.
        id: Template of the physical id over ``inputs``, ``answer``, ``region`` and ``account``.
        outputs: Templates of further outputs.
        more: Outputs that are not text, built from the answer.
        then: Calls after the first: (operation, request template).
        read: Operation, request template and the path (JMESPath) to the resource in its answer; or a
            function of the cloud, inputs and physical id that returns it in AWS's spelling. Without one, nothing is
            known of changes behind the engine's back.
        delete: Operation and request template that undo it, or a function of the cloud, inputs and physical id.
        idempotent: Creating it again with other inputs changes it in place (a ``Put``).
        update: By input that may change in place: the call that changes it, given the inputs and the physical id.
        replaceable: It holds nothing and nothing refers to it, so a change may delete it and create it again.
        make: Replaces all of the above where data is not enough.
    """

    service: str = ""
    operation: str = ""
    rename: Mapping[str, str | None] = field(default_factory=dict)
    adapt: Callable[[Inputs], Inputs] = lambda inputs: inputs
    fixed: Mapping[str, Any] = field(default_factory=dict)
    tag_type: str = ""
    id: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    more: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: {}
    then: Callable[[Cloud, Inputs, dict[str, Any]], None] | None = None
    read: tuple[str, Mapping[str, str], str] | Callable[[Cloud, Inputs, str], Mapping[str, Any] | None] | None = None
    delete: tuple[str, Mapping[str, str]] | Callable[[Cloud, Inputs, str], None] | None = None
    update: Mapping[str, Callable[[Cloud, Inputs, str], object]] = field(default_factory=dict)
    idempotent: bool = False
    replaceable: bool = False
    make: Callable[[Cloud, Inputs], Made] | None = None
