"""The steps until people must agree, compiled into a SageMaker Pipeline: ``python -m pipelines.steps.workflow``; with
``--release`` the job that deploys an approved version. ``make pipeline`` writes both into ``infra/build/``.

Everything that differs between stacks is a parameter, so one definition serves all of them; the program fills the
parameters' defaults in. Compiling needs no account: it makes no AWS calls.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

from spec.steps import RESUME, before_people_agree

INSTANCE_TYPE = "ml.m5.large"
# Filled in by the program for each model; TrackingUri is given when an execution is started.
PARAMETERS = ("ModelFolder", "ImageUri", "RoleArn", "OutputsUri", "TrackingUri")


def compile_pipeline(*, release: bool = False) -> dict[str, Any]:
    """The pipeline's definition (SageMaker pipeline definition schema 2020-12-01).

    Args:
        release: Only the job that deploys the newest version which two people have approved.
    """
    # The SDK creates clients while it is imported; none of them is used.
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    import boto3
    from sagemaker.core.processing import Processor
    from sagemaker.core.workflow.execution_variables import ExecutionVariables
    from sagemaker.core.workflow.parameters import ParameterString
    from sagemaker.core.workflow.pipeline_context import PipelineSession
    from sagemaker.mlops.workflow.pipeline import Pipeline
    from sagemaker.mlops.workflow.steps import ProcessingStep

    logging.getLogger("sagemaker").setLevel(logging.ERROR)
    run = ExecutionVariables.PIPELINE_EXECUTION_ID
    nobody = boto3.Session(region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106
    session = PipelineSession(boto_session=nobody, default_bucket="unused")
    folder, image, role, outputs, tracking = (ParameterString(name=name) for name in PARAMETERS)
    reports = ["--reports", "/opt/ml/processing/reports"]

    def job(name: str, title: str, module: str, arguments: list[Any], after: list[Any]) -> Any:
        processor = Processor(
            role=role,
            image_uri=image,
            instance_count=1,
            instance_type=INSTANCE_TYPE,
            entrypoint=["python", "-m", module],
            env={"MLFLOW_TRACKING_URI": tracking, "GROUNDPLAN_OUTPUTS": outputs},
            sagemaker_session=session,
        )
        told = processor.run(arguments=["--model-folder", folder, *arguments, *reports], logs=False)
        return ProcessingStep(name=name, display_name=title, step_args=told, depends_on=after)

    built: dict[str, Any] = {}
    if release:
        built["release"] = job("release", "deploys what two people have approved", RESUME, [], [])
    else:
        for step in before_people_agree():
            after = [built[name] for name in step.needs]
            built[step.name] = job(step.name, step.title, step.module, ["--run", run], after)
    pipeline = Pipeline(
        name="groundplan",
        parameters=[folder, image, role, outputs, tracking],
        steps=list(built.values()),
        sagemaker_session=session,
    )
    definition: dict[str, Any] = json.loads(pipeline.definition())
    return {key: value for key, value in definition.items() if value is not None}


def main() -> None:
    """Print the definition, in a stable form."""
    json.dump(compile_pipeline(release="--release" in sys.argv[1:]), sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
