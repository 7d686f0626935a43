"""The processes that train one model together: alone, or as many as torchrun has started."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from facecls.device import Device
from facecls.errors import DeviceError, TrainingError

T = TypeVar("T")

_SILENCE = timedelta(minutes=10)  # without a word from another process, which may be reading faces, before it counts as lost


class SingleProcess:
    """One process alone: everything that a team does together is nothing to do."""

    rank = 0
    size = 1

    def device(self, name: str) -> str:
        """The config's device for this process; raises DeviceError where a team's process has none of its own."""
        return name

    def join(self, model: nn.Module, device: Device) -> nn.Module:  # noqa: ARG002 -- a team needs it
        """The network to call in a step."""
        return model

    def together(self, last: bool) -> AbstractContextManager[object]:  # noqa: ARG002 -- a team needs it
        """Goes around a piece's passes; gradients are averaged over the team in those of the last piece."""
        return contextlib.nullcontext()

    def any(self, flag: Tensor) -> Tensor:
        """1.0 on every device if `flag` (0.0 or 1.0) is 1.0 on one."""
        return flag

    def all_reduce_max(self, number: int) -> int:
        """The largest of the processes' numbers."""
        return number

    def all_reduce_sum(self, sums: Tensor) -> Tensor:
        """The sum over the team."""
        return sums

    def gather(self, mine: T) -> list[T]:
        """What each process has, in the order of ranks, on all of them."""
        return [mine]

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Gives all processes the first one's buffers."""


class DistributedGroup(SingleProcess):
    """A process among those that torchrun has started; gloo carries what the processor holds, nccl what GPUs hold."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()

    def device(self, name: str) -> str:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if name.startswith("cuda:") or name == "mps":
            raise DeviceError(
                f"device: `{name}` is one device for all processes",
                hint="use `device: cuda`: each takes its own" if name != "mps" else "use `device: cpu`, or go without torchrun",
            )
        count = torch.cuda.device_count()
        if name == "cpu" or count == 0:
            return "cpu" if name == "auto" else name
        if local >= count:
            raise DeviceError(
                f"device: `{name}`: process {local} of this machine has no CUDA device of its own, there are {count}",
                hint=f"torchrun --nproc-per-node={count}, or `device: cpu`",
            )
        torch.cuda.set_device(local)
        return f"cuda:{local}"

    def join(self, model: nn.Module, device: Device) -> nn.Module:
        devices = [device.torch_device] if device.type == "cuda" else None
        self._network = DistributedDataParallel(model, device_ids=devices)
        return self._network

    def together(self, last: bool) -> AbstractContextManager[object]:
        return contextlib.nullcontext() if last else self._network.no_sync()

    def any(self, flag: Tensor) -> Tensor:
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return flag

    def all_reduce_max(self, number: int) -> int:
        shared = torch.tensor(number)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return int(shared)

    def all_reduce_sum(self, sums: Tensor) -> Tensor:
        shared = sums.clone()
        dist.all_reduce(shared)
        return shared

    def gather(self, mine: T) -> list[T]:
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, mine)
        return everyone

    def broadcast_buffers(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


@contextlib.contextmanager
def init_distributed() -> Iterator[SingleProcess]:
    """The team of this process while the `with` lasts: torchrun's, if it has started us, else this process alone.

    Raises TrainingError where another process of the team is lost.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield SingleProcess()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_SILENCE)
    try:
        yield DistributedGroup()
    except RuntimeError as error:
        if not _is_lost_contact(error):
            raise
        raise TrainingError(
            f"process {dist.get_rank()} lost another process of the team: {str(error).splitlines()[0]}",
            hint="the same command with --resume goes on from last.pt; the first error above says what ended the other one",
        ) from error
    finally:
        dist.destroy_process_group()


def _is_lost_contact(error: RuntimeError) -> bool:
    said = str(error).lower()
    return isinstance(error, dist.DistBackendError) or any(word in said for word in ("connection", "gloo", "nccl", "timed out"))
