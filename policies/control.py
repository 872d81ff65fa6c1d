"""Controls: decorated functions that check one resource, or a whole stack, and report what is wrong.

A function gets Pulumi's inputs (camel case) and yields one sentence for each fault. It must read no more than it needs:
a value that is known only after deployment raises as soon as it is read, and the engine then reports that the policy
could not run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict, Unpack

from pulumi_policy.proxy import UnknownValueError

from policies.stack import Item, Props, Stack, UndecidedError

# Types that controls of several families look at.
BUCKET = "aws:s3/bucket:Bucket"
ENDPOINT, ENDPOINT_CONFIGURATION = (
    "aws:sagemaker/endpoint:Endpoint",
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
)
Check = Callable[[Props], Iterable[str]]
Remedy = Callable[[dict[str, Any]], None]


StackCheck = Callable[[Stack], Iterable[tuple[str, str]]]  # URN of the resource at fault (empty: the stack), sentence
EachCheck = Callable[[Item, Stack], Iterable[str]]


@dataclass(frozen=True)
class Control:
    """A control.

    Attributes:
        types: Resource types it looks at (Pulumi's type tokens); empty for one about the whole stack.
        severity: critical, high, medium or low.
        law: The rules behind it, for example ``GDPR 32(1)(a)``; the word before the first blank, or ``SOC 2``, names
            the framework.
        remediation: How to mend what it finds.
        url: What it follows.
        beside: Types that it looks for beside those that it judges.
        risk: What may happen where it isn't kept, in one sentence.
        production: Whether only production is held to it.
        check, stack_check: One of the two; the second where other resources decide, too.
        remedy: Mends the inputs in place, where that can be done without knowing the program.
        path: The one input it is about, if it is about one.
    """

    id: str
    family: str
    title: str
    types: tuple[str, ...]
    severity: str
    law: tuple[str, ...]
    remediation: str
    url: str
    risk: str = ""
    beside: tuple[str, ...] = ()
    production: bool = False
    check: Check | None = None
    stack_check: StackCheck | None = None
    remedy: Remedy | None = None
    path: str = ""

    @property
    def frameworks(self) -> frozenset[str]:
        """Names of the frameworks, of ``FRAMEWORKS``."""
        return frozenset(framework(reference) for reference in self.law)


CONTROLS: dict[str, Control] = {}
FRAMEWORKS = ("GDPR", "HIPAA", "SOX", "SOC 2", "CIS AWS", "CIS EKS", "FSBP")


def framework(reference: str) -> str:
    """The framework of a reference such as ``SOC 2 CC6.1``.

    Raises:
        ValueError: It names none.
    """
    for name in FRAMEWORKS:
        if reference.startswith(f"{name} "):
            return name
    raise ValueError(f"{reference!r} names none of {', '.join(FRAMEWORKS)}")


class Facts(TypedDict):
    """What every control says of itself; ``Control`` has their meaning.

    ``beside`` are types that it looks for beside those that it judges; ``law`` is the family's where it isn't given;
    ``rules`` are the benchmarks' rules (CIS, FSBP) that it checks.
    """

    severity: str
    fix: NotRequired[str]
    url: str
    risk: NotRequired[str]
    beside: NotRequired[tuple[str, ...]]
    law: NotRequired[tuple[str, ...]]
    rules: NotRequired[tuple[str, ...]]
    production: NotRequired[bool]


@dataclass(frozen=True)
class Family:
    """The controls of one file, with what they have in common."""

    name: str
    law: tuple[str, ...] = ()
    ids: list[str] = field(default_factory=list)

    def resource(self, control_id: str, title: str, *types: str, **facts: Unpack[Facts]) -> Callable[[Check], Check]:
        """Register a function that checks one resource.

        Raises:
            ValueError: Another control has the same id.
        """

        def register(check: Check) -> Check:
            self._add(control_id, title, types, facts, check=check)
            return check

        return register

    def stack(self, control_id: str, title: str, **facts: Unpack[Facts]) -> Callable[[StackCheck], StackCheck]:
        """Register a function that checks all resources of a stack.

        Raises:
            ValueError: Another control has the same id.
        """

        def register(check: StackCheck) -> StackCheck:
            self._add(control_id, title, (), facts, stack_check=check)
            return check

        return register

    def each(
        self, control_id: str, title: str, *types: str, **facts: Unpack[Facts]
    ) -> Callable[[EachCheck], EachCheck]:
        """Register a function that looks at one resource, with the stack beside it: what it lacks may be a resource of
        its own.

        Raises:
            ValueError: Another control has the same id.
        """

        def register(check: EachCheck) -> EachCheck:
            def whole(stack: Stack) -> Iterator[tuple[str, str]]:
                undecided = []
                for item in stack.of(*types):
                    try:
                        yield from [(item.urn, fault) for fault in check(item, stack)]
                    except UnknownValueError as error:
                        undecided.append((item.urn, ".".join(error.props)))
                if undecided:
                    raise UndecidedError(undecided)

            self._add(control_id, title, types, facts, stack_check=whole)
            return check

        return register

    def setting(
        self,
        control_id: str,
        title: str,
        resource_type: str,
        path: str,
        value: Any,
        *,
        absent: Any = None,
        applies: Callable[[Props], bool] = lambda props: True,
        **facts: Unpack[Facts],
    ) -> None:
        """Register "this input must have this value", with the remedy that sets it.

        Args:
            path: Input, dotted where it is nested, for example ``ttl.enabled``.
            absent: What AWS takes where the input isn't given.
            applies: Which resources of the type it is for.

        Raises:
            ValueError: Another control has the same id.
        """
        name = snake_case(path)

        def check(props: Props) -> Iterator[str]:
            found = at(props, path)
            told = absent if found is None else _switch(found) if isinstance(value, bool) else found
            if told != value and applies(props):
                yield f"{name} is {'not set' if found is None else repr(found)}"

        def remedy(props: dict[str, Any]) -> None:
            if not applies(props):
                return
            *parents, last = path.split(".")
            place = props
            for part in parents:
                place = place.setdefault(part, {})
            place[last] = value

        facts["fix"] = f"Set {name} to {value!r}."
        self._add(control_id, title, (resource_type,), facts, check=check, remedy=remedy, path=path)

    def present(self, control_id: str, title: str, *types: str, path: str, **facts: Unpack[Facts]) -> None:
        """Register "this input must be set"; its value may be unknown.

        Raises:
            ValueError: Another control has the same id.
        """
        *parents, last = path.split(".")

        def check(props: Props) -> Iterator[str]:
            place = at(props, ".".join(parents)) if parents else props
            if not given(place, last):
                yield f"{snake_case(path)} is not set"

        self._add(control_id, title, types, facts, check=check, path=path)

    def _add(self, control_id: str, title: str, types: tuple[str, ...], facts: Facts, **checks: Any) -> None:
        control = Control(
            control_id,
            self.name,
            title,
            types,
            facts["severity"],
            (*facts.get("law", self.law), *facts.get("rules", ())),
            facts["fix"],
            facts["url"],
            facts.get("risk", ""),
            facts.get("beside", ()),
            facts.get("production", False),
            **checks,
        )
        if control.id in CONTROLS:
            raise ValueError(f"two controls are named {control.id}")
        _ = control.frameworks  # every reference names a framework
        CONTROLS[control.id] = control
        self.ids.append(control.id)


def snake_case(path: str) -> str:
    """An input as a Python program names it: ``vpc_config.endpoint_public_access`` for
    ``vpcConfig.endpointPublicAccess``.
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path).lower()


def _switch(value: Any) -> Any:
    """A switch that a provider takes as a text."""
    return value.lower() == "true" if isinstance(value, str) and value.lower() in ("true", "false") else value


def given(props: Any, key: str) -> bool:
    """Whether there is such an input, and not an empty text; its value may be unknown, and ``in`` would have to read
    it.
    """
    if not isinstance(props, Mapping) or not any(name == key for name in props):
        return False
    try:
        return bool(props[key] != "")
    except UnknownValueError:
        return True


def at(props: Any, path: str) -> Any:
    """The value at a dotted path; None where there is none. A list of one block counts as the block."""
    for part in path.split(".") if path else ():
        if is_list(props):
            props = props[0] if len(props) else None
        if not given(props, part):
            return None
        props = props[part]
    return props


def is_list(value: Any) -> bool:
    """Lists come as sequences of the SDK's own."""
    return hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, (str, Mapping))


def listed(value: Any) -> list[Any]:
    """A list from a list, a single item, or nothing; reads every item."""
    if value is None:
        return []
    return [value[index] for index in range(len(value))] if is_list(value) else [value]
