"""What the program and the pipelines agree about for models on the cluster."""

from __future__ import annotations

NAMESPACE = "models"  # of InferenceServices
SERVED = "GROUNDPLAN_PUBLISHED"  # variable of a model's server: the package that it serves
GATEWAY_NAMESPACE, GATEWAY, GATEWAY_PORT = "istio-system", "istio-ingressgateway", 80  # requests enter there
# How long requests took, in seconds, by Knative's proxy beside each server; its pod's labels are the series'.
# https://knative.dev/docs/serving/observability/metrics/serving-metrics/
REQUEST = "kn_serving_invocation_duration_seconds"
SERVICE_LABEL, REVISION_LABEL = "serving_knative_dev_service", "serving_knative_dev_revision"
