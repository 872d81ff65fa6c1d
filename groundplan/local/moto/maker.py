"""Creates, changes, reads and deletes single resources of the local cloud, each by the rule of its type.

The calls are the same for every caller (the program run in this process, or Pulumi's engine through ``groundplan
provider``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from groundplan.local.moto import tags
from groundplan.local.moto.reading import as_inputs
from groundplan.local.moto.rules import RECORDED_OUTPUTS, Cloud, Inputs, Made, Rule, rule_for
from groundplan.local.moto.shapes import input_shape, to_request
from spec.errors import GroundplanError

_TAGS = {"tags", "tagsAll"}
_GONE = (
    "NotFound",
    "NoSuch",
    "ResourceNotFound",
    "404",
    "NonExistent",
    "Nonexistent",
    "DoesNotExist",
    "EntityNotFound",
    "NotExist",
    "InvalidAccess",
)
_NOT_THERE = (
    "not found",
    "does not exist",
    "could not find",
    "not owned by the current account",
)  # where a service has one code for all


class Maker:
    """Has access to the cloud, but no record of what was created before."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def make(self, type_: str, name: str, inputs: Inputs) -> Made:
        """Create one resource; a type without a rule gets a name, and the outputs that others need.

        Args:
            type_: Pulumi's type token.
            name: The resource's name in the program.
            inputs: In Pulumi's spelling, all known.

        Raises:
            GroundplanError: AWS or Kubernetes would refuse it, or the local cloud did.
        """
        rule = rule_for(type_)
        if rule is None:
            return name, {
                key: self._fill(value, inputs, {}, name) for key, value in RECORDED_OUTPUTS.get(type_, {}).items()
            }
        cloud = self._at(inputs) if rule.service else self.cloud
        plain = {key: value for key, value in inputs.items() if key != "region"} if rule.service else inputs
        with _named(type_, name):
            return rule.make(cloud, plain) if rule.make else self._call(cloud, rule, plain, name)

    def can_change(self, type_: str, changed: set[str]) -> bool:
        """Whether these inputs can be changed in place."""
        rule = rule_for(type_)
        if rule is None or rule.idempotent:
            return True
        return bool(changed) and changed <= {*rule.update, *(_TAGS if tags.can_change(type_, rule.service) else ())}

    def change(
        self, type_: str, name: str, before: Mapping[str, Any], inputs: Inputs, physical: str, outputs: dict[str, Any]
    ) -> Made:
        """Change one resource in place; ``can_change`` was called before.

        Args:
            before: Its inputs until now.
            physical: Its physical id.
            outputs: Its outputs in addition to its inputs.
        """
        rule = rule_for(type_)
        if rule is None:
            return self.make(type_, name, inputs)
        cloud = self._at(inputs)
        changed = {key for key in {*before, *inputs} if before.get(key) != inputs.get(key)}
        if rule.idempotent:
            physical, outputs = self.make(type_, name, inputs)
        with _named(type_, name):
            for update in dict.fromkeys(rule.update[key] for key in sorted(changed & set(rule.update))):
                told = update(cloud, inputs, physical)
                outputs = (
                    {**outputs, **told} if isinstance(told, dict) and told.keys() <= {"latestVersion"} else outputs
                )
            if changed & _TAGS - set(rule.update) and tags.can_change(type_, rule.service):
                tags.change(
                    cloud,
                    type_,
                    rule.service,
                    physical,
                    str(outputs.get("arn", physical)),
                    before.get("tags") or {},
                    inputs.get("tags") or {},
                )
        return physical, outputs

    def delete(self, type_: str, name: str, inputs: Mapping[str, Any], physical: str) -> None:
        """Delete one resource, if its rule says how; what can't be deleted stays until the cloud is stopped."""
        rule = rule_for(type_)
        if rule is None or rule.delete is None:
            return
        cloud = self._at(inputs)
        with _named(type_, name):
            if callable(rule.delete):
                rule.delete(cloud, dict(inputs), physical)
            else:
                cloud.call(rule.service, rule.delete[0], self._request(cloud, rule, *rule.delete, inputs, physical))

    def read(self, type_: str, inputs: Mapping[str, Any], physical: str, outputs: Mapping[str, Any]) -> Inputs | None:
        """A resource's inputs as the cloud has them now, as far as it reports them: the given ones, with changes.

        Returns:
            None where the resource no longer exists.
        """
        rule = rule_for(type_)
        if rule is None or rule.read is None:
            return dict(inputs)
        found = self.told(type_, inputs, physical)
        if found is None:
            return None
        actual = as_inputs(inputs, found, rule.rename)
        if type_ in tags.LACKING and "tags" in inputs:
            actual["tags"] = inputs["tags"]
        there = self.tags(type_, inputs, physical, outputs) if "tags" in inputs else None
        return actual if there is None else {**actual, "tags": there}

    def told(self, type_: str, inputs: Mapping[str, Any], physical: str) -> Any:
        """What the cloud reports about a resource, in its own form; None where it no longer exists.

        Args:
            inputs: What the rule's request needs in addition to the id.
        """
        import jmespath
        from botocore.exceptions import ClientError

        rule = rule_for(type_)
        assert rule is not None and rule.read is not None
        cloud = self._at(inputs)
        try:
            if callable(rule.read):
                found: Any = rule.read(cloud, dict(inputs), physical)
            else:
                operation, templates, path = rule.read
                answer = cloud.call(
                    rule.service, operation, self._request(cloud, rule, operation, templates, inputs, physical)
                )
                found = jmespath.search(path, answer) if path else answer
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if any(word in code for word in _GONE) or any(phrase in str(error).lower() for phrase in _NOT_THERE):
                return None
            raise GroundplanError(f"could not be read: {code}", where=f"resource {physical} ({type_})") from error
        return None if found is False else found

    def tags(
        self, type_: str, inputs: Mapping[str, Any], physical: str, outputs: Mapping[str, Any]
    ) -> dict[str, str] | None:
        """A resource's tags without AWS's own; None where the cloud keeps no tags of this type."""
        rule = rule_for(type_)
        found = (
            None
            if rule is None
            else tags.read(self._at(inputs), type_, rule.service, physical, str(outputs.get("arn", physical)))
        )
        return None if found is None else {key: value for key, value in found.items() if not key.startswith("aws:")}

    def _at(self, inputs: Mapping[str, Any]) -> Cloud:
        return self.cloud.at(inputs["region"]) if inputs.get("region") else self.cloud

    def _call(self, cloud: Cloud, rule: Rule, inputs: Inputs, name: str) -> Made:
        shape = input_shape(rule.service, rule.operation)
        plain: Inputs = {}
        request: dict[str, Any] = dict(rule.fixed)
        for key, value in rule.adapt(inputs).items():
            target = rule.rename.get(key, key)
            if target is None or value is None:
                continue
            if key == "tags" and rule.tag_type:
                request["TagSpecifications"] = [
                    {"ResourceType": rule.tag_type, "Tags": [{"Key": k, "Value": v} for k, v in sorted(value.items())]}
                ]
            elif "." in target:
                outer, inner = target.split(".")
                plain.setdefault(outer, {})[inner] = value
            else:
                plain[target] = value
        request |= to_request(shape, plain, name)
        answer = cloud.call(rule.service, rule.operation, request)
        if rule.then:
            rule.then(cloud, inputs, answer)
        outputs = {
            key: self._fill(template, inputs, answer, "", cloud.region) for key, template in rule.outputs.items()
        }
        outputs |= rule.more(answer)
        return self._fill(rule.id, inputs, answer, "", cloud.region), outputs

    def _request(
        self,
        cloud: Cloud,
        rule: Rule,
        operation: str,
        templates: Mapping[str, str],
        inputs: Mapping[str, Any],
        physical: str,
    ) -> dict[str, Any]:
        """A request with the templates' values, each in the form that the operation takes: a dot creates a nested one,
        and a single value becomes a list.
        """
        shape = input_shape(rule.service, operation)
        request: dict[str, Any] = {}
        for key, template in templates.items():
            value: Any = self._fill(template, inputs, {}, physical, cloud.region)
            outer, _, inner = key.partition(".")
            if inner:
                request.setdefault(outer, {})[inner] = value
            else:
                request[key] = [value] if shape.members[key].type_name == "list" else value
        return request

    def _fill(
        self, template: str, inputs: Mapping[str, Any], answer: Mapping[str, Any], physical: str, region: str = ""
    ) -> str:
        return template.format(
            inputs=inputs, answer=answer, id=physical, region=region or self.cloud.region, account=self.cloud.account_id
        )


@contextmanager
def _named(type_: str, name: str) -> Iterator[None]:
    """Errors name the resource."""
    where = f"resource {name} ({type_})"
    try:
        yield
    except GroundplanError as error:
        raise GroundplanError(error.what, where=where, fix=error.fix) from error
    except Exception as error:
        raise GroundplanError(f"{type(error).__name__}: {error}", where=where) from error
