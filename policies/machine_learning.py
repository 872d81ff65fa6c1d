"""What machine learning requires in addition: canaries, captured requests, closed notebooks, data contracts, approved
models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pulumi_policy.proxy import UnknownValueError

from policies.control import ENDPOINT, ENDPOINT_CONFIGURATION, Family, at, given, listed
from policies.stack import Item, Props, Stack, known

ML = Family("machine learning", ("SOX 404", "SOC 2 CC8.1"))
_DATA = ("GDPR 5(1)(d)", "SOC 2 PI1.2")
_CLOSED = ("GDPR 32(1)(b)", "HIPAA 164.312(e)(1)", "SOC 2 CC6.6")
_COMPOSITE = "aws:cloudwatch/compositeAlarm:CompositeAlarm"
# What combines alarms, rolls a deployment back, or begins something when one goes off; by the input that names it.
_WAIT_FOR_ALARMS = {
    _COMPOSITE: ("alarmRule",),
    ENDPOINT: ("deploymentConfig",),
    "aws:cloudwatch/eventRule:EventRule": ("eventPattern",),
    "aws:codedeploy/deploymentGroup:DeploymentGroup": ("alarmConfiguration",),
    "aws:ecs/service:Service": ("alarms",),
    "aws:route53/healthCheck:HealthCheck": ("cloudwatchAlarmName",),
}
_ALL_ALARMS = "CloudWatch Alarm State Change"
_ALARM, _TOPIC = "aws:cloudwatch/metricAlarm:MetricAlarm", "aws:msk/topic:Topic"
DEAD_LETTERS = (".dlq", "-dlq")
_NOTEBOOK = "aws:sagemaker/notebookInstance:NotebookInstance"
MOST_CANARY_PERCENT = 10

ML.setting(
    "notebook-no-root",
    "Nobody is root in a notebook",
    _NOTEBOOK,
    "rootAccess",
    "Disabled",
    severity="high",
    risk=(
        "A user, or whoever takes over the session, can switch off protections and copy sensitive training"
        " data without a trace"
    ),
    law=("GDPR 32(4)", "SOC 2 CC6.3", "HIPAA 164.312(a)(1)"),
    rules=("FSBP SageMaker.3",),
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/nbi-root-access.html",
)
ML.setting(
    "notebook-no-internet",
    "Notebooks have no direct internet access",
    _NOTEBOOK,
    "directInternetAccess",
    "Disabled",
    severity="high",
    risk=(
        "Personal data used for training can be copied to any place outside, past the company's network"
        " controls and records"
    ),
    law=_CLOSED,
    rules=("FSBP SageMaker.1",),
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/appendix-notebook-and-internet-access.html",
)
ML.setting(
    "studio-in-vpc",
    "Studio has no direct internet access",
    "aws:sagemaker/domain:Domain",
    "appNetworkAccessType",
    "VpcOnly",
    severity="high",
    risk="Data scientists' workspaces can send company data outside by a route that nobody watches or can block",
    law=_CLOSED,
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/studio-notebooks-and-internet-access.html",
)


@ML.resource(
    "studio-stops-when-idle",
    "Idle workspaces stop",
    "aws:sagemaker/domain:Domain",
    severity="low",
    fix="Set app_lifecycle_management.idle_settings on the default user settings.",
    risk="Expensive machines run for weeks after their last use, and unattended sessions with access to data stay open",
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/studio-updated-idle-shutdown.html",
)
def studio_stops(props: Props) -> Iterator[str]:
    """At least JupyterLab."""
    if (
        at(props, "defaultUserSettings.jupyterLabAppSettings.appLifecycleManagement.idleSettings.lifecycleManagement")
        != "ENABLED"
    ):
        yield "A forgotten workspace keeps running"


def _serverless(props: Props) -> bool:
    return any(given(variant, "serverlessConfig") for variant in listed(props.get("productionVariants")))


@ML.resource(
    "endpoint-captures",
    "Endpoints capture requests and answers",
    ENDPOINT_CONFIGURATION,
    severity="high",
    law=("GDPR 22", "SOX 404", "SOC 2 CC7.2"),
    fix="Set data_capture_config with enable_capture; a serverless endpoint's container captures them itself.",
    risk=(
        "The company can't explain a contested automated decision to the person it concerns, or notice that"
        " the model's answers get worse"
    ),
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture.html",
)
def captures(props: Props) -> Iterator[str]:
    """Without it nobody can explain a decision later, or detect drift."""
    if not _serverless(props) and at(props, "dataCaptureConfig.enableCapture") is not True:
        yield "Nobody can find out afterwards what was requested and answered"


@ML.resource(
    "capture-own-key",
    "Captured requests are encrypted with a key of the stack",
    ENDPOINT_CONFIGURATION,
    severity="high",
    law=("GDPR 32(1)(a)", "HIPAA 164.312(a)(2)(iv)", "SOC 2 CC6.1"),
    fix="Set data_capture_config.kms_key_id.",
    risk=(
        "The company itself can't withdraw access to recorded requests about people, or prove who was able to read them"
    ),
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html",
)
def capture_encrypted(props: Props) -> Iterator[str]:
    """They contain what is known about people."""
    capture = at(props, "dataCaptureConfig") or {}
    if capture.get("enableCapture") is True and not given(capture, "kmsKeyId"):
        yield "Captured requests are encrypted with a key that AWS owns"


@ML.each(
    "endpoint-canary",
    "Production's endpoints are updated by a canary that alarms roll back",
    ENDPOINT,
    severity="high",
    production=True,
    fix=(
        f"Set deployment_config with a canary of {MOST_CANARY_PERCENT} % at most and auto_rollback_configuration with"
        " alarms."
    ),
    risk="A faulty model decides about all customers at once, and goes on doing so until somebody notices and steps in",
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green-canary.html",
)
def canary(endpoint: Item, stack: Stack) -> Iterator[str]:
    """Serverless endpoints take no deployment configuration."""
    if any(_serverless(item.props) for item in stack.about(endpoint, "endpointConfigName", ENDPOINT_CONFIGURATION)):
        return
    routing = at(endpoint.props, "deploymentConfig.blueGreenUpdatePolicy.trafficRoutingConfiguration") or {}
    share = at(routing, "canarySize.value")
    if routing.get("type") not in ("CANARY", "LINEAR"):
        yield "All traffic goes to a new version at once"
    elif share is not None and share > MOST_CANARY_PERCENT:
        yield f"{share:g} % of the traffic goes to a new version at once"
    if not listed(at(endpoint.props, "deploymentConfig.autoRollbackConfiguration.alarms")):
        yield "No alarm rolls back a bad version"


@ML.each(
    "endpoint-alarmed",
    "Every endpoint has an alarm",
    ENDPOINT,
    severity="high",
    law=("SOC 2 CC7.2", "SOX 404"),
    fix="Create an alarm on its latency and its errors.",
    risk="Predictions fail or take too long for hours, and the company learns of it from its customers",
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html",
)
def alarmed(endpoint: Item, stack: Stack) -> Iterator[str]:
    """By the alarm's dimension EndpointName, or by one of its metrics."""
    if not any(stack.companions(endpoint, _ALARM, key) for key in ("dimensions.EndpointName", "metricQueries")):
        yield "Nobody is told when it fails"


