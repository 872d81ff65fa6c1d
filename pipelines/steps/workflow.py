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

from spec.steps import RELEASE, Step, before_people_agree

INSTANCE_TYPE = "ml.m5.large"
VOLUME_GB = 30
# Filled in by the program for each model. RunsUri is where steps leave their results, CheckpointsUri where half-trained
# models are kept.
PARAMETERS = ("ModelFolder", "ImageUri", "RoleArn", "OutputsUri", "TrackingUri", "RunsUri", "CheckpointsUri")
RELEASE_PARAMETERS = PARAMETERS[:5]
RESULTS = "/opt/ml/processing/results"
CHECKPOINTS = "/opt/ml/checkpoints"
TENSORBOARD = "/opt/ml/output/tensorboard"
LONGEST_TRAINING_S = 5 * 86_400  # the quota that accounts begin with; the program lowers it
# Failures of the machine or the service; what a step refuses by itself would only be refused again.
BACKOFF_S, CAPACITY_BACKOFF_S = 30, 300


def compile_pipeline(*, release: bool = False) -> dict[str, Any]:
    """The pipeline's definition (SageMaker pipeline definition schema 2020-12-01).

    Args:
        release: Only the job that deploys the newest version which two people have approved.
    """
    # The SDK creates clients while it is imported; none of them is used.
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    import boto3
    from sagemaker.core.workflow.execution_variables import ExecutionVariables
    from sagemaker.core.workflow.functions import Join
    from sagemaker.core.workflow.parameters import ParameterString
    from sagemaker.core.workflow.pipeline_context import PipelineSession
    from sagemaker.mlops.workflow.pipeline import Pipeline

    logging.getLogger("sagemaker").setLevel(logging.ERROR)
    run = ExecutionVariables.PIPELINE_EXECUTION_ID
    nobody = boto3.Session(region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106
    session = PipelineSession(boto_session=nobody, default_bucket="unused")
    given = {name: ParameterString(name=name) for name in (RELEASE_PARAMETERS if release else PARAMETERS)}
    jobs = _Jobs(session, given)
    if release:
        steps = [jobs.processing(RELEASE, ["--monitor"], [])]
    else:
        steps = []
        built: dict[str, Any] = {}
        judges = {condition.step for step in before_people_agree() for condition in step.conditions}
        for step in before_people_agree():
            after = [built[name] for name in step.needs]
            # Keys of results, as the steps themselves write them.
            of_run = {name: Join(on="/", values=[given[name], run]) for name in ("RunsUri", "CheckpointsUri")}
            if step.interruptible:
                made = jobs.training(step, ["--run", run, *step.scheduled], after, of_run)
            else:
                results = of_run["RunsUri"] if step.name in judges else None
                # A step behind a condition starts when the condition is decided.
                made = jobs.processing(step, ["--run", run, *step.scheduled], [] if step.conditions else after, results)
            built[step.name] = made
            steps.append(_guarded(step, made) if step.conditions else made)
    pipeline = Pipeline(name="groundplan", parameters=list(given.values()), steps=steps, sagemaker_session=session)
    definition: dict[str, Any] = json.loads(pipeline.definition())
    return {key: value for key, value in definition.items() if value is not None}


class _Jobs:
    """Makes a pipeline's jobs."""

    def __init__(self, session: Any, given: dict[str, Any]) -> None:
        self._session, self._given = session, given
        self._environment = {"MLFLOW_TRACKING_URI": given["TrackingUri"], "GROUNDPLAN_OUTPUTS": given["OutputsUri"]}

    def processing(self, step: Step, arguments: list[Any], after: list[Any], results: Any = None) -> Any:
        """A step as a processing job.

        Args:
            results: Where the step's result is stored; given where the pipeline itself must read it.
        """
        from sagemaker.core.processing import Processor
        from sagemaker.core.shapes import ProcessingOutput, ProcessingS3Output
        from sagemaker.core.workflow.properties import PropertyFile
        from sagemaker.mlops.workflow.steps import ProcessingStep

        read = results is not None
        processor = Processor(
            role=self._given["RoleArn"],
            image_uri=self._given["ImageUri"],
            instance_count=1,
            instance_type=INSTANCE_TYPE,
            volume_size_in_gb=VOLUME_GB,
            entrypoint=["python", "-m", step.module],
            env={**self._environment, **({"GROUNDPLAN_RESULTS": RESULTS} if read else {})},
            sagemaker_session=self._session,
        )
        place = ProcessingS3Output(s3_uri=results, local_path=RESULTS, s3_upload_mode="EndOfJob") if read else None
        told = processor.run(
            arguments=self._arguments(arguments, "/opt/ml/processing/reports"),
            outputs=[ProcessingOutput(output_name="results", s3_output=place)] if read else None,
            logs=False,
        )
        return ProcessingStep(
            name=step.name,
            display_name=step.title,
            step_args=told,
            depends_on=after,
            retry_policies=_retries(step),
            property_files=[PropertyFile(name=step.name, output_name="results", path=f"{step.name}.json")]
            if read
            else None,
        )

    def training(self, step: Step, arguments: list[Any], after: list[Any], of_run: dict[str, Any]) -> Any:
        """A step as a training job, which SageMaker starts again from its checkpoints where spot capacity was taken
        away (CreateTrainingJob).

        The SDK's ModelTrainer asks IAM about the role while it is made, so the request is written here.
        """
        from sagemaker.mlops.workflow.steps import ConfigurableRetryStep, StepTypeEnum

        request = {
            "AlgorithmSpecification": {
                "TrainingImage": self._given["ImageUri"],
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python", "-m", step.module],
                "ContainerArguments": self._arguments(arguments, "/opt/ml/output/data/reports"),
            },
            "RoleArn": self._given["RoleArn"],
            "OutputDataConfig": {"S3OutputPath": of_run["RunsUri"]},
            "ResourceConfig": {"InstanceCount": 1, "InstanceType": INSTANCE_TYPE, "VolumeSizeInGB": VOLUME_GB},
            "StoppingCondition": {"MaxRuntimeInSeconds": LONGEST_TRAINING_S},
            "TensorBoardOutputConfig": {"S3OutputPath": of_run["RunsUri"], "LocalPath": TENSORBOARD},
            "CheckpointConfig": {"S3Uri": of_run["CheckpointsUri"], "LocalPath": CHECKPOINTS},
            "Environment": {
                **self._environment,
                "GROUNDPLAN_CHECKPOINTS": CHECKPOINTS,
                "GROUNDPLAN_TENSORBOARD": TENSORBOARD,
            },
        }

        class Training(ConfigurableRetryStep):  # type: ignore[misc]
            """The step, with its request as it is."""

            arguments, properties = request, None

        return Training(step.name, StepTypeEnum.TRAINING, step.title, depends_on=after, retry_policies=_retries(step))

    def _arguments(self, more: list[Any], reports: str) -> list[Any]:
        return ["--model-folder", self._given["ModelFolder"], *more, "--reports", reports]


def _retries(step: Step) -> list[Any]:
    from sagemaker.mlops.workflow.retry import (
        SageMakerJobExceptionTypeEnum,
        SageMakerJobStepRetryPolicy,
        StepExceptionTypeEnum,
        StepRetryPolicy,
    )

    if not step.retries:
        return []
    of_service = list(StepExceptionTypeEnum)
    of_machine = [SageMakerJobExceptionTypeEnum.INTERNAL_ERROR]
    no_room = [SageMakerJobExceptionTypeEnum.CAPACITY_ERROR, SageMakerJobExceptionTypeEnum.RESOURCE_LIMIT]
    return [
        StepRetryPolicy(of_service, interval_seconds=BACKOFF_S, max_attempts=step.retries),
        SageMakerJobStepRetryPolicy(of_machine, interval_seconds=BACKOFF_S, max_attempts=step.retries),
        SageMakerJobStepRetryPolicy(no_room, interval_seconds=CAPACITY_BACKOFF_S, max_attempts=step.retries),
    ]


def _guarded(step: Step, made: Any) -> Any:
    """A step that starts only where its conditions hold; the execution fails where one does not."""
    from sagemaker.core.workflow.conditions import ConditionEquals
    from sagemaker.core.workflow.functions import JsonGet
    from sagemaker.mlops.workflow.condition_step import ConditionStep
    from sagemaker.mlops.workflow.fail_step import FailStep

    (judge,) = {condition.step for condition in step.conditions}
    names = [condition.name for condition in step.conditions]
    stop = FailStep(
        name=f"not-{step.name}",
        display_name=f"{step.title}: not without {' and '.join(names)}",
        error_message=f"the model does not keep the objectives ({' and '.join(names)}): see {judge}.json of this run",
    )
    held = [
        ConditionEquals(left=JsonGet(step_name=judge, property_file=judge, json_path=f"passed.{name}"), right=True)
        for name in names
    ]
    return ConditionStep(
        name=f"{step.name}-if",
        display_name=f"{' and '.join(names)} as the objectives ask",
        conditions=held,
        if_steps=[made],
        else_steps=[stop],
        depends_on=[judge],
    )


def main() -> None:
    """Print the definition, in a stable form."""
    json.dump(compile_pipeline(release="--release" in sys.argv[1:]), sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
