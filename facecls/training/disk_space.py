"""The disk space that the checkpoints of a run take."""

from torch import Tensor, nn

from facecls.config.schema import OptimizerConfig
from facecls.errors import RunError
from facecls.files import free_disk
from facecls.run import Run
from facecls.text import byte_size
from facecls.training.state import TrainingState

_OTHER_FILES = 4e6  # bytes: metrics, split, report; the gallery of a calibration is small beside the weights


def require_space(run: Run, state: TrainingState, optimizer: OptimizerConfig) -> None:
    """Raises RunError if the disk cannot hold best.pt, last.pt and, while that is replaced, a second last.pt."""
    weights = _bytes(state.averaged)
    moments = 2 if optimizer.name != "sgd" else int(optimizer.momentum > 0)
    trained = sum(each.nbytes for each in state.model.parameters() if each.requires_grad)
    last = weights + moments * trained + (0 if state.averaged is state.model else _bytes(state.model))
    needed = last + _OTHER_FILES + (0 if run.last.exists() else last) + (0 if run.best.exists() else weights)
    if needed > (free := free_disk(run.folder)):
        raise RunError(
            f"{run.folder}: the checkpoints of a run take up to {byte_size(needed)}, "
            f"but only {byte_size(free)} are free on this disk",
            hint="free some disk space, or name a directory on another disk with --out",
        )


def _bytes(model: nn.Module) -> int:
    tensors: list[Tensor] = list(model.state_dict().values())
    return sum(tensor.nbytes for tensor in tensors)
