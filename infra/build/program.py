"""The program: reads one stack's objectives, computes the design, creates the components, exports the outputs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pulumi

from components.foundation.base import Scope
from infra.build.cluster import build_cluster
from infra.build.data import build_data
from infra.build.foundation import build_foundation
from infra.build.given import Given
from infra.build.models import build_models
from infra.build.operations import build_operations
from infra.build.outputs import outputs
from infra.build.retraining import build_retraining
from infra.design import design
from infra.design.price_book import load_prices
from spec.model_folders import consumer_groups, folders_of, refuse_drafts, shared
from spec.objectives import parse


def build(root: Path) -> None:
    """Create the platform of the current stack. Called once, by the engine or by the local cloud.

    Args:
        root: The project's folder, with ``models/``.

    Raises:
        UsageError: The objectives are invalid or can't be met.
    """
    stack = parse(
        _config(), where=f"stacks/Pulumi.{pulumi.get_stack()}.yaml", planned=bool(os.environ.get("GROUNDPLAN_PLANNED"))
    )
    wanted = stack.objectives
    scope = Scope(
        project=pulumi.get_project(),
        stack=pulumi.get_stack(),
        region=stack.region,
        account_id=stack.account_id,
        owner=wanted.owner,
        protect=wanted.production,
    )
    # Kubernetes objects are written instead of applied where the provider's own setting says so.
    manifests = pulumi.Config("kubernetes").get("renderYamlToDirectory") or ""
    # A review reports a platform that is over its budget, together with everything else that is wrong with it.
    plan = design(
        wanted, load_prices(stack.region), stack.region, within_budget=not os.environ.get("GROUNDPLAN_REVIEW")
    )
    folders = folders_of(root, wanted.models)
    contracts, views = shared(folders)
    if wanted.production:
        refuse_drafts(contracts)
    given = Given(
        root=root,
        scope=scope,
        wanted=wanted,
        plan=plan,
        contracts=contracts,
        views=views,
        groups=consumer_groups(folders),
        views_of={folder.model: folder.views for folder in folders if folder.contracts},
        folders={folder.model: folder.path.name for folder in folders},
        manifests=manifests,
    )
    base = build_foundation(given)
    data = build_data(given, base)
    models = build_models(given, base, data)
    on = build_cluster(given, base, data, models)
    retrained = build_retraining(given, base, data, models, on)
    operations = build_operations(given, base, data, models, on, retrained)
    pulumi.export("platform", outputs(given, base, data, models, on, retrained, operations))


def _config() -> dict[str, Any]:
    aws_config, own = pulumi.Config("aws"), pulumi.Config("groundplan")
    found = {
        "aws:region": aws_config.get("region"),
        "aws:allowedAccountIds": aws_config.get_object("allowedAccountIds"),
        "groundplan:objectives": own.get_object("objectives"),
    }
    return {key: value for key, value in found.items() if value is not None}
