"""Resuming a run: whether it can be resumed, what changed in its config, and its state."""

from typing import Any

from facecls.checkpoint import other_version_error, read_plain
from facecls.config.schema import Config, UnknownConfig, flatten
from facecls.errors import CheckpointError, RunError, TrainingError
from facecls.run import EpochMetrics, Run
from facecls.text import name_list
from facecls.training.distributed import ProcessGroup
from facecls.training.state import TrainingState

MAY_CHANGE = {
    "device",
    "threads",
    "data.store",
    "data.cache_dir",
    "train.epochs",
    "train.patience",
    "train.max_minutes",
    "train.save_minutes",
    "train.tracker",
    *(f"unknown.{key}" for key in UnknownConfig.model_fields),
}


def keep_precision(config: Config, resolved: str) -> Config:
    """The config with the `resolved` precision of its run instead of `auto`."""
    return config if config.precision != "auto" else config.model_copy(update={"precision": resolved})


def precision_of(run: Run) -> str:
    """The precision that the run of last.pt resolved."""
    return str(_training_of(run)["config"]["precision"])


def prepare(run: Run, config: Config, resume: bool) -> list[str]:
    """Checks that training into the run directory overwrites nothing, and returns notes for the user.

    Raises RunError if the directory holds a run that is not to be resumed, or files of the user's and no run, or a finished
    run without last.pt, and if a config key that may not change has changed.
    """
    if not (resume and run.last.exists()):
        _check_no_other_files(run)
    if not resume:
        require_new(run)
        return []
    if not run.last.exists():
        if run.best.exists() and read_plain(run.best)["calibration"] is not None:
            raise RunError(
                f"{run.folder}: training has ended, and without last.pt it cannot be resumed",
                hint="use best.pt, or train into another directory with --out",
            )
        return [f"{run.folder}: there is no last.pt to resume from, training starts anew"]
    before, now = flatten(_training_of(run)["config"]), flatten(config.model_dump(mode="json"))
    changed = {key: (before.get(key), now.get(key)) for key in sorted(before | now) if before.get(key) != now.get(key)}
    forbidden = [f"{key}: the run has {old!r}, got {new!r}" for key, (old, new) in changed.items() if key not in MAY_CHANGE]
    if forbidden:
        raise RunError(
            f"{run.folder}: the config differs from the run's",
            *forbidden,
            hint=f"`facecls train {run.config} --out {run.folder} --resume` resumes with the run's own config; "
            f"only these may change: {', '.join(sorted(MAY_CHANGE))}",
        )
    return [f"{key}: changed from {old!r} to {new!r}" for key, (old, new) in changed.items()]


def require_new(run: Run) -> None:
    """Raises RunError if the directory holds a run."""
    if run.begun:
        raise RunError(f"{run.folder}: already holds a run", hint="continue it with --resume, or name another with --out")


def _check_no_other_files(run: Run) -> None:
    if run.begun or run.environment.exists():  # the first file that a run writes
        return
    # `glob`, as the directory of another rank may not exist
    names = (path.name for path in run.folder.glob("*") if not path.name.startswith(".") and path != run.python_labels.parent)
    if others := sorted(names):
        raise RunError(
            f"{run.folder}: is not empty and not a run ({name_list(others)})", hint="name a new directory with --out"
        )


def load(run: Run, config: Config, state: TrainingState) -> None:
    """Sets a new state to that of last.pt, with the best epoch of best.pt.

    Raises RunError if the number of processes differs, or if training has ended and best.pt is missing, and CheckpointError if
    last.pt does not fit this version.
    """
    plain = _training_of(run)
    try:
        before = plain["training"]["processes"]
        if before != state.processes:
            raise RunError(
                f"{run.folder}: was trained by {_processes(before)} and cannot be resumed by {_processes(state.processes)}: "
                "the batches would differ",
                hint=f"torchrun --nproc-per-node={before}" if before > 1 else "start it without torchrun",
            )
        state.load_plain(plain["training"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise other_version_error(run.last, plain, [f"training: {reason}"]) from None
    state.epochs = max(config.train.epochs, state.epoch)
    state.best = EpochMetrics(**read_plain(run.best)["metrics"]) if run.best.exists() else None
    if state.best is None and state.ended:
        raise RunError(
            f"{run.best}: is missing, and training has ended",
            hint=f"restore it, or use the weights of the last epoch: --checkpoint {run.last}",
        )


def check_same_position(run: Run, state: TrainingState, group: ProcessGroup) -> None:
    """Raises TrainingError, on all ranks, if a rank is at another step than rank 0, or has another best epoch.

    Each rank reads the run directory by itself. Without a common one, some would begin anew and the ranks would wait for each
    other.
    """
    best = "none" if state.best is None else state.best.epoch + 1
    first, *others = group.all_gather(f"epoch {state.epoch + 1}, step {state.step}, best epoch {best}")
    differing = [f"rank {rank} of {group.size} is at {other}" for rank, other in enumerate(others, 1) if other != first]
    if differing:
        raise TrainingError(
            f"{run.folder}: {'; '.join(differing)}; rank 0 is at {first}",
            hint="all ranks read the run directory: use one that all machines share, or copy it to each",
        )


def _processes(number: int) -> str:
    return "one process" if number == 1 else f"{number} processes"


def _training_of(run: Run) -> dict[str, Any]:
    plain = read_plain(run.last)
    if not plain.get("training"):
        raise CheckpointError(f"{run.last}: holds no training state", hint="training resumes from a run's last.pt")
    return plain
