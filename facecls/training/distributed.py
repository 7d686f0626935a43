"""The processes that train one model: this one alone, or those that torchrun has started (torch.distributed)."""

import contextlib
import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from facecls.device import Device
from facecls.errors import DeviceError, TrainingError

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=10)  # of a collective operation; another rank may be decoding images meanwhile


class ProcessGroup(Protocol):
    """Collective operations over all ranks; each rank calls them in the same order."""

    rank: int
    size: int

    def device(self, name: str) -> str: ...  # of this rank, for the config's `device`; DeviceError if it has none of its own
    def wrap(self, model: nn.Module, device: Device) -> nn.Module: ...  # its backward pass averages gradients over the ranks
    def no_sync(self, active: bool) -> AbstractContextManager[object]: ...  # if active, gradients are accumulated, not averaged
    def all_reduce_any(self, flag: Tensor) -> Tensor: ...  # 1.0 on every rank if `flag` (0.0 or 1.0) is 1.0 on one
    def all_reduce_max(self, number: int) -> int: ...
    def all_reduce_sum(self, sums: Tensor) -> Tensor: ...
    def all_gather(self, value: T) -> list[T]: ...  # in the order of ranks
    def broadcast_buffers(self, model: nn.Module) -> None: ...  # from rank 0


class SingleProcess:
    """A group of one process, without communication."""

    rank = 0
    size = 1

    def device(self, name: str) -> str:
        return name

    def wrap(self, model: nn.Module, device: Device) -> nn.Module:  # noqa: ARG002
        return model

    def no_sync(self, active: bool) -> AbstractContextManager[object]:  # noqa: ARG002
        return contextlib.nullcontext()

    def all_reduce_any(self, flag: Tensor) -> Tensor:
        return flag

    def all_reduce_max(self, number: int) -> int:
        return number

    def all_reduce_sum(self, sums: Tensor) -> Tensor:
        return sums

    def all_gather(self, value: T) -> list[T]:
        return [value]

    def broadcast_buffers(self, model: nn.Module) -> None: ...


class DistributedGroup:
    """A rank among those that torchrun has started; gloo on CPUs, NCCL on GPUs."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self._network: DistributedDataParallel | None = None

    def device(self, name: str) -> str:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if name.startswith("cuda:") or name == "mps":
            raise DeviceError(
                f"device: `{name}` is one device for all processes",
                hint="use `device: cuda`, which gives each its own"
                if name != "mps"
                else "use `device: cpu`, or do not use torchrun",
            )
        count = torch.cuda.device_count()
        if name == "cpu" or count == 0:
            return "cpu" if name == "auto" else name
        if local >= count:
            raise DeviceError(
                f"device: `{name}`: local rank {local} has no CUDA device of its own, this machine has {count}",
                hint=f"torchrun --nproc-per-node={count}, or `device: cpu`",
            )
        torch.cuda.set_device(local)
        return f"cuda:{local}"

    def wrap(self, model: nn.Module, device: Device) -> nn.Module:
        network = DistributedDataParallel(model, device_ids=[device.torch_device] if device.type == "cuda" else None)
        self._network = network
        return network

    def release(self) -> None:
        """Frees the network: threads of a process group that it still holds when the process exits would abort that."""
        self._network = None
        gc.collect()

    def no_sync(self, active: bool) -> AbstractContextManager[object]:
        return self._network.no_sync() if active and self._network is not None else contextlib.nullcontext()

    def all_reduce_any(self, flag: Tensor) -> Tensor:
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

    def all_gather(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def broadcast_buffers(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


@contextlib.contextmanager
def init_distributed() -> Iterator[ProcessGroup]:
    """The process group while the `with` lasts: torchrun's if it has started this process, else this process alone.

    Raises TrainingError if the connection to another rank is lost.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield SingleProcess()
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_TIMEOUT)
    group = DistributedGroup()
    try:
        yield group
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise TrainingError(
            f"rank {dist.get_rank()} lost the connection to another rank: {str(error).splitlines()[0]}",
            hint="the first error above says why the other rank ended; the same command with --resume continues from last.pt",
        ) from error
    finally:
        group.release()
        dist.destroy_process_group()


def _is_lost_connection(error: RuntimeError) -> bool:
    message = str(error).lower()
    signs = ("connection", "gloo", "nccl", "timed out")
    return isinstance(error, dist.DistBackendError) or any(sign in message for sign in signs)
