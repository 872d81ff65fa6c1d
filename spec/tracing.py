"""Where a model's server sends the spans of its requests: X-Ray, through CloudWatch's endpoint for OpenTelemetry."""

from __future__ import annotations


def tracing_variables(model: str, region: str, share: float) -> dict[str, str]:
    """OpenTelemetry's variables of a server; empty where nothing is traced.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html
    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

    Args:
        share: Of the requests whose caller has not decided, 0 to 1.
    """
    if not share:
        return {}
    return {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"https://xray.{region}.amazonaws.com/v1/traces",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": f"{share:g}",
        "OTEL_SERVICE_NAME": model,
    }
