"""A model's versions: numbers, records, signatures, decisions about them, and their copy in SageMaker's registry."""
