"""A stack's program as if it were deployed: values that only AWS knows are made up, unique for each resource, in AWS's
form.

A preview leaves ARNs unknown, so a policy that names a key by its ARN can't be evaluated. Here each resource has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import struct_pb2
from pulumi.runtime.proto import resource_pb2

from groundplan.engine.preview import Previewed, PreviewMonitor
from groundplan.engine.program import DOCUMENTS, project_name, run, run_file
from groundplan.engine.resource_types import made_up, resource_type
from groundplan.review.permissions.arns import ARNS, arn_of, number_of

_BALANCED = ("kubernetes:core/v1:Service", "kubernetes:networking.k8s.io/v1:Ingress")


def _outputs(found: Previewed, region: str, account: str) -> dict[str, Any]:
    of = resource_type(found.type)
    outputs = made_up(of, found.name, region, account) if of else {}
    number = number_of(found.urn)
    if arn := arn_of(found, region, account):
        outputs["arn"] = arn
        if key := ARNS[found.type][0]:
            outputs[key] = found.name  # where the program gives none
    if found.type.startswith("aws:rds/"):  # RDS creates the master user's secret, and names it
        outputs["masterUserSecrets"] = [
            {
                "secretArn": f"arn:aws:secretsmanager:{region}:{account}:secret:rds!db-{number}-AbCdEf",
                "secretStatus": "active",
            }
        ]
    if found.type in _BALANCED:  # its address is known once there is one
        host = f"{found.name}.elb.{region}.amazonaws.com"
        outputs["status"] = {"loadBalancer": {"ingress": [{"hostname": host}]}}
    if found.type.startswith("aws:kms/"):
        outputs["keyId"] = number
    return {key: value for key, value in outputs.items() if key not in found.inputs}


class DeployedMonitor(PreviewMonitor):
    """Answers with what AWS might return."""

    def __init__(self, region: str, account: str) -> None:
        super().__init__()
        self._region, self._account = region, account

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (the gRPC method's name)
        """Note the resource, and answer with what AWS might return."""
        given = struct_pb2.Struct()
        given.CopyFrom(request.object)
        answer = super().RegisterResource(request)
        found = self.found.get(answer.urn)
        if found is None or not found.custom:
            return answer
        outputs = _outputs(found, self._region, self._account)
        for key, value in outputs.items():
            _fill(given, key, value)
        for key in DOCUMENTS:  # the provider converts a structure to text
            if key in given.fields and given.fields[key].HasField("struct_value"):
                given[key] = "{}"
        name = ARNS.get(found.type, ("", ""))[0]
        id_ = (
            outputs.get("keyId")
            or found.inputs.get(name)
            or outputs.get(name)
            or outputs.get("arn")
            or f"{found.name}-id"
        )
        return resource_pb2.RegisterResourceResponse(urn=answer.urn, id=str(id_), object=given)


def _fill(struct: struct_pb2.Struct, key: str, value: Any) -> None:
    wrapper = struct_pb2.Struct()
    wrapper.update({key: value})
    struct.fields[key].CopyFrom(wrapper.fields[key])


def deployed(root: Path, stack: str, config: Mapping[str, Any] | None = None) -> list[Previewed]:
    """The resources of a stack, every input known.

    Args:
        config: Instead of the stack file's.

    Raises:
        UsageError: The objectives are invalid or can't be met.
    """
    from spec.objectives import load_config

    wanted = load_config(root, stack) if config is None else config
    monitor = DeployedMonitor(wanted["aws:region"], str(wanted["aws:allowedAccountIds"][0]))
    run(lambda: run_file(root), monitor, stack, wanted, project=project_name(root))
    return [item for item in monitor.found.values() if item.custom]
