"""Typed models of the custom resources the program creates: the fields it uses, with the bounds of their definitions.

Modelled after: karpenter.sh/v1 NodePool, karpenter.k8s.aws/v1 EC2NodeClass, serving.kserve.io/v1beta1 InferenceService,
monitoring.coreos.com/v1 PrometheusRule and PodMonitor, operator.knative.dev/v1beta1 KnativeServing,
policy.sigstore.dev/v1beta1 ClusterImagePolicy. A field that is not
here is refused, so that a typo can't reach a cluster, where an unknown field would be silently dropped.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Duration = Annotated[str, StringConstraints(pattern=r"^(([0-9]+(s|m|h))+|Never)$")]
Quantity = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(m|k|Ki|Mi|Gi|Ti|M|G|T)?$")]
PrometheusDuration = Annotated[str, StringConstraints(pattern=r"^(0|([0-9]+(ms|s|m|h|d|w|y))+)m?$")]
MetricName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
Labels = dict[str, str]


class _Object(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(_Object):
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
    namespace: str = ""
    labels: Labels = {}
    annotations: Labels = {}


class NodeRequirement(_Object):
    """https://karpenter.sh/docs/concepts/nodepools/#spectemplatespecrequirements."""

    key: Annotated[str, StringConstraints(max_length=316)]
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Gte", "Lte"]
    values: list[Annotated[str, StringConstraints(max_length=63)]] = []
    minValues: int | None = Field(default=None, ge=1, le=50)


class Taint(_Object):
    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class NodeClassRef(_Object):
    group: str
    kind: str
    name: str


class NodeTemplateSpec(_Object):
    nodeClassRef: NodeClassRef
    requirements: Annotated[list[NodeRequirement], Field(max_length=100)]
    taints: list[Taint] = []
    startupTaints: list[Taint] = []
    expireAfter: Duration = "720h"
    terminationGracePeriod: Annotated[str, StringConstraints(pattern=r"^([0-9]+(s|m|h))+$")] | None = None


class TemplateMetadata(_Object):
    labels: Labels = {}
    annotations: Labels = {}


class NodeTemplate(_Object):
    metadata: TemplateMetadata = TemplateMetadata()
    spec: NodeTemplateSpec


class DisruptionBudget(_Object):
    nodes: Annotated[str, StringConstraints(pattern=r"^((100|[0-9]{1,2})%|[0-9]+)$")]
    schedule: (
        Annotated[
            str,
            StringConstraints(
                pattern=r"^(@(annually|yearly|monthly|weekly|daily|midnight|hourly))|((.+)\s(.+)\s(.+)\s(.+)\s(.+))$"
            ),
        ]
        | None
    ) = None
    duration: Annotated[str, StringConstraints(pattern=r"^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$")] | None = None
    reasons: Annotated[list[Literal["Underutilized", "Empty", "Drifted"]], Field(max_length=50)] = []


class Disruption(_Object):
    consolidationPolicy: Literal["WhenEmpty", "WhenEmptyOrUnderutilized"] = "WhenEmptyOrUnderutilized"
    consolidateAfter: Duration
    budgets: Annotated[list[DisruptionBudget], Field(max_length=50)] = []


class NodePoolSpec(_Object):
    template: NodeTemplate
    limits: dict[str, Quantity] = {}
    weight: int = Field(default=1, ge=1, le=100)
    disruption: Disruption


class SelectorTerm(_Object):
    tags: Annotated[Labels, Field(max_length=20)] = {}
    id: str | None = None
    name: str | None = None
    alias: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9]+@.+$", max_length=60)] | None = None


class MetadataOptions(_Object):
    httpEndpoint: Literal["enabled", "disabled"]
    httpTokens: Literal["required", "optional"]
    httpPutResponseHopLimit: int = Field(ge=1, le=64)


class Ebs(_Object):
    volumeSize: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}(Gi|G)$")]
    volumeType: Literal["standard", "io1", "io2", "gp2", "sc1", "st1", "gp3"]
    encrypted: bool
    kmsKeyID: str
    deleteOnTermination: bool


class BlockDevice(_Object):
    deviceName: str
    ebs: Ebs


