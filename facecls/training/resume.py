"""Going on with a run: whether it can be, what has changed in its config, and its state."""

from typing import Any

from facecls.checkpoint import read_plain
from facecls.config.schema import Config, UnknownConfig, flatten
from facecls.errors import CheckpointError, RunError
from facecls.run import Run
from facecls.training.state import TrainingState

MAY_CHANGE = {
    "device",
    "data.store",
    "data.cache_dir",
    "train.epochs",
    "train.patience",
    "train.max_minutes",
    "train.save_minutes",
    *(f"unknown.{key}" for key in UnknownConfig.model_fields),
}


def prepare(run: Run, config: Config, resume: bool) -> list[str]:
    """Makes sure that training in the run's folder harms nothing, and says what the user should hear.

    Raises RunError for a folder that holds a run when it is not to go on, or something of the user's where a run would
    write, and for a config that has changed in what a run stands on.
    """
    if not (resume and run.last.exists()):
        _refuse_the_users(run)
    if run.begun and not resume:
        raise RunError(f"{run.folder}: already holds a run", hint="go on with it with --resume, or name another with --out")
    if not resume:
        return []
    if not run.last.exists():
        return [f"{run.folder}: there is no last.pt to go on from, so training starts anew"]
    before, now = flatten(_training_of(run)["config"]), flatten(config.model_dump(mode="json"))
    changed = {key: (before.get(key), now.get(key)) for key in sorted(before | now) if before.get(key) != now.get(key)}
    forbidden = [
        f"{key}: was {old!r} when the run began, is {new!r}" for key, (old, new) in changed.items() if key not in MAY_CHANGE
    ]
    if forbidden:
        raise RunError(
            f"{run.folder}: the config is not the run's",
            *forbidden,
            hint=f"`facecls train {run.config} --out {run.folder} --resume` goes on with the run's own config; "
            f"what may change is {', '.join(sorted(MAY_CHANGE))}",
        )
    return [f"{key}: {old!r} before, {new!r} from here on" for key, (old, new) in changed.items()]


def _refuse_the_users(run: Run) -> None:
    if not (run.begun or run.environment.exists()):  # the first file that a run writes
        for path in (run.config, run.split):
            if path.exists():
                raise RunError(f"{path}: is there already, and no run has written it", hint="name another folder with --out")


def load(run: Run, config: Config, state: TrainingState) -> None:
    """Sets a fresh state to that of last.pt, with the best that best.pt holds.

    Raises RunError where another number of processes shared the batches, or where nothing but a lost best.pt is left to do.
    """
    plain = _training_of(run)
    before = plain["training"].get("processes", 1)
    if before != state.processes:
        raise RunError(
            f"{run.folder}: was trained by {_processes(before)}, and cannot go on with {_processes(state.processes)}: "
            "a step would have other faces",
            hint=f"torchrun --nproc-per-node={before}" if before > 1 else "start it without torchrun",
        )
    state.load_plain(plain["training"])
    was = plain["config"]["train"]
    # Else a plan that was cut to fit a time budget holds on.
    if (was["epochs"], was["max_minutes"]) != (config.train.epochs, config.train.max_minutes):
        state.epochs = max(config.train.epochs, state.epoch)
    state.best = read_plain(run.best)["metrics"] if run.best.exists() else None
    if state.best is None and state.ended:
        raise RunError(
            f"{run.best}: is not there, and training has ended",
            hint=f"put it back, or use the last epoch's weights: --checkpoint {run.last}",
        )


def _processes(number: int) -> str:
    return "one process" if number == 1 else f"{number} processes"


def _training_of(run: Run) -> dict[str, Any]:
    plain = read_plain(run.last)
    if not plain.get("training"):
        raise CheckpointError(f"{run.last}: holds nothing to go on from", hint="last.pt is the file that training goes on from")
    return plain
