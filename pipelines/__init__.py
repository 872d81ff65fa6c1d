"""The code that runs on the platform: one file a step, the same locally and in SageMaker Pipelines."""
