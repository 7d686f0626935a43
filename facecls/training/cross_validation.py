"""Cross-validation: one training for each fold, each in its own run folder, and going on where it was."""

from pathlib import Path

from facecls import checkpoint
from facecls.config.schema import Config, resolve_config
from facecls.config.yaml import read_document
from facecls.errors import ConfigError, RunError
from facecls.progress import Progress
from facecls.run import Run
from facecls.training.train import train


def fold_config(config: Config, folds: int, fold: int) -> Config:
    """The config of one fold, counted from 0, all else being the same."""
    return config.model_copy(update={"split": config.split.model_copy(update={"folds": folds, "fold": fold})})


def fold_run(folder: Path, fold: int) -> Run:
    """The run folder of a fold, counted from 0."""
    return Run(folder / f"fold-{fold + 1}")


def train_folds(config: Config, folds: int, folder: Path, progress: Progress, *, resume: bool) -> list[Run]:
    """Trains every fold that is not done yet; with `go_on`, from its last.pt where it has one.

    Raises ConfigError for a config that says itself what val is, RunError where the folder holds a run of one training, or
    folds that are not to be gone on with or are not so many; FaceclsError and Interrupted as `train` does.
    """
    _refuse_own_val(config)
    runs = [fold_run(folder, fold) for fold in range(folds)]
    _refuse_other_runs(folder, folds, resume)
    for fold, run in enumerate(runs):
        own = fold_config(config, folds, fold)
        if resume and _is_done(run, own):
            progress.note(f"fold {fold + 1} of {folds}: done already")
            continue
        progress.note(f"fold {fold + 1} of {folds}")
        # One that was killed before its first last.pt has a folder already, and starts anew in it.
        train(own, run, progress, resume=resume and run.folder.exists())
    return runs


def _refuse_own_val(config: Config) -> None:
    own = {"data.split_file": config.data.split_file, "split.by_name.val": config.split.by_name.get("val")}
    said = [f"{key}: `{value}` says what val is, and so do the folds" for key, value in own.items() if value is not None]
    if said:
        raise ConfigError(*said, hint="leave it out: cross-validation makes each fold val in turn")


def _refuse_other_runs(folder: Path, folds: int, resume: bool) -> None:
    if Run(folder).begun:
        raise RunError(f"{folder}: holds the run of one training", hint="name another with --out")
    first = fold_run(folder, 0)
    if not resume and any(folder.glob("fold-*")):
        raise RunError(f"{folder}: already holds folds", hint="go on with them with --resume, or name another with --out")
    if resume and first.config.exists():
        began_with = read_document(first.config).values.get("split", {}).get("folds")
        if began_with != folds:
            raise RunError(
                f"{folder}: began with {began_with} folds, and cannot go on with {folds}",
                hint=f"--folds {began_with}, or name another with --out",
            )


def _is_done(run: Run, config: Config) -> bool:
    """Whether a fold was trained to its end, with this very config: the judgement is the last thing that is written."""
    if not run.best.exists():
        return False
    best = checkpoint.read(run.best)
    return best.calibration is not None and best.config == resolve_config(config)
