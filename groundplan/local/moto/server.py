"""The moto server, extended where the platform needs more of AWS than moto has.

- SageMaker's UpdateEndpoint: a deployment replaces an endpoint's configuration. An endpoint is "Creating" or "Updating"
  until the local hosting (``groundplan.local.hosting``) says that its containers answer.
- A transform job is "InProgress" until the local hosting has answered its files.
- CloudWatch evaluates its alarms (``alarms``). EventBridge hears of a new state, and starts the pipelines that rules
  name for it.
- SNS keeps the e-mails that it would send (``mail``).
- A pipeline's execution is "Executing" until whoever runs its steps here says how it ended.
- Trails are told of every call (``trail``).
- What exists and what is asked of it is charged for; Cost Explorer answers from that bill (``meter``).
- Requests are handled one at a time: moto's backends are not thread-safe.
- A bucket policy that denies plain HTTP does not deny loopback, where nothing can listen in.
- An imported REST API keeps what its document says of callers, and can be exported again.
- A cluster's endpoint answers for InferenceServices (``kserve``); a workspace of Managed Prometheus, how many requests
  they have answered.
- KMS signs a digest (``MessageType=DIGEST``) as it is, instead of hashing it again, and with Ed25519.

Run as ``python -m groundplan.local.moto.server --port N``.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from http import HTTPStatus
from typing import Any

from groundplan.local.calls import Called, Recorder
from groundplan.local.moto.alarms import evaluate_alarms
from groundplan.local.moto.cost_explorer import answer_cost_explorer
from groundplan.local.moto.kserve import CLUSTERS, Clusters, self_signed
from groundplan.local.moto.mail import keep_mail, mails
from groundplan.local.moto.meter import Meter
from groundplan.local.moto.prometheus import PATH, Samples
from groundplan.local.moto.rest_apis import keep_definitions
from groundplan.local.moto.trail import Trail

_ED25519 = ["ED25519_SHA_512"]


def complete_moto() -> None:
    """Add what moto lacks to its backends, in this process."""
    _add_update_endpoint()
    evaluate_alarms()
    keep_mail()
    _start_pipelines()
    _allow_plain_http()
    _add_clusters()
    sign_digests()
    sign_with_ed25519()
    keep_definitions()


@cache
def sign_with_ed25519() -> None:
    """KMS's keys of the type ECC_NIST_EDWARDS25519, which sign messages as they are.

    https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from moto.kms import models
    from moto.kms.utils import KeySpec, validate_signing_algorithm

    class Ed25519Key:
        def __init__(self) -> None:
            self.private_key = Ed25519PrivateKey.generate()

        def sign(self, message: bytes, signing_algorithm: str) -> bytes:
            validate_signing_algorithm(signing_algorithm, _ED25519)
            return self.private_key.sign(message)

        def verify(self, message: bytes, signature: bytes, signing_algorithm: str) -> bool:
            validate_signing_algorithm(signing_algorithm, _ED25519)
            try:
                self.private_key.public_key().verify(signature, message)
            except InvalidSignature:
                return False
            return True

        def public_key(self) -> bytes:
            return self.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    generate, algorithms = models.generate_private_key, models.Key.signing_algorithms
    assert isinstance(algorithms, property)
    spec = "ECC_NIST_EDWARDS25519"
    known = KeySpec.key_specs()
    KeySpec.key_specs = classmethod(lambda _: sorted([*known, spec]))  # type: ignore[method-assign,assignment]
    models.generate_private_key = lambda key_spec: Ed25519Key() if key_spec == spec else generate(key_spec)
    models.Key.signing_algorithms = property(
        lambda self: _ED25519 if self.key_spec == spec else algorithms.fget(self)  # type: ignore[misc]
    )