@ML.each(
    "alarm-reaches-somebody",
    "Alarms notify somebody",
    _ALARM,
    _COMPOSITE,
    severity="medium",
    law=("SOC 2 CC7.2", "HIPAA 164.308(a)(6)"),
    fix="Set alarm_actions, or use it in a composite alarm or to roll a deployment back.",
    risk="A failure is detected but nobody learns of it, so the damage grows until customers or auditors report it",
    url="https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html",
)
def alarm_tells(alarm: Item, stack: Stack) -> Iterator[str]:
    """At least one action, which may be unknown; or something else waits for it."""
    if known(alarm.props, "actionsEnabled") is False:
        yield "Its actions are switched off"
        return
    actions = given(alarm.props, "alarmActions") and len(alarm.props["alarmActions"])
    if not actions and not stack.mentioned(alarm, _WAIT_FOR_ALARMS) and not _hears_of_all(stack):
        yield "Nobody is notified when it goes off"


def _hears_of_all(stack: Stack) -> bool:
    """Whether a rule of EventBridge takes every alarm's changes."""
    return any(
        isinstance(pattern := known(rule.props, "eventPattern"), str)
        and _ALL_ALARMS in pattern
        and "alarmName" not in pattern
        and "resources" not in pattern
        for rule in stack.of("aws:cloudwatch/eventRule:EventRule")
    )


@ML.resource(
    "model-isolated",
    "Models run in the VPC, or without any network",
    "aws:sagemaker/model:Model",
    severity="medium",
    law=_CLOSED,
    fix=(
        "Set vpc_config, or set enable_network_isolation; a serverless model can't be in a VPC and needs isolation"
        " or a waiver."
    ),
    risk="Manipulated software inside a model can send customers' data to a stranger unnoticed",
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/mkt-algo-model-internet-free.html",
)
def model_isolated(props: Props) -> Iterator[str]:
    """One of the two."""
    if not given(props, "vpcConfig") and props.get("enableNetworkIsolation") is not True:
        yield "Code in the model's container may connect to the internet"


