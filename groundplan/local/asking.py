"""Requests to the endpoints whose answers are kept, so that a restored platform can be asked the same."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from groundplan.local.home import Home
from groundplan.local.inside import bare, inside
from groundplan.local.jobs import newest_result
from pipelines.audit.records import everything, stack_of
from pipelines.context import Context
from pipelines.steps.endpoint import CANARY, request_body
from pipelines.steps.hosting import hosting
from pipelines.steps.monitor import ENDPOINTS
from spec.errors import GroundplanError
from spec.outputs import Outputs, read

MOST_ROWS = 50  # held-out rows per model


def models_of(home: Home, outputs: Outputs) -> dict[str, str]:
    """Every model with an audit log, and the version that it serves; empty where none does."""
    with inside(home):
        found: dict[str, list[dict[str, Any]]] = {}
        for entry in everything(bare(outputs, "")):
            found.setdefault(entry["model"], []).append(entry)
        return {name: (stack_of(log) or [""])[-1] for name, log in found.items()}


def asked(home: Home) -> dict[str, dict[str, Any]]:
    """Ask every endpoint that serves a version; returns ``endpoint``, ``version``, and of each request its ``body`` and
    ``answer``, by model. The requests are marked as a canary's, so that monitoring leaves them out.
    """
    outputs, found = read(str(home.outputs_file)), {}
    for model, version in models_of(home, outputs).items():
        with inside(home) as state:
            context = bare(outputs, model)
            client = hosting(context)
            if not version or client.settings.topology not in ENDPOINTS or client.champion() is None:
                continue
            found[model] = {
                "endpoint": client.name,
                "version": version,
                "requests": [
                    {"body": body, "answer": client.reply(body)}
                    for body in (*_rows(context, version), *_keys(newest_result(home, state, model, "features")))
                ],
            }
    return found


def differing(home: Home, before: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What the endpoints answer otherwise than before, in words by model; empty where nothing differs."""
    from pipelines.registry.evaluation import same

    outputs, found = read(str(home.outputs_file)), {}
    for model, kept in before.items():
        with inside(home):
            client = hosting(bare(outputs, model))
            answers = [(client.reply(each["body"]), each["answer"]) for each in kept["requests"]]
        if wrong := sum(not same(now, then) for now, then in answers):
            found[model] = f"{wrong} of {len(answers)} requests are answered otherwise"
    return found


def _rows(context: Context, version: str) -> tuple[str, ...]:
    from pipelines.registry import evaluation
    from pipelines.registry.versions import Registry
    from pipelines.training.labelled import load_labelled

    with TemporaryDirectory() as folder:
        try:
            evaluation.fetch(context, Registry(context).record(version), Path(folder))
        except GroundplanError:  # erased, or of a release that kept nothing
            return ()
        rows = load_labelled(Path(folder), "holdout").sample(MOST_ROWS).records()
    return (request_body(rows, CANARY),)


def _keys(newest: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """One request by the key that the newest features step names."""
    found = newest.get("features", {})
    if found.get("sample_key") is None:
        return ()
    key = next(iter(found["views"].values()))["key"]
    return (json.dumps({"entities": {key: [found["sample_key"]]}, "params": {"purpose": CANARY}}),)