def sign_digests() -> None:
    """KMS's Sign and Verify of digests, by RSA and elliptic-curve keys."""
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from moto.kms.responses import KmsResponse
    from moto.kms.utils import ECDSAPrivateKey, RSAPrivateKey

    digest = threading.local()

    def unhashed(chosen: Any) -> Any:
        """What moto hashes with, and RSA's padding before it; a digest is not hashed again."""

        def choose(self: Any, algorithm: str) -> Any:
            found = chosen(self, algorithm)
            if not getattr(digest, "given", False):
                return found
            return (found[0], Prehashed(found[1])) if isinstance(found, tuple) else Prehashed(found)

        return choose

    def told(operation: Any) -> Any:
        def answer(self: Any) -> Any:
            digest.given = self._get_param("MessageType") == "DIGEST"
            return operation(self)

        return answer

    hashing = {RSAPrivateKey: "padding_and_hash_algorithm", ECDSAPrivateKey: "hash_algorithm"}
    for kind, method in hashing.items():
        name = f"_{kind.__name__}__{method}"
        setattr(kind, name, unhashed(getattr(kind, name)))
    for operation in ("sign", "verify"):
        setattr(KmsResponse, operation, told(getattr(KmsResponse, operation)))


class _Revision:
    """Counts changes of endpoints, so that the hosting can cheaply detect changes."""

    number = 0


def _add_clusters() -> None:
    """A cluster's API and a workspace's are this server's."""
    from moto.amp.models import Workspace
    from moto.eks.models import Cluster as EksCluster

    here, create, describe = (
        f"http://127.0.0.1:{os.environ.get('MOTO_PORT', '')}",
        EksCluster.__init__,
        Workspace.to_dict,
    )
    authority = self_signed()

    def created(self: Any, name: str, *args: Any, **kwargs: Any) -> None:
        create(self, name, *args, **kwargs)
        self.endpoint = f"{here}{CLUSTERS}{name}"
        self.certificate_authority = {"data": authority}

    def described(self: Any) -> dict[str, Any]:
        return {**describe(self), "prometheusEndpoint": f"{here}/workspaces/{self.workspace_id}/"}

    EksCluster.__init__, Workspace.to_dict = created, described


