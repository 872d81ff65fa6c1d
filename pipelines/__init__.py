"""The code that runs on the platform: one file per step, the same locally and in SageMaker Pipelines."""
