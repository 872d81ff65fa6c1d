"""Whether AWS would allow a request, by a program's policies. Pure: no account, no network, no Pulumi."""

from policies.iam.documents import UNKNOWN, Policy, Statement, read
from policies.iam.evaluation import Decision, Grant, Policies, evaluate
from policies.iam.request import Request

__all__ = ["UNKNOWN", "Decision", "Grant", "Policies", "Policy", "Request", "Statement", "evaluate", "read"]