def _add_update_endpoint() -> None:
    from moto.core.responses import ActionResult
    from moto.sagemaker.exceptions import AWSValidationException
    from moto.sagemaker.models import FakeEndpoint, SageMakerModelBackend
    from moto.sagemaker.responses import SageMakerResponse

    def update(self: Any) -> ActionResult:
        backend = self.sagemaker_backend
        name, config_name = self._get_param("EndpointName"), self._get_param("EndpointConfigName")
        endpoint, config = backend.endpoints.get(name), backend.endpoint_configs.get(config_name)
        if endpoint is None:
            raise AWSValidationException(
                "Could not find endpoint"
                f' "{FakeEndpoint.arn_formatter(name, backend.account_id, backend.region_name)}".'
            )
        if config is None:
            raise AWSValidationException(f'Could not find endpoint configuration "{config_name}".')
        before = {variant["VariantName"]: variant for variant in endpoint.production_variants}
        endpoint.endpoint_config_name = config_name
        endpoint.production_variants = endpoint._process_production_variants(config.production_variants)
        endpoint.shadow_production_variants = endpoint._process_production_variants(
            getattr(config, "shadow_production_variants", [])
        )
        if self._get_param("RetainAllVariantProperties"):
            excluded = self._get_param("ExcludeRetainedVariantProperties") or []
            weights = {"VariantPropertyType": "DesiredWeight"} not in excluded
            kept = ("CurrentInstance", "DesiredInstance", *(("CurrentWeight", "DesiredWeight") if weights else ()))
            for variant in endpoint.production_variants:
                known = before.get(variant["VariantName"], {})
                variant.update({name: value for name, value in known.items() if name.startswith(kept)})
        endpoint.endpoint_status = "Updating"
        _Revision.number += 1
        return ActionResult({"EndpointArn": endpoint.arn})

    def counted(method: Any, status: str = "") -> Any:
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = method(self, *args, **kwargs)
            if status:
                result.endpoint_status = status
                config = self.endpoint_configs[result.endpoint_config_name]
                result.shadow_production_variants = result._process_production_variants(
                    getattr(config, "shadow_production_variants", [])
                )
            _Revision.number += 1
            return result

        return wrapper

    def with_shadows(self: Any) -> ActionResult:
        """Moto keeps an endpoint configuration's production variants only."""
        made = create_config(self)
        config = self.sagemaker_backend.endpoint_configs[self._get_param("EndpointConfigName")]
        config.shadow_production_variants = self._get_param("ShadowProductionVariants") or []
        return made

    create_config = SageMakerResponse.create_endpoint_config
    SageMakerResponse.create_endpoint_config = with_shadows
    SageMakerResponse.update_endpoint = update
    SageMakerModelBackend.update_endpoint = lambda self: None  # moto looks the operation up here, too
    create_job = SageMakerModelBackend.create_transform_job

    def started(self: Any, **given: Any) -> Any:
        job = create_job(self, **given)
        job.transform_job_status, job.transform_end_time = "InProgress", None
        _Revision.number += 1
        return job

    SageMakerModelBackend.create_transform_job = started
    SageMakerModelBackend.create_endpoint = counted(SageMakerModelBackend.create_endpoint, "Creating")
    SageMakerModelBackend.delete_endpoint = counted(SageMakerModelBackend.delete_endpoint)
    shift = SageMakerModelBackend.update_endpoint_weights_and_capacities

    def shifted(self: Any, endpoint_name: str, desired_weights_and_capacities: list[dict[str, Any]]) -> Any:
        """In service once requests follow the weights; instances that are not asked for stay as they are."""
        endpoint = self.endpoints.get(endpoint_name)
        has = (
            {v["VariantName"]: v.get("CurrentInstanceCount") for v in endpoint.production_variants} if endpoint else {}
        )
        wanted = [
            {"DesiredInstanceCount": has.get(one.get("VariantName")), **one} for one in desired_weights_and_capacities
        ]
        arn = shift(self, endpoint_name, wanted)
        self.endpoints[endpoint_name].endpoint_status = "Updating"
        _Revision.number += 1
        return arn

    SageMakerModelBackend.update_endpoint_weights_and_capacities = shifted


def _hosting_api(application: Any) -> Any:
    """Moto's WSGI application, one request at a time, with our own paths: the revision, an endpoint's state, the
    calls that were made.
    """
    # Moto's backends are plain dictionaries that fail when one thread iterates over what another changes. Its work
    # is all computing, so serializing loses nothing; only SQS's long polling waits.
    turn, hold = threading.Lock(), _Hold()
    trail, meter, clusters, samples = Trail(turn), Meter(turn), Clusters(), Samples()

    def note(called: Called) -> None:
        trail.note(called)
        meter.note(called)

    recorder = Recorder(application, note)
    trail.start()
    meter.start()
    answer_cost_explorer()(meter)

    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        if path.startswith(CLUSTERS) or PATH.match(path):
            hold.wait(environ.get("HTTP_X_GROUNDPLAN_HOLD", ""))
            status, said = (
                clusters.answer(environ["REQUEST_METHOD"], path.removeprefix(CLUSTERS), _body(environ))
                if path.startswith(CLUSTERS)
                else samples.query(environ.get("QUERY_STRING", ""))
            )
            told = [("Content-Type", "application/json"), ("Content-Length", str(len(said)))]
            start_response(f"{status} {HTTPStatus(status).phrase}", told)
            return [said]
        if not path.startswith("/_groundplan/"):
            hold.wait(environ.get("HTTP_X_GROUNDPLAN_HOLD", ""))
            with nullcontext() if "/sqs/aws4_request" in environ.get("HTTP_AUTHORIZATION", "") else turn:
                return recorder(environ, start_response)
        body = b""
        if path == "/_groundplan/revision":
            body = f"{_Revision.number} {clusters.changes}".encode()
        elif path == "/_groundplan/calls":
            body = recorder.calls
        elif path == "/_groundplan/mail":
            body = json.dumps(mails()).encode()
        elif path == "/_groundplan/keys" and hold.has(environ.get("HTTP_X_GROUNDPLAN_HOLD", "")):
            body = json.dumps(_signing_keys()).encode()
        elif environ.get("REQUEST_METHOD") == "POST":
            kind, name = path.split("/")[2:4]
            state = json.loads(_body(environ))
            does: dict[str, Callable[[str, Any], str | None]] = {
                "clusters": clusters.give,
                "routes": lambda port, _: clusters.routes(int(port)),
                "routed": clusters.routed,
                "revisions": clusters.mark,
                "samples": lambda _, counted: samples.requests(counted),
                "endpoints": _set_state,
                "transform-jobs": _end_job,
                "executions": _end_execution,
                "keys": _set_keys,
                "hold": lambda token, wanted: hold.change(token, wanted["seconds"], turn),
            }
            body = (does[kind](name, state) or "").encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    return serve


