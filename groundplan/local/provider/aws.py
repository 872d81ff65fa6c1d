"""Pulumi's AWS provider, on the local cloud."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from botocore.exceptions import ParamValidationError
from pulumi.runtime import rpc

from groundplan.engine.program import DOCUMENTS
from groundplan.engine.resource_types import faults, made_up, resource_type, unknown_outputs
from groundplan.engine.unknown import UNKNOWN
from groundplan.local.moto.dry import dry
from groundplan.local.moto.lookups import look_up
from groundplan.local.moto.maker import Maker
from groundplan.local.moto.reading import of_type
from groundplan.local.moto.rules import Cloud, rule_for
from groundplan.local.provider import replacing
from groundplan.local.provider.differences import carried
from spec.errors import GroundplanError, UsageError

Properties = dict[str, Any]
_AUTONAMED = (
    "name",
    "bucket",
    "identifier",
    "clusterName",
    "domainName",
    "dashboardName",
    "topicName",
)  # inputs that get a generated name where none is given
_OWN_NAMES = {"aws:s3/bucket:Bucket": 63, "aws:iam/role:Role": 64}  # longest names that AWS allows
_HEX = 7  # as in the real provider: the resource's name, followed by this many digits


class Aws:
    """One configured provider.

    Args:
        cloud: The local cloud, in any region.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._maker = Maker(cloud)
        self._tags: dict[str, str] = {}

    def configure(self, config: Mapping[str, Any]) -> Aws:
        """The provider of a region.

        Raises:
            UsageError: The configuration does not allow the account.
        """
        cloud = self._maker.cloud
        allowed = [str(account) for account in _parsed(config.get("allowedAccountIds")) or []]
        if allowed and cloud.account_id not in allowed:
            raise UsageError(
                f"the local cloud acts as account {cloud.account_id}, but the stack allows only {', '.join(allowed)}",
                where="aws:allowedAccountIds",
                fix="start it for that stack: groundplan provider --stack NAME",
            )
        made = Aws(replace(cloud, region=str(config.get("region") or cloud.region)))
        made._tags = (_parsed(config.get("defaultTags")) or {}).get("tags", {})
        return made

    def check(
        self, token: str, name: str, olds: Properties, news: Properties, seed: bytes
    ) -> tuple[Properties, list[tuple[str, str]]]:
        """Inputs as AWS's provider keeps them, and what is wrong with them: property and reason."""
        inputs = {key: value for key, value in news.items() if value is not None}
        for key in DOCUMENTS:
            if isinstance(inputs.get(key), dict):
                text = json.dumps(inputs[key], sort_keys=True)
                inputs[key] = UNKNOWN if UNKNOWN in text else text
        of = resource_type(token)
        if of is None:
            return inputs, [("", f"pulumi_aws has no type {token}")]
        self._give_name(token, name, inputs, olds, seed, of.inputs)
        found = faults(of, inputs)
        return inputs, found or self._refusals(token, name, inputs)

    def _give_name(
        self, token: str, name: str, inputs: Properties, olds: Properties, seed: bytes, known: Mapping[str, Any]
    ) -> None:
        key = next((key for key in _AUTONAMED if known.get(key) is str), None)
        if key is None or key in inputs or f"{key}Prefix" in inputs:
            return
        given = olds.get(key) if olds.get("__named") == key else None
        tail = seed.hex()[:_HEX] or "0" * _HEX
        inputs[key] = (
            given
            or f"{name.lower() if token in _OWN_NAMES else name}"[: _OWN_NAMES.get(token, 255) - _HEX - 1] + f"-{tail}"
        )
        inputs["__named"] = key

    def _refusals(self, token: str, name: str, inputs: Properties) -> list[tuple[str, str]]:
        """What AWS's API would refuse, as far as its models show; nothing is sent."""
        if rule_for(token) is None or _has_unknown(inputs):
            return []
        try:
            Maker(dry(self._maker.cloud)).make(token, name, _plain(inputs))
        except GroundplanError as error:
            return [("", error.what)]
        return []

    def diff(self, token: str, path: str) -> bool:
        """Whether a change there replaces the resource."""
        return replacing.replaces(token, path)

    def deletes_first(self, inputs: Properties) -> bool:
        """A name that was not generated can't be used twice."""
        return "__named" not in inputs and any(key in inputs for key in _AUTONAMED)

    def preview(self, token: str, name: str, inputs: Properties) -> Properties:
        """Inputs and outputs as far as they are known before the resource exists."""
        of = resource_type(token)
        return {**inputs, **(unknown_outputs(of, inputs) if of else {}), **self._tags_all(token, inputs)}

    def create(self, token: str, name: str, inputs: Properties) -> tuple[str, Properties]:
        """Create it; returns id and outputs."""
        physical, outputs = self._maker.make(token, name, self._sent(token, inputs))
        return physical, self._state(token, name, inputs, outputs)

    def update(
        self,
        token: str,
        name: str,
        physical: str,
        state: Properties,
        olds: Properties,
        news: Properties,
        warn: Callable[[str], None],
    ) -> Properties:
        """Change it in place; returns its new state."""
        before, after = self._sent(token, olds), self._sent(token, news)
        changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        rule = rule_for(token)
        outputs, told = {key: value for key, value in state.items() if key not in olds}, dict[str, Any]()
        if rule is not None and changed:
            if self._maker.can_change(token, changed):
                _, told = self._maker.change(token, name, before, after, physical, outputs)
            elif rule.replaceable:
                self._maker.delete(token, name, before, physical)
                _, told = self._maker.make(token, name, after)
            else:
                warn(
                    f"the local cloud can't change {', '.join(sorted(changed))} of {token} in place; the change"
                    " is only in the stack's state"
                )
        return {
            **self._state(token, name, news, {}),
            **outputs,
            **carried(state, olds, news),
            **told,
            **self._tags_all(token, news),
        }

    def read(
        self, token: str, name: str, physical: str, state: Properties, inputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """Current state and inputs; None if it no longer exists."""
        if not inputs and not state:
            return self._import(token, name, physical)
        sent = self._sent(token, inputs)
        if (of := resource_type(token)) and "tags" in of.inputs:
            sent.setdefault("tags", {})
        actual = self._maker.read(token, sent, physical, state)
        if actual is None:
            return None
        if self._tags and "tags" in actual:
            own = inputs.get("tags") or {}
            actual["tags"] = {
                key: value for key, value in actual["tags"].items() if self._tags.get(key) != value or key in own
            }
        # For files, only their hashes are received and returned.
        kept = {key: value if _is_file(value) else actual.get(key, value) for key, value in inputs.items()}
        if actual.get("tags"):
            kept["tags"] = actual["tags"]
        inside = {
            key: {**state[key], **value}
            for key, value in kept.items()
            if isinstance(value, dict) and isinstance(state.get(key), dict) and key != "tags"
        }
        return {**state, **kept, **inside, **self._tags_all(token, kept)}, kept

    def _import(self, token: str, name: str, physical: str) -> tuple[Properties, Properties] | None:
        of, rule = resource_type(token), rule_for(token)
        if of is None or rule is None or rule.read is None:
            raise UsageError(
                f"the local cloud can't read a {token} by its id",
                where=f"import of {name}",
                fix="let the program create it",
            )
        # What requests need in addition to the id is mostly the id itself: a name.
        guess = {key: physical.rpartition(":")[2] for key in _AUTONAMED if key in of.inputs}
        try:
            found = self._maker.told(token, guess, physical)
        except (KeyError, ParamValidationError):
            raise UsageError(
                f"a {token} can't be found by its id alone", where=f"import of {name}", fix="let the program create it"
            ) from None
        if found is None:
            return None
        own = {name.lower(): value for name, value in found.items()} if isinstance(found, dict) else {}
        kind, last = token.rpartition(":")[2].lower(), re.split(r"[/:]", physical)[-1]
        told = of_type(of.inputs, found, rule.rename)
        if (
            key := next((key for key in _AUTONAMED if key in of.required or of.inputs.get(key) is str), None)
        ) and key not in told:
            told[key] = own.get(f"{kind}name") or last
        arns = [str(value) for key, value in own.items() if key.endswith("arn") and str(value).endswith(last)]
        if "tags" in of.inputs and (
            tags := self._maker.tags(token, guess, physical, {"arn": next(iter(arns), physical)})
        ):
            told["tags"] = tags
        if lacking := sorted(of.required - set(told)):
            raise UsageError(
                f"the local cloud finds a {token} by its id, but without {', '.join(lacking)}",
                where=f"import of {name}",
                fix="let the program create it",
            )
        outputs = {**of_type(of.computed, found), **({"arn": arns[0]} if arns and "arn" in of.computed else {})}
        return self._state(token, name, told, outputs), told

    def delete(self, token: str, name: str, physical: str, inputs: Properties) -> None:
        """Delete it."""
        self._maker.delete(token, name, self._sent(token, inputs), physical)

    def invoke(self, token: str, arguments: Properties) -> Properties:
        """Answer a look-up."""
        return look_up(self._maker.cloud, token, arguments)

    def _sent(self, token: str, inputs: Properties) -> Properties:
        sent = _plain(inputs)
        if self._tags and (of := resource_type(token)) and "tags" in of.inputs:
            sent["tags"] = {**self._tags, **sent.get("tags", {})}
        return sent

    def _tags_all(self, token: str, inputs: Properties) -> Properties:
        of = resource_type(token)
        return {"tagsAll": {**self._tags, **(inputs.get("tags") or {})}} if of and "tagsAll" in of.computed else {}

    def _state(self, token: str, name: str, inputs: Properties, outputs: Properties) -> Properties:
        of = resource_type(token)
        guessed = made_up(of, name, self._maker.cloud.region, self._maker.cloud.account_id) if of else {}
        inside = {
            key: {**guessed[key], **value}
            for key, value in inputs.items()
            if isinstance(value, dict) and isinstance(guessed.get(key), dict)
        }
        return {**guessed, **inputs, **inside, **outputs, **self._tags_all(token, inputs)}


def _plain(inputs: Properties) -> Properties:
    return {key: _content(value) for key, value in inputs.items() if not key.startswith("__") and key != "tagsAll"}


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and rpc._special_sig_key in value


def _content(value: Any) -> Any:
    """Files and archives as rules expect them: a text, a path, or paths by the name in the archive."""
    if not _is_file(value):
        return value
    if "assets" in value:
        return {name: _content(item) for name, item in value["assets"].items()}
    return Path(value["path"]) if "path" in value else value.get("text", "")


def _parsed(value: Any) -> Any:
    """Configuration that is not text is passed as JSON."""
    return json.loads(value) if isinstance(value, str) and value[:1] in "[{" and value else value


def _has_unknown(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_unknown(item) for item in value)
    return bool(value == UNKNOWN)
