"""Where a model answers requests: a SageMaker endpoint, or an InferenceService on the cluster."""

from __future__ import annotations

from pipelines.context import Context
from pipelines.steps.endpoint import EndpointClient
from pipelines.steps.inference_service import InferenceService

Hosting = EndpointClient | InferenceService


def hosting(context: Context) -> Hosting:
    """The host of the model's topology; for one that answers no requests itself, the endpoint that it does not have."""
    known = context.outputs.endpoints.get(context.model)
    return InferenceService(context) if known and known.topology == "cluster" else EndpointClient(context)
