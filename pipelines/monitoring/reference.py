"""What a version was trained and judged on, as bins and estimates for what it is asked later."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipelines.context import Context
from pipelines.monitoring.columns import Column
from pipelines.monitoring.estimating import Estimation, class_names_of, estimation, matrix, values_of
from pipelines.monitoring.scores import coded
from pipelines.registry import evaluation
from pipelines.registry.versions import Registry
from pipelines.serving.models.bundle import Model, load, unpack
from pipelines.serving.models.engines import class_name
from pipelines.serving.models.rows import Rows
from pipelines.training.labelled import Labelled, as_columns, load_labelled
from pipelines.training.slices import Slice, slices_like
from spec.errors import GroundplanError
from spec.model_folders import Card

MOST_ROWS = 50_000  # held out, that the version is asked
PREDICTION, CHANCE = "prediction", "probability"


@dataclass(frozen=True)
class Favourable:
    """Which predictions and outcomes are good for whom they are about: a class, or numbers from ``least`` on."""

    name: str = ""
    least: float | None = None

    def of(self, values: Any, names: list[str]) -> Any:
        """Whether each of n values is: places of classes among the names, or numbers."""
        return values == names.index(self.name) if self.least is None else values >= self.least


@dataclass(frozen=True)
class Reference:
    """What one version is compared with.

    Attributes:
        training, holdout: The rows that it was trained on, and those that it had not seen.
        predictions, chances: What it says of the held-out ones; probabilities or scores of shape [n, classes], None
            where it gives none.
        baseline: Metrics of the naive baseline on the held-out rows, as they were registered.
    """

    version: str
    model: Model
    training: Labelled
    holdout: Labelled
    predictions: list[Any]
    chances: Any
    declared: tuple[str, ...] = ()
    favourable_is: str = ""
    baseline: dict[str, float] = field(default_factory=dict)

    @cached_property
    def features(self) -> dict[str, Column]:
        """The bins of each feature."""
        frame = self.training.features
        return {str(name): Column.of(str(name), frame[name]) for name in frame.columns}

    @cached_property
    def answers(self) -> dict[str, Column]:
        """The bins of what it predicts; none of several targets."""
        import pandas as pd

        if self.model.targets:
            return {}
        names = class_names_of(self.model)
        said = pd.Series(self.predictions)
        found = {PREDICTION: Column.of(PREDICTION, said.map(class_name).astype(object) if names else said)}
        if len(names) == 2 and self.chances is not None:
            found[CHANCE] = Column.of(CHANCE, pd.Series(self.chances[:, 1]))
        return found

    @cached_property
    def estimation(self) -> Estimation | str:
        """What estimates its quality without outcomes; or why nothing can."""
        return estimation(self.model, self.holdout, self.predictions, self.chances)

    @cached_property
    def slices(self) -> dict[str, Slice]:
        """How rows are divided into groups, by column."""
        return slices_like(self.training.features, self.declared)

    @cached_property
    def favourable(self) -> Favourable | None:
        """What the card says; else the second of two classes, or numbers above the median of the training labels. None
        where that says nothing: of more classes, or of several targets.

        Raises:
            GroundplanError: The card names what the model can't predict.
        """
        if self.model.targets:
            return None
        said = self.favourable_is
        names = class_names_of(self.model)
        if not names:
            known = values_of(self.training.labels, names)
            above = known[known > np.nanmedian(known)]
            if not said:
                return Favourable(least=float(above.min())) if len(above) else None
            try:
                return Favourable(least=float(said))
            except ValueError:
                raise GroundplanError(
                    f"favourable is {said!r}; the model predicts numbers, so expected the least favourable number",
                    where="model.yaml, card.favourable",
                ) from None
        place = int(coded([said], names)[0])
        if said and place < 0:
            raise GroundplanError(
                f"favourable is {said!r}, which is not a class of the model",
                where="model.yaml, card.favourable",
                fix=f"known: {', '.join(names)}",
            )
        return Favourable(names[place if said else 1]) if said or len(names) == 2 else None


def reference_of(context: Context, version: str) -> Reference:
    """What a version of the registry was trained and judged on, and what it says of the rows it had not seen.

    Raises:
        GroundplanError: It is gone, or was changed.
    """
    stored = Registry(context).stored(version)
    with TemporaryDirectory() as folder:
        judged, served = Path(folder) / "judged", Path(folder) / "model"
        evaluation.fetch(context, stored.record, judged)
        training, holdout = load_labelled(judged, "training"), load_labelled(judged, "holdout")
        served.mkdir()
        unpack(stored.artifact, served)
        model = load(served)
    assert model is not None
    found = judged_by(version, model, training, holdout, context.definition.card)
    return replace(found, baseline=dict(stored.record.baseline))


def judged_by(version: str, model: Model, training: Labelled, holdout: Labelled, card: Card) -> Reference:
    """The reference of a model with these rows: what it says of those it has not seen."""
    holdout = holdout.sample(MOST_ROWS)
    if holdout.predictions is not None:  # out of fold: it was trained on these rows
        predictions, chances = list(holdout.predictions.to_numpy().tolist()), None
    else:
        found = model.answers(Rows.of(as_columns(holdout.features, model.names)))
        predictions = list(found.predictions)
        names = class_names_of(model)
        chances = None if found.beside is None or model.targets else matrix(found.beside, len(names))
    return Reference(version, model, training, holdout, predictions, chances, card.slices, card.favourable)
