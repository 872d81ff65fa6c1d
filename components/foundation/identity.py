"""Roles of people and services, each allowed only what its work needs."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.foundation.args import Args
from components.foundation.base import Component, Scope, Statement
from components.foundation.boundary import signing
from components.foundation.roles import make_role, own_service_trust, pod_trust, service_trust
from spec.versions import LOGGER, REGISTRAR
from spec.zones import DATA_CLASS, LABELS, LINEAGE, OUTPUTS, REGISTRY, DataClass, Zone

_READ = ("s3:GetObject",)
_WRITE = ("s3:PutObject", "s3:AbortMultipartUpload")
_WRITE_LOGS = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams")
# What SageMaker needs to put a container into a VPC:
# https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
_NETWORK_INTERFACES = (
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeVpcs",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeSubnets",
    "ec2:DescribeSecurityGroups",
)
_USE_KEY = ("kms:Decrypt", "kms:GenerateDataKey")


@dataclass(frozen=True, kw_only=True)
class IdentityArgs(Args):
    """Args:
    bucket_arns: Lake bucket ARN by zone.
    tracking_bucket_arn: Bucket of MLflow's artifacts.
    key_arns: KMS key ARN by data class.
    online_table_arn: DynamoDB tables (or Feature Groups) of the online store.
    boundary_arn: Permission boundary of every role.
    signing_key_arns: Key that registers versions (``registry``), and of each approving role.
    signs_bundles: Whether there are devices, for which the pipeline signs.
    trains_on_lambda: Whether a model is retrained in a function.
    traces: Whether a model's server sends spans to X-Ray.
    deploys_to_cluster: Whether a model is served on the cluster, where the pipeline changes what is served.
    """

    bucket_arns: dict[Zone, str]
    tracking_bucket_arn: str
    key_arns: dict[DataClass, pulumi.Output[str]]
    online_table_arn: str
    boundary_arn: pulumi.Input[str]
    signing_key_arns: dict[str, pulumi.Output[str]]
    signs_bundles: bool = False
    trains_on_lambda: bool = False
    deploys_to_cluster: bool = False
    traces: bool = False


class Identity(Component):
    """Roles: data-scientist, operations, auditor, privacy for people (with MFA); pipeline, serving for services, and
    trainer where models are retrained in functions; tracking, cluster-pipeline, cluster-serving, metrics for pods.

    Attributes:
        role_arns: Role ARN by name.
    """

    def __init__(self, name: str, scope: Scope, args: IdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, scope, opts)
        self._args = args
        account, region = scope.account_id, scope.region
        endpoints = f"arn:aws:sagemaker:{region}:{account}:endpoint/{scope.name()}-*"
        configs = f"arn:aws:sagemaker:{region}:{account}:endpoint-config/{scope.name()}-*"
        models = f"arn:aws:sagemaker:{region}:{account}:model/{scope.name()}-*"
        pipelines = f"arn:aws:sagemaker:{region}:{account}:pipeline/{scope.name()}-*"
        logs = f"arn:aws:logs:{region}:{account}:log-group:/{scope.project}/{scope.stack}/*"
        table, hive = args.online_table_arn, scope.name(limit=255).replace("-", "_")
        metrics = Statement(
            ("cloudwatch:PutMetricData",),
            ("*",),
            conditions={"StringEquals": {"cloudwatch:namespace": f"Groundplan/{scope.stack}"}},
        )

        # X-Ray knows no resources. https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
        spans = [Statement(("xray:PutSpans", "xray:PutTraceSegments"), ("*",))] if args.traces else []
        cluster, topics, groups = (
            f"arn:aws:kafka:{region}:{account}:{kind}/{scope.name('events')}/*"
            for kind in ("cluster", "topic", "group")
        )
        kafka = [
            Statement(("kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"), (cluster,)),
            Statement(("kafka-cluster:DescribeTopic", "kafka-cluster:ReadData", "kafka-cluster:WriteData"), (topics,)),
            Statement(("kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"), (groups,)),
        ]
        # Personal fields are tokenised with this key before anything is stored.
        secret = f"arn:aws:secretsmanager:{region}:{account}:secret:{scope.project}/{scope.stack}/masking-key-*"
        masking_key = Statement(("secretsmanager:GetSecretValue",), (secret,))
        pull_image = [
            Statement(("ecr:GetAuthorizationToken",), ("*",)),
            Statement(
                ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
                (f"arn:aws:ecr:{region}:{account}:repository/{scope.name('platform')}",),
            ),
        ]

        # Approvers read the model's versions and its audit log, sign, and add a line; the bucket's lock prevents
        # changes to existing lines.
        log = args.bucket_arns[Zone.AUDIT]
        versions = tuple(f"{args.bucket_arns[Zone.MODELS]}/{folder}/*" for folder in ("registry", "approvals"))
        signers = tuple(args.signing_key_arns.values())
        packages = tuple(
            f"arn:aws:sagemaker:{region}:{account}:{kind}/{scope.name()}-*"
            for kind in ("model-package-group", "model-package")
        )
        follow = [
            # Where everything is.
            Statement(("s3:GetObject",), (f"{args.bucket_arns[Zone.CURATED]}/{OUTPUTS}",)),
            Statement(("kms:Decrypt",), (args.key_arns[DataClass.INTERNAL],)),
            Statement(("s3:GetObject",), versions),
            # Without a prefix: only then does S3 say that an object doesn't exist, instead of refusing to read it.
            Statement(("s3:ListBucket",), (args.bucket_arns[Zone.MODELS], log)),
            Statement(_USE_KEY, (args.key_arns[DATA_CLASS[Zone.MODELS]],)),
            Statement(("kms:GetPublicKey",), signers),
            Statement(("s3:GetObject",), (f"{log}/log/*",)),  # what earlier releases have written
            Statement(("s3:GetObject", "s3:PutObject"), (f"{log}/tlog/*",)),
            Statement(("kms:Sign",), (args.signing_key_arns[LOGGER],)),
            Statement(_USE_KEY, (args.key_arns[DATA_CLASS[Zone.AUDIT]],)),
        ]
        approve = [
            *follow,
            # A copy of the decision, for whoever looks there; it is not what is obeyed.
            Statement(("sagemaker:ListModelPackages", "sagemaker:UpdateModelPackage"), packages),
        ]
        mirror = Statement(
            (
                "sagemaker:CreateModelPackageGroup",
                "sagemaker:CreateModelPackage",
                "sagemaker:ListModelPackages",
                "sagemaker:UpdateModelPackage",
                "sagemaker:AddTags",
            ),
            packages,
        )
        # What else it may do there, Kubernetes says; requests are counted by its metrics.
        reach_cluster = [
            Statement(("eks:DescribeCluster",), (f"arn:aws:eks:{region}:{account}:cluster/{scope.name('cluster')}",)),
            Statement(("aps:QueryMetrics",), (f"arn:aws:aps:{region}:{account}:workspace/*",)),
        ]
        people = {
            "data-scientist": [
                *approve,
                *self._sign("data-science"),
                *self._read(Zone.CURATED, Zone.FEATURES, Zone.MODELS),
                # Outcomes of predictions.
                Statement(("s3:PutObject",), (f"{args.bucket_arns[Zone.CURATED]}/{LABELS}*",)),
                Statement(("kms:GenerateDataKey",), (args.key_arns[DataClass.INTERNAL],)),
                *self._objects(args.tracking_bucket_arn, DataClass.MODELS, write=True),
                Statement(
                    (
                        "sagemaker:StartPipelineExecution",
                        "sagemaker:DescribePipeline",
                        "sagemaker:DescribePipelineExecution",
                    ),
                    (pipelines,),
                ),
                Statement(("sagemaker:InvokeEndpoint", "sagemaker:DescribeEndpoint"), (endpoints,)),
            ],
            "operations": [
                *approve,
                *self._sign("operations"),
                # Ends a canary, and publishes an earlier version again.
                Statement(("s3:GetObject",), (f"{args.bucket_arns[Zone.MODELS]}/canaries/*",)),
                Statement(
                    ("s3:PutObject",),
                    tuple(
                        f"{args.bucket_arns[Zone.MODELS]}/{keys}"
                        for keys in ("canaries/*", "*/current/*", "*/triton/*", "*/device/*")
                    ),
                ),
                *(reach_cluster if args.deploys_to_cluster else []),
                *([signing(scope)] if args.signs_bundles else []),
                # An update is authorised on the endpoint and on its new configuration.
                Statement(
                    (
                        "sagemaker:UpdateEndpoint",
                        "sagemaker:UpdateEndpointWeightsAndCapacities",
                        "sagemaker:DescribeEndpoint",
                    ),
                    (endpoints, configs),
                ),
                Statement(("sagemaker:DescribeEndpointConfig",), (configs,)),
                # What both have approved is deployed by a pipeline of its own.
                Statement(
                    ("sagemaker:ListPipelineExecutions", "sagemaker:DescribePipelineExecution"),
                    (pipelines, f"{pipelines}/execution/*"),
                ),
                Statement(("sagemaker:StartPipelineExecution",), (f"{pipelines}-release",)),
                Statement(("cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData", "cloudwatch:ListMetrics"), ("*",)),
                Statement(
                    ("sns:ListSubscriptionsByTopic",), (f"arn:aws:sns:{region}:{account}:{scope.name('alarms')}-*",)
                ),
                Statement(("logs:GetLogEvents", "logs:FilterLogEvents"), (logs,)),
                # What is billed, and what runs without being used; these actions know no resources.
                Statement(
                    (
                        "ce:GetCostAndUsage",
                        "sagemaker:ListEndpoints",
                        "sagemaker:ListNotebookInstances",
                        "ec2:DescribeAddresses",
                        "ec2:DescribeNatGateways",
                        "ec2:DescribeVolumes",
                        "elasticloadbalancing:DescribeLoadBalancers",
                        "elasticloadbalancing:DescribeTags",
                    ),
                    ("*",),
                ),
                Statement(("dynamodb:DescribeTable",), (table,)),
                # What a scan looks at: the interface for pages as it is deployed, and what ECR found in the image.
                Statement(("apigateway:GET",), (f"arn:aws:apigateway:{region}::/restapis/*/stages/*/exports/*",)),
                Statement(
                    ("ecr:DescribeImageScanFindings",),
                    (f"arn:aws:ecr:{region}:{account}:repository/{scope.name('platform')}",),
                ),
            ],
            # Brings a version from another environment: registers it, and can't approve it.
            "releaser": [
                *follow,
                Statement(("s3:PutObject",), (f"{args.bucket_arns[Zone.MODELS]}/registry/*",)),
                Statement(("kms:Sign",), (args.signing_key_arns[REGISTRAR],)),
                mirror,
            ],
            "auditor": [
                *self._read(Zone.AUDIT),
                *self._read_below(Zone.CURATED, LINEAGE),
                *self._read_below(Zone.MODELS, REGISTRY),
                Statement(("kms:GetPublicKey",), signers),
                Statement(
                    ("iam:GetRole", "iam:GetRolePolicy", "iam:ListRolePolicies"),
                    (f"arn:aws:iam::{account}:role/{scope.name()}-*",),
                ),
                Statement(
                    ("sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig", "sagemaker:DescribeModel"),
                    (endpoints, configs, models),
                ),
                Statement(
                    ("cloudtrail:DescribeTrails", "cloudtrail:GetTrailStatus", "cloudtrail:LookupEvents"), ("*",)
                ),
                Statement(("config:DescribeComplianceByConfigRule", "config:SelectResourceConfig"), ("*",)),
                Statement(("guardduty:ListFindings", "guardduty:GetFindings", "securityhub:GetFindings"), ("*",)),
            ],
        }
        # Forgets a person (GDPR Art. 17) and decides about events in quarantine: no other person, and no service, may
        # delete old versions of data.
        erased = (
            *(args.bucket_arns[zone] for zone in (Zone.CURATED, Zone.FEATURES, Zone.MODELS)),
            args.tracking_bucket_arn,
        )
        raw = args.bucket_arns[Zone.RAW]
        people["privacy"] = [
            *self._read(Zone.RAW),
            *self._read(Zone.CURATED, Zone.FEATURES, Zone.MODELS, Zone.AUDIT, write=True),
            *self._objects(args.tracking_bucket_arn, DataClass.MODELS, write=True),
            Statement(("s3:PutObject",), (f"{raw}/decisions/*",)),
            Statement(("kms:GenerateDataKey",), (args.key_arns[DATA_CLASS[Zone.RAW]],)),
            Statement(("s3:ListBucketVersions",), (*erased, raw)),
            Statement(
                ("s3:GetObjectVersion", "s3:DeleteObjectVersion"),
                (*(f"{arn}/*" for arn in erased), f"{raw}/quarantine/*"),
            ),
            Statement(("dynamodb:DeleteItem",), (table,)),
            Statement(("kms:Sign",), (args.signing_key_arns[LOGGER],)),
            Statement(("kms:GetPublicKey",), signers),
            *kafka,  # dead letters contain what was sent, including personal data
            masking_key,
        ]
        training = [
            *self._read(Zone.RAW, Zone.CURATED, Zone.FEATURES, Zone.MODELS, write=True),
            *self._objects(args.bucket_arns[Zone.AUDIT], DataClass.AUDIT, write=True),
            Statement(("dynamodb:BatchWriteItem", "dynamodb:DescribeTable"), (table,)),
            *kafka,
            masking_key,
            Statement(("sns:Publish",), (f"arn:aws:sns:{region}:{account}:{scope.name('alarms')}-*",)),
            # Tables of datasets and features, which change with every run.
            Statement(
                ("glue:CreateTable", "glue:UpdateTable"),
                (
                    f"arn:aws:glue:{region}:{account}:catalog",
                    f"arn:aws:glue:{region}:{account}:database/{hive}",
                    *(f"arn:aws:glue:{region}:{account}:table/{hive}/{kind}_*" for kind in ("dataset", "features")),
                ),
            ),
            Statement(("kms:Sign",), (args.signing_key_arns[REGISTRAR], args.signing_key_arns[LOGGER])),
            Statement(("kms:GetPublicKey",), signers),
            mirror,
            *pull_image,
            metrics,
        ]
        releasing = [
            Statement(("sagemaker:CreateModel", "sagemaker:DescribeModel", "sagemaker:AddTags"), (models,)),
            Statement(("sagemaker:CreateEndpointConfig", "sagemaker:DescribeEndpointConfig"), (configs,)),
            self._grants(DataClass.INTERNAL, DataClass.MODELS),  # volumes of jobs and of endpoints
            Statement(("cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData"), ("*",)),
            Statement(
                (
                    "sagemaker:UpdateEndpoint",
                    "sagemaker:UpdateEndpointWeightsAndCapacities",
                    "sagemaker:DescribeEndpoint",
                    "sagemaker:InvokeEndpoint",
                ),
                (endpoints, configs),
            ),
            Statement(
                ("iam:PassRole",),
                # Including its own: the pipeline's steps run with the role that runs the pipeline.
                tuple(f"arn:aws:iam::{account}:role/{scope.name(role)}" for role in ("serving", "pipeline")),
                conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            ),
            *([signing(scope)] if args.signs_bundles else []),
            *(reach_cluster if args.deploys_to_cluster else []),
        ]
        steps = [*training, *releasing]
        jobs = [  # SageMaker jobs, one for each step
            Statement(
                (
                    "sagemaker:CreateProcessingJob",
                    "sagemaker:DescribeProcessingJob",
                    "sagemaker:StopProcessingJob",
                    "sagemaker:CreateTrainingJob",
                    "sagemaker:DescribeTrainingJob",
                    "sagemaker:StopTrainingJob",
                    "sagemaker:AddTags",
                ),
                tuple(f"arn:aws:sagemaker:{region}:{account}:{kind}/*" for kind in ("processing-job", "training-job")),
            ),
            Statement(
                _WRITE_LOGS,
                tuple(
                    f"arn:aws:logs:{region}:{account}:log-group:/aws/sagemaker/{kind}*"
                    for kind in ("ProcessingJobs", "TrainingJobs")
                ),
            ),
            Statement(_NETWORK_INTERFACES, ("*",)),
        ]
        services = {
            "pipeline": ("sagemaker.amazonaws.com", [*steps, *jobs]),
            "serving": (
                "sagemaker.amazonaws.com",
                [
                    *self._read(Zone.MODELS, write=True),  # writes the captured requests
                    # Batch jobs read requests and write answers.
                    Statement(("s3:GetObject", "s3:PutObject"), (f"{args.bucket_arns[Zone.FEATURES]}/batch/*",)),
                    Statement(
                        ("s3:ListBucket",),
                        (args.bucket_arns[Zone.FEATURES],),
                        conditions={"StringLike": {"s3:prefix": "batch/*"}},
                    ),
                    Statement(_USE_KEY, (args.key_arns[DATA_CLASS[Zone.FEATURES]],)),
                    Statement(("dynamodb:BatchGetItem",), (table,)),
                    Statement(("kms:GetPublicKey",), signers),  # only what was approved is loaded
                    Statement(("kms:Decrypt",), (args.key_arns[DataClass.INTERNAL],)),  # encrypts the table
                    Statement(_NETWORK_INTERFACES, ("*",)),
                    Statement(
                        _WRITE_LOGS,
                        (f"arn:aws:logs:{region}:{account}:log-group:/aws/sagemaker/Endpoints/{scope.name()}-*",),
                    ),
                    *pull_image,
                    *spans,
                    metrics,
                ],
            ),
        }
        if args.trains_on_lambda:
            train_logs = f"arn:aws:logs:{region}:{account}:log-group:/{scope.project}/{scope.stack}/train/*"
            services["trainer"] = (
                "lambda.amazonaws.com",
                [*training, Statement(_WRITE_LOGS, (train_logs,)), Statement(_NETWORK_INTERFACES, ("*",))],
            )
        pods = {
            "tracking": [
                *self._objects(args.tracking_bucket_arn, DataClass.MODELS, write=True),
                # RDS chooses the name of the master user's secret.
                Statement(
                    ("secretsmanager:GetSecretValue",),
                    (f"arn:aws:secretsmanager:{region}:{account}:secret:rds!*",),
                    conditions={
                        "StringEquals": {
                            "aws:ResourceTag/Project": scope.project,
                            "aws:ResourceTag/Environment": scope.stack,
                        }
                    },
                ),
                Statement(("kms:Decrypt",), (args.key_arns[DataClass.INTERNAL],)),
            ],
            # The same steps, run by the cluster.
            "cluster-pipeline": steps,
            "cluster-serving": [
                *self._read(Zone.MODELS),
                Statement(("s3:PutObject",), (f"{args.bucket_arns[Zone.MODELS]}/capture/*",)),
                Statement(("kms:GenerateDataKey",), (args.key_arns[DATA_CLASS[Zone.MODELS]],)),
                Statement(("kms:GetPublicKey",), signers),
                Statement(("dynamodb:BatchGetItem",), (table,)),
                Statement(("kms:Decrypt",), (args.key_arns[DataClass.INTERNAL],)),
                *spans,
            ],
            "metrics": [
                Statement(("aps:RemoteWrite",), (f"arn:aws:aps:{region}:{account}:workspace/*",)),
                Statement(("cloudwatch:GetMetricData", "cloudwatch:ListMetrics"), ("*",)),  # Grafana's drawings
            ],
        }
        human = Statement(
            ("sts:AssumeRole",),
            principals={"AWS": f"arn:aws:iam::{account}:root"},
            conditions={
                "Bool": {"aws:MultiFactorAuthPresent": "true"},
                # A session is named after its user, so that nobody can sign as somebody else.
                # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#ck_rolesessionname
                "StringEquals": {"sts:RoleSessionName": "${aws:username}"},
            },
        )
        roles = {role: (human, statements) for role, statements in people.items()}
        by_name = own_service_trust("lambda.amazonaws.com")
        roles |= {
            role: (by_name if service.startswith("lambda.") else service_trust(account, service), statements)
            for role, (service, statements) in services.items()
        }
        roles |= {role: (pod_trust(), statements) for role, statements in pods.items()}
        self.role_arns: dict[str, pulumi.Output[str]] = {}
        for role, (trust, statements) in roles.items():
            self.role_arns[role] = make_role(
                self, f"{name}-{role}", trust, statements, purpose=role, boundary_arn=args.boundary_arn
            ).arn
        self.register_outputs({"role_arns": self.role_arns})

    def _read(self, *zones: Zone, write: bool = False) -> list[Statement]:
        return [
            statement
            for zone in zones
            for statement in self._objects(self._args.bucket_arns[zone], DATA_CLASS[zone], write=write)
        ]

    def _read_below(self, zone: Zone, prefix: str) -> list[Statement]:
        """Read a part of a zone."""
        arn, key = self._args.bucket_arns[zone], self._args.key_arns[DATA_CLASS[zone]]
        return [
            Statement(("s3:GetObject",), (f"{arn}/{prefix}*",)),
            Statement(("s3:ListBucket",), (arn,), conditions={"StringLike": {"s3:prefix": f"{prefix}*"}}),
            Statement(("kms:Decrypt",), (key,)),
        ]

    def _objects(self, bucket_arn: str, data_class: DataClass, *, write: bool) -> list[Statement]:
        return [
            Statement(_READ + (_WRITE if write else ()), (f"{bucket_arn}/*",)),
            Statement(("s3:ListBucket",), (bucket_arn,)),
            Statement(_USE_KEY if write else ("kms:Decrypt",), (self._args.key_arns[data_class],)),
        ]

    def _sign(self, role: str) -> list[Statement]:
        """Decide about versions in a role: sign with its key, and store what was signed."""
        models = self._args.bucket_arns[Zone.MODELS]
        return [
            Statement(("kms:Sign",), (self._args.signing_key_arns[role],)),
            Statement(("s3:PutObject",), (f"{models}/approvals/{role}/*",)),
            Statement(("kms:GenerateDataKey",), (self._args.key_arns[DATA_CLASS[Zone.MODELS]],)),
        ]

    def _grants(self, *classes: DataClass) -> Statement:
        """Allow AWS to keep using a key for a volume that this role has requested."""
        return Statement(
            ("kms:CreateGrant",),
            tuple(self._args.key_arns[c] for c in classes),
            conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
        )