class EC2NodeClassSpec(_Object):
    role: str
    amiSelectorTerms: Annotated[list[SelectorTerm], Field(min_length=1, max_length=30)]
    subnetSelectorTerms: Annotated[list[SelectorTerm], Field(min_length=1, max_length=30)]
    securityGroupSelectorTerms: Annotated[list[SelectorTerm], Field(min_length=1, max_length=30)]
    metadataOptions: MetadataOptions
    blockDeviceMappings: Annotated[list[BlockDevice], Field(max_length=50)]
    tags: Labels = {}


class Extension(_Object):
    """What predictor and explainer share; the pod's own fields are checked against Kubernetes' PodSpec."""

    minReplicas: int = Field(ge=0)
    maxReplicas: int = Field(ge=1)
    scaleMetric: Literal["cpu", "memory", "concurrency", "rps"]
    scaleTarget: int = Field(ge=1)
    canaryTrafficPercent: int | None = Field(default=None, ge=0, le=100)
    serviceAccountName: str
    containers: list[dict[str, Any]] = []
    volumes: list[dict[str, Any]] = []
    securityContext: dict[str, Any] = {}
    nodeSelector: Labels = {}
    tolerations: list[dict[str, Any]] = []


class ModelFormat(_Object):
    name: str
    version: str | None = None


class ModelSpec(_Object):
    """What KServe's own servers serve."""

    modelFormat: ModelFormat
    storageUri: Annotated[str, StringConstraints(pattern=r"^(s3|gs|https?|pvc|hf|oci)://")]
    protocolVersion: Literal["v1", "v2", "grpc-v1", "grpc-v2"]
    runtime: str | None = None
    resources: dict[str, Labels]


class Predictor(Extension):
    model: ModelSpec | None = None


class InferenceServiceSpec(_Object):
    predictor: Predictor
    explainer: Extension | None = None


class RecordingOrAlert(_Object):
    record: MetricName | None = None
    alert: str | None = None
    expr: str
    for_: PrometheusDuration | None = Field(default=None, alias="for")
    labels: Labels = {}
    annotations: Labels = {}


class RuleGroup(_Object):
    name: Annotated[str, StringConstraints(min_length=1)]
    interval: PrometheusDuration
    rules: list[RecordingOrAlert]


class PrometheusRuleSpec(_Object):
    groups: list[RuleGroup]


class NamespaceSelector(_Object):
    matchNames: list[str]


class LabelSelector(_Object):
    matchLabels: Labels


class MetricsEndpoint(_Object):
    port: str
    path: str = "/metrics"
    interval: PrometheusDuration


class PodMonitorSpec(_Object):
    namespaceSelector: NamespaceSelector
    selector: LabelSelector
    podTargetLabels: list[str] = []
    podMetricsEndpoints: list[MetricsEndpoint]


class KnativeServingSpec(_Object):
    version: str
    ingress: dict[str, dict[str, bool]]
    config: dict[str, Labels]


class ImageGlob(_Object):
    glob: str


class SigningKey(_Object):
    """One of data, secretRef and kms; the platform uses the last."""

    kms: Annotated[str, StringConstraints(pattern=r"^(awskms|gcpkms|azurekms|hashivault)://")]
    hashAlgorithm: Literal["sha224", "sha256", "sha384", "sha512"] = "sha256"


class Authority(_Object):
    name: str
    key: SigningKey


class ClusterImagePolicySpec(_Object):
    mode: Literal["enforce", "warn"] = "enforce"
    images: Annotated[list[ImageGlob], Field(min_length=1)]
    authorities: Annotated[list[Authority], Field(min_length=1)]


SPECS: dict[tuple[str, str], type[_Object]] = {
    ("karpenter.sh/v1", "NodePool"): NodePoolSpec,
    ("karpenter.k8s.aws/v1", "EC2NodeClass"): EC2NodeClassSpec,
    ("serving.kserve.io/v1beta1", "InferenceService"): InferenceServiceSpec,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRuleSpec,
    ("monitoring.coreos.com/v1", "PodMonitor"): PodMonitorSpec,
    ("operator.knative.dev/v1beta1", "KnativeServing"): KnativeServingSpec,
    ("policy.sigstore.dev/v1beta1", "ClusterImagePolicy"): ClusterImagePolicySpec,
}
