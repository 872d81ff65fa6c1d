"""What the program and the pipelines agree about for models on the cluster."""

from __future__ import annotations

NAMESPACE = "models"  # of InferenceServices
SERVED = "GROUNDPLAN_PUBLISHED"  # variable of a model's server: the package that it serves
GATEWAY_NAMESPACE, GATEWAY, GATEWAY_PORT = "istio-system", "istio-ingressgateway", 80  # requests enter there
# How long requests took, in seconds, by Knative's proxy beside each server; its pod's labels are the series'.
# https://knative.dev/docs/serving/observability/metrics/serving-metrics/
REQUEST = "kn_serving_invocation_duration_seconds"
# The upper ends of its buckets, in seconds (knative.dev/serving, pkg/queue/request_metric.go).
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
STATUS_LABEL = "http_response_status_code"
SERVICE_LABEL, REVISION_LABEL = "serving_knative_dev_service", "serving_knative_dev_revision"
