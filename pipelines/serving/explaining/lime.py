"""LIME: a linear model of the columns, fitted around one row (Ribeiro et al., 2016, https://arxiv.org/abs/1602.04938)."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.serving.explaining.game import Game

SAMPLES = 500
WIDTH = 0.75  # of the kernel, times the square root of the number of columns
PENALTY = 1.0


def lime(game: Game, seed: int = 0) -> tuple[float, dict[str, float], float]:
    """What keeping each column adds, rather than replacing it by those of the background rows.

    Returns:
        The intercept, the weights by column, and the share of the variance around the row that they explain (R²,
        weighted).
    """
    columns = len(game.names)
    random = np.random.default_rng(seed)
    kept = random.random((SAMPLES, columns)) < 0.5
    kept[0] = True
    target = game.gets(kept)[:, 0]
    replaced = (~kept).sum(axis=1)
    nearness = np.sqrt(np.exp(-replaced / (WIDTH**2 * columns)))
    design = np.column_stack([np.ones(SAMPLES), kept.astype(float)])
    penalty = np.diag([0.0, *([PENALTY] * columns)])
    weighted = design * nearness[:, None]
    found: Any = np.linalg.solve(design.T @ weighted + penalty, weighted.T @ target)
    mean = np.average(target, weights=nearness)
    spread = float(nearness @ (target - mean) ** 2)
    left = float(nearness @ (target - design @ found) ** 2)
    return (
        float(found[0]),
        dict(zip(game.names, map(float, found[1:]), strict=True)),
        1 - left / spread if spread else 1.0,
    )