def _body(environ: dict[str, Any]) -> bytes:
    found: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return found


class _Hold:
    """One client's right to be the only one that is answered, for a while."""

    def __init__(self) -> None:
        self._changed, self._token, self._until = threading.Condition(), "", 0.0

    def change(self, token: str, seconds: float, turn: threading.Lock) -> str:
        """Begin a hold once nothing else is being answered, or end it; returns whether it was held until then."""
        self.wait(token)
        with turn, self._changed:
            held = self.has(token)
            self._token, self._until = token, time.monotonic() + seconds
            self._changed.notify_all()
        return "held" if held else "lapsed"

    def has(self, token: str) -> bool:
        """Whether this client holds."""
        return bool(token) and token == self._token and time.monotonic() < self._until

    def wait(self, token: str) -> None:
        """Wait until nobody else holds."""
        with self._changed:
            while token != self._token and (left := self._until - time.monotonic()) > 0:
                self._changed.wait(left)


def _signing_keys() -> dict[str, str]:
    """Private keys in PEM by alias. Only a backup of this cloud takes them: KMS itself never gives a key away, nor
    loses one.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return {
        alias: key.private_key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        for alias, key in _asymmetric_keys().items()
    }


def _set_keys(name: str, keys: dict[str, str]) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    known = _asymmetric_keys()
    for alias, pem in keys.items():
        if alias in known:
            known[alias].private_key.private_key = load_pem_private_key(pem.encode(), None)


def _asymmetric_keys() -> dict[str, Any]:
    from moto.kms.models import kms_backends

    return {
        alias: key
        for account in kms_backends.values()
        for backend in account.values()
        for key in backend.keys.values()
        for alias in key.aliases
        if hasattr(key.private_key, "private_key")
    }


def _set_state(name: str, state: dict[str, Any]) -> None:
    from moto.sagemaker.models import sagemaker_backends

    for account in sagemaker_backends.values():
        for backend in account.values():
            # A state that was found for an older configuration says nothing about the current one.
            if (
                name in backend.endpoints
                and backend.endpoints[name].endpoint_config_name == state["EndpointConfigName"]
            ):
                backend.endpoints[name].endpoint_status = state["EndpointStatus"]
                backend.endpoints[name].failure_reason = state["FailureReason"]


def _end_job(name: str, state: dict[str, Any]) -> None:
    from moto.core.utils import utcnow
    from moto.sagemaker.models import sagemaker_backends

    for account in sagemaker_backends.values():
        for backend in account.values():
            if job := backend.transform_jobs.get(name):
                job.transform_job_status, job.failure_reason = state["TransformJobStatus"], state["FailureReason"]
                job.transform_end_time = job.last_modified_time = utcnow()


def _start_pipelines() -> None:
    from moto.cloudwatch.models import Alarm
    from moto.sagemaker.models import FakePipelineExecution

    update_state, begin = Alarm.update_state, FakePipelineExecution.__init__

    def changed(self: Any, reason: str, reason_data: str, state_value: str) -> None:
        before = self.state_value
        update_state(self, reason, reason_data, state_value)
        if before != state_value:
            _tell_rules(self, before)

    def executing(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self.pipeline_execution_status = "Executing"

    Alarm.update_state, FakePipelineExecution.__init__ = changed, executing


def _tell_rules(alarm: Any, before: str) -> None:
    """CloudWatch's event about an alarm's new state, to the account's default bus."""
    from uuid import uuid4

    from moto.core.utils import iso_8601_datetime_without_milliseconds, utcnow
    from moto.events.models import events_backends
    from moto.sagemaker.models import sagemaker_backends

    region, account = alarm.alarm_arn.split(":")[3:5]
    event = {
        "version": "0",
        "id": str(uuid4()),
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "account": account,
        "time": iso_8601_datetime_without_milliseconds(utcnow()),
        "region": region,
        "resources": [alarm.alarm_arn],
        "detail": {
            "alarmName": alarm.name,
            "state": {"value": alarm.state_value, "reason": alarm.state_reason},
            "previousState": {"value": before},
        },
    }
    for rule in list(events_backends[account][region].event_buses["default"].rules.values()):
        if rule.state != "ENABLED" or not rule.event_pattern.matches_event(event):
            continue
        for target in rule.targets:
            service, kind, name = _target(target["Arn"])
            if (service, kind) == ("sagemaker", "pipeline"):
                sagemaker_backends[account][region].start_pipeline_execution(
                    name, f"{rule.name}-{event['id'][:8]}", None, f"{alarm.name} rings", None, str(uuid4())
                )


