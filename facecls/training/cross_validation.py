"""Trains the folds of a cross-validation, each into its own run directory."""

from pathlib import Path

from facecls import checkpoint
from facecls.config.schema import Config, resolve_config
from facecls.config.yaml import read_document
from facecls.errors import ConfigError, RunError
from facecls.progress import Reporter
from facecls.run import Run
from facecls.training.resuming import keep_precision
from facecls.training.train import train


def fold_config(config: Config, folds: int, fold: int) -> Config:
    """The config of fold `fold`, from 0: no epoch is selected on the fold.

    A share of the other folds to select on would be lost for training, which costs more than selecting gains where images are
    few (docs/results.md).
    """
    split = config.split.model_copy(update={"folds": folds, "fold": fold})
    train = config.train.model_copy(update={"best": "last", "patience": None})
    return config.model_copy(update={"split": split, "train": train})


def fold_run(folder: Path, fold: int) -> Run:
    """The run directory of fold `fold`, from 0."""
    return Run(folder / f"fold-{fold + 1}")


def train_folds(config: Config, folds: int, folder: Path, progress: Reporter, *, resume: bool) -> list[Run]:
    """Trains every fold that is not done yet; with `resume`, from its last.pt if it has one.

    Raises ConfigError if the config names the validation images itself; RunError if the directory holds a run, folds that
    are not to be resumed, or another number of folds; and what `train` raises.
    """
    _check_no_own_val(config)
    runs = [fold_run(folder, fold) for fold in range(folds)]
    _check_no_other_runs(folder, folds, resume)
    if config.train.best != "last":
        progress.note("train.best=last: cross-validation evaluates the last epoch, because none is selected on the fold")
    for fold, run in enumerate(runs):
        own = fold_config(config, folds, fold)
        if resume and _is_done(run, own):
            progress.note(f"fold {fold + 1} of {folds}: done already")
            continue
        progress.note(f"fold {fold + 1} of {folds}")
        train(own, run, progress, resume=resume and run.folder.exists())
    return runs


def _check_no_own_val(config: Config) -> None:
    own = {"data.split_file": config.data.split_file, "split.by_name.val": config.split.by_name.get("val")}
    problems = [f"{key}: `{value}` and the folds both define val" for key, value in own.items() if value is not None]
    if problems:
        raise ConfigError(*problems, hint="leave it out: cross-validation validates on each fold in turn")


def _check_no_other_runs(folder: Path, folds: int, resume: bool) -> None:
    if Run(folder).begun:
        raise RunError(f"{folder}: holds the run of a single training", hint="name another with --out")
    first = fold_run(folder, 0)
    if not resume and any(folder.glob("fold-*")):
        raise RunError(f"{folder}: already holds folds", hint="resume them with --resume, or name another with --out")
    if resume and first.config.exists():
        found = read_document(first.config).values.get("split", {}).get("folds")
        if found != folds:
            raise RunError(
                f"{folder}: holds {found} folds, got --folds {folds}",
                hint=f"use --folds {found}, or name another with --out",
            )


def _is_done(run: Run, config: Config) -> bool:
    """Whether a fold was trained to its end with the same config; the calibration is written last."""
    if not run.best.exists():
        return False
    best = checkpoint.read(run.best)
    return best.calibration is not None and best.config == keep_precision(resolve_config(config), best.config.precision)
