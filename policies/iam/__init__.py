"""Whether AWS would allow a request, by the policies that a program makes. Pure: no account, no network, no Pulumi."""

from policies.iam.documents import UNKNOWN, Policy, Statement, read
from policies.iam.evaluation import Decision, Grant, Policies, Request, evaluate

__all__ = ["UNKNOWN", "Decision", "Grant", "Policies", "Policy", "Request", "Statement", "evaluate", "read"]
