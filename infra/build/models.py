"""How models are served and monitored."""

from __future__ import annotations

from dataclasses import dataclass

from components.models.batch import BatchTransform, BatchTransformArgs
from components.models.edge import Edge, EdgeArgs
from components.models.endpoint import Endpoint, EndpointArgs, endpoint_name
from components.models.front_end import FrontEnd, FrontEndArgs
from components.models.front_end_api import Called
from components.models.image import Image, ImageArgs
from components.operations.monitoring import ModelAlarms, Monitoring, MonitoringArgs
from infra.build.data import Data
from infra.build.foundation import Foundation
from infra.build.given import Given
from infra.build.image import DOCKERFILE, image_files, image_revisions, image_tag
from spec.service_levels import GUARDS, ON_SAGEMAKER
from spec.versions import REGISTRAR
from spec.zones import DATA_CLASS, DataClass, Zone


@dataclass(frozen=True, kw_only=True)
class Models:
    """The model layer.

    Attributes:
        endpoints: SageMaker endpoints, by model.
        signing_keys: Aliases of the keys that sign devices' bundles, by model.
        front_end: What web pages call; None where none does.
    """

    image: Image
    monitoring: Monitoring
    endpoints: dict[str, Endpoint]
    signing_keys: dict[str, str]
    front_end: FrontEnd | None


def build_models(given: Given, base: Foundation, data: Data) -> Models:
    """The image, the alarms, and how each model is served where that is not the cluster."""
    scope, plan, wanted = given.scope, given.plan, given.wanted
    files, texts = image_files(given.root), image_revisions(given.root)
    image = Image(
        "image",
        scope,
        ImageArgs(
            files=files,
            texts=texts,
            dockerfile=DOCKERFILE,
            tag=image_tag(files, texts),
            bucket=data.lake.buckets[Zone.CURATED],
            bucket_arn=data.lake.arns[Zone.CURATED],
            bucket_key_arn=base.keys[DATA_CLASS[Zone.CURATED]],
            key_arn=base.keys[DataClass.INTERNAL],
            log_retention_days=plan.monitoring.log_retention_days,
            runs_in_functions=given.trains_on_lambda,
        ),
    )
    people = wanted.stakeholders
    monitoring = Monitoring(
        "monitoring",
        scope,
        MonitoringArgs(
            models={name: _alarms(given, name) for name in wanted.models},
            addresses={
                "operations": people.operations,
                "product": people.product,
                "legal": people.legal,
                "finance": people.finance,
            },
            key_arn=base.keys[DataClass.INTERNAL],
            events_per_second=wanted.events.per_second,
            kafka_cluster=scope.name("events", limit=64) if data.kafka else "",
            topics=given.groups if data.kafka else {},
        ),
    )
    endpoints: dict[str, Endpoint] = {}
    signing_keys: dict[str, str] = {}
    for model, serving in plan.serving.items():
        if serving.topology in ON_SAGEMAKER:
            endpoints[model] = _endpoint(given, base, data, image, monitoring, model)
        elif serving.topology == "batch":
            BatchTransform(
                f"batch-{model}",
                scope,
                BatchTransformArgs(
                    model=model,
                    instance_type=serving.instance_type,
                    image_uri=image.uri,
                    role_arn=data.identity.role_arns["serving"],
                    key_arn=base.keys[DataClass.MODELS],
                    bucket=data.lake.buckets[Zone.FEATURES],
                    model_bucket=data.lake.buckets[Zone.MODELS],
                    subnet_ids=base.network.subnet_ids,
                    security_group_id=base.network.security_group_id,
                    schedule=serving.schedule,
                    timezone=serving.timezone,
                    signers=(REGISTRAR, *given.plan.approvals),
                ),
            )
        elif serving.topology == "edge":
            edge = Edge(
                f"edge-{model}",
                scope,
                EdgeArgs(model=model, bucket_arn=data.lake.arns[Zone.MODELS], key_arn=base.keys[DataClass.MODELS]),
            )
            signing_keys[model] = edge.signing_key
    return Models(
        image=image,
        monitoring=monitoring,
        endpoints=endpoints,
        signing_keys=signing_keys,
        front_end=_front_end(given, base),
    )


def _front_end(given: Given, base: Foundation) -> FrontEnd | None:
    page, plan = given.wanted.front_end, given.plan
    if page is None or plan.front_end is None:
        return None
    return FrontEnd(
        "front-end",
        given.scope,
        FrontEndArgs(
            origin=page.origin,
            models={name: _called(given, name) for name in page.models},
            cache_gb=plan.front_end.cache_gb,
            cache_seconds=page.cache_seconds,
            log_key_arn=base.keys[DataClass.AUDIT],
            log_retention_days=plan.monitoring.log_retention_days,
            keeps_account=given.wanted.owns_account,
        ),
    )


def _called(given: Given, name: str) -> Called:
    """A model that pages call; by key where its views have one."""
    model = given.wanted.models[name]
    view = next((view for view in given.views_of.get(name, ()) if view.key_type in ("string", "integer")), None)
    return Called(
        endpoint=endpoint_name(given.scope, name),
        peak=model.requests_per_second.peak,
        explains=model.explanations,
        key=view.key if view else "",
        key_type=view.key_type if view else "string",
    )


def _alarms(given: Given, name: str) -> ModelAlarms:
    model = given.wanted.models[name]
    return ModelAlarms(
        endpoint_name=endpoint_name(given.scope, name) if given.plan.serving[name].topology in ON_SAGEMAKER else "",
        latency_ms=model.latency_ms,
        quality_metric=model.quality.metric,
        quality_worst=model.quality.worst,
        higher_is_better=model.quality.is_score,
        drift_share=model.drift_share,
        most_bias=model.most_bias,
    )


def _endpoint(given: Given, base: Foundation, data: Data, image: Image, monitoring: Monitoring, model: str) -> Endpoint:
    serving = given.plan.serving[model]
    return Endpoint(
        f"endpoint-{model}",
        given.scope,
        EndpointArgs(
            model=model,
            instance_type=serving.instance_type,
            min_instances=serving.min_instances,
            max_instances=serving.max_instances,
            canary_percent=next(iter(serving.canary_steps), 0),
            image_uri=image.uri,
            role_arn=data.identity.role_arns["serving"],
            key_arn=base.keys[DataClass.MODELS],
            capture_bucket=data.lake.buckets[Zone.MODELS],
            subnet_ids=base.network.subnet_ids,
            security_group_id=base.network.security_group_id,
            log_retention_days=given.plan.monitoring.log_retention_days,
            target_invocations_per_minute=serving.target_invocations_per_minute,
            rollback_alarms=tuple(monitoring.alarm_names[model][subject] for subject in GUARDS),
        ),
    )
