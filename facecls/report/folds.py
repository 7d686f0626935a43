"""A cross-validation's folds put together: their spread, their pictures in one evaluation, and a page of it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table

from facecls.compute import Compute
from facecls.config import Config
from facecls.data.parts import Listing, load_part
from facecls.evaluation.assessment import OpenSet, assess
from facecls.evaluation.gradcam import resized
from facecls.evaluation.outputs import Outputs
from facecls.inference.score import Scored, score_checkpoint
from facecls.progress import Progress
from facecls.report.gallery import Album, Heat, gallery
from facecls.report.report import facts, heat_of, page
from facecls.run import Run
from facecls.training import checkpoint
from facecls.training.checkpoint import Checkpoint

FIGURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


@dataclass(frozen=True)
class Fold:
    """One fold's network on the pictures that it was not trained on."""

    number: int  # counted from 1
    run: Run
    checkpoint: Checkpoint
    scored: Scored

    @property
    def n(self) -> int:
        return len(self.scored.part)

    @property
    def figures(self) -> dict[str, float]:
        return {name: float(getattr(self.scored.assessment.scores, name)) for name in FIGURES}


@dataclass(frozen=True)
class CrossValidation:
    """All folds, and one evaluation of all their pictures, each scored once.

    Thresholds differ from fold to fold, so the evaluation has none, nor features, which do not compare.
    """

    folds: tuple[Fold, ...]
    pooled: Scored
    calibrated: NDArray[np.float64]  # (N, C), each picture by its own fold's temperature

    def spread(self, name: str) -> tuple[float, float]:
        """The mean of a figure over the folds and its standard deviation."""
        values = [fold.figures[name] for fold in self.folds]
        return statistics.mean(values), statistics.stdev(values)

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "folds": [{"fold": fold.number, "n": fold.n} | fold.figures for fold in self.folds],
            "mean": {name: self.spread(name)[0] for name in FIGURES},
            "deviation": {name: self.spread(name)[1] for name in FIGURES},
            "pooled": self.pooled.to_plain(),
        }


def score_folds(runs: Sequence[Run], compute: Compute, progress: Progress) -> CrossValidation:
    """Scores each fold's best.pt on the fold's val part."""
    folds = []
    for number, run in enumerate(runs, 1):
        best = checkpoint.read(run.best)
        folds.append(Fold(number, run, best, score_checkpoint(best, compute, progress, split_file=run.kept_split)))
    calibrated = np.concatenate([each.checkpoint.judged().probabilities(each.scored.outputs.logits) for each in folds])
    return CrossValidation(tuple(folds), _pooled(folds, calibrated, compute, progress), calibrated)


def _pooled(folds: Sequence[Fold], calibrated: NDArray[np.float64], compute: Compute, progress: Progress) -> Scored:
    parts = [fold.scored for fold in folds]
    logits = np.concatenate([part.outputs.logits for part in parts])
    labels = np.concatenate([part.part.listing.labels for part in parts])
    paths = parts[0].part.listing.paths
    for part in parts[1:]:
        paths += part.part.listing.paths
    first = folds[0].checkpoint
    return Scored(
        assessment=assess(logits, calibrated, labels, first.classes),
        open_set=_pooled_open_set([part.open_set for part in parts], np.array([fold.n for fold in folds])),
        groups=None,
        part=load_part("all folds", Listing(paths, labels), first.classes, first.config.data, progress.bar, compute.device),
        outputs=Outputs(logits, np.zeros((len(logits), 0), np.float32)),
        strangers=None,
        skipped=tuple(error for part in parts for error in part.skipped),
        seconds=sum(part.seconds for part in parts),
    )


def print_folds(validation: CrossValidation) -> None:
    """The folds and their spread as a table on stdout."""
    right = [Column(name, justify="right") for name in ("pictures", *FIGURES.values())]
    table = Table(Column("fold", justify="right"), *right, box=None, pad_edge=False)
    for fold in validation.folds:
        table.add_row(str(fold.number), str(fold.n), *(f"{share:.2%}" for share in fold.figures.values()))
    spreads = [validation.spread(name) for name in FIGURES]
    table.add_row("mean", "", *(f"{mean:.2%}" for mean, _ in spreads))
    table.add_row("deviation", "", *(f"{deviation:.2%}" for _, deviation in spreads))
    Console(highlight=False, markup=False, emoji=False).print(table)


def folds_page(validation: CrossValidation, config: Config, compute: Compute, title: str) -> str:
    """The page of a cross-validation as HTML."""
    pooled, first = validation.pooled, validation.folds[0]
    models = [fold.checkpoint.build(compute) for fold in validation.folds]
    heats = [
        heat_of(model, fold.checkpoint, fold.scored, compute) for model, fold in zip(models, validation.folds, strict=True)
    ]
    ends = np.cumsum([fold.n for fold in validation.folds])
    there = [each for each, _ in heats if each is not None]
    heat = _joined_heat(there, ends, first.checkpoint.config.data.image_size) if there else None
    mean, deviation = validation.spread("accuracy")
    count = len(validation.folds)
    scored_on = f"{len(pooled.part):,} pictures, each by the fold that was not trained on it"
    return page(
        title=title,
        subtitle=f"{first.checkpoint.model.name} on {len(first.checkpoint.classes)} classes, {count} folds: "
        f"accuracy {mean:.1%}, deviation {deviation:.1%}",
        scored=pooled,
        logits=pooled.outputs.logits,
        calibrated=validation.calibrated,
        shown=gallery(Album(pooled, validation.calibrated, heat), heats[0][1]),
        facts=[fact for fact in facts(first.checkpoint, first.run, models[0], [], scored_on) if fact[0] != "counts"],
        config=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        training=[],
        calibration="Each fold's probabilities are calibrated by the temperature of its own network, fitted to these pictures.",
        findings=None,
        folds=[{"number": fold.number, "n": fold.n} | fold.figures for fold in validation.folds],
    )


def _pooled_open_set(each: Sequence[OpenSet], sizes: NDArray[np.int64]) -> OpenSet:
    def mean(name: str) -> float | None:
        values = [getattr(one, name) for one in each]
        return None if any(value is None for value in values) else float(np.average(values, weights=sizes))

    return OpenSet(
        score=each[0].score,
        threshold=None,
        known=int(sizes.sum()),
        accepted=mean("accepted"),
        identified=mean("identified"),
        strangers=0,
        strangers_accepted=None,
        false_accept=None,
        expected=None,
        rates=None,
        known_scores=np.concatenate([one.known_scores for one in each]),
        stranger_scores=np.empty(0),
    )


def _joined_heat(heats: Sequence[Heat], ends: NDArray[np.int64], side: int) -> Heat:
    """The folds' maps as one; a fold that ended while its pictures were growing has smaller ones than `side` pixels."""

    def heat(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        owner = np.searchsorted(ends, numbers, side="right")
        begins = np.concatenate([[0], ends[:-1]])
        each = [heats[fold](numbers[n : n + 1] - begins[fold]) for n, fold in enumerate(owner)]
        return np.concatenate([resized(one, side) for one in each])

    return heat