@ML.resource(
    "training-isolated",
    "Jobs of pipelines run in the VPC, with encrypted volumes",
    "aws:sagemaker/pipeline:Pipeline",
    severity="high",
    law=_CLOSED,
    fix="Give each step a NetworkConfig with a VpcConfig, and a VolumeKmsKeyId.",
    risk="Training data, often about people, leaves the company's network, and nobody can control or see where it goes",
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/train-vpc.html",
)
def training_isolated(props: Props) -> Iterator[str]:
    """Every step that starts instances."""
    import json

    definition = props.get("pipelineDefinition")
    steps = (json.loads(definition) if isinstance(definition, str) else definition or {}).get("Steps", [])
    for step in _steps_within(listed(steps)):
        arguments = step.get("Arguments") or {}
        if step.get("Type") in ("Processing", "Training") and not (
            at(arguments, "NetworkConfig.VpcConfig") or arguments.get("VpcConfig")
        ):
            yield f"The step {step.get('Name')} runs outside the VPC"


def _steps_within(steps: Iterable[Any]) -> Iterator[Any]:
    """Steps, and those that start only where a condition holds, or does not."""
    for step in steps:
        yield step
        arguments = step.get("Arguments") or {}
        for branch in ("IfSteps", "ElseSteps"):
            yield from _steps_within(listed(arguments.get(branch) or []))


@ML.each(
    "topic-has-contract",
    "Every topic has a schema in the registry",
    _TOPIC,
    beside=("aws:glue/schema:Schema",),
    severity="high",
    law=_DATA,
    fix="Register the topic's contract as a Glue schema of the same name.",
    risk=(
        "Malformed or unexpected data enters unnoticed, and models and reports go wrong because of it,"
        " perhaps for weeks"
    ),
    url="https://docs.aws.amazon.com/glue/latest/dg/schema-registry.html",
)
def topic_contract(topic: Item, stack: Stack) -> Iterator[str]:
    """Dead-letter topics take what violates a contract."""
    if not _dead_letters(topic) and not stack.companions(topic, "aws:glue/schema:Schema", "schemaName"):
        yield "Anything may be written to it"


@ML.each(
    "topic-has-dead-letters",
    "Every topic has a dead-letter topic for events that violate its contract",
    _TOPIC,
    severity="medium",
    law=_DATA,
    fix="Create a topic <name>.dlq.",
    risk="A single malformed message stops the processing of all others, or vanishes before anybody can correct it",
    url="https://docs.aws.amazon.com/msk/latest/developerguide/bestpractices-kafka-client.html",
)
def topic_dead_letters(topic: Item, stack: Stack) -> Iterator[str]:
    """By name, which is how consumers find it."""
    names = {_text(item.props, "name") for item in stack.of(_TOPIC)}
    if not _dead_letters(topic) and not names & {f"{_text(topic.props, 'name')}{end}" for end in DEAD_LETTERS}:
        yield "An event that violates the contract is lost, or stops the stream"


@ML.resource(
    "schema-compatible",
    "A contract can't change in a way that breaks its readers",
    "aws:glue/schema:Schema",
    severity="medium",
    law=_DATA,
    fix="Set compatibility to BACKWARD, FORWARD or FULL.",
    risk="One team's harmless-looking change of format makes other teams' programs stop or misread the data",
    url="https://docs.aws.amazon.com/glue/latest/dg/schema-registry.html#schema-registry-compatibility",
)
def schema_compatible(props: Props) -> Iterator[str]:
    """Neither unchecked nor switched off."""
    if props.get("compatibility") in (None, "NONE", "DISABLED"):
        yield f"Compatibility is {props.get('compatibility')}"


@ML.resource(
    "model-approved",
    "A model of one version has the approvals of two people",
    "aws:sagemaker/model:Model",
    severity="high",
    fix="Tag it with Version, ApprovedByDataScience and ApprovedByOperations; the deploy step does.",
    risk=(
        "A model that nobody or only its author has checked decides about customers, and auditors find no"
        " proof of a review"
    ),
    url="https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-approve.html",
)
def model_approved(props: Props) -> Iterator[str]:
    """A model that names its artifact directly; `<model>/current/` is written only after the sign-off."""
    for container in [*listed(props.get("primaryContainer")), *listed(props.get("containers"))]:
        if not given(container, "modelDataUrl") or "/current/" in str(container["modelDataUrl"]):
            continue
        tags = props.get("tags") or {}
        people = [tags.get(f"ApprovedBy{role}") for role in ("DataScience", "Operations")]
        if not all(people):
            yield "Nobody has signed it off"
        elif people[0] == people[1]:
            yield "One person has signed it off twice"


def _dead_letters(item: Item) -> bool:
    return _text(item.props, "name").endswith(DEAD_LETTERS)


def _text(props: Any, key: str) -> str:
    if not isinstance(props, Mapping) or key not in props:
        return ""
    try:
        return str(props[key])
    except UnknownValueError:
        return ""
