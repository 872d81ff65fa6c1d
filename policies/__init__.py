"""The policy pack, one file per control family, and the evaluation of permissions (``policies.iam``). It judges any
program and imports nothing from the project.
"""
