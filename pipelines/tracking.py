"""MLflow's client, without the plug-ins that other packages add to every request.

Feast and SageMaker's plug-in both register request headers. Loading Feast's imports all of Feast (four seconds per
process), and SageMaker's fails on every server whose address is not an ARN. They are left out unless they are needed.
"""

from __future__ import annotations

import os
from typing import Any


def use_mlflow() -> Any:
    """The ``mlflow`` module, ready for use; call this before anything else of MLflow."""
    import mlflow
    from mlflow.utils import plugins

    if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith("arn:"):
        found = plugins.get_entry_points
        try:
            plugins.get_entry_points = lambda group: [] if group == "mlflow.request_header_provider" else found(group)
            import mlflow.tracking.request_header.registry
        finally:
            plugins.get_entry_points = found
    return mlflow
