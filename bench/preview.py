"""Previewing stack prod, compared with the same resources registered without components; and how both grow to 3,000
resources.
"""

from __future__ import annotations

import copy
import gc
import importlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes

from bench.pairs import compare
from groundplan.engine.preview import Previewed, preview
from spec.objectives import load_config

ROOT = Path(__file__).parent.parent


def _into(found: list[Previewed], config: dict[str, Any]) -> None:
    found.extend(preview(ROOT, "prod", config=config))


def main() -> None:
    config = load_config(ROOT, "prod")
    resources = preview(ROOT, "prod")  # loads what both need
    compare(
        f"Previewing stack prod ({len(resources)} resources)",
        ("groundplan", lambda: _seconds(lambda: preview(ROOT, "prod", config=config))),
        (
            "the same without components",
            lambda: _seconds(lambda: preview(ROOT, "prod", config=config, program=_bare(resources))),
        ),
        5,
        "no more than 1.7",
    )
    print("\nA stack with more and more models")
    for models in (1, 30, 200):
        large = _with_models(config, models)
        found: list[Previewed] = []
        seconds = _seconds(partial(_into, found, large))
        print(
            f"  {models:4d} models  {len(found):5d} resources  {seconds:6.2f} s  {1000 * seconds / len(found):5.2f} ms"
            " a resource"
        )


def _seconds(work: Callable[[], Any]) -> float:
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _bare(resources: list[Previewed]) -> Callable[[], None]:
    """A program that creates the same resources with the same inputs, at the top level, without dependencies."""
    made = [
        (_class(resource.type), f"{resource.name}-{resource.type}", resource.inputs)
        for resource in resources
        if resource.custom
    ]

    def program() -> None:
        for kind, name, inputs in made:
            kind(name, **inputs)

    return program


def _class(token: str) -> Callable[..., Any]:
    """The provider's own class, taking inputs in the provider's spelling."""
    package, module, name = token.split(":")
    if package == "pulumi":
        return lambda resource, **inputs: pulumi_kubernetes.Provider(resource)
    folder = module.partition("/")[0] if package == "aws" else module.replace(".k8s.io", "")
    try:
        kind = getattr(importlib.import_module(f"pulumi_{package}.{folder.replace('/', '.')}"), name)
    except (ImportError, AttributeError):  # a custom resource, or a group whose module is spelled otherwise
        return lambda resource, **inputs: pulumi.CustomResource(token, resource, inputs)
    names = {
        getattr(getter.fget, "_pulumi_name", python): python
        for python, getter in vars(kind).items()
        if isinstance(getter, property)
    }
    return lambda resource, **inputs: kind(resource, **{names.get(wire, wire): value for wire, value in inputs.items()})


def _with_models(config: dict[str, Any], models: int) -> dict[str, Any]:
    large = copy.deepcopy(config)
    objectives = large["groundplan:objectives"]
    one = objectives["models"]["diabetes-rf"]
    objectives["models"] = {f"model-{number}": one for number in range(models)}
    objectives["budget"]["monthly_usd"] = 1e9
    return large
