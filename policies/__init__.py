"""The policy pack, one file a control family, and the evaluation of permissions (``policies.iam``). It judges any
program and imports nothing of the project.
"""
