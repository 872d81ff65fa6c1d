"""The cluster's API and its metrics, with no credentials but the caller's own of AWS."""

from __future__ import annotations

import base64
import ssl
import time
from functools import cached_property
from typing import Any

from spec.errors import GroundplanError

TOKEN_S = 600.0  # a token is accepted for 15 minutes
TIMEOUT_S = 30.0
_CLUSTER_HEADER = "x-k8s-aws-id"


_NO_ENTRY = "only roles with an access entry of the cluster may: pipeline, cluster-pipeline, operations"
_REFUSED = {
    401: ("the cluster does not know your role", _NO_ENTRY),
    403: ("the cluster does not let your role do that", _NO_ENTRY),
    404: ("the cluster has no such object", "apply the program first (`groundplan up`, or `pulumi up`)"),
}


class ConflictError(GroundplanError):
    """An object was changed by somebody else meanwhile."""


class KubernetesApi:
    """The API of an EKS cluster.

    Its token is a signed request that says who the caller is, the same as from ``aws eks get-token``:
    https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
    """

    def __init__(self, cluster: str) -> None:
        self._cluster, self._token, self._until = cluster, "", 0.0

    def get(self, path: str) -> dict[str, Any]:
        """An object.

        Raises:
            GroundplanError: There is none, or the API refuses or does not answer.
        """
        return self._ask("GET", path)

    def put(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """Replace an object.

        Raises:
            ConflictError: It has changed since it was read.
            GroundplanError: The API refuses or does not answer.
        """
        return self._ask("PUT", path, json=document)

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        import httpx

        if time.monotonic() > self._until:
            self._token, self._until = token(self._cluster), time.monotonic() + TOKEN_S
        try:
            answer = self._http.request(method, path, headers={"Authorization": f"Bearer {self._token}"}, **more)
        except httpx.HTTPError as error:
            raise GroundplanError(
                f"the cluster's API does not answer ({type(error).__name__})",
                where=self._cluster,
                fix="it is reached from inside the stack's network only",
            ) from None
        if answer.status_code == 409:
            raise ConflictError("has changed since it was read", where=path)
        if answer.is_error:
            says, fix = _REFUSED.get(answer.status_code, (f"the cluster's API refuses ({answer.status_code})", ""))
            raise GroundplanError(says, where=f"{self._cluster}{path}", fix=fix)
        found: dict[str, Any] = answer.json()
        return found

    @cached_property
    def _http(self) -> Any:
        import boto3
        import httpx

        found = boto3.client("eks").describe_cluster(name=self._cluster)["cluster"]
        authority = base64.b64decode(found["certificateAuthority"]["data"])
        url = found["endpoint"].rstrip("/")
        secure = ssl.create_default_context(cadata=authority.decode()) if url.startswith("https:") else True
        return httpx.Client(base_url=url, verify=secure, timeout=TIMEOUT_S, trust_env=False)


def token(cluster: str) -> str:
    """What EKS takes as a bearer token, for a few minutes."""
    import boto3

    sts = boto3.client("sts")

    def named(request: Any, **_: Any) -> None:
        request.headers[_CLUSTER_HEADER] = cluster  # of this cluster only

    sts.meta.events.register("before-sign.sts.GetCallerIdentity", named)
    url = sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def samples(prometheus: str, selector: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The newest value of each series that a selector names, by its labels.

    https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-APIReference-Query.html

    Args:
        prometheus: Address of the workspace, as Managed Prometheus reports it.
    """
    import boto3
    import httpx
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    session = boto3.Session()
    url = str(httpx.URL(f"{prometheus.rstrip('/')}/api/v1/query", params={"query": selector}))
    request = AWSRequest("GET", url)
    SigV4Auth(session.get_credentials(), "aps", session.region_name).add_auth(request)  # type: ignore[no-untyped-call]
    answer = httpx.get(url, headers=dict(request.headers.items()), timeout=TIMEOUT_S, trust_env=False)
    answer.raise_for_status()
    return {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in answer.json()["data"]["result"]}
