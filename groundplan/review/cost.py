"""What a program's resources cost a month, at list prices, as far as the program contains enough to compute it.

A stack with objectives is priced by its design, which includes the usage; any other program by what it creates.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from groundplan.review import resource_prices
from groundplan.review.model import CostLine, Estimate, Resource
from groundplan.review.resource_prices import PRICES, Priced
from infra.design.price_book import PriceBook

if TYPE_CHECKING:  # they take a while to import, and only a stack with objectives needs them
    from infra.design import Design
    from spec.objectives import Objectives

# Types that cost nothing by themselves.
_FREE = (
    "aws:iam/",
    "aws:vpc/securityGroup",
    "aws:vpc/endpoint",
    "aws:vpc/routeServer:",
    "aws:vpc/routeServerPeer",
    "aws:ec2/vpc:",
    "aws:ec2/subnet:",
    "aws:ec2/routeTable",
    "aws:ec2/route:",
    "aws:ec2/internetGateway",
    "aws:ec2/securityGroup",
    "aws:ec2/defaultSecurityGroup",
    "aws:ec2/launchTemplate",
    "aws:ec2/flowLog",
    "aws:ec2/networkAcl",
    "aws:ec2/keyPair",
    "aws:ec2/mainRouteTable",
    "aws:s3/bucketPublicAccessBlock",
    "aws:s3/bucketPolicy",
    "aws:s3/bucketVersioning",
    "aws:s3/bucketServerSide",
    "aws:s3/bucketLifecycle",
    "aws:s3/bucketOwnership",
    "aws:s3/bucketAcl",
    "aws:s3/bucketObjectLock",
    "aws:s3/bucketReplication",
    "aws:s3/bucketNotification",
    "aws:kms/alias",
    "aws:eks/addon",
    "aws:eks/access",
    "aws:eks/podIdentity",
    "aws:appautoscaling/",
    "aws:rds/subnetGroup",
    "aws:rds/parameterGroup",
    "aws:sns/topicPolicy",
    "aws:sns/topicSubscription",
    "aws:sqs/queuePolicy",
    "aws:budgets/",
    "aws:costexplorer/",
    "aws:cloudwatch/eventRule",
    "aws:cloudwatch/eventTarget",
    "aws:lambda/permission",
    "aws:lb/listener",
    "aws:lb/targetGroup",
    "aws:ecr/lifecyclePolicy",
    "aws:msk/configuration",
    "aws:msk/topic",
    "aws:glue/catalog",
    "aws:glue/registry",
    "aws:glue/schema",
    "aws:athena/workgroup",
    "aws:athena/database",
    "aws:athena/namedQuery",
    "aws:athena/dataCatalog",
    "aws:athena/preparedStatement",
    "aws:sagemaker/model:",
    "aws:sagemaker/endpoint:",
    "aws:sagemaker/pipeline",
    "aws:sagemaker/userProfile",
    "aws:backup/plan",
    "aws:backup/selection",
    "aws:backup/vault:",
    "aws:scheduler/scheduleGroup",
    "aws:secretsmanager/secretRotation",
    "aws:secretsmanager/secretVersion",
    "aws:amp/rule",
    "aws:amp/alert",
    "aws:acm/certificate",
    "aws:apigateway/account",
    "aws:apigateway/apiKey",
    "aws:apigateway/authorizer",
    "aws:apigateway/basePathMapping",
    "aws:apigateway/deployment",
    "aws:apigateway/domainName",
    "aws:apigateway/integration",
    "aws:apigateway/method",
    "aws:apigateway/model",
    "aws:apigateway/requestValidator",
    "aws:apigateway/resource",
    "aws:apigateway/response",
    "aws:apigateway/usagePlan",
    "aws:apigateway/restApiPolicy",
    "aws:apigatewayv2/apiMapping",
    "aws:apigatewayv2/authorizer",
    "aws:apigatewayv2/deployment",
    "aws:apigatewayv2/domainName",
    "aws:apigatewayv2/integration",
    "aws:apigatewayv2/model",
    "aws:apigatewayv2/route",
    "aws:apigatewayv2/stage",
    "aws:appsync/dataSource",
    "aws:appsync/resolver",
    "aws:autoscaling/attachment",
    "aws:autoscaling/policy",
    "aws:autoscaling/schedule",
    "aws:autoscaling/notification",
    "aws:backup/vaultPolicy",
    "aws:cloudfront/cachePolicy",
    "aws:cloudfront/origin",
    "aws:cloudfront/responseHeaders",
    "aws:cloudwatch/eventBus:",
    "aws:cloudwatch/eventBusPolicy",
    "aws:cloudwatch/eventPermission",
    "aws:cloudwatch/logStream",
    "aws:cloudwatch/logMetricFilter",
    "aws:cloudwatch/logSubscription",
    "aws:cloudwatch/logResourcePolicy",
    "aws:cognito/identityPool",
    "aws:cognito/userPoolClient",
    "aws:cognito/userPoolDomain",
    "aws:cognito/userGroup",
    "aws:docdb/subnetGroup",
    "aws:docdb/clusterParameterGroup",
    "aws:dynamodb/tableItem",
    "aws:ebs/encryptionByDefault",
    "aws:ebs/snapshotBlockPublicAccess",
    "aws:ec2/amiLaunchPermission",
    "aws:ec2/imageBlockPublicAccess",
    "aws:ec2/instanceMetadataDefaults",
    "aws:ec2/snapshotCreateVolumePermission",
    "aws:emr/blockPublicAccess",
    "aws:emr/securityConfiguration",
    "aws:ec2/dhcp",
    "aws:ec2/vpcDhcp",
    "aws:ec2/egressOnly",
    "aws:ec2/eipAssociation",
    "aws:ec2/launchConfiguration",
    "aws:ec2/managedPrefixList",
    "aws:ec2/networkInterface",
    "aws:ec2/placementGroup",
    "aws:ec2/volumeAttachment",
    "aws:ec2/vpcEndpoint",
    "aws:ec2/vpcIpv4",
    "aws:ec2/customerGateway",
    "aws:ec2/vpnGateway",
    "aws:ec2/defaultRoute",
    "aws:ec2/defaultSubnet",
    "aws:ec2/defaultVpc",
    "aws:ec2/defaultNetworkAcl",
    "aws:ec2/vpcPeering",
    "aws:ec2transitgateway/routeTable",
    "aws:ec2transitgateway/route:",
    "aws:ec2transitgateway/transitGateway:",
    "aws:ecr/repositoryPolicy",
    "aws:ecr/registry",
    "aws:ecs/cluster",
    "aws:ecs/taskDefinition",
    "aws:ecs/capacityProvider",
    "aws:ecs/taskSet",
    "aws:efs/mountTarget",
    "aws:efs/accessPoint",
    "aws:efs/backupPolicy",
    "aws:efs/fileSystemPolicy",
    "aws:elasticache/subnetGroup",
    "aws:elasticache/parameterGroup",
    "aws:elasticbeanstalk/application",
    "aws:glue/connection",
    "aws:glue/trigger",
    "aws:glue/workflow",
    "aws:glue/securityConfiguration",
    "aws:glue/resourcePolicy",
    "aws:kms/keyPolicy",
    "aws:kms/grant",
    "aws:lambda/alias",
    "aws:lambda/eventSourceMapping",
    "aws:lambda/functionEventInvoke",
    "aws:lambda/functionUrl",
    "aws:lambda/layerVersion",
    "aws:lambda/codeSigning",
    "aws:lb/trustStore",
    "aws:alb/",
    "aws:msk/clusterPolicy",
    "aws:msk/scramSecret",
    "aws:neptune/subnetGroup",
    "aws:networkfirewall/firewallPolicy",
    "aws:networkfirewall/ruleGroup",
    "aws:networkfirewall/logging",
    "aws:opensearch/domainPolicy",
    "aws:elasticsearch/domainPolicy",
    "aws:organizations/",
    "aws:ram/",
    "aws:rds/clusterParameterGroup",
    "aws:rds/optionGroup",
    "aws:rds/clusterRole",
    "aws:rds/roleAssociation",
    "aws:redshift/subnetGroup",
    "aws:redshift/parameterGroup",
    "aws:redshift/logging",
    "aws:resourcegroups/",
    "aws:route53/record",
    "aws:route53/zoneAssociation",
    "aws:route53/resolverRule",
    "aws:s3/accessPoint",
    "aws:s3/accountPublicAccessBlock",
    "aws:s3/bucketCors",
    "aws:s3/bucketLogging",
    "aws:s3/bucketWebsite",
    "aws:s3/bucketRequestPayment",
    "aws:s3/bucketAccelerate",
    "aws:s3/inventory",
    "aws:s3control/",
    "aws:sagemaker/codeRepository",
    "aws:sagemaker/modelPackageGroup",
    "aws:sagemaker/notebookInstanceLifecycle",
    "aws:sagemaker/image",
    "aws:sagemaker/appImageConfig",
    "aws:sagemaker/studioLifecycle",
    "aws:secretsmanager/secretPolicy",
    "aws:servicediscovery/",
    "aws:ses/",
    "aws:ssm/association",
    "aws:ssm/document",
    "aws:wafv2/ipSet",
    "aws:wafv2/regex",
    "aws:wafv2/webAclAssociation",
    "aws:wafv2/webAclLogging",
    "aws:dms/replicationSubnetGroup",
    "aws:dms/endpoint",
    "aws:mq/configuration",
    "aws:transfer/user",
    "aws:transfer/sshKey",
    "aws:cloudformation/",
)
# Types that are billed by usage, which a program does not state.
_BY_USE = (
    "aws:s3/bucket:",
    "aws:s3/bucketV2:",
    "aws:s3/bucketObject",
    "aws:lambda/function",
    "aws:sns/topic:",
    "aws:sqs/queue:",
    "aws:ecr/repository",
    "aws:cloudwatch/logGroup",
    "aws:apigateway/restApi:",
    "aws:apigatewayv2/api:",
    "aws:cloudtrail/",
    "aws:guardduty/",
    "aws:securityhub/",
    "aws:cfg/",
    "aws:scheduler/schedule:",
    "aws:codebuild/",
    "aws:amp/workspace",
    "aws:sagemaker/domain",
    "aws:sagemaker/featureGroup",
    "aws:sfn/",
    "aws:cloudfront/distribution:",
    "aws:cloudfront/function:",
    "aws:efs/fileSystem",
    "aws:rds/cluster:",
    "aws:docdb/cluster:",
    "aws:neptune/cluster:",
    "aws:dynamodb/table:",
    "aws:appsync/graphQLApi:",
    "aws:cognito/userPool:",
    "aws:glue/job:",
    "aws:glue/crawler:",
    "aws:batch/jobDefinition:",
    "aws:apprunner/service:",
    "aws:bedrock/agentAgent:",
    "aws:redshiftserverless/workgroup:",
    "aws:cloudwatch/metricStream",
    "aws:ecrpublic/",
    "aws:s3/objectCopy",
    "aws:eks/fargateProfile",
    "aws:amplify/app:",
    "aws:synthetics/canary:",
    "aws:kinesis/firehose",
    "aws:kinesis/video",
)
# Types of which a part is billed by usage, whatever the rest costs.
_PARTLY = ("aws:efs/fileSystem:FileSystem",)
_NOT_OF_AWS = ("pulumi:", "pulumi-python:", "kubernetes:", "random:", "tls:", "command:", "time:", "docker:")


def of_design(plan: Design, wanted: Objectives, prices: PriceBook) -> Estimate:
    """By layer and model, against the budget of the objectives."""
    lines = tuple(
        CostLine(d.layer, round(d.monthly_usd, 2), d.model) for d in plan.decisions if abs(d.monthly_usd) >= 0.005
    )
    return Estimate("design", lines, prices.as_of, prices.region, wanted.budget.monthly_usd, factor=prices.estimate)


def monthly_usd(type_: str, inputs: Mapping[str, Any], prices: PriceBook) -> float | None:
    """What one resource costs by itself; None where it depends on usage."""
    if type_ in PRICES:
        return resource_prices.monthly_usd(type_, Priced(inputs, prices))
    return 0.0 if type_.startswith(_FREE) else None


def of_resources(resources: tuple[Resource, ...], prices: PriceBook) -> Estimate:
    """By type of resource."""
    totals: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    by_use: Counter[str] = Counter()
    free: Counter[str] = Counter()
    by_urn = {resource.urn: resource for resource in resources}
    for resource in resources:
        if not resource.custom or resource.type.startswith(_NOT_OF_AWS):
            continue
        usd = None
        if resource.type in PRICES:
            asked = Priced(resource.inputs, prices, tuple(resource.dependencies), by_urn)
            usd = resource_prices.monthly_usd(resource.type, asked)
        if usd is not None:
            totals[resource.type] += usd
            counts[resource.type] += 1
            by_use.update([resource.type] if resource.type in _PARTLY else [])
        elif resource.type.startswith(_BY_USE) and "dbClusterInstanceClass" not in resource.inputs:
            by_use[resource.type] += 1
        elif resource.type not in PRICES and resource.type.startswith(_FREE):
            free[resource.type] += 1
        else:
            unknown[resource.type] += 1
    free.update({kind: counts[kind] for kind, usd in totals.items() if not usd})
    lines = tuple(
        CostLine(f"{counts[kind]} x {kind}", round(usd, 2))
        for kind, usd in sorted(totals.items(), key=lambda item: -item[1])
        if usd
    )
    return Estimate(
        "resources",
        lines,
        prices.as_of,
        prices.region,
        None,
        tuple(sorted(unknown.items())),
        tuple(sorted(by_use.items())),
        prices.estimate,
        tuple(sorted(free.items())),
    )