def _target(arn: str) -> tuple[str, str, str]:
    """Service, type and name of an ARN's resource."""
    _, _, service, _, _, resource = arn.split(":", 5)
    kind, _, name = resource.partition("/")
    return service, kind, name


def _end_execution(name: str, state: dict[str, Any]) -> None:
    from moto.core.utils import utcnow
    from moto.sagemaker.models import sagemaker_backends

    for account in sagemaker_backends.values():
        for backend in account.values():
            for pipeline in backend.pipelines.values():
                for arn, execution in pipeline.pipeline_executions.items():
                    if arn.rpartition("/")[2] == name:
                        execution.pipeline_execution_status = state["PipelineExecutionStatus"]
                        execution.pipeline_execution_failure_reason = state["FailureReason"]
                        execution.last_modified_time = utcnow()


def _allow_plain_http() -> None:
    from moto.s3.models import FakeBucket

    get_permission = FakeBucket.get_permission

    def permission(self: Any, action: str, resource: str) -> Any:
        whole = self.policy
        if whole is None:
            return get_permission(self, action, resource)
        document = json.loads(whole)
        document["Statement"] = [
            s for s in document["Statement"] if "aws:SecureTransport" not in json.dumps(s.get("Condition", {}))
        ]
        self.policy = json.dumps(document).encode() if document["Statement"] else None
        try:
            return get_permission(self, action, resource)
        finally:
            self.policy = whole

    FakeBucket.get_permission = permission


def _load_ahead() -> None:
    """Load the larger backends while the program that will call them still loads its own libraries."""
    import importlib

    for service in ("kms", "iam", "ec2", "s3", "rds", "sagemaker", "cloudwatch"):
        importlib.import_module(f"moto.{service}.responses")


def main() -> None:
    """Serve until told to stop."""
    import argparse
    import logging
    import signal
    import sys

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    os.environ["MOTO_PORT"] = str(arguments.port)
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"  # roles of AWS's own services are given AWS's own policies
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    complete_moto()
    threading.Thread(target=_load_ahead, daemon=True).start()
    run_simple(
        arguments.host,
        arguments.port,
        _hosting_api(DomainDispatcherApplication(create_backend_app)),
        threaded=True,
        request_handler=MotoRequestHandler,
    )


if __name__ == "__main__":
    main()
